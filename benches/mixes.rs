//! How long the best mix takes, with and without a limit on time: `cargo bench --bench mixes`.
//!
//! Every row is the whole plan with its proof, the least of several runs, on one core. The table of
//! `docs/benchmarks.md` is pasted from here. The penalties are no measurements.

use std::time::Instant;

use serde_json::json;
use shardplan::cost::Target;
use shardplan::hardware::{self, Device, Rig};
use shardplan::model::recipe::Recipe;
use shardplan::model::{self, Model, Origin, Precision, config};
use shardplan::plan::Plan;
use shardplan::scenario::{Candidates, Penalties, Scenario, ScenarioError, Terms};
use shardplan::units::{Bytes, BytesPerSecond, Seconds, Tokens};
use shardplan::workload::Workload;

const FOUR: [(Recipe, f64); 4] = [
    (Recipe::Q8_0, 1.0),
    (Recipe::Q5KM, 12.0),
    (Recipe::Q4KM, 30.0),
    (Recipe::Q3KM, 100.0),
];
const EIGHT: [(Recipe, f64); 8] = [
    (Recipe::Q8_0, 1.0),
    (Recipe::Q6K, 5.0),
    (Recipe::Q5KM, 12.0),
    (Recipe::Q5KS, 16.0),
    (Recipe::Q4KM, 30.0),
    (Recipe::Q4KS, 43.0),
    (Recipe::Q3KL, 87.0),
    (Recipe::Q3KM, 100.0),
];

/// As many as `--mix auto` takes.
const TWELVE: [(Recipe, f64); 12] = [
    (Recipe::Q8_0, 1.0),
    (Recipe::Q6K, 5.0),
    (Recipe::Q5KM, 12.0),
    (Recipe::Q5KS, 16.0),
    (Recipe::Q5_1, 18.0),
    (Recipe::Q5_0, 22.0),
    (Recipe::Q4KM, 30.0),
    (Recipe::Q4KS, 43.0),
    (Recipe::Q4_1, 71.0),
    (Recipe::Q4_0, 72.0),
    (Recipe::Q3KL, 87.0),
    (Recipe::Q3KM, 100.0),
];

/// How sensitive blocks are beside each other.
enum Weights {
    Alike,
    /// The first and the last blocks more than those between.
    Edges,
    /// No two alike.
    Unlike,
}

