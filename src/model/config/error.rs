//! Why a configuration is no model that we can plan.

use super::DIMENSIONS;
use crate::model::family::{self, ExpressionError};

/// Why a configuration is no model that we can plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an object.
    #[error("a configuration is a JSON object")]
    NotAnObject,
    /// No row of the family table.
    #[error(
        "the architecture `{0}` is not known, and nothing is guessed from a configuration alone
hint: {count} families are read (docs/families-checked.md lists them); where the checkpoint's safetensors headers lie beside it, any is", count = family::all().count()
    )]
    UnknownArchitecture(String),
    /// Neither `model_type` nor `architectures`.
    #[error("neither `model_type` nor `architectures` says what it is")]
    NoArchitecture,
    /// A key without which sizes would be guesses.
    #[error("`{}` is missing\nhint: sizes follow from it, so it is not guessed: add it as the model's author publishes it", .0.join("` or `"))]
    Missing(Vec<String>),
    /// A value of the wrong kind, or out of range.
    #[error("`{key}` is {value}, and {wanted} is needed")]
    Wrong {
        /// The key.
        key: String,
        /// What stands there.
        value: String,
        /// What should.
        wanted: &'static str,
    },
    /// A variant of a known architecture with other parts.
    #[error("`{condition}`, a variant of {family} that is not read")]
    Variant {
        /// What holds of it.
        condition: String,
        /// The family.
        family: String,
    },
    /// Heads that do not share keys and values evenly.
    #[error("{heads} query heads do not share {kv_heads} key-value heads evenly")]
    UnevenHeads {
        /// Query heads.
        heads: u64,
        /// Key-value heads.
        kv_heads: u64,
    },
    /// A checkpoint that is already quantised.
    #[error("the checkpoint is quantised (`{0}`), which is not read yet")]
    Quantised(String),
}

impl From<ExpressionError> for ConfigError {
    fn from(error: ExpressionError) -> Self {
        match error {
            ExpressionError::Missing(names) => {
                Self::Missing(names.iter().map(|name| key_of(name)).collect())
            }
            ExpressionError::NotANumber { name, value } => Self::Wrong {
                key: key_of(&name),
                value,
                wanted: "a whole number",
            },
            ExpressionError::OutOfRange { expression, value } => Self::Wrong {
                key: expression,
                value,
                wanted: "a number that a model can have",
            },
        }
    }
}

/// A name of ours as configurations call it.
fn key_of(name: &str) -> String {
    let ours = DIMENSIONS.iter().find(|(ours, _)| *ours == name);
    ours.and_then(|(_, keys)| keys.first())
        .map_or(name, |key| key)
        .to_owned()
}
