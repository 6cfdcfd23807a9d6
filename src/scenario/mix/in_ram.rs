//! The best mix with some of the chain in RAM, where no mix fits the GPUs.

use super::Found;
use super::limited::{Best, Known, Shared};
use super::rests::Rests;
use crate::cost::frontier::Way;
use crate::cost::llama_cpp::LlamaCpp;
use crate::cost::{Accounting, Layout, Span};
use crate::model::mix::Mix;
use crate::scenario::{Scenario, ScenarioError};
use crate::solve::{self, Amount, Ask, Goal, NoPlan, Objective, Proof, Ruling, Solution, Status};
use crate::units::Seconds;

/// A plan of a file, at what a token takes in it.
struct Placed {
    layout: Layout,
    stages: Vec<Span>,
    time: Seconds,
    method: String,
}

impl Scenario {
    /// The mix of the least penalty among the layouts with some of the chain in RAM; none costs less
    /// than its bound.
    pub(super) fn best_mix_in_ram(
        &self,
        rests: &Rests<'_>,
        ask: &Ask,
    ) -> Result<Result<Found, NoPlan>, ScenarioError> {
        let known = Known::of_all(rests, Shared::Ram, ask);
        let Some(best) = &known.best else {
            return Ok(Err(match known.is_proven {
                true => NoPlan::RuledOut(Ruling::Orders),
                false => NoPlan::NotFound,
            }));
        };
        let mix = best.mix();
        let placed = self.placed(&mix, best, ask)?;
        let penalty = best.penalty as f64 / Way::PARTS;
        let bound = known.bound.min(best.penalty) as f64 / Way::PARTS;
        Ok(Ok(Found {
            place: 0,
            mix,
            penalty,
            bound,
            solution: Solution {
                layout: placed.layout,
                stages: placed.stages,
                time: placed.time,
                proof: Proof {
                    status: match bound < penalty {
                        true => Status::Feasible,
                        false => Status::Optimal,
                    },
                    worth: vec![(Objective::Quality, Amount::Penalty(penalty))],
                    bound: Amount::Penalty(bound),
                    method: placed.method,
                },
            },
        }))
    }

    /// The best plan of that very mix by what is asked besides quality, or that in which it was found.
    fn placed(&self, mix: &Mix, best: &Best<'_>, ask: &Ask) -> Result<Placed, ScenarioError> {
        const FOUND: &str = "labels of RAM and penalty over the device orders";
        let formats = mix.formats(&self.model)?;
        let accounting = LlamaCpp::of_formats(&self.model, formats, &self.rig, &self.workload)?;
        let objectives = ask.goal.objectives.iter().copied();
        let others = objectives.filter(|objective| *objective != Objective::Quality);
        let of_file = Ask {
            goal: Goal {
                objectives: others.collect(),
                ..ask.goal.clone()
            },
            ..ask.clone()
        };
        Ok(match solve::attempt(&accounting, &of_file) {
            Ok(solution) => Placed {
                layout: solution.layout,
                stages: solution.stages,
                time: solution.time,
                method: format!("{FOUND}; stages of that mix: {}", solution.proof.method),
            },
            Err(_) => {
                let layout = best.plan.layout;
                let stages = best.plan.stages.clone();
                let times = stages
                    .iter()
                    .map(|span| accounting.stage(layout, span).time);
                Placed {
                    layout,
                    time: times.sum(),
                    stages,
                    method: FOUND.to_owned(),
                }
            }
        })
    }
}
