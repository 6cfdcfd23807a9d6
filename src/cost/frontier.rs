//! The best ways to store a run of units that each can be stored in several ways: of all choices
//! those that no other betters in all that counts.
//!
//! A run's frontier follows from that of the run without its last unit, and depends only on how many
//! units of each kind it has, so runs that are alike share one. Exact: sums are whole numbers, and
//! nothing is dropped but what is bettered, or larger than any device.

mod unbettered;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::units::Bytes;

pub use unbettered::Unbettered;

/// One way to store a unit, or a run of units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// What it takes.
    pub bytes: Bytes,
    /// What it costs in quality, in parts of [`Self::PARTS`].
    pub penalty: u64,
    /// What it takes of what all stages share: what is read of it for a token, or where RAM is shared
    /// what is there.
    pub read: Bytes,
    /// What it takes of RAM, where what is read is shared as well.
    pub ram: Bytes,
}

impl Way {
    /// Parts of one penalty, so that sums are exact.
    pub const PARTS: f64 = 1e12;

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            penalty: self.penalty.saturating_add(other.penalty),
            read: self.read + other.read,
            ram: self.ram + other.ram,
        }
    }

    /// What is left of it without a part; nothing where it has not so much.
    fn without(self, part: &Self) -> Option<Self> {
        Some(Self {
            bytes: self.bytes.checked_sub(part.bytes)?,
            penalty: self.penalty.checked_sub(part.penalty)?,
            read: self.read.checked_sub(part.read)?,
            ram: self.ram.checked_sub(part.ram)?,
        })
    }
}

/// In what a way can be better than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// In bytes and penalty.
    Bytes,
    /// In what is read of it as well, where a token may take only so long. No run may read more.
    BytesAndReading(Bytes),
    /// In RAM besides. No run may read or take more than this of either.
    BytesReadingAndRam {
        /// The most that is read.
        read: Bytes,
        /// The most of RAM.
        ram: Bytes,
    },
}

/// Runs meet at multiples of so many units.
const MEETING: usize = 8;

/// So few kinds of units make so few kinds of runs that each has a frontier of its own.
const FEW_KINDS: usize = 16;

/// Ways by bytes, none of which another betters.
pub type Frontier = Rc<[Way]>;

/// The frontiers of all runs of a chain, each made once.
#[derive(Clone, Debug)]
pub struct Frontiers {
    /// The kind of each unit: those whose ways are alike are of one kind.
    kinds: Vec<usize>,
    /// The ways of each kind, and those that are not bettered by another.
    ways: Vec<Vec<Way>>,
    unbettered: Vec<Vec<Way>>,
    /// No run may take more.
    most: Bytes,
    counts: Counts,
    /// By start, then by length.
    by_run: RefCell<Vec<Vec<Frontier>>>,
    by_counts: RefCell<BTreeMap<Vec<usize>, Frontier>>,
}

impl Frontiers {
    /// Of a chain whose units can be stored in these ways.
    pub fn new(units: Vec<Vec<Way>>, most: Bytes, counts: Counts) -> Self {
        let mut ways: Vec<Vec<Way>> = Vec::new();
        let mut kind = |unit: Vec<Way>| {
            let known = ways.iter().position(|other| *other == unit);
            known.unwrap_or_else(|| {
                ways.push(unit);
                ways.len() - 1
            })
        };
        let kinds: Vec<usize> = units.into_iter().map(&mut kind).collect();
        let mut unbettered = ways.clone();
        for ways in &mut unbettered {
            ways.sort_unstable();
            let mut unbettered = Unbettered::new(counts);
            ways.retain(|way| unbettered.takes(way));
        }
        Self {
            by_run: RefCell::new(vec![vec![Rc::from([Way::default()])]; kinds.len() + 1]),
            kinds,
            ways,
            unbettered,
            most,
            counts,
            by_counts: RefCell::default(),
        }
    }

    /// The least penalty of a run that takes no more than `room`, in the fewest bytes, where nothing
    /// else counts.
    ///
    /// A run is two that meet where others meet as well: two short frontiers are sooner made and looked
    /// through than one of all their sums. Where units are much alike the whole is mostly made already.
    pub fn best(&self, run: &Range<usize>, room: Bytes) -> Option<Way> {
        let middle = match self.counts {
            Counts::Bytes if self.ways.len() > FEW_KINDS => {
                (run.start + 1).next_multiple_of(MEETING).min(run.end)
            }
            // What is read counts where every way of the whole is asked for as well.
            Counts::Bytes | Counts::BytesAndReading(_) | Counts::BytesReadingAndRam { .. } => {
                run.start
            }
        };
        self.best_of_two([&(run.start..middle), &(middle..run.end)], room)
    }

