//! Whether a GGUF file is whole: no block lacks what all others have, none is beyond the header's
//! count, and what the header says of widths is what the tensors have.

use std::collections::BTreeMap;

use super::GgufError;
use crate::model::{Block, Dimensions, Part, Tensor};

/// Holds the tensors against the header and against each other.
pub(super) fn whole(
    dimensions: &Dimensions,
    blocks: &[Block],
    tensors: &[Tensor],
) -> Result<(), GgufError> {
    let beyond = |tensor: &&Tensor| block(tensor).is_some_and(|block| block >= dimensions.n_layers);
    if let Some(tensor) = tensors.iter().find(beyond) {
        return Err(GgufError::UnknownTensor(tensor.gguf_name.clone()));
    }
    let caches = |block: &Block| {
        block
            .caches
            .iter()
            .map(std::mem::discriminant)
            .collect::<Vec<_>>()
    };
    let alike = blocks
        .iter()
        .all(|block| caches(block) == caches(&blocks[0]));
    if let Some(missing) = missing(dimensions, tensors).filter(|_| alike) {
        return Err(GgufError::MissingTensor(missing));
    }
    for tensor in tensors {
        let expected = expected(tensor, dimensions, blocks);
        if let Some(expected) = expected.filter(|expected| *expected != tensor.dims) {
            return Err(GgufError::Shape {
                name: tensor.gguf_name.clone(),
                found: tensor.dims.clone(),
                expected,
            });
        }
    }
    Ok(())
}

fn block(tensor: &Tensor) -> Option<u32> {
    match tensor.part {
        Part::Attention(block) | Part::FeedForward(block) | Part::NextToken(block) => Some(block.0),
        Part::Embedding | Part::FinalNorm | Part::Head | Part::Tower | Part::Everywhere => None,
    }
}

/// A tensor that one block lacks and all others have. Of a mixture's feed-forward a first dense block
/// has others, and with few blocks nothing is a rule.
fn missing(dimensions: &Dimensions, tensors: &[Tensor]) -> Option<String> {
    let mut having = BTreeMap::<&str, Vec<u32>>::new();
    for tensor in tensors {
        let stem = tensor.gguf_name.splitn(3, '.').nth(2);
        if let (Some(block), Some(stem)) = (block(tensor), stem) {
            having.entry(stem).or_default().push(block);
        }
    }
    let n_layers = dimensions.n_layers;
    let of_mixture = |stem: &str| stem.starts_with("ffn") || stem.starts_with("exp_probs");
    let is_rule = |stem: &str| n_layers >= 4 && !(dimensions.experts.is_some() && of_mixture(stem));
    let (stem, having) = having
        .into_iter()
        .find(|(stem, having)| is_rule(stem) && having.len() as u32 + 1 == n_layers)?;
    let lacking = (0..n_layers).find(|block| !having.contains(block))?;
    Some(format!("blk.{lacking}.{stem}"))
}

/// The shape that the header gives a tensor, where it does.
fn expected(tensor: &Tensor, dimensions: &Dimensions, blocks: &[Block]) -> Option<Vec<u64>> {
    let kept = blocks.get(block(tensor)? as usize)?.keys_values()?;
    match tensor.gguf_name.rsplit('.').nth(1)? {
        "attn_k" => Some(vec![kept.keys(), dimensions.hidden]),
        "attn_v" => Some(vec![kept.values(), dimensions.hidden]),
        _ => None,
    }
    .filter(|_| tensor.dims.len() == 2)
}
