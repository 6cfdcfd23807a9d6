//! What bounds every placement, contiguous or not: work and memory at prices.
//!
//! Give a device of kind k a price `π_k ≥ 0` a unit of time and `μ_k ≥ 0` a byte. A device that is
//! busy for T at most sells for `π_k·T + μ_k·M_k` or less, and whoever has item i pays
//! `π_k·w_ik + μ_k·b_i`. So `T·Σ n_k·π_k + Σ n_k·μ_k·M_k ≥ Σ_i min_k (π_k·w_ik + μ_k·b_i)`, whatever
//! the prices: the dual of the placement in fractions. Good prices come from a fixed number of steps
//! along the subgradient; the bound is then computed from them anew.

use super::{Graph, Machine};

/// Steps towards good prices.
const STEPS: usize = 400;

/// More items than these times kinds get fewer steps.
const STEP_WORK: usize = 40_000_000;

/// What sums of rounded numbers are trusted to.
const ROUNDING: f64 = 1e-9;

/// Prices of the kinds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prices {
    /// Of a tick.
    pub(super) time: Vec<f64>,
    /// Of a byte.
    byte: Vec<f64>,
}

impl Prices {
    /// What an item sells for at least; none where nothing can run it.
    fn of(&self, graph: &Graph, machine: &Machine, item: usize) -> Option<(f64, usize)> {
        let it = &graph.items[item];
        let offers = it.work.iter().enumerate().filter_map(|(kind, work)| {
            if machine.kinds[kind].count == 0 {
                return None;
            }
            let price = work.as_ref()?.0 as f64 * self.time[kind];
            Some((price + self.byte[kind] * it.bytes.0 as f64, kind))
        });
        offers.min_by(|one, other| one.0.total_cmp(&other.0))
    }

    /// The least of an item's prices by time alone: for graphs of which a part is done.
    pub(super) fn work(&self, graph: &Graph, item: usize) -> f64 {
        let works = graph.items[item].work.iter().zip(&self.time);
        let offers = works.filter_map(|(work, price)| Some(work.as_ref()?.0 as f64 * price));
        offers.reduce(f64::min).unwrap_or(0.0)
    }

    /// The bound that these prices prove.
    fn bound(&self, graph: &Graph, machine: &Machine) -> f64 {
        let sold = (0..graph.items.len()).filter_map(|item| self.of(graph, machine, item));
        let sold: f64 = sold.map(|(price, _)| price).sum();
        let (time, memory) = self.stock(machine);
        match time > 0.0 {
            true => (sold * (1.0 - ROUNDING) - memory * (1.0 + ROUNDING)) / time,
            false => 0.0,
        }
    }

    /// What a tick of all devices and all their memory cost.
    fn stock(&self, machine: &Machine) -> (f64, f64) {
        let kinds = machine.kinds.iter().zip(self.time.iter().zip(&self.byte));
        kinds.fold((0.0, 0.0), |(time, memory), (kind, (tick, byte))| {
            let count = kind.count as f64;
            (
                time + count * tick,
                memory + count * byte * kind.memory.0 as f64,
            )
        })
    }
}

/// The largest bound found, with the prices that prove it: area, and the largest item.
pub(super) fn bound(graph: &Graph, machine: &Machine) -> (u64, Vec<Prices>) {
    let kinds = machine.kinds.len();
    let mut candidates: Vec<Prices> = (0..kinds).map(|kind| by_rate(graph, kind)).collect();
    let value = |prices: &Prices| prices.bound(graph, machine);
    let best = candidates
        .iter()
        .cloned()
        .max_by(|one, other| value(one).total_cmp(&value(other)));
    let Some(best) = best else {
        return (0, Vec::new());
    };
    let better = climb(graph, machine, best);
    let area = value(&better).max(0.0) * (1.0 - ROUNDING);
    candidates.truncate(2);
    candidates.insert(0, better);
    let area = area.ceil() as u64;
    (area.max(largest_item(graph, machine)), candidates)
}

/// No device does less than the item that takes longest where it is quickest.
fn largest_item(graph: &Graph, machine: &Machine) -> u64 {
    let quickest = graph.items.iter().filter_map(|item| {
        let on = item.work.iter().zip(&machine.kinds);
        let on = on.filter(|(_, kind)| kind.count > 0 && item.bytes <= kind.memory);
        on.filter_map(|(work, _)| *work).min()
    });
    quickest.max().map_or(0, |most| most.0)
}

/// Prices at which no item is cheaper than on kind `of`: a second of a faster device costs as much
/// more as it can be faster.
fn by_rate(graph: &Graph, of: usize) -> Prices {
    let kinds = graph.items.first().map_or(0, |item| item.work.len());
    let rate = |kind: usize| {
        let rates = graph.items.iter().filter_map(|item| {
            let (here, there) = (item.work[of]?.0 as f64, item.work[kind]?.0 as f64);
            (here > 0.0 && there > 0.0).then_some(here / there)
        });
        rates.fold(0.0, f64::max)
    };
    Prices {
        time: (0..kinds)
            .map(|kind| if kind == of { 1.0 } else { rate(kind) })
            .collect(),
        byte: vec![0.0; kinds],
    }
}

/// Steps along the subgradient, in units in which a tick and a byte of each kind weigh alike.
fn climb(graph: &Graph, machine: &Machine, start: Prices) -> Prices {
    let (n_items, kinds) = (graph.items.len(), machine.kinds.len());
    let steps = STEPS.min(STEP_WORK / (n_items * kinds).max(1));
    let mut best = (start.bound(graph, machine), start.clone());
    let mut at = start;
    let all: f64 = graph.items.iter().map(|item| item.bytes.0 as f64).sum();
    for step in 0..steps {
        let target = best.0.max(1.0);
        // How much of its time and memory each kind is asked for.
        let mut asked = vec![[0.0_f64; 2]; kinds];
        for item in 0..n_items {
            if let Some((_, kind)) = at.of(graph, machine, item) {
                let work = graph.items[item].work[kind].map_or(0, |work| work.0);
                asked[kind][0] += work as f64;
                asked[kind][1] += graph.items[item].bytes.0 as f64;
            }
        }
        let pace = 0.5 / (1.0 + 0.1 * step as f64);
        let most = at.time.iter().copied().fold(0.0, f64::max);
        for (kind, it) in machine.kinds.iter().enumerate() {
            let count = it.count as f64;
            if count == 0.0 {
                continue;
            }
            let over = |asked: f64, stock: f64| (asked / stock.max(1.0) - 1.0).clamp(-1.0, 1.0);
            let time = over(asked[kind][0], count * target);
            at.time[kind] = at.time[kind].max(most * 1e-6) * (1.0 + pace * time);
            if it.memory.0 as f64 >= all {
                continue;
            }
            let room = count * it.memory.0 as f64;
            let byte = over(asked[kind][1], room);
            // What all its memory costs, as a share of what all its time costs.
            let unit = most * target * count / room.max(1.0);
            at.byte[kind] = (at.byte[kind] + pace * 0.3 * byte * unit).max(0.0);
        }
        let value = at.bound(graph, machine);
        if value > best.0 {
            best = (value, at.clone());
        }
    }
    best.1
}
