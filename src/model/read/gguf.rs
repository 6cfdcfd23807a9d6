//! The header of a GGUF file: metadata and tensors, of one file or of all files of a split model.
//!
//! Versions 2 and 3, little-endian. Layout and checks follow `ggml/src/gguf.cpp` of llama.cpp, and
//! splitting follows `src/llama-model-loader.cpp`. Not here: what a key means, and the vocabulary,
//! which is skipped.

mod header;
mod source;
mod split;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ReadError, ReadErrorKind, TENSOR_LIMIT, TensorInfo, all_present, open, unique_names};
use crate::units::Bytes;
pub(in crate::model) use split::SplitName;

pub use header::read_header;
pub use value::Value;

/// What the header of a GGUF model states, checked against the length of its files.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// Every entry; of a split model those of its first file, which alone has them all.
    pub metadata: BTreeMap<String, Value>,
    /// Every tensor, in the order of the headers.
    pub tensors: Vec<TensorInfo>,
    /// Where in the first file the data begins.
    pub data_offset: Bytes,
    /// The files read, in order: one, or all of a split model. Empty if read from memory.
    pub files: Vec<PathBuf>,
}

/// Reads the header of the model in `path`, which may be any file of a split model.
///
/// ```no_run
/// let gguf = shardplan::model::read::gguf::read("model-00001-of-00003.gguf".as_ref())?;
/// assert_eq!(gguf.files.len(), 3);
/// # Ok::<(), shardplan::model::read::ReadError>(())
/// ```
///
/// # Errors
/// Where a file is missing, no GGUF, or contradicts itself or its length.
pub fn read(path: &Path) -> Result<Gguf, ReadError> {
    if let Some(split) = SplitName::of(path).filter(|split| split.count > 1) {
        return read_split(path, &split);
    }
    let gguf = read_file(path).map_err(|kind| kind.at(path))?;
    match gguf.unsigned("split.count") {
        Some(stated) if stated > 1 => Err(ReadErrorKind::SplitCount { stated, named: 1 }.at(path)),
        _ => Ok(gguf),
    }
}

fn read_file(path: &Path) -> Result<Gguf, ReadErrorKind> {
    let (file, length) = open(path)?;
    let mut gguf = read_header(file, length)?;
    gguf.files.push(path.to_owned());
    Ok(gguf)
}

fn read_split(path: &Path, split: &SplitName) -> Result<Gguf, ReadError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let names: Vec<String> = (0..split.count).map(|index| split.name(index)).collect();
    all_present(folder, &names).map_err(|kind| kind.at(path))?;

    let mut joined: Option<Gguf> = None;
    for (index, name) in (0..).zip(&names) {
        let member_path = folder.join(name);
        let member = read_file(&member_path)
            .and_then(|member| belongs(member, index, split.count))
            .map_err(|kind| kind.at(&member_path))?;
        match &mut joined {
            None => joined = Some(member),
            Some(joined) => {
                joined.tensors.extend(member.tensors);
                joined.files.extend(member.files);
            }
        }
    }
    let joined = joined.expect("a split name counts at least one file");
    complete(joined).map_err(|kind| kind.at(&folder.join(&names[0])))
}

/// What the header of one split file says of its place agrees with its name.
fn belongs(member: Gguf, index: u64, count: u64) -> Result<Gguf, ReadErrorKind> {
    let stated = member.unsigned("split.count").unwrap_or(1);
    if stated != count {
        return Err(ReadErrorKind::SplitCount {
            stated,
            named: count,
        });
    }
    match member.unsigned("split.no") {
        Some(number) if number != index => Err(ReadErrorKind::SplitNumber {
            // Counted from 1, as in the name.
            stated: number.saturating_add(1),
            named: index + 1,
        }),
        _ => Ok(member),
    }
}

/// The joined files have all the tensors, each once.
fn complete(joined: Gguf) -> Result<Gguf, ReadErrorKind> {
    let found = joined.tensors.len() as u64;
    if found > TENSOR_LIMIT {
        return Err(ReadErrorKind::TooLarge {
            what: "the count of tensors".to_owned(),
            value: found,
            limit: TENSOR_LIMIT,
        });
    }
    match joined.unsigned("split.tensors.count") {
        Some(stated) if stated != found => Err(ReadErrorKind::SplitTensors { stated, found }),
        _ => unique_names(&joined.tensors).map(|()| joined),
    }
}

impl Gguf {
    /// The text under `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::Text(text) => Some(text),
            Value::Unsigned(_)
            | Value::Signed(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Array { .. } => None,
        }
    }

    /// The whole number under `key`, if it is not negative.
    pub fn unsigned(&self, key: &str) -> Option<u64> {
        self.metadata.get(key)?.unsigned()
    }

    /// The whole numbers under `key`, one a layer: those of an array that was kept.
    pub fn unsigneds(&self, key: &str) -> Option<Vec<u64>> {
        match self.metadata.get(key)? {
            Value::Array { length, values } if *length == values.len() as u64 => {
                values.iter().map(Value::unsigned).collect()
            }
            Value::Array { .. }
            | Value::Unsigned(_)
            | Value::Signed(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Text(_) => None,
        }
    }

    /// How long the array under `key` is, kept or not: `tokenizer.ggml.tokens` is the vocabulary.
    pub fn array_length(&self, key: &str) -> Option<u64> {
        match self.metadata.get(key)? {
            Value::Array { length, .. } => Some(*length),
            Value::Unsigned(_)
            | Value::Signed(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Text(_) => None,
        }
    }
}
