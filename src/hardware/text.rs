//! The rig in a line of text.
//!
//! ```text
//! 2x RTX 3090 + 1x RTX 3060, ram 64 GiB
//! 24 GiB@936 GB/s + 12 GiB@360 GB/s, ram 64 GiB@42 GB/s, disk 3.2 GB/s
//! RTX 3090 pcie 3.0 x8 reserve 500 MiB + RTX 3080 12 GiB cap 10 GiB
//! ```
//!
//! Parts stand between `+` or `,`. A device is a known GPU's name, or its memory and bandwidth; a
//! count `2x` may stand before it, and `pcie`, `reserve`, `cap` behind it. Everything else a device
//! can say needs the document.
//!
//! A bare size (`24 GiB@936 GB/s`) is taken at its word: an application gets all of it. A size
//! behind a name (`RTX 3080 12 GiB`) is the card's label, of which the driver keeps a part.
//! Without `ram` nothing may be put into RAM; `disk` needs `ram`.

use super::entry::{DeviceEntry, EntryError};
use super::host_entry::HostEntry;
use super::options::{Options, value};
use super::rig::MOST_DEVICES;
use super::{Device, Rig, RigError};
use crate::units::{Bytes, BytesPerSecond};

/// Most bytes a line may have: more than a shell's users type.
const LONGEST: usize = 1 << 16;

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
    /// An option, `ram` or `disk` for the second time.
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

/// Reads a rig's text.
pub fn parse(text: &str) -> Result<Rig, RigError> {
    if text.len() > LONGEST {
        return Err(TextError {
            part: text.chars().take(40).chain(['…']).collect(),
            fault: TextFault::TooLong,
        }
        .into());
    }
    let mut devices: Vec<Device> = Vec::new();
    let mut host = HostEntry::<DeviceEntry>::default();
    for part in text.split(['+', ',']).map(str::trim) {
        read_part(part, &mut devices, &mut host).map_err(|fault| TextError {
            part: if part.is_empty() { text } else { part }.to_owned(),
            fault,
        })?;
        if devices.len() > MOST_DEVICES {
            break;
        }
    }
    let host = host.host().map_err(|fault| TextError {
        part: text.to_owned(),
        fault: fault.into(),
    })?;
    Rig::new(devices, host)
}

fn read_part(
    part: &str,
    devices: &mut Vec<Device>,
    host: &mut HostEntry<DeviceEntry>,
) -> Result<(), TextFault> {
    let (first, rest) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
    match first.to_ascii_lowercase().as_str() {
        "" => Err(TextFault::Empty),
        "ram" => read_ram(rest, host),
        "disk" => read_disk(rest, host),
        _ => {
            devices.extend(read_device(part)?.devices(devices.len())?);
            Ok(())
        }
    }
}

fn read_ram(text: &str, host: &mut HostEntry<DeviceEntry>) -> Result<(), TextFault> {
    let (size, options) = Options::split(text)?;
    if host.memory.is_some() {
        return Err(TextFault::Twice("ram"));
    }
    if options.link.is_some() {
        return Err(TextFault::NoOption {
            option: "pcie",
            place: "ram",
        });
    }
    let (size, rate) = match size.split_once('@') {
        Some((size, rate)) => (size.to_owned(), Some(value(rate)?)),
        None => (size, None),
    };
    if size.trim().is_empty() {
        return Err(TextFault::NoValue {
            option: "ram",
            example: "64 GiB",
        });
    }
    host.memory = Some(value(&size)?);
    host.bandwidth = rate;
    host.reserve = options.reserve;
    host.cap = options.cap;
    Ok(())
}

fn read_disk(rate: &str, host: &mut HostEntry<DeviceEntry>) -> Result<(), TextFault> {
    if rate.trim().is_empty() {
        return Err(TextFault::NoValue {
            option: "disk",
            example: "3.2 GB/s",
        });
    }
    let rate: BytesPerSecond = value(rate)?;
    match host.disk.replace(rate) {
        Some(_) => Err(TextFault::Twice("disk")),
        None => Ok(()),
    }
}

