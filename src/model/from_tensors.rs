//! A checkpoint of an architecture that no family describes, from the headers of its tensors: blocks
//! are found by their numbers, widths by shapes, and what no shape shows is asked for by name.

use std::collections::BTreeMap;

use crate::model::config::{ConfigError, Keys};
use crate::model::family::Modules;
use crate::model::read::TensorInfo;
use crate::model::{
    Block, BlockId, Cache, Dimensions, Extras, KeysValues, Kind, MOST_LAYERS, Model, Origin, Part,
    Tensor,
};
use crate::units::Tokens;

/// Why tensors alone are no model that we can plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorsError {
    /// No numbered blocks.
    #[error(
        "no tensor has a numbered block in its name, so nothing says what could be placed where"
    )]
    NoBlocks,
    /// No table from token to vector.
    #[error(
        "no tensor is an input embedding: none outside the blocks has `embed`, `wte` or `tok` in its name"
    )]
    NoEmbedding,
    /// More blocks than any model has.
    #[error("block {0} is beyond the {MOST_LAYERS} that are read")]
    TooManyBlocks(u64),
    /// Recurrent blocks, whose state no shape shows.
    #[error(
        "block {0} is recurrent, and no tensor shows how large its state is: this architecture can't be planned yet"
    )]
    Recurrent(u64),
    /// What the configuration has to say.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A tensor's name, cut at its first number: `model.layers`, 3, `self_attn.q_proj.weight`.
fn numbered(name: &str) -> Option<(&str, u64, &str)> {
    let mut start = 0;
    for component in name.split('.') {
        if let (true, Ok(number)) = (start > 0, component.parse()) {
            let rest = name.get(start + component.len() + 1..).unwrap_or_default();
            return Some((&name[..start - 1], number, rest));
        }
        start += component.len() + 1;
    }
    None
}

/// The list of blocks with the most bytes: others are of towers beside the chain.
fn stack(tensors: &[TensorInfo]) -> Option<&str> {
    let mut weights = BTreeMap::<&str, u64>::new();
    for tensor in tensors {
        if let Some((prefix, _, _)) = numbered(&tensor.name) {
            let sum = weights.entry(prefix).or_default();
            *sum = sum.saturating_add(tensor.bytes.0);
        }
    }
    let heaviest = weights.into_iter().max_by_key(|(_, weight)| *weight);
    heaviest.map(|(prefix, _)| prefix)
}

fn has_any(name: &str, words: &[&str]) -> bool {
    words.iter().any(|word| name.contains(word))
}

const EMBEDDING: &[&str] = &["embed", "wte", "tok"];
const BESIDE: &[&str] = &[
    "vision",
    "visual",
    "image",
    "audio",
    "mm_",
    "projector",
    "multi_modal",
];
const FEED_FORWARD: &[&str] = &[
    "mlp",
    "ffn",
    "feed_forward",
    "experts",
    "moe",
    "fc1",
    "fc2",
    "w1",
    "w2",
    "w3",
    "post_attention_layernorm",
];
const RECURRENT: &[&str] = &["A_log", "ssm", "mamba", "conv1d", "time_mix", "linear_attn"];

/// The part and kind of a tensor outside the blocks.
fn around(info: &TensorInfo) -> (Part, Kind) {
    let name = info.name.to_ascii_lowercase();
    let is_matrix = info.dims.len() >= 2;
    match () {
        () if has_any(&name, BESIDE) => (Part::Tower, plain(info)),
        () if is_matrix && has_any(&name, EMBEDDING) => (Part::Embedding, Kind::Embedding),
        () if is_matrix && has_any(&name, &["head", "output"]) => (Part::Head, Kind::Head),
        () if name.contains("norm") || name.contains("ln_f") => (Part::FinalNorm, plain(info)),
        () => (Part::Embedding, plain(info)),
    }
}

fn plain(info: &TensorInfo) -> Kind {
    match (info.dims.len(), info.name.ends_with("bias")) {
        (_, true) => Kind::Bias,
        (0 | 1, false) => Kind::Norm,
        (2, false) => Kind::Linear,
        (_, false) => Kind::Experts,
    }
}

