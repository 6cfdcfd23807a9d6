//! Plans to YAML and back. Sizes are exact and wear their unit; rounding is done when a plan is
//! built, so that reading and writing change nothing.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_yaml::FlowMap;

use crate::cost::{Memory, Store, Target};
use crate::hardware::{Rig, yaml};
use crate::plan::layout::{DiskUse, LayoutName, OnCpu};
use crate::plan::{
    BaselineSummary, CheckError, CrossingUse, DeviceMap, DeviceUse, Estimate, ExtraUse, MixSummary,
    ModelSummary, Plan, ProofSummary, ServiceSummary, VERSION, WorkloadSummary,
};
use crate::units::Bytes;

/// Why a file is no plan.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not YAML, or not the fields of a plan; says where.
    #[error("{0}")]
    Syntax(String),
    /// Of a later version.
    #[error("{origin}: version {found} is not known: this program reads `version: {VERSION}`")]
    Version {
        /// The file.
        origin: String,
        /// What it says.
        found: u32,
    },
    /// More than any plan has.
    #[error("{origin}: a plan has at most {}", Bytes(LARGEST as u64))]
    TooLarge {
        /// The file.
        origin: String,
    },
    /// Sizes or maps that contradict each other.
    #[error("{origin}: {fault}")]
    Check {
        /// The file.
        origin: String,
        /// What is wrong.
        fault: CheckError,
    },
}

/// Most bytes of a document.
pub(super) const LARGEST: usize = 16 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) version: u32,
    model: ModelSummary,
    target: Target,
    precision: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mix: Option<MixSummary>,
    workload: FlowMap<WorkloadSummary>,
    layout: LayoutName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    experts_on_cpu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<FlowMap<ServiceSummary>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feed_forward_on_cpu: Option<u32>,
    device_map: DeviceMap,
    devices: Vec<FlowMap<Use>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    disk: Option<FlowMap<DiskUse>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    extras: Vec<FlowMap<ExtraUse>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crossings: Vec<FlowMap<CrossingUse>>,
    estimate: Estimate,
    proof: ProofSummary,
    baselines: Vec<FlowMap<BaselineSummary>>,
    rig: Rig,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Use {
    name: String,
    model: String,
    capacity: Bytes,
    weights: Bytes,
    kv_cache: Bytes,
    compute: Bytes,
    overhead: Bytes,
    free: Bytes,
}

/// What a file of `plan` holds.
pub(super) enum Kind {
    Plan,
    Replicas,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
    #[serde(default)]
    replicas: Option<IgnoredAny>,
}

/// What a document of this version holds.
///
/// # Errors
/// Where it is another version's, or too large.
pub(super) fn kind(text: &str, origin: &str) -> Result<Kind, DocumentError> {
    if text.len() > LARGEST {
        return Err(DocumentError::TooLarge {
            origin: origin.to_owned(),
        });
    }
    // The version first: a later one may have fields that this program would call unknown.
    match yaml::from_str(text) {
        Ok(Head { version, .. }) if version != VERSION => Err(DocumentError::Version {
            origin: origin.to_owned(),
            found: version,
        }),
        Ok(Head {
            replicas: Some(_), ..
        }) => Ok(Kind::Replicas),
        // What is wrong with it is said by whoever reads all of it.
        Ok(_) | Err(_) => Ok(Kind::Plan),
    }
}

/// Reads all fields of a document whose version is known.
///
/// # Errors
/// Where it is no YAML, or has other fields.
pub(super) fn read<T: DeserializeOwned>(text: &str, origin: &str) -> Result<T, DocumentError> {
    yaml::from_str(text).map_err(|error| {
        DocumentError::Syntax(format!("{origin}: {}", yaml::rendered(&error, origin)))
    })
}

impl Plan {
    /// Writes the plan as YAML.
    pub fn to_yaml(&self) -> String {
        let document = Document::from(self);
        serde_yaml::to_string(&document).expect("strings, finite numbers and lists are always YAML")
    }