    /// The same of two runs together.
    fn best_of_two(&self, runs: [&Range<usize>; 2], room: Bytes) -> Option<Way> {
        let room = room.min(self.most);
        let [before, behind] = runs.map(|run| self.of(run));
        let fits = |one: &Way, other: &Way| one.bytes + other.bytes <= room;
        let (_, last) = before.first().zip(behind.last())?;
        // Of those beside which any other fits the last is the best.
        let first = before.partition_point(|one| fits(one, last)).max(1) - 1;
        let mut n_fitting = behind.partition_point(|other| fits(&before[first], other));
        let mut best: Option<Way> = None;
        for one in &before[first..] {
            // The more one takes, the less is left for the other.
            while n_fitting > 0 && !fits(one, &behind[n_fitting - 1]) {
                n_fitting -= 1;
            }
            let Some(other) = behind[..n_fitting].last() else {
                break;
            };
            let both = one.and(*other);
            let key = |way: &Way| (way.penalty, way.bytes, way.read);
            if best.is_none_or(|best| key(&both) < key(&best)) {
                best = Some(both);
            }
        }
        best
    }

    /// The fewest bytes of a run, whether any device holds them or not.
    pub fn smallest(&self, run: &Range<usize>) -> Way {
        let kinds = self.kinds[run.clone()].iter();
        let least = kinds.map(|kind| self.ways[*kind].iter().min().copied().unwrap_or_default());
        least.fold(Way::default(), Way::and)
    }

    /// Which way each unit of a run takes, where the run takes `way`, one of its frontier.
    pub fn choices(&self, run: &Range<usize>, way: Way) -> Vec<usize> {
        let mut left = way;
        let mut choices: Vec<usize> = run
            .clone()
            .rev()
            .map(|unit| {
                let before = self.of(&(run.start..unit));
                let ways = &self.ways[self.kinds[unit]];
                let leaves = |taken: &Way| {
                    let rest = left.without(taken)?;
                    before.binary_search(&rest).ok().map(|_| rest)
                };
                // A way that is bettered may be left in one run and not in another that is alike. Then
                // there is one that betters it.
                let betters = |taken: &Way| {
                    let rest = left.without(taken)?;
                    before.iter().find(|it| rest.without(it).is_some()).copied()
                };
                let first = |leaves: &dyn Fn(&Way) -> Option<Way>| {
                    let mut ways = ways.iter().enumerate();
                    ways.find_map(|(index, taken)| Some((index, leaves(taken)?)))
                };
                let found = first(&leaves).or_else(|| first(&betters));
                let (index, rest) = found.unwrap_or((0, left));
                left = rest;
                index
            })
            .collect();
        choices.reverse();
        choices
    }

    /// The kind of each unit: those of one kind have the same ways.
    pub fn kinds(&self) -> &[usize] {
        &self.kinds
    }

    /// The ways of each kind that are not bettered by another of it.
    pub fn ways_of_kinds(&self) -> impl Iterator<Item = &[Way]> {
        self.unbettered.iter().map(Vec::as_slice)
    }

    /// The frontier of a run.
    pub fn of(&self, run: &Range<usize>) -> Frontier {
        loop {
            let (length, longest) = {
                let by_run = self.by_run.borrow();
                let known = &by_run[run.start];
                if let Some(known) = known.get(run.len()) {
                    return Rc::clone(known);
                }
                (known.len(), Rc::clone(&known[known.len() - 1]))
            };
            let end = run.start + length;
            let mut counts = vec![0; self.ways.len()];
            for kind in &self.kinds[run.start..end] {
                counts[*kind] += 1;
            }
            let frontier = Rc::clone(
                self.by_counts
                    .borrow_mut()
                    .entry(counts)
                    .or_insert_with(|| Rc::from(self.longer(&longest, self.kinds[end - 1]))),
            );
            self.by_run.borrow_mut()[run.start].push(frontier);
        }
    }

    fn longer(&self, before: &[Way], kind: usize) -> Vec<Way> {
        let with = |way: &Way| -> Vec<Way> {
            let longer = before.iter().map(|rest| rest.and(*way));
            longer.take_while(|way| way.bytes <= self.most).collect()
        };
        let mut lists: Vec<Vec<Way>> = self.unbettered[kind].iter().map(with).collect();
        // Pairs of sorted lists, so that each way is compared as often as there are rounds.
        while lists.len() > 1 {
            let merge = |pair: &[Vec<Way>]| match pair {
                [one, other] => merged(one, other, self.counts),
                rest => rest.concat(),
            };
            lists = lists.chunks(2).map(merge).collect();
        }
        lists.pop().unwrap_or_default()
    }
}

/// Two frontiers as one.
fn merged(one: &[Way], other: &[Way], counts: Counts) -> Vec<Way> {
    let mut all: Vec<Way> = Vec::with_capacity(one.len() + other.len());
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut kept = Unbettered::new(counts);
    loop {
        let next = match (one.peek(), other.peek()) {
            (Some(a), Some(b)) if b < a => other.next(),
            (Some(_), _) => one.next(),
            (None, _) => other.next(),
        };
        match next {
            Some(way) if kept.takes(way) => all.push(*way),
            Some(_) => {}
            None => return all,
        }
    }
}

#[cfg(test)]
mod tests;
