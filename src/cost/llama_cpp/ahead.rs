//! The context in which a block predicts tokens further ahead: it shares the weights of the model.

use super::LlamaCpp;
use crate::cost::compute::Compute;
use crate::cost::graph::{self, GraphShape};
use crate::cost::{Layout, Position, Span};
use crate::model::format::Format;
use crate::model::{Model, Tensor};
use crate::units::Bytes;

/// What that context takes for its graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Where the block is.
    pub own: Bytes,
    /// In RAM.
    pub host: Bytes,
}

/// The graph of the model, to which blocks ahead are empty slots; and where it has such blocks, the
/// last of them and a graph in which they compute.
pub(super) fn shapes(
    model: &Model,
    tensors: &[(&Tensor, Format)],
) -> (GraphShape, Option<(usize, GraphShape)>) {
    let whole = graph::shape(model, tensors);
    let Some(blocks) = &model.extras.ahead else {
        return (whole, None);
    };
    let mut trunk = model.clone();
    for block in blocks.clone() {
        if let Some(block) = trunk.blocks.get_mut(block as usize) {
            block.caches.clear();
        }
    }
    let own = tensors
        .iter()
        .filter(|(tensor, _)| !model.extras.is_ahead(tensor));
    let own: Vec<_> = own.copied().collect();
    let last = (blocks.end as usize).saturating_sub(1);
    (graph::shape(&trunk, &own), Some((last, whole)))
}

impl Ahead {
    /// The buffer of one block and the head with one row of logits a sequence, and beside it three
    /// residual streams: the embedding, and both halves of what the block begins with. An estimate,
    /// as its graph (`graph_mtp` in `src/models`) is not replayed.
    pub(super) fn new(compute: &Compute, last: usize) -> Self {
        let compute = compute.clone().with_one_output_a_sequence();
        let buffer = compute.device(Layout::OneDevice, Position::First, &(last..last + 2));
        Self {
            own: buffer.compute + buffer.unpacked + compute.residual_stream() * 3,
            host: compute.host(Layout::OneDevice, 0) + compute.output_buffer(),
        }
    }
}

impl LlamaCpp<'_> {
    /// What the context ahead takes where a stage has its block.
    pub(super) fn ahead_on(&self, span: &Span) -> Bytes {
        match self.ahead {
            Some((last, ahead)) if span.units.contains(&last) => ahead.own,
            Some(_) | None => Bytes::ZERO,
        }
    }

    /// What the context ahead takes, where there is one.
    pub(in crate::cost) fn ahead(&self) -> Option<Ahead> {
        self.ahead.map(|(_, ahead)| ahead)
    }
}
