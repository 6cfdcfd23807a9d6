//! Answers as text for people: bars, strips, tables. Meaning survives without colour.

mod bar;
pub(super) mod fleet;
pub(in crate::cli) mod graph;
mod proof;
mod service;
mod table;

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::plan::Refusal;
use super::whatif::Row;
use crate::cost::Place;
use crate::emit::Emission;
use crate::hardware::Rig;
use crate::model::Extra;
use crate::plan::document::layers;
use crate::plan::{Plan, build};
use crate::scenario::{Fix, Robustness, Scenario, ScenarioError};
use crate::units::Bytes;

use proof::proof;
pub(super) use table::{inspection, rig};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const GOOD: Style = AnsiColor::Green.on_default().bold();

/// `error: …`, with its hints below. What a file said is part of the sentence, so that its control
/// characters are written out: they would drive the terminal.
pub(super) fn failure(sentence: &str) -> String {
    let mut text = format!("{ERROR}error:{ERROR:#} ");
    let written_out: String = sentence
        .chars()
        .map(|letter| match letter {
            '\n' | '\t' => letter.to_string(),
            _ if letter.is_control() => letter.escape_default().to_string(),
            _ => letter.to_string(),
        })
        .collect();
    for (index, line) in written_out.lines().enumerate() {
        let separator = if index > 0 { "\n" } else { "" };
        match line.strip_prefix("hint: ") {
            Some(hint) => text.push_str(&format!("{separator}{}", hinted(hint))),
            None => text.push_str(&format!("{separator}{line}")),
        }
    }
    text
}

fn hinted(hint: &str) -> String {
    format!("{HINT}hint:{HINT:#} {hint}")
}

/// The name of a place in this rig.
pub(super) fn place(rig: &Rig, place: Place) -> String {
    match place {
        Place::Host => crate::plan::CPU.to_owned(),
        Place::Device(device) => rig.device(device).name.clone(),
    }
}

/// A whole plan.
pub(super) fn plan(plan: &Plan, launch: &str) -> String {
    let weights: Bytes = plan
        .devices
        .iter()
        .map(|device| device.memory.weights)
        .chain(plan.disk.map(|disk| disk.weights))
        .sum();
    let workload = &plan.workload;
    let mut text = format!(
        "{BOLD}{}{BOLD:#} {} · {weights} of weights · {} · {} tokens × {} · cache {}\n\n",
        plan.model.name,
        plan.stored_as(),
        plan.target,
        workload.context,
        workload.sequences,
        workload.kv,
    );
    text.push_str(&bar::memory(plan));
    text.push('\n');
    text.push_str(&bar::strip(plan));
    text.push_str(&extras(plan));
    text.push_str(&crossings(plan));
    let _ = writeln!(text, "\n{}{}", speed(plan), disk(plan));
    let _ = writeln!(text, "{}{}\n", service::lines(plan), proof(plan));
    if !plan.proof.given.is_empty() {
        let _ = writeln!(text, "{DIM}given{DIM:#}   {}\n", plan.proof.given.join(" "));
    }
    let _ = writeln!(text, "{DIM}run{DIM:#}     {launch}");
    text + &numbers(plan)
}

/// What stands beside the model, a line for each extra and device.
fn extras(plan: &Plan) -> String {
    let mut text = String::new();
    for (index, extra) in plan.extras.iter().enumerate() {
        let label = if index == 0 { "\nbeside" } else { "      " };
        let mut parts = vec![format!("{} of weights", extra.weights)];
        for (bytes, what) in [(extra.kv_cache, "cache"), (extra.compute, "compute")] {
            if bytes > Bytes::ZERO {
                parts.push(format!("{bytes} of {what}"));
            }
        }
        let guess = match extra.kind {
            Extra::Mmproj => ", compute a guess: a sixth of it to all",
            Extra::Lora | Extra::Draft | Extra::Mtp => "",
        };
        let _ = writeln!(
            text,
            "{DIM}{label}{DIM:#}  {} {} on {}: {}{guess}",
            extra.kind.name(),
            extra.file,
            extra.device,
            parts.join(", "),
        );
    }
    text
}

/// What passes from host to host.
fn crossings(plan: &Plan) -> String {
    let mut text = String::new();
    for (index, crossing) in plan.crossings.iter().enumerate() {
        let label = if index == 0 { "\nnetwork" } else { "       " };
        let _ = writeln!(
            text,
            "{DIM}{label}{DIM:#} {} to {} before {}: {} a token, {}",
            crossing.from, crossing.to, crossing.before, crossing.bytes, crossing.time,
        );
    }
    text
}

