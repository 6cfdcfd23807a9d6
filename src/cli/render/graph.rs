//! The layer graph as DOT, as Mermaid and as a document for `place`, with bytes on nodes and edges.

use crate::cli::model::Inspection;
use crate::model::{Node, NodeKind};
use crate::units::Bytes;

/// For Graphviz.
pub(in crate::cli) fn dot(inspection: &Inspection) -> String {
    let nodes = inspection.graph.nodes().map(|node| {
        let label = lines(inspection, node).join("\\n");
        format!("  \"{}\" [label=\"{label}\"];\n", node.name)
    });
    let edges = inspection
        .graph
        .edges()
        .map(|(from, to, size)| format!("  \"{from}\" -> \"{to}\" [label=\"{size}\"];\n"));
    let body: String = nodes.chain(edges).collect();
    format!("digraph model {{\n  node [shape=box];\n{body}}}\n")
}

/// For Mermaid, as Markdown pages show it.
pub(in crate::cli) fn mermaid(inspection: &Inspection) -> String {
    let nodes = inspection.graph.nodes().map(|node| {
        let label = lines(inspection, node).join("<br>");
        format!("  {}[\"{label}\"]\n", node.name)
    });
    let edges = inspection
        .graph
        .edges()
        .map(|(from, to, size)| format!("  {from} -->|{size}| {to}\n"));
    let body: String = nodes.chain(edges).collect();
    format!("flowchart TD\n{body}")
}

/// For `shardplan place`: a token reads each matrix once and one row of the embedding.
pub(in crate::cli) fn yaml(inspection: &Inspection) -> String {
    let size = |node: &Node| inspection.bytes(node).first().copied().unwrap_or_default();
    let embedding = inspection
        .graph
        .nodes()
        .find(|node| node.kind == NodeKind::Embedding);
    let nodes = inspection.graph.nodes().map(|node| {
        let read = match node.kind {
            NodeKind::Embedding => Bytes::ZERO,
            NodeKind::Head if node.tied => embedding.map(size).unwrap_or_default(),
            NodeKind::Head
            | NodeKind::Tower
            | NodeKind::Attention(_)
            | NodeKind::FeedForward(_)
            | NodeKind::FinalNorm => size(node),
        };
        let shared = inspection.graph.nodes().any(|node| node.tied);
        let together = match node.kind {
            NodeKind::Embedding | NodeKind::Head if shared => ", together: embedding",
            NodeKind::Embedding
            | NodeKind::Head
            | NodeKind::Tower
            | NodeKind::Attention(_)
            | NodeKind::FeedForward(_)
            | NodeKind::FinalNorm => "",
        };
        let (name, read) = (&node.name, String::from(read));
        let memory = String::from(size(node));
        format!("- {{name: {name}, reads: {read}, memory: {memory}{together}}}\n")
    });
    let edges = inspection.graph.edges().map(|(from, to, size)| {
        let size = String::from(size);
        format!("- {{from: {from}, to: {to}, size: {size}}}\n")
    });
    let (nodes, edges): (String, String) = (nodes.collect(), edges.collect());
    format!("version: 1\nnodes:\n{nodes}edges:\n{edges}")
}

/// What a node shows: its name, its bytes at the first precision, and what it keeps a token.
fn lines(inspection: &Inspection, node: &Node) -> Vec<String> {
    let bytes = inspection
        .bytes(node)
        .into_iter()
        .zip(&inspection.precisions);
    let bytes = bytes
        .take(1)
        .map(|(size, precision)| format!("{size} {precision}"));
    let cache = inspection.kv_bytes_per_token(node) * 1024;
    let cache = (cache.0 > 0).then(|| format!("{cache} KV a 1k tokens"));
    let tied = node.tied.then(|| "the embedding's matrix".to_owned());
    [node.name.clone()]
        .into_iter()
        .chain(bytes)
        .chain(cache)
        .chain(tied)
        .collect()
}
