//! The best pipeline: stages that are differences of down-sets, exact.
//!
//! For a limit T, states are pairs of a down-set and the hosts used, with the fewest accelerators
//! that get there while no stage takes longer than T; a depth-first walk over the lattice lists the
//! stages of a state. A state is dropped where even the area of what remains, `Σ work`, exceeds
//! `T·(accelerators left + ρ·hosts left)`. A walk that fails names the least limit at which it would
//! have seen more, so limits are halved towards each other until both sides agree.

use super::downsets::DownSets;
use super::leaves::without_leaves;
use super::{Device, Graph, Machine, Partition, Parts, area_bound, host_rate, shares};
use crate::units::{Bytes, Seconds};

/// More down-sets than these are not listed.
const MOST_DOWN_SETS: usize = 150_000;

/// What is taken for equal: the share by which sums of the same times in another order can differ.
const CLOSE: f64 = 1e-10;

/// The pipeline with the smallest largest load; none where memory allows none.
///
/// Exact where the order has at most 150,000 down-sets. Beyond it is the best along one order of the
/// items, with the area as bound.
pub fn contiguous(graph: &Graph, machine: &Machine) -> Option<Partition> {
    let (small, place_of) = without_leaves(graph, machine);
    let (best, proof) = match DownSets::all(&small, MOST_DOWN_SETS) {
        Some(sets) => {
            let best = Search::new(&small, machine, &sets).best()?;
            (best, "dynamic program over all down-sets")
        }
        None => {
            let sets = DownSets::of_one_order(&small);
            let (parts, _) = Search::new(&small, machine, &sets).best()?;
            ((parts, area_bound(graph, machine)), "area bound")
        }
    };
    let (mut parts, bound) = best;
    for (_, part) in &mut parts {
        let of_part = |item: &usize| part.contains(&place_of[*item]);
        *part = (0..place_of.len()).filter(of_part).collect();
    }
    let load = graph.largest_load(machine, &parts)?;
    let closed = load.0 - bound <= 10.0 * CLOSE * load.0;
    Some(Partition {
        parts,
        load,
        bound: if closed { load } else { Seconds(bound) },
        proof,
    })
}

struct Search<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    sets: &'a DownSets,
    /// Work of the items outside each down-set that an accelerator can take.
    left: Vec<f64>,
    host_rate: f64,
}

/// How a state was reached: from which down-set and host count, on what.
#[derive(Clone, Copy)]
struct Step {
    used: usize,
    from: (usize, usize),
    device: Device,
}

/// What a walk under one limit ends with: a pipeline, or the least limit at which more can be seen.
enum Walked {
    Pipeline(Parts, f64),
    Blocked(f64),
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph, machine: &'a Machine, sets: &'a DownSets) -> Self {
        let work = |item: usize| graph.items[item].work.map_or(0.0, |work| work.0);
        let held = sets.sums(work);
        let all = held.last().copied().unwrap_or(0.0);
        Self {
            graph,
            machine,
            sets,
            left: held.iter().map(|held| all - held).collect(),
            host_rate: host_rate(graph),
        }
    }

    /// The best pipeline of these down-sets and what bounds them all.
    fn best(&self) -> Option<(Parts, f64)> {
        let mut low = area_bound(self.graph, self.machine);
        let mut step = 0.002;
        let (mut parts, mut high) = loop {
            match self.walk(low * (1.0 + step)) {
                Walked::Pipeline(parts, load) => break (parts, load),
                Walked::Blocked(next) if next.is_finite() => low = low.max(next),
                Walked::Blocked(_) => return None,
            }
            step *= 2.0;
        };
        while high - low > CLOSE * high {
            match self.walk(0.5 * (low + high)) {
                Walked::Pipeline(better, load) => (parts, high) = (better, load),
                Walked::Blocked(next) => low = next.min(high),
            }
        }
        Some((parts, low))
    }

    fn walk(&self, limit: f64) -> Walked {
        let (n_sets, hosts) = (self.sets.len(), self.machine.hosts);
        let mut states: Vec<Option<Step>> = vec![None; n_sets * (hosts + 1)];
        states[0] = Some(Step {
            used: 0,
            from: (0, 0),
            device: Device::Host,
        });
        let mut stages = Stages::new(self, limit);
        for set in 0..n_sets {
            let mut fewest = usize::MAX;
            for hosted in 0..=hosts {
                let Some(state) = states[set * (hosts + 1) + hosted] else {
                    continue;
                };
                if state.used >= fewest {
                    continue;
                }
                fewest = state.used;
                let accelerator = (state.used + 1, hosted, Device::Accelerator);
                let host = (state.used, hosted + 1, Device::Host);
                for (used, hosts_used, device) in [accelerator, host] {
                    if used > self.machine.accelerators || hosts_used > hosts {
                        continue;
                    }
                    let rest = shares(
                        self.machine.accelerators - used,
                        hosts - hosts_used,
                        self.host_rate,
                    );
                    let step = Step {
                        used,
                        from: (set, hosted),
                        device,
                    };
                    stages.list(set, device, |end, blocked| {
                        let left = self.left[end];
                        // Rounding must not block what a limit of exactly this area allows.
                        if left > 1e-9 && left > limit * rest * (1.0 + CLOSE) {
                            *blocked = blocked.min(left / rest);
                            return;
                        }
                        let state = &mut states[end * (hosts + 1) + hosts_used];
                        if state.is_none_or(|known| used < known.used) {
                            *state = Some(step);
                        }
                    });
                }
            }
        }
        let ends =
            (0..=hosts).filter(|hosted| states[(n_sets - 1) * (hosts + 1) + hosted].is_some());
        match ends.min() {
            Some(hosted) => self.trace(&states, hosted),
            None => Walked::Blocked(stages.blocked),
        }
    }

    /// The stages that lead to the whole graph.
    fn trace(&self, states: &[Option<Step>], hosted: usize) -> Walked {
        let mut parts = Vec::new();
        let mut at = (self.sets.len() - 1, hosted);
        while at.0 > 0 {
            let Some(step) = states[at.0 * (self.machine.hosts + 1) + at.1] else {
                break;
            };
            let before = self.sets.items(step.from.0);
            let mut part = self.sets.items(at.0);
            part.retain(|item| before.binary_search(item).is_err());
            parts.push((step.device, part));
            at = step.from;
        }
        parts.reverse();
        let loads = parts
            .iter()
            .map(|(device, part)| self.graph.load(self.machine, *device, part));
        let most = loads.flatten().map(|load| load.0).fold(0.0, f64::max);
        Walked::Pipeline(parts, most)
    }
}

