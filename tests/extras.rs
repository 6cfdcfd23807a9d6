//! What stands beside a model: adapters, projectors and draft models, from files made here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "readers/bytes.rs"]
mod bytes;
#[path = "extras/files.rs"]
mod files;
#[path = "cli/session.rs"]
mod session;
#[allow(dead_code, reason = "other tests need the rest of the tiny model")]
#[path = "sources/tiny.rs"]
mod tiny;

use std::path::Path;

use files::{PAIRS, Shapes, adapter, projector};
use serde_json::Value;
use session::{Answer, shardplan};
use shardplan::cost::Target;
use shardplan::hardware;
use shardplan::model::{self, Precision};
use shardplan::plan::{CheckError, Plan, check};
use shardplan::scenario::{Scenario, Terms};
use shardplan::units::{Bytes, Tokens};
use shardplan::workload::Workload;
use tempfile::TempDir;

const RIG: &str = "RTX 3090, ram 8 GiB";

/// A folder with the tiny model as `model.gguf` and as a checkpoint in `checkpoint`.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.gguf"), tiny::gguf(8)).unwrap();
    let checkpoint = folder.path().join("checkpoint");
    std::fs::create_dir(&checkpoint).unwrap();
    std::fs::write(checkpoint.join("config.json"), tiny::CONFIG).unwrap();
    std::fs::write(checkpoint.join("model.safetensors"), tiny::single()).unwrap();
    folder
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

fn plan(folder: &Path, model: &str, rig: &str, options: &[&str]) -> Answer {
    let model = path(folder, model);
    shardplan(&[&["plan", &model, "--rig", rig], options].concat())
}

/// What the plan says of a device in bytes.
fn on(plan: &Value, device: &str, what: &str) -> u64 {
    let devices = plan["devices"].as_array().unwrap();
    let found = devices.iter().find(|it| it["name"] == device).unwrap();
    found[what].as_u64().unwrap()
}

/// What an extra adds to a device by the plans with and without it.
struct Added {
    with: Value,
    without: Value,
}

impl Added {
    fn by(folder: &Path, model: &str, rig: &str, options: &[&str], extra: &[&str]) -> Self {
        let json = |more: &[&str]| {
            let options = [options, more, &["--json"]].concat();
            plan(folder, model, rig, &options).json(0)
        };
        Self {
            with: json(extra),
            without: json(&[]),
        }
    }

    fn to(&self, device: &str, what: &str) -> u64 {
        on(&self.with, device, what) - on(&self.without, device, what)
    }
}

#[test]
fn an_adapter_lies_with_the_matrices_that_it_adapts() {
    let folder = folder();
    let file = path(folder.path(), "lora.gguf");
    std::fs::write(&file, adapter("llama", PAIRS)).unwrap();
    let added = Added::by(folder.path(), "model.gguf", RIG, &[], &["--lora", &file]);
    // 8 · 64 · 2 twice, 8 · 128 · 2 and 64 · 8 · 2, each a multiple of 128.
    assert_eq!(added.to("cuda0", "weights"), 1024 + 1024 + 2048 + 1024);
    // The embedding stays in RAM, and so does its pair: 32 · 8 · 2 and 64 · 8 · 2.
    assert_eq!(added.to("cpu", "weights"), 512 + 1024);
    // The widest pair gives 32 + 64 numbers of 32 bits for each of 512 tokens.
    assert_eq!(added.to("cuda0", "compute"), 4 * 96 * 512);
    let extras = added.with["extras"].as_array().unwrap();
    let found = extras
        .iter()
        .map(|extra| (&extra["device"], &extra["weights"]));
    let found: Vec<_> = found
        .map(|(device, weights)| format!("{device} {weights}"))
        .collect();
    assert_eq!(found, ["\"cpu\" 1536", "\"cuda0\" 5120"]);
    let answer = plan(folder.path(), "model.gguf", RIG, &["--lora", &file]);
    assert!(answer.text().contains(" --lora "), "{answer:?}");
    assert!(answer.text().contains("beside  lora"), "{answer:?}");
}

#[test]
fn an_adapter_of_another_model_is_refused_by_name() {
    let cases: [(&str, Shapes<'_>, &str); 5] = [
        ("qwen2", PAIRS, "adapts the architecture `qwen2`"),
        (
            "llama",
            &[
                ("blk.2.attn_q.weight.lora_a", &[8, 64]),
                ("blk.2.attn_q.weight.lora_b", &[64, 8]),
            ],
            "adapts `blk.2.attn_q.weight`, which the model has not",
        ),
        (
            "llama",
            &[
                ("blk.0.attn_q.weight.lora_a", &[8, 64]),
                ("blk.0.attn_q.weight.lora_b", &[128, 8]),
            ],
            "the pair of `blk.0.attn_q.weight` is [8, 64] and [128, 8]",
        ),
        (
            "llama",
            &[("blk.0.attn_q.weight.lora_a", &[8, 64])],
            "`blk.0.attn_q.weight` lacks one",
        ),
        (
            "llama",
            &[("blk.0.attn_q.weight", &[64, 64])],
            "`blk.0.attn_q.weight` is neither",
        ),
    ];
    let folder = folder();
    let file = path(folder.path(), "lora.gguf");
    for (architecture, tensors, words) in cases {
        std::fs::write(&file, adapter(architecture, tensors)).unwrap();
        let answer = plan(folder.path(), "model.gguf", RIG, &["--lora", &file]);
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stderr.contains(words), "no `{words}` in {answer:?}");
    }
}

