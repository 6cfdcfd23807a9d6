//! Plans for vLLM and SGLang: what is published of them, what must never be planned, and laws that
//! the tokens in the cache keep.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "serving/hosts.rs"]
mod hosts;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use shardplan::cost::Target;
use shardplan::cost::serving::Server;
use shardplan::emit;
use shardplan::plan::{Plan, Status, members};
use shardplan::scenario::{Constraint, Scenario, ScenarioError, Terms, usual_context};
use shardplan::solve::{Goal, Objective};
use shardplan::workload::Workload;
use shardplan::{hardware, model};

pub(crate) fn scenario(model: &str, rig: &str, target: Target, precision: &str) -> Scenario {
    let model = model::open(model).unwrap();
    let context = usual_context(&model);
    Scenario {
        rig: hardware::read(rig).unwrap(),
        target,
        precision: precision.parse().unwrap(),
        workload: Workload {
            ubatch: target.usual_ubatch(),
            ..Workload::of_context(context)
        },
        terms: Terms {
            goal: Goal {
                objectives: vec![Objective::Kv],
                ..Goal::default()
            },
            ..Terms::default()
        },
        model,
    }
}

pub(crate) fn with(mut scenario: Scenario, constraints: &[Constraint]) -> Scenario {
    scenario.terms.constraints = constraints.to_vec();
    scenario
}

fn resident(plan: &Plan) -> u64 {
    plan.service.unwrap().resident_tokens
}

/// What the engine's own split would keep.
fn by_default(plan: &Plan) -> u64 {
    let mut rules = plan.baselines.iter();
    let own = rules.find(|rule| rule.name == "engine-default").unwrap();
    own.resident_tokens.unwrap()
}

fn lengths(plan: &Plan) -> Vec<u32> {
    let runs = plan.device_map.runs.iter();
    runs.map(|run| run.layers.end() - run.layers.start() + 1)
        .collect()
}

#[test]
fn an_engine_divides_blocks_as_its_source_does() {
    // Read off `get_pp_indices` of both, which was run.
    assert_eq!(Server::Vllm.split(80, 3), [27, 27, 26]);
    assert_eq!(Server::Vllm.split(82, 4), [20, 21, 21, 20]);
    assert_eq!(Server::Sglang.split(80, 3), [26, 27, 27]);
    assert_eq!(Server::Vllm.split(80, 8), [10; 8]);
    assert_eq!(Server::Vllm.split(3, 1), [3]);
    assert_eq!(Server::Vllm.split(32, 5), [6, 6, 7, 7, 6]);
    assert_eq!(Server::Vllm.split(7, 4), [2, 2, 2, 1]);
}

#[test]
fn a_tower_looks_up_positions_that_no_head_shares() {
    // Gemma 3's head is its embedding. Its tower has a table of its own, which was counted with it.
    let config = "tests/fixtures/configs/gemma-3-27b.json";
    let one = [Constraint::TensorParallel(1)];
    let on = |target, rig| with(scenario(config, rig, target, "bf16"), &one).plan();
    let plan = on(Target::Vllm, "3x 40 GiB@900 GB/s").unwrap();
    assert!(plan.service.unwrap().pipeline > 1);
    // SGLang has no pipeline of it.
    assert!(on(Target::Sglang, "2x 40 GiB@900 GB/s").is_err());
    let plan = on(Target::Sglang, "2x 90 GiB@900 GB/s").unwrap();
    assert_eq!(plan.service.unwrap().pipeline, 1);
}

#[test]
fn eight_l4_keep_more_with_fewer_blocks_on_the_first_and_the_last() {
    // vLLM #6920 moved blocks off both, and the cache had 3078 blocks of 16 tokens instead of 1476.
    let one = [Constraint::TensorParallel(1)];
    let plan_at = |precision| {
        let asked = scenario("llama-3-70b", "8x L4", Target::Vllm, precision);
        with(asked, &one).plan().unwrap()
    };
    let plan = plan_at("bf16");
    assert_eq!(plan.proof.status, Status::Optimal);
    let lengths = lengths(&plan);
    let middle = lengths[1..7].iter().max().unwrap();
    assert!(lengths[0] < *middle && lengths[7] < *middle, "{lengths:?}");
    assert!(resident(&plan) >= 2 * by_default(&plan));
    // At 8 bits the weights leave most of a card, and no accounting doubles what is left.
    let plan = plan_at("fp8");
    let ratio = resident(&plan) as f64 / by_default(&plan) as f64;
    assert!((1.05..1.3).contains(&ratio), "{ratio}");
}

