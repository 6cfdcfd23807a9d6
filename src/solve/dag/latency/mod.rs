//! How soon one sample is through: the time from its start to the end of its last operator.
//!
//! The latency problem of Tarnawski et al., NeurIPS 2020, with one sub-graph on each accelerator. A
//! host has as many processors as there are operators: each runs as soon as all that it reads is
//! there. An accelerator begins when all that its operators read from outside is there, takes those
//! outputs in, runs all its operators one after the other, and gives out what others read; only then
//! do they have it. An output crosses a border once, however many read it.
//!
//! Here are the problem and the value of an answer; `search.rs` finds answers. `lattice.rs` goes over
//! chains of down-sets of `pieces.rs`, held back by `ahead.rs`; `bound.rs` knows what no answer falls
//! below where they are too many, and `count.rs` counts small graphs out.

mod ahead;
mod bound;
mod count;
mod lattice;
mod pieces;
mod search;
mod ways;

use std::collections::BTreeMap;

use super::{GraphError, Kind, Machine, Operator, Ticks, Wire};
use crate::solve::Stop;
use crate::units::Bytes;

/// Operators and the devices that they can be on.
pub struct Problem<'a> {
    operators: &'a [Operator],
    kinds: &'a [Kind],
    host: Host,
    /// For each operator those that it reads, and those that read it.
    reads: Vec<Vec<usize>>,
    readers: Vec<Vec<usize>>,
    /// Time of each operator's output over a border where a kind's `crossing` is 1.
    output: Vec<u64>,
    /// The operators of each group, and the group of each operator.
    groups: Vec<Vec<usize>>,
    group_of: Vec<usize>,
    /// The operators, each after those that it reads.
    sorted: Vec<usize>,
}

/// Whether there is a host, and which kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// All is on accelerators.
    Absent,
    /// The kind of this number, whose count says nothing.
    Kind(usize),
}

/// Where an operator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spot {
    /// On the host.
    Host,
    /// On the accelerator of this number, counted kind by kind.
    Accelerator(usize),
}

/// The best way that was found and what is known of all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Where each operator is.
    pub spots: Vec<Spot>,
    /// When the last one ends.
    pub latency: Ticks,
    /// None ends sooner.
    pub bound: Ticks,
    /// How that is known.
    pub proof: &'static str,
}

impl<'a> Problem<'a> {
    /// Checks what the rest relies on.
    ///
    /// # Errors
    /// Where a wire names an operator that is not there, times are too large, or wires form a cycle.
    pub fn new(
        operators: &'a [Operator],
        wires: &[Wire],
        machine: &'a Machine,
        host: Host,
    ) -> Result<Self, GraphError> {
        let items = operators.iter().map(|it| it.item.clone()).collect();
        let order = wires.iter().map(|wire| (wire.from, wire.to)).collect();
        let sorted = super::Graph::new(items, order, Vec::new())?.sorted();
        let mut reads = vec![Vec::new(); operators.len()];
        let mut readers = reads.clone();
        let mut output = vec![0; operators.len()];
        for wire in wires {
            reads[wire.to].push(wire.from);
            readers[wire.from].push(wire.to);
            output[wire.from] = wire.time.0;
        }
        for list in reads.iter_mut().chain(&mut readers) {
            list.sort_unstable();
            list.dedup();
        }
        if output.iter().map(|time| u128::from(*time)).sum::<u128>() > u128::from(super::LONGEST) {
            return Err(GraphError::TooLong);
        }
        let mut by_group: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, operator) in operators.iter().enumerate() {
            by_group.entry(operator.group).or_default().push(index);
        }
        let groups: Vec<Vec<usize>> = by_group.into_values().collect();
        let mut group_of = vec![0; operators.len()];
        for (group, members) in groups.iter().enumerate() {
            members.iter().for_each(|member| group_of[*member] = group);
        }
        Ok(Self {
            operators,
            kinds: &machine.kinds,
            host,
            reads,
            readers,
            output,
            groups,
            group_of,
            sorted,
        })
    }

    /// The kind of each accelerator.
    fn accelerators(&self) -> Vec<usize> {
        let kinds = self.kinds.iter().enumerate();
        let kinds = kinds.filter(|(kind, _)| self.host != Host::Kind(*kind));
        kinds.flat_map(|(kind, it)| vec![kind; it.count]).collect()
    }

    fn host_kind(&self) -> Option<usize> {
        match self.host {
            Host::Absent => None,
            Host::Kind(kind) => Some(kind),
        }
    }

    fn work(&self, operator: usize, kind: usize) -> Option<u64> {
        self.operators[operator].item.work[kind].map(|work| work.0)
    }

    /// Time of an operator's output over the border of a device of this kind.
    fn crossing(&self, operator: usize, kind: usize) -> u64 {
        let share = self.kinds[kind].crossing.clamp(0.0, 1.0);
        (self.output[operator] as f64 * share).round() as u64
    }

    /// Whether groups are together, everything runs where it is, and memory suffices.
    fn fits(&self, spots: &[Spot]) -> bool {
        let accelerators = self.accelerators();
        let mut bytes: BTreeMap<Spot, Bytes> = BTreeMap::new();
        let runs = spots.iter().enumerate().all(|(operator, spot)| {
            *bytes.entry(*spot).or_default() += self.operators[operator].item.bytes;
            let kind = match spot {
                Spot::Host => self.host_kind(),
                Spot::Accelerator(number) => accelerators.get(*number).copied(),
            };
            kind.is_some_and(|kind| self.work(operator, kind).is_some())
        });
        let together = self.groups.iter().all(|group| {
            let spot = group.first().map(|first| spots[*first]);
            group.iter().all(|member| Some(spots[*member]) == spot)
        });
        runs && together
            && bytes.iter().all(|(spot, bytes)| {
                let kind = match spot {
                    Spot::Host => self.host_kind(),
                    Spot::Accelerator(number) => accelerators.get(*number).copied(),
                };
                kind.is_some_and(|kind| *bytes <= self.kinds[kind].memory)
            })
    }

    /// When the last operator ends, added up from the operators; none where something does not fit,
    /// or accelerators wait for each other.
    pub fn latency(&self, spots: &[Spot]) -> Option<Ticks> {
        if spots.len() != self.operators.len() || !self.fits(spots) {
            return None;
        }
        let accelerators = self.accelerators();
        let ends = Clock::new(self, &accelerators).ends(spots)?;
        Some(Ticks(ends.into_iter().max().unwrap_or(0)))
    }
}

