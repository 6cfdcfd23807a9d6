//! What one GPU of each stage holds: weights, pages and operations, summed up to each block for every
//! degree.

use crate::cost::Span;
use crate::cost::serving::ends::{Ends, Kept, ends};
use crate::cost::serving::{Server, share};
use crate::model::format::Format;
use crate::model::{Checkpoint, Kind, Model, Part, Precision, PrecisionError};
use crate::units::Bytes;
use crate::workload::KvFormat;

/// What is held, in which formats.
pub(super) struct Asked<'a> {
    pub(super) server: Server,
    pub(super) model: &'a Model,
    pub(super) sizes: &'a [Bytes],
    pub(super) kv_format: KvFormat,
}

/// What one of the GPUs holds that share blocks by a degree.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    /// Totals of the blocks before each.
    sums: Vec<Sums>,
    /// What the first stage has besides: all that belongs to no other.
    first: Bytes,
    /// What it has of matrices, and what the last has, by what each is for.
    embedding: Bytes,
    tower: Bytes,
    norm: Bytes,
    head: Bytes,
    /// The embedding's matrix, where it is the head's as well.
    tied: Bytes,
    /// What the last stage reads and computes with the norm and the head.
    last: Sums,
    /// Which stages have what.
    ends: Ends,
}

/// Totals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) weights: Bytes,
    /// What every token reads.
    pub(super) read: Bytes,
    /// Experts, of which a token reads some.
    pub(super) experts: Bytes,
    /// One page of the cache, as it is read.
    pub(super) page: Bytes,
    /// What one page takes: as much, or that of all blocks.
    pub(super) kept: Bytes,
    pub(super) operations: f64,
    pub(super) n_blocks: u64,
}

impl Sums {
    /// The least of each.
    pub(super) fn least(self, other: Self) -> Self {
        Self {
            weights: self.weights.min(other.weights),
            read: self.read.min(other.read),
            experts: self.experts.min(other.experts),
            page: self.page.min(other.page),
            kept: self.kept.min(other.kept),
            operations: self.operations.min(other.operations),
            n_blocks: self.n_blocks.min(other.n_blocks),
        }
    }
}

impl Shares {
    /// Adds up what one GPU of a group of `degree` holds.
    pub(super) fn new(asked: &Asked<'_>, degree: u32) -> Self {
        let Asked { model, sizes, .. } = asked;
        let n_blocks = n_blocks(model) as usize;
        let mut blocks = vec![Sums::default(); n_blocks];
        let (mut first, mut embedding, mut tower) = (Bytes::ZERO, Bytes::ZERO, Bytes::ZERO);
        let (mut norm, mut head, mut last) = (Bytes::ZERO, Bytes::ZERO, Sums::default());
        for (tensor, size) in model.tensors.iter().zip(*sizes) {
            let held = share::share((asked.server, degree), model, tensor, *size);
            let elements = tensor.elements() as f64 * model.share_for_a_token(tensor);
            let operations = 2.0 * elements / f64::from(degree);
            match tensor.part {
                Part::Attention(block) | Part::FeedForward(block) => {
                    let Some(sums) = blocks.get_mut(block.0 as usize) else {
                        continue;
                    };
                    sums.weights += held;
                    sums.operations += operations;
                    match tensor.kind {
                        Kind::Experts => sums.experts += held,
                        _ => sums.read += held,
                    }
                }
                Part::FinalNorm | Part::Head => {
                    match tensor.part {
                        Part::Head => head += held,
                        _ => norm += held,
                    }
                    last.read += held;
                    last.operations += operations;
                }
                Part::Tower => tower += held,
                Part::Embedding if tensor.kind == Kind::Embedding => {
                    embedding += held;
                    if model.tied {
                        last.operations += operations;
                    }
                }
                Part::Embedding | Part::Everywhere => first += held,
                Part::NextToken(_) => {}
            }
        }
        let tied = if model.tied { embedding } else { Bytes::ZERO };
        last.read += tied;
        let mut sums = vec![Sums::default()];
        for (own, block) in blocks.iter().zip(&model.blocks) {
            let page = asked
                .server
                .engine()
                .page_bytes(block, asked.kv_format, degree);
            let before = sums[sums.len() - 1];
            sums.push(Sums {
                weights: before.weights + own.weights,
                read: before.read + own.read,
                experts: before.experts + own.experts,
                page: before.page + page,
                kept: before.kept + page,
                operations: before.operations + own.operations,
                n_blocks: before.n_blocks + 1,
            });
        }
        Self {
            sums,
            first,
            embedding,
            tower,
            norm,
            head,
            tied,
            last,
            ends: ends(asked.server, model),
        }
    }

