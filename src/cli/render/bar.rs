//! The memory bar of each device, and the strip of layers.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::{BOLD, DIM};
use crate::plan::document::layers;
use crate::plan::{CPU, DeviceUse, Plan};

/// Cells of a bar.
const WIDTH: usize = 32;

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

/// One line for each device, and what the shades mean.
pub(super) fn memory(plan: &Plan) -> String {
    let names = plan
        .devices
        .iter()
        .map(|device| device.name.chars().count());
    let models = plan
        .devices
        .iter()
        .map(|device| device.model.chars().count().min(24));
    let (name_width, model_width) = (names.max().unwrap_or(0), models.max().unwrap_or(0));
    let mut text = String::new();
    for device in &plan.devices {
        let model: String = device.model.chars().take(24).collect();
        let used = device.memory.total();
        let is_stated = device.name != CPU || plan.rig.host().is_some();
        let room = match is_stated {
            true => format!("{} {used} of {}", bar(device), device.capacity),
            false => format!("{:WIDTH$} {used} of RAM, which the rig does not state", ""),
        };
        let _ = writeln!(
            text,
            "{BOLD}{:name_width$}{BOLD:#} {model:model_width$} {room}",
            device.name,
        );
    }
    let legend: Vec<_> = PURPOSES
        .iter()
        .map(|(shade, name, colour)| {
            let style = Style::new().fg_color(Some((*colour).into()));
            format!("{style}{shade}{style:#} {name}")
        })
        .collect();
    let indent = name_width + model_width + 2;
    let _ = writeln!(
        text,
        "{:indent$}{}{DIM} · free{DIM:#}",
        "",
        legend.join(" ")
    );
    text
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
    let number = |name: &str| gpus.iter().position(|device| device.name == name);
    let mut cells = String::new();
    let mut runs = vec![format!("embedding {}", plan.device_map.modules.embedding)];
    for run in &plan.device_map.runs {
        let mark = match number(&run.device) {
            Some(number) => char::from_digit(number as u32 % 36, 36).unwrap_or('?'),
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
    let by_cpu = plan.device_map.runs.iter().any(|run| run.device == CPU);
    let legend = if by_cpu { " (- is the CPU)" } else { "" };
    format!(
        "{DIM}layers{DIM:#}  {cells}{DIM}{legend}{DIM:#}\n        {}\n",
        runs.join(" · ")
    )
}
