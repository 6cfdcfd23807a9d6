//! Known GPUs: the table `gpus.yaml` and how a name finds its row.
//!
//! A row has the fields of a device in a rig document. Prices and compute rates are not here.

use std::sync::LazyLock;

use super::entry::DeviceEntry;
use super::label::{split_label, visible};
use super::spelling::key;
use super::{ComputeCapability, DeviceClass, Pcie, Source};
use crate::units::{Bytes, BytesPerSecond};

/// What is known of a kind of GPU.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// What people call it: `RTX 3090`.
    pub model: String,
    /// Other names; one that several rows share needs a size to decide.
    pub aliases: Vec<String>,
    /// What the driver calls it; cards of different memory may share that name.
    pub nvml: Option<String>,
    /// Which measured coefficients fit it.
    pub class: DeviceClass,
    /// The memory that the box and nvidia-smi print; `None` where it has none of its own.
    pub label: Option<Bytes>,
    /// What an application can get, where a log or the maker says so.
    pub seen: Option<Bytes>,
    /// Peak rate at which it reads its memory.
    pub bandwidth: BytesPerSecond,
    /// The link that the card has; `None` where it shares the host's memory.
    pub link: Option<Pcie>,
    /// What an NVIDIA chip can run.
    pub compute_capability: Option<ComputeCapability>,
    /// Where the figures come from.
    pub source: Source,
}

/// A row, and the size that stood behind the name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// The row.
    pub gpu: &'static Gpu,
    /// `12 GB` of `RTX 3060 12 GB`, where it is not part of the row's name.
    pub label: Option<Bytes>,
}

/// Why a name finds no row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No row is called so.
    #[error(
        "no GPU called `{name}` is known\nhint: did you mean {}?\nhint: or state its figures: `24 GiB@936 GB/s`, in YAML `{{memory: 24 GiB, bandwidth: 936 GB/s}}`",
        either(nearest)
    )]
    Unknown {
        /// The name asked for.
        name: String,
        /// The three rows with the most similar names, best first.
        nearest: Vec<String>,
    },
    /// Several rows are called so.
    #[error("`{name}` can be {}\nhint: write which one", either(candidates))]
    Ambiguous {
        /// The name asked for.
        name: String,
        /// The rows it may mean.
        candidates: Vec<String>,
    },
}

/// Two sizes that differ by less than this are one size as people write it: 24 GB on the box of an
/// A10 is 22.5 GiB by nvidia-smi, since ECC takes a sixteenth; 288 GB of a B300 are 268.6 GiB.
const SAME_SIZE: f64 = 0.07;

static GPUS: LazyLock<Vec<Gpu>> = LazyLock::new(|| {
    let table = include_str!(concat!(env!("OUT_DIR"), "/gpus.json"));
    let rows: Vec<DeviceEntry> =
        serde_json::from_str(table).expect("a test parses the table that is built in");
    rows.into_iter()
        .map(|row| row.into_gpu().expect("a test reads every row"))
        .collect()
});

/// All rows, in the order of the table.
pub fn gpus() -> &'static [Gpu] {
    &GPUS
}

/// The row of that name: its model, one of its aliases or the driver's name, in any case and with
/// any spacing; `NVIDIA GeForce` and other makers' names may stand before it, and the memory on its
/// label behind it.
pub fn find(name: &str) -> Result<Found, GpuError> {
    let whole = called(name);
    if !whole.is_empty() {
        let gpu = only(name, whole)?;
        return Ok(Found { gpu, label: None });
    }
    let Some((stem, label)) = split_label(name) else {
        return Err(unknown(name));
    };
    let rows: Vec<_> = gpus()
        .iter()
        .filter(|gpu| gpu.is_called(&key(&stem)))
        .collect();
    if rows.is_empty() {
        return Err(unknown(name));
    }
    let sized = closest_size(&rows, label);
    match sized.is_empty() {
        // The row's own label, which may be a little less than the box says.
        false => only(name, sized).map(|gpu| Found { gpu, label: None }),
        // A size that no row has, such as a modified card: the first row's figures, that size.
        true => only(name, called(&stem)).map(|gpu| Found {
            gpu,
            label: Some(label),
        }),
    }
}

