//! Plans as documents: the same question gives the same bytes, reading and writing change nothing,
//! and a plan that was tampered with is refused by who adds it up again.

use proptest::prelude::*;
use shardplan::cost::Layout;
use shardplan::plan::{Plan, check};
use shardplan::scenario::Scenario;
use shardplan::units::Bytes;

use crate::real::{self, scenario};
use crate::seeded;

fn is_refused(plan: &Plan, scenario: &Scenario) -> bool {
    let precision = scenario.target.own_precision(scenario.precision);
    let precision = precision.expect("a plan was made with it");
    let verdict = check::verify(plan, &scenario.model, precision, &scenario.workload);
    !matches!(verdict, Ok(Ok(())))
}

/// Every way to change one thing of a plan that could matter, where the plan has it.
fn tampered(plan: &Plan) -> Vec<(&'static str, Plan)> {
    let mut changes: Vec<(&'static str, Plan)> = Vec::new();
    let mut change = |what, how: &mut dyn FnMut(&mut Plan)| {
        let mut other = plan.clone();
        how(&mut other);
        if other != *plan {
            changes.push((what, other));
        }
    };
    for index in 0..plan.devices.len() {
        let one = Bytes(1);
        change("more weights", &mut |plan| {
            plan.devices[index].memory.weights += one
        });
        change("less weights", &mut |plan| {
            let weights = &mut plan.devices[index].memory.weights;
            *weights = weights.saturating_sub(one);
        });
        change("more cache", &mut |plan| {
            plan.devices[index].memory.kv_cache += one
        });
        // RAM that the rig does not state is what the plan puts there.
        if plan.devices[index].name != "cpu" || plan.rig.host().is_some() {
            change("more than the rig has", &mut |plan| {
                plan.devices[index].capacity += one;
            });
        }
        change("another name", &mut |plan| {
            plan.devices[index].name = "cuda9".to_owned()
        });
        change("a device twice", &mut |plan| {
            let device = plan.devices[index].clone();
            plan.devices.push(device);
        });
        if plan.devices[index].memory.total() > Bytes::ZERO {
            change("a device left out", &mut |plan| {
                plan.devices.remove(index);
            });
        }
    }
    let last = plan.device_map.runs.len() - 1;
    let blocks = plan.model.blocks;
    change("a run left out", &mut |plan| {
        plan.device_map.runs.remove(last);
    });
    change("a run twice", &mut |plan| {
        let run = plan.device_map.runs[last].clone();
        plan.device_map.runs.push(run);
    });
    change("a layer too many", &mut |plan| {
        let layers = &mut plan.device_map.runs[last].layers;
        *layers = *layers.start()..=blocks;
    });
    change("the first layer left out", &mut |plan| {
        let layers = &mut plan.device_map.runs[0].layers;
        *layers = layers.start() + 1..=*layers.end();
    });
    change("a run on an unknown device", &mut |plan| {
        plan.device_map.runs[last].device = "cuda9".to_owned();
    });
    change("runs in another order", &mut |plan| {
        plan.device_map.runs.reverse()
    });
    if last > 0 {
        let bound = *plan.device_map.runs[last].layers.start();
        change("overlapping runs", &mut |plan| {
            let layers = &mut plan.device_map.runs[last - 1].layers;
            *layers = *layers.start()..=bound;
        });
        change("a layer on the other side", &mut |plan| {
            let layers = &mut plan.device_map.runs[last].layers;
            *layers = bound + 1..=*layers.end();
            let layers = &mut plan.device_map.runs[last - 1].layers;
            *layers = *layers.start()..=bound;
        });
    }
    let elsewhere = if plan.device_map.modules.embedding == "cpu" {
        plan.devices[0].name.clone()
    } else {
        "cpu".to_owned()
    };
    change("the embedding elsewhere", &mut |plan| {
        plan.device_map.modules.embedding.clone_from(&elsewhere);
    });
    if !plan.layout.is_host_only() {
        change("a layout without cards", &mut |plan| {
            plan.layout = Layout::HOST_ONLY
        });
    }
    changes
}

proptest! {
    #![proptest_config(seeded(80))]

    #[test]
    fn the_same_question_gives_the_same_bytes_and_they_survive_reading(
        number in real::models(),
        target in real::targets(),
        shares in real::shares(3),
    ) {
        let scenario = scenario(number, target, &shares);
        let (Ok(first), Ok(second)) = (scenario.plan(), scenario.plan()) else {
            return Ok(());
        };
        let text = first.to_yaml();
        prop_assert_eq!(&second.to_yaml(), &text);
        let read = Plan::from_yaml(&text, "plan.yaml");
        let read = read.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&read, &first);
        prop_assert_eq!(read.to_yaml(), text);
    }

    #[test]
    fn a_plan_that_was_tampered_with_is_refused(
        number in real::models(),
        target in real::targets(),
        shares in real::shares(3),
    ) {
        let scenario = scenario(number, target, &shares);
        let Ok(plan) = scenario.plan() else { return Ok(()) };
        prop_assert!(!is_refused(&plan, &scenario));
        let changes = tampered(&plan).into_iter();
        let passed: Vec<_> = changes
            .filter(|(_, plan)| !is_refused(plan, &scenario))
            .map(|(what, _)| what)
            .collect();
        prop_assert!(passed.is_empty(), "{:?} in\n{}", passed, plan.to_yaml());
    }
}
