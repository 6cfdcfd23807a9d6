//! What one of the GPUs that share a block holds of each tensor, and which degrees divide a model.
//!
//! Source: the parallel layers of vLLM 0.33 and SGLang 0.5.23. Matrices are cut along their rows or
//! columns, and biases with the rows of theirs; norms, routers, positions that are learned and the
//! down-projections of latent attention are on each GPU; key and value heads are repeated where there
//! are fewer of them than GPUs; the vocabulary is padded. Held against the parameters of vLLM 0.32.0
//! and SGLang 0.5.23 by `tests/engines`.

use crate::cost::serving::Server;
use crate::cost::serving::ends::is_embedding_repeated;
use crate::model::quantisation::Method;
use crate::model::{Cache, Dimensions, Kind, Model, Part, Tensor};
use crate::units::Bytes;

/// Rows that a vocabulary is padded to (`DEFAULT_VOCAB_PADDING_SIZE`), and where a degree does not divide
/// those, rows for each GPU: SGLang's rule, and vLLM refuses such a degree.
const PADDED: u64 = 64;

/// Input features that share a scale in nearly every checkpoint quantised in groups, and in blocks of
/// 8-bit floats. A guess: the model's own number is not kept.
const GROUP: u64 = 128;

/// Most GPUs that share a block.
const MOST_DEGREE: u64 = 64;

/// What one of `degree` GPUs holds of a tensor that takes `size` as a whole.
pub fn share(
    (server, degree): (Server, u32),
    model: &Model,
    tensor: &Tensor,
    size: Bytes,
) -> Bytes {
    let degree = u64::from(degree.max(1));
    let part = |held: u64, all: u64| {
        let bytes = u128::from(size.0) * u128::from(held);
        Bytes(u64::try_from(bytes.div_ceil(u128::from(all.max(1)))).unwrap_or(u64::MAX))
    };
    let Dimensions {
        n_heads,
        n_kv_heads,
        ..
    } = model.dimensions;
    let kv_heads = (n_kv_heads / degree).max(1);
    let divided = || match role(model, tensor) {
        Role::Repeated => size,
        Role::KeysOrValues => part(kv_heads, n_kv_heads),
        Role::Fused => {
            let all = n_heads + 2 * n_kv_heads;
            part(n_heads / degree + 2 * kv_heads, all)
        }
        Role::Divided => part(1, degree),
    };
    match (tensor.kind, tensor.part) {
        (_, Part::Tower) => size,
        (Kind::Embedding, _) if tensor.gguf_name.starts_with("position_embd") => size,
        (Kind::Embedding, _) if is_embedding_repeated(server, model) => size,
        (Kind::Embedding | Kind::Head, _) => {
            let rows = tensor.rows().max(1);
            let padded = rows.next_multiple_of(PADDED);
            match padded.is_multiple_of(degree) {
                true => part(padded, rows * degree),
                false => part(rows.next_multiple_of(PADDED * degree), rows * degree),
            }
        }
        // What corrects a router is trained. Angles and masks are made as they are needed, but for the
        // angles of every position, which are among what is estimated.
        (Kind::Table | Kind::HalfTable, Part::FeedForward(_)) | (Kind::Norm, _) => size,
        (Kind::Table | Kind::HalfTable, _) => Bytes::ZERO,
        (
            Kind::Bias | Kind::Linear | Kind::TransposedLinear | Kind::OwnLinear | Kind::Experts,
            _,
        ) => divided(),
    }
}

/// How a matrix or its bias is divided.
enum Role {
    /// Evenly.
    Divided,
    /// By key-value heads.
    KeysOrValues,
    /// Queries, keys and values in one.
    Fused,
    /// Whole on each GPU.
    Repeated,
}

