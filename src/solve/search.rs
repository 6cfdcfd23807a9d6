//! The objectives one after the other, on the columns of one layout.
//!
//! Sums are compared in order by packing them into one cost (`objective.rs`). A sum in order and then
//! a most is monotone: the best rest of a plan is part of a best plan. A most before a sum is not, so
//! it is a search of its own: it gives the least most that any plan keeps, columns above it are
//! dropped, and the sums go on among those that are left.

use crate::cost::ColumnSet;
use crate::cost::column::Cost;
use crate::solve::dynamic::{self, Effort};
use crate::solve::objective::Kind;
use crate::solve::{Ask, area, line};
use crate::units::Seconds;

/// A path through the chain, and what is known of all others of its layout.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) set: ColumnSet,
    pub(super) path: Vec<usize>,
    /// Its packed sums, and how many of the lowest bits are not of the first.
    pub(super) cost: Cost,
    pub(super) bits: u32,
    /// What it is worth by each objective of the chain.
    pub(super) worth: Vec<u64>,
    /// No other is worth less by the first objective.
    pub(super) bound: u64,
    /// Whether none is better by all of them.
    pub(super) is_exact: bool,
}

impl Found {
    /// The time of one token.
    pub(super) fn time(&self) -> Seconds {
        let columns = self.path.iter().map(|index| &self.set.columns[*index]);
        columns.map(|column| column.time).sum()
    }
}

/// What a search of one layout ends with.
pub(super) enum Searched {
    Found(Found),
    /// There is none.
    Impossible,
    /// None was found among too many orders; none can be worth less than this.
    Unknown(u64),
}

/// The best path of a column set by the objectives in their order: exact where the device orders can
/// be counted out, else the best of a few orders with a bound.
pub(super) fn search(mut set: ColumnSet, ask: &Ask) -> Searched {
    let goal = &ask.goal;
    let chain = goal.by_stages();
    let bound = area::bound(&set, goal, chain[0]);
    let mut sums = Vec::new();
    let mut is_exact = true;
    for objective in &chain {
        match objective.kind() {
            Kind::Sum => sums.push(*objective),
            Kind::Most => {
                goal.price(&mut set, &sums, *objective);
                let step = step(&set, ask);
                let Some(Step { load, exact, .. }) = step.found else {
                    return none(step.is_ruled_out, bound);
                };
                is_exact &= exact;
                set.columns.retain(|column| column.load <= load);
            }
            Kind::Outside => {}
        }
    }
    let bits = goal.price_with_ties(&mut set, &sums);
    let last = step(&set, ask);
    let Some(Step {
        path, cost, exact, ..
    }) = last.found
    else {
        return none(last.is_ruled_out, bound);
    };
    is_exact &= exact;
    let worth: Vec<_> = chain
        .iter()
        .map(|objective| goal.worth(*objective, &set, &path))
        .collect();
    let bound = if is_exact {
        worth[0]
    } else {
        bound.min(worth[0])
    };
    Searched::Found(Found {
        set,
        path,
        cost,
        bits,
        worth,
        bound,
        is_exact,
    })
}

fn none(is_ruled_out: bool, bound: u64) -> Searched {
    match is_ruled_out {
        true => Searched::Impossible,
        false => Searched::Unknown(bound),
    }
}

/// One pass over the columns as they are priced.
struct Pass {
    found: Option<Step>,
    is_ruled_out: bool,
}

struct Step {
    path: Vec<usize>,
    cost: Cost,
    load: u64,
    exact: bool,
}

fn step(set: &ColumnSet, ask: &Ask) -> Pass {
    match dynamic::shortest(set, Effort::Plan, &ask.stop) {
        dynamic::Answer::Path { path, cost, load } => Pass {
            found: Some(Step {
                path,
                cost,
                load,
                exact: true,
            }),
            is_ruled_out: false,
        },
        dynamic::Answer::None => Pass {
            found: None,
            is_ruled_out: true,
        },
        dynamic::Answer::TooManyOrders => Pass {
            found: line::best_of_orders(set, &ask.stop).map(|(path, worth)| Step {
                path,
                cost: worth.cost,
                load: worth.load,
                exact: false,
            }),
            is_ruled_out: false,
        },
    }
}
