//! What prices leave open, counted out: every beginning of a plan as a label of its time, its RAM and
//! its penalty. Of two that end in one state, one that is no better in any of them is dropped, and so is
//! one that no way on makes a plan that is wanted: by what is left of either limit alone, or by the
//! bound that some prices give with what is left.

use super::guide::Guide;
use super::prices::{Catalogue, Dual, Priced, Prices, ROUNDING, rent, slack};
use super::{KeptPair, Limits, TakenPair};
use crate::cost::frontier::{Counts, Frontier, Unbettered, Way};
use crate::solve::Stop;
use crate::solve::tradeoff::network::{Network, Rest};
use crate::units::Bytes;

/// Labels that may be kept at once, those that may arrive at all, and ways of one stage that are looked
/// at.
const MOST_LABELS: usize = 1_000_000;
const MOST_ARRIVING: usize = 3_000_000;
const MOST_WAYS: usize = 500_000;
/// Prices beside the best ones, as shares of these: with more or less left than usual others bound
/// better, and the way on at higher ones keeps the limits where that at the best ones fails.
const BESIDE: [[f64; 2]; 6] = [
    [0.8, 0.8],
    [1.25, 1.25],
    [0.8, 1.25],
    [1.25, 0.8],
    [1.02, 1.02],
    [2.0, 2.0],
];

/// A beginning of a plan.
#[derive(Clone, Copy)]
struct Label {
    penalty: u64,
    time: u64,
    ram: u64,
    /// The label before it, and the step from there.
    before: u32,
    menu: u32,
    ways: [u32; 2],
}

/// A pair of ways, and what it costs above the best of its choice.
#[derive(Clone, Copy)]
struct Open {
    above: f64,
    ways: [usize; 2],
    sum: Way,
}

