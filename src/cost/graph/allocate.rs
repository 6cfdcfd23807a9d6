//! ggml's graph allocator: what shares memory with what, and how much that takes.
//!
//! Replays `ggml/src/ggml-alloc.c` (llama.cpp 0c1e57098): tensors in the order of execution, the
//! smallest free hole that fits, and operations that overwrite a source that nobody needs any more.

use super::tensor::{Backend, Id, Op, Tape, Tensor};

/// CUDA rounds each tensor to this, and the CPU to the other.
const DEVICE_ALIGNMENT: u64 = 128;
const HOST_ALIGNMENT: u64 = 32;
/// CUDA pads the last row of a quantised tensor to a multiple of so many elements.
const DEVICE_ROW: u64 = 512;

/// A graph in the order of execution, with the backend of each tensor.
#[derive(Clone, Debug, Default)]
pub(super) struct Schedule {
    pub(super) nodes: Vec<(Id, Backend)>,
    pub(super) leaves: Vec<(Id, Backend)>,
}

/// The bytes of each backend's buffer; the host is the last.
pub(super) fn buffers(tape: &Tape, schedule: &Schedule, host: Backend, unpacks: bool) -> Vec<u64> {
    let mut allocator = Allocator {
        tape,
        host,
        unpacks,
        pools: vec![Pool::default(); host.index() + 1],
        uses: vec![Use::default(); tape.len()],
    };
    allocator.run(schedule);
    allocator.pools.iter().map(|pool| pool.most).collect()
}

/// How a tensor is used, and where it lies.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    readers: u32,
    views: u32,
    lies: Option<(Backend, u64)>,
    is_owner: bool,
}

struct Allocator<'a> {
    tape: &'a Tape,
    host: Backend,
    /// Whether flash attention unpacks a cache behind its result.
    unpacks: bool,
    pools: Vec<Pool>,
    uses: Vec<Use>,
}