#[test]
fn what_is_gained_over_a_rule_is_a_share_of_the_greater() {
    for objective in [Objective::Kv, Objective::Serving] {
        let mut asked = scenario("llama-3-70b", "8x L4", Target::Vllm, "bf16");
        asked.terms.goal.objectives = vec![objective];
        let plan = with(asked, &[Constraint::TensorParallel(1)])
            .plan()
            .unwrap();
        let fitting = plan.baselines.iter().filter(|rule| rule.feasible);
        let gains: Vec<_> = fitting
            .map(|rule| {
                let share = rule.worth.unwrap().number() / plan.proof.objective.number();
                assert_eq!(plan.gain(rule), Some(1.0 - share), "{}", rule.name);
                1.0 - share
            })
            .collect();
        assert!(
            gains.iter().all(|gain| (0.0..1.0).contains(gain)),
            "{gains:?}"
        );
        assert!(
            gains.iter().any(|gain| *gain > 0.0),
            "{objective}: {gains:?}"
        );
    }
}

#[test]
fn unlike_cards_hold_in_a_pipeline_what_they_cannot_share() {
    // vLLM #6824: sharing takes the smaller of both cards twice.
    for (name, rig, precision) in [
        ("qwen2.5-14b", "9 GiB@288 GB/s + 22 GiB@300 GB/s", "fp8"),
        ("qwen2.5-32b", "30 GB@900 GB/s + 50 GB@900 GB/s", "bf16"),
    ] {
        let asked = || scenario(name, rig, Target::Vllm, precision);
        let plan = asked().plan().unwrap();
        assert_eq!(plan.proof.status, Status::Optimal);
        assert_eq!(plan.service.unwrap().pipeline, 2);
        let shared = with(asked(), &[Constraint::TensorParallel(2)]).plan();
        assert!(matches!(shared, Err(ScenarioError::Infeasible(_))));
    }
}

#[test]
fn groups_are_cut_into_stages_and_each_gpu_is_told() {
    let asked = scenario("llama-3-70b", "6x RTX 4090", Target::Sglang, "fp8");
    let plan = with(asked, &[Constraint::TensorParallel(2)])
        .plan()
        .unwrap();
    let service = plan.service.unwrap();
    assert_eq!((service.tensor_parallel, service.pipeline), (2, 3));
    let runs = plan.device_map.runs.iter();
    let runs: Vec<_> = runs.map(|run| run.device.as_str()).collect();
    assert_eq!(runs, ["cuda0+cuda1", "cuda2+cuda3", "cuda4+cuda5"]);
    let launch = emit::emit(&plan, Target::Sglang).unwrap().launch;
    for words in [
        "CUDA_VISIBLE_DEVICES=0,1,2,3,4,5 ",
        "--pp-size 3 --tp-size 2 ",
        &format!("--mem-fraction-static {} ", service.memory_fraction),
    ] {
        assert!(launch.contains(words), "{words}: {launch}");
    }
}

#[test]
fn a_forbidden_card_is_in_no_group_and_a_pin_is_kept() {
    let asked = || scenario("llama-3-8b", "4x RTX 3090", Target::Vllm, "bf16");
    let fixed = [
        Constraint::forbid("cuda1"),
        Constraint::TensorParallel(2),
        Constraint::pin("layer 3=cuda2").unwrap(),
    ];
    let plan = with(asked(), &fixed).plan().unwrap();
    assert!(plan.used_gpus().iter().all(|name| *name != "cuda1"));
    assert_eq!(plan.rig, asked().rig);
    let home = plan.device_of(3).unwrap();
    assert!(members(home).any(|name| name == "cuda2"), "{home}");
    let head = [
        Constraint::pin("head=cuda3").unwrap(),
        Constraint::TensorParallel(1),
    ];
    let plan = with(asked(), &head).plan().unwrap();
    assert_eq!(plan.device_map.modules.head, "cuda3");
    let none = with(asked(), &[Constraint::TensorParallel(3)]).plan();
    let error = none.unwrap_err().to_string();
    assert!(error.contains("`--tp 1`, `--tp 2`, `--tp 4`"), "{error}");
}

