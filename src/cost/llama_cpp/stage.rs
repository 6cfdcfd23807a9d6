//! The price of a stage: memory of its device and of the host, the time of a token and of a prompt.

use super::remote::Ends;
use super::{COMPUTE_MARGIN, CUDA_CONTEXT, LlamaCpp, Sums};
use crate::cost::prefill::Prefill;
use crate::cost::{Layout, Memory, Place, Position, Span, Stage, experts, time};
use crate::hardware::{HostId, Transfer};
use crate::units::{Bytes, Seconds};

impl LlamaCpp<'_> {
    /// The host's compute buffer. Where GPUs are on other hosts the CPU may compute prompts of what is
    /// in RAM, and needs at most what it needs for the whole model.
    pub(super) fn host_buffer(&self, layout: Layout, on_host: usize) -> Bytes {
        let own = self.compute.host(layout, on_host);
        let is_offloaded = match layout {
            Layout::Offloaded | Layout::ExpertsOffloaded(_) => true,
            Layout::OneDevice
            | Layout::Pipelined
            | Layout::Sequential
            | Layout::HostOnly
            | Layout::Served(_) => false,
        };
        match is_offloaded && self.rig.hosts().len() > 1 {
            true => own.max(self.compute.host(Layout::HostOnly, self.units.len())),
            false => own,
        }
    }

    /// What experts in RAM take of a token's time.
    fn on_cpu(&self, in_ram: &experts::Sums) -> Seconds {
        let rate = self.rig.host().map(time::host_rate);
        let reading = rate.map_or(Seconds::default(), |rate| in_ram.read / rate);
        reading + time::EXPERTS * in_ram.n_blocks as f64
    }

    pub(super) fn on_device(&self, layout: Layout, span: &Span, sums: &Sums) -> Memory {
        // Prompts are computed on the first GPU also for the CPU's blocks, whose weights stream.
        let buffer = self.compute.device(layout, span.position, &span.units);
        let everywhere = if sums.n_blocks > 0 {
            self.everywhere
        } else {
            Bytes::ZERO
        };
        let in_ram = self.in_ram(layout, &span.units).on_device;
        let weights = sums.on_device.saturating_sub(in_ram);
        let margin = buffer.compute.scale(COMPUTE_MARGIN) + self.compute.residual_stream();
        Memory {
            weights: weights + everywhere,
            kv_cache: sums.kv_device,
            compute: buffer.compute + self.adapted + self.ahead_on(span),
            overhead: CUDA_CONTEXT + margin + buffer.unpacked,
        }
    }

    pub(super) fn on_host(&self, layout: Layout, span: &Span, sums: &Sums) -> Memory {
        Memory {
            weights: sums.on_host,
            kv_cache: sums.kv_host,
            compute: self.host_buffer(layout, span.units.end) + self.adapted + self.ahead_on(span),
            ..Memory::default()
        }
    }

    /// A stage whose units sum up to this.
    pub(super) fn priced(&self, layout: Layout, span: &Span, sums: &Sums) -> Stage {
        let all = 0..self.units.len();
        let kv_read = sums.kv_read;
        match span.place {
            Place::Host => {
                let rate = self.rig.host().map(time::host_rate);
                let reading = rate.map_or(Seconds::default(), |rate| (sums.read + kv_read) / rate);
                Stage {
                    device: self.on_host(layout, span, sums),
                    host: Memory::default(),
                    time: reading + time::HOST_BLOCK * sums.n_blocks as f64,
                    // Beside a GPU, prompts are computed there.
                    prefill: match layout {
                        Layout::HostOnly => self.work.on_cpu(&span.units),
                        _ => Prefill::default(),
                    },
                    ..Stage::default()
                }
            }
            Place::Device(device) => {
                let device = self.rig.device(device);
                let law = time::llama_cpp(device.class);
                let in_ram = self.in_ram(layout, &span.units);
                let read = sums.read.saturating_sub(in_ram.read);
                let decode = law.decode(device.bandwidth, read, kv_read, sums.n_blocks)
                    + self.on_cpu(&in_ram);
                let hop = if span.units.start > 0 {
                    time::HOP
                } else {
                    Seconds::default()
                };
                let is_first = span.position == Position::First;
                let is_remote = device.host != HostId::FIRST;
                // Nothing streams to another host: there the CPU computes prompts for what is in RAM.
                let (from, streamed, on_cpu) = match layout {
                    Layout::Offloaded if is_first && is_remote => {
                        (span.units.start, Bytes::ZERO, 0..span.units.start)
                    }
                    Layout::Offloaded if is_first => (0, self.sums[span.units.start].on_host, 0..0),
                    Layout::ExpertsOffloaded(_) if is_first && is_remote => {
                        (span.units.start, Bytes::ZERO, layout.experts_in_ram())
                    }
                    Layout::ExpertsOffloaded(_) if is_first => {
                        (span.units.start, self.in_ram(layout, &all).on_host, 0..0)
                    }
                    _ => (span.units.start, Bytes::ZERO, 0..0),
                };
                let around = self.remote.around(
                    self.rig,
                    device.host,
                    &Ends {
                        is_first,
                        has_head: span.units.end == self.units.len(),
                        has_blocks: sums.n_blocks > 0,
                        n_shared: in_ram.n_blocks,
                    },
                );
                let link = device.link.bandwidth(Transfer::Pageable);
                let beside = match span.position {
                    Position::First => self.beside.on_gpu.first,
                    Position::Later => Memory::default(),
                };
                Stage {
                    device: self.on_device(layout, span, sums) + beside,
                    host: Memory::default(),
                    time: decode + hop + around.time,
                    prefill: self.work.on_gpu(
                        &(from..span.units.end),
                        (device.class, device.bandwidth),
                        (streamed, link),
                    ) + self.work.on_cpu(&on_cpu)
                        + around.prefill,
                    ..Stage::default()
                }
            }
        }
    }
}
