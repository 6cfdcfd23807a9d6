//! `shardplan plan`.

use std::path::Path;
use std::time::Instant;

use super::args::PlanArguments;
use super::{Failure, Outcome, json, output, render, rig_with, source};
use crate::emit;
use crate::scenario::{Scenario, ScenarioError, usual_context};

pub(super) fn run(arguments: &PlanArguments) -> Result<Outcome, Failure> {
    let model = source::open(&arguments.model)?;
    let load = &arguments.load;
    let context = arguments.context.unwrap_or_else(|| usual_context(&model));
    let scenario = Scenario {
        rig: rig_with(&arguments.rig, &load.reserve)?,
        target: load.target,
        precision: arguments
            .precision
            .unwrap_or(load.target.usual_precision(&model)),
        workload: load.workload(context).checked()?,
        backend: load.solver,
        model,
    };
    let start = Instant::now();
    let plan = match scenario.plan() {
        Ok(plan) => plan,
        Err(ScenarioError::Infeasible(infeasible)) => {
            let fixes = scenario.fixes(&infeasible);
            match load.json {
                true => output::print(&json::infeasible(&scenario, &infeasible, &fixes))?,
                false => output::remark(&render::infeasible(&scenario, &infeasible, &fixes))?,
            }
            return Ok(Outcome::NoPlan);
        }
        Err(error) => return Err(error.into()),
    };
    let seconds = start.elapsed().as_secs_f64();
    match arguments.output.as_deref() {
        Some(path) if path == Path::new("-") => {
            output::print(&plan.to_yaml())?;
            return Ok(Outcome::Done);
        }
        Some(path) => output::write_file(path, &plan.to_yaml())?,
        None => {}
    }
    if load.json {
        output::print(&json::plan(&plan, seconds))?;
    } else {
        let launch = emit::emit(&plan, plan.target)?.launch;
        output::print(&render::plan(&plan, &launch))?;
    }
    Ok(Outcome::Done)
}
