//! Which run of layers each node of a cluster serves, so that the most tokens flow through.
//!
//! The placement problem of Helix (Mei et al., ASPLOS 2025). A node that holds k layers passes at
//! most `T(k)` tokens a second; a request goes from the source through nodes whose runs follow each
//! other exactly to the sink, over links with a rate each. A placement is worth its maximum flow
//! (`network.rs`). Placements come from stages of equal runs (`stages.rs`) and from moving single
//! nodes (`moves.rs`). What no placement exceeds comes from prices of nodes (`prices.rs`, a linear
//! program) and, on small clusters, from an exhaustive search for covers (`cover.rs`). Nothing here
//! knows a model or a framework.

mod cover;
mod moves;
mod network;
mod prices;
pub(in crate::solve) mod program;
mod stages;

use std::collections::BTreeMap;

/// Tokens a second.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Rate(pub f64);

/// A server.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// `rates[k − 1]`: what it passes when it holds k layers. It holds at least one, and no more
    /// than there are rates.
    pub rates: Vec<Rate>,
    /// What the source can send to it; none where there is no link.
    pub from_source: Option<Rate>,
    /// What it can send to the sink; none where there is no link.
    pub to_sink: Option<Rate>,
}

/// Servers, the links between them, and the layers that they are to serve.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    n_layers: usize,
    nodes: Vec<Node>,
    /// For each node its links to others.
    links: Vec<Vec<(usize, Rate)>>,
}

/// Why a cluster is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// A link ends at a node that is not there.
    #[error("a link names node {node}, and there are {nodes} nodes")]
    NoSuchNode {
        /// The node.
        node: usize,
        /// How many there are.
        nodes: usize,
    },
    /// A node can hold no layer.
    #[error("node {0} can hold no layer")]
    HoldsNothing(usize),
    /// A rate is no number, or less than nothing.
    #[error("a rate is {0}, which is no rate")]
    Rate(String),
}

/// The layers that a node holds: `start … start + count − 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub start: usize,
    /// How many.
    pub count: usize,
}

/// A placement and what is known of all others.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    /// The run of each node.
    pub runs: Vec<Run>,
    /// Tokens a second that flow through.
    pub flow: Rate,
    /// No placement has more.
    pub bound: Rate,
    /// How that is known.
    pub proof: &'static str,
}

/// Nodes with the same rates.
#[derive(Clone, Debug, PartialEq)]
struct Class {
    rates: Vec<f64>,
    nodes: Vec<usize>,
}

impl Cluster {
    /// Checks what the rest relies on.
    ///
    /// # Errors
    /// Where a link names no node, a node can hold nothing, or a rate is none.
    pub fn new(
        n_layers: usize,
        nodes: Vec<Node>,
        links: Vec<(usize, usize, Rate)>,
    ) -> Result<Self, ClusterError> {
        let n_nodes = nodes.len();
        let ends = links.iter().flat_map(|(from, to, _)| [*from, *to]);
        if let Some(node) = ends.into_iter().find(|node| *node >= n_nodes) {
            let nodes = n_nodes;
            return Err(ClusterError::NoSuchNode { node, nodes });
        }
        if let Some(node) = nodes.iter().position(|node| node.rates.is_empty()) {
            return Err(ClusterError::HoldsNothing(node));
        }
        let of_nodes = nodes.iter().flat_map(|node| {
            node.rates
                .iter()
                .chain(&node.from_source)
                .chain(&node.to_sink)
        });
        for Rate(rate) in of_nodes.chain(links.iter().map(|(_, _, rate)| rate)) {
            if !(rate.is_finite() && *rate >= 0.0) {
                return Err(ClusterError::Rate(rate.to_string()));
            }
        }
        let mut after = vec![Vec::new(); n_nodes];
        for (from, to, rate) in links {
            after[from].push((to, rate));
        }
        Ok(Self {
            n_layers,
            nodes,
            links: after,
        })
    }

    /// Tokens a second that flow through a placement; none where it is no placement.
    pub fn flow(&self, runs: &[Run]) -> Option<Rate> {
        let fits = |(node, run): (&Node, &Run)| {
            (1..=node.rates.len()).contains(&run.count) && run.start + run.count <= self.n_layers
        };
        let all = runs.len() == self.nodes.len() && self.nodes.iter().zip(runs).all(fits);
        all.then(|| Rate(network::max_flow(self, runs)))
    }

    fn classes(&self) -> Vec<Class> {
        let mut classes: BTreeMap<Vec<u64>, Class> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let held = node.rates.iter().take(self.n_layers);
            let rates: Vec<f64> = held.map(|rate| rate.0).collect();
            let key = rates.iter().map(|rate| rate.to_bits()).collect();
            let nodes = Vec::new();
            classes
                .entry(key)
                .or_insert(Class { rates, nodes })
                .nodes
                .push(index);
        }
        classes.into_values().collect()
    }
}

/// By how much a bound may exceed a flow that is called the best: sums of the same rates in another
/// order differ by less.
const CLOSE: f64 = 1e-9;

/// The best placement that is found, with what bounds all of them; none where the nodes together
/// cannot hold the layers in runs that follow each other.
pub fn place(cluster: &Cluster) -> Option<Placement> {
    let classes = cluster.classes();
    let (ceiling, mut proof) = (prices::bound(&classes, cluster.n_layers), "prices of nodes");
    let staged = stages::best(cluster, &classes, ceiling);
    let (runs, flow) = moves::improve(cluster, staged, ceiling)?;
    let mut bound = ceiling;
    if flow.0 < bound * (1.0 - CLOSE)
        && let Some(tighter) = cover::bound(&classes, cluster.n_layers, flow.0, ceiling)
    {
        (bound, proof) = (tighter, "search of all covers");
    }
    if bound <= flow.0 * (1.0 + 2.0 * CLOSE) {
        bound = flow.0;
    }
    Some(Placement {
        runs,
        flow,
        bound: Rate(bound),
        proof,
    })
}

#[cfg(test)]
mod tests;
