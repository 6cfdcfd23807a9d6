//! What llama-quantize makes of a model: its file types as rules from tensor to format.
//!
//! A recipe such as `q4_k_m` is no format but a mix: which format a tensor gets depends on its
//! role, its block, its row length and a few facts of the model. The rules are those of
//! `src/llama-quant.cpp` at llama.cpp 0c1e57098. Left out: options that override them (`--pure`,
//! `--tensor-type`, …), `Q1_0` and `Q2_0`, and NVFP4, which llama-quantize refuses to write.

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
    Q2K, Q2KS, Q3KS, Q3KM, Q3KL, Q4KS, Q4KM, Q5KS, Q5KM, Q6K,
    IQ1S, IQ1M, IQ2XXS, IQ2XS, IQ2S, IQ2M, IQ3XXS, IQ3XS, IQ3S, IQ3M, IQ4NL, IQ4XS,
    TQ1_0, TQ2_0,
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

/// A name that is no recipe, and the names that begin most like it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no recipe of llama-quantize: the nearest are `{}`", .nearest.join("`, `"))]
pub struct UnknownRecipe {
    name: String,
    nearest: Vec<&'static str>,
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
    fn is_extreme(self) -> bool {
        self.is_lowest() || matches!(self, R::IQ2S | R::IQ2M)
    }

    /// The lower of those.
    fn is_lowest(self) -> bool {
        matches!(self, R::IQ1S | R::IQ1M | R::IQ2XXS | R::IQ2XS)
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
        let lower = name.trim().to_ascii_lowercase();
        let known = Self::all().map(|recipe| (recipe.name(), recipe));
        let found = known.chain(ALIASES).find(|(known, _)| *known == lower);
        found.map(|(_, recipe)| recipe).ok_or_else(|| {
            let common = |(a, b): &(u8, u8)| a == b;
            let likeness =
                |known: &str| known.bytes().zip(lower.bytes()).take_while(common).count();
            let most = Self::all().map(|recipe| likeness(&recipe.name())).max();
            let nearest = Self::all()
                .map(Self::name)
                .filter(|known| Some(likeness(known)) == most);
            UnknownRecipe {
                name: name.to_owned(),
                nearest: nearest.collect(),
            }
        })
    }
}

/// The format that llama-quantize gives each tensor, in the order of `tensors`.
///
/// Rules that count tensors count them in llama-quantize's order: by block, then by name.
pub fn formats(recipe: Recipe, facts: &Facts<'_>, tensors: &[GgufTensor<'_>]) -> Vec<Format> {
    let categories: Vec<_> = tensors.iter().map(|tensor| category(tensor.name)).collect();
    let count = |wanted| {
        categories
            .iter()
            .filter(|category| **category == wanted)
            .count() as u64
    };
    let (tied, n_values) = (count(C::Head) == 0, count(C::Value));
    let mut order: Vec<_> = (0..tensors.len()).collect();
    order.sort_by_key(|index| (block(tensors[*index].name), tensors[*index].name));

    let mut seen = [0; C::Other as usize + 1];
    let mut formats: Vec<_> = tensors.iter().map(|tensor| tensor.unquantised).collect();
    for index in order {
        let tensor = &tensors[index];
        let category = match categories[index] {
            C::Embedding if tied => C::Head,
            category => category,
        };
        if is_quantisable(facts, tensor) {
            let position = seen[category as usize];
            seen[category as usize] += 1;
            let site = Site {
                facts,
                tensor,
                category,
                position,
                n_values,
            };
            formats[index] = match recipe.base() {
                base if base.is_quantised() => tensor.fitting(site.format(recipe)),
                base => base,
            };
        }
    }
    formats
}

/// The roles that the rules tell apart (`tensor_get_category`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Category {
    Head,
    Embedding,
    /// Whatever holds values: fused query-key-value and MLA's key-value matrices too.
    Value,
    Key,
    Query,
    AttentionOutput,
    Up,
    Gate,
    Down,
    Other,
}

/// Parts of names and what they mean; the first that matches counts.
#[rustfmt::skip]
const CATEGORIES: [(&str, Category); 9] = [
    ("attn_qkv.weight", C::Value), ("attn_kv_b.weight", C::Value), ("attn_v.weight", C::Value),
    ("attn_k.weight", C::Key), ("attn_q.weight", C::Query),
    ("attn_output.weight", C::AttentionOutput),
    ("ffn_up", C::Up), ("ffn_gate", C::Gate), ("ffn_down", C::Down),
];

