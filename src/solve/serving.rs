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
    for n_stages in 1..=n_devices.min(set.n_units) as u64 {
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
    /// Of a plan that was found; none where there is none.
    found: Option<u64>,
    /// No plan's is less; none where there is no plan.
    least: Option<u64>,
}

const RULED_OUT: Slowest = Slowest {
    found: None,
    least: None,
};

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
        let Some((first, rest)) = levels.split_first() else {
            return;
        };
        let slowest = self.slowest(*first);
        let Some(least) = slowest.least else {
            // More sequences need no less.
            return;
        };
        if let Some(found) = slowest.found {
            let value = first.pace(found);
            if value > self.worst {
                self.is_worse = true;
            } else if value < self.best_value() || self.best.is_none() {
                self.best = Some(Best {
                    value,
                    level: *first,
                    slowest: found,
                });
            }
        }
        if slowest.found != Some(least) {
            self.open = self.open.min(first.pace(least));
        }
        let Some(last) = rest.last() else {
            return;
        };
        let bound = last.pace(least);
        if bound > self.worst {
            self.is_worse = true;
        } else if self.best.is_some() && self.ask.stop.is_set() {
            self.open = self.open.min(bound);
        } else if self.best.is_none() || bound < self.best_value() {
            let (fewer, more) = rest.split_at(rest.len() / 2);
            self.visit(more);
            self.visit(fewer);
        }
    }

    fn best_value(&self) -> u64 {
        self.best.as_ref().map_or(u64::MAX, |best| best.value)
    }

    /// The least time of the slowest stage over plans of a level.
    fn slowest(&self, level: Level) -> Slowest {
        let (batch, _) = batches(level.n_stages, level.n_sequences);
        let mut set = self.set.clone();
        set.columns
            .retain(|column| column.sequences >= level.n_sequences);
        for column in &mut set.columns {
            column.load = column.batch.picoseconds(batch);
            column.cost = Cost(0);
        }
        if !area::may_cover(&set) || !relaxed::has_path(&set) {
            return RULED_OUT;
        }
        let answer = match shortest(&set, Effort::Plan, &self.ask.stop) {
            Answer::Path { load, .. } => self.within(&mut set, level, load),
            Answer::None => Some(RULED_OUT),
            Answer::TooManyOrders => None,
        };
        answer.unwrap_or_else(|| self.of_a_few_orders(&mut set, level))
    }

    /// The same, given what it is without a limit on stages; nothing where orders are too many.
    fn within(&self, set: &mut ColumnSet, level: Level, unlimited: u64) -> Option<Slowest> {
        let most = u128::from(level.n_stages);
        for column in &mut set.columns {
            column.cost = Cost(1);
        }
        let mut loads: Vec<_> = set.columns.iter().map(|column| column.load).collect();
        loads.retain(|load| *load >= unlimited);
        loads.sort_unstable();
        loads.dedup();
        // The fewest stages below each load: the least load that keeps the limit, bisected.
        let (mut below, mut above) = (0, loads.len());
        let mut first = true;
        while below < above {
            // Without a limit in the way, the first is the answer.
            let middle = if first {
                below
            } else {
                below + (above - below) / 2
            };
            first = false;
            let mut light = set.clone();
            light.columns.retain(|column| column.load <= loads[middle]);
            match shortest(&light, Effort::Plan, &self.ask.stop) {
                Answer::Path { cost, .. } if cost.0 <= most => above = middle,
                Answer::Path { .. } | Answer::None => below = middle + 1,
                Answer::TooManyOrders => return None,
            }
        }
        let load = loads.get(below).copied();
        Some(Slowest {
            found: load,
            least: load,
        })
    }

    /// A plan along one of a few orders, and a bound that needs none.
    fn of_a_few_orders(&self, set: &mut ColumnSet, level: Level) -> Slowest {
        let least = area::least_most(set, |column| column.load);
        // By the slowest stage alone, or with the fewest stages.
        let tried = [0, 1].map(|cost| {
            for column in &mut set.columns {
                column.cost = Cost(cost);
            }
            let (path, worth) = line::best_of_orders(set, &self.ask.stop)?;
            (path.len() as u64 <= level.n_stages).then_some(worth.load)
        });
        Slowest {
            found: tried.into_iter().flatten().min(),
            least: Some(least),
        }
    }
}