/// Reads a model off the tensors of a checkpoint, with what its configuration says.
///
/// # Errors
/// Where no blocks or no embedding are found, or the shape of keys and values stays unknown.
pub fn model(
    name: &str,
    path: &str,
    found: &[TensorInfo],
    keys: &Keys<'_>,
) -> Result<Model, TensorsError> {
    let stack = stack(found).ok_or(TensorsError::NoBlocks)?;
    let mut tensors = Vec::new();
    let mut n_layers = 0;
    for info in found {
        let (part, kind) = match numbered(&info.name) {
            Some((prefix, number, rest)) if prefix == stack => {
                if number >= MOST_LAYERS {
                    return Err(TensorsError::TooManyBlocks(number));
                }
                n_layers = n_layers.max(number + 1);
                let block = BlockId(number as u32);
                match has_any(rest, FEED_FORWARD) {
                    true => (Part::FeedForward(block), plain(info)),
                    false => (Part::Attention(block), plain(info)),
                }
            }
            Some(_) => (Part::Tower, plain(info)),
            None => around(info),
        };
        tensors.push(Tensor::of_checkpoint(info, part, kind));
    }
    let embedding = tensors.iter().find(|tensor| tensor.kind == Kind::Embedding);
    let embedding = embedding.ok_or(TensorsError::NoEmbedding)?;
    let (vocab, hidden) = (embedding.rows(), embedding.columns());
    tensors.sort_by_key(|tensor| tensor.part.order());
    let blocks = (0..n_layers).map(|layer| block(stack, layer, &tensors, keys));
    let blocks: Vec<_> = blocks.collect::<Result<_, _>>()?;
    let tied = tensors.iter().all(|tensor| tensor.part != Part::Head);
    let kept = blocks.iter().find_map(Block::keys_values);
    Ok(Model {
        name: name.to_owned(),
        architecture: keys.architecture().unwrap_or("unknown").to_owned(),
        dimensions: Dimensions {
            n_layers: n_layers as u32,
            hidden,
            ffn: keys.dimension("ffn")?.unwrap_or(0),
            n_heads: keys.dimension("n_heads")?.unwrap_or(0),
            n_kv_heads: kept.map_or(0, |kept| kept.heads),
            head_dim: kept.map_or(0, |kept| kept.key),
            vocab,
            context: Tokens(keys.dimension("context")?.unwrap_or(2048)),
            experts: None,
        },
        modules: Some(modules(&tensors, &blocks)),
        blocks,
        tensors,
        tied,
        stored: None,
        quantised: None,
        extras: Extras::default(),
        origin: Origin::Safetensors(path.to_owned()),
    })
}

/// What a block keeps: the width of its keys is a shape, their heads are the configuration's.
fn block(
    stack: &str,
    layer: u64,
    tensors: &[Tensor],
    keys: &Keys<'_>,
) -> Result<Block, TensorsError> {
    let part = Part::Attention(BlockId(layer as u32));
    let own = || tensors.iter().filter(|tensor| tensor.part == part);
    let rows = |words: &[&str]| {
        let matrix = own().find(|tensor| tensor.dims.len() == 2 && has_any(&tensor.hf_name, words));
        matrix.map(Tensor::rows)
    };
    let is_recurrent = own().any(|tensor| has_any(&tensor.hf_name, RECURRENT));
    let key_rows = rows(&["k_proj", ".wk.", ".key.", "k_lin"]);
    if is_recurrent {
        return Err(TensorsError::Recurrent(layer));
    }
    let attends = own().any(|tensor| tensor.dims.len() == 2);
    let cache = match (
        attends,
        keys.number(&["kv_lora_rank"])?,
        keys.number(&["qk_rope_head_dim"])?,
    ) {
        (false, ..) => None,
        (true, Some(rank), Some(rope)) => Some(Cache::Latent { rank, rope }),
        (true, ..) => {
            let heads = keys.dimension("n_kv_heads")?;
            let head_dim = match (keys.dimension("head_dim")?, key_rows, heads) {
                (Some(head_dim), ..) => head_dim,
                (None, Some(rows), Some(heads)) if rows.is_multiple_of(heads) => rows / heads,
                _ => return Err(missing("head_dim").into()),
            };
            let heads = match (key_rows, heads) {
                (Some(rows), _) if rows.is_multiple_of(head_dim) => rows / head_dim,
                (_, Some(heads)) => heads,
                _ => return Err(missing("num_key_value_heads").into()),
            };
            let values = rows(&["v_proj", ".wv.", ".value.", "v_lin"]);
            let value = values
                .filter(|rows| rows.is_multiple_of(heads))
                .map(|rows| rows / heads);
            Some(Cache::KeysValues(KeysValues {
                heads,
                key: head_dim,
                value: value.unwrap_or(head_dim),
                window: None,
                transformers_window: None,
                transformers_heads: heads,
            }))
        }
    };
    Ok(Block {
        module: format!("{stack}.{layer}"),
        caches: cache.into_iter().collect(),
    })
}

