//! What every optimum keeps, whatever the prices: more room never hurts, one more card never hurts,
//! the order in which a rig lists its cards decides nothing, and no simple rule is better.

use std::cmp::Reverse;

use proptest::prelude::*;
use shardplan::cost::column::Cost;
use shardplan::cost::{Accounting, Layout, Place, Target};
use shardplan::hardware::Rig;
use shardplan::model::Precision;
use shardplan::model::recipe::Recipe;
use shardplan::plan::Plan;
use shardplan::scenario::{Scenario, ScenarioError};
use shardplan::solve::{self, Ask, Goal, Objective};

use crate::real::{self, scenario};
use crate::seeded;
use crate::toy::{self, Case, Toy};

/// How good an answer is, the best first: of the first rank that has a plan the fastest wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Worth {
    /// Ranks are counted from the last, which every rig has.
    OfRank(Reverse<usize>, Cost),
    NoPlan,
}

fn is_offloaded(layout: Layout) -> bool {
    match layout {
        Layout::OneDevice | Layout::Pipelined | Layout::Sequential | Layout::Served(_) => false,
        Layout::Offloaded(_) | Layout::HostOnly(_) => true,
    }
}

fn worth(accounting: &dyn Accounting) -> Worth {
    match solve::solve(accounting, &Ask::default()) {
        Ok(solution) => {
            let mut ranks = accounting.ranks().into_iter().rev();
            let rank = ranks.position(|rank| rank.contains(&solution.layout));
            let rank = rank.expect("a plan is of a layout that the target has");
            Worth::OfRank(Reverse(rank), Cost::from(solution.time))
        }
        Err(_) => Worth::NoPlan,
    }
}

/// Which kind of card computes what, sorted, so that cards of one kind are the same.
fn split(case: &Case) -> Option<Vec<String>> {
    let solution = solve::solve(&Toy::new(case), &Ask::default()).ok()?;
    let stages = solution.stages.iter().map(|span| {
        let kind = match span.place {
            Place::Host => None,
            Place::Device(device) => Some(case.cards[device.0]),
        };
        format!("{kind:?} {:?} {:?}", span.units, span.streamed)
    });
    let mut stages: Vec<_> = stages.collect();
    stages.sort();
    Some(stages)
}

/// A case with its cards in another order.
fn shuffled() -> impl Strategy<Value = (Case, Case)> {
    toy::cases().prop_flat_map(|case| {
        let cards = Just(case.cards.clone()).prop_shuffle();
        cards.prop_map(move |cards| {
            let other = Case {
                cards,
                ..case.clone()
            };
            (case.clone(), other)
        })
    })
}

proptest! {
    #![proptest_config(seeded(800))]

    #[test]
    fn more_memory_on_a_card_never_worsens_the_optimum(
        case in toy::cases(),
        at in any::<prop::sample::Index>(),
        more in 1..=20_u64,
    ) {
        prop_assume!(!case.cards.is_empty());
        let mut larger = case.clone();
        let index = at.index(case.cards.len());
        larger.cards[index].0 += more;
        prop_assert!(worth(&Toy::new(&larger)) <= worth(&Toy::new(&case)));
    }

    #[test]
    fn more_ram_never_worsens_the_optimum(case in toy::cases(), more in 1..=20_u64) {
        let mut larger = case.clone();
        larger.ram = case.ram.map(|(mib, rate)| (mib + more, rate));
        prop_assert!(worth(&Toy::new(&larger)) <= worth(&Toy::new(&case)));
    }

    #[test]
    fn one_more_card_never_worsens_the_optimum(
        case in toy::cases(),
        card in (1..=30_u64, 10..=40_u64),
        at in any::<prop::sample::Index>(),
    ) {
        let mut more = case.clone();
        more.cards.insert(at.index(case.cards.len() + 1), card);
        prop_assert!(worth(&Toy::new(&more)) <= worth(&Toy::new(&case)));
    }

    #[test]
    fn the_order_of_the_cards_changes_neither_the_time_nor_who_computes_what(
        (case, other) in shuffled(),
    ) {
        prop_assert_eq!(worth(&Toy::new(&case)), worth(&Toy::new(&other)));
        prop_assert_eq!(split(&case), split(&other));
    }
}

