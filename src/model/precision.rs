//! A precision: in which format each tensor of a model is stored.
//!
//! Two worlds have their own rules. A *checkpoint* precision is what transformers holds after
//! loading: bitsandbytes quantises plain linear layers and leaves everything else at 16 bits. A
//! *GGUF* precision is a recipe of llama-quantize, which gives every tensor its own format.

use std::fmt;
use std::str::FromStr;

use crate::model::family::Island;
use crate::model::format::Format;
use crate::model::recipe::{self, Facts, GgufTensor, NoFallback, Recipe};
use crate::model::{Kind, Model, Origin, Tensor, World};

/// How a model's weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precision {
    /// As transformers loads it.
    Checkpoint(Checkpoint),
    /// As llama-quantize writes it.
    Gguf(Recipe),
    /// A GGUF file with every matrix in one format.
    Pure(Format),
    /// The formats that the GGUF file at hand has.
    Stored,
}

/// What transformers can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checkpoint {
    /// 32-bit floats.
    Fp32,
    /// bfloat16.
    Bf16,
    /// 16-bit floats.
    Fp16,
    /// 8-bit floats in plain linear layers, one scale each 128 × 128 block.
    Fp8,
    /// bitsandbytes LLM.int8().
    Int8,
    /// bitsandbytes 4-bit NormalFloat.
    Nf4,
    /// The same with double quantisation.
    Nf4DoubleQuant,
    /// As the checkpoint is stored, packed where it is quantised.
    Stored,
}

/// A precision that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrecisionError {
    /// No such name.
    #[error(
        "`{0}` is no precision: try `fp16`, `bf16`, `int8`, `nf4`, `q8_0`, `q4_k_m` or `iq3_xs`"
    )]
    Unknown(String),
    /// `stored` without a file that stores.
    #[error("only a GGUF file has formats of its own: name a precision, such as `q4_k_m`")]
    NotStored,
    /// A recipe on tensors that we know from a file.
    #[error(
        "the file is {stored} and cannot become {wanted}: leave the precision out, or plan from the model's config.json"
    )]
    AlreadyQuantised {
        /// What the file has.
        stored: Precision,
        /// What was asked.
        wanted: Precision,
    },
    /// A recipe that llama-quantize cannot follow.
    #[error("{0}\nhint: the other recipes have a smaller block for such rows")]
    NoFallback(#[from] NoFallback),
    /// A GGUF recipe for transformers.
    #[error("transformers cannot load {0}: try `{1}`")]
    NotForTransformers(Precision, Checkpoint),
    /// What a serving engine does not load.
    #[error(
        "vLLM and SGLang do not load {0}: name a checkpoint that is quantised (GPTQ, AWQ, FP8), or try `{1}`"
    )]
    NotServed(Precision, Checkpoint),
    /// A checkpoint format for llama.cpp.
    #[error("llama.cpp cannot load {0}: try `{1}`")]
    NotForLlamaCpp(Precision, Recipe),
}

impl Checkpoint {
    /// Every checkpoint precision, from the largest down.
    pub const ALL: [Self; 7] = [
        Self::Fp32,
        Self::Bf16,
        Self::Fp16,
        Self::Fp8,
        Self::Int8,
        Self::Nf4,
        Self::Nf4DoubleQuant,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
            Self::Nf4DoubleQuant => "nf4-dq",
            Self::Stored => "stored",
        }
    }

    /// Whether transformers quantises as it loads; it then refuses a map with anything on the CPU.
    pub fn is_quantised_on_load(self) -> bool {
        self.is_bitsandbytes() || self == Self::Fp8
    }

    /// Whether bitsandbytes holds it, in matrices that are unpacked to compute.
    pub fn is_bitsandbytes(self) -> bool {
        matches!(self, Self::Int8 | Self::Nf4 | Self::Nf4DoubleQuant)
    }

    /// The format of what is not quantised.
    pub fn plain(self) -> Format {
        match self {
            Self::Fp32 => Format::F32,
            Self::Bf16 | Self::Stored => Format::BF16,
            Self::Fp8 | Self::Fp16 | Self::Int8 | Self::Nf4 | Self::Nf4DoubleQuant => Format::F16,
        }
    }

    /// The format of one tensor: all but plain linear weights stay at 16 bits, tables at 32.
    pub(super) fn format(self, tensor: &Tensor) -> Format {
        let plain_linear = matches!(tensor.kind, Kind::Linear | Kind::TransposedLinear);
        let is_island = match tensor.fp32 {
            Island::Never => false,
            Island::Fp16 => self != Self::Bf16,
            Island::Always => true,
        };
        match self {
            _ if tensor.kind == Kind::Table || is_island => Format::F32,
            _ if tensor.kind == Kind::HalfTable => Format::F16,
            Self::Fp32 => Format::F32,
            Self::Bf16 | Self::Stored => Format::BF16,
            Self::Fp8 if plain_linear => Format::FP8,
            Self::Int8 if plain_linear => Format::Int8,
            Self::Nf4 if plain_linear => Format::NF4,
            Self::Nf4DoubleQuant if plain_linear => Format::NF4DoubleQuant,
            Self::Fp16 | Self::Fp8 | Self::Int8 | Self::Nf4 | Self::Nf4DoubleQuant => Format::F16,
        }
    }
}

