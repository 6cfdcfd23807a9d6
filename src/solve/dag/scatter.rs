//! Any item anywhere: simulated annealing from a pipeline, with what bounds all placements.
//!
//! Annealing moves one item, or one and a few that it exchanges transfers with, to another device,
//! and now and then one back. Its energy is the p-norm of the loads, which tends to the largest load as p grows from 8 to 64.
//! The generator of random numbers has a fixed seed, and steps are counted, not seconds: the same
//! graph gives the same answer.

use super::count::{self, Counted};
use super::{Graph, Machine, Partition, Parts, Ticks, area, force};
use crate::solve::Stop;
use crate::solve::random::Random;
use crate::units::Bytes;

/// Moves tried in one run: so many for each item, and never more than the second number.
const STEPS: [usize; 2] = [20_000, 2_000_000];

/// The temperatures that the runs begin with, as shares of the start's load. Tried on graphs of 32
/// to 418 items.
const HEATS: [f64; 9] = [0.02, 0.005, 0.002, 0.02, 0.005, 0.002, 0.01, 0.01, 0.003];

/// How many of the runs begin with the start.
const N_APART: u64 = 5;

/// More counts of members, over transfers and devices, are not kept: then the start is the answer.
const MOST_COUNTS: usize = 16_000_000;

/// More pairs of items that share a transfer are not listed.
const MOST_PAIRS: usize = 4_000_000;

/// A way to place the items without asking for contiguity, no worse than `start`.
///
/// None where `start` is no way to place them.
pub fn scattered(
    graph: &Graph,
    machine: &Machine,
    start: &[(usize, Vec<usize>)],
    stop: &Stop,
) -> Option<Partition> {
    let known = graph.largest_load(machine, start)?;
    if let Counted::Out(better) = count::out(graph, machine, known.0, stop) {
        let parts = better.unwrap_or_else(|| start.to_vec());
        let load = graph.largest_load(machine, &parts)?;
        return Some(Partition {
            parts,
            load,
            bound: load,
            proof: "search of all placements",
        });
    }
    let steps = STEPS[1].min(STEPS[0] * graph.items.len());
    in_steps(graph, machine, start, (steps, stop))
}

pub(super) fn in_steps(
    graph: &Graph,
    machine: &Machine,
    start: &[(usize, Vec<usize>)],
    (steps, stop): (usize, &Stop),
) -> Option<Partition> {
    let mut load = graph.largest_load(machine, start)?;
    let mut parts = start.to_vec();
    let (area, prices) = area::bound(graph, machine);
    let (bound, proof) = force::bound(graph, machine, &prices, [area, load.0], stop);
    let devices: usize = machine.kinds.iter().map(|kind| kind.count).sum();
    let pairs = graph.transfers.iter().map(|it| it.members.len().pow(2));
    let is_small = graph.transfers.len().saturating_mul(devices) <= MOST_COUNTS
        && pairs.sum::<usize>() <= MOST_PAIRS;
    for (seed, heat) in (1..).zip(HEATS).filter(|_| is_small) {
        if load.0 <= bound {
            break;
        }
        // The first runs are apart, the later ones go on from the best of them.
        let from = match seed <= N_APART {
            true => start,
            false => &parts,
        };
        let found = State::new(graph, machine, from).anneal(Random(seed), heat, (steps, stop));
        if let Some(other) = graph.largest_load(machine, &found)
            && other < load
        {
            (parts, load) = (found, other);
        }
    }
    Some(Partition {
        parts,
        load,
        bound: Ticks(bound.min(load.0)),
        proof,
    })
}

struct State<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    /// Devices are numbered kind by kind.
    device_of: Vec<usize>,
    kind_of: Vec<usize>,
    /// By kind: the time of each transfer.
    crossings: Vec<Vec<u64>>,
    /// How many members of a transfer a device holds: `held[transfer · devices + device]`.
    held: Vec<usize>,
    load: Vec<u64>,
    bytes: Vec<Bytes>,
    /// Items that share a transfer with each item.
    near: Vec<Vec<usize>>,
}

impl<'a> State<'a> {
    fn new(graph: &'a Graph, machine: &'a Machine, start: &[(usize, Vec<usize>)]) -> Self {
        let kinds = machine.kinds.iter().enumerate();
        let kind_of: Vec<usize> = kinds
            .flat_map(|(index, kind)| vec![index; kind.count])
            .collect();
        let mut free: Vec<usize> = (0..machine.kinds.len())
            .map(|kind| kind_of.partition_point(|other| *other < kind))
            .collect();
        let mut device_of = vec![0; graph.items.len()];
        for (kind, part) in start {
            let free = &mut free[*kind];
            for item in part {
                device_of[*item] = *free;
            }
            *free += 1;
        }
        let n_devices = kind_of.len();
        let mut near = vec![Vec::new(); graph.items.len()];
        for transfer in &graph.transfers {
            for item in &transfer.members {
                near[*item].extend(transfer.members.iter().filter(|it| *it != item));
            }
        }
        let mut state = Self {
            graph,
            machine,
            held: vec![0; graph.transfers.len() * n_devices],
            load: vec![0; n_devices],
            bytes: vec![Bytes(0); n_devices],
            crossings: machine.kinds.iter().map(|it| graph.crossings(it)).collect(),
            device_of,
            kind_of,
            near,
        };
        for item in 0..graph.items.len() {
            state.put(item, state.device_of[item]);
        }
        state
    }

