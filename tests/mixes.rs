//! Mixes of recipes: no other choice of a recipe for every block is better, counted out on small
//! models, each choice priced and placed as the file that it is.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "mixes/counted.rs"]
mod counted;

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::subsequence;
use shardplan::cost::Accounting;
use shardplan::cost::llama_cpp::LlamaCpp;
use shardplan::hardware::{Device, Rig};
use shardplan::model::recipe::Recipe;
use shardplan::plan::{Plan, Status, check};
use shardplan::scenario::{Scenario, ScenarioError};
use shardplan::units::{BytesPerSecond, Seconds};

use counted::{
    any_alone, counted_out, fastest, first_blocks, penalty, rig, scenario, small, smaller, spread,
    weighed,
};

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

/// In GB/s.
fn rates() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(200..1_000_u64, 3)
}

fn at_rates(mut scenario: Scenario, rates: &[u64]) -> Scenario {
    let devices = scenario.rig.devices().iter().zip(rates);
    let devices = devices.map(|(device, rate)| Device {
        bandwidth: BytesPerSecond(*rate as f64 * 1e9),
        ..device.clone()
    });
    scenario.rig = Rig::new(devices.collect(), scenario.rig.host().cloned()).unwrap();
    scenario
}

/// The same within a share of the least time, where blocks are so sensitive beside each other.
fn holds_within(
    mut scenario: Scenario,
    table: &[(Recipe, u64)],
    weights: &[u32],
    share: f64,
) -> Result<(), TestCaseError> {
    let own = scenario.terms.penalties.as_mut().unwrap();
    let by_block = weights.iter().zip(0..scenario.model.dimensions.n_layers);
    own.by_block = by_block
        .map(|(weight, block)| (block..block + 1, f64::from(*weight)))
        .collect();
    let weights: Vec<f64> = weights.iter().copied().map(f64::from).collect();
    let penalties = table.iter();
    let penalties = penalties.map(|(recipe, penalty)| (*recipe, *penalty as f64));
    let penalties: BTreeMap<_, _> = penalties.collect();

    let tight = Scenario {
        rig: smaller(&scenario.rig, spread(&scenario, &penalties)),
        ..scenario.clone()
    };
    let in_tight = fastest(&tight, &penalties, &weights);
    let all = fastest(&scenario, &penalties, &weights);
    let times = all.iter().map(|(time, _)| time.0);
    let least = times.fold(f64::INFINITY, f64::min);
    let most = if least.is_finite() {
        least * share
    } else {
        1.0
    };
    scenario.terms.max_time_per_token = Some(Seconds(most));
    // A few picoseconds are not told apart.
    let keeps = all.iter().filter(|(time, _)| time.0 <= most + 2e-11);
    let penalty_of = |(_, penalty): &(Seconds, f64)| *penalty;
    let wanted = keeps.map(penalty_of).fold(f64::INFINITY, f64::min);
    let keeps = in_tight.iter().filter(|(time, _)| time.0 <= most - 2e-11);
    let at_most = keeps.map(penalty_of).fold(f64::INFINITY, f64::min);
    match scenario.plan() {
        Ok(plan) => {
            prop_assert_eq!(plan.proof.status, Status::Optimal);
            let found = plan.proof.objective.number();
            prop_assert!(found > wanted - 1e-3, "{} and {}", found, wanted);
            prop_assert!(found < at_most + 1e-3, "{} and {}", found, at_most);
            let mix = plan.mix().unwrap().unwrap();
            let cost = weighed(&scenario.model, &mix, &penalties, &weights);
            prop_assert!((cost - found).abs() < 1e-3, "{} and {}", cost, found);
            let time = 1.0 / plan.estimate.decode_tokens_per_second.mid;
            prop_assert!(time <= most * 1.001);
            prop_assert_eq!(plan.proof.goal.as_str(), "quality, decode");
            let as_good = in_tight.iter().filter(|(_, cost)| *cost < found + 1e-6);
            for (other, _) in as_good {
                prop_assert!(time < other.0 * 1.002, "{} and {}", time, other.0);
            }
            let read = Plan::from_yaml(&plan.to_yaml(), "plan.yaml").unwrap();
            prop_assert_eq!(&read, &plan);
        }
        Err(ScenarioError::TooSlow(slow)) => {
            let times = in_tight.iter().map(|(time, _)| time.0);
            let slowest = times.fold(f64::INFINITY, f64::min);
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
        rates in rates(),
        ram in proptest::option::of(600..3_000_u64),
        share in 0.95..1.6_f64,
        weights in proptest::collection::vec(1..5_u32, 3),
    ) {
        let scenario = scenario(small(n_blocks), rig(&cards, ram), &table);
        holds_within(at_rates(scenario, &rates), &table, &weights, share)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) })]

    /// Cards that hold the head and little more, and RAM that is mostly short as well.
    #[test]
    fn no_other_mix_with_parts_in_ram_is_better_within_a_time(
        table in tables(),
        cards in proptest::collection::vec(1_150..1_500_u64, 1..=2),
        rates in rates(),
        ram in 850..1_700_u64,
        share in 0.98..1.8_f64,
        weights in proptest::collection::vec(1..5_u32, 3),
    ) {
        let scenario = scenario(small(3), rig(&cards, Some(ram)), &table);
        holds_within(at_rates(scenario, &rates), &table, &weights, share)?;
    }

    #[test]
    fn no_other_mix_with_experts_in_ram_is_better_within_a_time(
        table in tables(),
        cards in proptest::collection::vec(900..1_500_u64, 1..=2),
        rates in rates(),
        ram in 700..2_400_u64,
        share in 0.98..1.8_f64,
        weights in proptest::collection::vec(1..5_u32, 3),
    ) {
        let model = first_blocks("qwen3-30b-a3b", 3);
        let scenario = scenario(model, rig(&cards, Some(ram)), &table);
        holds_within(at_rates(scenario, &rates), &table, &weights, share)?;
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
