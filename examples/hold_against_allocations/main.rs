//! Holds the accounting of llama.cpp against what llama.cpp allocated.
//!
//! Reads records of real loads (JSON: models, and measurements with flags, slots and buffers by
//! device). Prints for every model how many compute buffers the replay of the whole graph gives to
//! the byte and what the accounting of single stages says over what was allocated; and for every
//! family that is read, how many weights and caches agree to the byte.
//!
//! `cargo run --release --example hold_against_allocations -- memory.json`

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde_json::{Value, json};
use shardplan::cost::compute::Compute;
use shardplan::cost::llama_cpp::LlamaCpp;
use shardplan::cost::{Accounting, Layout, Matrices, Parts, Place, Position, Span, graph};
use shardplan::hardware::{DeviceId, Rig, text};
use shardplan::model::{Model, Origin, Precision, config};
use shardplan::units::Tokens;
use shardplan::workload::Workload;

mod replay;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("name the file of records")?;
    let records: Value =
        serde_json::from_reader(std::io::BufReader::new(std::fs::File::open(path)?))?;
    let rig = text::parse("16x 1000 GiB@1 TB/s, ram 1000 GiB")?;
    let mut tally = BTreeMap::<String, Tally>::new();
    let mut replayed = BTreeMap::<String, Replayed>::new();
    for record in records["measurements"]
        .as_array()
        .ok_or("no measurements")?
    {
        let name = record["model"].as_str().unwrap_or_default();
        let facts = &records["models"][name];
        let of_model = replayed.entry(name.to_owned()).or_default();
        hold_replay(record, facts, of_model);
        hold_stages(record, facts, of_model);
        let Ok(model) = model(name, facts) else {
            continue;
        };
        let tally = tally.entry(name.to_owned()).or_default();
        hold(record, &model, &rig, tally)?;
    }
    for (model, replayed) in &mut replayed {
        println!("{model:18} {replayed}");
        for line in replayed.wrong.iter().take(6) {
            println!("  {line}");
        }
    }
    for (model, tally) in tally {
        println!(
            "{model:18} weights {}/{} cache {}/{} exact",
            tally.weights.0, tally.weights.1, tally.cache.0, tally.cache.1
        );
        for line in tally.worst {
            println!("  {line}");
        }
    }
    Ok(())
}

#[derive(Default)]
struct Tally {
    weights: (u32, u32),
    cache: (u32, u32),
    worst: Vec<String>,
}

/// Buffers that the replay of whole graphs gets right, and what the accounting of single stages
/// says over what was allocated.
#[derive(Default)]
struct Replayed {
    right: u32,
    all: u32,
    wrong: Vec<String>,
    ratios: Vec<f64>,
}

impl fmt::Display for Replayed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "replayed {}/{} buffers exact",
            self.right, self.all
        )?;
        let mut ratios = self.ratios.clone();
        ratios.sort_by(f64::total_cmp);
        let exact = ratios.iter().filter(|ratio| **ratio == 1.0).count();
        write!(formatter, "; stages {exact}/{} exact", ratios.len())?;
        let shares = [
            ("least", 0.0),
            ("5 %", 0.05),
            ("median", 0.5),
            ("95 %", 0.95),
            ("most", 1.0),
        ];
        for (name, share) in shares {
            let at = (ratios.len().saturating_sub(1) as f64 * share) as usize;
            if let Some(ratio) = ratios.get(at) {
                write!(formatter, ", {name} {ratio:.4}")?;
            }
        }
        Ok(())
    }
}

/// Runs of slots on devices: their name and their slots.
fn runs(record: &Value) -> impl Iterator<Item = (&str, Range<usize>)> {
    let runs = record["layers"].as_array().into_iter().flatten();
    runs.filter(|run| run[2] != "CPU").filter_map(|run| {
        let (first, last) = (run[0].as_u64()?, run[1].as_u64()?);
        Some((run[2].as_str()?, first as usize..last as usize + 1))
    })
}

fn layout(record: &Value) -> Layout {
    let mut runs = record["layers"].as_array().into_iter().flatten();
    let flags = &record["flags"];
    let in_ram = match flags["cmoe"] == 1 {
        true => Some(u32::MAX),
        false => flags["ncmoe"].as_u64().map(|blocks| blocks as u32),
    };
    match (
        runs.any(|run| run[2] == "CPU"),
        in_ram.filter(|blocks| *blocks > 0),
        record["pipeline_parallel"] == "on",
    ) {
        (true, ..) => Layout::OFFLOADED,
        (false, Some(n_blocks), _) => Layout::parts_alone(Parts {
            matrices: Matrices::Experts,
            n_blocks,
        }),
        (false, None, true) => Layout::Pipelined,
        (false, None, false) => Layout::Sequential,
    }
}

