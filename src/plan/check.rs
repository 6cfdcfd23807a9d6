//! Is this plan true? Two checks that know no solver.
//!
//! [`Plan::check`] holds a plan against itself: an edited file must still be a plan. [`verify`] holds
//! it against the model: it adds up every tensor where the map puts it, in whole bytes, and refuses a
//! plan whose devices hold another sum, or more than they can.

mod error;

use crate::cost::Target;
use crate::cost::llama_cpp::MOST_DEVICES;
use crate::cost::serving::{self, Server};
use crate::model::{Extra, Model, Precision, PrecisionError};
use crate::plan::crossing;
use crate::plan::extras::{self, Placed};
use crate::plan::served::served_sums;
use crate::plan::sums::{Laid, llama_cpp_sums, transformers_sums};
use crate::plan::{CPU, DISK, Plan, members};
use crate::units::Bytes;
use crate::workload::Workload;

pub use error::CheckError;

impl Plan {
    /// Holds the plan against itself.
    ///
    /// # Errors
    /// Where runs do not cover the layers, devices are unknown or too full, or the target cannot
    /// express the map.
    pub fn check(&self) -> Result<(), CheckError> {
        self.workload.load().checked()?;
        self.target.own_precision(self.precision.parse()?)?;
        self.mix()?;
        let mut expected = 0;
        for run in &self.device_map.runs {
            let in_order = *run.layers.start() == expected && !run.layers.is_empty();
            if !in_order || *run.layers.end() >= self.model.blocks {
                return Err(CheckError::Runs {
                    expected,
                    found: *run.layers.start(),
                    blocks: self.model.blocks,
                });
            }
            expected = run.layers.end() + 1;
        }
        if expected != self.model.blocks {
            let found = self.model.blocks;
            return Err(CheckError::Runs {
                expected,
                found,
                blocks: self.model.blocks,
            });
        }
        self.check_list()?;
        self.check_devices()?;
        crossing::check(self)?;
        let host_only = self.layout.is_host_only();
        if host_only != self.used_gpus().is_empty() {
            return Err(CheckError::Layout { host_only });
        }
        self.check_parts()?;
        self.check_disk()?;
        let is_served = self.service.is_some() || self.layout.shape().is_some();
        if is_served && self.target.server().is_none() {
            return Err(CheckError::Served("its target is none"));
        }
        match self.target {
            Target::LlamaCpp => self.check_llama_cpp(),
            Target::Transformers => Ok(()),
            Target::Vllm | Target::Sglang => self.check_served(),
        }
    }

