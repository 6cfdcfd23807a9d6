//! The rig that would be: one more card, more RAM.

use super::{Device, DeviceId, Host, HostId, Rig, RigError, Source};
use crate::units::Bytes;

impl Rig {
    /// The rig with one more card of the kind of `device`.
    ///
    /// # Errors
    /// Where the rig would have too many.
    pub fn with_another(&self, device: &Device) -> Result<Self, RigError> {
        let mut devices = self.devices().to_vec();
        let of_host = |id: &DeviceId| self.device(*id).host == device.host;
        let numbers = self.device_ids().filter(of_host).map(|id| self.number(id));
        let n_devices = self.device_ids().filter(of_host).count();
        let next = numbers.max().map_or(0, |number| number + 1).max(n_devices);
        let name = match device.host {
            HostId::FIRST => format!("cuda{next}"),
            HostId(host) => format!("{}.cuda{next}", self.hosts()[host].name),
        };
        let behind = devices.partition_point(|other| other.host <= device.host);
        let another = Device {
            name,
            pci: None,
            ..device.clone()
        };
        devices.insert(behind, another);
        self.with(devices, self.host().cloned())
    }

    /// The rig with so much RAM, of which a share is left free besides what is kept for the system.
    ///
    /// # Errors
    /// Where that is not plausible.
    pub fn with_ram(&self, memory: Bytes, margin: f64) -> Result<Self, RigError> {
        let free = |room: Bytes| room.scale(margin.clamp(0.0, 1.0));
        let assumed = Host::assumed_reserve(memory);
        let assumed = assumed + free(memory.saturating_sub(assumed));
        // A reserve that was stated stays, with the share of what is more.
        let reserve = self.host().map_or(assumed, |host| {
            assumed.max(host.reserve + free(memory.saturating_sub(host.memory)))
        });
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
        self.with(self.devices().to_vec(), Some(host))
    }
}
