//! The most tokens a second: how many sequences are in the cache decides how large batches are, and
//! so how long a stage takes; how many stages there are, how often a round takes the slowest's time.
//!
//! A range is a number of stages and numbers of sequences that a plan may hold. Its columns are those
//! that hold its fewest. More sequences leave fewer columns and longer batches, so that the time of
//! the slowest stage never falls as they grow: a bound of it for the fewest of a range bounds the pace
//! of all. Ranges are taken from the best bound up and halved; of a single number the least time is
//! sought. What is left when the search ends, or is told to, is bounded by the first of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::cost::column::Cost;
use crate::cost::served::{Batch, batches, levels, pace, serve};
use crate::cost::{Column, ColumnSet, Crossing};
use crate::solve::dynamic::{Answer, Effort, shortest};
use crate::solve::{Ask, Stop, area, line};

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
/// that is worth more than `worst` is looked for, nor one that is worse than what is known.
pub(super) fn narrow(set: &mut ColumnSet, worst: u64, ask: &Ask, known: &[Known]) -> Narrowed {
    let mut search = Search {
        set,
        ask,
        best: None,
        has_found: false,
        worst,
        open: u64::MAX,
        ranges: BinaryHeap::new(),
    };
    for Known { level, slowest, .. } in known {
        search.found(*level, *slowest);
    }
    search.has_found = false;
    let (best, open) = search.run();
    match best {
        Some(Known {
            pace: value,
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
        None if worst < u64::MAX => Narrowed::Worse,
        None => Narrowed::Impossible,
    }
}

/// How many stages are allowed, and how many sequences a plan must hold.
#[derive(Clone, Copy)]
pub(super) struct Level {
    n_stages: u64,
    n_sequences: u64,
}

impl Level {
    fn pace(self, slowest: u64) -> u64 {
        pace(self.n_stages, self.n_sequences, slowest)
    }
}

/// There is a plan of a level, whose slowest stage or link takes so long.
pub(super) struct Known {
    pub(super) pace: u64,
    level: Level,
    slowest: u64,
}

impl Known {
    /// The plan of these stages at its best pace.
    pub(super) fn of(stages: &[&Column], between: &[Crossing]) -> Self {
        let held = stages.iter().map(|column| column.sequences).min();
        let batches_of: Vec<Batch> = stages.iter().map(|column| column.batch).collect();
        let links: Vec<Batch> = between.iter().map(|crossing| crossing.batch).collect();
        let service = serve(&batches_of, &links, held.unwrap_or(0));
        let level = Level {
            n_stages: stages.len() as u64,
            n_sequences: service.sequences,
        };
        let (batch, _) = batches(level.n_stages, level.n_sequences);
        let times = batches_of.iter().chain(&links);
        let slowest = times.map(|it| it.picoseconds(batch)).max();
        Self {
            pace: service.pace,
            level,
            slowest: slowest.unwrap_or(0),
        }
    }

    /// None where no sequence has room.
    pub(super) fn is_served(&self) -> bool {
        self.pace < u64::MAX
    }
}

/// Levels of one number of stages, the fewest sequences first. They are compared by what is to be
/// taken first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    /// None has a better pace.
    bound: u64,
    n_stages: u64,
    /// At least one.
    sequences: Vec<u64>,
}

impl Range {
    fn ends(&self) -> Option<(Level, Level)> {
        let level = |n_sequences: &u64| Level {
            n_stages: self.n_stages,
            n_sequences: *n_sequences,
        };
        Some((
            level(self.sequences.first()?),
            level(self.sequences.last()?),
        ))
    }
}

struct Search<'a> {
    set: &'a ColumnSet,
    ask: &'a Ask,
    best: Option<Known>,
    /// Whether any was found here, better than what was known or not.
    has_found: bool,
    worst: u64,
    /// The best pace of what was not decided.
    open: u64,
    ranges: BinaryHeap<Reverse<Range>>,
}

