//! Whether a pipeline exists under a limit.
//!
//! States are a down-set and what devices are used to get there while no stage takes longer than
//! the limit; a depth-first walk over the lattice lists the stages of a down-set. A state is dropped
//! where even the area of what remains exceeds what the devices that are left sell for. A walk that
//! fails names the least limit at which it would have seen more.

use super::area::Prices;
use super::downsets::DownSets;
use super::roster::{Move, Roster};
use super::{Graph, LONGEST, Machine, Parts};
use crate::solve::Stop;
use crate::units::Bytes;

/// How a state was reached: from which down-set and state, on what.
#[derive(Clone, Copy)]
struct Step {
    used: u32,
    own: u32,
    set: u32,
    kind: u32,
}

/// What a walk under one limit ends with: a pipeline, or the least limit at which more can be seen.
pub(super) enum Walked {
    Pipeline(Parts, u64),
    Blocked(u64),
    Stopped,
}

pub(super) struct Walk<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    sets: &'a DownSets,
    roster: &'a Roster,
    /// By prices: what the items outside each down-set sell for, and the prices.
    left: Vec<(Vec<f64>, &'a [f64])>,
    /// By kind: the time of each transfer.
    crossings: Vec<Vec<u64>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        machine: &'a Machine,
        sets: &'a DownSets,
        (roster, prices): (&'a Roster, &'a [Prices]),
    ) -> Self {
        let left = prices.iter().map(|prices| {
            let held = sets.sums(|item| prices.work(graph, item));
            let all = held.last().copied().unwrap_or(0.0);
            // Rounding must not drop what fits exactly.
            let left = held.iter().map(|held| (all - held) - 1e-9 * all);
            (left.collect(), prices.time.as_slice())
        });
        Self {
            left: left.collect(),
            crossings: machine.kinds.iter().map(|it| graph.crossings(it)).collect(),
            graph,
            machine,
            sets,
            roster,
        }
    }

    /// All stages with a load under a limit.
    pub(super) fn stages(&'a self, below: u64) -> Stages<'a> {
        Stages::new(self, below.saturating_sub(1).min(LONGEST))
    }

    pub(super) fn under(&self, limit: u64, stop: &Stop) -> Walked {
        let (n_sets, width) = (self.sets.len(), self.roster.width());
        let mut states: Vec<Option<Step>> = vec![None; n_sets * width];
        states[0] = Some(Step {
            used: 0,
            own: 0,
            set: 0,
            kind: 0,
        });
        let mut stages = Stages::new(self, limit);
        for set in 0..n_sets {
            if stop.is_set() {
                return Walked::Stopped;
            }
            let mut least = vec![u32::MAX; width];
            let mut moves: Vec<Vec<(Move, usize)>> = vec![Vec::new(); self.machine.kinds.len()];
            for own in 0..width {
                let before = self.roster.before(own);
                let known = before.into_iter().map(|other| least[other]).min();
                let known = known.unwrap_or(u32::MAX);
                least[own] = known;
                if let Some(state) = states[set * width + own]
                    && state.used < known
                {
                    least[own] = state.used;
                    for next in self.roster.moves(own, state.used as usize) {
                        moves[next.kind].push((next, own));
                    }
                }
            }
            for (kind, moves) in moves.iter().enumerate().filter(|(_, it)| !it.is_empty()) {
                let rests = |(next, _): &(Move, usize)| {
                    let prices = self.left.iter();
                    let rests = prices.map(|(_, time)| self.roster.rest(next.own, next.used, time));
                    rests.collect()
                };
                let rests: Vec<Vec<f64>> = moves.iter().map(rests).collect();
                stages.list(set, kind, |end, _, blocked| {
                    for ((next, own), rests) in moves.iter().zip(&rests) {
                        let lacking = self.lacking(end, rests, limit);
                        if lacking > limit {
                            *blocked = lacking.min(*blocked);
                            continue;
                        }
                        let state = &mut states[end * width + next.own];
                        if state.is_none_or(|known| (next.used as u32) < known.used) {
                            *state = Some(Step {
                                used: next.used as u32,
                                own: *own as u32,
                                set: set as u32,
                                kind: kind as u32,
                            });
                        }
                    }
                });
            }
        }
        let ends = (0..width).find(|own| states[(n_sets - 1) * width + own].is_some());
        match ends {
            Some(own) => self.trace(&states, own),
            None => Walked::Blocked(stages.blocked),
        }
    }

    /// A limit below which the devices that are left cannot do what is left; more than this one, or
    /// nought.
    fn lacking(&self, end: usize, rests: &[f64], limit: u64) -> u64 {
        let needed = self.left.iter().zip(rests).map(|((left, _), rest)| {
            let enough = left[end] <= limit as f64 * rest * (1.0 + 1e-9);
            match enough {
                true => 0,
                // The cast gives the largest number where nothing is left to do it.
                false => ((left[end] / rest * (1.0 - 2e-9)) as u64).max(limit + 1),
            }
        });
        needed.max().unwrap_or(0)
    }

    /// The stages that lead to the whole graph.
    fn trace(&self, states: &[Option<Step>], own: usize) -> Walked {
        let width = self.roster.width();
        let mut parts = Vec::new();
        let mut at = (self.sets.len() - 1, own);
        while at.0 > 0 {
            let Some(step) = states[at.0 * width + at.1] else {
                break;
            };
            let before = self.sets.items(step.set as usize);
            let mut part = self.sets.items(at.0);
            part.retain(|item| before.binary_search(item).is_err());
            parts.push((step.kind as usize, part));
            at = (step.set as usize, step.own as usize);
        }
        parts.reverse();
        let loads = parts
            .iter()
            .map(|(kind, part)| self.graph.load(self.machine, *kind, part));
        let most = loads.flatten().map(|load| load.0).max().unwrap_or(0);
        Walked::Pipeline(parts, most)
    }
}

