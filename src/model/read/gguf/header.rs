//! One GGUF header: counts, metadata, tensors; and that the tensors fit the file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Read, Seek};

use super::super::{ReadErrorKind, TENSOR_LIMIT, TensorInfo, count_elements, unique_names};
use super::source::Source;
use super::{Gguf, Value};
use crate::model::format::Format;
use crate::units::Bytes;

/// More entries than any file has; a usual one has some dozens.
const METADATA_LIMIT: u64 = 100_000;

/// The longest key or tensor name. The specification allows keys of 65 535 bytes.
const NAME_LIMIT: Bytes = Bytes(64 << 10);

/// Elements of arrays that are kept in all: a million layers' worth of head counts.
const KEPT_LIMIT: u64 = 1 << 20;

/// Dimensions that ggml's tensors have at most (`GGML_MAX_DIMS`).
const DIMS_LIMIT: u32 = 4;

/// Where tensors begin if `general.alignment` does not say (`GGUF_DEFAULT_ALIGNMENT`).
const DEFAULT_ALIGNMENT: Bytes = Bytes(32);

/// A tensor, and where it begins in the data.
struct Placed {
    info: TensorInfo,
    offset: Bytes,
}

/// Reads the header at the start of a file of this length.
///
/// Reads only this file: a split model is joined by [`read`](super::read).
///
/// # Errors
/// Where the header is no GGUF header, or contradicts itself or the length.
pub fn read_header<R: Read + Seek>(reader: R, length: Bytes) -> Result<Gguf, ReadErrorKind> {
    let mut source = Source::new(reader, length);
    let version = version(&mut source)?;
    let n_tensors = count(&mut source, TENSOR_LIMIT, "the count of tensors")?;
    let n_entries = count(&mut source, METADATA_LIMIT, "the count of metadata entries")?;
    let metadata = metadata(&mut source, n_entries)?;
    let placed = (0..n_tensors)
        .map(|index| tensor(&mut source, index))
        .collect::<Result<Vec<_>, _>>()?;

    let alignment = alignment(&metadata)?;
    let data_offset = source.offset().align_up(alignment);
    for tensor in &placed {
        fits(tensor, alignment, data_offset, length)?;
    }
    no_overlap(&placed, data_offset)?;
    let tensors: Vec<TensorInfo> = placed.into_iter().map(|tensor| tensor.info).collect();
    unique_names(&tensors)?;
    Ok(Gguf {
        version,
        metadata,
        tensors,
        data_offset,
        files: Vec::new(),
    })
}

fn version<R: Read + Seek>(source: &mut Source<R>) -> Result<u32, ReadErrorKind> {
    let found = source.array::<4>(format_args!("the magic number"))?;
    if found != *b"GGUF" {
        return Err(ReadErrorKind::BadMagic { found });
    }
    match source.u32(format_args!("the version"))? {
        version @ (2 | 3) => Ok(version),
        // A small number read in the wrong order of bytes has its lower half empty.
        version if version != 0 && version & 0xffff == 0 => Err(ReadErrorKind::BigEndian),
        version => Err(ReadErrorKind::UnsupportedVersion { version }),
    }
}

fn count<R: Read + Seek>(
    source: &mut Source<R>,
    limit: u64,
    what: &str,
) -> Result<u64, ReadErrorKind> {
    let value = source.u64(format_args!("{what}"))?;
    if value > limit {
        let what = what.to_owned();
        return Err(ReadErrorKind::TooLarge { what, value, limit });
    }
    Ok(value)
}

