//! `shardplan place`: goldens in `tests/fixtures/graphs`, and documents that are refused.
//! `BLESS=1 cargo test --test place` rewrites the goldens: read the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "cli/session.rs"]
#[allow(
    dead_code,
    reason = "other tests read data and text, these whole files"
)]
mod session;

use session::shardplan;

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures/graphs").join(name)
}

/// Graph, rig, further arguments, and the golden that they must give.
const CASES: [(&str, &str, &[&str], &str); 5] = [
    (
        "vision.yaml",
        "RTX 3060 + RTX 3090, ram 32 GiB",
        &[],
        "vision.pipeline.yaml",
    ),
    (
        "vision.yaml",
        "2x 8 GiB@448 GB/s, ram 32 GiB",
        &["--objective", "latency"],
        "vision.latency.yaml",
    ),
    (
        "encoder-decoder.yaml",
        "2x RTX 3060",
        &[],
        "encoder-decoder.pipeline.yaml",
    ),
    (
        "encoder-decoder.yaml",
        "2x RTX 3060",
        &["--scattered"],
        "encoder-decoder.scattered.yaml",
    ),
    (
        "encoder-decoder.yaml",
        "2x 3 GiB@448 GB/s",
        &["--objective", "latency"],
        "encoder-decoder.latency.yaml",
    ),
];

#[test]
fn every_graph_gets_its_placement() {
    let bless = std::env::var_os("BLESS").is_some();
    for (graph, rig, more, golden) in CASES {
        let graph = fixture(graph);
        let mut arguments = vec!["place", graph.to_str().expect("a plain path"), "--rig", rig];
        // A search that a clock ends has no one answer.
        arguments.extend(["--time-limit", "600s"]);
        arguments.extend(more);
        let answer = shardplan(&arguments);
        assert_eq!(answer.code, Some(0), "{arguments:?}\n{}", answer.stderr);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture(golden));
        if bless {
            fs::write(&path, &answer.stdout).expect("the repository can be written");
        }
        let wanted = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(answer.stdout, wanted, "{arguments:?}");
    }
}

/// What a document is refused with.
fn refusal(text: &str, rig: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("graph.yaml");
    fs::write(&path, text).expect("a file in a temporary folder");
    let path = path.to_string_lossy();
    let answer = shardplan(&["place", &path, "--rig", rig]);
    assert_eq!(answer.stdout, "", "{text}");
    (answer.code, answer.stderr)
}

#[test]
fn the_layer_graph_of_a_model_is_a_graph_to_place() {
    for model in ["llama-3-8b", "falcon-7b"] {
        let inspected = shardplan(&[
            "model",
            "inspect",
            model,
            "--precision",
            "q4_k_m",
            "--graph",
            "yaml",
        ]);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("graph.yaml");
        fs::write(&path, &inspected.stdout).expect("a file in a temporary folder");
        let path = path.to_string_lossy();
        let answer = shardplan(&["place", &path, "--rig", "2x RTX 3090, ram 64 GiB"]);
        assert_eq!(answer.code, Some(0), "{model}\n{}", answer.stderr);
        assert!(
            answer.stdout.contains("status: optimal"),
            "{}",
            answer.stdout
        );
    }
}

const A: &str = "{name: a, time: {gpu: 1 ms}, memory: 1 GiB}";

