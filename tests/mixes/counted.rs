//! Small models and rigs, and every mix of them counted out: each is priced and placed as the file
//! that it is. What is held against it is in `tests/mixes.rs`.

use std::collections::BTreeMap;

use shardplan::cost::llama_cpp::LlamaCpp;
use shardplan::cost::{
    Accounting, ColumnSet, Fit, Layout, Place, Position, Span, Store, Target, Whole,
};
use shardplan::hardware::{self, Device, DeviceId, Host, Rig};
use shardplan::model::mix::Mix;
use shardplan::model::recipe::Recipe;
use shardplan::model::{self, Model, Part, Precision};
use shardplan::scenario::{Candidates, Penalties, Scenario, Terms};
use shardplan::solve::dynamic::{self, Answer};
use shardplan::solve::{Effort, Stop};
use shardplan::units::{Bytes, Seconds, Tokens};
use shardplan::workload::Workload;

/// A model of a few blocks.
pub(crate) fn small(n_blocks: u32) -> Model {
    first_blocks("llama-3-8b", n_blocks)
}

/// The first blocks of a model.
pub(crate) fn first_blocks(name: &str, n_blocks: u32) -> Model {
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
pub(crate) fn rig(cards: &[u64], ram: Option<u64>) -> Rig {
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

pub(crate) fn scenario(model: Model, rig: Rig, penalties: &[(Recipe, u64)]) -> Scenario {
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
pub(crate) fn penalty(model: &Model, mix: &Mix, penalties: &BTreeMap<Recipe, f64>) -> f64 {
    weighed(model, mix, penalties, &vec![1.0; mix.blocks.len()])
}

/// The same where blocks are more or less sensitive than others, and all together as much as ever.
pub(crate) fn weighed(
    model: &Model,
    mix: &Mix,
    penalties: &BTreeMap<Recipe, f64>,
    weights: &[f64],
) -> f64 {
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
pub(crate) fn mixes(n_blocks: u32, penalties: &BTreeMap<Recipe, f64>) -> impl Iterator<Item = Mix> {
    let recipes: Vec<_> = penalties.keys().copied().collect();
    (0..recipes.len().pow(n_blocks + 1)).map(move |code| {
        let recipe = |place: u32| recipes[code / recipes.len().pow(place) % recipes.len()];
        Mix {
            rest: recipe(n_blocks),
            blocks: (0..n_blocks).map(recipe).collect(),
        }
    })
}

/// Weights read from disk are left to plans of one recipe.
pub(crate) fn is_in_memory(layout: &Layout) -> bool {
    layout.store() == Store::Ram
}

/// The least time of a token in a layout, where it has a plan.
pub(crate) fn time(accounting: &LlamaCpp<'_>, layout: Layout) -> Option<Seconds> {
    let set = ColumnSet::new(accounting, layout, Fit::Strict, &[]);
    match dynamic::shortest(&set, Effort::Plan, &Stop::default()) {
        Answer::Path { cost, .. } => Some(cost.seconds()),
        Answer::None => None,
        Answer::TooManyOrders => panic!("small problems are counted out"),
    }
}

/// The best of all mixes: the earliest rank, then the least penalty.
pub(crate) fn counted_out(
    scenario: &Scenario,
    penalties: &BTreeMap<Recipe, f64>,
) -> Option<(usize, f64)> {
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
pub(crate) fn fastest(
    scenario: &Scenario,
    penalties: &BTreeMap<Recipe, f64>,
    weights: &[f64],
) -> Vec<(Seconds, f64)> {
    let Scenario { model, rig, .. } = scenario;
    let least = |mix: &Mix| {
        let formats = mix.formats(model).unwrap();
        let accounting = LlamaCpp::of_formats(model, formats, rig, &scenario.workload).unwrap();
        let layouts = accounting
            .ranks()
            .into_iter()
            .flatten()
            .filter(is_in_memory);
        let times = layouts.filter_map(|layout| time(&accounting, layout));
        times.min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let all = mixes(model.dimensions.n_layers, penalties);
    all.filter_map(|mix| Some((least(&mix)?, weighed(model, &mix, penalties, weights))))
        .collect()
}

/// Whether the smallest recipe alone has a plan, by whatever layout: then no mix is called impossible.
pub(crate) fn any_alone(scenario: &Scenario, penalties: &BTreeMap<Recipe, f64>) -> bool {
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

/// By how much buffers differ between files of one recipe each, on a GPU and in RAM, where some of
/// the chain is in RAM. There a mix is planned for the largest of them.
pub(crate) fn spread(scenario: &Scenario, penalties: &BTreeMap<Recipe, f64>) -> [Bytes; 2] {
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
pub(crate) fn smaller(rig: &Rig, [on_gpu, in_ram]: [Bytes; 2]) -> Rig {
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
