//! The index of a checkpoint of several files: which tensor lies in which file.
//!
//! It has names alone; shapes and formats stand in the headers of the files, which are all read.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Component, Path};
use std::thread;

use serde::Deserialize;

use super::super::{ReadError, ReadErrorKind, all_present, json, open};
use super::entries::Entries;
use super::{JSON_LIMIT, Safetensors, read_file};

/// More threads gain nothing: what remains is done by one.
const MOST_THREADS: usize = 8;

/// The part of an index that is read.
#[derive(Deserialize)]
struct Index<'text> {
    /// From tensor to file.
    #[serde(borrow)]
    weight_map: Entries<'text>,
}

pub(super) fn read_all(path: &Path) -> Result<Safetensors, ReadError> {
    let text = read_text(path).map_err(|kind| kind.at(path))?;
    join(path, &text)
}

fn read_text(path: &Path) -> Result<Vec<u8>, ReadErrorKind> {
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

/// The names of the files that an index of this text lists, each once and in order.
///
/// # Errors
/// Where it is no index, lists a tensor twice, or names a file outside its folder.
pub fn read_index(text: &[u8]) -> Result<Vec<String>, ReadErrorKind> {
    let index: Index<'_> = json::strict(text)?;
    by_tensor(&index.weight_map)?;
    shards(&index.weight_map)
}

/// Reads every file that the index of this text names, and compares what they have.
fn join(path: &Path, text: &[u8]) -> Result<Safetensors, ReadError> {
    let index: Index<'_> =
        json::strict(text).map_err(|error| ReadErrorKind::from(error).at(path))?;
    let mut listed = by_tensor(&index.weight_map).map_err(|kind| kind.at(path))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let shards = shards(&index.weight_map).map_err(|kind| kind.at(path))?;
    all_present(folder, &shards).map_err(|kind| kind.at(path))?;

    let mut joined = Safetensors {
        metadata: BTreeMap::new(),
        tensors: Vec::new(),
        files: Vec::new(),
    };
    for (shard, member) in shards.iter().zip(read_each(folder, &shards)) {
        let member = member?;
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
    if listed.is_empty() {
        return Ok(joined);
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

/// Reads the headers of these files, several at a time: of 160 files each has 100 kB to parse.
fn read_each(folder: &Path, shards: &[String]) -> Vec<Result<Safetensors, ReadError>> {
    let read = |shard: &String| {
        let path = folder.join(shard);
        read_file(&path).map_err(|kind| kind.at(&path))
    };
    let n_threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_THREADS);
    let at_once = shards.len().div_ceil(n_threads).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = shards
            .chunks(at_once)
            .map(|part| scope.spawn(move || part.iter().map(read).collect::<Vec<_>>()))
            .collect();
        let finished = threads.into_iter().map(|thread| thread.join());
        finished
            .flat_map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
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

/// The names of all files, sorted; each stays in the folder.
fn shards(weight_map: &Entries<'_>) -> Result<Vec<String>, ReadErrorKind> {
    let mut names: Vec<&str> = weight_map.0.iter().map(|(_, shard)| &*shard.0).collect();
    // Neighbours mostly lie in one file, so that few are left to sort.
    names.dedup();
    names.sort_unstable();
    names.dedup();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    match names.iter().find(|name| !is_plain_name(name)) {
        None => Ok(names),
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
