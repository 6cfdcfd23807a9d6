//! Holds the accounting of llama.cpp against what llama.cpp allocated.
//!
//! Reads records of real loads (JSON: models, and measurements with flags, slots and buffers by
//! device) and prints, for every family that is read, how many values agree to the byte and how far
//! the estimates of compute buffers are off.
//!
//! `cargo run --release --example hold_against_allocations -- memory.json`

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shardplan::cost::llama_cpp::LlamaCpp;
use shardplan::cost::{Accounting, Layout, Place, Position, Span, graph};
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
        hold_replay(record, facts, replayed.entry(name.to_owned()).or_default());
        let Ok(model) = model(name, &records["models"][name]) else {
            continue;
        };
        let tally = tally.entry(name.to_owned()).or_default();
        hold(record, &model, &rig, tally)?;
    }
    for (model, replayed) in &replayed {
        let (right, all) = (replayed.right, replayed.all);
        println!("{model:18} replayed {right}/{all} buffers exact");
        for line in replayed.wrong.iter().take(6) {
            println!("  {line}");
        }
    }
    for (model, mut tally) in tally {
        tally.ratios.sort_by(f64::total_cmp);
        let at = |share: f64| tally.ratios[((tally.ratios.len() - 1) as f64 * share) as usize];
        let compute = match tally.ratios.is_empty() {
            true => "no compute buffers".to_owned(),
            false => format!(
                "compute {} buffers: least {:.3}, 5 % {:.3}, median {:.3}, 95 % {:.3}, most {:.3}",
                tally.ratios.len(),
                at(0.0),
                at(0.05),
                at(0.5),
                at(0.95),
                at(1.0)
            ),
        };
        println!(
            "{model:16} weights {}/{} cache {}/{} exact; {compute}",
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
    ratios: Vec<f64>,
    worst: Vec<String>,
}

/// Buffers that the replay gets right.
#[derive(Default)]
struct Replayed {
    right: u32,
    all: u32,
    wrong: Vec<String>,
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
    let flags = &record["flags"];
    let number = |key: &str| flags[key].as_u64();
    let has_overrides = ["ot", "nkvo", "cmoe", "ncmoe"]
        .iter()
        .any(|key| !flags[*key].is_null() && flags[*key] != 0 && flags[*key] != false);
    if flags["ctk"] != flags["ctv"] || has_overrides || record["layers"].is_null() {
        return Ok(());
    }
    let sequences = number("np").unwrap_or(1);
    if flags["kvu"] == 1 || flags["kvu"] == true {
        return Ok(());
    }
    let workload = Workload {
        context: Tokens(number("c").unwrap_or(4096) / sequences),
        sequences: sequences as u32,
        kv_format: flags["ctk"].as_str().unwrap_or("f16").parse()?,
        ubatch: Tokens(number("ub").unwrap_or(512)),
    };
    let precision: Precision = record["quant"].as_str().unwrap_or_default().parse()?;
    let accounting = LlamaCpp::new(model, precision, rig, &workload)?;
    let layers = record["layers"].as_array().ok_or("no layers")?;
    let on_cpu = layers.iter().any(|run| run[2] == "CPU");
    let layout = match (on_cpu, record["pipeline_parallel"] == "on") {
        (true, _) => Layout::Offloaded,
        (false, true) => Layout::Pipelined,
        (false, false) => Layout::Sequential,
    };
    let mut position = Position::First;
    for (index, run) in layers.iter().filter(|run| run[2] != "CPU").enumerate() {
        let (first, last) = (run[0].as_u64().unwrap_or(0), run[1].as_u64().unwrap_or(0));
        let span = Span {
            place: Place::Device(DeviceId(index)),
            units: first as usize..last as usize + 1,
            streamed: 0..0,
            position,
        };
        let stage = accounting.stage(layout, &span);
        position = Position::Later;
        let buffers = &record["buffers"][run[2].as_str().unwrap_or_default()];
        let bytes = |key: &str| buffers[key].as_u64().unwrap_or(0);
        tally.weights.1 += 1;
        tally.weights.0 += u32::from(bytes("model") == stage.device.weights.0);
        tally.cache.1 += 1;
        tally.cache.0 += u32::from(bytes("context") == stage.device.kv_cache.0);
        let differs =
            bytes("model") != stage.device.weights.0 || bytes("context") != stage.device.kv_cache.0;
        let line = |what: &str| {
            format!(
                "{} {what}: {} {} run {run} ours {:?} theirs {buffers}",
                record["id"], record["quant"], record["cli"], stage.device
            )
        };
        if differs && tally.worst.len() < 3 {
            tally.worst.push(line("differs"));
        }
        // Plans always ask for flash attention, and for logits of every token.
        if flags["fa"] == "on"
            && record["mode"] == "real"
            && number("nout").is_none()
            && bytes("compute") > 0
        {
            let ratio = stage.device.compute.0 as f64 / bytes("compute") as f64;
            if !(0.95..1.15).contains(&ratio) && tally.worst.len() < 8 {
                tally.worst.push(line(&format!("{ratio:.3}")));
            }
            tally.ratios.push(ratio);
        }
    }
    Ok(())
}
