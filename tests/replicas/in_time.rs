//! Replicas where the time is over before anything was searched.

use super::*;

#[test]
fn where_time_is_over_the_answer_holds_and_lists_no_rule_that_was_not_tried() {
    for target in [Target::Vllm, Target::Sglang] {
        let asked = scenario("4x RTX 4090 + 4x RTX 3060", target, Objective::Serving);
        let full = replicas(&asked, Number::Auto).unwrap();
        // Without a limit the answer is the same again.
        assert_eq!(full, replicas(&asked, Number::Auto).unwrap());
        asked.terms.stop.set();
        let short = in_no_time(&asked);
        let read = Document::from_yaml(&short.to_yaml(), "fleet").unwrap();
        assert_eq!(read, Document::Fleet(short.clone()));
        assert!(short.proof.bound.number() >= full.proof.objective.number() * (1.0 - 1e-6));
        // What was left out was not tried; what is listed is as possible as it is.
        assert!(short.baselines.len() < full.baselines.len());
        for rule in &short.baselines {
            let mut known = full.baselines.iter();
            assert!(known.any(|it| it.name == rule.name && it.feasible == rule.feasible));
        }
    }
    let many = scenario(
        "120x RTX 4090 + 60x RTX 3060",
        Target::Vllm,
        Objective::Serving,
    );
    many.terms.stop.set();
    // One rule was enough, beside those of parts that are too small.
    let rules = in_no_time(&many).baselines;
    assert_eq!(rules.iter().filter(|rule| rule.feasible).count(), 1);
}

/// An answer after its time, which holds all the same.
fn in_no_time(asked: &Scenario) -> Fleet {
    let fleet = replicas(asked, Number::Auto).unwrap();
    assert!(fleet.proof.bound.number() >= fleet.proof.objective.number());
    fleet
}
