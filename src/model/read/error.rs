//! Why a weight file could not be read, and what its owner can do about it.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::json::JsonError;
use crate::model::format::Format;
use crate::units::Bytes;

/// A weight file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {kind}", path.display())]
pub struct ReadError {
    /// The file at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: ReadErrorKind,
}

/// What is wrong with a weight file. Offsets and lengths count from the beginning of the file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the sentence of a variant is its explanation")]
pub enum ReadErrorKind {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is no regular file")]
    NotAFile,
    #[error("is a Git LFS pointer, which stands in for the file itself")]
    LfsPointer,
    #[error(
        "{} takes {} bytes from byte {}, and the file has {}: it is truncated or damaged",
        shown(what), needed.0, offset.0, length.0
    )]
    Truncated {
        what: String,
        offset: Bytes,
        needed: Bytes,
        length: Bytes,
    },
    #[error("begins with `{}` and not with `GGUF`: it is no GGUF file", found.escape_ascii())]
    BadMagic { found: [u8; 4] },
    #[error("is a GGUF file of version {version}, and only versions 2 and 3 are understood")]
    UnsupportedVersion { version: u32 },
    #[error("is a big-endian GGUF file, and only little-endian ones are understood")]
    BigEndian,
    #[error(
        "{} is {value}, and at most {limit} is plausible: the file is damaged",
        shown(what)
    )]
    TooLarge {
        what: String,
        value: u64,
        limit: u64,
    },
    #[error("{} is no valid UTF-8", shown(what))]
    BadText { what: String },
    #[error("metadata key `{}` appears twice", shown(key))]
    DuplicateKey { key: String },
    #[error(
        "`general.alignment` is {}, which is no power of two",
        shown(alignment)
    )]
    BadAlignment { alignment: String },
    #[error("`{}` has values of the unknown type {number}", shown(key))]
    UnknownValueType { key: String, number: u32 },
    #[error(
        "`{}` is an array of arrays, which llama.cpp does not read either",
        shown(key)
    )]
    NestedArray { key: String },

    #[error("tensor `{}` appears twice", shown(tensor))]
    DuplicateTensor { tensor: String },
    #[error(
        "tensor `{}` has elements of type {}, which is unknown here",
        shown(tensor),
        shown(type_name)
    )]
    UnknownType { tensor: String, type_name: String },
    #[error(
        "tensor `{}` has {n_dims} dimensions, and 1 to {limit} are possible",
        shown(tensor)
    )]
    Dimensions {
        tensor: String,
        n_dims: u32,
        limit: u32,
    },
    #[error(
        "tensor `{}` of shape {dims:?} has more elements than can be counted",
        shown(tensor)
    )]
    Overflow { tensor: String, dims: Vec<u64> },
    #[error(
        "tensor `{}` has rows of {row} elements, which are no whole blocks of {} ({format})",
        shown(tensor), format.block()
    )]
    PartialBlock {
        tensor: String,
        row: u64,
        format: Format,
    },
    #[error("tensor `{}` has {} bytes, and its shape needs {}", shown(tensor), stated.0, needed.0)]
    WrongSize {
        tensor: String,
        stated: Bytes,
        needed: Bytes,
    },
    #[error(
        "tensor `{}` begins at byte {} of the data, which is no multiple of {}",
        shown(tensor), offset.0, alignment.0
    )]
    Misaligned {
        tensor: String,
        offset: Bytes,
        alignment: Bytes,
    },
    #[error(
        "tensor `{}` ends at byte {end}, and the file has {}: it is truncated or damaged",
        shown(tensor), length.0
    )]
    PastEnd {
        tensor: String,
        /// May exceed what fits a file.
        end: u128,
        length: Bytes,
    },
    #[error("tensor `{}` ends before it begins", shown(tensor))]
    Backwards { tensor: String },
    #[error("tensors `{}` and `{}` overlap at byte {}", shown(first), shown(second), at.0)]
    Overlap {
        first: String,
        second: String,
        at: Bytes,
    },
    #[error("nothing claims the bytes from {} to {}: the file is damaged", from.0, to.0)]
    Unclaimed { from: Bytes, to: Bytes },

    #[error(
        "`{}` beside it is missing ({n_missing} of {n_files} files are)",
        shown(name)
    )]
    MissingShard {
        name: String,
        n_missing: usize,
        n_files: usize,
    },
    #[error("its header counts {stated} split files, and its name {named}")]
    SplitCount { stated: u64, named: u64 },
    #[error("its header says that it is split file {stated}, and its name {named}")]
    SplitNumber { stated: u64, named: u64 },
    #[error("its header counts {stated} tensors in all split files, and they have {found}")]
    SplitTensors { stated: u64, found: u64 },

    #[error("{0}")]
    Json(#[from] JsonError),
    #[error("`{}` is no name of a file beside it", shown(name))]
    BadShardName { name: String },
    #[error(
        "tensor `{}` should be in `{}` and is not",
        shown(tensor),
        shown(shard)
    )]
    NotInShard { tensor: String, shard: String },
    #[error(
        "tensor `{}` of `{}` is not listed for that file",
        shown(tensor),
        shown(shard)
    )]
    NotInIndex { tensor: String, shard: String },
}

