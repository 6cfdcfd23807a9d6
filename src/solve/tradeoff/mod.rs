//! The least penalty of a chain whose plan keeps a limit of time, where every stage can be stored in
//! several ways: of the sum of its stages, or of the slowest of them.
//!
//! A limit on the slowest stage only drops ways. A limit on the sum couples the stages: a price on
//! time gives a bound and partitions worth a look (`dual.rs`), and an enumeration of what that bound
//! leaves open closes the gap (`labels.rs`). Which devices are used is a state of both, so the order
//! of the devices is free (`network.rs`).

mod dual;
mod labels;
mod network;
#[cfg(test)]
mod tests;

use crate::cost::frontier::Way;
use crate::cost::menu::Menu;
use crate::solve::Stop;
use dual::Dual;
use labels::Best;
use network::{Network, Orders};

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

/// The least penalty among plans that take no longer than `most` picoseconds, if that is no more
/// than `known`; of equals the fastest.
pub fn within_sum(chain: &Chain, most: u64, known: u64, stop: &Stop) -> Answer {
    let fast = |menu: &Menu| menu.fitting().iter().map(|way| menu.time(way)).min();
    let times: Vec<f64> = chain.menus.iter().map(|menu| number(fast(menu))).collect();
    let free = Network::new(chain, Orders::Free);
    if !free.rest(&times).start().is_finite() {
        return Answer::Impossible;
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
    // Without the rule that a device serves once: a bound in a moment.
    let relaxed = Dual::new(&free, most, stop).map_or(0, |dual| dual.bound);
    if relaxed > known {
        return Answer::Worse(relaxed);
    }
    let Some(dual) = Dual::new(&network, most, stop) else {
        return Answer::Unknown(relaxed);
    };
    if is_whole && dual.bound > known {
        return Answer::Worse(dual.bound);
    }
    let Best { found, bound } = labels::best(&network, dual, &fastest, (most, known), stop);
    let bound = if is_whole { bound.max(relaxed) } else { relaxed };
    match found {
        Some(found) => Answer::Found(Kept {
            bound: bound.min(found.penalty),
            ..found
        }),
        None if bound > known => Answer::Worse(bound),
        None => Answer::Unknown(bound),
    }
}

/// The least penalty among plans none of whose stages takes longer than `most` picoseconds, and
/// among those the one whose slowest stage is fastest. Exact, or nothing where there are too many
/// orders.
pub fn within_most(chain: &Chain, most: u64) -> Option<Answer> {
    let network = Network::new(chain, Orders::all(chain)?);
    let best = |most: u64| {
        let taken: Vec<_> = chain.menus.iter().map(|menu| least(menu, most)).collect();
        let costs = taken.iter().map(|taken| number(taken.map(|way| way.1)));
        let costs: Vec<f64> = costs.collect();
        let rest = network.rest(&costs);
        let path = rest.start().is_finite().then(|| network.path(&rest, &costs));
        let stage = |menu: usize| taken[menu].map(|(way, ..)| Taken { menu, way });
        path.map(|path| path.into_iter().filter_map(stage).collect::<Vec<_>>())
    };
    let Some(mut stages) = best(most) else {
        return Some(Answer::Impossible);
    };
    let (penalty, _) = worth(chain, &stages);
    // Of equals the one whose slowest stage is fastest: each step is faster by a picosecond or more.
    loop {
        let slowest = slowest(chain, &stages);
        let faster = slowest.checked_sub(1).and_then(best);
        match faster.filter(|faster| worth(chain, faster).0 == penalty) {
            Some(faster) => stages = faster,
            None => {
                return Some(Answer::Found(Kept {
                    stages,
                    penalty,
                    time: slowest,
                    bound: penalty,
                }));
            }
        }
    }
}

/// The way of the least penalty that takes no longer than `most`, and that penalty.
fn least(menu: &Menu, most: u64) -> Option<(usize, u64)> {
    let ways = menu.fitting().iter().enumerate();
    let fast = ways.filter(|(_, way)| menu.time(way) <= most);
    let key = |(index, way): &(usize, &Way)| (way.penalty, menu.time(way), *index);
    fast.min_by_key(key).map(|(index, way)| (index, way.penalty))
}

/// The penalty and the time of a plan.
fn worth(chain: &Chain, stages: &[Taken]) -> (u64, u64) {
    stages.iter().fold((0, 0), |(penalty, time), taken| {
        let menu = &chain.menus[taken.menu];
        let way = &menu.ways[taken.way];
        (penalty.saturating_add(way.penalty), time + menu.time(way))
    })
}

fn slowest(chain: &Chain, stages: &[Taken]) -> u64 {
    let times = stages.iter().map(|taken| {
        let menu = &chain.menus[taken.menu];
        menu.time(&menu.ways[taken.way])
    });
    times.max().unwrap_or_default()
}

fn number(value: Option<u64>) -> f64 {
    value.map_or(f64::INFINITY, |value| value as f64)
}
