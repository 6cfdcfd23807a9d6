//! From headers back to matrices: which tensors of a checkpoint belong to one weight.
//!
//! The suffixes are those that the layouts write, and those of older versions and other writers. No
//! configuration is needed to group; whether a group has the shapes that it should is asked after.

use std::collections::{BTreeMap, BTreeSet};

use super::pieces::{HQQ_FLAGS, Place};
use super::{Layout, Matrix, StorageError, Stored, pieces};
use crate::model::read::TensorInfo;
use crate::units::Bytes;

/// The tensors of headers, by what they belong to.
#[derive(Clone, Debug, Default)]
pub struct Grouped<'a> {
    /// By the name of the module: `model.layers.0.self_attn.q_proj`.
    pub modules: BTreeMap<&'a str, Found<'a>>,
    /// What belongs to no weight: biases, parameters of no module, scales of the KV cache.
    pub others: Vec<&'a TensorInfo>,
}

/// The tensors of one module's weight.
#[derive(Clone, Debug, Default)]
pub struct Found<'a> {
    /// In the order of the headers.
    tensors: Vec<(&'static str, &'a TensorInfo)>,
}

/// Suffixes of the tensor that the weight is packed into.
const WEIGHTS: [&str; 11] = [
    ".weight",
    ".qweight",
    ".weight_packed",
    ".W_q",
    ".q_weight",
    ".trellis",
    ".codes",
    "._weight_qdata",
    ".weight._data",
    ".weight._data._data",
    "_blocks",
];

/// Suffixes of tensors beside it that are loaded.
const BESIDE: [&str; 50] = [
    ".qzeros",
    ".scales",
    ".g_idx",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_scale_2",
    ".weight_scales",
    ".weight_global_scale",
    ".weight_zero_point",
    ".weight_shape",
    ".weight_g_idx",
    ".input_scale",
    ".input_scale_ub",
    ".input_zero_point",
    ".input_global_scale",
    ".output_scale",
    ".output_zero_point",
    ".pre_quant_scale",
    ".activation_scale",
    ".qscale_weight",
    ".qscale_act",
    ".scale",
    ".zero",
    ".k_scale",
    ".v_scale",
    ".SCB",
    ".weight.absmax",
    ".weight.quant_map",
    ".weight.nested_absmax",
    ".weight.nested_quant_map",
    ".weight._scale",
    ".weight._shift",
    "._weight_scale",
    "._weight_zero_point",
    "._weight_scale_and_zero",
    "._weight_per_tensor_scale",
    "._weight_act_pre_scale",
    ".codebooks",
    ".q_invperm",
    ".q_perm",
    ".q_scale",
    ".q_scale_max",
    ".q_groups",
    ".suh",
    ".svh",
    ".su",
    ".sv",
    ".mcg",
    ".mul1",
    "_scales",
];

/// Suffixes of settings, which a reader turns into attributes.
const SETTINGS: [&str; 10] = [
    ".weight_format",
    ".weight.quant_state.bitsandbytes__nf4",
    ".weight.quant_state.bitsandbytes__fp4",
    ".packing",
    ".unpack_view_dtype",
    ".compute_dtype",
    ".nbits",
    ".group_size",
    ".axis",
    ".shape",
];

/// Whether a tensor only says how the weight is read, and is not kept.
fn is_setting(suffix: &str) -> bool {
    SETTINGS.contains(&suffix) || HQQ_FLAGS.contains(&suffix)
}

/// Finds the tensors that belong to one weight.
pub fn group(tensors: &[TensorInfo]) -> Grouped<'_> {
    let names: BTreeSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut modules: BTreeMap<&str, Found<'_>> = BTreeMap::new();
    for name in &names {
        let stems = WEIGHTS.iter().filter_map(|weight| {
            let stem = name.strip_suffix(weight)?;
            let scales = format!("{stem}_scales");
            (*weight != "_blocks" || names.contains(scales.as_str())).then_some(stem)
        });
        modules.extend(stems.map(|stem| (stem, Found::default())));
    }
    let suffixes = [&WEIGHTS[..], &BESIDE, &SETTINGS, &HQQ_FLAGS].concat();
    let mut others = Vec::new();
    for tensor in tensors {
        let found = suffixes.iter().find_map(|suffix| {
            let stem = tensor.name.strip_suffix(*suffix)?;
            modules.contains_key(stem).then_some((stem, suffix))
        });
        match found.and_then(|(stem, suffix)| Some((modules.get_mut(stem)?, suffix))) {
            Some((group, suffix)) => group.tensors.push((suffix, tensor)),
            None => others.push(tensor),
        }
    }
    Grouped { modules, others }
}

