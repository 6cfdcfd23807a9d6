//! Sessions with the real program about replicas: documents, JSON, scripts, and what is refused.

#[path = "cli/session.rs"]
mod session;

use std::path::Path;

use session::shardplan;

const RIG: &str = "4x RTX 4060 Ti 16GB + RTX 5090";
const PLAN: [&str; 10] = [
    "plan",
    "llama-3-8b",
    "--rig",
    RIG,
    "--target",
    "vllm",
    "--precision",
    "fp8",
    // What is found must not depend on how busy the machine is.
    "--time-limit",
    "600s",
];

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

fn asked(options: &[&str]) -> session::Answer {
    shardplan(&[&PLAN, options].concat())
}

#[test]
fn one_replica_is_the_plan_as_it_is_without() {
    let plan = asked(&["-o", "-"]);
    assert_eq!(asked(&["--replicas", "1", "-o", "-"]).text(), plan.text());
}

#[test]
fn replicas_in_json_are_plans_with_a_proof_of_all_of_them() {
    let fleet = asked(&["--replicas", "auto", "--json"]).json(0);
    assert_eq!(fleet["status"], "optimal");
    assert_eq!(fleet["proof"]["gap"], 0.0);
    let replicas = fleet["replicas"].as_array().expect("a list");
    assert_eq!(replicas.len(), 2);
    let served = |plan: &serde_json::Value| plan["service"]["tokens_per_second"].as_f64();
    let sum: f64 = replicas.iter().filter_map(served).sum();
    let objective = fleet["proof"]["objective"].as_f64().expect("a number");
    assert!((sum - objective).abs() < 0.1, "{sum} {objective}");
    let rule = &fleet["baselines"][0];
    assert_eq!(rule["name"], "one-pipeline");
    assert!(rule["gain"].as_f64() > Some(0.2), "{rule}");
}

#[test]
fn each_replica_has_a_script_with_its_cards_and_its_port() {
    let folder = tempfile::tempdir().expect("a folder");
    let plan = path(folder.path(), "plan.yaml");
    let answer = asked(&["--replicas", "2", "-o", &plan]);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let out = path(folder.path(), "out");
    let emitted = shardplan(&["emit", &plan, "--target", "vllm", "-o", &out]);
    assert_eq!(emitted.code, Some(0), "{emitted:?}");
    for (number, words) in [
        (0, ["CUDA_VISIBLE_DEVICES=0,1,2,3 ", "--port 8000"]),
        (1, ["CUDA_VISIBLE_DEVICES=4 ", "--port 8001"]),
    ] {
        let name = format!("out/vllm-replica{number}.sh");
        let script = std::fs::read_to_string(folder.path().join(name)).expect("it was emitted");
        for word in words {
            assert!(script.contains(word), "no `{word}` in {script}");
        }
    }
    let other = shardplan(&["emit", &plan, "--target", "sglang"]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stderr.contains("the plan is for vllm"), "{other:?}");
}

#[test]
fn what_goes_with_no_replicas_says_why() {
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--replicas", "0"], 2, "write how many pipelines"),
        (
            &["--replicas", "6"],
            1,
            "6 replicas need as many cards, and the rig has 5",
        ),
        (
            &["--replicas", "2", "--pin", "head=cuda0"],
            1,
            "a pin is about the cards",
        ),
        (&["--replicas", "2", "--kv", "auto"], 1, "name a format"),
        (&["--replicas", "2", "--robust"], 2, "cannot be used with"),
        (
            &["--replicas", "2", "--objective", "decode"],
            1,
            "not with `decode`",
        ),
        (
            &["--replicas", "5", "--context", "8k", "--sequences", "64"],
            3,
            "the rig has no 5 parts that each hold the model",
        ),
    ];
    for (options, code, words) in cases {
        let answer = asked(options);
        assert_eq!(answer.code, Some(code), "{options:?} {answer:?}");
        assert!(answer.stderr.contains(words), "{options:?} {answer:?}");
    }
    let rig = [
        "plan",
        "llama-3-8b",
        "--rig",
        RIG,
        "--objective",
        "throughput",
    ];
    let other = shardplan(&[&rig[..], &["--replicas", "2"]].concat());
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stderr.contains("would share RAM"), "{other:?}");
}
