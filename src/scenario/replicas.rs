//! Replicas: the cards of a rig dealt out to pipelines of their own, each with the whole model, so that
//! all of them together serve or keep the most.
//!
//! Each part of the rig is planned for as if the other cards were forbidden. Which dealing is the best
//! is `solve/replicas.rs`. Not here: frameworks that use RAM, which replicas would have to share.

mod cards;
mod part;

use std::collections::BTreeMap;

use super::constraint::Constraint;
use super::{Scenario, ScenarioError};
use crate::cost::{Accounting, Ceiling, Measure, Target};
use crate::hardware::DeviceId;
use crate::plan::{BaselineSummary, Fleet, Plan, ProofSummary, Status};
use crate::solve::replicas::prices::{Market, Offer};
use crate::solve::replicas::{Dealing, Dealt, Number, Part, Valued};
use crate::solve::{Amount, NoPlan, Objective, Stop};
use crate::units::Tokens;

use cards::Cards;
use part::{Planned, Tried};

/// Replicas that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplicasError {
    /// A framework whose replicas would share RAM.
    #[error(
        "`--replicas` is for vLLM and SGLang: replicas of {0} would share RAM, which its plans take for their own"
    )]
    Target(Target),
    /// What does not add up over replicas.
    #[error(
        "`--replicas` adds up tokens: use it with the objective `throughput`, `kv` or `serving`, not with `{0}`"
    )]
    Objective(Objective),
    /// A pin, which speaks of one pipeline.
    #[error("`{0}` does not go with `--replicas`: a pin is about the cards of one pipeline")]
    Pin(Constraint),
    /// A cache that is left open.
    #[error("`--kv auto` does not go with `--replicas`: name a format")]
    Cache,
    /// More than there are cards.
    #[error("{asked} replicas need as many cards, and the rig has {found}")]
    TooMany {
        /// Replicas.
        asked: usize,
        /// Cards that may be used.
        found: usize,
    },
    /// One pipeline has a plan, and so many have none.
    #[error(
        "{}\nhint: one pipeline over all cards has a plan, and `--replicas auto` finds how many have", none(*.asked, *.is_proven)
    )]
    None {
        /// Replicas.
        asked: usize,
        /// Whether that is ruled out.
        is_proven: bool,
    },
}

fn none(asked: usize, is_proven: bool) -> String {
    match is_proven {
        true => format!("the rig has no {asked} parts that each hold the model"),
        false => {
            format!("no {asked} parts were found that each hold the model, and none are ruled out")
        }
    }
}

impl Scenario {
    /// The best replicas.
    ///
    /// # Errors
    /// Where the target or the objective knows none, or nothing fits.
    pub fn replicas(&self) -> Result<Fleet, ScenarioError> {
        let number = self.terms.replicas;
        self.check_replicas()?;
        self.check_goal()?;
        self.priced(|accounting, _, _| {
            let cards = Cards::new(&self.rig, &self.terms.constraints);
            let found = cards.ids().len();
            match number {
                Number::Of(asked) if asked > found => {
                    return Err(ReplicasError::TooMany { asked, found }.into());
                }
                Number::Of(_) | Number::Auto => {}
            }
            let rules = rules(number, found);
            let parts: Vec<_> = rules.iter().map(|n| cards.equal_parts(*n)).collect();
            let mut tried: BTreeMap<Part, Tried> = BTreeMap::new();
            let dealing = Dealing {
                counts: cards.counts(),
                like: &|part| cards.like(part),
                ceiling: &|part| self.worth(accounting.ceiling(&cards.first(part))),
                closer: &|part| self.worth(accounting.ceiling_in_blocks(&cards.first(part))),
                most: &|| self.most(accounting, &cards),
                stop: &self.terms.stop,
            };
            let dealt = dealing.best(number, &parts, |part| {
                let ids = cards.first(part);
                let found = self.attempted(&ids, &self.terms.stop)?;
                let valued = match &found {
                    Ok(found) => found.valued,
                    Err(NoPlan::RuledOut(_)) => Valued { worth: 0, bound: 0 },
                    Err(NoPlan::NotFound) => Valued {
                        worth: 0,
                        bound: self.worth(accounting.ceiling(&ids)),
                    },
                };
                tried.insert(part.to_vec(), found);
                Ok::<_, ScenarioError>(valued)
            })?;
            if dealt.parts.is_empty() {
                return Err(self.no_replicas(number, &dealt));
            }
            let worth_of = |part: &Part| match tried.get(&cards.like(part)) {
                Some(Ok(found)) => Known::Worth(found.valued.worth),
                Some(Err(NoPlan::RuledOut(_))) => Known::Impossible,
                Some(Err(NoPlan::NotFound)) => Known::Open,
                None => match (dealing.ceiling)(part) {
                    0 => Known::Impossible,
                    _ => Known::Open,
                },
            };
            let baselines = rules.iter().zip(&parts).filter_map(|(n, parts)| {
                // A rule that was not tried, or not to its end, is not one that has no plan.
                let worth = match parts.iter().map(worth_of).fold(Known::Worth(0), Known::and) {
                    Known::Open => return None,
                    Known::Impossible => None,
                    Known::Worth(worth) => Some(self.amount(worth).rounded()),
                };
                Some(BaselineSummary {
                    name: match n {
                        1 => "one-pipeline".to_owned(),
                        n => format!("{n}-equal-parts"),
                    },
                    feasible: worth.is_some(),
                    decode_tokens_per_second: None,
                    resident_tokens: None,
                    worth,
                })
            });
            let baselines = baselines.collect();
            self.fleet(&cards, &dealt, &tried, baselines)
        })
    }

