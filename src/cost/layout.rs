//! How a target may lay out a chain: on GPUs alone, or with some of it in the tiers below them.
//!
//! What is below is a part of the layout where it decides what RAM holds in every plan: then the
//! price of a stage depends on the stage alone.

use std::ops::Range;

use crate::cost::served::Shape;

/// How a target may lay out a chain; each is a problem of its own, tried in the order of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// Everything on one GPU.
    OneDevice,
    /// Everything on GPUs, and micro-batches overlap (llama.cpp: inputs are held four times).
    Pipelined,
    /// Everything on GPUs, one after the other.
    Sequential,
    /// On GPUs, but for what is below them.
    Offloaded(Below),
    /// No GPU at all.
    HostOnly(Store),
    /// A pipeline of groups of GPUs, with a cache of pages in what is left (vLLM, SGLang).
    Served(Shape),
}

/// What is not on GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Below {
    /// Whether first units are there as a whole.
    pub whole: Whole,
    /// What is there of further blocks.
    pub parts: Parts,
    /// What holds the weights.
    pub store: Store,
}

/// Whether units are below the GPUs as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whole {
    /// None.
    Nothing,
    /// At least the first one: on the CPU (llama.cpp), or streamed to the first GPU (transformers).
    FirstUnits,
}

/// Of the first blocks of the chain some matrices are in RAM, and the CPU computes them, while the
/// rest of these blocks is on a GPU (llama.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts {
    /// Which.
    pub matrices: Matrices,
    /// Of how many first blocks, those that are below as a whole included.
    pub n_blocks: u32,
}

/// Matrices that may be apart from their block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matrices {
    /// Those that a router chooses (`-ncmoe`).
    Experts,
    /// A dense feed-forward (`-ncffn`).
    FeedForward,
}

/// What holds the weights that are not on GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    /// RAM, all of them.
    Ram,
    /// RAM as many as fit; the others are read from disk for every token.
    Disk,
}

impl Parts {
    /// No part of any block.
    pub const NONE: Self = Self {
        matrices: Matrices::Experts,
        n_blocks: 0,
    };

    /// The units that have a part in RAM, where they are not there as a whole.
    pub fn units(self) -> Range<usize> {
        0..self.n_blocks as usize
    }
}

impl Layout {
    /// The first units in RAM.
    pub const OFFLOADED: Self = Self::whole_and(Parts::NONE);
    /// No GPU, and all in RAM.
    pub const HOST_ONLY: Self = Self::HostOnly(Store::Ram);

    /// Parts of the first blocks in RAM.
    pub const fn parts_alone(parts: Parts) -> Self {
        Self::Offloaded(Below {
            whole: Whole::Nothing,
            parts,
            store: Store::Ram,
        })
    }

    /// The first units in RAM, and parts of further blocks.
    pub const fn whole_and(parts: Parts) -> Self {
        Self::Offloaded(Below {
            whole: Whole::FirstUnits,
            parts,
            store: Store::Ram,
        })
    }

    /// The same with the weights that are not on GPUs in another store.
    #[must_use]
    pub fn held_by(self, store: Store) -> Self {
        match self {
            Self::OneDevice | Self::Pipelined | Self::Sequential | Self::Served(_) => self,
            Self::Offloaded(below) => Self::Offloaded(Below { store, ..below }),
            Self::HostOnly(_) => Self::HostOnly(store),
        }
    }

    /// What is not on GPUs, where some of the chain is on them.
    fn below(self) -> Option<Below> {
        match self {
            Self::Offloaded(below) => Some(below),
            Self::OneDevice
            | Self::Pipelined
            | Self::Sequential
            | Self::HostOnly(_)
            | Self::Served(_) => None,
        }
    }

    /// What is in RAM of blocks that are on a GPU.
    pub fn parts(self) -> Parts {
        self.below().map_or(Parts::NONE, |below| below.parts)
    }

    /// Whether first units are below the GPUs as a whole.
    pub fn whole(self) -> Whole {
        self.below().map_or(Whole::Nothing, |below| below.whole)
    }

    /// What holds the weights that are not on GPUs.
    pub fn store(self) -> Store {
        match self {
            Self::Offloaded(Below { store, .. }) | Self::HostOnly(store) => store,
            Self::OneDevice | Self::Pipelined | Self::Sequential | Self::Served(_) => Store::Ram,
        }
    }

    /// How an engine uses the cards, where it is one that serves.
    pub fn shape(self) -> Option<Shape> {
        match self {
            Self::Served(shape) => Some(shape),
            Self::OneDevice
            | Self::Pipelined
            | Self::Sequential
            | Self::Offloaded(_)
            | Self::HostOnly(_) => None,
        }
    }

    /// Whether no GPU takes part.
    pub fn is_host_only(self) -> bool {
        matches!(self, Self::HostOnly(_))
    }

    /// The units that may end a run of whole ones below the GPUs, of a chain of so many.
    pub fn ends_of_whole(self, n_units: usize) -> Range<usize> {
        match (self, self.parts().n_blocks) {
            (Self::HostOnly(_), _) => n_units..n_units + 1,
            (Self::Offloaded(below), _) if below.whole == Whole::Nothing => 0..0,
            (Self::Offloaded(_), 0) => 1..n_units,
            // Behind the parts there are none: that is the layout without parts.
            (Self::Offloaded(_), n_blocks) => 1..n_units.min(n_blocks as usize),
            (Self::OneDevice | Self::Pipelined | Self::Sequential | Self::Served(_), _) => 0..0,
        }
    }
}
