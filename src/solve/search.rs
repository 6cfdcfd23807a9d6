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
use crate::solve::path::{self, Taken};
use crate::solve::serving::{Known, Narrowed, narrow};
use crate::solve::{Ask, Ruling, alike, area, line, relaxed};
use crate::units::Seconds;

/// A path through the chain, and what is known of all others of its layout.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) set: ColumnSet,
    pub(super) path: Vec<Taken>,
    /// Its packed sums, and how many of the lowest bits are not of the first.
    pub(super) cost: Cost,
    pub(super) bits: u32,
    /// What it is worth by each objective of the chain.
    pub(super) worth: Vec<u64>,
    /// No other is worth less by the first objective.
    pub(super) bound: u64,
    /// Whether none is better by all of them.
    pub(super) is_exact: bool,
    /// How that, or else the bound, is known.
    pub(super) method: &'static str,
}

impl Found {
    /// The time of one token.
    pub(super) fn time(&self) -> Seconds {
        let columns = self.path.iter().map(|it| &self.set.columns[it.column]);
        let hops = path::hops(&self.set, &self.path).map(|hop| hop.crossing.time);
        columns.map(|column| column.time).chain(hops).sum()
    }
}

/// What a search of one layout ends with.
pub(super) enum Searched {
    Found(Box<Found>),
    /// There is none.
    Impossible(Ruling),
    /// All are worth more than asked for.
    Worse,
    /// None was found among too many orders; none can be worth less than this.
    Unknown(u64),
}

/// The best path of a column set by the objectives in their order: exact where the device orders can
/// be counted out, else the best of a few orders with a bound. None that is worth more than `worst`
/// by the first objective is looked for, nor one that serves worse than what is known.
pub(super) fn search(mut set: ColumnSet, ask: &Ask, worst: u64, known: &[Known]) -> Searched {
    if !area::may_cover(&set) {
        return Searched::Impossible(Ruling::Area);
    }
    if !relaxed::has_path(&set) {
        return Searched::Impossible(Ruling::Chain);
    }
    let goal = &ask.goal;
    let chain = goal.by_stages();
    let mut bound = area::bound(&set, goal, chain[0]);
    if bound > worst {
        return Searched::Worse;
    }
    let mut sums = Vec::new();
    let (mut is_exact, mut is_pruned) = (true, false);
    for objective in &chain {
        match objective.kind() {
            Kind::Sum => sums.push(*objective),
            Kind::Most => {
                goal.price(&mut set, &sums, *objective);
                let step = step(&mut set, ask);
                let Some(Step {
                    load,
                    exact,
                    pruned,
                    ..
                }) = step.found
                else {
                    return none(step.ruling, bound);
                };
                is_exact &= exact;
                is_pruned |= pruned;
                set.columns.retain(|column| column.load <= load);
                for hop in set.sites.hops_mut() {
                    hop.is_barred |= hop.load > load;
                }
            }
            Kind::Rate => match narrow(&mut set, worst, ask, known) {
                Narrowed::To(pace) => bound = pace,
                Narrowed::Worse => return Searched::Worse,
                Narrowed::Impossible => return Searched::Impossible(Ruling::Orders),
                Narrowed::Unknown(pace) => return Searched::Unknown(pace),
            },
            Kind::Outside => {}
        }
    }
    let bits = goal.price_with_ties(&mut set, &sums);
    let last = step(&mut set, ask);
    let Some(Step {
        path,
        cost,
        exact,
        pruned,
        bound: least,
        ..
    }) = last.found
    else {
        return none(last.ruling, bound);
    };
    let before_is_exact = is_exact;
    is_exact &= exact;
    is_pruned |= pruned;
    let worth: Vec<_> = chain
        .iter()
        .map(|objective| goal.worth(*objective, &set, &path))
        .collect();
    let relaxed = match chain[0].kind() {
        // What an inexact pass dropped could be part of a plan below this bound.
        Kind::Sum if before_is_exact => u64::try_from(least.0 >> bits).unwrap_or(u64::MAX),
        Kind::Sum | Kind::Most | Kind::Rate | Kind::Outside => 0,
    };
    // What was left open while the columns were narrowed down.
    is_exact &= chain[0].kind() != Kind::Rate || bound == worth[0];
    let (bound, method) = match is_exact {
        true if is_pruned => (
            worth[0],
            "prices on devices, dynamic program over the orders that they leave",
        ),
        true => (worth[0], "dynamic program over every device order"),
        false if relaxed > bound => (relaxed.min(worth[0]), "prices on devices"),
        false => (bound.min(worth[0]), "area bound"),
    };
    Searched::Found(Box::new(Found {
        set,
        path,
        cost,
        bits,
        worth,
        bound,
        is_exact,
        method,
    }))
}

