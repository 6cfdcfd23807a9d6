//! Prices on time and on RAM: `L(τ, μ) = min Σ (penalty + τ · time + μ · ram) − τ · T − μ · R` over all
//! plans is no more than the penalty of any plan that keeps both limits. `L` is the least of planes, one
//! for each plan. The prices at which the planes that are known are at their highest are tried next,
//! until the plan found there lies on them.

use std::collections::BTreeMap;

use super::super::network::{Network, Rest};
use super::{KeptPair, Limits, TakenPair};
use crate::cost::frontier::{Frontier, Way};
use crate::cost::menu::Paired;
use crate::solve::Stop;
use crate::units::Bytes;

/// Sums of tens of numbers as floats: what is this close is not told apart.
pub(super) const ROUNDING: f64 = 1e-9;
/// Prices that are tried; some ten or twenty are enough.
const MOST_PASSES: usize = 32;
/// A price is at most so many times that at which all there is costs as much as all quality.
const HIGHEST: f64 = 1e4;

/// Prices on a picosecond and on a byte of RAM.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prices {
    /// A picosecond.
    pub time: f64,
    /// A byte.
    pub ram: f64,
}

/// What stages share the choice of: two runs, and their room.
pub(super) struct Choice {
    /// The indices of the runs.
    pub(super) runs: [usize; 2],
    pub(super) room: Bytes,
}

/// The menus of a chain, and what they have in common.
pub(super) struct Catalogue<'a> {
    pub(super) menus: &'a [Paired],
    /// The choice of each menu.
    pub(super) choice_of: Vec<usize>,
    pub(super) choices: Vec<Choice>,
    /// Ways of runs, and the picoseconds of a byte that is read.
    pub(super) runs: Vec<(Frontier, f64)>,
}

/// What each choice, and each menu, costs at some prices at its best.
pub(super) struct Costs {
    pub(super) of_choices: Vec<Option<(f64, [usize; 2])>>,
    pub(super) of_menus: Vec<f64>,
}

/// Prices, with the best way on from each state.
pub(super) struct Priced {
    pub(super) prices: Prices,
    pub(super) costs: Costs,
    pub(super) rest: Rest,
}

/// The greatest bound, its prices, and the best plan that was met.
pub(super) struct Dual {
    pub(super) bound: u64,
    pub(super) best: Priced,
    pub(super) met: Option<KeptPair>,
}

impl Prices {
    /// What a way of a run costs that takes so long for a byte.
    pub(super) fn of(self, way: &Way, a_byte: f64) -> f64 {
        way.penalty as f64 + self.time * a_byte * way.read.0 as f64 + self.ram * way.ram.0 as f64
    }
}

impl<'a> Catalogue<'a> {
    pub(super) fn new(menus: &'a [Paired]) -> Self {
        // Runs that are alike share a frontier. Nothing depends on the order of addresses.
        let mut known_runs = BTreeMap::new();
        let mut known_choices = BTreeMap::new();
        let (mut runs, mut choices): (Vec<(Frontier, f64)>, Vec<Choice>) = Default::default();
        let mut choice_of = Vec::with_capacity(menus.len());
        for menu in menus {
            let a_byte = menu.law.a_byte;
            let own = menu.runs.each_ref().map(|run| {
                let run_of = known_runs.entry((run.as_ptr(), run.len(), a_byte.to_bits()));
                *run_of.or_insert_with(|| {
                    runs.push((run.clone(), a_byte));
                    runs.len() - 1
                })
            });
            let choice = known_choices.entry((own, menu.room));
            choice_of.push(*choice.or_insert_with(|| {
                choices.push(Choice {
                    runs: own,
                    room: menu.room,
                });
                choices.len() - 1
            }));
        }
        Self {
            menus,
            choice_of,
            choices,
            runs,
        }
    }

    /// The least of each menu, by what its ways read.
    pub(super) fn fastest(&self) -> Vec<f64> {
        self.least(|way| way.read, Paired::time)
    }

    /// The least of each menu, by the RAM that its ways take.
    pub(super) fn leanest(&self) -> Vec<f64> {
        self.least(|way| way.ram, Paired::in_ram)
    }

    fn least(&self, by: fn(&Way) -> Bytes, of: fn(&Paired, &Way) -> u64) -> Vec<f64> {
        let best = self.best_of(|way, _| by(way).0 as f64);
        let menus = self.menus.iter().zip(&self.choice_of);
        let least = menus.map(|(menu, choice)| {
            let pair = best[*choice];
            pair.map_or(f64::INFINITY, |(_, ways)| of(menu, &menu.way(ways)) as f64)
        });
        least.collect()
    }

