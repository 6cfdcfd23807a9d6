//! The best mix where stages share what there is: the time of a token, or RAM.
//!
//! Under a time a token that decides and not the rank: what is offloaded and fast enough is as good as
//! any other plan. RAM is shared in the layouts that have some of the chain there.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Found;
use super::rests::{NO_PLAN, Rest, Rests};
use crate::cost::frontier::Way;
use crate::cost::llama_cpp::mix::{Asked, Limit, Mixed, Offer};
use crate::cost::{Accounting, ColumnSet, Fit, Layout, Span};
use crate::model::mix::Mix;
use crate::plan::Plan;
use crate::scenario::{Scenario, ScenarioError, TooSlow};
use crate::solve::path::{self, Taken};
use crate::solve::tradeoff::{self, Answer, Chain, Kept, Wanted};
use crate::solve::{self, Amount, Ask, NoPlan, Objective, Proof, Ruling, Solution, Status};
use crate::units::Seconds;

/// What the stages of a plan have together.
#[derive(Clone, Copy)]
pub(super) enum Shared {
    /// So long for a token.
    Time(Seconds),
    /// What is left of RAM.
    Ram,
}

/// What is known so far of all recipes of the rest and all layouts.
pub(super) struct Known<'a> {
    shared: Shared,
    pub(super) best: Option<Best<'a>>,
    /// No plan costs less, in parts of [`Way::PARTS`].
    pub(super) bound: u64,
    /// The least time of a plan that is too slow, and whether none is faster.
    fastest: Option<Seconds>,
    /// Whether nothing was left open.
    pub(super) is_proven: bool,
    /// What blocks cost at the least beside the smallest rest, by layout.
    floors: BTreeMap<Layout, u64>,
    /// The plans that were found, with their rests.
    plans: Vec<(Mixed<'a>, Rc<Planned>)>,
    /// What a picosecond was worth in the last of them, none before the first: where they are much
    /// alike, one pass at this price rules the next one out.
    price: f64,
}

pub(super) struct Best<'a> {
    /// The places of the recipe of its rest and of its layout among the others: of equal plans that of
    /// the first counts.
    place: (usize, usize),
    mixed: Mixed<'a>,
    plan: Rc<Planned>,
    /// With what the rest costs.
    pub(super) penalty: u64,
}

/// The best plan of a layout beside one rest, and of every rest that is like it.
struct Planned {
    set: ColumnSet,
    chain: Chain,
    kept: Kept,
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
        let known = Known::of_all(&rests, Shared::Time(most), ask);
        if let Some(best) = known.best {
            let bound = known.bound.min(best.penalty) as f64 / Way::PARTS;
            let method = format!("{method}; a price on time");
            return self.written(best.found(known.shared, bound), bound, ask, &method);
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
                let smallest = Rests::new(asked, Limit::None)?.smallest.mixed;
                Err(solve::explain(&smallest, ask, self.ruled(no)).into())
            }
        }
    }
}

