//! The shape of a model's graph, read off its tensors.
//!
//! The one place that knows both a model and the graph. Everything follows from which tensors a
//! block has, what it keeps, and the few things that leave no tensor from the architecture's name.

use crate::model::format::Format;
use crate::model::{Block, Cache, Model, Part, Tensor};

use super::formats::{Formats, Matrix};
use super::shape::{
    AttentionShape, BlockShape, Branches, DeltaNetShape, DenseShape, Entry, ExpertsShape,
    FeedForwardShape, Gather, GraphShape, HeadNorms, LatentShape, Logits, MambaShape, Mixer, Norm,
    Rotation, Scores, SharedShape, Wiring,
};

/// The shape of `model`, whose tensors are stored as told.
pub fn shape(model: &Model, tensors: &[(&Tensor, Format)]) -> GraphShape {
    let dimensions = &model.dimensions;
    let architecture = model.architecture.as_str();
    let named = |name: &str| {
        let found = tensors.iter().find(|(tensor, _)| tensor.gguf_name == name);
        found.map(|(_, format)| *format)
    };
    let table = named("token_embd.weight").unwrap_or(Format::F16);
    let mut own = vec![Own::default(); model.blocks.len()];
    for (tensor, format) in tensors {
        let (Part::Attention(block) | Part::FeedForward(block)) = tensor.part else {
            continue;
        };
        // `blk.7.attn_q.weight`
        let name = tensor.gguf_name.rsplitn(3, '.').collect::<Vec<_>>();
        let (Some(own), [suffix, stem, _]) = (own.get_mut(block.0 as usize), name.as_slice())
        else {
            continue;
        };
        own.0.push((format!("{stem}.{suffix}"), tensor, *format));
    }
    let rotates_by_table = tensors
        .iter()
        .any(|(tensor, _)| tensor.gguf_name == "rope_freqs.weight");
    let blocks = model.blocks.iter().zip(&own);
    GraphShape {
        hidden: dimensions.hidden,
        vocab: dimensions.vocab,
        norm: match (architecture, named("output_norm.bias")) {
            (_, Some(_)) => Norm::BiasedLayer,
            ("command-r" | "cohere2", None) => Norm::Layer,
            (_, None) => Norm::Rms,
        },
        entry: match (architecture, named("token_embd_norm.weight")) {
            (_, Some(_)) => Entry::Normed,
            ("granite" | "granitemoe" | "minicpm", None) => Entry::Scaled,
            (gemma, None) if gemma.starts_with("gemma") => Entry::Scaled,
            (_, None) => Entry::Plain,
        },
        gather: match architecture {
            "gpt-oss" => Gather::BeforeNorm,
            "qwen3next" => Gather::AfterNorm,
            _ => Gather::InLastBlock,
        },
        logits: match (architecture, named("output.bias")) {
            ("command-r" | "cohere2" | "granite" | "granitemoe", _) => Logits::Scaled,
            ("gemma2", _) => Logits::Capped,
            (_, Some(_)) => Logits::Biased,
            (_, None) => Logits::Plain,
        },
        table,
        head: named("output.weight").unwrap_or(table),
        blocks: blocks
            .map(|(block, own)| own.shape(model, block, rotates_by_table))
            .collect(),
    }
}

/// The tensors of one block, by the end of their names.
#[derive(Clone, Debug, Default)]
struct Own<'a>(Vec<(String, &'a Tensor, Format)>);

