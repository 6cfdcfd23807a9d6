//! A price on time: `L(λ) = min Σ (penalty + λ · time) − λ · T` over all plans is no more than the
//! penalty of any plan that keeps `T`. `L` is concave and made of lines, one for each plan, so the
//! price of the greatest `L` is found where the lines of a plan that is too slow and of one that is
//! fast enough cross, until no plan lies below the crossing.

use std::collections::BTreeMap;

use super::network::{Network, Rest};
use super::{Taken, worth};
use crate::cost::frontier::Way;
use crate::cost::menu::Menu;
use crate::solve::Stop;

/// Sums of tens of numbers as floats: what is this close is not told apart.
pub(super) const ROUNDING: f64 = 1e-9;
/// Crossings that are tried; some ten are enough.
const MOST_PASSES: usize = 60;

/// A price on a picosecond, with the best way on from each state at that price.
pub(super) struct Priced {
    pub(super) price: f64,
    pub(super) rest: Rest,
}

/// The greatest bound, its price, and plans that were met.
pub(super) struct Dual {
    pub(super) bound: u64,
    pub(super) best: Priced,
    /// What each menu costs at the best price.
    pub(super) costs: Vec<f64>,
    /// Plans that were met, those that keep the limit among them.
    pub(super) met: Vec<Vec<Taken>>,
}

/// The lower hull of each menu's ways over what is read, and so over time: only these are ever the
/// best at a price.
pub(super) struct Hulls(Vec<Vec<u32>>);

impl Hulls {
    pub(super) fn new(menus: &[Menu]) -> Self {
        // Runs that are alike share a frontier. Nothing depends on the order of addresses.
        let mut wholes: BTreeMap<*const Way, Whole> = BTreeMap::new();
        let hull = |menu: &Menu| {
            let whole = wholes.entry(menu.ways.as_ptr());
            let whole = whole.or_insert_with(|| Whole::new(&menu.ways));
            whole.of_first(&menu.ways, menu.n_fitting)
        };
        Self(menus.iter().map(hull).collect())
    }

    /// The least time of a menu.
    pub(super) fn fastest(&self, index: usize, menu: &Menu) -> f64 {
        let first = self.0[index].first();
        first.map_or(f64::INFINITY, |first| {
            menu.time(&menu.ways[*first as usize]) as f64
        })
    }

    /// The greatest penalty of any way that is ever the best.
    fn dearest(&self, menus: &[Menu]) -> f64 {
        let fastest = self.0.iter().zip(menus);
        let penalties = fastest.filter_map(|(hull, menu)| {
            let first = hull.first()?;
            Some(menu.ways[*first as usize].penalty)
        });
        penalties.max().unwrap_or_default() as f64
    }

