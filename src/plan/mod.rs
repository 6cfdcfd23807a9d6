//! The plan as a document: which layer on which device, what it needs and takes, and what is proven.
//!
//! A plan is written as YAML that a person reads and a program parses; the same question gives the
//! same bytes. It carries all that an emitter needs, so that `emit` reads nothing else.

pub mod build;
pub mod check;
pub mod crossing;
pub mod document;
pub mod extras;
pub mod fleet;
mod layout;
pub mod mix;
pub mod served;
mod sums;

use std::mem::discriminant;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::cost::{Layout, Memory, Target};
use crate::hardware::{DeviceId, Rig};
use crate::model::family::Modules;
use crate::solve::Amount;
use crate::units::{Bytes, Tokens};
use crate::workload::{KvFormat, Workload};

pub use check::CheckError;
pub use crossing::CrossingUse;
pub use document::DocumentError;
pub use extras::ExtraUse;
pub use fleet::{Document, Fleet};
pub use layout::{DiskUse, LayoutName};
pub use mix::MixSummary;
pub use served::{ServiceSummary, members};

/// The version of the document that this program writes.
pub const VERSION: u32 = 1;

/// Where units may be besides GPUs, in maps.
pub const CPU: &str = "cpu";
/// Where units are that neither GPUs nor RAM hold.
pub const DISK: &str = "disk";

/// A plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The model.
    pub model: ModelSummary,
    /// The framework that it is for.
    pub target: Target,
    /// How the weights are stored.
    pub precision: String,
    /// The recipes of the blocks, where they have their own.
    pub mix: Option<MixSummary>,
    /// What it has to hold.
    pub workload: WorkloadSummary,
    /// How the chain is laid out.
    pub layout: Layout,
    /// What it serves, where the framework is one that serves.
    pub service: Option<ServiceSummary>,
    /// Which layer goes where.
    pub device_map: DeviceMap,
    /// What each device holds, GPUs in the order of the rig, then the host.
    pub devices: Vec<DeviceUse>,
    /// What is read from disk, where the layout says so.
    pub disk: Option<DiskUse>,
    /// What stands beside the model, each with its share of what the devices hold.
    pub extras: Vec<ExtraUse>,
    /// Where it passes from one host to another.
    pub crossings: Vec<CrossingUse>,
    /// How fast it will be.
    pub estimate: Estimate,
    /// What is proven.
    pub proof: ProofSummary,
    /// What simple rules would do.
    pub baselines: Vec<BaselineSummary>,
    /// The rig that it was made for.
    pub rig: Rig,
}

/// The model, as far as an emitter needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSummary {
    /// Its name, or the path it was read from.
    pub name: String,
    /// The GGUF file to load, where the name is not its path: another path, or a name on the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its architecture, as a GGUF file names it.
    pub architecture: String,
    /// Elements that a checkpoint trains.
    pub parameters: u64,
    /// Repeating blocks.
    pub blocks: u32,
    /// The names of its modules, where the target needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modules: Option<Modules>,
    /// Whether the head is the embedding's matrix.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tied: bool,
}

/// The workload as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSummary {
    /// Tokens of one sequence.
    pub context: u64,
    /// Sequences at once.
    pub sequences: u32,
    /// How keys and values are stored.
    pub kv: KvFormat,
    /// Tokens of a prompt computed at once.
    pub ubatch: u64,
}

impl WorkloadSummary {
    /// The workload that is written.
    pub fn load(&self) -> Workload {
        Workload {
            context: Tokens(self.context),
            sequences: self.sequences,
            kv_format: self.kv,
            ubatch: Tokens(self.ubatch),
        }
    }
}

/// Runs of layers, and the modules around them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMap {
    /// Runs in the order of execution; together they cover every layer once.
    pub runs: Vec<Run>,
    /// Where the rest is.
    pub modules: ModuleMap,
}

/// Layers that follow each other on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// `0-39`, both included.
    #[serde(with = "document::layers")]
    pub layers: RangeInclusive<u32>,
    /// The device, or GPUs that share the layers: `cuda0+cuda1`.
    pub device: String,
}

