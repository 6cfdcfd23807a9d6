//! Devices dealt out to replicas: disjoint parts of a rig, each worth what its own best plan is, so
//! that the sum of all is the most.
//!
//! A part is a count of devices of each class. What it is worth takes a search, so that parts are
//! searched only when they matter: the best dealing by what is known, a ceiling where nothing is, has
//! parts that were not searched, and these are next. Once it has none, no dealing is worth more. What a
//! part is worth, and which device of a class it gets, is not here.

mod copies;
pub mod prices;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use crate::solve::Stop;

use table::Table;

/// How many replicas are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// So many.
    Of(usize),
    /// As many as are best; of equals the fewest.
    Auto,
}

impl Default for Number {
    fn default() -> Self {
        Self::Of(1)
    }
}

/// Devices of each class.
pub type Part = Vec<usize>;

/// What is known of a part that was searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Valued {
    /// What its plan is worth; 0 where none was found.
    pub worth: u64,
    /// None is worth more; 0 where there is none.
    pub bound: u64,
}

/// What is dealt out.
pub struct Dealing<'a> {
    /// All devices.
    pub counts: &'a [usize],
    /// Of parts that are worth the same, one that stands for all.
    pub like: &'a dyn Fn(&[usize]) -> Part,
    /// What no plan of a part is worth more than.
    pub ceiling: &'a dyn Fn(&[usize]) -> u64,
    /// The same, closer, which takes longer to tell.
    pub closer: &'a dyn Fn(&[usize]) -> u64,
    /// What no dealing is worth more than.
    pub most: &'a dyn Fn() -> u64,
    /// Ends the search with the best so far.
    pub stop: &'a Stop,
}

/// The best dealing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dealt {
    /// Its parts; none where no dealing was found.
    pub parts: Vec<Part>,
    /// What they are worth together.
    pub worth: u64,
    /// No dealing is worth more; 0 where there is none.
    pub bound: u64,
    /// Parts that were searched, of those that are like each other one.
    pub n_searched: usize,
    /// Whether every dealing was looked at.
    pub is_counted_out: bool,
}

