//! The most tokens a second: how many sequences are in the cache decides how large batches are, and
//! so how long a stage takes; how many stages there are, how often a round takes the slowest's time.
//!
//! For each number of stages and each number of sequences that a plan may hold, the columns that hold
//! so many are kept, and the least time of the slowest stage over at most so many stages is sought.
//! More sequences leave fewer columns and longer batches, so that time never falls as they grow:
//! what it is for few of them bounds the pace of all larger numbers, and most are never tried.

use crate::cost::ColumnSet;
use crate::cost::column::Cost;
use crate::cost::served::{batches, levels, pace};
use crate::solve::dynamic::{Answer, Effort, shortest};
use crate::solve::{Ask, area, line, relaxed};

/// What is known when the columns are narrowed down to those of the best plans.
pub(super) enum Narrowed {
    /// Those left are of the plans that serve best among those found; none serves at a better pace
    /// than this.
    To(u64),
    /// No plan serves as well as asked for.
    Worse,
    /// There is no plan.
    Impossible,
    /// None was found, and none is ruled out; none has a better pace than this.
    Unknown(u64),
}

/// Leaves the columns of plans of the best pace, of which those with the fewest stages have it; none
/// that is worth more than `worst` is looked for.
pub(super) fn narrow(set: &mut ColumnSet, worst: u64, ask: &Ask) -> Narrowed {
    let n_devices: usize = set.groups.iter().map(Vec::len).sum();
    let most = set.columns.iter().map(|column| column.sequences).max();
    let mut levels = Levels {
        set,
        ask,
        best: None,
        worst,
        open: u64::MAX,
        is_worse: false,
    };
    // Most plans of the best pace use many cards.
    for n_stages in (1..=n_devices.min(set.n_units) as u64).rev() {
        let all = Level::all(n_stages, most.unwrap_or(0));
        levels.visit(&all);
    }
    let Levels {
        best,
        open,
        is_worse,
        ..
    } = levels;
    match best {
        Some(Best {
            value,
            level,
            slowest,
        }) => {
            let (batch, _) = batches(level.n_stages, level.n_sequences);
            set.columns.retain(|column| {
                column.sequences >= level.n_sequences && column.batch.picoseconds(batch) <= slowest
            });
            for hop in set.sites.hops_mut() {
                hop.is_barred |= hop.crossing.batch.picoseconds(batch) > slowest;
            }
            Narrowed::To(open.min(value))
        }
        None if open <= worst && open < u64::MAX => Narrowed::Unknown(open),
        None if is_worse => Narrowed::Worse,
        None => Narrowed::Impossible,
    }
}

/// How many stages are allowed, and how many sequences a plan must hold.
#[derive(Clone, Copy)]
struct Level {
    n_stages: u64,
    n_sequences: u64,
}

impl Level {
    fn all(n_stages: u64, most: u64) -> Vec<Self> {
        let levels = levels(n_stages, most).into_iter();
        levels
            .map(|n_sequences| Self {
                n_stages,
                n_sequences,
            })
            .collect()
    }

    fn pace(self, slowest: u64) -> u64 {
        pace(self.n_stages, self.n_sequences, slowest)
    }
}

struct Best {
    value: u64,
    level: Level,
    slowest: u64,
}

/// What is known of the slowest stage of a level's plans, in picoseconds.
struct Slowest {
    /// Of a plan that is better than the best so far; none where there is none.
    found: Option<u64>,
    /// No plan's is less.
    least: u64,
    /// Whether a plan between both may be there.
    is_open: bool,
}

struct Levels<'a> {
    set: &'a ColumnSet,
    ask: &'a Ask,
    best: Option<Best>,
    worst: u64,
    /// The best pace of what was not decided.
    open: u64,
    /// Whether anything was left out because it is worth more than asked for.
    is_worse: bool,
}

