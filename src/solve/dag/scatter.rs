//! Any item anywhere: simulated annealing from a pipeline, with a bound.
//!
//! Annealing moves one item, or one and a few that it exchanges transfers with, to another device,
//! and now and then one back. Its energy is the p-norm of the loads, which tends to the largest load as p grows from 8 to 64.
//! The generator of random numbers has a fixed seed, and steps are counted, not seconds: the same
//! graph gives the same answer.

use super::{Device, Graph, Machine, Partition, Parts, area_bound};
use crate::solve::random::Random;
use crate::units::{Bytes, Seconds};

/// Moves tried in one run: so many for each item, and never more than the second number.
const STEPS: [usize; 2] = [20_000, 2_000_000];

/// The temperatures that the runs begin with, as shares of the start's load. Tried on graphs of 32
/// to 418 items.
const HEATS: [f64; 6] = [0.02, 0.005, 0.002, 0.02, 0.005, 0.002];

/// A way to place the items without asking for contiguity, no worse than `start`.
///
/// None where `start` is no way to place them.
pub fn scattered(
    graph: &Graph,
    machine: &Machine,
    start: &[(Device, Vec<usize>)],
) -> Option<Partition> {
    let steps = STEPS[1].min(STEPS[0] * graph.items.len());
    in_steps(graph, machine, start, steps)
}

pub(super) fn in_steps(
    graph: &Graph,
    machine: &Machine,
    start: &[(Device, Vec<usize>)],
    steps: usize,
) -> Option<Partition> {
    let mut load = graph.largest_load(machine, start)?;
    let mut parts = start.to_vec();
    for (seed, heat) in (1..).zip(HEATS) {
        let found = State::new(graph, machine, start).anneal(Random(seed), heat, steps);
        if let Some(other) = graph.largest_load(machine, &found)
            && other.0 < load.0
        {
            (parts, load) = (found, other);
        }
    }
    let bound = area_bound(graph, machine).min(load.0);
    Some(Partition {
        parts,
        load,
        bound: Seconds(bound),
        proof: "area bound",
    })
}

struct State<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    /// Accelerators first, then hosts.
    device_of: Vec<usize>,
    /// How many members of a transfer a device holds: `held[transfer · devices + device]`.
    held: Vec<usize>,
    load: Vec<f64>,
    bytes: Vec<Bytes>,
    /// Items that share a transfer with each item.
    near: Vec<Vec<usize>>,
}

impl<'a> State<'a> {
    fn new(graph: &'a Graph, machine: &'a Machine, start: &[(Device, Vec<usize>)]) -> Self {
        let n_devices = machine.accelerators + machine.hosts;
        let mut free = [0, machine.accelerators];
        let mut device_of = vec![0; graph.items.len()];
        for (device, part) in start {
            let free = &mut free[usize::from(*device == Device::Host)];
            for item in part {
                device_of[*item] = *free;
            }
            *free += 1;
        }
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
            load: vec![0.0; n_devices],
            bytes: vec![Bytes(0); n_devices],
            device_of,
            near,
        };
        for item in 0..graph.items.len() {
            state.put(item, state.device_of[item]);
        }
        state
    }

    fn is_host(&self, device: usize) -> bool {
        device >= self.machine.accelerators
    }

    fn takes(&self, item: usize, device: usize) -> bool {
        let item = &self.graph.items[item];
        self.is_host(device)
            || item.work.is_some() && self.bytes[device] + item.bytes <= self.machine.memory
    }

    fn put(&mut self, item: usize, device: usize) {
        self.device_of[item] = device;
        let graph = self.graph;
        let it = &graph.items[item];
        if self.is_host(device) {
            self.load[device] += it.host_work.0;
            return;
        }
        self.load[device] += it.work.map_or(0.0, |work| work.0);
        self.bytes[device] += it.bytes;
        for transfer in &graph.touching[item] {
            let held = &mut self.held[transfer * self.load.len() + device];
            *held += 1;
            let transfer = &graph.transfers[*transfer];
            if transfer.members.len() == 1 {
                continue;
            }
            if *held == 1 {
                self.load[device] += transfer.time.0;
            } else if *held == transfer.members.len() {
                self.load[device] -= transfer.time.0;
            }
        }
    }

    fn take(&mut self, item: usize) {
        let device = self.device_of[item];
        let graph = self.graph;
        let it = &graph.items[item];
        if self.is_host(device) {
            self.load[device] -= it.host_work.0;
            return;
        }
        self.load[device] -= it.work.map_or(0.0, |work| work.0);
        self.bytes[device] = self.bytes[device].saturating_sub(it.bytes);
        for transfer in &graph.touching[item] {
            let held = &mut self.held[transfer * self.load.len() + device];
            *held -= 1;
            let transfer = &graph.transfers[*transfer];
            if transfer.members.len() == 1 {
                continue;
            }
            if *held == 0 {
                self.load[device] -= transfer.time.0;
            } else if *held + 1 == transfer.members.len() {
                self.load[device] += transfer.time.0;
            }
        }
    }

    fn energy(&self, scale: f64, power: i32) -> f64 {
        let sum: f64 = self
            .load
            .iter()
            .map(|load| (load / scale).powi(power))
            .sum();
        sum.powf(1.0 / f64::from(power))
    }

    fn largest(&self) -> f64 {
        self.load.iter().copied().fold(0.0, f64::max)
    }

    fn anneal(mut self, mut random: Random, heat: f64, steps: usize) -> Parts {
        let scale = self.largest().max(f64::MIN_POSITIVE);
        let mut best = (self.largest(), self.device_of.clone());
        let (n_items, n_devices) = (self.graph.items.len(), self.load.len());
        for step in 0..steps {
            if n_items == 0 || n_devices < 2 {
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
        let parts = (0..n_devices).map(|device| {
            let kind = if self.is_host(device) {
                Device::Host
            } else {
                Device::Accelerator
            };
            let part = (0..n_items)
                .filter(|item| best.1[*item] == device)
                .collect::<Vec<_>>();
            (kind, part)
        });
        parts.filter(|(_, part)| !part.is_empty()).collect()
    }
}
