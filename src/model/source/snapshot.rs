//! The layout of Hugging Face's cache, which ours shares:
//! `models--org--name/{refs/REVISION, snapshots/COMMIT/FILE, blobs}`.
//!
//! A reference holds a commit. A file of a snapshot is a link to a blob, or a file where the system
//! has no links. A blob whose download has not ended is called `*.incomplete`, and no snapshot has it
//! yet. Source: huggingface_hub, `file_download.py` (ee0a4510).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::name::{HubName, is_plain_path};
use super::need::{CONFIG, INDEX, Need, SINGLE, may_be_elsewhere, need};
use super::{Found, SourceError};
use crate::model::read::safetensors::{self, JSON_LIMIT};

/// What of a model lies in a cache.
#[derive(Debug)]
pub(super) enum Local {
    /// Nothing.
    Absent,
    /// Not all.
    Incomplete {
        /// Files that are needed and are not there.
        missing: Vec<String>,
        /// Downloads that have not ended.
        partial: Vec<String>,
    },
    /// All that is needed.
    Ready(Found),
}

/// The folder of a repository in a cache.
pub(super) fn folder(cache: &Path, repository: &str) -> PathBuf {
    cache.join(format!("models--{}", repository.replace('/', "--")))
}

/// The repository that a folder of a cache is of.
pub(super) fn repository(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?.strip_prefix("models--")?;
    let is_one = folder.join("snapshots").is_dir();
    is_one.then(|| name.replace("--", "/"))
}

/// Whether the text is a commit's number.
pub(super) fn is_commit(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Looks for a model in a cache.
pub(super) fn find(cache: &Path, name: &HubName) -> Result<Local, SourceError> {
    let folder = folder(cache, &name.repository);
    let partial = partial(&folder, "blobs");
    let Some(snapshot) = snapshot(&folder, &name.revision) else {
        return Ok(match partial.is_empty() {
            true => Local::Absent,
            false => Local::Incomplete {
                missing: Vec::new(),
                partial,
            },
        });
    };
    let mut files = Vec::new();
    collect(&snapshot, "", &mut files);
    files.sort();
    let (found, missing) = match need(&files, name) {
        Ok(Need::Gguf(parts)) => {
            let found = Found::Gguf {
                path: snapshot.join(&parts[0]),
                file: parts[0].clone(),
            };
            (found, absent(&snapshot, parts))
        }
        Ok(Need::Checkpoint) => {
            let wanted = checkpoint(&snapshot, &files)?;
            (Found::Folder(snapshot.clone()), absent(&snapshot, wanted))
        }
        Err(error) if may_be_elsewhere(&error) && partial.is_empty() => return Ok(Local::Absent),
        Err(error) if may_be_elsewhere(&error) => {
            return Ok(Local::Incomplete {
                missing: Vec::new(),
                partial,
            });
        }
        Err(error) => return Err(error),
    };
    Ok(match missing.is_empty() {
        true => Local::Ready(found),
        false => Local::Incomplete { missing, partial },
    })
}

impl Local {
    /// What is there, where it is all.
    pub(super) fn ready(self, name: &HubName) -> Result<Found, SourceError> {
        match self {
            Self::Ready(found) => Ok(found),
            Self::Absent => Err(SourceError::NoModel {
                name: name.to_string(),
                is_adapter: false,
            }),
            Self::Incomplete { missing, partial } => Err(SourceError::Incomplete {
                name: name.to_string(),
                missing,
                partial,
                hint: format!("`hf download {}` fetches what is missing", name.repository),
            }),
        }
    }
}

/// The folder of the revision's files.
fn snapshot(folder: &Path, revision: &str) -> Option<PathBuf> {
    let commit = commit(&folder.join("refs").join(revision));
    let commit = commit.unwrap_or_else(|| revision.to_owned());
    let snapshot = folder.join("snapshots").join(commit);
    snapshot.is_dir().then_some(snapshot)
}

/// The commit that a reference holds.
fn commit(reference: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(reference).ok()?;
    file.take(100).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned()).filter(|text| is_commit(text))
}

/// Downloads into a folder of `above` that have not ended.
pub(super) fn partial(above: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(above.join(folder));
    let names = entries.into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".incomplete")).collect();
    names.sort();
    names
        .iter()
        .map(|name| format!("{folder}/{name}"))
        .collect()
}

/// The paths of all files below a snapshot, those included whose blob is not there.
fn collect(snapshot: &Path, below: &str, files: &mut Vec<String>) {
    /// Deeper than any repository of a model.
    const MOST_LEVELS: usize = 4;
    let entries = fs::read_dir(snapshot.join(below)).into_iter().flatten();
    for entry in entries.flatten() {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && name.split('/').count() < MOST_LEVELS => {
                collect(snapshot, &format!("{name}/"), files);
            }
            Ok(kind) if kind.is_dir() => {}
            // A name that no repository may have is not one of its files.
            _ if is_plain_path(&name) => files.push(name),
            _ => {}
        }
    }
}

/// The files without which a checkpoint cannot be loaded.
fn checkpoint(snapshot: &Path, files: &[String]) -> Result<Vec<String>, SourceError> {
    let mut wanted = vec![CONFIG.to_owned()];
    let index = snapshot.join(INDEX);
    if files.iter().any(|file| file == INDEX) {
        wanted.push(INDEX.to_owned());
        if index.is_file() {
            let names = read(&index).and_then(|text| {
                safetensors::read_index(&text).map_err(|kind| SourceError::Header {
                    what: index.to_string_lossy().into_owned(),
                    kind,
                })
            });
            wanted.extend(names?);
        }
    } else if !files.iter().any(|file| file.ends_with(".bin")) {
        wanted.push(SINGLE.to_owned());
    }
    Ok(wanted)
}

fn read(index: &Path) -> Result<Vec<u8>, SourceError> {
    let mut text = Vec::new();
    fs::File::open(index)
        .and_then(|file| file.take(JSON_LIMIT.0).read_to_end(&mut text))
        .map(|_| text)
        .map_err(|error| SourceError::Header {
            what: index.to_string_lossy().into_owned(),
            kind: error.into(),
        })
}

/// Those of the files that are not there; a link to nothing is none.
fn absent(snapshot: &Path, files: Vec<String>) -> Vec<String> {
    let is_absent = |file: &String| !snapshot.join(file).is_file();
    files.into_iter().filter(is_absent).collect()
}