impl Own<'_> {
    fn find(&self, name: &str) -> Option<&Tensor> {
        let found = self.0.iter().find(|(own, ..)| own == name);
        found.map(|(_, tensor, _)| *tensor)
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    fn rows(&self, name: &str) -> Option<u64> {
        self.find(name).map(Tensor::rows)
    }

    fn columns(&self, name: &str) -> Option<u64> {
        self.find(name).map(Tensor::columns)
    }

    fn shape(&self, model: &Model, block: &Block, rotates_by_table: bool) -> BlockShape {
        let formats = self
            .0
            .iter()
            .filter_map(|(name, _, format)| Some((Matrix::named(name)?, *format)))
            .fold(Formats::all(Format::F32), |formats, (matrix, format)| {
                formats.with(matrix, format)
            });
        BlockShape {
            mixer: self.mixer(model, block, rotates_by_table),
            feed_forward: self.feed_forward(model),
            wiring: self.wiring(&model.architecture),
            formats,
        }
    }

    /// What mixes positions: of two mixers beside each other the attention.
    fn mixer(&self, model: &Model, block: &Block, rotates_by_table: bool) -> Mixer {
        for cache in &block.caches {
            match *cache {
                Cache::Latent { rank, rope } => return self.latent(model, rank, rope),
                Cache::KeysValues(_) | Cache::Cross { .. } => break,
                Cache::State {
                    channels,
                    kernel,
                    state,
                } => {
                    if block.keys_values().is_none() {
                        return self.recurrent(model, channels, kernel, state);
                    }
                }
            }
        }
        Mixer::Attention(self.attention(model, block, rotates_by_table))
    }

    fn attention(&self, model: &Model, block: &Block, rotates_by_table: bool) -> AttentionShape {
        let dimensions = &model.dimensions;
        let architecture = model.architecture.as_str();
        let kept = block.keys_values();
        let kv_heads = kept.map_or(dimensions.n_kv_heads, |kept| kept.heads).max(1);
        let key_dim = kept.map_or(dimensions.head_dim, |kept| kept.key).max(1);
        let value_dim = kept.map_or(dimensions.head_dim, |kept| kept.value).max(1);
        let output = self.columns("attn_output.weight");
        let heads = output
            .map_or(dimensions.n_heads, |columns| columns / value_dim)
            .max(1);
        AttentionShape {
            heads,
            kv_heads,
            key_dim,
            value_dim,
            window: kept.and_then(|kept| kept.window).map(|window| window.0),
            fused: self.has("attn_qkv.weight"),
            biased: self.has("attn_q.bias") || self.has("attn_qkv.bias"),
            output_biased: self.has("attn_output.bias"),
            head_norms: match self.find("attn_q_norm.weight").map(Tensor::elements) {
                None => HeadNorms::None,
                Some(elements) if elements == key_dim => HeadNorms::Each,
                Some(_) => HeadNorms::Together,
            },
            rotation: match (architecture, rotates_by_table) {
                ("bloom" | "mpt" | "gpt2" | "starcoder" | "opt", _) => Rotation::None,
                (_, true) => Rotation::Factors,
                (_, false) => Rotation::Plain,
            },
            scales_queries: architecture.starts_with("gemma")
                || matches!(architecture, "phi2" | "phi3"),
            capped: architecture == "gemma2",
            sinks: self.has("attn_sinks.weight"),
            gated: self.rows("attn_q.weight") == Some(2 * heads * key_dim),
        }
    }

    fn latent(&self, model: &Model, rank: u64, rope: u64) -> Mixer {
        let heads = model.dimensions.n_heads.max(1);
        let queries = self
            .rows("attn_q_b.weight")
            .or_else(|| self.rows("attn_q.weight"));
        let output = self.columns("attn_output.weight").unwrap_or(heads * rank);
        Mixer::Latent(LatentShape {
            heads,
            query_rank: self.rows("attn_q_a.weight"),
            rank,
            plain_dim: (queries.unwrap_or(heads * (rank + rope)) / heads).saturating_sub(rope),
            rotated_dim: rope,
            value_dim: output / heads,
        })
    }

    /// A state space, or a delta rule; of other recurrences the nearest state space.
    fn recurrent(&self, model: &Model, channels: u64, kernel: u64, state: u64) -> Mixer {
        let hidden = model.dimensions.hidden;
        let inner = self.columns("ssm_out.weight").unwrap_or(hidden).max(1);
        let state = (state / inner).max(1);
        let groups = channels.saturating_sub(inner) / (2 * state);
        if self.has("attn_qkv.weight") || self.has("ssm_ba.weight") || self.has("ssm_beta.weight") {
            return Mixer::DeltaNet(DeltaNetShape {
                key_heads: groups.max(1),
                value_heads: (inner / state).max(1),
                head_dim: state,
                convolution: kernel,
            });
        }
        let (step, groups) = match self
            .columns("ssm_dt.weight")
            .filter(|_| self.has("ssm_x.weight"))
        {
            Some(rank) => (rank, None),
            None => {
                let heads = self.find("ssm_a").or_else(|| self.find("ssm_dt.bias"));
                (heads.map_or(1, Tensor::elements), Some(groups.max(1)))
            }
        };
        Mixer::Mamba(MambaShape {
            inner,
            state,
            convolution: kernel,
            step,
            groups,
        })
    }

    fn feed_forward(&self, model: &Model) -> FeedForwardShape {
        let experts = self.find("ffn_down_exps.weight");
        if let (Some(down), Some(experts)) = (experts, model.dimensions.experts) {
            let architecture = model.architecture.as_str();
            let choice_biased = self.has("exp_probs_b.bias");
            return FeedForwardShape::Experts(ExpertsShape {
                count: down.dims.first().copied().unwrap_or(experts.total),
                used: experts.used,
                inner: down.columns(),
                scores: match architecture {
                    "gpt-oss" => Scores::OfUsed,
                    _ => Scores::OfAll,
                },
                // DeepSeek-V2 takes the weights as they are; V3 scales what it normalised.
                normalised: architecture != "deepseek2" || choice_biased,
                scaled: choice_biased,
                choice_biased,
                // DeepSeek-V3 chooses among 4 of 8 groups.
                groups: (architecture == "deepseek2" && experts.total == 256).then_some((8, 4)),
                biased: self.has("ffn_down_exps.bias"),
                shared: self
                    .columns("ffn_down_shexp.weight")
                    .map(|inner| SharedShape {
                        inner,
                        gated: self.has("ffn_gate_inp_shexp.weight"),
                    }),
            });
        }
        let Some(inner) = self.columns("ffn_down.weight") else {
            return FeedForwardShape::None;
        };
        let in_one = self.rows("ffn_up.weight") == Some(2 * inner);
        FeedForwardShape::Dense(DenseShape {
            inner,
            branches: match (self.has("ffn_gate.weight"), in_one) {
                (true, _) => Branches::Gated,
                (false, true) => Branches::GatedInOne,
                (false, false) => Branches::Plain,
            },
            biased: self.has("ffn_up.bias"),
        })
    }

    fn wiring(&self, architecture: &str) -> Wiring {
        let is_after = self.has("post_attention_norm.weight");
        match (architecture, self.has("attn_norm_2.weight")) {
            ("falcon", true) => Wiring::FalconTwoNorms,
            ("falcon", false) => Wiring::Falcon,
            ("gptneox", _) => Wiring::NeoX,
            ("phi2", _) => Wiring::Phi,
            ("command-r" | "cohere2", _) => Wiring::CommandR,
            _ if is_after && self.has("attn_norm.weight") && self.has("post_ffw_norm.weight") => {
                Wiring::Sandwiched
            }
            _ if is_after && !self.has("attn_norm.weight") => Wiring::PostNormed,
            _ => Wiring::Sequential,
        }
    }
}
