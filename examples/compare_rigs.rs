//! Asks the same question of several rigs: is there a plan, and how fast is it?
//!
//! `cargo run --release --example compare_rigs`

use shardplan::cost::Target;
use shardplan::scenario::{Scenario, ScenarioError, Terms};
use shardplan::units::Tokens;
use shardplan::workload::Workload;
use shardplan::{hardware, model};

#[allow(clippy::print_stdout, reason = "an example shows its result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = model::open("falcon-40b")?;
    for rig in ["RTX 3090", "RTX 3090, ram 64 GiB", "RTX 3090 + RTX 3060"] {
        let scenario = Scenario {
            model: model.clone(),
            rig: hardware::read(rig)?,
            target: Target::LlamaCpp,
            precision: "q4_k_m".parse()?,
            workload: Workload::of_context(Tokens(2048)),
            terms: Terms::default(),
        };
        match scenario.plan() {
            Ok(plan) => {
                let rate = plan.estimate.decode_tokens_per_second;
                println!("{rig}: {} to {} tokens/s", rate.low, rate.high);
            }
            // That nothing fits is an answer, with what each device lacks.
            Err(ScenarioError::Infeasible(reasons)) => println!("{rig}: {reasons}"),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
