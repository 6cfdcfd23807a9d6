//! Accounting of transformers with accelerate's hooks: modules on GPUs one after the other, and
//! "cpu" modules that are copied to the first GPU for every token, "disk" modules that are read first.
//!
//! Facts from transformers 5.24 and accelerate 1.15, read and run: a module on "cpu" never computes
//! there while any GPU is in the map; its keys and values live on the first GPU, which also holds
//! the largest single module that is being copied. Weights and cache are exact; activations are an
//! estimate for a prompt as long as the context.

use std::ops::Range;

use crate::cost::prefill::{Prefill, Work};
use crate::cost::time::Kernels;
use crate::cost::{
    Accounting, Layout, Memory, Offload, OnDisk, Place, Position, Span, Stage, Store, Unit,
    capacity, memory, time,
};
use crate::hardware::{Rig, Transfer};
use crate::model::format::Format;
use crate::model::{Block, Checkpoint, Kind, Model, Part, Precision, PrecisionError, Tensor};
use crate::units::{Bytes, Seconds, Tokens};
use crate::workload::{KvFormat, Workload};

/// CUDA context, cuBLAS workspace and what torch's allocator cannot use: 256 to 600 MiB reported.
const CUDA_CONTEXT: Bytes = Bytes::mib(600);

/// The price list of one model, precision, rig and workload.
#[derive(Clone, Debug)]
pub struct Transformers<'a> {
    rig: &'a Rig,
    units: Vec<Unit>,
    work: Work,
    kernels: Kernels,
    offload: Offload,
    sums: Vec<Sums>,
    /// The head where it is the embedding's matrix: read on the first GPU, after a hop back.
    tied_head: Option<Bytes>,
    sequences: u64,
    activations: Bytes,
    logits: Bytes,
    /// The largest single tensor of the units up to each.
    largest: Vec<Bytes>,
}

/// Totals of the units before one.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    weights: Bytes,
    read: Bytes,
    kv_cache: Bytes,
    n_blocks: u64,
}

impl<'a> Transformers<'a> {
    /// Prices `model` at `precision`.
    ///
    /// # Errors
    /// Where transformers cannot load that precision.
    pub fn new(
        model: &Model,
        precision: Precision,
        rig: &'a Rig,
        workload: &Workload,
    ) -> Result<Self, PrecisionError> {
        let checkpoint = precision.for_transformers()?;
        let sizes = model.tensor_bytes(Precision::Checkpoint(checkpoint))?;
        let units = units(model);
        let kv_cache = |block: u32| kv_cache(&model.blocks[block as usize], workload, checkpoint);
        let grown = (0..model.dimensions.n_layers).map(kv_cache).max();
        let mut sums = vec![Sums::default()];
        let mut largest = vec![Bytes::ZERO];
        for unit in &units {
            let (mut next, mut largest_yet) = (sums[sums.len() - 1], largest[largest.len() - 1]);
            for (tensor, size) in model.tensors.iter().zip(&sizes) {
                if part(*unit, tensor.part) {
                    next.weights += *size;
                    largest_yet = largest_yet.max(*size);
                    // A tower sees images, not each token.
                    if tensor.kind != Kind::Embedding && tensor.part != Part::Tower {
                        next.read += model.read_for_a_token(tensor, *size);
                    }
                }
            }
            for tensor in model.extras.adapter_tensors() {
                if part(*unit, tensor.part) {
                    let size = adapter_tensor(tensor);
                    next.weights += size;
                    next.read += model.read_for_a_token(tensor, size);
                }
            }
            if let Unit::Block(block) = unit {
                next.kv_cache += kv_cache(*block);
                next.n_blocks += 1;
            }
            sums.push(next);
            largest.push(largest_yet);
        }
        let embedding = model.tensors.iter().zip(&sizes);
        let embedding = embedding.filter(|(tensor, _)| tensor.kind == Kind::Embedding);
        Ok(Self {
            rig,
            // A prompt is computed whole.
            work: Work::new(model, &units, Tokens(u64::MAX)),
            units,
            kernels: match checkpoint.is_bitsandbytes() {
                true => Kernels::Unpacked,
                false => Kernels::Dense,
            },
            // PEFT maps a model anew that is partly in RAM, and not as it was mapped.
            offload: match model.extras.adapters.is_empty() {
                true => offload(checkpoint),
                false => Offload::Refused,
            },
            sums,
            tied_head: model.tied.then(|| embedding.map(|(_, size)| *size).sum()),
            sequences: u64::from(workload.sequences),
            activations: activations(model, workload, checkpoint)
                + adapted(model, workload)
                + grown.unwrap_or_default(),
            logits: Bytes(6 * model.dimensions.vocab) * u64::from(workload.sequences),
            largest,
        })
    }

