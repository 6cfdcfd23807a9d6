//! `dnn-partitioning`: JSON graphs of operators, and `known_results.csv`.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use shardplan::solve::Stop;
use shardplan::solve::dag::latency::{self, Host, Problem};
use shardplan::solve::dag::{
    self, Item, Joined, Kind, Machine, Operator, Order, Partition, Ticks, Wire,
};
use shardplan::units::Bytes;

use crate::expert;
use crate::table::{Answer, Table};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(rename = "maxSizePerFPGA")]
    memory: f64,
    #[serde(rename = "maxFPGAs")]
    accelerators: usize,
    #[serde(rename = "maxCPUs")]
    hosts: usize,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    id: usize,
    supported_on_fpga: Flag,
    cpu_latency: f64,
    fpga_latency: f64,
    is_backward_node: Flag,
    color_class: Option<usize>,
    #[serde(default)]
    size: f64,
}

/// These files write yes as `true` or `1`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Word(bool),
    Number(u8),
}

impl Flag {
    fn yes(&self) -> bool {
        match self {
            Self::Word(yes) => *yes,
            Self::Number(number) => *number != 0,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Edge {
    source_id: usize,
    dest_id: usize,
    cost: f64,
}

/// Solves every throughput file, contiguous and not. Times are the files' own unit.
pub(crate) fn run(folder: &Path, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let stop = Stop::default();
    let known = known(&folder.join("known_results.csv"), "max-load")?;
    for (stem, file, document) in documents(folder, "throughput-inputs")? {
        let machine = machine(&document);
        let best = |contiguous| known.get(&(file.clone(), contiguous)).cloned();
        let pipeline = joined(&document, Order::Pipeline)?;
        table.solve(
            &format!("{stem}, contiguous"),
            &best(true).unwrap_or_else(|| "open".to_owned()),
            || {
                dag::contiguous(&pipeline.graph, &machine, &stop)
                    .found()
                    .map(answer)
            },
        );
        let free = joined(&document, Order::Free)?;
        table.solve(
            &format!("{stem}, scattered"),
            &best(false).unwrap_or_else(|| "none".to_owned()),
            || {
                let start = dag::contiguous(&pipeline.graph, &machine, &stop).found()?;
                let start = carried_over(&start, &pipeline, &free);
                dag::scattered(&free.graph, &machine, &start, &stop).map(answer)
            },
        );
    }
    Ok(())
}

/// Solves every latency file. Times are the files' own unit. A split by hand counts as known where it
/// fits; where it does not, the file is solved with the memory that it takes as well.
pub(crate) fn run_latency(folder: &Path, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let known = known(&folder.join("known_results.csv"), "latency")?;
    for (stem, file, document) in documents(folder, "latency-inputs")? {
        let machine = machine(&document);
        let (operators, wires) = operators(&document)?;
        let name = file.rsplit('/').next().unwrap_or_default();
        let by_hand = name.replace(".json", "_expert.json");
        let by_hand = folder.join("human-experts").join(by_hand);
        let place = |id| document.nodes.iter().position(|node| node.id == id);
        let expert = match stem.starts_with("LayerGraphs") {
            true => expert::read(&by_hand, (&operators, &wires, &machine), place)?,
            false => None,
        };
        let mut best = known.get(&(file, true)).cloned();
        let (fits, larger): (Vec<_>, Vec<_>) = expert.iter().partition(|it| it.machine == machine);
        for expert in fits {
            let value: Option<f64> = best.as_ref().and_then(|best| best.parse().ok());
            if value.is_none_or(|value| unit(expert.latency) < value) {
                best = Some(unit(expert.latency).to_string());
            }
        }
        let problem = Problem::new(&operators, &wires, &machine, Host::Kind(1))?;
        let best = best.unwrap_or_else(|| "open".to_owned());
        table.solve(&format!("{stem}, latency"), &best, || soonest(&problem));
        for expert in larger {
            let problem = Problem::new(&operators, &wires, &expert.machine, Host::Kind(1))?;
            let best = unit(expert.latency).to_string();
            let name = format!("{stem}, latency, with the memory of the split by hand");
            table.solve(&name, &best, || soonest(&problem));
        }
    }
    Ok(())
}

fn soonest(problem: &Problem<'_>) -> Option<Answer> {
    let schedule = latency::soonest(problem, &Stop::default())?;
    Some(Answer {
        value: unit(schedule.latency),
        bound: unit(schedule.bound),
        proof: schedule.proof.to_owned(),
    })
}

/// A short name, the name in `known_results.csv`, and what the file holds.
type Named = (String, String, Document);

/// The files of both folders, each with its short name and its name in `known_results.csv`.
fn documents(folder: &Path, inputs: &str) -> Result<Vec<Named>, Box<dyn Error>> {
    let mut documents = Vec::new();
    for part in ["LayerGraphs", "OperatorGraphs"] {
        let place = format!("{inputs}/{part}");
        let mut files: Vec<_> = fs::read_dir(folder.join(&place))?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()?;
        files.sort();
        for path in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let document = serde_json::from_str(&fs::read_to_string(&path)?)?;
            let stem = format!("{part}/{}", name.trim_end_matches(".json"));
            documents.push((stem, format!("{place}/{name}"), document));
        }
    }
    Ok(documents)
}

fn answer(partition: Partition) -> Answer {
    Answer {
        value: unit(partition.load),
        bound: unit(partition.bound),
        proof: partition.proof.to_owned(),
    }
}

/// Ticks of which the files' unit of time has so many: their numbers have at most 16 digits.
const TICKS: f64 = 1e12;

fn ticks(time: f64) -> Ticks {
    Ticks((time * TICKS).round() as u64)
}

fn unit(time: Ticks) -> f64 {
    time.0 as f64 / TICKS
}

/// The parts of a pipeline as parts of the items that are free of its order.
fn carried_over(
    partition: &Partition,
    pipeline: &Joined,
    free: &Joined,
) -> Vec<(usize, Vec<usize>)> {
    let parts = partition.parts.iter().map(|(kind, part)| {
        let ends = pipeline.item_of.iter().zip(&free.item_of);
        let items: BTreeSet<usize> = ends
            .filter(|(item, _)| part.contains(item))
            .map(|(_, item)| *item)
            .collect();
        (*kind, items.into_iter().collect())
    });
    parts.collect()
}

fn machine(document: &Document) -> Machine {
    let accelerators = Kind {
        count: document.accelerators,
        memory: Bytes(document.memory as u64),
        crossing: 1.0,
    };
    let hosts = Kind {
        count: document.hosts,
        memory: Bytes(u64::MAX),
        crossing: 0.0,
    };
    Machine {
        kinds: vec![accelerators, hosts],
    }
}

fn joined(document: &Document, order: Order) -> Result<Joined, Box<dyn Error>> {
    let (operators, wires) = operators(document)?;
    Ok(dag::join(&operators, &wires, order)?)
}

fn operators(document: &Document) -> Result<(Vec<Operator>, Vec<Wire>), Box<dyn Error>> {
    // A node without a colour is in a group of its own.
    let colours = document.nodes.iter().filter_map(|node| node.color_class);
    let fresh = colours.max().map_or(0, |most| most + 1);
    let place: HashMap<usize, usize> = document
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| (node.id, index))
        .collect();
    let operators: Vec<Operator> = document
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| Operator {
            group: node.color_class.unwrap_or(fresh + index),
            backward: node.is_backward_node.yes(),
            item: Item {
                work: vec![
                    node.supported_on_fpga
                        .yes()
                        .then_some(ticks(node.fpga_latency)),
                    Some(ticks(node.cpu_latency)),
                ],
                bytes: Bytes(node.size as u64),
            },
        })
        .collect();
    let wires = document.edges.iter().map(|edge| {
        let end = |id| place.get(&id).copied().ok_or(format!("no node {id}"));
        Ok(Wire {
            from: end(edge.source_id)?,
            to: end(edge.dest_id)?,
            time: ticks(edge.cost),
        })
    });
    let wires: Vec<Wire> = wires.collect::<Result<_, String>>()?;
    Ok((operators, wires))
}

/// The best value that is known for each file, contiguous or not.
fn known(path: &Path, of: &str) -> Result<HashMap<(String, bool), String>, Box<dyn Error>> {
    let mut best: HashMap<(String, bool), f64> = HashMap::new();
    for line in fs::read_to_string(path)?.lines().skip(1) {
        let mut fields = line.split(',');
        let (Some(file), Some(objective), Some(method), Some(value)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Ok(value) = value.parse::<f64>() else {
            continue;
        };
        if objective != of {
            continue;
        }
        let scattered = method.starts_with("non-contiguous") || method.starts_with("local search");
        let known = best.entry((file.to_owned(), !scattered)).or_insert(value);
        *known = known.min(value);
    }
    Ok(best
        .into_iter()
        .map(|(key, value)| (key, value.to_string()))
        .collect())
}
