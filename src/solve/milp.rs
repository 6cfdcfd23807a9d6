//! The linear program over columns. Beside `flow/program.rs` no other file names the solver crate.
//!
//! Variables: one `z` in [0, 1] for each arc of the line of one device order. Constraints: what
//! flows into a node flows out of it, and one unit flows from the source to a sink. The matrix is
//! the incidence matrix of an acyclic network, so the optimum is integral without branching.
//! Objective: the first sum of the goal over the columns taken (times in milliseconds).
//!
//! Potentials of the dynamic program drop columns first that are in no plan within 0.1 % of the best.

use std::fmt;

use good_lp::solvers::SolverModel as _;
use good_lp::{Expression, Solution as _, variable, variables};

use crate::cost::ColumnSet;
use crate::cost::column::{Cost, Owner};
use crate::solve::dynamic::useful;
use crate::solve::line::{Arc, Line, order_of, plus};
use crate::solve::path::{self, Taken};

/// A solver of linear programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// microlp, in pure Rust.
    #[default]
    Microlp,
    /// HiGHS, in C++.
    #[cfg(feature = "highs")]
    Highs,
}

impl Backend {
    /// The backends of this build.
    #[cfg(not(feature = "highs"))]
    pub const ALL: [Self; 1] = [Self::Microlp];
    /// The backends of this build.
    #[cfg(feature = "highs")]
    pub const ALL: [Self; 2] = [Self::Microlp, Self::Highs];
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Microlp => "microlp",
            #[cfg(feature = "highs")]
            Self::Highs => "HiGHS",
        })
    }
}

/// Why the linear program proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The solver's own word.
    #[error("{0}")]
    Solver(String),
    /// Its answer is no path, or another value than the dynamic program's.
    #[error("its answer is not the dynamic program's")]
    Disagrees,
}

/// More columns than these take longer than they prove.
const MOST_COLUMNS: usize = 500;
/// So many devices that the path left out have a place in the order, each unlike the others, where one
/// more may help. The dynamic program knows all of them; each more is a copy of the whole network.
const MOST_FREE: usize = 2;

/// Solves the linear program on the device order of `path` and holds it against `cost`, of which the
/// sum above the lowest `bits` counts. Gives the number of columns it chose from.
///
/// # Errors
/// Where the solver fails or finds another value.
pub fn solve(
    set: &ColumnSet,
    path: &[Taken],
    (cost, bits): (Cost, u32),
    backend: Backend,
) -> Result<usize, Failure> {
    let mut order = order_of(set, path);
    // The CPU's place and the path's come first.
    let mut free = order.split_off(order.len().min(1 + path.len()));
    free.dedup();
    let on_devices = |taken: &&Taken| set.columns[taken.column].owner != Owner::Host;
    let n_used = path.iter().filter(on_devices).count();
    let n_more = useful::most(set).saturating_sub(n_used);
    order.extend(free.into_iter().take(MOST_FREE.min(n_more)));
    let line = Line::new(set, order);
    let arcs = worth_keeping(&line, set, path, cost);
    let n_columns = arcs.iter().filter(|arc| arc.column.is_some()).count();
    let first = |cost: Cost| cost.0 >> bits;
    let taken = flow(&line, &arcs, |cost| first(cost) as f64 * 1e-9, backend)?;
    let found: u128 = taken.iter().map(|arc| first(arc.cost)).sum();
    if found == first(path::cost(set, path)) {
        Ok(n_columns)
    } else {
        Err(Failure::Disagrees)
    }
}

/// The arcs that are in some plan within 0.1 % of the best; where those are too many, the arcs of
/// best plans that fill no device more than the path does.
fn worth_keeping(line: &Line<'_>, set: &ColumnSet, path: &[Taken], cost: Cost) -> Vec<Arc> {
    let arcs = line.arcs();
    let (before, behind) = (line.from_source(&arcs), line.to_sink(&arcs));
    let through = |arc: &Arc| plus(plus(before[arc.from], arc.cost), behind[arc.to]);
    let within = |bound: Cost| -> Vec<Arc> {
        arcs.iter()
            .filter(|arc| through(arc) <= bound)
            .copied()
            .collect()
    };
    let n_columns = |arcs: &[Arc]| arcs.iter().filter(|arc| arc.column.is_some()).count();
    let near = within(Cost(cost.0 + cost.0 / 1000));
    if n_columns(&near) <= MOST_COLUMNS {
        return near;
    }
    let fullest = path
        .iter()
        .map(|taken| set.columns[taken.column].load)
        .max()
        .unwrap_or(0);
    let fuller = |arc: &Arc| {
        arc.column
            .is_some_and(|index| set.columns[index].load > fullest)
    };
    within(cost)
        .into_iter()
        .filter(|arc| !fuller(arc))
        .collect()
}