/// Where cards differ, which number must be which: the driver counts along the PCI bus, and a rig
/// that was typed may not.
fn numbers(plan: &Plan) -> String {
    let rig = &plan.rig;
    let differ = rig
        .devices()
        .windows(2)
        .any(|pair| pair[0].model != pair[1].model);
    if !differ || rig.devices().iter().all(|device| device.pci.is_some()) {
        return String::new();
    }
    let used = plan
        .used_gpus()
        .into_iter()
        .filter_map(|name| plan.gpu(name));
    let used = used.map(|id| {
        let host = match rig.hosts() {
            [_] => String::new(),
            hosts => format!(" of {}", hosts[rig.device(id).host.0].name),
        };
        format!("{}{host} is the {}", rig.number(id), rig.device(id).model)
    });
    let used: Vec<_> = used.collect();
    format!(
        "{DIM}check   number {}: hold it against `nvidia-smi`{DIM:#}\n",
        used.join(", ")
    )
}

fn speed(plan: &Plan) -> String {
    let rate = &plan.estimate.decode_tokens_per_second;
    format!(
        "{DIM}speed{DIM:#}   {BOLD}{} tokens/s{BOLD:#} ({} to {}) with {} tokens in the cache, {}",
        short(rate.mid),
        short(rate.low),
        short(rate.high),
        plan.estimate.at_depth,
        build::describe(plan.layout),
    )
}

/// What is read from disk, which decides the speed: nobody should find out by waiting.
fn disk(plan: &Plan) -> String {
    let rate = plan.rig.host().and_then(|host| host.disk);
    let (Some(disk), Some(rate)) = (plan.disk, rate) else {
        return String::new();
    };
    format!(
        "\n{ERROR}disk{ERROR:#}    {BOLD}{} are read from disk for every token{BOLD:#}: {} at {rate}; {} of weights are in no memory",
        disk.read_a_token,
        disk.read_a_token / rate,
        disk.weights,
    )
}

/// How a plan stands up to wrong estimates.
pub(super) fn robustness(robustness: &Robustness) -> String {
    let worst = robustness.worst.iter();
    let worst: Vec<_> = worst
        .map(|(kind, rate)| format!("{kind} at {:.0} % of its rate", rate * 100.0))
        .collect();
    // Of a regret that is shown as none, nothing is the cause.
    let at = match robustness.regret < 0.0005 {
        true => String::new(),
        false => format!(" (with {})", worst.join(", ")),
    };
    format!(
        "{DIM}robust{DIM:#}  over {} mixes of rates 20 % lower and 25 % higher it is at most {:.1} % slower than the best plan for them{at}\n        memory may be underestimated by {:.1} % before a device overflows\n",
        robustness.n_tried,
        robustness.regret * 100.0,
        robustness.memory * 100.0,
    )
}

/// Why there is no plan, and what was tried and works.
pub(super) fn infeasible(scenario: &Scenario, refusal: &Refusal) -> String {
    let Refusal {
        infeasible,
        conflict,
        fixes,
    } = refusal;
    let mut text = failure(&infeasible.to_string());
    for reason in &infeasible.reasons {
        let _ = write!(
            text,
            "\n  `{}` lacks {} (it can hold {})",
            place(&scenario.rig, reason.place),
            reason.missing,
            reason.capacity
        );
    }
    if let Some(engine) = scenario.in_one_stage() {
        let _ = write!(
            text,
            "\n  {engine} runs `{}` in one stage alone: its GPUs share every block, or there is one",
            scenario.model.name
        );
    }
    let conflict: Vec<_> = conflict.iter().map(|it| format!("`{it}`")).collect();
    let _ = match conflict.as_slice() {
        [] => Ok(()),
        [one] => write!(text, "\n  {one} alone leaves no plan"),
        several => write!(text, "\n  {} together leave no plan", several.join(" and ")),
    };
    for change in fixes {
        let hint = match change {
            Fix::Without(constraint) => format!("there is a plan without `{constraint}`"),
            change => format!("{} makes it fit", fix(change)),
        };
        let _ = write!(text, "\n{}", hinted(&hint));
    }
    if scenario.terms.stop.is_set() {
        let hint = "the time was over before every change was tried: `--time-limit` gives more";
        let _ = write!(text, "\n{}", hinted(hint));
    } else if fixes.is_empty() {
        let fewer = match scenario.terms.constraints.is_empty() {
            true => "",
            false => ", or one constraint less,",
        };
        let _ = write!(
            text,
            "\nno single change of context, cache, precision, RAM or one more card{fewer} makes it fit"
        );
    }
    text
}

