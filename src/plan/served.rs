//! What an engine serves with a plan, and the checks of that: groups of GPUs are written as
//! `cuda0+cuda1`, and every sum is over the tensors and pages of one GPU.

use serde::{Deserialize, Serialize};

use crate::cost::served::{Service, Shape, serve};
use crate::cost::serving::ends::{Kept, ends, most_stages};
use crate::cost::serving::{self, Server, share};
use crate::cost::{Accounting, Batch, Layout, Pages, capacity, crossings};
use crate::hardware::HostId;
use crate::model::{Kind, Model, Part, Precision, PrecisionError};
use crate::plan::sums::Sums;
use crate::plan::{CheckError, Plan, Run};
use crate::solve::Solution;
use crate::units::Bytes;
use crate::workload::{KvFormat, Workload};

/// Between the names of GPUs that share blocks; no device's name has it.
const JOIN: char = '+';

/// How an engine is told to use the cards, and what it then serves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSummary {
    /// GPUs that share every block.
    pub tensor_parallel: u32,
    /// Stages.
    pub pipeline: u32,
    /// Stages of each host that is used, where the rig has several.
    #[serde(default, skip_serializing_if = "is_none")]
    pub stages_per_host: u32,
    /// The part of each card that the engine is told to take, to a thousandth.
    pub memory_fraction: f64,
    /// Tokens that the cache of every stage keeps.
    pub resident_tokens: u64,
    /// Sequences of the whole context that are then decoded at once.
    pub sequences: u64,
    /// Tokens a second of all of them together: an estimate.
    pub tokens_per_second: f64,
}

impl ServiceSummary {
    /// What a solution serves; nothing where its target is none that serves.
    pub(super) fn of(accounting: &dyn Accounting, solution: &Solution) -> Option<Self> {
        let layout = solution.layout;
        let shape = layout.shape()?;
        let mut resident = Pages::ENDLESS;
        let (mut batches, mut held): (Vec<Batch>, u64) = (Vec::new(), u64::MAX);
        for span in &solution.stages {
            let stage = accounting.stage(layout, span);
            let beside = stage.device.total().saturating_sub(stage.device.kv_cache);
            let room = capacity(accounting.grouped(layout), span.place);
            let own = stage.pages.resident(room.saturating_sub(beside));
            resident = resident.min(own);
            held = held.min(stage.pages.sequences(own));
            batches.push(stage.batch);
        }
        let crossings = crossings(accounting, layout, &solution.stages);
        let between: Vec<_> = crossings.iter().map(|crossing| crossing.batch).collect();
        let Service { sequences, pace } = serve(&batches, &between, held);
        Some(Self {
            tensor_parallel: shape.degree,
            pipeline: solution.stages.len() as u32,
            stages_per_host: shape.per_host,
            memory_fraction: f64::from(shape.fraction) / 1000.0,
            resident_tokens: resident.0,
            sequences,
            tokens_per_second: (1e17 / pace.max(1) as f64).round() / 100.0,
        })
    }

    /// How the cards are used.
    pub(super) fn shape(&self) -> Shape {
        Shape {
            degree: self.tensor_parallel,
            fraction: (self.memory_fraction * 1000.0).round() as u32,
            per_host: self.stages_per_host,
            stages: self.pipeline,
        }
    }

    /// What the engine is told to take of a card.
    fn told(&self, memory: Bytes) -> Bytes {
        let told = u128::from(memory.0) * u128::from(self.shape().fraction) / 1000;
        Bytes(u64::try_from(told).unwrap_or(u64::MAX))
    }
}

/// A rig of one host has no number of stages for each.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over references"
)]
fn is_none(stages: &u32) -> bool {
    *stages == 0
}

/// The names of GPUs that share blocks, as one.
pub(super) fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.collect();
    names.join(&String::from(JOIN))
}

/// The GPUs that a run's device is.
pub fn members(device: &str) -> impl Iterator<Item = &str> {
    device.split(JOIN)
}

impl Plan {
    /// Whether the map is one that the engine can be told.
    pub(super) fn check_served(&self) -> Result<(), CheckError> {
        let (Some(service), Some(shape)) = (self.service, self.layout.shape()) else {
            return Err(CheckError::Served("it has no `service`, or another layout"));
        };
        let runs = &self.device_map.runs;
        let modules = &self.device_map.modules;
        let is_full = |device: &str| {
            let names: Vec<_> = members(device).collect();
            names.len() == shape.degree as usize
                && names.iter().all(|name| self.gpu(name).is_some())
        };
        let (first, last) = (runs.first(), runs.last());
        let at = |run: Option<&super::Run>, device: &str| run.is_some_and(|it| it.device == device);
        let fault = if service.shape() != shape || !(1..=1000).contains(&shape.fraction) {
            "`memory_fraction` is no part of a card in thousandths"
        } else if service.pipeline as usize != runs.len() {
            "`pipeline` is not the number of runs"
        } else if !runs.iter().all(|run| is_full(&run.device)) {
            "each run needs as many GPUs as `tensor_parallel` says"
        } else if runs.iter().any(|run| self.hosts_of(&run.device).len() != 1) {
            "GPUs of several hosts share blocks"
        } else if !self.keeps_stages_per_host(shape.per_host as usize) {
            "each host that is used needs `stages_per_host` runs, one after the other"
        } else if !at(first, &modules.embedding) {
            "the embedding is not on the first stage"
        } else if !at(last, &modules.head) || !at(last, &modules.final_norm) {
            "the final norm and the head are not on the last stage"
        } else {
            return Ok(());
        };
        Err(CheckError::Served(fault))
    }

