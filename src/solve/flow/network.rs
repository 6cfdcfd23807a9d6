//! The maximum flow through a placement: augmenting paths by breadth (Edmonds and Karp 1972).

use super::{Cluster, Run};

/// An arc and its twin of the opposite direction, which stand side by side.
struct Arc {
    to: usize,
    left: f64,
}

#[derive(Default)]
struct Network {
    arcs: Vec<Arc>,
    out: Vec<Vec<usize>>,
}

impl Network {
    fn arc(&mut self, from: usize, to: usize, capacity: f64) {
        for (from, to, left) in [(from, to, capacity), (to, from, 0.0)] {
            self.out[from].push(self.arcs.len());
            self.arcs.push(Arc { to, left });
        }
    }

    /// The arcs of a shortest path with something left, from its end.
    fn path(&self, source: usize, sink: usize) -> Option<Vec<usize>> {
        let mut by = vec![None; self.out.len()];
        let mut open = vec![source];
        let mut at = 0;
        while at < open.len() && by[sink].is_none() {
            for arc in &self.out[open[at]] {
                let to = self.arcs[*arc].to;
                if self.arcs[*arc].left > 1e-9 && by[to].is_none() && to != source {
                    by[to] = Some(*arc);
                    open.push(to);
                }
            }
            at += 1;
        }
        let mut path = Vec::new();
        let mut node = sink;
        while node != source {
            let arc = by[node]?;
            path.push(arc);
            node = self.arcs[arc ^ 1].to;
        }
        Some(path)
    }

    fn max_flow(&mut self, source: usize, sink: usize) -> f64 {
        let mut flow = 0.0;
        while let Some(path) = self.path(source, sink) {
            let least = path.iter().map(|arc| self.arcs[*arc].left);
            let least = least.fold(f64::INFINITY, f64::min);
            for arc in path {
                self.arcs[arc].left -= least;
                self.arcs[arc ^ 1].left += least;
            }
            flow += least;
        }
        flow
    }
}

pub(super) fn max_flow(cluster: &Cluster, runs: &[Run]) -> f64 {
    let n_nodes = runs.len();
    let (source, sink) = (2 * n_nodes, 2 * n_nodes + 1);
    let mut network = Network {
        arcs: Vec::new(),
        out: vec![Vec::new(); 2 * n_nodes + 2],
    };
    for (index, (node, run)) in cluster.nodes.iter().zip(runs).enumerate() {
        let end = run.start + run.count;
        network.arc(2 * index, 2 * index + 1, node.rates[run.count - 1].0);
        if let (0, Some(rate)) = (run.start, node.from_source) {
            network.arc(source, 2 * index, rate.0);
        }
        if let (true, Some(rate)) = (end == cluster.n_layers, node.to_sink) {
            network.arc(2 * index + 1, sink, rate.0);
        }
        for (to, rate) in &cluster.links[index] {
            if runs[*to].start == end {
                network.arc(2 * index + 1, 2 * to, rate.0);
            }
        }
    }
    network.max_flow(source, sink)
}
