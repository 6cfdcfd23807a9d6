//! The frameworks that plans are made for, as far as costs know them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cost::Accounting;
use crate::cost::llama_cpp::LlamaCpp;
use crate::cost::serving::refusal::{self, Refusal};
use crate::cost::serving::{Server, Serving};
use crate::cost::transformers::Transformers;
use crate::hardware::{Device, Rig};
use crate::model::extra::Form;
use crate::model::recipe::Recipe;
use crate::model::{Cache, Checkpoint, Extra, Model, Origin, Precision, PrecisionError};
use crate::units::{Bytes, Tokens};
use crate::workload::{KvFormat, Workload};

/// A framework that a plan can be made for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Target {
    /// llama.cpp: blocks in contiguous runs, a CPU that computes.
    #[default]
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// transformers with accelerate's hooks: modules anywhere, weights streamed from RAM.
    #[serde(rename = "transformers")]
    Transformers,
    /// vLLM: a pipeline of groups of GPUs, with a cache of pages in what is left.
    #[serde(rename = "vllm")]
    Vllm,
    /// SGLang: the same, by its own rules.
    #[serde(rename = "sglang")]
    Sglang,
}

/// What a target cannot do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No such target.
    #[error("`{0}` is no target: `llama.cpp`, `transformers`, `vllm` and `sglang` are planned for")]
    Unknown(String),
    /// A precision that the target cannot load.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// A cache format that the target has not.
    #[error("{target} keeps keys and values in 16 bits, not in {format}: use `--kv f16`")]
    KvFormat {
        /// The target.
        target: Target,
        /// What was asked.
        format: KvFormat,
    },
    /// A cache in 8-bit floats for llama.cpp.
    #[error("llama.cpp has no cache in {0}: use `--kv q8_0`")]
    NoFloat8Cache(KvFormat),
    /// A quantised cache whose blocks do not fill a head.
    #[error(
        "a head of {head_dim} elements is no whole number of {format} blocks, and llama.cpp refuses it: use `--kv f16`"
    )]
    Head {
        /// Elements of a head.
        head_dim: u64,
        /// The cache format.
        format: KvFormat,
    },
    /// Cards that cannot multiply 8-bit floats.
    #[error(
        "`{0}` has no 8-bit floats (compute capability 8.9), and transformers would unpack them to 16 bits\nhint: `--forbid {0}` leaves it out, and `--precision int8` does without"
    )]
    NoFp8(String),
    /// A model that no GGUF file can hold.
    #[error(
        "llama.cpp has no architecture for `{0}`, or its tensors' names there are not known\nhint: try `--target transformers`"
    )]
    NoGguf(String),
    /// Two stacks of blocks, which llama.cpp numbers as one.
    #[error(
        "`{0}` is an encoder-decoder, whose blocks llama.cpp numbers twice: its split is not planned\nhint: try `--target transformers`"
    )]
    EncoderDecoder(String),
    /// A GGUF file for transformers.
    #[error("transformers needs the Hugging Face model, and `{0}` is a GGUF file")]
    NeedsCheckpoint(String),
    /// What an engine that serves refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An adapter in the form of the other world.
    #[error(
        "`{name}` is an adapter in {}, and {target} loads {}\nhint: llama.cpp's `convert_lora_to_gguf.py` makes a GGUF file of PEFT's folder",
        form(*.found), form(*.wanted)
    )]
    AdapterForm {
        /// The adapter.
        name: String,
        /// The target.
        target: Target,
        /// Its form.
        found: Form,
        /// The target's form.
        wanted: Form,
    },
    /// An extra that only llama.cpp has.
    #[error("`{name}` is {}, which is planned for llama.cpp alone", match .extra {
        Extra::Mmproj => "a projector in a file of its own (transformers has the tower in its checkpoint)",
        Extra::Draft => "a draft model",
        Extra::Lora => "an adapter",
        Extra::Mtp => "a model whose blocks ahead are to be loaded",
    })]
    OnlyLlamaCpp {
        /// The extra.
        name: String,
        /// What it is.
        extra: Extra,
    },
    /// More hosts than the target reaches.
    #[error(
        "{target} runs on one host, and the rig has {found}\nhint: give the cards of one host as the rig, or try `--target llama.cpp`"
    )]
    OneHost {
        /// The target.
        target: Target,
        /// Hosts of the rig.
        found: usize,
    },
}

