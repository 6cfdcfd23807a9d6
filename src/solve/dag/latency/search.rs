//! Ways to run a sample soon: along single orders of the operators, over all down-sets, and by
//! simulated annealing.
//!
//! `lattice.rs` goes over chains of down-sets, first of single orders, then of all where they are not
//! too many. Where that does not prove its answer, annealing moves groups, which its clock values
//! exactly, and the down-sets are gone over once more. Random numbers are seeded and steps are
//! counted: the same problem gives the same answer unless it is stopped.

use super::ahead::Ahead;
use super::bound::Outlook;
use super::count::{self, Counted};
use super::lattice::{self, Reach};
use super::pieces::Pieces;
use super::{Clock, Problem, Schedule, Spot};
use crate::solve::Stop;
use crate::solve::dag::Ticks;
use crate::solve::random::Random;
use crate::units::Bytes;

/// Operators valued in one run of annealing, and the most moves, in all and for each operator.
const VALUED: usize = 60_000_000;
const MOVES: usize = 120_000;
const MOVES_EACH: usize = 2_000;

/// Temperatures that runs begin with, as shares of the start's latency.
const HEATS: [f64; 6] = [0.03, 0.01, 0.003, 0.03, 0.01, 0.003];

/// Ways that are kept at one down-set: along single orders, and over all before and after annealing.
const WAYS_ALONG: usize = 2;
const WAYS: usize = 8;
const MORE_WAYS: usize = 256;

/// How far above their bound ways are sought, as shares of it, until some are found.
const SLACKS: [f64; 6] = [0.0, 0.002, 0.01, 0.05, 0.25, 1e6];

/// Pieces are joined until there are no more down-sets than these, first and after annealing.
const FEW_SETS: usize = 6_000;
const MANY_SETS: usize = 20_000;

/// Steps of a search over down-sets.
const STEPS: usize = 4_000_000;

/// The best way found, and what no way is sooner than.
pub(super) fn best(problem: &Problem<'_>, stop: &Stop) -> Option<Schedule> {
    let wires: usize = problem.reads.iter().map(Vec::len).sum();
    let n = problem.operators.len();
    let moves = MOVES.min(MOVES_EACH * n).min(VALUED / (n + wires).max(1));
    best_in(problem, moves, stop)
}

pub(super) fn best_in(problem: &Problem<'_>, moves: usize, stop: &Stop) -> Option<Schedule> {
    let accelerators = problem.accelerators();
    let outlook = Outlook::new(problem, stop);
    let mut best = Best {
        problem,
        soonest: None,
        bound: outlook.least,
        is_of_all_sets: false,
    };
    best.take(vec![Spot::Host; problem.operators.len()]);
    let few = Pieces::of_groups(problem, FEW_SETS, stop);
    let is_whole = few.as_ref().is_some_and(|pieces| pieces.are_all);
    for order in orders(problem) {
        if !is_whole || best.soonest.is_none() {
            best.walk_along(&order, &outlook, stop);
        }
    }
    if let Some(pieces) = &few {
        best.walk(pieces, &outlook, WAYS, stop);
    }
    best.anneal(&accelerators, moves, stop);
    if let Some(pieces) = &few {
        best.walk(pieces, &outlook, MORE_WAYS, stop);
    }
    if !is_whole
        && !best.is_proven()
        && let Some(pieces) = Pieces::of_groups(problem, MANY_SETS, stop)
    {
        best.walk(&pieces, &outlook, MORE_WAYS, stop);
    }
    let is_counted = best.count_out(&outlook, stop);
    let proof = match (best.is_of_all_sets, best.is_proven()) {
        (_, true) if is_counted => "counting out",
        (true, true) => "dynamic program over all down-sets",
        (true, false) => "dynamic program over all down-sets, not finished",
        (false, _) => "best runs on accelerators along a path",
    };
    let (spots, latency) = best.soonest?;
    Some(Schedule {
        spots,
        latency: Ticks(latency),
        bound: Ticks(best.bound.min(latency)),
        proof,
    })
}

/// The best so far.
struct Best<'a> {
    problem: &'a Problem<'a>,
    soonest: Option<(Vec<Spot>, u64)>,
    bound: u64,
    /// Whether that is known of all down-sets, and not of a path.
    is_of_all_sets: bool,
}

