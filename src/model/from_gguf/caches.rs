//! What each block of a GGUF file keeps between tokens, as llama.cpp reads it off the header.
//!
//! Source: `src/llama-hparams.cpp` and the loaders in `src/models/` (llama.cpp 0c1e57098).

use super::{GgufError, Header};
use crate::model::{Block, Cache, Dimensions, KeysValues, Part, Tensor};
use crate::units::Tokens;

/// Which blocks of an architecture see a window only, where its files do not say it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pattern {
    /// All.
    Every,
    /// All but the last of each group of so many.
    AllButLastOf(u64),
    /// All but the first of each group of so many.
    AllButFirstOf(u64),
}

/// The patterns that the loaders of llama.cpp set.
const PATTERNS: [(&str, Pattern); 13] = [
    ("afmoe", Pattern::AllButLastOf(4)),
    ("cohere2", Pattern::AllButLastOf(4)),
    ("deepseek4", Pattern::Every),
    ("exaone4", Pattern::AllButLastOf(4)),
    ("gemma2", Pattern::AllButLastOf(2)),
    ("gemma3", Pattern::AllButLastOf(6)),
    ("gemma3n", Pattern::AllButLastOf(5)),
    ("gpt-oss", Pattern::AllButLastOf(2)),
    ("llama4", Pattern::AllButLastOf(4)),
    ("olmo2", Pattern::AllButLastOf(4)),
    ("plamo3", Pattern::AllButLastOf(8)),
    ("mellum", Pattern::AllButLastOf(4)),
    ("smallthinker", Pattern::AllButFirstOf(4)),
];

impl Pattern {
    fn holds(self, layer: u64) -> bool {
        match self {
            Self::Every => true,
            Self::AllButLastOf(group) => layer % group < group - 1,
            Self::AllButFirstOf(group) => !layer.is_multiple_of(group),
        }
    }
}

/// The blocks of a file.
pub(super) fn blocks(
    header: &Header<'_>,
    dimensions: &Dimensions,
    tensors: &[Tensor],
) -> Result<Vec<Block>, GgufError> {
    let n_layers = u64::from(dimensions.n_layers);
    let heads = header.of_blocks("attention.head_count_kv", n_layers)?;
    let window = header
        .number("attention.sliding_window")?
        .filter(|size| *size > 0);
    let windowed = windowed(header, n_layers)?;
    let key = header
        .number("attention.key_length")?
        .unwrap_or(dimensions.head_dim);
    let value = header
        .number("attention.value_length")?
        .unwrap_or(dimensions.head_dim);
    let latent = latent(header, tensors)?;
    let state = state(header, dimensions)?;
    let shared = header.number("attention.shared_kv_layers")?.unwrap_or(0);
    let next_token = header.number("nextn_predict_layers")?.unwrap_or(0);
    let mut blocks = Vec::new();
    for layer in 0..n_layers {
        let mut caches = Vec::new();
        let own =
            |tensor: &&Tensor| tensor.part == Part::Attention(crate::model::BlockId(layer as u32));
        let has = |stem: &str| {
            tensors
                .iter()
                .filter(own)
                .any(|tensor| tensor.gguf_name.contains(stem))
        };
        let recurrent = [".ssm_", ".time_mix_", ".shortconv"]
            .iter()
            .any(|stem| has(stem));
        let attends = has(".attn_output") || has(".attn_q") || has(".attn_k");
        let keeps = layer + next_token < n_layers && layer + shared < n_layers;
        if recurrent {
            // Without its size a state would be left out in silence.
            let key = || format!("{}.ssm.inner_size", header.architecture);
            caches.push(state.ok_or_else(|| GgufError::Missing(key()))?);
        }
        let n_heads = heads
            .as_ref()
            .map_or(dimensions.n_kv_heads, |heads| heads[layer as usize]);
        if attends
            && keeps
            && n_heads > 0
            && !(recurrent && has(".attn_qkv") && !has(".attn_output"))
        {
            caches.push(match latent {
                Some(latent) => latent,
                None => {
                    let windowed = windowed[layer as usize];
                    let of_window = |name: &str, usual: u64| match windowed {
                        true => Ok(header.number(name)?.unwrap_or(usual)),
                        false => Ok(usual),
                    };
                    let window = window.filter(|_| windowed).map(Tokens);
                    Cache::KeysValues(KeysValues {
                        heads: n_heads,
                        key: of_window("attention.key_length_swa", key)?,
                        value: of_window("attention.value_length_swa", value)?,
                        window,
                        transformers_window: window,
                        transformers_heads: n_heads,
                    })
                }
            });
        }
        blocks.push(Block {
            module: String::new(),
            caches,
        });
    }
    Ok(blocks)
}