fn form(form: Form) -> &'static str {
    match form {
        Form::Gguf => "GGUF",
        Form::Peft => "PEFT's safetensors",
    }
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 4] = [Self::LlamaCpp, Self::Transformers, Self::Vllm, Self::Sglang];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LlamaCpp => "llama.cpp",
            Self::Transformers => "transformers",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
        }
    }

    /// The engine, where it is one that serves.
    pub fn server(self) -> Option<Server> {
        match self {
            Self::LlamaCpp | Self::Transformers => None,
            Self::Vllm => Some(Server::Vllm),
            Self::Sglang => Some(Server::Sglang),
        }
    }

    /// Tokens of a prompt that are computed at once where nobody says: what llama.cpp and the engines
    /// take on most cards.
    pub fn usual_ubatch(self) -> Tokens {
        match self {
            Self::LlamaCpp | Self::Transformers => Tokens(512),
            Self::Vllm | Self::Sglang => Tokens(2048),
        }
    }

    /// The precision that people use who name none: what the file has, else 4 bits for llama.cpp and
    /// the checkpoint's own for transformers.
    pub fn usual_precision(self, model: &Model) -> Precision {
        match (self, &model.origin) {
            (Self::LlamaCpp, Origin::Gguf(_)) => Precision::Stored,
            (Self::LlamaCpp, _) => Precision::Gguf(Recipe::Q4KM),
            (Self::Transformers | Self::Vllm | Self::Sglang, _) if model.quantised.is_some() => {
                Precision::Checkpoint(Checkpoint::Stored)
            }
            (Self::Transformers | Self::Vllm | Self::Sglang, _) => model
                .stored
                .unwrap_or(Precision::Checkpoint(Checkpoint::Bf16)),
        }
    }

    /// The precision as this target names it.
    ///
    /// # Errors
    /// Where it cannot load that precision.
    pub fn own_precision(self, precision: Precision) -> Result<Precision, PrecisionError> {
        match self {
            Self::LlamaCpp => precision.for_llama_cpp(),
            Self::Transformers => precision.for_transformers().map(Precision::Checkpoint),
            Self::Vllm | Self::Sglang => precision.for_serving().map(Precision::Checkpoint),
        }
    }

    /// Whether the target loads what stands beside the model.
    fn check_extras(self, model: &Model) -> Result<(), TargetError> {
        let wanted = match self {
            Self::LlamaCpp => Form::Gguf,
            Self::Transformers | Self::Vllm | Self::Sglang => Form::Peft,
        };
        let extras = &model.extras;
        let mut adapters = extras.adapters.iter();
        if let Some(adapter) = adapters.find(|adapter| adapter.form != wanted) {
            return Err(TargetError::AdapterForm {
                name: adapter.name.clone(),
                target: self,
                found: adapter.form,
                wanted,
            });
        }
        let projector = extras.projector.as_ref();
        let projector = projector.map(|projector| (&projector.name, Extra::Mmproj));
        let draft = extras.draft.as_ref();
        let draft = draft.map(|draft| (&draft.name, Extra::Draft));
        let ahead = extras.ahead.as_ref();
        let ahead = ahead.map(|_| (&model.name, Extra::Mtp));
        match (self, projector.or(draft).or(ahead)) {
            (Self::Transformers, Some((name, extra))) => Err(TargetError::OnlyLlamaCpp {
                name: name.clone(),
                extra,
            }),
            (Self::LlamaCpp | Self::Transformers | Self::Vllm | Self::Sglang, _) => Ok(()),
        }
    }

    /// The price list of a model on a rig.
    ///
    /// # Errors
    /// Where the target cannot do what is asked, on any rig.
    pub fn accounting<'a>(
        self,
        model: &Model,
        precision: Precision,
        rig: &'a Rig,
        workload: &Workload,
    ) -> Result<Box<dyn Accounting + 'a>, TargetError> {
        if let Some(server) = self.server() {
            refusal::check(server, model, rig, workload)?;
            refusal::check_cards(server, model, precision.for_serving()?, rig)?;
            let serving = Serving::new((server, precision), model, rig, workload)?;
            return Ok(Box::new(serving));
        }
        self.check_extras(model)?;
        match self {
            Self::LlamaCpp => {
                let architecture = || model.architecture.clone();
                if model
                    .tensors
                    .iter()
                    .all(|tensor| tensor.gguf_name.is_empty())
                {
                    return Err(TargetError::NoGguf(architecture()));
                }
                let is_cross = |cache: &Cache| matches!(cache, Cache::Cross { .. });
                let has_encoder = |name: &str| name.starts_with("enc.");
                let is_encoder_decoder = model
                    .tensors
                    .iter()
                    .any(|tensor| has_encoder(&tensor.gguf_name));
                let mut caches = model.blocks.iter().flat_map(|block| &block.caches);
                if is_encoder_decoder || caches.any(is_cross) {
                    return Err(TargetError::EncoderDecoder(architecture()));
                }
                let format = workload.kv_format;
                if format == KvFormat::Fp8 {
                    return Err(TargetError::NoFloat8Cache(format));
                }
                for model in [Some(model), model.extras.draft.as_deref()] {
                    let head_dim = model.map_or(0, |model| model.dimensions.head_dim);
                    if !format.fills(head_dim) {
                        return Err(TargetError::Head { head_dim, format });
                    }
                }
                Ok(Box::new(LlamaCpp::new(model, precision, rig, workload)?))
            }
            // Those that serve are above.
            Self::Transformers | Self::Vllm | Self::Sglang => {
                let found = rig.hosts().len();
                if found > 1 {
                    return Err(TargetError::OneHost {
                        target: self,
                        found,
                    });
                }
                if let Origin::Gguf(file) = &model.origin {
                    return Err(TargetError::NeedsCheckpoint(file.clone()));
                }
                match workload.kv_format {
                    KvFormat::F16 | KvFormat::Bf16 => {}
                    format => {
                        return Err(TargetError::KvFormat {
                            target: self,
                            format,
                        });
                    }
                }
                // A card without room, as a forbidden one, is not used.
                let lacks_fp8 = |device: &&Device| {
                    let capability = device.compute_capability;
                    device.capacity() > Bytes::ZERO
                        && capability.is_some_and(|has| (has.major, has.minor) < (8, 9))
                };
                if precision.for_transformers()? == Checkpoint::Fp8
                    && let Some(device) = rig.devices().iter().find(lacks_fp8)
                {
                    return Err(TargetError::NoFp8(device.name.clone()));
                }
                Ok(Box::new(Transformers::new(
                    model, precision, rig, workload,
                )?))
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(name: &str) -> Result<Self, TargetError> {
        Self::ALL
            .into_iter()
            .find(|target| target.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| TargetError::Unknown(name.to_owned()))
    }
}
