//! What a plan is worth by an objective: an amount with its unit, as text in documents.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::{Seconds, Tokens};

/// A value of an objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Amount {
    /// A time.
    Time(Seconds),
    /// A count of GPUs.
    Devices(u64),
    /// The share of the fullest device that is in use.
    Fullness(f64),
    /// Tokens of one sequence.
    Context(Tokens),
    /// Tokens that a cache keeps.
    Resident(Tokens),
    /// Tokens a second of all sequences.
    Rate(f64),
    /// What a precision costs in quality, in the unit of its table.
    Penalty(f64),
}

/// Text that is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no amount: write `51.2 ms`, `2 GPUs`, `93.10 % full`, `4096 tokens`, `49248 tokens resident`, `831.25 tokens/s` or `penalty 0.0312`"
)]
pub struct AmountError(String);

impl Amount {
    /// The bare number, to form a ratio with another amount of the same objective.
    pub fn number(self) -> f64 {
        match self {
            Self::Time(time) => time.0,
            Self::Devices(count) => count as f64,
            Self::Fullness(share) | Self::Penalty(share) | Self::Rate(share) => share,
            Self::Context(tokens) | Self::Resident(tokens) => tokens.0 as f64,
        }
    }

    /// Whether more of it is better.
    pub fn is_better_high(self) -> bool {
        match self {
            Self::Context(_) | Self::Resident(_) | Self::Rate(_) => true,
            Self::Time(_) | Self::Devices(_) | Self::Fullness(_) | Self::Penalty(_) => false,
        }
    }

    /// To the digits that a document keeps.
    pub fn rounded(self) -> Self {
        String::from(self).parse().unwrap_or(self)
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Time(time) => time.into(),
            Amount::Devices(1) => "1 GPU".to_owned(),
            Amount::Devices(count) => format!("{count} GPUs"),
            Amount::Fullness(share) => format!("{:.2} % full", share * 100.0),
            Amount::Context(tokens) => format!("{tokens} tokens"),
            Amount::Resident(tokens) => format!("{tokens} tokens resident"),
            Amount::Rate(rate) => format!("{rate:.2} tokens/s"),
            Amount::Penalty(penalty) => format!("penalty {penalty:.6}"),
        }
    }
}

impl std::str::FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let number = |digits: &str| digits.trim().parse::<f64>().ok().filter(|n| n.is_finite());
        let count = |digits: &str| digits.trim().parse::<u64>().ok();
        let ended = |end: &str| text.strip_suffix(end);
        let amount = if let Some(share) = ended("% full").and_then(number) {
            Some(Self::Fullness(share / 100.0))
        } else if let Some(devices) = ended("GPUs").or(ended("GPU")).and_then(count) {
            Some(Self::Devices(devices))
        } else if let Some(tokens) = ended("tokens resident").and_then(count) {
            Some(Self::Resident(Tokens(tokens)))
        } else if let Some(rate) = ended("tokens/s").and_then(number) {
            Some(Self::Rate(rate))
        } else if let Some(tokens) = ended("tokens").and_then(count) {
            Some(Self::Context(Tokens(tokens)))
        } else if let Some(penalty) = text.strip_prefix("penalty").and_then(number) {
            Some(Self::Penalty(penalty))
        } else {
            text.parse().ok().map(Self::Time)
        };
        amount.ok_or_else(|| AmountError(text.to_owned()))
    }
}

impl TryFrom<String> for Amount {
    type Error = AmountError;

    fn try_from(text: String) -> Result<Self, AmountError> {
        text.parse()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => time.fmt(formatter),
            other => formatter.pad(&String::from(*other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_survive_text_and_back() {
        let amounts = [
            Amount::Time(Seconds(0.0512)),
            Amount::Devices(1),
            Amount::Devices(12),
            Amount::Fullness(0.9312),
            Amount::Context(Tokens(4096)),
            Amount::Resident(Tokens(49_248)),
            Amount::Rate(831.25),
            Amount::Penalty(0.031273),
        ];
        for amount in amounts {
            assert_eq!(String::from(amount).parse(), Ok(amount.rounded()));
            assert_eq!(amount.rounded(), amount, "{amount}");
        }
        assert!("12".parse::<Amount>().is_err());
        assert!("many GPUs".parse::<Amount>().is_err());
    }
}
