//! The rig: every device and every host, checked once.

use std::collections::BTreeSet;

use super::{Device, DeviceId, Host, HostId, Machine, Network, RigError, RigFault};
use crate::units::{Bytes, BytesPerSecond};

/// Most devices a rig may hold.
pub(super) const MOST_DEVICES: usize = 1_000;

/// Names that a plan gives to places which are no device.
const RESERVED: [&str; 2] = ["cpu", "disk"];

/// All places a model may be put on.
///
/// It holds at least one place to compute; device names are unique, short and none of `cpu` and
/// `disk`; memory, rates and links are plausible; no reserve exceeds its memory. Where the first
/// host states no RAM, nothing may be put into RAM or left on disk. Of several hosts each has a name
/// of its own and a network, and each but the first a device; devices are listed host by host.
#[derive(Clone, Debug, PartialEq)]
pub struct Rig {
    devices: Vec<Device>,
    /// At least one.
    hosts: Vec<Machine>,
}

/// Longest name of one of several hosts: names of devices begin with it.
const LONGEST_HOST: usize = 40;

impl Rig {
    /// A rig of one host. Checks the invariants; nothing else in the crate has to.
    pub fn new(devices: Vec<Device>, host: Option<Host>) -> Result<Self, RigError> {
        let name = host.as_ref().map_or("host", |host| host.name.as_str());
        let machine = Machine {
            name: name.to_owned(),
            ram: host,
            network: None,
        };
        Self::of_hosts(devices, vec![machine])
    }

    /// A rig of one host or several. Checks the invariants; nothing else in the crate has to.
    pub fn of_hosts(devices: Vec<Device>, hosts: Vec<Machine>) -> Result<Self, RigError> {
        let ram = hosts.first().and_then(|host| host.ram.as_ref());
        if devices.is_empty() && ram.is_none() {
            return Err(RigError::Empty);
        }
        if devices.len() > MOST_DEVICES {
            return Err(RigError::TooMany);
        }
        check_hosts(&devices, &hosts)?;
        let mut names = BTreeSet::new();
        for device in &devices {
            if !may_name(&device.name) {
                return Err(RigError::Name {
                    name: device.name.clone(),
                });
            }
            if !names.insert(device.name.as_str()) {
                return Err(RigError::Twice {
                    name: device.name.clone(),
                });
            }
            check_device(device).map_err(|fault| RigError::Fault {
                name: device.name.clone(),
                fault,
            })?;
        }
        let rig = Self { devices, hosts };
        let mut numbers = BTreeSet::new();
        for id in rig.device_ids() {
            let (device, number) = (rig.device(id), rig.number(id));
            if !numbers.insert((device.host, number)) {
                return Err(RigError::Misnumbered {
                    name: device.name.clone(),
                    number,
                });
            }
        }
        for host in &rig.hosts {
            check_machine(host).map_err(|fault| RigError::Fault {
                name: host.name.clone(),
                fault,
            })?;
        }
        Ok(rig)
    }

    /// The same hosts with other devices and other RAM of the first.
    pub(crate) fn with(&self, devices: Vec<Device>, ram: Option<Host>) -> Result<Self, RigError> {
        let mut hosts = self.hosts.clone();
        hosts[0].ram = ram;
        Self::of_hosts(devices, hosts)
    }

    /// The same hosts and networks without RAM, and of the devices only `devices`: what an engine makes
    /// of a rig. A host may have none.
    pub(crate) fn of_groups(&self, devices: Vec<Device>) -> Result<Self, RigError> {
        if devices.is_empty() {
            return Err(RigError::Empty);
        }
        for device in &devices {
            check_device(device).map_err(|fault| RigError::Fault {
                name: device.name.clone(),
                fault,
            })?;
        }
        let hosts = self.hosts.iter().map(|host| Machine {
            ram: None,
            ..host.clone()
        });
        Ok(Self {
            devices,
            hosts: hosts.collect(),
        })
    }

    /// The devices, in the order in which they were listed.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// One device.
    ///
    /// # Panics
    ///
    /// If `device` is of another rig and out of range here.
    pub fn device(&self, device: DeviceId) -> &Device {
        &self.devices[device.0]
    }

    /// The ids of the devices, in order.
    pub fn device_ids(&self) -> impl DoubleEndedIterator<Item = DeviceId> + use<> {
        (0..self.devices.len()).map(DeviceId)
    }

    /// The device of that name.
    pub fn find(&self, name: &str) -> Result<DeviceId, RigError> {
        self.devices
            .iter()
            .position(|device| device.name == name)
            .map(DeviceId)
            .ok_or_else(|| RigError::NoSuchDevice {
                name: name.to_owned(),
                known: self.known_names(),
            })
    }

