//! Quantised checkpoints: as what each matrix is stored, to the byte.
//!
//! A [`Scheme`] is read from a configuration ([`Scheme::from_config`]) and answers for any tensor of
//! a model which tensors a checkpoint holds in its place ([`Scheme::stored`]). The way back leads
//! from headers: [`group()`] finds the tensors that belong to one matrix, and [`Scheme::held`] takes
//! their sizes where they have the shapes that the scheme gives them. Not here: what a framework
//! quantises as it loads a plain checkpoint, which is a [`Precision`](crate::model::Precision).

mod compressed;
mod config;
mod float8;
mod group;
mod layout;
mod model_opt;
mod on_load;
mod packed;
mod pattern;
mod pieces;
mod section;

use crate::model::Kind;
use crate::model::format::Format;
use crate::model::read::TensorInfo;
use crate::units::Bytes;

use pattern::Pattern;
use pieces::{Piece, Place};

pub use config::SIDE_FILES;
pub use group::{Found, Grouped, group, is_cache_scale};
pub use layout::{Blocks, Bnb4, Bnb4Kind, Element, Extra, Group, Layout, Numbers, Scaled, Span};
pub use section::SchemeError;

/// As what each matrix of a checkpoint is stored.
#[derive(Clone, Debug)]
pub struct Scheme {
    /// Which quantiser wrote it.
    pub method: Method,
    /// In what the checkpoint wants its KV cache, where it says so.
    pub kv_cache: Option<Format>,
    /// The first that matches decides; without one a tensor is plain.
    rules: Vec<Rule>,
}

/// Who wrote a quantised checkpoint, as `quant_method` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the methods themselves")]
pub enum Method {
    Gptq,
    Awq,
    AutoRound,
    BitsAndBytes,
    Fp8,
    FbgemmFp8,
    CompressedTensors,
    ModelOpt,
    MxFp4,
    Hqq,
    Aqlm,
    Quanto,
    TorchAo,
    Eetq,
    BitNet,
    Exl2,
    Exl3,
}

/// A tensor of a model as it is without quantisation.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Its name in a Hugging Face checkpoint, with or without `.weight`.
    pub name: &'a str,
    /// What it is for.
    pub kind: Kind,
    /// Its shape: output features, then input features; before them how many experts a fused one
    /// has.
    pub dims: &'a [u64],
    /// The numbers of the model before it was quantised.
    pub source: Format,
}

/// What stands for one tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The tensors of the file, the weight first. Unsigned bytes and bare exponents count as
    /// [`Format::I8`], 8-bit floats as [`Format::FP8`] without scales, as readers of headers have it.
    pub tensors: Vec<TensorInfo>,
    /// What they take in the file.
    pub file: Bytes,
    /// What stays in memory while the weight is packed.
    pub loaded: Bytes,
}

/// Why a matrix has no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// Bits that only the file tells.
    #[error(
        "how many bits {method} gave `{name}` is only in the headers of the checkpoint\nhint: name the folder with its safetensors files"
    )]
    OnlyInHeaders {
        /// The quantiser.
        method: &'static str,
        /// The matrix.
        name: String,
    },
    /// A tensor that is not there.
    #[error("the tensor `{0}`, which its quantisation asks for, is missing")]
    Missing(String),
    /// A tensor of another shape.
    #[error("the tensor `{name}` is {found:?}, and its quantisation makes it {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the header.
        found: Vec<u64>,
        /// Its shape by the configuration.
        expected: Vec<u64>,
    },
}

/// What is stored how.
#[derive(Clone, Debug)]
struct Rule {
    who: Who,
    layout: Layout,
}

/// Which matrices a rule is for.
#[derive(Clone, Debug)]
enum Who {
    Classes(&'static [Class]),
    Named(Pattern),
}

/// The matrices that quantisers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// `nn.Linear` itself.
    Linear,
    /// A subclass of it.
    OwnLinear,
    /// Several matrices in one parameter.
    Experts,
    Head,
    Embedding,
}

impl Class {
    /// `None` for what no quantiser touches.
    fn of(matrix: &Matrix<'_>) -> Option<Self> {
        match (matrix.kind, matrix.dims.len()) {
            (Kind::Linear | Kind::OwnLinear | Kind::Experts, 3) => Some(Self::Experts),
            (Kind::Linear | Kind::TransposedLinear, 2) => Some(Self::Linear),
            (Kind::OwnLinear, 2) => Some(Self::OwnLinear),
            (Kind::Head, 2) => Some(Self::Head),
            (Kind::Embedding, 2) => Some(Self::Embedding),
            (
                Kind::Linear
                | Kind::TransposedLinear
                | Kind::OwnLinear
                | Kind::Experts
                | Kind::Head
                | Kind::Embedding
                | Kind::Norm
                | Kind::Bias
                | Kind::Table
                | Kind::HalfTable,
                _,
            ) => None,
        }
    }
}