fn role(model: &Model, tensor: &Tensor) -> Role {
    let named = |gguf: &str, hf: &str| {
        tensor.gguf_name.ends_with(gguf) || (!hf.is_empty() && tensor.hf_name.ends_with(hf))
    };
    let is_narrowing = named("attn_kv_a_mqa.weight", "kv_a_proj_with_mqa.weight")
        || named("attn_q_a.weight", "q_a_proj.weight");
    // Behind rows that are cut; what is added behind columns that are is on each.
    let is_cut_bias = ["attn_q.bias", "ffn_up.bias", "ffn_gate.bias"];
    let is_cut_bias = is_cut_bias.iter().any(|gguf| named(gguf, ""));
    if named("attn_k.weight", "k_proj.weight")
        || named("attn_v.weight", "v_proj.weight")
        || named("attn_k.bias", "")
        || named("attn_v.bias", "")
    {
        Role::KeysOrValues
    } else if named("attn_qkv.weight", "") || named("attn_qkv.bias", "") {
        Role::Fused
    } else if is_router(model, tensor)
        || is_narrowing
        || tensor.dims.len() >= 2 && tensor.rows() == 1
        || (tensor.dims.len() < 2 && !is_cut_bias)
    {
        // A single row is the gate of a shared expert.
        Role::Repeated
    } else {
        Role::Divided
    }
}

/// Whether a matrix chooses experts: it has a row for each.
pub fn is_router(model: &Model, tensor: &Tensor) -> bool {
    model.dimensions.experts.is_some_and(|experts| {
        tensor.kind != Kind::Experts && tensor.rows() == experts.total && tensor.dims.len() == 2
    })
}

/// Why a degree does not divide a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Indivisible {
    /// Query heads.
    #[error("{heads} attention heads are not divisible by it")]
    Heads {
        /// How many there are.
        heads: u64,
    },
    /// Key-value heads.
    #[error("{heads} key-value heads can neither be divided by it nor repeated evenly")]
    KeyValueHeads {
        /// How many there are.
        heads: u64,
    },
    /// The feed-forward.
    #[error("a feed-forward of {width} is not divisible by it")]
    FeedForward {
        /// Its width.
        width: u64,
    },
    /// Groups of a quantised matrix.
    #[error(
        "`{tensor}` has {columns} input features, which are no whole groups of {GROUP} on each GPU"
    )]
    Groups {
        /// The matrix.
        tensor: String,
        /// Its input features.
        columns: u64,
    },
    /// Zero, or more than anybody has.
    #[error("1 to {MOST_DEGREE} GPUs can share a block")]
    Range,
}

/// Whether so many GPUs can share every block.
///
/// # Errors
/// What does not divide.
pub fn divides(model: &Model, degree: u32) -> Result<(), Indivisible> {
    let degree = u64::from(degree);
    if !(1..=MOST_DEGREE).contains(&degree) {
        return Err(Indivisible::Range);
    }
    let Dimensions { n_heads, ffn, .. } = model.dimensions;
    if !n_heads.is_multiple_of(degree) {
        return Err(Indivisible::Heads { heads: n_heads });
    }
    if !ffn.is_multiple_of(degree) {
        return Err(Indivisible::FeedForward { width: ffn });
    }
    for cache in model.blocks.iter().flat_map(|block| &block.caches) {
        if let Cache::KeysValues(kept) = cache
            && !kept.heads.is_multiple_of(degree)
            && !degree.is_multiple_of(kept.heads.max(1))
        {
            return Err(Indivisible::KeyValueHeads { heads: kept.heads });
        }
    }
    let mut packed = model.tensors.iter().filter(|tensor| {
        let rows_are_cut = [
            "attn_output.weight",
            "ffn_down.weight",
            "ffn_down_exps.weight",
        ];
        let is_cut = rows_are_cut
            .iter()
            .any(|end| tensor.gguf_name.ends_with(end));
        is_cut && tensor.packed.is_some()
    });
    let uneven = |tensor: &&Tensor| !tensor.columns().is_multiple_of(GROUP * degree);
    let is_grouped = model.quantised.is_some_and(in_groups);
    match packed.find(uneven).filter(|_| is_grouped && degree > 1) {
        Some(tensor) => Err(Indivisible::Groups {
            tensor: tensor.gguf_name.clone(),
            columns: tensor.columns(),
        }),
        None => Ok(()),
    }
}

