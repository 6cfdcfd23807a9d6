//! Plans one model for one rig, and prints where its layers go and how to launch it.
//!
//! `cargo run --release --example plan_a_model`

use shardplan::cost::Target;
use shardplan::scenario::{Scenario, Terms};
use shardplan::units::Tokens;
use shardplan::workload::Workload;
use shardplan::{emit, hardware, model};

#[allow(clippy::print_stdout, reason = "an example shows its result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scenario = Scenario {
        model: model::open("llama-2-70b")?,
        rig: hardware::read("2x RTX 3090, ram 64 GiB")?,
        target: Target::LlamaCpp,
        precision: "q4_k_m".parse()?,
        workload: Workload::of_context(Tokens(4096)),
        terms: Terms::default(),
    };
    let plan = scenario.plan()?;
    for run in &plan.device_map.runs {
        println!("layers {:?} on {}", run.layers, run.device);
    }
    for device in &plan.devices {
        println!("{} holds {}", device.name, device.memory.total());
    }
    println!("{} a token, {}", plan.proof.objective, plan.proof.solver);
    println!("{}", emit::emit(&plan, plan.target)?.launch);
    Ok(())
}
