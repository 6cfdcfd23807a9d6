//! The rig that would be: one more card, more RAM.

use super::{Device, Host, Rig, RigError, Source};
use crate::units::Bytes;

impl Rig {
    /// The rig with one more card of the kind of `device`.
    ///
    /// # Errors
    /// Where the rig would have too many.
    pub fn with_another(&self, device: &Device) -> Result<Self, RigError> {
        let mut devices = self.devices().to_vec();
        let numbers = self.device_ids().map(|id| self.number(id));
        let next = numbers
            .max()
            .map_or(0, |number| number + 1)
            .max(devices.len());
        devices.push(Device {
            name: format!("cuda{next}"),
            pci: None,
            ..device.clone()
        });
        Self::new(devices, self.host().cloned())
    }

    /// The rig with so much RAM.
    ///
    /// # Errors
    /// Where that is not plausible.
    pub fn with_ram(&self, memory: Bytes) -> Result<Self, RigError> {
        let reserve = Host::assumed_reserve(memory);
        let host = match self.host() {
            Some(host) => Host {
                memory,
                reserve,
                ..host.clone()
            },
            None => Host {
                name: "host".to_owned(),
                memory,
                bandwidth: Host::ASSUMED_BANDWIDTH,
                reserve,
                disk: None,
                cpu: None,
                cores: None,
                source: Source::Assumed,
            },
        };
        Self::new(self.devices().to_vec(), Some(host))
    }
}
