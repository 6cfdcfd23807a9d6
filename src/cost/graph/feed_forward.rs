//! What follows attention: dense matrices, and experts that a router chooses.

use crate::model::format::Format;

use super::build::Builder;
use super::formats::Matrix;
use super::shape::{Branches, DenseShape, ExpertsShape, FeedForwardShape, Scores};
use super::tensor::{Id, Op, Tensor};

/// The matrices of a dense feed-forward.
#[derive(Clone, Copy)]
struct Names {
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

const OWN: Names = Names {
    gate: Matrix::Gate,
    up: Matrix::Up,
    down: Matrix::Down,
};
const SHARED: Names = Names {
    gate: Matrix::SharedGate,
    up: Matrix::SharedUp,
    down: Matrix::SharedDown,
};

impl Builder<'_> {
    pub(super) fn feed_forward(&mut self, shape: &FeedForwardShape, input: Id) -> Id {
        match shape {
            FeedForwardShape::None => input,
            FeedForwardShape::Dense(dense) => self.dense(dense, OWN, input),
            FeedForwardShape::Experts(experts) => self.experts(experts, input),
        }
    }

    fn dense(&mut self, shape: &DenseShape, names: Names, input: Id) -> Id {
        let (inner, biased) = (shape.inner, shape.biased);
        let inside = match shape.branches {
            Branches::Plain => {
                let up = self.project(names.up, inner, biased, input);
                self.tape.like(Op::InPlace, &[up])
            }
            Branches::Gated => {
                let up = self.project(names.up, inner, biased, input);
                let gate = self.project(names.gate, inner, biased, input);
                self.tape.like(Op::Other, &[gate, up])
            }
            Branches::GatedInOne => {
                let both = self.project(names.up, 2 * inner, biased, input);
                let mut extents = self.tape.get(both).extents;
                extents[0] = inner;
                self.tape.result(Op::Other, extents, &[both])
            }
        };
        self.project(names.down, self.shape.hidden, biased, inside)
    }

    fn experts(&mut self, shape: &ExpertsShape, input: Id) -> Id {
        let [hidden, tokens, ..] = self.tape.get(input).extents;
        let (chosen, weights) = self.route(shape, input);
        let each = self.tape.reshape(input, [hidden, 1, tokens, 1]);
        let up = self.expert(shape, Matrix::ExpertUp, shape.inner, each, chosen);
        let gate = self.expert(shape, Matrix::ExpertGate, shape.inner, each, chosen);
        let inside = self.tape.like(Op::Other, &[gate, up]);
        let down = self.expert(shape, Matrix::ExpertDown, hidden, inside, chosen);
        let weighed = self.tape.like(Op::InPlace, &[down, weights]);
        self.tape.expand(weighed);
        let sum = self.sum_of_experts(shape.used, weighed);
        let Some(shared) = shape.shared else {
            return sum;
        };
        let dense = DenseShape {
            inner: shared.inner,
            branches: Branches::Gated,
            biased: false,
        };
        let mut besides = self.dense(&dense, SHARED, input);
        if shared.gated {
            let gate = self.weight(Format::F32, [hidden, 1, 1, 1]);
            let gate = self.tape.mat_mul(gate, input);
            let gate = self.tape.like(Op::InPlace, &[gate]);
            besides = self.tape.like(Op::InPlace, &[besides, gate]);
        }
        self.add(sum, besides)
    }