proptest! {
    #![proptest_config(seeded(150))]

    #[test]
    fn more_room_never_worsens_a_mixture_of_experts(
        number in real::mixtures(),
        shares in real::shares(3),
        at in any::<prop::sample::Index>(),
        more in 1..=40_u64,
    ) {
        let target = (Target::LlamaCpp, Precision::Gguf(Recipe::Q4KM));
        let worth = |shares: &real::Shares| {
            let scenario = scenario(number, target, shares);
            let Scenario { model, rig, target, precision, workload, .. } = &scenario;
            let accounting = target.accounting(model, *precision, rig, workload);
            worth(accounting.expect("llama.cpp loads mixtures").as_ref())
        };
        let given = worth(&shares);
        let (mut larger, mut roomier) = (shares.clone(), shares.clone());
        larger.cards[at.index(shares.cards.len())].0 += more;
        roomier.ram = shares.ram.map(|(share, rate)| (share + more, rate));
        prop_assert!(worth(&larger) <= given);
        prop_assert!(worth(&roomier) <= given);
    }
}

/// Which kind of card holds which layers, and how fast: what a person would compare.
fn answer(plan: &Plan) -> (String, Vec<String>) {
    let kind = |name: &str| {
        let device = plan.devices.iter().find(|device| device.name == name);
        device.map_or("nothing", |device| device.model.as_str())
    };
    let modules = &plan.device_map.modules;
    let runs = plan.device_map.runs.iter();
    let mut split: Vec<_> = runs
        .map(|run| format!("{} {:?}", kind(&run.device), run.layers))
        .collect();
    split.sort();
    split.push(format!("head {}", kind(&modules.head)));
    (plan.proof.objective.to_string(), split)
}

/// Every order of `items`.
fn orders<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let each = (0..items.len()).flat_map(|index| {
        let mut rest = items.to_vec();
        let first = rest.remove(index);
        let orders = orders(&rest).into_iter();
        orders.map(move |order| [vec![first.clone()], order].concat())
    });
    each.collect()
}

proptest! {
    #![proptest_config(seeded(100))]

    #[test]
    fn a_real_model_is_split_alike_for_every_order_of_the_cards(
        number in real::models(),
        target in real::targets(),
        shares in real::shares(3),
    ) {
        let scenario = scenario(number, target, &shares);
        let wanted = scenario.plan().ok().as_ref().map(answer);
        for devices in orders(scenario.rig.devices()) {
            // A number in a name is the place in the rig.
            let renamed = devices.into_iter().enumerate().map(|(place, device)| {
                let name = format!("cuda{place}");
                shardplan::hardware::Device { name, ..device }
            });
            let rig = Rig::new(renamed.collect(), scenario.rig.host().cloned());
            let other = Scenario { rig: rig.expect("only the order differs"), ..scenario.clone() };
            prop_assert_eq!(other.plan().ok().as_ref().map(answer), wanted.clone());
        }
    }
}

proptest! {
    #![proptest_config(seeded(300))]

    #[test]
    fn no_simple_rule_that_fits_is_better(
        number in real::models(),
        target in real::targets(),
        shares in real::shares(4),
        first in proptest::sample::select(vec![
            Objective::Decode,
            Objective::Prefill,
            Objective::Request,
            Objective::Throughput,
            Objective::Devices,
            Objective::Headroom,
        ]),
    ) {
        let mut scenario = scenario(number, target, &shares);
        let goal = Goal::of_request(scenario.workload.context, None, None);
        scenario.terms.goal = Goal { objectives: vec![first], ..goal };
        match scenario.plan() {
            // A rule may offload what need not be, which is another kind of plan.
            Ok(plan) if scenario.rig.host().is_none() || is_offloaded(plan.layout) => {
                // The CPU alone is a plan of a later rank, which a rule may take before it.
                let comparable = first == Objective::Decode || scenario.rig.host().is_none();
                let fitting = plan.baselines.iter().filter(|it| it.feasible && comparable);
                for baseline in fitting {
                    prop_assert_eq!(baseline.worth.is_some(), first != Objective::Decode);
                    // Documents round to four digits.
                    let gain = plan.gain(baseline);
                    prop_assert!(gain.is_some_and(|gain| gain > -1e-3), "{baseline:?}, {gain:?}");
                }
            }
            Ok(_) => {}
            Err(ScenarioError::Infeasible(_)) => {
                let precision = scenario.target.own_precision(scenario.precision);
                let precision = precision.expect("the pairs are of what targets load");
                let Scenario { model, rig, target, workload, .. } = &scenario;
                let accounting = target.accounting(model, precision, rig, workload);
                let accounting = accounting.expect("the pairs are of what targets load");
                let layouts = accounting.ranks().into_iter().flatten();
                let layout = layouts.last().unwrap_or(Layout::Sequential);
                for baseline in solve::baseline::all(accounting.as_ref(), &Ask::default(), layout) {
                    prop_assert!(!baseline.fits, "{baseline:?} fits, and no plan was found");
                }
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
