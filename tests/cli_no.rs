//! Sessions with the real program where no plan exists: every way out that is offered works, what is
//! said to conflict does, and what was not tried in time is not said to be of no use.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "cli/session.rs"]
mod session;

use std::process::{Command, Stdio};

use serde_json::Value;
use session::shardplan;

#[test]
fn what_was_not_tried_in_time_is_not_said_to_be_of_no_use() {
    let asked = ["plan", "llama-2-70b", "--rig", "RTX 3090"];
    let answer = shardplan(&[&asked[..], &["--time-limit", "0s"]].concat());
    assert_eq!(answer.code, Some(3));
    assert!(
        answer.stderr.contains("`--time-limit` gives more"),
        "{answer:?}"
    );
    assert!(!answer.stderr.contains("no single change"), "{answer:?}");
}

#[test]
fn a_time_that_no_clock_counts_is_no_limit() {
    let asked = ["plan", "llama-2-7b", "--rig", "RTX 3090"];
    let answer = shardplan(&[&asked[..], &["--time-limit", "1e300s"]].concat());
    assert!(answer.text().contains("optimal"));
}

#[test]
fn a_constraint_that_leaves_no_plan_alone_is_named_alone_wherever_it_stands() {
    let asked = [
        "plan",
        "llama-2-70b",
        "--rig",
        "2x RTX 3090 + RTX 3060",
        "--json",
    ];
    // Each of these two is possible, both are not; the third is not by itself.
    let pins = ["layers 40-43=cuda2", "layer 79=cuda2", "layers 0-39=cuda2"];
    let orders = [[0, 1, 2], [2, 0, 1], [1, 2, 0]];
    for order in orders {
        let fixed = order.iter().flat_map(|at| ["--pin", pins[*at]]);
        let fixed: Vec<_> = asked.into_iter().chain(fixed).collect();
        let answer = shardplan(&fixed).json(3);
        let expected = serde_json::json!(["--pin \"layers 0-39=cuda2\""]);
        assert_eq!(answer["conflict"], expected, "{order:?}");
    }
}

#[test]
fn a_model_that_one_engine_has_in_one_stage_is_offered_to_the_other() {
    let asked = ["plan", "gemma-2-27b", "--rig", "3x RTX 3090", "--json"];
    let engine = ["--target", "sglang", "--precision", "bf16"];
    let limit = ["--time-limit", "600s"];
    let answer = shardplan(&[&asked[..], &engine, &limit].concat()).json(3);
    assert_eq!(answer["one_stage"], true);
    let fixes = answer["fixes"].as_array().unwrap();
    assert!(fixes.iter().any(|fix| fix["value"] == "vllm"), "{fixes:?}");
}

#[test]
fn whoever_stops_reading_changes_no_exit_code() {
    for (rig, data, code) in [
        ("RTX 3090", &["--json"][..], 3),
        ("RTX 3090", &[], 3),
        ("2x RTX 3090", &[], 0),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_shardplan"))
            .args(["plan", "llama-2-70b", "--rig", rig])
            .args(data)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        assert_eq!(child.wait().unwrap().code(), Some(code), "{rig} {data:?}");
    }
}

/// The same question with one thing changed as a fix says.
fn changed(question: &[&str], fix: &Value) -> Vec<String> {
    let value = match &fix["value"] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let mut words: Vec<String> = question.iter().map(|word| (*word).to_owned()).collect();
    let mut set = |flag: &str, value: &str| match words.iter().position(|word| word == flag) {
        Some(at) => words[at + 1] = value.to_owned(),
        None => words.extend([flag.to_owned(), value.to_owned()]),
    };
    let rig = |more: String| format!("{}{more}", question[3]);
    match fix["lever"].as_str() {
        Some("ram") => set("--rig", &rig(format!(", ram {value} B"))),
        Some("another_card") => set("--rig", &rig(format!(" + {value}"))),
        Some(lever @ ("context" | "kv" | "sequences" | "precision" | "target")) => {
            set(&format!("--{lever}"), &value);
            // Another target may load another precision only.
            if let (true, Some(precision)) = (lever == "target", fix["precision"].as_str()) {
                set("--precision", precision);
                let text = fix["text"].as_str().unwrap_or_default();
                let goal = text.trim_matches('`').split_once("--objective ");
                if let Some((_, objective)) = goal {
                    set("--objective", objective);
                }
            }
        }
        lever => panic!("{lever:?} is no lever"),
    }
    words
}

#[test]
fn every_fix_that_is_offered_gives_a_plan() {
    let questions: [&[&str]; 11] = [
        &["qwen2.5-32b", "--target", "vllm", "--replicas", "2"],
        &["qwen2.5-32b", "--target", "sglang", "--replicas", "auto"],
        &["falcon-40b", "--margin", "50%"],
        &["llama-2-13b", "--objective", "context", "--context", "32k"],
        &["llama-3-8b", "--target", "vllm", "--objective", "serving"],
        &["llama-2-70b", "--context", "32k", "--sequences", "2"],
        &["llama-2-13b", "--context", "32k"],
        &["llama-2-13b", "--precision", "fp16"],
        &["llama-2-13b", "--target", "transformers"],
        &[
            "llama-2-13b",
            "--target",
            "transformers",
            "--precision",
            "fp16",
        ],
        &[
            "falcon-40b",
            "--target",
            "transformers",
            "--precision",
            "nf4",
        ],
    ];
    let rigs = [
        "2x RTX 3090",
        "RTX 3060",
        "RTX 3060 + RTX 3090",
        "4 GiB@200 GB/s",
    ];
    let mut levers = Vec::new();
    let mut broken = Vec::new();
    for (question, rig) in questions.into_iter().flat_map(|q| rigs.map(|rig| (q, rig))) {
        // On a busy machine it takes its time.
        let asked = ["plan", question[0], "--rig", rig, "--time-limit", "600s"];
        let question = [&asked[..], &question[1..]].concat();
        let answer = shardplan(&[&question[..], &["--json"]].concat());
        // There is a plan, or one card cannot be two replicas.
        if answer.code != Some(3) {
            continue;
        }
        for fix in answer.json(3)["fixes"].as_array().into_iter().flatten() {
            let arguments = changed(&question, fix);
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let fixed = shardplan(&arguments);
            levers.extend(fix["lever"].as_str().map(str::to_owned));
            if fixed.code != Some(0) {
                broken.push(format!("{question:?}: {}\n{}", fix["text"], fixed.stderr));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    for lever in [
        "context",
        "kv",
        "precision",
        "ram",
        "another_card",
        "target",
    ] {
        assert!(
            levers.iter().any(|tried| tried == lever),
            "{lever}: {levers:?}"
        );
    }
}
