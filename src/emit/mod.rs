//! What each framework reads: launch flags and files, made from a plan alone.
//!
//! A framework is one file here and its row in [`TARGETS`]. Emitters are pure; who calls them writes.

pub mod fleet;
pub mod llama_cpp;
mod rpc;
pub mod serving;
pub mod transformers;

use crate::cost::{Layout, Target};
use crate::hardware::{DeviceClass, DeviceId, HostId};
use crate::model::PrecisionError;
use crate::plan::Plan;

/// What is handed to a framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// The command or the code to copy.
    pub launch: String,
    /// Files by name, each whole.
    pub files: Vec<(String, String)>,
}

/// A framework and what writes for it.
pub struct Emitter {
    /// The framework.
    pub target: Target,
    /// Makes the emission.
    pub emit: fn(&Plan) -> Result<Emission, EmitError>,
}

/// Every framework.
pub const TARGETS: [Emitter; 4] = [
    Emitter {
        target: Target::LlamaCpp,
        emit: llama_cpp::emit,
    },
    Emitter {
        target: Target::Transformers,
        emit: transformers::emit,
    },
    Emitter {
        target: Target::Vllm,
        emit: serving::vllm,
    },
    Emitter {
        target: Target::Sglang,
        emit: serving::sglang,
    },
];

/// Why a plan cannot be emitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// Another framework's rules made the plan.
    #[error(
        "the plan is for {made_for}, whose rules made it\nhint: `shardplan plan … --target {wanted}` makes one for {wanted}"
    )]
    OtherTarget {
        /// The plan's target.
        made_for: Target,
        /// The one asked for.
        wanted: Target,
    },
    /// A precision that the framework cannot load.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// A document that leaves out what the framework needs.
    #[error("the plan names no modules, and transformers needs them: plan again")]
    NoModules,
    /// A document that leaves out what an engine is told.
    #[error("the plan does not say what it serves, and the engine needs it: plan again")]
    NoService,
}

/// The driver's world that a device belongs to, which names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    Cuda,
    Rocm,
    Metal,
    Sycl,
}

impl Backend {
    /// Cards whose class is not known are taken for NVIDIA's.
    fn of(class: DeviceClass) -> Self {
        match class {
            DeviceClass::Rdna | DeviceClass::Cdna => Self::Rocm,
            DeviceClass::Apple => Self::Metal,
            DeviceClass::Arc => Self::Sycl,
            DeviceClass::Pascal
            | DeviceClass::Volta
            | DeviceClass::Turing
            | DeviceClass::Ampere
            | DeviceClass::AmpereHbm
            | DeviceClass::Ada
            | DeviceClass::Hopper
            | DeviceClass::Blackwell
            | DeviceClass::BlackwellHbm
            | DeviceClass::Unknown => Self::Cuda,
        }
    }

    /// What llama.cpp calls its devices, before their number.
    fn name(self) -> &'static str {
        match self {
            Self::Cuda => "CUDA",
            Self::Rocm => "ROCm",
            Self::Metal => "MTL",
            Self::Sycl => "SYCL",
        }
    }
}

/// Which cards a program sees, numbered anew in the order of execution.
fn visible_devices(plan: &Plan) -> String {
    let hosts: Vec<_> = (0..plan.rig.hosts().len()).map(HostId).collect();
    visible_on(plan, &hosts)
}

/// The same of some hosts.
fn visible_on(plan: &Plan, hosts: &[HostId]) -> String {
    let is_there = |id: &DeviceId| hosts.contains(&plan.rig.device(*id).host);
    let gpus = plan.used_gpus().into_iter();
    let numbers = gpus
        .filter_map(|gpu| plan.gpu(gpu))
        .filter(is_there)
        .map(|gpu| plan.rig.number(gpu).to_string());
    let numbers = numbers.collect::<Vec<_>>().join(",");
    let devices = plan.rig.device_ids().filter(is_there);
    let mut devices = devices.map(|id| plan.rig.device(id));
    let by_rocm = devices.any(|device| Backend::of(device.class) == Backend::Rocm);
    match plan.layout {
        Layout::HostOnly(_) => "CUDA_VISIBLE_DEVICES=".to_owned(),
        _ if by_rocm => format!("HIP_VISIBLE_DEVICES={numbers}"),
        _ => format!("CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={numbers}"),
    }
}

/// A word as the shell reads it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+=:@%,".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// What llama.cpp calls a device on its own host: its backend, and its number among that backend's
/// devices. CUDA's are numbered by the rig.
fn device_name(plan: &Plan, id: DeviceId) -> String {
    let host = plan.rig.device(id).host;
    let backend = Backend::of(plan.rig.device(id).class);
    let before = plan.rig.devices().iter().take(id.0);
    let before: Vec<_> = before.filter(|other| other.host == host).collect();
    let alike = before
        .iter()
        .filter(|other| Backend::of(other.class) == backend);
    let alike = alike.count();
    let number = match backend {
        // A number that a name gives counts every card; other backends' are not CUDA's.
        Backend::Cuda => plan.rig.number(id).saturating_sub(before.len() - alike),
        Backend::Rocm | Backend::Metal | Backend::Sycl => alike,
    };
    format!("{}{number}", backend.name())
}

/// Writes a plan for the framework that it was made for.
///
/// # Errors
/// Where the plan is another framework's.
pub fn emit(plan: &Plan, target: Target) -> Result<Emission, EmitError> {
    if plan.target != target {
        return Err(EmitError::OtherTarget {
            made_for: plan.target,
            wanted: target,
        });
    }
    // Every target has a row, which a test checks.
    let emitter = TARGETS.iter().find(|emitter| emitter.target == target);
    emitter.map_or(Err(EmitError::NoModules), |emitter| (emitter.emit)(plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_an_emitter() {
        let named: Vec<_> = TARGETS.iter().map(|emitter| emitter.target).collect();
        assert_eq!(named, Target::ALL);
    }
}
