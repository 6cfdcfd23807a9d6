//! Mixes of recipes: no other choice of a recipe for every block is better, counted out on small
//! models, each choice priced and placed as the file that it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::subsequence;
use shardplan::cost::llama_cpp::LlamaCpp;
use shardplan::cost::{
    Accounting, ColumnSet, Fit, Layout, Parts, Place, Position, Span, Store, Target, Whole,
};
use shardplan::hardware::{self, Device, DeviceId, Host, Rig};
use shardplan::model::mix::Mix;
use shardplan::model::recipe::Recipe;
use shardplan::model::{self, Model, Part, Precision};
use shardplan::plan::{Plan, Status, check};
use shardplan::scenario::{Candidates, Penalties, Scenario, ScenarioError, Terms};
use shardplan::solve::dynamic::{self, Answer};
use shardplan::solve::{Effort, Stop};
use shardplan::units::{Bytes, BytesPerSecond, Seconds, Tokens};
use shardplan::workload::Workload;

/// A model of a few blocks.
fn small(n_blocks: u32) -> Model {
    first_blocks("llama-3-8b", n_blocks)
}

/// The first blocks of a model.
fn first_blocks(name: &str, n_blocks: u32) -> Model {
    let mut model = model::open(name).unwrap();
    model.dimensions.n_layers = n_blocks;
    model.blocks.truncate(n_blocks as usize);
    model.tensors.retain(|tensor| match tensor.part {
        Part::Attention(block) | Part::FeedForward(block) => block.0 < n_blocks,
        _ => true,
    });
    model
}

/// Cards of so many MiB, and RAM.
fn rig(cards: &[u64], ram: Option<u64>) -> Rig {
    let kinds = hardware::read("RTX 3060, ram 64 GiB").unwrap();
    let card = |(index, mib): (usize, &u64)| Device {
        name: format!("cuda{index}"),
        memory: Bytes::mib(*mib),
        reserve: Bytes::ZERO,
        pci: None,
        ..kinds.devices()[0].clone()
    };
    let host = ram.map(|mib| Host {
        memory: Bytes::mib(mib),
        reserve: Bytes::ZERO,
        ..kinds.host().unwrap().clone()
    });
    Rig::new(cards.iter().enumerate().map(card).collect(), host).unwrap()
}

fn scenario(model: Model, rig: Rig, penalties: &[(Recipe, u64)]) -> Scenario {
    let rows = penalties
        .iter()
        .map(|(recipe, penalty)| format!("{recipe}: {penalty}"));
    let rows: Vec<_> = rows.collect();
    let table = format!("measure: mine\npenalties: {{{}}}\n", rows.join(", "));
    let recipes = penalties.iter().map(|(recipe, _)| *recipe).collect();
    Scenario {
        precision: Target::LlamaCpp.usual_precision(&model),
        target: Target::LlamaCpp,
        workload: Workload::of_context(Tokens(1024)),
        terms: Terms {
            mix: Some(Candidates::Of(recipes)),
            penalties: Some(Penalties::from_yaml(&table, "own.yaml").unwrap()),
            ..Terms::default()
        },
        model,
        rig,
    }
}

/// What a mix costs: every weight of the file its recipe's penalty, as a share of all. Tables that
/// transformers computes are in no file.
fn penalty(model: &Model, mix: &Mix, penalties: &BTreeMap<Recipe, f64>) -> f64 {
    weighed(model, mix, penalties, &vec![1.0; mix.blocks.len()])
}

/// The same where blocks are more or less sensitive than others, and all together as much as ever.
fn weighed(model: &Model, mix: &Mix, penalties: &BTreeMap<Recipe, f64>, weights: &[f64]) -> f64 {
    let (mut all, mut rest) = (0.0, 0.0);
    let mut of_block = vec![0.0; mix.blocks.len()];
    for tensor in &model.tensors {
        if tensor.gguf_name.is_empty() {
            continue;
        }
        let elements = tensor.elements() as f64;
        all += elements;
        match tensor.part {
            Part::Attention(block) | Part::FeedForward(block) => {
                of_block[block.0 as usize] += elements;
            }
            _ => rest += elements,
        }
    }
    let in_blocks: f64 = of_block.iter().sum();
    let sensitive = of_block
        .iter()
        .zip(weights)
        .map(|(own, weight)| own * weight);
    let sensitive: Vec<f64> = sensitive.collect();
    let whole: f64 = sensitive.iter().sum();
    let costs = sensitive.iter().zip(&mix.blocks);
    let costs = costs.map(|(own, recipe)| own * in_blocks / whole * penalties[recipe]);
    (costs.sum::<f64>() + rest * penalties[&mix.rest]) / all
}