impl Allocator<'_> {
    fn run(&mut self, schedule: &Schedule) {
        for (leaf, backend) in &schedule.leaves {
            self.place(*leaf, *backend);
        }
        let tape = self.tape;
        for (node, backend) in &schedule.nodes {
            let tensor = tape.get(*node);
            if let Some(viewed) = tensor.viewed.filter(|_| tensor.op != Op::None) {
                self.uses[viewed.index()].views += 1;
            }
            if tensor.is_input {
                self.place(*node, *backend);
            }
            for source in tensor.sources() {
                self.uses[source.index()].readers += 1;
                if self.tape.get(*source).is_input {
                    self.place(*source, *backend);
                }
            }
        }
        for (node, backend) in &schedule.nodes {
            let tensor = tape.get(*node);
            for source in tensor.sources() {
                self.place(*source, *backend);
            }
            self.place(*node, *backend);
            for source in tensor.sources() {
                self.finish(*source);
            }
        }
    }

    /// One reader less; the last one frees.
    fn finish(&mut self, id: Id) {
        let used = &mut self.uses[id.index()];
        used.readers -= 1;
        if used.readers > 0 || used.views > 0 {
            return;
        }
        match self.tape.get(id).viewed {
            Some(viewed) => {
                let whole = &mut self.uses[viewed.index()];
                whole.views -= 1;
                if whole.views == 0 && whole.readers == 0 && whole.is_owner {
                    self.free(viewed);
                }
            }
            None if used.is_owner => self.free(id),
            None => {}
        }
    }

    fn place(&mut self, id: Id, backend: Backend) {
        let tape = self.tape;
        let tensor = tape.get(id);
        let is_placed = tensor.held.is_some() || self.uses[id.index()].is_owner;
        if is_placed || tensor.viewed.is_some() {
            return;
        }
        self.uses[id.index()].is_owner = true;
        if matches!(tensor.op, Op::InPlace | Op::Rope) {
            let mut sources = tensor.sources().iter();
            if let Some(source) = sources.find(|source| self.may_overwrite(tensor, **source)) {
                let overwritten = &mut self.uses[source.index()];
                overwritten.is_owner = false;
                let lies = overwritten.lies;
                self.uses[id.index()].lies = lies;
                return;
            }
        }
        let size = self.size(tensor, backend);
        let address = self.pools[backend.index()].take(size);
        self.uses[id.index()].lies = Some((backend, address));
    }

    fn may_overwrite(&self, tensor: &Tensor, id: Id) -> bool {
        let (source, used) = (self.tape.get(id), &self.uses[id.index()]);
        let viewed_is_output = source
            .viewed
            .is_some_and(|viewed| self.tape.get(viewed).is_output);
        source.held.is_none()
            && used.is_owner
            && !source.is_output
            && !viewed_is_output
            && (source.format, source.extents, source.strides)
                == (tensor.format, tensor.extents, tensor.strides)
            && (used.readers, used.views) == (1, 0)
    }

    fn free(&mut self, id: Id) {
        let tape = self.tape;
        let tensor = tape.get(id);
        let used = &mut self.uses[id.index()];
        if tensor.is_output {
            return;
        }
        used.is_owner = false;
        if let Some((backend, address)) = used.lies {
            let size = self.size(tensor, backend);
            self.pools[backend.index()].give(address, size);
        }
    }

    /// What a backend allocates for a tensor.
    fn size(&self, tensor: &Tensor, backend: Backend) -> u64 {
        let bytes = tensor.bytes();
        if backend == self.host {
            return bytes.next_multiple_of(HOST_ALIGNMENT);
        }
        let missing = tensor.extents[0].next_multiple_of(DEVICE_ROW) - tensor.extents[0];
        let padding = match tensor.format.is_quantised() {
            true => tensor.format.row_bytes(missing).0,
            false => 0,
        };
        let mut bytes = bytes + padding;
        if self.unpacks && tensor.op == Op::FlashAttention {
            // `ggml_cuda_flash_attn_ext_get_alloc_size`: keys and values in 16 bits behind the result.
            for cache in &tensor.sources()[1..3] {
                let cache = self.tape.get(*cache);
                if cache.format != crate::model::format::Format::F16 {
                    bytes = bytes.next_multiple_of(DEVICE_ALIGNMENT) + 2 * cache.elements();
                }
            }
        }
        bytes.next_multiple_of(DEVICE_ALIGNMENT)
    }
}

/// The memory of one backend: free runs `(address, size)` in order, the last without an end.
#[derive(Clone, Debug)]
struct Pool {
    free: Vec<(u64, u64)>,
    most: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            free: vec![(0, 1 << 60)],
            most: 0,
        }
    }
}

impl Pool {
    /// The smallest hole that fits, the last of equals; else from the end.
    fn take(&mut self, size: u64) -> u64 {
        let (end, holes) = (self.free.len() - 1, &self.free[..self.free.len() - 1]);
        let fitting = holes.iter().enumerate().filter(|(_, hole)| hole.1 >= size);
        let best = fitting.rev().min_by_key(|(_, hole)| hole.1);
        let index = best.map_or(end, |(index, _)| index);
        let (address, room) = self.free[index];
        if room == size {
            self.free.remove(index);
        } else {
            self.free[index] = (address + size, room - size);
        }
        self.most = self.most.max(address + size);
        address
    }

    fn give(&mut self, address: u64, size: u64) {
        let index = self.free.partition_point(|run| run.0 < address);
        self.free.insert(index, (address, size));
        // With the run behind it, then with the one in front.
        for index in [index + 1, index] {
            if index == 0 || index >= self.free.len() {
                continue;
            }
            let (before, after) = (self.free[index - 1], self.free[index]);
            if before.0 + before.1 == after.0 {
                self.free[index - 1].1 += after.1;
                self.free.remove(index);
            }
        }
    }
}
