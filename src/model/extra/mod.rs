//! What is loaded beside a model: LoRA adapters, a projector for images, a draft model.
//!
//! A model carries its extras, so that whatever prices the model prices them too. What belongs to
//! its own tensors is an adapter's; a projector and a draft model stand whole beside the chain.
//! Not here: where each goes (`cost/extras.rs`).

mod adapter;
mod projector;

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::model::read::{ReadError, gguf};
use crate::model::{Cache, Model, Part, Tensor};

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
    /// Its own blocks that predict tokens further ahead, where they are loaded to speculate.
    pub ahead: Option<Range<u32>>,
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
    /// Blocks of the model itself that predict tokens further ahead.
    Mtp,
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
    /// A model without such blocks.
    #[error("`{0}` has no blocks that predict tokens further ahead")]
    NothingAhead(String),
    /// Blocks of which nobody knows what theirs keep.
    #[error("the blocks of `{0}` keep different things: what those ahead keep is not known here")]
    UnlikeBlocks(String),
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
            Self::Mtp => "mtp",
        }
    }
}

impl Extras {
    /// The tensors of every adapter.
    pub fn adapter_tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.adapters.iter().flat_map(|adapter| &adapter.tensors)
    }

    /// Whether a tensor is one of a block ahead.
    pub fn is_ahead(&self, tensor: &Tensor) -> bool {
        match (tensor.part, &self.ahead) {
            (Part::Attention(block) | Part::FeedForward(block), Some(blocks)) => {
                blocks.contains(&block.0)
            }
            _ => false,
        }
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

    /// The model with its blocks that predict tokens further ahead, loaded as llama.cpp does to
    /// speculate: blocks like the others, each with a cache of its own.
    ///
    /// Source: `load_mtp`, and the cache of an MTP context (`src/llama-model.cpp`, 0c1e57098). A
    /// recurrent state would besides be kept once for each token that may be taken back.
    ///
    /// # Errors
    /// Where it has none, or its other blocks do not all keep the same keys and values.
    pub fn with_blocks_ahead(mut self) -> Result<Self, ExtraError> {
        let ahead = self.tensors.iter().filter_map(|tensor| match tensor.part {
            Part::NextToken(block) => Some(block.0),
            _ => None,
        });
        let (first, end) = (ahead.min(), self.dimensions.n_layers);
        let Some(first) = first.filter(|first| *first < end) else {
            return Err(ExtraError::NothingAhead(self.name));
        };
        let (trunk, ahead) = self.blocks.split_at_mut(first as usize);
        let kept = match trunk {
            [one, others @ ..] if others.iter().all(|other| other.caches == one.caches) => {
                one.caches.as_slice()
            }
            _ => &[],
        };
        let [Cache::KeysValues(_) | Cache::Latent { .. }] = kept else {
            return Err(ExtraError::UnlikeBlocks(self.name));
        };
        for block in ahead {
            block.caches = kept.to_vec();
        }
        for tensor in &mut self.tensors {
            if let Part::NextToken(block) = tensor.part {
                tensor.part = Part::Attention(block);
            }
        }
        self.extras.ahead = Some(first..end);
        Ok(self)
    }
}
