//! The exact dynamic program: every device order at once.
//!
//! State: units done, and how many devices of each group are used. Devices of a group are alike, so
//! counts are enough; 1,000 equal cards cost no more than as many as there are units. Among plans of
//! the least time it takes those with the fewest stages, among these the one whose fullest device is
//! emptiest, and among these the first in the order of the rig.

use crate::cost::ColumnSet;
use crate::cost::Position;
use crate::cost::column::{Column, Cost, Owner};

/// What the dynamic program says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The best path and its cost.
    Path {
        /// Indices into the columns.
        path: Vec<usize>,
        /// Their summed cost.
        cost: Cost,
    },
    /// No path leads to the end.
    None,
    /// More states than can be counted out in the time that a person waits.
    TooManyOrders,
}

/// More steps than these take longer than a second or so.
const MOST_STEPS: u128 = 200_000_000;
/// More states than these take more memory than a plan is worth.
const MOST_STATES: u128 = 20_000_000;

/// The worth of going on from a state; less is better, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    cost: Cost,
    n_stages: u32,
    fullest: u32,
}

const NOTHING: Rest = Rest {
    cost: Cost(0),
    n_stages: 0,
    fullest: 0,
};
const NO_WAY: Rest = Rest {
    cost: Cost(u64::MAX),
    n_stages: u32::MAX,
    fullest: u32::MAX,
};

/// The path of least cost from the first unit to the last.
pub fn shortest(set: &ColumnSet) -> Answer {
    let Some(network) = Network::new(set) else {
        return Answer::TooManyOrders;
    };
    let rest = network.rest();
    if rest[0] == NO_WAY {
        return Answer::None;
    }
    Answer::Path {
        path: network.follow(&rest),
        cost: rest[0].cost,
    }
}

struct Network<'a> {
    set: &'a ColumnSet,
    /// The columns that start at each unit.
    starting: Vec<Vec<usize>>,
    /// How far apart the codes of two counts of a group are.
    strides: Vec<usize>,
    /// The most devices of each group that a path can use.
    counts: Vec<usize>,
    n_codes: usize,
}

impl<'a> Network<'a> {
    fn new(set: &'a ColumnSet) -> Option<Self> {
        let mut starting = vec![Vec::new(); set.n_units];
        let mut is_used = vec![false; set.groups.len()];
        for (index, column) in set.columns.iter().enumerate() {
            starting[column.units.start].push(index);
            if let Owner::Group(group) = column.owner {
                is_used[group.0] = true;
            }
        }
        let used = set.groups.iter().zip(is_used);
        let counts: Vec<_> = used
            .map(|(group, used)| {
                if used {
                    group.len().min(set.n_units)
                } else {
                    0
                }
            })
            .collect();
        let n_codes = counts.iter().fold(1, |codes: u128, count| {
            codes.saturating_mul(*count as u128 + 1)
        });
        let n_states = n_codes.saturating_mul(set.n_units as u128 + 1);
        if n_states > MOST_STATES || n_codes.saturating_mul(set.columns.len() as u128) > MOST_STEPS
        {
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
            starting,
            strides,
            counts,
            n_codes: stride,
        })
    }

    /// The best way on from each state `(code of the counts, units done)`.
    fn rest(&self) -> Vec<Rest> {
        let width = self.set.n_units + 1;
        let mut rest = vec![NO_WAY; self.n_codes * width];
        for code in 0..self.n_codes {
            rest[code * width + self.set.n_units] = NOTHING;
        }
        for done in (0..self.set.n_units).rev() {
            for code in 0..self.n_codes {
                let best = self
                    .ways(code, done)
                    .map(|(column, next)| onward(column, rest[next]));
                rest[code * width + done] = best.min().unwrap_or(NO_WAY);
            }
        }
        rest
    }

    /// The columns that a state may take, with the state that each leads to.
    fn ways(&self, code: usize, done: usize) -> impl Iterator<Item = (&Column, usize)> {
        let width = self.set.n_units + 1;
        self.starting[done].iter().filter_map(move |index| {
            let column = &self.set.columns[*index];
            let next = match column.owner {
                Owner::Host => (code == 0).then_some(0)?,
                Owner::Group(group) => {
                    let is_first = code == 0;
                    let (stride, most) = (self.strides[group.0], self.counts[group.0]);
                    let used = code / stride % (most + 1);
                    let fits = used < most && is_first == (column.position == Position::First);
                    fits.then_some(code + stride)?
                }
            };
            Some((column, next * width + column.units.end))
        })
    }

    /// Walks from the start along the best ways; of equal ones it takes the first.
    fn follow(&self, rest: &[Rest]) -> Vec<usize> {
        let width = self.set.n_units + 1;
        let (mut code, mut done) = (0, 0);
        let mut path = Vec::new();
        while done < self.set.n_units {
            let best = self
                .ways(code, done)
                .min_by_key(|(column, next)| (onward(column, rest[*next]), column.owner));
            // Every state on the way from a start with an end has a way on.
            let Some((column, next)) = best else { break };
            let index = self.starting[done]
                .iter()
                .position(|index| std::ptr::eq(&self.set.columns[*index], column));
            path.extend(index.map(|index| self.starting[done][index]));
            (code, done) = (next / width, next % width);
        }
        path
    }
}

/// What a column and the way behind it are worth together.
fn onward(column: &Column, rest: Rest) -> Rest {
    if rest == NO_WAY {
        return NO_WAY;
    }
    Rest {
        cost: Cost(column.cost.0.saturating_add(rest.cost.0)),
        n_stages: rest.n_stages + 1,
        fullest: rest.fullest.max(column.fullness),
    }
}