    fn between(&self, from: usize, to: usize) -> Sums {
        let (from, to) = (&self.sums[from], &self.sums[to]);
        // The sums never fall, so no subtraction is short.
        Sums {
            weights: to.weights.saturating_sub(from.weights),
            read: to.read.saturating_sub(from.read),
            kv_cache: to.kv_cache.saturating_sub(from.kv_cache),
            n_blocks: to.n_blocks - from.n_blocks,
        }
    }

    /// Of the units that stream those that are on disk: as few of the last as RAM cannot hold.
    fn tail(&self, layout: Layout, streamed: &Range<usize>) -> Range<usize> {
        let room = capacity(self.rig, Place::Host);
        let overflows = |start: &usize| {
            let held = self.between(streamed.start, *start).weights;
            held + self.staging(streamed, &(*start..streamed.end)) > room
        };
        match layout.store() {
            Store::Ram => streamed.end..streamed.end,
            Store::Disk => {
                let starts = (streamed.start..=streamed.end).rev();
                let start = starts.into_iter().find(|start| !overflows(start));
                start.unwrap_or(streamed.start)..streamed.end
            }
        }
    }

    /// What passes through RAM from disk: one matrix at a time.
    fn staging(&self, streamed: &Range<usize>, tail: &Range<usize>) -> Bytes {
        match tail.is_empty() {
            true => Bytes::ZERO,
            false => self.largest[streamed.end],
        }
    }

    /// Whether a stage computes the head: the last one, or the first where the head is tied.
    fn computes_head(&self, span: &Span) -> bool {
        match self.tied_head {
            Some(_) => span.position == Position::First,
            None => span.units.end == self.units.len(),
        }
    }
}

impl Accounting for Transformers<'_> {
    fn rig(&self) -> &Rig {
        self.rig
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn ranks(&self) -> Vec<Vec<Layout>> {
        let n_devices = self.rig.devices().len();
        let may_offload = self.rig.host().is_some() && self.offload == Offload::Streams;
        let has_disk = self.rig.host().is_some_and(|host| host.disk.is_some());
        let ranks = [
            vec![
                (Layout::OneDevice, n_devices > 0),
                (Layout::Sequential, n_devices > 1),
            ],
            vec![(Layout::OFFLOADED, may_offload && n_devices > 0)],
            vec![(Layout::HOST_ONLY, may_offload)],
            vec![(
                Layout::OFFLOADED.held_by(Store::Disk),
                may_offload && n_devices > 0 && has_disk,
            )],
        ];
        super::allowed(ranks)
    }

    fn stage(&self, layout: Layout, span: &Span) -> Stage {
        let all = self.between(span.units.start, span.units.end);
        let streamed = self.between(span.streamed.start, span.streamed.end);
        let resident = all.weights.saturating_sub(streamed.weights);
        let head = self.computes_head(span);
        let tied_read = self.tied_head.filter(|_| head).unwrap_or_default();
        let kv_read = Bytes(all.kv_cache.0 / self.sequences);
        let stream_buffer = match span.streamed.is_empty() {
            true => Bytes::ZERO,
            false => self.largest[span.streamed.end],
        };
        let compute =
            self.activations + stream_buffer + if head { self.logits } else { Bytes::ZERO };
        match span.place {
            Place::Host => {
                let rate = self.rig.host().map(time::host_rate);
                let read = all.read + tied_read + kv_read;
                let reading = rate.map_or(Seconds::default(), |rate| read / rate);
                Stage {
                    device: Memory {
                        weights: all.weights,
                        kv_cache: all.kv_cache,
                        compute,
                        overhead: Bytes::ZERO,
                    },
                    host: Memory::default(),
                    time: reading + time::HOST_BLOCK * all.n_blocks as f64,
                    prefill: self.work.on_cpu(&span.units),
                    ..Stage::default()
                }
            }
            Place::Device(device) => {
                let device = self.rig.device(device);
                let law = time::transformers(device.class, self.kernels);
                let read = all.read + tied_read;
                let decode = law.decode(device.bandwidth, read, kv_read, all.n_blocks);
                let link = device.link.bandwidth(Transfer::Pageable);
                let tail = self.tail(layout, &span.streamed);
                let from_disk = self.between(tail.start, tail.end).weights;
                let disk = self.rig.host().and_then(|host| host.disk);
                let reading = disk.map_or(Seconds::default(), |rate| from_disk / rate);
                let copying = streamed.weights / link + reading;
                let mut hops = f64::from(u8::from(span.units.start > 0));
                if self.tied_head.is_some() && span.units.end == self.units.len() && hops > 0.0 {
                    // Back to the first device, where the tied head is.
                    hops += 1.0;
                }
                let prefill = self.work.on_gpu(
                    &span.units,
                    (device.class, device.bandwidth),
                    (streamed.weights, link),
                );
                Stage {
                    device: Memory {
                        weights: resident,
                        kv_cache: all.kv_cache,
                        compute,
                        overhead: CUDA_CONTEXT,
                    },
                    host: Memory {
                        weights: streamed.weights.saturating_sub(from_disk),
                        compute: self.staging(&span.streamed, &tail),
                        ..Memory::default()
                    },
                    time: decode + copying + time::HOP * hops,
                    prefill: Prefill {
                        batch: prefill.batch + reading,
                        ..prefill
                    },
                    ..Stage::default()
                }
            }
        }
    }

    fn on_disk(&self, layout: Layout, stages: &[Span]) -> OnDisk {
        let streamed = stages.iter().map(|span| self.tail(layout, &span.streamed));
        let units = streamed.max_by_key(|units| units.len()).unwrap_or_default();
        let weights = self.between(units.start, units.end).weights;
        OnDisk {
            units,
            in_ram: Bytes::ZERO,
            weights,
            read: weights,
        }
    }

    fn host_base(&self, _layout: Layout) -> Memory {
        Memory::default()
    }

    fn offload(&self) -> Offload {
        self.offload
    }

    fn uncertainty(&self, _layout: Layout, span: &Span) -> f64 {
        match span.place {
            Place::Host => time::HOST_UNCERTAINTY,
            Place::Device(device) => {
                time::transformers(self.rig.device(device).class, self.kernels).uncertainty
            }
        }
    }
}

