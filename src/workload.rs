//! What the model is asked to do: how long, how many at once, and how keys and values are kept.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Tokens};

/// The load that a plan has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Tokens of one sequence, prompt and answer together.
    pub context: Tokens,
    /// Sequences at once, each with a context of its own.
    pub sequences: u32,
    /// How keys and values are stored.
    pub kv_format: KvFormat,
    /// Tokens of a prompt that are computed at once (llama.cpp's `-ub`).
    pub ubatch: Tokens,
}

/// A storage format of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are those of the formats themselves")]
pub enum KvFormat {
    F32,
    F16,
    Bf16,
    Fp8,
    #[serde(rename = "q8_0")]
    Q8_0,
    #[serde(rename = "q5_1")]
    Q5_1,
    #[serde(rename = "q5_0")]
    Q5_0,
    #[serde(rename = "q4_1")]
    Q4_1,
    #[serde(rename = "q4_0")]
    Q4_0,
    #[serde(rename = "iq4_nl")]
    Iq4Nl,
}

/// A workload that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// No such cache format.
    #[error("`{text}` is no KV format: use one of {}", KvFormat::names())]
    KvFormat {
        /// What was written.
        text: String,
    },
    /// Zero or absurdly many sequences.
    #[error("{0} sequences at once: 1 to 1024 can be planned")]
    Sequences(u32),
    /// Zero or absurdly large micro-batches.
    #[error("a micro-batch of {0} tokens: 1 to 65536 can be planned")]
    Ubatch(Tokens),
    /// A context that no engine takes.
    #[error("a context of {0} tokens: 1 to 16777216 can be planned")]
    Context(Tokens),
}

impl Workload {
    /// One sequence, 16-bit cache, micro-batches of 512: what llama.cpp does unasked.
    pub fn of_context(context: Tokens) -> Self {
        Self {
            context,
            sequences: 1,
            kv_format: KvFormat::F16,
            ubatch: Tokens(512),
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Where a number is zero or beyond what any engine takes.
    pub fn checked(self) -> Result<Self, WorkloadError> {
        match self {
            Self { sequences, .. } if !(1..=1024).contains(&sequences) => {
                Err(WorkloadError::Sequences(sequences))
            }
            Self { ubatch, .. } if !(1..=65_536).contains(&ubatch.0) => {
                Err(WorkloadError::Ubatch(ubatch))
            }
            Self { context, .. } if !(1..=1 << 24).contains(&context.0) => {
                Err(WorkloadError::Context(context))
            }
            _ => Ok(self),
        }
    }
}

impl KvFormat {
    /// Every format, from the largest down.
    pub const ALL: [Self; 10] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Fp8,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4_1,
        Self::Q4_0,
        Self::Iq4Nl,
    ];

    /// Its name, as llama.cpp's `-ctk` takes it where it has the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Q8_0 => "q8_0",
            Self::Q5_1 => "q5_1",
            Self::Q5_0 => "q5_0",
            Self::Q4_1 => "q4_1",
            Self::Q4_0 => "q4_0",
            Self::Iq4Nl => "iq4_nl",
        }
    }

    fn names() -> String {
        Self::ALL
            .map(|format| format!("`{}`", format.name()))
            .join(", ")
    }

    /// Elements of a block and the bytes it takes; the sizes of the weight formats of one name.
    fn block(self) -> (u64, u64) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            // With one scale a layer at the most, which is not counted.
            Self::Fp8 => (1, 1),
            Self::Q8_0 => (32, 34),
            Self::Q5_1 => (32, 24),
            Self::Q5_0 => (32, 22),
            Self::Q4_1 => (32, 20),
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
        }
    }

    /// Whether elements share a scale.
    pub fn is_quantised(self) -> bool {
        self.block().0 > 1
    }

    /// Whether a head of so many elements is whole blocks.
    pub fn fills(self, head_dim: u64) -> bool {
        head_dim.is_multiple_of(self.block().0)
    }

    /// Bytes of the keys (or values) of one token in one layer.
    pub fn row_bytes(self, elements: u64) -> Bytes {
        let (block, bytes) = self.block();
        Bytes(elements.div_ceil(block).saturating_mul(bytes))
    }
}

impl fmt::Display for KvFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for KvFormat {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| WorkloadError::KvFormat {
                text: text.to_owned(),
            })
    }
}
