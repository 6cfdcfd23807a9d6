//! The tensors of each layout: their suffixes, shapes and numbers.
//!
//! Shapes were read off modules that the libraries themselves quantised, where that can be done on a
//! CPU, and off their sources elsewhere. `rows` are output features, `columns` input features.

use super::layout::{Blocks, Bnb4, Bnb4Kind, Element, Group, Layout, Numbers, Scaled, Span};
use crate::model::format::Format;

/// One tensor of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// What follows the name of the module.
    pub(super) suffix: &'static str,
    pub(super) dims: Vec<u64>,
    pub(super) numbers: Numbers,
    pub(super) place: Place,
}

/// Where a tensor of a layout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file and, once loaded, beside the weight.
    Both,
    /// Only in the file: what a reader turns into attributes.
    File,
    /// Only in memory: what a reader makes of such an attribute.
    Memory,
}

/// Unsigned bytes, which have the size of signed ones.
const U8: Numbers = Numbers::Of(Format::I8);
const I32: Numbers = Numbers::Of(Format::I32);
const F16: Numbers = Numbers::Of(Format::F16);
const F32: Numbers = Numbers::Of(Format::F32);

fn piece(suffix: &'static str, dims: impl Into<Vec<u64>>, numbers: Numbers) -> Piece {
    Piece {
        suffix,
        dims: dims.into(),
        numbers,
        place: Place::Both,
    }
}

fn only(place: Place, piece: Piece) -> Piece {
    Piece { place, ..piece }
}

/// Words of `word` bits that so many elements of `bits` need.
fn words(elements: u64, bits: u64, word: u64) -> u64 {
    let bits = u128::from(elements) * u128::from(bits);
    u64::try_from(bits.div_ceil(word.into())).unwrap_or(u64::MAX)
}

impl Group {
    fn count(self, columns: u64) -> u64 {
        match self {
            Self::Whole => 1,
            Self::Of(size) => columns.div_ceil(size),
        }
    }
}

impl Blocks {
    fn dims(self, rows: u64, columns: u64) -> Vec<u64> {
        match self {
            Self::Tensor => vec![1],
            Self::Channel => vec![rows, 1],
            Self::Block(height, width) => vec![rows.div_ceil(height), columns.div_ceil(width)],
        }
    }
}

