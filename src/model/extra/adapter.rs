//! A LoRA adapter: two thin matrices for each matrix that it adapts.
//!
//! Facts from llama.cpp 0c1e57098 (`src/llama-adapter.cpp`) and PEFT 0.20, read: names, shapes, and
//! that both keep the pair on the device of the matrix.

use std::collections::BTreeMap;
use std::path::Path;

use super::ExtraError;
use crate::model::read::gguf::Gguf;
use crate::model::read::{TensorInfo, gguf, safetensors};
use crate::model::{Kind, Model, Part, Tensor, World};

/// What PEFT puts before the names of a model's modules.
const PEFT_PREFIX: &str = "base_model.model.";
/// The file in PEFT's folder.
const PEFT_FILE: &str = "adapter_model.safetensors";

/// A low-rank adapter.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// The file or folder, as the user named it.
    pub name: String,
    /// Who wrote it.
    pub form: Form,
    /// Its matrices, each with the part and the kind of the one that it adapts.
    pub tensors: Vec<Tensor>,
}

/// The two forms of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// llama.cpp's.
    Gguf,
    /// The checkpoint that PEFT saves.
    Peft,
}

/// Why an adapter does not go with a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// Neither of the two forms.
    #[error("an adapter is a GGUF file, or PEFT's folder with `{PEFT_FILE}`")]
    Kind,
    /// A file of another purpose.
    #[error("`{key}` is `{found}`, and an adapter says `{expected}`")]
    Purpose {
        /// The key of the header.
        key: &'static str,
        /// What it says.
        found: String,
        /// What it must say.
        expected: &'static str,
    },
    /// An adapter of another architecture.
    #[error("it adapts the architecture `{found}`, and the model is `{expected}`")]
    Architecture {
        /// The adapter's.
        found: String,
        /// The model's.
        expected: String,
    },
    /// A tensor of which nothing is known.
    #[error("the tensor `{0}` is neither the A nor the B of a low-rank pair")]
    Unknown(String),
    /// A tensor that the model has not.
    #[error("it adapts `{0}`, which the model has not")]
    NoSuchTensor(String),
    /// Half a pair.
    #[error("the pair of `{0}` lacks one of its two matrices")]
    HalfPair(String),
    /// Matrices that do not fit the one that they adapt.
    #[error("the pair of `{name}` is {a:?} and {b:?}, which do not fit its {base:?}")]
    Shape {
        /// The tensor that is adapted.
        name: String,
        /// The shape of A.
        a: Vec<u64>,
        /// The shape of B.
        b: Vec<u64>,
        /// The shape of the model's tensor.
        base: Vec<u64>,
    },
    /// Nothing at all.
    #[error("it holds no adapted tensor")]
    Empty,
}

/// Reads the adapter at `path` against the model.
pub(super) fn open(model: &Model, path: &Path) -> Result<Adapter, ExtraError> {
    let at = |error| ExtraError::Adapter {
        path: path.to_owned(),
        error,
    };
    let is_gguf = path.extension().is_some_and(|ending| ending == "gguf");
    let (form, found) = if is_gguf {
        let header = gguf::read(path)?;
        purpose(&header, &model.architecture).map_err(at)?;
        (Form::Gguf, header.tensors)
    } else if path.is_dir() {
        let file = path.join(PEFT_FILE);
        (Form::Peft, safetensors::read(&file)?.tensors)
    } else {
        return Err(at(AdapterError::Kind));
    };
    Ok(Adapter {
        name: path.to_string_lossy().into_owned(),
        form,
        tensors: tensors(model, form, &found).map_err(at)?,
    })
}

/// Whether a GGUF file is an adapter, and of this architecture.
fn purpose(header: &Gguf, architecture: &str) -> Result<(), AdapterError> {
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        let found = header.text(key).unwrap_or_default();
        if found != expected {
            return Err(AdapterError::Purpose {
                key,
                found: found.to_owned(),
                expected,
            });
        }
    }
    let found = header.text("general.architecture").unwrap_or_default();
    match found == architecture {
        true => Ok(()),
        false => Err(AdapterError::Architecture {
            found: found.to_owned(),
            expected: architecture.to_owned(),
        }),
    }
}