impl Best<'_> {
    fn latency(&self) -> u64 {
        self.soonest
            .as_ref()
            .map_or(u64::MAX, |(_, latency)| *latency)
    }

    fn is_proven(&self) -> bool {
        self.latency() <= self.bound
    }

    fn take(&mut self, spots: Vec<Spot>) {
        if let Some(latency) = self.problem.latency(&spots)
            && latency.0 < self.latency()
        {
            self.soonest = Some((spots, latency.0));
        }
    }

    /// Looks for something sooner along one order of the operators.
    fn walk_along(&mut self, order: &[usize], outlook: &Outlook, stop: &Stop) {
        let pieces = Pieces::along(self.problem, order);
        self.walk(&pieces, outlook, WAYS_ALONG, stop);
    }

    /// Looks for something sooner over chains of down-sets: not far from what bounds them first.
    fn walk(&mut self, pieces: &Pieces, outlook: &Outlook, ways: usize, stop: &Stop) {
        if self.is_proven() {
            return;
        }
        let whole = (pieces, outlook);
        let Some(ahead) = Ahead::new(self.problem, whole, self.latency(), stop) else {
            return;
        };
        for slack in SLACKS {
            let least = ahead.least();
            let limit = least.saturating_add((least as f64 * slack) as u64);
            let reach = Reach {
                below: limit.saturating_add(1).min(self.latency()),
                ways,
                steps: STEPS,
            };
            let found = lattice::soonest(self.problem, (pieces, &ahead), reach, stop);
            if pieces.are_all && found.bound > self.bound {
                self.bound = found.bound;
                self.is_of_all_sets = true;
            }
            let is_cut = found.bound < reach.below;
            if let Some((mut spots, _)) = found.soonest {
                together(self.problem, &mut spots);
                self.take(spots);
                return;
            }
            if is_cut || reach.below >= self.latency() || stop.is_set() {
                return;
            }
        }
    }

    /// Whether every way was looked at, so that none is sooner than what is known now.
    fn count_out(&mut self, outlook: &Outlook, stop: &Stop) -> bool {
        if self.is_proven() {
            return false;
        }
        let (found, is_out) = match count::out(self.problem, &outlook.tails, self.latency(), stop) {
            Counted::Out(found) => (found, true),
            Counted::TooMany(found) => (found, false),
        };
        found.into_iter().for_each(|spots| self.take(spots));
        if is_out {
            self.bound = self.latency();
        }
        is_out
    }

    fn anneal(&mut self, accelerators: &[usize], moves: usize, stop: &Stop) {
        if self.is_proven() {
            return;
        }
        for (seed, heat) in (1..).zip(HEATS) {
            // Later runs begin at the best so far.
            let Some((from, _)) = self.soonest.clone() else {
                return;
            };
            let annealing = Annealing::new(self.problem, accelerators, from);
            self.take(annealing.run((Random(seed), heat), moves, stop));
        }
    }
}

/// Orders of execution: branch after branch, and level after level; groups stay where their last
/// operator is.
fn orders(problem: &Problem<'_>) -> Vec<Vec<usize>> {
    let mut level = vec![0; problem.operators.len()];
    for operator in &problem.sorted {
        let before = problem.reads[*operator].iter().map(|read| level[*read] + 1);
        level[*operator] = before.max().unwrap_or(0);
    }
    let mut late = level.clone();
    for operator in problem.sorted.iter().rev() {
        let after = problem.readers[*operator].iter().map(|it| late[*it] - 1);
        late[*operator] = after.min().unwrap_or(late[*operator]);
    }
    let mut levels = problem.sorted.clone();
    levels.sort_by_key(|operator| level[*operator]);
    let mut lates = problem.sorted.clone();
    lates.sort_by_key(|operator| late[*operator]);
    vec![problem.sorted.clone(), levels, lates]
}

/// Groups go where most of their bytes are, or else where their first operator is.
fn together(problem: &Problem<'_>, spots: &mut [Spot]) {
    for group in &problem.groups {
        let heaviest = group
            .iter()
            .rev()
            .max_by_key(|member| problem.operators[**member].item.bytes);
        if let Some(heaviest) = heaviest {
            let spot = spots[*heaviest];
            group.iter().for_each(|member| spots[*member] = spot);
        }
    }
}

struct Annealing<'a> {
    problem: &'a Problem<'a>,
    clock: Clock<'a>,
    spots: Vec<Spot>,
    /// By accelerator, the host last: what is there, and what there is room for.
    bytes: Vec<Bytes>,
    room: Vec<Bytes>,
}

