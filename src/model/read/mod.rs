//! Readers of the headers of weight files: which tensors there are, their shapes and their sizes.
//!
//! The weights themselves are never read: a header of a 400 GB model is a few megabytes. Nothing
//! here knows what a tensor is for; that is the model's business. A header is data from a stranger:
//! every length is checked against the file before it is believed, and every count has a limit.

mod error;
pub(in crate::model) mod excerpt;
pub mod gguf;
pub mod json;
pub mod safetensors;

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use crate::model::format::Format;
use crate::units::Bytes;

pub(in crate::model) use error::shown;
pub use error::{ReadError, ReadErrorKind};

/// One tensor as a header states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name in the file.
    pub name: String,
    /// Shape, slowest first as in PyTorch (a GGUF header states the reverse): the last is the
    /// length of a row. Empty for a scalar.
    pub dims: Vec<u64>,
    /// How its elements are stored.
    pub format: Format,
    /// What it takes in the file. For [`Format::FP8`] this lacks the scale, which files keep as a
    /// tensor of its own.
    pub bytes: Bytes,
}

impl TensorInfo {
    /// How many elements it has.
    pub fn elements(&self) -> u64 {
        let dims = self.dims.iter();
        dims.fold(1, |product: u64, dim| product.saturating_mul(*dim))
    }
}

/// More tensors than any model has; the largest known checkpoints have about 100 000.
const TENSOR_LIMIT: u64 = 1_000_000;

/// How the file that stands in for one not yet fetched by Git LFS begins.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A Git LFS pointer is shorter than this, by its specification.
const LFS_POINTER_LIMIT: u64 = 1024;

/// Opens a weight file or an excerpt of one, and tells how long the whole is.
fn open(path: &Path) -> Result<(File, Bytes), ReadErrorKind> {
    // Looked at before it is opened: opening a pipe would wait for somebody to write into it.
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        return Err(ReadErrorKind::NotAFile);
    }
    let mut file = File::open(path)?;
    if metadata.len() < LFS_POINTER_LIMIT {
        let mut start = Vec::new();
        (&file)
            .take(LFS_POINTER.len() as u64)
            .read_to_end(&mut start)?;
        if start == LFS_POINTER {
            return Err(ReadErrorKind::LfsPointer);
        }
        file.rewind()?;
    }
    let length = excerpt::full_length(&mut file, metadata.len())?;
    Ok((file, length))
}

/// Every file of `names` lies in `folder`.
fn all_present(folder: &Path, names: &[String]) -> Result<(), ReadErrorKind> {
    let absent = |name: &&String| matches!(folder.join(name).try_exists(), Ok(false));
    let mut missing = names.iter().filter(absent);
    match missing.next() {
        None => Ok(()),
        Some(name) => Err(ReadErrorKind::MissingShard {
            name: name.clone(),
            n_missing: 1 + missing.count(),
            n_files: names.len(),
        }),
    }
}

/// No two tensors share a name.
fn unique_names(tensors: &[TensorInfo]) -> Result<(), ReadErrorKind> {
    let mut seen = HashSet::with_capacity(tensors.len());
    match tensors.iter().find(|tensor| !seen.insert(&tensor.name)) {
        None => Ok(()),
        Some(tensor) => Err(ReadErrorKind::DuplicateTensor {
            tensor: tensor.name.clone(),
        }),
    }
}

/// The product of a tensor's dimensions, below 2⁶³ as in every framework.
fn count_elements(tensor: &str, dims: &[u64]) -> Result<u64, ReadErrorKind> {
    dims.iter()
        .try_fold(1, |product: u64, dim| product.checked_mul(*dim))
        .filter(|elements| *elements <= i64::MAX as u64)
        .ok_or_else(|| ReadErrorKind::Overflow {
            tensor: tensor.to_owned(),
            dims: dims.to_vec(),
        })
}
