//! From a rig and a graph to kinds of devices: what each operator takes where, in picoseconds.
//!
//! A time's key is a device's name, a class of devices, `gpu` or `cpu`; the first of these that is
//! written counts. Where none is, `reads` over the rate at which such a device reads its memory
//! stands for it (`cost::time`); without either the operator does not run there. An output crosses a
//! GPU's border at the rate of its link; the host's memory is where outputs are handed over.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde::de::IntoDeserializer;

use super::{OperatorGraph, Spots};
use crate::cost::time;
use crate::hardware::{Device, DeviceClass, Rig, Transfer};
use crate::plan::CPU;
use crate::solve::dag::latency::Host;
use crate::solve::dag::{Graph, Item, Kind, Machine, Operator, Parts, Ticks, Wire};
use crate::units::{Bytes, BytesPerSecond, Seconds};

/// Most kinds of devices: pins and times by name make kinds.
const MOST_KINDS: usize = 64;

/// The slowest link that is told from others.
const SLOWEST: BytesPerSecond = BytesPerSecond(0.1e9);

/// Why a graph does not suit a rig.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    /// A key of `time` that says nothing here.
    #[error(
        "the time of `{node}` for `{key}` is for no device\nhint: write `gpu`, `cpu`, a class such as `ampere`, or a device of the rig: {}", known.join(", ")
    )]
    Key {
        /// The operator.
        node: String,
        /// What is written.
        key: String,
        /// The devices there are.
        known: Vec<String>,
    },
    /// A device that is not there.
    #[error("`{node}` is to be on `{device}`, which is not in the rig\nhint: the rig has {}", known.join(", "))]
    Device {
        /// The operator.
        node: String,
        /// What is written.
        device: String,
        /// The devices there are.
        known: Vec<String>,
    },
    /// Too many.
    #[error(
        "the rig has more than {MOST_KINDS} kinds of devices here\nhint: pin to fewer devices by name"
    )]
    TooMany,
}

/// The devices by kinds, and the operators with their times on each.
pub(super) struct Kinds {
    pub(super) machine: Machine,
    pub(super) host: Host,
    pub(super) operators: Vec<Operator>,
    pub(super) wires: Vec<Wire>,
    /// For each kind its devices by their places in the rig, the host behind all.
    pub(super) devices: Vec<Vec<usize>>,
}

impl Kinds {
    pub(super) fn new(graph: &OperatorGraph, rig: &Rig) -> Result<Self, KindError> {
        let named = named(graph, rig)?;
        // Devices are alike where nobody could tell them apart.
        let mut devices: Vec<Vec<usize>> = Vec::new();
        for (place, device) in rig.devices().iter().enumerate() {
            let twin = devices.iter().position(|kind| {
                let other = &rig.devices()[kind[0]];
                let names = [&device.name, &other.name];
                alike(device, other) && !names.iter().any(|it| named.contains(it.as_str()))
            });
            match twin {
                Some(kind) => devices[kind].push(place),
                None => devices.push(vec![place]),
            }
        }
        let mut kinds: Vec<Kind> = devices
            .iter()
            .map(|places| Kind {
                count: places.len(),
                memory: rig.devices()[places[0]].capacity(),
                crossing: SLOWEST.0 / rate(&rig.devices()[places[0]]).0,
            })
            .collect();
        let mut host = Host::Absent;
        if let Some(ram) = rig.host() {
            host = Host::Kind(kinds.len());
            devices.push(vec![rig.devices().len()]);
            kinds.push(Kind {
                count: 1,
                memory: ram.capacity(),
                crossing: 0.0,
            });
        }
        if kinds.len() > MOST_KINDS {
            return Err(KindError::TooMany);
        }
        let mut groups: BTreeMap<&str, usize> = BTreeMap::new();
        let operators = graph.nodes().iter().enumerate().map(|(index, node)| {
            let work = devices
                .iter()
                .map(|kind| work(node, rig, kind[0]).map(ticks));
            Operator {
                group: match &node.together {
                    Some(name) => *groups.entry(name).or_insert(index),
                    None => index,
                },
                backward: false,
                item: Item {
                    work: work.collect(),
                    bytes: node.memory,
                },
            }
        });
        let operators = operators.collect();
        let wires = graph.edges().iter().map(|edge| Wire {
            from: edge.from,
            to: edge.to,
            time: ticks(edge.size / SLOWEST),
        });
        Ok(Self {
            wires: wires.collect(),
            machine: Machine { kinds },
            host,
            operators,
            devices,
        })
    }

    /// The places in the rig of the accelerators, counted kind by kind.
    pub(super) fn places(&self) -> Vec<usize> {
        let kinds = self.devices.iter().enumerate();
        let kinds = kinds.filter(|(kind, _)| self.host != Host::Kind(*kind));
        kinds.flat_map(|(_, places)| places.clone()).collect()
    }

