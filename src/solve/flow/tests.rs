//! Small clusters against brute force.

use super::*;
use crate::solve::random::Random;

fn node(rates: &[f64]) -> Node {
    Node {
        rates: rates.iter().map(|rate| Rate(*rate)).collect(),
        from_source: Some(Rate(1e6)),
        to_sink: Some(Rate(1e6)),
    }
}

/// A cluster in which every node can send to every other.
fn open_cluster(n_layers: usize, nodes: Vec<Node>) -> Cluster {
    let n_nodes = nodes.len();
    let pairs = (0..n_nodes).flat_map(|from| (0..n_nodes).map(move |to| (from, to, Rate(1e6))));
    let links = pairs.filter(|(from, to, _)| from != to).collect();
    Cluster::new(n_layers, nodes, links).expect("all ends are there")
}

/// The largest flow of all placements.
fn by_force(cluster: &Cluster) -> f64 {
    fn go(cluster: &Cluster, runs: &mut Vec<Run>) -> f64 {
        let Some(node) = cluster.nodes.get(runs.len()) else {
            return cluster.flow(runs).map_or(0.0, |flow| flow.0);
        };
        let mut best: f64 = 0.0;
        for count in 1..=node.rates.len().min(cluster.n_layers) {
            for start in 0..=cluster.n_layers - count {
                runs.push(Run { start, count });
                best = best.max(go(cluster, runs));
                runs.pop();
            }
        }
        best
    }
    go(cluster, &mut Vec::new())
}

/// Up to three nodes of up to two kinds, with links that may bind or be missing.
fn random_cluster(random: &mut Random) -> Cluster {
    let kinds: Vec<Vec<f64>> = (0..2)
        .map(|_| {
            (0..1 + random.below(3))
                .map(|_| 1.0 + random.below(30) as f64)
                .collect()
        })
        .collect();
    let nodes: Vec<Node> = (0..1 + random.below(3))
        .map(|_| node(&kinds[random.below(2)]))
        .collect();
    let n_layers = 1 + random.below(4);
    let mut cluster = open_cluster(n_layers, nodes);
    if random.below(2) == 0 {
        for links in &mut cluster.links {
            links.retain(|_| random.below(4) > 0);
            for (_, rate) in links {
                *rate = Rate(random.below(30) as f64);
            }
        }
    }
    cluster
}

#[test]
fn no_placement_exceeds_the_bounds_and_brute_force_finds_the_best() {
    let mut random = Random(5);
    let (mut reached, mut cases) = (0, 0);
    for round in 0..2_000 {
        let cluster = random_cluster(&mut random);
        let force = by_force(&cluster);
        let classes = cluster.classes();
        let ceiling = prices::bound(&classes, cluster.n_layers);
        assert!(
            force <= ceiling * (1.0 + CLOSE),
            "{force} {ceiling} {cluster:?}"
        );
        if force > 0.0 {
            let covers = cover::bound(&classes, cluster.n_layers, force, ceiling.max(force));
            assert!(covers.is_some_and(|covers| force <= covers * (1.0 + CLOSE)));
        }
        // Annealing takes its time; a part of the cases shows what it finds.
        if round % 20 > 0 {
            continue;
        }
        cases += 1;
        match place(&cluster) {
            Some(found) => {
                assert!(
                    found.flow.0 <= force * (1.0 + CLOSE) && force <= found.bound.0 * (1.0 + CLOSE)
                );
                assert_eq!(cluster.flow(&found.runs), Some(found.flow));
                reached += usize::from(found.flow.0 >= force * (1.0 - CLOSE));
            }
            None => reached += usize::from(force == 0.0),
        }
    }
    assert!(reached * 10 >= cases * 9, "{reached} of {cases}");
}

#[test]
fn equal_stages_are_found_and_proven_by_prices() {
    // Two slow nodes beside each other serve what a fast one serves alone.
    let slow = node(&[12.0, 5.0]);
    let fast = node(&[40.0, 10.0]);
    let cluster = open_cluster(4, vec![slow.clone(), fast, slow]);
    let found = place(&cluster).expect("the nodes hold four layers");
    assert_eq!((found.flow, found.bound), (Rate(10.0), Rate(10.0)));
    assert_eq!(found.proof, "prices of nodes");
    assert_eq!(by_force(&cluster), 10.0);
}

#[test]
fn flow_counts_links_and_only_runs_that_follow_each_other() {
    let cluster = open_cluster(4, vec![node(&[9.0, 8.0, 7.0]); 2]);
    let run = |start, count| Run { start, count };
    assert_eq!(cluster.flow(&[run(0, 2), run(2, 2)]), Some(Rate(8.0)));
    assert_eq!(cluster.flow(&[run(0, 3), run(2, 2)]), Some(Rate(0.0)));
    assert_eq!(cluster.flow(&[run(0, 4), run(2, 2)]), None);
    let mut narrow = cluster;
    narrow.links[0][0].1 = Rate(3.0);
    assert_eq!(narrow.flow(&[run(0, 2), run(2, 2)]), Some(Rate(3.0)));
}

#[test]
fn nodes_that_cannot_hold_the_layers_have_no_placement() {
    assert_eq!(place(&open_cluster(5, vec![node(&[9.0, 8.0]); 2])), None);
    let lost = Cluster::new(1, vec![node(&[1.0])], vec![(0, 1, Rate(1.0))]);
    assert_eq!(lost, Err(ClusterError::NoSuchNode { node: 1, nodes: 1 }));
}
