//! What a model is: its dimensions and its tensors, each with the part it belongs to.
//!
//! A model is read from headers and configuration alone; nothing here ever reads weights. What a
//! tensor weighs follows from its shape and a [`Precision`]; where it could go from its [`Part`].

pub mod block;
pub mod config;
pub mod extra;
pub mod family;
pub mod format;
pub mod from_gguf;
pub mod from_tensors;
pub mod graph;
pub mod headers;
pub mod known;
pub mod mix;
pub mod open;
pub mod precision;
pub mod quantisation;
pub mod read;
pub mod recipe;
pub mod source;

use crate::model::family::{Island, Modules};
use crate::model::format::Format;
use crate::model::quantisation::Method;
use crate::model::read::TensorInfo;
use crate::units::{Bytes, Tokens};

pub use crate::model::block::{Block, Cache, KeysValues};
pub use crate::model::extra::{Adapter, Extra, ExtraError, Extras, Projector};
pub use crate::model::graph::{LayerGraph, Node, NodeKind};
pub use crate::model::open::{ModelError, open, open_from};
pub use crate::model::precision::{Checkpoint, Precision, PrecisionError};

/// More blocks than any model has, and as many as llama.cpp takes (`LLAMA_MAX_LAYERS`).
pub const MOST_LAYERS: u64 = 512;

/// The index of a repeating block, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(pub u32);

/// A model as its headers or its configuration describe it.
#[derive(Clone, Debug)]
pub struct Model {
    /// What the user called it: a name of the built-in list, or the file or folder.
    pub name: String,
    /// The architecture as a GGUF file names it: `llama`, `falcon`.
    pub architecture: String,
    /// Widths and counts.
    pub dimensions: Dimensions,
    /// The repeating blocks, in order.
    pub blocks: Vec<Block>,
    /// Every tensor, in the order of execution.
    pub tensors: Vec<Tensor>,
    /// Whether the head multiplies with the input embedding, which is then stored once.
    pub tied: bool,
    /// How the modules of the Hugging Face class are called; a GGUF file has none.
    pub modules: Option<Modules>,
    /// The precision in which the checkpoint is stored, where it says so.
    pub stored: Option<Precision>,
    /// Who quantised the checkpoint, where someone did.
    pub quantised: Option<Method>,
    /// What is loaded beside it.
    pub extras: Extras,
    /// Where it was read from.
    pub origin: Origin,
}

/// Where a model's description came from, and so what it can be trusted for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The built-in list of published hyper-parameters.
    Known,
    /// A `config.json` without checkpoint headers.
    Config(String),
    /// The headers of a safetensors checkpoint.
    Safetensors(String),
    /// The header of a GGUF file; its tensor types are exact.
    Gguf(String),
}

/// Widths and counts, of the widest block where blocks differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// Repeating blocks.
    pub n_layers: u32,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Width of the feed-forward inside.
    pub ffn: u64,
    /// Query heads.
    pub n_heads: u64,
    /// Key-value heads.
    pub n_kv_heads: u64,
    /// Elements of one head.
    pub head_dim: u64,
    /// Entries of the vocabulary.
    pub vocab: u64,
    /// The context the model was trained for.
    pub context: Tokens,
    /// Its experts, where the feed-forward is a mixture.
    pub experts: Option<Experts>,
}

/// A mixture of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts of a block.
    pub total: u64,
    /// Those that one token passes.
    pub used: u64,
}

/// One tensor: what it is for, what it is called, and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The unit of placement that it belongs to.
    pub part: Part,
    /// What it is for, which decides how it may be stored.
    pub kind: Kind,
    /// Its name in the Hugging Face class; empty where only a GGUF file has it.
    pub hf_name: String,
    /// Its name in a GGUF file; empty where none has it.
    pub gguf_name: String,
    /// The names of the parts in which a checkpoint stores it, where it does not store it whole:
    /// equal shares of the rows, and one of each for an expert, whose number stands for `{}`.
    pub checkpoint: Vec<String>,
    /// Shape, slowest first: `[rows, columns]` of a matrix.
    pub dims: Vec<u64>,
    /// How a file that we read stores it, where that is a plain format.
    pub stored: Option<Format>,
    /// What it takes where a quantiser packed it into tensors of its own.
    pub packed: Option<Packed>,
    /// Which of the two worlds has it.
    pub world: World,
    /// When transformers keeps it in 32 bits.
    pub fp32: Island,
}