fn read_device(part: &str) -> Result<DeviceEntry, TextFault> {
    let (count, rest) = split_count(part)?;
    let (words, options) = Options::split(rest)?;
    let mut entry = DeviceEntry {
        count,
        pcie: options.link,
        reserve: options.reserve,
        cap: options.cap,
        ..DeviceEntry::default()
    };
    let what = match words.split_once('@') {
        Some((what, rate)) => {
            entry.bandwidth = Some(value(rate)?);
            what.trim()
        }
        None => words.trim(),
    };
    if what.is_empty() {
        return Err(TextFault::Empty);
    }
    match what.parse::<Bytes>() {
        Ok(memory) if entry.bandwidth.is_some() => entry.memory = Some(memory),
        Ok(memory) => {
            return Err(TextFault::NoBandwidth {
                memory,
                size: what.to_owned(),
            });
        }
        Err(_) if is_bare_number(what, &entry) => {
            return Err(TextFault::BareNumber {
                number: what.to_owned(),
            });
        }
        Err(_) => entry.gpu = Some(what.to_owned()),
    }
    Ok(entry)
}

/// Whether a size lost its unit: `24@936 GB/s`, or `24` alone. `3090` alone is a GPU.
fn is_bare_number(what: &str, entry: &DeviceEntry) -> bool {
    let number = what
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    number && (entry.bandwidth.is_some() || what.len() < 4)
}

