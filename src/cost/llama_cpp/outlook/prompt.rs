//! What a prompt takes at the least under a layout: all blocks on the card that is quickest with them,
//! and what streams from RAM to the first card in every micro-batch.

use super::LlamaCpp;
use crate::cost::{Layout, Prefill};
use crate::hardware::{HostId, Transfer};
use crate::units::Bytes;

impl LlamaCpp<'_> {
    /// Where the units from `end` on are on GPUs.
    pub(super) fn least_prompt(&self, layout: Layout, end: usize) -> Prefill {
        let units = 0..self.units.len();
        let devices = self.rig.devices();
        // Nothing streams to another host: there the CPU computes what is in RAM.
        let is_local = devices.iter().all(|device| device.host == HostId::FIRST);
        let (streamed, on_cpu) = match is_local {
            true => (self.streamed(layout, end), None),
            false => (Bytes::ZERO, Some(self.work.on_cpu(&units))),
        };
        let on_gpus = devices.iter().map(|device| {
            let link = device.link.bandwidth(Transfer::Pageable);
            self.work
                .on_gpu(&units, (device.class, device.bandwidth), (streamed, link))
        });
        let all = on_gpus.chain(on_cpu);
        all.reduce(Prefill::least).unwrap_or_default()
    }
}
