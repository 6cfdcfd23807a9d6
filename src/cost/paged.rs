//! The cache of engines that keep it in pages: vLLM, SGLang, ExLlamaV3.
//!
//! Not here: what such an engine saves where a window limits a block, or where sequences share a
//! prefix, and what vLLM loses where only some blocks have one (see `docs/cost-model.md`). These sizes
//! are exact where no block has a window. Sources: vLLM's `CacheConfig`, SGLang's server arguments,
//! ExLlamaV3's `PAGE_SIZE`, as read in late 2026; vLLM's pages were held against 0.32.0, SGLang's
//! tokens against 0.5.23.

use crate::model::{Block, Cache};
use crate::units::{Bytes, Tokens};
use crate::workload::{KvFormat, Workload};

/// An engine that keeps its cache in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// vLLM: 16 tokens a block.
    Vllm,
    /// SGLang: single tokens.
    Sglang,
    /// ExLlamaV3: 256 tokens a page.
    ExLlama,
}

impl Engine {
    /// Every engine.
    pub const ALL: [Self; 3] = [Self::Vllm, Self::Sglang, Self::ExLlama];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::ExLlama => "exllamav3",
        }
    }

    /// Tokens of a page, as the engine has it where nothing is said.
    pub fn page(self) -> Tokens {
        match self {
            Self::Vllm => Tokens(16),
            Self::Sglang => Tokens(1),
            Self::ExLlama => Tokens(256),
        }
    }

    /// Bytes of one page of a block on one of `degree` GPUs that share it: key-value heads are divided
    /// as far as there are heads, and a latent vector is on each. What does not grow with the tokens
    /// is not counted.
    pub fn page_bytes(self, block: &Block, format: KvFormat, degree: u32) -> Bytes {
        let shared = |heads: u64| (heads / u64::from(degree.max(1))).max(1);
        let rows = block.caches.iter().map(|cache| match *cache {
            Cache::KeysValues(kept) => {
                let heads = shared(kept.heads);
                let row = |elements: u64| format.row_bytes(heads.saturating_mul(elements));
                row(kept.key) + row(kept.value)
            }
            Cache::Latent { rank, rope } => format.row_bytes(rank + rope),
            Cache::Cross { .. } | Cache::State { .. } => Bytes::ZERO,
        });
        rows.sum::<Bytes>() * self.page().0
    }

    /// Bytes that one block keeps: whole pages of each sequence. Recurrent states are counted in 32
    /// bits, their convolutions in the format of the cache.
    pub fn cache(self, block: &Block, workload: &Workload) -> Bytes {
        let format = workload.kv_format;
        let tokens = workload.context.0.next_multiple_of(self.page().0);
        let caches = block.caches.iter().map(|cache| match *cache {
            Cache::KeysValues(kept) => {
                (format.row_bytes(kept.keys()) + format.row_bytes(kept.values())) * tokens
            }
            Cache::Latent { rank, rope } => format.row_bytes(rank + rope) * tokens,
            Cache::Cross {
                elements,
                tokens: fixed,
            } => format.row_bytes(elements) * fixed.map_or(tokens, |fixed| fixed.0),
            Cache::State {
                channels,
                kernel,
                state,
            } => format.row_bytes(channels * kernel.saturating_sub(1)) + Bytes(4 * state),
        });
        caches.sum::<Bytes>() * u64::from(workload.sequences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, config, known};

    #[test]
    fn pages_are_whole() {
        let known = known::find("llama-2-70b").unwrap();
        let model = config::model("llama-2-70b", Origin::Known, &known.config).unwrap();
        let cache = |engine: Engine| {
            let workload = Workload::of_context(Tokens(1000));
            engine.cache(&model.blocks[0], &workload)
        };
        // 4 KiB a token and block: 1000 tokens are 63 blocks of 16 and 4 pages of 256.
        assert_eq!(cache(Engine::Sglang), Bytes(4096 * 1000));
        assert_eq!(cache(Engine::Vllm), Bytes(4096 * 1008));
        assert_eq!(cache(Engine::ExLlama), Bytes(4096 * 1024));
    }

    #[test]
    fn gpus_share_heads_and_not_less_than_one() {
        let known = known::find("llama-2-70b").unwrap();
        let model = config::model("llama-2-70b", Origin::Known, &known.config).unwrap();
        let page = |degree| Engine::Vllm.page_bytes(&model.blocks[0], KvFormat::F16, degree);
        // 8 heads: 16 tokens of 4 KiB, then halves, then one head on each.
        assert_eq!(
            [page(1), page(2), page(16)],
            [Bytes(65_536), Bytes(32_768), Bytes(8192)]
        );
    }
}