impl Search<'_> {
    /// The best of all levels, and what may be better than it.
    fn run(mut self) -> (Option<Known>, u64) {
        let most = self.set.columns.iter().map(|column| column.sequences).max();
        for n_stages in n_stages(self.set) {
            self.push(0, n_stages, &levels(n_stages, most.unwrap_or(0)));
        }
        while let Some(Reverse(range)) = self.ranges.pop() {
            if !self.may_help(range.n_stages, range.bound) {
                break;
            }
            // Told to end, where a plan was found in this layout or another.
            if self.ask.stop.is_set() && (self.has_found || self.worst < u64::MAX) {
                self.open = self.open.min(range.bound);
                break;
            }
            self.visit(&range);
        }
        (self.best, self.open)
    }

    /// Keeps levels for later, unless they have no plan or none that helps.
    fn push(&mut self, bound: u64, n_stages: u64, sequences: &[u64]) {
        let mut range = Range {
            bound,
            n_stages,
            sequences: sequences.to_vec(),
        };
        let Some((first, last)) = range.ends() else {
            return;
        };
        let least = least(&self.of_level(first), n_stages);
        range.bound = bound.max(least.map_or(u64::MAX, |least| last.pace(least)));
        if least.is_some() && self.may_help(n_stages, range.bound) {
            self.ranges.push(Reverse(range));
        }
    }

    /// The columns of plans of a level, with the time of a batch as their load.
    fn of_level(&self, level: Level) -> ColumnSet {
        let (batch, _) = batches(level.n_stages, level.n_sequences);
        let mut set = self.set.clone();
        set.columns
            .retain(|column| column.sequences >= level.n_sequences);
        for column in &mut set.columns {
            column.load = column.batch.picoseconds(batch);
            column.cost = Cost(1);
        }
        // Stages are counted, hosts are not; a link is as busy as a stage.
        for hop in set.sites.hops_mut() {
            hop.cost = Cost(0);
            hop.load = hop.crossing.batch.picoseconds(batch);
        }
        set
    }

    /// Whether a pace is better than the best so far, or as good with fewer stages, and no worse than
    /// asked for.
    fn may_help(&self, n_stages: u64, pace: u64) -> bool {
        let best = self.best.as_ref();
        let is_better = best.is_none_or(|best| (pace, n_stages) < (best.pace, best.level.n_stages));
        pace <= self.worst && is_better
    }

    /// Decides a range, or halves it.
    fn visit(&mut self, range: &Range) {
        let Some((first, last)) = range.ends() else {
            return;
        };
        let set = self.of_level(first);
        if range.sequences.len() == 1 {
            self.settle(set, first);
            return;
        }
        // Before anything is known of paces, nothing is too slow.
        if self.best.is_some() || self.worst < u64::MAX {
            let useful = times(&set).into_iter();
            let useful = useful.take_while(|time| self.may_help(last.n_stages, last.pace(*time)));
            match useful.last() {
                None => return,
                Some(time) => match within(&set, first.n_stages, time, &self.ask.stop) {
                    Within::Path(slowest) => self.found(first, slowest),
                    Within::None => return,
                    Within::Unknown => {}
                },
            }
        }
        let (fewer, more) = range.sequences.split_at(range.sequences.len() / 2);
        for half in [fewer, more] {
            self.push(range.bound, range.n_stages, half);
        }
    }

    fn found(&mut self, level: Level, slowest: u64) {
        self.has_found = true;
        let value = level.pace(slowest);
        if self.may_help(level.n_stages, value) {
            self.best = Some(Known {
                pace: value,
                level,
                slowest,
            });
        }
    }

    /// The least time of the slowest stage over the plans of a level, as far as it could be the best:
    /// bisected over the times of stages and links.
    fn settle(&mut self, mut set: ColumnSet, level: Level) {
        let Some(least) = least(&set, level.n_stages) else {
            return;
        };
        let mut times = times(&set);
        times.retain(|time| *time >= least);
        // A stage that is slower makes no better plan, whatever the others are.
        let useful = times.partition_point(|time| self.may_help(level.n_stages, level.pace(*time)));
        let (mut below, mut above) = (0, useful);
        // Where devices are alike the bound is the answer.
        let mut middle = 0;
        while below < above {
            match within(&set, level.n_stages, times[middle], &self.ask.stop) {
                Within::Path(_) => above = middle,
                Within::None => below = middle + 1,
                Within::Unknown => return self.of_a_few_orders(&mut set, level, times[below]),
            }
            middle = below + (above - below) / 2;
        }
        if below < useful {
            self.found(level, times[below]);
        }
    }

    /// A plan along one of a few orders, where no stage that is faster than `least` is the slowest.
    fn of_a_few_orders(&mut self, set: &mut ColumnSet, level: Level, least: u64) {
        // By the slowest stage alone, or with the fewest stages.
        for cost in [0, 1] {
            for column in &mut set.columns {
                column.cost = Cost(cost);
            }
            if let Some((path, worth)) = line::best_of_orders(set, &self.ask.stop)
                && path.len() as u64 <= level.n_stages
            {
                self.found(level, worth.load);
            }
        }
        let bound = level.pace(least);
        if self.may_help(level.n_stages, bound) {
            self.open = self.open.min(bound);
        }
    }
}

