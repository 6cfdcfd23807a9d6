//! Which stage goes where: the best plan by the objectives, proven.
//!
//! Everything about models and frameworks is in the prices of the columns (`cost/column.rs`). A plan
//! is a path through the chain: columns that follow each other, each device at most once. A dynamic
//! program over every device order finds the optimum and breaks ties by rule (`dynamic.rs`,
//! `search.rs`); a linear program over the same columns, on the order found, proves it a second time
//! (`milp.rs`).
//!
//! [`tradeoff`] is the chain again where stages can be stored in several ways and time is limited.
//! [`dag`], [`flow`] and [`ring`] solve more general problems, each with its own certificate.

mod alike;
pub mod amount;
mod area;
pub mod baseline;
mod below;
pub mod dag;
pub mod dynamic;
mod farthest;
pub mod flow;
pub mod infeasible;
pub mod line;
pub mod milp;
mod no_plan;
pub mod objective;
pub mod path;
mod pools;
mod random;
mod relaxed;
pub mod replicas;
pub mod ring;
mod search;
mod serving;
pub mod stop;
pub mod tradeoff;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::cost::column::Cost;
use crate::cost::{Accounting, Column, ColumnSet, Fit, Layout, Rule, Span, Within, crossings};
use crate::units::{Bytes, Seconds};
use below::Promise;
pub use below::stages_within;
use path::stages;
use search::{Found, Searched, search};

pub use amount::Amount;
pub use dynamic::Effort;
pub use infeasible::{Infeasible, Reason};
pub use milp::Backend;
pub use no_plan::{NoPlan, Ruling};
pub use objective::{Goal, Objective};
pub use stop::Stop;

/// What is asked of the solver, besides the prices.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// What is decided already.
    pub rules: Vec<Rule>,
    /// What a plan is best at.
    pub goal: Goal,
    /// Who solves the linear program.
    pub backend: Backend,
    /// Ends the search with the best so far.
    pub stop: Stop,
}

/// The best plan found, and what is proven of it.
#[derive(Clone, Debug)]
pub struct Solution {
    /// How the chain is laid out.
    pub layout: Layout,
    /// The stages in order of execution.
    pub stages: Vec<Span>,
    /// The time of one token.
    pub time: Seconds,
    /// What is proven.
    pub proof: Proof,
}

/// How good a plan is, and how that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Proof {
    /// What is proven.
    pub status: Status,
    /// What the plan is worth by each objective, in their order.
    pub worth: Vec<(Objective, Amount)>,
    /// No plan of this kind is worth less by the first objective.
    pub bound: Amount,
    /// The methods that agree on it.
    pub method: String,
}

/// What is known of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No plan is better.
    Optimal,
    /// The plan holds; a better one may exist.
    Feasible,
}

impl Proof {
    /// What the plan is worth by the first objective.
    pub fn objective(&self) -> Amount {
        self.worth[0].1
    }

    /// How far the plan can be from the best by the first objective, as a share of what it is worth.
    pub fn gap(&self) -> f64 {
        // The bound of what is to be the most is the greater of both.
        let [worth, bound] = [self.objective(), self.bound].map(Amount::number);
        match worth.max(bound) {
            most if most > 0.0 => 1.0 - worth.min(bound) / most,
            _ => 0.0,
        }
    }
}

/// Finds the best plan.
///
/// # Errors
/// Where no plan fits; the reasons say which device lacks how much, and whether that is proven.
pub fn solve(accounting: &dyn Accounting, ask: &Ask) -> Result<Solution, Infeasible> {
    match best(accounting, ask) {
        Ok((found, bound)) => Ok(prove(found, bound, ask)),
        Err(no) => Err(infeasible::explain(accounting, ask, no)),
    }
}

/// The same without an explanation where there is no plan.
///
/// # Errors
/// Where there is no plan, or none was found.
pub fn attempt(accounting: &dyn Accounting, ask: &Ask) -> Result<Solution, NoPlan> {
    best(accounting, ask).map(|(found, bound)| prove(found, bound, ask))
}

/// Why there is none.
pub fn explain(accounting: &dyn Accounting, ask: &Ask, no: NoPlan) -> Infeasible {
    infeasible::explain(accounting, ask, no)
}

