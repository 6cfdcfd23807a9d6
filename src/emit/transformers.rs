//! transformers: a `device_map` and a loader of three lines.
//!
//! Keys never overlap, a block is never split, a tied head has a key of its own on the embedding's
//! device, and modules without parameters are named beside the first block. GPUs are renumbered in the
//! order of execution through `CUDA_VISIBLE_DEVICES`: offloaded modules compute on the lowest number,
//! which must be the device on which their cache and the copy buffer are planned (accelerate 1.15).

use serde_json::{Map, Value, json};

use crate::cost::Layout;
use crate::emit::{Emission, EmitError};
use crate::model::family::Modules;
use crate::plan::{CPU, Plan};

/// The map from module to device, in the order of execution.
fn device_map(plan: &Plan, modules: &Modules) -> Map<String, Value> {
    let gpus = plan.used_gpus();
    let number = |device: &str| match gpus.iter().position(|gpu| *gpu == device) {
        Some(number) => json!(number),
        None => json!(CPU),
    };
    let around = &plan.device_map.modules;
    let mut map = Map::new();
    for embedding in &modules.embedding {
        map.insert(embedding.clone(), number(&around.embedding));
    }
    // Rotation tables are planned with the embedding.
    for buffer in &modules.buffers {
        map.insert(
            format!("{}.{buffer}", modules.root),
            number(&around.embedding),
        );
    }
    for run in &plan.device_map.runs {
        for layer in run.layers.clone() {
            map.insert(
                format!("{}.{}.{layer}", modules.root, modules.blocks),
                number(&run.device),
            );
        }
    }
    map.insert(modules.final_norm.clone(), number(&around.final_norm));
    map.insert("lm_head".to_owned(), number(&around.head));
    map
}

/// The map as JSON, and a loader.
pub(super) fn emit(plan: &Plan) -> Result<Emission, EmitError> {
    let modules = plan.model.modules.as_ref().ok_or(EmitError::NoModules)?;
    let map = device_map(plan, modules);
    let map = serde_json::to_string_pretty(&map).expect("a map of strings and numbers is JSON");
    let visible: Vec<_> = plan
        .used_gpus()
        .into_iter()
        .filter_map(|gpu| plan.gpu_index(gpu))
        .map(|index| index.to_string())
        .collect();
    let order = match plan.layout {
        Layout::HostOnly => "CUDA_VISIBLE_DEVICES=".to_owned(),
        _ => format!(
            "CUDA_DEVICE_ORDER=PCI_BUS_ID CUDA_VISIBLE_DEVICES={}",
            visible.join(",")
        ),
    };
    let loader = loader(plan);
    let launch = format!("{order} python load.py");
    let files = vec![
        ("device_map.json", map + "\n"),
        ("load.py", format!("# {launch}\n{loader}")),
    ];
    Ok(Emission { launch, files })
}

fn loader(plan: &Plan) -> String {
    let (imported, loading) = match plan.precision.as_str() {
        "fp32" => (None, "dtype=torch.float32".to_owned()),
        "bf16" => (None, "dtype=torch.bfloat16".to_owned()),
        "fp16" => (None, "dtype=torch.float16".to_owned()),
        "fp8" => (
            Some("FineGrainedFP8Config"),
            "dtype=torch.bfloat16, quantization_config=FineGrainedFP8Config()".to_owned(),
        ),
        "int8" => (
            Some("BitsAndBytesConfig"),
            "dtype=torch.float16, quantization_config=BitsAndBytesConfig(load_in_8bit=True)"
                .to_owned(),
        ),
        precision => {
            let double = if precision == "nf4-dq" {
                ", bnb_4bit_use_double_quant=True"
            } else {
                ""
            };
            let config = format!(
                "BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=\"nf4\", bnb_4bit_compute_dtype=torch.float16{double})"
            );
            let loading = format!("dtype=torch.float16, quantization_config={config}");
            (Some("BitsAndBytesConfig"), loading)
        }
    };
    let import = imported.map(|name| format!(", {name}")).unwrap_or_default();
    let name = python_string(&plan.model.name);
    format!(
        "import json, torch; from transformers import AutoModelForCausalLM{import}\n\
         device_map = json.load(open(\"device_map.json\"))\n\
         model = AutoModelForCausalLM.from_pretrained({name}, device_map=device_map, {loading})\n"
    )
}

/// A string as Python reads it: JSON's escapes are Python's.
fn python_string(text: &str) -> String {
    Value::from(text).to_string()
}
