//! How long one token takes: the law of decoding on one device, with a coefficient per class.
//!
//! `t = W / (e_w · BW) + L · c + KV / (e_kv · BW)`: `W` bytes of weights read for a token, `BW` the
//! peak bandwidth, `L` blocks, `c` a fixed cost a block, `KV` bytes of keys and values read. A change
//! of device costs `HOP`. Coefficients of Ampere, Ada, Hopper and Apple are fits to published
//! llama.cpp measurements (2024, single stream, median error 6 % on devices left out of the fit);
//! the others are estimates by likeness and say so.

use crate::hardware::{DeviceClass, Host};
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// Coefficients of the law for one class of devices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coefficients {
    /// Share of the peak bandwidth that reading weights reaches.
    pub weights: f64,
    /// Share that reading keys and values reaches, with flash attention.
    pub kv: f64,
    /// Fixed cost of a block: launches and small kernels.
    pub block: Seconds,
    /// Half-width of the interval around a prediction, as a share of it.
    pub uncertainty: f64,
}

/// Cost of handing over to another device: the median of layer splits over PCIe in 162 published
/// rows (llama.cpp 2024).
pub const HOP: Seconds = Seconds(0.2e-3);

/// Share of peak that flash attention reads the cache with: 0.61 to 0.97 in published rows of 2025.
const KV_EFFICIENCY: f64 = 0.7;

/// The coefficients of llama.cpp on a class.
pub fn llama_cpp(class: DeviceClass) -> Coefficients {
    // (share of peak, microseconds a block, half-width); fitted where that is 0.15, and Apple.
    let (weights, micros, uncertainty) = match class {
        DeviceClass::Ampere => (0.89, 97.0, 0.15),
        DeviceClass::AmpereHbm => (0.55, 103.0, 0.15),
        DeviceClass::Ada => (0.93, 81.0, 0.15),
        DeviceClass::Hopper => (0.66, 109.0, 0.15),
        DeviceClass::Apple => (0.89, 206.0, 0.20),
        DeviceClass::Turing => (0.90, 200.0, 0.25),
        DeviceClass::Blackwell => (0.86, 81.0, 0.25),
        DeviceClass::BlackwellHbm => (0.66, 100.0, 0.35),
        DeviceClass::Pascal => (0.65, 150.0, 0.35),
        DeviceClass::Volta => (0.60, 150.0, 0.35),
        DeviceClass::Rdna | DeviceClass::Cdna | DeviceClass::Arc => (0.65, 150.0, 0.40),
        DeviceClass::Unknown => (0.85, 120.0, 0.30),
    };
    Coefficients {
        weights,
        kv: KV_EFFICIENCY,
        block: Seconds(micros * 1e-6),
        uncertainty,
    }
}

/// How transformers computes a linear layer, which decides its fixed cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Dense matrices.
    Dense,
    /// Matrices that bitsandbytes unpacks.
    Unpacked,
}

/// The coefficients of transformers on a class: the same memory, but kernels launched one by one
/// from Python. The cost a block is a guess from runs of 7B models (about 0.35 ms dense, 1 ms with
/// bitsandbytes), hence the wide interval.
pub fn transformers(class: DeviceClass, kernels: Kernels) -> Coefficients {
    let block = match kernels {
        Kernels::Dense => Seconds(0.35e-3),
        Kernels::Unpacked => Seconds(1.0e-3),
    };
    Coefficients {
        block,
        uncertainty: 0.5,
        ..llama_cpp(class)
    }
}

/// The coefficients of serving engines on a class: the same memory, and blocks launched as graphs too.
/// Taken from llama.cpp by likeness, hence the wide interval.
pub fn serving(class: DeviceClass) -> Coefficients {
    Coefficients {
        uncertainty: 0.4,
        ..llama_cpp(class)
    }
}

/// The rate at which a CPU reads weights: most of the measured stream rate on a desktop, less where
/// many channels outrun the cores (shares implied by published CPU runs).
pub fn host_rate(host: &Host) -> BytesPerSecond {
    let share = match host.bandwidth.0 {
        rate if rate < 120e9 => 0.85,
        rate if rate < 300e9 => 0.62,
        _ => 0.5,
    };
    host.bandwidth * share
}

/// Fixed cost of a block on a CPU, and the half-width where RAM or a link decides the time.
pub const HOST_BLOCK: Seconds = Seconds(0.1e-3);
/// What a block costs besides, of which the CPU computes a part while the rest of it is on a GPU: the
/// way there and back. From one published run (Qwen3-30B-A3B on an RTX 2080 with RAM of 102 GB/s, the
/// experts of 36 of 48 blocks on the CPU: 36.7 tokens/s); others leave 0.1 to 0.4 ms. That a dense
/// feed-forward costs the same is a guess by likeness: it is left and entered as often.
pub const PARTS: Seconds = Seconds(0.15e-3);
/// Half-width where a stage is reached over a network, whose round trips are guesses.
pub const NETWORK_UNCERTAINTY: f64 = 0.3;
/// Half-width of an estimate in which a CPU computes.
pub const HOST_UNCERTAINTY: f64 = 0.3;

impl Coefficients {
    /// Time that a device of peak `bandwidth` takes for a token's share.
    pub fn decode(
        &self,
        bandwidth: BytesPerSecond,
        weights: Bytes,
        kv: Bytes,
        n_blocks: u64,
    ) -> Seconds {
        let reading = weights / (bandwidth * self.weights) + kv / (bandwidth * self.kv);
        reading + self.block * n_blocks as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_3090_decodes_llama_3_8b_at_the_published_speed() {
        // 4.30 GiB read a token, 32 blocks; published: 111.7 tokens/s (llama.cpp, May 2024).
        let read = Bytes(4_617_000_000);
        let law = llama_cpp(DeviceClass::Ampere);
        let time = law.decode(BytesPerSecond(936.2e9), read, Bytes::ZERO, 32);
        let ratio = 1.0 / time.0 / 111.7;
        assert!((0.9..1.1).contains(&ratio), "{ratio}");
    }
}
