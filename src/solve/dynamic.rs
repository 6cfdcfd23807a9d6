//! The exact dynamic program: every device order at once.
//!
//! State: units done, how many devices of each group are used, and on which host the last stage is
//! (`pools.rs`). Devices of a group are alike, so counts are enough; 1,000 equal cards cost no more
//! than as many as a plan can be better with. Among plans of
//! the least cost it takes the one whose greatest load is least, and among these the first in the
//! order of the columns: groups by size and speed. What cost and load are is `objective.rs`.

mod reach;
pub(super) mod useful;

use std::ops::Range;

use crate::cost::ColumnSet;
use crate::cost::Position;
use crate::cost::column::{Column, Cost, Owner};
use crate::cost::sites::Hop;
use crate::solve::Stop;
use crate::solve::path::Taken;
use crate::solve::pools::{Hosts, Pools};

/// What the dynamic program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The best path and its cost.
    Path {
        /// Its columns, and where they are.
        path: Vec<Taken>,
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
pub(super) const MOST_STATES: u128 = 10_000_000;

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
    let by_kind = counted(set, Hosts::ByKind, effort, stop);
    by_kind
        .or_else(|| counted(set, Hosts::Apart, effort, stop))
        .unwrap_or(Answer::TooManyOrders)
}

/// The same with hosts told apart or not; nothing where a path finds no room on alike hosts.
pub(super) fn counted(
    set: &ColumnSet,
    hosts: Hosts,
    effort: Effort,
    stop: &Stop,
) -> Option<Answer> {
    let Some(network) = Network::new(set, hosts) else {
        return Some(Answer::TooManyOrders);
    };
    if network.ends(0).is_empty() {
        return Some(Answer::None);
    }
    if network.n_steps() > effort.most_steps(set.columns.len()) {
        return Some(Answer::TooManyOrders);
    }
    let Some(rest) = network.rest(stop) else {
        return Some(Answer::TooManyOrders);
    };
    if rest[0] == NO_WAY {
        return Some(Answer::None);
    }
    Some(Answer::Path {
        path: network.pools.seated(&network.follow(&rest))?,
        cost: rest[0].cost,
        load: rest[0].load,
    })
}

struct Network<'a> {
    set: &'a ColumnSet,
    steps: Vec<Step>,
    /// Runs of columns of one start, owner and position, which follow each other in the set.
    runs: Vec<Vec<Run>>,
    pools: Pools,
    /// By code of the counts, the units that may be done.
    ends: Vec<Range<usize>>,
}

/// Columns that a state may take or not, all alike.
struct Run {
    owner: Owner,
    position: Position,
    columns: Range<usize>,
}

/// A run at a state: its columns, the states that they lead to, the stand there, and what lies
/// between.
struct Way {
    columns: Range<usize>,
    next: usize,
    hop: Hop,
}