    /// The best way of a menu at a price, and its cost: none is dearer than all.
    pub(super) fn best(&self, index: usize, menu: &Menu, price: f64) -> (usize, f64) {
        let hull = &self.0[index];
        let cost = |at: usize| {
            let way = &menu.ways[hull[at] as usize];
            way.penalty as f64 + price * menu.time(way) as f64
        };
        let Some(last) = hull.len().checked_sub(1) else {
            return (0, f64::INFINITY);
        };
        // Costs fall along the hull, and then rise.
        let (mut low, mut high) = (0, last);
        while low < high {
            let middle = low.midpoint(high);
            if cost(middle + 1) < cost(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (hull[low] as usize, cost(low))
    }
}

/// A frontier's own hull, and whether its ways are in the order of what they read.
struct Whole {
    hull: Vec<u32>,
    is_by_reading: bool,
}

impl Whole {
    fn new(ways: &[Way]) -> Self {
        let is_by_reading = ways.is_sorted_by_key(|way| way.read);
        let hull = if is_by_reading {
            let mut hull = Vec::new();
            extend(&mut hull, ways, 0..ways.len() as u32);
            hull
        } else {
            Vec::new()
        };
        Self {
            hull,
            is_by_reading,
        }
    }

    /// The hull of the first ways. Corners of the whole hull among them are corners of theirs, and
    /// between these there are no others; only behind the last of them it is another.
    fn of_first(&self, ways: &[Way], n_first: usize) -> Vec<u32> {
        let n_first = n_first as u32;
        if self.is_by_reading {
            let n_common = self.hull.partition_point(|corner| *corner < n_first);
            let mut hull = self.hull[..n_common].to_vec();
            let behind = hull.last().map_or(0, |last| last + 1);
            extend(&mut hull, ways, behind..n_first);
            return hull;
        }
        let mut order: Vec<u32> = (0..n_first).collect();
        order.sort_by_key(|index| {
            let way = &ways[*index as usize];
            (way.read, way.penalty)
        });
        let mut hull = Vec::new();
        extend(&mut hull, ways, order);
        hull
    }
}

/// Adds ways to a hull in the order of what they read: penalties fall along it, ever slower.
fn extend(hull: &mut Vec<u32>, ways: &[Way], more: impl IntoIterator<Item = u32>) {
    let point = |index: u32| {
        let way = &ways[index as usize];
        (way.read.0 as f64, way.penalty as f64)
    };
    for next in more {
        let (read, penalty) = point(next);
        if hull.last().is_some_and(|last| point(*last).1 <= penalty) {
            continue;
        }
        if hull.last().is_some_and(|last| point(*last).0 >= read) {
            hull.pop();
        }
        while let [.., before, last] = hull[..] {
            let ((r0, p0), (r1, p1)) = (point(before), point(last));
            if (p0 - p1) * (read - r0) > (p0 - penalty) * (r1 - r0) {
                break;
            }
            hull.pop();
        }
        hull.push(next);
    }
}

/// A pass over the network at one price.
struct Pass {
    priced: Priced,
    costs: Vec<f64>,
    stages: Vec<Taken>,
    penalty: f64,
    time: f64,
}

pub(super) fn costs_at(network: &Network<'_>, hulls: &Hulls, price: f64) -> Vec<(usize, f64)> {
    let menus = network.chain.menus.iter().enumerate();
    menus
        .map(|(index, menu)| hulls.best(index, menu, price))
        .collect()
}

fn pass(network: &Network<'_>, hulls: &Hulls, price: f64) -> Pass {
    let best = costs_at(network, hulls, price);
    let costs: Vec<f64> = best.iter().map(|(_, cost)| *cost).collect();
    let rest = network.rest(&costs);
    let path = network.path(&rest, &costs).into_iter();
    let stages: Vec<Taken> = path
        .map(|menu| Taken {
            menu,
            way: best[menu].0,
        })
        .collect();
    let (penalty, time) = worth(network.chain, &stages);
    Pass {
        priced: Priced { price, rest },
        costs,
        stages,
        penalty: penalty as f64,
        time: time as f64,
    }
}

/// What a price says of all plans of at most `most`; without a price nothing.
pub(super) fn bound_at(network: &Network<'_>, hulls: &Hulls, price: f64, most: u64) -> u64 {
    if price <= 0.0 {
        return 0;
    }
    let best = costs_at(network, hulls, price);
    let costs: Vec<f64> = best.iter().map(|(_, cost)| *cost).collect();
    whole(bound(network.rest(&costs).start(), price, most))
}

/// What no plan of at most `most` costs less than, where the least of all at this price is `start`.
pub(super) fn bound(start: f64, price: f64, most: u64) -> f64 {
    start * (1.0 - ROUNDING) - price * most as f64
}

fn whole(bound: f64) -> u64 {
    bound.max(0.0).ceil() as u64
}

impl Dual {
    /// The best price for plans of at most `most`; none where no price leads to one that is fast
    /// enough.
    pub(super) fn new(
        network: &Network<'_>,
        hulls: &Hulls,
        most: u64,
        stop: &Stop,
    ) -> Option<Self> {
        let limit = most as f64;
        let mut met = Vec::new();
        let free = pass(network, hulls, 0.0);
        if !free.priced.rest.start().is_finite() {
            return None;
        }
        let mut best: Option<(f64, Pass)> = None;
        let mut consider = |pass: Pass, met: &mut Vec<Vec<Taken>>| {
            let start = pass.priced.rest.start();
            let bound = bound(start, pass.priced.price, most);
            let line = (pass.penalty, pass.time);
            met.push(pass.stages.clone());
            if best.as_ref().is_none_or(|(least, _)| bound > *least) {
                best = Some((bound, pass));
            }
            line
        };
        let mut slow = consider(free, &mut met);
        if slow.1 > limit {
            // A price at which a picosecond is worth more than all quality there is.
            let price = hulls.dearest(&network.chain.menus) * network.chain.n_units as f64 + 1.0;
            let mut fast = consider(pass(network, hulls, price), &mut met);
            if fast.1 > limit {
                return None;
            }
            for _ in 0..MOST_PASSES {
                if stop.is_set() {
                    break;
                }
                let price = (fast.0 - slow.0) / (slow.1 - fast.1);
                let crossing = slow.0 + price * slow.1;
                let found = pass(network, hulls, price);
                let is_below = found.priced.rest.start() < crossing * (1.0 - ROUNDING);
                let line = consider(found, &mut met);
                if !is_below {
                    break;
                }
                match line.1 > limit {
                    true => slow = line,
                    false => fast = line,
                }
            }
        }
        let (bound, pass) = best?;
        Some(Self {
            bound: whole(bound),
            best: pass.priced,
            costs: pass.costs,
            met,
        })
    }
}
