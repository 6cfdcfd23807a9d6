//! Accounting of llama.cpp: slots of blocks and a head, a CPU that computes a prefix of them.
//!
//! Facts from llama.cpp 0c1e57098 (`src/llama-model.cpp`, `src/llama-kv-cache.cpp`,
//! `ggml/src/ggml-cuda`), held against its own allocations: weights and cache to the byte.

mod ahead;
mod disk;
mod draft;
pub mod mix;
mod outlook;
mod remote;
mod stage;
mod stored;

use std::cell::OnceCell;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use crate::cost::compute::Compute;
use crate::cost::extras;
use crate::cost::parts::{self, PartSums};
use crate::cost::prefill::Work;
use crate::cost::{
    Accounting, Crossing, Layout, Matrices, Memory, Offload, OnDisk, Outlook, Parts, Place,
    Position, Prefix, Span, Stage, Store, Unit, memory, time,
};
use crate::hardware::{DeviceId, HostId, Rig};
use crate::model::format::Format;
use crate::model::{Kind, Model, Part, Precision, PrecisionError, Tensor};
use crate::units::Bytes;
use crate::workload::Workload;

use outlook::Paces;
use remote::Remote;
pub use stored::allocated;
use stored::{Held, Stored, by_unit, held};

pub use ahead::Ahead;

/// What a CUDA device loses to its context, cuBLAS and kernels. From a rule that gets 222 of 225
/// published marks of fit or out-of-memory right (llama.cpp, 2023 to 2025); the rule's other margins
/// are not those of this file.
const CUDA_CONTEXT: Bytes = Bytes::mib(450);
/// Kept besides a compute buffer, with one residual stream. The buffer is replayed to the byte for
/// the version that was read; this share is for what other versions change, and for the chains that
/// stand for many. A guess.
const COMPUTE_MARGIN: f64 = 0.02;
/// `-ts` takes at most so many shares (`common/arg.cpp` refuses 16).
pub const MOST_DEVICES: usize = 15;

/// The price list of one model, precision, rig and workload.
#[derive(Clone, Debug)]
pub struct LlamaCpp<'a> {
    rig: &'a Rig,
    units: Vec<Unit>,
    work: Work,
    compute: Rc<Compute>,
    /// What each unit adds, summed up to it.
    sums: Vec<Sums>,
    /// What of it may be in RAM without its block.
    experts: PartSums,
    feed_forward: PartSums,
    /// Copied to every device that has blocks.
    everywhere: Bytes,
    /// The input embedding, which stays on the CPU.
    input: Bytes,
    /// What adapters add to any graph.
    adapted: Bytes,
    has_adapters: bool,
    /// The last block, and what its context takes for its graph, where it runs ahead of the others.
    ahead: Option<(usize, Ahead)>,
    /// A projector and a draft model, beside a chain on GPUs and beside one in RAM.
    beside: extras::Extra,
    /// What passes to other hosts.
    remote: Remote,
    /// What outlooks of all layouts begin with, once one is asked for.
    paces: OnceCell<Paces>,
}

/// Totals of the units before one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    on_device: Bytes,
    on_host: Bytes,
    read: Bytes,
    kv_device: Bytes,
    kv_host: Bytes,
    kv_read: Bytes,
    n_blocks: u64,
}

impl<'a> LlamaCpp<'a> {
    /// Prices `model` at `precision`.
    ///
    /// # Errors
    /// Where llama.cpp cannot load that precision.
    pub fn new(
        model: &Model,
        precision: Precision,
        rig: &'a Rig,
        workload: &Workload,
    ) -> Result<Self, PrecisionError> {
        let formats = precision.for_llama_cpp()?.formats(model)?;
        Self::of_formats(model, formats, rig, workload)
    }

