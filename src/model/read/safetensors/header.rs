//! One safetensors header: eight bytes of length, a JSON object, and that the tensors tile the data.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::super::{ReadErrorKind, TensorInfo, count_elements, json, unique_names};
use super::entries::{self, Entries};
use super::{JSON_LIMIT, Safetensors};
use crate::model::format::Format;
use crate::units::Bytes;

/// The length in front of the JSON object.
const PREFIX: Bytes = Bytes(8);

/// Dimensions that PyTorch's tensors have at most.
const DIMS_LIMIT: usize = 64;

/// The JSON object, with every repetition.
struct Header<'text> {
    metadata: Option<Entries<'text>>,
    tensors: Vec<(String, Entry<'text>)>,
}

/// One tensor of the JSON object.
#[derive(Deserialize)]
struct Entry<'text> {
    #[serde(borrow)]
    dtype: Cow<'text, str>,
    shape: Shape,
    data_offsets: (u64, u64),
}

struct Shape(Vec<u64>);

/// Reads the header at the start of a file of this length.
///
/// # Errors
/// Where the header is no safetensors header, or contradicts itself or the length.
pub fn read_header<R: Read>(mut reader: R, length: Bytes) -> Result<Safetensors, ReadErrorKind> {
    let (text, data_offset) = read_text(&mut reader, length)?;
    let header: Header = json::strict(&text)?;
    let mut placed = header
        .tensors
        .into_iter()
        .map(|(name, entry)| place(name, entry, data_offset, length))
        .collect::<Result<Vec<_>, _>>()?;
    placed.sort_by_key(|(offsets, _)| *offsets);
    tile(&placed, data_offset, length)?;
    let tensors: Vec<TensorInfo> = placed.into_iter().map(|(_, tensor)| tensor).collect();
    unique_names(&tensors)?;
    Ok(Safetensors {
        metadata: metadata(header.metadata.unwrap_or_default())?,
        tensors,
        files: Vec::new(),
    })
}

/// The JSON text, and where the data behind it begins.
fn read_text(reader: &mut impl Read, length: Bytes) -> Result<(Vec<u8>, Bytes), ReadErrorKind> {
    let truncated = |what: &str, offset, needed| ReadErrorKind::Truncated {
        what: what.to_owned(),
        offset,
        needed,
        length,
    };
    if length < PREFIX {
        return Err(truncated("the length of the header", Bytes::ZERO, PREFIX));
    }
    let mut stated = [0; 8];
    reader.read_exact(&mut stated)?;
    let stated = Bytes(u64::from_le_bytes(stated));
    if stated > JSON_LIMIT {
        return Err(ReadErrorKind::TooLarge {
            what: "the length of the header".to_owned(),
            value: stated.0,
            limit: JSON_LIMIT.0,
        });
    }
    let data_offset = PREFIX + stated;
    if data_offset > length {
        return Err(truncated("the header", PREFIX, stated));
    }
    // Grows while it reads, so that a length alone allocates little.
    let mut text = Vec::with_capacity(stated.0.min(1 << 18) as usize);
    reader.take(stated.0).read_to_end(&mut text)?;
    if text.len() as u64 != stated.0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok((text, data_offset))
}

/// Checks one tensor by itself; its offsets are counted from the beginning of the file.
fn place(
    name: String,
    entry: Entry<'_>,
    data_offset: Bytes,
    length: Bytes,
) -> Result<((Bytes, Bytes), TensorInfo), ReadErrorKind> {
    let Some(format) = format_of(&entry.dtype) else {
        return Err(ReadErrorKind::UnknownType {
            tensor: name,
            type_name: format!("`{}`", entry.dtype),
        });
    };
    let (begin, end) = entry.data_offsets;
    let Some(bytes) = Bytes(end).checked_sub(Bytes(begin)) else {
        return Err(ReadErrorKind::Backwards { tensor: name });
    };
    let absolute_end = u128::from(data_offset.0) + u128::from(end);
    if absolute_end > u128::from(length.0) {
        return Err(ReadErrorKind::PastEnd {
            tensor: name,
            end: absolute_end,
            length,
        });
    }
    let dims = entry.shape.0;
    // Without the scale that `Format::bytes` adds to FP8: files keep it as a tensor of its own.
    let needed = format.row_bytes(count_elements(&name, &dims)?);
    if bytes != needed {
        return Err(ReadErrorKind::WrongSize {
            tensor: name,
            stated: bytes,
            needed,
        });
    }
    let offsets = (data_offset + Bytes(begin), data_offset + Bytes(end));
    let info = TensorInfo {
        name,
        dims,
        format,
        bytes,
    };
    Ok((offsets, info))
}

