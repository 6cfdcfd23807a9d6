//! Matrices of a block apart from the rest of it, as llama.cpp takes them apart: with `-ncmoe N` the
//! experts of the first `N` blocks stay in RAM, with `-ncffn N` their dense feed-forward, while all
//! else of these blocks is on a GPU.
//!
//! Keys and values stay with their block. Any such override keeps micro-batches from overlapping.
//! Source: `common/arg.cpp`, `src/llama-model-loader.cpp`, `src/llama-context.cpp` (0c1e57098).

use std::ops::Range;

use crate::cost::{Matrices, Unit};
use crate::model::{BlockId, Part, Tensor};
use crate::units::Bytes;

/// What parts take and what a token reads of them, summed up to each unit.
#[derive(Clone, Debug)]
pub struct PartSums {
    sums: Vec<Sums>,
}

/// Totals of some units' parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// What CUDA allocates for them.
    pub on_device: Bytes,
    /// What RAM they take.
    pub on_host: Bytes,
    /// What a token reads.
    pub read: Bytes,
    /// Blocks that have any.
    pub n_blocks: u64,
}

impl Matrices {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Experts, Self::FeedForward];

    /// Whether a tensor is one of these.
    ///
    /// Source: `LLM_FFN_EXPS_REGEX` in `common/common.h`,
    /// `\.ffn_(up|down|gate|gate_up)_(ch|)exps`, and beside it `\.ffn_(up|down|gate)\.`.
    pub fn hold(self, tensor: &Tensor) -> bool {
        let starts = |rest: &str, with: &[&str]| with.iter().any(|it| rest.starts_with(it));
        let mut stems = tensor.gguf_name.split(".ffn_").skip(1);
        stems.any(|stem| match self {
            Self::FeedForward => starts(stem, &["up.", "down.", "gate."]),
            Self::Experts => ["up_", "down_", "gate_", "gate_up_"].iter().any(|matrix| {
                let rest = stem.strip_prefix(matrix);
                rest.is_some_and(|rest| starts(rest, &["exps", "chexps"]))
            }),
        })
    }
}

impl PartSums {
    /// Adds up those of `stored` that `matrices` hold: each tensor with what it takes as a part.
    pub fn new<'a>(
        matrices: Matrices,
        units: &[Unit],
        stored: impl Iterator<Item = (&'a Tensor, Sums)>,
    ) -> Self {
        let mut of_units = vec![Sums::default(); units.len()];
        for (tensor, sums) in stored.filter(|(tensor, _)| matrices.hold(tensor)) {
            let Part::FeedForward(BlockId(block)) = tensor.part else {
                continue;
            };
            if let Some(unit) = units.iter().position(|unit| *unit == Unit::Block(block)) {
                of_units[unit].add(sums);
                of_units[unit].n_blocks = 1;
            }
        }
        let mut so_far = Sums::default();
        let mut sums = vec![so_far];
        for unit in of_units {
            so_far.add(unit);
            so_far.n_blocks += unit.n_blocks;
            sums.push(so_far);
        }
        Self { sums }
    }

    /// Those of the units that are both in `units` and in `moved`.
    pub fn between(&self, units: &Range<usize>, moved: &Range<usize>) -> Sums {
        let start = units.start.max(moved.start).min(self.sums.len() - 1);
        let end = units.end.min(moved.end).clamp(start, self.sums.len() - 1);
        let (from, to) = (&self.sums[start], &self.sums[end]);
        // The sums never fall, so no subtraction is short.
        Sums {
            on_device: to.on_device.saturating_sub(from.on_device),
            on_host: to.on_host.saturating_sub(from.on_host),
            read: to.read.saturating_sub(from.read),
            n_blocks: to.n_blocks - from.n_blocks,
        }
    }

    /// Each number of first blocks that may leave theirs in RAM; the last of these blocks has some.
    pub fn counts(&self) -> impl Iterator<Item = u32> {
        let pairs = self.sums.windows(2).zip(1..);
        pairs.filter_map(|(pair, count)| (pair[1].n_blocks > pair[0].n_blocks).then_some(count))
    }
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.on_device += other.on_device;
        self.on_host += other.on_host;
        self.read += other.read;
    }
}

#[cfg(test)]
mod tests {
    use crate::cost::llama_cpp::LlamaCpp;
    use crate::cost::{Accounting, Layout, Matrices, Parts, Place, Position, Span};
    use crate::hardware::{DeviceId, text};
    use crate::model::recipe::Recipe;
    use crate::model::{Origin, Precision, config, known};
    use crate::units::{Bytes, Tokens};
    use crate::workload::Workload;

    #[test]
    fn a_gpu_holds_what_llama_cpp_allocates_without_experts() {
        let rig = text::parse("80 GiB@1 TB/s, ram 64 GiB").unwrap();
        // Model and compute buffers of real loads at q4_k_m, `-c 8192 -fa on -ncmoe N` (0c1e57098).
        let loads = [
            ("mixtral-8x7b", 32, 1_069_080_576, 494_413_824),
            ("mixtral-8x7b", 16, 14_721_540_096, 494_413_824),
            ("qwen3-30b-a3b", 48, 822_523_904, 315_359_232),
            ("qwen3-30b-a3b", 24, 9_599_111_168, 315_359_232),
        ];
        for (name, in_ram, weights, compute) in loads {
            let config = &known::find(name).unwrap().config;
            let model = config::model(name, Origin::Known, config).unwrap();
            let workload = Workload::of_context(Tokens(8192));
            let precision = Precision::Gguf(Recipe::Q4KM);
            let prices = LlamaCpp::new(&model, precision, &rig, &workload).unwrap();
            let span = Span {
                place: Place::Device(DeviceId(0)),
                units: 0..prices.units().len(),
                streamed: 0..0,
                position: Position::First,
            };
            let stage = |layout| prices.stage(layout, &span);
            let layout = Layout::parts_alone(Parts {
                matrices: Matrices::Experts,
                n_blocks: in_ram,
            });
            let memory = stage(layout).device;
            assert_eq!(
                (memory.weights.0, memory.compute.0),
                (weights, compute),
                "{name}"
            );
            // What left the GPU is in RAM, where no row is padded, and takes longer there.
            let whole = stage(Layout::OneDevice);
            let [with, without] =
                [layout, Layout::OneDevice].map(|layout| prices.host_base(layout).weights);
            let left = whole.device.weights.saturating_sub(memory.weights);
            let padding = left.checked_sub(with.saturating_sub(without));
            assert!(padding.unwrap() < Bytes(100_000), "{name}");
            assert!(stage(layout).time.0 > whole.time.0);
        }
    }
}
