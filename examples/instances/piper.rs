//! `piper`: layers with ways to run them on several devices, and tables of known paces.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use shardplan::solve::Stop;
use shardplan::solve::dag::Ticks;
use shardplan::solve::dag::replicas::{self, Layer, Pipeline, Plan, Way};
use shardplan::units::Bytes;

use crate::table::{Answer, Table};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    max_devices: usize,
    max_memory_per_device: f64,
    bandwidth: f64,
    mbs_in_batch: usize,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Deserialize)]
struct Node {
    id: usize,
    #[serde(rename = "TMPCs")]
    ways: BTreeMap<usize, Vec<Choice>>,
}

/// What the files call a TMPC: times in seconds, sizes and transfers in bytes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    time_per_sample: f64,
    parameter_size: f64,
    memory_usage_a: f64,
    memory_usage_b: f64,
    sync_time_fw: BTreeMap<usize, f64>,
    sync_time_bw: BTreeMap<usize, f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edge {
    source_id: usize,
    dest_id: usize,
    communication_cost: f64,
}

/// Ticks in a second.
const TICKS: f64 = 1e12;

/// A row of a table of known paces.
struct Known {
    devices: usize,
    samples: usize,
    pace: String,
}

/// Solves every input with the devices and samples of the tables, or else with its own.
pub(crate) fn run(folder: &Path, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let known = known(folder)?;
    let mut files: Vec<_> = fs::read_dir(folder.join("inputs"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for path in files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let document: Document = serde_json::from_str(&fs::read_to_string(&path)?)?;
        let own = Known {
            devices: document.max_devices,
            samples: document.mbs_in_batch,
            pace: "none".to_owned(),
        };
        let rows = known
            .get(&*name)
            .map_or(vec![&own], |it| it.iter().collect());
        for row in rows {
            let pipeline = pipeline(&document, row)?;
            let name = format!(
                "piper/{name}, {} devices, {} samples",
                row.devices, row.samples
            );
            table.solve(&name, &row.pace, || {
                let plan = replicas::best(&pipeline, &Stop::default()).ok()??;
                Some(answer(&plan))
            });
        }
    }
    Ok(())
}

fn answer(plan: &Plan) -> Answer {
    let stages = plan.stages.len();
    Answer {
        value: plan.pace.0 as f64 / TICKS,
        bound: plan.bound.0 as f64 / TICKS,
        proof: format!("{}; {stages} stages", plan.proof),
    }
}

/// The known paces of each input: model, devices, samples, memory, bandwidth, pace.
fn known(folder: &Path) -> Result<BTreeMap<String, Vec<Known>>, Box<dyn Error>> {
    let mut known: BTreeMap<String, Vec<Known>> = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|it| it != "csv") {
            continue;
        }
        for line in fs::read_to_string(&path)?.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [model, devices, samples, _, _, pace, ..] = fields[..] else {
                continue;
            };
            known.entry(model.to_owned()).or_default().push(Known {
                devices: devices.parse()?,
                samples: samples.parse()?,
                pace: pace.to_owned(),
            });
        }
    }
    Ok(known)
}

/// Transfers pass twice, there and on the way back. Copies agree through servers of parameters, as
/// PipeDream's planner has it: 4 bytes for each byte of the weights that a copy does not own.
fn pipeline(document: &Document, row: &Known) -> Result<Pipeline, Box<dyn Error>> {
    let ids = document.nodes.iter().enumerate();
    let place: BTreeMap<usize, usize> = ids.map(|(index, node)| (node.id, index)).collect();
    let end = |id: usize| place.get(&id).copied().ok_or(format!("no node {id}"));
    let over = |bytes: f64| Ticks((bytes / document.bandwidth * TICKS).round() as u64);
    let mut order = Vec::new();
    let mut cost = BTreeMap::new();
    for edge in &document.edges {
        let (from, to) = (end(edge.source_id)?, end(edge.dest_id)?);
        order.push((from, to));
        cost.insert((from, to), edge.communication_cost);
    }
    let mut layers = Vec::new();
    for (own, node) in document.nodes.iter().enumerate() {
        let mut layer = Layer::new();
        for (degree, choices) in &node.ways {
            let mut ways = Vec::new();
            for choice in choices {
                let mut taken = BTreeMap::new();
                for (id, sync) in &choice.sync_time_fw {
                    let from = end(*id)?;
                    let cost = cost.get(&(from, own)).ok_or("a transfer without an edge")?;
                    taken.insert(from, over(2.0 * (cost + sync)));
                }
                let mut given = BTreeMap::new();
                for (id, sync) in &choice.sync_time_bw {
                    let to = end(*id)?;
                    let cost = cost.get(&(own, to)).ok_or("a transfer without an edge")?;
                    given.insert(to, over(2.0 * (cost + sync)));
                }
                ways.push(Way {
                    work: Ticks((choice.time_per_sample * TICKS).round() as u64),
                    agreement: over(4.0 * choice.parameter_size / row.samples as f64),
                    each: Bytes(choice.memory_usage_a.ceil() as u64),
                    fixed: Bytes(choice.memory_usage_b.ceil() as u64),
                    taken,
                    given,
                });
            }
            layer.insert(*degree, ways);
        }
        layers.push(layer);
    }
    Ok(Pipeline {
        layers,
        order,
        devices: row.devices,
        memory: Bytes(document.max_memory_per_device as u64),
        samples: row.samples,
    })
}