    pub(super) fn check_replicas(&self) -> Result<(), ReplicasError> {
        if self.target.server().is_none() {
            return Err(ReplicasError::Target(self.target));
        }
        let first = self.terms.goal.by_stages()[0];
        let named = self.terms.goal.objectives.first().copied().unwrap_or(first);
        if !matches!(
            named,
            Objective::Throughput | Objective::Kv | Objective::Serving
        ) {
            return Err(ReplicasError::Objective(named));
        }
        let pin = self
            .terms
            .constraints
            .iter()
            .find(|it| matches!(it, Constraint::Pin(..)));
        match pin {
            Some(pin) => Err(ReplicasError::Pin(pin.clone())),
            None if !self.terms.caches.is_empty() => Err(ReplicasError::Cache),
            None => Ok(()),
        }
    }

    /// Why there is none: where one pipeline has a plan it is their number.
    fn no_replicas(&self, number: Number, dealt: &Dealt) -> ScenarioError {
        match (self.plan_as_asked(), number) {
            (Err(error), _) => error,
            (Ok(_), Number::Auto) => ReplicasError::None {
                asked: 1,
                is_proven: false,
            }
            .into(),
            (Ok(_), Number::Of(asked)) => {
                let is_proven = dealt.bound == 0;
                ReplicasError::None { asked, is_proven }.into()
            }
        }
    }

    /// What no dealing is worth more than.
    fn most(&self, accounting: &dyn Accounting, cards: &Cards) -> u64 {
        let kinds = cards.kinds(&self.rig);
        let measure = match self.terms.goal.objectives.first() {
            Some(Objective::Throughput) => Measure::Alone,
            Some(Objective::Kv) => Measure::Resident,
            _ => Measure::Together,
        };
        let counts: Vec<_> = kinds.iter().map(|(_, count)| *count).collect();
        let market = Market {
            counts: &counts,
            offer: &|prices, floor| {
                let bargain = accounting.bargain(&kinds, prices, (floor, measure))?;
                Some(Offer {
                    devices: bargain.cards,
                    worth: bargain.worth,
                    most: bargain.most,
                })
            },
            stop: &self.terms.stop,
        };
        let bound = market.bound();
        let bound = self.worth(Ceiling {
            alone: bound,
            together: bound,
            resident: Tokens(bound.ceil() as u64),
        });
        bound.min(self.worth(accounting.ceiling_in_parts(&cards.ids())))
    }

