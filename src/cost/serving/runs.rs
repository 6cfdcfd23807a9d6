//! Which blocks of a pipeline a stage has, and what it takes of a card at the least, by how many they
//! are.

use std::ops::Range;

use crate::cost::serving::sums::{Shares, Sums};
use crate::cost::{Place, Position, Span};

/// Which blocks of a pipeline a stage has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// All.
    Whole,
    /// The first and more, but not the last.
    First,
    /// Neither the first nor the last.
    Middle,
    /// The last and more, but not the first.
    Last,
}

/// The least that a stage of each length takes of one card, by its role.
pub(super) struct Runs {
    whole: Sums,
    first: Vec<Sums>,
    middle: Vec<Sums>,
    last: Vec<Sums>,
}

impl Runs {
    pub(super) fn new(shares: &Shares, n_blocks: usize) -> Self {
        let of = |units: Range<usize>| shares.of(&span(units), n_blocks);
        let middle = (1..n_blocks.saturating_sub(1)).map(|length| {
            let starts = 1..n_blocks - length;
            starts
                .map(|start| of(start..start + length))
                .reduce(Sums::least)
        });
        Self {
            whole: of(0..n_blocks),
            first: (1..n_blocks).map(|length| of(0..length)).collect(),
            middle: middle.flatten().collect(),
            last: (1..n_blocks)
                .map(|length| of(n_blocks - length..n_blocks))
                .collect(),
        }
    }

    /// By length, from one block on.
    pub(super) fn of(&self, role: Role) -> &[Sums] {
        match role {
            Role::Whole => std::slice::from_ref(&self.whole),
            Role::First => &self.first,
            Role::Middle => &self.middle,
            Role::Last => &self.last,
        }
    }
}

pub(super) fn span(units: Range<usize>) -> Span {
    Span {
        place: Place::Host,
        units,
        streamed: 0..0,
        position: Position::First,
    }
}
