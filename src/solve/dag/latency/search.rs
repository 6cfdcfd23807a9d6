//! Ways to run a sample soon: runs along orders of the operators, then simulated annealing.
//!
//! A run is a stretch of one order of execution on one accelerator; a dynamic program over the
//! stretches and the accelerators in an order finds the best where everything runs one after the
//! other. Annealing then moves groups, which its clock values exactly. Random numbers are seeded and
//! steps are counted: the same problem gives the same answer unless it is stopped.

use super::{Clock, Problem, Spot};
use crate::solve::Stop;
use crate::solve::random::Random;
use crate::units::Bytes;

/// Operators valued in one run of annealing, and the most moves, in all and for each operator.
const VALUED: usize = 60_000_000;
const MOVES: usize = 120_000;
const MOVES_EACH: usize = 2_000;

/// Temperatures that runs begin with, as shares of the start's latency.
const HEATS: [f64; 6] = [0.03, 0.01, 0.003, 0.03, 0.01, 0.003];

/// More places where a run can begin are not tried, nor more accelerators.
const MOST_PLACES: usize = 1_000;
const MOST_ACCELERATORS: usize = 64;

/// The best way found and its latency.
pub(super) fn best(problem: &Problem<'_>, stop: &Stop) -> Option<(Vec<Spot>, u64)> {
    let wires: usize = problem.reads.iter().map(Vec::len).sum();
    let n = problem.operators.len();
    let moves = MOVES.min(MOVES_EACH * n).min(VALUED / (n + wires).max(1));
    best_in(problem, moves, stop)
}

pub(super) fn best_in(
    problem: &Problem<'_>,
    moves: usize,
    stop: &Stop,
) -> Option<(Vec<Spot>, u64)> {
    let accelerators = problem.accelerators();
    let starts = starts(problem, &accelerators, stop);
    let valued = starts.into_iter().filter_map(|spots| {
        let latency = problem.latency(&spots)?.0;
        Some((spots, latency))
    });
    let mut best = valued.min_by_key(|(_, latency)| *latency)?;
    for (seed, heat) in (1..).zip(HEATS) {
        // Later runs begin at the best so far.
        let from = best.0.clone();
        let found =
            Annealing::new(problem, &accelerators, from).run((Random(seed), heat), moves, stop);
        if let Some(latency) = problem.latency(&found)
            && latency.0 < best.1
        {
            best = (found, latency.0);
        }
    }
    Some(best)
}

/// What annealing can begin with: all on the host, and the best runs along some orders.
fn starts(problem: &Problem<'_>, accelerators: &[usize], stop: &Stop) -> Vec<Vec<Spot>> {
    let mut starts = vec![vec![Spot::Host; problem.operators.len()]];
    starts.extend(super::lattice::runs(problem, accelerators, stop));
    let mut devices: Vec<usize> = (0..accelerators.len()).collect();
    for _ in 0..2 {
        for order in orders(problem) {
            if !stop.is_set() {
                starts.extend(runs(problem, (accelerators, &devices), &order, stop));
            }
        }
        // The roomiest first, once they are not all alike.
        devices
            .sort_by_key(|device| std::cmp::Reverse(problem.kinds[accelerators[*device]].memory));
    }
    starts
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

/// The best runs along an order, on devices in an order; none where they do not hold it all, or the
/// time is over.
fn runs(
    problem: &Problem<'_>,
    (accelerators, devices): (&[usize], &[usize]),
    order: &[usize],
    stop: &Stop,
) -> Option<Vec<Spot>> {
    let n = order.len();
    let stride = n.div_ceil(MOST_PLACES).max(1);
    let devices = &devices[..devices.len().min(MOST_ACCELERATORS)];
    let mut place = vec![0; n];
    order
        .iter()
        .enumerate()
        .for_each(|(at, operator)| place[*operator] = at);
    let last_reader: Vec<usize> = (0..n)
        .map(|operator| problem.readers[operator].iter().map(|it| place[*it]).max())
        .map(|last| last.unwrap_or(0))
        .collect();
    let places: Vec<usize> = (0..n).step_by(stride).chain([n]).collect();
    let width = devices.len() + 1;
    // At a place with so many devices passed: the time, and where it came from.
    let mut table = vec![(u64::MAX, (0, 0)); places.len() * width];
    table[0].0 = 0;
    for from in 0..places.len() {
        if stop.is_set() {
            return None;
        }
        for used in 0..width {
            let (time, _) = table[from * width + used];
            if time == u64::MAX {
                continue;
            }
            let mut offer = |to: usize, used_then: usize, time: u64| {
                let known = &mut table[to * width + used_then];
                if time < known.0 {
                    *known = (time, (from, used));
                }
            };
            if let Some(host) = problem.host_kind()
                && from + 1 < places.len()
            {
                let stretch = &order[places[from]..places[from + 1]];
                let mut works = stretch.iter().map(|it| problem.work(*it, host));
                if let Some(work) = works.try_fold(0, |sum, work| Some(sum + work?)) {
                    offer(from + 1, used, time + work);
                }
            }
            if used + 1 == width {
                continue;
            }
            offer(from, used + 1, time);
            let kind = accelerators[devices[used]];
            let room = problem.kinds[kind].memory;
            let (mut inside, mut bytes) = (0, Bytes(0));
            let mut taken = std::collections::BTreeSet::new();
            let mut open: Vec<usize> = Vec::new();
            for to in from + 1..places.len() {
                let mut fits = true;
                for operator in &order[places[to - 1]..places[to]] {
                    bytes += problem.operators[*operator].item.bytes;
                    match problem.work(*operator, kind) {
                        Some(work) => inside += work,
                        None => fits = false,
                    }
                    for read in &problem.reads[*operator] {
                        if place[*read] < places[from] && taken.insert(*read) {
                            inside += problem.crossing(*read, kind);
                        }
                    }
                    open.push(*operator);
                }
                if !fits || bytes > room {
                    break;
                }
                open.retain(|operator| last_reader[*operator] >= places[to]);
                let out: u64 = open.iter().map(|it| problem.crossing(*it, kind)).sum();
                offer(to, used + 1, time + inside + out);
            }
        }
    }
    let end = (places.len() - 1) * width;
    let used = (0..width).min_by_key(|used| table[end + used].0)?;
    if table[end + used].0 == u64::MAX {
        return None;
    }
    let mut spots = vec![Spot::Host; n];
    let mut at = (places.len() - 1, used);
    while at != (0, 0) {
        let before = table[at.0 * width + at.1].1;
        if before.1 < at.1 {
            for operator in &order[places[before.0]..places[at.0]] {
                spots[*operator] = Spot::Accelerator(devices[before.1]);
            }
        }
        at = before;
    }
    together(problem, &mut spots);
    Some(spots)
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
