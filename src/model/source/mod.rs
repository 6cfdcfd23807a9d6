//! Where models come from: Hugging Face's cache and Hub, and Ollama's store.
//!
//! A name becomes a path on this machine. Of a model on the Hub only the headers are fetched, into a
//! cache of our own, where the readers find them as they would find a whole download. What a header
//! says is not decided here.

mod choice;
mod environment;
mod error;
mod http;
mod hub;
mod name;
mod need;
mod ollama;
mod snapshot;
mod store;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use choice::ChoiceError;
pub use environment::Proxies;
pub use error::{HttpError, SourceError};
pub use name::{HubName, NameError, OllamaName, Pick};

/// The places where models are looked for, and how.
#[derive(Clone)]
pub struct Sources {
    /// Hugging Face's cache: the folder with `models--org--name`.
    pub hub_cache: PathBuf,
    /// Ollama's store: the folder with `manifests` and `blobs`.
    pub ollama: PathBuf,
    /// Where fetched headers are kept.
    pub cache: PathBuf,
    /// The address of the Hub, without a slash at its end.
    pub endpoint: String,
    /// What the Hub knows the user by.
    pub token: Option<String>,
    /// Whether the Hub may not be asked.
    pub offline: bool,
    /// Through which proxies it is asked.
    pub proxies: Proxies,
    /// How long a server may be silent.
    pub patience: Duration,
    /// How to wait before asking again.
    pub pause: fn(Duration),
    /// Whom to tell what is going on; may be called from several threads.
    pub tell: fn(&Event<'_>),
}

/// Something that a person may want to know meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The header of a file is being fetched.
    Fetching {
        /// The file.
        file: &'a str,
        /// Which of them it is, from 1.
        number: usize,
        /// How many there are.
        count: usize,
    },
    /// A sentence about what was found.
    Remark(&'a str),
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A GGUF file, whatever its ending.
    Gguf {
        /// Where its header can be read.
        path: PathBuf,
        /// What a framework can load: the path, or the name of what is not on this machine.
        file: String,
    },
    /// A folder with a `config.json`.
    Folder(PathBuf),
}

impl Sources {
    /// Sources without a place: nothing is found, nobody is told, and waiting is real.
    fn nowhere() -> Self {
        Self {
            hub_cache: PathBuf::new(),
            ollama: PathBuf::new(),
            cache: PathBuf::new(),
            endpoint: String::new(),
            token: None,
            offline: false,
            proxies: Proxies::default(),
            patience: Duration::from_secs(30),
            pause: std::thread::sleep,
            tell: |_| (),
        }
    }

    /// What a name with a scheme stands for; nothing of a name without one.
    ///
    /// # Errors
    /// Where it stands for nothing that can be read.
    pub fn find(&self, name: &str) -> Result<Option<Found>, SourceError> {
        if HubName::is_meant(name) {
            return self.in_hub(&name.parse()?).map(Some);
        }
        if OllamaName::is_meant(name) {
            return ollama::find(self, &name.parse()?).map(Some);
        }
        // The folder of a repository in Hugging Face's cache, whose snapshots are further down.
        let folder = Path::new(name);
        if let Some(repository) = snapshot::repository(folder) {
            let name: HubName = format!("hf:{repository}").parse()?;
            let cache = folder.parent().unwrap_or(Path::new(""));
            let found = snapshot::find(cache, &name)?.ready(&name)?;
            return Ok(Some(found.here()));
        }
        // Where `hf download --local-dir` puts what it has not ended.
        if let [first, ..] = &*snapshot::partial(folder, ".cache/huggingface/download") {
            let remark = format!("`{name}`: a download into it has not ended (`{first}`)");
            (self.tell)(&Event::Remark(&remark));
        }
        Ok(None)
    }

    fn in_hub(&self, name: &HubName) -> Result<Found, SourceError> {
        let local = snapshot::find(&self.hub_cache, name)?;
        if let snapshot::Local::Ready(found) = local {
            return Ok(found.here());
        }
        let store = store::Store::new(self);
        let fetched = || match snapshot::find(store.root(), name) {
            Ok(snapshot::Local::Ready(found)) => Some(found.named(name)),
            _ => None,
        };
        if self.offline {
            let absent = || SourceError::Offline {
                name: name.to_string(),
                cache: self.hub_cache.clone(),
            };
            return match (fetched(), local) {
                (Some(found), _) => Ok(found),
                (None, snapshot::Local::Absent) => Err(absent()),
                (None, local) => local.ready(name).map(Found::here),
            };
        }
        if let snapshot::Local::Incomplete { .. } = local {
            let remark =
                "the local cache has only a part of it, so its headers are read from the Hub";
            (self.tell)(&Event::Remark(&format!("`{name}`: {remark}")));
        }
        match hub::find(self, &store, name) {
            Err(SourceError::Http {
                error: error @ (HttpError::Unreachable { .. } | HttpError::Timeout { .. }),
                what,
            }) => match fetched() {
                Some(found) => {
                    let remark = format!(
                        "`{name}`: the Hub can't be reached, so what was fetched before is used"
                    );
                    (self.tell)(&Event::Remark(&remark));
                    Ok(found)
                }
                None => Err(SourceError::Http { what, error }),
            },
            other => other.map(|found| found.named(name)),
        }
    }
}

impl Found {
    /// A file whose weights are on this machine goes by its path.
    fn here(self) -> Self {
        match self {
            Self::Gguf { path, .. } => Self::Gguf {
                file: path.to_string_lossy().into_owned(),
                path,
            },
            folder @ Self::Folder(_) => folder,
        }
    }

    /// A file whose weights are on the Hub goes by its name there.
    fn named(self, name: &HubName) -> Self {
        match self {
            Self::Gguf { path, file } => {
                let name = HubName {
                    pick: Pick::File(file),
                    ..name.clone()
                };
                Self::Gguf {
                    path,
                    file: name.to_string(),
                }
            }
            folder @ Self::Folder(_) => folder,
        }
    }
}