impl Levels<'_> {
    /// Looks for a better pace among levels of one number of stages.
    fn visit(&mut self, levels: &[Level]) {
        let (Some(first), Some(last)) = (levels.first(), levels.last()) else {
            return;
        };
        let (batch, _) = batches(first.n_stages, first.n_sequences);
        let mut set = self.set.clone();
        set.columns
            .retain(|column| column.sequences >= first.n_sequences);
        for column in &mut set.columns {
            column.load = column.batch.picoseconds(batch);
        }
        // Stages are counted, hosts are not; a link is as busy as a stage.
        for hop in set.sites.hops_mut() {
            hop.cost = Cost(0);
            hop.load = hop.crossing.batch.picoseconds(batch);
        }
        // Where fewer sequences have no plan, more have none.
        if !area::may_cover(&set) || !relaxed::has_path(&set) {
            return;
        }
        let least = area::least_most(&set, |column| column.load);
        if !self.may_help(*last, least) {
            return;
        }
        // Told to end, where this or another layout has a plan.
        if self.ask.stop.is_set() && (self.best.is_some() || self.worst < u64::MAX) {
            self.open = self.open.min(last.pace(least));
            return;
        }
        let Some(slowest) = self.slowest(&mut set, *first, *last) else {
            return;
        };
        if let Some(found) = slowest.found {
            self.best = Some(Best {
                value: first.pace(found),
                level: *first,
                slowest: found,
            });
        }
        if slowest.is_open {
            self.open = self.open.min(first.pace(slowest.least));
        }
        if self.may_help(*last, slowest.least) {
            let (fewer, more) = levels[1..].split_at((levels.len() - 1) / 2);
            self.visit(more);
            self.visit(fewer);
        }
    }

    /// Whether a pace is better than the best so far, or as good with fewer stages, and no worse than
    /// asked for.
    fn may_help(&mut self, level: Level, slowest: u64) -> bool {
        let pace = level.pace(slowest);
        self.is_worse |= pace > self.worst;
        let key = (pace, level.n_stages);
        let best = self.best.as_ref();
        let is_better = best.is_none_or(|best| key < (best.value, best.level.n_stages));
        pace <= self.worst && is_better
    }

    /// The least time of the slowest stage over plans of the first level, as far as it could make that
    /// or a later one the best; nothing where they have no plan.
    fn slowest(&mut self, set: &mut ColumnSet, first: Level, last: Level) -> Option<Slowest> {
        for column in &mut set.columns {
            column.cost = Cost(0);
        }
        let unlimited = match shortest(set, Effort::Plan, &self.ask.stop) {
            Answer::Path { load, .. } => load,
            Answer::None => return None,
            Answer::TooManyOrders => return Some(self.of_a_few_orders(set, first)),
        };
        let known = Slowest {
            found: None,
            least: unlimited,
            is_open: false,
        };
        match self.may_help(last, unlimited) {
            true => self.within(set, first, unlimited),
            false => Some(known),
        }
    }

    /// The same, given what it is without a limit on stages: bisected over the times of stages.
    fn within(&mut self, set: &mut ColumnSet, level: Level, unlimited: u64) -> Option<Slowest> {
        for column in &mut set.columns {
            column.cost = Cost(1);
        }
        let of_stages = set.columns.iter().map(|column| column.load);
        let of_hops = set.sites.hops().map(|hop| hop.load);
        let mut loads: Vec<_> = of_stages.chain(of_hops).collect();
        loads.retain(|load| *load >= unlimited);
        loads.sort_unstable();
        loads.dedup();
        // A stage that is slower makes no better plan, whatever the others are.
        let useful = loads.partition_point(|load| self.may_help(level, *load));
        let (mut below, mut above) = (0, useful);
        // Without a limit in the way the first is the answer.
        let mut middle = 0;
        while below < above {
            let mut light = set.clone();
            light.columns.retain(|column| column.load <= loads[middle]);
            for hop in light.sites.hops_mut() {
                hop.is_barred |= hop.load > loads[middle];
            }
            match shortest(&light, Effort::Plan, &self.ask.stop) {
                Answer::Path { cost, .. } if cost.0 <= u128::from(level.n_stages) => above = middle,
                Answer::Path { .. } | Answer::None => below = middle + 1,
                Answer::TooManyOrders => return Some(self.of_a_few_orders(set, level)),
            }
            middle = below + (above - below) / 2;
        }
        let least = *loads.get(below)?;
        Some(Slowest {
            found: (below < useful).then_some(least),
            least,
            is_open: false,
        })
    }

    /// A plan along one of a few orders, and a bound that needs none.
    fn of_a_few_orders(&mut self, set: &mut ColumnSet, level: Level) -> Slowest {
        let least = area::least_most(set, |column| column.load);
        // By the slowest stage alone, or with the fewest stages.
        let tried = [0, 1].map(|cost| {
            for column in &mut set.columns {
                column.cost = Cost(cost);
            }
            let (path, worth) = line::best_of_orders(set, &self.ask.stop)?;
            (path.len() as u64 <= level.n_stages).then_some(worth.load)
        });
        let found = tried.into_iter().flatten().min();
        let found = found.filter(|found| self.may_help(level, *found));
        Slowest {
            found,
            least,
            is_open: found != Some(least),
        }
    }
}
