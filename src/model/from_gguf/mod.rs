//! A GGUF header as a [`Model`]: its own tensors, each with the format that the file has.

mod caches;
mod check;
mod names;

use crate::model::read::gguf::Gguf;
use crate::model::recipe::Recipe;
use crate::model::{
    Dimensions, Experts, Extras, Kind, MOST_LAYERS, Model, Origin, Part, Precision, Tensor,
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
    /// A tensor beyond the blocks that the header counts.
    #[error("the tensor `{0}` belongs to no block that the header counts")]
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
    /// An array that should have a value for each block.
    #[error("`{key}` has {length} values for {blocks} blocks")]
    Length {
        /// The key.
        key: String,
        /// Its length.
        length: u64,
        /// The blocks.
        blocks: u64,
    },
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
    let header = Header { gguf, architecture };
    let mut tensors: Vec<_> = gguf
        .tensors
        .iter()
        .map(names::tensor)
        .collect::<Result<_, _>>()?;
    let dimensions = header.dimensions(&tensors)?;
    let blocks = caches::blocks(&header, &dimensions, &tensors)?;
    check::whole(&dimensions, &blocks, &tensors)?;
    let tied = tensors.iter().all(|tensor| tensor.part != Part::Head);
    let next_token = header.number("nextn_predict_layers")?.unwrap_or(0);
    let first_next = u64::from(dimensions.n_layers).saturating_sub(next_token);
    for tensor in &mut tensors {
        if let Part::Attention(block) | Part::FeedForward(block) = tensor.part
            && u64::from(block.0) >= first_next
        {
            tensor.part = Part::NextToken(block);
        }
    }
    tensors.sort_by_key(|tensor| tensor.part.order());
    let file_type = gguf
        .unsigned("general.file_type")
        .and_then(|number| u32::try_from(number).ok());
    Ok(Model {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        dimensions,
        blocks,
        tensors,
        tied,
        modules: None,
        stored: file_type
            .and_then(Recipe::from_file_type)
            .map(Precision::Gguf),
        quantised: None,
        extras: Extras::default(),
        origin: Origin::Gguf(file.to_owned()),
    })
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

    /// A number for each block, which a file may state once or for each.
    fn of_blocks(&self, key: &str, blocks: u64) -> Result<Option<Vec<u64>>, GgufError> {
        let name = format!("{}.{key}", self.architecture);
        match self.gguf.unsigneds(&name) {
            Some(values) if values.len() as u64 == blocks => Ok(Some(values)),
            Some(values) => Err(GgufError::Length {
                key: name,
                length: values.len() as u64,
                blocks,
            }),
            None => {
                let value = self.number(key)?;
                Ok(value.map(|value| vec![value; blocks as usize]))
            }
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
        let n_layers = self.required("block_count")?;
        let hidden = self.required("embedding_length")?;
        let widest = |key: &str| -> Result<Option<u64>, GgufError> {
            let values = self.of_blocks(key, n_layers)?;
            Ok(values.and_then(|values| values.into_iter().max()))
        };
        // A recurrent model has no heads.
        let n_heads = widest("attention.head_count")?.unwrap_or(0);
        let n_kv_heads = widest("attention.head_count_kv")?.unwrap_or(n_heads);
        let shares_evenly = n_kv_heads <= n_heads.max(1)
            && (n_heads == 0 || n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads));
        if !shares_evenly {
            let key = format!("{}.attention.head_count_kv", self.architecture);
            return Err(GgufError::Wrong {
                key,
                value: n_kv_heads,
            });
        }
        let head_dim = match self.number("attention.key_length")? {
            Some(_) => self.required("attention.key_length")?,
            None => hidden.checked_div(n_heads).unwrap_or(0),
        };
        let embedding = tensors.iter().find(|tensor| tensor.kind == Kind::Embedding);
        let vocab = embedding
            .map(Tensor::rows)
            .ok_or_else(|| GgufError::Missing("token_embd.weight".to_owned()))?;
        let context = self
            .number("context_length")?
            .filter(|context| *context > 0);
        let (total, used) = (
            self.number("expert_count")?,
            self.number("expert_used_count")?,
        );
        let experts = total
            .filter(|total| *total > 1)
            .zip(used)
            .map(|(total, used)| Experts {
                total,
                used: used.min(total),
            });
        Ok(Dimensions {
            n_layers: n_layers as u32,
            hidden,
            ffn: widest("feed_forward_length")?.unwrap_or(0),
            n_heads,
            n_kv_heads,
            head_dim,
            vocab,
            context: Tokens(context.unwrap_or(2048)),
            experts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::World;
    use crate::model::format::Format;
    use crate::model::read::TensorInfo;
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
    fn heads_may_differ_between_blocks() {
        let mut header = header();
        let values: Vec<_> = (0..32)
            .map(|layer| Value::Unsigned([32, 4][layer % 2]))
            .collect();
        let array = Value::Array { length: 32, values };
        header
            .metadata
            .insert("llama.attention.head_count_kv".to_owned(), array);
        for tensor in &mut header.tensors {
            let block = tensor.name.split('.').nth(1);
            let block = block.and_then(|block| block.parse::<u64>().ok());
            let is_kept = tensor.name.contains("attn_k.") || tensor.name.contains("attn_v.");
            if is_kept && block.is_some_and(|block| block % 2 == 1) {
                tensor.dims = vec![512, 4096];
            }
        }
        let read = model("file", "file", &header).unwrap();
        let heads = |layer: usize| read.blocks[layer].keys_values().unwrap().heads;
        assert_eq!((heads(0), heads(1)), (32, 4));
    }

    #[test]
    fn an_array_of_another_length_is_refused() {
        let mut header = header();
        let values = vec![Value::Unsigned(8), Value::Unsigned(4)];
        let array = Value::Array { length: 2, values };
        header
            .metadata
            .insert("llama.attention.head_count_kv".to_owned(), array);
        let error = model("file", "file", &header).unwrap_err();
        assert!(
            matches!(error, GgufError::Length { length: 2, .. }),
            "{error}"
        );
    }
}
