//! transformers: a `device_map` and a loader of three lines.
//!
//! Keys never overlap, a block is never split, a tied head has a key of its own on the embedding's
//! device, and modules without parameters are named beside the first block. GPUs are renumbered in the
//! order of execution through `CUDA_VISIBLE_DEVICES`: offloaded modules compute on the lowest number,
//! which must be the device on which their cache and the copy buffer are planned (accelerate 1.15).

use serde_json::{Map, Value, json};

use crate::emit::{Emission, EmitError, visible_devices};
use crate::model::family::Modules;
use crate::model::source::HubName;
use crate::model::{Checkpoint, Extra, Precision};
use crate::plan::{CPU, DISK, Plan};

/// The map from module to device, in the order of execution.
fn device_map(plan: &Plan, modules: &Modules) -> Map<String, Value> {
    let gpus = plan.used_gpus();
    let number = |device: &str| match gpus.iter().position(|gpu| *gpu == device) {
        Some(number) => json!(number),
        None if device == DISK => json!(DISK),
        None => json!(CPU),
    };
    let around = &plan.device_map.modules;
    let mut map = Map::new();
    // A tower and rotation tables are planned with the embedding.
    let first = modules
        .tower
        .iter()
        .chain(&modules.embedding)
        .chain(&modules.buffers);
    for module in first {
        map.insert(module.clone(), number(&around.embedding));
    }
    for run in &plan.device_map.runs {
        let layers = *run.layers.start() as usize..=*run.layers.end() as usize;
        for block in modules.blocks.get(layers).into_iter().flatten() {
            map.insert(block.clone(), number(&run.device));
        }
    }
    for norm in &modules.final_norm {
        map.insert(norm.clone(), number(&around.final_norm));
    }
    for head in &modules.head {
        map.insert(head.clone(), number(&around.head));
    }
    map
}

/// The map as JSON, and a loader.
pub(super) fn emit(plan: &Plan) -> Result<Emission, EmitError> {
    let modules = plan.model.modules.as_ref().ok_or(EmitError::NoModules)?;
    let map = device_map(plan, modules);
    let map = serde_json::to_string_pretty(&map).expect("a map of strings and numbers is JSON");
    let order = visible_devices(plan);
    let precision: Precision = plan.precision.parse()?;
    let loader = loader(plan, precision.for_transformers()?);
    let launch = format!("{order} python load.py");
    let files = vec![
        ("device_map.json".to_owned(), map + "\n"),
        ("load.py".to_owned(), format!("# {launch}\n{loader}")),
    ];
    Ok(Emission { launch, files })
}

fn loader(plan: &Plan, checkpoint: Checkpoint) -> String {
    let four_bits = |more: &str| {
        format!(
            "BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=\"nf4\", bnb_4bit_compute_dtype=torch.float16{more})"
        )
    };
    let (dtype, config) = match checkpoint {
        // Whatever the checkpoint says, its quantisation included.
        Checkpoint::Stored => ("\"auto\"", None),
        Checkpoint::Fp32 => ("torch.float32", None),
        Checkpoint::Bf16 => ("torch.bfloat16", None),
        Checkpoint::Fp16 => ("torch.float16", None),
        Checkpoint::Fp8 => ("torch.bfloat16", Some("FineGrainedFP8Config()".to_owned())),
        Checkpoint::Int8 => (
            "torch.float16",
            Some("BitsAndBytesConfig(load_in_8bit=True)".to_owned()),
        ),
        Checkpoint::Nf4 => ("torch.float16", Some(four_bits(""))),
        Checkpoint::Nf4DoubleQuant => (
            "torch.float16",
            Some(four_bits(", bnb_4bit_use_double_quant=True")),
        ),
    };
    let class = config
        .as_deref()
        .and_then(|config| config.split('(').next());
    let import = class.map(|class| format!(", {class}")).unwrap_or_default();
    let config = config
        .map(|config| format!(", quantization_config={config}"))
        .unwrap_or_default();
    let name = match plan.model.name.parse::<HubName>() {
        Ok(name) => {
            let revision = name.stated_revision().map(python_string);
            let revision = revision.map(|it| format!(", revision={it}"));
            python_string(&name.repository) + &revision.unwrap_or_default()
        }
        Err(_) => python_string(&plan.model.name),
    };
    // Where a checkpoint cannot be read in place, accelerate writes what is on disk there.
    let offload = match plan.disk {
        Some(_) => ", offload_folder=\"offload\"",
        None => "",
    };
    let auto = plan
        .model
        .modules
        .as_ref()
        .and_then(|modules| modules.loader.as_deref());
    // A plan may have been edited: only a name is written into a program.
    let is_name = |it: &&str| it.chars().all(|it| it.is_ascii_alphanumeric() || it == '_');
    let auto = auto.filter(is_name).unwrap_or("AutoModelForCausalLM");
    format!(
        "import json, torch; from transformers import {auto}{import}\n\
         device_map = json.load(open(\"device_map.json\"))\n\
         model = {auto}.from_pretrained({name}, device_map=device_map, dtype={dtype}{config}{offload})\n{}",
        adapters(plan)
    )
}

/// The lines that load adapters: the first makes a PEFT model, the others join it by name.
fn adapters(plan: &Plan) -> String {
    let mut files: Vec<&str> = Vec::new();
    for extra in &plan.extras {
        if extra.kind == Extra::Lora && !files.contains(&extra.file.as_str()) {
            files.push(&extra.file);
        }
    }
    let lines = files.iter().enumerate().map(|(index, file)| {
        let folder = python_string(file);
        match index {
            0 => format!(
                "from peft import PeftModel\nmodel = PeftModel.from_pretrained(model, {folder})\n"
            ),
            _ => format!("model.load_adapter({folder}, adapter_name=\"adapter{index}\")\n"),
        }
    });
    lines.collect()
}

/// A string as Python reads it: JSON's escapes are Python's.
fn python_string(text: &str) -> String {
    Value::from(text).to_string()
}
