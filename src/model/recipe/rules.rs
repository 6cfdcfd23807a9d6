//! The rules proper: from a tensor's name, place and shape to the format that llama-quantize gives it.
//!
//! They are those of `src/llama-quant.cpp` at llama.cpp 0c1e57098, in the order in which it asks.

use self::Category as C;
use super::{Facts, GgufTensor, NoFallback, Recipe, Recipe as R};
use crate::model::format::{Format, Format as F};

/// The roles that the rules tell apart (`tensor_get_category`). `Value` is whatever holds values,
/// fused query-key-value and MLA's key-value matrices too; `Output` is that of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[rustfmt::skip]
pub(super) enum Category { Head, Embedding, Value, Key, Query, Output, Up, Gate, Down, Other }

pub(super) fn category(name: &str) -> Category {
    let has = |part| name.contains(part);
    match name {
        "output.weight" => C::Head,
        "token_embd.weight" | "per_layer_token_embd.weight" => C::Embedding,
        _ if has("attn_qkv.weight") || has("attn_kv_b.weight") || has("attn_v.weight") => C::Value,
        _ if has("attn_k.weight") => C::Key,
        _ if has("attn_q.weight") => C::Query,
        _ if has("attn_output.weight") => C::Output,
        _ if has("ffn_up") => C::Up,
        _ if has("ffn_gate") => C::Gate,
        _ if has("ffn_down") => C::Down,
        _ => C::Other,
    }
}

/// The block in a name such as `blk.7.attn_q.weight`.
pub(super) fn block(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// What of a name stands behind the number of its block, from the dot on; else all of it.
pub(super) fn behind_block(name: &str) -> &str {
    let part = name.strip_prefix("blk.").and_then(|rest| rest.find('.'));
    part.map_or(name, |dot| &name["blk.".len() + dot..])
}

/// Parts of the names of matrices that are never quantised (`tensor_allows_quantization`).
#[rustfmt::skip]
const KEPT: [&str; 35] = [
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel",
    "per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight",
    "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight",
    "time_mix_w2.weight", "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight",
    "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight", "time_mix_g1.weight",
    "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", "sam.pos_embd",
    "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger", "a.rvq.codebook",
    "mm.a.code_embd",
];

/// The same in `glm5-next` alone, and what that architecture keeps at 8 bits.
#[rustfmt::skip]
const KEPT_IN_GLM5: [&str; 14] = [
    "hc_", "indexer.attn_q_b", "indexer.attn_k", "indexer.proj", "indexer_compressor_gate",
    "indexer_compressor_ape", "ssm_f_a.weight", "ssm_f_b.weight", "ssm_g_a.weight",
    "ssm_g_b.weight", "ssm_beta.weight", "attn_kv_a_mqa.weight", "attn_k_b.weight",
    "attn_v_b.weight",
];
const GLM5_AT_8_BITS: [&str; 3] = ["attn_q_a", "attn_q_b", "nextn.eh_proj"];

/// Whether llama-quantize keeps matrices of a name as they are.
pub(super) fn is_kept(name: &str, facts: &Facts<'_>) -> bool {
    matches!(name, "position_embd.weight" | "token_types.weight")
        || has_any_of(name, &KEPT)
        || (facts.architecture == "glm5-next" && has_any_of(name, &KEPT_IN_GLM5))
}

fn has_any_of(name: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| name.contains(part))
}

