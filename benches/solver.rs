//! How the solver's time grows with layers and devices: `cargo bench --bench solver`.
//!
//! Every row is the whole solve with its proof, the least of several runs, on one core. The tables of
//! `docs/benchmarks.md` are pasted from here, and `docs/growth.svg` is written. With
//! `--features highs` both solvers of linear programs are measured.

#[path = "solver/growth.rs"]
mod growth;

use std::path::Path;
use std::time::Instant;

use serde_json::json;
use shardplan::cost::Target;
use shardplan::hardware::{self, Device, HostId, Machine, Rig};
use shardplan::model::{self, Model, Origin, Precision, config};
use shardplan::plan::build;
use shardplan::scenario::{Scenario, ScenarioError, Terms, usual_objectives};
use shardplan::solve::{Backend, Goal, Objective};
use shardplan::units::{Bytes, BytesPerSecond, Tokens};
use shardplan::workload::Workload;

use growth::{Line, Panel};

/// A Llama of 70B's widths with so many blocks.
fn model(n_layers: u32) -> Model {
    let config = json!({"model_type": "llama", "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": n_layers, "num_attention_heads": 64, "num_key_value_heads": 8,
        "vocab_size": 32000, "max_position_embeddings": 4096});
    let origin = Origin::Config("bench".to_owned());
    config::model("bench", origin, &config).expect("the configuration is complete")
}

/// So many cards that are alike, of which eight hold the model with a tenth to spare.
fn alike(count: usize, needs: Bytes) -> Rig {
    let kinds = vec![(needs.0 as f64 * 1.1 / 8.0, 936e9); count];
    cards(&kinds)
}

/// So many cards of which no two are alike, which hold the model with a tenth to spare.
fn unlike(count: usize, needs: Bytes) -> Rig {
    let shares: Vec<_> = (0..count).map(|index| 1.0 + index as f64 * 0.13).collect();
    let whole: f64 = shares.iter().sum();
    let kinds: Vec<_> = shares
        .iter()
        .enumerate()
        .map(|(index, share)| {
            let rate = 300e9 + 97e9 * ((index * 5) % count) as f64;
            (needs.0 as f64 * 1.1 * share / whole, rate)
        })
        .collect();
    cards(&kinds)
}

/// Cards of several kinds, so many of each, which hold the model with a tenth to spare.
fn kinds(count: usize, of_each: usize, needs: Bytes) -> Rig {
    let one_of_each = unlike(count, Bytes(needs.0 / of_each as u64));
    let devices = (0..count * of_each).map(|index| Device {
        name: format!("cuda{index}"),
        ..one_of_each.devices()[index % count].clone()
    });
    Rig::new(devices.collect(), one_of_each.host().cloned()).expect("the figures are plausible")
}

fn cards(kinds: &[(f64, f64)]) -> Rig {
    let template = hardware::read("24 GiB@936 GB/s").expect("the text is a rig");
    // What a card keeps for its context and buffers comes on top.
    let overhead = Bytes::mib(1200);
    let devices = kinds
        .iter()
        .enumerate()
        .map(|(index, (memory, rate))| Device {
            name: format!("cuda{index}"),
            memory: Bytes(*memory as u64) + overhead,
            bandwidth: BytesPerSecond(*rate),
            ..template.devices()[0].clone()
        });
    let host = hardware::read("RTX 3090, ram 256 GiB").expect("the text is a rig");
    Rig::new(devices.collect(), host.host().cloned()).expect("the figures are plausible")
}

fn weights(model: &Model, precision: Precision) -> Bytes {
    let sizes = model.tensor_bytes(precision);
    sizes
        .expect("the precision is one of this model")
        .into_iter()
        .sum()
}

/// The least time of several runs in milliseconds, and how the last one ended.
fn timed(scenario: &Scenario) -> (f64, String) {
    let mut least = f64::INFINITY;
    let mut end = String::new();
    for _ in 0..5 {
        let start = Instant::now();
        let answer = scenario.plan();
        least = least.min(start.elapsed().as_secs_f64() * 1e3);
        end = match answer {
            Ok(plan) => format!(
                "{} (gap {:.2} %), {} cards, {}",
                plan.proof.status.name(),
                plan.proof.gap * 1e2,
                plan.used_gpus().len(),
                build::describe(plan.layout)
            ),
            Err(ScenarioError::Infeasible(no)) if no.is_proven() => "no plan, proven".to_owned(),
            Err(error) => error.to_string(),
        };
        if least > 2e3 {
            break;
        }
    }
    (least, end)
}

