//! One device as it is written: what may be left out, and what stands in for it.
//!
//! A row of `gpus.yaml`, a device in a rig document and a part of a rig's text are all this.

use serde::{Deserialize, Serialize};

use super::catalogue::{self, Gpu, GpuError};
use super::rig::MOST_DEVICES;
use super::{ComputeCapability, Device, DeviceClass, HostId, Pcie, Source};
use crate::units::{Bytes, BytesPerSecond};

/// A device as written. Sizes: `memory` is taken at its word, as what an application can get;
/// `label` is what the box says, of which the driver keeps a part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DeviceEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) model: Option<String>,
    /// Of the catalogue. In a rig they say nothing, but let a row be pasted there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) aliases: Vec<String>,
    /// As `aliases`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) nvml: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) class: Option<DeviceClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) label: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cap: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reserve: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bandwidth: Option<BytesPerSecond>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pcie: Option<Pcie>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) compute_capability: Option<ComputeCapability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pci: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<Source>,
}

/// Why what is written is no device, or no host.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// No row, or several, of that name.
    #[error(transparent)]
    Gpu(#[from] GpuError),
    /// A figure that nothing stands in for.
    #[error("a device needs `{field}`, or `gpu` with the name of a known one\nhint: {example}")]
    Missing {
        /// What is not there.
        field: &'static str,
        /// How it is written.
        example: &'static str,
    },
    /// A GPU that shares the host's memory.
    #[error(
        "`{model}` has no memory of its own\nhint: state its share of RAM: `memory: 12 GiB`, or in a line of text `{model} 12 GiB`"
    )]
    Shared {
        /// The GPU.
        model: String,
    },
    /// `cap` and `reserve` say one thing twice.
    #[error(
        "`cap` and `reserve` exclude each other\nhint: keep `cap: {cap}` or `reserve: {reserve}`"
    )]
    CapAndReserve {
        /// The most that may be used.
        cap: Bytes,
        /// What is to be left alone.
        reserve: Bytes,
    },
    /// More may be used than there is.
    #[error("`cap` of {cap} exceeds the memory of {memory}")]
    Cap {
        /// The most that may be used.
        cap: Bytes,
        /// What there is.
        memory: Bytes,
    },
    /// Several devices of one name or one place.
    #[error("`{field}` can't stand for {count} devices\nhint: list them one by one")]
    Many {
        /// `name` or `pci`.
        field: &'static str,
        /// How many.
        count: usize,
    },
    /// None, or more than a rig may have.
    #[error("`count` of {count} is not between 1 and {MOST_DEVICES}")]
    Count {
        /// How many.
        count: usize,
    },
    /// A figure of RAM or of what passes through it, without RAM.
    #[error(
        "`{field}` needs `memory`: without RAM nothing is put there\nhint: add `memory: 64 GiB`"
    )]
    NoRam {
        /// What was stated.
        field: &'static str,
    },
    /// One of several hosts that says nothing of its network.
    #[error("`{host}` has no network, and the rig has several hosts\nhint: add {}", match .writing {
        Writing::Text => "`; network 10 GbE` for all of them, or `, network 10 GbE` behind its devices",
        Writing::Document => "`network: 10 GbE` to it, or beside `hosts` for all of them",
    })]
    NoNetwork {
        /// The host.
        host: String,
        /// How the rig is written.
        writing: Writing,
    },
    /// A host besides the first that computes nothing.
    #[error(
        "`{host}` has no GPU: of hosts besides the first, plans use GPUs alone\nhint: list it first, or leave it out"
    )]
    NoDevice {
        /// The host.
        host: String,
    },
}

/// How a rig is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// In a line.
    Text,
    /// As YAML.
    Document,
}

impl DeviceEntry {
    /// The devices it stands for; those without a name are called by their place in the rig.
    pub(super) fn devices(&self, place: usize) -> Result<Vec<Device>, EntryError> {
        let count = self.count.unwrap_or(1);
        if !(1..=MOST_DEVICES).contains(&count) {
            return Err(EntryError::Count { count });
        }
        for (field, stated) in [("name", &self.name), ("pci", &self.pci)] {
            if stated.is_some() && count > 1 {
                return Err(EntryError::Many { field, count });
            }
        }
        let device = self.device()?;
        Ok((place..place + count)
            .map(|place| Device {
                name: self.name.clone().unwrap_or_else(|| format!("cuda{place}")),
                ..device.clone()
            })
            .collect())
    }