fn category(name: &str) -> Category {
    let by_part = || CATEGORIES.iter().find(|(part, _)| name.contains(part));
    match name {
        "output.weight" => C::Head,
        "token_embd.weight" | "per_layer_token_embd.weight" => C::Embedding,
        _ => by_part().map_or(C::Other, |(_, category)| *category),
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
const AT_8_BITS_IN_GLM5: [&str; 3] = ["attn_q_a", "attn_q_b", "nextn.eh_proj"];

/// Whether llama-quantize touches it: weights of two dimensions or more, with exceptions.
fn is_quantisable(facts: &Facts<'_>, tensor: &GgufTensor<'_>) -> bool {
    tensor.dims.iter().rev().skip(1).any(|dim| *dim > 1)
        && tensor.name.ends_with("weight")
        && !matches!(tensor.name, "position_embd.weight" | "token_types.weight")
        && !tensor.is_any_of(&KEPT)
        && !(facts.architecture == "glm5-next" && tensor.is_any_of(&KEPT_IN_GLM5))
}

/// A tensor that is to be quantised, and where it stands in the model.
struct Site<'a> {
    facts: &'a Facts<'a>,
    tensor: &'a GgufTensor<'a>,
    category: Category,
    /// Quantised tensors of the same category in front of it.
    position: u64,
    /// Tensors that hold values, in the whole model.
    n_values: u64,
}

impl Site<'_> {
    /// The rules proper (`llama_tensor_get_type_impl`); the first that matches counts.
    fn format(&self, recipe: Recipe) -> Format {
        let Self {
            facts,
            tensor,
            category,
            position,
            n_values,
        } = *self;
        let Facts {
            architecture,
            n_layers: n,
            n_experts,
            importance_matrix: matrix,
            ..
        } = *facts;
        let (base, extreme, lowest) = (recipe.base(), recipe.is_extreme(), recipe.is_lowest());
        let (falcon, eight) = (architecture == "falcon", n_experts == 8);
        let shared = facts
            .n_heads
            .checked_div(facts.n_kv_heads)
            .is_some_and(|group| group >= 4);
        // Experts stand in no order, so their block is read from the name; IQ1 and IQ2 count.
        let named = block(tensor.name).filter(|_| n_experts > 1 && !extreme);
        let layer = named.unwrap_or(position);
        let (early, middle) = (layer < n / 8, (n / 8..n - n.div_ceil(8)).contains(&layer));
        let more = gets_more_bits(layer, n);
        let is_ffn = matches!(category, C::Up | C::Gate | C::Down);
        let is_stack = tensor
            .dims
            .iter()
            .rev()
            .nth(2)
            .is_some_and(|matrices| *matrices > 1);

        let format = match (category, recipe) {
            _ if architecture == "glm5-next" && tensor.is_any_of(&AT_8_BITS_IN_GLM5) => F::Q8_0,

            (C::Head, R::MXFP4Moe | R::Q8_0) => F::Q8_0,
            (C::Head, _) if falcon || !tensor.fits(base) => F::Q8_0,
            (C::Head, _) if extreme || recipe == R::IQ3XXS => F::Q5K,
            (C::Head, _) => F::Q6K,

            (_, R::MXFP4Moe) if architecture == "bailingmoe3" && !is_ffn => F::Q8_0,
            (_, R::MXFP4Moe) if is_stack => F::MXFP4,
            (_, R::MXFP4Moe) => F::Q8_0,

            (C::Embedding, _) if lowest => F::Q2K,
            (C::Embedding, R::IQ2S | R::IQ2M | R::IQ3XXS) => F::IQ3S,
            (C::Embedding, R::TQ1_0 | R::TQ2_0) => F::Q4K,

            (C::Value, _) if extreme && (shared || n_experts >= 4) => F::Q4K,
            (C::Value, _) if lowest => F::Q2K,
            (C::Value, R::IQ2S | R::IQ2M) => F::IQ3S,
            (C::Value, _) if eight => F::Q8_0,
            (C::Value, R::IQ4NL | R::IQ4XS) if shared => F::Q5K,
            (C::Value, R::Q4KM | R::Q5KM) if gets_more_bits(position, n_values) => F::Q6K,
            (C::Value, R::Q4KS) if position < 4 => F::Q5K,
            (C::Value, R::Q3KM) if position < 2 => F::Q5K,
            (C::Value, R::Q3KL) => F::Q5K,
            (C::Value, R::Q2K | R::Q2KS | R::IQ3XXS | R::IQ3XS | R::IQ3S) if shared => F::Q4K,
            (C::Value, R::Q2K) => F::Q3K,
            (C::Value, R::IQ3XXS) if !matrix => F::IQ3S,
            (C::Value, R::IQ3M | R::Q3KM) => F::Q4K,

            (C::Key, _) if eight && extreme => F::Q4K,
            (C::Key, _) if eight => F::Q8_0,
            (C::Key | C::Query, R::IQ3XS) => F::IQ3XXS,
            (C::Key | C::Query, R::IQ3XXS) => F::IQ2S,

            (C::AttentionOutput, _) if eight && extreme => F::Q5K,
            (C::AttentionOutput, R::IQ1S | R::IQ1M) => F::IQ2XXS,
            (C::AttentionOutput, R::IQ2S | R::IQ2M) => F::IQ3S,
            (C::AttentionOutput, R::Q3KL) if falcon => F::Q4K,
            (C::AttentionOutput, _) if falcon => base,
            (C::AttentionOutput, R::Q2K | R::Q3KS | R::Q3KM | R::Q4KS | R::Q4KM) if eight => F::Q5K,
            (C::AttentionOutput, R::IQ3XXS | R::IQ3XS | R::IQ3S | R::IQ3M) if eight => F::Q5K,
            (C::AttentionOutput, R::IQ4NL | R::IQ4XS) if eight => F::Q5K,
            (C::AttentionOutput, _) if eight => base,
            (C::AttentionOutput, R::Q2K) => F::Q3K,
            (C::AttentionOutput, R::IQ3XXS) => F::IQ3S,
            (C::AttentionOutput, R::Q3KM | R::IQ3M) => F::Q4K,
            (C::AttentionOutput, R::Q3KL) => F::Q5K,

            (C::Up | C::Gate, R::IQ3XS) if middle => F::IQ3XXS,

            (C::Down, _) if lowest && early => F::Q2K,
            (C::Down, R::IQ2S | R::IQ2M) if early => F::IQ3S,
            (C::Down, R::IQ3XXS) if early && !matrix => F::Q4K,
            (C::Down, R::IQ3XXS) if !matrix => F::Q3K,
            (C::Down, R::IQ3M) if early || (more && eight) => F::Q4K,
            (C::Down, R::IQ4NL | R::IQ4XS) if early && !matrix => F::Q5K,
            (C::Down, R::Q2K) => F::Q3K,
            (C::Down, R::Q2KS) if early => F::Q4K,
            (C::Down, R::Q3KM) if layer < n / 16 => F::Q5K,
            (C::Down, R::Q3KM) if more || !falcon => F::Q4K,
            (C::Down, R::Q3KL) if falcon => F::Q4K,
            (C::Down, R::Q3KL) => F::Q5K,
            (C::Down, R::Q4KS) if early && !falcon => F::Q5K,
            (C::Down, R::Q4KM) if more && falcon && layer >= n / 16 => F::Q5K,
            (C::Down, R::Q4KM | R::Q5KM) if more => F::Q6K,
            (C::Down, R::Q4_0) if early && matrix => F::Q4_1,
            (C::Down, R::Q5_0) if early && matrix => F::Q5_1,

            _ => base,
        };
        match format {
            F::Q3K | F::Q4K if category == C::Value && !extreme && facts.is_70b() => F::Q5K,
            _ => format,
        }
    }
}

impl Facts<'_> {
    /// What llama.cpp takes for a 70B model when it loads the file (`LLM_TYPE_70B`).
    fn is_70b(&self) -> bool {
        match (self.architecture, self.n_layers) {
            ("llama" | "llama-embed", 80) => self.n_heads != self.n_kv_heads,
            ("qwen2" | "deci" | "olmo", 80) | ("jais2", 68) => true,
            _ => false,
        }
    }
}

impl GgufTensor<'_> {
    fn is_any_of(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.name.contains(part))
    }

    fn fits(&self, format: Format) -> bool {
        self.dims
            .last()
            .is_some_and(|row| row.is_multiple_of(format.block()))
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
        [wanted, smaller]
            .into_iter()
            .find(|format| self.fits(*format))
            .unwrap_or(F::F16)
    }
}

/// The first and the last eighth of `n`, and each third between (`use_more_bits`).
fn gets_more_bits(index: u64, n: u64) -> bool {
    index < n / 8 || index >= n - n.div_ceil(8) || (index - n / 8) % 3 == 2
}
