//! Hosts gathered one after the other from what is written of them, into one rig.

use super::entry::{DeviceEntry, EntryError, Writing};
use super::host_entry::HostEntry;
use super::rig::MOST_DEVICES;
use super::{Device, Host, HostId, Machine, Network, Rig, RigError};

/// Hosts and devices so far.
#[derive(Default)]
pub(super) struct Gathered {
    devices: Vec<Device>,
    machines: Vec<Machine>,
    /// Devices before the host that is being read.
    before: usize,
}

impl Gathered {
    /// Adds what an entry stands for to the host that is being read. Devices without a name are
    /// called by their place in it; beyond the first host, the host's name stands before.
    pub(super) fn add<D>(
        &mut self,
        entry: &DeviceEntry,
        host: &HostEntry<D>,
    ) -> Result<(), EntryError> {
        let place = self.devices.len() - self.before;
        let mut devices = entry.devices(place)?;
        let id = HostId(self.machines.len());
        for device in &mut devices {
            device.host = id;
            if id != HostId::FIRST && entry.name.is_none() {
                device.name = format!("{}.{}", self.name_of(host), device.name);
            }
        }
        self.devices.extend(devices);
        Ok(())
    }

    /// Whether there are more devices than a rig may have.
    pub(super) fn is_full(&self) -> bool {
        self.devices.len() > MOST_DEVICES
    }

    /// Ends the host whose devices were added.
    pub(super) fn end<D>(&mut self, host: &HostEntry<D>) -> Result<(), EntryError> {
        let name = self.name_of(host);
        let named = |ram| Host {
            name: name.clone(),
            ..ram
        };
        let machine = Machine {
            ram: host.host()?.map(named),
            network: host.network,
            name,
        };
        if !self.machines.is_empty() && self.devices.len() == self.before {
            return Err(EntryError::NoDevice { host: machine.name });
        }
        self.before = self.devices.len();
        self.machines.push(machine);
        Ok(())
    }

    fn name_of<D>(&self, host: &HostEntry<D>) -> String {
        let usual = || match self.machines.len() {
            0 => "host".to_owned(),
            before => format!("host{}", before + 1),
        };
        host.name.clone().unwrap_or_else(usual)
    }

    /// The rig, in which hosts that state no network of their own have `network`.
    pub(super) fn rig(mut self, network: Option<Network>) -> Result<Rig, RigError> {
        if let [only] = self.machines.as_mut_slice()
            && only.ram.is_none()
        {
            // A name that nothing is known of is not written, and so not kept.
            only.name = "host".to_owned();
        }
        for machine in &mut self.machines {
            machine.network = machine.network.or(network);
        }
        Rig::of_hosts(self.devices, self.machines)
    }

    /// The first of several hosts that would have no network.
    pub(super) fn lacks_network(
        &self,
        network: Option<Network>,
        writing: Writing,
    ) -> Option<(HostId, EntryError)> {
        let mut machines = self.machines.iter();
        let found = machines.position(|machine| machine.network.or(network).is_none());
        let index = found.filter(|_| self.machines.len() > 1)?;
        let host = self.machines[index].name.clone();
        Some((HostId(index), EntryError::NoNetwork { host, writing }))
    }
}
