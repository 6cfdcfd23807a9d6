//! Memory by purpose, and the size of the KV cache.

use std::ops::{Add, AddAssign};

use crate::cost::compute;
use crate::model::format::Format;
use crate::model::{Block, Cache};
use crate::units::{Bytes, Tokens};
use crate::workload::{KvFormat, Workload};

/// Bytes on one device by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Weights, as the target aligns and pads them.
    pub weights: Bytes,
    /// Keys and values.
    pub kv_cache: Bytes,
    /// Activations and scratch of the graph.
    pub compute: Bytes,
    /// The driver's context, kernels, and a margin for the estimate of `compute`.
    pub overhead: Bytes,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> Bytes {
        self.weights + self.kv_cache + self.compute + self.overhead
    }
}

impl Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            weights: self.weights + other.weights,
            kv_cache: self.kv_cache + other.kv_cache,
            compute: self.compute + other.compute,
            overhead: self.overhead + other.overhead,
        }
    }
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Cells of llama.cpp's cache: a context padded to 256, for each sequence.
///
/// Source: `src/llama-context.cpp`, `n_ctx_seq` of a cache that is not unified (0c1e57098).
pub fn llama_cpp_cells(workload: &Workload) -> Tokens {
    Tokens(workload.context.0.div_ceil(256) * 256 * u64::from(workload.sequences))
}

/// Who allocates for llama.cpp: tensors are aligned to `alignment`, and the last row of a quantised
/// one is padded to a multiple of `row` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocator {
    /// Bytes.
    pub alignment: Bytes,
    /// Elements.
    pub row: u64,
}

/// RAM.
pub const CPU: Allocator = Allocator {
    alignment: Bytes(32),
    row: 1,
};
/// A GPU.
pub const CUDA: Allocator = Allocator {
    alignment: Bytes(128),
    row: 512,
};

impl Allocator {
    /// What a tensor of `rows` rows of `columns` elements takes.
    pub fn matrix(self, format: Format, rows: u64, columns: u64) -> Bytes {
        let padding = match format.is_quantised() {
            true => format.row_bytes(columns.next_multiple_of(self.row) - columns),
            false => Bytes::ZERO,
        };
        (format.bytes(rows, columns) + padding).align_up(self.alignment)
    }
}

/// The weight format of a cache format: llama.cpp stores both as the same blocks.
pub fn format(cache: KvFormat) -> Format {
    match cache {
        KvFormat::F32 => Format::F32,
        KvFormat::F16 => Format::F16,
        KvFormat::Bf16 => Format::BF16,
        // llama.cpp has none, and is refused it.
        KvFormat::Fp8 => Format::FP8,
        KvFormat::Q8_0 => Format::Q8_0,
        KvFormat::Q5_1 => Format::Q5_1,
        KvFormat::Q5_0 => Format::Q5_0,
        KvFormat::Q4_1 => Format::Q4_1,
        KvFormat::Q4_0 => Format::Q4_0,
        KvFormat::Iq4Nl => Format::IQ4NL,
    }
}

/// Bytes that one block keeps between tokens in llama.cpp.
///
/// Keys and values are `[cells, heads · head_dim]` each; a sliding window keeps its own size and one
/// micro-batch, padded to 256. A latent vector is kept once. A recurrent state is in 32 bits, one a
/// sequence. Cross attention keeps nothing: its inputs are the encoder's outputs.
/// Source: `src/llama-kv-cache.cpp`, `-iswa.cpp`, `llama-memory-recurrent.cpp` (0c1e57098).
pub fn llama_cpp_cache(block: &Block, workload: &Workload, allocator: Allocator) -> Bytes {
    let (format, batch) = (format(workload.kv_format), compute::batch(workload));
    let cells = |window: Option<Tokens>| {
        let of_stream = window.map_or(batch.cells, |window| batch.window_cells(window.0));
        of_stream * batch.streams
    };
    let caches = block.caches.iter().map(|cache| match cache {
        Cache::KeysValues(kept) => {
            let cells = cells(kept.window);
            let values = match kept.value {
                0 => Bytes::ZERO,
                _ => allocator.matrix(format, cells, kept.values()),
            };
            allocator.matrix(format, cells, kept.keys()) + values
        }
        Cache::Latent { rank, rope } => allocator.matrix(format, cells(None), rank + rope),
        Cache::Cross { .. } => Bytes::ZERO,
        Cache::State {
            channels,
            kernel,
            state,
        } => {
            let float =
                |elements: u64| Bytes(4 * elements * batch.sequences).align_up(allocator.alignment);
            float(channels * kernel.saturating_sub(1)) + float(*state)
        }
    });
    caches.sum()
}