/// Every mix of some recipes.
fn mixes(n_blocks: u32, penalties: &BTreeMap<Recipe, f64>) -> impl Iterator<Item = Mix> {
    let recipes: Vec<_> = penalties.keys().copied().collect();
    (0..recipes.len().pow(n_blocks + 1)).map(move |code| {
        let recipe = |place: u32| recipes[code / recipes.len().pow(place) % recipes.len()];
        Mix {
            rest: recipe(n_blocks),
            blocks: (0..n_blocks).map(recipe).collect(),
        }
    })
}

/// Parts of blocks in RAM, and weights read from disk, are left to plans of one recipe.
fn is_mixed(layout: &Layout) -> bool {
    layout.parts() == Parts::NONE && layout.store() == Store::Ram
}

/// Weights read from disk are left to plans of one recipe.
fn is_in_memory(layout: &Layout) -> bool {
    layout.store() == Store::Ram
}

/// The least time of a token in a layout, where it has a plan.
fn time(accounting: &LlamaCpp<'_>, layout: Layout) -> Option<Seconds> {
    let set = ColumnSet::new(accounting, layout, Fit::Strict, &[]);
    match dynamic::shortest(&set, Effort::Plan, &Stop::default()) {
        Answer::Path { cost, .. } => Some(cost.seconds()),
        Answer::None => None,
        Answer::TooManyOrders => panic!("small problems are counted out"),
    }
}

/// The best of all mixes: the earliest rank, then the least penalty.
fn counted_out(scenario: &Scenario, penalties: &BTreeMap<Recipe, f64>) -> Option<(usize, f64)> {
    let Scenario { model, rig, .. } = scenario;
    let mut best: Option<(usize, f64)> = None;
    for mix in mixes(model.dimensions.n_layers, penalties) {
        let formats = mix.formats(model).unwrap();
        let accounting = LlamaCpp::of_formats(model, formats, rig, &scenario.workload).unwrap();
        let ranks = accounting.ranks().into_iter();
        let mut ranks = ranks.map(|rank| rank.into_iter().filter(is_in_memory));
        let has_plan = |layout| time(&accounting, layout).is_some();
        let Some(rank) = ranks.position(|mut rank| rank.any(has_plan)) else {
            continue;
        };
        let worth = (rank, penalty(model, &mix, penalties));
        best = Some(best.map_or(worth, |best| if worth < best { worth } else { best }));
    }
    best
}

