//! `shardplan place`.

use super::args::{GraphObjective, PlaceArguments};
use super::{Failure, Outcome, interrupt, output, render, reserved};
use crate::hardware;
use crate::scenario::graph::{Aim, GraphQuestion, NoPlacement, OperatorGraph};

pub(super) fn run(arguments: &PlaceArguments) -> Result<Outcome, Failure> {
    let aim = match (arguments.objective, arguments.scattered) {
        (GraphObjective::Throughput, false) => Aim::Throughput,
        (GraphObjective::Throughput, true) => Aim::ScatteredThroughput,
        (GraphObjective::Latency, false) => Aim::Latency,
        (GraphObjective::Latency, true) => {
            return Err(
                "`--scattered` goes with `--objective throughput`: for latency each GPU has one stretch of the graph"
                    .into(),
            );
        }
    };
    let origin = arguments.graph.display().to_string();
    let text = std::fs::read_to_string(&arguments.graph)
        .map_err(|error| format!("`{origin}` can't be read: {error}"))?;
    let rig = reserved(hardware::read(&arguments.rig)?, &arguments.reserve)?;
    let rig = match arguments.margin {
        Some(share) => rig.with_margin(share)?,
        None => rig,
    };
    let graph = OperatorGraph::from_yaml(&text, &origin)?;
    let interrupted = interrupt::listen()?;
    let answer = interrupt::within(arguments.time_limit, &interrupted, |stop| {
        let stop = stop.clone();
        let question = GraphQuestion {
            graph,
            rig,
            aim,
            stop,
        };
        question.answer()
    });
    match answer {
        Ok(placement) => match &arguments.output {
            Some(path) => output::write_file(path, &placement.to_yaml())?,
            None => output::print(&placement.to_yaml())?,
        },
        Err(no @ (NoPlacement::Impossible(_) | NoPlacement::NotFound)) => {
            output::remark(&render::failure(&no.to_string()))?;
            return Ok(Outcome::NoPlan);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Outcome::Done)
}