/// How many stages a plan may have: where hosts have a number of their own, multiples of it.
fn n_stages(set: &ColumnSet) -> Vec<u64> {
    let sites = &set.sites;
    let (each, most) = match sites.quota {
        None => (1, set.groups.iter().map(Vec::len).sum()),
        Some(quota) => {
            let on_host = |kind: usize| {
                let groups = (0..set.groups.len()).filter(|group| sites.kind_of[*group] == kind);
                groups.map(|group| sites.per_host[group]).sum::<usize>()
            };
            let kinds = (0..sites.n_hosts.len()).filter(|kind| on_host(*kind) >= quota);
            let n_hosts: usize = kinds.map(|kind| sites.n_hosts[kind]).sum();
            (quota, quota * n_hosts)
        }
    };
    (1..=most.min(set.n_units) as u64)
        .filter(|n_stages| n_stages.is_multiple_of(each as u64))
        .collect()
}

/// No chain of at most so many stages has a slowest one that is faster, by what as many devices can
/// take and by chains that use any device at will; nothing where there is none.
fn least(set: &ColumnSet, n_stages: u64) -> Option<u64> {
    let covered = area::least_most(set, n_stages as usize, |column| column.load);
    if covered == u64::MAX {
        return None;
    }
    let mut reached = vec![u64::MAX; set.n_units + 1];
    reached[0] = 0;
    for _ in 0..n_stages {
        let before = reached.clone();
        for column in &set.columns {
            let slowest = before[column.units.start].max(column.load);
            let end = &mut reached[column.units.end];
            *end = slowest.min(*end);
        }
        if reached == before {
            break;
        }
    }
    let chained = reached[set.n_units];
    (chained < u64::MAX).then_some(chained.max(covered))
}

/// What stages and links take, the fastest first.
fn times(set: &ColumnSet) -> Vec<u64> {
    let of_stages = set.columns.iter().map(|column| column.load);
    let of_hops = set.sites.hops().map(|hop| hop.load);
    let mut times: Vec<_> = of_stages.chain(of_hops).collect();
    times.sort_unstable();
    times.dedup();
    times
}

enum Within {
    /// There is a chain, of which this is the slowest stage or link.
    Path(u64),
    None,
    /// There are too many orders.
    Unknown,
}

/// Whether a chain of at most so many stages has none that is slower than `time`.
fn within(set: &ColumnSet, n_stages: u64, time: u64, stop: &Stop) -> Within {
    let mut light = set.clone();
    light.columns.retain(|column| column.load <= time);
    for hop in light.sites.hops_mut() {
        hop.is_barred |= hop.load > time;
    }
    match shortest(&light, Effort::Plan, stop) {
        Answer::Path { cost, load, .. } if cost.0 <= u128::from(n_stages) => Within::Path(load),
        Answer::Path { .. } | Answer::None => Within::None,
        Answer::TooManyOrders => Within::Unknown,
    }
}