    /// RAM and CPU of the first host; without RAM nothing may be put there.
    pub fn host(&self) -> Option<&Host> {
        self.hosts[0].ram.as_ref()
    }

    /// The hosts; the framework is started on the first.
    pub fn hosts(&self) -> &[Machine] {
        &self.hosts
    }

    /// What is between two hosts; nothing between a host and itself.
    pub fn between(&self, a: HostId, b: HostId) -> Option<Network> {
        let ends = self.hosts[a.0].network.zip(self.hosts[b.0].network);
        ends.filter(|_| a != b).map(|(a, b)| a.between(b))
    }

    /// What a plan may use of a device: its memory without its reserve.
    ///
    /// # Panics
    ///
    /// If `device` is of another rig and out of range here.
    pub fn capacity(&self, device: DeviceId) -> Bytes {
        self.device(device).capacity()
    }

    /// The same rig with another reserve of one device, or of RAM under the name `cpu`.
    pub fn with_reserve(mut self, name: &str, reserve: Bytes) -> Result<Self, RigError> {
        match &mut self.hosts[0].ram {
            Some(host) if name == "cpu" => host.reserve = reserve,
            _ => {
                let DeviceId(index) = self.find(name)?;
                self.devices[index].reserve = reserve;
            }
        }
        Self::of_hosts(self.devices, self.hosts)
    }

    /// The same rig with no room on some devices.
    pub fn without(mut self, ids: impl IntoIterator<Item = DeviceId>) -> Self {
        for DeviceId(index) in ids {
            self.devices[index].reserve = self.devices[index].memory;
        }
        self
    }

    /// The same rig with a share of what a plan may use left free on every device and of RAM.
    pub fn with_margin(mut self, share: f64) -> Result<Self, RigError> {
        let free = |room: Bytes| room.scale(share.clamp(0.0, 1.0));
        for device in &mut self.devices {
            device.reserve += free(device.capacity());
        }
        if let Some(host) = &mut self.hosts[0].ram {
            host.reserve += free(host.capacity());
        }
        Self::of_hosts(self.devices, self.hosts)
    }

    /// The driver's number of a device on its host, in the order of the PCI bus: what `cuda1` says,
    /// else its place among the devices of the host.
    pub fn number(&self, id: DeviceId) -> usize {
        let device = self.device(id);
        let own = match device.host {
            HostId::FIRST => Some(device.name.as_str()),
            HostId(host) => {
                let rest = device.name.strip_prefix(self.hosts[host].name.as_str());
                rest.and_then(|rest| rest.strip_prefix('.'))
            }
        };
        let digits = own.and_then(|own| own.strip_prefix("cuda"));
        let stated = digits.and_then(|digits| digits.parse().ok());
        stated.unwrap_or_else(|| id.0 - self.first_of(device.host))
    }

    /// Where the devices of a host begin.
    fn first_of(&self, host: HostId) -> usize {
        self.devices.partition_point(|device| device.host < host)
    }

    /// The names that [`with_reserve`](Self::with_reserve) knows.
    fn known_names(&self) -> Vec<String> {
        let ram = self.host().map(|_| "cpu").into_iter();
        let devices = self.devices.iter().map(|device| device.name.as_str());
        devices.chain(ram).map(|name| format!("`{name}`")).collect()
    }
}

/// Devices sit in hosts that there are, host by host; of several hosts each has a name that prints
/// and a network, and each but the first a device.
fn check_hosts(devices: &[Device], hosts: &[Machine]) -> Result<(), RigError> {
    if let Some(device) = devices.iter().find(|device| device.host.0 >= hosts.len()) {
        return Err(RigError::NoSuchHost {
            device: device.name.clone(),
            host: device.host,
            n_hosts: hosts.len(),
        });
    }
    if let Some(pair) = devices.windows(2).find(|pair| pair[1].host < pair[0].host) {
        return Err(RigError::Scattered {
            device: pair[1].name.clone(),
        });
    }
    if hosts.len() < 2 {
        return Ok(());
    }
    for (index, host) in hosts.iter().enumerate() {
        let name = host.name.clone();
        if !may_name(&name) || name.len() > LONGEST_HOST {
            return Err(RigError::HostName { name });
        }
        if hosts[..index].iter().any(|other| other.name == name) {
            return Err(RigError::HostTwice { name });
        }
        if host.network.is_none() {
            return Err(RigError::NoNetwork { name });
        }
        if index > 0 && !devices.iter().any(|device| device.host == HostId(index)) {
            return Err(RigError::NoDevice { name });
        }
    }
    Ok(())
}

