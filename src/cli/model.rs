//! `shardplan model inspect`.

use super::args::InspectArguments;
use super::{Failure, Outcome, json, output, render};
use crate::cost::{Target, memory};
use crate::model::format::Format;
use crate::model::recipe::Recipe;
use crate::model::{self, Checkpoint, LayerGraph, Model, Node, NodeKind, Origin, Precision};
use crate::units::{Bytes, Tokens};
use crate::workload::{KvFormat, Workload};

/// A model with the bytes of its nodes at some precisions.
pub(super) struct Inspection {
    pub(super) model: Model,
    pub(super) graph: LayerGraph,
    /// The target whose cache is counted.
    pub(super) target: Target,
    /// Names of the precisions, in order.
    pub(super) precisions: Vec<String>,
    /// Bytes of each tensor, by precision.
    sizes: Vec<Vec<Bytes>>,
}

impl Inspection {
    /// Bytes of a node at each precision.
    pub(super) fn bytes(&self, node: &Node) -> Vec<Bytes> {
        let sum = |sizes: &Vec<Bytes>| node.tensors.iter().map(|tensor| sizes[*tensor]).sum();
        self.sizes.iter().map(sum).collect()
    }

    /// Bytes of the whole model at each precision.
    pub(super) fn total(&self) -> Vec<Bytes> {
        self.sizes
            .iter()
            .map(|sizes| sizes.iter().copied().sum())
            .collect()
    }

    /// Parameters of a node.
    pub(super) fn parameters(&self, node: &Node) -> u64 {
        let tensors = node
            .tensors
            .iter()
            .map(|tensor| &self.model.tensors[*tensor]);
        tensors
            .filter(|tensor| tensor.is_trained())
            .map(model::Tensor::elements)
            .sum()
    }

    /// Bytes of keys and values that a node adds for each token, in 16 bits.
    pub(super) fn kv_bytes_per_token(&self, node: &Node) -> Bytes {
        let workload = Workload {
            kv_format: KvFormat::F16,
            ..Workload::of_context(Tokens(1))
        };
        match (node.kind, self.target) {
            (NodeKind::Attention(_), Target::LlamaCpp) => {
                let dimensions = &self.model.dimensions;
                KvFormat::F16.row_bytes(dimensions.n_kv_heads * dimensions.head_dim) * 2
            }
            (NodeKind::Attention(block), Target::Transformers) => {
                let dimensions = &self.model.dimensions;
                memory::transformers_kv_cache(dimensions, &workload, KvFormat::F16, block)
            }
            _ => Bytes::ZERO,
        }
    }
}

pub(super) fn inspect(arguments: &InspectArguments) -> Result<Outcome, Failure> {
    let model = model::open(&arguments.model)?;
    let precisions = match arguments.precision.as_slice() {
        [] if arguments.json => every(&model),
        [] => usual(&model),
        precisions => precisions.to_vec(),
    };
    let sizes: Result<Vec<_>, _> = precisions
        .iter()
        .map(|precision| model.tensor_bytes(*precision))
        .collect();
    let inspection = Inspection {
        graph: LayerGraph::new(&model),
        target: arguments.target,
        precisions: precisions.iter().map(Precision::to_string).collect(),
        sizes: sizes?,
        model,
    };
    let text = match arguments.json {
        true => json::inspection(&inspection),
        false => render::inspection(&inspection),
    };
    output::print(&text)?;
    Ok(Outcome::Done)
}

/// A handful for a table on a terminal.
fn usual(model: &Model) -> Vec<Precision> {
    match model.origin {
        Origin::Gguf(_) => vec![Precision::Stored],
        Origin::Known | Origin::Config(_) | Origin::Safetensors(_) => vec![
            Precision::Checkpoint(Checkpoint::Fp16),
            Precision::Checkpoint(Checkpoint::Int8),
            Precision::Checkpoint(Checkpoint::Nf4),
            Precision::Gguf(Recipe::Q8_0),
            Precision::Gguf(Recipe::Q4KM),
        ],
    }
}

/// All: what transformers loads, every recipe, and every block format alone; without those that
/// llama-quantize refuses for this model.
fn every(model: &Model) -> Vec<Precision> {
    if let Origin::Gguf(_) = model.origin {
        return vec![Precision::Stored];
    }
    let recipes = Recipe::all().map(Precision::Gguf);
    let pure = Format::all().filter(|format| format.in_gguf() && format.is_quantised());
    Checkpoint::ALL
        .into_iter()
        .map(Precision::Checkpoint)
        // `bf16` is the checkpoint's name; the GGUF file of that name differs only in its norms.
        .chain(recipes.filter(|recipe| *recipe != Precision::Gguf(Recipe::BF16)))
        .chain(pure.map(Precision::Pure))
        .filter(|precision| model.tensor_bytes(*precision).is_ok())
        .collect()
}
