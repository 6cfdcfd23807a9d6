//! What may stand behind a device or RAM in a rig's text: `pcie 3.0 x8 reserve 500 MiB`.

use std::fmt::Display;
use std::str::FromStr;

use super::Pcie;
use super::text::TextFault;
use crate::units::Bytes;

/// What may stand behind a device or RAM.
#[derive(Default)]
pub(super) struct Options {
    pub(super) link: Option<Pcie>,
    pub(super) reserve: Option<Bytes>,
    pub(super) cap: Option<Bytes>,
}

impl Options {
    /// Splits words into those before the first option, and the options.
    ///
    /// Options are lower case, so that `A100 PCIe` stays a name.
    pub(super) fn split(text: &str) -> Result<(String, Self), TextFault> {
        let words: Vec<_> = text.split_whitespace().collect();
        let is_option = |word: &&str| ["pcie", "reserve", "cap"].contains(word);
        let start = words.iter().position(is_option).unwrap_or(words.len());
        let mut options = Self::default();
        let mut rest = &words[start..];
        while let [option, after @ ..] = rest {
            let end = after.iter().position(is_option).unwrap_or(after.len());
            options.read(option, &after[..end].join(" "))?;
            rest = &after[end..];
        }
        Ok((words[..start].join(" "), options))
    }

    fn read(&mut self, option: &str, text: &str) -> Result<(), TextFault> {
        match option {
            "pcie" => put(&mut self.link, "pcie", "4.0 x16", text),
            "reserve" => put(&mut self.reserve, "reserve", "500 MiB", text),
            _ => put(&mut self.cap, "cap", "20 GiB", text),
        }
    }
}

fn put<T>(
    place: &mut Option<T>,
    option: &'static str,
    example: &'static str,
    text: &str,
) -> Result<(), TextFault>
where
    T: FromStr<Err: Display>,
{
    if text.is_empty() {
        return Err(TextFault::NoValue { option, example });
    }
    match place.replace(value(text)?) {
        Some(_) => Err(TextFault::Twice(option)),
        None => Ok(()),
    }
}

/// Reads a quantity; its own error says what to write.
pub(super) fn value<T>(text: &str) -> Result<T, TextFault>
where
    T: FromStr<Err: Display>,
{
    let text = text.trim();
    text.parse()
        .map_err(|error: T::Err| TextFault::Value(error.to_string()))
}
