//! Values of a GGUF file's metadata.
//!
//! Numbers keep their value and lose their width. Arrays keep their length; the values only of
//! short arrays of numbers, such as the head counts of all layers. A vocabulary is skipped.

use std::io::{Read, Seek};

use super::super::ReadErrorKind;
use super::source::{HEADER_LIMIT, Source};
use crate::units::Bytes;

/// One value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any unsigned type.
    Unsigned(u64),
    /// Any signed type, whatever its sign.
    Signed(i64),
    /// Either floating-point type.
    Float(f64),
    /// As llama.cpp reads it: whatever is not 0 is true.
    Bool(bool),
    /// Bytes that are no UTF-8 are replaced by `U+FFFD`.
    Text(String),
    /// Values of one type.
    Array {
        /// How many there are in the file.
        length: u64,
        /// All of them, or none: texts and more than 4096 numbers are not kept.
        values: Vec<Value>,
    },
}

/// Elements up to which an array of numbers is kept; more than the layers of any model.
const KEPT_ELEMENTS: u64 = 4096;

/// The numbers by which the file calls the types that are no [`Scalar`].
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// A type of fixed width.
#[derive(Clone, Copy)]
enum Scalar {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

impl Value {
    /// The whole number, if it is one and not negative.
    pub fn unsigned(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => u64::try_from(*number).ok(),
            Self::Float(_) | Self::Bool(_) | Self::Text(_) | Self::Array { .. } => None,
        }
    }

    /// Reads the type and the value of `key`.
    pub(super) fn read<R: Read + Seek>(
        source: &mut Source<R>,
        key: &str,
    ) -> Result<Self, ReadErrorKind> {
        match source.u32(format_args!("the type of `{key}`"))? {
            TEXT => {
                let bytes = source.text(HEADER_LIMIT, format_args!("the value of `{key}`"))?;
                let text = String::from_utf8(bytes)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
                Ok(Self::Text(text))
            }
            ARRAY => Self::read_array(source, key),
            number => Scalar::numbered(number, key)?.read(source, key),
        }
    }

    fn read_array<R: Read + Seek>(
        source: &mut Source<R>,
        key: &str,
    ) -> Result<Self, ReadErrorKind> {
        let what = format_args!("the array of `{key}`");
        let number = source.u32(what)?;
        let length = source.u64(what)?;
        let mut values = Vec::new();
        if number == ARRAY {
            let key = key.to_owned();
            return Err(ReadErrorKind::NestedArray { key });
        }
        if number == TEXT {
            // Each text has at least its own length; so an absurd count is refused at once.
            source.check(Bytes(8) * length, what)?;
            for _ in 0..length {
                source.skip_text(what)?;
            }
        } else {
            let scalar = Scalar::numbered(number, key)?;
            let bytes = scalar.bytes() * length;
            source.check(bytes, what)?;
            if length <= KEPT_ELEMENTS {
                for _ in 0..length {
                    values.push(scalar.read(source, key)?);
                }
            } else {
                source.skip(bytes, what)?;
            }
        }
        Ok(Self::Array { length, values })
    }
}

