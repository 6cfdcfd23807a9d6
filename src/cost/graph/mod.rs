//! llama.cpp's compute buffers, by a replay of its graph, its scheduler and its allocator.
//!
//! Sizes only, and each to the byte: a [`GraphShape`] says what a model is made of, a [`Batch`] how
//! much it computes at once, a [`Placement`] where; [`buffers`] answers with what the graph
//! allocator reserves on each device. Source: llama.cpp 0c1e57098, files named in each module.

mod allocate;
mod attention;
mod build;
mod feed_forward;
mod formats;
mod latent;
mod of_model;
mod recurrent;
#[cfg(test)]
pub(crate) mod samples;
mod schedule;
mod shape;
mod tensor;

use crate::cost::Place;
use crate::model::format::Format;
use crate::units::Bytes;

pub use formats::{Formats, Matrix};
pub use of_model::shape;
pub use shape::*;

use schedule::Rules;
use tensor::Backend;

/// What one micro-batch computes, and what it looks back at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Tokens of all sequences.
    pub tokens: u64,
    /// Tokens that a micro-batch could have.
    pub ubatch: u64,
    /// Rows of logits.
    pub outputs: u64,
    /// Sequences.
    pub sequences: u64,
    /// Caches that a layer keeps apart: one for each sequence, or one for all.
    pub streams: u64,
    /// Cells of one stream.
    pub cells: u64,
    /// How keys are stored.
    pub keys: Format,
    /// How values are stored.
    pub values: Format,
    /// Whether scores are never written down.
    pub flash: bool,
    /// Whether flash attention unpacks a cache to 16 bits beside its result, as CUDA's does.
    pub unpacks: bool,
}

impl Batch {
    /// Cells of one stream in a layer that looks back at most `window` tokens.
    ///
    /// Source: `src/llama-kv-cache-iswa.cpp`.
    pub(crate) fn window_cells(&self, window: u64) -> u64 {
        let of_all = window.saturating_mul(self.sequences) / self.streams + self.ubatch;
        self.cells.min(of_all).next_multiple_of(256)
    }
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// Its device, or the host.
    pub place: Place,
    /// Where the matrices lie that a router chooses.
    pub experts: Place,
    /// Where those of a dense feed-forward lie.
    pub dense: Place,
}

impl BlockPlace {
    /// All of a block in one place.
    pub fn whole(place: Place) -> Self {
        Self {
            place,
            experts: place,
            dense: place,
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Devices; [`Place::Device`] counts them from 0 in their order.
    pub n_devices: usize,
    /// The place of each block.
    pub blocks: Vec<BlockPlace>,
    /// The place of the head.
    pub head: Place,
    /// Whether micro-batches overlap, for which inputs are held four times.
    pub pipelined: bool,
    /// Whether norms are computed on the device of their block: llama.cpp asks for it where nothing
    /// is left to the host, or a micro-batch has fewer than 32 tokens.
    pub pins_norms: bool,
    /// Whether weights in RAM are copied to the first device for prompts.
    pub streams: bool,
}

impl Placement {
    fn host(&self) -> Backend {
        Backend(self.n_devices as u8)
    }
}

/// The buffer of each device, and last that of the host.
pub fn buffers(shape: &GraphShape, batch: &Batch, placement: &Placement) -> Vec<Bytes> {
    let mut tape = build::build(shape, batch, placement);
    let host = placement.host();
    let rules = Rules {
        host,
        pipelined: placement.pipelined,
        streams: placement.streams,
    };
    let schedule = schedule::schedule(&mut tape, rules);
    let buffers = allocate::buffers(&tape, &schedule, host, batch.unpacks);
    buffers.into_iter().map(Bytes).collect()
}

#[cfg(test)]
mod tests;
