//! What no placement exceeds, by an exhaustive search on small clusters.
//!
//! If a flow λ is reached, the rates of the nodes that hold a layer sum to λ or more at every layer.
//! The search asks whether runs can be laid so, forgetting that they must follow each other. Runs are
//! laid from the first layer on, each beginning at the first layer that lacks something: a run that
//! begins earlier can be moved there, for what it then leaves was covered without it. For each
//! count of nodes used of each class it keeps the layings that no other betters at every layer.

use std::collections::BTreeMap;

use super::Class;

/// More layings than these are not searched, nor clusters with more counts of nodes used.
const MOST_LAYINGS: usize = 20_000;
const MOST_COUNTS: usize = 1_000;

/// What a laying covers from the first lacking layer on: the ends of its runs with their rates.
#[derive(Clone)]
struct Laying {
    front: usize,
    /// Sorted by end, each after `front`.
    ends: Vec<(usize, f64)>,
}

impl Laying {
    fn at(&self, layer: usize) -> f64 {
        let reaching = self.ends.iter().filter(|(end, _)| *end > layer);
        reaching.map(|(_, rate)| rate).sum()
    }

    /// The laying with one more run at its front.
    fn with(&self, count: usize, rate: f64, flow: f64) -> Self {
        let mut next = self.clone();
        let end = self.front + count;
        let place = next.ends.partition_point(|(other, _)| *other <= end);
        next.ends.insert(place, (end, rate));
        while next.at(next.front) >= flow {
            // Coverage changes only where a run ends.
            let Some((end, _)) = next.ends.first().copied() else {
                break;
            };
            next.front = end;
            next.ends.retain(|(other, _)| *other > end);
        }
        next
    }

    /// Whether this covers whatever the other does, at every layer.
    fn betters(&self, other: &Self) -> bool {
        if self.front < other.front {
            return false;
        }
        let steps = other.ends.iter().map(|(end, _)| end - 1);
        steps
            .chain([self.front])
            .filter(|layer| *layer >= self.front)
            .all(|layer| self.at(layer) >= other.at(layer) * (1.0 - 1e-12))
    }

    /// What is still lacking, summed over the layers.
    fn lacks(&self, n_layers: usize, flow: f64) -> f64 {
        (self.front..n_layers)
            .map(|layer| flow - self.at(layer))
            .sum()
    }
}

/// A flow that is out of reach: `reached` itself within rounding where the search proves it, else
/// as far below `ceiling` as it proves. None where the cluster is too large to search.
pub(super) fn bound(classes: &[Class], n_layers: usize, reached: f64, ceiling: f64) -> Option<f64> {
    let counts = classes.iter().map(|class| class.nodes.len() + 1);
    if counts.fold(1_usize, usize::saturating_mul) > MOST_COUNTS {
        return None;
    }
    let mut low = reached * (1.0 + super::CLOSE);
    if !coverable(classes, n_layers, low)? {
        return Some(low);
    }
    let mut high = ceiling;
    while high - low > 1e-7 * high {
        let middle = 0.5 * (low + high);
        match coverable(classes, n_layers, middle) {
            Some(true) => low = middle,
            Some(false) => high = middle,
            None => break,
        }
    }
    Some(high)
}

/// Whether runs can be laid that reach the flow at every layer; none where the search grows too
/// large.
fn coverable(classes: &[Class], n_layers: usize, flow: f64) -> Option<bool> {
    let area = |class: &Class| {
        let areas = class.rates.iter().enumerate();
        areas
            .map(|(index, rate)| (index + 1) as f64 * rate.min(flow))
            .fold(0.0, f64::max)
    };
    let areas: Vec<f64> = classes.iter().map(area).collect();
    let start = Laying {
        front: 0,
        ends: Vec::new(),
    };
    // Layings by how many nodes of each class they use, in order of the sum.
    let mut layer = BTreeMap::from([(vec![0_usize; classes.len()], vec![start])]);
    let mut n_layings = 0;
    while !layer.is_empty() {
        let mut next: BTreeMap<Vec<usize>, Vec<Laying>> = BTreeMap::new();
        for (used, layings) in layer {
            for (index, class) in classes.iter().enumerate() {
                if used[index] == class.nodes.len() {
                    continue;
                }
                let mut more = used.clone();
                more[index] += 1;
                let counts = classes.iter().zip(&more).zip(&areas);
                let left: f64 = counts
                    .map(|((class, used), area)| (class.nodes.len() - used) as f64 * area)
                    .sum();
                let known = next.entry(more).or_default();
                for laying in &layings {
                    for (longest, rate) in class.rates.iter().enumerate() {
                        let longer = laying.with(longest + 1, *rate, flow);
                        if longer.front >= n_layers {
                            return Some(true);
                        }
                        if longer.lacks(n_layers, flow) > left * (1.0 + 1e-9)
                            || known.iter().any(|other| other.betters(&longer))
                        {
                            continue;
                        }
                        known.retain(|other| !longer.betters(other));
                        known.push(longer);
                    }
                }
                n_layings += known.len();
                if n_layings > MOST_LAYINGS {
                    return None;
                }
            }
        }
        layer = next;
    }
    Some(false)
}