#[test]
fn peft_holds_an_adapter_in_32_bits_and_llama_cpp_wants_another_file() {
    let folder = folder();
    let lora = folder.path().join("lora");
    std::fs::create_dir(&lora).unwrap();
    let name = "base_model.model.model.layers.1.mlp.down_proj";
    let header = format!(
        r#"{{"{name}.lora_A.weight":{{"dtype":"F16","shape":[8,128],"data_offsets":[0,2048]}},"{name}.lora_B.weight":{{"dtype":"F16","shape":[64,8],"data_offsets":[2048,3072]}}}}"#
    );
    let file = bytes::safetensors(&header, 3072);
    std::fs::write(lora.join("adapter_model.safetensors"), file).unwrap();
    let lora = lora.to_string_lossy();
    let target = ["--target", "transformers"];
    let added = Added::by(
        folder.path(),
        "checkpoint",
        RIG,
        &target,
        &["--lora", &lora],
    );
    assert_eq!(added.to("cuda0", "weights"), 2 * (2048 + 1024));
    assert_eq!(added.with["extras"][0]["device"], "cuda0");
    let yaml = path(folder.path(), "plan.yaml");
    let options = [&target[..], &["--lora", &lora, "-o", &yaml]].concat();
    plan(folder.path(), "checkpoint", RIG, &options).text();
    let emitted = shardplan(&["emit", &yaml, "--target", "transformers"]);
    let line = "model = PeftModel.from_pretrained(model, \"";
    assert!(emitted.text().contains(line), "{emitted:?}");
    let answer = plan(folder.path(), "model.gguf", RIG, &["--lora", &lora]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    // A GGUF file has no modules that PEFT could name.
    assert!(
        answer.stderr.contains("which the model has not"),
        "{answer:?}"
    );
    let answer = plan(folder.path(), "checkpoint", RIG, &["--lora", &lora]);
    assert!(
        answer.stderr.contains("convert_lora_to_gguf.py"),
        "{answer:?}"
    );
}

#[test]
fn a_projector_is_whole_on_the_first_gpu_or_in_ram() {
    let folder = folder();
    let file = path(folder.path(), "mmproj.gguf");
    std::fs::write(&file, projector(64)).unwrap();
    // 32 · 16 · 2, 33 · 2 in 128, 64 · 16 · 2; and three times what 16 patches keep.
    let extra = ["--mmproj", &file];
    let added = Added::by(folder.path(), "model.gguf", RIG, &[], &extra);
    assert_eq!(added.to("cuda0", "weights"), 1024 + 128 + 2048);
    assert_eq!(added.to("cuda0", "compute"), 3 * 4 * 16 * (2 * 32 + 4 * 16));
    let added = Added::by(folder.path(), "model.gguf", "ram 8 GiB", &[], &extra);
    assert_eq!(added.to("cpu", "weights"), 1024 + 96 + 2048);
    let answer = plan(folder.path(), "model.gguf", "ram 8 GiB", &extra);
    assert!(answer.text().contains(" --no-mmproj-offload"), "{answer:?}");
    std::fs::write(&file, projector(48)).unwrap();
    let answer = plan(folder.path(), "model.gguf", RIG, &extra);
    assert!(
        answer.stderr.contains("none of its tensors is 64 wide"),
        "{answer:?}"
    );
    let model = path(folder.path(), "model.gguf");
    let answer = plan(folder.path(), "model.gguf", RIG, &["--mmproj", &model]);
    assert!(
        answer.stderr.contains("`general.architecture` is `llama`"),
        "{answer:?}"
    );
}

#[test]
fn a_draft_model_has_its_own_weights_and_cache() {
    let folder = folder();
    let model = path(folder.path(), "model.gguf");
    let extra = ["--draft", &model];
    let added = Added::by(folder.path(), "model.gguf", RIG, &[], &extra);
    // The model is its own draft: twice of all that is exact.
    for (device, what) in [
        ("cuda0", "weights"),
        ("cuda0", "kv_cache"),
        ("cpu", "weights"),
    ] {
        assert_eq!(
            added.to(device, what),
            on(&added.without, device, what),
            "{what}"
        );
    }
    // One row of logits instead of 512, and no second CUDA context.
    assert!(added.to("cuda0", "compute") <= on(&added.without, "cuda0", "compute"));
    assert!(added.to("cuda0", "overhead") < Bytes::mib(1).0);
    assert_eq!(added.to("cpu", "overhead"), 4 * 32);
    let answer = plan(folder.path(), "model.gguf", RIG, &extra);
    for words in [
        "-devd CUDA0 -ngld all -md ",
        "-ctkd f16 -ctvd f16 --spec-type draft-simple",
    ] {
        assert!(answer.text().contains(words), "no `{words}` in {answer:?}");
    }
    let answer = plan(folder.path(), "model.gguf", RIG, &["--draft", "llama-2-7b"]);
    assert!(
        answer.stderr.contains("has 32000 tokens and the model 32"),
        "{answer:?}"
    );
    let options = ["--draft", "llama-2-7b", "--target", "transformers"];
    let answer = shardplan(&[&["plan", "llama-2-13b", "--rig", RIG], &options[..]].concat());
    assert!(
        answer.stderr.contains("`llama-2-7b` is a draft model"),
        "{answer:?}"
    );
}

/// A model by its configuration among the fixtures.
fn fixture(name: &str) -> String {
    format!(
        "{}/tests/fixtures/configs/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    )
}

#[test]
fn blocks_ahead_are_loaded_where_their_slot_is() {
    let glm = fixture("glm-4.5-air");
    let json = |more: &[&str]| {
        let options = ["plan", &glm, "--rig", "H200 SXM, ram 64 GiB", "--json"];
        shardplan(&[&options[..], &["--precision", "q4_k_m"], more].concat()).json(0)
    };
    let (with, without) = (json(&["--mtp"]), json(&[]));
    let total = |plan: &Value, what: &str| {
        let devices = ["cuda0", "cpu"];
        devices
            .map(|device| on(plan, device, what))
            .iter()
            .sum::<u64>()
    };
    let row = |what: &str| {
        let rows = with["extras"].as_array().unwrap().iter();
        rows.map(|row| row[what].as_u64().unwrap()).sum::<u64>()
    };
    // Both plans use one GPU, so that nothing is copied to another.
    assert_eq!(
        total(&with, "weights") - total(&without, "weights"),
        row("weights")
    );
    // Keys and values of 8 heads of 128 for 4096 tokens, 16 bits each.
    assert_eq!(
        total(&with, "kv_cache") - total(&without, "kv_cache"),
        2 * 2 * 8 * 128 * 4096
    );
    assert_eq!(row("kv_cache"), 2 * 2 * 8 * 128 * 4096);
    let compute = total(&with, "compute") - total(&without, "compute");
    assert_eq!(compute, row("compute"));
    let answer = shardplan(&["plan", &glm, "--rig", "H100 SXM", "--mtp"]);
    assert!(
        answer.text().contains("--spec-type draft-mtp"),
        "{answer:?}"
    );
    let cases = [
        (
            "llama-2-7b".to_owned(),
            "llama.cpp",
            "`llama-2-7b` has no blocks that predict",
        ),
        (glm, "transformers", "planned for llama.cpp alone"),
    ];
    for (model, target, words) in cases {
        let options = ["--rig", "H100 SXM", "--mtp", "--target", target];
        let answer = shardplan(&[&["plan", &model], &options[..]].concat());
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.stderr.contains(words), "no `{words}` in {answer:?}");
    }
}

#[test]
fn a_plan_whose_extras_are_not_those_of_the_model_is_refused() {
    let folder = folder();
    let file = path(folder.path(), "mmproj.gguf");
    std::fs::write(&file, projector(64)).unwrap();
    let name = path(folder.path(), "model.gguf");
    let model = model::open(&name).unwrap();
    let draft = model::open("llama-2-7b").unwrap();
    assert!(model.clone().with_draft(draft).is_err());
    let scenario = Scenario {
        model: model.with_projector(Path::new(&file)).unwrap(),
        rig: hardware::read(RIG).unwrap(),
        target: Target::LlamaCpp,
        precision: Precision::Stored,
        workload: Workload::of_context(Tokens(512)),
        terms: Terms::default(),
    };
    let plan = scenario.plan().unwrap();
    assert_eq!(Plan::from_yaml(&plan.to_yaml(), "plan").unwrap(), plan);
    let verified = |plan: &Plan| {
        let Scenario {
            model,
            precision,
            workload,
            ..
        } = &scenario;
        check::verify(plan, model, *precision, workload).unwrap()
    };
    assert_eq!(verified(&plan), Ok(()));
    let mut edited = plan.clone();
    edited.extras[0].weights = Bytes(1);
    assert!(matches!(verified(&edited), Err(CheckError::Extra { .. })));
    let mut edited = plan.clone();
    edited.extras.clear();
    assert!(matches!(verified(&edited), Err(CheckError::Extra { .. })));
    let mut edited = plan;
    edited.devices[0].memory.weights = Bytes(1);
    assert!(matches!(verified(&edited), Err(CheckError::Sum { .. })));
}