    /// The devices listed are those of the rig, and then the host where it holds anything.
    fn check_list(&self) -> Result<(), CheckError> {
        let gpus = self.rig.devices().iter();
        let mut due: Vec<_> = gpus
            .map(|device| (device.name.as_str(), Some(device.capacity())))
            .collect();
        let host = self.rig.host().map(|host| host.capacity());
        if host.is_some() || self.target == Target::LlamaCpp {
            due.push((CPU, host));
        }
        let listed: Vec<_> = self
            .devices
            .iter()
            .map(|device| device.name.as_str())
            .collect();
        for index in 0..due.len().max(listed.len()) {
            let expected = due.get(index).map_or("nothing", |(name, _)| *name);
            let found = listed.get(index).copied().unwrap_or("nothing");
            if found != expected {
                let (found, expected) = (found.to_owned(), expected.to_owned());
                return Err(CheckError::Devices { found, expected });
            }
        }
        for (device, (_, capacity)) in self.devices.iter().zip(due) {
            let (device, found) = (device.name.clone(), device.capacity);
            if let Some(expected) = capacity.filter(|capacity| *capacity != found) {
                return Err(CheckError::Capacity {
                    device,
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }

    fn check_devices(&self) -> Result<(), CheckError> {
        let modules = &self.device_map.modules;
        let runs = self.device_map.runs.iter().map(|run| &run.device);
        let all = runs.chain([&modules.embedding, &modules.final_norm, &modules.head]);
        for name in all.flat_map(|device| members(device)) {
            // llama.cpp maps a file, and names no place on disk.
            let is_on_disk =
                name == DISK && self.disk.is_some() && self.target == Target::Transformers;
            if name != CPU && !is_on_disk && self.gpu(name).is_none() {
                return Err(CheckError::UnknownDevice(name.to_owned()));
            }
        }
        let runs = &self.device_map.runs;
        let mut seen: Vec<&str> = Vec::new();
        for name in runs.iter().flat_map(|run| members(&run.device)) {
            if seen.contains(&name) {
                return Err(CheckError::TwoRuns(name.to_owned()));
            }
            seen.push(name);
        }
        if let Some(extra) = self
            .extras
            .iter()
            .find(|extra| extra.device != CPU && self.gpu(&extra.device).is_none())
        {
            return Err(CheckError::UnknownDevice(extra.device.clone()));
        }
        for device in &self.devices {
            let needs = device.memory.total();
            if needs > device.capacity {
                return Err(CheckError::TooMuch {
                    device: device.name.clone(),
                    needs,
                    capacity: device.capacity,
                });
            }
        }
        Ok(())
    }

    fn check_llama_cpp(&self) -> Result<(), CheckError> {
        let runs = &self.device_map.runs;
        if let Some(run) = runs.iter().skip(1).find(|run| run.device == CPU) {
            return Err(CheckError::CpuBehindGpu(*run.layers.start()));
        }
        let (found, most) = (self.used_gpus().len(), MOST_DEVICES);
        if found > most {
            return Err(CheckError::TooMany { found, most });
        }
        let modules = &self.device_map.modules;
        if modules.embedding != CPU {
            return Err(CheckError::Embedding(modules.embedding.clone()));
        }
        let last = runs.last().map_or(CPU, |run| run.device.as_str());
        // Behind the last block comes the head, on its device or on a GPU of its own.
        let may_follow =
            |head: &str| head == last || (head != CPU && runs.iter().all(|run| run.device != head));
        if modules.final_norm != modules.head || !may_follow(&modules.head) {
            let (head, expected) = (modules.head.clone(), last.to_owned());
            return Err(CheckError::Head { head, expected });
        }
        Ok(())
    }
}

/// Adds up weights and cache of every device from the model's tensors, and holds the plan against it.
///
/// # Errors
/// The first device whose sums differ or exceed what it can hold.
pub fn verify(
    plan: &Plan,
    model: &Model,
    precision: Precision,
    workload: &Workload,
) -> Result<Result<(), CheckError>, PrecisionError> {
    if let Err(fault) = plan.check() {
        return Ok(Err(fault));
    }
    let mix = match plan.mix() {
        Ok(mix) => mix,
        Err(fault) => return Ok(Err(fault)),
    };
    if let (Some(mix), Some(summary)) = (&mix, &plan.mix)
        && mix.tensor_types(model)? != summary.tensors
    {
        return Ok(Err(CheckError::MixTensors));
    }
    let sums = match plan.target {
        Target::LlamaCpp => {
            let laid = Laid {
                map: &plan.device_map,
                parts: plan.layout.parts(),
                mix: mix.as_ref(),
            };
            llama_cpp_sums(&laid, model, precision, workload)?
        }
        Target::Transformers => transformers_sums(plan, model, precision, workload)?,
        Target::Vllm => served_sums(plan, model, precision, workload, Server::Vllm)?,
        Target::Sglang => served_sums(plan, model, precision, workload, Server::Sglang)?,
    };
    let due = extras::uses(&Placed::of(plan, precision), model, workload)?;
    if let Some(fault) = extras::differing(&plan.extras, &due) {
        return Ok(Err(fault));
    }
    let crossings = crossing::uses(plan, model).into_iter().zip(&plan.crossings);
    if let Some((due, found)) = crossings
        .into_iter()
        .find(|(due, found)| due.bytes != found.bytes)
    {
        return Ok(Err(CheckError::CrossingBytes {
            before: due.before,
            found: found.bytes,
            expected: due.bytes,
        }));
    }
    let mut sums = sums;
    // Blocks ahead are the model's own, and are among its sums.
    for extra in plan.extras.iter().filter(|extra| extra.kind != Extra::Mtp) {
        let sum = sums.entry(extra.device.as_str()).or_default();
        *sum = (sum.0 + extra.weights, sum.1 + extra.kv_cache);
    }
    let on_disk = plan.disk.map_or(Bytes::ZERO, |disk| disk.weights);
    // What llama.cpp reads from disk are weights of the CPU that RAM does not hold.
    let place = match plan.target {
        Target::LlamaCpp => CPU,
        Target::Transformers | Target::Vllm | Target::Sglang => DISK,
    };
    let sum = sums.entry(place).or_default();
    let Some(in_memory) = sum.0.checked_sub(on_disk) else {
        return Ok(Err(CheckError::Sum {
            device: DISK.to_owned(),
            what: "weights",
            found: on_disk,
            expected: sum.0,
        }));
    };
    sum.0 = in_memory;
    let differs = plan.devices.iter().find_map(|device| {
        let (weights, kv_cache) = sums.get(device.name.as_str()).copied().unwrap_or_default();
        let sum = |what, found, expected| {
            let device = device.name.clone();
            (found != expected).then_some(CheckError::Sum {
                device,
                what,
                found,
                expected,
            })
        };
        sum("weights", device.memory.weights, weights)
            .or_else(|| sum("cache", device.memory.kv_cache, kv_cache))
    });
    if let (None, Some(server)) = (&differs, plan.target.server()) {
        let kv_format = serving::kept(workload.kv_format, precision.for_serving()?);
        return Ok(plan.check_resident(model, kv_format, server));
    }
    Ok(differs.map_or(Ok(()), Err))
}
