//! Mixers with a state in place of a cache: Mamba, Mamba-2 and the gated delta rule.
//!
//! Source: `mamba-base.cpp`, `delta-net-base.cpp`, `qwen3next.cpp` and `build_rs` of
//! `llama-graph.cpp` (llama.cpp 0c1e57098), without the rollback that speculation asks for.

use crate::model::format::Format;

use super::build::Builder;
use super::formats::Matrix;
use super::shape::{DeltaNetShape, MambaShape, Norm};
use super::tensor::{Id, Op};

/// Which states a micro-batch goes on from, and which it only keeps.
#[derive(Clone, Copy)]
pub(super) struct States {
    main: Id,
    rest: Id,
}

impl Builder<'_> {
    /// Tokens of one sequence, and sequences.
    fn sequences(&self) -> (u64, u64) {
        let sequences = self.batch.sequences;
        (self.batch.tokens / sequences, sequences)
    }

    fn states(&mut self) -> States {
        if let Some(states) = self.states {
            return states;
        }
        let sequences = self.batch.sequences;
        let input = self.input(Format::I32, [sequences, 1, 1, 1]);
        let part = |builder: &mut Self, n: u64| {
            let strides = [4, 4 * n, 4 * n, 4 * n];
            builder.tape.view(input, [n, 1, 1, 1], strides)
        };
        let states = States {
            main: part(self, sequences),
            rest: part(self, 0),
        };
        self.states = Some(states);
        states
    }

    /// Reads the states of the sequences with `read`, and moves those of others.
    fn with_states(&mut self, held: Id, read: impl FnOnce(&mut Self, Id, Id) -> Id) -> Id {
        let states = self.states();
        let extents = self.tape.get(held).extents;
        let width = extents[0];
        let all = self.tape.reshape(held, extents);
        let first = self.tape.reshape(all, [width, 1, 1, 1]);
        let cleared = self.tape.write(first, &[first]);
        self.tape.expand(cleared);
        let ours = read(self, all, states.main);
        self.tape.expand(ours);
        let others = self.tape.get_rows(all, states.rest);
        let strides = self.tape.get(held).strides;
        let into = self.tape.view(held, [width, 0, 1, 1], strides);
        let moved = self.tape.write(into, &[others, into]);
        self.tape.expand(moved);
        ours
    }

    fn plain_states(&mut self, held: Id) -> Id {
        self.with_states(held, |builder, all, main| builder.tape.get_rows(all, main))
    }

    /// Puts the last columns of the convolution in front of the new ones, and keeps the new last.
    fn convolve_input(&mut self, kernel: u64, input: Id) -> Id {
        let (tokens, sequences) = self.sequences();
        let (channels, kept) = (self.tape.get(input).extents[0], kernel - 1);
        let held = self.cache(Format::F32, [kept * channels, sequences, 1, 1]);
        let before = self.plain_states(held);
        let before = self.tape.reshape(before, [kept, channels, sequences, 1]);
        let columns = self.tape.permute(input, [1, 0, 2, 3]);
        let extents = [kept + tokens, channels, sequences, 1];
        let all = self.tape.result(Op::Other, extents, &[before, columns]);
        let strides = self.tape.get(all).strides;
        let last = self.tape.view(all, [kept, channels, sequences, 1], strides);
        let into = self.tape.reshape(held, [kept * channels, sequences, 1, 1]);
        let written = self.tape.write(into, &[last, into]);
        self.tape.expand(written);
        all
    }

    fn convolve(&mut self, kernel: u64, all: Id) -> Id {
        let (tokens, sequences) = self.sequences();
        let channels = self.tape.get(all).extents[1];
        let weight = self.weight(Format::F32, [kernel, channels, 1, 1]);
        self.tape
            .result(Op::Other, [channels, tokens, sequences, 1], &[all, weight])
    }

    pub(super) fn mamba(&mut self, shape: &MambaShape, input: Id) -> Id {
        match shape.groups {
            None => self.mamba_1(shape, input),
            Some(groups) => self.mamba_2(shape, groups, input),
        }
    }

    fn mamba_1(&mut self, shape: &MambaShape, input: Id) -> Id {
        let (tokens, sequences) = self.sequences();
        let (inner, state, step) = (shape.inner, shape.state, shape.step);
        let hidden = self.shape.hidden;
        let input = self.tape.reshape(input, [hidden, tokens, sequences, 1]);
        let both = self.project(Matrix::StateIn, 2 * inner, false, input);
        let strides = self.tape.get(both).strides;
        let half = [inner, tokens, sequences, 1];
        let x = self.tape.view(both, half, strides);
        let z = self.tape.view(both, half, strides);
        let columns = self.convolve_input(shape.convolution, x);
        let x = self.convolve(shape.convolution, columns);
        let x = self.add_bias(x);
        let x = self.tape.like(Op::InPlace, &[x]);
        let parameters = self.project(Matrix::StateParameters, step + 2 * state, false, x);
        let strides = self.tape.get(parameters).strides;
        let delta = self
            .tape
            .view(parameters, [step, tokens, sequences, 1], strides);
        let of_state = [strides[0], strides[0] * state, strides[1], strides[2]];
        let of_state = |builder: &mut Self| {
            builder
                .tape
                .view(parameters, [state, 1, tokens, sequences], of_state)
        };
        let (into, out) = (of_state(self), of_state(self));
        let delta = self.tape.packed_copy(delta, [step, tokens, sequences, 1]);
        let delta = self.project(Matrix::StateStep, inner, true, delta);
        let by_channel = self.tape.reshape(x, [1, inner, tokens, sequences]);
        let decay = self.weight(Format::F32, [state, inner, 1, 1]);
        let scan = Scan {
            sources: [by_channel, delta, decay, into, out],
            state: [state, 1, inner],
        };
        let y = self.scan(&scan, half);
        let skip = self.weight(Format::F32, [inner, 1, 1, 1]);
        let skipped = self.tape.like(Op::InPlace, &[x, skip]);
        let y = self.add(y, skipped);
        let z = self.tape.packed_copy(z, half);
        let y = self.tape.like(Op::Other, &[z, y]);
        let out = self.project(Matrix::StateOut, hidden, false, y);
        self.tape.reshape(out, [hidden, tokens * sequences, 1, 1])
    }

    fn mamba_2(&mut self, shape: &MambaShape, groups: u64, input: Id) -> Id {
        let (tokens, sequences) = self.sequences();
        let (inner, state, heads) = (shape.inner, shape.state, shape.step);
        let dim = inner / heads;
        let channels = inner + 2 * groups * state;
        let width = inner + channels + heads;
        let all = self.project(Matrix::StateIn, width, false, input);
        let all = self.tape.reshape(all, [width, tokens, sequences, 1]);
        let strides = self.tape.get(all).strides;
        let by_head = [strides[0], strides[0] * dim, strides[1], strides[2]];
        let z = self
            .tape
            .view(all, [dim, heads, tokens, sequences], by_head);
        let mixed = self
            .tape
            .view(all, [channels, tokens, sequences, 1], strides);
        let delta = self.tape.view(all, [heads, tokens, sequences, 1], strides);
        let columns = self.convolve_input(shape.convolution, mixed);
        let mixed = self.convolve(shape.convolution, columns);
        let mixed = self.add_bias(mixed);
        let mixed = self.tape.like(Op::InPlace, &[mixed]);
        let strides = self.tape.get(mixed).strides;
        let part = |builder: &mut Self, width: u64, n: u64| {
            let strides = [strides[0], strides[0] * width, strides[1], strides[2]];
            let extents = [width, n, tokens, sequences];
            builder.tape.view(mixed, extents, strides)
        };
        let x = part(self, dim, heads);
        let (into, out) = (part(self, state, groups), part(self, state, groups));
        let delta = self.tape.packed_copy(delta, [heads, tokens, sequences, 1]);
        let delta = self.add_bias(delta);
        let decay = self.weight(Format::F32, [1, heads, 1, 1]);
        let scan = Scan {
            sources: [x, delta, decay, into, out],
            state: [state, dim, heads],
        };
        let y = self.scan(&scan, [dim, heads, tokens, sequences]);
        let skip = self.weight(Format::F32, [1, heads, 1, 1]);
        let skipped = self.tape.like(Op::InPlace, &[x, skip]);
        let y = self.add(y, skipped);
        let z = self.tape.packed_copy(z, [dim, heads, tokens, sequences]);
        let y = self.tape.like(Op::Other, &[z, y]);
        let grouped = [inner / groups, groups, tokens, sequences];
        let y = self.tape.reshape(y, grouped);
        let y = self.pinned_norm(y, Norm::Rms);
        let y = self.tape.reshape(y, [inner, tokens * sequences, 1, 1]);
        self.project(Matrix::StateOut, self.shape.hidden, false, y)
    }

    /// The scan over a sequence; its result has the outputs and behind them the last states.
    fn scan(&mut self, scan: &Scan, extents: [u64; 4]) -> Id {
        let sequences = self.batch.sequences;
        let [state, dim, heads] = scan.state;
        let width = state * dim * heads;
        let held = self.cache(Format::F32, [width, sequences, 1, 1]);
        let outputs: u64 = extents.iter().product();
        let result = self.with_states(held, |builder, all, main| {
            let states = [state, dim, heads, sequences];
            let states = builder.tape.reshape(all, states);
            let [x, delta, decay, into, out] = scan.sources;
            let sources = [states, x, delta, decay, into, out, main];
            let elements = [outputs + width * sequences, 1, 1, 1];
            builder.tape.result(Op::Other, elements, &sources)
        });
        let last = self.tape.reshape(result, [width * sequences, 1, 1, 1]);
        let into = self.tape.reshape(held, [width * sequences, 1, 1, 1]);
        let written = self.tape.write(into, &[last, into]);
        self.tape.expand(written);
        self.tape.reshape(result, extents)
    }

    pub(super) fn delta_net(&mut self, shape: &DeltaNetShape, input: Id) -> Id {
        let (tokens, sequences) = self.sequences();
        let (keys, values, dim) = (shape.key_heads, shape.value_heads, shape.head_dim);
        let fold = values / keys;
        let channels = (2 * keys + values) * dim;
        let mixed = self.project(Matrix::Fused, channels, false, input);
        let mixed = self.tape.reshape(mixed, [channels, tokens, sequences, 1]);
        let z = self.project(Matrix::MixerGate, values * dim, false, input);
        let both = self.project(Matrix::StateParameters, 2 * values, false, input);
        let both = self.tape.reshape(both, [2 * fold, keys, tokens, sequences]);
        let strides = self.tape.get(both).strides;
        let part = [fold, keys, tokens, sequences];
        let (beta, alpha) = (
            self.tape.view(both, part, strides),
            self.tape.view(both, part, strides),
        );
        let beta = self.tape.packed_copy(beta, part);
        let beta = self.tape.like(Op::InPlace, &[beta]);
        let alpha = self.tape.packed_copy(alpha, [values, tokens, sequences, 1]);
        let alpha = self.add_bias(alpha);
        let alpha = self.tape.like(Op::InPlace, &[alpha]);
        let decay = self.weight(Format::F32, [values, 1, 1, 1]);
        let decay = self.tape.like(Op::InPlace, &[alpha, decay]);
        let by_head = [1, values, tokens, sequences];
        let beta = self.tape.reshape(beta, by_head);
        let decay = self.tape.reshape(decay, by_head);
        let columns = self.convolve_input(shape.convolution, mixed);
        let width = dim * dim * values;
        let held = self.cache(Format::F32, [width, sequences, 1, 1]);
        let state = self.plain_states(held);
        let state = self.tape.reshape(state, [dim, dim, values, sequences]);
        let mixed = self.convolve(shape.convolution, columns);
        let mixed = self.tape.like(Op::InPlace, &[mixed]);
        let strides = self.tape.get(mixed).strides;
        let strides = [4, 4 * dim, strides[1], strides[2]];
        let heads = |builder: &mut Self, n: u64| {
            let extents = [dim, n, tokens, sequences];
            builder.tape.view(mixed, extents, strides)
        };
        let q = heads(self, keys);
        let q = self.unit_heads(q, fold);
        let k = heads(self, keys);
        let k = self.unit_heads(k, fold);
        let v = heads(self, values);
        let extents = [dim * values, (tokens + dim) * sequences, 1, 1];
        let sources = [q, k, v, decay, beta, state];
        let result = self.tape.result(Op::Other, extents, &sources);
        let states = self.tape.reshape(result, [dim, dim, values, sequences]);
        let output = self.tape.reshape(result, [dim, values, tokens, sequences]);
        let into = self.tape.reshape(held, [width, sequences, 1, 1]);
        let written = self.tape.write(into, &[states, into]);
        self.tape.expand(written);
        let z = self.tape.reshape(z, [dim, values, tokens, sequences]);
        let normed = self.pinned_norm(output, Norm::Rms);
        let gate = self.tape.like(Op::InPlace, &[z]);
        let gated = self.tape.like(Op::InPlace, &[normed, gate]);
        let gated = self
            .tape
            .reshape(gated, [dim * values, tokens, sequences, 1]);
        let hidden = self.shape.hidden;
        let out = self.project(Matrix::StateOut, hidden, false, gated);
        self.tape.reshape(out, [hidden, tokens * sequences, 1, 1])
    }

    /// Heads of length one, repeated for the heads of values that share them.
    fn unit_heads(&mut self, heads: Id, fold: u64) -> Id {
        let [dim, n, tokens, sequences] = self.tape.get(heads).extents;
        let normed = self.tape.like(Op::InPlace, &[heads]);
        let scaled = self.tape.like(Op::InPlace, &[normed]);
        if fold == 1 {
            return scaled;
        }
        let single = [dim, 1, n, tokens * sequences];
        let single = self.tape.reshape(scaled, single);
        let many = [dim, fold, n, tokens * sequences];
        let many = self.tape.result(Op::Other, many, &[single]);
        self.tape.reshape(many, [dim, fold * n, tokens, sequences])
    }
}

/// What a scan reads: values, steps, decays, inputs and outputs of the state; and the state's shape.
struct Scan {
    sources: [Id; 5],
    state: [u64; 3],
}