/// The row that the driver's name means, and of several the one whose memory is closest.
pub fn find_nvml(name: &str, total: Bytes) -> Option<&'static Gpu> {
    let rows: Vec<_> = gpus()
        .iter()
        .filter(|gpu| {
            gpu.nvml
                .as_deref()
                .is_some_and(|nvml| key(nvml) == key(name))
        })
        .collect();
    closest_size(&rows, total).first().or(rows.first()).copied()
}

impl Gpu {
    /// What an application can get of the memory on the row's label, where it has one.
    pub fn memory(&self) -> Option<Bytes> {
        self.seen
            .or_else(|| self.label.map(|label| visible(self.class, label)))
    }

    /// What an application can get of a card of this kind with another label.
    pub fn memory_of(&self, label: Bytes) -> Bytes {
        match (self.label, self.seen) {
            (Some(own), Some(seen)) if own == label => seen,
            _ => visible(self.class, label),
        }
    }

    fn is_called(&self, wanted: &str) -> bool {
        self.names().any(|name| key(name) == wanted)
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.model.as_str())
            .chain(self.aliases.iter().map(String::as_str))
            .chain(self.nvml.as_deref())
    }
}

/// The rows of that model; where there are none, those with that alias or driver's name.
fn called(name: &str) -> Vec<&'static Gpu> {
    let wanted = key(name);
    let models: Vec<_> = gpus()
        .iter()
        .filter(|gpu| key(&gpu.model) == wanted)
        .collect();
    match models.is_empty() {
        true => gpus().iter().filter(|gpu| gpu.is_called(&wanted)).collect(),
        false => models,
    }
}

