//! The header of a safetensors file, or of all files that a `model.safetensors.index.json` names.
//!
//! Layout and checks follow `safetensors/src/tensor.rs` of the safetensors crate (0.8). The index
//! is checked against the headers in both directions. Its `total_size` is ignored: published ones
//! are often wrong. Not here: which format a quantised checkpoint packs into `U8` or `I32`.

mod entries;
mod header;
mod index;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ReadError, ReadErrorKind, TensorInfo, open};
use crate::units::Bytes;

pub use header::read_header;
pub use index::read_index;

/// What the headers of a safetensors checkpoint state, checked against the length of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Safetensors {
    /// `__metadata__`, where of several files the first that has a key decides.
    pub metadata: BTreeMap<String, String>,
    /// Every tensor, by file in the order of `files`, then by offset.
    pub tensors: Vec<TensorInfo>,
    /// The files with tensors, by name.
    pub files: Vec<PathBuf>,
}

/// A longer header or index is refused, by the safetensors crate too.
pub(in crate::model) const JSON_LIMIT: Bytes = Bytes(100_000_000);

/// Reads the header of one safetensors file, or of every file that an index (`.json`) names.
///
/// ```no_run
/// use shardplan::model::read::safetensors;
///
/// let checkpoint = safetensors::read("model.safetensors.index.json".as_ref())?;
/// println!("{} tensors", checkpoint.tensors.len());
/// # Ok::<(), shardplan::model::read::ReadError>(())
/// ```
///
/// # Errors
/// Where a file is missing, no safetensors file, or contradicts itself, its length or the index.
pub fn read(path: &Path) -> Result<Safetensors, ReadError> {
    if path.extension().is_some_and(|ending| ending == "json") {
        return index::read_all(path);
    }
    read_file(path).map_err(|kind| kind.at(path))
}

fn read_file(path: &Path) -> Result<Safetensors, ReadErrorKind> {
    let (file, length) = open(path)?;
    let mut checkpoint = read_header(file, length)?;
    checkpoint.files.push(path.to_owned());
    Ok(checkpoint)
}
