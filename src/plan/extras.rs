//! What stands beside the model in a plan: each extra with its device and its bytes.
//!
//! Weights and cache are added up here tensor by tensor, from the map and not from the prices that
//! the solver had, so that `check` can hold one against the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cost::llama_cpp::{self, Ahead};
use crate::cost::{Layout, Parts, Target, extras, memory, transformers};
use crate::hardware::Rig;
use crate::model::{BlockId, Extra, Kind, Model, Part, Precision, PrecisionError, Tensor};
use crate::plan::{CPU, CheckError, DeviceMap, ModuleMap, Plan, Run, sums};
use crate::units::Bytes;
use crate::workload::Workload;

/// What an extra takes on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtraUse {
    /// What it is.
    pub kind: Extra,
    /// Its file, as the user named it.
    pub file: String,
    /// Where this part of it is.
    pub device: String,
    /// Its weights there.
    pub weights: Bytes,
    /// Keys and values of a draft model.
    pub kv_cache: Bytes,
    /// Its buffers there: those of a draft model, the guess for a projector.
    pub compute: Bytes,
}

/// A plan as far as extras depend on it.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) target: Target,
    pub(super) layout: Layout,
    pub(super) map: &'a DeviceMap,
    /// The first GPU of the chain.
    pub(super) first_gpu: Option<&'a str>,
    pub(super) rig: &'a Rig,
    pub(super) precision: Precision,
}

impl<'a> Placed<'a> {
    pub(super) fn of(plan: &'a Plan, precision: Precision) -> Self {
        Self {
            target: plan.target,
            layout: plan.layout,
            map: &plan.device_map,
            first_gpu: plan.used_gpus().first().copied(),
            rig: &plan.rig,
            precision,
        }
    }
}

/// The extras of a model, by extra and then by device.
pub(super) fn uses(
    placed: &Placed<'_>,
    model: &Model,
    workload: &Workload,
) -> Result<Vec<ExtraUse>, PrecisionError> {
    let mut uses = Vec::new();
    for adapter in &model.extras.adapters {
        let mut sums = BTreeMap::<&str, Bytes>::new();
        for tensor in &adapter.tensors {
            let device = home(placed.map, tensor);
            *sums.entry(device).or_default() += match placed.target {
                Target::LlamaCpp => extras::adapter_tensor(tensor, sums::backend(device)),
                // Engines that serve take none.
                Target::Transformers | Target::Vllm | Target::Sglang => {
                    transformers::adapter_tensor(tensor)
                }
            };
        }
        uses.extend(sums.into_iter().map(|(device, weights)| ExtraUse {
            kind: Extra::Lora,
            file: adapter.name.clone(),
            device: device.to_owned(),
            weights,
            kv_cache: Bytes::ZERO,
            compute: Bytes::ZERO,
        }));
    }
    let [projector, draft] = extras::beside(&model.extras, placed.rig, workload)?;
    let first = match placed.layout {
        Layout::HostOnly(_) => CPU,
        _ => placed.first_gpu.unwrap_or(CPU),
    };
    let beside = |extra: extras::Extra| match first {
        CPU => extra.in_ram,
        _ => extra.on_gpu,
    };
    if let (Some(priced), Some(file)) = (projector, &model.extras.projector) {
        let allocator = sums::backend(first);
        let weights = file.tensors.iter();
        uses.push(ExtraUse {
            kind: Extra::Mmproj,
            file: file.name.clone(),
            device: first.to_owned(),
            weights: weights
                .map(|tensor| extras::adapter_tensor(tensor, allocator))
                .sum(),
            kv_cache: Bytes::ZERO,
            compute: beside(priced).first.compute,
        });
    }
    if let (Some(priced), Some(draft)) = (draft, &model.extras.draft) {
        let priced = beside(priced);
        let sums = draft_sums(draft, first, workload)?;
        let mut buffers = BTreeMap::from([(CPU, Bytes::ZERO)]);
        for (device, memory) in [(first, priced.first), (CPU, priced.host)] {
            *buffers.entry(device).or_default() += memory.compute + memory.overhead;
        }
        for (device, compute) in buffers {
            let (weights, kv_cache) = sums.get(device).copied().unwrap_or_default();
            uses.push(ExtraUse {
                kind: Extra::Draft,
                file: draft.name.clone(),
                device: device.to_owned(),
                weights,
                kv_cache,
                compute,
            });
        }
    }
    if let Some(context) = extras::ahead(model, placed.precision, placed.rig, workload)? {
        uses.extend(ahead_uses(placed, model, workload, context)?);
    }
    Ok(uses)
}