/// Bytes of a cache that llama.cpp reads for one more token of one sequence.
pub fn llama_cpp_cache_read(block: &Block, workload: &Workload) -> Bytes {
    let row = |elements| workload.kv_format.row_bytes(elements);
    let caches = block.caches.iter().map(|cache| match cache {
        Cache::KeysValues(kept) => {
            let tokens = kept
                .window
                .unwrap_or(workload.context)
                .min(workload.context);
            (row(kept.keys()) + row(kept.values())) * tokens.0
        }
        Cache::Latent { rank, rope } => row(rank + rope) * workload.context.0,
        Cache::Cross { .. } => Bytes::ZERO,
        Cache::State { state, .. } => Bytes(8 * state),
    });
    caches.sum()
}

/// Bytes that a block keeps between tokens in transformers, in the format it computes in.
///
/// Shape `[sequences, cached_heads, min(context, window), head_dim]` for keys and for values; Falcon
/// 40B broadcasts to all query heads first. A recurrent mixer keeps all taps of its convolution, and
/// its state in 32 bits (of Mamba, Mamba 2 and gated delta nets alike, on the meta device).
/// What an encoder leaves is not in it: [`transformers_cross_cache`].
/// Source: transformers 5.24 `DynamicCache`.
pub fn transformers_cache(block: &Block, workload: &Workload, format: KvFormat) -> Bytes {
    let context = workload.context;
    let caches = block.caches.iter().map(|cache| match cache {
        Cache::KeysValues(kept) => {
            let window = kept.transformers_window;
            let tokens = window.map_or(context, |window| window.min(context));
            let heads = kept.transformers_heads;
            (format.row_bytes(heads * kept.key) + format.row_bytes(heads * kept.value)) * tokens.0
        }
        Cache::Latent { rank, rope } => {
            (format.row_bytes(*rank) + format.row_bytes(*rope)) * context.0
        }
        Cache::Cross { .. } => Bytes::ZERO,
        Cache::State {
            channels,
            kernel,
            state,
        } => format.row_bytes(channels * kernel) + Bytes(4 * state),
    });
    caches.sum::<Bytes>() * u64::from(workload.sequences)
}

/// Bytes that a block of a decoder keeps of its encoder's output in transformers: of its fixed number
/// of tokens, or of an input as long as the context. Source: transformers 5.24 `EncoderDecoderCache`.
pub fn transformers_cross_cache(block: &Block, workload: &Workload, format: KvFormat) -> Bytes {
    let caches = block.caches.iter().map(|cache| match cache {
        Cache::Cross { elements, tokens } => {
            format.row_bytes(*elements) * tokens.unwrap_or(workload.context).0
        }
        Cache::KeysValues(_) | Cache::Latent { .. } | Cache::State { .. } => Bytes::ZERO,
    });
    caches.sum::<Bytes>() * u64::from(workload.sequences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, config, known};

    fn block(name: &str) -> Block {
        let known = known::find(name).unwrap();
        let model = config::model(name, Origin::Known, &known.config).unwrap();
        model.blocks[0].clone()
    }

    #[test]
    fn llama_2_70b_caches_16_mib_a_block_at_4k() {
        let workload = Workload::of_context(Tokens(4096));
        let block = block("llama-2-70b");
        assert_eq!(llama_cpp_cache(&block, &workload, CUDA), Bytes::mib(16));
        assert_eq!(
            transformers_cache(&block, &workload, KvFormat::F16),
            Bytes::mib(16)
        );
    }

    #[test]
    fn llama_cpp_keeps_every_token_of_mistral_7b() {
        let workload = Workload::of_context(Tokens(32768));
        let config = serde_json::json!({"model_type": "mistral", "hidden_size": 4096,
            "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "sliding_window": 4096, "vocab_size": 32000});
        let model = config::model("mistral", Origin::Known, &config).unwrap();
        let block = &model.blocks[0];
        // Its file names no window, and the architecture `llama` would not read one.
        assert_eq!(llama_cpp_cache(block, &workload, CUDA), Bytes::mib(128));
        let in_transformers = transformers_cache(block, &workload, KvFormat::F16);
        assert_eq!(in_transformers, Bytes::mib(16));
    }

    #[test]
    fn falcon_in_transformers_caches_every_query_head() {
        let workload = Workload::of_context(Tokens(4096));
        let block = transformers_cache(&block("falcon-40b"), &workload, KvFormat::F16);
        // 8 053 063 680 bytes over 60 blocks, by transformers 5.24.
        assert_eq!(block * 60, Bytes(8_053_063_680));
    }

    #[test]
    fn a_context_is_padded_to_256_cells_a_sequence() {
        let workload = Workload {
            sequences: 3,
            ..Workload::of_context(Tokens(1000))
        };
        assert_eq!(llama_cpp_cells(&workload), Tokens(3 * 1024));
    }
}
