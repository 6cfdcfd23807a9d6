//! What llama-quantize makes of a model: its file types as rules from tensor to format.
//!
//! A recipe such as `q4_k_m` is a mix: a tensor's format depends on its role, block, row length and
//! a few facts of the model. The rules are those of `src/llama-quant.cpp` at llama.cpp 0c1e57098.
//! Left out: options that override them, and NVFP4: llama-quantize refuses to write it, and only
//! converts of checkpoints that hold it have it.

mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use self::Recipe as R;
use self::rules::{Category as C, behind_block, block, category, is_kept};
use crate::model::format::{Format, Format as F};

/// A named mix of formats that llama-quantize writes (its file types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the recipes themselves")]
#[rustfmt::skip]
pub enum Recipe {
    F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, MXFP4Moe,
    Q2K, Q2KS, Q3KS, Q3KM, Q3KL, Q4KS, Q4KM, Q5KS, Q5KM, Q6K, IQ1S, IQ1M, IQ2XXS, IQ2XS, IQ2S, IQ2M,
    IQ3XXS, IQ3XS, IQ3S, IQ3M, IQ4NL, IQ4XS, TQ1_0, TQ2_0,
    Q1_0, Q2_0,
}

/// Recipe, name, number in `general.file_type`, and the format of a tensor that no rule names
/// (`llama_ftype_get_default_type`). In the order of the enum, so that a recipe is its own index.
#[rustfmt::skip]
const TABLE: [(Recipe, &str, u32, Format); 35] = [
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
    (R::TQ2_0, "tq2_0", 37, F::TQ2_0),        (R::Q1_0, "q1_0", 40, F::Q1_0),
    (R::Q2_0, "q2_0", 41, F::Q2_0),
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
    /// What the converter writes: see [`converted`](Self::converted).
    pub unquantised: Format,
}

/// Ends of the names of matrices that `convert_hf_to_gguf.py` writes as F32.
#[rustfmt::skip]
const WRITTEN_AS_F32: [&str; 19] = [
    "_norm", "ffn_gate_inp", "ffn_gate_inp_shexp", "position_embd", "token_types", "ssm_conv1d",
    "ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v", "shortconv.conv", "time_mix_first",
    "time_mix_w1", "time_mix_w2", "time_mix_decay_w1", "time_mix_decay_w2", "time_mix_lerp_fused",
    "altup_correct_coef", "altup_predict_coef", "indexer.proj",
];