impl Scalar {
    fn numbered(number: u32, key: &str) -> Result<Self, ReadErrorKind> {
        Ok(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => {
                let key = key.to_owned();
                return Err(ReadErrorKind::UnknownValueType { key, number });
            }
        })
    }

    fn bytes(self) -> Bytes {
        Bytes(match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        })
    }

    fn read<R: Read + Seek>(
        self,
        source: &mut Source<R>,
        key: &str,
    ) -> Result<Value, ReadErrorKind> {
        let what = format_args!("the value of `{key}`");
        Ok(match self {
            Self::U8 => Value::Unsigned(u8::from_le_bytes(source.array(what)?).into()),
            Self::U16 => Value::Unsigned(u16::from_le_bytes(source.array(what)?).into()),
            Self::U32 => Value::Unsigned(u32::from_le_bytes(source.array(what)?).into()),
            Self::U64 => Value::Unsigned(u64::from_le_bytes(source.array(what)?)),
            Self::I8 => Value::Signed(i8::from_le_bytes(source.array(what)?).into()),
            Self::I16 => Value::Signed(i16::from_le_bytes(source.array(what)?).into()),
            Self::I32 => Value::Signed(i32::from_le_bytes(source.array(what)?).into()),
            Self::I64 => Value::Signed(i64::from_le_bytes(source.array(what)?)),
            Self::F32 => Value::Float(f32::from_le_bytes(source.array(what)?).into()),
            Self::F64 => Value::Float(f64::from_le_bytes(source.array(what)?)),
            Self::Bool => Value::Bool(source.array::<1>(what)? != [0]),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// Reads a value that is `parts` joined, and tells how far it read.
    fn value(parts: &[&[u8]]) -> Result<(Value, u64), ReadErrorKind> {
        let bytes = parts.concat();
        let length = Bytes(bytes.len() as u64);
        let mut source = Source::new(Cursor::new(bytes), length);
        Value::read(&mut source, "key").map(|value| (value, source.offset().0))
    }

    fn number(number: u32) -> [u8; 4] {
        number.to_le_bytes()
    }

    fn length(length: u64) -> [u8; 8] {
        length.to_le_bytes()
    }

    #[test]
    fn numbers_of_every_width_keep_their_value() {
        for (kind, bytes, expected) in [
            (0, &[200][..], Value::Unsigned(200)),
            (1, &[200], Value::Signed(-56)),
            (2, &[1, 2], Value::Unsigned(513)),
            (3, &[255, 255], Value::Signed(-1)),
            (4, &[0, 0, 0, 128], Value::Unsigned(1 << 31)),
            (5, &[0, 0, 0, 128], Value::Signed(-(1 << 31))),
            (6, &1.5f32.to_le_bytes(), Value::Float(1.5)),
            (7, &[1], Value::Bool(true)),
            (10, &[255; 8], Value::Unsigned(u64::MAX)),
            (11, &[255; 8], Value::Signed(-1)),
            (12, &0.1f64.to_le_bytes(), Value::Float(0.1)),
        ] {
            let (value, _) = value(&[&number(kind), bytes]).unwrap();
            assert_eq!(value, expected, "type {kind}");
        }
        assert_eq!(Value::Signed(7).unsigned(), Some(7));
        assert_eq!(Value::Signed(-7).unsigned(), None);
    }

    #[test]
    fn short_arrays_of_numbers_are_kept_and_long_ones_skipped() {
        let heads: Vec<u8> = [8u32, 4].iter().flat_map(|n| n.to_le_bytes()).collect();
        let (kept, _) = value(&[&number(9), &number(4), &length(2), &heads]).unwrap();
        let values = vec![Value::Unsigned(8), Value::Unsigned(4)];
        assert_eq!(kept, Value::Array { length: 2, values });

        let (skipped, end) = value(&[&number(9), &number(0), &length(5000), &[7; 5001]]).unwrap();
        let values = Vec::new();
        assert_eq!(
            skipped,
            Value::Array {
                length: 5000,
                values
            }
        );
        assert_eq!(end, 16 + 5000);
    }

    #[test]
    fn texts_of_an_array_are_skipped_and_counted() {
        let token: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0, b'h', b'i'];
        let (array, end) = value(&[&number(9), &number(8), &length(2), token, token]).unwrap();
        let values = Vec::new();
        assert_eq!(array, Value::Array { length: 2, values });
        assert_eq!(end, 16 + 20);
    }

    #[test]
    fn text_that_is_no_utf8_is_replaced() {
        let (text, _) = value(&[&number(8), &length(2), &[b'a', 0xff]]).unwrap();
        assert_eq!(text, Value::Text("a\u{fffd}".to_owned()));
    }

    #[test]
    fn arrays_of_arrays_and_unknown_types_are_refused() {
        let nested = value(&[&number(9), &number(9), &length(1)]).unwrap_err();
        let expected = "`key` is an array of arrays, which llama.cpp does not read either";
        assert_eq!(nested.to_string(), expected);
        let unknown = value(&[&number(13)]).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "`key` has values of the unknown type 13"
        );
    }
}
