//! The least penalty of a chain whose plan keeps two limits: of the time of its stages together, and of
//! what they have together in RAM.
//!
//! A price on each gives a bound (`prices.rs`). What that leaves open is counted out by labels of both
//! sums and the penalty (`labels.rs`), at first for plans that cost little more than the bound: where
//! there is one, the best of them is the best of all, and where there is none, the bound is higher.

mod guide;
mod labels;
mod prices;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use super::Chain;
use super::network::{Network, Orders};
use crate::cost::menu::{Law, Menu, Paired};
use crate::solve::Stop;
use labels::Search;
use prices::{Catalogue, Dual};

pub use prices::Prices;

/// A chain, and every stage that it can be cut into.
#[derive(Clone, Debug)]
pub struct PairedChain {
    /// Its length.
    pub n_units: usize,
    /// How many devices there are of each group.
    pub counts: Vec<usize>,
    /// The stages, in the order of [`ColumnSet`](crate::cost::ColumnSet).
    pub menus: Vec<Paired>,
}

/// A stage of a plan: a menu, and which way of each of its runs is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenPair {
    /// The index of the menu.
    pub menu: usize,
    /// The indices of the ways.
    pub ways: [usize; 2],
}

/// Which plans are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Those that take no more picoseconds.
    pub time: u64,
    /// Those that have no more bytes in RAM.
    pub ram: u64,
    /// Those that cost no more.
    pub known: u64,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPair {
    /// Its stages.
    pub stages: Vec<TakenPair>,
    /// What it costs in quality.
    pub penalty: u64,
    /// Its time in picoseconds.
    pub time: u64,
}

/// How the search ends. None of the plans that are wanted costs less than the bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The best plan that was found, of equals the fastest.
    Found(KeptPair, u64),
    /// There is none that is wanted.
    None(u64),
    /// None was found.
    Unknown(u64),
}

/// At first plans are looked for that cost so much more than the bound, as a share of it, and then ever
/// so many times as much.
const FIRST_STEP: f64 = 1.0 / 4096.0;
const STEPS: u64 = 4;

/// The best of the plans that are wanted, and the prices that bound all best. Those of a chain much like
/// this one are good ones to begin with.
pub fn within_both(
    chain: &PairedChain,
    limits: Limits,
    begin: Prices,
    stop: &Stop,
) -> (Ending, Prices) {
    let catalogue = Catalogue::new(&chain.menus);
    let bare = bare(chain);
    let of_all = Orders::all(&bare);
    // Where orders are too many, a device may serve twice: that bounds them all.
    let (orders, is_whole) = of_all.map_or((Orders::Free, false), |all| (all, true));
    let network = Network::new(&bare, orders);
    let least = [catalogue.fastest(), catalogue.leanest()].map(|costs| network.rest(&costs));
    // Times of stages are rounded.
    let n_units = chain.n_units as f64;
    if least[0].start() > limits.time as f64 + n_units || least[1].start() > limits.ram as f64 {
        return (Ending::None(u64::MAX), begin);
    }
    let dual = Dual::new(&network, &catalogue, limits, begin, stop);
    let prices = dual.best.prices;
    let ending = match (dual.bound > limits.known, is_whole) {
        (true, _) => Ending::None(dual.bound),
        (false, false) => Ending::Unknown(dual.bound),
        (false, true) => {
            let bound = dual.bound;
            let search = Search::new(&network, &catalogue, least, (dual, limits));
            counted_out(search, (bound, limits.known), stop)
        }
    };
    (ending, prices)
}

fn counted_out(mut search: Search<'_>, (mut bound, known): (u64, u64), stop: &Stop) -> Ending {
    let mut step = (bound as f64 * FIRST_STEP) as u64 + 1;
    loop {
        let most = bound.saturating_add(step);
        let is_all = most >= search.known();
        let is_whole = search.up_to(most, stop);
        match (search.found(), is_whole) {
            (Some(found), true) if is_all || found.penalty <= most => {
                let bound = found.penalty;
                return Ending::Found(found, bound);
            }
            (None, true) if is_all => return Ending::None(known.saturating_add(1)),
            (_, true) => {
                bound = most.saturating_add(1);
                step = step.saturating_mul(STEPS);
            }
            (Some(found), false) => {
                let bound = bound.min(found.penalty);
                return Ending::Found(found, bound);
            }
            (None, false) => return Ending::Unknown(bound),
        }
    }
}

/// What a network asks of a chain: whose stages are where.
fn bare(chain: &PairedChain) -> Chain {
    let menu = |paired: &Paired| Menu {
        owner: paired.owner,
        units: paired.units.clone(),
        position: paired.position,
        ways: Rc::clone(&paired.runs[0]),
        n_fitting: paired.runs[0].len(),
        law: Law::default(),
    };
    Chain {
        n_units: chain.n_units,
        counts: chain.counts.clone(),
        menus: chain.menus.iter().map(menu).collect(),
    }
}
