//! From what a user writes to a [`Model`]: a file, a folder, or a name of the built-in list.

use std::path::{Path, PathBuf};

use crate::model::config::{self, ConfigError};
use crate::model::from_gguf::{self, GgufError};
use crate::model::read::json::{self, JsonError};
use crate::model::read::{ReadError, gguf, safetensors};
use crate::model::{Model, Origin, known};
use crate::units::Bytes;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Neither a file nor a name.
    #[error(
        "`{name}` is no file, and no model of the built-in list\nhint: name a GGUF file, a config.json, a folder with one, or {}", nearest.join(", ")
    )]
    Unknown {
        /// What was written.
        name: String,
        /// The names of the list that are nearest to it.
        nearest: Vec<String>,
    },
    /// A folder without a model.
    #[error("`{}` holds neither a config.json nor a GGUF file", .0.display())]
    EmptyFolder(PathBuf),
    /// Several models in one folder.
    #[error("`{}` holds several GGUF files\nhint: name one, such as `{}`", folder.display(), first.display())]
    SeveralFiles {
        /// The folder.
        folder: PathBuf,
        /// The first of them.
        first: PathBuf,
    },
    /// A file that is none of the kinds that are read.
    #[error("`{}` is no model file\nhint: `.gguf`, `.safetensors` and `.json` are read", .0.display())]
    UnknownKind(PathBuf),
    /// The system refuses.
    #[error("`{}` can't be read: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Longer than any configuration.
    #[error("`{}`: a configuration has at most {LARGEST_CONFIG}", .0.display())]
    TooLarge(PathBuf),
    /// No JSON.
    #[error("{}:{}:{}: {}", path.display(), error.line, error.column, error.message)]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        error: JsonError,
    },
    /// A configuration that is no model.
    #[error("`{}`: {error}", path.display())]
    Config {
        /// The file, or the name.
        path: PathBuf,
        /// What is wrong.
        error: ConfigError,
    },
    /// A header that contradicts itself.
    #[error("{}", with_hint(.0))]
    Read(ReadError),
    /// A GGUF header that is no model.
    #[error("`{}`: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: GgufError,
    },
    /// Headers and configuration that disagree.
    #[error("`{}`: {fault}", path.display())]
    Mismatch {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        fault: Mismatch,
    },
}

/// Where a checkpoint differs from its configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// A tensor that the configuration asks for.
    #[error(
        "the tensor `{0}`, which config.json asks for, is missing\nhint: the checkpoint is incomplete, or config.json is another model's"
    )]
    Missing(String),
    /// A tensor of another shape.
    #[error("the tensor `{name}` is {found:?}, and config.json makes it {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape in the header.
        found: Vec<u64>,
        /// Its shape by the configuration.
        expected: Vec<u64>,
    },
    /// A tensor that no part of the model is.
    #[error("the tensor `{0}` is no part of this architecture")]
    Extra(String),
}

impl From<ReadError> for ModelError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

fn with_hint(error: &ReadError) -> String {
    let hint = error.hint().map(|hint| format!("\nhint: {hint}"));
    format!("{error}{}", hint.unwrap_or_default())
}

/// Most bytes of a config.json.
const LARGEST_CONFIG: Bytes = Bytes::mib(16);

/// Reads the model that a user names.
///
/// # Errors
/// Where there is none, it cannot be read, or it is of no kind that is known.
pub fn open(name: &str) -> Result<Model, ModelError> {
    let path = Path::new(name);
    if path.is_dir() {
        return open_folder(path);
    }
    if path.is_file() {
        return open_file(path);
    }
    match known::find(name) {
        Some(known) => {
            config::model(name, Origin::Known, &known.config).map_err(|error| ModelError::Config {
                path: name.into(),
                error,
            })
        }
        None => Err(ModelError::Unknown {
            name: name.to_owned(),
            nearest: nearest(name),
        }),
    }
}

fn nearest(name: &str) -> Vec<String> {
    let mut names: Vec<_> = known::all()
        .iter()
        .map(|known| known.name.as_str())
        .collect();
    let name = name.to_ascii_lowercase();
    names.sort_by_key(|other| strsim::levenshtein(&name, other));
    names
        .into_iter()
        .take(3)
        .map(|name| format!("`{name}`"))
        .collect()
}

