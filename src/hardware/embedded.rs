//! A rig inside another document: the same schema, read without places in the text.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::Rig;
use super::document::{Document, VERSION};
use super::entry::DeviceEntry;
use super::host_entry::HostEntry;
use super::machines::Gathered;

impl<'de> Deserialize<'de> for Rig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let document: Document<HostEntry<DeviceEntry>> = Document::deserialize(deserializer)?;
        if document.version != VERSION {
            return Err(D::Error::custom(format!(
                "rig version {} is not known",
                document.version
            )));
        }
        if document.hosts.is_empty() {
            return Err(D::Error::custom("a rig has at least one host"));
        }
        let mut gathered = Gathered::default();
        for host in &document.hosts {
            for entry in &host.devices {
                gathered.add(entry, host).map_err(D::Error::custom)?;
            }
            gathered.end(host).map_err(D::Error::custom)?;
        }
        gathered.rig(document.network).map_err(D::Error::custom)
    }
}
