//! A tensor as a GGUF file stores it: what it takes where, and which unit of the chain holds it.

use crate::cost::memory::Allocator;
use crate::cost::{Unit, memory};
use crate::model::format::Format;
use crate::model::{BlockId, Kind, Part, Tensor};
use crate::units::Bytes;

/// A tensor and the format that it has in the file.
pub(super) struct Stored<'a> {
    pub(super) tensor: &'a Tensor,
    pub(super) format: Format,
}

impl Stored<'_> {
    pub(super) fn bytes(&self) -> Bytes {
        self.tensor.bytes(self.format)
    }

    /// What RAM it takes.
    pub(super) fn cpu(&self) -> Bytes {
        allocated(self.tensor, self.format, memory::CPU)
    }

    /// What CUDA allocates for it.
    pub(super) fn cuda(&self) -> Bytes {
        allocated(self.tensor, self.format, memory::CUDA)
    }
}

/// What a tensor takes: aligned, and on CUDA with the last quantised row padded.
pub fn allocated(tensor: &Tensor, format: Format, allocator: Allocator) -> Bytes {
    allocator.matrix(format, tensor.rows(), tensor.columns())
}

/// Whether a unit holds a tensor.
#[derive(Clone, Copy)]
pub(super) enum Held {
    No,
    Own,
    Copy,
}

/// Norms behind the embedding go with the first block, the final norm with the head; a model
/// without a head of its own copies the embedding.
pub(super) fn held(tensor: &Tensor, unit: Unit, has_head: bool) -> Held {
    let own = |is: bool| if is { Held::Own } else { Held::No };
    match (tensor.part, unit) {
        (Part::Attention(_) | Part::FeedForward(_), _) => own(belongs(tensor, unit)),
        (Part::Embedding, Unit::Block(0)) => own(tensor.kind != Kind::Embedding),
        (Part::Embedding, Unit::Head) if !has_head && tensor.kind == Kind::Embedding => Held::Copy,
        (Part::FinalNorm | Part::Head, Unit::Head) => Held::Own,
        _ => Held::No,
    }
}

/// For each unit of a chain of blocks and a head, the tensors that it may hold.
pub(super) fn by_unit<'a, 'b>(
    tensors: &'b [Stored<'a>],
    n_units: usize,
) -> Vec<Vec<&'b Stored<'a>>> {
    let mut by_unit = vec![Vec::new(); n_units];
    let head = n_units - 1;
    for stored in tensors {
        let units = match stored.tensor.part {
            Part::Attention(BlockId(block)) | Part::FeedForward(BlockId(block)) => {
                [Some(block as usize), None]
            }
            Part::Embedding => [Some(0), Some(head)],
            Part::FinalNorm | Part::Head => [Some(head), None],
            Part::Everywhere | Part::Tower | Part::NextToken(_) => [None, None],
        };
        for unit in units.into_iter().flatten().filter(|unit| *unit < n_units) {
            by_unit[unit].push(stored);
        }
    }
    by_unit
}

/// Whether a tensor is one of a block's.
fn belongs(tensor: &Tensor, unit: Unit) -> bool {
    match (tensor.part, unit) {
        (Part::Attention(block) | Part::FeedForward(block), Unit::Block(unit)) => block.0 == unit,
        _ => false,
    }
}
