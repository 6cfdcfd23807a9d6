//! The PCIe link between a device and its host, and what it typically carries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::BytesPerSecond;

/// A PCIe link, written `4.0 x16`: the generation and the lanes that card and slot share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pcie {
    /// 1 to 7; each doubles the rate of a lane.
    pub generation: u8,
    /// 1, 2, 4, 8 or 16.
    pub lanes: u8,
}

/// How the host's side of a copy lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Page-locked: the device reads it directly.
    Pinned,
    /// Ordinary memory: the driver copies it through a page-locked buffer first.
    Pageable,
}

/// Typical rates over pinned memory, in GB/s: (generation, lanes, rate).
///
/// Source: commonly reported figures, 0.79 to 0.83 of the peak; a working figure, not a measurement.
const TYPICAL: [(u8, u8, f64); 11] = [
    (3, 1, 0.8),
    (3, 4, 3.2),
    (3, 8, 6.4),
    (3, 16, 12.5),
    (4, 1, 1.6),
    (4, 4, 6.5),
    (4, 8, 13.0),
    (4, 16, 25.5),
    (5, 4, 13.0),
    (5, 8, 26.0),
    (5, 16, 52.0),
];

/// Rate of a lane of generation 3 where no row names the link, in GB/s. Generations double it.
const TYPICAL_LANE: f64 = 0.8;

/// Rate at which the driver copies pageable memory into its pinned buffer, in GB/s.
///
/// Chosen so that 3.0 x16 gives 6.4 (6.0 measured with accelerate on two Titan RTX, 5 to 8
/// reported) and 4.0 x16 gives 8.6 (8 to 14 reported).
const STAGING: f64 = 13.0;

impl Pcie {
    /// What a link is taken for where nobody stated one: 4.0 x16, a desktop of 2020 or later.
    pub const ASSUMED: Self = Self {
        generation: 4,
        lanes: 16,
    };

    /// The typical rate of large copies between host and device.
    ///
    /// Pageable memory passes two stages in series: `1 / (1/pinned + 1/staging)`.
    pub fn bandwidth(self, transfer: Transfer) -> BytesPerSecond {
        let row = TYPICAL
            .iter()
            .find(|(generation, lanes, _)| (*generation, *lanes) == (self.generation, self.lanes));
        let pinned = match row {
            Some((_, _, rate)) => *rate,
            None => {
                TYPICAL_LANE * f64::from(self.lanes) * 2f64.powi(i32::from(self.generation) - 3)
            }
        };
        let rate = match transfer {
            Transfer::Pinned => pinned,
            Transfer::Pageable => 1.0 / (1.0 / pinned + 1.0 / STAGING),
        };
        BytesPerSecond(rate * 1e9)
    }

    /// Whether such a link exists.
    pub fn exists(self) -> bool {
        (1..=7).contains(&self.generation) && [1, 2, 4, 8, 16].contains(&self.lanes)
    }
}

/// Text that is no PCIe link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no PCIe link: write generation and lanes, such as `4.0 x16`")]
pub struct PcieError {
    text: String,
}

impl FromStr for Pcie {
    type Err = PcieError;

    /// Reads `4.0 x16`, `4 x16` and `4.0x16`.
    fn from_str(text: &str) -> Result<Self, PcieError> {
        let parse = || {
            let (generation, lanes) = text.split_once(['x', 'X'])?;
            let generation = generation.trim();
            let link = Self {
                generation: generation
                    .strip_suffix(".0")
                    .unwrap_or(generation)
                    .parse()
                    .ok()?,
                lanes: lanes.trim().parse().ok()?,
            };
            link.exists().then_some(link)
        };
        parse().ok_or_else(|| PcieError {
            text: text.to_owned(),
        })
    }
}

impl TryFrom<String> for Pcie {
    type Error = PcieError;

    fn try_from(text: String) -> Result<Self, PcieError> {
        text.parse()
    }
}

impl From<Pcie> for String {
    fn from(link: Pcie) -> Self {
        link.to_string()
    }
}

impl fmt::Display for Pcie {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}.0 x{}", self.generation, self.lanes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_survives_its_own_text() {
        for (text, same) in [
            ("4.0 x16", "4.0 x16"),
            ("3 x8", "3.0 x8"),
            ("5.0X4", "5.0 x4"),
        ] {
            assert_eq!(text.parse::<Pcie>().unwrap().to_string(), same);
        }
        for bad in [
            "", "x16", "4.0", "4.1 x16", "4.0 x3", "0 x16", "9.0 x16", "4.0 x",
        ] {
            assert!(bad.parse::<Pcie>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_are_those_of_the_table_and_doubled_where_it_is_silent() {
        let rate =
            |generation, lanes, transfer| Pcie { generation, lanes }.bandwidth(transfer).0 / 1e9;
        assert_eq!(rate(4, 16, Transfer::Pinned), 25.5);
        assert!((rate(2, 16, Transfer::Pinned) - 6.4).abs() < 1e-9);
        assert!((5.0..8.0).contains(&rate(3, 16, Transfer::Pageable)));
        assert!((8.0..14.0).contains(&rate(4, 16, Transfer::Pageable)));
        // A narrow link hides the staging copy.
        assert!(rate(3, 1, Transfer::Pageable) > 0.7);
    }
}
