//! llama.cpp's compute buffers of any stage, each asked of the replay once.
//!
//! It depends on which kinds of blocks a device has, whether the last block and the head are there,
//! what runs before, and what streams in. So `cost/graph` replays the smallest chain with all of these
//! and no more blocks of a kind than change the answer, and the answer is kept.

mod alike;
mod chain;
mod kinds;
mod parts;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::cost::graph::{self, Batch, BlockPlace, BlockShape, GraphShape, Placement};
use crate::cost::{Layout, Matrices, Place, Position, memory};
use crate::hardware::DeviceId;
use crate::model::format::Format;
use crate::units::Bytes;
use crate::workload::Workload;
use chain::{Asked, Chain, Flow};
use kinds::Kinds;
use parts::{largest_parts, of_graph};

/// Fewer tokens than this are computed where their weights are (`GGML_OP_OFFLOAD_MIN_BATCH`).
const STREAMED_BATCH: u64 = 32;

/// The buffers of one model under one workload.
#[derive(Clone, Debug)]
pub struct Compute {
    shape: GraphShape,
    batch: Batch,
    /// Blocks that differ in shape, whatever their formats, and those that differ in either.
    kinds: Kinds,
    stored: Kinds,
    /// The largest formats in which parts are stored that may be in RAM.
    parts: graph::Formats,
    known: RefCell<BTreeMap<Chain, Vec<DeviceBuffer>>>,
    /// The same by stage, since every device asks for it: of stages that are alike, once.
    by_stage: RefCell<BTreeMap<(Layout, Position, usize), ByLength>>,
    /// The host's, by how many blocks it computes.
    by_host: RefCell<BTreeMap<(Layout, usize), Bytes>>,
}

/// What a stage takes for its graph.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceBuffer {
    /// The buffer.
    pub compute: Bytes,
    /// What CUDA's flash attention adds to it: room for a cache that it unpacks.
    ///
    /// Source: `ggml_cuda_flash_attn_ext_get_alloc_size` (0c1e57098), read and not measured.
    pub unpacked: Bytes,
}

/// The buffers of stages from one unit on, by their length and end, as far as they were asked for.
type ByLength = Vec<Option<DeviceBuffer>>;

impl DeviceBuffer {
    /// Room for either.
    fn or(self, other: Self) -> Self {
        let compute = self.compute.max(other.compute);
        let on_cuda = (self.compute + self.unpacked).max(other.compute + other.unpacked);
        Self {
            compute,
            unpacked: on_cuda.saturating_sub(compute),
        }
    }
}

impl Compute {
    /// The buffers of `shape` under `workload`, with logits for every token of a micro-batch (as
    /// llama-cli and llama-bench ask; a server asks for fewer), and with flash attention.
    pub fn new(shape: GraphShape, workload: &Workload) -> Self {
        let mut blind = shape.blocks.clone();
        for block in &mut blind {
            block.formats = graph::Formats::all(Format::F16);
        }
        Self {
            kinds: Kinds::new(&blind),
            stored: Kinds::new(&shape.blocks),
            parts: largest_parts(&shape.blocks),
            batch: batch(workload),
            known: RefCell::default(),
            by_stage: RefCell::default(),
            by_host: RefCell::default(),
            shape,
        }
    }

    /// The same for a context that gives one row of logits a sequence.
    pub fn with_one_output_a_sequence(mut self) -> Self {
        self.batch.outputs = self.batch.outputs.min(self.batch.sequences);
        self.known = RefCell::default();
        self.by_stage = RefCell::default();
        self.by_host = RefCell::default();
        self
    }

    /// What a device takes that computes `units`: blocks, and the head behind the last of them.
    pub fn device(&self, layout: Layout, position: Position, units: &Range<usize>) -> DeviceBuffer {
        let layout = self.like(layout, position, units);
        let (start, length) = self.like_units(layout, position, units);
        let mut known = self.by_stage.borrow_mut();
        let by_length = known.entry((layout, position, start)).or_default();
        if by_length.len() <= length {
            by_length.resize(length + 1, None);
        }
        *by_length[length].get_or_insert_with(|| self.sized(layout, position, units))
    }

    fn sized(&self, layout: Layout, position: Position, units: &Range<usize>) -> DeviceBuffer {
        let own = self.answer(self.chain_of(layout, position, units));
        match self.streamed_to(layout, position, units) {
            Some(streamed) => own.or(self.answer(streamed)),
            None => own,
        }
    }

    /// What the host takes besides `on_host` blocks that it computes, the first of the chain:
    /// inputs, and the graph of these blocks.
    pub fn host(&self, layout: Layout, on_host: usize) -> Bytes {
        let mut known = self.by_host.borrow_mut();
        let buffer = known.entry((layout, on_host));
        *buffer.or_insert_with(|| self.sized_on_host(layout, on_host))
    }