impl<'a> GgufTensor<'a> {
    /// A tensor as `convert_hf_to_gguf.py --outtype f16` writes it: F32 for vectors, for what is no
    /// weight, and for a few matrices; F16 for all else.
    ///
    /// Source: `conversion/base.py` (`prepare_tensors`) at llama.cpp 0c1e57098, without what the
    /// classes of single architectures force.
    pub fn converted(name: &'a str, dims: &'a [u64]) -> Self {
        let matrix = name.strip_suffix(".weight").filter(|_| dims.len() > 1);
        let ends = |part: &&str| WRITTEN_AS_F32.iter().any(|end| part.ends_with(end));
        let unquantised = match matrix {
            Some(part) if !ends(&part) => F::F16,
            _ => F::F32,
        };
        Self {
            name,
            dims,
            unquantised,
        }
    }
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

/// Rows that llama-quantize cannot cut into blocks, and for which it has no other format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "llama-quantize stops at `{tensor}`: its rows of {row} elements are no whole blocks of {} ({format})",
    format.block()
)]
pub struct NoFallback {
    /// The tensor at which it stops.
    pub tensor: String,
    /// How long its rows are.
    pub row: u64,
    /// What the recipe asks for.
    pub format: Format,
}

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

    /// Whether it quantises at all: only then does llama-quantize take formats by name.
    pub fn is_quantised(self) -> bool {
        self.base().is_quantised()
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
///
/// # Errors
/// Where llama-quantize refuses: the blocks of `q1_0` fit a tensor's rows no more than others do.
pub fn formats(
    recipe: Recipe,
    facts: &Facts<'_>,
    tensors: &[GgufTensor<'_>],
) -> Result<Vec<Format>, NoFallback> {
    let tied = !tensors.iter().any(|tensor| tensor.name == "output.weight");
    // Blocks have the same names but for their numbers, so each is read once.
    let mut roles = BTreeMap::new();
    let names = tensors.iter().map(|tensor| behind_block(tensor.name));
    let roles = names.map(|name| {
        let role = || (category(name), is_kept(name, facts));
        *roles.entry(name).or_insert_with(role)
    });
    let (mut categories, are_kept): (Vec<_>, Vec<_>) = roles.unzip();
    for category in categories.iter_mut().filter(|_| tied) {
        if *category == C::Embedding {
            *category = C::Head;
        }
    }
    let n_values = categories.iter().filter(|role| **role == C::Value).count() as u64;
    let mut order: Vec<_> = (0..tensors.len()).collect();
    order.sort_by_cached_key(|index| (block(tensors[*index].name), tensors[*index].name));

    let mut seen = [0; C::Other as usize + 1];
    let mut formats: Vec<_> = tensors.iter().map(|tensor| tensor.unquantised).collect();
    let quantisable = |index: &usize| tensors[*index].is_matrix() && !are_kept[*index];
    for index in order.into_iter().filter(quantisable) {
        let (tensor, category) = (&tensors[index], categories[index]);
        let position = &mut seen[category as usize];
        let place = (category, *position, n_values);
        formats[index] = match recipe.base() {
            base if base.is_quantised() => tensor.fitting(tensor.mixed(recipe, facts, place))?,
            base => base,
        };
        *position += 1;
    }
    Ok(formats)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let named = named.iter().map(|(name, dims)| (name.as_str(), dims.as_slice()));
            let tensors: Vec<_> =
                named.map(|(name, dims)| GgufTensor::converted(name, dims)).collect();
            for (recipe, expected) in [R::Q4KM, R::Q4_0, R::Q8_0].into_iter().zip(weights) {
                let mut sums = BTreeMap::<_, (u64, u64)>::new();
                for (format, tensor) in formats(recipe, &facts, &tensors).unwrap().iter().zip(&tensors) {
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
        assert_eq!(Recipe::from_file_type(38), Some(R::MXFP4Moe));
        assert_eq!(Recipe::from_file_type(41), Some(R::Q2_0));
        // NVFP4, which only a converted checkpoint has; and the mark of a guess.
        assert_eq!(Recipe::from_file_type(39), None);
        assert_eq!(Recipe::from_file_type(1024), None);
    }

    const DENSE: Facts<'_> = Facts {
        architecture: "llama",
        n_layers: 1,
        n_heads: 8,
        n_kv_heads: 8,
        n_experts: 0,
        importance_matrix: false,
    };

    #[test]
    fn rows_that_no_block_fits_get_what_llama_quantize_gives_them() {
        let given = |recipe, row| {
            let dims = [64, row];
            let tensors = ["token_embd.weight", "output.weight", "blk.0.attn_q.weight"]
                .map(|name| GgufTensor::converted(name, &dims));
            formats(recipe, &DENSE, &tensors)
        };
        // Read off llama-quantize at 0c1e57098.
        assert_eq!(given(R::Q2_0, 256), Ok(vec![F::Q4K, F::Q6K, F::Q2_0]));
        assert_eq!(given(R::Q2_0, 64), Ok(vec![F::Q5_0, F::Q8_0, F::Q2_0]));
        assert_eq!(given(R::Q2_0, 32), Ok(vec![F::Q5_0, F::Q8_0, F::Q4_0]));
        assert_eq!(given(R::Q4KM, 33), Ok(vec![F::F16; 3]));
        assert_eq!(given(R::Q1_0, 128), Ok(vec![F::Q1_0, F::Q8_0, F::Q1_0]));
        let stops = given(R::Q1_0, 64).unwrap_err();
        assert_eq!(
            stops.to_string(),
            "llama-quantize stops at `token_embd.weight`: its rows of 64 elements are no whole \
             blocks of 128 (q1_0)"
        );
    }

    #[test]
    fn what_is_too_small_to_matter_stays_at_32_bits() {
        let stays = |name: &str, dims: &[u64]| {
            let tensors = [GgufTensor::converted(name, dims)];
            formats(R::Q4KM, &DENSE, &tensors) == Ok(vec![F::F32])
        };
        for name in ["attn_norm", "ffn_gate_inp", "ssm_conv1d", "time_mix_w1"] {
            assert!(
                stays(&format!("blk.0.{name}.weight"), &[256, 256]),
                "{name}"
            );
        }
        assert!(stays("blk.0.ssm_a", &[256, 256]), "no weight by its name");
        assert!(stays("blk.0.attn_q.weight", &[256]), "a vector");
        assert!(!stays("blk.0.ssm_in.weight", &[256, 256]));
    }
}
