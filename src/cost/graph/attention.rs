//! Attention: projections into heads, writes to the cache, and the look at it.

use crate::model::format::Format;

use super::build::{Builder, CacheInput};
use super::formats::Matrix;
use super::shape::{AttentionShape, HeadNorms, Norm, Rotation};
use super::tensor::{Id, Op};

/// Side of the smaller of the matrices that turn a quantised cache.
const TURN: u64 = 64;

/// Heads of one kind: how many, and how wide.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub(super) n: u64,
    pub(super) dim: u64,
}

/// What is looked at, and from where.
pub(super) struct Look {
    pub(super) queries: Id,
    pub(super) keys: Id,
    pub(super) values: Id,
    /// Beside the cache: the largest score of nothing.
    pub(super) sinks: Option<Id>,
    /// From compressed values to heads.
    pub(super) unfold: Option<Id>,
    pub(super) capped: bool,
}

impl Builder<'_> {
    pub(super) fn attention(&mut self, shape: &AttentionShape, input: Id) -> Id {
        let tokens = self.batch.tokens;
        let (queries, gate, keys, values) = self.project_heads(shape, input);
        let mut queries = self.norm_and_rotate(shape, queries);
        let keys = self.norm_and_rotate(shape, keys);
        if shape.scales_queries {
            queries = self.tape.like(Op::InPlace, &[queries]);
        }
        let cells = self.cells(shape.window);
        let kv = [
            shape.kv_heads * shape.key_dim,
            shape.kv_heads * shape.value_dim,
        ];
        let cache = self.cache_input(shape.window, cells, kv[1], [shape.key_dim, shape.value_dim]);
        let turned = |builder: &mut Self, id: Id, turn: Option<Id>| match turn {
            Some(turn) => builder.turn(id, turn),
            None => id,
        };
        queries = turned(self, queries, cache.keys_turn);
        let keys = turned(self, keys, cache.keys_turn);
        let values = turned(self, values, cache.values_turn);
        // Models with windows write down keys before values.
        let order = match self.has_windows() {
            true => [queries, keys, values],
            false => [queries, values, keys],
        };
        for id in order {
            self.tape.expand(id);
        }
        let dims = Heads {
            n: shape.kv_heads,
            dim: shape.key_dim,
        };
        let stored_keys = self.store_keys(keys, dims, &cache);
        let dims = Heads {
            n: shape.kv_heads,
            dim: shape.value_dim,
        };
        let stored_values = self.store_values(values, dims, &cache);
        let sinks = shape
            .sinks
            .then(|| self.weight(Format::F32, [shape.heads, 1, 1, 1]));
        let look = Look {
            queries,
            keys: stored_keys,
            values: stored_values,
            sinks,
            unfold: None,
            capped: shape.capped,
        };
        let seen = self.look(look, &cache);
        let mut seen = turned(self, seen, cache.values_turn);
        if let Some(gate) = gate {
            let extents = [shape.heads * shape.key_dim, tokens, 1, 1];
            let gate = self.tape.packed_copy(gate, extents);
            let gate = self.tape.like(Op::InPlace, &[gate]);
            seen = self.tape.like(Op::InPlace, &[seen, gate]);
        }
        self.project(
            Matrix::AttentionOutput,
            self.shape.hidden,
            shape.output_biased,
            seen,
        )
    }

    /// Queries, their gate, keys and values: `[dim, heads, tokens]`.
    fn project_heads(&mut self, shape: &AttentionShape, input: Id) -> (Id, Option<Id>, Id, Id) {
        let (dims, tokens) = ([shape.key_dim, shape.value_dim], self.batch.tokens);
        let widths = [
            shape.heads * dims[0],
            shape.kv_heads * dims[0],
            shape.kv_heads * dims[1],
        ];
        if shape.fused {
            let all = self.project(Matrix::Fused, widths.iter().sum(), shape.biased, input);
            let queries = self.tape.heads(all, dims[0], shape.heads);
            let keys = self.tape.heads(all, dims[0], shape.kv_heads);
            let values = self.tape.heads(all, dims[1], shape.kv_heads);
            return (queries, None, keys, values);
        }
        let fold = if shape.gated { 2 } else { 1 };
        let mut queries = self.project(Matrix::Query, fold * widths[0], shape.biased, input);
        let mut keys = self.project(Matrix::Key, widths[1], shape.biased, input);
        let values = self.project(Matrix::Value, widths[2], shape.biased, input);
        if shape.head_norms == HeadNorms::Together {
            queries = self.pinned_norm(queries, Norm::Rms);
            keys = self.pinned_norm(keys, Norm::Rms);
        }
        let keys = self
            .tape
            .reshape(keys, [dims[0], shape.kv_heads, tokens, 1]);
        let values = self
            .tape
            .reshape(values, [dims[1], shape.kv_heads, tokens, 1]);
        let queries = self
            .tape
            .reshape(queries, [fold * dims[0], shape.heads, tokens, 1]);
        if !shape.gated {
            return (queries, None, keys, values);
        }
        let strides = self.tape.get(queries).strides;
        let half = [dims[0], shape.heads, tokens, 1];
        let gate = self.tape.view(queries, half, strides);
        let queries = self.tape.view(queries, half, strides);
        (queries, Some(gate), keys, values)
    }

    fn norm_and_rotate(&mut self, shape: &AttentionShape, heads: Id) -> Id {
        let mut heads = heads;
        if shape.head_norms == HeadNorms::Each {
            heads = self.pinned_norm(heads, Norm::Rms);
        }
        match shape.rotation {
            Rotation::None => heads,
            Rotation::Plain => self.rotate(heads),
            Rotation::Factors => {
                let positions = self.positions();
                let factors = [shape.key_dim / 2, 1, 1, 1];
                let factors = self.weight(Format::F32, factors);
                self.tape.like(Op::Rope, &[heads, positions, factors])
            }
        }
    }

    pub(super) fn rotate(&mut self, heads: Id) -> Id {
        let positions = self.positions();
        self.tape.like(Op::Rope, &[heads, positions])
    }

    fn has_windows(&self) -> bool {
        let mut blocks = self.shape.blocks.iter();
        blocks.any(|block| block.window().is_some())
    }

    /// Cells of one stream.
    fn cells(&self, window: Option<u64>) -> u64 {
        let batch = self.batch;
        window.map_or(batch.cells, |window| batch.window_cells(window))
    }

    /// The inputs that all layers of one kind of cache share.
    pub(super) fn cache_input(
        &mut self,
        window: Option<u64>,
        cells: u64,
        value_width: u64,
        dims: [u64; 2],
    ) -> CacheInput {
        if let Some((_, known)) = self.caches.iter().find(|(of, _)| *of == window) {
            return *known;
        }
        let batch = *self.batch;
        let (tokens, streams) = (batch.tokens, batch.streams);
        let turns = |format: Format, dim: u64| format.is_quantised() && dim.is_multiple_of(TURN);
        let side = TURN << (dims[0] / TURN).max(1).trailing_zeros();
        let (into, mask) = match batch.flash {
            true => (tokens, Format::F16),
            false => (tokens * value_width, Format::F32),
        };
        let input = CacheInput {
            cells,
            keys_into: self.input(Format::I64, [tokens, 1, 1, 1]),
            values_into: self.input(Format::I64, [into, 1, 1, 1]),
            mask: self.input(mask, [cells, tokens / streams, 1, streams]),
            keys_turn: turns(batch.keys, dims[0])
                .then(|| self.input(Format::F32, [side, side, 1, 1])),
            values_turn: turns(batch.values, dims[1])
                .then(|| self.input(Format::F32, [TURN, TURN, 1, 1])),
        };
        self.caches.push((window, input));
        input
    }

    /// Heads of a quantised cache are turned, so that no element stands out.
    fn turn(&mut self, heads: Id, turn: Id) -> Id {
        let (tensor, side) = (*self.tape.get(heads), self.tape.get(turn).extents[0]);
        let extents = [side, tensor.elements() / side, 1, 1];
        let flat = match tensor.is_packed() {
            true => self.tape.reshape(heads, extents),
            false => self.tape.packed_copy(heads, extents),
        };
        let turned = self.tape.mat_mul(turn, flat);
        self.tape.reshape(turned, tensor.extents)
    }

    /// A row of heads for each token.
    fn rows(&mut self, heads: Id, width: u64) -> Id {
        let (tokens, stride) = (self.batch.tokens, self.tape.get(heads).strides[2]);
        let plane = stride * tokens;
        self.tape
            .view(heads, [width, tokens, 1, 1], [4, stride, plane, plane])
    }

    pub(super) fn store_keys(&mut self, keys: Id, heads: Heads, cache: &CacheInput) -> Id {
        let format = self.batch.keys;
        self.store(keys, heads, format, cache, cache.keys_into)
    }

    /// Writes rows to a cache and shows it: `[dim, heads, cells, streams]`.
    fn store(
        &mut self,
        rows: Id,
        heads: Heads,
        format: Format,
        cache: &CacheInput,
        into: Id,
    ) -> Id {
        let (cells, streams) = (cache.cells, self.batch.streams);
        let width = heads.n * heads.dim;
        let held = self.cache(format, [width, cells, streams, 1]);
        let rows = self.rows(rows, width);
        let target = match streams {
            1 => held,
            _ => self.tape.reshape(held, [width, cells * streams, 1, 1]),
        };
        let written = self.tape.write(target, &[rows, into, target]);
        self.tape.expand(written);
        let bytes = |elements: u64| format.row_bytes(elements).0;
        let strides = [
            bytes(1),
            bytes(heads.dim),
            bytes(width),
            bytes(width * cells),
        ];
        self.tape
            .view(held, [heads.dim, heads.n, cells, streams], strides)
    }

    fn store_values(&mut self, values: Id, heads: Heads, cache: &CacheInput) -> Id {
        let (format, streams) = (self.batch.values, self.batch.streams);
        if self.batch.flash {
            return self.store(values, heads, format, cache, cache.values_into);
        }
        // Without flash attention the cache is transposed, and each element has an index.
        let (cells, width) = (cache.cells, heads.n * heads.dim);
        let (tokens, row) = (self.batch.tokens, self.tape.get(values).strides[2]);
        let held = self.cache(format, [width, cells, streams, 1]);
        let rows = match row == 4 * width {
            true => self.tape.reshape(values, [width, tokens, 1, 1]),
            false => self.tape.packed_copy(values, [width, tokens, 1, 1]),
        };
        let target = self.tape.reshape(held, [1, width * cells * streams, 1, 1]);
        let elements = self.tape.reshape(rows, [1, width * tokens, 1, 1]);
        let written = self
            .tape
            .write(target, &[elements, cache.values_into, target]);
        self.tape.expand(written);
        let bytes = |elements: u64| format.row_bytes(elements).0;
        let strides = [
            bytes(1),
            bytes(cells * heads.dim),
            bytes(cells),
            bytes(cells * width),
        ];
        self.tape
            .view(held, [cells, heads.n, heads.dim, streams], strides)
    }

    /// Scores, their sum to one, and what they weigh: `[heads · dim, tokens]`.
    pub(super) fn look(&mut self, look: Look, cache: &CacheInput) -> Id {
        let streams = self.batch.streams;
        let queries = *self.tape.get(look.queries);
        let [dim, heads, tokens, _] = queries.extents;
        let each = tokens / streams;
        let mut strides = queries.strides;
        strides[3] = strides[2] * each;
        let by_stream = self
            .tape
            .view(look.queries, [dim, heads, each, streams], strides);
        let queries = self.tape.permute(by_stream, [0, 2, 1, 3]);
        let keys = self.tape.permute(look.keys, [0, 2, 1, 3]);
        let values = self.tape.permute(look.values, [0, 2, 1, 3]);
        let seen = match self.batch.flash {
            true => self.look_at_once(&look, [queries, keys, values], cache.mask),
            false => self.look_in_steps(&look, [queries, keys, values], cache.mask),
        };
        self.tape.expand(seen);
        seen
    }

    fn look_at_once(&mut self, look: &Look, [queries, keys, values]: [Id; 3], mask: Id) -> Id {
        let in_16_bits = |builder: &mut Self, id: Id| match builder.tape.get(id).format {
            Format::F32 => builder.tape.cast(id, Format::F16),
            _ => id,
        };
        let keys = in_16_bits(self, keys);
        let values = in_16_bits(self, values);
        let by = self.tape.get(queries).extents;
        let extents = [self.tape.get(values).extents[0], by[2], by[1], by[3]];
        let mut sources = vec![queries, keys, values, mask];
        sources.extend(look.sinks);
        let mut seen = self.tape.result(Op::FlashAttention, extents, &sources);
        if let Some(unfold) = look.unfold {
            seen = self.tape.permute(seen, [0, 2, 1, 3]);
            seen = self.tape.mat_mul(unfold, seen);
            seen = self.tape.permute(seen, [0, 2, 1, 3]);
            let extents = self.tape.get(seen).extents;
            seen = self.tape.packed_copy(seen, extents);
        }
        let [dim, heads, tokens, streams] = self.tape.get(seen).extents;
        self.tape
            .reshape(seen, [dim * heads, tokens * streams, 1, 1])
    }

    fn look_in_steps(&mut self, look: &Look, [queries, keys, values]: [Id; 3], mask: Id) -> Id {
        let mut scores = self.tape.mat_mul(keys, queries);
        if look.capped {
            for _ in 0..3 {
                scores = self.tape.like(Op::InPlace, &[scores]);
            }
        }
        let mut sources = vec![scores, mask];
        sources.extend(look.sinks);
        let weights = self.tape.like(Op::InPlace, &sources);
        let stored = self.tape.get(look.values).strides;
        let values = if stored[1] > stored[2] {
            values
        } else {
            let turned = self.tape.permute(values, [1, 0, 2, 3]);
            let extents = self.tape.get(turned).extents;
            self.tape.packed_copy(turned, extents)
        };
        let mut seen = self.tape.mat_mul(values, weights);
        if let Some(unfold) = look.unfold {
            seen = self.tape.mat_mul(unfold, seen);
        }
        let seen = self.tape.permute(seen, [0, 2, 1, 3]);
        let [dim, heads, tokens, streams] = self.tape.get(seen).extents;
        self.tape
            .packed_copy(seen, [dim * heads, tokens * streams, 1, 1])
    }
}
