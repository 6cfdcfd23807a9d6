//! Replicas for an engine: the launch lines of each, on its own cards and at its own port.
//!
//! Who sends requests to which replica is not here: a proxy in front, or whoever asks.

use crate::cost::Target;
use crate::emit::serving::{self, Copy};
use crate::emit::{Emission, EmitError};
use crate::plan::{Fleet, Plan, ServiceSummary};

/// Writes replicas for the framework that they were made for.
///
/// # Errors
/// Where they are another framework's, or one's that has no replicas.
pub fn emit(fleet: &Fleet, target: Target) -> Result<Emission, EmitError> {
    let mut launches: Vec<String> = same(fleet).into_iter().collect();
    let mut files = Vec::new();
    for (number, plan) in (0..).zip(&fleet.replicas) {
        if plan.target != target {
            return Err(EmitError::OtherTarget {
                made_for: plan.target,
                wanted: target,
            });
        }
        let copy = Copy::Replica(number);
        let emission = match target {
            Target::Vllm => serving::vllm_copy(plan, copy)?,
            Target::Sglang => serving::sglang_copy(plan, copy)?,
            Target::LlamaCpp | Target::Transformers => return Err(EmitError::NoService),
        };
        launches.push(format!("# replica {number}:\n{}", emission.launch));
        files.extend(emission.files);
    }
    Ok(Emission {
        launch: launches.join("\n"),
        files,
    })
}

/// That the engine itself would do the same, where replicas of one stage are alike on one host.
fn same(fleet: &Fleet) -> Option<String> {
    let first = fleet.replicas.first()?;
    // One launch has one number of each, and spreads requests as if all were alike.
    let served = |plan: &Plan| {
        let is_one_stage = |it: &ServiceSummary| it.pipeline == 1 && plan.rig.hosts().len() == 1;
        plan.service.filter(is_one_stage)
    };
    let option = match first.target {
        Target::Vllm => "--data-parallel-size",
        Target::Sglang => "--dp-size",
        Target::LlamaCpp | Target::Transformers => return None,
    };
    let is_alike = fleet
        .replicas
        .iter()
        .all(|plan| served(plan) == served(first));
    let n_replicas = fleet.replicas.len();
    (n_replicas > 1 && served(first).is_some() && is_alike).then(|| {
        format!("# the replicas are alike: one launch over all their cards with {option} {n_replicas} does the same")
    })
}