/// Prints a row, and gives its milliseconds.
fn row(name: &str, scenario: &Scenario) -> f64 {
    let (milliseconds, end) = timed(scenario);
    #[allow(clippy::print_stdout, reason = "a benchmark prints")]
    {
        println!("| {name} | {milliseconds:.1} | {end} |");
    }
    milliseconds
}

/// Growth with blocks, at two numbers of cards.
fn with_blocks() -> Panel {
    let line = |count: usize| Line {
        name: format!("{count} unlike cards"),
        points: [32, 80, 126, 256, 512]
            .map(|n_layers| {
                let name = format!("{n_layers} blocks, {count} unlike cards");
                let asked = scenario(Target::LlamaCpp, n_layers, |needs| unlike(count, needs));
                (f64::from(n_layers), row(&name, &asked))
            })
            .to_vec(),
    };
    Panel {
        title: "blocks",
        lines: vec![line(4), line(8)],
    }
}

/// Growth with cards of which no two are alike, with little room and with much.
fn with_cards() -> Panel {
    let line = |tenths: u64, room: &str| Line {
        name: room.to_owned(),
        points: [2, 4, 8, 11, 13, 15]
            .map(|count| {
                let name = format!("80 blocks, {count} unlike cards, {room}");
                let rig = |needs: Bytes| unlike(count, Bytes(needs.0 * tenths / 10));
                (
                    count as f64,
                    row(&name, &scenario(Target::LlamaCpp, 80, rig)),
                )
            })
            .to_vec(),
    };
    Panel {
        title: "unlike cards (80 blocks)",
        lines: vec![line(10, "a tenth to spare"), line(20, "twice the room")],
    }
}

/// Growth with the recipes that every block may have, of a model of 32 blocks.
fn with_recipes() -> Panel {
    let recipes = [
        "q4_k_m", "q5_k_m", "q3_k_m", "q6_k", "q4_k_s", "q5_k_s", "q3_k_s", "q8_0",
    ];
    let line = |rig: &str, name: &str| Line {
        name: name.to_owned(),
        points: [1, 2, 3, 4, 6, 8]
            .map(|count| {
                let mix = recipes[..count].join(",").parse();
                let asked = Scenario {
                    model: model::open("llama-3-8b").expect("the name is built in"),
                    rig: hardware::read(rig).expect("the text is a rig"),
                    target: Target::LlamaCpp,
                    precision: Target::LlamaCpp.usual_precision(&model(32)),
                    workload: Workload::of_context(Tokens(4096)),
                    terms: Terms {
                        mix: Some(mix.expect("the names are recipes")),
                        ..Terms::default()
                    },
                };
                let name = format!("32 blocks, {count} recipes, {name}");
                (count as f64, row(&name, &asked))
            })
            .to_vec(),
    };
    Panel {
        title: "recipes of a block (32 blocks)",
        lines: vec![
            line("8 GiB@448 GB/s", "one card"),
            line("4 GiB@448 GB/s + 4 GiB@224 GB/s", "two unlike cards"),
        ],
    }
}

/// The same questions to each solver of the linear program.
fn with_backends(gguf: Target) {
    for backend in Backend::ALL {
        for (n_layers, count) in [(80, 2), (80, 8), (126, 8)] {
            let mut asked = scenario(gguf, n_layers, |needs| unlike(count, needs));
            asked.terms.backend = backend;
            row(
                &format!("{n_layers} blocks, {count} unlike cards, {backend}"),
                &asked,
            );
        }
        let torch = |needs: Bytes| alike(64, needs);
        let mut asked = scenario(Target::Transformers, 126, torch);
        asked.terms.backend = backend;
        row(&format!("126 blocks, 64 cards alike, {backend}"), &asked);
    }
}

fn scenario(target: Target, n_layers: u32, rig: impl Fn(Bytes) -> Rig) -> Scenario {
    let model = model(n_layers);
    let precision = target.usual_precision(&model);
    let rig = rig(weights(&model, precision));
    let rig = match target {
        Target::LlamaCpp => rig,
        // Activations are a gigabyte more.
        Target::Transformers | Target::Vllm | Target::Sglang => {
            let devices = rig.devices().iter().map(|device| Device {
                memory: device.memory + Bytes::gib(2),
                ..device.clone()
            });
            let hosts = rig.hosts().to_vec();
            Rig::of_hosts(devices.collect(), hosts).expect("the figures are plausible")
        }
    };
    Scenario {
        rig,
        target,
        precision,
        workload: Workload::of_context(Tokens(4096)),
        terms: Terms::default(),
        model,
    }
}

