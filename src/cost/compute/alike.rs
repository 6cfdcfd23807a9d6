//! Layouts that a stage cannot tell apart, so that its buffer is asked for once.
//!
//! They differ in how many first blocks leave parts in RAM. What chains stand for a stage is in
//! `compute.rs`; here is only which of them are equal.

use std::ops::Range;

use super::Compute;
use crate::cost::{Below, Layout, Parts, Position, Store};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::graph::{GraphShape, samples};
    use crate::cost::{Matrices, Whole};
    use crate::workload::Workload;

    /// More than a stage's samples hold of a kind, so that cuts can be deep within a stage.
    const N_BLOCKS: usize = 32;

    #[test]
    fn a_stage_that_cannot_tell_layouts_apart_has_the_same_chain_in_each() {
        let workload = Workload::of_context(crate::units::Tokens(4096));
        let mut n_shared = 0;
        for sample in samples::all() {
            let blocks = sample.blocks.iter().cycle().take(N_BLOCKS).copied();
            let shape = GraphShape {
                blocks: blocks.collect(),
                ..sample.clone()
            };
            let compute = Compute::new(shape, &workload);
            for in_ram in 0..=N_BLOCKS {
                for whole in [Whole::Nothing, Whole::FirstUnits] {
                    let parts = Parts {
                        matrices: Matrices::FeedForward,
                        n_blocks: in_ram as u32,
                    };
                    let layout = Layout::Offloaded(Below {
                        whole,
                        parts,
                        store: Store::Ram,
                    });
                    for start in 0..=N_BLOCKS {
                        for end in start + 1..=N_BLOCKS + 1 {
                            for position in [Position::First, Position::Later] {
                                let units = start..end;
                                let like = compute.like(layout, position, &units);
                                let own = compute.chain_of(layout, position, &units).chain;
                                let other = compute.chain_of(like, position, &units).chain;
                                assert_eq!(own, other, "{layout:?} {position:?} {units:?}");
                                n_shared += usize::from(like != layout);
                            }
                        }
                    }
                }
            }
        }
        assert!(n_shared > 0);
    }
}
