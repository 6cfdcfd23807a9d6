//! Small graphs, counted out: groups are placed one after the other, and a beginning is left as soon
//! as no way to go on is sooner than what is known.
//!
//! A beginning is run on a clock on which an operator without a place takes what it takes where it is
//! quickest of the places that are left to it. Take a path through blocks that have operators and
//! operators that have no place: wherever those go, they follow each other on the path or make a
//! block of it longer, so none ends sooner. What lies between two operators of an accelerator is on
//! it as well, or it would wait for itself. Steps are counted, not seconds, so that the same graph
//! gives the same answer.

use super::{Blocks, Problem, Spot};
use crate::solve::Stop;
use crate::units::Bytes;

/// Sets of operators are the bits of a number.
const MOST_OPERATORS: usize = 64;

/// Accelerators likewise.
const MOST_ACCELERATORS: usize = 64;

/// Places and wires of operators that are looked at, in all: about two seconds, however many devices
/// there are.
const MOST_LOOKS: usize = 200_000_000;

/// What counting ends with.
pub(super) enum Counted {
    /// No way is sooner than this one, or than what was known where there is none.
    Out(Option<Vec<Spot>>),
    /// There are too many ways; the soonest of those that were looked at.
    TooMany(Option<Vec<Spot>>),
}

/// Looks for something sooner than `known` that nothing is sooner than; `tails` are the least times
/// from the start of each operator to the end of all that waits for it.
pub(super) fn out(problem: &Problem<'_>, tails: &[u64], known: u64, stop: &Stop) -> Counted {
    let n = problem.operators.len();
    let accelerators = problem.accelerators();
    if n > MOST_OPERATORS || accelerators.len() > MOST_ACCELERATORS {
        return Counted::TooMany(None);
    }
    let (mut before, mut after) = (vec![0_u64; n], vec![0_u64; n]);
    for operator in &problem.sorted {
        for read in &problem.reads[*operator] {
            before[*operator] |= before[*read] | 1 << read;
        }
    }
    for operator in problem.sorted.iter().rev() {
        for reader in &problem.readers[*operator] {
            after[*operator] |= after[*reader] | 1 << reader;
        }
    }
    let beyond = problem.readers.iter().map(|readers| {
        let tails = readers.iter().map(|reader| tails[*reader]);
        tails.max().unwrap_or(0)
    });
    let mut count = Count {
        problem,
        before,
        after,
        beyond: beyond.collect(),
        best: (known, None),
        looks: 0,
        n_wires: problem.readers.iter().map(Vec::len).sum(),
        // One of each kind, and the host.
        n_new_places: problem.kinds.len() + 1,
        accelerators,
    };
    let first = Beginning {
        spots: vec![None; n],
        placed: 0,
        parts: vec![Part::default(); count.accelerators.len()],
        on_the_host: Bytes::ZERO,
        start: vec![0; n],
    };
    match count.from(first, stop) {
        true => Counted::Out(count.best.1),
        false => Counted::TooMany(count.best.1),
    }
}

struct Count<'a> {
    problem: &'a Problem<'a>,
    accelerators: Vec<usize>,
    /// By operator: all that it waits for, and all that waits for it.
    before: Vec<u64>,
    after: Vec<u64>,
    /// By operator: no less follows its end.
    beyond: Vec<u64>,
    best: (u64, Option<Vec<Spot>>),
    looks: usize,
    n_wires: usize,
    n_new_places: usize,
}

/// What an accelerator has.
#[derive(Clone, Copy, Default)]
struct Part {
    members: u64,
    before: u64,
    after: u64,
    bytes: Bytes,
    /// It ends no sooner.
    end: u64,
}

/// Some groups have their places.
#[derive(Clone)]
struct Beginning {
    spots: Vec<Option<Spot>>,
    /// The operators that have one.
    placed: u64,
    parts: Vec<Part>,
    on_the_host: Bytes,
    /// By operator: what it reads is there no sooner.
    start: Vec<u64>,
}

