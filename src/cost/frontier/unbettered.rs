//! Which of some ways no other betters, told one after the other.

use super::{Counts, Way};
use crate::units::Bytes;

/// What the ways so far are at their best, in an order in which none follows that is smaller.
pub struct Unbettered {
    counts: Counts,
    stairs: Vec<Stair>,
}

/// Penalties fall as what is shared rises; the least penalty alone, where nothing is.
#[derive(Clone, Copy, Default)]
struct Stair {
    penalty: u64,
    /// What is read, or RAM where both are shared.
    shared: Bytes,
    /// What is read, where both are.
    also: Bytes,
}

impl Unbettered {
    /// Before the first way.
    pub fn new(counts: Counts) -> Self {
        Self {
            counts,
            stairs: Vec::new(),
        }
    }

    /// Whether none so far betters this one. Where both RAM and reading count, a few that are bettered
    /// may be kept.
    pub fn takes(&mut self, way: &Way) -> bool {
        let penalty = way.penalty;
        let (shared, also) = match (self.counts, self.stairs.last_mut()) {
            (Counts::Bytes, Some(least)) => {
                let is_better = penalty < least.penalty;
                least.penalty = penalty.min(least.penalty);
                return is_better;
            }
            (Counts::Bytes, None) => (Bytes::ZERO, Bytes::ZERO),
            (Counts::BytesAndReading(most), _) if way.read > most => return false,
            (Counts::BytesAndReading(_), _) => (way.read, Bytes::ZERO),
            (Counts::BytesReadingAndRam { read, ram }, _) if way.read > read || way.ram > ram => {
                return false;
            }
            // What takes as little on its GPU and in RAM mostly reads as little.
            (Counts::BytesReadingAndRam { .. }, _) => (way.ram, way.read),
        };
        // The stairs go up in what is shared, down in penalty. What shares most comes late, so they
        // change at their end.
        let n_below = self.stairs.partition_point(|stair| stair.shared <= shared);
        let below = self.stairs[..n_below].iter().rev();
        let mut no_worse = below.take_while(|stair| stair.penalty <= penalty);
        match no_worse.next() {
            Some(stair) if stair.also <= also => return false,
            Some(_) => return no_worse.all(|stair| stair.also > also),
            None => {}
        }
        // Those that share no less and cost no less are bettered by it from here on.
        let last = self.stairs[..n_below].last();
        let from = n_below - usize::from(last.is_some_and(|stair| stair.shared == shared));
        let behind = &self.stairs[n_below..];
        let to = n_below + behind.partition_point(|stair| stair.penalty >= penalty);
        let stair = Stair {
            penalty,
            shared,
            also,
        };
        if to == self.stairs.len() {
            self.stairs.truncate(from);
            self.stairs.push(stair);
        } else {
            self.stairs.splice(from..to, [stair]);
        }
        true
    }
}
