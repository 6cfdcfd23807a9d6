//! The answer as a document: where each operator is, what that adds up to, and what is proven.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_yaml::FlowMap;

use super::baseline::Baseline;
use super::tally::Tally;
use super::{Aim, Found, GraphQuestion, seconds};
use crate::plan::{CPU, Status};
use crate::units::{Bytes, Seconds};

/// The answer to a [`GraphQuestion`].
#[derive(Clone, Debug, serde::Serialize)]
pub struct Placement {
    version: u32,
    graph: String,
    objective: Aim,
    placement: Map,
    devices: Vec<FlowMap<DeviceSum>>,
    proof: Proof,
    baselines: Vec<FlowMap<Rule>>,
}

/// Names and devices, in the order of the graph.
#[derive(Clone, Debug)]
struct Map(Vec<(String, String)>);

#[derive(Clone, Debug, serde::Serialize)]
struct DeviceSum {
    name: String,
    model: String,
    nodes: usize,
    memory: Bytes,
    free: Bytes,
    work: Seconds,
    transfers: Seconds,
    load: Seconds,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Proof {
    status: Status,
    objective: Seconds,
    bound: Seconds,
    gap: f64,
    solver: &'static str,
}

#[derive(Clone, Debug, serde::Serialize)]
struct Rule {
    name: &'static str,
    feasible: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    objective: Option<Seconds>,
}

impl Placement {
    /// Writes the answer as YAML.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).expect("strings, finite numbers and lists are always YAML")
    }

    /// The device of an operator.
    pub fn device_of(&self, node: &str) -> Option<&str> {
        let found = self.placement.0.iter().find(|(name, _)| name == node);
        found.map(|(_, device)| device.as_str())
    }

    /// What is known of it.
    pub fn status(&self) -> Status {
        self.proof.status
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (node, device) in &self.0 {
            map.serialize_entry(node, device)?;
        }
        map.end()
    }
}

impl Serialize for Aim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Throughput => "throughput",
            Self::ScatteredThroughput => "throughput, scattered",
            Self::Latency => "latency",
        })
    }
}

impl GraphQuestion {
    pub(super) fn written(&self, found: &Found, tally: Tally, baselines: &[Baseline]) -> Placement {
        let rig = &self.rig;
        let name = |place: usize| rig.devices().get(place).map_or(CPU, |it| it.name.as_str());
        let nodes = self.graph.nodes().iter().zip(&found.spots);
        let placement = nodes.map(|(node, place)| (node.name.clone(), name(*place).to_owned()));
        let devices = tally.devices.iter().enumerate().filter_map(|(place, sum)| {
            let device = rig.devices().get(place);
            let (model, room) = match (device, rig.host()) {
                (Some(device), _) => (device.model.clone(), device.capacity()),
                (None, Some(host)) => (host.name.clone(), host.capacity()),
                (None, None) => return None,
            };
            let work = seconds(crate::solve::dag::Ticks(sum.work?));
            Some(FlowMap(DeviceSum {
                name: name(place).to_owned(),
                model,
                nodes: sum.nodes,
                memory: sum.memory,
                free: room.saturating_sub(sum.memory),
                work,
                transfers: seconds(crate::solve::dag::Ticks(sum.transfers)),
                load: seconds(sum.load()),
            }))
        });
        let gap = match found.worth.0 {
            0 => 0.0,
            worth => 1.0 - found.bound.0 as f64 / worth as f64,
        };
        Placement {
            version: 1,
            graph: self.graph.origin().to_owned(),
            objective: self.aim,
            placement: Map(placement.collect()),
            devices: devices.collect(),
            proof: Proof {
                status: Self::status(found),
                objective: seconds(found.worth),
                bound: seconds(found.bound),
                gap: (gap * 1e4).round() / 1e4,
                solver: found.method,
            },
            baselines: baselines
                .iter()
                .map(|(name, placed)| {
                    FlowMap(Rule {
                        name,
                        feasible: placed.is_some(),
                        objective: placed.as_ref().map(|(_, worth)| seconds(*worth)),
                    })
                })
                .collect(),
        }
    }
}
