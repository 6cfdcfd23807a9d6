//! The best mix where stages share what there is: the time of a token, RAM, or both.
//!
//! Each recipe of the rest is looked at in each layout, unless what is known rules it out. RAM is shared
//! in the layouts that have some of the chain there.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::rests::{NO_PLAN, Rest, Rests};
use crate::cost::llama_cpp::mix::{Least, Mixed};
use crate::cost::menu::Menu;
use crate::cost::{Accounting, ColumnSet, Fit, Layout, Span};
use crate::model::mix::Mix;
use crate::solve::Ask;
use crate::solve::path::{self, Taken};
use crate::solve::tradeoff::both::Prices;
use crate::solve::tradeoff::{self, Answer, Chain, Wanted};
use crate::units::Seconds;

/// What the stages of a plan have together.
#[derive(Clone, Copy)]
pub(super) enum Shared {
    /// So long for a token.
    Time(Seconds),
    /// What is left of RAM.
    Ram,
    /// Both, where a part of blocks is in RAM.
    TimeAndRam(Seconds),
}

/// What is known so far of all recipes of the rest and all layouts.
pub(super) struct Known<'a> {
    pub(super) best: Option<Best<'a>>,
    /// No plan costs less, in parts of [`Way::PARTS`].
    pub(super) bound: u64,
    /// The least time of a plan that is too slow, and whether none is faster.
    pub(super) fastest: Option<Seconds>,
    /// Whether nothing was left open.
    pub(super) is_proven: bool,
    /// What blocks cost at the least beside the smallest rest, by layout.
    floors: BTreeMap<Layout, u64>,
    /// The plans that were found, with their rests.
    plans: Vec<(Mixed<'a>, Rc<Planned>)>,
    /// What a picosecond was worth in the last of them, none before the first: where they are much
    /// alike, one pass at this price rules the next one out.
    price: f64,
    /// The same of a picosecond and a byte of RAM.
    pub(super) prices: Prices,
}

pub(super) struct Best<'a> {
    /// The places of the recipe of its rest and of its layout among the others: of equal plans that of
    /// the first counts.
    pub(super) place: (usize, usize),
    mixed: Mixed<'a>,
    pub(super) plan: Rc<Planned>,
    /// With what the rest costs.
    pub(super) penalty: u64,
}

/// The best plan of a layout beside one rest, and of every rest that is like it.
pub(super) struct Planned {
    pub(super) layout: Layout,
    pub(super) stages: Vec<Span>,
    /// With the recipe of the rest beside which it was found.
    pub(super) mix: Mix,
    /// What blocks cost, and what they cost at the least.
    pub(super) penalty: u64,
    pub(super) bound: u64,
    /// Its time in picoseconds, or its RAM where that alone is shared.
    pub(super) sum: u64,
}

impl<'a> Known<'a> {
    /// Of every recipe of the rest, in every layout.
    pub(super) fn of_all(rests: &Rests<'a>, shared: Shared, ask: &Ask) -> Self {
        let mut known = Self {
            best: None,
            bound: u64::MAX,
            fastest: None,
            is_proven: true,
            floors: BTreeMap::new(),
            plans: Vec::new(),
            price: 0.0,
            prices: Prices::default(),
        };
        known.look_at_all(rests, shared, ask);
        known
    }

