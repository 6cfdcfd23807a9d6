//! Solves published instances with the solvers of this crate and prints what was known beside it.
//!
//! `cargo run --release --example instances -- FOLDER [PART OF A NAME]`
//!
//! The folder is laid out as `docs/benchmarks-instances.md` says. No instance is part of this
//! repository.

mod dnn;
mod expert;
mod halda;
mod helix;
mod llm_pq;
mod parallax;
mod piper;
mod table;

use std::path::Path;

use table::Table;

#[allow(clippy::print_stdout, reason = "an example shows its result")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        return Err("name the folder of the instances".into());
    };
    let mut table = Table::new(arguments.next().unwrap_or_default());
    let folder = Path::new(&folder);
    dnn::run(&folder.join("dnn-partitioning"), &mut table)?;
    dnn::run_latency(&folder.join("dnn-partitioning"), &mut table)?;
    helix::run(&folder.join("helix"), &mut table)?;
    halda::run(&folder.join("distilp"), &mut table)?;
    piper::run(&folder.join("piper"), &mut table)?;
    let cases = folder.join("clusters/parallax_waterfill_cases.yaml");
    parallax::run(&cases, &mut table)?;
    llm_pq::run(&folder.join("clusters"), &mut table)?;
    println!("{}", table.markdown());
    Ok(())
}
