//! Which stage goes where: the least time for a token, proven.
//!
//! Everything about models and frameworks is in the prices of the columns (`cost/column.rs`). A plan
//! is a path through the chain: columns that follow each other, each device at most once. A dynamic
//! program over every device order finds the optimum and breaks ties by rule (`dynamic.rs`); a
//! linear program over the same columns, on the order found, proves it a second time (`milp.rs`).
//!
//! [`dag`], [`flow`] and [`ring`] solve more general problems, each with its own certificate.

pub mod baseline;
pub mod dag;
pub mod dynamic;
pub mod flow;
pub mod infeasible;
pub mod line;
pub mod milp;
mod random;
pub mod ring;

use crate::cost::column::{Cost, Owner};
use crate::cost::{Accounting, Column, ColumnSet, Fit, Layout, Place, Span};
use crate::units::Seconds;

pub use dynamic::Effort;
pub use infeasible::{Infeasible, Reason};
pub use milp::Backend;

/// The best plan found, and what is proven of it.
#[derive(Clone, Debug)]
pub struct Solution {
    /// How the chain is laid out.
    pub layout: Layout,
    /// The stages in order of execution.
    pub stages: Vec<Span>,
    /// What is proven.
    pub proof: Proof,
}

/// How good a plan is, and how that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// What is proven.
    pub status: Status,
    /// Time of one token.
    pub objective: Seconds,
    /// No plan of this kind is faster.
    pub bound: Seconds,
    /// The methods that agree on it.
    pub method: String,
}

/// What is known of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No plan is faster.
    Optimal,
    /// The plan holds; a faster one may exist.
    Feasible,
}

impl Proof {
    /// How far the plan can be from the best, as a share of its time.
    pub fn gap(&self) -> f64 {
        if self.objective.0 > 0.0 {
            1.0 - self.bound.0 / self.objective.0
        } else {
            0.0
        }
    }
}

/// A path through the chain, and what is known of all others of its layout.
#[derive(Clone, Debug)]
struct Found {
    set: ColumnSet,
    path: Vec<usize>,
    cost: Cost,
    bound: Cost,
}

/// What a search of one layout ends with.
enum Searched {
    Found(Found),
    /// There is none.
    Impossible,
    /// None was found among too many orders; none can be cheaper than this.
    Unknown(Cost),
}

/// Finds the fastest plan.
///
/// # Errors
/// Where no plan fits; the reasons say which device lacks how much, and whether that is proven.
pub fn solve(accounting: &dyn Accounting, backend: Backend) -> Result<Solution, Infeasible> {
    // The least that a layout could cost in which nothing was found though nothing rules it out.
    let mut unknown: Option<Cost> = None;
    for rank in accounting.ranks() {
        let mut found: Vec<Found> = Vec::new();
        for layout in rank {
            match search(ColumnSet::new(accounting, layout, Fit::Strict)) {
                Searched::Found(path) => found.push(path),
                Searched::Impossible => {}
                Searched::Unknown(bound) => {
                    unknown = Some(unknown.map_or(bound, |other| other.min(bound)));
                }
            }
        }
        let bound = found.iter().map(|found| found.bound).chain(unknown).min();
        // Of equals the first, so that fewer devices win.
        let best = found.into_iter().min_by_key(|found| found.cost);
        if let (Some(best), Some(bound)) = (best, bound) {
            return Ok(prove(
                Found {
                    bound: bound.min(best.cost),
                    ..best
                },
                backend,
            ));
        }
    }
    Err(infeasible::explain(accounting, unknown.is_none()))
}

/// The best path of a column set: exact where the device orders can be counted out, else the best
/// of a few orders with a bound.
fn search(set: ColumnSet) -> Searched {
    match dynamic::shortest(&set, Effort::Plan) {
        dynamic::Answer::Path { path, cost } => Searched::Found(Found {
            set,
            path,
            cost,
            bound: cost,
        }),
        dynamic::Answer::None => Searched::Impossible,
        dynamic::Answer::TooManyOrders => {
            let bound = line::area_bound(&set);
            match line::best_of_orders(&set) {
                Some((path, cost)) => Searched::Found(Found {
                    set,
                    path,
                    cost,
                    bound,
                }),
                None => Searched::Unknown(bound),
            }
        }
    }
}

/// The linear program's second opinion, and the path as stages on devices.
fn prove(found: Found, backend: Backend) -> Solution {
    let Found {
        set,
        path,
        cost,
        bound,
    } = found;
    let program = milp::solve(&set, &path, cost, backend);
    let exact = if bound == cost {
        "dynamic program over every device order"
    } else {
        "area bound"
    };
    let method = match program {
        Ok(columns) => format!("{exact}, linear program of {columns} columns ({backend})"),
        Err(failure) => format!("{exact}; the linear program ({backend}) gave none: {failure}"),
    };
    Solution {
        layout: set.layout,
        stages: stages(&set, &path),
        proof: Proof {
            status: if bound == cost {
                Status::Optimal
            } else {
                Status::Feasible
            },
            objective: cost.seconds(),
            bound: bound.seconds(),
            method,
        },
    }
}

/// The columns of a path, each on the first device of its group that is free.
fn stages(set: &ColumnSet, path: &[usize]) -> Vec<Span> {
    let mut taken = vec![0; set.groups.len()];
    path.iter()
        .map(|index| {
            let Column {
                owner,
                units,
                streamed,
                position,
                ..
            } = &set.columns[*index];
            let place = match owner {
                Owner::Host => Place::Host,
                Owner::Group(group) => {
                    let device = set.groups[group.0][taken[group.0]];
                    taken[group.0] += 1;
                    Place::Device(device)
                }
            };
            Span {
                place,
                units: units.clone(),
                streamed: streamed.clone(),
                position: *position,
            }
        })
        .collect()
}
