//! The best mix of at most so long for a token. The time decides and not the rank: what is in RAM and
//! fast enough is as good as any other plan.

use super::Found;
use super::limited::{Best, Known, Shared};
use super::parts::fastest_with_parts;
use super::rests::Rests;
use crate::cost::Parts;
use crate::cost::frontier::Way;
use crate::cost::llama_cpp::mix::{Asked, Limit, Offer};
use crate::plan::Plan;
use crate::scenario::{Scenario, ScenarioError, TooSlow};
use crate::solve::{self, Amount, Ask, NoPlan, Objective, Proof, Ruling, Solution, Status};
use crate::units::Seconds;

/// Whether it is known that no plan as good is faster.
#[derive(Clone, Copy)]
enum Faster {
    None,
    Unknown,
}

impl Scenario {
    /// The mix of the least penalty that has a plan of at most this time for a token.
    pub(super) fn best_mix_within(
        &self,
        most: Seconds,
        asked: Asked<'_>,
        ask: &Ask,
        method: &str,
    ) -> Result<Plan, ScenarioError> {
        let rests = Rests::new(asked, Limit::Within(most))?;
        let mut known = Known::of_all(&rests, Shared::Time(most), ask);
        known.look_at_all(&rests, Shared::TimeAndRam(most), ask);
        let is_best = known
            .best
            .as_ref()
            .is_some_and(|best| best.penalty <= known.bound);
        let faster = match is_best && known.look_for_faster(&rests, ask) {
            true => Faster::None,
            false => Faster::Unknown,
        };
        if let Some(best) = &known.best {
            let bound = known.bound.min(best.penalty) as f64 / Way::PARTS;
            let method = format!("{method}; {}", best.prices());
            return self.written(best.found(bound, faster), bound, ask, &method);
        }
        // Ways that alone are too slow were left out. At no penalty the fastest ways are the best.
        let free = |offer: &Offer| Offer {
            penalty: 0.0,
            ..*offer
        };
        let offers: Vec<_> = asked.offers.iter().map(free).collect();
        let asked = Asked {
            offers: &offers,
            ..asked
        };
        let unlimited = Limit::Within(Seconds(f64::INFINITY));
        let rests = Rests::new(asked, unlimited)?;
        let none = Known::of_all(&rests, Shared::Time(Seconds(0.0)), ask);
        let (with_parts, are_all) = fastest_with_parts(&rests, none.fastest, ask);
        let is_proven = known.is_proven && none.is_proven && are_all;
        match with_parts.or(none.fastest) {
            Some(fastest) if fastest.0 > most.0 => Err(TooSlow {
                most,
                fastest,
                is_proven,
            }
            .into()),
            // One that is fast enough was not found before the time was over.
            Some(_) | None => {
                let no = match is_proven {
                    true => NoPlan::RuledOut(Ruling::Orders),
                    false => NoPlan::NotFound,
                };
                let smallest = Rests::new(asked, Limit::None)?.smallest.mixed;
                Err(solve::explain(&smallest, ask, self.ruled(no)).into())
            }
        }
    }
}

impl Best<'_> {
    fn prices(&self) -> &'static str {
        match self.plan.layout.parts() {
            Parts::NONE => "a price on time",
            Parts { .. } => "prices on time and RAM",
        }
    }

    fn labels(&self) -> &'static str {
        match self.plan.layout.parts() {
            Parts::NONE => "labels of time and penalty over the device orders",
            Parts { .. } => "labels of time, RAM and penalty over the device orders",
        }
    }

    fn found(&self, bound: f64, faster: Faster) -> Found {
        let penalty = self.penalty as f64 / Way::PARTS;
        let time = Seconds(self.plan.sum as f64 * 1e-12);
        let mut worth = vec![(Objective::Quality, Amount::Penalty(penalty))];
        match faster {
            Faster::None => worth.push((Objective::Decode, Amount::Time(time))),
            Faster::Unknown => {}
        }
        Found {
            place: self.place.0,
            mix: self.mix(),
            penalty,
            bound,
            solution: Solution {
                layout: self.plan.layout,
                stages: self.plan.stages.clone(),
                time,
                proof: Proof {
                    status: match bound < penalty {
                        true => Status::Feasible,
                        false => Status::Optimal,
                    },
                    worth,
                    bound: Amount::Penalty(bound),
                    method: self.labels().to_owned(),
                },
            },
        }
    }
}
