//! Replicas against every way to deal out the cards of small rigs, and what they must never be.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "replicas/in_time.rs"]
mod in_time;

use shardplan::cost::{Accounting, Measure, Target};
use shardplan::emit;
use shardplan::hardware::{self, DeviceId};
use shardplan::model;
use shardplan::plan::{Document, Fleet, Plan, Status, members};
use shardplan::scenario::{Constraint, Scenario, ScenarioError, Terms};
use shardplan::solve::replicas::Number;
use shardplan::solve::{Amount, Goal, Objective};
use shardplan::units::Tokens;
use shardplan::workload::Workload;

fn scenario(rig: &str, target: Target, objective: Objective) -> Scenario {
    Scenario {
        model: model::open("llama-3.2-3b").unwrap(),
        rig: hardware::read(rig).unwrap(),
        target,
        precision: "bf16".parse().unwrap(),
        workload: Workload {
            ubatch: target.usual_ubatch(),
            ..Workload::of_context(Tokens(4096))
        },
        terms: Terms {
            goal: Goal {
                objectives: vec![objective],
                ..Goal::default()
            },
            ..Terms::default()
        },
    }
}

/// The answer to a question about so many pipelines.
fn replicas(asked: &Scenario, number: Number) -> Result<Fleet, ScenarioError> {
    let mut asked = asked.clone();
    asked.terms.replicas = number;
    asked.replicas()
}

/// What adds up over replicas.
fn worth(plan: &Plan) -> f64 {
    match plan.proof.objective {
        Amount::Time(time) => 1.0 / time.0,
        other => other.number(),
    }
}

/// The plan of some cards alone, as a user would ask for it.
fn alone(asked: &Scenario, cards: &[usize]) -> Option<Plan> {
    let mut asked = asked.clone();
    for (index, device) in asked.rig.devices().iter().enumerate() {
        if !cards.contains(&index) {
            asked
                .terms
                .constraints
                .push(Constraint::forbid(&device.name));
        }
    }
    let plan = asked.plan().ok()?;
    is_below_its_ceilings(&asked, cards, &plan);
    Some(plan)
}

/// No plan is worth more than what is said of its cards, and of its layout, before it is searched.
fn is_below_its_ceilings(asked: &Scenario, cards: &[usize], plan: &Plan) {
    let Scenario {
        model,
        rig,
        target,
        precision,
        workload,
        ..
    } = asked;
    let accounting = target.accounting(model, *precision, rig, workload).unwrap();
    let ids: Vec<_> = cards.iter().copied().map(DeviceId).collect();
    let ceilings = [
        accounting.ceiling(&ids),
        accounting.ceiling_in_blocks(&ids),
        accounting.ceiling_in_parts(&ids),
        accounting.outlook(plan.layout).ceiling,
    ];
    is_no_better_bargain(asked, accounting.as_ref(), plan);
    for ceiling in ceilings {
        let most = match plan.proof.objective {
            Amount::Time(_) => ceiling.alone,
            Amount::Rate(_) => ceiling.together,
            _ => ceiling.resident.0 as f64,
        };
        // A plan's time is written to four digits.
        assert!(
            worth(plan) <= most * (1.0 + 1e-3),
            "{} of {most}",
            worth(plan)
        );
    }
}

/// Whatever cards cost, no plan is worth more for its price than the best that is told.
fn is_no_better_bargain(asked: &Scenario, accounting: &dyn Accounting, plan: &Plan) {
    let rig = &asked.rig;
    let mut kinds: Vec<(DeviceId, usize)> = Vec::new();
    for id in rig.device_ids() {
        let is_like =
            |kind: &&mut (DeviceId, usize)| rig.device(kind.0).model == rig.device(id).model;
        match kinds.iter_mut().find(is_like) {
            Some(kind) => kind.1 += 1,
            None => kinds.push((id, 1)),
        }
    }
    let measure = match plan.proof.objective {
        Amount::Time(_) => Measure::Alone,
        Amount::Rate(_) => Measure::Together,
        _ => Measure::Resident,
    };
    for slope in [0.2, 1.0, 7.0] {
        let prices: Vec<f64> = (0..kinds.len())
            .map(|at| f64::powi(slope, at as i32))
            .collect();
        let offer = accounting.bargain(&kinds, &prices, (0.0, measure)).unwrap();
        let price = |name: &&str| {
            let own = rig.device(plan.gpu(name).unwrap());
            let is_like = |kind: &(DeviceId, usize)| rig.device(kind.0).model == own.model;
            prices[kinds.iter().position(is_like).unwrap()]
        };
        let paid: f64 = plan.used_gpus().iter().map(price).sum();
        let most = offer.most * paid;
        assert!(
            worth(plan) <= most * (1.0 + 1e-3),
            "{} of {most}",
            worth(plan)
        );
        // What is asked for is that good, or there is nothing.
        let above = accounting.bargain(&kinds, &prices, (offer.most * 1.01, measure));
        assert_eq!(above, None);
    }
}

