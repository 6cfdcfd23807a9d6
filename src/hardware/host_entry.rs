//! The host as it is written: what may be left out, and what stands in for it.

use serde::{Deserialize, Serialize};

use super::entry::{EntryError, reserve};
use super::{Host, Network, Source};
use crate::units::{Bytes, BytesPerSecond};

/// The host as written, with devices of a kind that remembers its place or that is one line.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostEntry<D> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cap: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reserve: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bandwidth: Option<BytesPerSecond>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disk: Option<BytesPerSecond>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cores: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<Network>,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub(super) devices: Vec<D>,
}

impl<D> HostEntry<D> {
    /// The host, where there is RAM.
    pub(super) fn host(&self) -> Result<Option<Host>, EntryError> {
        let Some(memory) = self.memory else {
            let stated = [
                ("cap", self.cap.is_some()),
                ("reserve", self.reserve.is_some()),
                ("bandwidth", self.bandwidth.is_some()),
                ("disk", self.disk.is_some()),
            ];
            return match stated.iter().find(|(_, stated)| *stated) {
                Some((field, _)) => Err(EntryError::NoRam { field }),
                None => Ok(None),
            };
        };
        let source = match self.bandwidth {
            Some(_) => Source::Stated,
            None => Source::Assumed,
        };
        Ok(Some(Host {
            name: self.name.clone().unwrap_or_else(|| "host".to_owned()),
            memory,
            bandwidth: self.bandwidth.unwrap_or(Host::ASSUMED_BANDWIDTH),
            reserve: reserve(memory, self.cap, self.reserve)?
                .unwrap_or_else(|| Host::assumed_reserve(memory)),
            disk: self.disk,
            cpu: self.cpu.clone(),
            cores: self.cores,
            source: self.source.unwrap_or(source),
        }))
    }
}