/// What plans can ask for: a cache for each sequence, keys stored as values, no overrides.
fn workload(record: &Value) -> Option<Workload> {
    let flags = &record["flags"];
    let number = |key: &str| flags[key].as_u64();
    let is_set = |key: &&str| !flags[*key].is_null() && flags[*key] != 0 && flags[*key] != false;
    let overrides = ["ot", "nkvo", "kvu", "swa_full"];
    if flags["ctk"] != flags["ctv"] || overrides.iter().any(is_set) {
        return None;
    }
    let sequences = number("np").unwrap_or(1);
    Some(Workload {
        context: Tokens(number("c")? / sequences),
        sequences: sequences as u32,
        kv_format: flags["ctk"].as_str()?.parse().ok()?,
        ubatch: Tokens(number("ub")?),
    })
}

/// Holds the accounting of stages against real loads with what every plan asks for: flash
/// attention, weights of blocks on the CPU that stream, and logits of every token.
fn hold_stages(record: &Value, facts: &Value, tally: &mut Replayed) -> Option<()> {
    let (workload, flags) = (workload(record)?, &record["flags"]);
    let is_planned = flags["fa"] == "on" && flags["nout"].is_null() && flags["op_offload"] != 0;
    if !is_planned || record["mode"] != "real" {
        return None;
    }
    let compute = Compute::new(replay::shape(record, facts)?, &workload);
    let mut position = Position::First;
    for (device, units) in runs(record) {
        let ours = compute.device(layout(record), position, &units).compute;
        let theirs = record["buffers"][device]["compute"].as_u64()?;
        tally.ratios.push(ours.0 as f64 / theirs as f64);
        position = Position::Later;
    }
    Some(())
}

fn hold_replay(record: &Value, facts: &Value, tally: &mut Replayed) -> Option<()> {
    let shape = replay::shape(record, facts)?;
    let batch = replay::batch(record)?;
    let (placement, devices) = replay::placement(record, &shape, batch.tokens)?;
    let ours = graph::buffers(&shape, &batch, &placement);
    let host = if devices.is_empty() {
        "CPU"
    } else {
        "SIM_Host"
    };
    for (device, ours) in devices.iter().map(String::as_str).chain([host]).zip(ours) {
        let Some(theirs) = record["buffers"][device]["compute"].as_u64() else {
            continue;
        };
        tally.all += 1;
        tally.right += u32::from(theirs == ours.0);
        if theirs != ours.0 {
            let ratio = ours.0 as f64 / theirs as f64;
            tally.wrong.push(format!(
                "{} {} {} {} {}: {device} {} {theirs} {ratio:.4} {}",
                record["id"],
                record["quant"],
                record["mode"],
                record["rig"],
                record["cli"],
                ours.0,
                record["graph"]
            ));
        }
    }
    Some(())
}

/// The model of a record, where its family is read.
fn model(name: &str, facts: &Value) -> Result<Model, Failure> {
    let number = |key: &str| facts[key].as_u64();
    if number("n_expert").is_some_and(|count| count > 0) || number("swa").is_some() {
        return Err("not a family that is read".into());
    }
    let config = json!({
        "model_type": facts["arch"],
        "new_decoder_architecture": facts["arch"] == "falcon",
        "num_hidden_layers": facts["n_layer"],
        "hidden_size": facts["n_embd"],
        "num_attention_heads": facts["n_head"],
        "num_key_value_heads": facts["n_head_kv"],
        "head_dim": facts["head_dim"],
        "intermediate_size": facts["n_ff"],
        "vocab_size": facts["n_vocab"],
        "max_position_embeddings": facts["n_ctx"],
        "rope_scaling": {"rope_type": if facts["rope_freqs"] == true { "llama3" } else { "default" }},
    });
    Ok(config::model(name, Origin::Known, &config)?)
}

fn hold(record: &Value, model: &Model, rig: &Rig, tally: &mut Tally) -> Result<(), Failure> {
    let Some(workload) = workload(record) else {
        return Ok(());
    };
    let precision: Precision = record["quant"].as_str().unwrap_or_default().parse()?;
    let accounting = LlamaCpp::new(model, precision, rig, &workload)?;
    let mut position = Position::First;
    for (index, (name, units)) in runs(record).enumerate() {
        let span = Span {
            place: Place::Device(DeviceId(index)),
            units,
            streamed: 0..0,
            position,
        };
        let stage = accounting.stage(layout(record), &span);
        position = Position::Later;
        let buffers = &record["buffers"][name];
        let bytes = |key: &str| buffers[key].as_u64().unwrap_or(0);
        tally.weights.1 += 1;
        tally.weights.0 += u32::from(bytes("model") == stage.device.weights.0);
        tally.cache.1 += 1;
        tally.cache.0 += u32::from(bytes("context") == stage.device.kv_cache.0);
        let differs =
            bytes("model") != stage.device.weights.0 || bytes("context") != stage.device.kv_cache.0;
        if differs && tally.worst.len() < 3 {
            tally.worst.push(format!(
                "{} differs: {} {} {name} ours {:?} theirs {buffers}",
                record["id"], record["quant"], record["cli"], stage.device
            ));
        }
    }
    Ok(())
}