impl Layout {
    /// The tensors of a matrix of this shape that was in `source` before, the weight itself first.
    ///
    /// Empty where only the file tells.
    pub(super) fn pieces(&self, rows: u64, columns: u64, source: Format) -> Vec<Piece> {
        let elements = rows.saturating_mul(columns);
        match self {
            Self::Plain => vec![piece(".weight", [rows, columns], Numbers::Source)],
            Self::Scaled(scaled) => scaled.pieces(rows, columns),
            Self::Gptq { bits, group } => vec![
                piece(".qweight", [words(columns, *bits, 32), rows], I32),
                piece(
                    ".qzeros",
                    [group.count(columns), words(rows, *bits, 32)],
                    I32,
                ),
                piece(".scales", [group.count(columns), rows], F16),
                piece(".g_idx", [columns], I32),
            ],
            Self::Awq { bits, group } => vec![
                piece(".qweight", [columns, words(rows, *bits, 32)], I32),
                piece(
                    ".qzeros",
                    [group.count(columns), words(rows, *bits, 32)],
                    I32,
                ),
                piece(".scales", [group.count(columns), rows], F16),
            ],
            Self::Packed {
                bits,
                blocks,
                zero_points,
                permuted,
            } => {
                let scales = blocks.dims(rows, columns);
                let mut pieces = vec![
                    piece(".weight_packed", [rows, words(columns, *bits, 32)], I32),
                    piece(".weight_scale", scales.clone(), Numbers::Source),
                    piece(".weight_shape", [2], Numbers::Of(Format::I64)),
                ];
                match (zero_points, scales.as_slice()) {
                    // Packed along the rows, which a single number has none of.
                    (true, [rows, groups]) => {
                        let dims = [words(*rows, *bits, 32), *groups];
                        pieces.push(piece(".weight_zero_point", dims, I32));
                    }
                    (true, _) => pieces.push(piece(".weight_zero_point", scales, U8)),
                    (false, _) => {}
                }
                if *permuted {
                    pieces.push(piece(".weight_g_idx", [columns], I32));
                }
                pieces
            }
            Self::Bnb8 => vec![
                piece(".weight", [rows, columns], U8),
                piece(".SCB", [rows], F32),
                only(Place::File, piece(".weight_format", [], U8)),
            ],
            Self::Bnb4(settings) => settings.pieces(rows, columns, source),
            Self::MxFp4 => {
                let groups = columns.div_ceil(32);
                vec![
                    piece("_blocks", [rows, groups, 16], U8),
                    piece("_scales", [rows, groups], U8),
                ]
            }
            Self::Hqq { bits, group, axis } => hqq(rows, columns, *bits, *group, *axis, source),
            Self::Aqlm {
                n_codebooks,
                bits,
                in_group,
                out_group,
            } => {
                let size = 1_u64.checked_shl(*bits as u32).unwrap_or(u64::MAX);
                let (high, wide) = (rows.div_ceil(*out_group), columns.div_ceil(*in_group));
                let codes = match bits {
                    0..=8 => Format::I8,
                    9..=16 => Format::I16,
                    17..=32 => Format::I32,
                    _ => Format::I64,
                };
                vec![
                    piece(".codes", [high, wide, *n_codebooks], Numbers::Of(codes)),
                    piece(
                        ".codebooks",
                        [*n_codebooks, size, *out_group, *in_group],
                        Numbers::Source,
                    ),
                    piece(".scales", [high, 1, 1, 1], Numbers::Source),
                ]
            }
            Self::Quanto { bits } => {
                let width = quanto_group(columns);
                let groups = elements / width.max(1);
                vec![
                    piece(".weight._data._data", [words(groups, *bits, 8), width], U8),
                    piece(".weight._scale", [groups, 1], Numbers::Source),
                    piece(".weight._shift", [groups, 1], Numbers::Source),
                    piece(".input_scale", [], Numbers::Source),
                    piece(".output_scale", [], Numbers::Source),
                ]
            }
            Self::TorchAo4 { group } => {
                let scales = [columns.div_ceil(*group), rows];
                vec![
                    piece("._weight_qdata", [rows, words(columns, 4, 8)], U8),
                    piece("._weight_scale", scales, Numbers::Source),
                    piece("._weight_zero_point", scales, Numbers::Source),
                ]
            }
            Self::Eetq => vec![
                piece(".weight", [columns, rows], U8),
                piece(".weight_scales", [rows], F16),
            ],
            Self::BitNet => vec![
                piece(".weight", [words(rows, 2, 8), columns], U8),
                piece(".weight_scale", [1], Numbers::Source),
            ],
            Self::Exl2 | Self::Exl3 => Vec::new(),
        }
    }
}

impl Scaled {
    fn pieces(&self, rows: u64, columns: u64) -> Vec<Piece> {
        let (bits, numbers) = match self.element {
            Element::Fp8 => (8, Numbers::Of(Format::FP8)),
            Element::Int8 => (8, U8),
            Element::Fp6 => (6, U8),
            Element::Fp4 => (4, U8),
        };
        let scales = self.blocks.dims(rows, columns);
        let mut pieces = vec![
            piece(self.weight, [rows, words(columns, bits, 8)], numbers),
            piece(self.scale, scales.clone(), self.scales),
        ];
        pieces.extend(self.extras.iter().map(|extra| {
            let dims = match extra.span {
                Span::One => vec![1],
                Span::Columns => vec![columns],
                Span::Scales => scales.clone(),
            };
            piece(extra.suffix, dims, extra.numbers)
        }));
        pieces
    }
}

impl Bnb4 {
    fn pieces(&self, rows: u64, columns: u64, source: Format) -> Vec<Piece> {
        let elements = rows.saturating_mul(columns);
        let width = self.storage.row_bytes(1).0.max(1);
        let packed = words(elements, 4, 8 * width);
        let scales = elements.div_ceil(self.block);
        let mut pieces = vec![
            piece(".weight", [packed, 1], Numbers::Of(self.storage)),
            piece(".weight.quant_map", [16], F32),
        ];
        if self.double {
            pieces.extend([
                piece(".weight.absmax", [scales], U8),
                piece(".weight.nested_absmax", [scales.div_ceil(256)], F32),
                piece(".weight.nested_quant_map", [256], F32),
                // The mean of the scales, which the loaded module holds as a tensor.
                only(Place::Memory, piece(".weight.nested_offset", [], F32)),
            ]);
        } else {
            pieces.push(piece(".weight.absmax", [scales], F32));
        }
        let state = match self.kind {
            Bnb4Kind::Nf4 => ".weight.quant_state.bitsandbytes__nf4",
            Bnb4Kind::Fp4 => ".weight.quant_state.bitsandbytes__fp4",
        };
        let length = self.state(rows, columns, source).len() as u64;
        pieces.push(only(Place::File, piece(state, [length], U8)));
        pieces
    }