impl Count<'_> {
    /// Goes through all ways to go on; false where that is not ended.
    fn from(&mut self, mut here: Beginning, stop: &Stop) -> bool {
        let next = loop {
            let used = here.parts.iter().filter(|part| part.members != 0);
            let n_places = self.n_new_places + used.count();
            self.looks += self.problem.operators.len() * n_places + self.n_wires;
            if self.looks > MOST_LOOKS || stop.is_set() {
                return false;
            }
            match self.look(&mut here) {
                Look::Late => return true,
                Look::Placed => {}
                Look::Open(operator, places) => break Some((operator, places)),
                Look::All => break None,
            }
        };
        let Some((operator, places)) = next else {
            let spots: Vec<Spot> = here.spots.iter().copied().flatten().collect();
            if let Some(latency) = self.problem.latency(&spots)
                && latency.0 < self.best.0
            {
                self.best = (latency.0, Some(spots));
            }
            return true;
        };
        places.into_iter().all(|spot| {
            let mut then = here.clone();
            let group = self.problem.group_of[operator];
            !self.put(&mut then, group, spot) || self.from(then, stop)
        })
    }

    /// Runs the clock and places the groups for which one place is left.
    fn look(&self, here: &mut Beginning) -> Look {
        let n = self.problem.operators.len();
        let mut quickest = vec![0; n];
        let mut first = Look::All;
        let mut is_placed = false;
        for operator in &self.problem.sorted {
            if here.spots[*operator].is_some() {
                continue;
            }
            let places = self.places(here, *operator);
            let Some(least) = places.iter().map(|(_, work)| *work).min() else {
                return Look::Late;
            };
            quickest[*operator] = least;
            match (places.as_slice(), &first) {
                ([(spot, _)], _) => {
                    if !self.put(here, self.problem.group_of[*operator], *spot) {
                        return Look::Late;
                    }
                    is_placed = true;
                }
                (_, Look::All) => {
                    let places = places.into_iter().map(|(spot, _)| spot);
                    first = Look::Open(*operator, places.collect());
                }
                (_, Look::Open(..) | Look::Late | Look::Placed) => {}
            }
        }
        match self.run(here, &quickest) {
            Some(end) if end < self.best.0 => match is_placed {
                true => Look::Placed,
                false => first,
            },
            Some(_) | None => Look::Late,
        }
    }

    /// Where an operator can still go, and how long it takes there.
    fn places(&self, here: &Beginning, operator: usize) -> Vec<(Spot, u64)> {
        let problem = self.problem;
        let bytes = self.bytes(problem.group_of[operator]);
        let beyond = self.beyond[operator];
        let mut places = Vec::new();
        let mut new_kinds = Vec::new();
        for (number, part) in here.parts.iter().enumerate() {
            let kind = self.accelerators[number];
            if part.members == 0 {
                if new_kinds.contains(&kind) {
                    continue;
                }
                // Accelerators of a kind that have nothing yet are one.
                new_kinds.push(kind);
            }
            let Some(work) = problem.work(operator, kind) else {
                continue;
            };
            // What leads to an accelerator is in its end already, and so is what follows on it.
            let least = match (part.members, part.members & self.after[operator]) {
                (0, _) => here.start[operator] + work + beyond,
                (_, 0) => part.end + work + beyond,
                (_, _) => part.end,
            };
            if least < self.best.0
                && part.bytes + bytes <= problem.kinds[kind].memory
                && self.joins(here, operator, number)
            {
                places.push((Spot::Accelerator(number), work));
            }
        }
        if let Some(kind) = problem.host_kind()
            && let Some(work) = problem.work(operator, kind)
            && here.start[operator] + work + beyond < self.best.0
            && here.on_the_host + bytes <= problem.kinds[kind].memory
        {
            places.push((Spot::Host, work));
        }
        places.sort_by_key(|(_, work)| *work);
        places
    }

    /// Whether nothing between an operator and an accelerator's is elsewhere.
    fn joins(&self, here: &Beginning, operator: usize, number: usize) -> bool {
        let part = &here.parts[number];
        let between = (part.before & self.after[operator]) | (part.after & self.before[operator]);
        between & !part.members & here.placed == 0
    }

    fn bytes(&self, group: usize) -> Bytes {
        let members = self.problem.groups[group].iter();
        let sizes = members.map(|it| self.problem.operators[*it].item.bytes);
        sizes.sum()
    }

    /// Places a group, and on an accelerator all that has to be there with it; whether it can be.
    fn put(&self, here: &mut Beginning, group: usize, spot: Spot) -> bool {
        let problem = self.problem;
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            let members = &problem.groups[group];
            if here.spots[members[0]] == Some(spot) {
                continue;
            }
            let (kind, held) = match spot {
                Spot::Host => (problem.host_kind(), &mut here.on_the_host),
                Spot::Accelerator(number) => {
                    let part = &mut here.parts[number];
                    (Some(self.accelerators[number]), &mut part.bytes)
                }
            };
            let Some(kind) = kind else {
                return false;
            };
            *held += self.bytes(group);
            let runs = |it: &usize| problem.work(*it, kind).is_some() && here.spots[*it].is_none();
            if *held > problem.kinds[kind].memory || !members.iter().all(runs) {
                return false;
            }
            for operator in members {
                here.spots[*operator] = Some(spot);
                here.placed |= 1 << operator;
            }
            if let Spot::Accelerator(number) = spot {
                let part = &mut here.parts[number];
                for operator in members {
                    part.members |= 1 << operator;
                    part.before |= self.before[*operator];
                    part.after |= self.after[*operator];
                }
                let between = part.before & part.after & !part.members;
                groups.extend(bits(between).map(|it| problem.group_of[it]));
            }
        }
        true
    }

    /// No way to go on ends sooner; none where blocks wait for each other.
    fn run(&self, here: &mut Beginning, quickest: &[u64]) -> Option<u64> {
        let problem = self.problem;
        let n_accelerators = self.accelerators.len();
        let n = problem.operators.len();
        let block = |it: usize, spots: &[Option<Spot>]| match spots[it] {
            Some(Spot::Accelerator(number)) => number,
            Some(Spot::Host) | None => n_accelerators + it,
        };
        // Whether an operator is surely not on an accelerator.
        let is_outside = |it: usize, number: usize| match here.spots[it] {
            Some(spot) => spot != Spot::Accelerator(number),
            None => !self.joins(here, it, number),
        };
        let mut takes = vec![0_u64; n_accelerators + n];
        for (operator, quickest) in quickest.iter().enumerate() {
            let own = block(operator, &here.spots);
            takes[own] += match here.spots[operator] {
                None => *quickest,
                Some(Spot::Host) => problem.work(operator, problem.host_kind()?)?,
                Some(Spot::Accelerator(number)) => {
                    let kind = self.accelerators[number];
                    let mut readers = problem.readers[operator].iter();
                    let out = match readers.any(|it| is_outside(*it, number)) {
                        true => problem.crossing(operator, kind),
                        false => 0,
                    };
                    problem.work(operator, kind)? + out
                }
            };
            let mut readers = 0_u64;
            for reader in &problem.readers[operator] {
                let other = block(*reader, &here.spots);
                if other < n_accelerators && other != own && readers & (1 << other) == 0 {
                    readers |= 1 << other;
                    if is_outside(operator, other) {
                        takes[other] += problem.crossing(operator, self.accelerators[other]);
                    }
                }
            }
        }
        let blocks = Blocks {
            problem,
            of: (0..n).map(|it| block(it, &here.spots)).collect(),
            takes,
        };
        let starts = blocks.starts()?;
        let mut last = 0;
        for (operator, own) in blocks.of.iter().enumerate() {
            let end = starts[*own] + blocks.takes[*own];
            last = last.max(end);
            match here.parts.get_mut(*own) {
                Some(part) => part.end = end,
                None => here.start[operator] = starts[*own],
            }
        }
        Some(last)
    }
}

/// What a beginning comes to.
enum Look {
    /// No way to go on is sooner than what is known, or there is none.
    Late,
    /// Groups were placed that had one place left.
    Placed,
    /// This operator has several places left.
    Open(usize, Vec<Spot>),
    /// Everything has its place.
    All,
}

/// The members of a set.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let first = set.trailing_zeros() as usize;
        (set != 0).then(|| {
            set &= set - 1;
            first
        })
    })
}
