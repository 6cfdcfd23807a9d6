//! How long a prompt takes: `t = (F·N + A·N²/2) / (e·FLOPS) + ⌈N / ubatch⌉ · B`.
//!
//! `F` are the operations of a token in the matrices of the blocks (two for each element), `A` those
//! of attention for a pair of tokens, `B` what every micro-batch costs once: launches, a hop, weights
//! that stream. The head counts for one token of a prompt and is left out. The peak of a card is
//! taken from its bandwidth: within a class both grow together (quartiles within 25 % of the median
//! over the datasheets of 174 cards), which saves a second figure that users would have to state.

use std::ops::{Add, Range};

use crate::cost::{Unit, time};
use crate::hardware::DeviceClass;
use crate::model::{BlockId, Kind, Model, Part};
use crate::units::{Bytes, BytesPerSecond, Seconds, Tokens};

/// What a prompt takes in a stage, as coefficients of its length.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prefill {
    /// For each token.
    pub token: Seconds,
    /// For each pair of a token and one before it.
    pub pair: Seconds,
    /// For each micro-batch.
    pub batch: Seconds,
    /// Tokens of a micro-batch.
    pub ubatch: Tokens,
}

impl Prefill {
    /// The time of a prompt.
    pub fn time(&self, prompt: Tokens) -> Seconds {
        let n = prompt.0 as f64;
        let n_batches = prompt.0.div_ceil(self.ubatch.0.max(1)) as f64;
        self.token * n + self.pair * (n * n / 2.0) + self.batch * n_batches
    }

    /// What takes no more than either, whatever the prompt.
    pub fn least(self, other: Self) -> Self {
        let least = |a: Seconds, b: Seconds| Seconds(a.0.min(b.0));
        Self {
            token: least(self.token, other.token),
            pair: least(self.pair, other.pair),
            batch: least(self.batch, other.batch),
            ubatch: self.ubatch.max(other.ubatch),
        }
    }
}

impl Add for Prefill {
    type Output = Self;

    /// One behind the other, in the same micro-batches.
    fn add(self, other: Self) -> Self {
        Self {
            token: self.token + other.token,
            pair: self.pair + other.pair,
            batch: self.batch + other.batch,
            ubatch: self.ubatch.max(other.ubatch),
        }
    }
}

/// Operations of the blocks, summed up to each unit.
#[derive(Clone, Debug)]
pub struct Work {
    sums: Vec<Operations>,
    ubatch: Tokens,
}

/// Floating point operations of some blocks.
#[derive(Clone, Copy, Debug, Default)]
struct Operations {
    token: f64,
    pair: f64,
    n_blocks: f64,
}

impl Work {
    /// Counts the operations of a chain whose prompts are computed `ubatch` tokens at once.
    pub fn new(model: &Model, units: &[Unit], ubatch: Tokens) -> Self {
        let dimensions = &model.dimensions;
        // Scores and their use: two matrices, two operations an element.
        let pair = (4 * dimensions.n_heads * dimensions.head_dim) as f64;
        let mut so_far = Operations::default();
        let mut sums = vec![so_far];
        for unit in units {
            if let Unit::Block(block) = unit {
                let own = [
                    Part::Attention(BlockId(*block)),
                    Part::FeedForward(BlockId(*block)),
                ];
                let matrices = model.tensors.iter().filter(|tensor| {
                    own.contains(&tensor.part) && tensor.is_trained() && is_matrix(tensor.kind)
                });
                let elements = matrices
                    .map(|tensor| tensor.elements() as f64 * model.share_for_a_token(tensor));
                so_far.token += 2.0 * elements.sum::<f64>();
                so_far.pair += pair;
                so_far.n_blocks += 1.0;
            }
            sums.push(so_far);
        }
        Self { sums, ubatch }
    }

    fn of(&self, units: &Range<usize>) -> Operations {
        let (from, to) = (&self.sums[units.start], &self.sums[units.end]);
        Operations {
            token: to.token - from.token,
            pair: to.pair - from.pair,
            n_blocks: to.n_blocks - from.n_blocks,
        }
    }

