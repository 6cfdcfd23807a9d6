//! `shardplan whatif`: `plan` in a loop over scenarios.

use std::iter;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::args::WhatifArguments;
use super::{Failure, Outcome, interrupt, json, output, penalties, render, rig_with, source};
use crate::hardware::Rig;
use crate::model::Precision;
use crate::plan::Plan;
use crate::scenario::{Scenario, ScenarioError, Terms};
use crate::units::Tokens;
use crate::workload::Workload;

/// One row.
pub(super) struct Row {
    pub(super) rig: String,
    pub(super) context: Tokens,
    pub(super) precision: String,
    pub(super) answer: Result<Plan, ScenarioError>,
    /// How long it took.
    pub(super) seconds: f64,
}

/// One question.
struct Asked<'a> {
    text: &'a str,
    rig: &'a Rig,
    context: Tokens,
    workload: Workload,
    precision: Precision,
}

pub(super) fn run(arguments: &WhatifArguments) -> Result<Outcome, Failure> {
    let load = &arguments.load;
    let model = source::open_with_extras(&arguments.model, load)?;
    let interrupted = interrupt::listen()?;
    let table = penalties(load)?;
    let contexts = match arguments.context.as_slice() {
        [] => vec![load.usual_context(&model)],
        contexts => contexts.to_vec(),
    };
    let precisions = match arguments.precision.as_slice() {
        [] => vec![load.target.usual_precision(&model)],
        precisions => precisions.to_vec(),
    };
    let rigs = arguments.rig.iter().map(|rig| rig_with(rig, load));
    let rigs = rigs.collect::<Result<Vec<_>, _>>()?;
    let mut asked = Vec::new();
    for (text, rig) in arguments.rig.iter().zip(&rigs) {
        for context in &contexts {
            let workload = load.workload(*context).checked()?;
            asked.extend(precisions.iter().map(|precision| Asked {
                text,
                rig,
                context: *context,
                workload,
                precision: *precision,
            }));
        }
    }
    let rows = at_once(&asked, |asked| {
        interrupt::within(load.time_limit, &interrupted, |stop| {
            let scenario = Scenario {
                model: model.clone(),
                rig: asked.rig.clone(),
                target: load.target,
                precision: asked.precision,
                workload: asked.workload,
                terms: Terms {
                    mix: arguments.mix.clone(),
                    ..load.terms(asked.context, table.clone(), stop)
                },
            };
            let start = Instant::now();
            let answer = scenario.plan();
            Row {
                rig: asked.text.to_owned(),
                context: asked.context,
                precision: match &arguments.mix {
                    Some(mix) => format!("mix of {mix}"),
                    None => asked.precision.to_string(),
                },
                answer,
                seconds: start.elapsed().as_secs_f64(),
            }
        })
    });
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

/// The answers to all questions in their order, as many at once as there are cores.
fn at_once<T: Sync, A: Send>(asked: &[T], answer: impl Fn(&T) -> A + Sync) -> Vec<A> {
    let next = AtomicUsize::new(0);
    let work = || {
        let turns = iter::from_fn(|| {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            Some((turn, answer(asked.get(turn)?)))
        });
        turns.collect::<Vec<_>>()
    };
    let n_workers = thread::available_parallelism().map_or(1, NonZero::get);
    let mut answers = thread::scope(|scope| {
        let workers: Vec<_> = (0..n_workers.min(asked.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let ends = workers.into_iter().map(|worker| worker.join());
        let ends = ends.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ends.flatten().collect::<Vec<_>>()
    });
    answers.sort_by_key(|(turn, _)| *turn);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::at_once;

    #[test]
    fn answers_stand_in_the_order_of_the_questions() {
        let asked: Vec<u32> = (0..1000).collect();
        assert_eq!(
            at_once(&asked, |number| number + 1),
            (1..=1000).collect::<Vec<_>>()
        );
        assert!(at_once(&asked[..0], |number| number + 1).is_empty());
    }
}
