//! Memory by purpose, and the size of the KV cache.

use std::ops::{Add, AddAssign};

use crate::model::{BlockId, Dimensions};
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

/// Bytes of keys and values that one block holds in llama.cpp on a device that aligns to
/// `alignment`.
///
/// Shape `[cells, kv_heads · head_dim]` twice. CUDA pads a quantised tensor whose rows are no
/// multiple of 512 elements by what is missing to one row.
/// Source: `src/llama-kv-cache.cpp`, `ggml/src/ggml-cuda` (0c1e57098).
pub fn llama_cpp_kv_cache(
    dimensions: &Dimensions,
    workload: &Workload,
    pad_rows_to: u64,
    alignment: Bytes,
) -> Bytes {
    let elements = dimensions.n_kv_heads * dimensions.head_dim;
    let format = workload.kv_format;
    let rows = format.row_bytes(elements) * llama_cpp_cells(workload).0;
    let missing = elements.next_multiple_of(pad_rows_to) - elements;
    let padding = if format.is_quantised() {
        format.row_bytes(missing)
    } else {
        Bytes::ZERO
    };
    (rows + padding).align_up(alignment) * 2
}

/// Bytes of keys and values that a block holds in transformers, in the format it computes in.
///
/// Shape `[sequences, cached_heads, min(context, window), head_dim]` twice.
/// Source: transformers 5.24 `DynamicCache`; Falcon 40B broadcasts to all query heads first.
pub fn transformers_kv_cache(
    dimensions: &Dimensions,
    workload: &Workload,
    format: KvFormat,
    block: BlockId,
) -> Bytes {
    let window = dimensions.window.filter(|window| block >= window.from);
    let tokens = window.map_or(workload.context, |window| window.size.min(workload.context));
    let elements = dimensions.transformers_cached_heads * dimensions.head_dim;
    format.row_bytes(elements) * tokens.0 * u64::from(workload.sequences) * 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, config, known};

    fn dimensions(name: &str) -> Dimensions {
        let known = known::find(name).unwrap();
        config::model(name, Origin::Known, &known.config)
            .unwrap()
            .dimensions
    }

    #[test]
    fn llama_2_70b_caches_16_mib_a_block_at_4k() {
        let workload = Workload::of_context(Tokens(4096));
        let block = llama_cpp_kv_cache(&dimensions("llama-2-70b"), &workload, 512, Bytes(128));
        assert_eq!(block, Bytes::mib(16));
        assert_eq!(
            transformers_kv_cache(
                &dimensions("llama-2-70b"),
                &workload,
                KvFormat::F16,
                BlockId(0)
            ),
            Bytes::mib(16)
        );
    }

    #[test]
    fn falcon_in_transformers_caches_every_query_head() {
        let workload = Workload::of_context(Tokens(4096));
        let block = transformers_kv_cache(
            &dimensions("falcon-40b"),
            &workload,
            KvFormat::F16,
            BlockId(0),
        );
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
