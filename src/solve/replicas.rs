//! Devices dealt out to replicas: disjoint parts of a rig, each worth what its own best plan is, so
//! that the sum of all is the most.
//!
//! A part is a count of devices of each class. What it is worth takes a search, so that parts are
//! searched only when they matter: the best dealing by what is known, a ceiling where nothing is, has
//! parts that were not searched, and these are next. Once it has none, no dealing is worth more. What a
//! part is worth, and which device of a class it gets, is not here.

mod copies;
pub mod prices;

use std::collections::{BTreeMap, BTreeSet};

use crate::solve::Stop;

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

/// More pairs of a part and what is left beside it take too long to look at again and again.
const MOST_PAIRS: usize = 5_000_000;

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
    /// The best dealing. Those of `rules` are searched in any case.
    ///
    /// # Errors
    /// Those of a search.
    pub fn best<E>(
        &self,
        number: Number,
        rules: &[Vec<Part>],
        mut search: impl FnMut(&[usize]) -> Result<Valued, E>,
    ) -> Result<Dealt, E> {
        let mut known = Known::default();
        for part in rules.iter().flatten() {
            self.learn(&mut known, part, &mut search)?;
        }
        if let Some(dealt) = self.counted(number, &mut known, &mut search)? {
            return Ok(dealt);
        }
        let asked = rules.iter().filter(|parts| match number {
            Number::Of(n) => parts.len() == n,
            Number::Auto => true,
        });
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

    fn learn<E>(
        &self,
        known: &mut Known,
        part: &[usize],
        search: &mut impl FnMut(&[usize]) -> Result<Valued, E>,
    ) -> Result<(), E> {
        let like = (self.like)(part);
        if !known.searched.contains_key(&like) && (self.ceiling)(&like) > 0 {
            let valued = search(&like)?;
            known.searched.insert(like, valued);
        }
        Ok(())
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
            let ceilings = &mut known.ceilings;
            let ceiling = || (self.ceiling)(like);
            ceilings.entry(like.clone()).or_insert_with(ceiling);
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
                if known.is_close.insert(part.clone()) {
                    let ceiling = known.ceilings.entry(part.clone()).or_default();
                    *ceiling = (self.closer)(part).min(*ceiling);
                    is_closer = true;
                }
            }
            // The one that promises the most may leave another dealing before the rest is searched.
            let most = open.iter().max_by_key(|part| known.bound(part));
            if let Some(part) = most.filter(|_| !is_closer) {
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
    /// Of the others, none is worth more.
    ceilings: BTreeMap<Part, u64>,
    /// Those that were looked at closely.
    is_close: BTreeSet<Part>,
}

impl Known {
    fn worth(&self, like: &[usize]) -> u64 {
        self.searched.get(like).map_or(0, |valued| valued.worth)
    }

    fn bound(&self, like: &[usize]) -> u64 {
        let ceiling = || self.ceilings.get(like).copied().unwrap_or(0);
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

/// All parts, by a number that adds up as they do.
struct Table {
    parts: Vec<Part>,
    /// The index of the part that stands for each.
    like: Vec<usize>,
    /// Every part of each that has a device, the smallest first.
    within: Vec<Vec<usize>>,
}

/// The best dealing of a part.
#[derive(Clone, Copy, Default)]
struct Best {
    worth: u64,
    n_parts: usize,
    /// The first of its parts.
    first: usize,
}

impl Table {
    /// Nothing where it would be too large.
    fn new(dealing: &Dealing<'_>) -> Option<Self> {
        if n_pairs(dealing.counts) > MOST_PAIRS {
            return None;
        }
        let mut parts = vec![Vec::new()];
        for count in dealing.counts {
            let longer = |n: usize| {
                parts
                    .iter()
                    .map(move |part| [part.as_slice(), &[n]].concat())
            };
            parts = (0..=*count).flat_map(longer).collect();
        }
        let of_part = |part: &[usize]| {
            let digits = part.iter().zip(dealing.counts).rev();
            digits.fold(0, |code, (n, count)| code * (count + 1) + n)
        };
        let mut by_size: Vec<_> = (1..parts.len()).collect();
        by_size.sort_by_key(|part| (parts[*part].iter().sum::<usize>(), *part));
        let is_within = |small: &Part, large: &Part| small.iter().zip(large).all(|(a, b)| a <= b);
        let within = parts.iter().map(|large| {
            let own = by_size.iter().copied();
            own.filter(|small| is_within(&parts[*small], large))
                .collect()
        });
        Some(Self {
            like: parts
                .iter()
                .map(|part| of_part(&(dealing.like)(part)))
                .collect(),
            within: within.collect(),
            parts,
        })
    }

    /// The parts that stand for others, and for themselves.
    fn likes(&self) -> impl Iterator<Item = &Part> {
        let parts = self.parts.iter().zip(&self.like).enumerate();
        let own = parts.filter(|(index, (_, like))| index == *like && *index > 0);
        own.map(|(_, (part, _))| part)
    }

    /// The best dealing where each part is worth what `worth` says of the one that stands for it; 0 is
    /// no plan.
    fn deal(&self, number: Number, worth: impl Fn(&[usize]) -> u64) -> Dealt {
        let of_like = self.parts.iter().zip(&self.like).enumerate();
        let of_like = of_like.map(|(index, (part, like))| match *like == index && index > 0 {
            true => worth(part),
            false => 0,
        });
        let of_like: Vec<_> = of_like.collect();
        let worths: Vec<_> = self.like.iter().map(|like| of_like[*like]).collect();
        let layers = match number {
            Number::Auto => vec![self.any(&worths)],
            Number::Of(n) => self.exactly(n, &worths),
        };
        let mut dealt = Dealt::none();
        let (mut left, mut layer) = (self.parts.len() - 1, layers.len());
        dealt.worth = layers.last().map_or(0, |layer| layer[left].worth);
        while let Some(best) = layer.checked_sub(1).map(|layer| layers[layer][left]) {
            if best.first == 0 {
                break;
            }
            dealt.parts.push(self.parts[best.first].clone());
            left -= best.first;
            if number != Number::Auto {
                layer -= 1;
            }
        }
        dealt
    }

    /// Into any number of parts: of equals the fewest, then the smaller first.
    fn any(&self, worths: &[u64]) -> Vec<Best> {
        let mut all: Vec<Best> = Vec::with_capacity(self.parts.len());
        for (part, within) in self.within.iter().enumerate() {
            let mut best = Best::default();
            for first in within.iter().filter(|first| worths[**first] > 0) {
                // Those before are smaller; a part of all leaves nothing.
                let rest = match part - first {
                    0 => Best::default(),
                    rest => all[rest],
                };
                let (worth, n_parts) =
                    (worths[*first].saturating_add(rest.worth), rest.n_parts + 1);
                let is_equal = worth == best.worth;
                if worth > best.worth || is_equal && n_parts < best.n_parts {
                    let first = *first;
                    best = Best {
                        worth,
                        n_parts,
                        first,
                    };
                }
            }
            all.push(best);
        }
        all
    }

    /// Into one part, two and so on up to `n`; of equals the smaller first.
    fn exactly(&self, n: usize, worths: &[u64]) -> Vec<Vec<Best>> {
        let mut layers: Vec<Vec<Best>> = Vec::new();
        for n_parts in 1..=n {
            let of_part = |part: usize| {
                let mut best = Best::default();
                for first in self.within[part].iter().copied() {
                    let rest = match layers.last() {
                        Some(before) => before[part - first],
                        None => Best::default(),
                    };
                    let worth = worths[first].saturating_add(rest.worth);
                    let is_whole = worths[first] > 0 && (n_parts == 1 || rest.first > 0);
                    if is_whole && worth > best.worth {
                        best = Best {
                            worth,
                            n_parts,
                            first,
                        };
                    }
                }
                best
            };
            layers.push((0..self.parts.len()).map(of_part).collect());
        }
        layers
    }
}

/// Pairs of a part and one within it.
fn n_pairs(counts: &[usize]) -> usize {
    let pairs = counts.iter().map(|count| (count + 1) * (count + 2) / 2);
    pairs.fold(1, |all: usize, own| all.saturating_mul(own))
}

#[cfg(test)]
mod tests;
