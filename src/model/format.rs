//! How numbers are stored: the one table of number and block formats.
//!
//! Sizes of the GGUF formats are those of `ggml/src/ggml-common.h` (ggml 0.25), whose rows are
//! whole blocks; those of the bitsandbytes formats were read off loaded modules (bitsandbytes 0.50).

use std::fmt;
use std::str::FromStr;

use crate::units::Bytes;

/// How the elements of one tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of the formats themselves")]
pub enum Format {
    F64,
    F32,
    F16,
    BF16,
    /// 8-bit floating point (E4M3 or E5M2) with one f32 scale each 128 × 128 elements.
    FP8,
    I8,
    I16,
    I32,
    I64,
    /// bitsandbytes LLM.int8(): one f32 scale an output row.
    Int8,
    /// bitsandbytes NormalFloat 4-bit: one f32 scale each 64 elements, and a code book a tensor.
    NF4,
    /// The same with double quantisation: 8-bit scales, one f32 each 256 of those.
    NF4DoubleQuant,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q8_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Q8K,
    IQ1S,
    IQ1M,
    IQ2XXS,
    IQ2XS,
    IQ2S,
    IQ3XXS,
    IQ3S,
    IQ4NL,
    IQ4XS,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
    Q1_0,
    Q2_0,
}

/// One row of the table.
struct Row {
    format: Format,
    name: &'static str,
    /// The number of this format in a GGUF file, where it has one.
    gguf: Option<u32>,
    /// Elements in one block, and the bytes that it takes.
    elements: u64,
    bytes: u64,
}

const fn row(
    format: Format,
    name: &'static str,
    gguf: Option<u32>,
    elements: u64,
    bytes: u64,
) -> Row {
    Row {
        format,
        name,
        gguf,
        elements,
        bytes,
    }
}

/// In the order of the enum, so that a format is its own index.
const TABLE: [Row; 39] = [
    row(Format::F64, "f64", Some(28), 1, 8),
    row(Format::F32, "f32", Some(0), 1, 4),
    row(Format::F16, "f16", Some(1), 1, 2),
    row(Format::BF16, "bf16", Some(30), 1, 2),
    row(Format::FP8, "fp8", None, 1, 1),
    row(Format::I8, "i8", Some(24), 1, 1),
    row(Format::I16, "i16", Some(25), 1, 2),
    row(Format::I32, "i32", Some(26), 1, 4),
    row(Format::I64, "i64", Some(27), 1, 8),
    row(Format::Int8, "int8", None, 1, 1),
    row(Format::NF4, "nf4", None, 2, 1),
    row(Format::NF4DoubleQuant, "nf4-dq", None, 2, 1),
    row(Format::Q4_0, "q4_0", Some(2), 32, 18),
    row(Format::Q4_1, "q4_1", Some(3), 32, 20),
    row(Format::Q5_0, "q5_0", Some(6), 32, 22),
    row(Format::Q5_1, "q5_1", Some(7), 32, 24),
    row(Format::Q8_0, "q8_0", Some(8), 32, 34),
    row(Format::Q8_1, "q8_1", Some(9), 32, 36),
    row(Format::Q2K, "q2_k", Some(10), 256, 84),
    row(Format::Q3K, "q3_k", Some(11), 256, 110),
    row(Format::Q4K, "q4_k", Some(12), 256, 144),
    row(Format::Q5K, "q5_k", Some(13), 256, 176),
    row(Format::Q6K, "q6_k", Some(14), 256, 210),
    row(Format::Q8K, "q8_k", Some(15), 256, 292),
    row(Format::IQ1S, "iq1_s", Some(19), 256, 50),
    row(Format::IQ1M, "iq1_m", Some(29), 256, 56),
    row(Format::IQ2XXS, "iq2_xxs", Some(16), 256, 66),
    row(Format::IQ2XS, "iq2_xs", Some(17), 256, 74),
    row(Format::IQ2S, "iq2_s", Some(22), 256, 82),
    row(Format::IQ3XXS, "iq3_xxs", Some(18), 256, 98),
    row(Format::IQ3S, "iq3_s", Some(21), 256, 110),
    row(Format::IQ4NL, "iq4_nl", Some(20), 32, 18),
    row(Format::IQ4XS, "iq4_xs", Some(23), 256, 136),
    row(Format::TQ1_0, "tq1_0", Some(34), 256, 54),
    row(Format::TQ2_0, "tq2_0", Some(35), 256, 66),
    row(Format::MXFP4, "mxfp4", Some(39), 32, 17),
    row(Format::NVFP4, "nvfp4", Some(40), 64, 36),
    row(Format::Q1_0, "q1_0", Some(41), 128, 18),
    row(Format::Q2_0, "q2_0", Some(42), 64, 18),
];

