//! Objects of a configuration, read with the place that an error names.

use serde_json::{Map, Value};

use super::layout::Group;
use super::pattern::Pattern;

/// Why a configuration states no quantisation that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    /// A quantiser that is not modelled.
    #[error(
        "the quantisation `{0}` is not modelled\nhint: gptq, awq, auto-round, bitsandbytes, fp8, fbgemm_fp8, compressed-tensors, modelopt, mxfp4, hqq, aqlm, quanto, torchao, eetq, bitnet, exl2 and exl3 are; or name the model's unquantised checkpoint"
    )]
    Unknown(String),
    /// A key that has to be there.
    #[error("`{0}` is missing")]
    Missing(String),
    /// A value that the key does not take.
    #[error("`{key}` is {value}, and {accepted} is accepted")]
    Value {
        /// The key, from the top.
        key: String,
        /// Its value, shortened.
        value: String,
        /// What would do.
        accepted: &'static str,
    },
    /// A pattern of modules that cannot be read.
    #[error("`{key}` has the pattern `{pattern}`: {fault}")]
    Pattern {
        /// The key, from the top.
        key: String,
        /// The pattern, shortened.
        pattern: String,
        /// What is wrong with it.
        fault: String,
    },
}

/// An object of the configuration, and where it stands.
#[derive(Clone)]
pub(super) struct Section<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

pub(super) type Read<T> = Result<T, SchemeError>;

/// Shortened for a message.
pub(super) fn excerpt(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl<'a> Section<'a> {
    pub(super) fn top(map: &'a Map<String, Value>, path: &str) -> Self {
        let path = path.to_owned();
        Self { path, map }
    }

    pub(super) fn key(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    pub(super) fn bad(&self, key: &str, accepted: &'static str) -> SchemeError {
        let value = self
            .map
            .get(key)
            .map_or("null".to_owned(), Value::to_string);
        SchemeError::Value {
            key: self.key(key),
            value: excerpt(&value),
            accepted,
        }
    }

    pub(super) fn missing(&self, key: &str) -> SchemeError {
        SchemeError::Missing(self.key(key))
    }

    /// The value, where there is one and it is not null.
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    pub(super) fn section(&self, key: &str) -> Read<Option<Section<'a>>> {
        let section = |value: &'a Value| {
            let map = value.as_object();
            let map = map.ok_or_else(|| self.bad(key, "an object"))?;
            let path = self.key(key);
            Ok(Section { path, map })
        };
        self.get(key).map(section).transpose()
    }

    pub(super) fn text(&self, key: &str) -> Read<Option<&'a str>> {
        let text = |value: &'a Value| value.as_str().ok_or_else(|| self.bad(key, "text"));
        self.get(key).map(text).transpose()
    }

    pub(super) fn flag(&self, key: &str) -> Read<Option<bool>> {
        let flag = |value: &Value| {
            value
                .as_bool()
                .ok_or_else(|| self.bad(key, "`true` or `false`"))
        };
        self.get(key).map(flag).transpose()
    }

    /// A positive whole number.
    pub(super) fn count(&self, key: &str) -> Read<Option<u64>> {
        let count = |value: &Value| {
            let number = value.as_u64().filter(|count| (1..=1 << 32).contains(count));
            number.ok_or_else(|| self.bad(key, "a positive whole number"))
        };
        self.get(key).map(count).transpose()
    }

    pub(super) fn one_of(
        &self,
        key: &str,
        default: u64,
        counts: &[u64],
        accepted: &'static str,
    ) -> Read<u64> {
        let count = self.count(key)?.unwrap_or(default);
        if counts.contains(&count) {
            return Ok(count);
        }
        Err(self.bad(key, accepted))
    }

    /// Columns that share a scale; −1 is all of a row.
    pub(super) fn group(&self, key: &str, default: Group) -> Read<Group> {
        match self.get(key) {
            None => Ok(default),
            Some(value) if value.as_i64() == Some(-1) => Ok(Group::Whole),
            Some(_) => {
                let count = self.count(key);
                let count = count.map_err(|_| self.bad(key, "a positive whole number or -1"))?;
                Ok(count.map_or(default, Group::Of))
            }
        }
    }

    /// Two sizes, written as a list or as `128x128`.
    pub(super) fn pair(&self, key: &str) -> Read<Option<(u64, u64)>> {
        let pair = |value: &Value| {
            let sizes: Vec<u64> = match value {
                Value::Array(sizes) => sizes.iter().filter_map(Value::as_u64).collect(),
                Value::String(text) => text
                    .split('x')
                    .filter_map(|size| size.parse().ok())
                    .collect(),
                _ => Vec::new(),
            };
            match sizes.as_slice() {
                [rows, columns] if *rows > 0 && *columns > 0 => Ok((*rows, *columns)),
                _ => Err(self.bad(key, "two positive whole numbers")),
            }
        };
        self.get(key).map(pair).transpose()
    }

    /// A list of texts.
    pub(super) fn list(&self, key: &str) -> Read<Option<Vec<&'a str>>> {
        let bad = || self.bad(key, "a list of names");
        let list = |value: &'a Value| {
            let items = value.as_array().ok_or_else(bad)?;
            let texts = items.iter().map(|item| item.as_str().ok_or_else(bad));
            texts.collect::<Read<Vec<_>>>()
        };
        self.get(key).map(list).transpose()
    }

    pub(super) fn pattern(
        &self,
        key: &str,
        text: &str,
        read: impl Fn(&str) -> Result<Pattern, String>,
    ) -> Read<Pattern> {
        read(text).map_err(|fault| SchemeError::Pattern {
            key: self.key(key),
            pattern: excerpt(text),
            fault: excerpt(&fault),
        })
    }
}
