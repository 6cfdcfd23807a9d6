//! Any item anywhere, counted out: items are placed one after the other, and a beginning is left as
//! soon as no way to go on is better than what is known. For small graphs; steps are counted, not
//! seconds, so that the same graph gives the same answer.

use super::{Graph, Machine, Parts};
use crate::solve::Stop;
use crate::units::Bytes;

/// Graphs of more items are not counted out.
const MOST_ITEMS: usize = 32;

/// Beginnings that are looked at.
const MOST_STEPS: u64 = 8_000_000;

/// What counting ends with.
pub(super) enum Counted {
    /// No way has a smaller largest load than this one, or than what was known where there is none.
    Out(Option<Parts>),
    /// There are too many ways.
    TooMany,
}

/// Looks for a largest load below `known` that no way has less of.
pub(super) fn out(graph: &Graph, machine: &Machine, known: u64, stop: &Stop) -> Counted {
    if graph.items.len() > MOST_ITEMS {
        return Counted::TooMany;
    }
    let kinds = machine.kinds.iter().enumerate();
    let kind_of: Vec<usize> = kinds
        .flat_map(|(index, kind)| vec![index; kind.count.min(graph.items.len())])
        .collect();
    let least = |item: usize| graph.items[item].work.iter().flatten().min();
    let least: Vec<u64> = (0..graph.items.len())
        .map(|item| least(item).map_or(0, |work| work.0))
        .collect();
    // The longest first, so that loads are soon too large.
    let mut order: Vec<usize> = (0..graph.items.len()).collect();
    order.sort_by_key(|item| std::cmp::Reverse(least[*item]));
    let mut rest = vec![0; order.len() + 1];
    for (index, item) in order.iter().enumerate().rev() {
        rest[index] = rest[index + 1] + least[*item];
    }
    let n_devices = kind_of.len();
    let mut count = Count {
        graph,
        machine,
        crossings: machine.kinds.iter().map(|it| graph.crossings(it)).collect(),
        order,
        rest,
        device_of: vec![0; graph.items.len()],
        items: vec![0; n_devices],
        load: vec![0; n_devices],
        bytes: vec![Bytes::ZERO; n_devices],
        held: vec![vec![0; n_devices]; graph.transfers.len()],
        placed: vec![0; graph.transfers.len()],
        kind_of,
        best: (known, None),
        steps: 0,
    };
    match count.from(0, stop) {
        true => Counted::Out(count.best.1.map(|found| parts(&count.kind_of, &found))),
        false => Counted::TooMany,
    }
}

fn parts(kind_of: &[usize], device_of: &[usize]) -> Parts {
    let mut parts: Parts = kind_of.iter().map(|kind| (*kind, Vec::new())).collect();
    for (item, device) in device_of.iter().enumerate() {
        parts[*device].1.push(item);
    }
    parts.retain(|(_, part)| !part.is_empty());
    parts
}

/// A beginning: some items are on devices, which are numbered kind by kind.
struct Count<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    kind_of: Vec<usize>,
    /// By kind: the time of each transfer.
    crossings: Vec<Vec<u64>>,
    order: Vec<usize>,
    /// The least work of the items behind each place of the order.
    rest: Vec<u64>,
    device_of: Vec<usize>,
    /// By device: items, what is certain of the load, and memory.
    items: Vec<usize>,
    load: Vec<u64>,
    bytes: Vec<Bytes>,
    /// By transfer: its members on each device, and on any.
    held: Vec<Vec<usize>>,
    placed: Vec<usize>,
    best: (u64, Option<Vec<usize>>),
    steps: u64,
}

impl Count<'_> {
    /// Goes through all ways to place the items from `at` on; false where that is not ended.
    fn from(&mut self, at: usize, stop: &Stop) -> bool {
        self.steps += 1;
        if self.steps > MOST_STEPS || (self.steps.is_multiple_of(4096) && stop.is_set()) {
            return false;
        }
        let Some(item) = self.order.get(at).copied() else {
            let most = self.load.iter().copied().max().unwrap_or(0);
            if most < self.best.0 {
                self.best = (most, Some(self.device_of.clone()));
            }
            return true;
        };
        let mut is_tried: Vec<usize> = Vec::new();
        let mut devices: Vec<usize> = (0..self.kind_of.len()).collect();
        devices.sort_by_key(|device| {
            let work = self.graph.items[item].work[self.kind_of[*device]];
            self.load[*device].saturating_add(work.map_or(u64::MAX, |work| work.0))
        });
        for device in devices {
            let kind = self.kind_of[device];
            let it = &self.graph.items[item];
            let fits = self.bytes[device] + it.bytes <= self.machine.kinds[kind].memory;
            // Devices of a kind that have nothing yet are one.
            let is_empty = self.items[device] == 0;
            if it.work[kind].is_none() || !fits || (is_empty && is_tried.contains(&kind)) {
                continue;
            }
            if is_empty {
                is_tried.push(kind);
            }
            let before = self.load.clone();
            self.put(item, device);
            let is_open = self.may_be_better(at + 1);
            let is_ended = !is_open || self.from(at + 1, stop);
            self.take(item, device);
            self.load = before;
            if !is_ended {
                return false;
            }
        }
        true
    }

    /// Whether a way on may have a smaller largest load than the best one.
    fn may_be_better(&self, at: usize) -> bool {
        let most = self.load.iter().copied().max().unwrap_or(0);
        let all = u128::from(self.rest[at])
            + self.load.iter().map(|load| u128::from(*load)).sum::<u128>();
        // All devices below the best hold no more than this in all.
        let room = u128::from(self.best.0.saturating_sub(1)) * self.load.len() as u128;
        most < self.best.0 && all <= room
    }

    fn put(&mut self, item: usize, device: usize) {
        let graph = self.graph;
        let it = &graph.items[item];
        self.device_of[item] = device;
        self.items[device] += 1;
        self.bytes[device] += it.bytes;
        self.load[device] += it.work[self.kind_of[device]].map_or(0, |work| work.0);
        for transfer in &graph.touching[item] {
            let held = &mut self.held[*transfer];
            let is_split = |held: usize, placed: usize| held > 0 && held < placed;
            let placed = self.placed[*transfer];
            for (other, load) in self.load.iter_mut().enumerate() {
                let now = held[other] + usize::from(other == device);
                // What crosses a border is never taken back by an item that follows.
                if is_split(now, placed + 1) && !is_split(held[other], placed) {
                    *load += self.crossings[self.kind_of[other]][*transfer];
                }
            }
            held[device] += 1;
            self.placed[*transfer] += 1;
        }
    }

    /// Takes back all of [`put`](Self::put) but the loads.
    fn take(&mut self, item: usize, device: usize) {
        let it = &self.graph.items[item];
        self.items[device] -= 1;
        self.bytes[device] = self.bytes[device].saturating_sub(it.bytes);
        for transfer in &self.graph.touching[item] {
            self.held[*transfer][device] -= 1;
            self.placed[*transfer] -= 1;
        }
    }
}
