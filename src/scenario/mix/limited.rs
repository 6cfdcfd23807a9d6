//! The best mix under a time a token. The time decides and not the rank: what is offloaded and fast
//! enough is as good as any other plan.

use super::{Found, Rests};
use crate::cost::frontier::Way;
use crate::cost::llama_cpp::mix::{Asked, Limit, Mixed, Offer};
use crate::cost::{Accounting, ColumnSet, Fit, Layout};
use crate::plan::Plan;
use crate::scenario::{Scenario, ScenarioError, TooSlow};
use crate::solve::path::{self, Taken};
use crate::solve::tradeoff::{self, Answer, Chain, Kept, Wanted};
use crate::solve::{self, Amount, Ask, NoPlan, Objective, Proof, Ruling, Solution, Status};
use crate::units::Seconds;

/// What is known so far of all recipes of the rest and all layouts.
struct Known<'a> {
    best: Option<Best<'a>>,
    /// No plan costs less, in parts of [`Way::PARTS`].
    bound: u64,
    /// The least time of a plan that is too slow, and whether none is faster.
    fastest: Option<Seconds>,
    is_proven: bool,
    /// What a picosecond was worth in the last of them, none before the first: where they are much
    /// alike, one pass at this price rules the next one out.
    price: f64,
}

struct Best<'a> {
    mixed: Mixed<'a>,
    set: ColumnSet,
    chain: Chain,
    kept: Kept,
    /// With what the rest costs.
    penalty: u64,
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
        let known = Known::of_all(asked, Limit::Within(most), most, ask)?;
        if let Some(best) = known.best {
            let bound = known.bound.min(best.penalty) as f64 / Way::PARTS;
            let method = format!("{method}; a price on time");
            return self.written(best.found(bound), bound, ask, &method);
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
        let none = Known::of_all(asked, unlimited, Seconds(0.0), ask)?;
        let is_proven = known.is_proven && none.is_proven;
        match none.fastest {
            Some(fastest) => Err(TooSlow {
                most,
                fastest,
                is_proven,
            }
            .into()),
            None => {
                let no = match is_proven {
                    true => NoPlan::RuledOut(Ruling::Orders),
                    false => NoPlan::NotFound,
                };
                let smallest = Rests::new(asked, Limit::None)?.smallest()?;
                Err(solve::explain(&smallest, ask, self.ruled(no)).into())
            }
        }
    }
}

impl<'a> Known<'a> {
    /// Of every recipe of the rest, in every layout.
    fn of_all(
        asked: Asked<'a>,
        limit: Limit,
        most: Seconds,
        ask: &Ask,
    ) -> Result<Self, ScenarioError> {
        let rests = Rests::new(asked, limit)?;
        let mut known = Self {
            best: None,
            bound: u64::MAX,
            fastest: None,
            is_proven: true,
            price: 0.0,
        };
        for rest in &rests.by_least {
            let least = rests.least(rest);
            let is_better = |best: &Best<'_>| best.penalty < least || ask.stop.is_set();
            if known.best.as_ref().is_some_and(is_better) {
                known.bound = known.bound.min(least);
                continue;
            }
            let mixed = rests.mixed(rest)?;
            for layout in mixed.ranks().into_iter().flatten() {
                known.look(&mixed, layout, most, ask);
            }
        }
        Ok(known)
    }

    /// Looks for a better plan of one recipe of the rest in one layout.
    fn look(&mut self, mixed: &Mixed<'a>, layout: Layout, most: Seconds, ask: &Ask) {
        let rest = mixed.penalty_of_rest();
        let least = self
            .best
            .as_ref()
            .map_or(u64::MAX >> 1, |best| best.penalty);
        let Some(useful) = least.checked_sub(rest) else {
            self.bound = self.bound.min(mixed.least());
            return;
        };
        let set = ColumnSet::new(mixed, layout, Fit::Strict, &ask.rules);
        let chain = Chain {
            n_units: set.n_units,
            counts: set.groups.iter().map(Vec::len).collect(),
            menus: mixed.menus(&set),
        };
        let wanted = Wanted {
            most: (most.0 * 1e12).round() as u64,
            known: useful,
            price: self.price,
        };
        let (answer, price) = tradeoff::within_sum(&chain, wanted, &ask.stop);
        self.price = price;
        match answer {
            Answer::Found(kept) => {
                let penalty = kept.penalty.saturating_add(rest);
                self.bound = self.bound.min(kept.bound.saturating_add(rest));
                let worth = (penalty, kept.time);
                let is_better = |best: &Best<'_>| worth < (best.penalty, best.kept.time);
                if self.best.as_ref().is_none_or(is_better) {
                    self.best = Some(Best {
                        mixed: mixed.clone(),
                        set,
                        chain,
                        kept,
                        penalty,
                    });
                }
            }
            Answer::TooSlow { fastest, is_proven } => {
                let fastest = Seconds(fastest as f64 * 1e-12);
                let is_faster = self.fastest.is_none_or(|other| fastest.0 < other.0);
                if is_faster {
                    self.fastest = Some(fastest);
                }
                self.is_proven &= is_proven;
                if !is_proven {
                    self.bound = self.bound.min(mixed.least());
                }
            }
            Answer::Worse(bound) => self.bound = self.bound.min(bound.saturating_add(rest)),
            Answer::Impossible => {}
            Answer::Unknown(bound) => {
                self.is_proven = false;
                self.bound = self.bound.min(bound.saturating_add(rest));
            }
        }
    }
}

impl Best<'_> {
    fn found(self, bound: f64) -> Found {
        let Self {
            mixed,
            set,
            chain,
            kept,
            penalty,
        } = self;
        let path = kept.stages.iter().map(|taken| Taken {
            column: taken.menu,
            host: 0,
        });
        let spans = path::stages(&set, &path.collect::<Vec<_>>());
        let ways = kept.stages.iter();
        let ways = ways.map(|taken| chain.menus[taken.menu].ways[taken.way]);
        let stored: Vec<_> = spans.iter().zip(ways).collect();
        let penalty = penalty as f64 / Way::PARTS;
        let time = Seconds(kept.time as f64 * 1e-12);
        Found {
            mix: mixed.mix_of(&stored),
            penalty,
            bound,
            solution: Solution {
                layout: set.layout,
                stages: spans,
                time,
                proof: Proof {
                    status: match bound < penalty {
                        true => Status::Feasible,
                        false => Status::Optimal,
                    },
                    worth: vec![
                        (Objective::Quality, Amount::Penalty(penalty)),
                        (Objective::Decode, Amount::Time(time)),
                    ],
                    bound: Amount::Penalty(bound),
                    method: "labels of time and penalty over the device orders".to_owned(),
                },
            },
        }
    }
}
