//! The rig written as a document, in the words of [`document`](super::document).
//!
//! One line a device and every figure written out, so that what was detected, what was stated and
//! what is edited are one kind of file, and no reader needs our catalogue. Rates are written to a
//! thousandth of a unit; after that first rounding a document is read and written without change.

use serde::{Serialize, Serializer};
use serde_yaml::FlowMap;

use super::document::{Document, VERSION};
use super::entry::DeviceEntry;
use super::host_entry::HostEntry;
use super::{HostId, Network, Rig};
use crate::units::BytesPerSecond;

impl Rig {
    /// Writes the rig as a document.
    pub fn to_yaml(&self) -> String {
        serde_yaml::to_string(self).expect("strings, numbers and lists are always YAML")
    }

    fn document(&self) -> Document<HostEntry<FlowMap<DeviceEntry>>> {
        let hosts = (0..self.hosts().len()).map(|host| self.entry(HostId(host)));
        Document {
            version: VERSION,
            network: None,
            hosts: hosts.collect(),
        }
    }

    fn entry(&self, id: HostId) -> HostEntry<FlowMap<DeviceEntry>> {
        let machine = &self.hosts()[id.0];
        let host = machine.ram.as_ref();
        // Without RAM, the name of an only host says nothing.
        let is_named = host.is_some() || self.hosts().len() > 1;
        HostEntry {
            name: is_named.then(|| machine.name.clone()),
            memory: host.map(|host| host.memory),
            cap: None,
            reserve: host.map(|host| host.reserve),
            bandwidth: host.map(|host| settled(host.bandwidth)),
            source: host.map(|host| host.source),
            disk: host.and_then(|host| host.disk).map(settled),
            cpu: host.and_then(|host| host.cpu.clone()),
            cores: host.and_then(|host| host.cores),
            network: machine.network.map(Network::settled),
            devices: self
                .devices()
                .iter()
                .filter(|device| device.host == id)
                .map(|device| {
                    let mut entry = DeviceEntry::from(device);
                    entry.bandwidth = entry.bandwidth.map(settled);
                    FlowMap(entry)
                })
                .collect(),
        }
    }
}

impl Serialize for Rig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document().serialize(serializer)
    }
}

/// The rate that its own text means: rounding can lift it over a unit, as 999.9999 GB/s to 1 TB/s.
fn settled(rate: BytesPerSecond) -> BytesPerSecond {
    rate.to_string().parse().unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hardware::document::LARGEST;
    use crate::hardware::text;
    use crate::units::Bytes;

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

    #[test]
    fn the_writer_states_every_figure() {
        assert_eq!(
            read(DESK).to_yaml(),
            "version: 1
hosts:
- name: desk
  memory: 64 GiB
  reserve: 4 GiB
  bandwidth: 42 GB/s
  source: assumed
  disk: 3.2 GB/s
  devices:
  - {name: cuda0, model: RTX 3090, class: ampere, memory: 24_124 MiB, reserve: 500 MiB, bandwidth: 936.2 GB/s, pcie: 3.0 x8, compute_capability: \"8.6\", source: datasheet}
  - {name: cuda1, model: RTX 3090, class: ampere, memory: 24_124 MiB, reserve: 500 MiB, bandwidth: 936.2 GB/s, pcie: 3.0 x8, compute_capability: \"8.6\", source: datasheet}
  - {name: small, model: 12 GiB card, class: unknown, memory: 12 GiB, reserve: 2 GiB, bandwidth: 360 GB/s, pcie: 4.0 x16, source: stated}
"
        );
    }

    #[test]
    fn a_thousand_devices_fit_the_size_limit() {
        let rig = text::parse("1000x RTX PRO 6000 Blackwell, ram 64 GiB").unwrap();
        let text = rig.to_yaml();
        assert!(text.len() < LARGEST / 3, "{}", text.len());
        assert_eq!(read(&text), rig);
    }

    proptest! {
        #[test]
        fn a_document_is_unchanged_after_one_pass(
            memory in 1u64..1 << 40,
            rate in 1e6f64..9e14,
            share in 0.0f64..1.0,
            model in "[ -~é]{1,12}",
        ) {
            let entry = DeviceEntry {
                model: Some(model),
                memory: Some(Bytes(memory)),
                reserve: Some(Bytes((memory as f64 * share) as u64)),
                bandwidth: Some(BytesPerSecond(rate)),
                ..DeviceEntry::default()
            };
            let devices = entry.devices(0).unwrap();
            if let Ok(rig) = Rig::new(devices, None) {
                let once = rig.to_yaml();
                let again = read(&once);
                prop_assert_eq!(&again.to_yaml(), &once);
                prop_assert_eq!(&again.devices()[0].model, &rig.devices()[0].model);
            }
        }
    }
}
