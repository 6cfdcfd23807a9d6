//! Ways to reach a down-set, and which of them are kept.

use std::collections::BTreeMap;

use super::lattice::Reach;
use crate::units::Bytes;

/// A way to reach a down-set.
pub(super) struct Way {
    /// When each open output is there, when all so far is through, and where a host is small what it
    /// holds.
    pub(super) times: Vec<u64>,
    /// No end of this way is sooner.
    pub(super) outlook: u64,
    /// How it was reached.
    pub(super) step: Step,
}

/// The way before, as its place among all that were followed, and what was added.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) before: usize,
    pub(super) set: usize,
    pub(super) on: On,
}

#[derive(Clone, Copy)]
pub(super) enum On {
    Nothing,
    Host,
    Kind(usize),
}

/// Ways by state: the roster's own number and its count.
pub(super) type States = BTreeMap<(usize, usize), Vec<Way>>;

/// What is followed, what was lost, and where it ends.
pub(super) struct Record {
    pub(super) reach: Reach,
    pub(super) followed: Vec<Step>,
    /// The best outlook of a way that was not kept.
    pub(super) lost: u64,
    pub(super) steps: usize,
    /// The times of the way that is looked at.
    pub(super) times: Vec<u64>,
}

/// A way that is followed, with its state and its number among all that are.
pub(super) struct Followed {
    pub(super) way: Way,
    pub(super) state: (usize, usize),
    pub(super) number: usize,
}

/// What a step adds.
pub(super) struct Added {
    pub(super) ends: Ends,
    pub(super) on: On,
    pub(super) bytes: Bytes,
}

/// When the operators of a step end.
pub(super) enum Ends {
    All(u64),
    Each(BTreeMap<usize, u64>),
}

impl Record {
    /// Leaves the ways with the best outlooks.
    pub(super) fn crop(&mut self, ways: &mut Vec<Way>) {
        ways.sort_by(|one, other| (one.outlook, &one.times).cmp(&(other.outlook, &other.times)));
        if let Some(first) = ways.get(self.reach.ways) {
            self.lost = self.lost.min(first.outlook);
        }
        ways.truncate(self.reach.ways);
    }
}

impl Ends {
    pub(super) fn of(&self, operator: usize) -> u64 {
        match self {
            Self::All(end) => *end,
            Self::Each(ends) => ends.get(&operator).copied().unwrap_or(0),
        }
    }

    pub(super) fn last(&self) -> u64 {
        match self {
            Self::All(end) => *end,
            Self::Each(ends) => ends.values().max().copied().unwrap_or(0),
        }
    }
}

/// Whether no number of a way is larger than another's.
pub(super) fn beats(one: &[u64], other: &[u64]) -> bool {
    one.iter().zip(other).all(|(one, other)| one <= other)
}
