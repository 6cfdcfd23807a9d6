//! The graph of one micro-batch, node by node in the order that llama.cpp computes.
//!
//! Follows `src/models/*.cpp` and `src/llama-graph.cpp` (llama.cpp 0c1e57098) as far as sizes and
//! order go. This file has the frame: inputs, norms, residuals and the head; what mixes positions
//! and what follows it have files of their own.

use crate::cost::Place;
use crate::model::format::Format;

use super::formats::{Formats, Matrix};
use super::shape::{
    BlockShape, Entry, FeedForwardShape, Gather, GraphShape, Logits, Mixer, Norm, Wiring,
};
use super::tensor::{Backend, Id, Op, Tape, Tensor};
use super::{Batch, BlockPlace, Placement};

/// About as many as most blocks have.
const TENSORS_OF_BLOCK: usize = 40;

/// The graph under construction.
pub(super) struct Builder<'a> {
    pub(super) tape: Tape,
    pub(super) shape: &'a GraphShape,
    pub(super) batch: &'a Batch,
    placement: &'a Placement,
    /// Where what is built now lies, and how its matrices are stored.
    here: BlockPlace,
    pub(super) formats: Formats,
    positions: Option<Id>,
    outputs: Option<Id>,
    pub(super) states: Option<super::recurrent::States>,
    /// Inputs of the caches, by window.
    pub(super) caches: Vec<(Option<u64>, CacheInput)>,
}

/// What the layers of one kind of cache share.
#[derive(Clone, Copy)]
pub(super) struct CacheInput {
    pub(super) cells: u64,
    pub(super) keys_into: Id,
    pub(super) values_into: Id,
    pub(super) mask: Id,
    pub(super) keys_turn: Option<Id>,
    pub(super) values_turn: Option<Id>,
}

/// The graph of `shape`, placed.
pub(super) fn build(shape: &GraphShape, batch: &Batch, placement: &Placement) -> Tape {
    let mut builder = Builder {
        tape: Tape::with_room(TENSORS_OF_BLOCK * (shape.blocks.len() + 1)),
        shape,
        batch,
        placement,
        here: BlockPlace::whole(placement.head),
        formats: Formats::all(Format::F32),
        positions: None,
        outputs: None,
        states: None,
        caches: Vec::new(),
    };
    builder.run();
    builder.tape
}