pub(super) struct Search<'a> {
    network: &'a Network<'a>,
    catalogue: &'a Catalogue<'a>,
    limits: Limits,
    /// That of the best prices first.
    guides: Vec<Guide>,
    fastest: Rest,
    leanest: Rest,
    bound: f64,
    /// The best plan so far.
    found: Option<KeptPair>,
    /// Plans of a greater penalty are not looked for now.
    most: u64,
    /// The pairs of each choice, the best first, once they are asked for.
    open: Vec<Option<Vec<Open>>>,
    /// Labels that arrived at a state.
    n_arrived: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        network: &'a Network<'a>,
        catalogue: &'a Catalogue<'a>,
        [fastest, leanest]: [Rest; 2],
        (dual, limits): (Dual, Limits),
    ) -> Self {
        let best = dual.best.prices;
        let mut guides = vec![Guide::new(network, dual.best)];
        for [of_time, of_ram] in BESIDE {
            let prices = Prices {
                time: best.time * of_time,
                ram: best.ram * of_ram,
            };
            let is_known = |guide: &Guide| guide.priced.prices == prices;
            if !guides.iter().any(is_known) {
                guides.push(Guide::new(network, catalogue.priced(network, prices)));
            }
        }
        Self {
            network,
            catalogue,
            limits,
            guides,
            fastest,
            leanest,
            bound: dual.bound as f64,
            found: dual.met,
            most: 0,
            open: Vec::new(),
            n_arrived: 0,
        }
    }

    /// Plans of no greater penalty are wanted.
    pub(super) fn known(&self) -> u64 {
        let found = self.found.as_ref();
        found.map_or(self.limits.known, |found| found.penalty)
    }

    pub(super) fn found(&self) -> Option<KeptPair> {
        self.found.clone()
    }

    /// Looks for all plans of no greater penalty; whether it came to the end.
    pub(super) fn up_to(&mut self, most: u64, stop: &Stop) -> bool {
        self.most = most.min(self.known());
        self.open = vec![None; self.catalogue.choices.len()];
        self.n_arrived = 0;
        let network = self.network;
        let mut arriving: Vec<Vec<Label>> = Vec::new();
        arriving.resize_with(network.n_states(), Vec::new);
        let mut kept: Vec<Label> = Vec::new();
        arriving[0].push(Label {
            penalty: 0,
            time: 0,
            ram: 0,
            before: u32::MAX,
            menu: 0,
            ways: [0; 2],
        });
        for state in 0..network.n_states() {
            let mut labels = std::mem::take(&mut arriving[state]);
            if labels.is_empty() {
                continue;
            }
            if stop.is_set() || kept.len() + labels.len() > MOST_LABELS {
                return false;
            }
            labels.sort_unstable_by_key(|label| (label.time, label.penalty, label.ram));
            let from = kept.len();
            let mut unbettered = Unbettered::new(Counts::BytesAndReading(Bytes(u64::MAX)));
            for label in labels {
                let as_way = Way {
                    bytes: Bytes(label.time),
                    penalty: label.penalty,
                    read: Bytes(label.ram),
                    ram: Bytes::ZERO,
                };
                if unbettered.takes(&as_way) && self.may_help(&label, state) {
                    self.complete(&label, state, &kept);
                    kept.push(label);
                }
            }
            for (run, next) in network.ways(state) {
                for menu in run {
                    let to = next + self.catalogue.menus[menu].units.end;
                    let few_enough =
                        self.extend(from..kept.len(), (menu, to), &kept, &mut arriving);
                    if !few_enough || stop.is_set() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Every label of a state with every way of a menu that may help; whether these were few enough.
    fn extend(
        &mut self,
        labels: std::ops::Range<usize>,
        (index, to): (usize, usize),
        kept: &[Label],
        arriving: &mut [Vec<Label>],
    ) -> bool {
        let Priced {
            prices,
            costs,
            rest,
        } = &self.guides[0].priced;
        let prices = *prices;
        let onward = costs.of_menus[index] + rest.costs[to];
        if !onward.is_finite() {
            return true;
        }
        let menu = &self.catalogue.menus[index];
        let is_end = self.network.is_end(to);
        for at in labels {
            let before = kept[at];
            let line = before.penalty as f64
                + prices.time * before.time as f64
                + prices.ram * before.ram as f64
                + onward;
            if line > self.budget() {
                continue;
            }
            let Some(open) = self.take_open(self.catalogue.choice_of[index]) else {
                return false;
            };
            for Open { above, ways, sum } in &open {
                if line + above > self.budget() {
                    break;
                }
                let label = Label {
                    penalty: before.penalty.saturating_add(sum.penalty),
                    time: before.time.saturating_add(menu.time(sum)),
                    ram: before.ram.saturating_add(menu.in_ram(sum)),
                    before: at as u32,
                    menu: index as u32,
                    ways: ways.map(|way| way as u32),
                };
                if !self.may_help(&label, to) {
                    continue;
                }
                if is_end {
                    self.complete(&label, to, kept);
                } else {
                    arriving[to].push(label);
                    self.n_arrived += 1;
                }
            }
            if self.n_arrived > MOST_ARRIVING {
                return false;
            }
            self.open[self.catalogue.choice_of[index]] = Some(open);
        }
        true
    }

    /// What a beginning and its way on may cost at the best prices.
    fn budget(&self) -> f64 {
        let prices = self.guides[0].priced.prices;
        let rent = rent(self.network, prices, self.limits);
        self.most as f64 * (1.0 + ROUNDING) + rent + slack(prices, self.limits)
    }

    /// The pairs of a choice that a plan may have, the best first, and of these none that another
    /// betters; nothing if they are too many.
    fn take_open(&mut self, choice: usize) -> Option<Vec<Open>> {
        if let Some(open) = self.open[choice].take() {
            return Some(open);
        }
        let guide = &self.guides[0].priced;
        let prices = guide.prices;
        let Some((best, _)) = guide.costs.of_choices[choice] else {
            return Some(Vec::new());
        };
        let slack = slack(prices, self.limits) + ROUNDING * self.most as f64;
        let most = best + (self.most as f64 - self.bound).max(0.0) + 1.0 + 2.0 * slack;
        let choice = &self.catalogue.choices[choice];
        let [first, second] = choice.runs.map(|run| &self.catalogue.runs[run]);
        let cost = |(ways, a_byte): &(Frontier, f64)| -> Vec<f64> {
            ways.iter().map(|way| prices.of(way, *a_byte)).collect()
        };
        let (of_first, of_second) = (cost(first), cost(second));
        // The least of all ways up to each.
        let least = of_second.iter().scan(f64::INFINITY, |least, cost| {
            *least = least.min(*cost);
            Some(*least)
        });
        let least: Vec<f64> = least.collect();
        let mut open = Vec::new();
        for (one, (way, cost)) in first.0.iter().zip(&of_first).enumerate() {
            let Some(left) = choice.room.checked_sub(way.bytes) else {
                break;
            };
            let n_fitting = second.0.partition_point(|other| other.bytes <= left);
            for two in (0..n_fitting).rev() {
                if cost + least[two] > most {
                    break;
                }
                let both = cost + of_second[two];
                if both <= most {
                    open.push(Open {
                        above: both - best,
                        ways: [one, two],
                        sum: way.and(second.0[two]),
                    });
                }
            }
            if open.len() > MOST_WAYS {
                return None;
            }
        }
        open.sort_unstable_by_key(|it| (it.sum.read, it.sum.penalty, it.sum.ram, it.ways));
        let mut unbettered = Unbettered::new(Counts::BytesAndReading(Bytes(u64::MAX)));
        open.retain(|it| {
            unbettered.takes(&Way {
                bytes: it.sum.read,
                read: it.sum.ram,
                ..it.sum
            })
        });
        open.sort_by(|a, b| a.above.total_cmp(&b.above));
        Some(open)
    }

    /// Whether a beginning could become a plan that is wanted.
    fn may_help(&self, label: &Label, state: usize) -> bool {
        let Limits { time, ram, .. } = self.limits;
        let n_units = self.network.chain.n_units as f64;
        let [left_time, left_ram] = [(time, label.time), (ram, label.ram)]
            .map(|(limit, taken)| limit as f64 - taken as f64);
        // Times of stages are rounded.
        if self.fastest.costs[state] > left_time + n_units || self.leanest.costs[state] > left_ram {
            return false;
        }
        let most = self.most as f64 * (1.0 + ROUNDING);
        self.guides.iter().all(|guide| {
            let prices = guide.priced.prices;
            let paid = prices.time * (left_time + n_units) + prices.ram * left_ram;
            let bound = label.penalty as f64 + guide.priced.rest.costs[state] - paid;
            bound <= most + slack(prices, self.limits)
        })
    }

    /// Takes the ways on of all guides, and keeps the best plan.
    fn complete(&mut self, label: &Label, state: usize, kept: &[Label]) {
        for index in 0..self.guides.len() {
            let guide = &mut self.guides[index];
            let Some(tail) = guide.tail(self.network, self.catalogue, state) else {
                continue;
            };
            let penalty = label.penalty.saturating_add(tail.penalty);
            let time = label.time.saturating_add(tail.time);
            let ram = label.ram.saturating_add(tail.ram);
            let is_better = match &self.found {
                Some(found) => (penalty, time) < (found.penalty, found.time),
                None => penalty <= self.limits.known,
            };
            if !is_better || time > self.limits.time || ram > self.limits.ram {
                continue;
            }
            let mut stages = Vec::new();
            let mut at = *label;
            while at.before != u32::MAX {
                stages.push(TakenPair {
                    menu: at.menu as usize,
                    ways: at.ways.map(|way| way as usize),
                });
                at = kept[at.before as usize];
            }
            stages.reverse();
            let mut on = tail.step;
            while let Some((taken, to)) = on {
                stages.push(taken);
                on = self.guides[index].tails[to].and_then(|tail| tail.step);
            }
            self.most = self.most.min(penalty);
            self.found = Some(KeptPair {
                stages,
                penalty,
                time,
            });
        }
    }
}