impl Precision {
    /// The format of each tensor of `model`, in their order; `None` for one that a file of this
    /// precision does not hold.
    ///
    /// # Errors
    /// Where the precision does not exist for this model.
    pub fn formats(self, model: &Model) -> Result<Vec<Option<Format>>, PrecisionError> {
        let own = || {
            model
                .tensors
                .iter()
                .map(|tensor| tensor.stored)
                .collect::<Vec<_>>()
        };
        let is_gguf = matches!(model.origin, Origin::Gguf(_));
        let is_quantised = || own().iter().flatten().any(|format| format.is_quantised());
        match self {
            Self::Stored if is_gguf => Ok(own()),
            Self::Stored => Err(PrecisionError::NotStored),
            _ if Some(self) == model.stored && is_gguf => Ok(own()),
            _ if is_gguf && is_quantised() => Err(PrecisionError::AlreadyQuantised {
                stored: model.stored.unwrap_or(Self::Stored),
                wanted: self,
            }),
            Self::Checkpoint(checkpoint) => {
                let format = |tensor: &Tensor| {
                    (tensor.world != World::Gguf).then(|| checkpoint.format(tensor))
                };
                Ok(model.tensors.iter().map(format).collect())
            }
            Self::Gguf(recipe) => Ok(gguf_formats(recipe, model)?),
            Self::Pure(format) => {
                let pure = |(plain, tensor): (Option<Format>, &Tensor)| match plain {
                    Some(Format::F16) if tensor.columns().is_multiple_of(format.block()) => {
                        Some(format)
                    }
                    plain => plain,
                };
                let plain = gguf_formats(Recipe::F16, model)?;
                Ok(plain.into_iter().zip(&model.tensors).map(pure).collect())
            }
        }
    }

    /// The same precision as llama.cpp can load it.
    ///
    /// # Errors
    /// Where llama.cpp has nothing like it.
    pub fn for_llama_cpp(self) -> Result<Self, PrecisionError> {
        match self {
            Self::Checkpoint(Checkpoint::Fp32) => Ok(Self::Gguf(Recipe::F32)),
            Self::Checkpoint(Checkpoint::Fp16) => Ok(Self::Gguf(Recipe::F16)),
            Self::Checkpoint(Checkpoint::Bf16) => Ok(Self::Gguf(Recipe::BF16)),
            Self::Checkpoint(Checkpoint::Stored) => Ok(Self::Stored),
            Self::Checkpoint(Checkpoint::Fp8 | Checkpoint::Int8) => {
                Err(PrecisionError::NotForLlamaCpp(self, Recipe::Q8_0))
            }
            Self::Checkpoint(Checkpoint::Nf4 | Checkpoint::Nf4DoubleQuant) => {
                Err(PrecisionError::NotForLlamaCpp(self, Recipe::Q4KM))
            }
            Self::Gguf(_) | Self::Pure(_) | Self::Stored => Ok(self),
        }
    }