impl<'a> Known<'a> {
    /// Of every recipe of the rest, in every layout.
    pub(super) fn of_all(rests: &Rests<'a>, shared: Shared, ask: &Ask) -> Self {
        let mut known = Self {
            shared,
            best: None,
            bound: u64::MAX,
            fastest: None,
            is_proven: true,
            floors: BTreeMap::new(),
            plans: Vec::new(),
            price: 0.0,
        };
        for (index, rest) in rests.in_turn().enumerate() {
            for (layout, of_blocks) in known.layouts(rest) {
                let is_over = known.is_over(ask);
                let floor = known.floors.get(&layout).copied().unwrap_or_default();
                let least = rest.least(floor);
                let least = least.max(rest.mixed.penalty_of_rest().saturating_add(of_blocks));
                let is_better = |best: &Best<'_>| match shared {
                    Shared::Time(_) => best.penalty < least,
                    // Of equals none is better.
                    Shared::Ram => best.penalty <= least,
                };
                if least == NO_PLAN || known.best.as_ref().is_some_and(is_better) {
                    known.bound = known.bound.min(least);
                    continue;
                }
                let alike = known.plans.iter().find(|(mixed, plan)| {
                    plan.set.layout == layout && rest.mixed.has_plans_of(mixed, &[layout])
                });
                let floor = match alike.map(|(_, plan)| Rc::clone(plan)) {
                    Some(plan) => known.keep(rest, plan),
                    None if is_over => {
                        known.bound = known.bound.min(least);
                        known.is_proven = false;
                        continue;
                    }
                    None => known.look(rest, (layout, of_blocks), ask),
                };
                if index == 0 {
                    known.floors.insert(layout, floor);
                }
            }
        }
        known
    }

    /// The layouts in the order of search, each with what is known of its blocks' penalty: none is less.
    fn layouts(&self, rest: &Rest<'a>) -> Vec<(Layout, u64)> {
        let is_worse = |best: &Best<'_>| best.penalty <= rest.least(0);
        match self.shared {
            // The pipeline's copies of inputs take room and save no time of a token, so that what is
            // found without them mostly rules it out.
            Shared::Time(_) => {
                let mut layouts = self.shared.in_order(&rest.mixed);
                layouts.sort_by_key(|layout| *layout == Layout::Pipelined);
                layouts.into_iter().map(|layout| (layout, 0)).collect()
            }
            Shared::Ram if self.best.as_ref().is_some_and(is_worse) => Vec::new(),
            // Of equals that with most parts in RAM, which leaves GPUs the most room.
            Shared::Ram => {
                let layouts = rest.mixed.least_with_some_in_ram().into_iter();
                let layouts = layouts.map(|(layout, least)| (layout, least.unwrap_or(NO_PLAN)));
                let mut layouts: Vec<_> = layouts.collect();
                layouts.sort_by_key(|(layout, least)| {
                    (*least, layout.whole(), Reverse(layout.parts().n_blocks))
                });
                layouts
            }
        }
    }

    /// Whether nothing more is to be looked at. One layout always is.
    fn is_over(&self, ask: &Ask) -> bool {
        let has_tried = match self.shared {
            Shared::Time(_) => self.best.is_some(),
            Shared::Ram => self.best.is_some() || !self.floors.is_empty(),
        };
        has_tried && ask.stop.is_set()
    }

    /// Looks for a better plan of one recipe of the rest in one layout, in which blocks are known to cost
    /// no less than so much, and says what they cost at the least.
    fn look(&mut self, rest: &Rest<'a>, (layout, of_blocks): (Layout, u64), ask: &Ask) -> u64 {
        let mixed = &rest.mixed;
        let penalty = mixed.penalty_of_rest();
        let least = self
            .best
            .as_ref()
            .map_or(u64::MAX >> 1, |best| best.penalty);
        let useful = match self.shared {
            Shared::Time(_) => least.saturating_sub(penalty),
            // One of the same penalty is no better.
            Shared::Ram => least.saturating_sub(penalty).saturating_sub(1),
        };
        let set = ColumnSet::new(mixed, layout, Fit::Strict, &ask.rules);
        let chain = Chain {
            n_units: set.n_units,
            counts: set.groups.iter().map(Vec::len).collect(),
            menus: match self.shared {
                Shared::Time(_) => mixed.menus(&set),
                Shared::Ram => mixed.menus_by_ram(&set),
            },
        };
        let wanted = Wanted {
            most: match self.shared {
                Shared::Time(most) => (most.0 * 1e12).round() as u64,
                Shared::Ram => mixed.ram(layout).0,
            },
            known: useful,
            price: self.price,
        };
        let (answer, price) = tradeoff::within_sum(&chain, wanted, &ask.stop);
        self.price = price;
        match answer {
            Answer::Found(kept) => {
                let bound = kept.bound.max(of_blocks).min(kept.penalty);
                let kept = Kept { bound, ..kept };
                let plan = Rc::new(Planned { set, chain, kept });
                self.plans.push((mixed.clone(), Rc::clone(&plan)));
                self.keep(rest, plan)
            }
            Answer::TooSlow { fastest, is_proven } => {
                let fastest = Seconds(fastest as f64 * 1e-12);
                let is_faster = self.fastest.is_none_or(|other| fastest.0 < other.0);
                if is_faster {
                    self.fastest = Some(fastest);
                }
                if is_proven {
                    return NO_PLAN;
                }
                self.is_proven = false;
                let least = mixed.least().max(of_blocks.saturating_add(penalty));
                self.bound = self.bound.min(least);
                of_blocks
            }
            Answer::Worse(bound) => {
                let bound = bound.max(of_blocks);
                self.bound = self.bound.min(bound.saturating_add(penalty));
                bound
            }
            Answer::Impossible => NO_PLAN,
            Answer::Unknown(bound) => {
                self.is_proven = false;
                let bound = bound.max(of_blocks);
                self.bound = self.bound.min(bound.saturating_add(penalty));
                bound
            }
        }
    }

    /// Keeps a plan if it is the best so far, and says what blocks cost in its layout at the least.
    fn keep(&mut self, rest: &Rest<'a>, plan: Rc<Planned>) -> u64 {
        let of_rest = rest.mixed.penalty_of_rest();
        let penalty = plan.kept.penalty.saturating_add(of_rest);
        let floor = plan.kept.bound;
        self.bound = self.bound.min(floor.saturating_add(of_rest));
        let mut layouts = self.shared.in_order(&rest.mixed).into_iter();
        let of_layout = layouts.position(|layout| layout == plan.set.layout);
        let place = (rest.place, of_layout.unwrap_or_default());
        let worth = (penalty, plan.kept.time, place);
        let is_better = |best: &Best<'_>| worth < (best.penalty, best.plan.kept.time, best.place);
        if self.best.as_ref().is_none_or(is_better) {
            self.best = Some(Best {
                place,
                mixed: rest.mixed.clone(),
                plan,
                penalty,
            });
        }
        floor
    }
}

impl Shared {
    fn in_order(self, mixed: &Mixed<'_>) -> Vec<Layout> {
        match self {
            Self::Time(_) => mixed.ranks().concat(),
            Self::Ram => mixed.with_some_in_ram(),
        }
    }
}

impl Best<'_> {
    /// Its mix and its stages.
    pub(super) fn stored(&self, shared: Shared) -> (Mix, Vec<Span>) {
        let Planned { set, chain, kept } = self.plan.as_ref();
        let path = kept.stages.iter().map(|taken| Taken {
            column: taken.menu,
            host: 0,
        });
        let spans = path::stages(set, &path.collect::<Vec<_>>());
        let ways = kept.stages.iter();
        let ways = ways.map(|taken| chain.menus[taken.menu].ways[taken.way]);
        let stored: Vec<_> = spans.iter().zip(ways).collect();
        let mix = match shared {
            Shared::Time(_) => self.mixed.mix_of(&stored),
            Shared::Ram => self.mixed.mix_by_ram(set.layout, &stored),
        };
        (mix, spans)
    }

    pub(super) fn layout(&self) -> Layout {
        self.plan.set.layout
    }

    fn found(self, shared: Shared, bound: f64) -> Found {
        let (mix, spans) = self.stored(shared);
        let penalty = self.penalty as f64 / Way::PARTS;
        let time = Seconds(self.plan.kept.time as f64 * 1e-12);
        Found {
            place: self.place.0,
            mix,
            penalty,
            bound,
            solution: Solution {
                layout: self.layout(),
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
