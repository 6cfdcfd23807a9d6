//! The rig: every device and the host, checked once.

use super::document::DocumentError;
use super::text::TextError;
use super::{Device, DeviceId, Host};
use crate::units::{Bytes, BytesPerSecond};

/// Most devices a rig may hold.
pub(super) const MOST_DEVICES: usize = 1_000;

/// Names that a plan gives to places which are no device.
const RESERVED: [&str; 2] = ["cpu", "disk"];

/// All places a model may be put on.
///
/// It holds at least one place to compute; device names are unique, short and none of `cpu` and
/// `disk`; memory, rates and links are plausible; no reserve exceeds its memory. Where there is no
/// host, nothing may be put into RAM or left on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Rig {
    devices: Vec<Device>,
    host: Option<Host>,
}

/// Why there is no rig.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// A part of its text can't be read.
    #[error(transparent)]
    Text(#[from] TextError),
    /// Its document can't be read.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Neither a device nor RAM.
    #[error(
        "the rig has nothing to compute on\nhint: name a GPU (`RTX 3090`) or RAM (`ram 64 GiB`)"
    )]
    Empty,
    /// More devices than anybody has.
    #[error("the rig has more than {MOST_DEVICES} devices")]
    TooMany,
    /// Two devices of one name.
    #[error("two devices are called `{name}`\nhint: give each its own `name`")]
    Twice {
        /// The name.
        name: String,
    },
    /// A name that says another number than the driver gives.
    #[error(
        "`{name}` has the number {number} of another device\nhint: list devices in the driver's order, or name them all `cuda0`, `cuda1`, …"
    )]
    Misnumbered {
        /// The later of both.
        name: String,
        /// The number.
        number: usize,
    },
    /// A name that a plan could not print, or uses for something else.
    #[error(
        "`{name}` can't name a device\nhint: use letters, digits, `-`, `_`, `.`, at most 64, and neither `cpu` nor `disk`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A device, or the host, with an impossible figure.
    #[error("`{name}`: {fault}")]
    Fault {
        /// The device, or the host.
        name: String,
        /// What is wrong.
        fault: RigFault,
    },
    /// A device that is not there.
    #[error("no device is called `{name}`\nhint: the rig has {}", known.join(", "))]
    NoSuchDevice {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
}

/// A figure that no device has.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RigFault {
    /// Nothing, or more than a petabyte.
    #[error("memory of {0} is not plausible")]
    Memory(Bytes),
    /// Less than a megabyte or more than a petabyte a second.
    #[error("bandwidth of {0} is not plausible")]
    Bandwidth(BytesPerSecond),
    /// A disk with such a rate.
    #[error("a disk of {0} is not plausible")]
    Disk(BytesPerSecond),
    /// No such PCIe link.
    #[error("there is no PCIe link {0}")]
    Link(super::Pcie),
    /// More reserved than there is.
    #[error("a reserve of {reserve} exceeds its memory of {memory}")]
    Reserve {
        /// What is to be left alone.
        reserve: Bytes,
        /// What there is.
        memory: Bytes,
    },
    /// A text for people that is empty, longer than 200 bytes or not printable on one line.
    #[error("{field} is empty, too long or not printable")]
    Unprintable {
        /// Which text.
        field: &'static str,
    },
}

impl Rig {
    /// Checks the invariants; nothing else in the crate has to.
    pub fn new(devices: Vec<Device>, host: Option<Host>) -> Result<Self, RigError> {
        if devices.is_empty() && host.is_none() {
            return Err(RigError::Empty);
        }
        if devices.len() > MOST_DEVICES {
            return Err(RigError::TooMany);
        }
        for (index, device) in devices.iter().enumerate() {
            if !may_name(&device.name) {
                return Err(RigError::Name {
                    name: device.name.clone(),
                });
            }
            if devices[..index]
                .iter()
                .any(|other| other.name == device.name)
            {
                return Err(RigError::Twice {
                    name: device.name.clone(),
                });
            }
            check_device(device).map_err(|fault| RigError::Fault {
                name: device.name.clone(),
                fault,
            })?;
        }
        let numbers: Vec<_> = devices.iter().enumerate().map(number).collect();
        for (index, number) in numbers.iter().enumerate() {
            if numbers[..index].contains(number) {
                return Err(RigError::Misnumbered {
                    name: devices[index].name.clone(),
                    number: *number,
                });
            }
        }
        if let Some(host) = &host {
            check_host(host).map_err(|fault| RigError::Fault {
                name: host.name.clone(),
                fault,
            })?;
        }
        Ok(Self { devices, host })
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

    /// The host; without one nothing may be put into RAM.
    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
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
        match &mut self.host {
            Some(host) if name == "cpu" => host.reserve = reserve,
            _ => {
                let DeviceId(index) = self.find(name)?;
                self.devices[index].reserve = reserve;
            }
        }
        Self::new(self.devices, self.host)
    }

    /// The same rig with a share of what a plan may use left free on every device and of RAM.
    pub fn with_margin(mut self, share: f64) -> Result<Self, RigError> {
        let free = |room: Bytes| room.scale(share.clamp(0.0, 1.0));
        for device in &mut self.devices {
            device.reserve += free(device.capacity());
        }
        if let Some(host) = &mut self.host {
            host.reserve += free(host.capacity());
        }
        Self::new(self.devices, self.host)
    }

    /// The driver's number of a device, in the order of the PCI bus.
    pub fn number(&self, device: DeviceId) -> usize {
        number((device.0, self.device(device)))
    }

    /// The names that [`with_reserve`](Self::with_reserve) knows.
    fn known_names(&self) -> Vec<String> {
        let ram = self.host.iter().map(|_| "cpu");
        let devices = self.devices.iter().map(|device| device.name.as_str());
        devices.chain(ram).map(|name| format!("`{name}`")).collect()
    }
}

/// The driver's number of a device: what `cuda1` says, else its place in the list.
fn number((place, device): (usize, &Device)) -> usize {
    let digits = device.name.strip_prefix("cuda");
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(place)
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
