//! `shardplan model inspect`.

use super::args::{GraphFormat, InspectArguments};
use super::{Failure, Outcome, json, output, render, source};
use crate::cost::{Target, memory, paged};
use crate::model::format::Format;
use crate::model::recipe::Recipe;
use crate::model::{
    self, Block, BlockId, Checkpoint, LayerGraph, Model, Node, NodeKind, Origin, Part, Precision,
};
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
    /// Whether every tensor is listed.
    pub(super) tensors: bool,
    /// Bytes of each tensor, by precision.
    sizes: Vec<Vec<Bytes>>,
}

impl Inspection {
    /// Bytes of a node at each precision.
    pub(super) fn bytes(&self, node: &Node) -> Vec<Bytes> {
        self.sum(&node.tensors)
    }

    /// Bytes of the whole model at each precision.
    pub(super) fn total(&self) -> Vec<Bytes> {
        self.sizes
            .iter()
            .map(|sizes| sizes.iter().copied().sum())
            .collect()
    }

    /// Modules in the order of execution: each block whole, and what stands around them; with the
    /// indices of their tensors.
    pub(super) fn modules(&self) -> Vec<(String, Vec<usize>)> {
        let mut modules: Vec<(String, Vec<usize>)> = Vec::new();
        for (index, tensor) in self.model.tensors.iter().enumerate() {
            let name = match tensor.part {
                Part::Attention(block) | Part::FeedForward(block) | Part::NextToken(block) => {
                    self.block_name(block)
                }
                _ if tensor.hf_name.is_empty() => continue,
                _ => tensor.module().to_owned(),
            };
            match modules.iter_mut().find(|(other, _)| *other == name) {
                Some((_, tensors)) => tensors.push(index),
                None => modules.push((name, vec![index])),
            }
        }
        modules
    }

    fn block_name(&self, block: BlockId) -> String {
        match self.model.blocks.get(block.0 as usize) {
            Some(block) if !block.module.is_empty() => block.module.clone(),
            _ => format!("blk.{}", block.0),
        }
    }

    /// Bytes of some tensors at each precision.
    pub(super) fn sum(&self, tensors: &[usize]) -> Vec<Bytes> {
        let sum = |sizes: &Vec<Bytes>| tensors.iter().map(|tensor| sizes[*tensor]).sum();
        self.sizes.iter().map(sum).collect()
    }

    /// Bytes that one sequence of so many tokens keeps, in 16 bits.
    pub(super) fn cache(&self, tokens: Tokens) -> Bytes {
        let blocks = self.model.blocks.iter();
        blocks.map(|block| self.kept_by(block, tokens)).sum()
    }

    /// The same in an engine that keeps its cache in pages.
    pub(super) fn paged_cache(&self, engine: paged::Engine, tokens: Tokens) -> Bytes {
        let workload = Workload::of_context(tokens);
        let blocks = self.model.blocks.iter();
        blocks.map(|block| engine.cache(block, &workload)).sum()
    }

    /// What of that a node keeps.
    pub(super) fn kept(&self, node: &Node, tokens: Tokens) -> Bytes {
        let block = self.block(node);
        block.map_or(Bytes::ZERO, |block| self.kept_by(block, tokens))
    }

    /// The block whose mixer a node is.
    pub(super) fn block(&self, node: &Node) -> Option<&Block> {
        match node.kind {
            NodeKind::Attention(block) => self.model.blocks.get(block.0 as usize),
            _ => None,
        }
    }

    fn kept_by(&self, block: &Block, tokens: Tokens) -> Bytes {
        let workload = Workload {
            kv_format: KvFormat::F16,
            ..Workload::of_context(tokens)
        };
        match self.target {
            Target::LlamaCpp => memory::llama_cpp_cache(block, &workload, memory::CUDA),
            Target::Transformers => memory::transformers_cache(block, &workload, KvFormat::F16),
            Target::Vllm => paged::Engine::Vllm.cache(block, &workload),
            Target::Sglang => paged::Engine::Sglang.cache(block, &workload),
        }
    }

    /// Parameters of some tensors.
    pub(super) fn parameters(&self, tensors: &[usize]) -> u64 {
        let tensors = tensors.iter().map(|tensor| &self.model.tensors[*tensor]);
        tensors
            .filter(|tensor| tensor.is_trained())
            .map(model::Tensor::elements)
            .sum()
    }

    /// Bytes of keys and values that a node adds for each token, in 16 bits.
    pub(super) fn kv_bytes_per_token(&self, node: &Node) -> Bytes {
        let caches = self.block(node).map(|block| &block.caches);
        let elements = caches.into_iter().flatten().map(|cache| match self.target {
            Target::LlamaCpp | Target::Vllm | Target::Sglang => cache.elements_per_token(),
            Target::Transformers => cache.elements_per_token_in_transformers(),
        });
        KvFormat::F16.row_bytes(elements.sum())
    }
}

pub(super) fn inspect(arguments: &InspectArguments) -> Result<Outcome, Failure> {
    let model = source::open(&arguments.model)?;
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
        tensors: arguments.tensors,
        sizes: sizes?,
        model,
    };
    let text = match arguments.graph {
        Some(GraphFormat::Dot) => render::graph::dot(&inspection),
        Some(GraphFormat::Mermaid) => render::graph::mermaid(&inspection),
        Some(GraphFormat::Yaml) => render::graph::yaml(&inspection),
        None if arguments.json => json::inspection(&inspection),
        None => render::inspection(&inspection),
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
