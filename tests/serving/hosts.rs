//! Engines on several hosts: what passes between them, as many stages on each, and a script for each.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use shardplan::cost::Target;
use shardplan::emit;
use shardplan::plan::{Plan, Status, members};
use shardplan::scenario::Constraint;
use shardplan::solve::Objective;
use shardplan::units::Bytes;

use crate::{scenario, with};

/// Two hosts, the second with a card more.
const HOSTS: &str = "host one, 4x L4; host two, 5x L4; network 25 GbE";

#[test]
fn groups_stay_on_their_host_and_each_host_has_as_many_stages() {
    for (degree, stages) in [(1, 4), (2, 2), (4, 1)] {
        for target in [Target::Vllm, Target::Sglang] {
            let asked = scenario("llama-3-70b", HOSTS, target, "fp8");
            let plan = with(asked, &[Constraint::TensorParallel(degree)])
                .plan()
                .unwrap();
            assert_eq!(plan.proof.status, Status::Optimal);
            let service = plan.service.unwrap();
            assert_eq!(
                (service.pipeline, service.stages_per_host),
                (2 * stages, stages)
            );
            let runs = plan.device_map.runs.iter();
            let hosts: Vec<_> = runs
                .map(|run| {
                    let own = members(&run.device).map(|name| name.starts_with("two."));
                    let own: Vec<_> = own.collect();
                    assert!(own.iter().all(|host| *host == own[0]), "{}", run.device);
                    own[0]
                })
                .collect();
            let changes = hosts.windows(2).filter(|pair| pair[0] != pair[1]);
            assert_eq!(changes.count(), 1, "{hosts:?}");
            // Two vectors of 8192 numbers of 16 bits.
            let [crossing] = plan.crossings.as_slice() else {
                panic!("{:?}", plan.crossings)
            };
            assert_eq!(crossing.bytes, Bytes(32_768));
            assert_eq!(Plan::from_yaml(&plan.to_yaml(), "plan.yaml").unwrap(), plan);
        }
    }
}

#[test]
fn every_host_is_told_its_number_and_the_whole_partition() {
    for (target, others) in [(Target::Vllm, true), (Target::Sglang, false)] {
        let asked = scenario("llama-3-70b", HOSTS, target, "fp8");
        let plan = with(asked, &[Constraint::TensorParallel(2)])
            .plan()
            .unwrap();
        let emission = emit::emit(&plan, target).unwrap();
        assert_eq!(emission.files.len(), 2);
        let first = plan.crossings[0].from.as_str();
        for (rank, (name, script)) in emission.files.iter().enumerate() {
            assert!(script.contains("_PP_LAYER_PARTITION="), "{script}");
            assert!(
                script.contains(&format!("--nnodes 2 --node-rank {rank} ")),
                "{script}"
            );
            assert!(script.contains(&format!("-addr {first}")), "{script}");
            assert_eq!(script.contains("--headless"), others && rank > 0);
            assert_eq!(name.contains(&plan.crossings[0].to), rank > 0, "{name}");
        }
    }
}

#[test]
fn one_host_alone_is_told_of_no_others() {
    let asked = scenario("llama-3-8b", HOSTS, Target::Vllm, "bf16");
    let alone: Vec<_> = (0..4)
        .map(|card| Constraint::forbid(&format!("cuda{card}")))
        .collect();
    let plan = with(asked, &alone).plan().unwrap();
    assert!(plan.crossings.is_empty());
    let emission = emit::emit(&plan, Target::Vllm).unwrap();
    assert_eq!(emission.files.len(), 1);
    assert!(
        emission.launch.starts_with("# on two:\n"),
        "{}",
        emission.launch
    );
    assert!(!emission.launch.contains("--nnodes"));
}

#[test]
fn a_plan_that_leaves_hosts_unequal_is_refused() {
    let asked = scenario("llama-3-70b", HOSTS, Target::Vllm, "fp8");
    let plan = with(asked, &[Constraint::TensorParallel(1)])
        .plan()
        .unwrap();
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut edited = plan.clone();
        change(&mut edited);
        assert!(edited.check().is_err());
    };
    assert_eq!(plan.check(), Ok(()));
    refused(&|plan| plan.crossings.clear());
    refused(&|plan| {
        let (mine, other) = (plan.device_map.runs[0].device.clone(), 4);
        plan.device_map.runs[0].device = plan.device_map.runs[other].device.clone();
        plan.device_map.runs[other].device = mine;
        plan.device_map.modules.embedding = plan.device_map.runs[0].device.clone();
    });
    refused(&|plan| {
        if let Some(service) = &mut plan.service {
            service.stages_per_host = 0;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Engines are started on as many cards of each host, and what is left over is of no use; a faster
    /// network never costs tokens a second.
    #[test]
    fn a_faster_network_never_serves_less(
        cards in prop::collection::vec(10..=24_u64, 2..=4),
        at in 1..=3_usize,
    ) {
        let at = at.min(cards.len() - 1);
        let rate = |network: &str| {
            let card = |gib: &u64| format!("{gib} GiB@500 GB/s");
            let of = |cards: &[u64]| cards.iter().map(card).collect::<Vec<_>>().join(" + ");
            let (one, two) = (of(&cards[..at]), of(&cards[at..]));
            let rig = format!("host one, {one}; host two, {two}; network {network}");
            let mut asked = scenario("llama-3-8b", &rig, Target::Vllm, "fp16");
            asked.terms.goal.objectives = vec![Objective::Serving];
            asked.plan().map_or(0.0, |plan| plan.proof.objective.number())
        };
        let (slow, fast) = (rate("1 GbE"), rate("25 GbE"));
        prop_assert!(fast >= slow, "{cards:?} {slow} {fast}");
    }
}
