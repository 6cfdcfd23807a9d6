//! Blocks by what they have in common, and few that stand for a run of many.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::cost::graph::BlockShape;

/// Of the blocks of a kind that one device has, as many of the first and of the last as change its
/// buffer: held against whole graphs in the tests of `cost/compute`.
pub(super) const EDGE: usize = 3;

/// Blocks by kind.
#[derive(Clone, Debug)]
pub(super) struct Kinds {
    /// The kind of each block.
    pub(super) of: Vec<usize>,
    /// The blocks of each kind, of which there is one at least.
    by_kind: Vec<Vec<usize>>,
    /// How many blocks of each kind there are before each block, and before the end.
    before: Vec<Vec<usize>>,
    /// The first prefix of the blocks that has the same sample as that to each block, and to the end.
    prefixes: Vec<usize>,
}

impl Kinds {
    pub(super) fn new(blocks: &[BlockShape]) -> Self {
        let mut by_kind: Vec<Vec<usize>> = Vec::new();
        let mut of = Vec::new();
        for (index, block) in blocks.iter().enumerate() {
            let known = by_kind.iter().position(|kind| blocks[kind[0]] == *block);
            of.push(known.unwrap_or(by_kind.len()));
            match known {
                Some(kind) => by_kind[kind].push(index),
                None => by_kind.push(vec![index]),
            }
        }
        let mut before = vec![vec![0; by_kind.len()]];
        for kind in &of {
            let mut counts = before[before.len() - 1].clone();
            counts[*kind] += 1;
            before.push(counts);
        }
        let mut kinds = Self {
            of,
            by_kind,
            before,
            prefixes: Vec::new(),
        };
        let mut samples: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        let ends = 0..kinds.before.len();
        let alike = |end| *samples.entry(kinds.sample(0..end)).or_insert(end);
        kinds.prefixes = ends.map(alike).collect();
        kinds
    }

    /// How many kinds there are.
    pub(super) fn n(&self) -> usize {
        self.by_kind.len()
    }

    /// The first block of a kind.
    pub(super) fn first(&self, kind: usize) -> usize {
        self.by_kind[kind][0]
    }

    /// The kinds of a run of blocks.
    pub(super) fn within(&self, run: Range<usize>) -> impl Iterator<Item = usize> {
        let (from, to) = (&self.before[run.start], &self.before[run.end]);
        (0..self.n()).filter(|kind| to[*kind] > from[*kind])
    }

    /// The first prefix of the blocks with the same sample as that to `end`.
    pub(super) fn like_prefix(&self, end: usize) -> usize {
        self.prefixes[end]
    }

    /// The least cut of a run that leaves the same samples before and behind it as `cut` does.
    pub(super) fn like_cut(&self, run: &Range<usize>, cut: usize) -> usize {
        let is_deep = cut >= run.start + 2 * EDGE && cut + 2 * EDGE <= run.end;
        match self.n() {
            1 if is_deep => run.start + 2 * EDGE,
            _ => cut,
        }
    }

    /// The least end of a run from `start` that has the same sample as that to `end`.
    pub(super) fn like_end(&self, start: usize, end: usize) -> usize {
        match self.n() {
            1 => end.min(start + 2 * EDGE),
            _ => end,
        }
    }

    /// Kinds that stand for a run of blocks: the first and the last of each kind, in their order.
    pub(super) fn sample(&self, run: Range<usize>) -> Vec<usize> {
        let (from, to) = (&self.before[run.start], &self.before[run.end]);
        let mut blocks: Vec<usize> = Vec::new();
        for (kind, own) in self.by_kind.iter().enumerate() {
            let own = &own[from[kind]..to[kind]];
            let first = own.len().min(EDGE);
            let last = own.len().saturating_sub(EDGE).max(first);
            blocks.extend(own[..first].iter().chain(&own[last..]));
        }
        blocks.sort_unstable();
        blocks.into_iter().map(|block| self.of[block]).collect()
    }
}
