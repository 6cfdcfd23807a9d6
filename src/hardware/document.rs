//! The rig as a YAML document: its schema, and how it is read.
//!
//! ```yaml
//! version: 1
//! hosts:
//! - name: desk
//!   memory: 64 GiB       # absent: nothing may be put into RAM
//!   bandwidth: 42 GB/s   # absent: assumed, see `Host::ASSUMED_BANDWIDTH`
//!   reserve: 4 GiB       # absent: assumed, see `Host::assumed_reserve`
//!   disk: 3.2 GB/s       # absent: nothing may be left on disk
//!   devices:
//!   - {gpu: RTX 3090, count: 2, pcie: 4.0 x16, reserve: 500 MiB}
//!   - {name: small, memory: 12 GiB, bandwidth: 360 GB/s, cap: 10 GiB}
//! ```
//!
//! `memory` of a device is taken at its word; `label: 24 GiB` is what the box says, of which the
//! driver keeps a part. `gpu` names a row of the catalogue, whose figures stand in for what is not
//! written; `cap` is the most that may be used, `reserve` what is left alone. Of several hosts each
//! has a `network`, or the document has one for all that state none; the framework is started on the
//! first. `writing.rs` writes the same schema.

use serde::{Deserialize, Serialize};
use serde_yaml::{Location, Spanned};

use super::entry::{DeviceEntry, EntryError, Writing};
use super::host_entry::HostEntry;
use super::machines::Gathered;
use super::{Network, Rig, RigError, yaml};
use crate::units::Bytes;

/// Most bytes a document may have: a thousand devices take a third of it.
pub(super) const LARGEST: usize = 1 << 20;

/// The only version there is.
pub(super) const VERSION: u32 = 1;

/// Why a file is no rig.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It can't be read at all.
    #[error("`{origin}` can't be read: {error}")]
    Unreadable {
        /// The file.
        origin: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// Longer than any rig.
    #[error("{origin}: a rig document has at most {}", Bytes(LARGEST as u64))]
    TooLarge {
        /// The file.
        origin: String,
    },
    /// Not YAML, or not the fields of a rig.
    #[error("{origin}: {rendered}")]
    Syntax {
        /// The file.
        origin: String,
        /// Line, counted from 1, where known.
        line: Option<u64>,
        /// Column, counted from 1, where known.
        column: Option<u64>,
        /// What is wrong where, with an excerpt.
        rendered: String,
    },
    /// Of a later version.
    #[error(
        "{origin}: version {found} is not known\nhint: this program reads `version: {VERSION}`"
    )]
    Version {
        /// The file.
        origin: String,
        /// What it says.
        found: u32,
    },
    /// None at all.
    #[error("{origin}: 0 hosts: a rig has at least one")]
    NoHosts {
        /// The file.
        origin: String,
    },
    /// A device or a host that can't be.
    #[error("{origin}:{line}:{column}: `{excerpt}`: {fault}")]
    Entry {
        /// The file.
        origin: String,
        /// Line, counted from 1.
        line: u64,
        /// Column, counted from 1.
        column: u64,
        /// That line.
        excerpt: String,
        /// What is wrong with it.
        fault: EntryError,
    },
    /// Devices that are no rig together.
    #[error("{origin}: {fault}")]
    Rig {
        /// The file.
        origin: String,
        /// What is wrong.
        fault: Box<RigError>,
    },
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document<H> {
    pub(super) version: u32,
    /// Of hosts that state none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) network: Option<Network>,
    pub(super) hosts: Vec<H>,
}

type Read = Document<Spanned<HostEntry<Spanned<DeviceEntry>>>>;

impl Rig {
    /// Reads the document `text`, which comes from the file `origin`.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, RigError> {
        Ok(parse(text, origin)?)
    }
}

