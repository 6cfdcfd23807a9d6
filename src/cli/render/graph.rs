//! The layer graph as DOT and as Mermaid, with bytes on nodes and edges.

use crate::cli::model::Inspection;
use crate::model::Node;

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
