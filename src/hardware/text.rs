//! The rig in a line of text.
//!
//! ```text
//! 2x RTX 3090 + 1x RTX 3060, ram 64 GiB
//! 24 GiB@936 GB/s + 12 GiB@360 GB/s, ram 64 GiB@42 GB/s, disk 3.2 GB/s
//! RTX 3090 pcie 3.0 x8 reserve 500 MiB + RTX 3080 12 GiB cap 10 GiB
//! ```
//!
//! Parts stand between `+` or `,`, hosts between `;`: `2x RTX 3090, ram 64 GiB; host box, RTX 4090;
//! network 10 GbE`. A host may begin with its name; `network` alone is that of all hosts which state
//! none. The framework is started on the first. A device is a known GPU's name, or its memory and bandwidth; a
//! count `2x` may stand before it, and `pcie`, `reserve`, `cap` behind it. Everything else a device
//! can say needs the document.
//!
//! A bare size (`24 GiB@936 GB/s`) is taken at its word: an application gets all of it. A size
//! behind a name (`RTX 3080 12 GiB`) is the card's label, of which the driver keeps a part.
//! Without `ram` nothing may be put into RAM; `disk` needs `ram`.

mod fault;

use super::entry::{DeviceEntry, Writing};
use super::host_entry::HostEntry;
use super::machines::Gathered;
use super::options::{Options, value};
use super::rig::MOST_DEVICES;
use super::{Network, Rig, RigError};
use crate::units::{Bytes, BytesPerSecond};

pub use fault::{TextError, TextFault};

/// Most bytes a line may have: more than a shell's users type.
const LONGEST: usize = 1 << 16;

/// Reads a rig's text.
pub fn parse(text: &str) -> Result<Rig, RigError> {
    if text.len() > LONGEST {
        return Err(TextError {
            part: text.chars().take(40).chain(['…']).collect(),
            fault: TextFault::TooLong,
        }
        .into());
    }
    let error = |part: &str, fault| TextError {
        part: if part.is_empty() { text } else { part }.to_owned(),
        fault,
    };
    let mut gathered = Gathered::default();
    let mut network: Option<Network> = None;
    for host in text.split(';').map(str::trim) {
        if let Some(rest) = host.strip_prefix("network ")
            && text.contains(';')
            && !host.contains(',')
        {
            let stated = value(rest).map_err(|fault| error(host, fault))?;
            if network.replace(stated).is_some() {
                return Err(error(host, TextFault::Twice("network")).into());
            }
            continue;
        }
        let mut entry = HostEntry::<DeviceEntry>::default();
        for (index, part) in host.split(['+', ',']).map(str::trim).enumerate() {
            read_part((index, part), &mut gathered, &mut entry)
                .map_err(|fault| error(part, fault))?;
            if gathered.is_full() {
                return Err(RigError::TooMany);
            }
        }
        gathered
            .end(&entry)
            .map_err(|fault| error(host, fault.into()))?;
    }
    if let Some((_, fault)) = gathered.lacks_network(network, Writing::Text) {
        return Err(error(text, fault.into()).into());
    }
    gathered.rig(network)
}

fn read_part(
    (index, part): (usize, &str),
    gathered: &mut Gathered,
    host: &mut HostEntry<DeviceEntry>,
) -> Result<(), TextFault> {
    let (first, rest) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
    match first.to_ascii_lowercase().as_str() {
        "" => Err(TextFault::Empty),
        "ram" => read_ram(rest, host),
        "disk" => read_disk(rest, host),
        "host" if index == 0 && !rest.trim().is_empty() => {
            host.name = Some(rest.trim().to_owned());
            Ok(())
        }
        "host" => Err(TextFault::HostLater),
        "network" => match host.network.replace(value(rest)?) {
            Some(_) => Err(TextFault::Twice("network")),
            None => Ok(()),
        },
        _ => Ok(gathered.add(&read_device(part)?, host)?),
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
    use crate::hardware::{Host, HostId, Pcie, Source};

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
    fn hosts_are_told_apart_by_semicolons() {
        let rig = rig(
            "RTX 3060, ram 64 GiB; 2x RTX 3090, ram 8 GiB; host box, RTX 4090, network 1 GbE; network 10 GbE",
        );
        let names: Vec<_> = rig.devices().iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["cuda0", "host2.cuda0", "host2.cuda1", "box.cuda0"]);
        assert_eq!(
            rig.host().map(|host| host.memory.to_string()),
            Some("64.00 GiB".to_owned())
        );
        let numbers: Vec<_> = rig.device_ids().map(|id| rig.number(id)).collect();
        assert_eq!(numbers, [0, 0, 1, 0]);
        let between = |a, b| rig.between(HostId(a), HostId(b)).map(|it| it.to_string());
        assert_eq!(between(0, 1), Some("10 GbE".to_owned()));
        assert_eq!(between(2, 1), Some("1 GbE".to_owned()));
        assert_eq!(between(1, 1), None);
        let read = Rig::from_yaml(&rig.to_yaml(), "written").unwrap();
        assert_eq!(read, rig);
        let more = rig.with_another(&rig.devices()[1]).unwrap();
        assert_eq!(more.devices()[3].name, "host2.cuda2");
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
            (
                "RTX 3090; RTX 3060",
                "`host` has no network, and the rig has several hosts\nhint: add `; network 10 GbE`",
            ),
            ("RTX 3090; RTX 3060; network 3 GbE", "`3 GbE` is no network"),
            (
                "RTX 3090; network 1 GbE; network 1 GbE",
                "`network` is stated twice",
            ),
            (
                "RTX 3090; ram 8 GiB; network 1 GbE",
                "`ram 8 GiB`: `host2` has no GPU",
            ),
            ("RTX 3090; ; network 1 GbE", "a part is empty"),
            ("RTX 3090, host a", "`host` stands first"),
            (
                "host a, RTX 3090; host a, RTX 3060; network 1 GbE",
                "two hosts are called `a`",
            ),
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
            "pcie", "4.0", "x16", "reserve", "cap", ";", "host", "network", "1 GbE", "1e400", "0", "é", "-1", "A100",
        ]), 0..12), gap in prop::sample::select(vec!["", " "])) {
            let _ = parse(&words.join(gap));
        }
    }
}
