//! The rig of this machine, as its driver and its system tell it.
//!
//! GPUs come from NVIDIA's library NVML, loaded at run time (`nvml.rs` asks it); the
//! processor and RAM from the system. Nothing is measured here: the rate of RAM is assumed and the
//! disk's is left open, and the notes say so. GPUs of other makers are not detected.

use std::path::{Path, PathBuf};

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::{Device, Host, Rig, RigError, Source, nvml};
use crate::units::Bytes;

/// What the driver and the system say of this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Detected {
    /// The rig. Its devices are in the order of NVML's indices, which is CUDA's order only under
    /// `CUDA_DEVICE_ORDER=PCI_BUS_ID`.
    pub rig: Rig,
    /// What was assumed or could not be read, one sentence each, for the user to correct.
    pub notes: Vec<String>,
}

/// Why nothing could be detected.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The library that was asked for does not answer.
    #[error("`{}` is no NVML library that answers: {error}", path.display())]
    Library {
        /// The library.
        path: PathBuf,
        /// What the system or the library says.
        error: NvmlError,
    },
    /// There is no GPU, and not even RAM could be read.
    #[error("this machine can't be read: {0}")]
    Rig(#[from] RigError),
}

/// Reads this machine.
///
/// `nvml_library` is the library to ask, which must answer; `None` is the driver's own, without
/// which there is a note and no GPU. A property that can't be read is a note too, never an error.
pub fn detect(nvml_library: Option<&Path>) -> Result<Detected, DetectError> {
    let mut notes = Vec::new();
    let devices = match (load(nvml_library), nvml_library) {
        (Ok(driver), _) => nvml::devices(&driver, &mut notes),
        (Err(error), Some(path)) => {
            return Err(DetectError::Library {
                path: path.to_owned(),
                error,
            });
        }
        (Err(error), None) => {
            notes.push(format!(
                "no NVIDIA driver answers, so no GPU is listed: {error}"
            ));
            Vec::new()
        }
    };
    let devices = plausible(devices, &mut notes);
    let host = host(&mut notes);
    let rig = Rig::new(devices, host)?;
    Ok(Detected { rig, notes })
}

fn load(library: Option<&Path>) -> Result<Nvml, NvmlError> {
    match library {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    }
}

/// Leaves out what no rig may hold, such as a GPU that has fallen off the bus and has no memory.
fn plausible(devices: Vec<Device>, notes: &mut Vec<String>) -> Vec<Device> {
    let mut sound = Vec::with_capacity(devices.len());
    for device in devices {
        match Rig::new(vec![device.clone()], None) {
            Ok(_) => sound.push(device),
            Err(error) => notes.push(format!("a GPU is left out: {error}")),
        }
    }
    sound
}

fn host(notes: &mut Vec<String>) -> Option<Host> {
    let wanted = RefreshKind::nothing()
        .with_memory(MemoryRefreshKind::nothing().with_ram())
        .with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(wanted);
    let installed = Bytes(system.total_memory());
    if installed == Bytes::ZERO {
        notes.push("the size of RAM can't be read, so nothing may be put there".to_owned());
        return None;
    }
    let limit = system
        .cgroup_limits()
        .map(|limits| Bytes(limits.total_memory))
        .filter(|limit| *limit > Bytes::ZERO && *limit < installed);
    let memory = limit.unwrap_or(installed);
    if limit.is_some() {
        notes.push(format!(
            "RAM: this container may use {memory} of the machine's {installed}"
        ));
    }
    // What others hold now stays theirs, where that is more than the rule keeps.
    let held = installed.saturating_sub(Bytes(system.available_memory()));
    let assumed = Host::assumed_reserve(memory);
    let reserve = match limit {
        None if held > assumed => {
            notes.push(format!("RAM: {held} is in use now and kept as its reserve"));
            held
        }
        _ => {
            notes.push(format!(
                "RAM: {assumed} is kept for the system, which is a guess"
            ));
            assumed
        }
    };
    notes.push(format!(
        "RAM: its bandwidth is assumed to be {}; measure it and edit `bandwidth`",
        Host::ASSUMED_BANDWIDTH
    ));
    notes.push(
        "disk: its speed is not measured, so nothing may be left on it; add `disk: 3.2 GB/s`"
            .to_owned(),
    );
    Some(Host {
        name: printable(System::host_name()).unwrap_or_else(|| "host".to_owned()),
        memory,
        bandwidth: Host::ASSUMED_BANDWIDTH,
        reserve,
        disk: None,
        cpu: printable(system.cpus().first().map(|cpu| cpu.brand().to_owned())),
        cores: System::physical_core_count(),
        source: Source::Assumed,
    })
}

/// The text on one line, where there is any.
pub(super) fn printable(text: Option<String>) -> Option<String> {
    let clean: String = text?
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(50)
        .collect();
    let clean = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    (!clean.is_empty()).then_some(clean)
}
