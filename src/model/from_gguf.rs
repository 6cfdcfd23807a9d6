//! A GGUF header as a [`Model`]: its own tensors, each with the format that the file has.

use std::collections::BTreeMap;

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
    /// A tensor without which the architecture does not compute.
    #[error("the tensor `{0}` is missing: the file is incomplete")]
    MissingTensor(String),
    /// A tensor whose shape is not what the header's widths make it.
    #[error("the tensor `{name}` is {found:?}, and the header makes it {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<u64>,
        /// The shape by the header.
        expected: Vec<u64>,
    },
    /// Heads that differ between blocks.
    #[error("`{0}` differs from block to block, which is not read yet")]
    Uneven(String),
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
    hold_against_families(architecture, &dimensions, &tensors)?;
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

/// Holds the tensors against the rows of the architecture: every weight of some row must be there, in
/// the shape that the header's widths make it, and no block beyond the header's count.
fn hold_against_families(
    architecture: &str,
    dimensions: &Dimensions,
    tensors: &[Tensor],
) -> Result<(), GgufError> {
    let found: BTreeMap<_, _> = tensors
        .iter()
        .map(|tensor| (tensor.gguf_name.as_str(), tensor))
        .collect();
    let rows = family::all()
        .iter()
        .filter(|family| family.gguf == architecture);
    let faults = rows.map(|family| {
        let expected = family.tensors(dimensions, true, |_| false);
        let of_file = |tensor: &&Tensor| tensor.world == World::Both && tensor.kind != Kind::Bias;
        expected
            .iter()
            .filter(of_file)
            .find_map(|tensor| match found.get(&*tensor.gguf_name) {
                None => Some(GgufError::MissingTensor(tensor.gguf_name.clone())),
                Some(other) if other.dims != tensor.dims => Some(GgufError::Shape {
                    name: tensor.gguf_name.clone(),
                    found: other.dims.clone(),
                    expected: tensor.dims.clone(),
                }),
                Some(_) => None,
            })
    });
    let faults: Option<Vec<_>> = faults.collect();
    // With no fault in some row the file is of that row.
    if let Some(fault) = faults.and_then(|faults| faults.into_iter().next()) {
        return Err(fault);
    }
    let beyond = |tensor: &&Tensor| match tensor.part {
        Part::Attention(block) | Part::FeedForward(block) => block.0 >= dimensions.n_layers,
        Part::Embedding | Part::FinalNorm | Part::Head | Part::Everywhere => false,
    };
    match tensors.iter().find(beyond) {
        Some(tensor) => Err(GgufError::UnknownTensor(tensor.gguf_name.clone())),
        None => Ok(()),
    }
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
        // Tables are no parameters, as in a checkpoint.
        world: if kind == Kind::Table {
            World::Gguf
        } else {
            World::Both
        },
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

    /// A count of heads, which a file may state once or for each block.
    fn heads_of_blocks(&self, key: &str) -> Result<Option<u64>, GgufError> {
        let name = format!("{}.{key}", self.architecture);
        match self.gguf.unsigneds(&name).as_deref() {
            Some([first, rest @ ..]) if rest.iter().all(|heads| heads == first) => Ok(Some(*first)),
            Some(_) => Err(GgufError::Uneven(name)),
            None => self.number(key),
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
        let n_kv_heads = match self.heads_of_blocks("attention.head_count_kv")? {
            Some(heads) => heads,
            None => n_heads,
        };
        if n_kv_heads == 0 || !n_heads.is_multiple_of(n_kv_heads) {
            let key = format!("{}.attention.head_count_kv", self.architecture);
            return Err(GgufError::Wrong {
                key,
                value: n_kv_heads,
            });
        }
        let head_dim = match self.number("attention.key_length")? {
            Some(_) => self.required("attention.key_length")?,
            None => hidden / n_heads,
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::format::Format;
    use crate::model::read::gguf::Value;
    use crate::model::{config, known};
    use crate::units::Bytes;

    /// A header of Llama-2-7B as a converter writes it.
    fn header() -> Gguf {
        let known = known::find("llama-2-7b").unwrap();
        let model = config::model("llama-2-7b", Origin::Known, &known.config).unwrap();
        let numbers = [
            ("block_count", 32),
            ("embedding_length", 4096),
            ("feed_forward_length", 11008),
            ("attention.head_count", 32),
        ];
        let numbers = numbers.map(|(key, value)| (format!("llama.{key}"), Value::Unsigned(value)));
        let architecture = (
            "general.architecture".to_owned(),
            Value::Text("llama".to_owned()),
        );
        let in_file = model
            .tensors
            .iter()
            .filter(|tensor| tensor.world != World::Transformers);
        let info = |tensor: &Tensor| TensorInfo {
            name: tensor.gguf_name.clone(),
            dims: tensor.dims.clone(),
            format: Format::F16,
            bytes: tensor.bytes(Format::F16),
        };
        Gguf {
            version: 3,
            metadata: numbers.into_iter().chain([architecture]).collect(),
            tensors: in_file.map(info).collect(),
            data_offset: Bytes::ZERO,
            files: Vec::new(),
        }
    }

    #[test]
    fn a_whole_header_is_the_model() {
        let read = model("file", "file", &header()).unwrap();
        assert_eq!(read.parameters(), 6_738_415_616);
        assert!(!read.tied);
    }

    #[test]
    fn a_missing_tensor_is_named() {
        let mut header = header();
        header
            .tensors
            .retain(|tensor| tensor.name != "blk.7.attn_v.weight");
        let error = model("file", "file", &header).unwrap_err();
        assert_eq!(
            error,
            GgufError::MissingTensor("blk.7.attn_v.weight".to_owned())
        );
    }

    #[test]
    fn a_tensor_of_another_shape_is_named() {
        let mut header = header();
        header.metadata.insert(
            "llama.attention.head_count_kv".to_owned(),
            Value::Unsigned(8),
        );
        let error = model("file", "file", &header).unwrap_err();
        assert!(matches!(error, GgufError::Shape { name, .. } if name == "blk.0.attn_k.weight"));
    }

    #[test]
    fn heads_that_differ_between_blocks_are_refused() {
        let mut header = header();
        let values = vec![Value::Unsigned(8), Value::Unsigned(4)];
        let array = Value::Array { length: 2, values };
        header
            .metadata
            .insert("llama.attention.head_count_kv".to_owned(), array);
        let error = model("file", "file", &header).unwrap_err();
        assert!(matches!(error, GgufError::Uneven(_)), "{error}");
    }
}
