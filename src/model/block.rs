//! One repeating block: what it keeps of the tokens that it has seen.

use crate::units::Tokens;

/// A block of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The module in a Hugging Face class, `model.layers.3`; empty where only a GGUF file is known.
    pub module: String,
    /// What it keeps: one entry for each mechanism, none for a block without attention or state.
    pub caches: Vec<Cache>,
}

/// What one mechanism of a block keeps between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Keys and values of past tokens.
    KeysValues(KeysValues),
    /// The latent vector of multi-head latent attention, one a token for all heads.
    ///
    /// Source: DeepSeek-V2, arXiv 2405.04434; llama.cpp and transformers 5.24 both keep it so.
    Latent {
        /// Elements of the compressed vector.
        rank: u64,
        /// Elements of the rotated key beside it.
        rope: u64,
    },
    /// Keys and values of the encoder, computed once (encoder-decoders).
    Cross {
        /// Elements of keys and values of one encoder token.
        elements: u64,
        /// The encoder's tokens, where their number is fixed; else as many as the context has.
        tokens: Option<Tokens>,
    },
    /// The state of a recurrent mixer, whatever the number of tokens.
    State {
        /// Channels of its convolution (or of its token shift).
        channels: u64,
        /// Taps of that convolution; a shift by one token has two.
        kernel: u64,
        /// Elements of the state of one sequence.
        state: u64,
    },
}

/// Keys and values, one vector of each for a head and token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysValues {
    /// Key-value heads.
    pub heads: u64,
    /// Elements of a key.
    pub key: u64,
    /// Elements of a value.
    pub value: u64,
    /// How many tokens back it sees, where that is limited.
    pub window: Option<Tokens>,
    /// The same in transformers: llama.cpp keeps all tokens of some windowed models (Mistral 7B).
    pub transformers_window: Option<Tokens>,
    /// Heads that transformers keeps (Falcon: all query heads).
    pub transformers_heads: u64,
}

impl KeysValues {
    /// Elements of the keys of one token.
    pub fn keys(&self) -> u64 {
        self.heads.saturating_mul(self.key)
    }

    /// Elements of the values of one token.
    pub fn values(&self) -> u64 {
        self.heads.saturating_mul(self.value)
    }
}

impl Cache {
    /// Elements that it keeps of one token, and of one sequence whatever its length.
    pub fn elements(&self) -> u64 {
        match *self {
            Self::KeysValues(kept) => {
                let heads = kept.heads.max(kept.transformers_heads);
                heads.saturating_mul(kept.key.saturating_add(kept.value))
            }
            Self::Latent { rank, rope } => rank.saturating_add(rope),
            Self::Cross { elements, .. } => elements,
            Self::State {
                channels,
                kernel,
                state,
            } => channels.saturating_mul(kernel).saturating_add(state),
        }
    }

    /// Elements that each token adds.
    pub fn elements_per_token(&self) -> u64 {
        match self {
            Self::KeysValues(kept) => kept.keys() + kept.values(),
            Self::Latent { rank, rope } => rank + rope,
            Self::Cross { .. } | Self::State { .. } => 0,
        }
    }

    /// The same in transformers, which keeps other heads of some models.
    pub fn elements_per_token_in_transformers(&self) -> u64 {
        match self {
            Self::KeysValues(kept) => kept.transformers_heads * (kept.key + kept.value),
            Self::Latent { .. } | Self::Cross { .. } | Self::State { .. } => {
                self.elements_per_token()
            }
        }
    }
}

impl Block {
    /// Its keys and values, where it has them.
    pub fn keys_values(&self) -> Option<&KeysValues> {
        self.caches.iter().find_map(|cache| match cache {
            Cache::KeysValues(keys_values) => Some(keys_values),
            Cache::Latent { .. } | Cache::Cross { .. } | Cache::State { .. } => None,
        })
    }
}
