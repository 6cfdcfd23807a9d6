//! `clusters/parallax_waterfill_cases.yaml`: layers that are alike over unlike GPUs, each with a
//! capacity in layers, one of them holding the embedding besides; and the sizes that Parallax's own
//! tests expect. Values are the time of the busiest GPU: its layers over its TFLOPS.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use shardplan::solve::Stop;
use shardplan::solve::dag::{self, Graph, Item, Kind, Machine, Partition, Ticks};
use shardplan::units::Bytes;

use crate::table::{Answer, Table};

#[derive(Deserialize)]
struct Document {
    gpus: BTreeMap<String, Gpu>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Gpu {
    tflops: f64,
    cap: u64,
    cap_with_embed: u64,
}

#[derive(Deserialize)]
struct Case {
    layers: usize,
    gpus: Vec<String>,
    /// None where several pipelines are expected.
    expect: Option<Vec<u64>>,
}

/// Ticks of a layer at one TFLOPS.
const TICKS: f64 = 1e12;

/// Solves every case of one pipeline.
pub(crate) fn run(path: &Path, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let document: Document = serde_yaml::from_str(&fs::read_to_string(path)?)?;
    for case in &document.cases {
        let Some(expect) = &case.expect else { continue };
        let of = |name: &String| document.gpus.get(name).ok_or("a GPU without figures");
        let gpus: Vec<&Gpu> = case.gpus.iter().map(of).collect::<Result<_, _>>()?;
        let times = expect.iter().zip(&gpus);
        let known = times.map(|(layers, gpu)| *layers as f64 / gpu.tflops);
        let known = known.fold(0.0, f64::max);
        table.solve(
            &format!(
                "parallax/{} layers on {}",
                case.layers,
                case.gpus.join(", ")
            ),
            &format!("{known:.6}"),
            || {
                let ways = (0..gpus.len()).filter_map(|first| with_embedding(case, &gpus, first));
                let (best, sizes) = ways.min_by_key(|(best, _)| best.load)?;
                Some(Answer {
                    value: best.load.0 as f64 / TICKS,
                    bound: best.bound.0 as f64 / TICKS,
                    proof: format!("{}; {sizes:?}", best.proof),
                })
            },
        );
    }
    Ok(())
}

/// The best sizes where GPU `first` holds the embedding.
fn with_embedding(case: &Case, gpus: &[&Gpu], first: usize) -> Option<(Partition, Vec<usize>)> {
    let kinds = gpus.iter().enumerate().map(|(index, gpu)| Kind {
        count: 1,
        memory: Bytes(if index == first {
            gpu.cap_with_embed
        } else {
            gpu.cap
        }),
        crossing: 0.0,
    });
    let machine = Machine {
        kinds: kinds.collect(),
    };
    let work = gpus
        .iter()
        .map(|gpu| Some(Ticks((TICKS / gpu.tflops).round() as u64)));
    let item = Item {
        work: work.collect(),
        bytes: Bytes(1),
    };
    let order = (1..case.layers).map(|layer| (layer - 1, layer)).collect();
    let graph = Graph::new(vec![item; case.layers], order, Vec::new()).ok()?;
    let best = dag::contiguous(&graph, &machine, &Stop::default()).found()?;
    let mut sizes = vec![0; gpus.len()];
    for (kind, part) in &best.parts {
        sizes[*kind] = part.len();
    }
    Some((best, sizes))
}