fn open_folder(folder: &Path) -> Result<Model, ModelError> {
    let config = folder.join("config.json");
    if config.is_file() {
        return open_config(&config);
    }
    let io = |error| ModelError::Io {
        path: folder.into(),
        error,
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let is_first_part = !path.to_string_lossy().contains("-of-")
            || path.to_string_lossy().contains("-00001-of-");
        if path.extension().is_some_and(|ending| ending == "gguf") && is_first_part {
            files.push(path);
        }
    }
    files.sort();
    match files.as_slice() {
        [] => Err(ModelError::EmptyFolder(folder.into())),
        [file] => open_gguf(file),
        [first, ..] => Err(ModelError::SeveralFiles {
            folder: folder.into(),
            first: first.clone(),
        }),
    }
}

fn open_file(path: &Path) -> Result<Model, ModelError> {
    let ending = path
        .extension()
        .map(|ending| ending.to_string_lossy().to_ascii_lowercase());
    match ending.as_deref() {
        Some("gguf") => open_gguf(path),
        Some("json") if !path.to_string_lossy().ends_with(".index.json") => open_config(path),
        Some("json" | "safetensors") => {
            let config = path.with_file_name("config.json");
            let model = read_config(&config)?;
            with_headers(model, path)
        }
        _ => Err(ModelError::UnknownKind(path.into())),
    }
}

fn open_gguf(path: &Path) -> Result<Model, ModelError> {
    let header = gguf::read(path)?;
    let name = path.to_string_lossy();
    from_gguf::model(&name, &name, &header).map_err(|error| ModelError::Gguf {
        path: path.into(),
        error,
    })
}

/// A configuration, and the checkpoint's headers where they lie beside it.
fn open_config(path: &Path) -> Result<Model, ModelError> {
    let model = read_config(path)?;
    let checkpoints = ["model.safetensors.index.json", "model.safetensors"];
    let beside = checkpoints.map(|name| path.with_file_name(name));
    match beside.iter().find(|checkpoint| checkpoint.is_file()) {
        Some(checkpoint) => with_headers(model, checkpoint),
        None => Ok(model),
    }
}

fn read_config(path: &Path) -> Result<Model, ModelError> {
    let io = |error| ModelError::Io {
        path: path.into(),
        error,
    };
    let length = std::fs::metadata(path).map_err(io)?.len();
    if Bytes(length) > LARGEST_CONFIG {
        return Err(ModelError::TooLarge(path.into()));
    }
    let text = std::fs::read(path).map_err(io)?;
    // ModelOpt writes what it quantised into a file of its own.
    if path.with_file_name("hf_quant_config.json").is_file() {
        let error = ConfigError::Quantised("hf_quant_config.json".to_owned());
        return Err(ModelError::Config {
            path: path.into(),
            error,
        });
    }
    let config = json::python(&text).map_err(|error| ModelError::Json {
        path: path.into(),
        error,
    })?;
    // A folder is what transformers loads.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let name = folder.unwrap_or(Path::new(".")).to_string_lossy();
    let origin = Origin::Config(path.to_string_lossy().into_owned());
    config::model(&name, origin, &config).map_err(|error| ModelError::Config {
        path: path.into(),
        error,
    })
}

/// Holds a configuration against the headers of its checkpoint.
fn with_headers(mut model: Model, path: &Path) -> Result<Model, ModelError> {
    let mismatch = |fault| ModelError::Mismatch {
        path: path.into(),
        fault,
    };
    let header = safetensors::read(path)?;
    let mut found: std::collections::BTreeMap<&str, _> = header
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    for tensor in model
        .tensors
        .iter_mut()
        .filter(|tensor| tensor.is_trained())
    {
        // A checkpoint of the base model leaves out the name of the module around it.
        let bare = tensor.hf_name.split_once('.').map_or("", |(_, bare)| bare);
        let info = found
            .remove(tensor.hf_name.as_str())
            .or_else(|| found.remove(bare))
            .ok_or_else(|| mismatch(Mismatch::Missing(tensor.hf_name.clone())))?;
        if info.dims != tensor.dims {
            return Err(mismatch(Mismatch::Shape {
                name: tensor.hf_name.clone(),
                found: info.dims.clone(),
                expected: tensor.dims.clone(),
            }));
        }
        tensor.stored = Some(info.format);
    }
    // A second copy of a tied head, and constants that older versions saved, are not loaded.
    let is_loaded = |name: &&&str| {
        let second_head = model.tied && **name == "lm_head.weight";
        let constants = ["rotary_emb.inv_freq", "attn.bias", "masked_bias"];
        !second_head && !constants.iter().any(|constant| name.ends_with(constant))
    };
    if let Some(extra) = found.keys().find(is_loaded) {
        return Err(mismatch(Mismatch::Extra((*extra).to_owned())));
    }
    model.origin = Origin::Safetensors(path.to_string_lossy().into_owned());
    Ok(model)
}