fn parse(text: &str, origin: &str) -> Result<Rig, DocumentError> {
    let origin_of = || origin.to_owned();
    if text.len() > LARGEST {
        return Err(DocumentError::TooLarge {
            origin: origin_of(),
        });
    }
    // The version first: a later one may have fields that this program would call unknown.
    if let Ok(Versioned { version }) = yaml::from_str(text)
        && version != VERSION
    {
        return Err(DocumentError::Version {
            origin: origin_of(),
            found: version,
        });
    }
    let document: Read = yaml::from_str(text).map_err(|error| syntax(&error, origin))?;
    if document.hosts.is_empty() {
        return Err(DocumentError::NoHosts {
            origin: origin_of(),
        });
    }
    let mut gathered = Gathered::default();
    for host in &document.hosts {
        for device in &host.value.devices {
            gathered
                .add(&device.value, &host.value)
                .map_err(|fault| at(device.referenced, text, origin, fault))?;
            if gathered.is_full() {
                break;
            }
        }
        gathered
            .end(&host.value)
            .map_err(|fault| at(host.referenced, text, origin, fault))?;
    }
    if let Some((host, fault)) = gathered.lacks_network(document.network, Writing::Document) {
        return Err(at(document.hosts[host.0].referenced, text, origin, fault));
    }
    gathered
        .rig(document.network)
        .map_err(|fault| DocumentError::Rig {
            origin: origin_of(),
            fault: Box::new(fault),
        })
}

fn syntax(error: &serde_yaml::Error, origin: &str) -> DocumentError {
    let place = error.location();
    DocumentError::Syntax {
        origin: origin.to_owned(),
        line: place.map(|place| place.line()),
        column: place.map(|place| place.column()),
        rendered: yaml::rendered(error, origin),
    }
}

