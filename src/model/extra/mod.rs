//! What is loaded beside a model: LoRA adapters, a projector for images, a draft model.
//!
//! A model carries its extras, so that whatever prices the model prices them too. What belongs to
//! its own tensors is an adapter's; a projector and a draft model stand whole beside the chain.
//! Not here: where each goes (`cost/extras.rs`).

mod adapter;
mod projector;

use std::path::{Path, PathBuf};

use crate::model::read::{ReadError, gguf};
use crate::model::{Model, Tensor};

pub use adapter::{Adapter, AdapterError, Form};
pub use projector::{Image, Projector, ProjectorError};

/// By so many tokens may the vocabulary of a draft model differ (llama.cpp 0c1e57098,
/// `SPEC_VOCAB_MAX_SIZE_DIFFERENCE`); the tokens themselves must be alike, which no size tells.
const VOCAB_DIFFERENCE: u64 = 128;

/// What is loaded beside a model.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Low-rank adapters of its matrices.
    pub adapters: Vec<Adapter>,
    /// What turns images into its tokens.
    pub projector: Option<Projector>,
    /// A small model of the same vocabulary that runs ahead.
    pub draft: Option<Box<Model>>,
}

/// The kinds of extras.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Extra {
    /// A low-rank adapter.
    Lora,
    /// A multimodal projector.
    Mmproj,
    /// A draft model.
    Draft,
}

/// An extra that does not go with the model.
#[derive(Debug, thiserror::Error)]
pub enum ExtraError {
    /// A file that is none.
    #[error("{}", .0.with_hint())]
    Read(#[from] ReadError),
    /// An adapter of something else.
    #[error("`{}`: {error}", path.display())]
    Adapter {
        /// The adapter.
        path: PathBuf,
        /// What is wrong.
        error: AdapterError,
    },
    /// A projector of something else.
    #[error("`{}`: {error}", path.display())]
    Projector {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ProjectorError,
    },
    /// A draft model of another vocabulary.
    #[error(
        "the draft model `{name}` has {found} tokens and the model {expected}: they may differ by {VOCAB_DIFFERENCE}"
    )]
    Vocabulary {
        /// The draft model.
        name: String,
        /// Its vocabulary.
        found: u64,
        /// The model's.
        expected: u64,
    },
}

impl Extra {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lora => "lora",
            Self::Mmproj => "mmproj",
            Self::Draft => "draft",
        }
    }
}

impl Extras {
    /// The tensors of every adapter.
    pub fn adapter_tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.adapters.iter().flat_map(|adapter| &adapter.tensors)
    }
}

impl Model {
    /// The model with the adapter at `path`: a GGUF file, or PEFT's folder; loaded once, however often
    /// it is named.
    ///
    /// # Errors
    /// Where it cannot be read, or adapts what the model has not.
    pub fn with_adapter(mut self, path: &Path) -> Result<Self, ExtraError> {
        let adapter = adapter::open(&self, path)?;
        let mut named = self.extras.adapters.iter();
        if named.all(|other| other.name != adapter.name) {
            self.extras.adapters.push(adapter);
        }
        Ok(self)
    }

    /// The model with the projector at `path`, a GGUF file.
    ///
    /// # Errors
    /// Where it cannot be read, is no projector, or is one of a model of another width.
    pub fn with_projector(mut self, path: &Path) -> Result<Self, ExtraError> {
        let header = gguf::read(path)?;
        let name = path.to_string_lossy().into_owned();
        let projector = Projector::new(name, &header, self.dimensions.hidden);
        self.extras.projector = Some(projector.map_err(|error| ExtraError::Projector {
            path: path.to_owned(),
            error,
        })?);
        Ok(self)
    }

    /// The model with `draft` to run ahead of it.
    ///
    /// # Errors
    /// Where their vocabularies differ.
    pub fn with_draft(mut self, draft: Self) -> Result<Self, ExtraError> {
        let (found, expected) = (draft.dimensions.vocab, self.dimensions.vocab);
        if found.abs_diff(expected) > VOCAB_DIFFERENCE {
            return Err(ExtraError::Vocabulary {
                name: draft.name,
                found,
                expected,
            });
        }
        self.extras.draft = Some(Box::new(draft));
        Ok(self)
    }
}