    fn takes(&self, item: usize, device: usize) -> bool {
        let item = &self.graph.items[item];
        let kind = self.kind_of[device];
        item.work[kind].is_some()
            && self.bytes[device] + item.bytes <= self.machine.kinds[kind].memory
    }

    fn put(&mut self, item: usize, device: usize) {
        self.device_of[item] = device;
        let (graph, kind) = (self.graph, self.kind_of[device]);
        let it = &graph.items[item];
        self.load[device] += it.work[kind].map_or(0, |work| work.0);
        self.bytes[device] += it.bytes;
        for transfer in &graph.touching[item] {
            let held = &mut self.held[transfer * self.load.len() + device];
            *held += 1;
            let members = graph.transfers[*transfer].members.len();
            if *held == 1 && members > 1 {
                self.load[device] += self.crossings[kind][*transfer];
            } else if *held == members && members > 1 {
                self.load[device] -= self.crossings[kind][*transfer];
            }
        }
    }

    fn take(&mut self, item: usize) {
        let device = self.device_of[item];
        let (graph, kind) = (self.graph, self.kind_of[device]);
        let it = &graph.items[item];
        self.load[device] -= it.work[kind].map_or(0, |work| work.0);
        self.bytes[device] = self.bytes[device].saturating_sub(it.bytes);
        for transfer in &graph.touching[item] {
            let held = &mut self.held[transfer * self.load.len() + device];
            *held -= 1;
            let members = graph.transfers[*transfer].members.len();
            if *held == 0 && members > 1 {
                self.load[device] -= self.crossings[kind][*transfer];
            } else if *held + 1 == members && members > 1 {
                self.load[device] += self.crossings[kind][*transfer];
            }
        }
    }

    fn energy(&self, scale: f64, power: i32) -> f64 {
        let sum: f64 = self
            .load
            .iter()
            .map(|load| (*load as f64 / scale).powi(power))
            .sum();
        sum.powf(1.0 / f64::from(power))
    }

    fn largest(&self) -> u64 {
        self.load.iter().copied().max().unwrap_or(0)
    }

    fn anneal(mut self, mut random: Random, heat: f64, (steps, stop): (usize, &Stop)) -> Parts {
        let scale = self.largest().max(1) as f64;
        let mut best = (self.largest(), self.device_of.clone());
        let (n_items, n_devices) = (self.graph.items.len(), self.load.len());
        for step in 0..steps {
            if n_items == 0 || n_devices < 2 || step % 1_024 == 0 && stop.is_set() {
                break;
            }
            let progress = step as f64 / steps as f64;
            let power = 8 << ((4.0 * progress) as i32).min(3);
            let temperature = heat * (1.0 - progress).powi(2);
            let to = random.below(n_devices);
            let mut moved: Vec<(usize, usize)> = Vec::new();
            let before = self.energy(scale, power);
            let mut item = random.below(n_items);
            let from = self.device_of[item];
            let reach = [6, 6, 6, 40][random.below(4)];
            for _ in 0..=random.below(reach) {
                if self.device_of[item] != to && self.takes(item, to) {
                    moved.push((item, self.device_of[item]));
                    self.take(item);
                    self.put(item, to);
                }
                if self.near[item].is_empty() {
                    break;
                }
                item = self.near[item][random.below(self.near[item].len())];
            }
            // In a third of the moves something goes back in exchange.
            let back = random.below(3 * n_items);
            if back < n_items && self.device_of[back] == to && self.takes(back, from) {
                moved.push((back, to));
                self.take(back);
                self.put(back, from);
            }
            let rise = self.energy(scale, power) - before;
            if rise > 0.0 && random.unit() >= (-rise / temperature.max(1e-9)).exp() {
                for (item, from) in moved.into_iter().rev() {
                    self.take(item);
                    self.put(item, from);
                }
            } else if self.largest() < best.0 {
                best = (self.largest(), self.device_of.clone());
            }
        }
        let mut parts: Parts = self.kind_of.iter().map(|it| (*it, Vec::new())).collect();
        for (item, device) in best.1.into_iter().enumerate() {
            parts[device].1.push(item);
        }
        parts.retain(|(_, part)| !part.is_empty());
        parts
    }
}
