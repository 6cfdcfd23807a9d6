//! Why there is no rig, in values.

use super::document::DocumentError;
use super::rig::MOST_DEVICES;
use super::text::TextError;
use super::{HostId, Network, Pcie};
use crate::units::{Bytes, BytesPerSecond};

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
    /// A device of a host that there is not.
    #[error("`{device}` sits in host {}, and the rig has {n_hosts}", .host.0 + 1)]
    NoSuchHost {
        /// The device.
        device: String,
        /// The host.
        host: HostId,
        /// How many there are.
        n_hosts: usize,
    },
    /// Devices of one host that stand apart.
    #[error("`{device}` stands behind devices of a later host: list devices host by host")]
    Scattered {
        /// The device.
        device: String,
    },
    /// Two hosts of one name.
    #[error("two hosts are called `{name}`\nhint: give each its own `name`")]
    HostTwice {
        /// The name.
        name: String,
    },
    /// A host's name that the names of its devices could not begin with.
    #[error(
        "`{name}` can't name one of several hosts\nhint: use letters, digits, `-`, `_`, `.`, at most 40, as the network knows it"
    )]
    HostName {
        /// The name.
        name: String,
    },
    /// One of several hosts that the others cannot reach.
    #[error("`{name}` has no network, and the rig has several hosts")]
    NoNetwork {
        /// The host.
        name: String,
    },
    /// A host besides the first that computes nothing.
    #[error("`{name}` has no GPU: of hosts besides the first, plans use GPUs alone")]
    NoDevice {
        /// The host.
        name: String,
    },
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
    /// A network that nobody has.
    #[error("a network of {} and a round trip of {} are not plausible", .0.rate, .0.latency)]
    Network(Network),
    /// No such PCIe link.
    #[error("there is no PCIe link {0}")]
    Link(Pcie),
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