/// Whether a plan takes no more for a token, as far as it was found and proven.
///
/// # Errors
/// Where there is none, or none was found.
pub fn is_within(accounting: &dyn Accounting, ask: &Ask, most: Seconds) -> Result<(), NoPlan> {
    let ask = Ask {
        goal: Goal::default(),
        ..ask.clone()
    };
    let (found, bound) = best(accounting, &ask)?;
    match found.time().0 <= most.0 {
        true => Ok(()),
        false if Cost(bound.into()) > Cost::from(most) => Err(NoPlan::RuledOut(Ruling::Orders)),
        false => Err(NoPlan::NotFound),
    }
}

/// What the best plan is worth by the first objective, without proof or explanation.
///
/// # Errors
/// Where there is no plan, or none was found.
pub fn least(accounting: &dyn Accounting, ask: &Ask) -> Result<u64, NoPlan> {
    best(accounting, ask).map(|(found, _)| found.worth[0])
}

/// What stages are worth by the first objective, whether they fit or not.
pub fn worth(accounting: &dyn Accounting, goal: &Goal, layout: Layout, stages: &[Span]) -> u64 {
    let columns = stages.iter();
    let columns: Vec<_> = columns
        .map(|span| Column::on(accounting, layout, span, accounting.stage(layout, span)))
        .collect();
    let columns: Vec<_> = columns.iter().collect();
    let between = crossings(accounting, layout, stages);
    goal.worth_of(goal.by_stages()[0], &columns, &between)
}

/// The first of the ranks up to `last` that has a plan, whatever that is worth.
///
/// # Errors
/// Where there is none, or none was found.
pub fn first_rank(accounting: &dyn Accounting, ask: &Ask, last: usize) -> Result<usize, NoPlan> {
    let mut ask = ask.clone();
    ask.goal = Goal::default();
    let mut no = NoPlan::RuledOut(Ruling::default());
    let ranks = accounting.ranks().into_iter().enumerate();
    for (place, rank) in ranks.take_while(|(place, _)| *place <= last) {
        let mut open = promising(accounting, &rank, &ask);
        while let Some(Reverse((least, _, index))) = open.pop() {
            if ask.stop.is_set() {
                return Err(NoPlan::NotFound);
            }
            let layout = rank[index];
            let promise = Promise::new(accounting, layout, &ask, least);
            let promise = promise.sharpened(accounting, layout, &ask);
            no = match searched(accounting, layout, &ask, (&promise, u64::MAX)) {
                Searched::Found(_) => return Ok(place),
                Searched::Impossible(ruling) => no.and(NoPlan::RuledOut(ruling)),
                Searched::Worse => no,
                Searched::Unknown(_) => NoPlan::NotFound,
            }
        }
    }
    Err(no)
}

/// The best path of the first rank that has one, and its bound.
fn best(accounting: &dyn Accounting, ask: &Ask) -> Result<(Found, u64), NoPlan> {
    // The least that a layout could be worth in which nothing was found though nothing rules it out.
    let mut unknown: Option<u64> = None;
    let mut hardest = Ruling::default();
    for rank in accounting.ranks() {
        let mut found: Vec<(usize, Found)> = Vec::new();
        let mut promises: Vec<Option<Promise>> = vec![None; rank.len()];
        let mut open = promising(accounting, &rank, ask);
        while let Some(Reverse((least, n_devices, index))) = open.pop() {
            // A layout that can only be worse says nothing of the best.
            let worst = found.iter().map(|(_, found)| found.worth[0]).min();
            if worst.is_some_and(|worst| least > worst) {
                break;
            }
            // The others promise no more than this one.
            if worst.is_some() && ask.stop.is_set() {
                unknown = Some(unknown.map_or(least, |other| other.min(least)));
                break;
            }
            // More is asked of a layout each time that it is the most promising one.
            let promise = match promises[index].take() {
                Some(promise) if promise.is_sharp() => promise,
                known => {
                    let layout = rank[index];
                    let promise = match known {
                        None => Promise::new(accounting, layout, ask, least),
                        Some(promise) => promise.sharpened(accounting, layout, ask),
                    };
                    open.push(Reverse((promise.least, n_devices, index)));
                    promises[index] = Some(promise);
                    continue;
                }
            };
            let worst = worst.unwrap_or(u64::MAX);
            match searched(accounting, rank[index], ask, (&promise, worst)) {
                Searched::Found(path) => found.push((index, *path)),
                Searched::Impossible(ruling) => hardest = hardest.max(ruling),
                Searched::Worse => {}
                Searched::Unknown(bound) => {
                    unknown = Some(unknown.map_or(bound, |other| other.min(bound)));
                }
            }
        }
        let bounds = found.iter().map(|(_, found)| found.bound);
        let bound = bounds.chain(unknown).min();
        // Of equals the first, so that fewer devices win.
        let best = found
            .into_iter()
            .min_by(|(i, a), (j, b)| a.worth.cmp(&b.worth).then(i.cmp(j)));
        if let (Some((_, best)), Some(bound)) = (best, bound) {
            let bound = bound.min(best.worth[0]);
            return Ok((best, bound));
        }
    }
    Err(match unknown {
        None => NoPlan::RuledOut(hardest),
        Some(_) => NoPlan::NotFound,
    })
}

