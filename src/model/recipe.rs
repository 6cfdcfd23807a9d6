//! What llama-quantize makes of a model: its file types as rules from tensor to format.
//!
//! A recipe such as `q4_k_m` is a mix: a tensor's format depends on its role, block, row length and
//! a few facts of the model. The rules are those of `src/llama-quant.cpp` at llama.cpp 0c1e57098.
//! Left out: options that override them, `Q1_0`, `Q2_0`, and NVFP4, which it refuses to write.

use std::fmt;
use std::str::FromStr;

use self::{Category as C, Recipe as R};
use crate::model::format::{Format, Format as F};

/// A named mix of formats that llama-quantize writes (its file types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the recipes themselves")]
#[rustfmt::skip]
pub enum Recipe {
    F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, MXFP4Moe,
    Q2K, Q2KS, Q3KS, Q3KM, Q3KL, Q4KS, Q4KM, Q5KS, Q5KM, Q6K, IQ1S, IQ1M, IQ2XXS, IQ2XS, IQ2S, IQ2M,
    IQ3XXS, IQ3XS, IQ3S, IQ3M, IQ4NL, IQ4XS, TQ1_0, TQ2_0,
}

/// Recipe, name, number in `general.file_type`, and the format of a tensor that no rule names
/// (`llama_ftype_get_default_type`). In the order of the enum, so that a recipe is its own index.
#[rustfmt::skip]
const TABLE: [(Recipe, &str, u32, Format); 33] = [
    (R::F32, "f32", 0, F::F32),               (R::F16, "f16", 1, F::F16),
    (R::BF16, "bf16", 32, F::BF16),           (R::Q4_0, "q4_0", 2, F::Q4_0),
    (R::Q4_1, "q4_1", 3, F::Q4_1),            (R::Q5_0, "q5_0", 8, F::Q5_0),
    (R::Q5_1, "q5_1", 9, F::Q5_1),            (R::Q8_0, "q8_0", 7, F::Q8_0),
    (R::MXFP4Moe, "mxfp4_moe", 38, F::MXFP4), (R::Q2K, "q2_k", 10, F::Q2K),
    (R::Q2KS, "q2_k_s", 21, F::Q2K),          (R::Q3KS, "q3_k_s", 11, F::Q3K),
    (R::Q3KM, "q3_k_m", 12, F::Q3K),          (R::Q3KL, "q3_k_l", 13, F::Q3K),
    (R::Q4KS, "q4_k_s", 14, F::Q4K),          (R::Q4KM, "q4_k_m", 15, F::Q4K),
    (R::Q5KS, "q5_k_s", 16, F::Q5K),          (R::Q5KM, "q5_k_m", 17, F::Q5K),
    (R::Q6K, "q6_k", 18, F::Q6K),             (R::IQ1S, "iq1_s", 24, F::IQ1S),
    (R::IQ1M, "iq1_m", 31, F::IQ1M),          (R::IQ2XXS, "iq2_xxs", 19, F::IQ2XXS),
    (R::IQ2XS, "iq2_xs", 20, F::IQ2XS),       (R::IQ2S, "iq2_s", 28, F::IQ2XS),
    (R::IQ2M, "iq2_m", 29, F::IQ2S),          (R::IQ3XXS, "iq3_xxs", 23, F::IQ3XXS),
    (R::IQ3XS, "iq3_xs", 22, F::IQ3S),        (R::IQ3S, "iq3_s", 26, F::IQ3S),
    (R::IQ3M, "iq3_m", 27, F::IQ3S),          (R::IQ4NL, "iq4_nl", 25, F::IQ4NL),
    (R::IQ4XS, "iq4_xs", 30, F::IQ4XS),       (R::TQ1_0, "tq1_0", 36, F::TQ1_0),
    (R::TQ2_0, "tq2_0", 37, F::TQ2_0),
];

/// Names that llama-quantize reads as another.
const ALIASES: [(&str, Recipe); 3] = [("q3_k", R::Q3KM), ("q4_k", R::Q4KM), ("q5_k", R::Q5KM)];

/// One tensor of the GGUF file that is to be quantised.
#[derive(Clone, Copy, Debug)]
pub struct GgufTensor<'a> {
    /// Its name, such as `blk.7.ffn_down.weight`.
    pub name: &'a str,
    /// Shape, slowest first: the last is the length of a row, ggml's `ne[0]`.
    pub dims: &'a [u64],
    /// What the converter writes: F32 for vectors and a few matrices, else F16.
    pub unquantised: Format,
}

/// What the rules ask about the model as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `general.architecture`.
    pub architecture: &'a str,
    /// `block_count`, blocks that predict further tokens included.
    pub n_layers: u64,
    /// Query heads of the first block.
    pub n_heads: u64,
    /// Key-value heads of the first block.
    pub n_kv_heads: u64,
    /// `expert_count`, 0 in a dense model.
    pub n_experts: u64,
    /// Whether llama-quantize is given an importance matrix.
    pub importance_matrix: bool,
}