    /// The cheapest pair of each choice.
    fn best_of(&self, cost: impl Fn(&Way, f64) -> f64) -> Vec<Option<(f64, [usize; 2])>> {
        let runs = self.runs.iter();
        let runs = runs.map(|(ways, a_byte)| thinned(ways, |way| cost(way, *a_byte)));
        let runs: Vec<_> = runs.collect();
        let best = self.choices.iter().map(|choice| {
            let [first, second] = choice.runs;
            best_pair([&runs[first], &runs[second]], choice.room)
        });
        best.collect()
    }

    pub(super) fn at(&self, prices: Prices) -> Costs {
        let of_choices = self.best_of(|way, a_byte| prices.of(way, a_byte));
        let menus = self.menus.iter().zip(&self.choice_of);
        let of_menus = menus.map(|(menu, choice)| {
            let fixed = prices.time * menu.law.fixed + prices.ram * menu.ram.0 as f64;
            of_choices[*choice].map_or(f64::INFINITY, |(cost, _)| cost + fixed)
        });
        Costs {
            of_menus: of_menus.collect(),
            of_choices,
        }
    }

    pub(super) fn priced(&self, network: &Network<'_>, prices: Prices) -> Priced {
        let costs = self.at(prices);
        Priced {
            prices,
            rest: network.rest(&costs.of_menus),
            costs,
        }
    }

    /// More than any plan costs in quality.
    fn dearest(&self, n_units: usize) -> f64 {
        let dearest = self.menus.iter().map(|menu| {
            let of = |run: &Frontier| run.iter().map(|way| way.penalty).max();
            let [first, second] = menu.runs.each_ref().map(of);
            first
                .unwrap_or_default()
                .saturating_add(second.unwrap_or_default())
        });
        dearest.max().unwrap_or_default() as f64 * n_units as f64 + 1.0
    }

    pub(super) fn worth(&self, stages: &[TakenPair]) -> [u64; 3] {
        stages.iter().fold([0; 3], |[penalty, time, ram], taken| {
            let menu = &self.menus[taken.menu];
            let way = menu.way(taken.ways);
            [
                penalty.saturating_add(way.penalty),
                time.saturating_add(menu.time(&way)),
                ram.saturating_add(menu.in_ram(&way)),
            ]
        })
    }
}

/// A way of a run: its bytes, its cost and its index.
type Priceable = (Bytes, f64, usize);

/// The ways that cost less than all smaller ones.
fn thinned(ways: &[Way], cost: impl Fn(&Way) -> f64) -> Vec<Priceable> {
    let mut kept: Vec<Priceable> = Vec::new();
    for (index, way) in ways.iter().enumerate() {
        let cost = cost(way);
        match kept.last() {
            Some((_, least, _)) if cost >= *least => continue,
            Some((bytes, ..)) if *bytes == way.bytes => {
                kept.pop();
            }
            _ => {}
        }
        kept.push((way.bytes, cost, index));
    }
    kept
}

/// The cheapest pair that has room; of equal ones the first.
fn best_pair([first, second]: [&[Priceable]; 2], room: Bytes) -> Option<(f64, [usize; 2])> {
    let mut n_fitting = second.len();
    let mut best: Option<(f64, [usize; 2])> = None;
    for (bytes, cost, index) in first {
        let Some(left) = room.checked_sub(*bytes) else {
            break;
        };
        while n_fitting > 0 && second[n_fitting - 1].0 > left {
            n_fitting -= 1;
        }
        let Some((_, beside, other)) = second[..n_fitting].last() else {
            break;
        };
        let both = cost + beside;
        if best.is_none_or(|(least, _)| both < least) {
            best = Some((both, [*index, *other]));
        }
    }
    best
}

/// The plane of a plan over the prices, each in shares of a whole limit.
struct Plane {
    penalty: f64,
    time: f64,
    ram: f64,
}

impl Plane {
    fn at(&self, [time, ram]: [f64; 2]) -> f64 {
        self.penalty + time * self.time + ram * self.ram
    }

    /// Where it meets another and a third line has no value.
    fn meets(&self, other: &Self, [a, b, c]: [f64; 3]) -> Option<[f64; 2]> {
        let (time, ram) = (self.time - other.time, self.ram - other.ram);
        let penalty = self.penalty - other.penalty;
        let whole = time * b - ram * a;
        let point = [
            (ram * c - penalty * b) / whole,
            (penalty * a - time * c) / whole,
        ];
        point.iter().all(|it| it.is_finite()).then_some(point)
    }
}