/// Whether a tensor is a scale of the KV cache that stands beside no weight, and so no part of one.
pub fn is_cache_scale(name: &str) -> bool {
    let suffixes = [
        ".k_scale",
        ".v_scale",
        ".q_scale",
        ".kv_scale",
        ".prob_scale",
    ];
    suffixes.iter().any(|suffix| name.ends_with(suffix))
}

impl<'a> Found<'a> {
    /// Its tensors, in the order of the headers.
    pub fn tensors(&self) -> impl Iterator<Item = &'a TensorInfo> {
        self.tensors.iter().map(|(_, tensor)| *tensor)
    }

    /// Whether it is more, or other, than a plain weight.
    pub fn is_quantised(&self) -> bool {
        !matches!(self.tensors.as_slice(), [(".weight", _)])
    }

    /// Its sizes.
    pub fn stored(&self) -> Stored {
        let loaded = self.tensors.iter();
        let loaded = loaded.filter(|(suffix, _)| !is_setting(suffix));
        // The mean of scales that are quantised again is text in the file, and a tensor once loaded.
        let offset = self.get(".weight.nested_absmax").map(|_| Bytes(4));
        Stored {
            tensors: self.tensors().cloned().collect(),
            file: self.tensors().map(|tensor| tensor.bytes).sum(),
            loaded: loaded.map(|(_, tensor)| tensor.bytes).chain(offset).sum(),
        }
    }

    fn get(&self, suffix: &str) -> Option<&'a TensorInfo> {
        let mut tensors = self.tensors.iter();
        let found = tensors.find(|(own, _)| *own == suffix);
        found.map(|(_, tensor)| *tensor)
    }

    /// Whether it has the shapes that a layout gives it.
    pub(super) fn fits(&self, layout: &Layout, matrix: &Matrix<'_>) -> Result<(), StorageError> {
        match layout {
            Layout::Exl2 => {
                return self.fits_edges(matrix, ".q_weight", |dims| match dims {
                    [_, rows] => Some((*rows, None)),
                    _ => None,
                });
            }
            Layout::Exl3 => {
                return self.fits_edges(matrix, ".trellis", |dims| match dims {
                    [columns, rows, bits] if bits % 16 == 0 => {
                        Some((rows.checked_mul(16)?, Some(columns.checked_mul(16)?)))
                    }
                    _ => None,
                });
            }
            _ => {}
        }
        let expected = pieces(layout, matrix);
        for (index, piece) in expected.iter().enumerate() {
            let name = || format!("{}{}", matrix.module(), piece.suffix);
            match self.get(piece.suffix) {
                // The length of a text depends on its numbers.
                Some(_) if piece.place == Place::File => {}
                Some(found) if same_shape(&found.dims, &piece.dims) => {}
                Some(found) => {
                    return Err(StorageError::Shape {
                        name: name(),
                        found: found.dims.clone(),
                        expected: piece.dims.clone(),
                    });
                }
                None if index == 0 => return Err(StorageError::Missing(name())),
                None => {}
            }
        }
        Ok(())
    }

    /// The same where bits are the file's: `edges` are the rows, and the columns where they show.
    fn fits_edges(
        &self,
        matrix: &Matrix<'_>,
        suffix: &str,
        edges: impl Fn(&[u64]) -> Option<(u64, Option<u64>)>,
    ) -> Result<(), StorageError> {
        let name = format!("{}{suffix}", matrix.module());
        let Some(found) = self.get(suffix) else {
            return Err(StorageError::Missing(name));
        };
        let fits = match (edges(&found.dims), matrix.dims) {
            (Some((rows, columns)), [own_rows, own_columns]) => {
                rows == *own_rows && columns.is_none_or(|columns| columns == *own_columns)
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(StorageError::Shape {
            name,
            found: found.dims.clone(),
            expected: matrix.dims.to_vec(),
        })
    }
}

/// A scalar is `[]` to one writer and `[1]` to another, a column `[n]` or `[n, 1]`.
fn same_shape(one: &[u64], other: &[u64]) -> bool {
    let long =
        |dims: &[u64]| -> Vec<u64> { dims.iter().copied().filter(|dim| *dim != 1).collect() };
    long(one) == long(other)
}
