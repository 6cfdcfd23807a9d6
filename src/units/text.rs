//! Quantities from text and to text: every number wears its unit.

use std::fmt;
use std::str::FromStr;

use super::{Bytes, BytesPerSecond, Seconds, Tokens};

/// Text that is no quantity of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}: write a number and its unit, such as `{example}`")]
pub struct QuantityError {
    text: String,
    kind: &'static str,
    example: &'static str,
}

/// Binary and decimal units of a size, largest first, as the reader knows them.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Splits `24 GiB` into its number and the factor of its unit. `_` may group digits.
fn parse_size(text: &str) -> Option<(f64, u64, bool)> {
    let text = text.trim();
    let (unit, factor) = SIZE_UNITS
        .iter()
        .find(|(unit, _)| {
            text.len() > unit.len()
                && text.is_char_boundary(text.len() - unit.len())
                && text[text.len() - unit.len()..].eq_ignore_ascii_case(unit)
        })
        .copied()?;
    let number = text[..text.len() - unit.len()].trim().replace('_', "");
    let plain = number
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value: f64 = number.parse().ok().filter(|_| plain)?;
    Some((value, factor, number.contains('.')))
}

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError {
            text: text.to_owned(),
            kind: "size",
            example: "24 GiB",
        };
        let (value, factor, fractional) = parse_size(text).ok_or_else(error)?;
        if !fractional {
            // Whole numbers stay exact beyond 2⁵³.
            let digits: String = text.chars().filter(char::is_ascii_digit).collect();
            return digits
                .parse::<u64>()
                .ok()
                .and_then(|count| count.checked_mul(factor))
                .map(Self)
                .ok_or_else(error);
        }
        let bytes = value * factor as f64;
        if bytes > u64::MAX as f64 / 2.0 {
            return Err(error());
        }
        Ok(Self(bytes.round() as u64))
    }
}

impl TryFrom<String> for Bytes {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl From<Bytes> for String {
    /// Exact: the largest binary unit that divides the size, else grouped bytes.
    fn from(size: Bytes) -> Self {
        let unit = SIZE_UNITS[1..4]
            .iter()
            .find(|(_, factor)| size.0 != 0 && size.0.is_multiple_of(*factor));
        match unit {
            Some((unit, factor)) => format!("{} {unit}", group(size.0 / factor)),
            None => format!("{} B", group(size.0)),
        }
    }
}

/// Groups the digits of a number by thousands: `41_370_017_792`.
fn group(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

impl fmt::Display for Bytes {
    /// For people: two decimals of the largest binary unit.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS[..4].iter().find(|(_, factor)| self.0 >= *factor);
        let text = match unit {
            Some((unit, factor)) => format!("{:.2} {unit}", self.0 as f64 / *factor as f64),
            None => format!("{} B", self.0),
        };
        formatter.pad(&text)
    }
}

impl FromStr for BytesPerSecond {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let rate = text.trim().strip_suffix("/s").and_then(parse_size);
        match rate {
            Some((value, factor, _)) if value > 0.0 && value.is_finite() => {
                Ok(Self(value * factor as f64))
            }
            _ => Err(QuantityError {
                text: text.to_owned(),
                kind: "rate",
                example: "936 GB/s",
            }),
        }
    }
}

impl TryFrom<String> for BytesPerSecond {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl From<BytesPerSecond> for String {
    fn from(rate: BytesPerSecond) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for BytesPerSecond {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZE_UNITS[4..]
            .iter()
            .find(|(_, factor)| self.0 >= *factor as f64)
            .unwrap_or(&SIZE_UNITS[8]);
        // Rounded to a thousandth, without trailing zeros.
        let value = (self.0 / *factor as f64 * 1e3).round() / 1e3;
        formatter.pad(&format!("{value} {unit}/s"))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
            seconds => format!("{:.2} ms", seconds * 1e3),
        };
        formatter.pad(&text)
    }
}

impl FromStr for Seconds {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let trimmed = text.trim();
        let parts = [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("s", 1.0)]
            .into_iter()
            .find_map(|(unit, factor)| Some((trimmed.strip_suffix(unit)?, factor)));
        parts
            .and_then(|(number, unit)| Some(number.trim().parse::<f64>().ok()? * unit))
            .filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
            .map(Self)
            .ok_or_else(|| QuantityError {
                text: text.to_owned(),
                kind: "duration",
                example: "43.1 ms",
            })
    }
}

impl TryFrom<String> for Seconds {
    type Error = QuantityError;

    fn try_from(text: String) -> Result<Self, QuantityError> {
        text.parse()
    }
}

impl From<Seconds> for String {
    /// Milliseconds to a thousandth.
    fn from(time: Seconds) -> Self {
        format!("{:.3} ms", time.0 * 1e3)
    }
}

impl FromStr for Tokens {
    type Err = QuantityError;

    /// Reads `4096`, `4k` (4096) or `1M` (1048576): contexts are counted in powers of two.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let text_lower = text.trim().to_ascii_lowercase();
        let (digits, factor) = match text_lower.as_bytes().last() {
            Some(b'k') => (&text_lower[..text_lower.len() - 1], 1 << 10),
            Some(b'm') => (&text_lower[..text_lower.len() - 1], 1 << 20),
            _ => (text_lower.as_str(), 1),
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(factor))
            .filter(|count| (1..=1 << 40).contains(count))
            .map(Self)
            .ok_or_else(|| QuantityError {
                text: text.to_owned(),
                kind: "count of tokens",
                example: "4096` or `4k",
            })
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_wear_their_unit() {
        assert_eq!("24 GiB".parse(), Ok(Bytes(25_769_803_776)));
        assert_eq!("24GB".parse(), Ok(Bytes(24_000_000_000)));
        assert_eq!("1.5 gib".parse(), Ok(Bytes(1_610_612_736)));
        assert_eq!("41_370_017_793 B".parse(), Ok(Bytes(41_370_017_793)));
        for bad in [
            "24",
            "",
            "GiB",
            "-1 GiB",
            "nan GiB",
            "1e3 GiB",
            "99999999 TiB",
            "24 Gib/s",
        ] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_size_survives_its_own_text() {
        for size in [0, 1, 1023, 1 << 20, 24 << 30, 41_370_017_793, u64::MAX] {
            assert_eq!(String::from(Bytes(size)).parse(), Ok(Bytes(size)));
        }
        assert_eq!(String::from(Bytes::gib(24)), "24 GiB");
        assert_eq!(String::from(Bytes::mib(24_124)), "24_124 MiB");
    }

    #[test]
    fn people_read_two_decimals() {
        assert_eq!(Bytes(41_370_017_792).to_string(), "38.53 GiB");
        assert_eq!(Seconds(0.0431).to_string(), "43.10 ms");
        assert_eq!(BytesPerSecond(936.2e9).to_string(), "936.2 GB/s");
    }

    #[test]
    fn rates_and_token_counts_parse() {
        assert_eq!("3.35 TB/s".parse(), Ok(BytesPerSecond(3.35e12)));
        assert!("936 GB".parse::<BytesPerSecond>().is_err());
        assert!("0 GB/s".parse::<BytesPerSecond>().is_err());
        assert_eq!("32k".parse(), Ok(Tokens(32_768)));
        assert!("0".parse::<Tokens>().is_err());
        assert!("many".parse::<Tokens>().is_err());
    }
}