/// What a packed tensor takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// In the checkpoint, with scales and whatever else belongs to it.
    pub file: Bytes,
    /// In memory, while it stays packed.
    pub loaded: Bytes,
}

/// Where a tensor exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// In checkpoints and in GGUF files.
    Both,
    /// Only in a GGUF file: rotation tables of Llama 3.1, and the head of a model that transformers
    /// ties but its GGUF file keeps apart (Falcon).
    Gguf,
    /// Only with transformers: what a GGUF file holds in other pieces (experts fused with their gate)
    /// or not at all (a vision tower), and buffers that are computed and not stored.
    Transformers,
}

/// The units that can be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The table from token to vector, and a norm that follows it.
    Embedding,
    /// Norm, projections and output of one block's attention.
    Attention(BlockId),
    /// Norm and matrices of one block's feed-forward.
    FeedForward(BlockId),
    /// A block that predicts tokens further ahead: a slot of llama.cpp's, which loads it only to
    /// speculate; transformers leaves it in the checkpoint.
    NextToken(BlockId),
    /// The norm behind the last block.
    FinalNorm,
    /// The matrix from vector to vocabulary.
    Head,
    /// Modules beside the chain that come before it: a vision tower and its projector.
    Tower,
    /// Tables beside the chain: llama.cpp copies `rope_freqs` to every device with blocks,
    /// transformers keeps its rotation buffers with the embedding.
    Everywhere,
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A table whose rows are looked up.
    Embedding,
    /// The weight of a plain `nn.Linear`.
    Linear,
    /// The same, stored as `[columns, rows]` by a checkpoint (GPT-2's `Conv1D`).
    TransposedLinear,
    /// A matrix or kernel of a class of the model's own, which bitsandbytes leaves as it is: a
    /// convolution, a router, Falcon's linear layers.
    OwnLinear,
    /// The matrices of all experts as one parameter, which bitsandbytes leaves as it is too.
    Experts,
    /// The weight of a norm.
    Norm,
    /// An added vector.
    Bias,
    /// The weight of the output head.
    Head,
    /// A constant table of 32-bit words.
    Table,
    /// A constant table of 16-bit words.
    HalfTable,
}

impl Kind {
    /// Whether it is computed and not trained.
    pub fn is_constant(self) -> bool {
        matches!(self, Self::Table | Self::HalfTable)
    }
}

impl Part {
    /// Where it stands in the order of execution, whatever the order of a file.
    fn order(self) -> (u32, u32, u32) {
        match self {
            Self::Tower => (0, 0, 0),
            Self::Embedding => (1, 0, 0),
            Self::Attention(BlockId(block)) => (2, block, 0),
            Self::FeedForward(BlockId(block)) => (2, block, 1),
            Self::NextToken(BlockId(block)) => (2, block, 2),
            Self::FinalNorm => (3, 0, 0),
            Self::Head => (4, 0, 0),
            Self::Everywhere => (5, 0, 0),
        }
    }
}

impl Tensor {
    /// One that only a GGUF file has, as its header states it.
    fn of_gguf(info: &TensorInfo, part: Part, kind: Kind) -> Self {
        Self {
            part,
            kind,
            hf_name: String::new(),
            gguf_name: info.name.clone(),
            checkpoint: Vec::new(),
            dims: info.dims.clone(),
            stored: Some(info.format),
            packed: None,
            world: World::Gguf,
            fp32: Island::Never,
        }
    }

    /// One that only a checkpoint has, as its header states it.
    fn of_checkpoint(info: &TensorInfo, part: Part, kind: Kind) -> Self {
        Self {
            hf_name: info.name.clone(),
            gguf_name: String::new(),
            world: World::Transformers,
            ..Self::of_gguf(info, part, kind)
        }
    }

    /// Elements.
    pub fn elements(&self) -> u64 {
        self.dims
            .iter()
            .fold(1, |product: u64, dim| product.saturating_mul(*dim))
    }

    /// Rows, where a row is what the fastest dimension spans.
    pub fn rows(&self) -> u64 {
        let (_, slow) = self.dims.split_last().unwrap_or((&1, &[]));
        slow.iter()
            .fold(1, |product: u64, dim| product.saturating_mul(*dim))
    }

    /// Elements of a row.
    pub fn columns(&self) -> u64 {
        self.dims.last().copied().unwrap_or(1)
    }

