//! Weights and cache of a plan by device, summed over the tensors of its model in integer bytes: no
//! column, price or solver is asked.

use std::collections::BTreeMap;

use crate::cost::memory::{self, Allocator};
use crate::cost::{Parts, llama_cpp, transformers};
use crate::model::mix::Mix;
use crate::model::{BlockId, Kind, Model, Part, Precision, PrecisionError, Tensor};
use crate::plan::{CPU, DISK, DeviceMap, Plan};
use crate::units::Bytes;
use crate::workload::Workload;

/// Weights and cache by device.
pub(super) type Sums<'a> = BTreeMap<&'a str, (Bytes, Bytes)>;

/// How llama.cpp holds a model: where its blocks are, what of them is in RAM besides, and the
/// recipes of its blocks where they differ.
pub(super) struct Laid<'a, 'mix> {
    pub(super) map: &'a DeviceMap,
    pub(super) parts: Parts,
    pub(super) mix: Option<&'mix Mix>,
}

pub(super) fn llama_cpp_sums<'a>(
    laid: &Laid<'a, '_>,
    model: &Model,
    precision: Precision,
    workload: &Workload,
) -> Result<Sums<'a>, PrecisionError> {
    let (map, parts) = (laid.map, laid.parts);
    let formats = match laid.mix {
        Some(mix) => mix.formats(model)?,
        None => precision.for_llama_cpp()?.formats(model)?,
    };
    let mut sums = Sums::new();
    let modules = &map.modules;
    let has_head = model
        .tensors
        .iter()
        .zip(&formats)
        .any(|(tensor, format)| tensor.part == Part::Head && format.is_some());
    let is_in_ram =
        |tensor: &Tensor, block: u32| block < parts.n_blocks && parts.matrices.hold(tensor);
    for (tensor, format) in model.tensors.iter().zip(formats) {
        let Some(format) = format else { continue };
        let mut add = |device: &'a str| {
            let size = llama_cpp::allocated(tensor, format, backend(device));
            sums.entry(device).or_default().0 += size;
        };
        match tensor.part {
            Part::Embedding if tensor.kind == Kind::Embedding => {
                add(CPU);
                if !has_head && modules.head != CPU {
                    add(&modules.head);
                }
            }
            Part::Embedding => add(map.device_of(0).unwrap_or(CPU)),
            Part::FeedForward(BlockId(block)) if is_in_ram(tensor, block) => add(CPU),
            Part::Attention(BlockId(block)) | Part::FeedForward(BlockId(block)) => {
                add(map.device_of(block).unwrap_or(CPU));
            }
            Part::FinalNorm | Part::Head => add(&modules.head),
            // A vision tower is a file of its own.
            Part::Tower => {}
            // Not loaded but for speculation.
            Part::NextToken(_) => {}
            Part::Everywhere => {
                let gpus = map.runs.iter().map(|run| run.device.as_str());
                gpus.filter(|device| *device != CPU).for_each(add);
            }
        }
    }
    for run in &map.runs {
        let blocks = run
            .layers
            .clone()
            .filter_map(|layer| model.blocks.get(layer as usize));
        let cache =
            blocks.map(|block| memory::llama_cpp_cache(block, workload, backend(&run.device)));
        sums.entry(&run.device).or_default().1 += cache.sum::<Bytes>();
    }
    Ok(sums)
}

pub(super) fn backend(device: &str) -> Allocator {
    if device == CPU {
        memory::CPU
    } else {
        memory::CUDA
    }
}

pub(super) fn transformers_sums<'a>(
    plan: &'a Plan,
    model: &Model,
    precision: Precision,
    workload: &Workload,
) -> Result<Sums<'a>, PrecisionError> {
    let checkpoint = precision.for_transformers()?;
    let sizes = model.tensor_bytes(Precision::Checkpoint(checkpoint))?;
    let modules = &plan.device_map.modules;
    let mut sums = Sums::new();
    for (tensor, size) in model.tensors.iter().zip(sizes) {
        let device = match tensor.part {
            Part::Embedding | Part::Tower | Part::Everywhere => &modules.embedding,
            Part::Attention(BlockId(block)) | Part::FeedForward(BlockId(block)) => {
                plan.device_of(block).unwrap_or(CPU)
            }
            Part::NextToken(_) => continue,
            Part::FinalNorm => &modules.final_norm,
            Part::Head => &modules.head,
        };
        sums.entry(device).or_default().0 += size;
    }
    // Layers on "cpu" and "disk" compute on the first GPU, and keep their keys and values there.
    let first_gpu = plan.used_gpus().first().copied();
    let computes = |device: &'a str| match (device, first_gpu) {
        (CPU | DISK, Some(gpu)) if !plan.layout.is_host_only() => gpu,
        (device, _) => device,
    };
    for run in &plan.device_map.runs {
        let blocks = run
            .layers
            .clone()
            .filter_map(|layer| model.blocks.get(layer as usize));
        let cache = blocks.map(|block| transformers::kv_cache(block, workload, checkpoint));
        sums.entry(computes(&run.device)).or_default().1 += cache.sum::<Bytes>();
    }
    Ok(sums)
}
