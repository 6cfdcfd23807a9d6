//! The memory bar of each device, and the strip of layers.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::{BOLD, DIM};
use crate::plan::document::layers;
use crate::plan::{CPU, DISK, DeviceUse, Plan, members};
use crate::units::Bytes;

/// Cells of a bar.
const WIDTH: usize = 32;
/// Letters of a device's model that are shown.
const MODEL: usize = 24;

/// Purposes in the order of a bar: letter, name, colour.
const PURPOSES: [(char, &str, AnsiColor); 4] = [
    ('█', "weights", AnsiColor::Blue),
    ('▓', "cache", AnsiColor::Magenta),
    ('▒', "compute", AnsiColor::Yellow),
    ('░', "overhead", AnsiColor::BrightBlack),
];

/// Colours of devices in the strip, the CPU's first.
const DEVICES: [AnsiColor; 7] = [
    AnsiColor::BrightBlack,
    AnsiColor::Blue,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Yellow,
    AnsiColor::Cyan,
    AnsiColor::Red,
];

/// One line for each device that holds something, and what the shades mean.
pub(super) fn memory(plan: &Plan) -> String {
    let (used, unused): (Vec<_>, Vec<_>) = plan
        .devices
        .iter()
        .partition(|device| device.memory.total() > Bytes::ZERO);
    let name_width = widest(used.iter().map(|device| device.name.as_str()));
    let model_width = widest(used.iter().map(|device| device.model.as_str())).min(MODEL);
    let mut text = String::new();
    for device in used {
        let model: String = device.model.chars().take(MODEL).collect();
        let total = device.memory.total();
        let is_stated = device.name != CPU || plan.rig.host().is_some();
        let room = match is_stated {
            true => format!("{} {total} of {}", bar(device), device.capacity),
            false => format!("{:WIDTH$} {total} of RAM, which the rig does not state", ""),
        };
        let _ = writeln!(
            text,
            "{BOLD}{:name_width$}{BOLD:#} {model:model_width$} {room}",
            device.name,
        );
    }
    let legend = PURPOSES.map(|(shade, name, colour)| {
        let style = Style::new().fg_color(Some(colour.into()));
        format!("{style}{shade}{style:#} {name}")
    });
    let indent = name_width + model_width + 2;
    let _ = writeln!(
        text,
        "{:indent$}{}{DIM} · free{DIM:#}",
        "",
        legend.join(" ")
    );
    text + &left_out(&unused)
}

fn widest<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

/// Devices that the plan does without, a few by name.
fn left_out(devices: &[&DeviceUse]) -> String {
    let named = devices.iter().filter(|device| device.name != CPU);
    let named: Vec<_> = named.map(|device| device.name.as_str()).collect();
    match named.split_at_checked(6) {
        _ if named.is_empty() => String::new(),
        Some((first, rest)) if !rest.is_empty() => {
            format!(
                "{DIM}unused{DIM:#}  {} and {} more\n",
                first.join(", "),
                rest.len()
            )
        }
        _ => format!("{DIM}unused{DIM:#}  {}\n", named.join(", ")),
    }
}

fn bar(device: &DeviceUse) -> String {
    let memory = device.memory;
    let sizes = [
        memory.weights,
        memory.kv_cache,
        memory.compute,
        memory.overhead,
    ];
    let whole = u128::from(device.capacity.max(memory.total()).0.max(1));
    let mut text = String::new();
    let (mut sum, mut drawn) = (0, 0);
    for (size, (shade, _, colour)) in sizes.into_iter().zip(PURPOSES) {
        sum += size.0;
        // A purpose ends at the cell that its running sum reaches, rounded to the nearest.
        let end = ((u128::from(sum) * WIDTH as u128 * 2 / whole).div_ceil(2) as usize).min(WIDTH);
        let cells = String::from(shade).repeat(end.saturating_sub(drawn));
        let style = Style::new().fg_color(Some(colour.into()));
        let _ = write!(text, "{style}{cells}{style:#}");
        drawn = drawn.max(end);
    }
    text.push_str(&"·".repeat(WIDTH - drawn));
    text
}

/// One cell for each layer, marked by its device, and the runs in words.
pub(super) fn strip(plan: &Plan) -> String {
    let gpus = plan.rig.devices();
    // GPUs that share layers have the mark of the first.
    let number = |name: &str| {
        let first = members(name).next()?;
        gpus.iter().position(|device| device.name == first)
    };
    let mut cells = String::new();
    let mut runs = vec![format!("embedding {}", plan.device_map.modules.embedding)];
    for run in &plan.device_map.runs {
        let mark = match number(&run.device) {
            Some(number) => char::from_digit(number as u32 % 36, 36).unwrap_or('?'),
            None if run.device == DISK => '_',
            None => '-',
        };
        let colour = match number(&run.device) {
            Some(number) => DEVICES[1 + number % (DEVICES.len() - 1)],
            None => DEVICES[0],
        };
        let style = Style::new().fg_color(Some(colour.into()));
        let n_layers = (run.layers.end() - run.layers.start() + 1) as usize;
        let _ = write!(
            cells,
            "{style}{}{style:#}",
            String::from(mark).repeat(n_layers)
        );
        runs.push(format!("{} {}", layers::text(&run.layers), run.device));
    }
    runs.push(format!("head {}", plan.device_map.modules.head));
    let has = |place: &str| plan.device_map.runs.iter().any(|run| run.device == place);
    let legend = match (has(CPU), has(DISK)) {
        (true, true) => " (- is the CPU, _ the disk)",
        (true, false) => " (- is the CPU)",
        (false, true) => " (_ is the disk)",
        (false, false) => "",
    };
    format!(
        "{DIM}layers{DIM:#}  {cells}{DIM}{legend}{DIM:#}\n        {}\n",
        runs.join(" · ")
    )
}
