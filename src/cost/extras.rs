//! What the extras of a model take in llama.cpp, and where.
//!
//! Adapters lie with the matrices that they adapt, so their weights are priced with these. A
//! projector and a draft model stand whole on the first GPU of the chain, or in RAM where there is
//! none. Facts from llama.cpp 0c1e57098 (`src/llama-adapter.cpp`, `tools/mtmd/clip.cpp`,
//! `common/speculative.cpp`), read and not measured: weights and cache follow to the byte, compute
//! buffers of adapters and projectors are the bounds and guesses that stand below.

use std::ops::AddAssign;

use crate::cost::llama_cpp::{Ahead, LlamaCpp, allocated};
use crate::cost::memory::{self, Allocator};
use crate::cost::{Memory, Target};
use crate::hardware::Rig;
use crate::model::{Extras, Kind, Model, Precision, PrecisionError, Projector, Tensor};
use crate::units::Bytes;
use crate::workload::Workload;

/// A projector's buffer is counted so many times as large as [`image_buffer`] makes it. A guess: it
/// is between half of that and this, for towers that keep more, merge windows or tile their images.
const IMAGE_MARGIN: u64 = 3;
/// The buffer of a projector without a tower for images. A guess.
const SOUND_BUFFER: Bytes = Bytes::mib(256);

/// What one extra takes besides its matrices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// On the first GPU of the chain; in RAM where no GPU is used.
    pub first: Memory,
    /// In RAM in any case.
    pub host: Memory,
}

/// What both places take where the chain uses a GPU, and where it does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// Beside a chain on GPUs.
    pub on_gpu: Beside,
    /// Beside a chain in RAM.
    pub in_ram: Beside,
}

impl AddAssign for Beside {
    fn add_assign(&mut self, other: Self) {
        self.first += other.first;
        self.host += other.host;
    }
}

impl AddAssign for Extra {
    fn add_assign(&mut self, other: Self) {
        self.on_gpu += other.on_gpu;
        self.in_ram += other.in_ram;
    }
}

/// What a projector and a draft model take, in this order.
///
/// # Errors
/// Where llama.cpp cannot load the draft model's precision.
pub fn beside(
    extras: &Extras,
    rig: &Rig,
    workload: &Workload,
) -> Result<[Option<Extra>; 2], PrecisionError> {
    let projector = extras.projector.as_ref().map(|projector| {
        let on = |allocator| Beside {
            first: of_projector(projector, allocator),
            host: Memory::default(),
        };
        Extra {
            on_gpu: on(memory::CUDA),
            in_ram: on(memory::CPU),
        }
    });
    let draft = match &extras.draft {
        Some(draft) => Some(of_draft(draft, rig, workload)?),
        None => None,
    };
    Ok([projector, draft])
}

/// What the context of blocks ahead takes for its graph.
///
/// # Errors
/// Where llama.cpp cannot load that precision.
pub fn ahead(
    model: &Model,
    precision: Precision,
    rig: &Rig,
    workload: &Workload,
) -> Result<Option<Ahead>, PrecisionError> {
    match model.extras.ahead {
        Some(_) => Ok(LlamaCpp::new(model, precision, rig, workload)?.ahead()),
        None => Ok(None),
    }
}

/// The precision of a draft model: what its file has, or what people use who name none.
pub fn draft_precision(draft: &Model) -> Precision {
    Target::LlamaCpp.usual_precision(draft)
}

/// Stored tensors of adapters as llama.cpp allocates them.
pub fn adapter_tensor(tensor: &Tensor, allocator: Allocator) -> Bytes {
    let format = tensor.stored;
    format.map_or(Bytes::ZERO, |format| allocated(tensor, format, allocator))
}

/// What adapters add to the graph of a micro-batch at most: what `A` and `B` give for the widest
/// matrix, in 32 bits; scaling and adding reuse it. Of experts every one that a token passes.
///
/// Source: `llm_graph_context::build_lora_mm` and `build_lora_mm_id` (`src/llama-graph.cpp`).
pub fn adapter_buffer(model: &Model, workload: &Workload) -> Bytes {
    let used = model.dimensions.experts.map_or(1, |experts| experts.used);
    let adapters = model.extras.adapters.iter();
    let pairs = adapters.flat_map(|adapter| adapter.tensors.chunks(2));
    let width = |pair: &[Tensor]| {
        let rows = pair.iter().map(|tensor| {
            let experts = if tensor.kind == Kind::Experts {
                used
            } else {
                1
            };
            // The row count of one matrix, whatever experts stand before it.
            let [.., rows, _] = tensor.dims.as_slice() else {
                return 0;
            };
            rows * experts
        });
        rows.sum::<u64>()
    };
    Bytes(4 * pairs.map(width).max().unwrap_or(0)) * workload.ubatch.0
}

/// A projector: its weights to the byte, and a buffer that is a guess.
fn of_projector(projector: &Projector, allocator: Allocator) -> Memory {
    let weights = projector.tensors.iter();
    Memory {
        weights: weights
            .map(|tensor| adapter_tensor(tensor, allocator))
            .sum(),
        compute: image_buffer(projector).map_or(SOUND_BUFFER, |buffer| buffer * IMAGE_MARGIN),
        ..Memory::default()
    }
}

/// Activations of one image in a block of the tower, in 32 bits: the feed-forward's inside twice, and
/// four vectors of its width (stream, norm, queries and output), with flash attention. An estimate.
pub fn image_buffer(projector: &Projector) -> Option<Bytes> {
    let image = projector.image?;
    Some(Bytes(
        4 * image.patches * (2 * image.ffn + 4 * image.hidden),
    ))
}

/// A draft model whole on one device: its weights, a cache of the same context, and its buffers; the
/// device's own loss is counted once, with the model.
fn of_draft(draft: &Model, rig: &Rig, workload: &Workload) -> Result<Extra, PrecisionError> {
    let accounting = LlamaCpp::new(draft, draft_precision(draft), rig, workload)?.into_draft();
    Ok(Extra {
        on_gpu: accounting.whole_on_gpu(),
        in_ram: accounting.whole_in_ram(),
    })
}