/// Keys and values of a block: transformers computes, and so caches, in the checkpoint's width.
pub fn kv_cache(block: &Block, workload: &Workload, checkpoint: Checkpoint) -> Bytes {
    let format = match checkpoint {
        Checkpoint::Fp32 => KvFormat::F32,
        _ => workload.kv_format,
    };
    memory::transformers_cache(block, workload, format)
        + memory::transformers_cross_cache(block, workload, format)
}

/// A thin matrix of an adapter: PEFT holds in 32 bits what is stored in 16.
///
/// Source: `autocast_adapter_dtype` of PEFT 0.20, which is on where nobody says otherwise.
pub fn adapter_tensor(tensor: &Tensor) -> Bytes {
    tensor.bytes(Format::F32)
}

/// What an adapter adds to a prompt as long as the context: input, output and rank of the widest
/// matrix, in 32 bits. An estimate.
fn adapted(model: &Model, workload: &Workload) -> Bytes {
    let adapters = model.extras.adapters.iter();
    let pairs = adapters.flat_map(|adapter| adapter.tensors.chunks(2));
    let width = |pair: &[Tensor]| {
        let sides = pair.iter().map(|tensor| tensor.rows() + tensor.columns());
        sides.sum::<u64>()
    };
    let tokens = workload.context.0 * u64::from(workload.sequences);
    Bytes(4 * pairs.map(width).max().unwrap_or(0)) * tokens
}

/// What quantises on load refuses a map in which anything is on "cpu"; the rest streams.
fn offload(checkpoint: Checkpoint) -> Offload {
    match checkpoint.is_quantised_on_load() {
        true => Offload::Refused,
        false => Offload::Streams,
    }
}

/// The chain: a tied head is no unit of its own, it goes where the embedding goes.
fn units(model: &Model) -> Vec<Unit> {
    // Blocks that predict further tokens are not loaded.
    let n_blocks = match &model.modules {
        Some(modules) => modules.blocks.len() as u32,
        None => model.dimensions.n_layers,
    };
    let blocks = (0..n_blocks).map(Unit::Block);
    let mut units = vec![Unit::Embedding];
    units.extend(blocks);
    units.push(Unit::FinalNorm);
    if !model.tied {
        units.push(Unit::Head);
    }
    units
}

/// Whether a tensor of `part` belongs to `unit`.
fn part(unit: Unit, part: Part) -> bool {
    match (unit, part) {
        (Unit::Embedding, Part::Embedding | Part::Tower | Part::Everywhere)
        | (Unit::FinalNorm, Part::FinalNorm)
        | (Unit::Head, Part::Head) => true,
        (Unit::Block(unit), Part::Attention(block) | Part::FeedForward(block)) => block.0 == unit,
        _ => false,
    }
}

/// Activations of a prompt as long as the context, the largest moment of a block: the inner
/// vectors of the feed-forward (three with a gate, two without) beside input, residual, norm and
/// output; 16 bits each. Growing a cache copies one block's. bitsandbytes besides unpacks one matrix to 16 bits.
fn activations(model: &Model, workload: &Workload, checkpoint: Checkpoint) -> Bytes {
    let dimensions = &model.dimensions;
    let branches = if model.is_gated() { 3 } else { 2 };
    let tokens = workload.context.0 * u64::from(workload.sequences);
    let width = branches * dimensions.ffn + 4 * dimensions.hidden;
    let element = if checkpoint == Checkpoint::Fp32 { 4 } else { 2 };
    let linears = model
        .tensors
        .iter()
        .filter(|tensor| tensor.kind == Kind::Linear);
    let unpacked = match checkpoint.is_bitsandbytes() {
        true => linears.map(Tensor::elements).max().unwrap_or(0) * 2,
        false => 0,
    };
    Bytes(tokens.saturating_mul(width).saturating_mul(element)) + Bytes(unpacked)
}

#[cfg(test)]
mod tests;