/// Whether a quantiser's scales belong to groups of input features.
fn in_groups(method: Method) -> bool {
    match method {
        Method::Gptq
        | Method::Awq
        | Method::AutoRound
        | Method::CompressedTensors
        | Method::ModelOpt
        | Method::MxFp4
        | Method::Fp8
        | Method::BitsAndBytes
        | Method::TorchAo => true,
        Method::FbgemmFp8
        | Method::Hqq
        | Method::Aqlm
        | Method::Quanto
        | Method::Eetq
        | Method::BitNet
        | Method::Exl2
        | Method::Exl3 => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Checkpoint, Packed, Precision, open};

    /// What one GPU holds of the first tensor whose GGUF name ends so, at 16 bits.
    fn held(model: &Model, name: &str, degree: u32) -> Bytes {
        let sizes = model
            .tensor_bytes(Precision::Checkpoint(Checkpoint::Bf16))
            .unwrap();
        let mut tensors = model.tensors.iter().zip(sizes);
        let (tensor, size) = tensors
            .find(|(tensor, _)| tensor.gguf_name.ends_with(name))
            .unwrap();
        share((Server::Vllm, degree), model, tensor, size)
    }

    #[test]
    fn heads_are_divided_or_repeated_and_norms_are_on_each() {
        let model = open("llama-3-70b").unwrap();
        // 64 query and 8 key-value heads of 128, hidden 8192.
        let query = Bytes(2 * 8192 * 8192);
        assert_eq!(held(&model, "attn_q.weight", 4), Bytes(query.0 / 4));
        assert_eq!(held(&model, "attn_k.weight", 4), Bytes(query.0 / 8 / 4));
        assert_eq!(held(&model, "attn_k.weight", 16), Bytes(query.0 / 8 / 8));
        assert_eq!(held(&model, "attn_norm.weight", 4), Bytes(2 * 8192));
        // 128,256 rows are whole pads of 64, which two and sixteen GPUs divide.
        let row = 2 * 8192;
        assert_eq!(held(&model, "token_embd.weight", 2), Bytes(64_128 * row));
        assert_eq!(held(&model, "token_embd.weight", 16), Bytes(8016 * row));
        // Five do not, and each has whole pads.
        assert_eq!(held(&model, "token_embd.weight", 5), Bytes(25_664 * row));
    }

    #[test]
    fn sglang_repeats_the_embedding_of_gemma_3() {
        let model = open("gemma-3-27b").unwrap();
        let named = |tensor: &&Tensor| tensor.gguf_name == "token_embd.weight";
        let embedding = model.tensors.iter().find(named).unwrap();
        let held = |server| share((server, 2), &model, embedding, Bytes(1000)).0;
        assert_eq!((held(Server::Vllm), held(Server::Sglang)), (500, 1000));
    }

    #[test]
    fn a_degree_divides_heads_and_widths() {
        let model = open("llama-3-70b").unwrap();
        for degree in [1, 2, 4, 8, 16] {
            assert_eq!(divides(&model, degree), Ok(()));
        }
        assert_eq!(divides(&model, 3), Err(Indivisible::Heads { heads: 64 }));
        assert_eq!(divides(&model, 0), Err(Indivisible::Range));
        // 28,672 input features are 7 · 32 groups of 128, and 64 GPUs would cut them.
        let mut packed = model;
        packed.quantised = Some(Method::Awq);
        for tensor in &mut packed.tensors {
            tensor.packed = Some(Packed::default());
        }
        assert_eq!(divides(&packed, 32), Ok(()));
        let cut = divides(&packed, 64);
        assert!(matches!(cut, Err(Indivisible::Groups { .. })), "{cut:?}");
    }
}
