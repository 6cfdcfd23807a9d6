//! What a price on time leaves open, counted out: every beginning of a plan as a label of its time
//! and penalty. Of two beginnings that end in one state, one that is no faster and no better is
//! dropped, and so is one that no way on can make better than a plan that is known: by the time that
//! is left, or by the bound that a price gives with that time. What is left at the end is the best.

use super::dual::{self, Dual, Hulls, Priced, ROUNDING, costs_at};
use super::network::{Network, Rest};
use super::{Kept, Taken, worth};
use crate::solve::Stop;

/// The best plan that was found, and a bound on all.
pub(super) struct Best {
    pub(super) found: Option<Kept>,
    pub(super) bound: u64,
}

/// Labels that may be kept at once for the whole network, and for the partition of one plan.
const MOST_LABELS: usize = 2_000_000;
const MOST_OF_ONE: usize = 20_000;
/// Prices beside the best one, as shares of it: with more or less time left than usual another price
/// bounds better, and the way on at a higher price keeps the limit where that at the best one fails.
const BESIDE: [f64; 5] = [0.85, 0.96, 1.02, 1.08, 1.25];

/// A beginning of a plan.
#[derive(Clone, Copy)]
struct Label {
    time: u64,
    penalty: u64,
    /// The label before it, and the step from there.
    before: u32,
    taken: Taken,
}

/// The best way on from each state at one price.
struct Guide {
    price: f64,
    rest: Rest,
    /// The best way of each menu, and its cost.
    best: Vec<(usize, f64)>,
    /// From the states that were asked for.
    tails: Vec<Option<Tail>>,
}

/// The best way on from a state to the end.
#[derive(Clone, Copy)]
struct Tail {
    /// The first step, and where it leads; none at the end.
    step: Option<(Taken, usize)>,
    /// What all of it takes and costs.
    time: u64,
    penalty: u64,
}

impl Guide {
    fn new(network: &Network<'_>, priced: Priced, best: Vec<(usize, f64)>) -> Self {
        Self {
            price: priced.price,
            rest: priced.rest,
            best,
            tails: vec![None; network.n_states()],
        }
    }

    /// From a state on, where there is a way to the end.
    fn tail(&mut self, network: &Network<'_>, from: usize) -> Option<Tail> {
        let mut state = from;
        let mut steps = Vec::new();
        let mut tail = loop {
            match self.tails[state] {
                Some(known) => break known,
                None if network.is_end(state) => {
                    break Tail {
                        step: None,
                        time: 0,
                        penalty: 0,
                    };
                }
                None => {}
            }
            let step = self.step(network, state)?;
            steps.push((state, step));
            state = step.1;
        };
        for (state, step) in steps.into_iter().rev() {
            let (taken, _) = step;
            let menu = &network.chain.menus[taken.menu];
            let way = &menu.ways[taken.way];
            tail = Tail {
                step: Some(step),
                time: tail.time + menu.time(way),
                penalty: tail.penalty.saturating_add(way.penalty),
            };
            self.tails[state] = Some(tail);
        }
        Some(tail)
    }

    /// The best step; of equal ones the first.
    fn step(&self, network: &Network<'_>, state: usize) -> Option<(Taken, usize)> {
        let (mut least, mut step) = (f64::INFINITY, None);
        for (run, next) in network.ways(state) {
            for menu in run {
                let to = next + network.chain.menus[menu].units.end;
                let (way, cost) = self.best[menu];
                let cost = cost + self.rest.costs[to];
                if cost < least {
                    least = cost;
                    step = Some((Taken { menu, way }, to));
                }
            }
        }
        step
    }
}

struct Search<'a> {
    network: &'a Network<'a>,
    costs: Vec<f64>,
    /// That of the best price first.
    guides: Vec<Guide>,
    fastest: &'a Rest,
    most: u64,
    /// Plans of a greater penalty are of no use.
    known: u64,
    found: Option<Kept>,
    /// The ways of each menu by what they cost above its best, made when they are asked for.
    open: Vec<Option<Vec<(f64, u32)>>>,
    /// What the best price says of all plans, not in whole parts of a penalty.
    bound: f64,
}

/// The best plan of at most `most` and of a penalty of at most `known`.
pub(super) fn best(
    network: &Network<'_>,
    (hulls, dual): (&Hulls, Dual),
    fastest: &Rest,
    (most, known): (u64, u64),
    stop: &Stop,
) -> Best {
    let menus = &network.chain.menus;
    let price = dual.best.price;
    let (bound, least) = (dual.bound, dual.best.rest.start());
    let own = costs_at(network, hulls, price);
    let mut guides = vec![Guide::new(network, dual.best, own)];
    for share in BESIDE {
        let price = price * share;
        let beside = costs_at(network, hulls, price);
        let costs: Vec<f64> = beside.iter().map(|(_, cost)| *cost).collect();
        let rest = network.rest(&costs);
        guides.push(Guide::new(network, Priced { price, rest }, beside));
    }
    let mut search = Search {
        network,
        costs: dual.costs,
        guides,
        fastest,
        most,
        known,
        found: None,
        open: vec![None; menus.len()],
        bound: dual::bound(least, price, most),
    };
    for plan in &dual.met {
        let (penalty, time) = worth(network.chain, plan);
        if time <= most && penalty <= search.known {
            search.known = penalty;
            search.found = Some(Kept {
                stages: plan.clone(),
                penalty,
                time,
                bound: 0,
            });
        }
    }
    for plan in &dual.met {
        let mut among = vec![false; menus.len()];
        for taken in plan {
            among[taken.menu] = true;
        }
        search.run(&among, MOST_OF_ONE, stop);
    }
    // Ways that a better plan has ruled out by now are not looked at again.
    search.open.fill(None);
    let is_whole = search.run(&vec![true; menus.len()], MOST_LABELS, stop);
    let bound = match (is_whole, &search.found) {
        (true, Some(found)) => found.penalty,
        (true, None) => search.known.saturating_add(1),
        (false, _) => bound,
    };
    Best {
        found: search.found,
        bound,
    }
}