/// A and B of one matrix.
type Pair<'a> = [Option<&'a TensorInfo>; 2];

fn tensors(model: &Model, form: Form, found: &[TensorInfo]) -> Result<Vec<Tensor>, AdapterError> {
    let mut pairs = BTreeMap::<String, Pair<'_>>::new();
    for info in found {
        // llama.cpp passes over adapted norms.
        if form == Form::Gguf && info.name.ends_with("_norm.weight") {
            continue;
        }
        let (base, side) =
            adapted(form, &info.name).ok_or_else(|| AdapterError::Unknown(info.name.clone()))?;
        pairs.entry(base).or_default()[side] = Some(info);
    }
    if pairs.is_empty() {
        return Err(AdapterError::Empty);
    }
    // Blocks that predict further tokens are not loaded, and so cannot be adapted.
    let loaded = model.tensors.iter().filter(|tensor| {
        let elsewhere = match form {
            Form::Gguf => World::Transformers,
            Form::Peft => World::Gguf,
        };
        tensor.world != elsewhere && !matches!(tensor.part, Part::NextToken(_))
    });
    let by_name: BTreeMap<_, _> = loaded.map(|tensor| (name(form, tensor), tensor)).collect();
    let mut tensors = Vec::new();
    for (base, pair) in pairs {
        let tensor = by_name
            .get(base.as_str())
            .ok_or_else(|| AdapterError::NoSuchTensor(base.clone()))?;
        let [Some(a), Some(b)] = pair else {
            return Err(AdapterError::HalfPair(base));
        };
        if !fits(tensor, form, a, b) {
            return Err(AdapterError::Shape {
                name: base,
                a: a.dims.clone(),
                b: b.dims.clone(),
                base: tensor.dims.clone(),
            });
        }
        tensors.extend([a, b].map(|info| thin(tensor, form, info)));
    }
    Ok(tensors)
}

/// The tensor that is adapted by one of this name, and whether it is A (0) or B (1).
fn adapted(form: Form, name: &str) -> Option<(String, usize)> {
    let (marks, name) = match form {
        Form::Gguf => ([".lora_a", ".lora_b"], name),
        Form::Peft => (
            [".lora_A.weight", ".lora_B.weight"],
            name.strip_prefix(PEFT_PREFIX)?,
        ),
    };
    let sides = marks.iter().enumerate();
    sides.into_iter().find_map(|(side, mark)| {
        let base = name.strip_suffix(mark)?;
        Some(match form {
            Form::Gguf => (base.to_owned(), side),
            Form::Peft => (format!("{base}.weight"), side),
        })
    })
}

fn name(form: Form, tensor: &Tensor) -> &str {
    match form {
        Form::Gguf => &tensor.gguf_name,
        Form::Peft => &tensor.hf_name,
    }
}

/// Whether `B · A` has the shape of the matrix; the pair of an embedding is stored the other way
/// round by llama.cpp, which looks rows up in it.
fn fits(base: &Tensor, form: Form, a: &TensorInfo, b: &TensorInfo) -> bool {
    // Slowest first: the last is the length of a row, the one before it counts rows.
    let side = |dims: &[u64], from_end: usize| {
        let index = dims.len().checked_sub(from_end);
        index.map_or(1, |index| dims[index])
    };
    let (columns, rows) = (side(&base.dims, 1), side(&base.dims, 2));
    if form == Form::Gguf && base.kind == Kind::Embedding {
        return columns == side(&b.dims, 2) && rows == side(&a.dims, 2);
    }
    columns == side(&a.dims, 1) && rows == side(&b.dims, 2) && side(&a.dims, 2) == side(&b.dims, 1)
}

/// A thin matrix as a tensor of the part that it adapts.
fn thin(base: &Tensor, form: Form, info: &TensorInfo) -> Tensor {
    match form {
        Form::Gguf => Tensor::of_gguf(info, base.part, base.kind),
        Form::Peft => Tensor::of_checkpoint(info, base.part, base.kind),
    }
}