/// The layouts of a rank that may have a plan, by what none of their plans is worth less than; of equals
/// those of fewer devices first, and then in their order.
fn promising(
    accounting: &dyn Accounting,
    rank: &[Layout],
    ask: &Ask,
) -> BinaryHeap<Reverse<(u64, usize, usize)>> {
    let first = ask.goal.by_stages()[0];
    let outlooks = rank.iter().map(|layout| accounting.outlook(*layout));
    let promising = outlooks
        .enumerate()
        .filter(|(_, outlook)| outlook.missing == Bytes::ZERO && outlook.time.0.is_finite());
    // Layouts of fewer devices are sooner searched, and what is found rules out the others.
    let promising = promising.map(|(index, outlook)| {
        let n_devices = accounting.grouped(rank[index]).devices().len();
        Reverse((ask.goal.least(first, &outlook), n_devices, index))
    });
    promising.collect()
}

/// Searches a layout for plans that are worth no more than `worst`.
fn searched(
    accounting: &dyn Accounting,
    layout: Layout,
    ask: &Ask,
    (promise, worst): (&Promise, u64),
) -> Searched {
    if let Some(ruling) = promise.ruling() {
        return Searched::Impossible(ruling);
    }
    let whole = layout.ends_of_whole(accounting.units().len());
    let all = promise.ends(whole.clone(), ask, worst);
    // Where much may be below the GPUs as a whole or little, first what promises nearly the most: what
    // is found there rules out most of the rest.
    let mut most = promise.least.saturating_add(promise.least / 32);
    let known = match ask.goal.by_stages().contains(&Objective::Serving) {
        true => baseline::known(accounting, ask, layout),
        false => Vec::new(),
    };
    loop {
        let ends = match most < worst && !ask.stop.is_set() {
            true => promise.ends(whole.clone(), ask, most),
            false => all.clone(),
        };
        let is_all = ends == all;
        let stages = promise.stages(accounting, layout, &ends);
        let within = Within { ends, stages };
        let set = ColumnSet::within(accounting, layout, Fit::Strict, (&ask.rules, within));
        let answer = search(set, ask, worst, &known);
        most = match answer {
            answer if is_all => return answer,
            Searched::Found(found) if found.worth[0] <= most => return Searched::Found(found),
            Searched::Found(found) if ask.stop.is_set() => return found.unless_elsewhere(most),
            Searched::Found(found) => found.worth[0],
            Searched::Impossible(_) | Searched::Worse | Searched::Unknown(_) => {
                most.saturating_mul(2).saturating_add(1)
            }
        };
    }
}

/// The linear program's second opinion, and the path as stages on devices.
fn prove(found: Found, bound: u64, ask: &Ask) -> Solution {
    let time = found.time();
    let Found {
        set,
        path,
        cost,
        bits,
        worth,
        is_exact,
        method,
        ..
    } = found;
    let chain = ask.goal.by_stages();
    // A bound that is met proves one objective; those behind it need the whole program.
    let is_optimal = bound == worth[0] && (is_exact || chain.len() == 1);
    // What another layout leaves open is bounded by area.
    let exact = match is_exact && bound < worth[0] {
        true => "area bound",
        false => method,
    };
    let method = match milp::solve(&set, &path, (cost, bits), ask.backend) {
        Ok(columns) => format!(
            "{exact}, linear program of {columns} columns ({})",
            ask.backend
        ),
        Err(failure) => format!(
            "{exact}; the linear program ({}) gave none: {failure}",
            ask.backend
        ),
    };
    let amounts = chain.iter().zip(&worth);
    Solution {
        layout: set.layout,
        stages: stages(&set, &path),
        time,
        proof: Proof {
            status: match is_optimal {
                true => Status::Optimal,
                false => Status::Feasible,
            },
            bound: chain[0].amount(bound),
            worth: amounts
                .map(|(objective, worth)| (*objective, objective.amount(*worth)))
                .collect(),
            method,
        },
    }
}