    /// Reads the plan `text`, which comes from the file `origin`, and checks it.
    ///
    /// # Errors
    /// Where it is no YAML, no plan, or contradicts itself.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, DocumentError> {
        kind(text, origin)?;
        Self::read(text, origin)
    }

    pub(super) fn read(text: &str, origin: &str) -> Result<Self, DocumentError> {
        let document: Document = read(text, origin)?;
        document.plan().map_err(|fault| DocumentError::Check {
            origin: origin.to_owned(),
            fault,
        })
    }
}

impl From<&Plan> for Document {
    fn from(plan: &Plan) -> Self {
        let on_cpu = OnCpu::of(plan.layout.parts());
        let devices = plan.devices.iter();
        Self {
            version: VERSION,
            model: plan.model.clone(),
            target: plan.target,
            precision: plan.precision.clone(),
            mix: plan.mix.clone(),
            workload: FlowMap(plan.workload),
            layout: LayoutName::of(plan.layout),
            experts_on_cpu: on_cpu.experts,
            feed_forward_on_cpu: on_cpu.feed_forward,
            service: plan.service.map(FlowMap),
            device_map: plan.device_map.clone(),
            devices: devices.map(|device| FlowMap(Use::from(device))).collect(),
            disk: plan.disk.map(FlowMap),
            extras: plan.extras.iter().cloned().map(FlowMap).collect(),
            crossings: plan.crossings.iter().cloned().map(FlowMap).collect(),
            estimate: plan.estimate,
            proof: plan.proof.clone(),
            baselines: plan.baselines.iter().cloned().map(FlowMap).collect(),
            rig: plan.rig.clone(),
        }
    }
}

impl Document {
    /// The plan that it is, checked.
    pub(super) fn plan(self) -> Result<Plan, CheckError> {
        let document = self;
        let on_cpu = OnCpu {
            experts: document.experts_on_cpu,
            feed_forward: document.feed_forward_on_cpu,
        };
        let store = match document.disk {
            Some(_) => Store::Disk,
            None => Store::Ram,
        };
        let service = document.service.as_ref();
        let shape = service.map(|it| it.0.shape()).unwrap_or_default();
        let layout = document.layout.layout(on_cpu, store, shape);
        let plan = Plan {
            model: document.model,
            target: document.target,
            precision: document.precision,
            mix: document.mix,
            workload: document.workload.0,
            layout: layout?,
            service: document.service.map(|service| service.0),
            device_map: document.device_map,
            devices: document
                .devices
                .into_iter()
                .map(|device| device.0.into())
                .collect(),
            disk: document.disk.map(|disk| disk.0),
            extras: document.extras.into_iter().map(|extra| extra.0).collect(),
            crossings: document.crossings.into_iter().map(|it| it.0).collect(),
            estimate: document.estimate,
            proof: document.proof,
            baselines: document
                .baselines
                .into_iter()
                .map(|baseline| baseline.0)
                .collect(),
            rig: document.rig,
        };
        plan.check()?;
        Ok(plan)
    }
}

impl From<&DeviceUse> for Use {
    fn from(device: &DeviceUse) -> Self {
        let Memory {
            weights,
            kv_cache,
            compute,
            overhead,
        } = device.memory;
        Self {
            name: device.name.clone(),
            model: device.model.clone(),
            capacity: device.capacity,
            weights,
            kv_cache,
            compute,
            overhead,
            free: device.free(),
        }
    }
}

impl From<Use> for DeviceUse {
    /// What is free follows from the rest, and is not read.
    fn from(device: Use) -> Self {
        let Use {
            name,
            model,
            capacity,
            weights,
            kv_cache,
            compute,
            overhead,
            free: _,
        } = device;
        Self {
            name,
            model,
            capacity,
            memory: Memory {
                weights,
                kv_cache,
                compute,
                overhead,
            },
        }
    }
}

/// Layers as `0-39`, or `7` where there is one.
pub mod layers {
    use std::ops::RangeInclusive;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// The range as text.
    pub fn text(layers: &RangeInclusive<u32>) -> String {
        match (layers.start(), layers.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        }
    }

    /// Writes the range.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(
        layers: &RangeInclusive<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(layers))
    }

    /// Reads the range.
    ///
    /// # Errors
    /// Where the text is no range, or runs backwards.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<RangeInclusive<u32>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
            _ => Err(de::Error::custom(format!(
                "`{text}` is no run of layers: write `0-39`"
            ))),
        }
    }
}
