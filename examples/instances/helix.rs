//! `helix`: the linear programs of the published runs, from which the cluster is read back, and
//! `best_known.csv`.
//!
//! A program names its parts by rule: `T_i(k)` is the factor of `hold_i_k` in the row
//! `node_throughput_constraint_i`, the rate of a link the factor of its switch in its
//! `edge_flow_constr`. Links that a run left out have no row.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use shardplan::solve::flow::{self, Cluster, Node, Placement, Rate, Run};

use crate::table::{Answer, Table};

/// Solves every program. Values are tokens a second.
pub(crate) fn run(folder: &Path, table: &mut Table) -> Result<(), Box<dyn Error>> {
    for line in fs::read_to_string(folder.join("best_known.csv"))?
        .lines()
        .skip(1)
    {
        // One field is quoted, and the numbers that are asked for stand behind it.
        let outside: Vec<&str> = line.split('"').step_by(2).collect();
        let fields: Vec<&str> = outside.iter().flat_map(|part| part.split(',')).collect();
        let name = fields.first().copied().unwrap_or_default();
        let known = fields.iter().rev().filter(|field| !field.is_empty());
        let known = known.filter(|field| field.parse::<f64>().is_ok()).nth(2);
        let cluster = read(&fs::read_to_string(folder.join(name).join("ilp_model.lp"))?)?;
        check(
            &cluster,
            &folder.join(name).join("ilp_sol.ini"),
            fields.get(1),
        )?;
        table.solve(
            &format!("helix/{name}"),
            known.copied().unwrap_or("none"),
            || flow::place(&cluster).map(answer),
        );
    }
    Ok(())
}

fn answer(placement: Placement) -> Answer {
    Answer {
        value: placement.flow.0,
        bound: placement.bound.0,
        proof: placement.proof.to_owned(),
    }
}

/// Holds the published placement against its published value, so that what is solved here is what
/// was solved there.
fn check(cluster: &Cluster, path: &Path, value: Option<&&str>) -> Result<(), Box<dyn Error>> {
    let mut runs = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        let Some((node, layers)) = line.split_once("=[") else {
            continue;
        };
        let node = node.trim_start_matches("compute_node_").parse::<usize>()?;
        let layers: Vec<&str> = layers.trim_end_matches(']').split(", ").collect();
        let start = layers[0].parse()?;
        // The files count the source and the sink first.
        runs.push((
            node - 2,
            Run {
                start,
                count: layers.len(),
            },
        ));
    }
    runs.sort_by_key(|(node, _)| *node);
    let runs: Vec<Run> = runs.into_iter().map(|(_, run)| run).collect();
    let flow = cluster
        .flow(&runs)
        .ok_or("the published placement does not fit")?;
    let value: f64 = value.ok_or("no published value")?.parse()?;
    match (flow.0 - value).abs() <= 1e-3 {
        true => Ok(()),
        false => Err(format!(
            "{}: {} is published, {} is read",
            path.display(),
            value,
            flow.0
        )
        .into()),
    }
}

/// Reads a program in LP format.
fn read(text: &str) -> Result<Cluster, Box<dyn Error>> {
    let mut rates: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let mut links: BTreeMap<(String, String), f64> = BTreeMap::new();
    let mut n_layers = 0;
    for row in rows(text) {
        let Some((name, terms)) = row else { continue };
        let words: Vec<&str> = terms.split_whitespace().collect();
        if name.starts_with("node_throughput_constraint_") {
            for three in words.windows(3) {
                let [sign, factor, held] = three else {
                    continue;
                };
                let Some(held) = held.strip_prefix("hold_") else {
                    continue;
                };
                let (node, count) = held.split_once('_').ok_or("a `hold` without a count")?;
                if *sign != "-" {
                    return Err(format!("a rate is not taken off: `{terms}`").into());
                }
                rates.insert((node.parse()?, count.parse()?), factor.parse()?);
            }
        } else if let Some(ends) = name.strip_prefix("edge_flow_constr_") {
            let ends = ends.split_once('_').ok_or("a link without ends")?;
            let factor = words.iter().position(|word| word.starts_with("switch_"));
            let factor = factor
                .and_then(|at| at.checked_sub(1))
                .ok_or("a link without a rate")?;
            let ends = (ends.0.to_owned(), ends.1.to_owned());
            links.insert(ends, words[factor].parse()?);
        } else if name.starts_with("end_constraint_") {
            n_layers = words.last().ok_or("a run without an end")?.parse()?;
        }
    }
    let n_nodes = rates.keys().map(|(node, _)| node + 1).max().unwrap_or(0);
    let link = |from: &str, to: &str| {
        links
            .get(&(from.to_owned(), to.to_owned()))
            .map(|rate| Rate(*rate))
    };
    let nodes = (0..n_nodes).map(|node| {
        let of_node = rates.range((node, 0)..(node + 1, 0));
        let number = node.to_string();
        Node {
            rates: of_node.map(|(_, rate)| Rate(*rate)).collect(),
            from_source: link("source", &number),
            to_sink: link(&number, "sink"),
        }
    });
    let nodes = nodes.collect();
    let between = links
        .iter()
        .filter_map(|((from, to), rate)| Some((from.parse().ok()?, to.parse().ok()?, Rate(*rate))));
    Ok(Cluster::new(n_layers, nodes, between.collect())?)
}

/// The rows of a program, each a name and what follows it; continued lines are joined.
fn rows(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let mut rows: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line.starts_with("   "), rows.last_mut()) {
            (true, Some(row)) => row.push_str(line),
            _ => rows.push(line.to_owned()),
        }
    }
    rows.into_iter().map(|row| {
        let (name, terms) = row.split_once(": ")?;
        Some((name.trim().to_owned(), terms.to_owned()))
    })
}
