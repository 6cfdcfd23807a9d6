//! llama.cpp: the launch line.
//!
//! `-ngl` is the sum of `-ts`, whose whole numbers are the slots of each device in the order of
//! `--device`; llama.cpp then divides the same integers on both sides of its comparison, so the cut is
//! exact (`src/llama-model.cpp`, 0c1e57098; run for real in `tests/engines`). Everything with a
//! default that moves between versions is stated. `-ot` is never needed: stages are
//! contiguous, and parts in RAM are those of the first blocks (`-ncmoe`, `-ncffn`).

use crate::cost::Matrices;
use crate::emit::{Backend, Emission, EmitError, quoted, rpc};
use crate::hardware::{Device, HostId};
use crate::model::Extra;
use crate::model::recipe::Recipe;
use crate::model::source::{HubName, Pick};
use crate::plan::{CPU, MixSummary, Plan};

/// Tokens that llama.cpp takes from a prompt at once; its default, or the micro-batch if larger.
const BATCH: u64 = 2048;

/// What a draft model is converted to that is no GGUF file.
const DRAFT_PRECISION: &str = "q4_k_m";

/// Slots of each used GPU in order: its blocks, and one for the head on the last.
fn slots(plan: &Plan) -> Vec<(&str, u32)> {
    let mut slots: Vec<(&str, u32)> = Vec::new();
    for run in plan.device_map.runs.iter().filter(|run| run.device != CPU) {
        slots.push((&run.device, run.layers.end() - run.layers.start() + 1));
    }
    let head = plan.device_map.modules.head.as_str();
    match slots.iter_mut().find(|(device, _)| *device == head) {
        Some((_, count)) => *count += 1,
        None if head != CPU => slots.push((head, 1)),
        None => {}
    }
    slots
}

/// What the first host calls a device.
fn device_name(plan: &Plan, device: &str) -> Option<String> {
    let id = plan.gpu(device)?;
    Some(rpc::name(plan, id).unwrap_or_else(|| super::device_name(plan, id)))
}

/// The flags that place and size everything.
fn flags(plan: &Plan) -> Vec<String> {
    let workload = &plan.workload;
    let slots = slots(plan);
    let mut flags: Vec<String> = ["--fit", "off"].map(str::to_owned).into();
    flags.extend(rpc::flags(plan));
    let mut add = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    if slots.is_empty() {
        add("--device", "none".to_owned());
    } else {
        let names = slots
            .iter()
            .filter_map(|(device, _)| device_name(plan, device));
        let names: Vec<_> = names.collect();
        let counts: Vec<_> = slots.iter().map(|(_, count)| count.to_string()).collect();
        add("--split-mode", "layer".to_owned());
        add("--device", names.join(","));
        add(
            "-ngl",
            slots
                .iter()
                .map(|(_, count)| count)
                .sum::<u32>()
                .to_string(),
        );
        add("-ts", counts.join(","));
    }
    let parts = plan.layout.parts();
    if parts.n_blocks > 0 {
        let flag = match parts.matrices {
            Matrices::Experts => "-ncmoe",
            Matrices::FeedForward => "-ncffn",
        };
        add(flag, parts.n_blocks.to_string());
    }
    add(
        "-c",
        workload
            .context
            .saturating_mul(workload.sequences.into())
            .to_string(),
    );
    add("-np", workload.sequences.to_string());
    add("-b", BATCH.max(workload.ubatch).to_string());
    add("-ub", workload.ubatch.to_string());
    add("-fa", "on".to_owned());
    add("-ctk", workload.kv.to_string());
    add("-ctv", workload.kv.to_string());
    if plan.disk.is_some() {
        // Pages that RAM cannot hold are read again; repacked weights would be no pages of the file.
        flags.extend(["-lm", "mmap", "--no-repack"].map(str::to_owned));
    }
    flags.extend(extras(plan));
    flags
}

