//! Tables of models and rigs.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, LineStyle, Table, presets};

use super::super::model::Inspection;
use super::{BOLD, DIM};
use crate::hardware::{HostId, Rig};
use crate::model::{Cache, KeysValues, Node, Origin};
use crate::units::{Bytes, Tokens};

/// A table in the house's style.
pub(super) fn new<T: ToString>(header: impl IntoIterator<Item = T>) -> Table {
    let below_header = LineStyle::none().fill('─').junction('─');
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING.header_separator(below_header))
        .set_header(header.into_iter().map(|name| name.to_string()));
    table
}

/// The devices of a rig and its host.
pub(crate) fn rig(rig: &Rig) -> String {
    let mut table = new([
        "device",
        "what",
        "memory",
        "reserved",
        "usable",
        "bandwidth",
        "link",
    ]);
    for device in rig.devices() {
        table.add_row([
            device.name.clone(),
            device.model.clone(),
            device.memory.to_string(),
            device.reserve.to_string(),
            device.capacity().to_string(),
            device.bandwidth.to_string(),
            format!("PCIe {}", device.link),
        ]);
    }
    if let Some(host) = rig.host() {
        table.add_row([
            "cpu".to_owned(),
            host.cpu.clone().unwrap_or_else(|| "RAM".to_owned()),
            host.memory.to_string(),
            host.reserve.to_string(),
            host.capacity().to_string(),
            host.bandwidth.to_string(),
            host.disk
                .map(|rate| format!("disk {rate}"))
                .unwrap_or_default(),
        ]);
    }
    let note = match rig.host() {
        Some(_) => "",
        None => "no RAM is stated, so nothing is offloaded to it\n",
    };
    format!("{table}\n{note}{}", network(rig))
}

/// Of several hosts, what each has to reach the others; the first is where the framework is started.
fn network(rig: &Rig) -> String {
    let mut text = String::new();
    for (index, host) in rig.hosts().iter().enumerate() {
        let Some(network) = host.network.filter(|_| rig.hosts().len() > 1) else {
            continue;
        };
        let first = if index == 0 { " (starts)" } else { "" };
        let devices = rig.devices().iter().filter(|it| it.host == HostId(index));
        let _ = writeln!(
            text,
            "{DIM}host{DIM:#} {}{first}: {} cards, {} and {} a round trip",
            host.name,
            devices.count(),
            network.rate,
            String::from(network.latency),
        );
    }
    text
}

/// A row for each kind of node, equal ones together.
pub(crate) fn inspection(inspection: &Inspection) -> String {
    let mut header: Vec<String> = ["part", "how many", "parameters", "keeps of 1k tokens"]
        .map(str::to_owned)
        .into();
    header.extend(inspection.precisions.iter().cloned());
    let mut table = new(header);
    for (name, count, node) in grouped(inspection) {
        let mut row = vec![
            name,
            count.to_string(),
            inspection.parameters(&node.tensors).to_string(),
            inspection.kept(node, ONE_K).to_string(),
        ];
        row.extend(inspection.bytes(node).iter().map(Bytes::to_string));
        table.add_row(row);
    }
    let mut total = vec![
        "in all".to_owned(),
        String::new(),
        inspection.model.parameters().to_string(),
        inspection.cache(ONE_K).to_string(),
    ];
    total.extend(inspection.total().iter().map(Bytes::to_string));
    table.add_row(total);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let model = &inspection.model;
    let origin = match &model.origin {
        Origin::Known => "published dimensions".to_owned(),
        Origin::Config(file) => format!("from {file}"),
        Origin::Safetensors(file) | Origin::Gguf(file) => format!("from the header of {file}"),
    };
    let tied = if model.tied {
        ", head tied to the embedding"
    } else {
        ""
    };
    format!(
        "{BOLD}{}{BOLD:#} {}, {} blocks{tied} {DIM}({origin}; cache as {} keeps it, 16 bits){DIM:#}\n{table}\n",
        model.name, model.architecture, model.dimensions.n_layers, inspection.target
    )
}

const ONE_K: Tokens = Tokens(1024);

/// What kind of node it is, and how its mixer looks back.
fn label(inspection: &Inspection, node: &Node) -> String {
    let Some(block) = inspection.block(node) else {
        return node.kind.name().to_owned();
    };
    let kinds = block.caches.iter().map(|cache| match cache {
        Cache::KeysValues(KeysValues {
            window: Some(window),
            ..
        }) => format!("attention, window {window}"),
        Cache::KeysValues(_) => "attention".to_owned(),
        Cache::Latent { .. } => "latent attention".to_owned(),
        Cache::Cross { .. } => "cross attention".to_owned(),
        Cache::State { .. } => "recurrence".to_owned(),
    });
    let kinds: Vec<_> = kinds.collect();
    match kinds.as_slice() {
        [] => "mixer without a cache".to_owned(),
        kinds => kinds.join(" and "),
    }
}

/// Nodes that look the same, with their name or their kind and how many there are.
fn grouped(inspection: &Inspection) -> Vec<(String, usize, &Node)> {
    let mut groups: Vec<(String, usize, &Node)> = Vec::new();
    for node in inspection.graph.nodes() {
        let alike = |other: &Node| {
            label(inspection, other) == label(inspection, node)
                && inspection.bytes(other) == inspection.bytes(node)
                && inspection.parameters(&other.tensors) == inspection.parameters(&node.tensors)
        };
        match groups.iter_mut().find(|(_, _, other)| alike(other)) {
            Some((name, count, _)) => {
                *count += 1;
                *name = label(inspection, node);
            }
            None => groups.push((node.name.clone(), 1, node)),
        }
    }
    groups
}