/// The point up to a highest price at which the least of the planes is the greatest.
fn highest(planes: &[Plane], most: f64) -> ([f64; 2], f64) {
    let mut best = ([0.0; 2], f64::NEG_INFINITY);
    let mut consider = |point: [f64; 2]| {
        let point = point.map(|price| price.clamp(0.0, most));
        let least = planes.iter().map(|plane| plane.at(point));
        let least = least.fold(f64::INFINITY, f64::min);
        if least > best.1 {
            best = (point, least);
        }
    };
    let edges = [
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
        [1.0, 0.0, -most],
        [0.0, 1.0, -most],
    ];
    for corner in [[0.0, 0.0], [most, 0.0], [0.0, most], [most, most]] {
        consider(corner);
    }
    for (index, one) in planes.iter().enumerate() {
        for (second, two) in planes.iter().enumerate().skip(index + 1) {
            for edge in edges {
                one.meets(two, edge).into_iter().for_each(&mut consider);
            }
            for three in &planes[second + 1..] {
                let line = [
                    one.time - three.time,
                    one.ram - three.ram,
                    one.penalty - three.penalty,
                ];
                one.meets(two, line).into_iter().for_each(&mut consider);
            }
        }
    }
    best
}

impl Dual {
    /// The best prices for plans within limits, of which there are some that keep either.
    pub(super) fn new(
        network: &Network<'_>,
        catalogue: &Catalogue<'_>,
        limits: Limits,
        begin: Prices,
        stop: &Stop,
    ) -> Self {
        let (whole_time, whole_ram) = (limits.time.max(1) as f64, limits.ram.max(1) as f64);
        let most = catalogue.dearest(network.chain.n_units) * HIGHEST;
        let mut planes: Vec<Plane> = Vec::new();
        let mut met: Option<KeptPair> = None;
        let mut look = |prices: Prices, planes: &mut Vec<Plane>| {
            let priced = catalogue.priced(network, prices);
            let path = network
                .path(&priced.rest, &priced.costs.of_menus)
                .into_iter();
            let stages = path.filter_map(|menu| {
                let (_, ways) = priced.costs.of_choices[catalogue.choice_of[menu]]?;
                Some(TakenPair { menu, ways })
            });
            let stages: Vec<_> = stages.collect();
            let [penalty, time, ram] = catalogue.worth(&stages);
            planes.push(Plane {
                penalty: penalty as f64,
                time: (time as f64 - limits.time as f64) / whole_time,
                ram: (ram as f64 - limits.ram as f64) / whole_ram,
            });
            let keeps = time <= limits.time && ram <= limits.ram && penalty <= limits.known;
            let worth = (penalty, time);
            if keeps
                && met
                    .as_ref()
                    .is_none_or(|met| worth < (met.penalty, met.time))
            {
                met = Some(KeptPair {
                    stages,
                    penalty,
                    time,
                });
            }
            let bound = bound(network, &priced, limits);
            (bound, priced)
        };
        let mut best = look(begin, &mut planes);
        for _ in 0..MOST_PASSES {
            if best.0 > limits.known as f64 || stop.is_set() {
                break;
            }
            let (point, height) = highest(&planes, most);
            if height <= best.0 + ROUNDING * (best.0.abs() + 1.0) {
                break;
            }
            let prices = Prices {
                time: point[0] / whole_time,
                ram: point[1] / whole_ram,
            };
            let found = look(prices, &mut planes);
            let own = planes.last().map_or(0.0, |plane| plane.at(point));
            let is_known = own >= height - ROUNDING * height.abs() - slack(prices, limits);
            if found.0 > best.0 {
                best = found;
            }
            if is_known {
                break;
            }
        }
        let (bound, best) = best;
        Self {
            bound: bound.max(0.0).ceil() as u64,
            best,
            met,
        }
    }
}

/// What rounding may be of sums at these prices.
pub(super) fn slack(prices: Prices, limits: Limits) -> f64 {
    ROUNDING * (prices.time * limits.time as f64 + prices.ram * limits.ram as f64)
}

/// What is paid for all that the limits leave. Times of stages are rounded.
pub(super) fn rent(network: &Network<'_>, prices: Prices, limits: Limits) -> f64 {
    prices.time * (limits.time as f64 + network.chain.n_units as f64)
        + prices.ram * limits.ram as f64
}

fn bound(network: &Network<'_>, priced: &Priced, limits: Limits) -> f64 {
    priced.rest.start() * (1.0 - ROUNDING) - rent(network, priced.prices, limits)
}
