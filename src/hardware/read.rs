//! One argument that is a rig: the path of a document, or a rig in a line of text.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::document::{DocumentError, LARGEST};
use super::{Rig, RigError, text};

/// Reads a rig as users name it.
///
/// A path of an existing file, a string that ends in `.yaml` or `.yml`, and a string with a `/`
/// outside a rate (`936 GB/s`) is a document; all else is [text](super::text).
///
/// ```
/// let rig = shardplan::hardware::read("2x RTX 3090, ram 64 GiB")?;
/// assert_eq!(rig.devices().len(), 2);
/// # Ok::<(), shardplan::hardware::RigError>(())
/// ```
pub fn read(rig: &str) -> Result<Rig, RigError> {
    if names_a_file(rig) {
        let text = load(Path::new(rig)).map_err(|error| DocumentError::Unreadable {
            origin: rig.to_owned(),
            error,
        })?;
        Rig::from_yaml(&text, rig)
    } else {
        text::parse(rig)
    }
}

fn names_a_file(rig: &str) -> bool {
    let rig = rig.trim();
    let lower = rig.to_ascii_lowercase();
    lower.ends_with(".yaml")
        || lower.ends_with(".yml")
        || lower.replace("bit/s", "").replace("b/s", "").contains('/')
        || Path::new(rig).is_file()
}

/// Reads at most one byte more than a document may have, so that its length shows.
fn load(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LARGEST as u64 + 1)
        .read_to_end(&mut bytes)?;
    // A cut character would hide that the file is too long, so only short files must be UTF-8.
    if bytes.len() > LARGEST {
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_rates_are_told_apart() {
        for path in ["rig.yaml", "RIG.YML", "./desk", "/no/such/rig", "a/b"] {
            assert!(names_a_file(path), "{path}");
        }
        for text in [
            "RTX 3090",
            "24 GiB@936 GB/s, disk 3.2 GB/s",
            "24 GiB@3 tb/s",
            "RTX 3090; RTX 3060; network 10 Gbit/s",
        ] {
            assert!(!names_a_file(text), "{text}");
        }
    }

    #[test]
    fn a_missing_file_is_named_in_the_error() {
        let error = read("/no/such/rig.yaml").unwrap_err().to_string();
        assert!(error.contains("/no/such/rig.yaml"), "{error}");
    }

    #[test]
    fn a_file_is_read_as_a_document() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rig.yaml");
        std::fs::write(&path, "version: 1\nhosts:\n- devices: [{gpu: RTX 3090}]\n").unwrap();
        assert_eq!(read(path.to_str().unwrap()).unwrap().devices().len(), 1);
        std::fs::write(&path, vec![b'#'; LARGEST + 1]).unwrap();
        let error = read(path.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("1.00 MiB"), "{error}");
    }
}
