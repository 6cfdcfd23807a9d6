//! What is wrong with a rig's text.

use super::LONGEST;
use crate::hardware::entry::EntryError;
use crate::hardware::rig::MOST_DEVICES;
use crate::units::Bytes;

/// A part of a rig's text that can't be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{part}`: {fault}")]
pub struct TextError {
    /// The part, as written.
    pub part: String,
    /// What is wrong with it.
    pub fault: TextFault,
}

/// What is wrong with a part of a rig's text.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TextFault {
    /// Nothing between two separators, or nothing at all.
    #[error("a part is empty\nhint: write GPUs and RAM such as `2x RTX 3090, ram 64 GiB`")]
    Empty,
    /// Longer than anybody types.
    #[error("a rig's text has at most {}\nhint: write a rig document", Bytes(LONGEST as u64))]
    TooLong,
    /// A count of devices that is none.
    #[error("`{0}` is no count of devices, which is 1 to {MOST_DEVICES}")]
    Count(String),
    /// A number that no unit follows.
    #[error("`{number}` has no unit\nhint: write `{number} GiB@936 GB/s`, or the name of a GPU")]
    BareNumber {
        /// The number.
        number: String,
    },
    /// Memory whose bandwidth nobody knows.
    #[error(
        "a device of {memory} needs its bandwidth\nhint: write `{size}@936 GB/s`, or the name of a GPU, or `ram {size}`"
    )]
    NoBandwidth {
        /// The memory.
        memory: Bytes,
        /// The memory as written.
        size: String,
    },
    /// An option without its value.
    #[error("`{option}` has no value\nhint: write `{option} {example}`")]
    NoValue {
        /// The option.
        option: &'static str,
        /// A value.
        example: &'static str,
    },
    /// An option whose value is of another kind.
    #[error("{0}")]
    Value(String),
    /// `host` or `network` of several hosts, behind what it should stand before or apart from.
    #[error("`host` stands first among the parts of a host")]
    HostLater,
    /// An option, `ram`, `disk` or `network` for the second time.
    #[error("`{0}` is stated twice")]
    Twice(&'static str),
    /// `pcie` of RAM, or the like.
    #[error("`{option}` is no option of `{place}`")]
    NoOption {
        /// The option.
        option: &'static str,
        /// `ram` or `disk`.
        place: &'static str,
    },
    /// Words that are no device.
    #[error(transparent)]
    Entry(#[from] EntryError),
}