/// A name that is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no number format")]
pub struct UnknownFormat(String);

impl Format {
    /// Every format, in the order of the table.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.format)
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The name that people write, in lower case.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The format that a GGUF header calls by this number.
    pub fn from_gguf(number: u32) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| row.gguf == Some(number))
            .map(|row| row.format)
    }

    /// Whether a GGUF file can hold it.
    pub fn in_gguf(self) -> bool {
        self.row().gguf.is_some()
    }

    /// Elements in one block; rows of a tensor are whole blocks.
    pub fn block(self) -> u64 {
        self.row().elements
    }

    /// Whether elements share a scale in blocks.
    pub fn is_quantised(self) -> bool {
        self.row().elements > 1 || self == Self::Int8
    }

    /// Bytes of a row of `elements`, rounded up to whole blocks. No statistics of a whole tensor.
    pub fn row_bytes(self, elements: u64) -> Bytes {
        let row = self.row();
        Bytes(elements.div_ceil(row.elements).saturating_mul(row.bytes))
    }

    /// Bytes of a tensor of `rows` rows of `columns` elements, with its scales and code books.
    pub fn bytes(self, rows: u64, columns: u64) -> Bytes {
        let elements = rows.saturating_mul(columns);
        match self {
            Self::FP8 => {
                let blocks = rows.div_ceil(128).saturating_mul(columns.div_ceil(128));
                self.row_bytes(elements) + Bytes(4) * blocks
            }
            Self::Int8 => self.row_bytes(elements) + Bytes(4) * rows,
            Self::NF4 => {
                let code_book = Bytes(16 * 4);
                self.row_bytes(elements) + Bytes(4) * elements.div_ceil(64) + code_book
            }
            Self::NF4DoubleQuant => {
                let scales = elements.div_ceil(64);
                let (code_book, nested_code_book, offset) =
                    (Bytes(16 * 4), Bytes(256 * 4), Bytes(4));
                let nested = Bytes(4) * scales.div_ceil(256) + nested_code_book + offset;
                self.row_bytes(elements) + Bytes(scales) + nested + code_book
            }
            _ => self.row_bytes(columns) * rows,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        Self::all()
            .find(|format| format.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_its_own_row() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.format as usize, index, "{}", row.name);
            assert_eq!(row.name.parse(), Ok(row.format));
        }
    }

    #[test]
    fn statistics_of_bitsandbytes_are_counted() {
        // One q_proj of Llama-2-70B, 8192 × 8192, as bitsandbytes 0.50 holds it.
        let elements = 8192 * 8192;
        assert_eq!(Format::Int8.bytes(8192, 8192), Bytes(elements + 4 * 8192));
        assert_eq!(
            Format::NF4.bytes(8192, 8192),
            Bytes(elements / 2 + 4 * elements / 64 + 64)
        );
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(Format::Q4K.bytes(4096, 4096), Bytes(4096 * 16 * 144));
        assert_eq!(Format::Q8_0.row_bytes(33), Bytes(68));
    }
}