    /// Prices `model` with a format for each of its tensors.
    ///
    /// # Errors
    /// Where a draft model beside it cannot be loaded.
    pub fn of_formats(
        model: &Model,
        formats: Vec<Option<Format>>,
        rig: &'a Rig,
        workload: &Workload,
    ) -> Result<Self, PrecisionError> {
        let tensors: Vec<_> = model
            .tensors
            .iter()
            .zip(formats)
            .filter_map(|(tensor, format)| {
                Some(Stored {
                    tensor,
                    format: format?,
                })
            })
            .collect();
        let dimensions = &model.dimensions;
        let units: Vec<_> = (0..dimensions.n_layers)
            .map(Unit::Block)
            .chain([Unit::Head])
            .collect();
        let has_head = tensors
            .iter()
            .any(|stored| stored.tensor.part == Part::Head);
        let mut sums = vec![Sums::default()];
        let mut so_far = Sums::default();
        let by_unit = by_unit(&tensors, units.len());
        for (unit, tensors) in units.iter().zip(by_unit) {
            let read_before = so_far.read;
            for stored in tensors {
                let size = stored.bytes();
                match held(stored.tensor, *unit, has_head) {
                    Held::No => continue,
                    // A tied head is a second copy on a GPU and none on the CPU.
                    Held::Copy => so_far.on_device += stored.cuda(),
                    Held::Own => {
                        so_far.on_device += stored.cuda();
                        so_far.on_host += stored.cpu();
                    }
                }
                so_far.read += model.read_for_a_token(stored.tensor, size);
            }
            // Of a copied embedding llama.cpp adapts the one that stays on the CPU.
            for tensor in model.extras.adapter_tensors() {
                if let Held::Own = held(tensor, *unit, true) {
                    so_far.on_device += extras::adapter_tensor(tensor, memory::CUDA);
                    so_far.on_host += extras::adapter_tensor(tensor, memory::CPU);
                    let size = tensor.stored.map(|format| tensor.bytes(format));
                    so_far.read += model.read_for_a_token(tensor, size.unwrap_or_default());
                }
            }
            if let Unit::Block(block) = unit {
                let block = &model.blocks[*block as usize];
                so_far.kv_device += memory::llama_cpp_cache(block, workload, memory::CUDA);
                so_far.kv_host += memory::llama_cpp_cache(block, workload, memory::CPU);
                so_far.kv_read += memory::llama_cpp_cache_read(block, workload);
                so_far.n_blocks += u64::from(so_far.read > read_before);
            }
            sums.push(so_far);
        }
        let formats: Vec<_> = tensors
            .iter()
            .map(|stored| (stored.tensor, stored.format))
            .collect();
        let part = |part| {
            tensors
                .iter()
                .filter(move |stored| stored.tensor.part == part)
        };
        let is_input =
            |tensor: &Tensor| tensor.part == Part::Embedding && tensor.kind == Kind::Embedding;
        let input = tensors.iter().filter(|stored| is_input(stored.tensor));
        let adapters = model.extras.adapter_tensors();
        let adapters = adapters.filter(|tensor| is_input(tensor));
        let adapters = adapters.map(|tensor| extras::adapter_tensor(tensor, memory::CPU));
        let mut beside = extras::Extra::default();
        for extra in extras::beside(&model.extras, rig, workload)?
            .into_iter()
            .flatten()
        {
            beside += extra;
        }
        let (shape, ahead) = ahead::shapes(model, &formats);
        let ahead = ahead.map(|(last, shape)| {
            let compute = Compute::new(shape, workload);
            (last, Ahead::new(&compute, last))
        });
        let apart = tensors.iter().map(|stored| {
            let sums = parts::Sums {
                on_device: stored.cuda(),
                on_host: stored.cpu(),
                read: model.read_for_a_token(stored.tensor, stored.bytes()),
                n_blocks: 0,
            };
            (stored.tensor, sums)
        });
        Ok(Self {
            rig,
            experts: PartSums::new(Matrices::Experts, &units, apart.clone()),
            feed_forward: PartSums::new(Matrices::FeedForward, &units, apart),
            has_adapters: !model.extras.adapters.is_empty(),
            work: Work::new(model, &units, workload.ubatch),
            units,
            compute: Rc::new(Compute::new(shape, workload)),
            ahead,
            sums,
            everywhere: part(Part::Everywhere).map(Stored::cuda).sum(),
            input: input.map(Stored::cpu).chain(adapters).sum(),
            adapted: extras::adapter_buffer(model, workload),
            beside,
            remote: Remote::new(model, workload),
            paces: OnceCell::new(),
        })
    }

