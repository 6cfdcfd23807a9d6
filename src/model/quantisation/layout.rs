//! How one matrix lies in a checkpoint: which tensors stand in for its weight, and their shapes.
//!
//! Every quantiser packs integers into wider ones and puts scales beside them. Each layout here is
//! that list of plain tensors, so that [`Format`] needs no block formats of its own for them. The
//! source is named beside each layout.

use crate::model::format::Format;

/// How the weight of one matrix is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One tensor in the dtype of the model.
    Plain,
    /// Elements of 4, 6 or 8 bits in the shape of the weight, and scales beside them.
    Scaled(Scaled),
    /// GPTQ (`PackedGroupedQuantLinear` of GPTQModel 7.7, and AutoGPTQ): packed along the columns.
    Gptq {
        /// Bits of an element.
        bits: u64,
        /// Columns that share a scale.
        group: Group,
    },
    /// AWQ, version GEMM (`AWQuantLinear` of GPTQModel 7.7): packed along the rows.
    Awq {
        /// Bits of an element.
        bits: u64,
        /// Columns that share a scale.
        group: Group,
    },
    /// compressed-tensors `pack-quantized` (0.20): each row packed into 32-bit words.
    Packed {
        /// Bits of an element.
        bits: u64,
        /// What shares a scale.
        blocks: Blocks,
        /// Whether zero points are stored.
        zero_points: bool,
        /// Whether the columns are permuted (`actorder: group` of older versions).
        permuted: bool,
    },
    /// bitsandbytes LLM.int8() (0.50).
    Bnb8,
    /// bitsandbytes 4-bit (0.50).
    Bnb4(Bnb4),
    /// MXFP4 experts of gpt-oss: 32 elements in 16 bytes, and one exponent.
    MxFp4,
    /// HQQ (0.2.8): groups of elements of the whole matrix.
    Hqq {
        /// Bits of an element.
        bits: u64,
        /// Elements that share a scale; all of a row or column without.
        group: Group,
        /// Along which axis: 1 runs through a row.
        axis: u64,
    },
    /// AQLM (`QuantizedLinear` of aqlm 1.1): sums of entries of code books.
    Aqlm {
        /// Code books.
        n_codebooks: u64,
        /// Bits of an index into one.
        bits: u64,
        /// Columns that an entry spans.
        in_group: u64,
        /// Rows that an entry spans.
        out_group: u64,
    },
    /// optimum-quanto (0.2.7) with 2 or 4 bits: groups of its own choice.
    Quanto {
        /// Bits of an element.
        bits: u64,
    },
    /// torchao (0.18) `Int4WeightOnlyConfig`, packing `plain`.
    TorchAo4 {
        /// Columns that share a scale.
        group: u64,
    },
    /// EETQ: the transposed weight in 8 bits, a scale each row (transformers 5.24).
    Eetq,
    /// BitNet: four ternary elements in a byte (transformers 5.24).
    BitNet,
    /// ExLlamaV2: the bits of each group of columns are in the file.
    Exl2,
    /// ExLlamaV3: the bits of each matrix are in the file.
    Exl3,
}

/// Columns that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// All of a row.
    Whole,
    /// So many, which is positive.
    Of(u64),
}

/// What shares a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// The whole matrix.
    Tensor,
    /// A row.
    Channel,
    /// So many rows and so many columns, both positive.
    Block(u64, u64),
}

/// In what numbers a tensor beside the weight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Always these.
    Of(Format),
    /// Those of the model before it was quantised.
    Source,
}

/// Elements in the shape of the weight, and scales beside them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// The suffix of the weight.
    pub weight: &'static str,
    /// What an element is.
    pub element: Element,
    /// The suffix of the scales.
    pub scale: &'static str,
    /// What shares a scale.
    pub blocks: Blocks,
    /// Numbers of the scales.
    pub scales: Numbers,
    /// What else there is.
    pub extras: Vec<Extra>,
}

/// What an element of [`Scaled`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// 8-bit float.
    Fp8,
    /// 8-bit integer.
    Int8,
    /// 6-bit float, four in three bytes.
    Fp6,
    /// 4-bit float, two in a byte.
    Fp4,
}

/// A tensor beside weight and scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Its suffix.
    pub suffix: &'static str,
    /// How long it is.
    pub span: Span,
    /// Its numbers.
    pub numbers: Numbers,
}

/// How long an [`Extra`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// One number.
    One,
    /// One each column.
    Columns,
    /// One each scale.
    Scales,
}

/// The settings of bitsandbytes 4-bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bnb4 {
    /// NormalFloat or plain floats.
    pub kind: Bnb4Kind,
    /// Elements that share a scale.
    pub block: u64,
    /// Whether the scales are quantised again.
    pub double: bool,
    /// In what the packed bytes are viewed.
    pub storage: Format,
}

/// The code book of bitsandbytes 4-bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bnb4Kind {
    /// NormalFloat.
    Nf4,
    /// Floating point.
    Fp4,
}
