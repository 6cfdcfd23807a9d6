//! Dealings of many devices: what is the best for a small part of a rig, as often as the rig has it, and
//! then the same for what is left.

use super::table::n_pairs;
use super::{Dealing, Dealt, Known, Number, Part, Valued};

/// More pairs of parts than these in what is repeated take longer than they gain.
const FEW_PAIRS: usize = 100_000;
/// The same of one class.
const FEW_OF_CLASS: usize = 1_000;

impl Dealing<'_> {
    /// The best dealing that was found: of all classes together, or of each alone.
    pub(super) fn repeated<E>(
        &self,
        known: &mut Known,
        search: &mut impl FnMut(&[usize]) -> Result<Valued, E>,
    ) -> Result<Dealt, E> {
        let together = self.of_copies(self.counts.to_vec(), FEW_PAIRS, known, search)?;
        let mut alone = Dealt::none();
        let mut left = self.counts.to_vec();
        for class in 0..self.counts.len() {
            let mut own = vec![0; self.counts.len()];
            own[class] = self.counts[class];
            let dealt = self.of_copies(own, FEW_OF_CLASS, known, search)?;
            for part in &dealt.parts {
                take(&mut left, part, 1);
            }
            alone.add(dealt);
        }
        alone.add(self.of_copies(left, FEW_PAIRS, known, search)?);
        let first = (together.worth, std::cmp::Reverse(together.parts.len()));
        let second = (alone.worth, std::cmp::Reverse(alone.parts.len()));
        Ok(if second > first { alone } else { together })
    }

    /// What is repeated has few pairs of parts.
    pub(super) fn of_copies<E>(
        &self,
        mut left: Part,
        few_pairs: usize,
        known: &mut Known,
        search: &mut impl FnMut(&[usize]) -> Result<Valued, E>,
    ) -> Result<Dealt, E> {
        let mut all = Dealt::none();
        let mut n_copies = 1;
        loop {
            let unit =
                |n_copies: usize| left.iter().map(|count| count / n_copies).collect::<Part>();
            while n_pairs(&unit(n_copies)) > few_pairs {
                n_copies += 1;
            }
            let counts = unit(n_copies);
            let dealing = Dealing {
                counts: &counts,
                most: &|| u64::MAX,
                ..*self
            };
            let dealt = dealing.counted(Number::Auto, known, search)?;
            let Some(dealt) = dealt.filter(|dealt| !dealt.parts.is_empty()) else {
                return Ok(all);
            };
            // As often as the devices last, which may be once more where it leaves some over.
            let mut used = vec![0; left.len()];
            for part in &dealt.parts {
                used.iter_mut().zip(part).for_each(|(used, n)| *used += n);
            }
            let times = left.iter().zip(&used).filter(|(_, used)| **used > 0);
            let times = times.map(|(left, used)| left / used).min().unwrap_or(0);
            take(&mut left, &used, times);
            for _ in 0..times {
                all.add(dealt.clone());
            }
            n_copies = 1;
        }
    }
}

impl Dealt {
    /// With the parts of another one.
    fn add(&mut self, other: Self) {
        self.worth = self.worth.saturating_add(other.worth);
        self.parts.extend(other.parts);
    }
}

fn take(left: &mut Part, used: &[usize], times: usize) {
    for (left, used) in left.iter_mut().zip(used) {
        *left -= used * times;
    }
}