impl<'a> Annealing<'a> {
    fn new(problem: &'a Problem<'a>, accelerators: &'a [usize], spots: Vec<Spot>) -> Self {
        let mut room: Vec<Bytes> = accelerators
            .iter()
            .map(|kind| problem.kinds[*kind].memory)
            .collect();
        let host = problem.host_kind().map(|kind| problem.kinds[kind].memory);
        room.push(host.unwrap_or(Bytes(0)));
        let mut annealing = Self {
            problem,
            clock: Clock::new(problem, accelerators),
            bytes: vec![Bytes(0); room.len()],
            room,
            spots,
        };
        for operator in 0..problem.operators.len() {
            let at = annealing.index(annealing.spots[operator]);
            annealing.bytes[at] += problem.operators[operator].item.bytes;
        }
        annealing
    }

    fn index(&self, spot: Spot) -> usize {
        match spot {
            Spot::Accelerator(number) => number,
            Spot::Host => self.room.len() - 1,
        }
    }

    /// Moves a group where there is room for it and it runs; whether that is so.
    fn moved(&mut self, group: usize, spot: Spot) -> bool {
        let members = &self.problem.groups[group];
        let (from, to) = (self.index(self.spots[members[0]]), self.index(spot));
        let size: Bytes = members
            .iter()
            .map(|member| self.problem.operators[*member].item.bytes)
            .sum();
        let kind = match spot {
            Spot::Host => self.problem.host_kind(),
            Spot::Accelerator(number) => Some(self.clock.accelerators[number]),
        };
        let runs = |kind| {
            members
                .iter()
                .all(|it| self.problem.work(*it, kind).is_some())
        };
        if from == to || self.bytes[to] + size > self.room[to] || !kind.is_some_and(runs) {
            return false;
        }
        self.bytes[from] = self.bytes[from].saturating_sub(size);
        self.bytes[to] += size;
        members.iter().for_each(|member| self.spots[*member] = spot);
        true
    }

    fn latency(&self) -> Option<u64> {
        let ends = self.clock.ends(&self.spots)?;
        Some(ends.into_iter().max().unwrap_or(0))
    }

    fn run(mut self, (mut random, heat): (Random, f64), moves: usize, stop: &Stop) -> Vec<Spot> {
        let n = self.problem.operators.len();
        let Some(mut now) = self.latency() else {
            return self.spots;
        };
        let mut best = (now, self.spots.clone());
        let scale = now.max(1) as f64;
        for step in 0..moves {
            if n == 0 || stop.is_set() {
                break;
            }
            let progress = step as f64 / moves as f64;
            let temperature = heat * (1.0 - progress).powi(2);
            let first = random.below(n);
            let to = self.target(first, &mut random);
            let mut undo = Vec::new();
            let mut operator = first;
            let reach = [1, 4, 12][random.below(3)];
            for _ in 0..=random.below(reach) {
                let group = self.problem.group_of[operator];
                let from = self.spots[operator];
                if self.moved(group, to) {
                    undo.push((group, from));
                }
                let near = match random.below(2) {
                    0 => &self.problem.reads[operator],
                    _ => &self.problem.readers[operator],
                };
                if near.is_empty() {
                    break;
                }
                operator = near[random.below(near.len())];
            }
            if undo.is_empty() {
                continue;
            }
            let then = self.latency();
            let kept = then.is_some_and(|then| {
                let rise = (then as f64 - now as f64) / scale;
                rise <= 0.0 || random.unit() < (-rise / temperature.max(1e-9)).exp()
            });
            match then {
                Some(then) if kept => {
                    now = then;
                    if now < best.0 {
                        best = (now, self.spots.clone());
                    }
                }
                Some(_) | None => {
                    for (group, from) in undo.into_iter().rev() {
                        self.put_back(group, from);
                    }
                }
            }
        }
        best.1
    }

    /// Where a neighbour is, or anywhere.
    fn target(&self, operator: usize, random: &mut Random) -> Spot {
        let problem = self.problem;
        let near = [&problem.reads[operator], &problem.readers[operator]][random.below(2)];
        match (random.below(4), near.is_empty()) {
            (1.., false) => self.spots[near[random.below(near.len())]],
            _ => match random.below(self.room.len()) {
                last if last + 1 == self.room.len() => Spot::Host,
                number => Spot::Accelerator(number),
            },
        }
    }

    /// Undoes a move, which always has room.
    fn put_back(&mut self, group: usize, spot: Spot) {
        let members = &self.problem.groups[group];
        let (from, to) = (self.index(self.spots[members[0]]), self.index(spot));
        for member in members {
            let size = self.problem.operators[*member].item.bytes;
            self.bytes[from] = self.bytes[from].saturating_sub(size);
            self.bytes[to] += size;
            self.spots[*member] = spot;
        }
    }
}
