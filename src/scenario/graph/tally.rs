//! What a placement adds up to, from the graph and the rig alone: no solver's sums are used.

use std::collections::BTreeSet;

use super::{Aim, GraphQuestion, OperatorGraph, Spots, kinds};
use crate::hardware::Rig;
use crate::plan::CPU;
use crate::solve::dag::Ticks;
use crate::units::Bytes;

/// What each place of the rig is busy with, the host last.
pub(super) struct Tally {
    pub(super) spots: Spots,
    pub(super) devices: Vec<Sum>,
}

/// What one place has.
#[derive(Clone, Default)]
pub(super) struct Sum {
    pub(super) nodes: usize,
    pub(super) memory: Bytes,
    /// None where something does not run there.
    pub(super) work: Option<u64>,
    pub(super) transfers: u64,
}

impl Sum {
    pub(super) fn load(&self) -> Ticks {
        Ticks(self.work.unwrap_or(0) + self.transfers)
    }
}

/// Adds up what is where.
pub(super) fn add_up(graph: &OperatorGraph, rig: &Rig, spots: &Spots) -> Tally {
    let nothing = Sum {
        work: Some(0),
        ..Sum::default()
    };
    let mut devices = vec![nothing; rig.devices().len() + 1];
    for (node, place) in graph.nodes().iter().zip(spots) {
        let sum = &mut devices[*place];
        let work = kinds::work(node, rig, *place).map(|time| kinds::ticks(time).0);
        sum.nodes += 1;
        sum.memory += node.memory;
        sum.work = sum.work.zip(work).map(|(sum, work)| sum + work);
    }
    // An output crosses the border of its maker's device once, and of each reader's device once.
    let mut crossed = BTreeSet::new();
    for edge in graph.edges() {
        let (from, to) = (spots[edge.from], spots[edge.to]);
        for place in [from, to] {
            if from != to
                && crossed.insert((edge.from, place))
                && let Some(device) = rig.devices().get(place)
            {
                devices[place].transfers += kinds::crossing(edge.size, device).0;
            }
        }
    }
    Tally {
        spots: spots.clone(),
        devices,
    }
}

impl Tally {
    /// What the placement is worth, if it keeps every rule.
    pub(super) fn check(&self, question: &GraphQuestion) -> Result<Ticks, String> {
        let rig = &question.rig;
        for (place, sum) in self.devices.iter().enumerate() {
            let name = rig.devices().get(place).map_or(CPU, |it| it.name.as_str());
            let room = match rig.devices().get(place) {
                Some(device) => device.capacity(),
                None => rig.host().map_or(Bytes::ZERO, |host| host.capacity()),
            };
            if sum.memory > room {
                return Err(format!("{} on `{name}`, which has {room}", sum.memory));
            }
            if sum.work.is_none() || (sum.nodes > 0 && name == CPU && rig.host().is_none()) {
                return Err(format!("something on `{name}` does not run there"));
            }
        }
        let mut together = std::collections::BTreeMap::new();
        for (node, place) in question.graph.nodes().iter().zip(&self.spots) {
            if let Some(group) = &node.together
                && *together.entry(group).or_insert(*place) != *place
            {
                return Err(format!("`{group}` is not together"));
            }
        }
        match question.aim {
            Aim::ScatteredThroughput => Ok(self.largest()),
            Aim::Throughput => {
                let none_waits = |_: usize| 0;
                self.ends(&question.graph, Blocks::Places, none_waits)
                    .map(|_| self.largest())
                    .ok_or_else(|| "the devices form no pipeline".to_owned())
            }
            Aim::Latency => {
                let host = rig.devices().len();
                let time = |block: usize| match block.checked_sub(host) {
                    None => self.devices[block].load().0,
                    Some(node) => {
                        let node = &question.graph.nodes()[node];
                        kinds::work(node, rig, host).map_or(0, |time| kinds::ticks(time).0)
                    }
                };
                self.ends(&question.graph, Blocks::Latency, time)
                    .map(Ticks)
                    .ok_or_else(|| "devices wait for each other".to_owned())
            }
        }
    }

    pub(super) fn largest(&self) -> Ticks {
        let loads = self.devices.iter().map(Sum::load);
        loads.max().unwrap_or(Ticks(0))
    }

    /// When the last block ends; none where they wait for each other in a circle.
    fn ends(
        &self,
        graph: &OperatorGraph,
        blocks: Blocks,
        time: impl Fn(usize) -> u64,
    ) -> Option<u64> {
        let host = self.devices.len() - 1;
        let block = |node: usize| match (blocks, self.spots[node]) {
            (Blocks::Latency, place) if place == host => host + node,
            (Blocks::Latency | Blocks::Places, place) => place,
        };
        let n_blocks = self.devices.len() + self.spots.len();
        let pairs = graph
            .edges()
            .iter()
            .map(|it| (block(it.from), block(it.to)));
        let pairs: BTreeSet<(usize, usize)> = pairs.filter(|(from, to)| from != to).collect();
        let mut waits = vec![0_usize; n_blocks];
        pairs.iter().for_each(|(_, to)| waits[*to] += 1);
        let is_there: BTreeSet<usize> = (0..self.spots.len()).map(block).collect();
        let mut ready: Vec<usize> = is_there
            .iter()
            .copied()
            .filter(|block| waits[*block] == 0)
            .collect();
        let mut start = vec![0_u64; n_blocks];
        let (mut done, mut last) = (0, 0);
        while let Some(block) = ready.pop() {
            done += 1;
            let end = start[block] + time(block);
            last = last.max(end);
            for (_, to) in pairs.range((block, 0)..(block + 1, 0)) {
                start[*to] = start[*to].max(end);
                waits[*to] -= 1;
                if waits[*to] == 0 {
                    ready.push(*to);
                }
            }
        }
        (done == is_there.len()).then_some(last)
    }
}

/// What runs as one.
#[derive(Clone, Copy)]
enum Blocks {
    /// Each place of the rig.
    Places,
    /// Each device; operators on the host one by one.
    Latency,
}
