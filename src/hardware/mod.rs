//! What computes and what holds: GPUs, the host with its RAM, its disk, and the links between.
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
mod host_entry;
mod label;
mod link;
mod nvml;
mod options;
mod read;
mod rig;
mod spelling;
pub mod text;
mod writing;
pub(crate) mod yaml;

pub use detect::{DetectError, Detected, detect};
pub use device::{ComputeCapability, Device, DeviceClass, DeviceId, Host, Source};
pub use document::DocumentError;
pub use entry::EntryError;
pub use link::{Pcie, Transfer};
pub use read::read;
pub use rig::{Rig, RigError, RigFault};