fn missing(key: &str) -> ConfigError {
    ConfigError::Missing(vec![key.to_owned()])
}

fn modules(tensors: &[Tensor], blocks: &[Block]) -> Modules {
    let of = |part| Modules::holding(part, tensors);
    Modules {
        root: String::new(),
        block_class: String::new(),
        loader: None,
        buffers: Vec::new(),
        tower: of(Part::Tower),
        embedding: of(Part::Embedding),
        blocks: blocks.iter().map(|block| block.module.clone()).collect(),
        final_norm: of(Part::FinalNorm),
        stored: Vec::new(),
        head: match of(Part::Head) {
            names if names.is_empty() => vec!["lm_head".to_owned()],
            names => names,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::format::Format;
    use crate::units::Bytes;

    fn info(name: &str, dims: &[u64]) -> TensorInfo {
        let dims = dims.to_vec();
        let (columns, rows) = dims
            .split_last()
            .map_or((1, 1), |(c, rest)| (*c, rest.iter().product()));
        TensorInfo {
            name: name.to_owned(),
            bytes: Format::BF16.bytes(rows, columns),
            dims,
            format: Format::BF16,
        }
    }

    fn checkpoint() -> Vec<TensorInfo> {
        let mut found = vec![
            info("backbone.tok_embeddings.weight", &[1000, 64]),
            info("backbone.norm_out.weight", &[64]),
            info("backbone.head.weight", &[1000, 64]),
            info("vision.stem.0.weight", &[16, 16]),
        ];
        for layer in 0..3 {
            for (name, dims) in [
                ("mixer.q_proj", &[64, 64][..]),
                ("mixer.k_proj", &[32, 64]),
                ("mixer.v_proj", &[32, 64]),
                ("mixer.o_proj", &[64, 64]),
                ("ffn.up", &[256, 64]),
                ("ffn.down", &[64, 256]),
            ] {
                found.push(info(&format!("backbone.trunk.{layer}.{name}.weight"), dims));
            }
        }
        found
    }

    #[test]
    fn blocks_are_found_by_their_numbers_and_no_byte_is_lost() {
        let config = json!({"architectures": ["MysteryForCausalLM"], "head_dim": 16});
        let found = checkpoint();
        let keys = Keys::new(config.as_object().unwrap());
        let model = model("mystery", "model.safetensors", &found, &keys).unwrap();
        assert_eq!(model.dimensions.n_layers, 3);
        assert_eq!(model.blocks[2].module, "backbone.trunk.2");
        let kept = model.blocks[0].keys_values().unwrap();
        assert_eq!((kept.heads, kept.key, kept.value), (2, 16, 16));
        let sizes = model
            .tensors
            .iter()
            .map(|tensor| tensor.bytes(Format::BF16));
        assert_eq!(
            sizes.sum::<Bytes>(),
            found.iter().map(|info| info.bytes).sum()
        );
        assert_eq!(model.modules.unwrap().head, ["backbone.head"]);
    }

    #[test]
    fn the_unknown_shape_of_keys_is_asked_for_by_name() {
        let config = json!({"architectures": ["MysteryForCausalLM"]});
        let keys = Keys::new(config.as_object().unwrap());
        let error = model("mystery", "model.safetensors", &checkpoint(), &keys).unwrap_err();
        assert_eq!(error, TensorsError::Config(missing("head_dim")));
    }
}
