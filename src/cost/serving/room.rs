//! What an engine takes beside weights and cache, and which part of a card it may be told to take.
//!
//! vLLM is told a part of each card in which everything must be; SGLang one in which weights and cache
//! must be, beside what its own rule leaves (`memory_hook.py`). Every number here is an estimate.

use crate::cost::served::Shape;
use crate::cost::serving::groups::Limits;
use crate::cost::serving::{Limit, Server};
use crate::hardware::Device;
use crate::model::{Kind, Model};
use crate::units::{Bytes, Tokens};

/// CUDA context and kernels: 0.3 to 0.5 GiB reported. A guess within it.
const CONTEXT: Bytes = Bytes::mib(400);
/// NCCL's buffers, where a GPU serves with others. A guess.
const NCCL: Bytes = Bytes::mib(200);
/// Graphs that are captured for decoding. A guess.
const GRAPHS: Bytes = Bytes::mib(512);
/// Bytes that sampling takes for each sequence and entry of the vocabulary while vLLM profiles: 16-bit
/// logits, their 32-bit copy, that sorted with indices of 64 bits, and the softmax and its running sum
/// that top-p needs. An estimate, with which the published block counts of vLLM #6920 agree.
const SAMPLING: u64 = 2 + 4 + 4 + 8 + 4 + 4;
/// Thousandths of a card that vLLM takes where nobody says (`--gpu-memory-utilization`).
const VLLM_FRACTION: u32 = 920;
/// SGLang's rule: so much for whatever else, and for each GPU that serves.
const SGLANG_BASE: Bytes = Bytes::mib(512);
const SGLANG_RANK: Bytes = Bytes::mib(128);

/// What is taken beside weights and cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) server: Server,
    pub(super) limit: Limit,
    pub(super) vocab: u64,
    /// The most stages of any plan.
    pub(super) most_stages: u32,
}

/// Which part of a pipeline a GPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Alone,
    /// Of the last stage.
    Last,
    /// Of an earlier one.
    Other,
}

impl Room {
    /// Buffers of a stage, and what else is taken there where so many cards serve.
    pub(super) fn beside(&self, activations: Bytes, part: Part, n_cards: u32) -> (Bytes, Bytes) {
        match self.server {
            Server::Vllm => {
                let sampling = Bytes(self.vocab.saturating_mul(SAMPLING)) * self.limit.sequences;
                let (sampling, nccl) = match part {
                    Part::Alone => (sampling, Bytes::ZERO),
                    Part::Last => (sampling, NCCL),
                    Part::Other => (Bytes::ZERO, NCCL),
                };
                (activations + sampling, CONTEXT + GRAPHS + nccl)
            }
            Server::Sglang => {
                let buffers = self.chunk();
                (buffers, self.outside(n_cards).saturating_sub(buffers))
            }
        }
    }

    /// What SGLang leaves for a chunk of a prompt: 1.5 MiB a token, at least as for 2048.
    fn chunk(&self) -> Bytes {
        Bytes::mib(3 * self.limit.tokens.0.max(2048) / 2)
    }

    /// What is outside of the part that the engine is told to take.
    fn outside(&self, n_cards: u32) -> Bytes {
        match self.server {
            Server::Vllm => Bytes::ZERO,
            Server::Sglang => {
                SGLANG_BASE + self.chunk() + SGLANG_RANK * u64::from(n_cards) + GRAPHS
            }
        }
    }
}

impl Limits for Room {
    /// Of SGLang each number up to eight, and then four between a power of two and the next.
    fn levels(&self, most: u32) -> Vec<u32> {
        let is_level = |stages: &u32| {
            let step = (1 << stages.ilog2()) / 4;
            stages.is_multiple_of(step.max(1))
        };
        let most = most.min(self.most_stages);
        match self.server {
            Server::Vllm => vec![most],
            Server::Sglang => {
                let n_below = (1..most).filter(is_level);
                n_below.chain((most.max(1)..).find(is_level)).collect()
            }
        }
    }

    fn fraction(&self, device: &Device, n_cards: u32) -> u32 {
        let most = match self.server {
            Server::Vllm => VLLM_FRACTION,
            Server::Sglang => 999,
        };
        let room = device.capacity().saturating_sub(self.outside(n_cards));
        let share = u128::from(room.0) * 1000 / u128::from(device.memory.0.max(1));
        u32::try_from(share).unwrap_or(most).min(most)
    }

    fn usable(&self, device: &Device, shape: Shape) -> Bytes {
        let told = u128::from(device.memory.0) * u128::from(shape.fraction) / 1000;
        Bytes(u64::try_from(told).unwrap_or(u64::MAX)) + self.outside(shape.n_cards())
    }
}

/// Activations while vLLM profiles, at 16 bits: the feed-forward's vectors (two branches side by side,
/// and their product) on each GPU, beside input, residual, norm and output; with experts those of
/// every expert that a token passes. An estimate, which was held against no run.
pub(super) fn activations(model: &Model, degree: u32, tokens: Tokens) -> Bytes {
    let dimensions = &model.dimensions;
    let of_experts = dimensions.experts.map_or(0, |experts| {
        let stacks = model.tensors.iter();
        let stacks = stacks.filter(|tensor| tensor.kind == Kind::Experts);
        let inner = stacks.map(|tensor| tensor.rows().min(tensor.columns()));
        let inner = inner.max().unwrap_or(0).min(dimensions.ffn);
        experts
            .used
            .saturating_mul(3 * inner / u64::from(degree) + dimensions.hidden)
    });
    let inner = (3 * dimensions.ffn / u64::from(degree)).max(of_experts);
    Bytes((inner + 4 * dimensions.hidden).saturating_mul(2)) * tokens.0
}
