//! The part and the kind of a GGUF tensor, by its name.

use super::GgufError;
use crate::model::read::TensorInfo;
use crate::model::{BlockId, Kind, Part, Tensor, World};

/// The part of a tensor by its name: numbered ones are of a block, a mixer unless they are a
/// feed-forward's; what is left is looked up, or stands beside the chain.
pub(super) fn tensor(info: &TensorInfo) -> Result<Tensor, GgufError> {
    let unknown = || GgufError::UnknownTensor(info.name.clone());
    let name = info.name.as_str();
    let stem = name
        .strip_suffix(".weight")
        .or_else(|| name.strip_suffix(".bias"))
        .unwrap_or(name);
    let numbered = ["blk.", "enc.blk.", "dec.blk."];
    let (part, kind) = match numbered.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        Some(rest) => {
            let (block, rest) = rest.split_once('.').ok_or_else(unknown)?;
            let block = BlockId(block.parse().map_err(|_| unknown())?);
            let is_feed_forward = ["ffn", "exp_probs", "layer_output", "post_ffw"]
                .iter()
                .any(|prefix| rest.starts_with(prefix));
            let part = match is_feed_forward {
                true => Part::FeedForward(block),
                false => Part::Attention(block),
            };
            (part, block_kind(rest))
        }
        None => match stem {
            "token_embd" | "per_layer_token_embd" => (Part::Embedding, Kind::Embedding),
            // llama.cpp keeps these with the first block, and Gemma 3n's streams with the head.
            "per_layer_model_proj" | "per_layer_proj_norm" => {
                (Part::FeedForward(BlockId(0)), block_kind(name))
            }
            _ if stem.starts_with("altup_") => (Part::FinalNorm, block_kind(name)),
            "output" => (
                Part::Head,
                if name.ends_with(".bias") {
                    Kind::Bias
                } else {
                    Kind::Head
                },
            ),
            _ if stem.starts_with("output") || stem.starts_with("dec.output") => {
                (Part::FinalNorm, block_kind(name))
            }
            "rope_freqs" | "rope_factors_long" | "rope_factors_short" => {
                (Part::Everywhere, Kind::Table)
            }
            _ => (Part::Embedding, block_kind(name)),
        },
    };
    Ok(Tensor {
        // Tables are no parameters, as in a checkpoint.
        world: if kind == Kind::Table {
            World::Gguf
        } else {
            World::Both
        },
        ..Tensor::of_gguf(info, part, kind)
    })
}

fn block_kind(rest: &str) -> Kind {
    match rest.rsplit_once('.') {
        Some((_, "bias")) => Kind::Bias,
        Some((name, _)) if name.contains("norm") => Kind::Norm,
        Some((name, _)) if name.ends_with("_exps") => Kind::Experts,
        _ => Kind::Linear,
    }
}