/// Splits `2x RTX 3090` into its count and the rest.
fn split_count(part: &str) -> Result<(Option<usize>, &str), TextFault> {
    let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let digits = &part[..part.len() - rest.len()];
    let Some(rest) = rest.trim_start().strip_prefix(['x', 'X', '×', '*']) else {
        return Ok((None, part));
    };
    if digits.is_empty() {
        return Ok((None, part));
    }
    match digits.parse() {
        Ok(count) if (1..=MOST_DEVICES).contains(&count) => Ok((Some(count), rest)),
        _ => Err(TextFault::Count(digits.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hardware::{Host, Pcie, Source};

    fn rig(text: &str) -> Rig {
        parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refusal(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn named_gpus_are_counted_and_numbered() {
        let rig = rig("2x RTX 3090 + 1x RTX 3060, ram 64 GiB");
        let names: Vec<_> = rig
            .devices()
            .iter()
            .map(|device| device.name.as_str())
            .collect();
        assert_eq!(names, ["cuda0", "cuda1", "cuda2"]);
        assert_eq!(rig.devices()[1].memory, Bytes::mib(24_124));
        assert_eq!(rig.devices()[2].bandwidth, BytesPerSecond(360e9));
        assert_eq!(rig.devices()[2].source, Source::Datasheet);
        let host = rig.host().unwrap();
        assert_eq!(host.memory, Bytes::gib(64));
        assert_eq!(host.bandwidth, Host::ASSUMED_BANDWIDTH);
        assert_eq!(host.source, Source::Assumed);
        assert_eq!(host.capacity(), Bytes::gib(60));
    }

    #[test]
    fn a_bare_size_is_taken_at_its_word_and_a_label_is_not() {
        let rig = rig("24 GiB@936 GB/s + RTX 3080 12 GB + RTX 3090 48 GiB@900 GB/s");
        let [bare, other, modified] = rig.devices() else {
            panic!("three devices");
        };
        assert_eq!(
            (bare.model.as_str(), bare.memory),
            ("24 GiB card", Bytes::gib(24))
        );
        assert_eq!(bare.source, Source::Stated);
        assert_eq!(other.model, "RTX 3080 12GB");
        assert!(other.memory < Bytes::gib(12));
        assert_eq!(modified.bandwidth, BytesPerSecond(900e9));
        assert_eq!(modified.memory, Bytes::mib(48 * 1024 - 640));
        assert!(rig.host().is_none());
    }

    #[test]
    fn options_follow_devices_and_ram() {
        let rig = rig(
            "RTX 3090 pcie 3.0 x8 reserve 500 MiB + A100 80GB PCIe pcie 4.0 x16 cap 70 GiB, ram 64 GiB@70 GB/s reserve 8 GiB, disk 3.2 GB/s",
        );
        let [first, second] = rig.devices() else {
            panic!("two devices");
        };
        assert_eq!(
            first.link,
            Pcie {
                generation: 3,
                lanes: 8
            }
        );
        assert_eq!(first.reserve, Bytes::mib(500));
        assert_eq!(second.capacity(), Bytes::gib(70));
        let host = rig.host().unwrap();
        assert_eq!(
            (host.bandwidth, host.source),
            (BytesPerSecond(70e9), Source::Stated)
        );
        assert_eq!(host.capacity(), Bytes::gib(56));
        assert_eq!(host.disk, Some(BytesPerSecond(3.2e9)));
    }

    #[test]
    fn an_error_says_which_part_why_and_what_to_write() {
        for (text, wanted) in [
            ("", "a part is empty"),
            ("RTX 3090 +", "a part is empty"),
            (
                "24@936 GB/s",
                "`24` has no unit\nhint: write `24 GiB@936 GB/s`",
            ),
            ("RTX 3090 + 24", "`24`: `24` has no unit"),
            (
                "24 GiB",
                "needs its bandwidth\nhint: write `24 GiB@936 GB/s`",
            ),
            ("24 GiB@936", "`936` is no rate"),
            ("RTX 3090, ram 64", "`ram 64`: `64` is no size"),
            ("RTX 3090, ram", "hint: write `ram 64 GiB`"),
            ("RTX 3090, disk", "hint: write `disk 3.2 GB/s`"),
            ("RTX 3090, disk 3 GB/s", "`disk` needs `memory`"),
            ("ram 64 GiB, ram 64 GiB", "`ram` is stated twice"),
            ("ram 64 GiB pcie 4.0 x16", "`pcie` is no option of `ram`"),
            ("RTX 3090 pcie", "hint: write `pcie 4.0 x16`"),
            ("RTX 3090 pcie 3.0 x5", "is no PCIe link"),
            ("RTX 3090 cap 20 GiB cap 20 GiB", "`cap` is stated twice"),
            ("RTX 3090 cap 20 GiB reserve 1 GiB", "exclude each other"),
            (
                "RTX 3090 cap 40 GiB",
                "`cap` of 40.00 GiB exceeds the memory of 23.56 GiB",
            ),
            ("RTX 3090 reserve 40 GiB", "exceeds its memory"),
            ("0x RTX 3090", "`0` is no count"),
            ("9999999999x RTX 3090", "is no count"),
            ("999x RTX 3090 + 2x RTX 3090", "more than 1000 devices"),
            ("RTX 3091", "did you mean `RTX 3090`"),
            ("Radeon 780M", "has no memory of its own"),
            ("A100", "hint: write which one"),
        ] {
            let error = refusal(text);
            assert!(error.contains(wanted), "{text}: {error}");
        }
        assert!(refusal(&"x".repeat(LONGEST + 1)).contains("at most 64.00 KiB"));
    }

    #[test]
    fn what_a_hint_proposes_is_read() {
        for text in [
            "24 GiB@936 GB/s",
            "RTX 3090, ram 64 GiB",
            "Radeon 780M 12 GiB",
        ] {
            rig(text);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn no_sentence_of_its_words_panics(words in prop::collection::vec(prop::sample::select(vec![
            "2x", "RTX", "3090", "24", "GiB", "GB", "@", "936 GB/s", "+", ",", "ram", "disk",
            "pcie", "4.0", "x16", "reserve", "cap", "1e400", "0", "é", "-1", "A100",
        ]), 0..12), gap in prop::sample::select(vec!["", " "])) {
            let _ = parse(&words.join(gap));
        }
    }
}
