//! Is this plan true? Two checks that know no solver.
//!
//! [`Plan::check`] holds a plan against itself: an edited file must still be a plan. [`verify`] holds
//! it against the model: it adds up every tensor where the map puts it, in whole bytes, and refuses a
//! plan whose devices hold another sum, or more than they can.

use crate::cost::{Matrices, Target};
use crate::model::{Extra, Model, Precision, PrecisionError};
use crate::plan::extras::{self, Placed};
use crate::plan::sums::{Laid, llama_cpp_sums, transformers_sums};
use crate::plan::{CPU, DISK, Plan};
use crate::units::Bytes;
use crate::workload::{Workload, WorkloadError};

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A layer is nowhere, twice, or out of order.
    #[error("the runs cover layer {found} where layer {expected} is due, of {blocks}")]
    Runs {
        /// The layer that the runs must go on with.
        expected: u32,
        /// The layer that they go on with.
        found: u32,
        /// Blocks of the model.
        blocks: u32,
    },
    /// A block has no recipe in the mix, or two.
    #[error("the mix must go on with block {expected}, of {blocks}")]
    MixRuns {
        /// The block.
        expected: u32,
        /// Blocks of the model.
        blocks: u32,
    },
    /// A block's precision that llama-quantize does not write.
    #[error("a mix is made of recipes of llama-quantize, and {0} is none")]
    NoRecipe(Precision),
    /// Formats that the recipes do not give.
    #[error("the formats of the mix are not those of its recipes")]
    MixTensors,
    /// A workload that nothing can hold.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A precision that the target cannot load, or that is none.
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    /// Devices that are not those of the rig, each once and in its order.
    #[error("the devices are not those of the rig: `{found}` stands where `{expected}` is due")]
    Devices {
        /// What the plan lists.
        found: String,
        /// What the rig has there.
        expected: String,
    },
    /// A capacity that is not the rig's.
    #[error("`{device}` can hold {expected} in this rig, and the plan says {found}")]
    Capacity {
        /// The device.
        device: String,
        /// What the plan says.
        found: Bytes,
        /// What the rig gives.
        expected: Bytes,
    },
    /// A layout that the map is not.
    #[error("the layout says that {} used, and the map says otherwise", if *.host_only { "no GPU is" } else { "GPUs are" })]
    Layout {
        /// Whether the layout leaves every GPU out.
        host_only: bool,
    },
    /// Parts in RAM of no block, of more than there are, or of none that is on a GPU.
    #[error(
        "`{}: {found}` needs llama.cpp, 1 to {blocks} blocks, and the last of them on a GPU, with `offloaded` behind layers on `cpu`, else with all on GPUs",
        match .matrices {
            Matrices::Experts => "experts_on_cpu",
            Matrices::FeedForward => "feed_forward_on_cpu",
        }
    )]
    Parts {
        /// Which.
        matrices: Matrices,
        /// What the plan says.
        found: u32,
        /// Blocks of the model.
        blocks: u32,
    },
    /// A number of blocks of which a part is in RAM, in a layout that has none.
    #[error(
        "`experts_on_cpu` goes with the layouts `experts_offloaded` and `offloaded`, `feed_forward_on_cpu` with `feed_forward_offloaded` and `offloaded`, and the plan has another"
    )]
    PartsBesideLayout,
    /// A disk that the rig or the layout has not.
    #[error(
        "`disk` needs a rate of `disk` in the rig, and a layout that leaves weights off the GPUs"
    )]
    Disk,
    /// The input embedding is where this target cannot have it.
    #[error("llama.cpp keeps the input embedding on the CPU, and the plan has it on `{0}`")]
    Embedding(String),
    /// A device that the rig has not.
    #[error("`{0}` is no device of the rig")]
    UnknownDevice(String),
    /// The runs put a device in two places.
    #[error("`{0}` has two runs of layers, and this target takes one")]
    TwoRuns(String),
    /// Layers on the CPU that are not the first ones.
    #[error("llama.cpp can only keep the first layers on the CPU, and layer {0} is behind a GPU's")]
    CpuBehindGpu(u32),
    /// More than fits.
    #[error("`{device}` holds {needs} of {capacity}")]
    TooMuch {
        /// The device.
        device: String,
        /// What the plan puts there.
        needs: Bytes,
        /// What it can hold.
        capacity: Bytes,
    },
    /// Sums that the tensors do not give.
    #[error("`{device}` holds {found} of {what}, and its tensors sum up to {expected}")]
    Sum {
        /// The device.
        device: String,
        /// Weights or cache.
        what: &'static str,
        /// What the plan says.
        found: Bytes,
        /// What the tensors give.
        expected: Bytes,
    },
    /// An extra that is not what its tensors make it.
    #[error("the extra {kind} `{file}` takes something else on `{device}` than its tensors give")]
    Extra {
        /// What it is.
        kind: &'static str,
        /// Its file.
        file: String,
        /// The device.
        device: String,
    },
    /// The head is where this target cannot have it.
    #[error("the head is on `{head}`, and this target puts it on `{expected}`")]
    Head {
        /// Where the plan has it.
        head: String,
        /// Where it would be.
        expected: String,
    },
}

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
        let host_only = self.layout.is_host_only();
        if host_only != self.used_gpus().is_empty() {
            return Err(CheckError::Layout { host_only });
        }
        self.check_parts()?;
        self.check_disk()?;
        match self.target {
            Target::LlamaCpp => self.check_llama_cpp(),
            Target::Transformers => Ok(()),
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
        for name in runs.chain([&modules.embedding, &modules.final_norm, &modules.head]) {
            // llama.cpp maps a file, and names no place on disk.
            let is_on_disk =
                name == DISK && self.disk.is_some() && self.target == Target::Transformers;
            if name != CPU && !is_on_disk && self.gpu(name).is_none() {
                return Err(CheckError::UnknownDevice(name.clone()));
            }
        }
        let runs = &self.device_map.runs;
        for (index, run) in runs.iter().enumerate() {
            if runs[..index]
                .iter()
                .any(|before| before.device == run.device)
            {
                return Err(CheckError::TwoRuns(run.device.clone()));
            }
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
    };
    let due = extras::uses(&Placed::of(plan, precision), model, workload)?;
    if let Some(fault) = extras::differing(&plan.extras, &due) {
        return Ok(Err(fault));
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
        Target::Transformers => DISK,
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
    Ok(differs.map_or(Ok(()), Err))
}
