//! What a stage of llama.cpp needs and takes, and what RAM holds beside the stages.

use std::ops::Range;

use super::remote::Ends;
use super::{COMPUTE_MARGIN, CUDA_CONTEXT, LlamaCpp, Sums};
use crate::cost::parts::{self, PartSums};
use crate::cost::prefill::Prefill;
use crate::cost::{
    Layout, Matrices, Memory, Parts, Place, Position, Span, Stage, Store, Whole, time,
};
use crate::hardware::{DeviceId, HostId, Transfer};
use crate::units::{Bytes, Seconds};

impl LlamaCpp<'_> {
    /// Every choice of parts in RAM, the fewest of each kind first. Thin matrices of an adapter follow
    /// the matrix that they adapt, which is accounted for whole blocks alone.
    pub(super) fn parts(&self) -> impl Iterator<Item = Parts> {
        let kinds = match self.has_adapters {
            true => &Matrices::ALL[..1],
            false => &Matrices::ALL[..],
        };
        kinds.iter().flat_map(|matrices| {
            let counts = self.part_sums(*matrices).counts();
            counts.map(|n_blocks| Parts {
                matrices: *matrices,
                n_blocks,
            })
        })
    }

    /// The host's compute buffer. Where GPUs are on other hosts the CPU may compute prompts of what is
    /// in RAM, and needs at most what it needs for the whole model.
    pub(super) fn host_buffer(&self, layout: Layout, on_host: usize) -> Bytes {
        let own = self.compute.host(layout, on_host);
        let is_offloaded = matches!(layout, Layout::Offloaded(_));
        match is_offloaded && self.rig.hosts().len() > 1 {
            true => own.max(self.compute.host(Layout::HOST_ONLY, self.units.len())),
            false => own,
        }
    }

    fn part_sums(&self, matrices: Matrices) -> &PartSums {
        match matrices {
            Matrices::Experts => &self.experts,
            Matrices::FeedForward => &self.feed_forward,
        }
    }

    /// Such matrices of some units.
    pub(super) fn part(&self, matrices: Matrices, units: &Range<usize>) -> parts::Sums {
        self.part_sums(matrices).between(units, units)
    }

    /// What of some units is in RAM as a part.
    pub(super) fn in_ram(&self, layout: Layout, units: &Range<usize>) -> parts::Sums {
        let parts = layout.parts();
        let sums = self.part_sums(parts.matrices);
        sums.between(units, &parts.units())
    }

    /// What parts in RAM take of a token's time.
    pub(super) fn on_cpu(&self, in_ram: &parts::Sums) -> Seconds {
        let rate = self.rig.host().map(time::host_rate);
        let reading = rate.map_or(Seconds::default(), |rate| in_ram.read / rate);
        reading + time::PARTS * in_ram.n_blocks as f64
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

    /// Parts of these units are among what RAM holds in any plan.
    pub(super) fn on_host(&self, layout: Layout, span: &Span, sums: &Sums) -> Memory {
        let in_ram = self.in_ram(layout, &span.units).on_host;
        Memory {
            weights: match layout.store() {
                Store::Ram => sums.on_host.saturating_sub(in_ram),
                Store::Disk => Bytes::ZERO,
            },
            kv_cache: sums.kv_host,
            compute: self.host_buffer(layout, span.units.end) + self.adapted + self.ahead_on(span),
            ..Memory::default()
        }
    }

    pub(super) fn on_host_in_any_plan(&self, layout: Layout) -> Memory {
        let compute = match (layout, layout.whole()) {
            // It depends on the blocks that the CPU computes, and is a part of their stage.
            (Layout::HostOnly(_), _) | (_, Whole::FirstUnits) => Bytes::ZERO,
            (_, Whole::Nothing) => self.host_buffer(layout, 0),
        };
        let beside = match layout.is_host_only() {
            true => self.beside.in_ram.first + self.beside.in_ram.host,
            false => self.beside.on_gpu.host,
        };
        let (_, ahead) = self.ahead.unwrap_or_default();
        let own = Memory {
            weights: self.weights_in_any_plan(layout),
            compute: compute + ahead.host,
            overhead: self.compute.output_buffer(),
            ..Memory::default()
        };
        own + beside
    }

    /// Weights of the model that RAM has to hold in any plan.
    pub(super) fn weights_in_any_plan(&self, layout: Layout) -> Bytes {
        match layout.store() {
            Store::Ram => self.input + self.in_ram(layout, &(0..self.units.len())).on_host,
            Store::Disk => Bytes::ZERO,
        }
    }

    /// What a stage needs whose units sum up to this.
    pub(super) fn held(&self, layout: Layout, span: &Span, sums: &Sums) -> Memory {
        let beside = match (span.place, span.position) {
            (Place::Host, _) => return self.on_host(layout, span, sums),
            (Place::Device(_), Position::First) => self.beside.on_gpu.first,
            (Place::Device(_), Position::Later) => Memory::default(),
        };
        self.on_device(layout, span, sums) + beside
    }

    /// A stage whose units sum up to this.
    pub(super) fn priced(&self, layout: Layout, span: &Span, sums: &Sums) -> Stage {
        self.priced_with(layout, span, sums, self.held(layout, span, sums))
    }

    /// The same where it is known what it needs.
    pub(super) fn priced_with(
        &self,
        layout: Layout,
        span: &Span,
        sums: &Sums,
        held: Memory,
    ) -> Stage {
        match span.place {
            Place::Host => self.priced_on_host(layout, span, sums, held),
            Place::Device(device) => Stage {
                device: held,
                ..self.timed_on_device(layout, span, device, sums)
            },
        }
    }

    fn priced_on_host(&self, layout: Layout, span: &Span, sums: &Sums, device: Memory) -> Stage {
        let rate = self.rig.host().map(time::host_rate);
        let reading = rate.map_or(Seconds::default(), |rate| (sums.read + sums.kv_read) / rate);
        let reread = self.reread_by_host(layout, span, &device);
        // Beside a GPU, prompts are computed there.
        let mut prefill = match layout.is_host_only() {
            true => self.work.on_cpu(&span.units),
            false => Prefill::default(),
        };
        prefill.batch = prefill.batch + self.disk_time(reread.of_prompts);
        Stage {
            device,
            host: Memory::default(),
            time: reading
                + time::HOST_BLOCK * sums.n_blocks as f64
                + self.disk_time(reread.of_tokens),
            prefill,
            ..Stage::default()
        }
    }

    /// All but what it needs.
    fn timed_on_device(&self, layout: Layout, span: &Span, device: DeviceId, sums: &Sums) -> Stage {
        let device = self.rig.device(device);
        let law = time::llama_cpp(device.class);
        let in_ram = self.in_ram(layout, &span.units);
        let read = sums.read.saturating_sub(in_ram.read);
        let reread = self.reread_of_parts(layout, &in_ram);
        let decode = law.decode(device.bandwidth, read, sums.kv_read, sums.n_blocks)
            + self.on_cpu(&in_ram)
            + self.disk_time(reread.of_tokens);
        let hop = if span.units.start > 0 {
            time::HOP
        } else {
            Seconds::default()
        };
        let is_first = span.position == Position::First;
        let is_remote = device.host != HostId::FIRST;
        // Weights in RAM stream to the first GPU, which computes prompts with them. Nothing streams to
        // another host: there the CPU computes prompts with what is in RAM.
        let streamed = match is_first && !is_remote {
            true => self.streamed(layout, span.units.start),
            false => Bytes::ZERO,
        };
        let from = match layout.whole() {
            Whole::FirstUnits if is_first && !is_remote => 0,
            Whole::FirstUnits | Whole::Nothing => span.units.start,
        };
        let on_cpu = match (layout.whole(), is_first && is_remote) {
            (_, false) => 0..0,
            (Whole::FirstUnits, true) => 0..span.units.start.max(layout.parts().units().end),
            (Whole::Nothing, true) => layout.parts().units(),
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
        let mut prefill = self.work.on_gpu(
            &(from..span.units.end),
            (device.class, device.bandwidth),
            (streamed, link),
        ) + self.work.on_cpu(&on_cpu)
            + around.prefill;
        prefill.batch = prefill.batch + self.disk_time(reread.of_prompts);
        Stage {
            time: decode + hop + around.time,
            prefill,
            ..Stage::default()
        }
    }

    /// Weights in RAM where the first GPU begins at a unit.
    pub(super) fn streamed(&self, layout: Layout, start: usize) -> Bytes {
        let whole = match layout.whole() {
            Whole::FirstUnits => self.sums[start].on_host,
            Whole::Nothing => Bytes::ZERO,
        };
        whole + self.in_ram(layout, &(start..self.units.len())).on_host
    }
}
