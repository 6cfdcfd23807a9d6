//! `dnn-partitioning/human-experts`: splits by hand, which need not fit the memory of their file.

use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use shardplan::solve::dag::latency::{Host, Problem, Spot};
use shardplan::solve::dag::{GraphError, Kind, Machine, Operator, Ticks, Wire};
use shardplan::units::Bytes;

#[derive(Deserialize)]
struct Split {
    fpgas: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    nodes: Vec<usize>,
}

/// A split by hand, the memory that it needs, and its latency with that memory.
pub(crate) struct Expert {
    pub(crate) machine: Machine,
    pub(crate) latency: Ticks,
}

/// The split of a file, where there is one; `place` is the operator of a node's number.
pub(crate) fn read(
    path: &Path,
    (operators, wires, machine): (&[Operator], &[Wire], &Machine),
    place: impl Fn(usize) -> Option<usize>,
) -> Result<Option<Expert>, Box<dyn Error>> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(None);
    };
    let split: Split = serde_json::from_str(&text)?;
    let mut spots = vec![Spot::Host; operators.len()];
    let mut most = Bytes(0);
    for (number, part) in split.fpgas.iter().enumerate() {
        let mut bytes = Bytes(0);
        for node in &part.nodes {
            let operator = place(*node).ok_or(format!("no node {node}"))?;
            spots[operator] = Spot::Accelerator(number);
            bytes += operators[operator].item.bytes;
        }
        most = most.max(bytes);
    }
    let machine = roomy(machine, most);
    let latency = value(operators, wires, &machine, &spots)?;
    Ok(latency.map(|latency| Expert { machine, latency }))
}

/// The machine with at least so much memory on every accelerator.
fn roomy(machine: &Machine, memory: Bytes) -> Machine {
    let kinds = machine.kinds.iter().map(|kind| Kind {
        memory: kind.memory.max(memory),
        ..*kind
    });
    Machine {
        kinds: kinds.collect(),
    }
}

fn value(
    operators: &[Operator],
    wires: &[Wire],
    machine: &Machine,
    spots: &[Spot],
) -> Result<Option<Ticks>, GraphError> {
    let problem = Problem::new(operators, wires, machine, Host::Kind(1))?;
    Ok(problem.latency(spots))
}