/// Which blocks see a window only: the file says it as an array or as the length of a group, or the
/// architecture has a pattern.
fn windowed(header: &Header<'_>, n_layers: u64) -> Result<Vec<bool>, GgufError> {
    let key = "attention.sliding_window_pattern";
    let name = format!("{}.{key}", header.architecture);
    if header.gguf.unsigneds(&name).is_some() {
        let values = header.of_blocks(key, n_layers)?.unwrap_or_default();
        return Ok(values.into_iter().map(|value| value != 0).collect());
    }
    let pattern = match header.number(key)? {
        Some(0) => Some(Pattern::Every),
        Some(group) => Some(Pattern::AllButLastOf(group)),
        None => PATTERNS
            .iter()
            .find(|(architecture, _)| *architecture == header.architecture)
            .map(|(_, pattern)| *pattern),
    };
    Ok((0..n_layers)
        .map(|layer| pattern.is_some_and(|pattern| pattern.holds(layer)))
        .collect())
}

/// The latent vector of multi-head latent attention, where the file is of a conversion that keeps it.
fn latent(header: &Header<'_>, tensors: &[Tensor]) -> Result<Option<Cache>, GgufError> {
    let absorbed = tensors
        .iter()
        .any(|tensor| tensor.gguf_name.contains(".attn_k_b."));
    let rank = header
        .number("attention.kv_lora_rank")?
        .filter(|_| absorbed);
    let rope = header.number("rope.dimension_count")?;
    Ok(rank
        .zip(rope)
        .map(|(rank, rope)| Cache::Latent { rank, rope }))
}

/// The state of a recurrent block.
fn state(header: &Header<'_>, dimensions: &Dimensions) -> Result<Option<Cache>, GgufError> {
    let number = |key: &str| header.number(key);
    if let Some(size) = number("wkv.head_size")? {
        let shifts = number("token_shift_count")?.unwrap_or(2);
        return Ok(Some(Cache::State {
            channels: shifts * dimensions.hidden,
            kernel: 2,
            state: dimensions.hidden * size,
        }));
    }
    // Kimi's delta attention: a convolution each for queries, keys and values.
    if let Some(head) = number("kda.head_dim")? {
        let width = dimensions.n_heads.saturating_mul(head);
        return Ok(Some(Cache::State {
            channels: width.saturating_mul(3),
            kernel: number("ssm.conv_kernel")?.unwrap_or(4),
            state: width.saturating_mul(head),
        }));
    }
    if let Some(kernel) = number("shortconv.l_cache")? {
        return Ok(Some(Cache::State {
            channels: dimensions.hidden,
            kernel,
            state: 0,
        }));
    }
    let (Some(inner), Some(state)) = (number("ssm.inner_size")?, number("ssm.state_size")?) else {
        return Ok(None);
    };
    let groups = number("ssm.group_count")?.unwrap_or(0);
    Ok(Some(Cache::State {
        channels: inner.saturating_add(2 * groups.saturating_mul(state)),
        kernel: number("ssm.conv_kernel")?.unwrap_or(1),
        state: inner.saturating_mul(state),
    }))
}