impl ReadErrorKind {
    /// Says which file it happened to.
    pub fn at(self, path: &Path) -> ReadError {
        ReadError {
            path: path.to_owned(),
            kind: self,
        }
    }
}

impl ReadError {
    /// The sentence, and on a line of its own what the user could do.
    pub(in crate::model) fn with_hint(&self) -> String {
        let hint = self.hint().map(|hint| format!("\nhint: {hint}"));
        format!("{self}{}", hint.unwrap_or_default())
    }

    /// What the user could do, where something can be done.
    pub fn hint(&self) -> Option<String> {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        let name = name.to_string_lossy();
        match &self.kind {
            ReadErrorKind::NotAFile => Some("name the file itself, not its folder".to_owned()),
            ReadErrorKind::LfsPointer => Some(format!("run `git lfs pull` beside `{name}`")),
            ReadErrorKind::Truncated { .. }
            | ReadErrorKind::PastEnd { .. }
            | ReadErrorKind::Unclaimed { .. }
            | ReadErrorKind::TooLarge { .. } => {
                Some(format!("download `{name}` again, and compare its size"))
            }
            ReadErrorKind::BadMagic { .. } => Some(format!(
                "if `{name}` was downloaded, it may be a web page: look at its size"
            )),
            ReadErrorKind::UnsupportedVersion { version: 0 | 1 } => {
                Some("convert the original checkpoint again with a current llama.cpp".to_owned())
            }
            ReadErrorKind::UnsupportedVersion { .. } => None,
            ReadErrorKind::BigEndian => Some(format!(
                "`pip install gguf`, then `gguf-convert-endian {name} little`"
            )),
            ReadErrorKind::MissingShard { name: shard, .. }
            | ReadErrorKind::NotInShard { shard, .. } => {
                Some(format!("download `{}` beside `{name}`", shown(shard)))
            }
            ReadErrorKind::NotInIndex { .. } => {
                Some("take the index and all shards from one revision of the model".to_owned())
            }
            ReadErrorKind::SplitCount { stated, .. } if *stated > 1 => Some(format!(
                "give all {stated} files the names `NAME-00001-of-{stated:05}.gguf` and so on"
            )),
            ReadErrorKind::SplitCount { .. }
            | ReadErrorKind::SplitNumber { .. }
            | ReadErrorKind::SplitTensors { .. } => {
                Some("give every file the name under which it was published".to_owned())
            }
            ReadErrorKind::Io(_)
            | ReadErrorKind::BadText { .. }
            | ReadErrorKind::DuplicateKey { .. }
            | ReadErrorKind::BadAlignment { .. }
            | ReadErrorKind::UnknownValueType { .. }
            | ReadErrorKind::NestedArray { .. }
            | ReadErrorKind::DuplicateTensor { .. }
            | ReadErrorKind::UnknownType { .. }
            | ReadErrorKind::Dimensions { .. }
            | ReadErrorKind::Overflow { .. }
            | ReadErrorKind::PartialBlock { .. }
            | ReadErrorKind::WrongSize { .. }
            | ReadErrorKind::Misaligned { .. }
            | ReadErrorKind::Backwards { .. }
            | ReadErrorKind::Overlap { .. }
            | ReadErrorKind::Json(_)
            | ReadErrorKind::BadShardName { .. } => None,
        }
    }
}

/// More characters of a stranger's text than a sentence can bear.
const SHOWN_LIMIT: usize = 200;

/// A stranger's text, fit for a terminal: short, and without control characters.
pub(in crate::model) fn shown(text: &str) -> String {
    let mut safe = String::new();
    for character in text.chars().take(SHOWN_LIMIT) {
        if character.is_control() {
            let _ = write!(safe, "{}", character.escape_default());
        } else {
            safe.push(character);
        }
    }
    if text.chars().nth(SHOWN_LIMIT).is_some() {
        safe.push('…');
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_the_file_the_tensor_and_the_numbers() {
        let kind = ReadErrorKind::PastEnd {
            tensor: "blk.3.ffn_up.weight".to_owned(),
            end: 123,
            length: Bytes(100),
        };
        let error = kind.at(Path::new("folder/model.gguf"));
        let path = Path::new("folder/model.gguf").display();
        assert_eq!(
            error.to_string(),
            format!(
                "`{path}`: tensor `blk.3.ffn_up.weight` ends at byte 123, and the file has 100: \
                 it is truncated or damaged"
            )
        );
        assert_eq!(
            error.hint().as_deref(),
            Some("download `model.gguf` again, and compare its size")
        );
    }

    #[test]
    fn text_of_a_stranger_cannot_drive_the_terminal() {
        let error = ReadErrorKind::DuplicateKey {
            key: format!("\u{1b}[2J\n{}", "x".repeat(1000)),
        };
        let sentence = error.to_string();
        assert!(
            sentence.starts_with("metadata key `\\u{1b}[2J\\nxxx"),
            "{sentence}"
        );
        assert!(sentence.len() < 300, "{sentence}");
    }
}