    /// Parts of items as the places of operators: of devices that are alike the first that is free.
    pub(super) fn spots(&self, parts: &Parts, item_of: &[usize]) -> Spots {
        let mut free = vec![0; self.devices.len()];
        let n_items = item_of.iter().max().map_or(0, |most| most + 1);
        let mut of_item = vec![0; n_items];
        for (kind, part) in parts {
            let place = self.devices[*kind][free[*kind]];
            free[*kind] += 1;
            part.iter().for_each(|item| of_item[*item] = place);
        }
        item_of.iter().map(|item| of_item[*item]).collect()
    }

    /// Places of operators as parts of items.
    pub(super) fn parts(&self, spots: &Spots, item_of: &[usize]) -> Parts {
        let mut parts: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for (place, item) in spots.iter().zip(item_of) {
            parts.entry(*place).or_default().insert(*item);
        }
        let kind_of = |place: usize| self.devices.iter().position(|kind| kind.contains(&place));
        let parts = parts
            .into_iter()
            .filter_map(|(place, part)| Some((kind_of(place)?, part.into_iter().collect())));
        parts.collect()
    }

    /// The largest items first, each on the device where it takes least of those with room.
    pub(super) fn first_fit(&self, graph: &Graph) -> Option<Parts> {
        let kinds = self.machine.kinds.iter().enumerate();
        let mut room: Vec<(usize, Bytes)> = kinds
            .flat_map(|(kind, it)| vec![(kind, it.memory); it.count])
            .collect();
        let mut parts: Parts = room.iter().map(|(kind, _)| (*kind, Vec::new())).collect();
        let mut items: Vec<usize> = (0..graph.items().len()).collect();
        items.sort_by_key(|item| std::cmp::Reverse(graph.items()[*item].bytes));
        for item in items {
            let it = &graph.items()[item];
            let fits = room
                .iter()
                .enumerate()
                .filter_map(|(device, (kind, free))| {
                    let work = it.work[*kind].filter(|_| it.bytes <= *free)?;
                    Some((work, device))
                });
            let (_, device) = fits.min()?;
            room[device].1 = room[device].1.saturating_sub(it.bytes);
            parts[device].1.push(item);
        }
        parts.retain(|(_, part)| !part.is_empty());
        Some(parts)
    }
}

/// How long an operator takes on a device by its place in the rig; none where it does not run there.
pub(super) fn work(node: &super::Node, rig: &Rig, place: usize) -> Option<Seconds> {
    let name = rig.devices().get(place).map_or(CPU, |it| it.name.as_str());
    if node.device.as_ref().is_some_and(|pin| pin != name) {
        return None;
    }
    let Some(device) = rig.devices().get(place) else {
        let read = || Some(node.reads? / time::host_rate(rig.host()?));
        return node.time.get(CPU).copied().or_else(read);
    };
    let of_class = node
        .time
        .iter()
        .find(|(key, _)| class(key) == Some(device.class));
    let written = node.time.get(&device.name);
    let written = written.or(of_class.map(|(_, time)| time));
    let read = || {
        let share = time::llama_cpp(device.class).weights;
        Some(node.reads? / (device.bandwidth * share))
    };
    written.or(node.time.get("gpu")).copied().or_else(read)
}

/// The rate at which outputs cross a device's border.
pub(super) fn rate(device: &Device) -> BytesPerSecond {
    let rate = device.link.bandwidth(Transfer::Pinned);
    BytesPerSecond(rate.0.max(SLOWEST.0))
}

/// Whole picoseconds; what is too long for them is refused where times are added up.
pub(super) fn ticks(time: Seconds) -> Ticks {
    Ticks((time.0 * 1e12).round() as u64)
}

/// Time of an output over a device's border.
pub(super) fn crossing(size: Bytes, device: &Device) -> Ticks {
    let share = SLOWEST.0 / rate(device).0;
    Ticks((ticks(size / SLOWEST).0 as f64 * share).round() as u64)
}

fn class(key: &str) -> Option<DeviceClass> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        key.into_deserializer();
    DeviceClass::deserialize(text).ok()
}

fn alike(one: &Device, other: &Device) -> bool {
    one.class == other.class
        && one.bandwidth == other.bandwidth
        && one.capacity() == other.capacity()
        && one.link == other.link
}

/// The devices that the graph names, each of which is there.
fn named<'a>(graph: &'a OperatorGraph, rig: &Rig) -> Result<BTreeSet<&'a str>, KindError> {
    let devices = rig.devices().iter().map(|device| device.name.as_str());
    let places: Vec<&str> = devices.chain(rig.host().map(|_| CPU)).collect();
    let known = || places.iter().map(|name| format!("`{name}`")).collect();
    let mut named = BTreeSet::new();
    for node in graph.nodes() {
        if let Some(device) = &node.device {
            if !places.contains(&device.as_str()) {
                return Err(KindError::Device {
                    node: node.name.clone(),
                    device: device.clone(),
                    known: known(),
                });
            }
            named.insert(device.as_str());
        }
        for key in node.time.keys() {
            if places.contains(&key.as_str()) {
                named.insert(key.as_str());
            } else if ![CPU, "gpu"].contains(&key.as_str()) && class(key).is_none() {
                return Err(KindError::Key {
                    node: node.name.clone(),
                    key: key.clone(),
                    known: known(),
                });
            }
        }
    }
    Ok(named)
}