    /// The same precision as vLLM and SGLang can load it: GGUF and what bitsandbytes makes left
    /// vLLM for plugins (0.33).
    ///
    /// # Errors
    /// Where they have nothing like it.
    pub fn for_serving(self) -> Result<Checkpoint, PrecisionError> {
        let wanted = |instead| PrecisionError::NotServed(self, instead);
        match self.for_transformers() {
            Ok(
                checkpoint @ (Checkpoint::Fp32
                | Checkpoint::Bf16
                | Checkpoint::Fp16
                | Checkpoint::Fp8
                | Checkpoint::Stored),
            ) => Ok(checkpoint),
            Ok(Checkpoint::Int8 | Checkpoint::Nf4 | Checkpoint::Nf4DoubleQuant) | Err(_) => {
                Err(wanted(Checkpoint::Fp8))
            }
        }
    }

    /// The same precision as transformers can load it.
    ///
    /// # Errors
    /// Where transformers has nothing like it.
    pub fn for_transformers(self) -> Result<Checkpoint, PrecisionError> {
        match self {
            Self::Checkpoint(checkpoint) => Ok(checkpoint),
            Self::Stored => Ok(Checkpoint::Stored),
            Self::Gguf(Recipe::F32) => Ok(Checkpoint::Fp32),
            Self::Gguf(Recipe::F16) => Ok(Checkpoint::Fp16),
            Self::Gguf(Recipe::BF16) => Ok(Checkpoint::Bf16),
            Self::Gguf(Recipe::Q8_0) | Self::Pure(Format::Q8_0) => {
                Err(PrecisionError::NotForTransformers(self, Checkpoint::Int8))
            }
            Self::Gguf(_) | Self::Pure(_) => {
                Err(PrecisionError::NotForTransformers(self, Checkpoint::Nf4))
            }
        }
    }
}

/// What llama-quantize would give each tensor of `model`.
fn gguf_formats(recipe: Recipe, model: &Model) -> Result<Vec<Option<Format>>, NoFallback> {
    let in_gguf = |tensor: &&Tensor| tensor.world != World::Transformers;
    let tensors: Vec<_> = model
        .tensors
        .iter()
        .filter(in_gguf)
        .map(|tensor| GgufTensor::converted(&tensor.gguf_name, &tensor.dims))
        .collect();
    let facts = Facts {
        architecture: &model.architecture,
        n_layers: model.dimensions.n_layers.into(),
        n_heads: model.dimensions.n_heads,
        n_kv_heads: model.dimensions.n_kv_heads,
        n_experts: model.dimensions.experts.map_or(0, |experts| experts.total),
        importance_matrix: recipe.needs_importance_matrix(),
    };
    let mut formats = recipe::formats(recipe, &facts, &tensors)?.into_iter();
    let format = |tensor: &Tensor| {
        if in_gguf(&tensor) {
            formats.next()
        } else {
            None
        }
    };
    Ok(model.tensors.iter().map(format).collect())
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint(checkpoint) => formatter.pad(checkpoint.name()),
            Self::Gguf(recipe) => formatter.pad(recipe.name()),
            Self::Pure(format) => formatter.pad(&format!("pure-{format}")),
            Self::Stored => formatter.pad("stored"),
        }
    }
}

impl FromStr for Precision {
    type Err = PrecisionError;

    fn from_str(text: &str) -> Result<Self, PrecisionError> {
        let name = text.trim().to_ascii_lowercase();
        let checkpoint = Checkpoint::ALL
            .into_iter()
            .find(|checkpoint| checkpoint.name() == name);
        let pure = || {
            name.strip_prefix("pure-")?
                .parse()
                .ok()
                .filter(|f: &Format| f.in_gguf())
        };
        match checkpoint {
            Some(checkpoint) => Ok(Self::Checkpoint(checkpoint)),
            // `COPY` is llama-quantize's word for it.
            None if name == "stored" || name == "copy" => Ok(Self::Stored),
            None => {
                let recipe = name.parse().ok().map(Self::Gguf);
                let precision = recipe.or_else(|| pure().map(Self::Pure));
                precision.ok_or_else(|| PrecisionError::Unknown(text.to_owned()))
            }
        }
    }
}
