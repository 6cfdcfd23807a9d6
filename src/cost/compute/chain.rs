//! The smallest chains of blocks and devices that stand for all whose buffers are the same. Not here:
//! what such a chain takes.

use std::ops::Range;

use super::{Compute, STREAMED_BATCH};
use crate::cost::{Layout, Matrices, Parts, Position, Whole};

/// A chain that stands for all that are alike: blocks by kind, in the order of the chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chain {
    pub(super) flow: Flow,
    pub(super) host: Vec<usize>,
    /// Blocks of each device; the head is on the last.
    pub(super) devices: Vec<Vec<Member>>,
}

/// All of a layout that a chain does not tell by where its blocks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flow {
    /// Micro-batches overlap.
    Pipelined,
    /// They do not, and norms are computed on the device of their block.
    Pinned,
    /// Nor are norms.
    Free,
}

/// A block of a chain, on a device, and what of it is in RAM. That streams, so its formats count: the
/// largest ones of the model stand for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    pub(super) kind: usize,
    pub(super) in_ram: Option<Matrices>,
}

/// A device of a chain, or behind all devices the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) chain: Chain,
    pub(super) index: usize,
}

impl Compute {
    /// The chain of a first device through which the matrices of all blocks before it stream.
    pub(super) fn streamed_to(
        &self,
        layout: Layout,
        position: Position,
        units: &Range<usize>,
    ) -> Option<Asked> {
        let streams = layout.whole() == Whole::FirstUnits && position == Position::First;
        (streams && units.start > 1).then(|| self.chain_behind(layout, units))
    }

    /// A chain in which a device has these units.
    pub(super) fn chain_of(
        &self,
        layout: Layout,
        position: Position,
        units: &Range<usize>,
    ) -> Asked {
        let n_blocks = self.shape.blocks.len();
        let (blocks, has_head) = (units.start..units.end.min(n_blocks), units.end > n_blocks);
        let host = match (layout.whole(), units.start) {
            (Whole::FirstUnits, 1..) => self.stored.sample(0..1),
            _ => Vec::new(),
        };
        let mut devices = match (position, units.start.checked_sub(1)) {
            (Position::Later, Some(before)) => vec![self.one(layout, before)],
            (Position::Later, None) | (Position::First, _) => Vec::new(),
        };
        let index = devices.len();
        devices.push(self.sample(layout, blocks));
        let in_ram = units.end..layout.parts().units().end.min(n_blocks);
        if position == Position::First && !in_ram.is_empty() {
            // The first device also computes prompts with the parts behind its own blocks.
            devices.push(self.sample(layout, in_ram));
        }
        if !has_head {
            // Whatever comes later has at least the head, and the last block if nobody had it yet.
            devices.push(match units.end < n_blocks {
                true => self.one(layout, n_blocks - 1),
                false => Vec::new(),
            });
        }
        let chain = Chain {
            flow: self.flow(layout),
            host,
            devices,
        };
        Asked { chain, index }
    }

    /// A chain whose first device computes for the blocks before these units, and has one of each
    /// kind of these: inputs that both read stay between.
    pub(super) fn chain_behind(&self, layout: Layout, units: &Range<usize>) -> Asked {
        let n_blocks = self.shape.blocks.len();
        let own = units.start.min(n_blocks)..units.end.min(n_blocks);
        let own_kinds = self.kinds.within(own.clone());
        let chain = Chain {
            flow: self.flow(layout),
            host: self.stored.sample(0..own.start),
            devices: vec![
                own_kinds.map(Member::whole).collect(),
                self.one(Layout::OFFLOADED, n_blocks - 1),
            ],
        };
        Asked { chain, index: 0 }
    }

    pub(super) fn one(&self, layout: Layout, block: usize) -> Vec<Member> {
        self.sample(layout, block..block + 1)
    }

    /// Blocks that stand for a run of them on a device.
    pub(super) fn sample(&self, layout: Layout, run: Range<usize>) -> Vec<Member> {
        let Parts { matrices, .. } = layout.parts();
        let cut = layout.parts().units().end.clamp(run.start, run.end);
        let in_ram = self.kinds.sample(run.start..cut).into_iter();
        let in_ram = in_ram.map(|kind| Member {
            kind,
            in_ram: Some(matrices),
        });
        let beside = self.kinds.sample(cut..run.end).into_iter();
        in_ram.chain(beside.map(Member::whole)).collect()
    }

    pub(super) fn flow(&self, layout: Layout) -> Flow {
        let leaves_blocks = layout.whole() == Whole::FirstUnits || layout.is_host_only();
        match layout {
            Layout::Pipelined => Flow::Pipelined,
            _ if leaves_blocks && self.batch.tokens >= STREAMED_BATCH => Flow::Free,
            _ => Flow::Pinned,
        }
    }
}

impl Member {
    pub(super) fn whole(kind: usize) -> Self {
        Self { kind, in_ram: None }
    }
}
