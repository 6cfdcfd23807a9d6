//! JSON objects whose keys must not repeat: `serde_json` would keep the last value in silence.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::super::TENSOR_LIMIT;

/// An object of texts, in the order of the file and with every repetition.
#[derive(Default)]
pub(super) struct Entries<'text>(pub(super) Vec<(Text<'text>, Text<'text>)>);

/// Text that is copied only where the file escapes a character: an index has 200 000 of them.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'text>(#[serde(borrow)] pub(super) Cow<'text, str>);

/// There is room for one tensor more.
pub(super) fn limited<E: Error>(n_tensors: usize) -> Result<(), E> {
    if n_tensors as u64 >= TENSOR_LIMIT {
        return Err(E::custom(format_args!(
            "more than {TENSOR_LIMIT} tensors are not plausible"
        )));
    }
    Ok(())
}

impl<'de: 'text, 'text> Deserialize<'de> for Entries<'text> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Entries<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    limited(entries.len())?;
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(EntriesVisitor)
    }
}