/// A change as the words that ask for it.
pub(super) fn fix(fix: &Fix) -> String {
    match fix {
        Fix::Context(context) => format!("`--context {context}`"),
        Fix::Kv(format) => format!("`--kv {format}`"),
        Fix::Sequences(sequences) => format!("`--sequences {sequences}`"),
        Fix::Precision(precision) => format!("`--precision {precision}`"),
        Fix::Ram(ram) => format!("`ram {}` in the rig", String::from(*ram)),
        Fix::AnotherCard(model) => format!("one more {model}"),
        Fix::Without(constraint) => format!("leaving out `{constraint}`"),
        Fix::Target(target, precision, objectives) => {
            let names = objectives.iter().map(ToString::to_string);
            let named = match objectives.is_empty() {
                true => String::new(),
                false => format!(" --objective {}", names.collect::<Vec<_>>().join(",")),
            };
            format!("`--target {target} --precision {precision}{named}`")
        }
    }
}

/// A rate to three digits that count, without trailing zeros.
fn short(rate: f64) -> String {
    let decimals = match rate {
        rate if rate >= 100.0 => 0,
        rate if rate >= 10.0 => 1,
        rate if rate >= 1.0 => 2,
        _ => 3,
    };
    format!("{rate:.decimals$}")
}

/// Files and launch line of a framework.
pub(super) fn emission(emission: &Emission) -> String {
    let mut text = String::new();
    for (name, contents) in &emission.files {
        let _ = writeln!(text, "{DIM}── {name}{DIM:#}\n{contents}");
    }
    let _ = writeln!(text, "{DIM}── run{DIM:#}\n{}", emission.launch);
    text
}

/// Why a row has no plan, in a few words; sentences are noted, to stand below the table.
fn refused(refusal: &ScenarioError, notes: &mut Vec<String>) -> String {
    if let ScenarioError::Infeasible(infeasible) = refusal {
        return format!("lacks {}", infeasible.missing());
    }
    let sentence = refusal.to_string();
    let known = notes.iter().position(|note| *note == sentence);
    let index = known.unwrap_or_else(|| {
        notes.push(sentence);
        notes.len() - 1
    });
    format!("no, see {}", index + 1)
}

/// The rows of a what-if.
pub(super) fn whatif(model: &str, rows: &[Row]) -> String {
    let is_mixed = |row: &Row| row.answer.as_ref().is_ok_and(|plan| plan.mix.is_some());
    let is_mixed = rows.iter().any(is_mixed);
    let columns = [
        "rig",
        "context",
        "precision",
        "fits",
        "layers",
        "tokens/s",
        "proof",
    ];
    let penalty = is_mixed.then_some("penalty");
    let mut table = table::new(columns.into_iter().chain(penalty));
    let mut notes = Vec::new();
    for row in rows {
        let (fits, split, rate, proof) = match &row.answer {
            Ok(plan) => {
                let runs = plan.device_map.runs.iter();
                let runs: Vec<_> = runs
                    .map(|run| format!("{} {}", run.device, layers::text(&run.layers)))
                    .collect();
                let rate = plan.estimate.decode_tokens_per_second;
                (
                    "yes".to_owned(),
                    runs.join(", "),
                    format!(
                        "{} ({} to {})",
                        short(rate.mid),
                        short(rate.low),
                        short(rate.high)
                    ),
                    plan.proof.status.name().to_owned(),
                )
            }
            Err(refusal) => (
                refused(refusal, &mut notes),
                String::new(),
                String::new(),
                "none".to_owned(),
            ),
        };
        let cells = [
            row.rig.clone(),
            row.context.to_string(),
            row.precision.clone(),
            fits,
            split,
            rate,
            proof,
        ];
        let penalty = match &row.answer {
            Ok(plan) => format!("{:.6}", plan.proof.objective.number()),
            Err(_) => String::new(),
        };
        let penalty = is_mixed.then_some(penalty);
        table.add_row(cells.into_iter().chain(penalty));
    }
    let mut text = format!("{BOLD}{model}{BOLD:#}\n{table}\n");
    for (index, note) in (1..).zip(notes) {
        let _ = writeln!(text, "{index}: {note}");
    }
    text
}
