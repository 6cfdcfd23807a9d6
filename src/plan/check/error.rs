//! What the checks of a plan find wrong with it. Not here: the checks.

use crate::cost::Matrices;
use crate::model::{Precision, PrecisionError};
use crate::units::Bytes;
use crate::workload::WorkloadError;

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A layer is nowhere, twice, or out of order.
    #[error("the runs cover layer {found} where layer {expected} is due, of {blocks}")]
    Runs {
        /// The layer that the runs must go on with.
        expected: u32,
        /// The layer that they go on with.
        found: u32,
        /// Blocks of the model.
        blocks: u32,
    },
    /// A block has no recipe in the mix, or two.
    #[error("the mix must go on with block {expected}, of {blocks}")]
    MixRuns {
        /// The block.
        expected: u32,
        /// Blocks of the model.
        blocks: u32,
    },
    /// A block's precision that llama-quantize does not write.
    #[error("a mix is made of recipes of llama-quantize, and {0} is none")]
    NoRecipe(Precision),
    /// Formats that the recipes do not give.
    #[error("the formats of the mix are not those of its recipes")]
    MixTensors,
    /// A workload that nothing can hold.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A precision that the target cannot load, or that is none.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// Devices that are not those of the rig, each once and in its order.
    #[error("the devices are not those of the rig: `{found}` stands where `{expected}` is due")]
    Devices {
        /// What the plan lists.
        found: String,
        /// What the rig has there.
        expected: String,
    },
    /// More GPUs than llama.cpp takes shares of.
    #[error("the plan uses {found} GPUs, and llama.cpp takes {most}")]
    TooMany {
        /// GPUs of the plan.
        found: usize,
        /// The most of them.
        most: usize,
    },
    /// A capacity that is not the rig's.
    #[error("`{device}` can hold {expected} in this rig, and the plan says {found}")]
    Capacity {
        /// The device.
        device: String,
        /// What the plan says.
        found: Bytes,
        /// What the rig gives.
        expected: Bytes,
    },
    /// A layout that the map is not.
    #[error("the layout says that {} used, and the map says otherwise", if *.host_only { "no GPU is" } else { "GPUs are" })]
    Layout {
        /// Whether the layout leaves every GPU out.
        host_only: bool,
    },
    /// Parts in RAM of no block, of more than there are, or of none that is on a GPU.
    #[error(
        "`{}: {found}` needs llama.cpp, 1 to {blocks} blocks, and the last of them on a GPU, with `offloaded` behind layers on `cpu`, else with all on GPUs",
        match .matrices {
            Matrices::Experts => "experts_on_cpu",
            Matrices::FeedForward => "feed_forward_on_cpu",
        }
    )]
    Parts {
        /// Which.
        matrices: Matrices,
        /// What the plan says.
        found: u32,
        /// Blocks of the model.
        blocks: u32,
    },
    /// A number of blocks of which a part is in RAM, in a layout that has none.
    #[error(
        "`experts_on_cpu` goes with the layouts `experts_offloaded` and `offloaded`, `feed_forward_on_cpu` with `feed_forward_offloaded` and `offloaded`, and the plan has another"
    )]
    PartsBesideLayout,
    /// A disk that the rig or the layout has not.
    #[error(
        "`disk` needs a rate of `disk` in the rig, and a layout that leaves weights off the GPUs"
    )]
    Disk,
    /// The input embedding is where this target cannot have it.
    #[error("llama.cpp keeps the input embedding on the CPU, and the plan has it on `{0}`")]
    Embedding(String),
    /// A device that the rig has not.
    #[error("`{0}` is no device of the rig")]
    UnknownDevice(String),
    /// The runs put a device in two places.
    #[error("`{0}` has two runs of layers, and this target takes one")]
    TwoRuns(String),
    /// Layers on the CPU that are not the first ones.
    #[error("llama.cpp can only keep the first layers on the CPU, and layer {0} is behind a GPU's")]
    CpuBehindGpu(u32),
    /// More than fits.
    #[error("`{device}` holds {needs} of {capacity}")]
    TooMuch {
        /// The device.
        device: String,
        /// What the plan puts there.
        needs: Bytes,
        /// What it can hold.
        capacity: Bytes,
    },
    /// Sums that the tensors do not give.
    #[error("`{device}` holds {found} of {what}, and its tensors sum up to {expected}")]
    Sum {
        /// The device.
        device: String,
        /// Weights or cache.
        what: &'static str,
        /// What the plan says.
        found: Bytes,
        /// What the tensors give.
        expected: Bytes,
    },
    /// An extra that is not what its tensors make it.
    #[error("the extra {kind} `{file}` takes something else on `{device}` than its tensors give")]
    Extra {
        /// What it is.
        kind: &'static str,
        /// Its file.
        file: String,
        /// The device.
        device: String,
    },
    /// A map that an engine cannot be told.
    #[error("the plan is none for an engine that serves: {0}")]
    Served(&'static str),
    /// Tokens in the cache that there is other room for.
    #[error("`resident_tokens` are {found}, and the GPUs have room for {expected}")]
    Resident {
        /// What the plan says.
        found: u64,
        /// What there is room for.
        expected: u64,
    },
    /// A hand-over between hosts that the plan does not list so.
    #[error("`{before}` is handed from `{from}` to `{to}`, and `crossings` says otherwise")]
    Crossing {
        /// What comes behind it.
        before: String,
        /// The host that hands over.
        from: String,
        /// The host that is handed to.
        to: String,
    },
    /// A hand-over that the map does not make.
    #[error("no host hands over before `{0}`, and `crossings` says so")]
    NoCrossing(String),
    /// A hand-over of other bytes than the model's.
    #[error("{expected} pass before `{before}`, and the plan says {found}")]
    CrossingBytes {
        /// What comes behind it.
        before: String,
        /// What the plan says.
        found: Bytes,
        /// What the model gives.
        expected: Bytes,
    },
    /// A fleet without replicas.
    #[error("it has no replica")]
    NoReplica,
    /// Replicas of several models, frameworks or rigs.
    #[error("replica {0} is of another model, target or rig than the first")]
    Unlike(usize),
    /// A card that two replicas have.
    #[error("`{0}` serves two replicas")]
    Shared(String),
    /// The head is where this target cannot have it.
    #[error("the head is on `{head}`, and this target puts it on `{expected}`")]
    Head {
        /// Where the plan has it.
        head: String,
        /// Where it would be.
        expected: String,
    },
}