    fn device(&self) -> Result<Device, EntryError> {
        let found = self.gpu.as_deref().map(catalogue::find).transpose()?;
        let gpu = found.map(|found| found.gpu);
        let label = self.label.or(found.and_then(|found| found.label));
        let compute_capability = self
            .compute_capability
            .or(gpu.and_then(|gpu| gpu.compute_capability));
        let class = self
            .class
            .or(gpu.map(|gpu| gpu.class))
            .or(compute_capability.map(DeviceClass::of_capability))
            .unwrap_or(DeviceClass::Unknown);
        let memory = self.memory_of(gpu, class, label)?;
        let bandwidth =
            self.bandwidth
                .or(gpu.map(|gpu| gpu.bandwidth))
                .ok_or(EntryError::Missing {
                    field: "bandwidth",
                    example: "write the peak rate of its memory: `bandwidth: 936 GB/s`",
                })?;
        let stated = self.memory.is_some() || label.is_some() || self.bandwidth.is_some();
        let source = match gpu {
            Some(gpu) if !stated => gpu.source,
            _ => Source::Stated,
        };
        let model = match (&self.model, gpu) {
            (Some(model), _) => model.clone(),
            (None, Some(gpu)) => gpu.model.clone(),
            (None, None) => format!("{} card", short(label.unwrap_or(memory))),
        };
        Ok(Device {
            name: String::new(),
            model,
            class,
            memory,
            bandwidth,
            host: HostId::FIRST,
            link: self
                .pcie
                .or(gpu.and_then(|gpu| gpu.link))
                .unwrap_or(Pcie::ASSUMED),
            reserve: reserve(memory, self.cap, self.reserve)?.unwrap_or(Bytes::ZERO),
            compute_capability,
            pci: self.pci.clone(),
            source: self.source.unwrap_or(source),
        })
    }

    fn memory_of(
        &self,
        gpu: Option<&Gpu>,
        class: DeviceClass,
        label: Option<Bytes>,
    ) -> Result<Bytes, EntryError> {
        match (self.memory, label, gpu) {
            (Some(memory), _, _) => Ok(memory),
            (None, Some(label), Some(gpu)) => Ok(gpu.memory_of(label)),
            (None, Some(label), None) => Ok(super::label::visible(class, label)),
            (None, None, Some(gpu)) => gpu.memory().ok_or_else(|| EntryError::Shared {
                model: gpu.model.clone(),
            }),
            (None, None, None) => Err(EntryError::Missing {
                field: "memory",
                example: "write what an application can get of it: `memory: 24 GiB`",
            }),
        }
    }

    /// The same as a row of the catalogue.
    pub(super) fn into_gpu(self) -> Option<Gpu> {
        Some(Gpu {
            model: self.model?,
            aliases: self.aliases,
            nvml: self.nvml,
            class: self.class?,
            label: self.label,
            seen: self.memory,
            bandwidth: self.bandwidth?,
            link: self.pcie,
            compute_capability: self.compute_capability,
            source: self.source?,
        })
    }
}

impl From<&Device> for DeviceEntry {
    /// Every figure written out, so that the reader needs no catalogue.
    fn from(device: &Device) -> Self {
        Self {
            name: Some(device.name.clone()),
            model: Some(device.model.clone()),
            class: Some(device.class),
            memory: Some(device.memory),
            reserve: Some(device.reserve),
            bandwidth: Some(device.bandwidth),
            pcie: Some(device.link),
            compute_capability: device.compute_capability,
            pci: device.pci.clone(),
            source: Some(device.source),
            ..Self::default()
        }
    }
}

/// What is left alone of a memory: stated, or all above the cap.
pub(super) fn reserve(
    memory: Bytes,
    cap: Option<Bytes>,
    reserve: Option<Bytes>,
) -> Result<Option<Bytes>, EntryError> {
    match (cap, reserve) {
        (Some(cap), Some(reserve)) => Err(EntryError::CapAndReserve { cap, reserve }),
        (Some(cap), None) => match memory.checked_sub(cap) {
            Some(reserve) => Ok(Some(reserve)),
            None => Err(EntryError::Cap { cap, memory }),
        },
        (None, reserve) => Ok(reserve),
    }
}

/// `24 GiB` where the size is whole, else two decimals.
fn short(size: Bytes) -> String {
    match size.0.is_multiple_of(1 << 30) {
        true => String::from(size),
        false => size.to_string(),
    }
}
