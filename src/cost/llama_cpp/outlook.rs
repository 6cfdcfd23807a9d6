//! What no plan of a layout does better than, told from sums alone.
//!
//! Weights and cache need room on GPUs whatever the cut, and each block takes at least what it takes
//! on the card that is quickest with it. Buffers and hops are left out.

use std::ops::Range;

use super::{CUDA_CONTEXT, LlamaCpp};
use crate::cost::{Layout, Outlook, Place, Store, Whole, capacity, time};
use crate::units::{Bytes, Seconds};

impl LlamaCpp<'_> {
    pub(super) fn best_of(&self, layout: Layout) -> Outlook {
        let n_units = self.units.len();
        let ends = match (layout, layout.whole()) {
            (Layout::Offloaded(_), Whole::FirstUnits) => layout.ends_of_whole(n_units),
            (Layout::Offloaded(_), Whole::Nothing) => 0..1,
            // Searched first and few.
            (_, _) => return Outlook::default(),
        };
        let fastest = self.fastest(layout);
        let room: Bytes = self
            .rig
            .device_ids()
            .map(|id| self.rig.capacity(id).saturating_sub(CUDA_CONTEXT))
            .sum();
        let base = self.base(layout);
        let ram = capacity(self.rig, Place::Host);
        let with_whole = |end: usize| {
            let sums = self.between(&(end..n_units));
            let in_ram = self.in_ram(layout, &(end..n_units));
            let on_gpus = (sums.on_device + sums.kv_device).saturating_sub(in_ram.on_device);
            let on_host = base + self.whole_on_host(layout, &(0..end));
            Outlook {
                missing: on_gpus.saturating_sub(room) + on_host.saturating_sub(ram),
                time: self.time_on_host(&(0..end)) + fastest[end],
            }
        };
        let each: Vec<_> = ends.map(with_whole).collect();
        let missing = each.iter().map(|outlook| outlook.missing).min();
        let fitting = each.iter().filter(|outlook| outlook.missing == Bytes::ZERO);
        let time = fitting.map(|outlook| outlook.time);
        Outlook {
            missing: missing.unwrap_or_default(),
            time: time.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default(),
        }
    }

    /// What RAM holds in any plan, without buffers.
    fn base(&self, layout: Layout) -> Bytes {
        let beside = self.beside.on_gpu.host;
        self.weights_in_any_plan(layout) + beside.weights + beside.kv_cache
    }

    fn whole_on_host(&self, layout: Layout, units: &Range<usize>) -> Bytes {
        let sums = self.between(units);
        let weights = match layout.store() {
            Store::Ram => sums
                .on_host
                .saturating_sub(self.in_ram(layout, units).on_host),
            Store::Disk => Bytes::ZERO,
        };
        weights + sums.kv_host
    }

    fn time_on_host(&self, units: &Range<usize>) -> Seconds {
        let sums = self.between(units);
        let rate = self.rig.host().map(time::host_rate);
        let reading = rate.map_or(Seconds::default(), |rate| (sums.read + sums.kv_read) / rate);
        reading + time::HOST_BLOCK * sums.n_blocks as f64
    }

    /// What the units from each on take at least, each on the card that is quickest with it.
    fn fastest(&self, layout: Layout) -> Vec<Seconds> {
        let mut from = vec![Seconds::default(); self.units.len() + 1];
        for unit in (0..self.units.len()).rev() {
            let units = unit..unit + 1;
            let (sums, in_ram) = (self.between(&units), self.in_ram(layout, &units));
            let read = sums.read.saturating_sub(in_ram.read);
            let on = |id| {
                let device = self.rig.device(id);
                let law = time::llama_cpp(device.class);
                law.decode(device.bandwidth, read, sums.kv_read, sums.n_blocks)
            };
            let quickest = self.rig.device_ids().map(on);
            let quickest = quickest.min_by(|a, b| a.0.total_cmp(&b.0));
            from[unit] = from[unit + 1] + quickest.unwrap_or_default() + self.on_cpu(&in_ram);
        }
        from
    }
}