/// A Llama of 70B's widths.
fn llama() -> Model {
    let config = json!({"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "vocab_size": 32000, "max_position_embeddings": 4096});
    let origin = Origin::Config("bench".to_owned());
    config::model("bench", origin, &config).expect("the configuration is complete")
}

/// Gemma 3 27B: every sixth of its 62 blocks attends to the whole context.
fn gemma() -> Model {
    let text = include_str!("../tests/fixtures/configs/gemma-3-27b.json");
    let config = serde_json::from_str(text).expect("the fixture is JSON");
    let origin = Origin::Config("gemma-3-27b".to_owned());
    config::model("gemma-3-27b", origin, &config).expect("the configuration is complete")
}

/// Eight cards of which no two are alike, of which the smallest recipe takes 62 %.
fn rig(model: &Model, least: Recipe) -> Rig {
    let sizes = model.tensor_bytes(Precision::Gguf(least));
    let needs: Bytes = sizes.expect("llama-quantize knows it").into_iter().sum();
    let template = hardware::read("24 GiB@936 GB/s, ram 256 GiB").expect("the text is a rig");
    let shares: Vec<f64> = (0..8).map(|index| 1.0 + f64::from(index) * 0.13).collect();
    let whole: f64 = shares.iter().sum();
    let devices = shares.iter().enumerate().map(|(index, share)| Device {
        name: format!("cuda{index}"),
        memory: Bytes((needs.0 as f64 / 0.62 * share / whole) as u64) + Bytes::mib(1200),
        bandwidth: BytesPerSecond(300e9 + 97e9 * ((index * 5) % 8) as f64),
        ..template.devices()[0].clone()
    });
    Rig::new(devices.collect(), template.host().cloned()).expect("the figures are plausible")
}

fn scenario(model: &Model, weights: &Weights, table: &[(Recipe, f64)]) -> Scenario {
    let n_blocks = model.dimensions.n_layers;
    let weight = |block: u32| match weights {
        Weights::Alike => 1.0,
        Weights::Edges if block < 8 || block + 8 >= n_blocks => 4.0,
        Weights::Edges if block < 16 || block + 16 >= n_blocks => 2.0,
        Weights::Edges => 1.0,
        Weights::Unlike => 0.3 + f64::from(block * 37 % 80) * 0.025,
    };
    let (smallest, _) = table[table.len() - 1];
    Scenario {
        rig: rig(model, smallest),
        target: Target::LlamaCpp,
        precision: Precision::Gguf(smallest),
        workload: Workload::of_context(Tokens(4096)),
        terms: Terms {
            mix: Some(Candidates::Of(
                table.iter().map(|(recipe, _)| *recipe).collect(),
            )),
            penalties: Some(Penalties {
                measure: "none".to_owned(),
                by_precision: table
                    .iter()
                    .map(|(recipe, penalty)| (Precision::Gguf(*recipe), *penalty))
                    .collect(),
                by_block: (0..n_blocks)
                    .map(|block| (block..block + 1, weight(block)))
                    .collect(),
            }),
            ..Terms::default()
        },
        model: model.clone(),
    }
}

/// The least time of three runs, and how the last one ended.
fn timed(scenario: &Scenario) -> (String, Option<Seconds>) {
    let mut least = f64::INFINITY;
    loop {
        let start = Instant::now();
        let answer = scenario.plan();
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let is_last = milliseconds >= least * 0.98;
        least = least.min(milliseconds);
        if is_last || least > 1e3 {
            return ended(least, answer);
        }
    }
}

fn ended(milliseconds: f64, answer: Result<Plan, ScenarioError>) -> (String, Option<Seconds>) {
    match answer {
        Ok(plan) => {
            let proof = &plan.proof;
            let (status, gap) = (proof.status.name(), proof.gap * 100.0);
            let text = format!(
                "{milliseconds:.0} | {:.4}, {status}, gap {gap:.2} %",
                proof.objective.number()
            );
            (text, None)
        }
        Err(ScenarioError::TooSlow(slow)) => (String::new(), Some(slow.fastest)),
        Err(error) => (error.to_string(), None),
    }
}

fn row(name: &str, scenario: &Scenario) {
    let (free, _) = timed(scenario);
    let mut limited = scenario.clone();
    limited.terms.max_time_per_token = Some(Seconds(1e-9));
    let (_, fastest) = timed(&limited);
    let most = fastest.map(|fastest| Seconds(fastest.0 * 1.15));
    limited.terms.max_time_per_token = most;
    let (within, _) = timed(&limited);
    #[allow(clippy::print_stdout, reason = "a benchmark prints")]
    {
        println!("| {name} | {free} | {within} |");
    }
}

/// Models, rigs that hold them with some of the chain in RAM alone, and limits on time.
const IN_RAM: [(&str, &str, f64); 6] = [
    ("llama-2-70b", "RTX 3090, ram 64 GiB", 0.5),
    ("llama-2-70b", "RTX 3090, ram 64 GiB", 0.8),
    ("llama-2-70b", "RTX 3090, ram 24 GiB", 0.45),
    ("llama-2-70b", "RTX 3090 + RTX 3060, ram 64 GiB", 0.4),
    ("mixtral-8x7b", "RTX 4090, ram 64 GiB", 0.06),
    (
        "qwen3-235b-a22b",
        "2x RTX 3090 + RTX 4090, ram 128 GiB",
        0.15,
    ),
];

fn row_in_ram((name, rig, most): (&str, &str, f64), table: &[(Recipe, f64)]) {
    let model = model::open(name).expect("it is in the list of known models");
    let mut scenario = scenario(&model, &Weights::Alike, table);
    scenario.rig = hardware::read(rig).expect("the text is a rig");
    let (free, _) = timed(&scenario);
    scenario.terms.max_time_per_token = Some(Seconds(most));
    let (within, _) = timed(&scenario);
    #[allow(clippy::print_stdout, reason = "a benchmark prints")]
    {
        let (n_recipes, most) = (table.len(), most * 1e3);
        println!("| {name}, {rig}, {n_recipes} recipes | {free} | {most:.0} | {within} |");
    }
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let deepseek = || model::open("deepseek-v3").expect("it is in the list of known models");
    let cases = [
        ("uniform 80", llama(), Weights::Alike),
        ("edge-sensitive 80", llama(), Weights::Edges),
        ("gemma-3-27b, 62", gemma(), Weights::Alike),
        ("deepseek-v3, 61", deepseek(), Weights::Alike),
        ("all different 80", llama(), Weights::Unlike),
    ];
    #[allow(clippy::print_stdout, reason = "a benchmark prints")]
    {
        println!("| problem | ms | best that fits | ms | best within 1.15 of the least time |");
        println!("| --- | --- | --- | --- | --- |");
    }
    for (name, model, weights) in cases {
        for table in [&FOUR[..], &EIGHT[..], &TWELVE[..]] {
            let name = format!("{name}, {} recipes", table.len());
            if name.contains(filter.trim_start_matches("--bench")) {
                row(&name, &scenario(&model, &weights, table));
            }
        }
    }
    #[allow(clippy::print_stdout, reason = "a benchmark prints")]
    {
        println!();
        println!("| problem | ms | best in RAM | limit | ms | best within it |");
        println!("| --- | --- | --- | --- | --- | --- |");
    }
    for case in IN_RAM {
        for table in [&FOUR[..], &EIGHT[..]] {
            if case.0.contains(filter.trim_start_matches("--bench")) {
                row_in_ram(case, table);
            }
        }
    }
}
