//! What is proven of a plan, and what it gains over simple rules.

use super::{DIM, GOOD};
use crate::plan::{Plan, Status};

pub(super) fn proof(plan: &Plan) -> String {
    let proof = &plan.proof;
    let (better, worth) = match proof.goal.as_str() {
        "" => ("faster".to_owned(), format!("{} a token", proof.objective)),
        goal => (format!("better by {goal}"), proof.objective.to_string()),
    };
    let others = match (&plan.mix, proof.given.as_slice()) {
        (None, _) => "no other cut in any order of the devices",
        (Some(_), []) => "no other mix, cut in any order of the devices,",
        (Some(_), _) => "no other mix within what is given, cut in any order of the devices,",
    };
    let status = match proof.status {
        Status::Optimal => format!("{GOOD}optimal{GOOD:#}: {others} is {better}"),
        Status::Feasible => {
            format!(
                "within {:.2} % of the best: none is {better} than {}",
                proof.gap * 100.0,
                proof.bound
            )
        }
    };
    format!(
        "{DIM}proof{DIM:#}   {status} ({worth})\n        {DIM}{}{DIM:#}\n{DIM}gain{DIM:#}    {}",
        proof.solver,
        gains(plan)
    )
}

/// What the plan gains over each simple rule, by its first objective.
fn gains(plan: &Plan) -> String {
    let (fitting, failing): (Vec<_>, Vec<_>) = plan.baselines.iter().partition(|it| it.feasible);
    let mut alike: Vec<(String, Vec<&str>)> = Vec::new();
    for rule in fitting {
        let Some(gain) = plan.gain(rule) else {
            continue;
        };
        // No `-0.0`.
        let percent = format!("{:.1}", (gain * 1e3).round() / 10.0 + 0.0);
        match alike.iter_mut().find(|(other, _)| *other == percent) {
            Some((_, names)) => names.push(&rule.name),
            None => alike.push((percent, vec![&rule.name])),
        }
    }
    let gains = alike.into_iter();
    let gains = gains.map(|(percent, names)| format!("{percent} % over {}", names.join(", ")));
    let gains: Vec<_> = gains.collect();
    let failing: Vec<_> = failing.iter().map(|rule| rule.name.as_str()).collect();
    match (gains.as_slice(), failing.as_slice()) {
        ([], _) => "no simple rule gives a plan that fits".to_owned(),
        (_, []) => gains.join("; "),
        (_, [one]) => format!("{}; {one} does not fit", gains.join("; ")),
        _ => format!("{}; {} do not fit", gains.join("; "), failing.join(", ")),
    }
}
