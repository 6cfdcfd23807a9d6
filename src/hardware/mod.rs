//! What computes and what holds: GPUs, hosts with their RAM and disk, and the links between.
//!
//! A [`Rig`] comes from a line of text ([`text`]), a YAML document ([`Rig::from_yaml`]) or the
//! driver ([`detect()`]); known GPUs are rows of a table ([`catalogue`]). What a device makes of
//! its figures (efficiencies, launch costs) is not here but in `cost`, by [`DeviceClass`].

pub mod catalogue;
mod change;
pub mod detect;
mod device;
mod document;
mod embedded;
mod entry;
mod fault;
mod host_entry;
mod label;
mod link;
mod machines;
mod network;
mod nvml;
mod options;
mod read;
mod rig;
mod spelling;
pub mod text;
mod writing;
pub(crate) mod yaml;

pub use detect::{DetectError, Detected, detect};
pub use device::{ComputeCapability, Device, DeviceClass, DeviceId, Host, HostId, Machine, Source};
pub use document::DocumentError;
pub use entry::{EntryError, Writing};
pub use fault::{RigError, RigFault};
pub use link::{Pcie, Transfer};
pub use network::{Network, NetworkError};
pub use read::read;
pub use rig::Rig;
