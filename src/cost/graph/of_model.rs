//! The shape of a model's graph, read off its tensors.
//!
//! The one place that knows both a model and the graph. Everything follows from which tensors a
//! block has, and the few things that leave no tensor from the architecture's name.

use crate::model::format::Format;
use crate::model::{Model, Part, Tensor};

use super::formats::{Formats, Matrix};
use super::shape::{
    AttentionShape, BlockShape, Branches, DenseShape, Entry, FeedForwardShape, Gather, GraphShape,
    HeadNorms, Logits, Mixer, Norm, Rotation, Wiring,
};

/// The shape of `model`, whose tensors are stored as told.
pub fn shape(model: &Model, tensors: &[(&Tensor, Format)]) -> GraphShape {
    let dimensions = &model.dimensions;
    let named = |name: &str| {
        let found = tensors.iter().find(|(tensor, _)| tensor.gguf_name == name);
        found.map(|(_, format)| *format)
    };
    let table = named("token_embd.weight").unwrap_or(Format::F16);
    let blocks = (0..dimensions.n_layers).map(|block| {
        let of_block = |part: Part| match part {
            Part::Attention(id) | Part::FeedForward(id) => id.0 == block,
            _ => false,
        };
        let own: Vec<_> = tensors
            .iter()
            .filter(|(tensor, _)| of_block(tensor.part))
            .filter_map(|(tensor, format)| {
                // `blk.7.attn_q.weight`
                Some((tensor.gguf_name.splitn(3, '.').nth(2)?, *format))
            })
            .collect();
        block_shape(model, &own)
    });
    GraphShape {
        hidden: dimensions.hidden,
        vocab: dimensions.vocab,
        norm: match named("output_norm.bias") {
            Some(_) => Norm::BiasedLayer,
            None => Norm::Rms,
        },
        entry: match named("token_embd_norm.weight") {
            Some(_) => Entry::Normed,
            None => Entry::Plain,
        },
        gather: Gather::InLastBlock,
        logits: Logits::Plain,
        table,
        head: named("output.weight").unwrap_or(table),
        blocks: blocks.collect(),
    }
}

/// A block that has these tensors.
fn block_shape(model: &Model, tensors: &[(&str, Format)]) -> BlockShape {
    let dimensions = &model.dimensions;
    let has = |name: &str| tensors.iter().any(|(own, _)| *own == name);
    let rotates_by_table = model
        .tensors
        .iter()
        .any(|tensor| tensor.gguf_name == "rope_freqs.weight");
    let formats = tensors
        .iter()
        .filter_map(|(name, format)| Some((Matrix::named(name)?, *format)))
        .fold(Formats::all(Format::F32), |formats, (matrix, format)| {
            formats.with(matrix, format)
        });
    BlockShape {
        mixer: Mixer::Attention(AttentionShape {
            heads: dimensions.n_heads,
            kv_heads: dimensions.n_kv_heads,
            key_dim: dimensions.head_dim,
            value_dim: dimensions.head_dim,
            // The cache of llama.cpp is sized without windows as long as the model has no kinds of
            // blocks.
            window: None,
            fused: has("attn_qkv.weight"),
            biased: has("attn_q.bias") || has("attn_qkv.bias"),
            output_biased: has("attn_output.bias"),
            head_norms: match has("attn_q_norm.weight") {
                true => HeadNorms::Each,
                false => HeadNorms::None,
            },
            rotation: match (model.architecture.as_str(), rotates_by_table) {
                ("bloom", _) => Rotation::None,
                (_, true) => Rotation::Factors,
                (_, false) => Rotation::Plain,
            },
            scales_queries: false,
            capped: false,
            sinks: false,
            gated: false,
        }),
        feed_forward: FeedForwardShape::Dense(DenseShape {
            inner: dimensions.ffn,
            branches: match has("ffn_gate.weight") {
                true => Branches::Gated,
                false => Branches::Plain,
            },
            biased: has("ffn_up.bias"),
        }),
        wiring: match (model.architecture.as_str(), has("attn_norm_2.weight")) {
            ("falcon", true) => Wiring::FalconTwoNorms,
            ("falcon", false) => Wiring::Falcon,
            _ => Wiring::Sequential,
        },
        formats,
    }
}
