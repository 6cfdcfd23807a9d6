//! The best ways to store a run of units that each can be stored in several ways: of all choices
//! those that no other betters in both bytes and penalty.
//!
//! A run's frontier follows from that of the run without its last unit, and depends only on how many
//! units of each kind it has, so runs that are alike share one. Exact: sums are whole numbers, and
//! nothing is dropped but what is bettered, or larger than any device.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::units::Bytes;

/// One way to store a unit, or a run of units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// What it takes.
    pub bytes: Bytes,
    /// What it costs in quality, in parts of [`Self::PARTS`].
    pub penalty: u64,
    /// What is read of it for a token.
    pub read: Bytes,
}

impl Way {
    /// Parts of one penalty, so that sums are exact.
    pub const PARTS: f64 = 1e12;

    fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            penalty: self.penalty.saturating_add(other.penalty),
            read: self.read + other.read,
        }
    }
}

/// Ways by bytes, each of less penalty than those before it.
type Frontier = Rc<[Way]>;

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
    by_run: RefCell<BTreeMap<(usize, usize), Frontier>>,
    by_counts: RefCell<BTreeMap<Vec<usize>, Frontier>>,
}

impl Frontiers {
    /// Of a chain whose units can be stored in these ways.
    pub fn new(units: Vec<Vec<Way>>, most: Bytes) -> Self {
        let mut ways: Vec<Vec<Way>> = Vec::new();
        let mut kind = |unit: Vec<Way>| {
            let known = ways.iter().position(|other| *other == unit);
            known.unwrap_or_else(|| {
                ways.push(unit);
                ways.len() - 1
            })
        };
        let kinds = units.into_iter().map(&mut kind).collect();
        let mut unbettered = ways.clone();
        unbettered.iter_mut().for_each(keep_unbettered);
        Self {
            kinds,
            ways,
            unbettered,
            most,
            by_run: RefCell::default(),
            by_counts: RefCell::default(),
        }
    }

    /// The least penalty of a run that takes no more than `room`, in the fewest bytes.
    pub fn best(&self, run: &Range<usize>, room: Bytes) -> Option<Way> {
        let frontier = self.of(run);
        let n_fitting = frontier.partition_point(|way| way.bytes <= room);
        n_fitting.checked_sub(1).map(|last| frontier[last])
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
                    let rest = Way {
                        bytes: left.bytes.checked_sub(taken.bytes)?,
                        penalty: left.penalty.checked_sub(taken.penalty)?,
                        read: left.read.checked_sub(taken.read)?,
                    };
                    before.binary_search(&rest).ok().map(|_| rest)
                };
                let found = ways
                    .iter()
                    .enumerate()
                    .find_map(|(index, taken)| Some((index, leaves(taken)?)));
                let (index, rest) = found.unwrap_or((0, left));
                left = rest;
                index
            })
            .collect();
        choices.reverse();
        choices
    }

    /// The frontier of a run.
    fn of(&self, run: &Range<usize>) -> Frontier {
        if let Some(known) = self.by_run.borrow().get(&(run.start, run.end)) {
            return Rc::clone(known);
        }
        let mut counts = vec![0; self.ways.len()];
        for kind in &self.kinds[run.clone()] {
            counts[*kind] += 1;
        }
        let known = self.by_counts.borrow().get(&counts).map(Rc::clone);
        let frontier = match known {
            Some(known) => known,
            None if run.is_empty() => Rc::from([Way::default()]),
            None => {
                let before = self.of(&(run.start..run.end - 1));
                Rc::from(self.longer(&before, self.kinds[run.end - 1]))
            }
        };
        self.by_counts
            .borrow_mut()
            .insert(counts, Rc::clone(&frontier));
        self.by_run
            .borrow_mut()
            .insert((run.start, run.end), Rc::clone(&frontier));
        frontier
    }

    fn longer(&self, before: &[Way], kind: usize) -> Vec<Way> {
        let ways = self.unbettered[kind].iter();
        let mut all: Vec<Way> = ways
            .flat_map(|way| before.iter().map(|rest| rest.and(*way)))
            .filter(|way| way.bytes <= self.most)
            .collect();
        keep_unbettered(&mut all);
        all
    }
}

/// Drops ways that another betters, and sorts the rest by bytes.
fn keep_unbettered(ways: &mut Vec<Way>) {
    ways.sort_unstable();
    let mut least = None;
    ways.retain(|way| {
        let is_better = least.is_none_or(|least| way.penalty < least);
        if is_better {
            least = Some(way.penalty);
        }
        is_better
    });
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn unit() -> impl Strategy<Value = Vec<Way>> {
        let way = (1..=20_u64, 0..=20_u64, 1..=20_u64);
        let way = way.prop_map(|(bytes, penalty, read)| Way {
            bytes: Bytes(bytes),
            penalty,
            read: Bytes(read),
        });
        vec(way, 1..=3)
    }

    /// Units of up to three kinds, so that runs are alike.
    fn chain() -> impl Strategy<Value = Vec<Vec<Way>>> {
        let picks = vec(any::<prop::sample::Index>(), 1..=6);
        (vec(unit(), 1..=3), picks)
            .prop_map(|(kinds, picks)| picks.iter().map(|it| it.get(&kinds).clone()).collect())
    }

    /// Every choice of a chain, counted out.
    fn all(units: &[Vec<Way>]) -> Vec<Way> {
        units.iter().fold(vec![Way::default()], |before, ways| {
            let with = |rest: &Way| ways.iter().map(|way| rest.and(*way)).collect::<Vec<_>>();
            before.iter().flat_map(with).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn no_choice_that_fits_is_better(units in chain(), most in 0..=120_u64, room in 0..=120_u64) {
            let frontiers = Frontiers::new(units.clone(), Bytes(most));
            let n_units = units.len();
            for run in (0..n_units).flat_map(|start| (start + 1..=n_units).map(move |end| start..end)) {
                let choices = all(&units[run.clone()]);
                let fits = |way: &&Way| way.bytes <= Bytes(room.min(most));
                let key = |way: &Way| (way.penalty, way.bytes, way.read);
                let wanted = choices.iter().filter(fits).min_by_key(|way| key(way)).copied();
                let found = frontiers.best(&run, Bytes(room.min(most)));
                prop_assert_eq!(found, wanted);
                prop_assert_eq!(
                    Some(frontiers.smallest(&run).bytes),
                    choices.iter().map(|way| way.bytes).min()
                );
                if let Some(found) = found {
                    let taken = frontiers.choices(&run, found);
                    let ways = run.zip(taken).map(|(unit, way)| units[unit][way]);
                    prop_assert_eq!(ways.fold(Way::default(), Way::and), found);
                }
            }
        }
    }
}
