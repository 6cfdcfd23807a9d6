//! Replicas as JSON, each as a plan is alone.

use serde_json::json;

use super::{plan_value, proof, text};
use crate::plan::Fleet;

pub(in crate::cli) fn fleet(fleet: &Fleet, seconds: f64) -> String {
    let replicas = fleet.replicas.iter().map(|plan| plan_value(plan, seconds));
    let rules = fleet.baselines.iter().map(|rule| {
        let worth = rule.worth.map(|worth| worth.number());
        json!({
            "name": rule.name,
            "feasible": rule.feasible,
            "worth": worth,
            "gain": fleet.gain(rule),
        })
    });
    text(&json!({
        "version": crate::plan::VERSION,
        "status": fleet.proof.status.name(),
        "proof": proof(&fleet.proof, seconds),
        "baselines": rules.collect::<Vec<_>>(),
        "replicas": replicas.collect::<Vec<_>>(),
    }))
}

/// That so many replicas have no plan where one has.
pub(in crate::cli) fn no_replicas(is_proven: bool, seconds: f64) -> String {
    let status = if is_proven { "infeasible" } else { "unknown" };
    text(&json!({
        "status": "infeasible",
        "proven": is_proven,
        "proof": {"status": status, "seconds": seconds},
    }))
}
