//! Better placements by moving single nodes and borders: simulated annealing.
//!
//! Its energy is the flow, and a share of what every cut between two layers and through one layer
//! could carry, so that it feels a step towards more flow before the flow itself is there. Steps are
//! counted and the generator's seed is fixed: the same cluster gives the same placement.

use super::{Cluster, Node, Rate, Run, network};
use crate::solve::random::Random;

/// One annealing: its steps times the nodes, how much the cuts weigh beside the flow, and the
/// temperature that it begins with, as a share of the ceiling.
struct Schedule {
    work: usize,
    cuts: f64,
    heat: f64,
}

/// More steps than so many for each pair of nodes find little on small clusters.
const STEPS: usize = 600;

/// Where no link binds, stages are hard to better.
const AMPLE: [Schedule; 1] = [Schedule {
    work: 800_000,
    cuts: 0.3,
    heat: 0.02,
}];

/// Where links bind. The weights were tried on clusters of 24 and 42 nodes.
const SCARCE: [Schedule; 2] = [
    Schedule {
        work: 8_000_000,
        cuts: 1.0,
        heat: 0.005,
    },
    Schedule {
        work: 8_000_000,
        cuts: 0.3,
        heat: 0.005,
    },
];

/// The best placement found from a start, and its flow; none where no start was given and none is
/// found.
pub(super) fn improve(
    cluster: &Cluster,
    start: Option<Vec<Run>>,
    ceiling: f64,
) -> Option<(Vec<Run>, Rate)> {
    let start = match start {
        Some(runs) => runs,
        None => one_after_the_other(cluster)?,
    };
    let mut best = (network::max_flow(cluster, &start), start.clone());
    let schedules: &[Schedule] = if ample(cluster, ceiling) {
        &AMPLE
    } else {
        &SCARCE
    };
    for schedule in schedules {
        anneal(cluster, start.clone(), ceiling, schedule, &mut best);
    }
    (best.0 > 0.0).then_some((best.1, Rate(best.0)))
}

/// Whether every link there could be is there and none can bind.
fn ample(cluster: &Cluster, ceiling: f64) -> bool {
    let wide = |rate: &Rate| rate.0 >= ceiling;
    let n_nodes = cluster.nodes.len();
    let ends =
        |node: &Node| [&node.from_source, &node.to_sink].map(|end| end.is_some_and(|it| wide(&it)));
    cluster.nodes.iter().all(|node| ends(node) == [true; 2])
        && cluster
            .links
            .iter()
            .all(|links| links.len() + 1 >= n_nodes && links.iter().all(|(_, rate)| wide(rate)))
}

fn anneal(
    cluster: &Cluster,
    start: Vec<Run>,
    ceiling: f64,
    schedule: &Schedule,
    best: &mut (f64, Vec<Run>),
) {
    let mut random = Random(1);
    let mut now = (energy(cluster, &start, ceiling, schedule.cuts).1, start);
    let n_nodes = cluster.nodes.len().max(1);
    let steps = (schedule.work / n_nodes).min(STEPS * n_nodes * n_nodes);
    for step in 0..steps {
        if best.0 >= ceiling * (1.0 - super::CLOSE) {
            return;
        }
        let left = 1.0 - step as f64 / steps as f64;
        let temperature = schedule.heat * left * left;
        let mut runs = now.1.clone();
        if !moved(cluster, &mut runs, &mut random) {
            continue;
        }
        let (flow, worth) = energy(cluster, &runs, ceiling, schedule.cuts);
        let rise = worth - now.0;
        if rise >= 0.0 || random.unit() < (rise / temperature.max(1e-9)).exp() {
            if flow > best.0 {
                *best = (flow, runs.clone());
            }
            now = (worth, runs);
        }
    }
}

/// The nodes in order, each with as many layers as it can hold.
fn one_after_the_other(cluster: &Cluster) -> Option<Vec<Run>> {
    let mut start = 0;
    let runs = cluster.nodes.iter().map(|node| {
        let left = cluster.n_layers - start;
        let count = node.rates.len().min(left);
        if left == 0 {
            return Run { start: 0, count: 1 };
        }
        let run = Run { start, count };
        start += count;
        run
    });
    let runs: Vec<Run> = runs.collect();
    (cluster.n_layers > 0 && start == cluster.n_layers).then_some(runs)
}

/// The flow, and the flow with the share of the cuts in it.
fn energy(cluster: &Cluster, runs: &[Run], ceiling: f64, weight: f64) -> (f64, f64) {
    let flow = network::max_flow(cluster, runs);
    let n_layers = cluster.n_layers;
    let rate = |node: usize| cluster.nodes[node].rates[runs[node].count - 1].0;
    // What passes through layer l, and between the layers l − 1 and l.
    let mut through = vec![0.0; n_layers];
    let mut between = vec![0.0; n_layers + 1];
    for (node, run) in runs.iter().enumerate() {
        let end = run.start + run.count;
        for layer in run.start..end {
            through[layer] += rate(node);
            if layer > run.start {
                between[layer] += rate(node);
            }
        }
        if let (0, Some(link)) = (run.start, cluster.nodes[node].from_source) {
            between[0] += rate(node).min(link.0);
        }
        if let (true, Some(link)) = (end == n_layers, cluster.nodes[node].to_sink) {
            between[n_layers] += rate(node).min(link.0);
        }
        for (to, link) in &cluster.links[node] {
            if runs[*to].start == end {
                between[end] += rate(node).min(rate(*to)).min(link.0);
            }
        }
    }
    let cuts = through.iter().chain(&between);
    let cuts: f64 = cuts.map(|cut| cut.min(ceiling)).sum();
    let cuts = cuts / (2 * n_layers + 1) as f64;
    (flow, (flow + weight * cuts) / ceiling)
}

/// Changes the placement; whether it is still one.
fn moved(cluster: &Cluster, runs: &mut [Run], random: &mut Random) -> bool {
    let n_nodes = runs.len();
    let (one, two) = (random.below(n_nodes), random.below(n_nodes));
    let (first, second) = (runs[one], runs[two]);
    match random.below(5) {
        // Two nodes change places.
        0 | 1 => {
            runs[one] = second;
            runs[two] = first;
        }
        // One joins the other.
        2 => runs[one] = second,
        // One serves what follows the other, or what precedes it.
        3 => {
            let count = 1 + random.below(cluster.nodes[one].rates.len());
            let after = second.start + second.count;
            let start = match random.below(2) {
                0 => Some(after),
                _ => second.start.checked_sub(count),
            };
            let Some(start) = start else { return false };
            runs[one] = Run { start, count };
        }
        // A border moves by a layer, and with it all that end and begin there.
        _ => {
            let border = first.start + first.count;
            if border >= cluster.n_layers {
                return false;
            }
            let later = random.below(2) == 0;
            for run in runs.iter_mut() {
                if run.start + run.count == border {
                    run.count = if later { run.count + 1 } else { run.count - 1 };
                } else if run.start == border {
                    let end = run.start + run.count;
                    run.start = if later { border + 1 } else { border - 1 };
                    run.count = end - run.start;
                }
            }
        }
    }
    runs.iter().zip(&cluster.nodes).all(|(run, node)| {
        (1..=node.rates.len()).contains(&run.count) && run.start + run.count <= cluster.n_layers
    })
}
