//! One GPU, and the host it sits in: figures, and where they come from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Network, Pcie};
use crate::units::{Bytes, BytesPerSecond};

/// Index into [`Rig::devices`](super::Rig::devices).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub usize);

/// Index into [`Rig::hosts`](super::Rig::hosts).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub usize);

impl HostId {
    /// The host on which the framework is started: its RAM and its CPU are those that plans use.
    pub const FIRST: Self = Self(0);
}

/// Which set of measured coefficients (efficiency, cost of a layer) fits a device.
///
/// It follows the architecture and the kind of memory, since those two decide which share of its
/// peak bandwidth a device reaches. It is not the vendor's full list of architectures: parts of one
/// class behave alike in the measurements, parts nobody measured are [`DeviceClass::Unknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceClass {
    /// NVIDIA GTX 10 and its Tesla and Quadro kin: no matrix units.
    Pascal,
    /// NVIDIA V100 and TITAN V.
    Volta,
    /// NVIDIA RTX 20, GTX 16, T4.
    Turing,
    /// NVIDIA Ampere with GDDR or LPDDR: RTX 30, RTX A, A10, A40, Orin.
    Ampere,
    /// NVIDIA Ampere with HBM: A30, A100.
    AmpereHbm,
    /// NVIDIA RTX 40, RTX Ada, L4, L40.
    Ada,
    /// NVIDIA H20, H100, H200, GH200.
    Hopper,
    /// NVIDIA Blackwell with GDDR or LPDDR: RTX 50, RTX PRO, GB10, Thor.
    Blackwell,
    /// NVIDIA Blackwell with HBM: B200, GB200, B300.
    BlackwellHbm,
    /// AMD RX 6000 and newer, Radeon PRO, integrated Radeons.
    Rdna,
    /// AMD Instinct, and the Vega parts with HBM that its drivers treat alike.
    Cdna,
    /// Apple M series, memory shared with the CPU.
    Apple,
    /// Intel Arc.
    Arc,
    /// Anything else: the coefficients of all classes together.
    Unknown,
}

/// Where a figure comes from: an estimate is as good as its worst input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Read from the device.
    Measured,
    /// The vendor's figure.
    Datasheet,
    /// The user's figure.
    Stated,
    /// Nobody's figure: a default.
    Assumed,
}

/// NVIDIA's version of what a chip can run, such as 8.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ComputeCapability {
    /// The 8 of 8.6: the architecture.
    pub major: u32,
    /// The 6 of 8.6: the chip within it.
    pub minor: u32,
}

/// One GPU or accelerator.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its name in plans, such as `cuda0`; unique in a rig, never `cpu` or `disk`.
    pub name: String,
    /// What people call it: `RTX 3090`, or `24 GiB card` where only figures are known.
    pub model: String,
    /// Which measured coefficients fit it.
    pub class: DeviceClass,
    /// What an application can get when nothing else runs: CUDA's total, less than the label.
    pub memory: Bytes,
    /// Peak rate at which it reads its memory.
    pub bandwidth: BytesPerSecond,
    /// The host that it sits in.
    pub host: HostId,
    /// Its link to the host.
    pub link: Pcie,
    /// The part of `memory` that a plan leaves alone, for the desktop and other programs. What the
    /// inference framework takes beside weights (CUDA context, buffers) is `cost`'s to add.
    pub reserve: Bytes,
    /// What an NVIDIA chip can run, where known.
    pub compute_capability: Option<ComputeCapability>,
    /// Its address on the bus, `0000:01:00.0`, where known.
    pub pci: Option<String>,
    /// Where `memory` and `bandwidth` come from; the worse of the two.
    pub source: Source,
}

