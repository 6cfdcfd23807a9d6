//! The exact dynamic program: every device order at once.
//!
//! State: units done, and how many devices of each group are used. Devices of a group are alike, so
//! counts are enough; 1,000 equal cards cost no more than as many as there are units. Among plans of
//! the least cost it takes the one whose greatest load is least, and among these the first in the
//! order of the columns: groups by size and speed. What cost and load are is `objective.rs`.

use std::ops::Range;

use crate::cost::ColumnSet;
use crate::cost::Position;
use crate::cost::column::{Column, Cost, Owner};
use crate::solve::Stop;

/// What the dynamic program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The best path and its cost.
    Path {
        /// Indices into the columns.
        path: Vec<usize>,
        /// Their summed cost.
        cost: Cost,
        /// The greatest load of any of them.
        load: u64,
    },
    /// No path leads to the end.
    None,
    /// More states than can be counted out in the time that a person waits, or was told to stop.
    TooManyOrders,
}

/// How much may be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// What is over before anything better could be thought of: passes over all columns by the
    /// hundreds, which is what `relaxed.rs` takes.
    Moment,
    /// What a person waits for a plan: about a second at the most.
    Plan,
    /// What an explanation or a try is worth.
    Try,
}

impl Effort {
    fn most_steps(self, n_columns: usize) -> f64 {
        match self {
            Self::Moment => (n_columns as f64 * 1e3).clamp(3e6, 3e8),
            Self::Plan => 3e8,
            Self::Try => 2e7,
        }
    }
}

/// More states than these take more memory than a plan is worth.
const MOST_STATES: u128 = 10_000_000;

/// The worth of going on from a state; less is better, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rest {
    /// The sum.
    pub(super) cost: Cost,
    /// The most.
    pub(super) load: u64,
}

/// At the end.
pub(super) const NOTHING: Rest = Rest {
    cost: Cost(0),
    load: 0,
};
/// No way leads to the end.
pub(super) const NO_WAY: Rest = Rest {
    cost: Cost(u128::MAX),
    load: u64::MAX,
};

/// The path of least cost from the first unit to the last.
pub fn shortest(set: &ColumnSet, effort: Effort, stop: &Stop) -> Answer {
    let Some(network) = Network::new(set) else {
        return Answer::TooManyOrders;
    };
    if network.ends(0).is_empty() {
        return Answer::None;
    }
    if network.n_steps() > effort.most_steps(set.columns.len()) {
        return Answer::TooManyOrders;
    }
    let Some(rest) = network.rest(stop) else {
        return Answer::TooManyOrders;
    };
    if rest[0] == NO_WAY {
        return Answer::None;
    }
    Answer::Path {
        path: network.follow(&rest),
        cost: rest[0].cost,
        load: rest[0].load,
    }
}

struct Network<'a> {
    set: &'a ColumnSet,
    steps: Vec<Step>,
    /// Runs of columns of one start, owner and position, which follow each other in the set.
    runs: Vec<Vec<Run>>,
    /// How far apart the codes of two counts of a group are.
    strides: Vec<usize>,
    /// The most devices of each group that a path can use.
    counts: Vec<usize>,
    /// The longest column of each group, and of the host.
    longest: Vec<usize>,
    longest_on_host: usize,
    n_codes: usize,
}

/// Columns that a state may take or not, all alike.
struct Run {
    owner: Owner,
    position: Position,
    columns: Range<usize>,
}

impl<'a> Network<'a> {
    fn new(set: &'a ColumnSet) -> Option<Self> {
        let mut runs: Vec<Vec<Run>> = (0..set.n_units).map(|_| Vec::new()).collect();
        let mut longest = vec![0; set.groups.len()];
        let mut longest_on_host = 0;
        for (index, column) in set.columns.iter().enumerate() {
            let (owner, position) = (column.owner, column.position);
            let longest = match owner {
                Owner::Group(group) => &mut longest[group.0],
                Owner::Host => &mut longest_on_host,
            };
            *longest = column.units.len().max(*longest);
            match runs[column.units.start].last_mut() {
                Some(run) if (run.owner, run.position) == (owner, position) => {
                    run.columns.end = index + 1;
                }
                _ => {
                    let columns = index..index + 1;
                    runs[column.units.start].push(Run {
                        owner,
                        position,
                        columns,
                    });
                }
            }
        }
        // A path has no more stages than units, and needs no more devices than cover it.
        let most = |(devices, longest): (&Vec<_>, &usize)| {
            devices
                .len()
                .min(if *longest > 0 { set.n_units } else { 0 })
        };
        let counts: Vec<_> = set.groups.iter().zip(&longest).map(most).collect();
        let n_codes = counts.iter().fold(1, |codes: u128, count| {
            codes.saturating_mul(*count as u128 + 1)
        });
        let n_states = n_codes.saturating_mul(set.n_units as u128 + 1);
        if n_states > MOST_STATES {
            return None;
        }
        let mut strides = Vec::with_capacity(counts.len());
        let mut stride = 1;
        for count in &counts {
            strides.push(stride);
            stride *= count + 1;
        }
        Some(Self {
            set,
            steps: set.columns.iter().map(Step::from).collect(),
            runs,
            strides,
            counts,
            longest,
            longest_on_host,
            n_codes: stride,
        })
    }