/// Where the parts around the blocks are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleMap {
    /// The input embedding.
    pub embedding: String,
    /// The norm behind the last block.
    pub final_norm: String,
    /// The output head.
    pub head: String,
}

/// What a device holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceUse {
    /// The device's name.
    pub name: String,
    /// What it is: `RTX 3090`.
    pub model: String,
    /// What it can hold, reserve taken off.
    pub capacity: Bytes,
    /// What the plan puts there.
    pub memory: Memory,
}

impl DeviceUse {
    /// What is left.
    pub fn free(&self) -> Bytes {
        self.capacity.saturating_sub(self.memory.total())
    }
}

/// A prediction with the interval that it is good for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Slower is unlikely.
    pub low: f64,
    /// The prediction.
    pub mid: f64,
    /// Faster is unlikely.
    pub high: f64,
}

/// How fast a plan will be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Tokens a second of one sequence.
    pub decode_tokens_per_second: Interval,
    /// Tokens in the cache for which this holds: the whole context.
    pub at_depth: u64,
}

/// What is proven, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofSummary {
    /// What is known.
    pub status: Status,
    /// The objectives in their order, where they are not the time of a token alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub goal: String,
    /// What was fixed; the proof is about plans that keep it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
    /// What the plan is worth by the first.
    pub objective: Amount,
    /// No plan of this kind is worth less (of a context: more).
    pub bound: Amount,
    /// The distance as a share.
    pub gap: f64,
    /// The methods.
    pub solver: String,
}

/// What is known of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No plan is faster.
    Optimal,
    /// It holds; a faster one may exist.
    Feasible,
}

impl Status {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Optimal => "optimal",
            Self::Feasible => "feasible",
        }
    }
}

/// What a simple rule would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaselineSummary {
    /// The rule.
    pub name: String,
    /// Whether its plan fits every device.
    pub feasible: bool,
    /// Its speed, were memory no limit; none where it has no plan at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decode_tokens_per_second: Option<f64>,
    /// Tokens that its cache would keep, where an engine serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident_tokens: Option<u64>,
    /// What it is worth by the first objective, where that is not the time of a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worth: Option<Amount>,
}

impl DeviceMap {
    /// The name of the device of a layer.
    pub fn device_of(&self, layer: u32) -> Option<&str> {
        let run = self.runs.iter().find(|run| run.layers.contains(&layer));
        run.map(|run| run.device.as_str())
    }
}

impl Plan {
    /// The name of the device of a layer.
    pub fn device_of(&self, layer: u32) -> Option<&str> {
        self.device_map.device_of(layer)
    }

    /// By which share the plan is better than a rule, by the first objective, else by the time of a
    /// token: `1 − plan / rule` of what is to be little, `1 − rule / plan` of what is to be much. Below
    /// zero where a rule that moves more to RAM gains by it: it is of another kind.
    pub fn gain(&self, rule: &BaselineSummary) -> Option<f64> {
        let ours = self.proof.objective;
        let share = |less: f64, more: f64| (more > 0.0).then(|| 1.0 - less / more);
        match rule.worth {
            Some(theirs) if discriminant(&theirs) == discriminant(&ours) => {
                match ours.is_better_high() {
                    true => share(theirs.number(), ours.number()),
                    false => share(ours.number(), theirs.number()),
                }
            }
            _ => {
                let theirs = rule.decode_tokens_per_second?;
                share(theirs, self.estimate.decode_tokens_per_second.mid)
            }
        }
    }

    /// The GPU of a name.
    pub fn gpu(&self, name: &str) -> Option<DeviceId> {
        self.rig.find(name).ok()
    }

    /// GPUs that the plan uses, in the order of execution.
    pub fn used_gpus(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let modules = &self.device_map.modules;
        let first = (self.target == Target::Transformers).then_some(modules.embedding.as_str());
        let runs = self.device_map.runs.iter().map(|run| run.device.as_str());
        let all = first
            .into_iter()
            .chain(runs)
            .chain([modules.final_norm.as_str(), &modules.head]);
        for name in all.flat_map(members) {
            if name != CPU && name != DISK && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