impl Method {
    /// Its name, as `quant_method` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gptq => "gptq",
            Self::Awq => "awq",
            Self::AutoRound => "auto-round",
            Self::BitsAndBytes => "bitsandbytes",
            Self::Fp8 => "fp8",
            Self::FbgemmFp8 => "fbgemm_fp8",
            Self::CompressedTensors => "compressed-tensors",
            Self::ModelOpt => "modelopt",
            Self::MxFp4 => "mxfp4",
            Self::Hqq => "hqq",
            Self::Aqlm => "aqlm",
            Self::Quanto => "quanto",
            Self::TorchAo => "torchao",
            Self::Eetq => "eetq",
            Self::BitNet => "bitnet",
            Self::Exl2 => "exl2",
            Self::Exl3 => "exl3",
        }
    }

    /// Whether transformers 5.24 has a quantiser of this name (`AUTO_QUANTIZER_MAPPING`). That of HQQ
    /// is one in name only: it raises `NotImplementedError` as it quantises.
    pub fn is_known_to_transformers(self) -> bool {
        !matches!(self, Self::ModelOpt | Self::Exl2 | Self::Exl3)
    }

    /// Whether transformers 5.24 unpacks the weights to plain ones on the first forward pass
    /// (`CompressedTensorsConfig.dequantize`), so that packed sizes do not hold there.
    pub fn is_unpacked_by_transformers(self) -> bool {
        self == Self::CompressedTensors
    }
}

impl Matrix<'_> {
    /// The name of the module.
    pub fn module(&self) -> &str {
        self.name.strip_suffix(".weight").unwrap_or(self.name)
    }
}

impl Scheme {
    /// How this tensor is stored.
    pub fn layout(&self, matrix: &Matrix<'_>) -> &Layout {
        let Some(class) = Class::of(matrix) else {
            return &Layout::Plain;
        };
        let module = matrix.module();
        let rule = self.rules.iter().find(|rule| match &rule.who {
            Who::Classes(classes) => classes.contains(&class) && !is_router(module),
            Who::Named(pattern) => pattern.matches(module),
        });
        rule.map_or(&Layout::Plain, |rule| &rule.layout)
    }

    /// The tensors that a checkpoint of this scheme holds for one tensor of the model. A bias is a
    /// tensor of its own.
    ///
    /// # Errors
    /// Where only the headers tell, which is so for EXL2 and EXL3.
    pub fn stored(&self, matrix: &Matrix<'_>) -> Result<Stored, StorageError> {
        let layout = self.layout(matrix);
        let pieces = pieces(layout, matrix);
        if pieces.is_empty() {
            return Err(StorageError::OnlyInHeaders {
                method: self.method.name(),
                name: matrix.name.to_owned(),
            });
        }
        let mut stored = Stored {
            tensors: Vec::new(),
            file: Bytes::ZERO,
            loaded: Bytes::ZERO,
        };
        for piece in pieces {
            let tensor = piece.tensor(matrix);
            if piece.place != Place::Memory {
                stored.file += tensor.bytes;
            }
            if piece.place != Place::File {
                stored.loaded += tensor.bytes;
            }
            if piece.place != Place::Memory {
                stored.tensors.push(tensor);
            }
        }
        Ok(stored)
    }

    /// What headers hold for one tensor of the model, where it has the shapes that this scheme gives
    /// it. Configurations are loose about which modules they mean, so any layout of the scheme will
    /// do; the sizes are those of the headers.
    ///
    /// # Errors
    /// Where the weight is missing, or a tensor is of another shape.
    pub fn held(&self, matrix: &Matrix<'_>, found: &Found<'_>) -> Result<Stored, StorageError> {
        let own = self.layout(matrix);
        let others = self.rules.iter().map(|rule| &rule.layout);
        let mut all = [own].into_iter().chain(others).chain([&Layout::Plain]);
        let fault = match all.next().map(|layout| found.fits(layout, matrix)) {
            Some(Err(fault)) => fault,
            _ => return Ok(found.stored()),
        };
        if all.any(|layout| found.fits(layout, matrix).is_ok()) {
            return Ok(found.stored());
        }
        Err(fault)
    }
}

/// Whether a module chooses experts. It is no `nn.Linear` in transformers 5, and GPTQModel, AutoAWQ
/// and ModelOpt leave it alone without a word in the configuration.
fn is_router(module: &str) -> bool {
    module.ends_with(".gate") || module.ends_with(".router")
}

/// The tensors that a layout makes of one tensor of the model, the weight first.
fn pieces(layout: &Layout, matrix: &Matrix<'_>) -> Vec<Piece> {
    let (experts, rows, columns) = match (layout, matrix.dims) {
        (Layout::Plain, _) => return vec![plain(matrix)],
        (_, [rows, columns]) => (None, *rows, *columns),
        (_, [experts, rows, columns]) => (Some(*experts), *rows, *columns),
        (_, _) => return vec![plain(matrix)],
    };
    let mut pieces = layout.pieces(rows, columns, matrix.source);
    for piece in &mut pieces {
        piece.dims.splice(0..0, experts);
    }
    pieces
}

fn plain(matrix: &Matrix<'_>) -> Piece {
    let is_module = matrix.name.ends_with(".weight");
    Piece {
        suffix: if is_module { ".weight" } else { "" },
        dims: matrix.dims.to_vec(),
        numbers: Numbers::Source,
        place: Place::Both,
    }
}

impl Piece {
    fn tensor(&self, matrix: &Matrix<'_>) -> TensorInfo {
        let format = match self.numbers {
            Numbers::Of(format) => format,
            Numbers::Source => matrix.source,
        };
        let elements = self.dims.iter();
        let elements = elements.fold(1, |product: u64, dim| product.saturating_mul(*dim));
        TensorInfo {
            name: format!("{}{}", matrix.module(), self.suffix),
            dims: self.dims.clone(),
            format,
            // Scales are tensors of their own, which `Format::bytes` would add to 8-bit floats.
            bytes: format.row_bytes(elements),
        }
    }
}