#[test]
fn experts_are_stored_in_8_bits_where_they_are_asked_for() {
    // 671 billion parameters; transformers would leave the experts at 16 bits.
    let asked = scenario("deepseek-v3", "16x H100 SXM", Target::Vllm, "fp8");
    let plan = asked.plan().unwrap();
    let weights: u64 = plan.devices.iter().map(|it| it.memory.weights.0).sum();
    assert!((660..720).contains(&(weights / 1_000_000_000)), "{weights}");
}

#[test]
fn what_no_engine_does_is_refused_with_a_way_out() {
    let refused = |scenario: Scenario, words: &str| {
        let error = scenario.plan().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let asked = |rig, precision| scenario("llama-3-8b", rig, Target::Vllm, precision);
    refused(asked("ram 64 GiB", "bf16"), "computes on GPUs alone");
    refused(asked("RTX 3090", "q4_k_m"), "try `fp8`");
    refused(asked("RTX 3090", "nf4"), "try `fp8`");
    refused(asked("T4", "bf16"), "`cuda0` has compute capability 7.5");
    let without = [Constraint::forbid("cuda1")];
    let plan = with(asked("RTX 3090 + T4", "bf16"), &without).plan();
    assert_eq!(plan.unwrap().used_gpus(), ["cuda0"]);
    let mut other = with(asked("RTX 4090 + RTX 3090", "fp8"), &without);
    other.target = Target::Transformers;
    other.terms.goal = Goal::default();
    assert_eq!(other.plan().unwrap().used_gpus(), ["cuda0"]);
    other.terms.constraints = Vec::new();
    refused(other, "`--forbid cuda1` leaves it out");
    let mut other = asked("RTX 3090", "bf16");
    other.target = Target::LlamaCpp;
    refused(other, "with `--target vllm` or `--target sglang`");
    let shared = [Constraint::TensorParallel(2)];
    let mut other = with(asked("2x RTX 3090", "bf16"), &shared);
    other.target = Target::Transformers;
    other.terms.goal = Goal::default();
    refused(other, "`--tp 2` is for vLLM and SGLang");
}

#[test]
fn a_search_that_is_stopped_is_no_worse_than_a_rule_that_fits() {
    for (model, rig) in [
        ("deepseek-v2-lite", "40x RTX 3090"),
        (
            "qwen3-0.6b",
            "8x GTX 1080 Ti + RTX 3090 + 2x A100 80GB PCIe",
        ),
        ("llama-3-8b", "2x RTX 3090 + RTX 4090 + 2x RTX 3060"),
    ] {
        let asked = scenario(model, rig, Target::Sglang, "bf16");
        asked.terms.stop.set();
        let plan = asked.plan().unwrap();
        for rule in plan.baselines.iter().filter(|rule| rule.feasible) {
            assert!(plan.gain(rule).unwrap() >= 0.0, "{model}: {rule:?}");
        }
    }
}

#[test]
fn an_edited_plan_is_held_against_itself() {
    let asked = scenario("llama-3-8b", "2x RTX 3090", Target::Vllm, "bf16");
    let plan = asked.plan().unwrap();
    let refused = |change: &dyn Fn(&mut Plan)| {
        let mut edited = plan.clone();
        change(&mut edited);
        assert!(edited.check().is_err());
        let read = Plan::from_yaml(&edited.to_yaml(), "plan.yaml");
        assert!(read.is_err());
    };
    assert_eq!(Plan::from_yaml(&plan.to_yaml(), "plan.yaml").unwrap(), plan);
    refused(&|plan| plan.service = None);
    refused(&|plan| plan.device_map.runs[0].device = "cuda0+cuda0".to_owned());
    refused(&|plan| plan.device_map.modules.head = "cpu".to_owned());
    refused(&|plan| plan.target = Target::Transformers);
    refused(&|plan| {
        if let Some(service) = &mut plan.service {
            service.pipeline += 1;
        }
    });
    // A count of tokens that there is no room for is seen where the model is at hand.
    let mut edited = plan.clone();
    if let Some(service) = &mut edited.service {
        service.resident_tokens += 16;
    }
    let precision = "bf16".parse().unwrap();
    let verified = |plan: &Plan| {
        let (model, workload) = (&asked.model, &asked.workload);
        shardplan::plan::check::verify(plan, model, precision, workload).unwrap()
    };
    assert_eq!(verified(&plan), Ok(()));
    assert!(verified(&edited).is_err());
}

#[test]
fn cards_that_are_not_used_take_nothing_from_a_plan() {
    let alone = scenario("llama-3-8b", "RTX 4090", Target::Sglang, "fp16");
    let kept = resident(&alone.plan().unwrap());
    let rig = "RTX 4090 + 199x 3 GiB@100 GB/s";
    let beside = scenario("llama-3-8b", rig, Target::Sglang, "fp16");
    assert_eq!(resident(&beside.plan().unwrap()), kept);
}

#[test]
fn a_tower_beside_a_tied_head_is_on_the_first_stage_alone() {
    for target in [Target::Vllm, Target::Sglang] {
        let asked = scenario("gemma-3-27b", "3x 32 GiB@448 GB/s", target, "fp8");
        assert!(asked.plan().unwrap().used_gpus().len() > 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// SGLang is told one part of all cards, so that more memory on one may be of no use, and vLLM too
    /// where a reserve makes parts differ; none of it may cost tokens.
    #[test]
    fn more_memory_never_lowers_the_tokens_in_the_cache(
        cards in prop::collection::vec(8..=24_u64, 1..=3),
        at in any::<prop::sample::Index>(),
        more in 1..=8_u64,
        target in prop::sample::select(vec![Target::Vllm, Target::Sglang]),
        objective in prop::sample::select(vec![Objective::Kv, Objective::Serving]),
    ) {
        let worth = |cards: &[u64]| {
            let rig = cards.iter().map(|gib| format!("{gib} GiB@500 GB/s"));
            let rig = rig.collect::<Vec<_>>().join(" + ");
            let mut asked = scenario("llama-3-8b", &rig, target, "fp16");
            asked.terms.goal.objectives = vec![objective];
            asked.plan().map_or(0.0, |plan| plan.proof.objective.number())
        };
        let mut larger = cards.clone();
        larger[at.index(cards.len())] += more;
        let (before, after) = (worth(&cards), worth(&larger));
        prop_assert!(after >= before, "{cards:?} {before}, {larger:?} {after}");
    }

    /// Each card that serves takes something of all others, in SGLang, and one that does not takes nothing.
    #[test]
    fn one_more_card_never_costs_tokens(
        cards in prop::collection::vec(8..=24_u64, 1..=3),
        card in 2..=24_u64,
        target in prop::sample::select(vec![Target::Vllm, Target::Sglang]),
    ) {
        let kept = |cards: &[u64]| {
            let rig = cards.iter().map(|gib| format!("{gib} GiB@500 GB/s"));
            let rig = rig.collect::<Vec<_>>().join(" + ");
            let asked = scenario("llama-3-8b", &rig, target, "fp8");
            asked.plan().map_or(0, |plan| resident(&plan))
        };
        let more = [&cards[..], &[card]].concat();
        let (before, after) = (kept(&cards), kept(&more));
        prop_assert!(after >= before, "{cards:?} {before}, {more:?} {after}");
    }

    #[test]
    fn the_partition_is_one_that_an_engine_takes(
        cards in prop::collection::vec(10..=24_u64, 1..=4),
        target in prop::sample::select(vec![Target::Vllm, Target::Sglang]),
    ) {
        let rig = cards.iter().map(|gib| format!("{gib} GiB@500 GB/s"));
        let rig = rig.collect::<Vec<_>>().join(" + ");
        let asked = scenario("llama-3-8b", &rig, target, "fp16");
        let Ok(plan) = asked.plan() else { return Ok(()) };
        let launch = emit::emit(&plan, target).unwrap().launch;
        let service = plan.service.unwrap();
        let counts = launch.split_once("_PP_LAYER_PARTITION=");
        let counts = counts.and_then(|(_, rest)| rest.split(' ').next());
        let counts: Vec<u32> = match counts {
            Some(counts) => counts.split(',').map(|count| count.parse().unwrap()).collect(),
            None => vec![plan.model.blocks],
        };
        prop_assert_eq!(counts.len() as u32, service.pipeline);
        prop_assert_eq!(counts.iter().sum::<u32>(), plan.model.blocks);
        prop_assert!(counts.iter().all(|count| *count >= 1));
        // One part of all cards that leaves each its reserve.
        for name in plan.used_gpus() {
            let device = plan.rig.device(plan.gpu(name).unwrap());
            let told = device.memory.0 as f64 * service.memory_fraction;
            prop_assert!(told <= device.capacity().0 as f64);
        }
    }
}
