//! The objectives one after the other, on the columns of one layout.
//!
//! Sums are compared in order by packing them into one cost (`objective.rs`). A sum in order and then
//! a most is monotone: the best rest of a plan is part of a best plan. A most before a sum is not, so
//! it is a search of its own: it gives the least most that any plan keeps, columns above it are
//! dropped, and the sums go on among those that are left.

use crate::cost::ColumnSet;
use crate::cost::column::{Cost, Owner};
use crate::solve::dynamic::{self, Effort};
use crate::solve::farthest::{self, Least};
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

impl Found {
    /// The same where plans that were not looked at are worth no less than `least`.
    pub(super) fn unless_elsewhere(mut self: Box<Self>, least: u64) -> Searched {
        if least < self.bound {
            (self.bound, self.is_exact, self.method) = (least, false, "area bound");
        }
        Searched::Found(self)
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
    let (mut is_exact, mut is_pruned, mut is_reached) = (true, false, false);
    // Devices that are known to lead to the end with no more load.
    let mut order = Vec::new();
    for objective in &chain {
        match objective.kind() {
            Kind::Sum => sums.push(*objective),
            Kind::Most => {
                goal.price(&mut set, &sums, *objective);
                let found = match sums.is_empty() {
                    true => emptiest(&mut set, ask),
                    false => step(&mut set, &order, ask),
                };
                let Some(Step {
                    path,
                    load,
                    least_load,
                    means,
                    ..
                }) = found.found
                else {
                    return none(found.ruling, bound);
                };
                if *objective == chain[0] {
                    bound = bound.max(least_load);
                }
                is_exact &= means != Means::Bound;
                is_pruned |= means == Means::Pruned;
                is_reached |= means == Means::Reach;
                order = path.iter().map(|it| set.columns[it.column].owner).collect();
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
    let last = step(&mut set, &order, ask);
    let Some(Step {
        path,
        cost,
        means,
        bound: least,
        ..
    }) = last.found
    else {
        return none(last.ruling, bound);
    };
    let before_is_exact = is_exact;
    is_exact &= means != Means::Bound;
    is_pruned |= means == Means::Pruned;
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
    let (bound, method) = match (is_exact, is_reached) {
        (true, false) if is_pruned => (worth[0], PRUNED),
        (true, false) => (worth[0], "dynamic program over every device order"),
        (true, true) if is_pruned => (worth[0], REACHED_AND_PRUNED),
        (true, true) => (worth[0], REACHED_AND_COUNTED),
        (false, _) if relaxed > bound => (relaxed.min(worth[0]), "prices on devices"),
        (false, true) => (bound.min(worth[0]), "how far sets of devices lead"),
        (false, false) => (bound.min(worth[0]), "area bound"),
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

const PRUNED: &str = "prices on devices, dynamic program over the orders that they leave";
const REACHED_AND_PRUNED: &str = "how far sets of devices lead, prices on devices, dynamic program over the orders that they leave";
const REACHED_AND_COUNTED: &str =
    "how far sets of devices lead, dynamic program over every device order";

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
    /// No plan has less load, where nothing costs anything.
    least_load: u64,
    means: Means,
}

/// How it is known that no path is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// Every order was counted.
    Orders,
    /// The same of the columns that may be in a better plan.
    Pruned,
    /// No set of devices leads to the end with less load.
    Reach,
    /// It is not: there is a bound.
    Bound,
}

/// The best path of a set, which loses columns that are in no better one where there are many orders.
/// `order` is one that is worth trying.
fn step(set: &mut ColumnSet, order: &[Owner], ask: &Ask) -> Pass {
    if let Some(pass) = counted_out(set, Effort::Moment, ask) {
        return pass;
    }
    if let Some(pass) = alike::shortest(set, &ask.stop).and_then(told) {
        return pass;
    }
    if let Some(step) = from_a_few_orders(set, order, ask) {
        return Pass {
            found: Some(step),
            ruling: None,
        };
    }
    if let Some(pass) = counted_out(set, Effort::Plan, ask) {
        return pass;
    }
    // No order that people would try has a plan: one that leads to the end may.
    let found = match farthest::least(set, &ask.stop) {
        Least::Order { order, .. } => from_a_few_orders(set, &order, ask),
        Least::None => {
            return Pass {
                found: None,
                ruling: Some(Ruling::Orders),
            };
        }
        Least::Unknown => None,
    };
    let is_open = found.is_none();
    Pass {
        found,
        ruling: (is_open && relaxed::is_ruled_out(set, &ask.stop)).then_some(Ruling::Prices),
    }
}

/// The path of least load where nothing costs anything.
fn emptiest(set: &mut ColumnSet, ask: &Ask) -> Pass {
    if let Some(pass) = counted_out(set, Effort::Moment, ask) {
        return pass;
    }
    if let Some(pass) = alike::shortest(set, &ask.stop).and_then(told) {
        return pass;
    }
    let (bound, order) = match farthest::least(set, &ask.stop) {
        Least::Order { bound, order } => (bound, order),
        Least::None => {
            return Pass {
                found: None,
                ruling: Some(Ruling::Orders),
            };
        }
        Least::Unknown => return step(set, &[], ask),
    };
    match line::along(set, &order) {
        Some((path, worth)) if worth.load <= bound => Pass {
            found: Some(Step {
                path,
                cost: worth.cost,
                load: worth.load,
                bound: worth.cost,
                least_load: worth.load,
                means: Means::Reach,
            }),
            ruling: None,
        },
        Some(_) | None => {
            let mut pass = step(set, &order, ask);
            if let Some(step) = &mut pass.found {
                step.least_load = step.least_load.max(bound);
            }
            pass
        }
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
            least_load: load,
            means: Means::Orders,
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
fn from_a_few_orders(set: &mut ColumnSet, order: &[Owner], ask: &Ask) -> Option<Step> {
    let proposed = (!order.is_empty()).then(|| line::along(set, order));
    let known = [line::best_of_orders(set, &ask.stop), proposed.flatten()];
    let (mut path, mut worth) = known
        .into_iter()
        .flatten()
        .min_by_key(|(_, worth)| *worth)?;
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
            means: Means::Pruned,
            ..step
        });
    }
    Some(Step {
        path,
        cost: worth.cost,
        load: worth.load,
        bound: relaxed.bound.min(worth.cost),
        least_load: 0,
        means: Means::Bound,
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
            match (from_a_few_orders(&mut set.clone(), &[], &ask), wanted) {
                (Some(found), Some(wanted)) => {
                    prop_assert_eq!(found.means, Means::Pruned);
                    prop_assert_eq!((found.cost, found.load), (wanted.cost, wanted.load));
                }
                (Some(_), None) => prop_assert!(false, "a plan where there is none"),
                // No order that was tried has one.
                (None, _) => {}
            }
        }
    }
}