/// Every way to put cards into parts that nobody tells apart.
fn partitions(n_cards: usize) -> Vec<Vec<Vec<usize>>> {
    let mut all: Vec<Vec<Vec<usize>>> = vec![Vec::new()];
    for card in 0..n_cards {
        let with_card = all.into_iter().flat_map(|parts| {
            let mut next = Vec::new();
            for index in 0..=parts.len() {
                let mut parts = parts.clone();
                match parts.get_mut(index) {
                    Some(part) => part.push(card),
                    None => parts.push(vec![card]),
                }
                next.push(parts);
            }
            next
        });
        all = with_card.collect();
    }
    all
}

/// The most by number of replicas: every partition is planned part by part, and of its parts those
/// that are worth the most are taken, so that any cards may be left over.
fn most(asked: &Scenario) -> Vec<Option<f64>> {
    let n_cards = asked.rig.devices().len();
    let mut known = std::collections::BTreeMap::new();
    let mut most = vec![None; n_cards + 1];
    for parts in partitions(n_cards) {
        let worths = parts.iter().filter_map(|part| {
            let plan = || alone(asked, part).map(|plan| worth(&plan));
            *known.entry(part.clone()).or_insert_with(plan)
        });
        let mut worths: Vec<_> = worths.collect();
        worths.sort_by(|a, b| b.total_cmp(a));
        for n in 1..=worths.len() {
            let sum: f64 = worths[..n].iter().sum();
            most[n] = Some(most[n].map_or(sum, |other: f64| other.max(sum)));
        }
    }
    most
}

fn is_near(a: f64, b: f64) -> bool {
    // A plan's time is written to four digits.
    (a - b).abs() <= 2e-3 * a.max(b)
}

fn holds(asked: &Scenario, fleet: &Fleet) {
    assert_eq!(fleet.proof.status, Status::Optimal);
    let mut seen = Vec::new();
    for plan in &fleet.replicas {
        plan.check().unwrap();
        for name in plan
            .device_map
            .runs
            .iter()
            .flat_map(|run| members(&run.device))
        {
            assert!(!seen.contains(&name), "{name} serves twice");
            seen.push(name);
        }
    }
    let sum: f64 = fleet.replicas.iter().map(worth).sum();
    assert!(is_near(sum, fleet.proof.objective.number()), "{sum}");
    let text = fleet.to_yaml();
    let again = Document::from_yaml(&text, "fleet.yaml").unwrap();
    assert_eq!(again, Document::Fleet(fleet.clone()));
    let emission = emit::fleet::emit(fleet, asked.target).unwrap();
    // Of a replica on several hosts each has a script.
    assert!(emission.files.len() >= fleet.replicas.len());
}

#[test]
fn no_other_way_to_deal_out_the_cards_is_better() {
    let rigs = [
        "4x RTX 3060",
        "RTX 3090 + RTX 3060 + RTX 4090",
        "2x RTX 3060 + 2x RTX 4060 Ti 16GB",
        "3x RTX 3070",
        "host a, 2x RTX 3060; host b, 2x RTX 3060; network 10 GbE",
    ];
    for rig in rigs {
        for objective in [Objective::Serving, Objective::Kv, Objective::Throughput] {
            let asked = scenario(rig, Target::Vllm, objective);
            let by_number = most(&asked);
            let best = by_number.iter().flatten().copied().fold(0.0, f64::max);
            let fleet = replicas(&asked, Number::Auto).unwrap();
            holds(&asked, &fleet);
            let found = fleet.proof.objective.number();
            assert!(
                is_near(found, best),
                "{rig} {objective}: {found} for {best}"
            );
            for (n, best) in by_number.iter().enumerate().skip(1) {
                match (replicas(&asked, Number::Of(n)), best) {
                    (Ok(fleet), Some(best)) => {
                        let found = fleet.proof.objective.number();
                        assert!(
                            is_near(found, *best),
                            "{rig} {objective} {n}: {found} for {best}"
                        );
                        assert_eq!(fleet.replicas.len(), n);
                        holds(&asked, &fleet);
                    }
                    (Ok(_), None) => panic!("{rig} {objective} {n}: there is none"),
                    (Err(error), best) => assert!(best.is_none(), "{rig} {objective} {n}: {error}"),
                }
            }
        }
    }
}