    /// What a stage holds.
    pub(super) fn of(&self, span: &Span, n_units: usize) -> Sums {
        let (from, to) = (&self.sums[span.units.start], &self.sums[span.units.end]);
        let page = to.page.saturating_sub(from.page);
        let mut own = Sums {
            weights: to.weights.saturating_sub(from.weights),
            read: to.read.saturating_sub(from.read),
            experts: to.experts.saturating_sub(from.experts),
            page,
            kept: match self.ends.cache {
                Kept::Once => page,
                Kept::OnEach => self.sums[n_units].page,
            },
            operations: to.operations - from.operations,
            n_blocks: to.n_blocks - from.n_blocks,
        };
        let (is_first, is_last) = (span.units.start == 0, span.units.end == n_units);
        let has_embedding = is_first || self.ends.embedding == Kept::OnEach;
        let has_head = is_last || self.ends.head == Kept::OnEach;
        let parts = [
            (is_first, self.first),
            (has_embedding, self.embedding),
            (is_first || self.ends.tower == Kept::OnEach, self.tower),
            (is_last || self.ends.norm == Kept::OnEach, self.norm),
            (has_head, self.head),
            (has_head && !has_embedding, self.tied),
        ];
        for (is_here, size) in parts {
            if is_here {
                own.weights += size;
            }
        }
        if is_last {
            own.read += self.last.read;
            own.operations += self.last.operations;
        }
        own
    }
}

/// The format in which an engine keeps keys and values: at 16 bits none is named, and it is that of the
/// model's numbers.
pub fn kept(format: KvFormat, checkpoint: Checkpoint) -> KvFormat {
    match (format, checkpoint) {
        (KvFormat::F16, Checkpoint::Fp32) => KvFormat::F32,
        (format, _) => format,
    }
}

/// Bytes of each tensor as an engine holds it.
///
/// # Errors
/// Where the precision does not exist for this model.
pub fn sizes(model: &Model, checkpoint: Checkpoint) -> Result<Vec<Bytes>, PrecisionError> {
    if checkpoint == Checkpoint::Stored {
        return model.packed_bytes();
    }
    let mut sizes = model.tensor_bytes(Precision::Checkpoint(checkpoint))?;
    // transformers leaves linear layers of a model's own at 16 bits; an engine has one class for all,
    // and another for experts.
    if checkpoint == Checkpoint::Fp8 {
        for (tensor, size) in model.tensors.iter().zip(&mut sizes) {
            let is_linear = matches!(tensor.kind, Kind::OwnLinear | Kind::Experts);
            let is_kept = tensor.dims.len() < 2 || share::is_router(model, tensor);
            if is_linear && !is_kept && *size > Bytes::ZERO {
                *size = tensor.bytes(Format::FP8);
            }
        }
    }
    Ok(sizes)
}

