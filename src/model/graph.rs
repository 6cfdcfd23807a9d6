//! The layer graph: the units that can be placed, and what flows between them.
//!
//! Attention and feed-forward of a block are nodes of their own; a target that keeps a block whole
//! joins them when it prices. `petgraph` stays behind this file.

use petgraph::algo::toposort;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::model::{Block, BlockId, Cache, Model, Part};
use crate::units::Bytes;

/// Placeable units in order of execution, and the activations between them.
#[derive(Clone, Debug)]
pub struct LayerGraph {
    graph: DiGraph<Node, Bytes>,
}

/// One unit that can be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// A name for people: `layers.3.attention`.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its tensors, as indices into `Model::tensors`.
    pub tensors: Vec<usize>,
    /// Whether its matrix is the input embedding's, stored once.
    pub tied: bool,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Modules beside the chain that feed it: a vision tower.
    Tower,
    /// The input embedding.
    Embedding,
    /// The attention or recurrent mixer of a block; it alone holds keys and values.
    Attention(BlockId),
    /// The feed-forward of a block.
    FeedForward(BlockId),
    /// The norm behind the last block.
    FinalNorm,
    /// The output head.
    Head,
}

impl NodeKind {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tower => "tower",
            Self::Embedding => "embedding",
            Self::Attention(_) => "attention",
            Self::FeedForward(_) => "feed_forward",
            Self::FinalNorm => "final_norm",
            Self::Head => "head",
        }
    }

    fn part(self) -> Part {
        match self {
            Self::Tower => Part::Tower,
            Self::Embedding => Part::Embedding,
            Self::Attention(block) => Part::Attention(block),
            Self::FeedForward(block) => Part::FeedForward(block),
            Self::FinalNorm => Part::FinalNorm,
            Self::Head => Part::Head,
        }
    }
}

impl LayerGraph {
    /// The graph: a chain from the embedding to the head, what a tower feeds into it, and from an
    /// encoder to every block of its decoder.
    ///
    /// Every edge carries one vector of the residual stream for each token, in 16 bits.
    pub fn new(model: &Model) -> Self {
        let blocks = (0..model.dimensions.n_layers).map(BlockId);
        let kinds = [NodeKind::Tower, NodeKind::Embedding]
            .into_iter()
            .chain(blocks.flat_map(|b| [NodeKind::Attention(b), NodeKind::FeedForward(b)]))
            .chain([NodeKind::FinalNorm, NodeKind::Head]);
        let activation = Bytes(2) * model.dimensions.hidden;
        let mut tensors = tensors_by_part(model);
        let mut graph = DiGraph::new();
        let mut previous: Option<NodeIndex> = None;
        let mut embedding = None;
        // An encoder-decoder: the end of its encoder, and the first block of its decoder.
        let crosses = |block: &Block| {
            block
                .caches
                .iter()
                .any(|cache| matches!(cache, Cache::Cross { .. }))
        };
        let decoder = model.blocks.iter().position(crosses);
        // Its encoder keeps nothing; blocks that attend to a tower stand among others that do.
        let decoder = decoder.filter(|first| {
            let mut encoder = model.blocks[..*first].iter();
            encoder.all(|block| block.caches.is_empty())
        });
        let mut encoded = None;
        for kind in kinds {
            // A tied head has a node and no tensor; other parts that a model lacks have none.
            let is_optional = !matches!(kind, NodeKind::Embedding | NodeKind::Head);
            if is_optional && !tensors.contains_key(&kind.part()) {
                continue;
            }
            let node = graph.add_node(Node {
                name: name(kind),
                kind,
                tensors: tensors.remove(&kind.part()).unwrap_or_default(),
                tied: kind == NodeKind::Head && model.tied,
            });
            if let NodeKind::Attention(block) = kind
                && let Some(decoder) = decoder.filter(|decoder| *decoder <= block.0 as usize)
            {
                if block.0 as usize == decoder {
                    (encoded, previous) = (previous, embedding);
                }
                if let Some(encoded) = encoded {
                    graph.add_edge(encoded, node, activation);
                }
            }
            if let Some(previous) = previous {
                graph.add_edge(previous, node, activation);
            }
            if kind == NodeKind::Embedding {
                embedding = Some(node);
            }
            previous = Some(node);
        }
        Self { graph }
    }

    /// The nodes in order of execution.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let order = toposort(&self.graph, None)
            .expect("the constructor adds edges only from earlier to later nodes");
        order.into_iter().map(|index| &self.graph[index])
    }

    /// The edges as names of both ends and the bytes of one token that flow.
    pub fn edges(&self) -> impl Iterator<Item = (&str, &str, Bytes)> {
        self.graph.edge_indices().filter_map(|edge| {
            let (from, to) = self.graph.edge_endpoints(edge)?;
            Some((
                self.graph[from].name.as_str(),
                self.graph[to].name.as_str(),
                self.graph[edge],
            ))
        })
    }
}

fn tensors_by_part(model: &Model) -> std::collections::BTreeMap<Part, Vec<usize>> {
    let mut parts = std::collections::BTreeMap::<_, Vec<usize>>::new();
    for (index, tensor) in model.tensors.iter().enumerate() {
        parts.entry(tensor.part).or_default().push(index);
    }
    parts
}

fn name(kind: NodeKind) -> String {
    match kind {
        NodeKind::Attention(BlockId(block)) | NodeKind::FeedForward(BlockId(block)) => {
            format!("layers.{block}.{}", kind.name())
        }
        NodeKind::Tower | NodeKind::Embedding | NodeKind::FinalNorm | NodeKind::Head => {
            kind.name().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Origin, config, known};

    #[test]
    fn the_nodes_of_a_decoder_are_a_chain_that_covers_every_trained_tensor() {
        let known = known::find("llama-2-70b").unwrap();
        let model = config::model("llama-2-70b", Origin::Known, &known.config).unwrap();
        let graph = LayerGraph::new(&model);
        let nodes: Vec<_> = graph.nodes().collect();
        assert_eq!(nodes.len(), 1 + 2 * 80 + 2);
        assert_eq!(graph.edges().count(), nodes.len() - 1);
        assert_eq!(nodes[1].name, "layers.0.attention");
        let covered: usize = nodes.iter().map(|node| node.tensors.len()).sum();
        let trained = model.tensors.iter().filter(|tensor| tensor.is_trained());
        assert_eq!(covered, trained.count());
        assert_eq!(graph.edges().next().unwrap().2, Bytes(16_384));
    }
}
