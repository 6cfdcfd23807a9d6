//! What the network takes where GPUs are on other hosts and llama.cpp reaches them over RPC.
//!
//! Source: `ggml-rpc.cpp` and `ggml_backend_sched_compute_splits` (llama.cpp, 2026). The first host
//! has the embedding, samples, and hands out all work. What passes between two servers is fetched by it
//! and sent on; within one server it is copied there. A message that is not answered costs its bytes, one
//! that is answered a round trip besides: of these a stage has one, half before it and half behind.

use crate::cost::prefill::Prefill;
use crate::cost::{Batch, Crossing};
use crate::hardware::{HostId, Network, Rig};
use crate::model::Model;
use crate::units::{Bytes, Seconds, Tokens};
use crate::workload::Workload;

/// Bytes that pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remote {
    /// The residual stream of a token, 32 bits an element.
    stream: Bytes,
    /// A token's logits, 32 bits each.
    logits: Bytes,
    /// A token's mask over a whole context, 16 bits a cell; every device with blocks gets it.
    mask: Bytes,
    ubatch: Tokens,
}

/// Bytes of a mask for a pair of tokens.
const MASK: Bytes = Bytes(2);

/// What of a chain a stage has.
pub(super) struct Ends {
    /// Whether the embedding's output comes to it.
    pub(super) is_first: bool,
    /// Whether its output are logits.
    pub(super) has_head: bool,
    /// Whether it has blocks.
    pub(super) has_blocks: bool,
    /// Blocks that hand over to the CPU for their experts, and are handed back.
    pub(super) n_shared: u64,
}

impl Remote {
    pub(super) fn new(model: &Model, workload: &Workload) -> Self {
        let dimensions = &model.dimensions;
        Self {
            stream: Bytes(4 * dimensions.hidden),
            logits: Bytes(4 * dimensions.vocab),
            mask: MASK * workload.context.0,
            ubatch: workload.ubatch,
        }
    }

    /// What the network adds to a stage on a host, nothing on the first.
    pub(super) fn around(&self, rig: &Rig, host: HostId, ends: &Ends) -> Crossing {
        let Some(network) = rig.between(HostId::FIRST, host) else {
            return Crossing::default();
        };
        let handed = self.stream / network.rate;
        let mut each = handed * (2 * ends.n_shared) as f64;
        if ends.is_first {
            each = each + handed;
        }
        let (mut pair, mut own) = (Seconds::default(), Seconds::default());
        if ends.has_blocks {
            pair = MASK / network.rate;
            own = own + self.mask / network.rate;
        }
        if ends.has_head {
            own = own + self.logits / network.rate;
        }
        let trips = network.latency * (1 + 2 * ends.n_shared) as f64;
        Crossing {
            time: each + own + trips,
            // Of a prompt only the last token has logits, which are left out.
            prefill: Prefill {
                token: each,
                pair,
                batch: trips,
                ubatch: self.ubatch,
            },
            batch: Batch::default(),
        }
    }

    /// What a token's residual stream takes from a host to another, by way of the first.
    pub(super) fn crossing(&self, rig: &Rig, from: HostId, to: HostId) -> Crossing {
        let legs = [from, to]
            .into_iter()
            .filter_map(|host| rig.between(HostId::FIRST, host));
        let legs = legs.map(|network: Network| self.stream / network.rate);
        let time: Seconds = legs.sum();
        Crossing {
            time,
            prefill: Prefill {
                token: time,
                ubatch: self.ubatch,
                ..Prefill::default()
            },
            batch: Batch::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::text;

    #[test]
    fn what_passes_is_worked_by_hand() {
        let rig = text::parse(
            "RTX 3090; RTX 3090, network 100 MB/s 1 ms; RTX 3090; network 1 GB/s 0.2 ms",
        );
        let rig = rig.unwrap();
        let remote = Remote {
            stream: Bytes(32_000),
            logits: Bytes(128_000),
            mask: Bytes(8_000),
            ubatch: Tokens(512),
        };
        let ends = Ends {
            is_first: true,
            has_head: true,
            has_blocks: true,
            n_shared: 0,
        };
        // 168 kB at 100 MB/s are 1.68 ms, and a round trip of 1 ms.
        let time = remote.around(&rig, HostId(1), &ends).time;
        assert!((time.0 - 2.68e-3).abs() < 1e-9, "{time:?}");
        assert_eq!(remote.around(&rig, HostId(0), &ends), Crossing::default());
        // Between the others by way of the first: 0.32 ms and 0.032 ms.
        let time = remote.crossing(&rig, HostId(1), HostId(2)).time;
        assert!((time.0 - 0.352e-3).abs() < 1e-9, "{time:?}");
        let time = remote.crossing(&rig, HostId(0), HostId(2)).time;
        assert!((time.0 - 0.032e-3).abs() < 1e-9, "{time:?}");
    }
}