/// Blocks that are loaded: those that predict further tokens are not.
pub fn n_blocks(model: &Model) -> u32 {
    match &model.modules {
        Some(modules) => modules.blocks.len() as u32,
        None => model.dimensions.n_layers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Place, Position};
    use crate::hardware::DeviceId;
    use crate::model::{Origin, config};

    macro_rules! fixture {
        ($name:literal) => {
            include_str!(concat!("../../../tests/fixtures/configs/", $name, ".json"))
        };
    }

    /// Bytes of parameters of the second of two GPUs on each of three stages, at 16 bits: read off the
    /// classes of vLLM 0.32.0 and SGLang 0.5.23, built by `tests/engines/vllm_stages.py` and
    /// `tests/engines/sglang_stages.py`.
    const BUILT: [(Server, &str, [usize; 2], [u64; 3]); 6] = [
        // Rows of keys and values are shared, and the head is the embedding.
        (
            Server::Vllm,
            fixture!("llama-3.2-1b"),
            [6, 11],
            [627_621_888, 304_128_000, 566_800_384],
        ),
        // Every stage has both ends.
        (
            Server::Vllm,
            fixture!("mixtral-8x7b"),
            [12, 24],
            [17_677_885_440, 17_677_885_440, 11_872_641_024],
        ),
        // So too, and the gate of a shared expert is on each GPU.
        (
            Server::Vllm,
            fixture!("qwen1.5-moe-a2.7b"),
            [8, 16],
            [5_187_850_240, 5_187_850_240, 5_187_850_240],
        ),
        // Biases go with the rows of their matrices.
        (
            Server::Vllm,
            fixture!("starcoder2-3b"),
            [10, 20],
            [1_110_969_344, 959_974_400, 1_110_981_632],
        ),
        // Every stage has the head, and the last alone the norm.
        (
            Server::Sglang,
            fixture!("mixtral-8x7b"),
            [12, 24],
            [17_677_877_248, 17_546_805_248, 11_741_569_024],
        ),
        // The head is the embedding, which the last has again.
        (
            Server::Sglang,
            fixture!("qwen3-0.6b"),
            [10, 20],
            [312_914_944, 157_332_480, 281_450_496],
        ),
    ];

    #[test]
    fn a_gpu_holds_what_the_engine_builds_there() {
        for (server, text, [second, third], built) in BUILT {
            let text = serde_json::from_str(text).unwrap();
            let model = config::model("model", Origin::Known, &text).unwrap();
            let sizes = sizes(&model, Checkpoint::Bf16).unwrap();
            let asked = Asked {
                server,
                model: &model,
                sizes: &sizes,
                kv_format: KvFormat::F16,
            };
            let shares = Shares::new(&asked, 2);
            let n_blocks = n_blocks(&model) as usize;
            let held = [0..second, second..third, third..n_blocks].map(|units| {
                let span = Span {
                    place: Place::Device(DeviceId(0)),
                    units,
                    streamed: 0..0,
                    position: Position::Later,
                };
                shares.of(&span, n_blocks).weights.0
            });
            assert_eq!(held, built, "{}", model.architecture);
        }
    }

    #[test]
    fn a_stage_keeps_a_cache_for_every_block_where_the_class_does_not_say_which_are_its_own() {
        let text = serde_json::from_str(fixture!("minimax-m2.5")).unwrap();
        let model = config::model("model", Origin::Known, &text).unwrap();
        let sizes = sizes(&model, Checkpoint::Bf16).unwrap();
        let kept = |server| {
            let asked = Asked {
                server,
                model: &model,
                sizes: &sizes,
                kv_format: KvFormat::F16,
            };
            let span = Span {
                place: Place::Device(DeviceId(0)),
                units: 20..30,
                streamed: 0..0,
                position: Position::Later,
            };
            let own = Shares::new(&asked, 1).of(&span, 62);
            (own.page, own.kept)
        };
        // 8 heads of 128, twice, at 16 bits; pages of 16 tokens and of one.
        let token = Bytes(8 * 128 * 2 * 2);
        assert_eq!(kept(Server::Vllm), (token * 160, token * 160));
        assert_eq!(kept(Server::Sglang), (token * 10, token * 62));
    }

    #[test]
    fn keys_and_values_are_as_wide_as_the_model_where_no_format_is_named() {
        assert_eq!(kept(KvFormat::F16, Checkpoint::Fp32), KvFormat::F32);
        assert_eq!(kept(KvFormat::F16, Checkpoint::Bf16), KvFormat::F16);
        assert_eq!(kept(KvFormat::Fp8, Checkpoint::Fp32), KvFormat::Fp8);
    }
}