impl Dealing<'_> {
    /// The best dealing. Those of `rules` are searched in any case; where time is over, one that was
    /// found is enough.
    ///
    /// # Errors
    /// Those of a search.
    pub fn best<E>(
        &self,
        number: Number,
        rules: &[Vec<Part>],
        mut search: impl FnMut(&[usize]) -> Result<Valued, E>,
    ) -> Result<Dealt, E> {
        let is_asked = |parts: &[Part]| match number {
            Number::Of(n) => parts.len() == n,
            Number::Auto => true,
        };
        let mut known = Known::default();
        let mut has_found = false;
        // Small parts are sooner searched than large ones, and are mostly worth more together.
        for parts in rules.iter().rev() {
            let is_enough = || self.stop.is_set() && (has_found || !is_asked(parts));
            let is_whole = self.learn_all(&mut known, parts, is_enough, &mut search)?;
            has_found |= is_whole && is_asked(parts);
        }
        if let Some(dealt) = self.counted(number, &mut known, &mut search)? {
            return Ok(dealt);
        }
        let asked = rules.iter().filter(|parts| is_asked(parts));
        let mut best = self.best_of(asked, &known);
        if number == Number::Auto {
            let repeated = self.repeated(&mut known, &mut search)?;
            if repeated.worth > best.worth {
                best = repeated;
            }
        }
        Ok(Dealt {
            bound: (self.most)().max(best.worth),
            n_searched: known.searched.len(),
            is_counted_out: false,
            ..best
        })
    }

    /// Searches all parts of a rule until it is enough, and tells whether each has a plan.
    fn learn_all<E>(
        &self,
        known: &mut Known,
        parts: &[Part],
        is_enough: impl Fn() -> bool,
        search: &mut impl FnMut(&[usize]) -> Result<Valued, E>,
    ) -> Result<bool, E> {
        let mut has_all = parts
            .iter()
            .all(|part| self.ceiling_of(known, &(self.like)(part)) > 0);
        for part in parts {
            // A rule with a part that has no plan is none to answer with.
            if is_enough() || !has_all && self.stop.is_set() {
                return Ok(false);
            }
            self.learn(known, part, search)?;
            has_all &= known.worth(&(self.like)(part)) > 0;
        }
        Ok(has_all)
    }

    fn learn<E>(
        &self,
        known: &mut Known,
        part: &[usize],
        search: &mut impl FnMut(&[usize]) -> Result<Valued, E>,
    ) -> Result<(), E> {
        let like = (self.like)(part);
        if !known.searched.contains_key(&like) && self.ceiling_of(known, &like) > 0 {
            let valued = search(&like)?;
            known.searched.insert(like, valued);
        }
        Ok(())
    }

    fn ceiling_of(&self, known: &mut Known, like: &[usize]) -> u64 {
        if let Some(ceiling) = known.ceilings.get(like) {
            return *ceiling;
        }
        let ceiling = (self.ceiling)(like);
        known.ceilings.insert(like.to_vec(), ceiling);
        ceiling
    }

    /// The best of all dealings, where these are not too many.
    fn counted<E>(
        &self,
        number: Number,
        known: &mut Known,
        search: &mut impl FnMut(&[usize]) -> Result<Valued, E>,
    ) -> Result<Option<Dealt>, E> {
        let Some(table) = Table::new(self) else {
            return Ok(None);
        };
        for like in table.likes() {
            if self.stop.is_set() {
                break;
            }
            self.ceiling_of(known, like);
        }
        loop {
            let by_bounds = table.deal(number, |like| known.bound(like));
            let by_worth = table.deal(number, |like| known.worth(like));
            let is_met = by_worth.worth >= by_bounds.worth && !by_worth.parts.is_empty();
            let like = by_bounds.parts.iter().map(|part| (self.like)(part));
            let open: Vec<_> = like
                .filter(|like| !known.searched.contains_key(like))
                .collect();
            if is_met || open.is_empty() || self.stop.is_set() {
                let is_open = by_worth.worth < by_bounds.worth;
                let most = if is_open { (self.most)() } else { u64::MAX };
                return Ok(Some(Dealt {
                    bound: by_bounds.worth.min(most).max(by_worth.worth),
                    n_searched: known.searched.len(),
                    is_counted_out: true,
                    ..by_worth
                }));
            }
            // A search takes the longest, so that a closer look comes before any.
            let mut is_closer = false;
            for part in &open {
                if self.stop.is_set() {
                    break;
                }
                if known.is_close.insert(part.clone()) {
                    let ceiling = known.ceilings.entry(part.clone()).or_insert(u64::MAX);
                    *ceiling = (self.closer)(part).min(*ceiling);
                    is_closer = true;
                }
            }
            // The one that promises the most may leave another dealing before the rest is searched.
            let most = open.iter().max_by_key(|part| known.bound(part));
            if let Some(part) = most.filter(|_| !is_closer && !self.stop.is_set()) {
                self.learn(known, part, search)?;
            }
        }
    }

    /// The best of a few dealings, where there are too many to look at all.
    fn best_of<'a>(&self, dealings: impl Iterator<Item = &'a Vec<Part>>, known: &Known) -> Dealt {
        let mut best = Dealt::none();
        for parts in dealings {
            let worths = parts.iter().map(|part| known.worth(&(self.like)(part)));
            let worths: Vec<_> = worths.collect();
            let worth = worths
                .iter()
                .fold(0, |sum: u64, it| sum.saturating_add(*it));
            let (now, before) = (parts.len(), best.parts.len());
            let is_better = worth > best.worth || worth == best.worth && now < before;
            if !worths.contains(&0) && is_better {
                best.parts.clone_from(parts);
                best.worth = worth;
            }
        }
        best
    }
}

/// What is known of parts.
#[derive(Default)]
struct Known {
    searched: BTreeMap<Part, Valued>,
    /// Of the others, none is worth more; where there is no ceiling yet, nothing is known.
    ceilings: BTreeMap<Part, u64>,
    /// Those that were looked at closely.
    is_close: BTreeSet<Part>,
}

impl Known {
    fn worth(&self, like: &[usize]) -> u64 {
        self.searched.get(like).map_or(0, |valued| valued.worth)
    }

    fn bound(&self, like: &[usize]) -> u64 {
        let ceiling = || self.ceilings.get(like).copied().unwrap_or(u64::MAX);
        self.searched.get(like).map_or_else(ceiling, |it| it.bound)
    }
}

impl Dealt {
    fn none() -> Self {
        Self {
            parts: Vec::new(),
            worth: 0,
            bound: 0,
            n_searched: 0,
            is_counted_out: false,
        }
    }
}

#[cfg(test)]
mod tests;