/// A name that is no recipe; the message has the names that begin most like it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no recipe of llama-quantize: try `{like}`", like = nearest(.0).join("`, `"))]
pub struct UnknownRecipe(String);

fn nearest(name: &str) -> Vec<&'static str> {
    let same = |(a, b): &(u8, u8)| a.eq_ignore_ascii_case(b);
    let likeness = |known: &str| known.bytes().zip(name.bytes()).take_while(same).count();
    let most = TABLE.iter().map(|row| likeness(row.1)).max();
    let like = |known: &&str| Some(likeness(known)) == most;
    Recipe::all().map(Recipe::name).filter(like).collect()
}

impl Recipe {
    /// Every recipe, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The name that people write, in lower case.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The recipe that `general.file_type` calls by this number.
    pub fn from_file_type(number: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.2 == number).map(|row| row.0)
    }

    /// Whether llama-quantize refuses to write it without one (`tensor_requires_imatrix`).
    pub fn needs_importance_matrix(self) -> bool {
        self.is_extreme() || matches!(self, R::Q2KS | R::IQ3XXS | R::IQ3XS)
    }

    /// What a tensor gets that no rule names.
    fn base(self) -> Format {
        TABLE[self as usize].3
    }

    /// Those of one and two bits, which have rules of their own.
    #[rustfmt::skip]
    fn is_extreme(self) -> bool {
        matches!(self, R::IQ1S | R::IQ1M | R::IQ2XXS | R::IQ2XS | R::IQ2S | R::IQ2M)
    }
}

impl fmt::Display for Recipe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Recipe {
    type Err = UnknownRecipe;

    fn from_str(name: &str) -> Result<Self, UnknownRecipe> {
        let names = Self::all().map(|recipe| (recipe.name(), recipe));
        let named = |(known, _): &(&str, Self)| known.eq_ignore_ascii_case(name);
        let found = names.chain(ALIASES).find(named);
        let (_, recipe) = found.ok_or_else(|| UnknownRecipe(name.to_owned()))?;
        Ok(recipe)
    }
}

/// The format that llama-quantize gives each tensor, in the order of `tensors`.
///
/// Rules that count tensors count them in llama-quantize's order: by block, then by name.
pub fn formats(recipe: Recipe, facts: &Facts<'_>, tensors: &[GgufTensor<'_>]) -> Vec<Format> {
    let tied = !tensors.iter().any(|tensor| tensor.name == "output.weight");
    let category = |tensor: &GgufTensor<'_>| match category(tensor.name) {
        C::Embedding if tied => C::Head,
        category => category,
    };
    let categories: Vec<_> = tensors.iter().map(category).collect();
    let n_values = categories.iter().filter(|role| **role == C::Value).count() as u64;
    let mut order: Vec<_> = (0..tensors.len()).collect();
    order.sort_by_key(|index| (block(tensors[*index].name), tensors[*index].name));

    let mut seen = [0; C::Other as usize + 1];
    let mut formats: Vec<_> = tensors.iter().map(|tensor| tensor.unquantised).collect();
    let quantisable = |index: &usize| tensors[*index].is_quantisable(facts);
    for index in order.into_iter().filter(quantisable) {
        let (tensor, category) = (&tensors[index], categories[index]);
        let position = &mut seen[category as usize];
        let place = (category, *position, n_values);
        formats[index] = match recipe.base() {
            base if base.is_quantised() => tensor.fitting(tensor.mixed(recipe, facts, place)),
            base => base,
        };
        *position += 1;
    }
    formats
}

/// The roles that the rules tell apart (`tensor_get_category`). `Value` is whatever holds values,
/// fused query-key-value and MLA's key-value matrices too; `Output` is that of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[rustfmt::skip]
enum Category { Head, Embedding, Value, Key, Query, Output, Up, Gate, Down, Other }