    /// The experts of each token, and what they weigh.
    fn route(&mut self, shape: &ExpertsShape, input: Id) -> (Id, Id) {
        let tokens = self.tape.get(input).extents[1];
        let (count, used) = (shape.count, shape.used);
        let logits = self.project(Matrix::Router, count, shape.biased, input);
        let scores = match shape.scores {
            Scores::OfAll => self.tape.like(Op::InPlace, &[logits]),
            Scores::OfUsed => logits,
        };
        let mut choice = match shape.choice_biased {
            true => self.add_bias(scores),
            false => scores,
        };
        if let Some((groups, used)) = shape.groups {
            choice = self.choose_groups(choice, groups, used);
        }
        let chosen = self.largest(choice, used);
        let single = self.tape.reshape(scores, [1, count, tokens, 1]);
        let of_used = [1, used, tokens, 1];
        let mut weights = self.tape.result(Op::GetRows, of_used, &[single, chosen]);
        if shape.scores == Scores::OfUsed {
            let flat = self.tape.reshape(weights, [used, tokens, 1, 1]);
            let soft = self.tape.like(Op::InPlace, &[flat]);
            weights = self.tape.reshape(soft, of_used);
        }
        if shape.normalised {
            let flat = self.tape.reshape(weights, [used, tokens, 1, 1]);
            let sum = self.tape.result(Op::Other, [1, tokens, 1, 1], &[flat]);
            let sum = self.tape.like(Op::InPlace, &[sum]);
            let normalised = self.tape.like(Op::InPlace, &[flat, sum]);
            weights = self.tape.reshape(normalised, of_used);
        }
        if shape.scaled {
            weights = self.tape.like(Op::InPlace, &[weights]);
        }
        self.tape.expand(weights);
        (chosen, weights)
    }

    /// Hides all but the groups whose two best experts score highest.
    fn choose_groups(&mut self, scores: Id, groups: u64, used: u64) -> Id {
        let [count, tokens, ..] = self.tape.get(scores).extents;
        let each = count / groups;
        let grouped = self.tape.reshape(scores, [each, groups, tokens, 1]);
        let best = self.largest(grouped, 2);
        let single = self.tape.reshape(grouped, [1, each, groups, tokens]);
        let best = self
            .tape
            .result(Op::GetRows, [1, 2, groups, tokens], &[single, best]);
        let best = self.tape.reshape(best, [2, groups, tokens, 1]);
        let sums = self.tape.result(Op::Other, [1, groups, tokens, 1], &[best]);
        let sums = self.tape.reshape(sums, [groups, tokens, 1, 1]);
        let chosen = self.largest(sums, used);
        let kept = self
            .tape
            .result(Op::GetRows, [each, used, tokens, 1], &[grouped, chosen]);
        let hidden = self.tape.like(Op::InPlace, &[grouped]);
        let shown = self.tape.write(hidden, &[kept, chosen, hidden]);
        self.tape.reshape(shown, [count, tokens, 1, 1])
    }

    /// The indices of the largest along the first axis.
    fn largest(&mut self, of: Id, n: u64) -> Id {
        let mut extents = self.tape.get(of).extents;
        let sorted = Tensor::new(Op::Other, Format::I32, extents).with_sources(&[of]);
        let strides = sorted.strides;
        let sorted = self.tape.add(sorted);
        extents[0] = n;
        self.tape.view(sorted, extents, strides)
    }

    fn expert(
        &mut self,
        shape: &ExpertsShape,
        matrix: Matrix,
        rows: u64,
        input: Id,
        chosen: Id,
    ) -> Id {
        let columns = self.tape.get(input).extents[0];
        let extents = [columns, rows, shape.count, 1];
        let matrices = self.expert_weight(self.formats.of(matrix), extents);
        let result = self.tape.mat_mul_id(matrices, input, chosen);
        match shape.biased {
            true => {
                let bias = [rows, shape.count, 1, 1];
                let bias = self.expert_weight(Format::F32, bias);
                self.tape.like(Op::InPlace, &[result, bias, chosen])
            }
            false => result,
        }
    }

    fn sum_of_experts(&mut self, used: u64, weighed: Id) -> Id {
        let Tensor {
            extents, strides, ..
        } = *self.tape.get(weighed);
        let [hidden, _, tokens, _] = extents;
        let row = strides[2];
        let one = [hidden, tokens, 1, 1];
        let parts: Vec<Id> = (0..used)
            .map(|_| {
                let plane = row * tokens;
                let part = self
                    .tape
                    .view(weighed, one, [strides[0], row, plane, plane]);
                self.tape.expand(part);
                part
            })
            .collect();
        let mut sum = parts[0];
        for part in &parts[1..] {
            sum = self.tape.result(Op::InPlace, one, &[sum, *part]);
            self.tape.expand(sum);
        }
        match used {
            1 => self.tape.packed_copy(sum, one),
            _ => sum,
        }
    }
}