/// Lists the stages that begin at a down-set and end within the limit.
struct Stages<'a> {
    search: &'a Search<'a>,
    limit: f64,
    /// The least load or area that was turned away.
    blocked: f64,
    /// Which call has seen a down-set last.
    seen: Vec<usize>,
    calls: usize,
    /// How many members of each transfer the stage holds.
    held: Vec<usize>,
}

/// A stage as it grows.
#[derive(Clone, Copy)]
struct Stage {
    end: usize,
    work: f64,
    crossing: f64,
    bytes: Bytes,
}

impl<'a> Stages<'a> {
    fn new(search: &'a Search<'a>, limit: f64) -> Self {
        Self {
            search,
            limit,
            blocked: f64::INFINITY,
            seen: vec![0; search.sets.len()],
            calls: 0,
            held: vec![0; search.graph.transfers.len()],
        }
    }

    fn list(&mut self, start: usize, device: Device, mut take: impl FnMut(usize, &mut f64)) {
        self.calls += 1;
        let stage = Stage {
            end: start,
            work: 0.0,
            crossing: 0.0,
            bytes: Bytes(0),
        };
        self.grow(stage, device, &mut take);
    }

    fn grow(&mut self, stage: Stage, device: Device, take: &mut impl FnMut(usize, &mut f64)) {
        let graph = self.search.graph;
        for (item, end) in &self.search.sets.next[stage.end] {
            if self.seen[*end] == self.calls {
                continue;
            }
            self.seen[*end] = self.calls;
            let added = &graph.items[*item];
            let work = match device {
                Device::Host => added.host_work,
                Device::Accelerator => match added.work {
                    Some(work) => work,
                    None => continue,
                },
            };
            let mut longer = Stage {
                end: *end,
                work: stage.work + work.0,
                ..stage
            };
            if longer.work > self.limit {
                self.blocked = self.blocked.min(longer.work);
                continue;
            }
            if device == Device::Accelerator {
                longer.bytes = stage.bytes + added.bytes;
                if longer.bytes > self.search.machine.memory {
                    continue;
                }
                for transfer in &graph.touching[*item] {
                    let (held, it) = (&mut self.held[*transfer], &graph.transfers[*transfer]);
                    *held += 1;
                    if *held == 1 && it.members.len() > 1 {
                        longer.crossing += it.time.0;
                    } else if *held == it.members.len() && *held > 1 {
                        longer.crossing -= it.time.0;
                    }
                }
            }
            let load = longer.work + longer.crossing;
            if load > self.limit {
                self.blocked = self.blocked.min(load);
            } else {
                take(*end, &mut self.blocked);
            }
            self.grow(longer, device, take);
            if device == Device::Accelerator {
                for transfer in &graph.touching[*item] {
                    self.held[*transfer] -= 1;
                }
            }
        }
    }
}
