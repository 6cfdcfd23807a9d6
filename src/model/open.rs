//! From what a user writes to a [`Model`]: a file, a folder, a name of the built-in list, or a name
//! that [`source`](crate::model::source) leads to one of these.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::model::config::{self, ConfigError, Keys};
use crate::model::from_gguf::{self, GgufError};
use crate::model::from_tensors::{self, TensorsError};
use crate::model::headers::{self, Mismatch};
use crate::model::quantisation::{SIDE_FILES, Scheme, SchemeError, StorageError};
use crate::model::read::json::{self, JsonError};
use crate::model::read::{ReadError, gguf, safetensors};
use crate::model::source::{Found, HubName, SourceError, Sources};
use crate::model::{Model, Origin, known};
use crate::units::Bytes;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Neither a file nor a name.
    #[error(
        "`{name}` is no file, and no model of the built-in list\nhint: name a GGUF file, a config.json, a folder with one, {}or {}", elsewhere(name), nearest.join(", ")
    )]
    Unknown {
        /// What was written.
        name: String,
        /// The names of the list that are nearest to it.
        nearest: Vec<String>,
    },
    /// A name with a scheme that leads nowhere.
    #[error(transparent)]
    Source(#[from] SourceError),
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
    #[error("{}", .0.with_hint())]
    Read(#[from] ReadError),
    /// A GGUF header that is no model.
    #[error("`{}`: {error}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: GgufError,
    },
    /// A quantisation that is not read.
    #[error("`{}`: {error}", path.display())]
    Scheme {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: SchemeError,
    },
    /// Tensors of no family that are no model that we can plan.
    #[error("`{}`: {error}", path.display())]
    Tensors {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        error: TensorsError,
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

/// Most bytes of a config.json.
const LARGEST_CONFIG: Bytes = Bytes::mib(16);

/// Reads the model that a user names, from where the environment says that models are.
///
/// # Errors
/// Where there is none, it cannot be read, or it is of no kind that is known.
pub fn open(name: &str) -> Result<Model, ModelError> {
    open_from(name, &Sources::of_environment())
}

/// Reads the model that a user names, from these sources.
///
/// # Errors
/// Where there is none, it cannot be read, or it is of no kind that is known.
pub fn open_from(name: &str, sources: &Sources) -> Result<Model, ModelError> {
    // A name stays what the user wrote; a folder goes by what was found in it.
    let named = |model: Model| match Path::new(name).is_dir() {
        true => model,
        false => Model {
            name: name.to_owned(),
            ..model
        },
    };
    match sources.find(name)? {
        None => open_here(name),
        Some(Found::Folder(folder)) => open_folder(&folder).map(named),
        Some(Found::Gguf { path, file }) => Ok(Model {
            origin: Origin::Gguf(file),
            ..named(open_gguf(&path)?)
        }),
    }
}

/// How a name would be written that is one of the Hub's.
fn elsewhere(name: &str) -> String {
    match format!("hf:{name}").parse::<HubName>() {
        Ok(name) if name.repository.contains('/') => format!("`{name}`, "),
        _ => String::new(),
    }
}

/// Reads a path, or a name of the built-in list.
fn open_here(name: &str) -> Result<Model, ModelError> {
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
            let config = read_json(&path.with_file_name("config.json"))?;
            read_checkpoint(&path.with_file_name("config.json"), &config, Some(path))
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
    let config = read_json(path)?;
    let checkpoints = ["model.safetensors.index.json", "model.safetensors"];
    let beside = checkpoints.map(|name| path.with_file_name(name));
    let checkpoint = beside.iter().find(|checkpoint| checkpoint.is_file());
    read_checkpoint(path, &config, checkpoint.map(PathBuf::as_path))
}

fn read_json(path: &Path) -> Result<Value, ModelError> {
    let io = |error| ModelError::Io {
        path: path.into(),
        error,
    };
    let length = std::fs::metadata(path).map_err(io)?.len();
    if Bytes(length) > LARGEST_CONFIG {
        return Err(ModelError::TooLarge(path.into()));
    }
    let text = std::fs::read(path).map_err(io)?;
    json::python(&text).map_err(|error| ModelError::Json {
        path: path.into(),
        error,
    })
}

/// How the checkpoint is quantised: a file beside config.json may say it instead.
fn scheme(path: &Path, config: &Value) -> Result<Option<Scheme>, ModelError> {
    let wrong = |path: &Path| {
        let path = path.to_path_buf();
        move |error| ModelError::Scheme { path, error }
    };
    if let Some(scheme) = Scheme::from_config(config).map_err(wrong(path))? {
        return Ok(Some(scheme));
    }
    for file in SIDE_FILES {
        let beside = path.with_file_name(file);
        if beside.is_file() {
            let text = read_json(&beside)?;
            let scheme = Scheme::from_side_file(file, &text).map_err(wrong(&beside))?;
            return Ok(Some(scheme));
        }
    }
    Ok(None)
}

/// A model by its configuration at `path`, held against the headers of its checkpoint if there is one.
/// Without a family, the tensors alone are the model.
fn read_checkpoint(
    path: &Path,
    config: &Value,
    checkpoint: Option<&Path>,
) -> Result<Model, ModelError> {
    // A folder is what transformers loads.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let name = folder.unwrap_or(Path::new(".")).to_string_lossy();
    let scheme = scheme(path, config)?;
    let origin = Origin::Config(path.to_string_lossy().into_owned());
    let at = |error| ModelError::Config {
        path: path.into(),
        error,
    };
    let model = config::model(&name, origin, config);
    let Some(checkpoint) = checkpoint else {
        let model = model.map_err(at)?;
        return match scheme {
            None => Ok(model),
            Some(scheme) => packed(model, &scheme).map_err(|fault| ModelError::Mismatch {
                path: path.into(),
                fault: fault.into(),
            }),
        };
    };
    let found = safetensors::read(checkpoint)?.tensors;
    let file = checkpoint.to_string_lossy();
    let origin = Origin::Safetensors(file.clone().into_owned());
    let quantised = scheme.as_ref().map(|scheme| scheme.method);
    let model = match model {
        Ok(model) => {
            headers::held(model, &found, scheme.as_ref()).map_err(|fault| ModelError::Mismatch {
                path: checkpoint.into(),
                fault,
            })?
        }
        Err(ConfigError::UnknownArchitecture(_) | ConfigError::NoArchitecture) => {
            let empty = serde_json::Map::new();
            let keys = Keys::new(config.as_object().unwrap_or(&empty));
            from_tensors::model(&name, &file, &found, &keys).map_err(|error| {
                ModelError::Tensors {
                    path: checkpoint.into(),
                    error,
                }
            })?
        }
        Err(error) => return Err(at(error)),
    };
    Ok(Model {
        origin,
        quantised,
        ..model
    })
}

/// A model of a quantised checkpoint whose headers are not at hand.
fn packed(model: Model, scheme: &Scheme) -> Result<Model, StorageError> {
    let model = headers::packed_by(model, scheme)?;
    Ok(Model {
        quantised: Some(scheme.method),
        ..model
    })
}