fn metadata<R: Read + Seek>(
    source: &mut Source<R>,
    n_entries: u64,
) -> Result<BTreeMap<String, Value>, ReadErrorKind> {
    let mut metadata = BTreeMap::new();
    let mut kept = 0;
    for index in 0..n_entries {
        let what = format_args!("the key of metadata entry {} of {n_entries}", index + 1);
        let key = String::from_utf8(source.text(NAME_LIMIT, what)?).map_err(|_| {
            ReadErrorKind::BadText {
                what: what.to_string(),
            }
        })?;
        let value = Value::read(source, &key)?;
        if let Value::Array { values, .. } = &value {
            kept += values.len() as u64;
        }
        if kept > KEPT_LIMIT {
            return Err(ReadErrorKind::TooLarge {
                what: "the count of numbers in all arrays".to_owned(),
                value: kept,
                limit: KEPT_LIMIT,
            });
        }
        match metadata.entry(key) {
            Entry::Vacant(entry) => entry.insert(value),
            Entry::Occupied(entry) => {
                let key = entry.key().clone();
                return Err(ReadErrorKind::DuplicateKey { key });
            }
        };
    }
    Ok(metadata)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<Bytes, ReadErrorKind> {
    let Some(value) = metadata.get("general.alignment") else {
        return Ok(DEFAULT_ALIGNMENT);
    };
    match value.unsigned() {
        Some(alignment) if alignment.is_power_of_two() => Ok(Bytes(alignment)),
        Some(other) => Err(ReadErrorKind::BadAlignment {
            alignment: other.to_string(),
        }),
        None => Err(ReadErrorKind::BadAlignment {
            alignment: format!("{value:?}"),
        }),
    }
}

fn tensor<R: Read + Seek>(source: &mut Source<R>, index: u64) -> Result<Placed, ReadErrorKind> {
    let what = format_args!("the name of tensor {}", index + 1);
    let name =
        String::from_utf8(source.text(NAME_LIMIT, what)?).map_err(|_| ReadErrorKind::BadText {
            what: what.to_string(),
        })?;

    let what = format_args!("the shape of tensor `{name}`");
    let n_dims = source.u32(what)?;
    if !(1..=DIMS_LIMIT).contains(&n_dims) {
        return Err(ReadErrorKind::Dimensions {
            tensor: name,
            n_dims,
            limit: DIMS_LIMIT,
        });
    }
    let mut dims = (0..n_dims)
        .map(|_| source.u64(what))
        .collect::<Result<Vec<_>, _>>()?;
    let row = dims[0];
    dims.reverse();

    let number = source.u32(format_args!("the type of tensor `{name}`"))?;
    let Some(format) = Format::from_gguf(number) else {
        return Err(ReadErrorKind::UnknownType {
            tensor: name,
            type_name: number.to_string(),
        });
    };
    let offset = Bytes(source.u64(format_args!("the offset of tensor `{name}`"))?);

    let elements = count_elements(&name, &dims)?;
    if !row.is_multiple_of(format.block()) {
        return Err(ReadErrorKind::PartialBlock {
            tensor: name,
            row,
            format,
        });
    }
    // Rows are whole blocks, so that the size of all elements is that of all rows.
    let bytes = format.row_bytes(elements);
    let info = TensorInfo {
        name,
        dims,
        format,
        bytes,
    };
    Ok(Placed { info, offset })
}

/// The tensor begins where it may and ends within the file.
fn fits(
    tensor: &Placed,
    alignment: Bytes,
    data_offset: Bytes,
    length: Bytes,
) -> Result<(), ReadErrorKind> {
    if !tensor.offset.0.is_multiple_of(alignment.0) {
        return Err(ReadErrorKind::Misaligned {
            tensor: tensor.info.name.clone(),
            offset: tensor.offset,
            alignment,
        });
    }
    let terms = [data_offset, tensor.offset, tensor.info.bytes];
    let end = terms.iter().map(|term| u128::from(term.0)).sum();
    if end > u128::from(length.0) {
        return Err(ReadErrorKind::PastEnd {
            tensor: tensor.info.name.clone(),
            end,
            length,
        });
    }
    Ok(())
}

/// No byte belongs to two tensors.
fn no_overlap(placed: &[Placed], data_offset: Bytes) -> Result<(), ReadErrorKind> {
    let mut by_offset: Vec<&Placed> = placed
        .iter()
        .filter(|tensor| tensor.info.bytes > Bytes::ZERO)
        .collect();
    by_offset.sort_by_key(|tensor| tensor.offset);
    let overlapping = by_offset
        .windows(2)
        .find(|pair| pair[0].offset + pair[0].info.bytes > pair[1].offset);
    match overlapping {
        None => Ok(()),
        Some(pair) => Err(ReadErrorKind::Overlap {
            first: pair[0].info.name.clone(),
            second: pair[1].info.name.clone(),
            at: data_offset + pair[1].offset,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    /// A file of one Q8_0 tensor of 2 rows of 32, written out by hand.
    fn small() -> Vec<u8> {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend([1u64, 1].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend(text("llama.block_count"));
        bytes.extend([4u32, 1].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend(text("w"));
        bytes.extend(2u32.to_le_bytes());
        bytes.extend([32u64, 2].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend(8u32.to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(32) + 68, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Gguf, ReadErrorKind> {
        read_header(Cursor::new(bytes), Bytes(bytes.len() as u64))
    }

    #[test]
    fn a_small_file_is_read_as_written() {
        let gguf = read(&small()).unwrap();
        assert_eq!(gguf.version, 3);
        assert_eq!(gguf.unsigned("llama.block_count"), Some(1));
        // 24 fixed, 25 key, 8 value, 9 name, 4 + 16 shape, 4 type, 8 offset: 98, then padding.
        assert_eq!(gguf.data_offset, Bytes(128));
        let tensor = &gguf.tensors[0];
        assert_eq!(tensor.dims, [2, 32], "slowest first");
        assert_eq!((tensor.format, tensor.bytes), (Format::Q8_0, Bytes(68)));
        assert_eq!(tensor.elements(), 64);
    }

    #[test]
    fn version_2_is_read_and_others_are_named() {
        let with_version = |version: [u8; 4]| {
            let mut bytes = small();
            bytes[4..8].copy_from_slice(&version);
            read(&bytes)
        };
        assert_eq!(with_version([2, 0, 0, 0]).unwrap().version, 2);
        assert!(matches!(
            with_version([0, 0, 0, 3]),
            Err(ReadErrorKind::BigEndian)
        ));
        for version in [0, 1, 4] {
            let error = with_version([version, 0, 0, 0]).unwrap_err();
            let named = format!("version {version},");
            assert!(error.to_string().contains(&named), "{error}");
        }
    }

    #[test]
    fn the_alignment_of_the_file_decides_where_data_begins() {
        let mut bytes = small();
        // The same length of key, so that nothing else moves.
        bytes[32..49].copy_from_slice(b"general.alignment");
        bytes[53..57].copy_from_slice(&64u32.to_le_bytes());
        assert_eq!(read(&bytes).unwrap().data_offset, Bytes(128));
        bytes[53..57].copy_from_slice(&48u32.to_le_bytes());
        let error = read(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`general.alignment` is 48, which is no power of two"
        );
    }
}
