//! Mixes with a part of blocks in RAM where a token may take only so long: stages share time and RAM.

use super::limited::{Known, Planned, Shared, by_least, stages_of};
use super::rests::{Rest, Rests};
use crate::cost::llama_cpp::mix::{Least, Mixed};
use crate::cost::menu::Paired;
use crate::cost::{Accounting, ColumnSet, Fit, Stages, Whole, Within};
use crate::solve::tradeoff::both::{self, Ending, Limits, PairedChain, Prices};
use crate::solve::{self, Ask};
use crate::units::Seconds;

impl<'a> Known<'a> {
    /// Looks for a plan of one recipe of the rest in one layout, of at most so many picoseconds and with
    /// blocks of at most that penalty. Says what they cost at the least.
    pub(super) fn look_in_both(
        &mut self,
        rest: &Rest<'a>,
        of_layout: &Least,
        (time, known): (u64, u64),
        ask: &Ask,
    ) -> u64 {
        let mixed = &rest.mixed;
        let (layout, of_blocks) = (of_layout.layout, of_layout.least);
        let (set, chain) = chain(mixed, (of_layout, known), ask);
        let limits = Limits {
            time,
            ram: mixed.ram(layout).0,
            known,
        };
        let (ending, prices) = both::within_both(&chain, limits, self.prices, &ask.stop);
        self.prices = prices;
        match ending {
            Ending::Found(kept, bound) => {
                let stages = stages_of(&set, kept.stages.iter().map(|taken| taken.menu));
                let ways = kept.stages.iter().map(|taken| {
                    let runs = &chain.menus[taken.menu].runs;
                    [0, 1].map(|run| runs[run][taken.ways[run]])
                });
                let stored: Vec<_> = stages.iter().zip(ways).collect();
                let plan = Planned {
                    layout,
                    mix: mixed.mix_of_paired(layout, &stored),
                    penalty: kept.penalty,
                    bound: bound.max(of_blocks).min(kept.penalty),
                    sum: kept.time,
                    stages,
                };
                self.found(rest, Shared::TimeAndRam(Seconds(time as f64 * 1e-12)), plan)
            }
            // Where more is in RAM as a whole than may be worth a look, plans may cost more and no less.
            Ending::None(bound) => {
                self.without(rest, bound.max(of_blocks).min(known.saturating_add(1)))
            }
            Ending::Unknown(bound) => {
                self.is_proven = false;
                self.without(rest, bound.max(of_blocks))
            }
        }
    }

    /// Looks for plans as good as the best that are faster; whether none is faster than the best then.
    pub(super) fn look_for_faster(&mut self, rests: &Rests<'a>, ask: &Ask) -> bool {
        let (bound, is_proven) = (self.bound, self.is_proven);
        self.is_proven = true;
        for rest in rests.in_turn() {
            let Some(best) = &self.best else { break };
            let of_rest = rest.mixed.penalty_of_rest();
            let Some(known) = best.penalty.checked_sub(of_rest) else {
                continue;
            };
            if rest.least(0) > best.penalty {
                continue;
            }
            if ask.stop.is_set() {
                self.is_proven = false;
                break;
            }
            let faster = Seconds(best.plan.sum.saturating_sub(1) as f64 * 1e-12);
            let layouts = by_least(rest.mixed.least_with_parts_in_ram(faster, known));
            for of_layout in layouts.iter().take_while(|of| of.least <= known) {
                let Some(best) = &self.best else { break };
                if ask.stop.is_set() {
                    self.is_proven = false;
                    break;
                }
                let wanted = (best.plan.sum.saturating_sub(1), known);
                self.look_in_both(rest, of_layout, wanted, ask);
            }
        }
        // These were bounds on faster plans alone.
        self.bound = bound;
        std::mem::replace(&mut self.is_proven, is_proven)
    }
}

/// The least time of a plan with a part of blocks in RAM that is below what is known, and whether none
/// is below both.
pub(super) fn fastest_with_parts(
    rests: &Rests<'_>,
    known: Option<Seconds>,
    ask: &Ask,
) -> (Option<Seconds>, bool) {
    let picoseconds = |time: Seconds| (time.0 * 1e12).round() as u64;
    let mut fastest = known.map_or(u64::MAX >> 1, picoseconds);
    let (mut is_found, mut is_proven) = (false, true);
    for rest in rests
        .in_turn()
        .filter(|rest| !rest.is_covered() || rest.place == rests.smallest.place)
    {
        if ask.stop.is_set() {
            is_proven = false;
            break;
        }
        let mixed = &rest.mixed;
        let layouts = by_least(mixed.least_times_with_parts_in_ram(fastest));
        for of_layout in &layouts {
            if of_layout.least >= fastest {
                break;
            }
            if ask.stop.is_set() {
                is_proven = false;
                break;
            }
            let (_, chain) = chain(mixed, (of_layout, fastest - 1), ask);
            let chain = PairedChain {
                menus: chain.menus.iter().map(Paired::at_its_time).collect(),
                ..chain
            };
            let limits = Limits {
                time: 0,
                ram: mixed.ram(of_layout.layout).0,
                known: fastest - 1,
            };
            match both::within_both(&chain, limits, Prices::default(), &ask.stop).0 {
                Ending::Found(kept, bound) => {
                    fastest = kept.penalty;
                    is_found = true;
                    is_proven &= bound == kept.penalty;
                }
                Ending::None(_) => {}
                Ending::Unknown(_) => is_proven = false,
            }
        }
    }
    let found = is_found.then_some(Seconds(fastest as f64 * 1e-12));
    (found, is_proven)
}

/// The chain of plans in a layout whose blocks cost no more than is known.
fn chain(
    mixed: &Mixed<'_>,
    (of_layout, known): (&Least, u64),
    ask: &Ask,
) -> (ColumnSet, PairedChain) {
    let (layout, n_units) = (of_layout.layout, mixed.units().len());
    let ends = match layout.whole() {
        Whole::Nothing => 0..0,
        Whole::FirstUnits => of_layout.ends(known),
    };
    // A single device ends the chain.
    let to_the_end = || vec![vec![n_units..=n_units; n_units]];
    let stages = match mixed.rig().devices().len() {
        1 => Stages {
            kind_of: vec![0],
            first: to_the_end(),
            later: to_the_end(),
        },
        _ => solve::stages_within(mixed, layout, ask, &ends),
    };
    let within = Within { ends, stages };
    let set = ColumnSet::within(mixed, layout, Fit::Strict, (&ask.rules, within));
    let chain = PairedChain {
        n_units: set.n_units,
        counts: set.groups.iter().map(Vec::len).collect(),
        menus: mixed.paired(&set),
    };
    (set, chain)
}
