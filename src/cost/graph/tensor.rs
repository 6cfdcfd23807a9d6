//! Tensors without data: extents, strides, sources and views, and the order they are computed in.
//!
//! What ggml's graph knows and its allocator looks at, no more (`ggml/src/ggml.c`, llama.cpp
//! 0c1e57098).

use crate::model::format::Format;

/// A tensor of one [`Tape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(u32);

impl Id {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A device by its place in the order of devices; the host comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Backend(pub(super) u8);

impl Backend {
    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What computes a tensor, as far as scheduling and memory differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Nothing: a weight, a cache or an input.
    None,
    /// Other strides over the same memory.
    View,
    GetRows,
    MatMul,
    MatMulId,
    Rope,
    FlashAttention,
    /// What may overwrite one of its sources.
    InPlace,
    /// Anything else.
    Other,
}

/// The most sources that an operation has.
const MOST_SOURCES: usize = 7;

#[derive(Clone, Copy, Debug)]
pub(super) struct Tensor {
    pub(super) op: Op,
    pub(super) format: Format,
    pub(super) extents: [u64; 4],
    pub(super) strides: [u64; 4],
    /// Whose memory it shows.
    pub(super) viewed: Option<Id>,
    /// Where it lies from the start: weights and caches.
    pub(super) held: Option<Backend>,
    /// Where it has to be computed.
    pub(super) pinned: Option<Backend>,
    pub(super) is_weight: bool,
    pub(super) is_input: bool,
    /// Never freed.
    pub(super) is_output: bool,
    sources: [Id; MOST_SOURCES],
    n_sources: u8,
    is_visited: bool,
}

impl Tensor {
    pub(super) fn new(op: Op, format: Format, extents: [u64; 4]) -> Self {
        Self {
            op,
            format,
            extents,
            strides: packed(format, extents),
            viewed: None,
            held: None,
            pinned: None,
            is_weight: false,
            is_input: false,
            is_output: false,
            sources: [Id(0); MOST_SOURCES],
            n_sources: 0,
            is_visited: false,
        }
    }

    pub(super) fn with_sources(mut self, sources: &[Id]) -> Self {
        self.sources[..sources.len()].copy_from_slice(sources);
        self.n_sources = sources.len() as u8;
        self
    }

    pub(super) fn sources(&self) -> &[Id] {
        &self.sources[..usize::from(self.n_sources)]
    }

    pub(super) fn replace_source(&mut self, index: usize, source: Id) {
        self.sources[index] = source;
    }

    /// From the first byte to the last.
    pub(super) fn bytes(&self) -> u64 {
        if self.elements() == 0 {
            return 0;
        }
        let rest: u64 = (1..4)
            .map(|axis| (self.extents[axis] - 1) * self.strides[axis])
            .sum();
        rest + self.format.row_bytes(self.extents[0]).0
    }

    pub(super) fn elements(&self) -> u64 {
        self.extents.iter().product()
    }

    pub(super) fn is_packed(&self) -> bool {
        let packed = packed(self.format, self.extents);
        (1..4).all(|axis| self.extents[axis] == 1 || self.strides[axis] == packed[axis])
    }
}

fn packed(format: Format, extents: [u64; 4]) -> [u64; 4] {
    let row = format.row_bytes(extents[0]).0;
    let plane = row * extents[1];
    [format.row_bytes(1).0, row, plane, plane * extents[2]]
}

/// Tensors in the order they were made, and the order in which a graph computes them.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    tensors: Vec<Tensor>,
    /// What is computed, sources first.
    pub(super) nodes: Vec<Id>,
    /// What is not, in the order that nodes need it.
    pub(super) leaves: Vec<Id>,
}

impl Tape {
    /// An empty one with room for so many tensors.
    pub(super) fn with_room(n_tensors: usize) -> Self {
        Self {
            tensors: Vec::with_capacity(n_tensors),
            nodes: Vec::with_capacity(n_tensors),
            leaves: Vec::with_capacity(n_tensors),
        }
    }

    pub(super) fn add(&mut self, tensor: Tensor) -> Id {
        self.tensors.push(tensor);
        Id(self.tensors.len() as u32 - 1)
    }

