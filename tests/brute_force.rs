//! The solver against everything that could be done: on small problems a search that tries every
//! plan finds the same optimum, to the picosecond, and the same least of missing bytes. Beside it
//! the laws that any optimum keeps, whatever the prices are.
//!
//! Every case is drawn from a fixed seed, so that a failure is the same failure again.

#[path = "brute_force/document.rs"]
mod document;
#[path = "brute_force/laws.rs"]
mod laws;
#[path = "brute_force/real.rs"]
mod real;
#[path = "brute_force/search.rs"]
mod search;
#[path = "brute_force/toy.rs"]
mod toy;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseError};
use shardplan::cost::column::Cost;
use shardplan::cost::{Accounting, Offload};
use shardplan::solve::{self, Backend, Solution, Status};
use shardplan::units::Bytes;

use search::Price;
use toy::{Case, Toy};

/// So many cases from a fixed seed.
pub(crate) fn seeded(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Holds the solver's answer against the search's.
pub(crate) fn agrees(accounting: &dyn Accounting) -> Result<(), TestCaseError> {
    let best = search::best(accounting);
    match solve::solve(accounting, Backend::default()) {
        Ok(solution) => {
            prop_assert_eq!(Some(Cost::from(solution.proof.objective)), best);
            holds(accounting, &solution)
        }
        Err(infeasible) => {
            prop_assert_eq!(best, None);
            let missing: Bytes = infeasible.reasons.iter().map(|r| r.missing).sum();
            let least = search::least_missing(accounting);
            prop_assert_eq!(missing, least.unwrap_or(Bytes::ZERO), "{}", infeasible);
            Ok(())
        }
    }
}

/// A solution is a plan: its stages follow each other on devices of their own, fit, and take the
/// time that it claims; nothing is left open in its proof.
fn holds(accounting: &dyn Accounting, solution: &Solution) -> Result<(), TestCaseError> {
    let proof = &solution.proof;
    prop_assert_eq!(proof.status, Status::Optimal);
    prop_assert_eq!(proof.bound, proof.objective);
    prop_assert!(!proof.method.contains("gave none"), "{}", proof.method);
    let mut done = 0;
    let mut places = BTreeSet::new();
    for span in &solution.stages {
        prop_assert_eq!(span.units.start, done);
        prop_assert!(!span.units.is_empty());
        prop_assert!(places.insert(span.place), "{:?} twice", span.place);
        done = span.units.end;
    }
    prop_assert_eq!(done, accounting.units().len());
    let claimed = Price {
        cost: Cost::from(proof.objective),
        missing: Bytes::ZERO,
    };
    let found = search::price(accounting, solution.layout, &solution.stages);
    prop_assert_eq!(found, claimed);
    Ok(())
}

proptest! {
    #![proptest_config(seeded(2000))]

    #[test]
    fn the_solver_finds_what_trying_every_plan_finds(case in toy::cases()) {
        agrees(&Toy::new(&case))?;
    }
}

#[test]
fn a_card_too_many_is_left_out_and_a_slow_one_is_last_to_fill() {
    let case = Case {
        units: vec![4, 4, 4],
        cards: vec![(30, 10), (14, 40), (30, 20)],
        ram: None,
        offload: Offload::Refused,
        base: 0,
        hop: 100,
    };
    // All on the fastest would need 15 MiB; 8 on it and 4 on the next, by hand: 12 MiB at 4 GB/s
    // are 3.1 ms, and no split is below 2 × 4 MiB / 4 GB/s + 4 MiB / 2 GB/s + 0.1 ms = 4.294 ms.
    let solution = solve::solve(&Toy::new(&case), Backend::default());
    let time = solution.map(|solution| Cost::from(solution.proof.objective));
    assert_eq!(time.ok(), Some(Cost(4_294_304_000)));
}
