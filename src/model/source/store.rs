//! Our own cache of headers that were fetched, one below the other as in Hugging Face's:
//! `hub/HOST/models--org--name/snapshots/COMMIT/FILE`.
//!
//! A commit never changes, so that what is here is never out of date. Files are written whole or not
//! at all, so that several programs may share it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{SourceError, Sources, snapshot};

/// The part of the cache that is of one server.
pub(super) struct Store {
    root: PathBuf,
}

impl Store {
    pub(super) fn new(sources: &Sources) -> Self {
        // One server may not fill in for another.
        let server = sources.endpoint.replace("https://", "");
        let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-".contains(letter);
        let server = server.replace(|letter| !plain(letter), "_");
        Self {
            root: sources.cache.join("hub").join(server),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of all files of a commit.
    pub(super) fn snapshot(&self, repository: &str, commit: &str) -> PathBuf {
        let folder = snapshot::folder(&self.root, repository);
        folder.join("snapshots").join(commit)
    }

    /// Remembers which commit a revision was, for when nobody can be asked.
    pub(super) fn remember(
        &self,
        repository: &str,
        revision: &str,
        commit: &str,
    ) -> Result<(), SourceError> {
        let folder = snapshot::folder(&self.root, repository);
        write(&folder.join("refs").join(revision), commit.as_bytes())
    }
}

/// Writes a file whole: into a neighbour first, which then takes its place.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let neighbour = format!(".{}-{number}.partial", std::process::id());
    let neighbour = path.with_file_name(neighbour);
    let written = fs::create_dir_all(path.parent().unwrap_or(Path::new("")))
        .and_then(|()| fs::write(&neighbour, bytes))
        .and_then(|()| fs::rename(&neighbour, path));
    written.map_err(|error| {
        // The first error is the one to tell; a neighbour that never came to be needs no removal.
        let _ = fs::remove_file(&neighbour);
        SourceError::Cache {
            path: path.to_owned(),
            error,
        }
    })
}