impl GgufTensor<'_> {
    /// Whether it is weights of two dimensions or more: llama-quantize touches nothing else.
    pub(super) fn is_matrix(&self) -> bool {
        self.dims.iter().rev().skip(1).any(|dim| *dim > 1) && self.name.ends_with("weight")
    }

    /// The rules proper (`llama_tensor_get_type_impl`); the first that matches counts. The place is
    /// its category, how many of that stand in front of it, and how many hold values in all.
    pub(super) fn mixed(
        &self,
        recipe: Recipe,
        facts: &Facts<'_>,
        place: (Category, u64, u64),
    ) -> Format {
        let (category, position, n_values) = place;
        let (architecture, n, n_experts) = (facts.architecture, facts.n_layers, facts.n_experts);
        let (base, extreme, matrix) = (recipe.base(), recipe.is_extreme(), facts.importance_matrix);
        let lowest = extreme && !matches!(recipe, R::IQ2S | R::IQ2M);
        let (falcon, eight) = (architecture == "falcon", n_experts == 8);
        let shared = facts.n_kv_heads > 0 && facts.n_heads / facts.n_kv_heads >= 4;
        // Experts stand in no order, so their block is read from the name; IQ1 and IQ2 count.
        let named = block(self.name).filter(|_| n_experts > 1 && !extreme);
        let layer = named.unwrap_or(position);
        // The first and the last eighth, and each third between (`use_more_bits`).
        let more = |i: u64, n: u64| i < n / 8 || i >= n - n.div_ceil(8) || (i - n / 8) % 3 == 2;
        let (early, middle) = (layer < n / 8, (n / 8..n - n.div_ceil(8)).contains(&layer));
        // What llama.cpp takes for a 70B model when it loads the file (`LLM_TYPE_70B`).
        let is_70b = match (architecture, n) {
            ("llama" | "llama-embed", 80) => facts.n_heads != facts.n_kv_heads,
            ("qwen2" | "deci" | "olmo", 80) | ("jais2", 68) => true,
            _ => false,
        };
        let is_stack = matches!(self.dims, [.., matrices, _, _] if *matrices > 1);

        let format = match (category, recipe) {
            _ if architecture == "glm5-next" && has_any_of(self.name, &GLM5_AT_8_BITS) => F::Q8_0,
            (C::Head, R::MXFP4Moe | R::Q8_0) => F::Q8_0,
            (C::Head, _) if falcon || !self.fits(base) => F::Q8_0,
            (C::Head, _) if extreme || recipe == R::IQ3XXS => F::Q5K,
            (C::Head, _) => F::Q6K,
            (C::Up | C::Gate | C::Down, R::MXFP4Moe) if is_stack => F::MXFP4,
            (_, R::MXFP4Moe) if is_stack && architecture != "bailingmoe3" => F::MXFP4,
            (_, R::MXFP4Moe) => F::Q8_0,
            // IQ1 and IQ2.
            (C::Value, _) if extreme && (shared || n_experts >= 4) => F::Q4K,
            (C::Key, _) if extreme && eight => F::Q4K,
            (C::Output, _) if extreme && eight => F::Q5K,
            (C::Output, R::IQ1S | R::IQ1M) => F::IQ2XXS,
            (C::Down, _) if extreme && !early => base,
            (C::Embedding | C::Value | C::Down, _) if lowest => F::Q2K,
            (C::Embedding | C::Value | C::Output | C::Down, R::IQ2S | R::IQ2M) => F::IQ3S,
            // Falcon, and eight experts.
            (C::Value | C::Key, _) if eight => F::Q8_0,
            (C::Output | C::Down, R::Q3KL) if falcon => F::Q4K,
            (C::Output, _) if falcon => base,
            (C::Output, R::Q2K | R::Q3KS | R::Q3KM | R::Q4KS | R::Q4KM) if eight => F::Q5K,
            (C::Output, R::IQ3XXS | R::IQ3XS | R::IQ3S | R::IQ3M) if eight => F::Q5K,
            (C::Output, R::IQ4NL | R::IQ4XS) if eight => F::Q5K,
            (C::Output, _) if eight => base,
            // All others.
            (C::Embedding, R::TQ1_0 | R::TQ2_0 | R::Q2_0) => F::Q4K,
            (C::Value, R::Q2K | R::Q2KS | R::IQ3XXS | R::IQ3XS | R::IQ3S) if shared => F::Q4K,
            (C::Value, R::IQ4NL | R::IQ4XS) if shared => F::Q5K,
            (C::Value, R::IQ3XXS) if matrix => base,
            (C::Embedding | C::Value | C::Output, R::IQ3XXS) => F::IQ3S,
            (C::Key | C::Query, R::IQ3XXS) => F::IQ2S,
            (C::Key | C::Query, R::IQ3XS) => F::IQ3XXS,
            (C::Up | C::Gate, R::IQ3XS) if middle => F::IQ3XXS,
            (C::Value | C::Output | C::Down, R::Q2K) => F::Q3K,
            (C::Value, R::Q3KM) if position < 2 => F::Q5K,
            (C::Value, R::Q4KS) if position < 4 => F::Q5K,
            (C::Value, R::Q4KM | R::Q5KM) if more(position, n_values) => F::Q6K,
            (C::Value | C::Output, R::Q3KM | R::IQ3M) => F::Q4K,
            (C::Value | C::Output | C::Down, R::Q3KL) => F::Q5K,
            (C::Down, R::IQ3XXS) if early && !matrix => F::Q4K,
            (C::Down, R::IQ3XXS) if !matrix => F::Q3K,
            (C::Down, R::IQ3M) if early || (more(layer, n) && eight) => F::Q4K,
            (C::Down, R::IQ4NL | R::IQ4XS) if early && !matrix => F::Q5K,
            (C::Down, R::Q2KS) if early => F::Q4K,
            (C::Down, R::Q3KM) if layer < n / 16 => F::Q5K,
            (C::Down, R::Q3KM) if more(layer, n) || !falcon => F::Q4K,
            (C::Down, R::Q4KS) if early && !falcon => F::Q5K,
            (C::Down, R::Q4KM) if more(layer, n) && falcon && layer >= n / 16 => F::Q5K,
            (C::Down, R::Q4KM | R::Q5KM) if more(layer, n) => F::Q6K,
            (C::Down, R::Q4_0) if early && matrix => F::Q4_1,
            (C::Down, R::Q5_0) if early && matrix => F::Q5_1,
            _ => base,
        };
        match format {
            F::Q3K | F::Q4K if category == C::Value && !extreme && is_70b => F::Q5K,
            _ => format,
        }
    }

    fn fits(&self, format: Format) -> bool {
        matches!(self.dims, [.., row] if row.is_multiple_of(format.block()))
    }

    /// `wanted`, or what replaces it where rows are no whole blocks (`tensor_type_fallback`).
    pub(super) fn fitting(&self, wanted: Format) -> Result<Format, NoFallback> {
        let smaller = match wanted {
            F::IQ1S | F::IQ1M | F::IQ2XXS | F::IQ2XS | F::IQ2S => F::IQ4NL,
            F::IQ3XXS | F::IQ3S | F::IQ4XS => F::IQ4NL,
            F::Q2K | F::Q3K | F::TQ1_0 | F::TQ2_0 | F::Q2_0 => F::Q4_0,
            F::Q4K => F::Q5_0,
            F::Q5K => F::Q5_1,
            F::Q6K => F::Q8_0,
            _ if wanted.block() > 32 && !self.fits(wanted) => {
                return Err(NoFallback {
                    tensor: self.name.to_owned(),
                    row: self.dims.last().copied().unwrap_or(1),
                    format: wanted,
                });
            }
            other => other,
        };
        let mut both = [wanted, smaller].into_iter();
        Ok(both.find(|format| self.fits(*format)).unwrap_or(F::F16))
    }
}
