//! Small pipelines against brute force.

use super::*;
use crate::solve::random::Random;

/// The least pace over every order of stages, copies, devices and ways.
fn by_force(pipeline: &Pipeline) -> Option<u64> {
    let mut best = None;
    grow(pipeline, &mut Vec::new(), &mut best);
    best
}

/// Goes on with every stage of layers that are in none.
fn grow(pipeline: &Pipeline, stages: &mut Vec<Stage>, best: &mut Option<u64>) {
    let n = pipeline.layers.len();
    let taken: Vec<usize> = stages
        .iter()
        .flat_map(|it| it.layers.iter().map(|(layer, _)| *layer))
        .collect();
    if taken.len() == n {
        if let Some(pace) = pipeline.pace(stages) {
            *best = Some(best.map_or(pace.0, |known| known.min(pace.0)));
        }
        return;
    }
    for members in 1..1_usize << n {
        let layers: Vec<usize> = (0..n).filter(|layer| members >> layer & 1 == 1).collect();
        if layers.iter().any(|layer| taken.contains(layer)) {
            continue;
        }
        for ways in 0..2_usize.pow(layers.len() as u32) {
            let layers = layers.iter().enumerate();
            let layers: Vec<_> = layers.map(|(at, it)| (*it, ways >> at & 1)).collect();
            for (shared_by, copies) in [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)] {
                stages.push(Stage {
                    layers: layers.clone(),
                    shared_by,
                    copies,
                });
                grow(pipeline, stages, best);
                stages.pop();
            }
        }
    }
}

fn random_pipeline(random: &mut Random) -> Pipeline {
    let n = 1 + random.below(3);
    let order: Vec<(usize, usize)> = (0..n)
        .flat_map(|from| (from + 1..n).map(move |to| (from, to)))
        .filter(|_| random.below(3) > 0)
        .collect();
    let mut ticks = |most: usize| Ticks(random.below(most) as u64);
    let way = |ticks: &mut dyn FnMut(usize) -> Ticks, layer: usize, order: &[(usize, usize)]| {
        let before = order.iter().filter(|(_, to)| *to == layer);
        let after = order.iter().filter(|(from, _)| *from == layer);
        Way {
            work: ticks(30),
            agreement: ticks(4),
            each: Bytes(ticks(6).0),
            fixed: Bytes(ticks(6).0),
            taken: before.map(|(from, _)| (*from, ticks(6))).collect(),
            given: after.map(|(_, to)| (*to, ticks(6))).collect(),
        }
    };
    let layers = (0..n).map(|layer| {
        let degrees = (1..=3).filter(|degree| *degree == 1 || ticks(3).0 > 0);
        let degrees: Vec<usize> = degrees.collect();
        let ways = degrees.into_iter().map(|degree| {
            let count = 1 + ticks(2).0;
            let ways = (0..count).map(|_| way(&mut ticks, layer, &order));
            (degree, ways.collect())
        });
        ways.collect()
    });
    Pipeline {
        layers: layers.collect(),
        devices: 1 + ticks(3).0 as usize,
        memory: Bytes(8 + ticks(24).0),
        samples: 1 + ticks(6).0 as usize,
        order,
    }
}

#[test]
fn brute_force_agrees_on_small_pipelines_with_copies() {
    let mut random = Random(5);
    let (mut found, mut copied, mut shared) = (0, 0, 0);
    for _ in 0..250 {
        let pipeline = random_pipeline(&mut random);
        let ours = best(&pipeline, &Stop::default()).unwrap();
        let force = by_force(&pipeline);
        assert_eq!(
            ours.as_ref().map(|plan| plan.pace.0),
            force,
            "{pipeline:?} {ours:?}"
        );
        let Some(plan) = ours else { continue };
        assert_eq!(pipeline.pace(&plan.stages), Some(plan.pace));
        assert_eq!(plan.bound, plan.pace);
        assert!(pipeline.area() <= plan.pace.0);
        found += 1;
        copied += usize::from(plan.stages.iter().any(|it| it.copies > 1));
        shared += usize::from(plan.stages.iter().any(|it| it.shared_by > 1));
    }
    assert!(found > 150, "{found}");
    assert!(copied > 20 && shared > 20, "{copied} {shared}");
}
