//! The recipes of what is in no block, and which of them are worth a look.
//!
//! Beside a larger rest the same blocks fit no better and are no faster, so they cost no less. The
//! smallest rest therefore goes first: what blocks cost beside it at the least, its floor, rules out
//! most of the others before any of their stages is priced.

use std::rc::Rc;

use crate::cost::llama_cpp::mix::{Asked, Blocks, Limit, Mixed};
use crate::scenario::ScenarioError;

/// No blocks have a plan.
pub(super) const NO_PLAN: u64 = u64::MAX;

/// Every recipe of the rest, in the order in which they are looked at.
pub(super) struct Rests<'a> {
    pub(super) smallest: Rest<'a>,
    /// The one with which a mix may cost the least first.
    pub(super) others: Vec<Rest<'a>>,
}

/// One recipe of the rest.
pub(super) struct Rest<'a> {
    pub(super) mixed: Mixed<'a>,
    /// Its place by what a mix costs with it at the least: of equal plans that of the first counts.
    pub(super) place: usize,
    /// Whether the smallest needs no more by every measure.
    is_no_smaller: bool,
}

impl<'a> Rests<'a> {
    pub(super) fn new(asked: Asked<'a>, limit: Limit) -> Result<Self, ScenarioError> {
        let blocks = Rc::new(Blocks::new(asked, limit)?);
        let all = (0..asked.offers.len()).map(|rest| Mixed::new(&blocks, rest));
        let mut by_least: Vec<_> = all.collect();
        by_least.sort_by_key(Mixed::least);
        let places = 0..by_least.len();
        let smallest = places.min_by_key(|place| by_least[*place].size_of_rest());
        // A mix has at least one recipe.
        let smallest = smallest.unwrap_or_default();
        let covers = |mixed: &Mixed<'a>| by_least[smallest].has_no_larger_rest_than(mixed);
        let covered: Vec<bool> = by_least.iter().map(covers).collect();
        let rests = by_least.into_iter().zip(covered).enumerate();
        let mut others: Vec<_> = rests
            .map(|(place, (mixed, is_no_smaller))| Rest {
                mixed,
                place,
                is_no_smaller,
            })
            .collect();
        Ok(Self {
            smallest: others.remove(smallest),
            others,
        })
    }

    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Rest<'a>> {
        std::iter::once(&self.smallest).chain(&self.others)
    }
}

impl Rest<'_> {
    /// Whether blocks beside it have no plan that they have not beside the smallest, and are no faster.
    pub(super) fn is_covered(&self) -> bool {
        self.is_no_smaller
    }

    /// What no mix with it costs less than, where blocks beside the smallest rest cost no less than a
    /// floor; [`NO_PLAN`] where there is none.
    pub(super) fn least(&self, floor: u64) -> u64 {
        let of_blocks = self.mixed.least();
        match self.is_no_smaller {
            true => of_blocks.max(self.mixed.penalty_of_rest().saturating_add(floor)),
            false => of_blocks,
        }
    }
}
