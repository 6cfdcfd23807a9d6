//! From a solution to a plan: names instead of indices, sums by device, an estimate with its
//! interval.

use crate::cost::{
    Accounting, Layout, Matrices, Memory, OnDisk, Place, Store, Target, Unit, Whole,
};
use crate::hardware::Rig;
use crate::model::{Model, Origin, Precision, PrecisionError};
use crate::plan::crossing;
use crate::plan::extras::{self, Placed};
use crate::plan::{
    BaselineSummary, CPU, DISK, DeviceMap, DeviceUse, DiskUse, Estimate, Interval, ModelSummary,
    ModuleMap, Plan, ProofSummary, Run, ServiceSummary, Status, WorkloadSummary, served,
};
use crate::solve::baseline::Baseline;
use crate::solve::{self, Objective, Solution};
use crate::units::Bytes;
use crate::workload::Workload;

/// What was asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The model.
    pub model: &'a Model,
    /// The rig, of which the accounting may leave cards out.
    pub rig: &'a Rig,
    /// The framework.
    pub target: Target,
    /// How weights are stored, as the framework names it.
    pub precision: Precision,
    /// What has to be held.
    pub workload: &'a Workload,
    /// The prices that the solution was found with.
    pub accounting: &'a dyn Accounting,
}

impl Plan {
    /// Writes out what a solution means.
    ///
    /// # Errors
    /// Where a draft model has no precision that the target loads.
    pub fn new(
        question: &Question<'_>,
        solution: &Solution,
        baselines: &[Baseline],
    ) -> Result<Self, PrecisionError> {
        let rig = question.rig;
        let on_disk = question
            .accounting
            .on_disk(solution.layout, &solution.stages);
        let homes = homes(question.accounting, solution, &on_disk);
        let service = ServiceSummary::of(question.accounting, solution);
        let mut plan = Self {
            model: summary(question),
            target: question.target,
            precision: precision(question),
            mix: None,
            workload: WorkloadSummary {
                context: question.workload.context.0,
                sequences: question.workload.sequences,
                kv: question.workload.kv_format,
                ubatch: question.workload.ubatch.0,
            },
            layout: service.map_or(solution.layout, |it| Layout::Served(it.shape())),
            service,
            device_map: device_map(question, homes, solution.layout),
            devices: devices(rig, question.accounting, solution, &on_disk),
            disk: (solution.layout.store() == Store::Disk).then_some(DiskUse {
                weights: on_disk.weights,
                read_a_token: on_disk.read,
            }),
            extras: Vec::new(),
            crossings: Vec::new(),
            estimate: estimate(question, solution),
            proof: proof(&solution.proof),
            baselines: baselines.iter().map(baseline).collect(),
            rig: rig.clone(),
        };
        plan.extras = extras::uses(
            &Placed::of(&plan, question.precision),
            question.model,
            question.workload,
        )?;
        plan.crossings = crossing::uses(&plan, question.model);
        Ok(plan)
    }
}

/// Where each unit is kept, streamed ones on the host or on disk.
fn homes(accounting: &dyn Accounting, solution: &Solution, on_disk: &OnDisk) -> Vec<String> {
    let mut homes = vec![CPU.to_owned(); accounting.units().len()];
    for span in &solution.stages {
        for unit in span.units.clone() {
            homes[unit] = match span.streamed.contains(&unit) {
                true if on_disk.units.contains(&unit) => DISK.to_owned(),
                true => CPU.to_owned(),
                false => name(accounting, solution.layout, span.place),
            };
        }
    }
    homes
}

fn name(accounting: &dyn Accounting, layout: Layout, place: Place) -> String {
    match place {
        Place::Host => CPU.to_owned(),
        Place::Device(device) => {
            let members = accounting.members(layout, device).into_iter();
            let rig = accounting.rig();
            served::joined(members.map(|id| rig.device(id).name.as_str()))
        }
    }
}

fn summary(question: &Question<'_>) -> ModelSummary {
    let Question { model, target, .. } = question;
    ModelSummary {
        name: model.name.clone(),
        file: match &model.origin {
            Origin::Gguf(file) if *file != model.name => Some(file.clone()),
            Origin::Gguf(_) | Origin::Known | Origin::Config(_) | Origin::Safetensors(_) => None,
        },
        architecture: model.architecture.clone(),
        parameters: model.parameters(),
        blocks: question
            .accounting
            .units()
            .iter()
            .filter(|unit| matches!(unit, Unit::Block(_)))
            .count() as u32,
        modules: match target {
            Target::LlamaCpp | Target::Vllm | Target::Sglang => None,
            Target::Transformers => model.modules.clone(),
        },
        tied: model.tied,
    }
}

/// The precision, and what a file that stores its own is made of.
fn precision(question: &Question<'_>) -> String {
    match (question.precision, question.model.stored) {
        (Precision::Stored, Some(stored)) => stored.to_string(),
        (precision, _) => precision.to_string(),
    }
}

fn device_map(question: &Question<'_>, homes: Vec<String>, layout: Layout) -> DeviceMap {
    let mut runs: Vec<Run> = Vec::new();
    let units = question.accounting.units();
    let mut modules = ModuleMap {
        embedding: CPU.to_owned(),
        final_norm: String::new(),
        head: String::new(),
    };
    for (unit, device) in units.iter().zip(homes) {
        match unit {
            Unit::Embedding => modules.embedding = device,
            Unit::FinalNorm => modules.final_norm = device,
            Unit::Head => modules.head = device,
            Unit::Block(layer) => match runs.last_mut() {
                Some(run) if run.device == device => run.layers = *run.layers.start()..=*layer,
                _ => runs.push(Run {
                    layers: *layer..=*layer,
                    device,
                }),
            },
        }
    }
    // An engine has the embedding on its first stage and the head on its last.
    if let (Some(_), [first, .., last] | [first @ last]) = (layout.shape(), runs.as_slice()) {
        modules.embedding.clone_from(&first.device);
        modules.head.clone_from(&last.device);
    }
    // llama.cpp keeps the norm with the head; a tied head goes where the embedding is.
    if modules.head.is_empty() {
        modules.head.clone_from(&modules.embedding);
    }
    if modules.final_norm.is_empty() {
        modules.final_norm.clone_from(&modules.head);
    }
    DeviceMap { runs, modules }
}