/// The flags of what stands beside the model, each extra once. A projector follows `--device`; a
/// draft model would be cut over all devices, and is held on the first.
fn extras(plan: &Plan) -> Vec<String> {
    let mut flags: Vec<String> = Vec::new();
    let mut files: Vec<(Extra, &str)> = Vec::new();
    for extra in &plan.extras {
        let file = (extra.kind, extra.file.as_str());
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let slots = slots(plan);
    let first = slots
        .first()
        .and_then(|(device, _)| device_name(plan, device));
    for (kind, name) in files {
        let words: Vec<&str> = match (kind, &first) {
            (Extra::Lora, _) => vec!["--lora", name],
            (Extra::Mmproj, Some(_)) => vec!["--mmproj", name],
            (Extra::Mmproj, None) => vec!["--mmproj", name, "--no-mmproj-offload"],
            (Extra::Draft, Some(first)) => vec!["-devd", first, "-ngld", "all"],
            (Extra::Draft, None) => vec!["-devd", "none", "-ngld", "0"],
            (Extra::Mtp, _) => Vec::new(),
        };
        flags.extend(words.into_iter().map(str::to_owned));
        let spec_type = match kind {
            Extra::Lora | Extra::Mmproj => continue,
            Extra::Draft => {
                flags.extend(["-md".to_owned(), draft_file(name)]);
                "draft-simple"
            }
            Extra::Mtp => "draft-mtp",
        };
        let kv = plan.workload.kv.name();
        let rest = ["-ctkd", kv, "-ctvd", kv, "--spec-type", spec_type];
        flags.extend(rest.map(str::to_owned));
    }
    flags
}

/// The file of a draft model: its own, or the name that a conversion would give it.
fn draft_file(name: &str) -> String {
    match name.parse::<HubName>() {
        Ok(HubName {
            pick: Pick::File(file),
            ..
        }) => file.rsplit('/').next().unwrap_or(&file).to_owned(),
        Ok(name) => converted(&name.repository, DRAFT_PRECISION),
        Err(_) if name.to_ascii_lowercase().ends_with(".gguf") => name.to_owned(),
        Err(_) => converted(name, DRAFT_PRECISION),
    }
}

/// The words that name the file to load: the plan's own, on this machine or on the Hub, or the name
/// that a conversion would give it.
fn file(plan: &Plan) -> Vec<String> {
    let model = &plan.model;
    let path = |file: &str| vec!["-m".to_owned(), file.to_owned()];
    if plan.mix.is_some() {
        return path(&mixed(plan));
    }
    let file = model.file.as_deref().unwrap_or(&model.name);
    match file.parse::<HubName>() {
        Ok(name) => match (&name.pick, name.stated_revision()) {
            (Pick::File(file), None) => [("--hf-repo", &name.repository), ("--hf-file", file)]
                .into_iter()
                .flat_map(|(flag, value)| [flag.to_owned(), value.clone()])
                .collect(),
            // llama.cpp fetches no other revision than the newest: this file has to be there.
            (Pick::File(file), Some(_)) => path(file.rsplit('/').next().unwrap_or(file)),
            (Pick::Any | Pick::Quant(_), _) => path(&converted(&name.repository, &plan.precision)),
        },
        Err(_) if model.file.is_some() || file.to_ascii_lowercase().ends_with(".gguf") => {
            path(file)
        }
        Err(_) => path(&converted(file, &plan.precision)),
    }
}

/// What a mix is made of: a checkpoint, or a GGUF file that is not quantised yet.
fn source(plan: &Plan) -> String {
    let model = plan.model.file.as_deref().unwrap_or(&plan.model.name);
    match model.parse::<HubName>() {
        Ok(name) => match name.pick {
            Pick::File(file) => file.rsplit('/').next().unwrap_or_default().to_owned(),
            Pick::Any | Pick::Quant(_) => name.repository,
        },
        Err(_) => model.to_owned(),
    }
}

/// The name of the file that a mix is made into.
fn mixed(plan: &Plan) -> String {
    let source = source(plan);
    let is_gguf = source.to_ascii_lowercase().ends_with(".gguf");
    let stem = &source[..source.len() - if is_gguf { ".gguf".len() } else { 0 }];
    converted(stem, "mix")
}

/// The name that a conversion of this checkpoint would have.
fn converted(checkpoint: &str, precision: &str) -> String {
    let trimmed = checkpoint.trim_end_matches(['/', '\\']);
    let name = trimmed
        .trim_end_matches("config.json")
        .trim_end_matches(['/', '\\']);
    let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let name = if name.trim_matches('.').is_empty() {
        "model"
    } else {
        name
    };
    format!("{name}-{}.gguf", precision.to_uppercase())
}

/// Which tensor of a mix has which format.
const TENSOR_TYPES: &str = "tensor-types.txt";

/// The command that makes the file of a mix, of the unquantised one that a conversion writes.
///
/// Source: `tools/quantize/quantize.cpp` (llama.cpp, 2026): `--tensor-type-file` reads words of the
/// form `pattern=format`.
fn quantize(plan: &Plan, mix: &MixSummary) -> String {
    let needs_matrix = |name: &str| {
        let recipe = name.parse::<Recipe>();
        recipe.is_ok_and(Recipe::needs_importance_matrix)
    };
    let blocks = mix.blocks.iter().map(|run| run.precision.as_str());
    let matrix = match blocks.chain([plan.precision.as_str()]).any(needs_matrix) {
        true => "--imatrix imatrix.gguf ",
        false => "",
    };
    let source = source(plan);
    let from = match source.to_ascii_lowercase().ends_with(".gguf") {
        true => quoted(&source),
        false => quoted(&converted(&source, "f16")),
    };
    let (to, rest) = (quoted(&mixed(plan)), &plan.precision);
    format!("llama-quantize {matrix}--tensor-type-file {TENSOR_TYPES} {from} {to} {rest}")
}

/// The launch line, as a command and as a script.
pub(super) fn emit(plan: &Plan) -> Result<Emission, EmitError> {
    let file = file(plan).into_iter().map(|word| quoted(&word));
    let flags = flags(plan).into_iter().map(|word| quoted(&word));
    let arguments: Vec<_> = file.chain(flags).collect();
    // The numbers of devices are those of the driver's order, not of CUDA's own (fastest first).
    let by_cuda = |device: &&Device| {
        device.host == HostId::FIRST && Backend::of(device.class) == Backend::Cuda
    };
    let order = if plan.rig.devices().iter().filter(by_cuda).count() > 1 {
        "CUDA_DEVICE_ORDER=PCI_BUS_ID "
    } else {
        ""
    };
    let serve = format!("{order}llama-server {}", arguments.join(" "));
    let servers = rpc::servers(plan);
    let elsewhere = servers.iter().map(|server| {
        let (host, command) = (server.name(plan), server.command(plan));
        format!("# on {host}:\n{command}\n")
    });
    let elsewhere: String = elsewhere.collect();
    let launch = match servers.is_empty() {
        true => serve.clone(),
        false => format!("{elsewhere}# on {}:\n{serve}", plan.rig.hosts()[0].name),
    };
    let script = |purpose: &str, command: &str| {
        let name = plan.model.name.replace(['\n', '\r'], " ");
        let stored = plan.stored_as();
        format!(
            "#!/bin/sh\n# {name} at {stored}, {purpose} by shardplan.\nset -eu\n{command} \"$@\"\n"
        )
    };
    let scripts = servers.iter().map(|server| {
        let purpose = format!("its part on this host ({}) placed", server.needs(plan));
        let name = format!("rpc-server-{}.sh", server.name(plan));
        (name, script(&purpose, &server.command(plan)))
    });
    let serve = ("llama-server.sh".to_owned(), script("placed", &serve));
    let scripts = scripts.chain([serve]);
    Ok(match &plan.mix {
        None => Emission {
            launch,
            files: scripts.collect(),
        },
        Some(mix) => {
            let make = quantize(plan, mix);
            let lines = mix.tensors.iter().map(|line| format!("{line}\n"));
            let made = [
                (TENSOR_TYPES.to_owned(), lines.collect()),
                ("llama-quantize.sh".to_owned(), script("mixed", &make)),
            ];
            Emission {
                launch: format!("{make}\n{launch}"),
                files: made.into_iter().chain(scripts).collect(),
            }
        }
    })
}