#[test]
fn hostile_graphs_are_refused_with_the_place_of_the_fault() {
    let two = format!("version: 1\nnodes:\n- {A}\n- {{name: b, time: {{gpu: 1 ms}}}}\nedges:\n");
    for (text, words) in [
        (
            format!("version: 2\nnodes: [{A}]\n"),
            "version 2 is not known",
        ),
        (
            format!("version: 1\nnodes:\n- {A}\n- {A}\n"),
            "graph.yaml:4:3",
        ),
        (
            format!("version: 1\nnodes:\n- {A}\n- {A}\n"),
            "another node is called `a`",
        ),
        ("version: 1\nnodes: []\n".to_owned(), "`nodes` is empty"),
        (
            "version: 1\nnodes:\n- {name: a}\n".to_owned(),
            "neither `time` nor `reads`",
        ),
        (
            "version: 1\nnodes:\n- {name: a, time: {gpu: -1 ms}}\n".to_owned(),
            "`-1 ms`",
        ),
        (
            "version: 1\nnodes:\n- {name: a, time: {gpu: NaN ms}}\n".to_owned(),
            "`NaN ms`",
        ),
        (
            "version: 1\nnodes:\n- {name: a, time: {gpu: 1}}\n".to_owned(),
            "`1`",
        ),
        (
            "version: 1\nnodes:\n- {name: a, time: {gpu: 1e300 s}}\n".to_owned(),
            "add up to more",
        ),
        (
            "version: 1\nnodes:\n- {name: a, time: {tpu: 1 s}}\n".to_owned(),
            "for `tpu` is for no device",
        ),
        (
            "version: 1\nnodes:\n- {name: a, time: {gpu: 1 s}, device: cuda7}\n".to_owned(),
            "`cuda7`, which is not in the rig",
        ),
        (
            format!("{two}- {{from: a, to: c, size: 1 B}}\n"),
            "graph.yaml:6:3",
        ),
        (
            format!("{two}- {{from: a, to: c, size: 1 B}}\n"),
            "no node is called `c`",
        ),
        (
            format!("{two}- {{from: a, to: b, size: 1 B}}\n- {{from: a, to: b, size: 1 B}}\n"),
            "another edge leads",
        ),
        (
            format!("{two}- {{from: a, to: b, size: 1 B}}\n- {{from: b, to: a, size: 1 B}}\n"),
            "form a cycle: `",
        ),
        (
            format!("{two}- {{from: a, to: a, size: 1 B}}\n"),
            "`a` → `a`",
        ),
    ] {
        let (code, error) = refusal(&text, "RTX 3060");
        assert_eq!(code, Some(1), "{text}\n{error}");
        assert!(error.contains(words), "{text}\n{error}");
    }
}

#[test]
fn no_is_an_answer_with_the_bytes_that_are_missing() {
    let rig = "2x 4 GiB@448 GB/s";
    let large = "version: 1\nnodes:\n- {name: a, time: {gpu: 1 ms}, memory: 5 GiB}\n";
    let (code, error) = refusal(large, rig);
    assert_eq!(code, Some(3), "{error}");
    assert!(
        error.contains("`a` needs 5.00 GiB") && error.contains("1.00 GiB are missing"),
        "{error}"
    );
    let node = |name: &str| format!("- {{name: {name}, time: {{gpu: 1 ms}}, memory: 3 GiB}}\n");
    let many = format!(
        "version: 1\nnodes:\n{}{}{}",
        node("a"),
        node("b"),
        node("c")
    );
    let (code, error) = refusal(&many, rig);
    assert_eq!(code, Some(3), "{error}");
    assert!(
        error.contains("need 9.00 GiB, and the devices have 8.00 GiB"),
        "{error}"
    );
}

#[test]
fn a_graph_of_a_hundred_thousand_operators_is_answered_when_the_time_is_over() {
    let mut text = String::from("version: 1\nnodes:\n");
    let n = if cfg!(debug_assertions) {
        5_000
    } else {
        100_000
    };
    for node in 0..n {
        let time = 1 + node % 7;
        text +=
            &format!("- {{name: n{node}, time: {{gpu: {time} ms, cpu: 90 ms}}, memory: 64 KiB}}\n");
    }
    text += "edges:\n";
    for node in 1..n {
        text += &format!("- {{from: n{}, to: n{node}, size: 4 KiB}}\n", node - 1);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("graph.yaml");
    fs::write(&path, text).expect("a file in a temporary folder");
    let path = path.to_string_lossy();
    let rig = "2x RTX 3060 + RTX 3090, ram 32 GiB";
    let start = std::time::Instant::now();
    for more in [&[][..], &["--scattered"], &["--objective", "latency"]] {
        let mut arguments = vec!["place", &path, "--rig", rig, "--time-limit", "1s"];
        arguments.extend(more);
        let answer = shardplan(&arguments);
        assert!(
            [Some(0), Some(3)].contains(&answer.code),
            "{}",
            answer.stderr
        );
    }
    assert!(start.elapsed().as_secs() < 240, "{:?}", start.elapsed());
}