    /// The hosts of the GPUs that a run's device is, each once.
    fn hosts_of(&self, device: &str) -> Vec<HostId> {
        let ids = members(device).filter_map(|name| self.gpu(name));
        let mut hosts: Vec<_> = ids.map(|id| self.rig.device(id).host).collect();
        hosts.dedup();
        hosts
    }

    /// The hosts of the stages, each once, in the order of execution.
    pub(crate) fn nodes(&self) -> Vec<HostId> {
        let runs = self.device_map.runs.iter();
        let mut nodes: Vec<_> = runs.flat_map(|run| self.hosts_of(&run.device)).collect();
        nodes.dedup();
        nodes
    }

    /// Whether each host is come to once and has so many stages; of one host none are counted.
    fn keeps_stages_per_host(&self, per_host: usize) -> bool {
        if self.rig.hosts().len() == 1 {
            return per_host == 0;
        }
        let runs = &self.device_map.runs;
        let mut own = runs.chunk_by(|a, b| self.hosts_of(&a.device) == self.hosts_of(&b.device));
        let mut nodes = self.nodes();
        let n_visits = nodes.len();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.len() == n_visits && own.all(|own| own.len() == per_host)
    }

    /// Whether the tokens in the cache are those that every GPU has room for.
    pub(super) fn check_resident(
        &self,
        model: &Model,
        kv_format: KvFormat,
        server: Server,
    ) -> Result<(), CheckError> {
        let Some(service) = self.service else {
            return Ok(());
        };
        if self.device_map.runs.len() > most_stages(server, model) {
            return Err(CheckError::Served(
                "the engine has this model in one stage alone",
            ));
        }
        let engine = server.engine();
        let mut resident = Pages::ENDLESS.0;
        for run in &self.device_map.runs {
            let page = page(run, model, kv_format, (server, service.tensor_parallel));
            for name in members(&run.device) {
                let listed = self.devices.iter().find(|device| device.name == name);
                let (Some(id), Some(listed)) = (self.gpu(name), listed) else {
                    return Err(CheckError::UnknownDevice(name.to_owned()));
                };
                let beside = match server {
                    Server::Vllm => listed.memory.compute + listed.memory.overhead,
                    // SGLang is told how much weights and cache may take alone.
                    Server::Sglang => Bytes::ZERO,
                };
                let told = service.told(self.rig.device(id).memory);
                let room = told.saturating_sub(listed.memory.weights + beside);
                if let Some(pages) = room.0.checked_div(page.0) {
                    resident = resident.min(pages.saturating_mul(engine.page().0));
                }
            }
        }
        match resident == service.resident_tokens {
            true => Ok(()),
            false => Err(CheckError::Resident {
                found: service.resident_tokens,
                expected: resident,
            }),
        }
    }
}

/// Weights and cache of each GPU, added up from tensors and pages.
pub(super) fn served_sums<'a>(
    plan: &'a Plan,
    model: &Model,
    precision: Precision,
    workload: &Workload,
    server: Server,
) -> Result<Sums<'a>, PrecisionError> {
    let degree = match plan.layout {
        Layout::Served(shape) => shape.degree,
        _ => 1,
    };
    let checkpoint = precision.for_serving()?;
    let kv_format = serving::kept(workload.kv_format, checkpoint);
    let sizes = serving::sizes(model, checkpoint)?;
    let modules = &plan.device_map.modules;
    let runs = &plan.device_map.runs;
    let ends = ends(server, model);
    let mut sums = Sums::new();
    for (tensor, size) in model.tensors.iter().zip(sizes) {
        let held = share::share((server, degree), model, tensor, size);
        let mut add_to = |kept: Kept, device: &'a str| {
            let all = runs.iter().map(|run| run.device.as_str());
            let devices: Vec<_> = match kept {
                Kept::Once => vec![device],
                Kept::OnEach => all.collect(),
            };
            for name in devices.into_iter().flat_map(members) {
                sums.entry(name).or_default().0 += held;
            }
        };
        match tensor.part {
            Part::Attention(block) | Part::FeedForward(block) => {
                add_to(Kept::Once, plan.device_of(block.0).unwrap_or_default());
            }
            Part::NextToken(_) => {}
            Part::FinalNorm => add_to(ends.norm, &modules.head),
            Part::Head => add_to(ends.head, &modules.head),
            Part::Tower => add_to(ends.tower, &modules.embedding),
            Part::Embedding if tensor.kind == Kind::Embedding => match (model.tied, ends.head) {
                (true, Kept::OnEach) => add_to(Kept::OnEach, &modules.embedding),
                (is_tied, _) => {
                    add_to(ends.embedding, &modules.embedding);
                    let is_apart = modules.head != modules.embedding;
                    if is_tied && is_apart && ends.embedding == Kept::Once {
                        add_to(Kept::Once, &modules.head);
                    }
                }
            },
            Part::Embedding | Part::Everywhere => add_to(Kept::Once, &modules.embedding),
        }
    }
    let engine = server.engine();
    let pages = workload.context.0.div_ceil(engine.page().0) * u64::from(workload.sequences);
    for run in runs {
        let cache = page(run, model, kv_format, (server, degree)) * pages;
        for name in members(&run.device) {
            sums.entry(name).or_default().1 += cache;
        }
    }
    Ok(sums)
}

/// What one page takes of each GPU of a stage.
fn page(run: &Run, model: &Model, format: KvFormat, (server, degree): (Server, u32)) -> Bytes {
    let cache = ends(server, model).cache;
    let blocks = model.blocks.iter().enumerate();
    let kept = blocks.filter(|(index, _)| match cache {
        Kept::Once => run.layers.contains(&(*index as u32)),
        Kept::OnEach => true,
    });
    let engine = server.engine();
    kept.map(|(_, block)| engine.page_bytes(block, format, degree))
        .sum()
}
