//! `clusters/llm_pq_clusters.yaml`: the clusters and models of LLM-PQ, with 3, 4, 8 or 16 bits for
//! every block.
//!
//! Its objective cannot be made again: the profiles of its devices are not public, and its penalties
//! are measured. What is solved is the shape of the problem: the whole frontier of the slowest stage
//! against quality, over every order of the devices. A stage takes what it reads for a micro-batch of
//! decoding over the bandwidth of a datasheet. A bit more divides the penalty by four, as it does the
//! power of rounding errors: any falling table would do.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use shardplan::cost::Position;
use shardplan::cost::column::{GroupId, Owner};
use shardplan::cost::frontier::{Counts, Frontiers, Way};
use shardplan::cost::menu::{Law, Menu};
use shardplan::solve::tradeoff::{Chain, Slowest};
use shardplan::units::Bytes;

use crate::table::{Answer, Table};

#[derive(Deserialize)]
struct File {
    constants: Constants,
    clusters: BTreeMap<u32, Cluster>,
}

#[derive(Deserialize)]
struct Constants {
    cuda_context_mb: u64,
    memory_safety_ratio: f64,
    global_batch: u64,
    prompt_len_default: u64,
    gen_len_default: u64,
}

#[derive(Deserialize)]
struct Cluster {
    model: String,
    gpus: Vec<(String, usize)>,
}

/// Blocks, width and vocabulary of a model whose feed-forward is four times as wide (OPT, BLOOM).
struct Shape {
    n_blocks: usize,
    width: u64,
    vocabulary: u64,
}

/// Sequences that decode together.
const MICRO_BATCH: u64 = 8;
const BITS: [u64; 4] = [3, 4, 8, 16];

fn shape(model: &str) -> Option<Shape> {
    let (n_blocks, width, vocabulary) = match model {
        "opt-13b" => (40, 5120, 50_272),
        "opt-30b" => (48, 7168, 50_272),
        "opt-66b" => (64, 9216, 50_272),
        "bloom-176b" => (70, 14_336, 250_880),
        _ => return None,
    };
    Some(Shape {
        n_blocks,
        width,
        vocabulary,
    })
}

/// Memory and bytes a second of a card, from its datasheet.
fn card(name: &str) -> Option<(Bytes, f64)> {
    let (gib, rate) = match name {
        "T4-16GB" => (16, 320e9),
        "P100-PCIE-12GB" => (12, 549e9),
        "V100-SXM2-32GB" => (32, 900e9),
        "A100-SXM4-40GB" => (40, 1555e9),
        "A100-SXM4-80GB" => (80, 2039e9),
        _ => return None,
    };
    Some((Bytes::gib(gib), rate))
}

/// Solves every cluster, and adds a row for each to the table.
pub(crate) fn run(folder: &Path, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let path = folder.join("llm_pq_clusters.yaml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file: File = serde_yaml::from_str(&text)?;
    for (number, cluster) in &file.clusters {
        let cards: Vec<_> = cluster.gpus.iter().map(|(name, _)| name.as_str()).collect();
        let name = format!(
            "llm-pq/{number}, {} on {}",
            cluster.model,
            cards.join(" and ")
        );
        let chain = chain(&file.constants, cluster)?;
        table.solve(&format!("{name}, points of the frontier"), "none", || {
            let points = Slowest::new(&chain)?.frontier();
            let [first, .., last] = &points[..] else {
                return None;
            };
            Some(Answer {
                value: points.len() as f64,
                bound: points.len() as f64,
                proof: format!(
                    "dynamic program over every order at each limit: {:.1} ms at penalty {}, to {:.1} ms at {}",
                    first.time as f64 * 1e-9,
                    first.penalty,
                    last.time as f64 * 1e-9,
                    last.penalty
                ),
            })
        });
    }
    Ok(())
}

fn chain(constants: &Constants, cluster: &Cluster) -> Result<Chain, Box<dyn Error>> {
    let unknown = |name: &str| format!("`{name}` is no model or card that this example knows");
    let shape = shape(&cluster.model).ok_or_else(|| unknown(&cluster.model))?;
    let weights = 12 * shape.width * shape.width;
    let tokens = constants.prompt_len_default + constants.gen_len_default;
    let cache = 2 * 2 * shape.width * tokens;
    let table = 2 * shape.width * shape.vocabulary;
    let unit = |block: usize| -> Vec<Way> {
        // Both ends hold the table of tokens, one to look up and one as the head.
        let ends = usize::from(block == 0) + usize::from(block + 1 == shape.n_blocks);
        let way = |bits: &u64| {
            let stored = weights * bits / 8;
            Way {
                bytes: Bytes(stored + cache * constants.global_batch + table * ends as u64),
                penalty: 1 << (2 * (16 - bits)),
                read: Bytes(stored + cache * MICRO_BATCH),
                ram: Bytes::ZERO,
            }
        };
        BITS.iter().map(way).collect()
    };
    let units: Vec<_> = (0..shape.n_blocks).map(unit).collect();
    let mut kinds = Vec::new();
    for (name, count) in &cluster.gpus {
        let (memory, rate) = card(name).ok_or_else(|| unknown(name))?;
        let room = memory.scale(constants.memory_safety_ratio);
        let context = Bytes(constants.cuda_context_mb * 1_000_000);
        kinds.push((room.saturating_sub(context), rate, *count));
    }
    let largest = kinds
        .iter()
        .map(|(room, ..)| *room)
        .max()
        .unwrap_or_default();
    let frontiers = Frontiers::new(units, largest, Counts::BytesAndReading(largest));
    let mut menus = Vec::new();
    for start in 0..shape.n_blocks {
        for (group, (room, rate, _)) in kinds.iter().enumerate() {
            for end in start + 1..=shape.n_blocks {
                let ways = frontiers.of(&(start..end));
                let n_fitting = ways.partition_point(|way| way.bytes <= *room);
                if n_fitting == 0 {
                    break;
                }
                menus.push(Menu {
                    owner: Owner::Group(GroupId(group)),
                    units: start..end,
                    position: match start {
                        0 => Position::First,
                        _ => Position::Later,
                    },
                    ways,
                    n_fitting,
                    law: Law {
                        fixed: 0.0,
                        a_byte: 1e12 / rate,
                    },
                });
            }
        }
    }
    Ok(Chain {
        n_units: shape.n_blocks,
        counts: kinds.iter().map(|(.., count)| *count).collect(),
        menus,
    })
}
