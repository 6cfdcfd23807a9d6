//! A header that is kept without the weights behind it, and the length of the file that it is of.
//!
//! Such a file is the header, eight bytes of length, and a mark. The readers take it for the whole, so
//! that a tensor past the end is still found; a framework takes it for what it is, a cut-off file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::units::Bytes;

const MARK: &[u8; 24] = b"\nheader of a weight file";

/// The length and the mark.
const TRAILER: u64 = 8 + MARK.len() as u64;

/// The bytes of an excerpt: `header`, of a file of this length.
pub(in crate::model) fn excerpt(header: &[u8], length: Bytes) -> Vec<u8> {
    [header, &length.0.to_le_bytes(), MARK].concat()
}

/// How long the file is that this one is or is an excerpt of. Leaves the file at its beginning.
pub(super) fn full_length(file: &mut File, length: u64) -> io::Result<Bytes> {
    let mut stated = None;
    if let Some(start) = length.checked_sub(TRAILER) {
        let mut trailer = [0; TRAILER as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut trailer)?;
        let (number, mark) = trailer.split_at(8);
        // A file cannot be shorter than its own header.
        stated = <[u8; 8]>::try_from(number)
            .ok()
            .filter(|_| mark == MARK)
            .map(u64::from_le_bytes)
            .filter(|stated| *stated >= start);
        file.rewind()?;
    }
    Ok(Bytes(stated.unwrap_or(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length_of(bytes: &[u8]) -> Bytes {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        file.rewind().unwrap();
        let length = full_length(&mut file, bytes.len() as u64).unwrap();
        assert_eq!(file.stream_position().unwrap(), 0);
        length
    }

    #[test]
    fn an_excerpt_is_as_long_as_its_whole() {
        assert_eq!(length_of(&excerpt(b"GGUF", Bytes(1 << 40))), Bytes(1 << 40));
        assert_eq!(length_of(b"GGUF"), Bytes(4));
        assert_eq!(length_of(&[0; 100]), Bytes(100));
        let impossible = excerpt(b"GGUF", Bytes(3));
        assert_eq!(length_of(&impossible), Bytes(impossible.len() as u64));
    }
}
