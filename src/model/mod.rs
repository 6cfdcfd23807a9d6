//! What a model is: its dimensions and its tensors, each with the part it belongs to.
//!
//! A model is read from headers and configuration alone; nothing here ever reads weights. What a
//! tensor weighs follows from its shape and a [`Precision`]; where it could go from its [`Part`].

pub mod config;
pub mod family;
pub mod format;
pub mod from_gguf;
pub mod graph;
pub mod known;
pub mod open;
pub mod precision;
pub mod read;
pub mod recipe;
pub mod source;

use crate::model::family::Modules;
use crate::model::format::Format;
use crate::units::{Bytes, Tokens};

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
    /// Every tensor, in the order of execution.
    pub tensors: Vec<Tensor>,
    /// Whether the head multiplies with the input embedding, which is then stored once.
    pub tied: bool,
    /// How the modules of the Hugging Face class are called; a GGUF file has none.
    pub modules: Option<Modules>,
    /// The precision in which the checkpoint is stored, where it says so.
    pub stored: Option<Precision>,
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

/// Widths and counts of a decoder.
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
    /// How far attention looks back, where that is limited.
    pub window: Option<Window>,
    /// Heads that transformers keeps in its cache (Falcon: all query heads).
    pub transformers_cached_heads: u64,
}

/// Attention that looks back a limited way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Positions that are seen.
    pub size: Tokens,
    /// The first block that has it; those before see everything (Qwen2).
    pub from: BlockId,
}

/// One tensor: what it is for, what it is called, and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The unit of placement that it belongs to.
    pub part: Part,
    /// What it is for, which decides how it may be stored.
    pub kind: Kind,
    /// Its name in a Hugging Face checkpoint; empty where only a GGUF file has it.
    pub hf_name: String,
    /// Its name in a GGUF file.
    pub gguf_name: String,
    /// Shape, slowest first: `[rows, columns]` of a matrix.
    pub dims: Vec<u64>,
    /// How a file that we read stores it.
    pub stored: Option<Format>,
    /// Which of the two worlds has it.
    pub world: World,
}

/// Where a tensor exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// In checkpoints and in GGUF files.
    Both,
    /// Only in a GGUF file: rotation tables of Llama 3.1, and the head of a model that transformers
    /// ties but its GGUF file keeps apart (Falcon).
    Gguf,
    /// Only in the memory of transformers: buffers that are computed and not stored.
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
    /// The norm behind the last block.
    FinalNorm,
    /// The matrix from vector to vocabulary.
    Head,
    /// Tables beside the chain: llama.cpp copies `rope_freqs` to every device with blocks,
    /// transformers keeps its rotation buffers with the embedding.
    Everywhere,
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A table whose rows are looked up.
    Embedding,
    /// The weight of a plain `nn.Linear`.
    Linear,
    /// The weight of a linear class of the model's own, which bitsandbytes leaves as it is.
    OwnLinear,
    /// The weight of a norm.
    Norm,
    /// An added vector.
    Bias,
    /// The weight of the output head.
    Head,
    /// A constant table.
    Table,
}

impl Tensor {
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
        self.world == World::Both
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
        self.tensors
            .iter()
            .any(|tensor| tensor.gguf_name.ends_with("ffn_gate.weight"))
    }

    /// Bytes of each tensor at `precision`, in the order of `tensors`.
    ///
    /// # Errors
    /// Where the precision does not exist for this model.
    pub fn tensor_bytes(&self, precision: Precision) -> Result<Vec<Bytes>, PrecisionError> {
        let formats = precision.formats(self)?;
        let sizes = self.tensors.iter().zip(formats);
        Ok(sizes
            .map(|(tensor, format)| format.map_or(Bytes::ZERO, |f| tensor.bytes(f)))
            .collect())
    }
}
