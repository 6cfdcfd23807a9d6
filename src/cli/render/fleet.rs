//! Replicas: what each is and serves, and what is proven of all of them.

use std::fmt::Write as _;

use super::{BOLD, DIM, GOOD, short};
use crate::plan::document::layers;
use crate::plan::{Fleet, Plan, Status};

/// All replicas.
pub(in crate::cli) fn fleet(fleet: &Fleet, launch: &str) -> String {
    let mut text = String::new();
    if let Some(plan) = fleet.replicas.first() {
        let workload = &plan.workload;
        let _ = writeln!(
            text,
            "{BOLD}{}{BOLD:#} {} · {} · {} · {} tokens × {} · cache {}\n",
            plan.model.name,
            plan.stored_as(),
            plan.target,
            replicas(fleet.replicas.len()),
            workload.context,
            workload.sequences,
            workload.kv,
        );
    }
    for (number, plan) in fleet.replicas.iter().enumerate() {
        let _ = writeln!(text, "{DIM}replica {number}{DIM:#}  {}", replica(plan));
    }
    let proof = &fleet.proof;
    let status = match proof.status {
        Status::Optimal => {
            format!("{GOOD}optimal{GOOD:#}: the cards can be dealt out in no better way")
        }
        Status::Feasible => format!(
            "within {:.2} % of the best: no way to deal out the cards is better than {}",
            proof.gap * 100.0,
            proof.bound
        ),
    };
    let _ = writeln!(
        text,
        "\n{DIM}together{DIM:#}   {BOLD}{}{BOLD:#}\n{DIM}proof{DIM:#}      {status}\n           {DIM}{}{DIM:#}",
        proof.objective, proof.solver
    );
    let gains = fleet.baselines.iter().filter_map(|rule| {
        let gain = fleet.gain(rule)?;
        // No `-0.0`.
        let percent = (gain * 1e3).round() / 10.0 + 0.0;
        Some(format!("{percent:.1} % over {}", rule.name))
    });
    let gains: Vec<_> = gains.collect();
    let gains = match (gains.is_empty(), fleet.baselines.is_empty()) {
        (true, true) => "no simple rule was tried in time".to_owned(),
        (true, false) => "no simple rule that was tried gives plans that fit".to_owned(),
        (false, _) => gains.join("; "),
    };
    let _ = writeln!(text, "{DIM}gain{DIM:#}       {gains}");
    if !proof.given.is_empty() {
        let _ = writeln!(text, "{DIM}given{DIM:#}      {}", proof.given.join(" "));
    }
    let _ = writeln!(text, "\n{launch}");
    text
}

fn replicas(n: usize) -> String {
    match n {
        1 => "1 replica".to_owned(),
        n => format!("{n} replicas"),
    }
}

/// Its stages, and what it serves.
fn replica(plan: &Plan) -> String {
    let runs = plan.device_map.runs.iter();
    let runs: Vec<_> = runs
        .map(|run| format!("{} {}", run.device, layers::text(&run.layers)))
        .collect();
    let served = plan.service.map_or_else(String::new, |service| {
        format!(
            ": {} tokens in the cache, about {} tokens/s of {} together",
            service.resident_tokens,
            short(service.tokens_per_second),
            match service.sequences {
                1 => "1 sequence".to_owned(),
                n => format!("{n} sequences"),
            },
        )
    });
    format!("{}{served}", runs.join(", "))
}