/// The blocks that run ahead, which the map places and the sums of the model count.
fn ahead_uses(
    placed: &Placed<'_>,
    model: &Model,
    workload: &Workload,
    context: Ahead,
) -> Result<Vec<ExtraUse>, PrecisionError> {
    let formats = placed.precision.for_llama_cpp()?.formats(model)?;
    let blocks = model.extras.ahead.clone().unwrap_or_default();
    let mut sums = BTreeMap::<&str, (Bytes, Bytes, Bytes)>::new();
    for block in blocks.clone() {
        let device = placed.map.device_of(block).unwrap_or(CPU);
        let allocator = sums::backend(device);
        let stored = model.tensors.iter().zip(&formats);
        let own = stored.filter_map(|(tensor, format)| match tensor.part {
            Part::Attention(BlockId(of)) | Part::FeedForward(BlockId(of)) if of == block => {
                Some(llama_cpp::allocated(tensor, (*format)?, allocator))
            }
            _ => None,
        });
        let kept = model.blocks.get(block as usize);
        let sum = sums.entry(device).or_default();
        sum.0 += own.sum();
        sum.1 += kept.map_or(Bytes::ZERO, |block| {
            memory::llama_cpp_cache(block, workload, allocator)
        });
        if block + 1 == blocks.end {
            sum.2 += context.own;
        }
    }
    sums.entry(CPU).or_default().2 += context.host;
    let uses = sums.into_iter();
    let uses = uses.map(|(device, (weights, kv_cache, compute))| ExtraUse {
        kind: Extra::Mtp,
        file: model.name.clone(),
        device: device.to_owned(),
        weights,
        kv_cache,
        compute,
    });
    Ok(uses.collect())
}

/// The first extra that is not what its tensors make it.
pub(super) fn differing(listed: &[ExtraUse], due: &[ExtraUse]) -> Option<CheckError> {
    let wrong =
        (0..listed.len().max(due.len())).find(|index| listed.get(*index) != due.get(*index));
    let extra = wrong.and_then(|index| listed.get(index).or(due.get(index)))?;
    Some(CheckError::Extra {
        kind: extra.kind.name(),
        file: extra.file.clone(),
        device: extra.device.clone(),
    })
}

/// Where the matrix is that a thin one adapts.
fn home<'a>(map: &'a DeviceMap, tensor: &Tensor) -> &'a str {
    match tensor.part {
        Part::Attention(BlockId(block)) | Part::FeedForward(BlockId(block)) => {
            map.device_of(block).unwrap_or(CPU)
        }
        Part::Embedding if tensor.kind != Kind::Embedding => map.device_of(0).unwrap_or(CPU),
        Part::Embedding | Part::Tower | Part::Everywhere | Part::NextToken(_) => {
            &map.modules.embedding
        }
        Part::FinalNorm => &map.modules.final_norm,
        Part::Head => &map.modules.head,
    }
}

/// Weights and cache of a draft model, whole on `device`.
fn draft_sums(
    draft: &Model,
    device: &str,
    workload: &Workload,
) -> Result<BTreeMap<String, (Bytes, Bytes)>, PrecisionError> {
    let map = DeviceMap {
        runs: vec![Run {
            layers: 0..=draft.dimensions.n_layers.saturating_sub(1),
            device: device.to_owned(),
        }],
        modules: ModuleMap {
            embedding: CPU.to_owned(),
            final_norm: device.to_owned(),
            head: device.to_owned(),
        },
    };
    let laid = sums::Laid {
        map: &map,
        parts: Parts::NONE,
        mix: None,
    };
    let sums = sums::llama_cpp_sums(&laid, draft, extras::draft_precision(draft), workload)?;
    let owned = sums
        .into_iter()
        .map(|(device, sum)| (device.to_owned(), sum));
    Ok(owned.collect())
}
