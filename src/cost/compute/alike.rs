//! Layouts and stages with the same chains, so that their buffer is asked for once.
//!
//! Layouts differ in how many first blocks leave parts in RAM, stages in their blocks. What chains
//! stand for a stage is in `compute.rs`; here is only which of them are equal.

use std::cmp::Ordering;
use std::ops::Range;

use super::Compute;
use super::kinds::EDGE;
use crate::cost::{Below, Layout, Parts, Position, Store, Whole};

impl Compute {
    /// A layout in which a stage has the same chains: parts are in RAM of fewer blocks, or of none,
    /// where neither the stage nor its neighbours in the chain can tell.
    pub(super) fn like(&self, layout: Layout, position: Position, units: &Range<usize>) -> Layout {
        let Layout::Offloaded(below) = layout else {
            return layout;
        };
        let n_blocks = self.shape.blocks.len();
        let in_ram = below.parts.units().end;
        let blocks = units.start..units.end.min(n_blocks);
        let first_told = match position {
            Position::First => units.start,
            // The block before it is on another device of its chain.
            Position::Later => units.start.saturating_sub(1),
        };
        let told = match position {
            _ if in_ram <= first_told => 0,
            // The last block is in a chain of its own.
            _ if in_ram >= n_blocks => in_ram,
            _ if in_ram <= blocks.end => self.kinds.like_cut(&blocks, in_ram),
            // The first device computes prompts with the parts behind its own blocks.
            Position::First => self.kinds.like_end(blocks.end, in_ram),
            Position::Later => blocks.end,
        };
        let parts = match u32::try_from(told) {
            Ok(0) | Err(_) => Parts::NONE,
            Ok(n_blocks) => Parts {
                n_blocks,
                ..below.parts
            },
        };
        Layout::Offloaded(Below {
            parts,
            store: Store::Ram,
            ..below
        })
    }
}

impl Compute {
    /// A start and a length, with the kind of end, that are the same only for stages with the same
    /// chains: where all blocks are of one kind, only few of a stage count. `layout` is one that
    /// [`like`](Self::like) gave.
    pub(super) fn like_units(
        &self,
        layout: Layout,
        position: Position,
        units: &Range<usize>,
    ) -> (usize, usize) {
        let n_blocks = self.shape.blocks.len();
        let end = match units.end.cmp(&n_blocks) {
            Ordering::Less => 0,
            Ordering::Equal => 1,
            Ordering::Greater => 2,
        };
        let length = units.end.min(n_blocks) - units.start.min(n_blocks);
        if self.kinds.n() > 1 || layout.parts() != Parts::NONE {
            return (units.start, length * 3 + end);
        }
        // What streams through the first device is of the blocks before it.
        let streams = layout.whole() == Whole::FirstUnits && position == Position::First;
        let start = match units.start {
            start @ (0 | 1) => start,
            start if streams => 2 + self.stored.like_prefix(start.min(n_blocks)),
            _ => 2,
        };
        (start, length.min(2 * EDGE) * 3 + end)
    }

    /// Of the units from one on, the first of each kind of those whose stages of one unit, behind
    /// others, have the same chains.
    pub fn unlike_alone(&self, layout: Layout, from: usize) -> Vec<usize> {
        let n_blocks = self.shape.blocks.len();
        let in_ram = layout.parts().units();
        let kind = |block: usize| (self.kinds.of.get(block), in_ram.contains(&block));
        let mut known = Vec::new();
        let mut is_new = |unit: &usize| {
            let end = (unit + 1).cmp(&n_blocks);
            let like = (kind(unit.saturating_sub(1)), kind(*unit), end);
            let is_new = !known.contains(&like);
            known.extend(is_new.then_some(like));
            is_new
        };
        (from..=n_blocks).filter(&mut is_new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::cost::Matrices;
    use crate::cost::graph::{GraphShape, samples};
    use crate::workload::Workload;

    /// More than a stage's samples hold of a kind, so that cuts can be deep within a stage.
    const N_BLOCKS: usize = 32;

    /// Buffers of graphs of each sample, with more blocks.
    fn computes() -> impl Iterator<Item = Compute> {
        let workload = Workload::of_context(crate::units::Tokens(4096));
        samples::all().into_iter().map(move |sample| {
            let blocks = sample.blocks.iter().cycle().take(N_BLOCKS).copied();
            let shape = GraphShape {
                blocks: blocks.collect(),
                ..sample
            };
            Compute::new(shape, &workload)
        })
    }

    fn stages() -> impl Iterator<Item = (Position, Range<usize>)> {
        let runs = (0..=N_BLOCKS).flat_map(|start| {
            let ends = start + 1..=N_BLOCKS + 1;
            ends.map(move |end| start..end)
        });
        runs.flat_map(|units| [Position::First, Position::Later].map(|it| (it, units.clone())))
    }

    fn below(whole: Whole, in_ram: usize) -> Layout {
        Layout::Offloaded(Below {
            whole,
            parts: Parts {
                matrices: Matrices::FeedForward,
                n_blocks: in_ram as u32,
            },
            store: Store::Ram,
        })
    }

    #[test]
    fn a_stage_that_cannot_tell_layouts_apart_has_the_same_chain_in_each() {
        let mut n_shared = 0;
        for compute in computes() {
            for in_ram in 0..=N_BLOCKS {
                let layouts = [Whole::Nothing, Whole::FirstUnits].map(|it| below(it, in_ram));
                for layout in layouts {
                    for (position, units) in stages() {
                        let like = compute.like(layout, position, &units);
                        let own = compute.chain_of(layout, position, &units).chain;
                        let other = compute.chain_of(like, position, &units).chain;
                        assert_eq!(own, other, "{layout:?} {position:?} {units:?}");
                        n_shared += usize::from(like != layout);
                    }
                }
            }
        }
        assert!(n_shared > 0);
    }

    #[test]
    fn every_stage_of_one_unit_has_the_chain_of_one_that_is_unlike_all_before() {
        for compute in computes() {
            for layout in [
                Layout::Sequential,
                below(Whole::FirstUnits, 20),
                below(Whole::Nothing, 5),
            ] {
                let chain =
                    |unit: usize| compute.chain_of(layout, Position::Later, &(unit..unit + 1));
                let unlike = compute.unlike_alone(layout, 1);
                assert!(unlike.len() < N_BLOCKS, "{layout:?} {unlike:?}");
                for unit in 1..=N_BLOCKS {
                    let own = chain(unit);
                    assert!(
                        unlike.iter().any(|other| chain(*other) == own),
                        "{layout:?} {unit}"
                    );
                }
            }
        }
    }

    #[test]
    fn stages_that_are_alike_have_the_same_chains() {
        let mut n_shared = 0;
        for compute in computes() {
            let mut known = BTreeMap::new();
            let layouts = [
                Layout::OneDevice,
                Layout::Pipelined,
                Layout::Sequential,
                Layout::OFFLOADED,
                below(Whole::Nothing, 5),
                below(Whole::FirstUnits, 20),
            ];
            for layout in layouts {
                for (position, units) in stages() {
                    let like = compute.like(layout, position, &units);
                    let key = (like, position, compute.like_units(like, position, &units));
                    let chains = (
                        compute.chain_of(like, position, &units),
                        compute.streamed_to(like, position, &units),
                    );
                    n_shared += usize::from(known.contains_key(&key));
                    let first = known.entry(key).or_insert_with(|| chains.clone());
                    assert_eq!(*first, chains, "{layout:?} {position:?} {units:?}");
                }
            }
        }
        assert!(n_shared > 0);
    }
}