    /// Looks for what is better in the layouts where so much is shared.
    pub(super) fn look_at_all(&mut self, rests: &Rests<'a>, shared: Shared, ask: &Ask) {
        let known = self;
        for (index, rest) in rests.in_turn().enumerate() {
            let least = rest.least(0);
            let may_be_better = known.best.as_ref().is_none_or(|best| best.penalty > least);
            if least != NO_PLAN && may_be_better && known.is_over(shared, ask) {
                known.bound = known.bound.min(least);
                known.is_proven = false;
                continue;
            }
            for of_layout in known.layouts(rest, shared) {
                let (layout, of_blocks) = (of_layout.layout, of_layout.least);
                let is_over = known.is_over(shared, ask);
                let floor = known.floors.get(&layout).copied().unwrap_or_default();
                let least = rest.least(floor);
                let least = least.max(rest.mixed.penalty_of_rest().saturating_add(of_blocks));
                let is_better = |best: &Best<'_>| match shared {
                    Shared::Time(_) => best.penalty < least,
                    // Of equals none is better.
                    Shared::Ram | Shared::TimeAndRam(_) => best.penalty <= least,
                };
                if least == NO_PLAN || known.best.as_ref().is_some_and(is_better) {
                    known.bound = known.bound.min(least);
                    continue;
                }
                let alike = known.plans.iter().find(|(mixed, plan)| {
                    plan.layout == layout && rest.mixed.has_plans_of(mixed, &[layout])
                });
                let floor = match alike.map(|(_, plan)| Rc::clone(plan)) {
                    Some(plan) => known.keep(rest, shared, plan),
                    None if is_over => {
                        known.bound = known.bound.min(least);
                        known.is_proven = false;
                        continue;
                    }
                    None => known.look(rest, shared, &of_layout, ask),
                };
                if index == 0 {
                    known.floors.insert(layout, floor);
                }
            }
        }
    }

    /// The layouts in the order of search, each with what is known of its blocks' penalty: none is less.
    fn layouts(&self, rest: &Rest<'a>, shared: Shared) -> Vec<Least> {
        let is_worse = |best: &Best<'_>| best.penalty <= rest.least(0);
        let known = self.wanted_of(rest).saturating_sub(1);
        match shared {
            // The pipeline's copies of inputs take room and save no time of a token, so that what is
            // found without them mostly rules it out.
            Shared::Time(_) => {
                let mut layouts = shared.in_order(&rest.mixed);
                layouts.sort_by_key(|layout| *layout == Layout::Pipelined);
                layouts.into_iter().map(Least::unknown).collect()
            }
            Shared::Ram | Shared::TimeAndRam(_) if self.best.as_ref().is_some_and(is_worse) => {
                Vec::new()
            }
            Shared::Ram => by_least(rest.mixed.least_with_some_in_ram()),
            Shared::TimeAndRam(most) => by_least(rest.mixed.least_with_parts_in_ram(most, known)),
        }
    }

    /// Whether nothing more is to be looked at. One layout always is.
    fn is_over(&self, shared: Shared, ask: &Ask) -> bool {
        let has_tried = match shared {
            Shared::Time(_) => self.best.is_some(),
            Shared::Ram | Shared::TimeAndRam(_) => self.best.is_some() || !self.floors.is_empty(),
        };
        has_tried && ask.stop.is_set()
    }

    /// Looks for a better plan of one recipe of the rest in one layout, in which blocks are known to cost
    /// no less than so much, and says what they cost at the least.
    fn look(&mut self, rest: &Rest<'a>, shared: Shared, of_layout: &Least, ask: &Ask) -> u64 {
        let mixed = &rest.mixed;
        let (layout, of_blocks) = (of_layout.layout, of_layout.least);
        let known = self.wanted_of(rest);
        let (most, menus, known) = match shared {
            Shared::Time(most) => (picoseconds(most), Mixed::menus as Menus<'_>, known),
            // One of the same penalty is no better.
            Shared::Ram => (
                mixed.ram(layout).0,
                Mixed::menus_by_ram as Menus<'_>,
                known.saturating_sub(1),
            ),
            Shared::TimeAndRam(most) => {
                let wanted = (picoseconds(most), known.saturating_sub(1));
                return self.look_in_both(rest, of_layout, wanted, ask);
            }
        };
        let set = ColumnSet::new(mixed, layout, Fit::Strict, &ask.rules);
        let chain = Chain {
            n_units: set.n_units,
            counts: set.groups.iter().map(Vec::len).collect(),
            menus: menus(mixed, &set),
        };
        let wanted = Wanted {
            most,
            known,
            price: self.price,
        };
        let (answer, price) = tradeoff::within_sum(&chain, wanted, &ask.stop);
        self.price = price;
        match answer {
            Answer::Found(kept) => {
                let path = kept.stages.iter().map(|taken| taken.menu);
                let stages = stages_of(&set, path);
                let ways = kept.stages.iter();
                let ways = ways.map(|taken| chain.menus[taken.menu].ways[taken.way]);
                let stored: Vec<_> = stages.iter().zip(ways).collect();
                let mix = match shared {
                    Shared::Time(_) | Shared::TimeAndRam(_) => mixed.mix_of(&stored),
                    Shared::Ram => mixed.mix_by_ram(layout, &stored),
                };
                let plan = Planned {
                    layout,
                    mix,
                    penalty: kept.penalty,
                    bound: kept.bound.max(of_blocks).min(kept.penalty),
                    sum: kept.time,
                    stages,
                };
                self.found(rest, shared, plan)
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
                let of_rest = mixed.penalty_of_rest();
                let least = mixed.least().max(of_blocks.saturating_add(of_rest));
                self.bound = self.bound.min(least);
                of_blocks
            }
            Answer::Worse(bound) => self.without(rest, bound.max(of_blocks)),
            Answer::Impossible => NO_PLAN,
            Answer::Unknown(bound) => {
                self.is_proven = false;
                self.without(rest, bound.max(of_blocks))
            }
        }
    }

    /// What blocks beside a rest may cost to be as good as the best.
    fn wanted_of(&self, rest: &Rest<'a>) -> u64 {
        let best = self.best.as_ref();
        let most = best.map_or(u64::MAX >> 1, |best| best.penalty);
        most.saturating_sub(rest.mixed.penalty_of_rest())
    }

    /// Beside a rest no blocks that are wanted cost less.
    pub(super) fn without(&mut self, rest: &Rest<'a>, bound: u64) -> u64 {
        let of_all = bound.saturating_add(rest.mixed.penalty_of_rest());
        self.bound = self.bound.min(of_all);
        bound
    }

    /// Keeps a plan that was found, and says what blocks cost in its layout at the least.
    pub(super) fn found(&mut self, rest: &Rest<'a>, shared: Shared, plan: Planned) -> u64 {
        let plan = Rc::new(plan);
        self.plans.push((rest.mixed.clone(), Rc::clone(&plan)));
        self.keep(rest, shared, plan)
    }

    /// Keeps a plan if it is the best so far, and says what blocks cost in its layout at the least.
    fn keep(&mut self, rest: &Rest<'a>, shared: Shared, plan: Rc<Planned>) -> u64 {
        let of_rest = rest.mixed.penalty_of_rest();
        let penalty = plan.penalty.saturating_add(of_rest);
        let floor = self.without(rest, plan.bound);
        let mut layouts = shared.in_order(&rest.mixed).into_iter();
        let of_layout = layouts.position(|layout| layout == plan.layout);
        let place = (rest.place, of_layout.unwrap_or_default());
        let worth = (penalty, plan.sum, place);
        let is_better = |best: &Best<'_>| worth < (best.penalty, best.plan.sum, best.place);
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

/// Every way of each column of a set.
type Menus<'a> = fn(&Mixed<'a>, &ColumnSet) -> Vec<Menu>;

pub(super) fn picoseconds(time: Seconds) -> u64 {
    (time.0 * 1e12).round() as u64
}

/// Of equals that with most parts in RAM first, which leaves GPUs the most room.
pub(super) fn by_least(mut layouts: Vec<Least>) -> Vec<Least> {
    layouts.sort_by_key(|Least { layout, least, .. }| {
        (*least, layout.whole(), Reverse(layout.parts().n_blocks))
    });
    layouts
}

/// The stages of these columns.
pub(super) fn stages_of(set: &ColumnSet, columns: impl Iterator<Item = usize>) -> Vec<Span> {
    let path = columns.map(|column| Taken { column, host: 0 });
    path::stages(set, &path.collect::<Vec<_>>())
}

impl Shared {
    fn in_order(self, mixed: &Mixed<'_>) -> Vec<Layout> {
        match self {
            Self::Time(_) => mixed.ranks().concat(),
            Self::Ram => mixed.with_some_in_ram(),
            Self::TimeAndRam(_) => {
                let mut all = mixed.ranks().concat();
                all.extend(mixed.with_parts_in_ram());
                all
            }
        }
    }
}

impl Best<'_> {
    pub(super) fn mix(&self) -> Mix {
        Mix {
            rest: self.mixed.recipe_of_rest(),
            blocks: self.plan.mix.blocks.clone(),
        }
    }
}