/// The best way that is found; none where nothing was found that fits.
pub fn soonest(problem: &Problem<'_>, stop: &Stop) -> Option<Schedule> {
    search::best(problem, stop)
}

/// Runs answers on a clock. Blocks are accelerators, and single operators on the host.
struct Clock<'a> {
    problem: &'a Problem<'a>,
    accelerators: &'a [usize],
}

impl<'a> Clock<'a> {
    fn new(problem: &'a Problem<'a>, accelerators: &'a [usize]) -> Self {
        Self {
            problem,
            accelerators,
        }
    }

    /// When each block ends, accelerators first; none where they wait for each other.
    fn ends(&self, spots: &[Spot]) -> Option<Vec<u64>> {
        let problem = self.problem;
        let (n_accelerators, n) = (self.accelerators.len(), spots.len());
        let block = |operator: usize| match spots[operator] {
            Spot::Accelerator(number) => number,
            Spot::Host => n_accelerators + operator,
        };
        let host = problem.host_kind().unwrap_or(0);
        let mut takes = vec![0_u64; n_accelerators + n];
        for (operator, spot) in spots.iter().enumerate() {
            let own = block(operator);
            let kind = match spot {
                Spot::Accelerator(number) => self.accelerators[*number],
                Spot::Host => host,
            };
            takes[own] += problem.work(operator, kind)?;
            // The accelerators that read this output from outside, each once.
            let mut outside = Vec::new();
            for reader in &problem.readers[operator] {
                let other = block(*reader);
                if other != own {
                    if other < n_accelerators && !outside.contains(&other) {
                        outside.push(other);
                        takes[other] += problem.crossing(operator, self.accelerators[other]);
                    }
                    if own < n_accelerators && outside.last() != Some(&usize::MAX) {
                        outside.push(usize::MAX);
                    }
                }
            }
            if own < n_accelerators && outside.contains(&usize::MAX) {
                takes[own] += problem.crossing(operator, kind);
            }
        }
        let blocks = Blocks {
            problem,
            of: (0..n).map(block).collect(),
            takes,
        };
        let start = blocks.starts()?;
        let ends = start.iter().zip(&blocks.takes);
        Some(ends.map(|(start, takes)| start + takes).collect())
    }
}

/// Blocks of operators: each begins when all has ended that its operators read in other blocks.
struct Blocks<'a> {
    problem: &'a Problem<'a>,
    /// The block of each operator.
    of: Vec<usize>,
    takes: Vec<u64>,
}

impl Blocks<'_> {
    /// When each begins; none where they wait for each other.
    fn starts(&self) -> Option<Vec<u64>> {
        let readers = &self.problem.readers;
        let n_blocks = self.takes.len();
        let mut start = vec![0_u64; n_blocks];
        let mut waits = vec![0_usize; n_blocks];
        // The last operator of each block, and of each operator the one before it in its block.
        let mut last = vec![None; n_blocks];
        let mut before = vec![None; self.of.len()];
        for (operator, own) in self.of.iter().enumerate() {
            before[operator] = last[*own].replace(operator);
            for reader in &readers[operator] {
                let other = self.of[*reader];
                waits[other] += usize::from(other != *own);
            }
        }
        let is_ready = |own: &usize| last[*own].is_some() && waits[*own] == 0;
        let mut ready: Vec<usize> = (0..n_blocks).filter(is_ready).collect();
        let mut left = last.iter().flatten().count();
        while let Some(own) = ready.pop() {
            left -= 1;
            let end = start[own] + self.takes[own];
            let members = std::iter::successors(last[own], |operator| before[*operator]);
            for reader in members.flat_map(|operator| &readers[operator]) {
                let other = self.of[*reader];
                if other != own {
                    start[other] = start[other].max(end);
                    waits[other] -= 1;
                    if waits[other] == 0 {
                        ready.push(other);
                    }
                }
            }
        }
        (left == 0).then_some(start)
    }
}

#[cfg(test)]
mod tests;