/// The least time of a token of every mix, over all layouts, with what the mix costs.
fn fastest(
    scenario: &Scenario,
    penalties: &BTreeMap<Recipe, f64>,
    weights: &[f64],
) -> Vec<(Seconds, f64)> {
    let Scenario { model, rig, .. } = scenario;
    let least = |mix: &Mix| {
        let formats = mix.formats(model).unwrap();
        let accounting = LlamaCpp::of_formats(model, formats, rig, &scenario.workload).unwrap();
        let layouts = accounting.ranks().into_iter().flatten().filter(is_mixed);
        let times = layouts.filter_map(|layout| time(&accounting, layout));
        times.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let all = mixes(model.dimensions.n_layers, penalties);
    all.filter_map(|mix| Some((least(&mix)?, weighed(model, &mix, penalties, weights))))
        .collect()
}

/// Whether the smallest recipe alone has a plan, by whatever layout: then no mix is called impossible.
fn any_alone(scenario: &Scenario, penalties: &BTreeMap<Recipe, f64>) -> bool {
    let weights = |recipe: &Recipe| {
        let sizes = scenario.model.tensor_bytes(Precision::Gguf(*recipe));
        sizes.unwrap().into_iter().sum::<Bytes>()
    };
    let smallest = penalties.keys().copied().min_by_key(weights).unwrap();
    let mut alone = scenario.clone();
    (alone.precision, alone.terms.mix) = (Precision::Gguf(smallest), None);
    alone.terms.max_time_per_token = None;
    alone.plan().is_ok()
}

fn rank(plan: &Plan, scenario: &Scenario) -> usize {
    let formats = plan.mix().unwrap().unwrap().formats(&scenario.model);
    let (rig, workload) = (&scenario.rig, &scenario.workload);
    let accounting =
        LlamaCpp::of_formats(&scenario.model, formats.unwrap(), rig, workload).unwrap();
    let mut ranks = accounting.ranks().into_iter();
    ranks.position(|rank| rank.contains(&plan.layout)).unwrap()
}

fn tables() -> impl Strategy<Value = Vec<(Recipe, u64)>> {
    let recipes = vec![
        Recipe::Q3KM,
        Recipe::Q4KM,
        Recipe::Q5KM,
        Recipe::Q6K,
        Recipe::Q8_0,
    ];
    let penalties = proptest::collection::vec(0..100_000_u64, 3);
    (subsequence(recipes, 2..=3), penalties)
        .prop_map(|(recipes, penalties)| recipes.into_iter().zip(penalties).collect())
}

/// By how much buffers differ between files of one recipe each, on a GPU and in RAM, where some of
/// the chain is in RAM. There a mix is planned for the largest of them.
fn spread(scenario: &Scenario, penalties: &BTreeMap<Recipe, f64>) -> [Bytes; 2] {
    let Scenario { model, rig, .. } = scenario;
    let of_file = |recipe: &Recipe| {
        let precision = Precision::Gguf(*recipe);
        LlamaCpp::new(model, precision, rig, &scenario.workload).unwrap()
    };
    let files: Vec<_> = penalties.keys().map(of_file).collect();
    let n_units = files[0].units().len();
    let span = |place, units| Span {
        place,
        units,
        streamed: 0..0,
        position: Position::First,
    };
    let layouts = files[0].ranks().into_iter().flatten().filter(is_in_memory);
    let mut most = [Bytes::ZERO; 2];
    for layout in layouts.filter(|layout| matches!(layout, Layout::Offloaded(_))) {
        let ends = match layout.whole() {
            Whole::Nothing => 0..1,
            Whole::FirstUnits => layout.ends_of_whole(n_units),
        };
        // One card has all that RAM has not.
        let is_alone = rig.devices().len() == 1;
        let stage_ends = |cut: usize| if is_alone { n_units } else { cut + 1 }..=n_units;
        let cuts = ends.flat_map(|cut| stage_ends(cut).map(move |end| (cut, end)));
        for (cut, end) in cuts {
            let buffers = files.iter().map(|file| {
                let gpu = span(Place::Device(DeviceId(0)), cut..end);
                let on_gpu = file.stage(layout, &gpu).device;
                let whole = span(Place::Host, 0..cut);
                let of_whole = (cut > 0).then(|| file.stage(layout, &whole).device.compute);
                let in_ram = file.host_base(layout).compute + of_whole.unwrap_or_default();
                [on_gpu.compute + on_gpu.overhead, in_ram]
            });
            let buffers: Vec<_> = buffers.collect();
            for (place, most) in most.iter_mut().enumerate() {
                let own = || buffers.iter().map(|buffers| buffers[place]);
                let differs = own().max().unwrap().saturating_sub(own().min().unwrap());
                *most = differs.max(*most);
            }
        }
    }
    most
}

/// The same rig with so much less on each GPU and in RAM.
fn smaller(rig: &Rig, [on_gpu, in_ram]: [Bytes; 2]) -> Rig {
    let devices = rig.devices().iter().map(|device| Device {
        memory: device.memory.saturating_sub(on_gpu),
        ..device.clone()
    });
    let host = rig.host().map(|host| Host {
        memory: host.memory.saturating_sub(in_ram),
        ..host.clone()
    });
    Rig::new(devices.collect(), host).unwrap()
}

/// Whether a plan is found where there is one, and is the best of all. Where some of the chain is in
/// RAM a mix has the largest buffers of its recipes, so that it is between the best of the rig and
/// that of one which is smaller by as much as buffers differ: mostly these are equal.
fn holds(scenario: &Scenario, table: &[(Recipe, u64)]) -> Result<(), TestCaseError> {
    let penalties = table.iter();
    let penalties = penalties.map(|(recipe, penalty)| (*recipe, *penalty as f64));
    let penalties: BTreeMap<_, _> = penalties.collect();
    let wanted = counted_out(scenario, &penalties);
    let at_most = match wanted {
        Some((0, _)) | None => wanted,
        Some(_) => {
            let mut tight = scenario.clone();
            tight.rig = smaller(&scenario.rig, spread(scenario, &penalties));
            counted_out(&tight, &penalties)
        }
    };
    match (scenario.plan(), wanted) {
        (Ok(plan), Some((wanted_rank, wanted))) => {
            prop_assert_eq!(plan.proof.status, Status::Optimal);
            let (rank, found) = (rank(&plan, scenario), plan.proof.objective.number());
            let (last, most) = at_most.unwrap_or((usize::MAX, f64::INFINITY));
            eprintln!(
                "SEEN {rank} {} bind {} sharp {}",
                plan.proof.solver.contains("labels of RAM"),
                penalties.values().all(|p| (p - found).abs() > 1e-3),
                (most - wanted).abs() < 1e-3
            );
            prop_assert!((wanted_rank..=last).contains(&rank));
            prop_assert!(
                found > wanted - 1e-3 || rank > wanted_rank,
                "{} and {}",
                found,
                wanted
            );
            prop_assert!(found < most + 1e-3 || rank < last, "{} and {}", found, most);
            let mix = plan.mix().unwrap().unwrap();
            prop_assert!((penalty(&scenario.model, &mix, &penalties) - found).abs() < 1e-3);
            let read = Plan::from_yaml(&plan.to_yaml(), "plan.yaml").unwrap();
            prop_assert_eq!(&read, &plan);
        }
        (Err(ScenarioError::Infeasible(infeasible)), wanted) => {
            prop_assert!(wanted.is_none() || at_most.is_none());
            prop_assert!(infeasible.is_proven() != any_alone(scenario, &penalties));
        }
        (found, wanted) => prop_assert!(false, "{:?} and {:?}", found.map(|it| it.proof), wanted),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn no_other_mix_is_better(
        n_blocks in 2..=3_u32,
        table in tables(),
        cards in proptest::collection::vec(600..2_200_u64, 1..=3),
        ram in proptest::option::of(600..3_000_u64),
    ) {
        holds(&scenario(small(n_blocks), rig(&cards, ram), &table), &table)?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    /// Cards that hold the head and little more.
    #[test]
    fn no_other_mix_with_parts_in_ram_is_better(
        table in tables(),
        cards in proptest::collection::vec(1_150..1_500_u64, 1..=2),
        ram in 850..1_700_u64,
    ) {
        holds(&scenario(small(3), rig(&cards, Some(ram)), &table), &table)?;
    }

    #[test]
    fn no_other_mix_with_experts_in_ram_is_better(
        table in tables(),
        cards in proptest::collection::vec(900..1_500_u64, 1..=2),
        ram in 700..2_400_u64,
    ) {
        let model = first_blocks("qwen3-30b-a3b", 3);
        holds(&scenario(model, rig(&cards, Some(ram)), &table), &table)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(30) })]

    #[test]
    fn no_other_mix_is_better_within_a_time(
        n_blocks in 2..=3_u32,
        table in tables(),
        cards in proptest::collection::vec(600..2_200_u64, 1..=3),
        rates in proptest::collection::vec(200..1_000_u64, 3),
        ram in proptest::option::of(600..3_000_u64),
        share in 0.95..1.6_f64,
        weights in proptest::collection::vec(1..5_u32, 3),
    ) {
        let mut scenario = scenario(small(n_blocks), rig(&cards, ram), &table);
        let devices = scenario.rig.devices().iter().zip(&rates);
        let devices = devices.map(|(device, rate)| Device {
            bandwidth: BytesPerSecond(*rate as f64 * 1e9),
            ..device.clone()
        });
        scenario.rig = Rig::new(devices.collect(), scenario.rig.host().cloned()).unwrap();
        let own = scenario.terms.penalties.as_mut().unwrap();
        let by_block = weights.iter().zip(0..n_blocks);
        own.by_block = by_block.map(|(weight, block)| (block..block + 1, f64::from(*weight))).collect();
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let penalties = table.iter().map(|(recipe, penalty)| (*recipe, *penalty as f64));
        let penalties: BTreeMap<_, _> = penalties.collect();

        let tight = Scenario {
            rig: smaller(&scenario.rig, spread(&scenario, &penalties)),
            ..scenario.clone()
        };
        let in_tight = fastest(&tight, &penalties, &weights);
        let all = fastest(&scenario, &penalties, &weights);
        let least = all.iter().map(|(time, _)| time.0).fold(f64::INFINITY, f64::min);
        let most = if least.is_finite() { least * share } else { 1.0 };
        scenario.terms.max_time_per_token = Some(Seconds(most));
        // A picosecond is not told apart.
        let keeps = all.iter().filter(|(time, _)| time.0 <= most + 1e-11);
        let wanted = keeps.map(|(_, penalty)| *penalty).fold(f64::INFINITY, f64::min);
        let keeps = in_tight.iter().filter(|(time, _)| time.0 <= most);
        let at_most = keeps.map(|(_, penalty)| *penalty).fold(f64::INFINITY, f64::min);
        match scenario.plan() {
            Ok(plan) => {
                prop_assert_eq!(plan.proof.status, Status::Optimal);
                let found = plan.proof.objective.number();
                prop_assert!(found > wanted - 1e-3, "{} and {}", found, wanted);
                prop_assert!(found < at_most + 1e-3, "{} and {}", found, at_most);
                let mix = plan.mix().unwrap().unwrap();
                let cost = weighed(&scenario.model, &mix, &penalties, &weights);
                prop_assert!((cost - found).abs() < 1e-3, "{} and {}", cost, found);
                prop_assert!(1.0 / plan.estimate.decode_tokens_per_second.mid <= most * 1.001);
                let read = Plan::from_yaml(&plan.to_yaml(), "plan.yaml").unwrap();
                prop_assert_eq!(&read, &plan);
            }
            Err(ScenarioError::TooSlow(slow)) => {
                let slowest = in_tight.iter().map(|(time, _)| time.0).fold(f64::INFINITY, f64::min);
                prop_assert!(at_most.is_infinite() && slow.is_proven);
                let fastest = slow.fastest.0;
                prop_assert!(fastest > least - 1e-10, "{} and {}", fastest, least);
                prop_assert!(fastest < slowest + 1e-10, "{} and {}", fastest, slowest);
            }
            Err(ScenarioError::Infeasible(no)) => {
                prop_assert!(at_most.is_infinite());
                prop_assert!(no.is_proven() != any_alone(&scenario, &penalties));
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

#[test]
fn a_mix_that_was_edited_is_refused() {
    let table = [(Recipe::Q4KM, 30), (Recipe::Q8_0, 1)];
    let scenario = scenario(small(3), rig(&[1_900], None), &table);
    let plan = scenario.plan().unwrap();
    let verdict = |plan: &Plan| {
        let precision = plan.precision.parse().unwrap();
        check::verify(plan, &scenario.model, precision, &scenario.workload).unwrap()
    };
    assert_eq!(verdict(&plan), Ok(()));
    let recipes: Vec<_> = plan.mix.iter().flat_map(|mix| &mix.blocks).collect();
    assert!(recipes.len() > 1, "{recipes:?}");

    let mut edited = plan.clone();
    let blocks = &mut edited.mix.as_mut().unwrap().blocks;
    blocks[0].precision = "q5_k_m".to_owned();
    assert!(verdict(&edited).is_err(), "other formats");
    edited.mix.as_mut().unwrap().blocks.pop();
    assert!(edited.check().is_err(), "a block without a recipe");
    let mut edited = plan;
    edited.mix.as_mut().unwrap().tensors.pop();
    assert!(verdict(&edited).is_err(), "a tensor without a format");
}

#[test]
fn more_recipes_never_cost_quality() {
    let all = [(Recipe::Q4KM, 300), (Recipe::Q6K, 50), (Recipe::Q8_0, 10)];
    let worth = |table: &[(Recipe, u64)]| {
        let plan = scenario(small(6), rig(&[1_500, 1_400], None), table).plan();
        plan.map_or(f64::INFINITY, |plan| plan.proof.objective.number())
    };
    let alone = all
        .map(|one| worth(&[one]))
        .into_iter()
        .fold(f64::INFINITY, f64::min);
    let mixed = worth(&all);
    assert!(mixed < alone, "{mixed} and {alone}");
}