fn category(name: &str) -> Category {
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
fn block(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
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

impl GgufTensor<'_> {
    /// Whether llama-quantize touches it: weights of two dimensions or more, with exceptions.
    fn is_quantisable(&self, facts: &Facts<'_>) -> bool {
        self.dims.iter().rev().skip(1).any(|dim| *dim > 1)
            && self.name.ends_with("weight")
            && !matches!(self.name, "position_embd.weight" | "token_types.weight")
            && !self.is_any_of(&KEPT)
            && !(facts.architecture == "glm5-next" && self.is_any_of(&KEPT_IN_GLM5))
    }

    /// The rules proper (`llama_tensor_get_type_impl`); the first that matches counts. The place is
    /// its category, how many of that stand in front of it, and how many hold values in all.
    fn mixed(&self, recipe: Recipe, facts: &Facts<'_>, place: (Category, u64, u64)) -> Format {
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
            _ if architecture == "glm5-next" && self.is_any_of(&GLM5_AT_8_BITS) => F::Q8_0,
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
            (C::Embedding, R::TQ1_0 | R::TQ2_0) => F::Q4K,
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

    fn is_any_of(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.name.contains(part))
    }

    fn fits(&self, format: Format) -> bool {
        matches!(self.dims, [.., row] if row.is_multiple_of(format.block()))
    }

    /// `wanted`, or what replaces it where rows are no whole blocks (`tensor_type_fallback`).
    fn fitting(&self, wanted: Format) -> Format {
        let smaller = match wanted {
            F::IQ1S | F::IQ1M | F::IQ2XXS | F::IQ2XS | F::IQ2S => F::IQ4NL,
            F::IQ3XXS | F::IQ3S | F::IQ4XS => F::IQ4NL,
            F::Q2K | F::Q3K | F::TQ1_0 | F::TQ2_0 => F::Q4_0,
            F::Q4K => F::Q5_0,
            F::Q5K => F::Q5_1,
            F::Q6K => F::Q8_0,
            other => other,
        };
        let mut both = [wanted, smaller].into_iter();
        both.find(|format| self.fits(*format)).unwrap_or(F::F16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Count, format and bytes of the matrices of Llama-2-7B and 70B, Mixtral-8x7B and Falcon-40B.
    /// Source: `truth/llamacpp/memory.json`, equal to `llama-quantize --dry-run` at 0c1e57098.
    #[test]
    #[rustfmt::skip]
    fn published_models_weigh_what_llama_quantize_makes_of_them() {
        let llama = |h, kv, f, x: u64| vec![
            ("attn_q", [h, h]), ("attn_k", [kv, h]), ("attn_v", [kv, h]), ("attn_output", [h, h]),
            ("ffn_gate", [x * f, h]), ("ffn_up", [x * f, h]), ("ffn_down", [x * h, f])];
        let falcon = |h, qkv, f| vec![("attn_qkv", [qkv, h]), ("attn_output", [h, h]),
            ("ffn_up", [f, h]), ("ffn_down", [h, f])];
        for (architecture, [n_layers, n_heads, n_kv_heads, n_experts], head, block, weights) in [
            ("llama", [32, 32, 32, 0], [32_000, 4096], llama(4096, 4096, 11_008, 1), [
             "193 q4_k 3159687168, 33 q6_k 919511040",
             "225 q4_0 3716481024, 1 q6_k 107520000", "226 q8_0 7159283712"]),
            ("llama", [80, 64, 8, 0], [32_000, 8192], llama(8192, 1024, 28_672, 1), [
             "441 q4_k 32988856320, 40 q5_k 230686720, 81 q6_k 8197324800",
             "561 q4_0 38651166720, 1 q6_k 215040000", "562 q8_0 73286287360"]),
            ("llama", [32, 32, 8, 8], [32_000, 4096], llama(4096, 1024, 14_336, 8), [
             "64 q8_0 285212672, 113 q4_k 21515010048, 32 q5_k 369098752, 17 q6_k 6273146880",
             "161 q4_0 26044858368, 64 q8_0 285212672, 1 q6_k 107520000", "226 q8_0 49620320256"]),
            ("falcon", [60, 128, 8, 0], [65_024, 8192], falcon(8192, 9216, 32_768), [
             "1 q8_0 565968896, 181 q4_k 17428119552, 27 q5_k 4982833152, 33 q6_k 2518548480",
             "241 q4_0 23231987712, 1 q8_0 565968896", "242 q8_0 44448612352"]),
        ] {
            let facts = Facts {
                architecture, n_layers, n_heads, n_kv_heads, n_experts, importance_matrix: false };
            let ends = ["token_embd.weight", "output.weight"];
            let mut named = ends.map(|name| (name.to_owned(), head)).to_vec();
            for layer in 0..n_layers {
                let name = |part| format!("blk.{layer}.{part}.weight");
                named.extend(block.iter().map(|(part, dims)| (name(part), *dims)));
            }
            let tensor = |(name, dims)| GgufTensor { name, dims, unquantised: F::F16 };
            let tensors: Vec<_> = named.iter().map(|(name, dims)| tensor((name, dims))).collect();
            for (recipe, expected) in [R::Q4KM, R::Q4_0, R::Q8_0].into_iter().zip(weights) {
                let mut sums = BTreeMap::<_, (u64, u64)>::new();
                for (format, tensor) in formats(recipe, &facts, &tensors).iter().zip(&tensors) {
                    let sum = sums.entry(*format).or_default();
                    *sum = (sum.0 + 1, sum.1 + format.bytes(tensor.dims[0], tensor.dims[1]).0);
                }
                let texts = sums.iter().map(|(name, sum)| format!("{} {name} {}", sum.0, sum.1));
                assert_eq!(texts.collect::<Vec<_>>().join(", "), expected, "{facts:?}");
            }
        }
    }

    #[test]
    fn recipes_are_their_own_rows_and_unknown_names_meet_their_nearest() {
        for (index, recipe) in Recipe::all().enumerate() {
            assert_eq!(recipe as usize, index);
            assert_eq!(recipe.name().to_uppercase().parse(), Ok(recipe));
        }
        assert_eq!("Q4_K".parse(), Ok(R::Q4KM));
        assert_eq!(nearest("IQ4_K"), ["iq4_nl", "iq4_xs"]);
    }
}
