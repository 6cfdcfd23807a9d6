//! The table of `docs/families-checked.md`: each architecture, what it was held against, and how far
//! it is off.
//!
//! `cargo run --example families_table > docs/families-checked.md`, from the root of the repository.

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use shardplan::cost::memory::transformers_cache;
use shardplan::model::read::json;
use shardplan::model::{self, Model, family};
use shardplan::units::{Bytes, Tokens};
use shardplan::workload::{KvFormat, Workload};

type Failure = Box<dyn std::error::Error>;

/// What is known of a configuration, as `tests/families.rs` holds it against ours.
#[derive(Deserialize)]
struct Case {
    config: String,
    parameters: u64,
    #[serde(default)]
    cache_at_4096: Option<u64>,
    checked: String,
}

fn main() -> Result<(), Failure> {
    println!("# What the families were held against\n");
    println!(
        "Made by `cargo run --example families_table`; the cases are those of `tests/families`."
    );
    println!("The cache is that of 4096 tokens in 16 bits in transformers.\n");
    println!("| class | GGUF | model | parameters | off by | cache | off by | held against |");
    println!("|---|---|---|---:|---:|---:|---:|---|");
    let mut files: Vec<_> = std::fs::read_dir("tests/families")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut seen = BTreeSet::new();
    for file in files {
        let cases: Option<Vec<Case>> = serde_yaml::from_str(&std::fs::read_to_string(file)?)?;
        for case in cases.unwrap_or_default() {
            let path = format!("tests/fixtures/configs/{}.json", case.config);
            let class = class(Path::new(&path))?;
            println!("{}", row(&class, &case, &model::open(&path)?));
            seen.insert(class);
        }
    }
    println!("\n## Rows without a case\n");
    for family in family::all() {
        if !family
            .architectures
            .iter()
            .any(|class| seen.contains(class))
        {
            println!("- {} ({})", family.name, family.architectures.join(", "));
        }
    }
    Ok(())
}

/// The class that a configuration names, or its type.
fn class(path: &Path) -> Result<String, Failure> {
    let config = json::python(&std::fs::read(path)?)?;
    let class = config["architectures"][0].as_str();
    let class = class.or_else(|| config["model_type"].as_str());
    Ok(class.unwrap_or_default().to_owned())
}

fn row(class: &str, case: &Case, model: &Model) -> String {
    let workload = Workload::of_context(Tokens(4096));
    let kept = |block| transformers_cache(block, &workload, KvFormat::F16);
    let cache: Bytes = model.blocks.iter().map(kept).sum();
    let off = |ours: u64, said: u64| match ours.abs_diff(said) {
        0 => "0".to_owned(),
        difference => format!("{:.4} %", 100.0 * difference as f64 / said as f64),
    };
    let (said, off_by) = match case.cache_at_4096 {
        Some(said) => (Bytes(said).to_string(), off(cache.0, said)),
        None => (String::new(), String::new()),
    };
    format!(
        "| {class} | {} | {} | {} | {} | {said} | {off_by} | {} |",
        model.architecture,
        case.config,
        case.parameters,
        off(model.parameters(), case.parameters),
        case.checked
    )
}