/// Lists the stages that begin at a down-set and end within the limit.
pub(super) struct Stages<'a> {
    walk: &'a Walk<'a>,
    limit: u64,
    /// The least load or area that was turned away.
    blocked: u64,
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
    work: u64,
    crossing: u64,
    bytes: Bytes,
}

impl<'a> Stages<'a> {
    fn new(walk: &'a Walk<'a>, limit: u64) -> Self {
        Self {
            walk,
            limit,
            blocked: u64::MAX,
            seen: vec![0; walk.sets.len()],
            calls: 0,
            held: vec![0; walk.graph.transfers.len()],
        }
    }

    /// The stages that begin at a down-set, on a device of this kind: where they end, and their load.
    pub(super) fn from(&mut self, start: usize, kind: usize) -> Vec<(usize, u64)> {
        let mut found = Vec::new();
        self.list(start, kind, |end, load, _| found.push((end, load)));
        found
    }

    fn list(&mut self, start: usize, kind: usize, mut take: impl FnMut(usize, u64, &mut u64)) {
        self.calls += 1;
        let stage = Stage {
            end: start,
            work: 0,
            crossing: 0,
            bytes: Bytes(0),
        };
        self.grow(stage, kind, &mut take);
    }

    fn grow(&mut self, stage: Stage, kind: usize, take: &mut impl FnMut(usize, u64, &mut u64)) {
        let walk = self.walk;
        for (item, end) in &walk.sets.next[stage.end] {
            if self.seen[*end] == self.calls {
                continue;
            }
            self.seen[*end] = self.calls;
            let added = &walk.graph.items[*item];
            let Some(work) = added.work[kind] else {
                continue;
            };
            let mut longer = Stage {
                end: *end,
                work: stage.work + work.0,
                bytes: stage.bytes + added.bytes,
                ..stage
            };
            if longer.work > self.limit {
                self.blocked = self.blocked.min(longer.work);
                continue;
            }
            if longer.bytes > walk.machine.kinds[kind].memory {
                continue;
            }
            for transfer in &walk.graph.touching[*item] {
                let held = &mut self.held[*transfer];
                let members = walk.graph.transfers[*transfer].members.len();
                *held += 1;
                if *held == 1 && members > 1 {
                    longer.crossing += walk.crossings[kind][*transfer];
                } else if *held == members && members > 1 {
                    longer.crossing -= walk.crossings[kind][*transfer];
                }
            }
            let load = longer.work + longer.crossing;
            if load > self.limit {
                self.blocked = self.blocked.min(load);
            } else {
                take(*end, load, &mut self.blocked);
            }
            self.grow(longer, kind, take);
            for transfer in &walk.graph.touching[*item] {
                self.held[*transfer] -= 1;
            }
        }
    }
}
