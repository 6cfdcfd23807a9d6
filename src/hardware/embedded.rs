//! A rig inside another document: the same schema, read without places in the text.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Rig;
use super::document::{Document, VERSION};
use super::entry::DeviceEntry;
use super::host_entry::HostEntry;

impl<'de> Deserialize<'de> for Rig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document: Document<HostEntry<DeviceEntry>> = Document::deserialize(deserializer)?;
        let [host] = document.hosts.as_slice() else {
            return Err(D::Error::custom("a plan is for one host"));
        };
        if document.version != VERSION {
            return Err(D::Error::custom(format!(
                "rig version {} is not known",
                document.version
            )));
        }
        let mut devices = Vec::new();
        for entry in &host.devices {
            devices.extend(entry.devices(devices.len()).map_err(D::Error::custom)?);
        }
        let host = host.host().map_err(D::Error::custom)?;
        Self::new(devices, host).map_err(D::Error::custom)
    }
}