impl DeviceClass {
    /// The class of an NVIDIA chip that no row of the catalogue names.
    ///
    /// Source: NVIDIA's table of compute capabilities. 8.0 and 10 are the chips with HBM.
    pub fn of_capability(capability: ComputeCapability) -> Self {
        match (capability.major, capability.minor) {
            (6, _) => Self::Pascal,
            (7, 0..=4) => Self::Volta,
            (7, _) => Self::Turing,
            (8, 0) => Self::AmpereHbm,
            (8, 1..=8) => Self::Ampere,
            (8, _) => Self::Ada,
            (9, _) => Self::Hopper,
            (10, _) => Self::BlackwellHbm,
            (11 | 12, _) => Self::Blackwell,
            _ => Self::Unknown,
        }
    }
}

impl Device {
    /// Whether no plan can tell two cards from each other, but for the hosts that they are on.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.memory, self.reserve, self.class, self.link)
            == (other.memory, other.reserve, other.class, other.link)
            && self.bandwidth.0.to_bits() == other.bandwidth.0.to_bits()
    }

    /// What a plan may use: `memory` without `reserve`.
    pub fn capacity(&self) -> Bytes {
        self.memory.saturating_sub(self.reserve)
    }
}

/// The machine that the devices sit in: its RAM, its processor, its disk.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// What people call it, such as `desk`.
    pub name: String,
    /// RAM as the system counts it.
    pub memory: Bytes,
    /// The rate of a streaming read of RAM, typical rather than peak.
    pub bandwidth: BytesPerSecond,
    /// The part of `memory` that a plan leaves alone, for the system and other programs.
    pub reserve: Bytes,
    /// The rate of a sequential read of the disk that holds the model; `None` where nothing may be
    /// left on it.
    pub disk: Option<BytesPerSecond>,
    /// The processor's name, where known.
    pub cpu: Option<String>,
    /// The processor's physical cores, where known.
    pub cores: Option<usize>,
    /// Where `bandwidth` comes from.
    pub source: Source,
}

/// One of the hosts of a rig, and how it reaches the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// What people call it, which is how the others find it on the network.
    pub name: String,
    /// Its RAM and processor, where they are stated.
    pub ram: Option<Host>,
    /// Its network; a rig of one host needs none.
    pub network: Option<Network>,
}

impl Host {
    /// RAM bandwidth where nobody stated one: 42 GB/s, two channels of DDR4-3200 as typically
    /// measured (AM4 desktop, 0.82 of the peak of 51.2). A guess that a newer machine exceeds.
    pub const ASSUMED_BANDWIDTH: BytesPerSecond = BytesPerSecond(42e9);

    /// What a plan may use: `memory` without `reserve`.
    pub fn capacity(&self) -> Bytes {
        self.memory.saturating_sub(self.reserve)
    }

    /// What is kept for the system where nobody stated it: an eighth of RAM, at most 4 GiB. A
    /// guess: a headless Linux takes less, a desktop with a browser more.
    pub fn assumed_reserve(memory: Bytes) -> Bytes {
        Bytes(memory.0 / 8).min(Bytes::gib(4))
    }
}

/// Text that is no compute capability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no compute capability: write it as `8.6`")]
pub struct ComputeCapabilityError {
    text: String,
}

impl FromStr for ComputeCapability {
    type Err = ComputeCapabilityError;

    fn from_str(text: &str) -> Result<Self, ComputeCapabilityError> {
        let small = |digits: &str| digits.parse().ok().filter(|number| *number < 100);
        text.split_once('.')
            .and_then(|(major, minor)| {
                Some(Self {
                    major: small(major)?,
                    minor: small(minor)?,
                })
            })
            .ok_or_else(|| ComputeCapabilityError {
                text: text.to_owned(),
            })
    }
}

impl TryFrom<String> for ComputeCapability {
    type Error = ComputeCapabilityError;

    fn try_from(text: String) -> Result<Self, ComputeCapabilityError> {
        text.parse()
    }
}

impl From<ComputeCapability> for String {
    fn from(capability: ComputeCapability) -> Self {
        capability.to_string()
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}
