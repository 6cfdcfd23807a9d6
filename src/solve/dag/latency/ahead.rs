//! What is left to do at each down-set takes at least so long.
//!
//! Follow a path of the graph through a chain of down-sets. A difference of two that an accelerator
//! takes and that has operators of the path holds the path up for all that the accelerator does, and
//! what a host does for those operators alone. The least sum over all ways from a down-set to the
//! end, each difference within one memory and no more of them than accelerators are left, bounds
//! what follows once the path is through up to the down-set.

use super::Problem;
use super::bound::Outlook;
use super::pieces::Pieces;
use crate::solve::Stop;
use crate::solve::dag::Machine;
use crate::solve::dag::roster::Roster;
use crate::solve::dag::walk::Walk;

/// Paths that are followed where there are few down-sets; one where there are many.
const MOST_PATHS: usize = 4;
const FEW_SETS: usize = 3_000;

/// Sums of two numbers, at most.
const MOST_SUMS: usize = 600_000_000;

pub(super) struct Ahead {
    n_paths: usize,
    /// One more than there are accelerators.
    width: usize,
    /// By down-set: how long what waits for each open output takes at least.
    tails: Vec<Vec<u64>>,
    /// By down-set and path: how far the path is in it, and the open output it goes on from.
    places: Vec<(usize, Option<usize>)>,
    /// By down-set, path and accelerators left.
    rest: Vec<u64>,
}

impl Ahead {
    /// Of ways whose accelerators each take less than `below`; none where that takes too long.
    pub(super) fn new(
        problem: &Problem<'_>,
        (pieces, outlook): (&Pieces, &Outlook),
        below: u64,
        stop: &Stop,
    ) -> Option<Self> {
        let machine = Machine {
            kinds: problem.kinds.to_vec(),
        };
        let roster = Roster::of_counts(&machine);
        let walk = Walk::new(&pieces.graph, &machine, &pieces.sets, (&roster, &[]));
        let n_paths = match pieces.sets.len() <= FEW_SETS {
            true => MOST_PATHS,
            false => 1,
        };
        let paths = &outlook.paths[..outlook.paths.len().min(n_paths)];
        let accelerators = problem.accelerators();
        let (n_sets, n_paths, width) = (pieces.sets.len(), paths.len(), accelerators.len() + 1);
        let mut kinds = accelerators;
        kinds.dedup();
        let mut ahead = Self {
            n_paths,
            width,
            tails: Vec::new(),
            places: Vec::new(),
            rest: vec![u64::MAX; n_sets * n_paths * width],
        };
        for (open, held) in pieces.open.iter().zip(&pieces.held) {
            // All of an open output's operators have the same readers outside.
            let tail = |slot: &Vec<usize>| {
                let readers = problem.readers[slot[0]].iter();
                let outside = readers.filter(|it| !held[pieces.piece_of[**it]]);
                outside.map(|it| outlook.tails[*it]).max().unwrap_or(0)
            };
            ahead.tails.push(open.iter().map(tail).collect());
            for path in paths {
                let place = path.partition_point(|it| held[pieces.piece_of[*it]]);
                let slot_of =
                    |it: &usize| open.iter().position(|slot| slot.binary_search(it).is_ok());
                let last = place.checked_sub(1).and_then(|last| slot_of(&path[last]));
                ahead.places.push((place, last));
            }
        }
        let last = (n_sets - 1) * n_paths * width;
        ahead.rest[last..].fill(0);
        let mut stages = walk.stages(below);
        let mut sums = 0;
        for set in (0..n_sets - 1).rev() {
            if stop.is_set() || sums > MOST_SUMS {
                return None;
            }
            if let Some(host) = problem.host_kind() {
                for (_, to) in &pieces.sets.next[set] {
                    ahead.by_the_host((problem, host), paths, (set, *to));
                }
            }
            for kind in &kinds {
                for (to, load) in stages.from(set, *kind) {
                    ahead.by_an_accelerator(set, (to, load));
                    sums += n_paths * width;
                }
            }
        }
        Some(ahead)
    }

    fn by_the_host(
        &mut self,
        (problem, host): (&Problem<'_>, usize),
        paths: &[Vec<usize>],
        (set, to): (usize, usize),
    ) {
        for (index, path) in paths.iter().enumerate() {
            let (at, then) = (set * self.n_paths + index, to * self.n_paths + index);
            let added = &path[self.places[at].0..self.places[then].0];
            let works = added.iter().map(|it| problem.work(*it, host));
            let Some(work) = works.sum::<Option<u64>>() else {
                continue;
            };
            for left in 0..self.width {
                let rest = self.rest[then * self.width + left].saturating_add(work);
                let known = &mut self.rest[at * self.width + left];
                *known = rest.min(*known);
            }
        }
    }

    fn by_an_accelerator(&mut self, set: usize, (to, load): (usize, u64)) {
        for index in 0..self.n_paths {
            let (at, then) = (set * self.n_paths + index, to * self.n_paths + index);
            let load = match self.places[then].0 > self.places[at].0 {
                true => load,
                false => 0,
            };
            let (low, high) = self.rest.split_at_mut(then * self.width);
            let known = &mut low[at * self.width + 1..(at + 1) * self.width];
            for (known, rest) in known.iter_mut().zip(&high[..self.width - 1]) {
                *known = rest.saturating_add(load).min(*known);
            }
        }
    }

    /// No sample takes less, whatever the first block is.
    pub(super) fn least(&self) -> u64 {
        self.outlook(0, &[], self.width - 1)
    }

    /// Nor is an end sooner that goes on from a down-set to another on an accelerator with such a
    /// load, after which so many are left.
    pub(super) fn beyond(
        &self,
        (set, to): (usize, usize),
        load: u64,
        slots: &[u64],
        left: usize,
    ) -> u64 {
        let ends = (0..self.n_paths).map(|path| {
            let (at, then) = (set * self.n_paths + path, to * self.n_paths + path);
            let start = self.places[at].1.map_or(0, |slot| slots[slot]);
            let load = match self.places[then].0 > self.places[at].0 {
                true => load,
                false => 0,
            };
            (start + load).saturating_add(self.rest[then * self.width + left])
        });
        ends.max().unwrap_or(0).max(load)
    }

    /// No end of a way that is at a down-set is sooner, with its open outputs at these times and so
    /// many accelerators left.
    pub(super) fn outlook(&self, set: usize, slots: &[u64], left: usize) -> u64 {
        let tails = slots.iter().zip(&self.tails[set]);
        let tails = tails.map(|(time, tail)| time + tail);
        let paths = set * self.n_paths..(set + 1) * self.n_paths;
        let rests = paths.map(|at| {
            let start = self.places[at].1.map_or(0, |slot| slots[slot]);
            start.saturating_add(self.rest[at * self.width + left])
        });
        tails.chain(rests).max().unwrap_or(0)
    }
}
