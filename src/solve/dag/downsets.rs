//! The down-sets of a graph's order: the sets of items that contain, with an item, all that it
//! waits for. The cut of a pipeline between two stages is one of them.

use std::collections::HashMap;

use super::Graph;
use crate::solve::Stop;

/// Down-sets in order of their size, the empty one first, and which of them differ by one item.
pub(super) struct DownSets {
    /// For each down-set the items that can be added and what it then is.
    pub next: Vec<Vec<(usize, usize)>>,
    /// For each down-set but the empty one, the item added last and what it was before.
    last: Vec<(usize, usize)>,
}

impl DownSets {
    /// All down-sets, or none where there are more than `most` or the time is over.
    pub(super) fn all(graph: &Graph, most: usize, stop: &Stop) -> Option<Self> {
        let n_items = graph.items.len();
        let mut needs = vec![Vec::new(); n_items];
        for (from, to) in &graph.order {
            needs[*to].push(*from);
        }
        let has = |set: &[u64], item: usize| set[item / 64] >> (item % 64) & 1 == 1;
        let empty = vec![0_u64; n_items.div_ceil(64).max(1)].into_boxed_slice();
        let mut known: HashMap<Box<[u64]>, usize> = HashMap::from([(empty.clone(), 0)]);
        let mut sets = vec![empty];
        let mut next = Vec::new();
        let mut last = vec![(0, 0)];
        // Sets are appended in order of their size, for each is found from one smaller by an item.
        while next.len() < sets.len() {
            let from = next.len();
            let set = sets[from].clone();
            let addable = (0..n_items).filter(|item| {
                !has(&set, *item) && needs[*item].iter().all(|need| has(&set, *need))
            });
            let mut found = Vec::new();
            for item in addable {
                let mut larger = set.clone();
                larger[item / 64] |= 1 << (item % 64);
                let to = *known.entry(larger).or_insert_with_key(|larger| {
                    sets.push(larger.clone());
                    last.push((item, from));
                    sets.len() - 1
                });
                found.push((item, to));
            }
            if sets.len() > most || stop.is_set() {
                return None;
            }
            next.push(found);
        }
        Some(Self { next, last })
    }

    /// The prefixes of one order of the items, which are down-sets too.
    pub(super) fn of_one_order(graph: &Graph) -> Self {
        Self::of_prefixes(&graph.sorted())
    }

    /// The prefixes of an order that each item follows those it waits for in.
    pub(super) fn of_prefixes(sorted: &[usize]) -> Self {
        let steps = sorted.iter().enumerate();
        let mut next: Vec<_> = steps
            .clone()
            .map(|(at, item)| vec![(*item, at + 1)])
            .collect();
        next.push(Vec::new());
        let mut last = vec![(0, 0)];
        last.extend(steps.map(|(at, item)| (*item, at)));
        Self { next, last }
    }

    pub(super) fn len(&self) -> usize {
        self.next.len()
    }

    /// The items of a down-set.
    pub(super) fn items(&self, mut set: usize) -> Vec<usize> {
        let mut items = Vec::new();
        while set > 0 {
            let (item, before) = self.last[set];
            items.push(item);
            set = before;
        }
        items.sort_unstable();
        items
    }

    /// Of every down-set, whether it holds each item.
    pub(super) fn held(&self, n_items: usize) -> Vec<Vec<bool>> {
        let mut held = vec![vec![false; n_items]; self.len()];
        for set in 1..self.len() {
            let (item, before) = self.last[set];
            held[set] = held[before].clone();
            held[set][item] = true;
        }
        held
    }

    /// What each down-set adds up to.
    pub(super) fn sums(&self, of: impl Fn(usize) -> f64) -> Vec<f64> {
        let mut sums = vec![0.0; self.len()];
        for set in 1..self.len() {
            let (item, before) = self.last[set];
            sums[set] = sums[before] + of(item);
        }
        sums
    }
}