/// Sorted tensors follow each other without gap or overlap, from the header to the end of the file.
fn tile(
    placed: &[((Bytes, Bytes), TensorInfo)],
    data_offset: Bytes,
    length: Bytes,
) -> Result<(), ReadErrorKind> {
    let mut expected = data_offset;
    let mut previous = "";
    for ((begin, end), tensor) in placed {
        if *begin < expected {
            return Err(ReadErrorKind::Overlap {
                first: previous.to_owned(),
                second: tensor.name.clone(),
                at: *begin,
            });
        }
        if *begin > expected {
            return Err(ReadErrorKind::Unclaimed {
                from: expected,
                to: *begin,
            });
        }
        (expected, previous) = (*end, &tensor.name);
    }
    if expected < length {
        return Err(ReadErrorKind::Unclaimed {
            from: expected,
            to: length,
        });
    }
    Ok(())
}

fn metadata(entries: Entries<'_>) -> Result<BTreeMap<String, String>, ReadErrorKind> {
    let mut metadata = BTreeMap::new();
    for (key, value) in entries.0 {
        let key = key.0.into_owned();
        if metadata.contains_key(&key) {
            return Err(ReadErrorKind::DuplicateKey { key });
        }
        metadata.insert(key, value.0.into_owned());
    }
    Ok(metadata)
}

/// The format of the same width that stands for a type of the safetensors crate.
///
/// Unsigned numbers and truth values count as the signed numbers of their width, and so do the bare
/// exponents `F8_E8M0`, which are scales. Types of less than a byte (`F4`, `F6_E2M3`, `F6_E3M2`) and
/// complex numbers (`C64`) have no such format.
fn format_of(dtype: &str) -> Option<Format> {
    Some(match dtype {
        "F64" => Format::F64,
        "F32" => Format::F32,
        "F16" => Format::F16,
        "BF16" => Format::BF16,
        "F8_E4M3" | "F8_E5M2" | "F8_E4M3FNUZ" | "F8_E5M2FNUZ" => Format::FP8,
        "I64" | "U64" => Format::I64,
        "I32" | "U32" => Format::I32,
        "I16" | "U16" => Format::I16,
        "I8" | "U8" | "BOOL" | "F8_E8M0" => Format::I8,
        _ => return None,
    })
}

impl<'de> Deserialize<'de> for Header<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut header = Header {
                    metadata: None,
                    tensors: Vec::new(),
                };
                while let Some(name) = map.next_key::<String>()? {
                    if name != "__metadata__" {
                        entries::limited(header.tensors.len())?;
                        header.tensors.push((name, map.next_value()?));
                    } else if header.metadata.is_some() {
                        return Err(A::Error::custom("`__metadata__` appears twice"));
                    } else {
                        header.metadata = map.next_value()?;
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;

        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "at most {DIMS_LIMIT} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = sequence.next_element()? {
                    if dims.len() == DIMS_LIMIT {
                        return Err(A::Error::invalid_length(DIMS_LIMIT + 1, &self));
                    }
                    dims.push(dim);
                }
                Ok(Shape(dims))
            }
        }

        deserializer.deserialize_seq(ShapeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with this JSON text and so many bytes of data.
    fn read(text: &str, data: usize) -> Result<Safetensors, ReadErrorKind> {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        read_header(bytes.as_slice(), Bytes(bytes.len() as u64))
    }

    #[test]
    fn tensors_come_by_offset_with_the_size_that_the_file_has() {
        let file = read(
            r#"{"b":{"dtype":"F8_E4M3","shape":[2,3],"data_offsets":[4,10]},
                "__metadata__":{"format":"pt"},
                "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   "#,
            10,
        )
        .unwrap();
        assert_eq!(file.metadata["format"], "pt");
        let names: Vec<&str> = file
            .tensors
            .iter()
            .map(|tensor| tensor.name.as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            (file.tensors[0].elements(), file.tensors[0].bytes),
            (1, Bytes(4))
        );
        assert_eq!(file.tensors[1].dims, [2, 3]);
        assert_eq!(
            (file.tensors[1].format, file.tensors[1].bytes),
            (Format::FP8, Bytes(6))
        );
    }

    #[test]
    fn every_type_of_whole_bytes_has_the_size_it_has_in_the_file() {
        // Bits per element as in `Dtype::bitsize` of the safetensors crate.
        for (bytes, names) in [
            (
                1,
                "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ",
            ),
            (2, "I16 U16 F16 BF16"),
            (4, "I32 U32 F32"),
            (8, "F64 I64 U64"),
        ] {
            for name in names.split(' ') {
                let size = format_of(name).map(|format| format.row_bytes(1));
                assert_eq!(size, Some(Bytes(bytes)), "{name}");
            }
        }
        for name in ["F4", "F6_E2M3", "F6_E3M2", "C64", "f32", ""] {
            assert_eq!(format_of(name), None, "{name}");
        }
    }

    #[test]
    fn an_empty_object_is_a_file_without_tensors() {
        assert!(read("{}", 0).unwrap().tensors.is_empty());
        assert!(
            read(r#"{"__metadata__":null}"#, 0)
                .unwrap()
                .metadata
                .is_empty()
        );
    }
}