    pub(super) fn get(&self, id: Id) -> &Tensor {
        &self.tensors[id.index()]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Tensor {
        &mut self.tensors[id.index()]
    }

    pub(super) fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Appends a tensor and all that it needs to the graph.
    pub(super) fn expand(&mut self, id: Id) {
        let tensor = self.get_mut(id);
        if tensor.is_visited {
            return;
        }
        tensor.is_visited = true;
        let (op, sources, n_sources) = (tensor.op, tensor.sources, tensor.n_sources);
        for source in &sources[..usize::from(n_sources)] {
            self.expand(*source);
        }
        match op {
            Op::None => self.leaves.push(id),
            _ => self.nodes.push(id),
        }
    }

    /// A result in 32 bits as large as its first source.
    pub(super) fn like(&mut self, op: Op, sources: &[Id]) -> Id {
        let extents = self.get(sources[0]).extents;
        self.result(op, extents, sources)
    }

    /// A result in 32 bits.
    pub(super) fn result(&mut self, op: Op, extents: [u64; 4], sources: &[Id]) -> Id {
        self.add(Tensor::new(op, Format::F32, extents).with_sources(sources))
    }

    pub(super) fn mat_mul(&mut self, matrix: Id, input: Id) -> Id {
        let (rows, by) = (self.get(matrix).extents[1], self.get(input).extents);
        self.result(Op::MatMul, [rows, by[1], by[2], by[3]], &[matrix, input])
    }

    /// A matrix for each of `choice`.
    pub(super) fn mat_mul_id(&mut self, matrices: Id, input: Id, choice: Id) -> Id {
        let (rows, used) = (self.get(matrices).extents[1], self.get(choice).extents[0]);
        let extents = [rows, used, self.get(input).extents[2], 1];
        self.result(Op::MatMulId, extents, &[matrices, input, choice])
    }

    /// Rows of a matrix.
    pub(super) fn get_rows(&mut self, rows: Id, which: Id) -> Id {
        let extents = [self.get(rows).extents[0], self.get(which).extents[0], 1, 1];
        self.result(Op::GetRows, extents, &[rows, which])
    }

    /// A copy without gaps.
    pub(super) fn packed_copy(&mut self, of: Id, extents: [u64; 4]) -> Id {
        let format = self.get(of).format;
        self.add(Tensor::new(Op::Other, format, extents).with_sources(&[of]))
    }

    /// A copy in another format.
    pub(super) fn cast(&mut self, of: Id, format: Format) -> Id {
        let extents = self.get(of).extents;
        self.add(Tensor::new(Op::Other, format, extents).with_sources(&[of]))
    }

    /// Writes `sources` into the memory of `target`.
    pub(super) fn write(&mut self, target: Id, sources: &[Id]) -> Id {
        let into = *self.get(target);
        let mut tensor = Tensor::new(Op::Other, into.format, into.extents).with_sources(sources);
        tensor.strides = into.strides;
        tensor.viewed = Some(into.viewed.unwrap_or(target));
        self.add(tensor)
    }

    pub(super) fn view(&mut self, of: Id, extents: [u64; 4], strides: [u64; 4]) -> Id {
        let whole = *self.get(of);
        let mut tensor = Tensor::new(Op::View, whole.format, extents).with_sources(&[of]);
        tensor.strides = strides;
        tensor.viewed = Some(whole.viewed.unwrap_or(of));
        self.add(tensor)
    }

    /// Heads of a wider row: `[width, heads, tokens]`, where a row is one of `of`.
    pub(super) fn heads(&mut self, of: Id, width: u64, heads: u64) -> Id {
        let whole = *self.get(of);
        let (element, row, tokens) = (whole.strides[0], whole.strides[1], whole.extents[1]);
        let strides = [element, element * width, row, row * tokens];
        self.view(of, [width, heads, tokens, 1], strides)
    }

    pub(super) fn reshape(&mut self, of: Id, extents: [u64; 4]) -> Id {
        let strides = packed(self.get(of).format, extents);
        self.view(of, extents, strides)
    }

    /// Axis `i` of `of` becomes axis `axes[i]`.
    pub(super) fn permute(&mut self, of: Id, axes: [usize; 4]) -> Id {
        let whole = *self.get(of);
        let (mut extents, mut strides) = ([0; 4], [0; 4]);
        for (from, to) in axes.into_iter().enumerate() {
            extents[to] = whole.extents[from];
            strides[to] = whole.strides[from];
        }
        self.view(of, extents, strides)
    }
}