    fn sized_on_host(&self, layout: Layout, on_host: usize) -> Bytes {
        let n_blocks = self.shape.blocks.len();
        let rest = |from: usize| self.sample(layout, from.min(n_blocks)..n_blocks);
        let devices = match layout {
            Layout::OneDevice => vec![rest(0)],
            Layout::Pipelined | Layout::Sequential | Layout::Served(_) => {
                vec![rest(0), Vec::new()]
            }
            Layout::Offloaded(_) => vec![rest(on_host)],
            Layout::HostOnly(_) => Vec::new(),
        };
        let host = self.kinds.sample(0..on_host.min(n_blocks));
        let host = host.into_iter().map(|kind| self.stored_like(kind));
        let index = devices.len();
        let chain = Chain {
            flow: self.flow(layout),
            host: host.collect(),
            devices,
        };
        self.answer(Asked { chain, index }).compute
    }

    /// Logits on the host, for every token of a micro-batch: the most that any tool asks for.
    pub fn output_buffer(&self) -> Bytes {
        Bytes(4 * self.batch.outputs * self.shape.vocab)
    }

    /// The residual stream of a micro-batch. A stage that stands for others is off by at most one of
    /// these where the holes between tensors fall otherwise (tests below).
    pub fn residual_stream(&self) -> Bytes {
        Bytes(4 * self.batch.tokens * self.shape.hidden)
    }

    /// A kind with formats for one without.
    fn stored_like(&self, kind: usize) -> usize {
        self.stored.of[self.kinds.first(kind)]
    }

    /// A block of a device, a part of it in RAM.
    fn without(
        &self,
        matrices: Matrices,
        block: BlockShape,
        at: BlockPlace,
    ) -> (BlockShape, BlockPlace) {
        let moved = of_graph(matrices).iter();
        let formats = moved.fold(block.formats, |formats, matrix| {
            formats.with(*matrix, self.parts.of(*matrix))
        });
        let place = match matrices {
            Matrices::Experts => BlockPlace {
                experts: Place::Host,
                ..at
            },
            Matrices::FeedForward => BlockPlace {
                dense: Place::Host,
                ..at
            },
        };
        (BlockShape { formats, ..block }, place)
    }

    fn answer(&self, asked: Asked) -> DeviceBuffer {
        let Asked { chain, index } = asked;
        let mut known = self.known.borrow_mut();
        let buffers = match known.get(&chain) {
            Some(buffers) => buffers,
            None => {
                let buffers = self.replay(&chain);
                known.entry(chain).or_insert(buffers)
            }
        };
        buffers[index]
    }

    fn replay(&self, chain: &Chain) -> Vec<DeviceBuffer> {
        let block = |kinds: &Kinds, kind: usize| self.shape.blocks[kinds.first(kind)];
        let mut blocks: Vec<BlockShape> = Vec::new();
        let mut places = Vec::new();
        for kind in &chain.host {
            blocks.push(block(&self.stored, *kind));
            places.push(BlockPlace::whole(Place::Host));
        }
        for (index, members) in chain.devices.iter().enumerate() {
            let whole = BlockPlace::whole(Place::Device(DeviceId(index)));
            for member in members {
                let shape = block(&self.kinds, member.kind);
                let (shape, place) = match member.in_ram {
                    None => (shape, whole),
                    Some(matrices) => self.without(matrices, shape, whole),
                };
                blocks.push(shape);
                places.push(place);
            }
        }
        let shape = GraphShape {
            blocks,
            ..self.shape.clone()
        };
        let n_devices = chain.devices.len();
        let placement = Placement {
            n_devices,
            blocks: places,
            head: match n_devices {
                0 => Place::Host,
                _ => Place::Device(DeviceId(n_devices - 1)),
            },
            pipelined: chain.flow == Flow::Pipelined,
            pins_norms: chain.flow != Flow::Free,
            streams: true,
        };
        let plain = graph::buffers(&shape, &self.batch, &placement);
        let on_cuda = match (self.batch.keys, self.batch.values) {
            (Format::F16, Format::F16) => plain.clone(),
            _ => {
                let batch = Batch {
                    unpacks: true,
                    ..self.batch
                };
                graph::buffers(&shape, &batch, &placement)
            }
        };
        let both = plain.into_iter().zip(on_cuda);
        both.map(|(compute, on_cuda)| DeviceBuffer {
            compute,
            unpacked: on_cuda.saturating_sub(compute),
        })
        .collect()
    }
}

/// What llama.cpp computes at once under a workload.
pub fn batch(workload: &Workload) -> Batch {
    let sequences = u64::from(workload.sequences);
    let cells = memory::llama_cpp_cells(workload).0;
    let tokens = workload.ubatch.0.min(cells).next_multiple_of(sequences);
    let format = memory::format(workload.kv_format);
    Batch {
        tokens,
        ubatch: workload.ubatch.0,
        outputs: tokens,
        sequences,
        streams: sequences,
        cells: cells / sequences,
        keys: format,
        values: format,
        flash: true,
        unpacks: false,
    }
}

#[cfg(test)]
mod tests;
