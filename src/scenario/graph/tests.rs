//! Small graphs against every placement there is, and readers against arbitrary bytes.

use proptest::prelude::*;

use super::*;
use crate::hardware;

/// A document of a few operators, its figures drawn from a seed.
fn document(mut seed: u64) -> String {
    let mut draw = |end: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % end
    };
    let n = 2 + draw(4);
    let mut text = String::from("version: 1\nnodes:\n");
    for node in 0..n {
        let cpu =
            [String::new(), format!(", cpu: {} ms", 10 + draw(60))][(draw(3) > 0) as usize].clone();
        let pin = ["", "", "", "", ", device: cuda1"][draw(5) as usize];
        let group = ["", "", "", ", together: g"][draw(4) as usize];
        text += &format!(
            "- {{name: n{node}, time: {{gpu: {} ms, cuda0: {} ms{cpu}}}, memory: {} GiB{pin}{group}}}\n",
            1 + draw(20),
            1 + draw(20),
            draw(4),
        );
    }
    text += "edges:\n";
    for from in 0..n {
        let size = draw(200);
        for to in from + 1..n {
            if draw(5) < 2 {
                text += &format!("- {{from: n{from}, to: n{to}, size: {size} MB}}\n");
            }
        }
    }
    match text.ends_with("edges:\n") {
        true => text.replace("edges:\n", ""),
        false => text,
    }
}

/// The least worth over every way to give each operator a place, by the sums that know no solver.
fn by_force(question: &GraphQuestion) -> Option<Ticks> {
    let n = question.graph.nodes().len() as u32;
    let places = question.rig.devices().len() + usize::from(question.rig.host().is_some());
    let ways = (0..places.pow(n)).filter_map(|way| {
        let spots: Spots = (0..n).map(|node| way / places.pow(node) % places).collect();
        tally::add_up(&question.graph, &question.rig, &spots)
            .check(question)
            .ok()
    });
    ways.min()
}

#[test]
fn every_placement_of_a_small_graph_is_no_better_than_the_answer_or_its_bound() {
    let rig = hardware::read("2x 6 GiB@448 GB/s + 4 GiB@300 GB/s, ram 6 GiB").unwrap();
    let (mut found, mut none, mut met, mut cases) = (0, 0, 0, 0);
    for seed in 0..90 {
        let graph = OperatorGraph::from_yaml(&document(seed), "graph.yaml").unwrap();
        for aim in [Aim::Throughput, Aim::ScatteredThroughput, Aim::Latency] {
            let question = GraphQuestion {
                graph: graph.clone(),
                rig: rig.clone(),
                aim,
                stop: Stop::default(),
            };
            if aim == Aim::Latency && seed % 18 != 0 {
                continue;
            }
            let force = by_force(&question);
            let kinds = Kinds::new(&graph, &rig).unwrap();
            let ours = match aim {
                Aim::Throughput => question.pipeline(&kinds),
                Aim::ScatteredThroughput => question.scattered(&kinds),
                Aim::Latency => question.soonest(&kinds),
            };
            match (ours, force) {
                (Ok(ours), Some(force)) => {
                    let tally = tally::add_up(&graph, &rig, &ours.spots);
                    assert_eq!(tally.check(&question), Ok(ours.worth), "{seed} {aim:?}");
                    assert!(ours.bound <= force && force <= ours.worth, "{seed} {aim:?}");
                    found += 1;
                    if aim != Aim::Latency {
                        assert_eq!((ours.worth, ours.bound), (force, force), "{seed}");
                    } else {
                        cases += 1;
                        met += usize::from(ours.worth == force);
                    }
                }
                (Err(NoPlacement::Impossible(_) | NoPlacement::NotFound), None) => none += 1,
                (Err(NoPlacement::NotFound), Some(_)) if aim != Aim::Throughput => cases += 1,
                (ours, force) => panic!("{seed} {aim:?} {force:?} {:?}", ours.err()),
            }
        }
    }
    assert!(found > 40 && none > 0, "{found} found, {none} not");
    assert!(met * 10 >= cases * 8, "{met} of {cases}");
}

#[test]
fn a_search_that_was_stopped_is_no_worse_than_a_simple_rule() {
    let rig = hardware::read("2x 6 GiB@448 GB/s + 4 GiB@300 GB/s, ram 6 GiB").unwrap();
    let mut n_rules = 0;
    for seed in 0..30 {
        let graph = OperatorGraph::from_yaml(&document(seed), "graph.yaml").unwrap();
        let question = GraphQuestion {
            graph: graph.clone(),
            rig: rig.clone(),
            aim: Aim::Latency,
            stop: Stop::default(),
        };
        question.stop.set();
        let rules = baseline::all(&question);
        let placed = rules.iter().filter_map(|(_, placed)| placed.as_ref());
        let Some(best) = placed.map(|(_, worth)| *worth).min() else {
            continue;
        };
        let nothing = Err(NoPlacement::NotFound);
        let kinds = Kinds::new(&graph, &rig).unwrap();
        for found in [nothing, question.soonest(&kinds)] {
            let found = no_worse(found, &rules).ok().unwrap();
            assert!(found.bound <= found.worth && found.worth <= best, "{seed}");
        }
        n_rules += 1;
    }
    assert!(n_rules > 3, "{n_rules}");
}

const SMALL: &str = "version: 1
nodes:
- {name: a, time: {gpu: 1 ms, cpu: 2 s}, memory: 1 GiB, together: g}
- {name: b, reads: 3 MiB, device: cuda0, together: g}
edges:
- {from: a, to: b, size: 2 MiB}
";

proptest! {
    #[test]
    fn no_document_panics(text in any::<String>()) {
        let _ = OperatorGraph::from_yaml(&text, "any");
    }

    #[test]
    fn no_damaged_document_panics(at in 0..SMALL.len(), with in "[^g-z]{0,3}", cut in 0usize..9) {
        let mut text = SMALL.to_owned();
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &with);
        if let Ok(graph) = OperatorGraph::from_yaml(&text, "any") {
            let _ = Kinds::new(&graph, &hardware::read("RTX 3060").unwrap());
        }
    }
}

#[test]
fn times_come_from_the_nearest_key_and_else_from_what_is_read() {
    let text = "version: 1
nodes:
- {name: a, time: {gpu: 4 ms, ampere: 3 ms, cuda0: 2 ms}}
- {name: b, reads: 936 MB}
";
    let graph = OperatorGraph::from_yaml(text, "graph.yaml").unwrap();
    let rig = hardware::read("2x RTX 3090 + RTX 4090, ram 32 GiB").unwrap();
    let time = |node: usize, place| kinds::work(&graph.nodes()[node], &rig, place).map(|it| it.0);
    assert_eq!(
        [0, 1, 2, 3].map(|place| time(0, place)),
        [Some(2e-3), Some(3e-3), Some(4e-3), None]
    );
    // 936.2 GB/s, of which 0.89 are reached.
    assert!((time(1, 0).unwrap() - 1e-3 / 0.89).abs() < 1e-6);
    assert!(time(1, 3).is_some());
}