fn at(place: Location, text: &str, origin: &str, fault: EntryError) -> DocumentError {
    let index = usize::try_from(place.line()).unwrap_or(0).saturating_sub(1);
    let line = text.lines().nth(index).unwrap_or_default();
    DocumentError::Entry {
        origin: origin.to_owned(),
        line: place.line(),
        column: place.column(),
        excerpt: line
            .trim()
            .chars()
            .filter(|letter| !letter.is_control())
            .take(120)
            .collect(),
        fault,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hardware::{Pcie, text};

    const DESK: &str = "version: 1
hosts:
- name: desk
  memory: 64 GiB
  disk: 3.2 GB/s
  devices:
  - {gpu: RTX 3090, count: 2, pcie: 3.0 x8, reserve: 500 MiB}
  - {name: small, memory: 12 GiB, bandwidth: 360 GB/s, cap: 10 GiB}
";

    fn read(text: &str) -> Rig {
        Rig::from_yaml(text, "rig.yaml").unwrap_or_else(|error| panic!("{error}"))
    }

    fn refusal(text: &str) -> String {
        Rig::from_yaml(text, "rig.yaml")
            .expect_err(text)
            .to_string()
    }

    #[test]
    fn a_desk_is_read() {
        let rig = read(DESK);
        let names: Vec<_> = rig
            .devices()
            .iter()
            .map(|device| device.name.as_str())
            .collect();
        assert_eq!(names, ["cuda0", "cuda1", "small"]);
        assert_eq!(rig.devices()[1].reserve, Bytes::mib(500));
        assert_eq!(
            rig.devices()[1].link,
            Pcie {
                generation: 3,
                lanes: 8
            }
        );
        assert_eq!(rig.devices()[2].capacity(), Bytes::gib(10));
        assert_eq!(rig.devices()[2].model, "12 GiB card");
        assert_eq!(rig.host().unwrap().name, "desk");
    }

    #[test]
    fn a_row_of_the_catalogue_can_be_pasted() {
        let row = include_str!("gpus.yaml")
            .lines()
            .find(|line| line.contains("model: L4,"));
        let text = format!("version: 1\nhosts:\n- devices:\n  {}\n", row.unwrap());
        assert_eq!(
            read(&text).devices()[0].memory,
            text::parse("L4").unwrap().devices()[0].memory
        );
    }

    #[test]
    fn an_error_names_file_line_column_and_shows_the_line() {
        for (text, wanted) in [
            (
                "version: 1\nhosts:\n- devices:\n  - {gpu: RTX 3090, vram: 1 GiB}\n",
                "rig.yaml:4:21",
            ),
            (
                "version: 1\nhosts:\n- devices:\n  - {gpu: RTX 3091}\n",
                "rig.yaml:4:5: `- {gpu: RTX 3091}`: no GPU called `RTX 3091`",
            ),
            ("version: 1\nhosts:\n- memory: 64\n", "`64` is no size"),
            (
                "version: 1\nhosts:\n- {disk: 3 GB/s, devices: [{gpu: RTX 3090}]}\n",
                "rig.yaml:3:3: `- {disk: 3 GB/s, devices: [{gpu: RTX 3090}]}`: `disk` needs `memory`",
            ),
            (
                "version: 1\nhosts:\n- devices:\n  - {memory: 3 GiB}\n",
                "needs `bandwidth`",
            ),
            (
                "version: 1\nhosts:\n- devices:\n  - {bandwidth: 3 GB/s}\n",
                "needs `memory`",
            ),
            (
                "version: 1\nhosts:\n- devices:\n  - {gpu: T4, name: a, count: 2}\n",
                "`name` can't stand for 2 devices",
            ),
            (
                "version: 1\nhosts:\n- devices:\n  - {gpu: T4, name: a}\n  - {gpu: T4, name: a}\n",
                "rig.yaml: two devices are called `a`",
            ),
            (
                "version: 1\nhosts:\n- devices:\n  - {gpu: T4, name: cpu}\n",
                "neither `cpu` nor `disk`",
            ),
            (
                "version: 1\nhosts:\n- devices:\n  - {gpu: T4, count: 4000000000}\n",
                "`count` of 4000000000",
            ),
            ("version: 1\nhosts: []\n", "0 hosts"),
            (
                "version: 1\nhosts:\n- {memory: 1 GiB}\n- {memory: 1 GiB}\n",
                "rig.yaml:4:3: `- {memory: 1 GiB}`: `host2` has no GPU",
            ),
            (
                "version: 1\nhosts:\n- {memory: 1 GiB}\n- devices: [{gpu: T4}]\n",
                "rig.yaml:3:3: `- {memory: 1 GiB}`: `host` has no network",
            ),
            (
                "version: 1\nnetwork: 3 GbE\nhosts: []\n",
                "`3 GbE` is no network: write one of `1 GbE`",
            ),
            (
                "version: 1\nnetwork: 1 B/s\nhosts: [{memory: 1 GiB}, {devices: [{gpu: T4}]}]\n",
                "`host`: a network of 1 B/s and a round trip of 0.10 ms are not plausible",
            ),
            (
                "version: 1\nnetwork: 1 GbE\nhosts: [{name: a, memory: 1 GiB}, {name: a, devices: [{gpu: T4}]}]\n",
                "rig.yaml: two hosts are called `a`",
            ),
            (
                "version: 1\nnetwork: 1 GbE\nhosts: [{memory: 1 GiB}, {name: a b, devices: [{gpu: T4, name: c}]}]\n",
                "`a b` can't name one of several hosts",
            ),
            ("version: 1\nhosts: [{name: a}]\n", "nothing to compute on"),
            (
                "version: 2\nsites: []\n",
                "version 2 is not known\nhint: this program reads `version: 1`",
            ),
            ("hosts: []\n", "version"),
            ("", "rig.yaml"),
        ] {
            let error = refusal(text);
            assert!(error.contains(wanted), "{text}\n{error}");
        }
        assert!(refusal(&"#".repeat(LARGEST + 1)).contains("at most 1.00 MiB"));
    }

    proptest! {
        #[test]
        fn no_document_panics(text in any::<String>()) {
            let _ = Rig::from_yaml(&text, "any");
        }

        #[test]
        fn no_damaged_document_panics(at in 0..DESK.len(), with in "[^a-z]{0,3}", cut in 0usize..9) {
            let mut text = DESK.to_owned();
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &with);
            let _ = Rig::from_yaml(&text, "any");
        }
    }
}