#[test]
fn many_cards_are_dealt_out_in_parts_that_repeat() {
    // More pairs of parts than are looked at.
    let rig = "18x RTX 3060 + 18x RTX 4060 Ti 16GB + 18x RTX 3090";
    for (objective, most_gap) in [(Objective::Serving, 0.2), (Objective::Kv, 0.2)] {
        let asked = scenario(rig, Target::Vllm, objective);
        let fleet = replicas(&asked, Number::Auto).unwrap();
        let (worth, bound) = (fleet.proof.objective.number(), fleet.proof.bound.number());
        assert!(
            worth <= bound && fleet.proof.gap < most_gap,
            "{objective}: {}",
            fleet.proof.gap
        );
        let sum: f64 = fleet.replicas.iter().map(self::worth).sum();
        assert!(is_near(sum, worth), "{sum} for {worth}");
        let again = Document::from_yaml(&fleet.to_yaml(), "fleet.yaml").unwrap();
        assert_eq!(again, Document::Fleet(fleet.clone()));
        // A plan that was moved to other cards is the one that these have alone.
        let last = fleet.replicas.last().unwrap();
        let used: Vec<_> = last
            .used_gpus()
            .iter()
            .map(|it| last.gpu(it).unwrap().0)
            .collect();
        let planned = alone(&asked, &used).unwrap();
        assert_eq!(planned.device_map, last.device_map);
        assert_eq!(planned.devices, last.devices);
        for rule in &fleet.baselines {
            assert!(
                fleet.gain(rule).is_none_or(|gain| gain >= 0.0),
                "{}",
                rule.name
            );
        }
    }
}

#[test]
fn one_replica_is_the_plan_of_the_whole_rig_or_better() {
    let asked = scenario("2x RTX 3060 + RTX 4090", Target::Sglang, Objective::Serving);
    let plan = asked.plan().unwrap();
    let fleet = replicas(&asked, Number::Of(1)).unwrap();
    assert!(fleet.proof.objective.number() >= worth(&plan));
}

#[test]
fn a_search_that_is_stopped_says_how_far_it_is() {
    let asked = scenario("4x RTX 3060", Target::Vllm, Objective::Serving);
    let best = replicas(&asked, Number::Auto).unwrap();
    asked.terms.stop.set();
    let fleet = replicas(&asked, Number::Auto).unwrap();
    assert!(fleet.proof.objective.number() <= best.proof.objective.number());
    assert!(fleet.proof.bound.number() >= best.proof.objective.number());
}

#[test]
fn alike_hosts_are_dealt_out_by_what_one_of_them_is_worth() {
    let rig = "host a, 2x L4; host b, 2x L4; host c, 2x L4; network 100 GbE";
    let mut asked = scenario(rig, Target::Sglang, Objective::Serving);
    asked.terms.constraints = vec![Constraint::TensorParallel(2)];
    let fleet = replicas(&asked, Number::Of(3)).unwrap();
    assert_eq!(fleet.replicas.len(), 3);
    assert_eq!(fleet.proof.status, Status::Optimal);
}

#[test]
fn what_goes_with_no_replicas_is_refused() {
    let refused = |asked: &Scenario, number: Number, words: &str| {
        let error = replicas(asked, number).unwrap_err();
        assert!(matches!(error, ScenarioError::Replicas(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let asked = scenario("2x RTX 3060", Target::Vllm, Objective::Serving);
    refused(
        &asked,
        Number::Of(3),
        "3 replicas need as many cards, and the rig has 2",
    );
    let mut forbidden = asked.clone();
    forbidden.terms.constraints = vec![Constraint::forbid("cuda1")];
    refused(&forbidden, Number::Of(2), "the rig has 1");
    let mut pinned = asked.clone();
    pinned.terms.constraints = vec![Constraint::pin("head=cuda0").unwrap()];
    refused(
        &pinned,
        Number::Auto,
        "a pin is about the cards of one pipeline",
    );
    let decode = scenario("2x RTX 3060", Target::Vllm, Objective::Decode);
    refused(&decode, Number::Auto, "not with `decode`");
    let other = scenario("2x RTX 3060", Target::LlamaCpp, Objective::Throughput);
    refused(&other, Number::Auto, "would share RAM");
    // Each card alone is too small for the model at 32 bits.
    let mut large = asked;
    large.precision = "fp32".parse().unwrap();
    refused(
        &large,
        Number::Of(2),
        "the rig has no 2 parts that each hold the model",
    );
}

#[test]
fn replicas_that_share_a_card_are_no_document() {
    let asked = scenario("2x RTX 3060", Target::Vllm, Objective::Serving);
    let mut fleet = replicas(&asked, Number::Of(2)).unwrap();
    fleet.replicas[1] = fleet.replicas[0].clone();
    let error = Document::from_yaml(&fleet.to_yaml(), "fleet.yaml").unwrap_err();
    assert_eq!(error.to_string(), "fleet.yaml: `cuda0` serves two replicas");
    fleet.replicas.clear();
    let error = Document::from_yaml(&fleet.to_yaml(), "fleet.yaml").unwrap_err();
    assert!(error.to_string().contains("no replica"), "{error}");
}
