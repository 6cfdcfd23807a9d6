//! A GGUF header as a [`Model`]: its own tensors, each with the format that the file has.

use crate::model::read::TensorInfo;
use crate::model::read::gguf::Gguf;
use crate::model::recipe::Recipe;
use crate::model::{
    BlockId, Dimensions, Kind, MOST_LAYERS, Model, Origin, Part, Precision, Tensor, World, family,
};
use crate::units::Tokens;

/// Why a GGUF file is no model that we can plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// A key without which sizes would be guesses.
    #[error("the header has no `{0}`")]
    Missing(String),
    /// A value out of range.
    #[error("`{key}` is {value}, which no model has")]
    Wrong {
        /// The key.
        key: String,
        /// What it says.
        value: u64,
    },
    /// No row of the family table.
    #[error("the architecture `{0}` is not read yet\nhint: {known} are", known = known())]
    UnknownArchitecture(String),
    /// Experts, which these families do not have.
    #[error("it has {0} experts, and mixtures of experts are not read yet")]
    Experts(u64),
    /// A tensor that no part has.
    #[error("the tensor `{0}` belongs to no part that is known")]
    UnknownTensor(String),
    /// A block without tensors.
    #[error("block {0} has no tensors: the file is incomplete")]
    EmptyBlock(u32),
}

/// The architectures that are read, for a hint.
fn known() -> String {
    let mut names: Vec<_> = family::all()
        .iter()
        .map(|family| format!("`{}`", family.gguf))
        .collect();
    names.dedup();
    names.join(", ")
}

/// Reads the model of a header.
///
/// # Errors
/// Where the architecture is not known, or the header leaves out what sizes need.
pub fn model(name: &str, file: &str, gguf: &Gguf) -> Result<Model, GgufError> {
    let key = "general.architecture";
    let architecture = gguf
        .text(key)
        .ok_or_else(|| GgufError::Missing(key.to_owned()))?;
    if family::all()
        .iter()
        .all(|family| family.gguf != architecture)
    {
        return Err(GgufError::UnknownArchitecture(architecture.to_owned()));
    }
    let header = Header { gguf, architecture };
    if let Some(experts) = header.number("expert_count")?.filter(|count| *count > 0) {
        return Err(GgufError::Experts(experts));
    }
    let tensors: Vec<_> = gguf.tensors.iter().map(tensor).collect::<Result<_, _>>()?;
    let dimensions = header.dimensions(&tensors)?;
    for block in 0..dimensions.n_layers {
        let attention = Part::Attention(BlockId(block));
        if tensors.iter().all(|tensor| tensor.part != attention) {
            return Err(GgufError::EmptyBlock(block));
        }
    }
    let tied = tensors.iter().all(|tensor| tensor.part != Part::Head);
    let file_type = gguf
        .unsigned("general.file_type")
        .and_then(|number| u32::try_from(number).ok());
    Ok(Model {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        dimensions,
        tensors: in_order(tensors),
        tied,
        modules: None,
        stored: file_type
            .and_then(Recipe::from_file_type)
            .map(Precision::Gguf),
        origin: Origin::Gguf(file.to_owned()),
    })
}

/// The order of execution, whatever the file's is.
fn in_order(mut tensors: Vec<Tensor>) -> Vec<Tensor> {
    tensors.sort_by_key(|tensor| match tensor.part {
        Part::Embedding => (0, 0, 0),
        Part::Attention(BlockId(block)) => (1, block, 0),
        Part::FeedForward(BlockId(block)) => (1, block, 1),
        Part::FinalNorm => (2, 0, 0),
        Part::Head => (3, 0, 0),
        Part::Everywhere => (4, 0, 0),
    });
    tensors
}

fn tensor(info: &TensorInfo) -> Result<Tensor, GgufError> {
    let unknown = || GgufError::UnknownTensor(info.name.clone());
    let (part, kind) = match info.name.split_once('.').ok_or_else(unknown)? {
        ("token_embd", _) => (Part::Embedding, Kind::Embedding),
        ("token_embd_norm", _) => (Part::Embedding, Kind::Norm),
        ("output_norm", _) => (Part::FinalNorm, Kind::Norm),
        ("output", _) => (Part::Head, Kind::Head),
        ("rope_freqs", _) => (Part::Everywhere, Kind::Table),
        ("blk", rest) => {
            let (block, rest) = rest.split_once('.').ok_or_else(unknown)?;
            let block = BlockId(block.parse().map_err(|_| unknown())?);
            let part = match rest.split('_').next() {
                Some("ffn") => Part::FeedForward(block),
                Some("attn") => Part::Attention(block),
                _ => return Err(unknown()),
            };
            (part, block_kind(rest))
        }
        _ => return Err(unknown()),
    };
    Ok(Tensor {
        part,
        kind,
        hf_name: String::new(),
        gguf_name: info.name.clone(),
        dims: info.dims.clone(),
        stored: Some(info.format),
        world: World::Both,
    })
}

fn block_kind(rest: &str) -> Kind {
    match rest.rsplit_once('.') {
        Some((_, "bias")) => Kind::Bias,
        Some((name, _)) if name.contains("norm") => Kind::Norm,
        _ => Kind::Linear,
    }
}

struct Header<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl Header<'_> {
    /// A number under the architecture's own prefix.
    fn number(&self, key: &str) -> Result<Option<u64>, GgufError> {
        let key = format!("{}.{key}", self.architecture);
        match self.gguf.unsigned(&key) {
            Some(value) if value > 1 << 32 => Err(GgufError::Wrong { key, value }),
            value => Ok(value),
        }
    }

    fn required(&self, key: &str) -> Result<u64, GgufError> {
        let full_name = || format!("{}.{key}", self.architecture);
        let value = self
            .number(key)?
            .ok_or_else(|| GgufError::Missing(full_name()))?;
        let largest = if key == "block_count" {
            MOST_LAYERS
        } else {
            1 << 20
        };
        match (1..=largest).contains(&value) {
            true => Ok(value),
            false => Err(GgufError::Wrong {
                key: full_name(),
                value,
            }),
        }
    }

    fn dimensions(&self, tensors: &[Tensor]) -> Result<Dimensions, GgufError> {
        let hidden = self.required("embedding_length")?;
        let n_heads = self.required("attention.head_count")?;
        let n_kv_heads = match self.number("attention.head_count_kv")? {
            Some(_) => self.required("attention.head_count_kv")?,
            None => n_heads,
        };
        let head_dim = self
            .number("attention.key_length")?
            .unwrap_or(hidden / n_heads);
        let embedding = tensors.iter().find(|tensor| tensor.kind == Kind::Embedding);
        let vocab = embedding
            .map(Tensor::rows)
            .ok_or_else(|| GgufError::Missing("token_embd.weight".to_owned()))?;
        let context = self
            .number("context_length")?
            .filter(|context| *context > 0);
        Ok(Dimensions {
            n_layers: self.required("block_count")? as u32,
            hidden,
            ffn: self.required("feed_forward_length")?,
            n_heads,
            n_kv_heads,
            head_dim,
            vocab,
            context: Tokens(context.unwrap_or(2048)),
            window: None,
            transformers_cached_heads: n_kv_heads,
        })
    }
}