impl Builder<'_> {
    fn run(&mut self) {
        let mut stream = self.entry();
        let (shape, placement) = (self.shape, self.placement);
        let last = shape.blocks.len() - 1;
        for (index, (block, place)) in shape.blocks.iter().zip(&placement.blocks).enumerate() {
            (self.here, self.formats) = (*place, block.formats);
            let gathers = index == last && shape.gather == Gather::InLastBlock;
            stream = self.block(block, stream, gathers);
        }
        self.here = BlockPlace::whole(placement.head);
        self.head(stream);
    }

    fn entry(&mut self) -> Id {
        let (tokens, hidden) = (self.batch.tokens, self.shape.hidden);
        let ids = self.input(Format::I32, [tokens, 1, 1, 1]);
        let vectors = self.input(Format::F32, [hidden, tokens, 1, 1]);
        self.here = BlockPlace::whole(Place::Host);
        let table = [hidden, self.shape.vocab, 1, 1];
        let table = self.weight(self.shape.table, table);
        let stream = self.tape.get_rows(table, ids);
        self.tape.expand(stream);
        // Vectors in place of tokens: unused, and yet an input.
        self.tape.expand(vectors);
        match self.shape.entry {
            Entry::Plain => stream,
            Entry::Scaled => self.tape.like(Op::InPlace, &[stream]),
            Entry::Normed => {
                self.here = self.placement.blocks[0];
                self.norm(stream)
            }
        }
    }

    fn head(&mut self, stream: Id) {
        let gather = self.shape.gather;
        let mut stream = stream;
        // What a head of several tokens would read is kept as an output, whoever asks.
        if gather == Gather::BeforeNorm {
            self.tape.get_mut(stream).is_output = true;
            stream = self.gather(stream);
        }
        stream = self.norm_anywhere(stream, self.shape.norm);
        self.tape.get_mut(stream).is_output = true;
        if gather == Gather::AfterNorm {
            stream = self.gather(stream);
        }
        let (hidden, vocab) = (self.shape.hidden, self.shape.vocab);
        let head = self.weight(self.shape.head, [hidden, vocab, 1, 1]);
        let mut logits = self.tape.mat_mul(head, stream);
        match self.shape.logits {
            Logits::Plain => {}
            Logits::Scaled => logits = self.tape.like(Op::InPlace, &[logits]),
            Logits::Capped => {
                for _ in 0..3 {
                    logits = self.tape.like(Op::InPlace, &[logits]);
                }
            }
            Logits::Biased => logits = self.add_bias(logits),
        }
        self.tape.expand(logits);
    }

    fn block(&mut self, block: &BlockShape, stream: Id, gathers: bool) -> Id {
        let gathered = |builder: &mut Self, id: Id| match gathers {
            true => builder.gather(id),
            false => id,
        };
        let normed = match block.wiring {
            Wiring::PostNormed => stream,
            _ => self.norm(stream),
        };
        let into_mixer = match block.wiring {
            Wiring::FalconTwoNorms => self.norm(stream),
            _ => normed,
        };
        if self.expands_norms() {
            self.tape.expand(into_mixer);
        }
        let mixed = self.mix(&block.mixer, into_mixer);
        let mixed = gathered(self, mixed);
        let stream = gathered(self, stream);
        let after = &block.feed_forward;
        match block.wiring {
            Wiring::Sequential if *after == FeedForwardShape::None => self.add(mixed, stream),
            Wiring::Sequential => {
                let stream = self.add(mixed, stream);
                let normed = self.norm(stream);
                let fed = self.feed_forward(after, normed);
                self.add(fed, stream)
            }
            Wiring::Sandwiched | Wiring::PostNormed => {
                let mixed = self.norm(mixed);
                let stream = self.add(mixed, stream);
                let normed = match block.wiring {
                    Wiring::Sandwiched => self.norm(stream),
                    _ => stream,
                };
                let fed = self.feed_forward(after, normed);
                // llama.cpp names no block here, so this norm is pinned to no device.
                let fed = self.norm_anywhere(fed, self.shape.norm);
                self.add(fed, stream)
            }
            Wiring::Falcon | Wiring::FalconTwoNorms => {
                let normed = gathered(self, normed);
                let fed = self.feed_forward(after, normed);
                let sum = self.add(fed, mixed);
                self.add(sum, stream)
            }
            Wiring::NeoX => {
                let normed = self.norm(stream);
                let fed = self.feed_forward(after, normed);
                let sum = self.add(fed, stream);
                self.add(sum, mixed)
            }
            Wiring::Phi => {
                let normed = gathered(self, normed);
                let fed = self.feed_forward(after, normed);
                let sum = self.add(mixed, fed);
                self.add(sum, stream)
            }
            Wiring::CommandR => {
                let normed = gathered(self, normed);
                let fed = self.feed_forward(after, normed);
                let sum = self.add(fed, stream);
                self.add(sum, mixed)
            }
        }
    }

    /// Whether norms in front of mixers are computed where they are written down: models of which
    /// some blocks have a delta rule.
    fn expands_norms(&self) -> bool {
        let mut blocks = self.shape.blocks.iter();
        blocks.any(|block| matches!(block.mixer, Mixer::DeltaNet(_)))
    }

    fn mix(&mut self, mixer: &Mixer, input: Id) -> Id {
        match mixer {
            Mixer::Attention(attention) => self.attention(attention, input),
            Mixer::Latent(latent) => self.latent(latent, input),
            Mixer::Mamba(mamba) => self.mamba(mamba, input),
            Mixer::DeltaNet(delta) => self.delta_net(delta, input),
        }
    }

    /// A norm of the residual stream, pinned to the device of its block.
    fn norm(&mut self, input: Id) -> Id {
        self.pinned_norm(input, self.shape.norm)
    }

    /// A norm that is pinned to the device of its block, where norms are.
    pub(super) fn pinned_norm(&mut self, input: Id, norm: Norm) -> Id {
        let result = self.norm_anywhere(input, norm);
        if self.placement.pins_norms {
            let mut id = result;
            // From the last of the norm's operations back to the first.
            while self.tape.get(id).sources()[0] != input {
                id = self.tape.get(id).sources()[0];
            }
            self.tape.get_mut(id).pinned = Some(self.backend(self.here.place));
        }
        result
    }

    fn norm_anywhere(&mut self, input: Id, norm: Norm) -> Id {
        let op = match norm {
            Norm::Rms => Op::InPlace,
            Norm::Layer | Norm::BiasedLayer => Op::Other,
        };
        let width = self.tape.get(input).extents[0];
        let mut result = self.tape.like(op, &[input]);
        let weight = self.weight(Format::F32, [width, 1, 1, 1]);
        result = self.tape.like(Op::InPlace, &[result, weight]);
        if norm == Norm::BiasedLayer {
            result = self.add_bias(result);
        }
        result
    }

    pub(super) fn add(&mut self, a: Id, b: Id) -> Id {
        self.tape.like(Op::InPlace, &[a, b])
    }

    pub(super) fn add_bias(&mut self, input: Id) -> Id {
        self.add_bias_in(self.here.place, input)
    }

    fn add_bias_in(&mut self, place: Place, input: Id) -> Id {
        let width = self.tape.get(input).extents[0];
        let bias = self.weight_in(place, Format::F32, [width, 1, 1, 1]);
        self.add(input, bias)
    }

    fn gather(&mut self, rows: Id) -> Id {
        let n_outputs = self.batch.outputs;
        let outputs = match self.outputs {
            Some(outputs) => outputs,
            None => self.input(Format::I32, [n_outputs, 1, 1, 1]),
        };
        self.outputs = Some(outputs);
        self.tape.get_rows(rows, outputs)
    }

    /// A matrix of this block times an input, and a bias where there is one.
    pub(super) fn project(&mut self, matrix: Matrix, rows: u64, biased: bool, input: Id) -> Id {
        let place = match matrix {
            Matrix::Gate | Matrix::Up | Matrix::Down => self.here.dense,
            _ => self.here.place,
        };
        let columns = self.tape.get(input).extents[0];
        let weight = self.weight_in(place, self.formats.of(matrix), [columns, rows, 1, 1]);
        let result = self.tape.mat_mul(weight, input);
        match biased {
            true => self.add_bias_in(place, result),
            false => result,
        }
    }

    pub(super) fn weight(&mut self, format: Format, extents: [u64; 4]) -> Id {
        self.weight_in(self.here.place, format, extents)
    }

    pub(super) fn expert_weight(&mut self, format: Format, extents: [u64; 4]) -> Id {
        self.weight_in(self.here.experts, format, extents)
    }

    fn weight_in(&mut self, place: Place, format: Format, extents: [u64; 4]) -> Id {
        let mut tensor = Tensor::new(Op::None, format, extents);
        tensor.is_weight = true;
        tensor.held = Some(self.backend(place));
        self.tape.add(tensor)
    }

    /// Memory of this block that lives between micro-batches.
    pub(super) fn cache(&mut self, format: Format, extents: [u64; 4]) -> Id {
        let mut tensor = Tensor::new(Op::None, format, extents);
        tensor.held = Some(self.backend(self.here.place));
        self.tape.add(tensor)
    }

    pub(super) fn input(&mut self, format: Format, extents: [u64; 4]) -> Id {
        let mut tensor = Tensor::new(Op::None, format, extents);
        tensor.is_input = true;
        self.tape.add(tensor)
    }

    pub(super) fn positions(&mut self) -> Id {
        let tokens = self.batch.tokens;
        let positions = match self.positions {
            Some(positions) => positions,
            None => self.input(Format::I32, [tokens, 1, 1, 1]),
        };
        self.positions = Some(positions);
        positions
    }

    fn backend(&self, place: Place) -> Backend {
        match place {
            Place::Host => self.placement.host(),
            Place::Device(device) => Backend(device.0 as u8),
        }
    }
}
