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
pub mod dag;
pub mod dynamic;
pub mod flow;
pub mod infeasible;
pub mod line;
pub mod milp;
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

use std::ops::Range;

use crate::cost::{
    Accounting, Column, ColumnSet, Fit, Layout, Outlook, Prefix, Rule, Span, crossings,
};
use crate::units::{Bytes, Seconds};
use path::stages;
use search::{Found, Searched, search};

pub use amount::Amount;
pub use dynamic::Effort;
pub use infeasible::{Infeasible, Reason};
pub use milp::Backend;
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

/// Why there is no plan to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// Every plan is ruled out.
    RuledOut(Ruling),
    /// None was found in the time that there was.
    NotFound,
}

impl NoPlan {
    /// Neither here nor there is a plan.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::RuledOut(a), Self::RuledOut(b)) => Self::RuledOut(a.max(b)),
            (Self::NotFound, _) | (_, Self::NotFound) => Self::NotFound,
        }
    }
}

/// How it is known that there is no plan: of several layouts, what the hardest of them took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ruling {
    /// The longest stages of all devices together do not cover the chain.
    #[default]
    Area,
    /// No stages lead from its begin to its end, could every device be used at will.
    Chain,
    /// Every device order was counted out.
    Orders,
    /// At some prices every chain pays more than all devices together.
    Prices,
}

impl Ruling {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Area => "area bound",
            Self::Chain => "chains without limits on devices",
            Self::Orders => "dynamic program over every device order",
            Self::Prices => "prices on devices",
        }
    }
}

/// The layout of the fastest plan and its time of a token, without proof or explanation.
///
/// # Errors
/// Where there is no plan, or none was found.
pub fn fastest(accounting: &dyn Accounting, ask: &Ask) -> Result<(Layout, Seconds), NoPlan> {
    let ask = Ask {
        goal: Goal::default(),
        ..ask.clone()
    };
    best(accounting, &ask).map(|(found, _)| (found.set.layout, found.time()))
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
    let rig = accounting.grouped(layout);
    let columns = stages.iter();
    let columns: Vec<_> = columns
        .map(|span| Column::on(rig, span, accounting.stage(layout, span)))
        .collect();
    let columns: Vec<_> = columns.iter().collect();
    let between = crossings(accounting, layout, stages);
    goal.worth_of(goal.by_stages()[0], &columns, &between)
}

/// Whether there is a plan, whatever it is worth.
///
/// # Errors
/// Where there is none, or none was found.
pub fn has_plan(accounting: &dyn Accounting, ask: &Ask) -> Result<(), NoPlan> {
    let mut ask = ask.clone();
    ask.goal = Goal::default();
    let mut no = NoPlan::RuledOut(Ruling::default());
    for rank in accounting.ranks() {
        for (promised, index) in promising(accounting, &rank, &ask) {
            no = match searched(accounting, rank[index], &ask, (promised, u64::MAX)) {
                Searched::Found(_) => return Ok(()),
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
        for (promised, index) in promising(accounting, &rank, ask) {
            // A layout that can only be worse says nothing of the best.
            let worst = found.iter().map(|(_, found)| found.worth[0]).min();
            if worst.is_some_and(|worst| promised > worst) {
                break;
            }
            let worst = worst.unwrap_or(u64::MAX);
            match searched(accounting, rank[index], ask, (promised, worst)) {
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
fn promising(accounting: &dyn Accounting, rank: &[Layout], ask: &Ask) -> Vec<(u64, usize)> {
    let first = ask.goal.by_stages()[0];
    let outlooks = rank.iter().map(|layout| accounting.outlook(*layout));
    let mut promising: Vec<_> = outlooks
        .enumerate()
        .filter(|(_, outlook)| outlook.missing == Bytes::ZERO && outlook.time.0.is_finite())
        .map(|(index, outlook)| (ask.goal.least(first, &outlook), index))
        .collect();
    // Layouts of fewer devices are sooner searched, and what is found rules out the others.
    promising.sort_unstable_by_key(|(least, index)| {
        let n_devices = accounting.grouped(rank[*index]).devices().len();
        (*least, n_devices, *index)
    });
    promising
}

/// Searches a layout for plans that are worth no more than `worst`; none is worth less than `promised`.
fn searched(
    accounting: &dyn Accounting,
    layout: Layout,
    ask: &Ask,
    (promised, worst): (u64, u64),
) -> Searched {
    let prefixes = accounting.prefixes(layout);
    let all = promising_ends(accounting, layout, (&prefixes, ask), worst);
    // Where much may be below the GPUs as a whole or little, first what promises nearly the most: what
    // is found there rules out most of the rest.
    let mut most = promised.saturating_add(promised / 16);
    loop {
        let ends = match most < worst && !ask.stop.is_set() {
            true => promising_ends(accounting, layout, (&prefixes, ask), most),
            false => all.clone(),
        };
        let is_all = ends == all;
        let set = ColumnSet::within(accounting, layout, Fit::Strict, (&ask.rules, ends));
        let answer = search(set, ask, worst);
        let worth = match &answer {
            Searched::Found(found) => Some(found.worth[0]),
            Searched::Impossible(_) | Searched::Worse | Searched::Unknown(_) => None,
        };
        if is_all || worth.is_some_and(|worth| worth <= most) {
            return answer;
        }
        most = worth.unwrap_or(most.saturating_mul(2).saturating_add(1));
    }
}

/// Where the units of a layout may end that are below the GPUs as a whole, in a plan that is worth no
/// more than `worst`.
fn promising_ends(
    accounting: &dyn Accounting,
    layout: Layout,
    (prefixes, ask): (&[Prefix], &Ask),
    worst: u64,
) -> Range<usize> {
    let first = ask.goal.by_stages()[0];
    let all = layout.ends_of_whole(accounting.units().len());
    if prefixes.is_empty() || all.is_empty() {
        return all;
    }
    // The linear program looks at plans that are a little worse, too.
    let worst = worst.saturating_add(worst / 1000 + 1);
    let may_be = |outlook: &Outlook| {
        outlook.missing == Bytes::ZERO
            && outlook.time.0.is_finite()
            && ask.goal.least(first, outlook) <= worst
    };
    let ends = prefixes.iter().filter(|prefix| may_be(&prefix.outlook));
    let ends = ends.map(|prefix| prefix.end);
    let (least, most) = (ends.clone().min(), ends.max());
    least.unwrap_or_default()..most.map_or(0, |most| most + 1)
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
