//! The command: arguments in, a plan or a reason out. No arithmetic and no rule is here.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 an answer, 1 an
//! error in input or I/O, 2 wrong usage, 3 no plan exists.

pub mod args;
mod emit;
mod interrupt;
mod json;
mod model;
mod output;
mod place;
mod plan;
mod render;
mod rig;
mod source;
mod whatif;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::hardware::{Rig, read};
use crate::scenario::Penalties;
use crate::units::Bytes;
use args::{Arguments, Command, LoadArguments, ModelCommand, RigCommand};

/// Why a command failed; the sentence is all that a person needs.
type Failure = Box<dyn std::error::Error>;

/// How a command ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    NoPlan,
}

/// Runs the command line that this process was started with.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match dispatch(&arguments.command) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NoPlan) => ExitCode::from(3),
        Err(failure) => {
            // Where even standard error is gone there is nobody to tell.
            let _ = writeln!(
                anstream::stderr(),
                "{}",
                render::failure(&failure.to_string())
            );
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &Command) -> Result<Outcome, Failure> {
    match command {
        Command::Plan(arguments) => plan::run(arguments),
        Command::Emit(arguments) => emit::run(arguments),
        Command::Model(ModelCommand::Inspect(arguments)) => model::inspect(arguments),
        Command::Rig(RigCommand::Show(arguments)) => rig::show(arguments),
        Command::Rig(RigCommand::Detect(arguments)) => rig::detect(arguments),
        Command::Place(arguments) => place::run(arguments),
        Command::Whatif(arguments) => whatif::run(arguments),
    }
}

/// The rig that a user names, with the reserves and the margin that they ask for.
fn rig_with(rig: &str, load: &LoadArguments) -> Result<Rig, Failure> {
    let rig = reserved(read(rig)?, &load.reserve)?;
    Ok(match load.margin {
        Some(share) => rig.with_margin(share)?,
        None => rig,
    })
}

/// A rig with the reserves that a user asks for.
fn reserved(mut rig: Rig, reserves: &[(String, Bytes)]) -> Result<Rig, Failure> {
    for (device, reserve) in reserves {
        rig = rig.with_reserve(device, *reserve)?;
    }
    Ok(rig)
}

/// The table of penalties that a user names.
fn penalties(load: &LoadArguments) -> Result<Option<Penalties>, Failure> {
    let Some(path) = &load.penalties else {
        return Ok(None);
    };
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("`{origin}` can't be read: {error}"))?;
    Ok(Some(Penalties::from_yaml(&text, &origin)?))
}
