//! `shardplan plan`.

use std::path::Path;
use std::time::Instant;

use super::args::PlanArguments;
use super::{Failure, Outcome, interrupt, json, output, penalties, render, rig_with, source};
use crate::emit;
use crate::model::Model;
use crate::scenario::{Constraint, Fix, ReplicasError, Scenario, ScenarioError, Terms};
use crate::solve::replicas::Number;
use crate::solve::{Infeasible, Stop};

/// A no with its reasons and ways out.
pub(super) struct Refusal {
    pub(super) infeasible: Infeasible,
    /// The smallest set of constraints that leaves no plan.
    pub(super) conflict: Vec<Constraint>,
    pub(super) fixes: Vec<Fix>,
}

pub(super) fn run(arguments: &PlanArguments) -> Result<Outcome, Failure> {
    let load = &arguments.load;
    let model = source::open_with_extras(&arguments.model, load)?;
    let interrupted = interrupt::listen()?;
    interrupt::within(load.time_limit, &interrupted, |stop| {
        answer(arguments, model, stop)
    })
}

fn answer(arguments: &PlanArguments, model: Model, stop: &Stop) -> Result<Outcome, Failure> {
    let load = &arguments.load;
    let context = arguments
        .context
        .unwrap_or_else(|| load.usual_context(&model));
    let scenario = Scenario {
        rig: rig_with(&arguments.rig, load)?,
        target: load.target,
        precision: arguments
            .precision
            .unwrap_or(load.target.usual_precision(&model)),
        workload: load.workload(context).checked()?,
        terms: Terms {
            mix: arguments.mix.clone(),
            replicas: arguments.replicas,
            ..load.terms(context, penalties(load)?, stop)
        },
        model,
    };
    let start = Instant::now();
    if arguments.replicas != Number::Of(1) {
        return replicas(arguments, &scenario, start);
    }
    let answer = scenario.plan();
    let seconds = start.elapsed().as_secs_f64();
    let plan = match answer {
        Ok(plan) => plan,
        Err(ScenarioError::Infeasible(infeasible)) => {
            return refused(&scenario, infeasible, (load.json, seconds));
        }
        Err(ScenarioError::TooSlow(error)) => {
            match load.json {
                true => output::print(&json::too_slow(&error, seconds))?,
                false => output::remark(&render::failure(&error.to_string()))?,
            }
            return Ok(Outcome::NoPlan);
        }
        Err(error) => return Err(error.into()),
    };
    let robustness = match arguments.robust {
        true => Some(scenario.robustness(&plan)?),
        false => None,
    };
    if is_all_of_the_answer(arguments, || plan.to_yaml())? {
        return Ok(Outcome::Done);
    }
    if load.json {
        output::print(&json::plan(&plan, robustness.as_ref(), seconds))?;
    } else {
        let launch = emit::emit(&plan, plan.target)?.launch;
        output::print(&render::plan(&plan, &launch))?;
        if let Some(robustness) = &robustness {
            output::print(&render::robustness(robustness))?;
        }
    }
    Ok(Outcome::Done)
}

/// Writes a document where `--output` says, and tells whether that was the terminal.
fn is_all_of_the_answer(
    arguments: &PlanArguments,
    document: impl FnOnce() -> String,
) -> Result<bool, Failure> {
    match arguments.output.as_deref() {
        Some(path) if path == Path::new("-") => output::print(&document()).map(|()| true),
        Some(path) => output::write_file(path, &document()).map(|()| false),
        None => Ok(false),
    }
}

/// The reasons why nothing fits, and what was tried and works.
fn refused(
    scenario: &Scenario,
    infeasible: Infeasible,
    (is_json, seconds): (bool, f64),
) -> Result<Outcome, Failure> {
    let refusal = Refusal {
        conflict: scenario.conflict(&infeasible),
        fixes: scenario.fixes(&infeasible),
        infeasible,
    };
    match is_json {
        true => output::print(&json::infeasible(scenario, &refusal, seconds))?,
        false => output::remark(&render::infeasible(scenario, &refusal))?,
    }
    Ok(Outcome::NoPlan)
}

/// Several pipelines in place of one.
fn replicas(
    arguments: &PlanArguments,
    scenario: &Scenario,
    start: Instant,
) -> Result<Outcome, Failure> {
    let is_json = arguments.load.json;
    let answer = scenario.replicas();
    let seconds = start.elapsed().as_secs_f64();
    let fleet = match answer {
        Ok(fleet) => fleet,
        Err(ScenarioError::Infeasible(infeasible)) => {
            return refused(scenario, infeasible, (is_json, seconds));
        }
        Err(ScenarioError::Replicas(error @ ReplicasError::None { is_proven, .. })) => {
            match is_json {
                true => output::print(&json::no_replicas(is_proven, seconds))?,
                false => output::remark(&render::failure(&error.to_string()))?,
            }
            return Ok(Outcome::NoPlan);
        }
        Err(error) => return Err(error.into()),
    };
    if is_all_of_the_answer(arguments, || fleet.to_yaml())? {
        return Ok(Outcome::Done);
    }
    if is_json {
        output::print(&json::fleet(&fleet, seconds))?;
    } else {
        let launch = emit::fleet::emit(&fleet, scenario.target)?.launch;
        output::print(&render::fleet::fleet(&fleet, &launch))?;
    }
    Ok(Outcome::Done)
}