    /// What a ceiling is worth.
    fn worth(&self, ceiling: Ceiling) -> u64 {
        let rate = |rate: f64| (rate * 1e6).ceil() as u64;
        match self.terms.goal.objectives.first() {
            Some(Objective::Throughput) => rate(ceiling.alone),
            Some(Objective::Kv) => ceiling.resident.0,
            _ => rate(ceiling.together),
        }
    }

    /// What replicas are worth together.
    fn amount(&self, worth: u64) -> Amount {
        match self.terms.goal.objectives.first() {
            Some(Objective::Kv) => Amount::Resident(Tokens(worth)),
            _ => Amount::Rate(worth as f64 * 1e-6),
        }
    }

    /// The plans of a dealing, each on cards of its own.
    fn fleet(
        &self,
        cards: &Cards,
        dealt: &Dealt,
        tried: &BTreeMap<Part, Tried>,
        baselines: Vec<BaselineSummary>,
    ) -> Result<Fleet, ScenarioError> {
        let mut replicas: Vec<(DeviceId, Plan)> = Vec::new();
        let mut worth = 0;
        // Parts of hosts that are alike, each planned once.
        let mut elsewhere: BTreeMap<&Part, Planned> = BTreeMap::new();
        for (part, ids) in cards.deal(&dealt.parts) {
            let first = cards.first(part);
            let known = match tried.get(&cards.like(part)) {
                Some(Ok(known)) if cards.like(part) == *part => known,
                known => {
                    if !elsewhere.contains_key(part) {
                        let is_proven = matches!(known, Some(Ok(it)) if it.is_proven());
                        let found = match is_proven {
                            // What was proven in time is proven again; the clock does not count twice.
                            true => self.attempted(&first, &Stop::default())?,
                            false => self.attempted(&first, &self.terms.stop)?,
                        };
                        let found = found.map_err(|_| ReplicasError::None {
                            asked: dealt.parts.len(),
                            is_proven: false,
                        })?;
                        elsewhere.insert(part, found);
                    }
                    &elsewhere[part]
                }
            };
            // Cards of a class are alike, and the plan is the same on others.
            let plan = match first == ids {
                true => known.plan.clone(),
                false => self.moved(&known.plan, &cards.exchange(part, &ids), &ids),
            };
            worth += known.valued.worth;
            replicas.push((ids[0], plan));
        }
        replicas.sort_by_key(|(first, _)| *first);
        let bound = dealt.bound.max(worth);
        let replicas: Vec<_> = replicas.into_iter().map(|(_, plan)| plan).collect();
        let proof = ProofSummary {
            status: match worth == bound {
                true => Status::Optimal,
                false => Status::Feasible,
            },
            goal: replicas
                .first()
                .map(|plan| plan.proof.goal.clone())
                .unwrap_or_default(),
            given: self.given(),
            objective: self.amount(worth).rounded(),
            bound: self.amount(bound).rounded(),
            gap: ((1.0 - worth as f64 / bound.max(1) as f64) * 1e4).round() / 1e4,
            solver: match dealt.is_counted_out {
                true => format!(
                    "dynamic program over the parts of the rig, {} of them searched",
                    dealt.n_searched
                ),
                false => format!(
                    "parts that repeat, {} of them searched, and prices on cards",
                    dealt.n_searched
                ),
            },
        };
        Ok(Fleet {
            proof,
            baselines,
            replicas,
        })
    }
}

/// Numbers of equal parts that people would try: one, and what is asked for, or else what divides the
/// cards.
fn rules(number: Number, n_cards: usize) -> Vec<usize> {
    match number {
        Number::Of(1) => vec![1],
        Number::Of(n) => vec![1, n],
        Number::Auto => (1..=n_cards)
            .filter(|n| n_cards.is_multiple_of(*n))
            .collect(),
    }
}

/// What is known of a part, or of all parts of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It has a plan.
    Worth(u64),
    /// It has none.
    Impossible,
    /// It was not tried, or none was found in time.
    Open,
}

impl Known {
    /// Of both together.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Impossible, _) | (_, Self::Impossible) => Self::Impossible,
            (Self::Open, _) | (_, Self::Open) => Self::Open,
            (Self::Worth(one), Self::Worth(other)) => Self::Worth(one.saturating_add(other)),
        }
    }
}