    fn between(&self, units: &Range<usize>) -> Sums {
        let (from, to) = (&self.sums[units.start], &self.sums[units.end]);
        // The sums never fall, so no subtraction is short.
        Sums {
            on_device: to.on_device.saturating_sub(from.on_device),
            on_host: to.on_host.saturating_sub(from.on_host),
            read: to.read.saturating_sub(from.read),
            kv_device: to.kv_device.saturating_sub(from.kv_device),
            kv_host: to.kv_host.saturating_sub(from.kv_host),
            kv_read: to.kv_read.saturating_sub(from.kv_read),
            n_blocks: to.n_blocks - from.n_blocks,
        }
    }
}

impl Accounting for LlamaCpp<'_> {
    fn rig(&self) -> &Rig {
        self.rig
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn ranks(&self) -> Vec<Vec<Layout>> {
        let (n_devices, host) = (self.rig.devices().len(), self.rig.host());
        let may_offload = host.is_some() && n_devices > 0;
        let may_read_disk = host.is_some_and(|host| host.disk.is_some());
        let layouts = |of: fn(Parts) -> Layout| self.parts().map(of);
        let whole = [Layout::OFFLOADED];
        let in_ram = layouts(Layout::parts_alone).chain(whole);
        let in_ram = in_ram.chain(layouts(Layout::whole_and));
        let on_disk = layouts(Layout::parts_alone).chain(whole);
        let on_disk = on_disk.map(|layout| layout.held_by(Store::Disk));
        // Where the pipeline's copies do not fit, llama.cpp loads without them.
        let ranks = [
            vec![
                (Layout::OneDevice, n_devices > 0),
                (Layout::Pipelined, n_devices > 1),
                (Layout::Sequential, n_devices > 1),
            ],
            in_ram.map(|layout| (layout, may_offload)).collect(),
            vec![(Layout::HOST_ONLY, host.is_some())],
            on_disk
                .map(|layout| (layout, may_offload && may_read_disk))
                .collect(),
            vec![(Layout::HostOnly(Store::Disk), may_read_disk)],
        ];
        super::allowed(ranks)
    }

    fn most_devices(&self, _layout: Layout) -> usize {
        MOST_DEVICES
    }

    fn stage(&self, layout: Layout, span: &Span) -> Stage {
        self.priced(layout, span, &self.between(&span.units))
    }

    fn outlook(&self, layout: Layout) -> Outlook {
        self.best_of(layout)
    }

    fn prefixes(&self, layout: Layout) -> Vec<Prefix> {
        self.best_by_prefix(layout)
    }

    fn stage_ends(
        &self,
        layout: Layout,
        position: Position,
        ends: &Range<usize>,
        devices: &[DeviceId],
    ) -> Vec<Vec<RangeInclusive<usize>>> {
        match layout {
            Layout::Offloaded(_) => self.stages_of(layout, position, ends, devices),
            Layout::OneDevice
            | Layout::Pipelined
            | Layout::Sequential
            | Layout::HostOnly(_)
            | Layout::Served(_) => Vec::new(),
        }
    }

    fn on_disk(&self, layout: Layout, stages: &[Span]) -> OnDisk {
        self.left_on_disk(layout, stages)
    }

    fn host_base(&self, layout: Layout) -> Memory {
        self.on_host_in_any_plan(layout)
    }

    fn crossing(&self, from: HostId, to: HostId) -> Crossing {
        self.remote.crossing(self.rig, from, to)
    }

    fn offload(&self) -> Offload {
        Offload::Computes
    }

    fn uncertainty(&self, layout: Layout, span: &Span) -> f64 {
        match span.place {
            Place::Host => time::HOST_UNCERTAINTY,
            Place::Device(_) if self.in_ram(layout, &span.units).n_blocks > 0 => {
                time::HOST_UNCERTAINTY
            }
            Place::Device(device) => {
                let device = self.rig.device(device);
                let law = time::llama_cpp(device.class).uncertainty;
                match device.host {
                    HostId::FIRST => law,
                    HostId(_) => law.max(time::NETWORK_UNCERTAINTY),
                }
            }
        }
    }
}