    /// The JSON text that keeps the settings in a file.
    ///
    /// Source: `QuantState.as_dict` of bitsandbytes 0.50. The mean of the scales is written with as
    /// many digits as it has, mostly the twenty assumed here.
    fn state(&self, rows: u64, columns: u64, source: Format) -> String {
        let kind = match self.kind {
            Bnb4Kind::Nf4 => "nf4",
            Bnb4Kind::Fp4 => "fp4",
        };
        let nested = if self.double {
            r#""nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.01234567890123456, "#
        } else {
            ""
        };
        format!(
            r#"{{"quant_type": "{kind}", "blocksize": {}, {nested}"dtype": "{}", "shape": [{rows}, {columns}]}}"#,
            self.block,
            torch_name(source),
        )
    }
}

/// `W_q`, packed along the first axis of `[groups, group]` (axis 1) or `[group, groups]` (axis 0).
///
/// Source: `BitPack` of hqq 0.2.8, which packs ten elements of 3 bits into 32, and the state of its
/// `HQQLinear`, which keeps each setting as a tensor of its own.
fn hqq(rows: u64, columns: u64, bits: u64, group: Group, axis: u64, source: Format) -> Vec<Piece> {
    let elements = rows.saturating_mul(columns);
    let size = match (group, axis) {
        (Group::Of(size), _) => size,
        (Group::Whole, 0) => rows.max(1),
        (Group::Whole, _) => columns.max(1),
    };
    let groups = elements.div_ceil(size);
    let (high, wide, scales) = match axis {
        0 => (size, groups, [1, groups]),
        _ => (groups, size, [groups, 1]),
    };
    let (packed, numbers) = match bits {
        3 => (high.div_ceil(10), I32),
        _ => (words(high, bits, 8), U8),
    };
    let mut pieces = vec![
        piece(".W_q", [packed, wide], numbers),
        piece(".scale", scales, Numbers::Source),
        piece(".zero", scales, Numbers::Source),
    ];
    let compute = "torch.".len() + torch_name(source).len();
    let texts = [
        (".packing", "4bit_u8".len()),
        (".unpack_view_dtype", "torch.uint8".len()),
        (".compute_dtype", compute),
    ];
    let texts = texts.map(|(suffix, length)| piece(suffix, [length as u64], U8));
    let counts = [".nbits", ".group_size", ".axis"].map(|suffix| piece(suffix, [], I32));
    let flags = HQQ_FLAGS.map(|suffix| piece(suffix, [], U8));
    let shape = piece(".shape", [2], Numbers::Of(Format::I64));
    let settings = texts.into_iter().chain(counts).chain(flags).chain([shape]);
    pieces.extend(settings.map(|piece| only(Place::File, piece)));
    pieces
}

/// What HQQ keeps as a byte.
pub(super) const HQQ_FLAGS: [&str; 9] = [
    ".view_as_float",
    ".quant_scale",
    ".quant_zero",
    ".offload_meta",
    ".encoded_state_dict",
    ".stores_quant_config",
    ".channel_wise",
    ".optimize",
    ".round_zero",
];

/// What PyTorch calls a plain format.
fn torch_name(format: Format) -> &'static str {
    match format {
        Format::F32 => "float32",
        Format::BF16 => "bfloat16",
        _ => "float16",
    }
}

/// The group that quanto takes: 128 columns, or the next smaller multiple of 32 that divides.
///
/// Source: `QModuleMixin.__init__` of optimum-quanto 0.2.7.
fn quanto_group(columns: u64) -> u64 {
    let divides = |size: &u64| columns > 128 && columns.is_multiple_of(*size);
    let sizes = [128, 96, 64, 32];
    sizes.into_iter().find(divides).unwrap_or(columns)
}