    /// Whether a checkpoint stores it, and so counts its elements as parameters.
    pub fn is_trained(&self) -> bool {
        self.world != World::Gguf && !self.kind.is_constant()
    }

    /// The module that holds it; a constant is one of its own.
    pub fn module(&self) -> &str {
        match self.hf_name.rsplit_once('.') {
            Some((module, _)) if !self.kind.is_constant() => module,
            _ => &self.hf_name,
        }
    }

    /// Bytes in `format`, its scales included.
    pub fn bytes(&self, format: Format) -> Bytes {
        format.bytes(self.rows(), self.columns())
    }
}

impl Model {
    /// Parameters: every element that a checkpoint trains, a tied head once.
    pub fn parameters(&self) -> u64 {
        let trained = self.tensors.iter().filter(|tensor| tensor.is_trained());
        trained.map(Tensor::elements).sum()
    }

    /// Whether the feed-forward multiplies two branches, one of them a gate.
    pub fn is_gated(&self) -> bool {
        self.tensors.iter().any(|tensor| {
            tensor.gguf_name.ends_with("ffn_gate.weight")
                || tensor.gguf_name.ends_with("ffn_gate_exps.weight")
        })
    }

    /// Bytes of each tensor as transformers holds what the checkpoint has.
    fn stored_bytes(&self) -> Result<Vec<Bytes>, PrecisionError> {
        // What transformers unpacks as it computes does not stay packed.
        let unpacks = self
            .quantised
            .is_some_and(Method::is_unpacked_by_transformers);
        self.held_bytes(|packed| (!unpacks).then_some(packed.loaded))
    }

    /// Bytes of each tensor as the checkpoint has it, packed where it is quantised: what an engine
    /// holds that computes with packed weights.
    ///
    /// # Errors
    /// Where nothing is known of how the checkpoint is stored.
    pub fn packed_bytes(&self) -> Result<Vec<Bytes>, PrecisionError> {
        self.held_bytes(|packed| Some(packed.loaded))
    }

    /// Bytes of each tensor, of packed ones as `held` says, or unpacked.
    fn held_bytes(
        &self,
        held: impl Fn(Packed) -> Option<Bytes>,
    ) -> Result<Vec<Bytes>, PrecisionError> {
        let plain = match self.stored {
            Some(Precision::Checkpoint(checkpoint)) => checkpoint,
            _ if self.quantised.is_some() => Checkpoint::Bf16,
            _ if self.tensors.iter().any(|tensor| tensor.stored.is_some()) => Checkpoint::Bf16,
            _ => return Err(PrecisionError::NotStored),
        };
        let bytes = |tensor: &Tensor| match (tensor.packed.map(&held), tensor.stored) {
            _ if tensor.world == World::Gguf => Bytes::ZERO,
            (Some(Some(size)), _) => size,
            (None, Some(stored)) => tensor.bytes(stored),
            (Some(None) | None, _) => tensor.bytes(plain.format(tensor)),
        };
        Ok(self.tensors.iter().map(bytes).collect())
    }

    /// The share of a tensor that a token passes: all, or of experts those that are used.
    pub fn share_for_a_token(&self, tensor: &Tensor) -> f64 {
        match self.dimensions.experts {
            Some(Experts { total, used }) if tensor.kind == Kind::Experts => {
                used as f64 / total as f64
            }
            _ => 1.0,
        }
    }

    /// What of a tensor's `bytes` a token reads.
    pub fn read_for_a_token(&self, tensor: &Tensor, bytes: Bytes) -> Bytes {
        bytes.scale(self.share_for_a_token(tensor))
    }

    /// Bytes of each tensor at `precision`, in the order of `tensors`.
    ///
    /// # Errors
    /// Where the precision does not exist for this model.
    pub fn tensor_bytes(&self, precision: Precision) -> Result<Vec<Bytes>, PrecisionError> {
        let as_stored = matches!(
            precision,
            Precision::Stored | Precision::Checkpoint(Checkpoint::Stored)
        );
        if as_stored && !matches!(self.origin, Origin::Gguf(_)) {
            return self.stored_bytes();
        }
        let formats = precision.formats(self)?;
        let sizes = self.tensors.iter().zip(formats);
        Ok(sizes
            .map(|(tensor, format)| format.map_or(Bytes::ZERO, |f| tensor.bytes(f)))
            .collect())
    }
}
