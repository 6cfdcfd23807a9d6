//! What no plan of a layout does better than, told from sums alone.
//!
//! Weights and cache need room on GPUs whatever the cut, and each block takes at least what it takes
//! on the card that is quickest with it, and no card reads more than it holds. Buffers and hops are
//! left out.

use std::ops::Range;

use super::{CUDA_CONTEXT, LlamaCpp};
use crate::cost::{Ceiling, Layout, Outlook, Place, Store, Whole, capacity, time};
use crate::hardware::Device;
use crate::units::{Bytes, Seconds};

fn later(a: Seconds, b: Seconds) -> Seconds {
    Seconds(a.0.max(b.0))
}

/// What a card has for weights, cache and buffers.
fn room_of(device: &Device) -> Bytes {
    device.capacity().saturating_sub(CUDA_CONTEXT)
}

impl LlamaCpp<'_> {
    pub(super) fn best_of(&self, layout: Layout) -> Outlook {
        let n_units = self.units.len();
        let ends = match (layout, layout.whole()) {
            (Layout::Offloaded(_), Whole::FirstUnits) => layout.ends_of_whole(n_units),
            (Layout::Offloaded(_), Whole::Nothing) => 0..1,
            // Searched first and few.
            (_, _) => return Outlook::default(),
        };
        let (fastest, rates) = (self.fastest(layout), self.rates(layout));
        let room: Bytes = self.rig.devices().iter().map(room_of).sum();
        let base = self.base(layout);
        let ram = capacity(self.rig, Place::Host);
        let with_whole = |end: usize| {
            let sums = self.between(&(end..n_units));
            let in_ram = self.in_ram(layout, &(end..n_units));
            let on_gpus = (sums.on_device + sums.kv_device).saturating_sub(in_ram.on_device);
            let on_host = base + self.whole_on_host(layout, &(0..end));
            Outlook {
                ceiling: Ceiling::UNKNOWN,
                missing: on_gpus.saturating_sub(room) + on_host.saturating_sub(ram),
                time: self.time_on_host(&(0..end))
                    + later(fastest[end], self.filling(layout, end, on_gpus, &rates)),
            }
        };
        let each: Vec<_> = ends.map(with_whole).collect();
        let missing = each.iter().map(|outlook| outlook.missing).min();
        let fitting = each.iter().filter(|outlook| outlook.missing == Bytes::ZERO);
        let time = fitting.map(|outlook| outlook.time);
        Outlook {
            ceiling: Ceiling::UNKNOWN,
            missing: missing.unwrap_or_default(),
            time: time.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default(),
        }
    }

    /// What the units from `end` on take at least where each card reads no more than it holds: bytes
    /// are filled in from the card that is quickest with any of them. Dense blocks are alike in this.
    fn filling(&self, layout: Layout, end: usize, on_gpus: Bytes, rates: &[Vec<f64>]) -> Seconds {
        let units = end..self.units.len();
        let devices = || self.rig.devices().iter();
        let launches = devices().map(|device| time::llama_cpp(device.class).block.0);
        let launch = launches.fold(f64::INFINITY, f64::min);
        let rooms = devices().map(room_of);
        let mut cards: Vec<_> = rates.iter().map(|rates| rates[end]).zip(rooms).collect();
        cards.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut left = on_gpus;
        let mut total = launch * self.between(&units).n_blocks as f64;
        for (rate, room) in cards {
            let taken = left.min(room);
            if taken > Bytes::ZERO {
                total += rate * taken.0 as f64;
            }
            left = left.saturating_sub(taken);
        }
        Seconds(total) + self.on_cpu(&self.in_ram(layout, &units))
    }

    /// By card, and by the unit from which on: the least time that a byte takes which the card holds.
    fn rates(&self, layout: Layout) -> Vec<Vec<f64>> {
        let of_device = |device: &Device| {
            let law = time::llama_cpp(device.class);
            let mut from = vec![f64::INFINITY; self.units.len() + 1];
            for unit in (0..self.units.len()).rev() {
                let units = unit..unit + 1;
                let (sums, in_ram) = (self.between(&units), self.in_ram(layout, &units));
                let held = (sums.on_device + sums.kv_device).saturating_sub(in_ram.on_device);
                let read = sums.read.saturating_sub(in_ram.read);
                let reading = law.decode(device.bandwidth, read, sums.kv_read, 0);
                let rate = match held {
                    Bytes::ZERO => f64::INFINITY,
                    held => reading.0 / held.0 as f64,
                };
                from[unit] = from[unit + 1].min(rate);
            }
            from
        };
        self.rig.devices().iter().map(of_device).collect()
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