impl Search<'_> {
    /// What a beginning and its way on may cost at the best price.
    fn budget(&self) -> f64 {
        let budget = self.known as f64 + self.guides[0].price * self.most as f64;
        budget * (1.0 + ROUNDING)
    }

    /// Goes through all states, with the menus that are `among`; whether it came to the end.
    fn run(&mut self, among: &[bool], most_labels: usize, stop: &Stop) -> bool {
        let network = self.network;
        let mut arriving: Vec<Vec<Label>> = Vec::new();
        arriving.resize_with(network.n_states(), Vec::new);
        let mut kept: Vec<Label> = Vec::new();
        let start = Label {
            time: 0,
            penalty: 0,
            before: u32::MAX,
            taken: Taken { menu: 0, way: 0 },
        };
        arriving[0].push(start);
        for state in 0..network.n_states() {
            let mut labels = std::mem::take(&mut arriving[state]);
            if labels.is_empty() {
                continue;
            }
            if stop.is_set() || kept.len() > most_labels {
                return false;
            }
            labels.sort_unstable_by_key(|label| (label.time, label.penalty));
            let from = kept.len();
            for label in labels {
                let betters = |last: &Label| last.penalty <= label.penalty;
                let is_bettered = kept[from..].last().is_some_and(betters);
                if !is_bettered && self.may_help(&label, state) {
                    self.complete(&label, state, &kept);
                    kept.push(label);
                }
            }
            for (run, next) in network.ways(state) {
                for menu in run.filter(|menu| among[*menu]) {
                    let to = next + network.chain.menus[menu].units.end;
                    self.extend(from..kept.len(), (menu, to), &kept, &mut arriving);
                }
            }
        }
        true
    }

    /// Every label of a state with every way of a menu that may help.
    fn extend(
        &mut self,
        labels: std::ops::Range<usize>,
        (index, to): (usize, usize),
        kept: &[Label],
        arriving: &mut [Vec<Label>],
    ) {
        let price = self.guides[0].price;
        let onward = self.costs[index] + self.guides[0].rest.costs[to];
        if !onward.is_finite() {
            return;
        }
        let chain = self.network.chain;
        let menu = &chain.menus[index];
        let is_end = self.network.is_end(to);
        for at in labels {
            let before = kept[at];
            let line = before.penalty as f64 + price * before.time as f64 + onward;
            let mut budget = self.budget();
            if line > budget {
                continue;
            }
            let open = self.take_open(index);
            for (above, way) in &open {
                if line + above > budget {
                    break;
                }
                let stored = &menu.ways[*way as usize];
                let label = Label {
                    time: before.time + menu.time(stored),
                    penalty: before.penalty.saturating_add(stored.penalty),
                    before: at as u32,
                    taken: Taken {
                        menu: index,
                        way: *way as usize,
                    },
                };
                if !self.may_help(&label, to) {
                    continue;
                }
                if is_end {
                    self.complete(&label, to, kept);
                    budget = self.budget();
                } else {
                    arriving[to].push(label);
                }
            }
            self.open[index] = Some(open);
        }
    }

    /// The ways of a menu that a plan may have, the best first.
    fn take_open(&mut self, index: usize) -> Vec<(f64, u32)> {
        if let Some(open) = self.open[index].take() {
            return open;
        }
        let menu = &self.network.chain.menus[index];
        let (price, least) = (self.guides[0].price, self.costs[index]);
        let slack = self.known as f64 - self.bound;
        let most = slack + ROUNDING * self.budget();
        let ways = menu.fitting().iter().zip(0_u32..);
        let above = ways.map(|(way, index)| {
            let cost = way.penalty as f64 + price * menu.time(way) as f64;
            (cost - least, index)
        });
        let mut open: Vec<_> = above.filter(|(above, _)| *above <= most).collect();
        open.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        open
    }

    /// Whether a beginning could become a plan that is fast enough and no worse than what is known.
    fn may_help(&self, label: &Label, state: usize) -> bool {
        let left = self.most as f64 - label.time as f64;
        if self.fastest.costs[state] > left {
            return false;
        }
        let known = self.known as f64;
        self.guides.iter().all(|guide| {
            let on = guide.rest.costs[state];
            let bound = label.penalty as f64 + on - guide.price * left;
            bound <= known + ROUNDING * (known + guide.price * self.most as f64)
        })
    }

    /// Takes the ways on of all guides, and keeps the best plan.
    fn complete(&mut self, label: &Label, state: usize, kept: &[Label]) {
        for index in 0..self.guides.len() {
            let Some(tail) = self.guides[index].tail(self.network, state) else {
                continue;
            };
            let time = label.time.saturating_add(tail.time);
            let penalty = label.penalty.saturating_add(tail.penalty);
            let is_better = match &self.found {
                Some(found) => (penalty, time) < (found.penalty, found.time),
                None => penalty <= self.known,
            };
            if time <= self.most && is_better {
                let mut stages = Vec::new();
                let mut at = *label;
                while at.before != u32::MAX {
                    stages.push(at.taken);
                    at = kept[at.before as usize];
                }
                stages.reverse();
                let mut on = tail.step;
                while let Some((taken, to)) = on {
                    stages.push(taken);
                    on = self.guides[index].tails[to].and_then(|tail| tail.step);
                }
                self.known = penalty;
                self.found = Some(Kept {
                    stages,
                    penalty,
                    time,
                    bound: 0,
                });
            }
        }
    }
}