/// Whether a plan can print the name without quoting, and without mistaking it.
fn may_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=64).contains(&name.len())
        && name.bytes().all(plain)
        && !RESERVED
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
}

fn check_device(device: &Device) -> Result<(), RigFault> {
    check_text("the model", Some(&device.model))?;
    check_text("the PCI address", device.pci.as_deref())?;
    check_memory(device.memory, device.reserve)?;
    if !plausible(device.bandwidth) {
        return Err(RigFault::Bandwidth(device.bandwidth));
    }
    if !device.link.exists() {
        return Err(RigFault::Link(device.link));
    }
    Ok(())
}

fn check_machine(machine: &Machine) -> Result<(), RigFault> {
    match machine.network {
        Some(network) if !network.is_plausible() => return Err(RigFault::Network(network)),
        _ => {}
    }
    machine.ram.as_ref().map_or(Ok(()), check_host)
}

fn check_host(host: &Host) -> Result<(), RigFault> {
    check_text("the host's name", Some(&host.name))?;
    check_text("the CPU's name", host.cpu.as_deref())?;
    check_memory(host.memory, host.reserve)?;
    if !plausible(host.bandwidth) {
        return Err(RigFault::Bandwidth(host.bandwidth));
    }
    match host.disk {
        Some(rate) if !plausible(rate) => Err(RigFault::Disk(rate)),
        _ => Ok(()),
    }
}

fn check_memory(memory: Bytes, reserve: Bytes) -> Result<(), RigFault> {
    // A petabyte: sums over all devices stay far below 2⁶⁴.
    if memory == Bytes::ZERO || memory > Bytes::gib(1 << 20) {
        return Err(RigFault::Memory(memory));
    }
    if reserve > memory {
        return Err(RigFault::Reserve { reserve, memory });
    }
    Ok(())
}

/// Prints on one line; a control character could rewrite the terminal.
fn check_text(field: &'static str, text: Option<&str>) -> Result<(), RigFault> {
    let printable = |text: &str| {
        !text.trim().is_empty() && text.len() <= 200 && !text.chars().any(char::is_control)
    };
    match text {
        Some(text) if !printable(text) => Err(RigFault::Unprintable { field }),
        _ => Ok(()),
    }
}

/// At least a megabyte, less than a petabyte a second.
fn plausible(rate: BytesPerSecond) -> bool {
    rate.0.is_finite() && (1e6..1e15).contains(&rate.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::text;

    fn desk() -> Rig {
        text::parse("RTX 3090 + RTX 3060, ram 64 GiB").unwrap()
    }

    #[test]
    fn a_reserve_is_taken_from_the_named_place_alone() {
        let rig = desk().with_reserve("cuda1", Bytes::gib(2)).unwrap();
        assert_eq!(rig.capacity(DeviceId(0)), Bytes::mib(24_124));
        assert_eq!(rig.devices()[1].reserve, Bytes::gib(2));
        let rig = rig.with_reserve("cpu", Bytes::gib(16)).unwrap();
        assert_eq!(rig.host().unwrap().capacity(), Bytes::gib(48));
    }

    #[test]
    fn a_margin_is_a_share_of_what_is_left_everywhere() {
        let rig = desk().with_reserve("cuda1", Bytes::mib(2032)).unwrap();
        let rig = rig.with_margin(0.25).unwrap();
        assert_eq!(rig.devices()[1].capacity(), Bytes::mib(7500));
        assert_eq!(rig.host().unwrap().capacity(), Bytes::gib(45));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = desk().with_reserve("cuda7", Bytes::ZERO).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no device is called `cuda7`\nhint: the rig has `cuda0`, `cuda1`, `cpu`"
        );
        let error = desk().with_reserve("cuda0", Bytes::gib(99)).unwrap_err();
        assert!(error.to_string().contains("99.00 GiB exceeds"), "{error}");
    }

    #[test]
    fn impossible_figures_are_refused() {
        let device = desk().devices()[0].clone();
        let with = |change: fn(&mut Device)| {
            let mut device = device.clone();
            change(&mut device);
            Rig::new(vec![device], None).is_err()
        };
        assert!(!with(|_| ()));
        assert!(with(|device| device.memory = Bytes::ZERO));
        assert!(with(|device| device.bandwidth = BytesPerSecond(f64::NAN)));
        assert!(with(
            |device| device.bandwidth = BytesPerSecond(f64::INFINITY)
        ));
        assert!(with(|device| device.link.lanes = 0));
        assert!(with(|device| device.name = "Disk".to_owned()));
        assert!(with(|device| device.name = "a b".to_owned()));
        assert!(with(|device| device.model = "\u{1b}[31m".to_owned()));
        assert!(Rig::new(Vec::new(), None).is_err());
    }
}