impl<'a> Network<'a> {
    fn new(set: &'a ColumnSet, hosts: Hosts) -> Option<Self> {
        let mut runs: Vec<Vec<Run>> = (0..set.n_units).map(|_| Vec::new()).collect();
        let mut is_used = vec![false; set.groups.len()];
        for (index, column) in set.columns.iter().enumerate() {
            let (owner, position) = (column.owner, column.position);
            if let Owner::Group(group) = owner {
                is_used[group.0] = true;
            }
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
        let pools = Pools::new(set, hosts, (&is_used, useful::most(set)))?;
        Some(Self {
            set,
            steps: set.columns.iter().map(Step::from).collect(),
            runs,
            ends: reach::reaches(set, &pools),
            pools,
        })
    }

    /// Where the states of a code and a stand begin.
    fn states(&self, code: usize, stand: usize) -> usize {
        (code * self.pools.n_stands + stand) * (self.set.n_units + 1)
    }

    /// The units that may be done with the devices of a code.
    fn ends(&self, code: usize) -> Range<usize> {
        self.ends[code].clone()
    }

    /// The stands that a code may have.
    fn stands(&self, code: usize) -> impl Iterator<Item = usize> {
        (0..self.pools.n_stands).filter(move |stand| self.pools.may_stand(code, *stand))
    }

    /// About how many columns are looked at.
    fn n_steps(&self) -> f64 {
        let states: usize = (0..self.pools.n_codes)
            .map(|code| match self.ends(code).len() {
                0 => 0,
                n_ends => n_ends * self.stands(code).count(),
            })
            .sum();
        states as f64 * self.set.columns.len() as f64 / self.set.n_units as f64
    }

    /// The best way on from each state `(code of the counts, stand, units done)`; nothing if told to
    /// stop.
    fn rest(&self, stop: &Stop) -> Option<Vec<Rest>> {
        let mut rest = vec![NO_WAY; self.states(self.pools.n_codes, 0)];
        let mut worths = vec![NO_WAY; self.pools.n_stands];
        // Every way leads to a later code, but for the host's, which leads to more units done.
        for code in (0..self.pools.n_codes).rev() {
            if stop.is_set() {
                return None;
            }
            let ends = self.ends(code);
            if ends.is_empty() {
                continue;
            }
            let stands: Vec<_> = self.stands(code).collect();
            for stand in &stands {
                if self.pools.may_end(code, *stand) {
                    rest[self.states(code, *stand) + self.set.n_units] = NOTHING;
                }
            }
            for done in ends.rev().filter(|done| *done < self.set.n_units) {
                self.worths((code, &stands), done, &rest, &mut worths);
                for stand in &stands {
                    rest[self.states(code, *stand) + done] = worths[*stand];
                }
            }
        }
        Some(rest)
    }

    /// The best way on from units done, by stand. Stands differ in the hop to a device, and seldom in
    /// the state behind it, so that the columns between are looked at once for all that share it.
    fn worths(
        &self,
        (code, stands): (usize, &[usize]),
        done: usize,
        rest: &[Rest],
        worths: &mut [Rest],
    ) {
        worths.fill(NO_WAY);
        for run in &self.runs[done] {
            let Owner::Group(group) = run.owner else {
                if code == 0 {
                    worths[0] =
                        worths[0].min(self.best_of(&run.columns, &rest[self.states(0, 0)..]));
                }
                continue;
            };
            if (code == 0) != (run.position == Position::First) {
                continue;
            }
            for pool in &self.pools.of_group[group.0] {
                let counted = &self.pools.pools[*pool];
                if self.pools.used(code, *pool) >= counted.most {
                    continue;
                }
                let mut last = None;
                for stand in stands {
                    let Some(step) = self.pools.onward(code, *stand, *pool) else {
                        continue;
                    };
                    let behind = match last {
                        Some((to, behind)) if to == step.to => behind,
                        _ => {
                            let next = self.states(code + counted.stride, step.to);
                            self.best_of(&run.columns, &rest[next..])
                        }
                    };
                    last = Some((step.to, behind));
                    worths[*stand] =
                        worths[*stand].min(onward(step.hop.cost, step.hop.load, behind));
                }
            }
        }
    }

    /// The best of a run's columns, given what is behind each of their ends.
    fn best_of(&self, columns: &Range<usize>, behind: &[Rest]) -> Rest {
        let mut best = NO_WAY;
        // Behind the longest the rest costs the least, which tells that most others are not worth a look.
        for step in self.steps[columns.clone()].iter().rev() {
            let rest = behind[step.end];
            if rest.cost <= best.cost {
                best = best.min(onward(step.cost, step.load, rest));
            }
        }
        best
    }

    /// The columns that a state may take, with the states that they lead to.
    fn ways(&self, code: usize, stand: usize, done: usize) -> impl Iterator<Item = Way> {
        self.runs[done].iter().flat_map(move |run| {
            let (pools, on_host) = match run.owner {
                Owner::Host => (&[][..], code == 0),
                Owner::Group(group) => (&self.pools.of_group[group.0][..], false),
            };
            let on_host = on_host.then(|| Way {
                columns: run.columns.clone(),
                next: self.states(0, 0),
                hop: Hop::default(),
            });
            let in_place = (code == 0) == (run.position == Position::First);
            let on_gpus = pools.iter().filter_map(move |pool| {
                let counted = &self.pools.pools[*pool];
                let is_free = in_place && self.pools.used(code, *pool) < counted.most;
                let step = self.pools.onward(code, stand, *pool).filter(|_| is_free)?;
                Some(Way {
                    columns: run.columns.clone(),
                    next: self.states(code + counted.stride, step.to),
                    hop: step.hop,
                })
            });
            on_host.into_iter().chain(on_gpus)
        })
    }

    /// Walks from the start along the best ways; of equal ones it takes the first. Gives the columns,
    /// each with the stand that it leads to; of the host's that is none.
    fn follow(&self, rest: &[Rest]) -> Vec<(usize, usize)> {
        let (mut code, mut stand, mut done) = (0, 0, 0);
        let mut path = Vec::new();
        while done < self.set.n_units {
            let all = self.ways(code, stand, done).flat_map(|way| {
                let (next, hop) = (way.next, way.hop);
                way.columns.map(move |index| (index, next, hop))
            });
            let best = all.min_by_key(|(index, next, hop)| {
                let step = &self.steps[*index];
                (
                    onward(
                        hop.cost,
                        hop.load,
                        onward(step.cost, step.load, rest[next + step.end]),
                    ),
                    self.set.columns[*index].owner,
                )
            });
            // Every state on the way from a start with an end has a way on.
            let Some((index, next, _)) = best else { break };
            let state = next / (self.set.n_units + 1);
            (code, stand) = (state / self.pools.n_stands, state % self.pools.n_stands);
            path.push((index, if code == 0 { usize::MAX } else { stand }));
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

/// What a step or a hop, at its cost and its load, and the way behind it are worth together.
fn onward(cost: Cost, load: u64, rest: Rest) -> Rest {
    if rest == NO_WAY {
        return NO_WAY;
    }
    Rest {
        cost: Cost(cost.0.saturating_add(rest.cost.0)),
        load: load.max(rest.load),
    }
}