    /// Where the states of a code begin.
    fn states(&self, code: usize) -> usize {
        code * (self.set.n_units + 1)
    }

    /// The units that may be done with the devices of a code: no more than these can hold, and no
    /// fewer than the others can finish.
    fn ends(&self, code: usize) -> Range<usize> {
        let (mut done, mut left) = (self.longest_on_host, 0);
        for ((stride, most), longest) in self.strides.iter().zip(&self.counts).zip(&self.longest) {
            let used = code / stride % (most + 1);
            done += used * longest;
            left += (most - used) * longest;
        }
        if code == 0 {
            left += self.longest_on_host;
        }
        self.set.n_units.saturating_sub(left)..done.min(self.set.n_units) + 1
    }

    /// About how many columns are looked at.
    fn n_steps(&self) -> f64 {
        let states: usize = (0..self.n_codes).map(|code| self.ends(code).len()).sum();
        states as f64 * self.set.columns.len() as f64 / self.set.n_units as f64
    }

    /// The best way on from each state `(code of the counts, units done)`; nothing if told to stop.
    fn rest(&self, stop: &Stop) -> Option<Vec<Rest>> {
        let mut rest = vec![NO_WAY; self.states(self.n_codes)];
        // Every way leads to a later code, but for the host's, which leads to more units done.
        for code in (0..self.n_codes).rev() {
            if stop.is_set() {
                return None;
            }
            let states = self.states(code);
            rest[states + self.set.n_units] = NOTHING;
            for done in self
                .ends(code)
                .rev()
                .filter(|done| *done < self.set.n_units)
            {
                let mut best = NO_WAY;
                for (columns, next) in self.ways(code, done) {
                    let behind = &rest[next..];
                    for index in columns {
                        let step = &self.steps[index];
                        best = best.min(onward(step, behind[step.end]));
                    }
                }
                rest[states + done] = best;
            }
        }
        Some(rest)
    }

    /// The columns that a state may take, with the states of the code that they lead to.
    fn ways(&self, code: usize, done: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        self.runs[done].iter().filter_map(move |run| {
            let next = match run.owner {
                Owner::Host => (code == 0).then_some(0)?,
                Owner::Group(group) => {
                    let (stride, most) = (self.strides[group.0], self.counts[group.0]);
                    let used = code / stride % (most + 1);
                    let in_place = (code == 0) == (run.position == Position::First);
                    (used < most && in_place).then_some(code + stride)?
                }
            };
            Some((run.columns.clone(), self.states(next)))
        })
    }

    /// Walks from the start along the best ways; of equal ones it takes the first.
    fn follow(&self, rest: &[Rest]) -> Vec<usize> {
        let (mut code, mut done) = (0, 0);
        let mut path = Vec::new();
        while done < self.set.n_units {
            let all = self
                .ways(code, done)
                .flat_map(|(columns, next)| columns.map(move |index| (index, next)));
            let best = all.min_by_key(|(index, next)| {
                let step = &self.steps[*index];
                (
                    onward(step, rest[next + step.end]),
                    self.set.columns[*index].owner,
                )
            });
            // Every state on the way from a start with an end has a way on.
            let Some((index, next)) = best else { break };
            path.push(index);
            code = next / (self.set.n_units + 1);
            done = self.steps[index].end;
        }
        path
    }
}

/// What the recursion reads of a column, close together in memory.
struct Step {
    cost: Cost,
    load: u64,
    end: usize,
}

impl From<&Column> for Step {
    fn from(column: &Column) -> Self {
        Self {
            cost: column.cost,
            load: column.load,
            end: column.units.end,
        }
    }
}

/// What a step and the way behind it are worth together.
fn onward(step: &Step, rest: Rest) -> Rest {
    if rest == NO_WAY {
        return NO_WAY;
    }
    Rest {
        cost: Cost(step.cost.0.saturating_add(rest.cost.0)),
        load: rest.load.max(step.load),
    }
}