/// So many hosts with eight cards each, which hold the model twice, for vLLM to serve; where they are
/// unlike, each host's cards are a little faster than those before.
fn on_hosts(n_hosts: usize, faster: f64) -> Scenario {
    let spread = |needs: Bytes| {
        let n_cards = 8 * n_hosts;
        let rate = |card: usize| 936e9 * (1.0 + faster * (card / 8) as f64);
        let share = needs.0 as f64 * 2.0 / n_cards as f64;
        let kinds: Vec<_> = (0..n_cards).map(|card| (share, rate(card))).collect();
        let one = cards(&kinds);
        let devices = one
            .devices()
            .iter()
            .enumerate()
            .map(|(card, device)| Device {
                host: HostId(card / 8),
                ..device.clone()
            });
        let machines = (0..n_hosts).map(|host| Machine {
            name: format!("host{host}"),
            ram: one.host().cloned(),
            network: "10 GbE".parse().ok(),
        });
        let rig = Rig::of_hosts(devices.collect(), machines.collect());
        rig.expect("every host has cards and a network")
    };
    let mut asked = scenario(Target::Vllm, 126, spread);
    asked.terms.goal.objectives = usual_objectives(Target::Vllm);
    asked
}

/// Growth with hosts, all alike and no two alike.
fn with_hosts() -> Panel {
    let line = |faster: f64, kind: &str| Line {
        name: kind.to_owned(),
        points: [1, 2, 4, 8]
            .map(|n_hosts| {
                let name = format!("126 blocks, {n_hosts} hosts of 8 cards, {kind}");
                (n_hosts as f64, row(&name, &on_hosts(n_hosts, faster)))
            })
            .to_vec(),
    };
    Panel {
        title: "hosts of 8 cards (126 blocks)",
        lines: vec![line(0.0, "hosts alike"), line(0.1, "no two alike")],
    }
}

fn main() {
    let (gguf, torch) = (Target::LlamaCpp, Target::Transformers);
    let panels = [with_blocks(), with_cards(), with_recipes(), with_hosts()];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/growth.svg");
    growth::draw(&panels, &path).expect("docs/ can be written");
    for count in [8, 64, 1000] {
        for n_layers in [80, 126] {
            let name = format!("{n_layers} blocks, {count} cards alike (transformers)");
            row(
                &name,
                &scenario(torch, n_layers, |needs| alike(count, needs)),
            );
        }
    }
    for n_layers in [80, 126] {
        let name =
            format!("{n_layers} blocks, 64 cards of 8 kinds with twice the room (transformers)");
        row(
            &name,
            &scenario(torch, n_layers, |needs| kinds(8, 8, Bytes(needs.0 * 2))),
        );
    }
    row(
        "80 blocks, 64 unlike cards with thrice the room (transformers)",
        &scenario(torch, 80, |needs| unlike(64, Bytes(needs.0 * 3))),
    );
    let small = |percent: u64| move |needs: Bytes| unlike(8, Bytes(needs.0 * percent / 100));
    for percent in [90, 75, 50, 25] {
        let name = format!("80 blocks, 8 unlike cards of {percent} % of that room, CPU");
        row(&name, &scenario(gguf, 80, small(percent)));
    }
    let three_quarters = scenario(gguf, 80, small(75));
    let cards = || three_quarters.rig.devices().to_vec();
    let with_disk = hardware::read("RTX 3090, ram 8 GiB, disk 5 GB/s").expect("the text is a rig");
    let beside = [
        ("8 GiB of RAM and disk", with_disk.host().cloned()),
        ("no RAM", None),
    ];
    for (name, host) in beside {
        let name = format!("80 blocks, 8 unlike cards of 75 % of that room, {name}");
        let rig = Rig::new(cards(), host).expect("the host is of a rig");
        let asked = Scenario {
            rig,
            ..three_quarters.clone()
        };
        row(&name, &asked);
    }
    for objective in Objective::ALL {
        let (mut asked, engine) = match objective {
            // Of one precision there is nothing to choose.
            Objective::Quality => continue,
            Objective::Kv | Objective::Serving => {
                let roomy = |needs: Bytes| unlike(8, Bytes(needs.0 * 2));
                let asked = scenario(Target::Vllm, 80, roomy);
                (asked, " (vLLM, twice the room)")
            }
            Objective::Decode
            | Objective::Prefill
            | Objective::Request
            | Objective::Throughput
            | Objective::Context
            | Objective::Devices
            | Objective::Headroom => (scenario(gguf, 80, |needs| unlike(8, needs)), ""),
        };
        asked.terms.goal = Goal {
            objectives: vec![objective],
            ..Goal::default()
        };
        let name = format!("80 blocks, 8 unlike cards, {objective}{engine}");
        row(&name, &asked);
    }
    with_backends(gguf);
}
