//! What bounds every placement, contiguous or not: what a limit forces.
//!
//! Suppose that no device is busy for longer than T. Take an item v on a device of kind k. Whatever
//! output the device would have no time left to move over its border must have all its members
//! there; those bring their work, and more outputs. The set grows until nothing more is forced. If
//! it takes longer than T, or more memory than there is, v is on no device of kind k, and every output
//! that v has a part in crosses the border of each device of kind k that has another part of it. If
//! an item can be nowhere, or what is left of the kinds is too little by area, T is out of reach. The
//! largest T that is refuted so, found by halving, is the bound. The idea of refuting guesses of the
//! bottleneck is that of Archer et al., ICML 2024 ("Practical performance guarantees").

use super::area::Prices;
use super::{Graph, Machine};
use crate::solve::Stop;

/// Rounds in which kinds are ruled out for items.
const ROUNDS: usize = 8;

/// More items times kinds than these are not tried.
const MOST_TRIED: usize = 20_000;

/// Steps that one set may grow, over all its outputs and members.
const MOST_GROWTH: usize = 20_000;

/// The bound between `low`, which is known, and `high`, which is reached; and what proves it.
pub(super) fn bound(
    graph: &Graph,
    machine: &Machine,
    prices: &[Prices],
    [low, high]: [u64; 2],
    stop: &Stop,
) -> (u64, &'static str) {
    let area = "prices of kinds";
    let kinds = machine.kinds.len();
    if graph.items.len() * kinds > MOST_TRIED {
        return (low.min(high), area);
    }
    let tried = Tried {
        graph,
        machine,
        prices,
        crossings: machine.kinds.iter().map(|it| graph.crossings(it)).collect(),
        stop,
    };
    // Refuted up to `refuted`, not refuted at `open`.
    let (mut refuted, mut open) = (low.saturating_sub(1), high);
    while open - refuted.min(open) > (open / 100_000).max(1) && !stop.is_set() {
        let middle = refuted + (open - refuted) / 2;
        match tried.refutes(middle) {
            true => refuted = middle,
            false => open = middle,
        }
    }
    match refuted + 1 > low {
        true => ((refuted + 1).min(high), "what a limit forces"),
        false => (low.min(high), area),
    }
}

struct Tried<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    prices: &'a [Prices],
    /// By kind: the time of each transfer.
    crossings: Vec<Vec<u64>>,
    stop: &'a Stop,
}

impl Tried<'_> {
    /// Whether no placement has all loads within this limit.
    fn refutes(&self, limit: u64) -> bool {
        let (n_items, kinds) = (self.graph.items.len(), self.machine.kinds.len());
        let mut may = vec![true; n_items * kinds];
        for _ in 0..ROUNDS {
            let mut changed = false;
            for item in 0..n_items {
                for kind in 0..kinds {
                    let at = item * kinds + kind;
                    if !may[at] {
                        continue;
                    }
                    if self.stop.is_set() {
                        return false;
                    }
                    if self.grown(item, kind, limit, &may).is_none() {
                        may[at] = false;
                        changed = true;
                    }
                }
                if may[item * kinds..(item + 1) * kinds].iter().all(|may| !may) {
                    return true;
                }
            }
            if self.lacks_area(limit, &may) {
                return true;
            }
            if !changed {
                break;
            }
        }
        false
    }

    /// A load that a device of this kind that has the item has at least; none where that exceeds the
    /// limit.
    fn grown(&self, item: usize, kind: usize, limit: u64, may: &[bool]) -> Option<u64> {
        let device = &self.machine.kinds[kind];
        if device.count == 0 {
            return None;
        }
        let kinds = self.machine.kinds.len();
        let mut part = vec![item];
        let mut has = std::collections::BTreeSet::from([item]);
        let (mut load, mut bytes) = (0_u64, crate::units::Bytes(0));
        let (mut open, mut cut) = (std::collections::BTreeSet::new(), Vec::new());
        let mut steps = 0;
        let mut next = 0;
        loop {
            while let Some(item) = part.get(next).copied() {
                next += 1;
                if !may[item * kinds + kind] {
                    return None;
                }
                load += self.graph.items[item].work[kind]?.0;
                bytes += self.graph.items[item].bytes;
                for transfer in &self.graph.touching[item] {
                    let members = &self.graph.transfers[*transfer].members;
                    if members.len() < 2 || cut.contains(transfer) || !open.insert(*transfer) {
                        continue;
                    }
                    steps += members.len();
                    // An output of which a part can't be here is cut for certain.
                    if members.iter().any(|other| !may[other * kinds + kind]) {
                        open.remove(transfer);
                        cut.push(*transfer);
                        load += self.crossings[kind][*transfer];
                    }
                }
                if load > limit || bytes > device.memory {
                    return None;
                }
            }
            if steps > MOST_GROWTH {
                return Some(load);
            }
            let pulled = open
                .iter()
                .find(|it| load + self.crossings[kind][**it] > limit)
                .copied();
            let Some(pulled) = pulled else {
                return Some(load);
            };
            open.remove(&pulled);
            steps += open.len();
            // It stays whole: what it would cost is not counted, and its members are.
            cut.push(pulled);
            for other in &self.graph.transfers[pulled].members {
                if has.insert(*other) {
                    part.push(*other);
                }
            }
        }
    }

    /// Whether the items cost more than all devices sell for, each on the kinds that it may be on.
    fn lacks_area(&self, limit: u64, may: &[bool]) -> bool {
        let kinds = self.machine.kinds.len();
        self.prices.iter().any(|prices| {
            let items = self.graph.items.iter().enumerate();
            let sold: f64 = items
                .filter_map(|(item, it)| {
                    let offers = (0..kinds).filter(|kind| may[item * kinds + kind]);
                    let offers =
                        offers.filter_map(|kind| Some(it.work[kind]?.0 as f64 * prices.time[kind]));
                    offers.reduce(f64::min)
                })
                .sum();
            let stock = self.machine.kinds.iter().zip(&prices.time);
            let stock: f64 = stock.map(|(kind, price)| kind.count as f64 * price).sum();
            sold * (1.0 - 1e-9) > stock * limit as f64 * (1.0 + 1e-9)
        })
    }
}
