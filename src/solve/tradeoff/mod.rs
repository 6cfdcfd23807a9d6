//! The least penalty of a chain whose plan keeps a limit of time, where every stage can be stored in
//! several ways: of the sum of its stages, or of the slowest of them.
//!
//! A limit on the slowest stage only drops ways (`slowest.rs`). A limit on the sum couples the stages: a price on
//! time gives a bound and partitions worth a look (`dual.rs`), and an enumeration of what that bound
//! leaves open closes the gap (`labels.rs`). Which devices are used is a state of both, so the order
//! of the devices is free (`network.rs`).
//!
//! What is said of picoseconds holds for anything else that stages add up to, such as bytes of RAM.

pub mod both;
mod dual;
mod labels;
mod network;
mod slowest;
#[cfg(test)]
mod tests;

use crate::cost::menu::Menu;
use crate::solve::Stop;
use dual::{Dual, Hulls};
use labels::Best;
use network::{Network, Orders};

pub use slowest::Slowest;

/// A chain, and every stage that it can be cut into.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its length.
    pub n_units: usize,
    /// How many devices there are of each group.
    pub counts: Vec<usize>,
    /// The stages, in the order of [`ColumnSet`](crate::cost::ColumnSet): by first unit, owner,
    /// position and end.
    pub menus: Vec<Menu>,
}

/// A stage of a plan: a menu, and which of its ways is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The index of the menu.
    pub menu: usize,
    /// The index of its way.
    pub way: usize,
}

/// A plan, and what is known of all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its stages.
    pub stages: Vec<Taken>,
    /// What it costs in quality.
    pub penalty: u64,
    /// Its time in picoseconds: their sum, or the slowest.
    pub time: u64,
    /// No plan that keeps the limit costs less.
    pub bound: u64,
}

/// How a search under a limit ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The best plan that was found.
    Found(Kept),
    /// The fastest plan, or the fastest that was found, takes so many picoseconds: too long.
    TooSlow {
        /// What it takes.
        fastest: u64,
        /// Whether no plan is faster.
        is_proven: bool,
    },
    /// No plan costs less than was asked for: none costs less than this.
    Worse(u64),
    /// There is no plan at all.
    Impossible,
    /// None was found among too many orders, and none costs less than this.
    Unknown(u64),
}

/// Which plans of a chain are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Those that take no more picoseconds.
    pub most: u64,
    /// Those that cost no more.
    pub known: u64,
    /// A price on a picosecond, best that of a chain much like this one: what it rules out is not
    /// looked for.
    pub price: f64,
}

/// The least penalty among plans that are wanted, of equals the fastest; and the price that bounds
/// all plans best, where it was sought.
pub fn within_sum(chain: &Chain, wanted: Wanted, stop: &Stop) -> (Answer, f64) {
    let Wanted { most, known, price } = wanted;
    let mut best_price = price;
    let answer = within(chain, (most, known), &mut best_price, stop);
    (answer, best_price)
}

fn within(chain: &Chain, (most, known): (u64, u64), price: &mut f64, stop: &Stop) -> Answer {
    let hulls = Hulls::new(&chain.menus);
    let menus = chain.menus.iter().enumerate();
    let times: Vec<f64> = menus
        .map(|(index, menu)| hulls.fastest(index, menu))
        .collect();
    let free = Network::new(chain, Orders::Free);
    if !free.rest(&times).start().is_finite() {
        return Answer::Impossible;
    }
    let bound = dual::bound_at(&free, &hulls, *price, most);
    if bound > known {
        return Answer::Worse(bound);
    }
    let (orders, is_whole) = match Orders::all(chain) {
        Some(all) => (all, true),
        None => (Orders::by_speed(chain, &times), false),
    };
    let network = Network::new(chain, orders);
    let fastest = network.rest(&times);
    match fastest.start() {
        time if time <= most as f64 => {}
        time if time.is_finite() => {
            return Answer::TooSlow {
                fastest: time as u64,
                is_proven: is_whole,
            };
        }
        _ if is_whole => return Answer::Impossible,
        _ => return Answer::Unknown(0),
    }
    if is_whole {
        let bound = dual::bound_at(&network, &hulls, *price, most);
        if bound > known {
            return Answer::Worse(bound);
        }
    }
    // Without the rule that a device serves once: a bound in a moment.
    let relaxed = Dual::new(&free, &hulls, most, stop).map_or(0, |dual| dual.bound);
    if relaxed > known {
        return Answer::Worse(relaxed);
    }
    let Some(dual) = Dual::new(&network, &hulls, most, stop) else {
        return Answer::Unknown(relaxed);
    };
    *price = dual.best.price;
    if is_whole && dual.bound > known {
        return Answer::Worse(dual.bound);
    }
    let Best { found, bound } =
        labels::best(&network, (&hulls, dual), &fastest, (most, known), stop);
    let bound = if is_whole {
        bound.max(relaxed)
    } else {
        relaxed
    };
    match found {
        Some(found) => Answer::Found(Kept {
            bound: bound.min(found.penalty),
            ..found
        }),
        None if bound > known => Answer::Worse(bound),
        None => Answer::Unknown(bound),
    }
}

/// The penalty and the time of a plan.
fn worth(chain: &Chain, stages: &[Taken]) -> (u64, u64) {
    stages.iter().fold((0, 0), |(penalty, time), taken| {
        let menu = &chain.menus[taken.menu];
        let way = &menu.ways[taken.way];
        (penalty.saturating_add(way.penalty), time + menu.time(way))
    })
}

fn number(value: Option<u64>) -> f64 {
    value.map_or(f64::INFINITY, |value| value as f64)
}
