//! The header of a safetensors file, or of all files that a `model.safetensors.index.json` names.
//!
//! Layout and checks follow `safetensors/src/tensor.rs` of the safetensors crate (0.8). The index
//! is checked against the headers in both directions. Its `total_size` is ignored: published ones
//! are often wrong. Not here: which format a quantised checkpoint packs into `U8` or `I32`.

mod entries;
mod header;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::{ReadError, ReadErrorKind, TensorInfo, all_present, json, open};
use crate::units::Bytes;
use entries::Entries;

pub use header::read_header;

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
const JSON_LIMIT: Bytes = Bytes(100_000_000);

/// The part of an index that is read.
#[derive(Deserialize)]
struct Index<'text> {
    /// From tensor to file.
    #[serde(borrow)]
    weight_map: Entries<'text>,
}

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
        return read_indexed(path);
    }
    read_file(path).map_err(|kind| kind.at(path))
}

fn read_file(path: &Path) -> Result<Safetensors, ReadErrorKind> {
    let (file, length) = open(path)?;
    let mut checkpoint = read_header(file, length)?;
    checkpoint.files.push(path.to_owned());
    Ok(checkpoint)
}

fn read_indexed(path: &Path) -> Result<Safetensors, ReadError> {
    let text = read_index(path).map_err(|kind| kind.at(path))?;
    join(path, &text)
}

fn read_index(path: &Path) -> Result<Vec<u8>, ReadErrorKind> {
    let (file, length) = open(path)?;
    if length > JSON_LIMIT {
        return Err(ReadErrorKind::TooLarge {
            what: "the length of the index".to_owned(),
            value: length.0,
            limit: JSON_LIMIT.0,
        });
    }
    let mut text = Vec::new();
    file.take(length.0).read_to_end(&mut text)?;
    Ok(text)
}

/// Reads every file that the index of this text names, and compares what they have.
fn join(path: &Path, text: &[u8]) -> Result<Safetensors, ReadError> {
    let index: Index<'_> =
        json::strict(text).map_err(|error| ReadErrorKind::from(error).at(path))?;
    let mut listed = by_tensor(&index.weight_map).map_err(|kind| kind.at(path))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let shards = shards(folder, &index.weight_map).map_err(|kind| kind.at(path))?;

    let mut joined = Safetensors {
        metadata: BTreeMap::new(),
        tensors: Vec::new(),
        files: Vec::new(),
    };
    for shard in &shards {
        let shard_path = folder.join(shard);
        let member = read_file(&shard_path).map_err(|kind| kind.at(&shard_path))?;
        for tensor in &member.tensors {
            // Removed, so that what is left in the end is what no file has.
            if listed.remove(tensor.name.as_str()) != Some(shard) {
                let (tensor, shard) = (tensor.name.clone(), shard.clone());
                return Err(ReadErrorKind::NotInIndex { tensor, shard }.at(path));
            }
        }
        joined.tensors.extend(member.tensors);
        joined.files.extend(member.files);
        for (key, value) in member.metadata {
            joined.metadata.entry(key).or_insert(value);
        }
    }
    let mut entries = index.weight_map.0.iter();
    match entries.find(|(tensor, _)| listed.contains_key(&*tensor.0)) {
        None => Ok(joined),
        Some((tensor, shard)) => {
            let (tensor, shard) = (tensor.0.to_string(), shard.0.to_string());
            Err(ReadErrorKind::NotInShard { tensor, shard }.at(path))
        }
    }
}

/// The file of each tensor.
fn by_tensor<'index>(
    weight_map: &'index Entries<'_>,
) -> Result<HashMap<&'index str, &'index str>, ReadErrorKind> {
    let mut listed = HashMap::with_capacity(weight_map.0.len());
    for (tensor, shard) in &weight_map.0 {
        if listed.insert(&*tensor.0, &*shard.0).is_some() {
            let tensor = tensor.0.to_string();
            return Err(ReadErrorKind::DuplicateTensor { tensor });
        }
    }
    Ok(listed)
}

/// The names of all files, sorted; each lies in `folder`.
fn shards(folder: &Path, weight_map: &Entries<'_>) -> Result<Vec<String>, ReadErrorKind> {
    let names: BTreeSet<&str> = weight_map.0.iter().map(|(_, shard)| &*shard.0).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    match names.iter().find(|name| !is_plain_name(name)) {
        None => all_present(folder, &names).map(|()| names),
        Some(name) => Err(ReadErrorKind::BadShardName { name: name.clone() }),
    }
}

/// Whether the name stays in the folder, on every system.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let one = matches!(
        (components.next(), components.next()),
        (Some(Component::Normal(_)), None)
    );
    one && !name.contains(['/', '\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_no_plain_names() {
        assert!(is_plain_name("model-00001-of-00002.safetensors"));
        assert!(is_plain_name("..model.safetensors"));
        for name in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../x",
            "a/b",
            "a/",
            "C:x",
            "a\\b",
            "a\0b",
        ] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
