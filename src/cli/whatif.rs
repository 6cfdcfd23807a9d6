//! `shardplan whatif`: `plan` in a loop over scenarios.

use std::time::Instant;

use super::args::WhatifArguments;
use super::{Failure, Outcome, interrupt, json, output, penalties, render, rig_with, source};
use crate::plan::Plan;
use crate::scenario::{Scenario, ScenarioError, Terms};
use crate::units::Tokens;

/// One row.
pub(super) struct Row {
    pub(super) rig: String,
    pub(super) context: Tokens,
    pub(super) precision: String,
    pub(super) answer: Result<Plan, ScenarioError>,
    /// How long it took.
    pub(super) seconds: f64,
}

pub(super) fn run(arguments: &WhatifArguments) -> Result<Outcome, Failure> {
    let load = &arguments.load;
    let model = source::open_with_extras(&arguments.model, load)?;
    let stop = interrupt::stop_after(load.time_limit)?;
    let table = penalties(load)?;
    let contexts = match arguments.context.as_slice() {
        [] => vec![load.usual_context(&model)],
        contexts => contexts.to_vec(),
    };
    let precisions = match arguments.precision.as_slice() {
        [] => vec![load.target.usual_precision(&model)],
        precisions => precisions.to_vec(),
    };
    let mut rows = Vec::new();
    for rig in &arguments.rig {
        for context in &contexts {
            for precision in &precisions {
                let scenario = Scenario {
                    model: model.clone(),
                    rig: rig_with(rig, load)?,
                    target: load.target,
                    precision: *precision,
                    workload: load.workload(*context).checked()?,
                    terms: Terms {
                        mix: arguments.mix.clone(),
                        ..load.terms(*context, table.clone(), &stop)
                    },
                };
                let start = Instant::now();
                let answer = scenario.plan();
                let seconds = start.elapsed().as_secs_f64();
                let precision = match &arguments.mix {
                    Some(mix) => format!("mix of {mix}"),
                    None => precision.to_string(),
                };
                rows.push(Row {
                    rig: rig.clone(),
                    context: *context,
                    precision,
                    answer,
                    seconds,
                });
            }
        }
    }
    let text = if load.json {
        json::whatif(&rows)
    } else {
        render::whatif(&model.name, &rows)
    };
    output::print(&text)?;
    // A table with a plan in it is an answer; one without is none.
    let any = rows.iter().any(|row| row.answer.is_ok());
    Ok(if any { Outcome::Done } else { Outcome::NoPlan })
}