fn only(name: &str, rows: Vec<&'static Gpu>) -> Result<&'static Gpu, GpuError> {
    match rows.as_slice() {
        [gpu] => Ok(gpu),
        _ => Err(GpuError::Ambiguous {
            name: name.to_owned(),
            candidates: rows.iter().map(|gpu| gpu.model.clone()).collect(),
        }),
    }
}

/// The rows whose label is about that size, nothing where none is.
fn closest_size(rows: &[&'static Gpu], size: Bytes) -> Vec<&'static Gpu> {
    let apart = |gpu: &Gpu| match gpu.label {
        Some(label) => (label.0 as f64 / size.0 as f64 - 1.0).abs(),
        None => f64::INFINITY,
    };
    let best = rows.iter().map(|gpu| apart(gpu)).fold(SAME_SIZE, f64::min);
    rows.iter()
        .filter(|gpu| apart(gpu) <= best)
        .copied()
        .collect()
}

/// The error that names the three rows with the most similar names.
fn unknown(name: &str) -> GpuError {
    let wanted = key(name);
    let mut rows: Vec<_> = gpus()
        .iter()
        .map(|gpu| {
            let nearest = gpu
                .names()
                .map(|known| strsim::levenshtein(&key(known), &wanted))
                .min();
            (nearest, gpu)
        })
        .collect();
    // Stable: equally distant rows stay in the order of the table.
    rows.sort_by_key(|(distance, _)| *distance);
    GpuError::Unknown {
        name: name.to_owned(),
        nearest: rows
            .iter()
            .take(3)
            .map(|(_, gpu)| gpu.model.clone())
            .collect(),
    }
}

/// `` `a`, `b` or `c` ``.
fn either(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} or {last}", first.join(", ")),
        _ => quoted.concat(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn model(name: &str) -> String {
        find(name)
            .unwrap_or_else(|error| panic!("{error}"))
            .gpu
            .model
            .clone()
    }

    #[test]
    fn every_row_is_plausible_and_called_by_its_own_names() {
        assert_eq!(gpus().len(), 174);
        let mut models = BTreeSet::new();
        for gpu in gpus() {
            assert!(models.insert(key(&gpu.model)), "{} twice", gpu.model);
            assert_eq!(&model(&gpu.model), &gpu.model);
            for name in gpu.names() {
                match find(name) {
                    Ok(found) => assert!(found.gpu.is_called(&key(name)), "{name}"),
                    Err(error) => assert!(matches!(error, GpuError::Ambiguous { .. }), "{error}"),
                }
            }
            let rate = gpu.bandwidth.0 / 1e9;
            assert!((60.0..=9000.0).contains(&rate), "{}: {rate}", gpu.model);
            assert_eq!(gpu.source, Source::Datasheet, "{}", gpu.model);
            if let Some(label) = gpu.label {
                let share = gpu.memory().unwrap().0 as f64 / label.0 as f64;
                let least = match gpu.class {
                    DeviceClass::Apple => 0.66,
                    _ => 0.75,
                };
                assert!((least..=1.0).contains(&share), "{}: {share}", gpu.model);
            }
        }
    }

    #[test]
    fn names_are_found_in_any_dress() {
        for name in [
            "RTX 3090",
            "rtx3090",
            "3090",
            "NVIDIA GeForce RTX 3090",
            "GeForce rtx-3090",
        ] {
            assert_eq!(model(name), "RTX 3090", "{name}");
        }
        assert_eq!(model("P40"), "Tesla P40");
        assert_eq!(model("Radeon RX 7900 XTX"), "RX 7900 XTX");
        assert_eq!(model("M2 Ultra"), "Apple M2 Ultra");
        assert_eq!(model("RTX 6000 Ada Generation"), "RTX 6000 Ada");
    }

    #[test]
    fn a_size_chooses_between_cards_of_one_name() {
        assert_eq!(model("RTX 3080"), "RTX 3080");
        assert_eq!(model("RTX 3080 12 GiB"), "RTX 3080 12GB");
        assert_eq!(model("RTX 2060 12GB"), "RTX 2060 12GB");
        let found = find("RTX 3060 12 GB").unwrap();
        assert_eq!((found.gpu.model.as_str(), found.label), ("RTX 3060", None));
        // ECC takes a sixteenth of what the box says; that is still the row's own card.
        assert_eq!(find("A10 24 GB").unwrap().label, None);
        let found = find("RTX 4060 Ti 8GB").unwrap();
        assert_eq!(
            (found.gpu.model.as_str(), found.label),
            ("RTX 4060 Ti", Some(Bytes::gib(8)))
        );
        let found = find("M3 Max 64 GiB").unwrap();
        assert_eq!(found.gpu.memory_of(found.label.unwrap()), Bytes::gib(48));
    }

    #[test]
    fn one_name_for_several_cards_asks_which() {
        let error = find("A100 80 GB").unwrap_err().to_string();
        assert!(
            error.contains("`A100 80GB PCIe` or `A100 80GB SXM`"),
            "{error}"
        );
        assert!(find("RTX 6000").is_err());
    }

    #[test]
    fn the_drivers_name_and_memory_find_the_row() {
        let find = |name, mib| find_nvml(name, Bytes::mib(mib)).map(|gpu| gpu.model.as_str());
        assert_eq!(find("NVIDIA GeForce RTX 3080", 10_240), Some("RTX 3080"));
        assert_eq!(
            find("NVIDIA GeForce RTX 3080", 12_288),
            Some("RTX 3080 12GB")
        );
        // Drivers before 2021 left the first word out.
        assert_eq!(find("GeForce RTX 2080 Ti", 11_019), Some("RTX 2080 Ti"));
        assert_eq!(find("NVIDIA Moon 1", 11_019), None);
    }

    #[test]
    fn an_unknown_name_gets_its_three_neighbours() {
        let Err(GpuError::Unknown { nearest, .. }) = find("RTX 3091") else {
            panic!("found");
        };
        assert_eq!(nearest.len(), 3);
        assert_eq!(nearest[0], "RTX 3090");
        assert!(find("").is_err());
        assert!(find("12 GiB").is_err());
    }
}
