//! The network between hosts: what it carries and how long it takes to answer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::{BytesPerSecond, Seconds};

/// How a host reaches others: written as a name, `10 GbE`, or as a rate and the time of an empty
/// round trip, `1.17 GB/s 0.06 ms`. Of two ends the slower one counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    /// What programs get of it, headers taken off.
    pub rate: BytesPerSecond,
    /// The time of an empty round trip.
    pub latency: Seconds,
}

/// Name, rate of programs in GB/s, round trip in microseconds.
///
/// Rates are commonly reported figures, 0.92 to 0.94 of the line on Ethernet; round trips are guesses
/// within what is reported of TCP (1 GbE 50 to 200 µs, 10 GbE 30 to 100 µs, Wi-Fi 2 to 10 ms). With
/// RDMA they are a tenth of that: state them.
const KNOWN: [(&str, f64, f64); 10] = [
    ("1 GbE", 0.117, 150.0),
    ("2.5 GbE", 0.29, 120.0),
    ("10 GbE", 1.17, 60.0),
    ("25 GbE", 2.9, 50.0),
    ("40 GbE", 4.6, 40.0),
    ("100 GbE", 11.5, 30.0),
    ("200 GbE", 22.0, 30.0),
    ("400 GbE", 44.0, 30.0),
    ("Thunderbolt 4", 1.2, 100.0),
    ("Wi-Fi 6", 0.06, 4000.0),
];

/// What TCP leaves of a line rate on Ethernet: 1448 of 1538 bytes of a full frame.
const PAYLOAD: f64 = 0.94;
/// The round trip where a rate alone is stated: a guess.
const ASSUMED_LATENCY: Seconds = Seconds(0.1e-3);

impl Network {
    /// What two hosts have between them: the lower rate and the longer round trip.
    pub fn between(self, other: Self) -> Self {
        Self {
            rate: BytesPerSecond(self.rate.0.min(other.rate.0)),
            latency: Seconds(self.latency.0.max(other.latency.0)),
        }
    }

    /// Whether anybody has such a network: 100 kB/s to 10 TB/s, and an answer within a second.
    pub fn is_plausible(self) -> bool {
        (1e5..1e13).contains(&self.rate.0) && (0.0..=1.0).contains(&self.latency.0)
    }

    /// The network that its own text means.
    pub(super) fn settled(self) -> Self {
        self.to_string().parse().unwrap_or(self)
    }

    fn known((_, rate, latency): (&str, f64, f64)) -> Self {
        Self {
            rate: BytesPerSecond(rate * 1e9),
            latency: Seconds(latency * 1e-6),
        }
    }
}

/// Text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no network: write one of {}, or a rate and a round trip such as `10 Gbit/s 0.05 ms`",
    KNOWN.map(|(name, ..)| format!("`{name}`")).join(", ")
)]
pub struct NetworkError {
    text: String,
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `10 GbE`, `10 Gbit/s`, `1.17 GB/s` and `1.17 GB/s 0.06 ms`.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let key = |name: &str| name.replace([' ', '-'], "").to_ascii_lowercase();
        if let Some(row) = KNOWN.into_iter().find(|(name, ..)| key(name) == key(text)) {
            return Ok(Self::known(row));
        }
        let parse = || {
            let end = text.find("/s")? + "/s".len();
            let (rate, latency) = text.split_at(end);
            let latency = match latency.trim() {
                "" => ASSUMED_LATENCY,
                latency => latency.parse().ok()?,
            };
            let rate = line_rate(rate).or_else(|| rate.parse().ok())?;
            Some(Self { rate, latency })
        };
        parse().ok_or_else(|| NetworkError {
            text: text.to_owned(),
        })
    }
}

/// What programs get of `10 Gbit/s`.
fn line_rate(text: &str) -> Option<BytesPerSecond> {
    let number = text.trim().strip_suffix("bit/s")?;
    let (number, factor) = [("M", 1e6), ("G", 1e9)]
        .into_iter()
        .find_map(|(unit, factor)| Some((number.strip_suffix(unit)?, factor)))?;
    let rate: f64 = number.trim().parse().ok()?;
    (rate > 0.0 && rate.is_finite()).then_some(BytesPerSecond(rate * factor / 8.0 * PAYLOAD))
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, NetworkError> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    /// The name of what is known, else rate and round trip.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures =
            |network: &Self| format!("{} {}", network.rate, String::from(network.latency));
        let own = figures(self);
        let known = KNOWN
            .into_iter()
            .find(|row| figures(&Self::known(*row)) == own);
        formatter.pad(known.map_or(&own, |(name, ..)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn names_lines_and_rates_are_read_and_written() {
        for (text, same) in [
            ("10GbE", "10 GbE"),
            ("thunderbolt 4", "Thunderbolt 4"),
            ("1.17 GB/s 0.06 ms", "10 GbE"),
            ("10 Gbit/s", "1.175 GB/s 0.100 ms"),
            ("100 Mbit/s 300 us", "11.75 MB/s 0.300 ms"),
            ("3 GB/s 5us", "3 GB/s 0.005 ms"),
        ] {
            assert_eq!(network(text).to_string(), same);
            assert_eq!(network(same).to_string(), same);
        }
        for bad in [
            "",
            "10",
            "GbE",
            "3 GbE",
            "10 Gbit",
            "-1 Gbit/s",
            "10 GB/s soon",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_slower_end_counts() {
        let both = network("10 GbE").between(network("3 GB/s 1 ms"));
        assert_eq!((both.rate.0, both.latency), (1.17e9, Seconds(1e-3)));
    }
}