fn devices(
    rig: &Rig,
    accounting: &dyn Accounting,
    solution: &Solution,
    on_disk: &OnDisk,
) -> Vec<DeviceUse> {
    let mut on_host = accounting.host_base(solution.layout);
    on_host.weights += on_disk.in_ram;
    let mut on_device = vec![Memory::default(); rig.devices().len()];
    for span in &solution.stages {
        let stage = accounting.stage(solution.layout, span);
        on_host += stage.host;
        match span.place {
            Place::Host => on_host += stage.device,
            Place::Device(device) => {
                for card in accounting.members(solution.layout, device) {
                    on_device[card.0] += stage.device;
                }
            }
        }
    }
    let mut uses: Vec<_> = rig
        .devices()
        .iter()
        .zip(on_device)
        .map(|(device, memory)| DeviceUse {
            name: device.name.clone(),
            model: device.model.clone(),
            capacity: device.capacity(),
            memory,
        })
        .collect();
    // RAM that the rig does not state is taken to hold what never leaves it.
    let on_cpu = match rig.host() {
        Some(host) => Some((host.capacity(), host.cpu.clone())),
        None => Some((on_host.total(), None)).filter(|(needed, _)| *needed > Bytes::ZERO),
    };
    uses.extend(on_cpu.map(|(capacity, cpu)| DeviceUse {
        name: CPU.to_owned(),
        model: cpu.unwrap_or_else(|| "RAM".to_owned()),
        capacity,
        memory: on_host,
    }));
    uses
}

fn estimate(question: &Question<'_>, solution: &Solution) -> Estimate {
    let rate = 1.0 / solution.time.0;
    let half_width = uncertainty(question.accounting, solution);
    Estimate {
        decode_tokens_per_second: Interval {
            low: rounded(rate * (1.0 - half_width)),
            mid: rounded(rate),
            high: rounded(rate * (1.0 + half_width)),
        },
        at_depth: question.workload.context.0,
    }
}

/// An estimate is as good as its worst part.
fn uncertainty(accounting: &dyn Accounting, solution: &Solution) -> f64 {
    let stages = solution.stages.iter();
    stages
        .map(|span| accounting.uncertainty(solution.layout, span))
        .fold(0.0, f64::max)
}

fn proof(proof: &solve::Proof) -> ProofSummary {
    ProofSummary {
        status: match proof.status {
            solve::Status::Optimal => Status::Optimal,
            solve::Status::Feasible => Status::Feasible,
        },
        goal: match proof.worth.as_slice() {
            [(Objective::Decode, _)] => String::new(),
            worth => {
                let names: Vec<_> = worth
                    .iter()
                    .map(|(objective, _)| objective.name())
                    .collect();
                names.join(", ")
            }
        },
        given: Vec::new(),
        objective: proof.objective().rounded(),
        bound: proof.bound.rounded(),
        gap: (proof.gap() * 1e4).round() / 1e4,
        solver: proof.method.clone(),
    }
}

fn baseline(baseline: &Baseline) -> BaselineSummary {
    BaselineSummary {
        name: baseline.rule.name().to_owned(),
        feasible: baseline.fits,
        decode_tokens_per_second: baseline.time.map(|time| rounded(1.0 / time.0)),
        resident_tokens: baseline.resident.map(|tokens| tokens.0),
        // The time of a token is its speed already.
        worth: baseline
            .worth
            .filter(|(objective, _)| *objective != Objective::Decode)
            .map(|(_, worth)| worth.rounded()),
    }
}

/// A rate to four digits that count.
fn rounded(rate: f64) -> f64 {
    if rate <= 0.0 || !rate.is_finite() {
        return 0.0;
    }
    let unit = 10_f64.powi(3 - rate.log10().floor() as i32);
    (rate * unit).round() / unit
}

/// Whether a layout overlaps work on several GPUs, for people.
pub fn describe(layout: Layout) -> &'static str {
    match layout {
        Layout::OneDevice => "on one GPU",
        Layout::Pipelined => "pipelined over GPUs",
        Layout::Sequential => "one GPU after the other",
        Layout::Served(_) => "of one sequence alone",
        Layout::Offloaded(below) => match (below.store, below.whole, below.parts.matrices) {
            (Store::Disk, ..) => "partly on disk",
            (Store::Ram, Whole::FirstUnits, _) if below.parts.n_blocks == 0 => "partly in RAM",
            (Store::Ram, Whole::FirstUnits, Matrices::Experts) => {
                "partly in RAM, as are experts of further layers"
            }
            (Store::Ram, Whole::FirstUnits, Matrices::FeedForward) => {
                "partly in RAM, as are feed-forwards of further layers"
            }
            (Store::Ram, Whole::Nothing, Matrices::Experts) => "with experts in RAM",
            (Store::Ram, Whole::Nothing, Matrices::FeedForward) => "with feed-forwards in RAM",
        },
        Layout::HostOnly(Store::Ram) => "on the CPU",
        Layout::HostOnly(Store::Disk) => "on the CPU, partly on disk",
    }
}