fn none(ruling: Option<Ruling>, bound: u64) -> Searched {
    ruling.map_or(Searched::Unknown(bound), Searched::Impossible)
}

/// One pass over the columns as they are priced.
struct Pass {
    found: Option<Step>,
    ruling: Option<Ruling>,
}

struct Step {
    path: Vec<Taken>,
    cost: Cost,
    load: u64,
    /// No plan costs less.
    bound: Cost,
    exact: bool,
    /// Whether columns were dropped that are in no better plan.
    pruned: bool,
}

/// The best path of a set, which loses columns that are in no better one where there are many orders.
fn step(set: &mut ColumnSet, ask: &Ask) -> Pass {
    if let Some(pass) = counted_out(set, Effort::Moment, ask) {
        return pass;
    }
    if let Some(pass) = alike::shortest(set, &ask.stop).and_then(told) {
        return pass;
    }
    match from_a_few_orders(set, ask) {
        Some(step) => Pass {
            found: Some(step),
            ruling: None,
        },
        None => counted_out(set, Effort::Plan, ask).unwrap_or_else(|| Pass {
            found: None,
            ruling: relaxed::is_ruled_out(set, &ask.stop).then_some(Ruling::Prices),
        }),
    }
}

fn counted_out(set: &ColumnSet, effort: Effort, ask: &Ask) -> Option<Pass> {
    told(dynamic::shortest(set, effort, &ask.stop))
}

/// What an exact answer says.
fn told(answer: dynamic::Answer) -> Option<Pass> {
    let found = match answer {
        dynamic::Answer::Path { path, cost, load } => Some(Step {
            path,
            cost,
            load,
            bound: cost,
            exact: true,
            pruned: false,
        }),
        dynamic::Answer::None => None,
        dynamic::Answer::TooManyOrders => return None,
    };
    Some(Pass {
        ruling: found.is_none().then_some(Ruling::Orders),
        found,
    })
}

/// A plan from a few orders; then the relaxation says what is not worth keeping, and proposes an
/// order. What is left is counted out if it can be.
fn from_a_few_orders(set: &mut ColumnSet, ask: &Ask) -> Option<Step> {
    let (mut path, mut worth) = line::best_of_orders(set, &ask.stop)?;
    let mut relaxed = relaxed::relax(set, worth.cost, &ask.stop);
    if let Some(better) = line::along(set, &relaxed.order)
        && better.1 < worth
    {
        (path, worth) = better;
        relaxed = relaxed::relax(set, worth.cost, &ask.stop);
    }
    let mut kept = set.clone();
    let mut may_help = relaxed.may_help.into_iter();
    kept.columns.retain(|column| {
        // A known plan of this cost and load makes anything fuller useless, if only load counts.
        let is_light = worth.cost.0 > 0 || column.load <= worth.load;
        may_help.next().unwrap_or(true) && is_light
    });
    if let Some(Pass {
        found: Some(step), ..
    }) = counted_out(&kept, Effort::Plan, ask)
    {
        *set = kept;
        return Some(Step {
            pruned: true,
            ..step
        });
    }
    Some(Step {
        path,
        cost: worth.cost,
        load: worth.load,
        bound: relaxed.bound.min(worth.cost),
        exact: false,
        pruned: true,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::solve::relaxed::tests::sets;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn what_pruning_leaves_has_the_best_plan_of_all(set in sets()) {
            let ask = Ask::default();
            let wanted = counted_out(&set, Effort::Plan, &ask).and_then(|pass| pass.found);
            match (from_a_few_orders(&mut set.clone(), &ask), wanted) {
                (Some(found), Some(wanted)) => {
                    prop_assert!(found.exact && found.pruned);
                    prop_assert_eq!((found.cost, found.load), (wanted.cost, wanted.load));
                }
                (Some(_), None) => prop_assert!(false, "a plan where there is none"),
                // No order that was tried has one.
                (None, _) => {}
            }
        }
    }
}