    /// A prompt through `units` on a GPU, which are reached over a hop where there is something
    /// before them; `streamed` bytes are copied at `link` for every micro-batch.
    pub fn on_gpu(
        &self,
        units: &Range<usize>,
        gpu: (DeviceClass, BytesPerSecond),
        streamed: (Bytes, BytesPerSecond),
    ) -> Prefill {
        let (class, bandwidth) = gpu;
        let work = self.of(units);
        let rate = bandwidth.0 * operations_per_byte(class);
        let hop = if units.start > 0 { 1.0 } else { 0.0 };
        let launches = time::llama_cpp(class).block * work.n_blocks;
        Prefill {
            token: Seconds(work.token / rate),
            pair: Seconds(work.pair / rate),
            batch: launches + time::HOP * hop + streamed.0 / streamed.1,
            ubatch: self.ubatch,
        }
    }

    /// A prompt through `units` on the CPU.
    pub fn on_cpu(&self, units: &Range<usize>) -> Prefill {
        let work = self.of(units);
        Prefill {
            token: Seconds(work.token / HOST_RATE),
            pair: Seconds(work.pair / HOST_RATE),
            batch: time::HOST_BLOCK * work.n_blocks,
            ubatch: self.ubatch,
        }
    }
}

/// Operations a second of a CPU: a guess for eight to sixteen desktop cores with AVX2 (7B models at
/// 4 bits read prompts at some 60 tokens/s).
const HOST_RATE: f64 = 0.8e12;

/// Half-width of the interval around a prompt's time: the law, calibrated on a class, has 18 % median
/// and 41 % at the 90th percentile on cards left out of the fit; the peak by bandwidth adds to it.
pub const UNCERTAINTY: f64 = 0.5;

/// Operations that a class does in the time in which its memory gives a byte: the median of peak
/// 16-bit operations to bandwidth over the datasheets, times the share of it that published llama.cpp
/// runs of 512 tokens reach (Ampere 0.42, Ada 0.35, A100 0.33, H100 PCIe 0.19; 2024). The shares of
/// all other classes are guesses by likeness, from 0.2 to 0.5 of what their matrix units do.
pub fn operations_per_byte(class: DeviceClass) -> f64 {
    match class {
        DeviceClass::Ampere => 148.0 * 0.42,
        DeviceClass::Ada => 281.0 * 0.35,
        DeviceClass::AmpereHbm => 177.0 * 0.33,
        DeviceClass::Hopper => 295.0 * 0.19,
        DeviceClass::Blackwell => 234.0 * 0.35,
        DeviceClass::BlackwellHbm => 281.0 * 0.2,
        DeviceClass::Turing => 175.0 * 0.35,
        DeviceClass::Volta => 139.0 * 0.3,
        DeviceClass::Pascal => 26.0 * 0.5,
        DeviceClass::Rdna => 135.0 * 0.3,
        DeviceClass::Cdna => 114.0 * 0.25,
        DeviceClass::Apple => 33.0 * 0.6,
        DeviceClass::Arc => 30.0 * 0.5,
        DeviceClass::Unknown => 40.0,
    }
}

/// Whether a token is multiplied with it; of experts with those that it passes.
fn is_matrix(kind: Kind) -> bool {
    match kind {
        Kind::Linear | Kind::TransposedLinear | Kind::OwnLinear | Kind::Experts => true,
        Kind::Embedding | Kind::Norm | Kind::Bias | Kind::Head | Kind::Table | Kind::HalfTable => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_3090_reads_a_prompt_at_about_the_published_speed() {
        // Llama-3-8B Q4_K_M, pp512: 3,866 tokens/s (llama.cpp, May 2024); 6.98e9 elements in blocks.
        let work = Work {
            sums: vec![
                Operations::default(),
                Operations {
                    token: 2.0 * 6.98e9,
                    pair: 4.0 * 32.0 * 4096.0,
                    n_blocks: 32.0,
                },
            ],
            ubatch: Tokens(512),
        };
        let card = (DeviceClass::Ampere, BytesPerSecond(936.2e9));
        let prefill = work.on_gpu(&(0..1), card, (Bytes::ZERO, BytesPerSecond(1e9)));
        let rate = 512.0 / prefill.time(Tokens(512)).0;
        assert!((0.7..1.4).contains(&(rate / 3866.0)), "{rate}");
    }

    #[test]
    fn a_prompt_pays_each_micro_batch_once() {
        let prefill = Prefill {
            token: Seconds(1.0),
            pair: Seconds(0.5),
            batch: Seconds(100.0),
            ubatch: Tokens(4),
        };
        let time = prefill.time(Tokens(10));
        assert_eq!(time, Seconds(10.0 + 25.0 + 300.0));
    }
}