/// The arcs that carry the unit of flow.
fn flow(
    line: &Line<'_>,
    arcs: &[Arc],
    price: impl Fn(Cost) -> f64,
    backend: Backend,
) -> Result<Vec<Arc>, Failure> {
    let mut names = variables!();
    let flows: Vec<_> = arcs
        .iter()
        .map(|_| names.add(variable().min(0).max(1)))
        .collect();
    let objective: Expression = arcs
        .iter()
        .zip(&flows)
        .map(|(arc, z)| price(arc.cost) * *z)
        .sum();
    let mut balance = vec![Expression::default(); line.n_nodes()];
    let mut touched = vec![false; line.n_nodes()];
    for (arc, z) in arcs.iter().zip(&flows) {
        balance[arc.from] -= *z;
        balance[arc.to] += *z;
        touched[arc.from] = true;
        touched[arc.to] = true;
    }
    let sinks = line.sinks();
    let ends = sinks.iter().map(|sink| std::mem::take(&mut balance[*sink]));
    let ends: Expression = ends.sum();
    let inner = balance
        .into_iter()
        .enumerate()
        .filter(|(node, _)| touched[*node] && *node != line.source() && !sinks.contains(node));
    // What flows in flows out, at every node between; one unit arrives.
    let constraints = inner.map(|(_, balance)| balance.eq(0)).chain([ends.eq(1)]);
    let unsolved = names.minimise(objective);
    let values = match backend {
        Backend::Microlp => {
            let solved = unsolved
                .using(good_lp::microlp)
                .with_all(constraints)
                .solve();
            let solution = solved.map_err(|error| Failure::Solver(error.to_string()))?;
            flows.iter().map(|z| solution.value(*z)).collect::<Vec<_>>()
        }
        #[cfg(feature = "highs")]
        // No limit is set, and a status of one would not matter: what comes back is added up in
        // integers and held against the dynamic program. One thread and a fixed seed give the same
        // bytes for the same question; the gap of zero is for whoever makes a variable whole.
        Backend::Highs => {
            let model = unsolved
                .using(good_lp::highs)
                .set_threads(1)
                .set_option("random_seed", 0)
                .set_option("mip_rel_gap", 0.0)
                .with_all(constraints);
            let solved = model.solve();
            let solution = solved.map_err(|error| Failure::Solver(error.to_string()))?;
            flows.iter().map(|z| solution.value(*z)).collect::<Vec<_>>()
        }
    };
    if values
        .iter()
        .any(|value| (value - value.round()).abs() > 1e-6)
    {
        return Err(Failure::Disagrees);
    }
    Ok(arcs
        .iter()
        .zip(values)
        .filter(|(_, value)| *value > 0.5)
        .map(|(arc, _)| *arc)
        .collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::solve::Stop;
    use crate::solve::dynamic::{Answer, Effort, shortest};
    use crate::solve::relaxed::tests::sets;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

        #[test]
        fn every_backend_agrees_with_the_dynamic_program(set in sets(), wrong in 1..=9_u128) {
            if let Answer::Path { path, cost, .. } = shortest(&set, Effort::Plan, &Stop::default()) {
                for backend in Backend::ALL {
                    let solved = solve(&set, &path, (cost, 0), backend);
                    prop_assert!(solved.is_ok(), "{backend}: {solved:?}");
                }
                // A path that costs more than another is refused by all of them.
                let mut dearer = set.clone();
                let first = path[0].column;
                let twin = dearer.columns[first].clone();
                dearer.columns[first].cost.0 += wrong << 20;
                dearer.columns.insert(first + 1, twin);
                let path: Vec<_> = path.iter().map(|it| Taken { column: it.column + usize::from(it.column > first), ..*it }).collect();
                let cost = Cost(cost.0 + (wrong << 20));
                for backend in Backend::ALL {
                    prop_assert_eq!(
                        solve(&dearer, &path, (cost, 0), backend),
                        Err(Failure::Disagrees)
                    );
                }
            }
        }
    }
}
