//! `shardplan rig show` and `shardplan rig detect`.

use super::args::{DetectArguments, ShowArguments};
use super::{Failure, Outcome, json, output, render};
use crate::hardware;

pub(super) fn show(arguments: &ShowArguments) -> Result<Outcome, Failure> {
    let rig = hardware::read(&arguments.rig)?;
    let text = if arguments.json {
        json::rig(&rig)
    } else {
        render::rig(&rig)
    };
    output::print(&text)?;
    Ok(Outcome::Done)
}

pub(super) fn detect(arguments: &DetectArguments) -> Result<Outcome, Failure> {
    let detected = hardware::detect(arguments.nvml_library.as_deref())?;
    for note in &detected.notes {
        output::remark(&format!("note: {note}"))?;
    }
    if let Some(path) = &arguments.output {
        output::write_file(path, &detected.rig.to_yaml())?;
    }
    match (arguments.json, &arguments.output) {
        (true, _) => output::print(&json::rig(&detected.rig))?,
        (false, Some(_)) => output::print(&render::rig(&detected.rig))?,
        (false, None) => output::print(&detected.rig.to_yaml())?,
    }
    Ok(Outcome::Done)
}
