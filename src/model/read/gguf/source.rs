//! The bytes of a header, in order, each length checked against the file before it is used.

use std::fmt::Arguments;
use std::io::{self, BufReader, Read, Seek};

use super::super::ReadErrorKind;
use crate::units::Bytes;

/// A header longer than this is no header. That of a large vocabulary has about 10 MB.
pub(super) const HEADER_LIMIT: Bytes = Bytes::mib(512);

/// Bytes of all texts that are kept, names among them. A whole tokenizer may be one text.
const TEXT_LIMIT: Bytes = Bytes::mib(64);

/// Large enough that a header of megabytes takes few system calls.
const BUFFER: usize = 64 << 10;

/// A file of known length, read from its start. `what` names the item that is read, for errors.
pub(super) struct Source<R> {
    reader: BufReader<R>,
    offset: Bytes,
    length: Bytes,
    /// Bytes of the texts read so far.
    texts: Bytes,
}

impl<R: Read + Seek> Source<R> {
    pub(super) fn new(reader: R, length: Bytes) -> Self {
        Self {
            reader: BufReader::with_capacity(BUFFER, reader),
            offset: Bytes::ZERO,
            length,
            texts: Bytes::ZERO,
        }
    }

    /// How far it has been read.
    pub(super) fn offset(&self) -> Bytes {
        self.offset
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: Arguments<'_>,
    ) -> Result<[u8; N], ReadErrorKind> {
        self.advance(Bytes(N as u64), what)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, what: Arguments<'_>) -> Result<u32, ReadErrorKind> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: Arguments<'_>) -> Result<u64, ReadErrorKind> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// Text as GGUF stores it: its length, then its bytes.
    pub(super) fn text(
        &mut self,
        limit: Bytes,
        what: Arguments<'_>,
    ) -> Result<Vec<u8>, ReadErrorKind> {
        let length = self.u64(what)?;
        self.check(Bytes(length), what)?;
        if length > limit.0 {
            return Err(ReadErrorKind::TooLarge {
                what: format!("the length of {what}"),
                value: length,
                limit: limit.0,
            });
        }
        self.advance(Bytes(length), what)?;
        self.texts += Bytes(length);
        if self.texts > TEXT_LIMIT {
            return Err(ReadErrorKind::TooLarge {
                what: format!("the length of all texts up to {what}"),
                value: self.texts.0,
                limit: TEXT_LIMIT.0,
            });
        }
        // Grows while it reads, so that a length alone allocates nothing.
        let mut bytes = Vec::new();
        (&mut self.reader).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(bytes)
    }

    /// Passes over text without keeping it.
    pub(super) fn skip_text(&mut self, what: Arguments<'_>) -> Result<(), ReadErrorKind> {
        let length = self.u64(what)?;
        self.skip(Bytes(length), what)
    }

    /// Passes over so many bytes; inside the buffer that costs nothing.
    pub(super) fn skip(&mut self, count: Bytes, what: Arguments<'_>) -> Result<(), ReadErrorKind> {
        self.advance(count, what)?;
        let count = i64::try_from(count.0).expect("`advance` keeps within the limit of a header");
        Ok(self.reader.seek_relative(count)?)
    }

    /// The file has so many bytes more.
    pub(super) fn check(&self, count: Bytes, what: Arguments<'_>) -> Result<(), ReadErrorKind> {
        if self.length.saturating_sub(self.offset) < count {
            return Err(ReadErrorKind::Truncated {
                what: what.to_string(),
                offset: self.offset,
                needed: count,
                length: self.length,
            });
        }
        Ok(())
    }

    fn advance(&mut self, count: Bytes, what: Arguments<'_>) -> Result<(), ReadErrorKind> {
        self.check(count, what)?;
        self.offset += count;
        if self.offset > HEADER_LIMIT {
            return Err(ReadErrorKind::TooLarge {
                what: "the length of the header".to_owned(),
                value: self.offset.0,
                limit: HEADER_LIMIT.0,
            });
        }
        Ok(())
    }
}
