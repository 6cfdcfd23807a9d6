//! Sessions with the real program that end well: what is on standard output, what a program can
//! read of it, and that one command's file is the next one's input. What ends badly is in
//! `cli_errors.rs`.

#[path = "cli/session.rs"]
mod session;

use std::path::Path;

use serde_json::Value;
use session::{in_environment, shardplan};

const TWO_CARDS: &str = "2x RTX 3090";

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    let list = value[key].as_array();
    list.unwrap_or_else(|| panic!("`{key}` is no list in {value}"))
}

fn number(value: &Value, key: &str) -> f64 {
    let number = value[key].as_f64();
    number.unwrap_or_else(|| panic!("`{key}` is no number in {value}"))
}

fn bytes(value: &Value, key: &str) -> u64 {
    let bytes = value[key].as_u64();
    bytes.unwrap_or_else(|| panic!("`{key}` is no size in {value}"))
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_string_lossy().into_owned()
}

#[test]
fn a_plan_in_json_has_all_that_programs_read() {
    let arguments = ["plan", "llama-2-70b", "--rig", TWO_CARDS, "--json"];
    let plan = shardplan(&arguments).json(0);
    assert_eq!(plan["status"], "optimal");
    let proof = &plan["proof"];
    assert!(number(proof, "objective") > 0.0);
    assert_eq!(proof["bound"], proof["objective"]);
    assert_eq!(number(proof, "gap"), 0.0);
    assert!(number(proof, "seconds") > 0.0);
    assert!(proof["solver"].is_string());
    let map = &plan["device_map"];
    let runs: Vec<_> = list(map, "runs")
        .iter()
        .map(|run| (run["layers"].as_str(), run["device"].as_str()))
        .collect();
    let wanted = [
        (Some("0-39"), Some("cuda0")),
        (Some("40-79"), Some("cuda1")),
    ];
    assert_eq!(runs, wanted);
    assert_eq!(map["modules"]["head"], "cuda1");
    let rate = &plan["estimate"]["decode_tokens_per_second"];
    let (low, mid, high) = (
        number(rate, "low"),
        number(rate, "mid"),
        number(rate, "high"),
    );
    assert!(0.0 < low && low < mid && mid < high, "{rate}");
    let baselines = list(&plan, "baselines");
    assert!(baselines.len() >= 3);
    for baseline in baselines {
        assert!(baseline["name"].is_string() && baseline["feasible"].is_boolean());
        if baseline["feasible"] == true {
            assert!(
                number(baseline, "decode_tokens_per_second") <= mid,
                "{baseline}"
            );
        }
    }
}

#[test]
fn what_a_device_holds_and_what_is_free_add_up_to_its_capacity() {
    let questions: [&[&str]; 4] = [
        &["llama-2-70b", "--rig", TWO_CARDS],
        &["llama-2-70b", "--rig", "RTX 3090, ram 64 GiB"],
        &[
            "falcon-40b",
            "--rig",
            "RTX 3090, ram 128 GiB",
            "--target",
            "transformers",
        ],
        &["llama-2-7b", "--rig", "ram 64 GiB"],
    ];
    for question in questions {
        let arguments = [&["plan"], question, &["--json"]].concat();
        let plan = shardplan(&arguments).json(0);
        for device in list(&plan, "devices") {
            let parts = ["weights", "kv_cache", "compute", "overhead", "free"];
            let sum: u64 = parts.iter().map(|part| bytes(device, part)).sum();
            assert_eq!(sum, bytes(device, "capacity"), "{question:?}: {device}");
        }
    }
}

#[test]
fn a_plan_is_written_once_and_emitted_for_its_framework() {
    for (target, files) in [
        ("llama.cpp", &["llama-server.sh"][..]),
        ("transformers", &["device_map.json", "load.py"]),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (plan, out) = (path(folder.path(), "plan.yaml"), path(folder.path(), "out"));
        let arguments = ["plan", "llama-2-7b", "--rig", TWO_CARDS, "--target", target];
        let answer = shardplan(&[&arguments[..], &["-o", &plan]].concat());
        assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
        let emit = ["emit", &plan, "--target", target];
        let shown = shardplan(&emit);
        assert_eq!(shown.stderr, "");
        let written = shardplan(&[&emit[..], &["-o", &out]].concat());
        // The launch line is the data, what was written where is a remark.
        assert_eq!(written.text().lines().count(), 1, "{written:?}");
        for file in files {
            assert!(written.stderr.contains(file), "{written:?}");
            let text = std::fs::read_to_string(path(Path::new(&out), file));
            let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(shown.text().contains(text.trim_end()), "{file}");
            assert!(shown.text().contains(written.stdout.trim_end()));
        }
        let left = std::fs::read_dir(&out).map(Iterator::count);
        assert_eq!(left.ok(), Some(files.len()), "no half-written neighbours");
    }
}

#[test]
fn a_device_map_names_every_block_once() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (plan, out) = (path(folder.path(), "plan.yaml"), path(folder.path(), "out"));
    let target = ["--target", "transformers"];
    let arguments = ["plan", "bloom-7b1", "--rig", "2x RTX 3060", "-o", &plan];
    shardplan(&[&arguments[..], &target].concat()).text();
    shardplan(&[&["emit", &plan, "-o", &out], &target[..]].concat()).text();
    let text = std::fs::read_to_string(path(Path::new(&out), "device_map.json"));
    let map: Value = serde_json::from_str(&text.expect("it was emitted")).expect("it is JSON");
    for block in 0..30 {
        let device = &map[format!("transformer.h.{block}")];
        assert!(device.is_u64() || device == "cpu", "{block}: {device}");
    }
    assert_eq!(map["lm_head"], map["transformer.word_embeddings"]);
}

#[test]
fn the_same_question_gives_the_same_bytes_to_a_file_and_to_standard_output() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let ask = |output: &str| {
        let rig = "24 GiB@936 GB/s + 12 GiB@360 GB/s, ram 64 GiB";
        shardplan(&["plan", "falcon-40b", "--rig", rig, "-o", output])
    };
    let first = ask("-").text().to_owned();
    assert!(first.starts_with("version: 1\n"), "{first}");
    assert_eq!(ask("-").text(), first);
    let file = path(folder.path(), "plan.yaml");
    ask(&file).text();
    assert_eq!(std::fs::read_to_string(&file).ok(), Some(first));
}

#[test]
fn colour_is_only_where_it_is_wanted() {
    let forced = [("CLICOLOR_FORCE", "1")];
    let refused = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
    let questions: [&[&str]; 4] = [
        &["plan", "llama-2-7b", "--rig", TWO_CARDS],
        &["rig", "show", TWO_CARDS],
        &["model", "inspect", "llama-2-7b"],
        &["plan", "no-such-model", "--rig", TWO_CARDS],
    ];
    for question in questions {
        let plain = shardplan(question);
        for answer in [&plain, &in_environment(&refused, question)] {
            let text = format!("{}{}", answer.stdout, answer.stderr);
            assert!(!text.contains('\u{1b}'), "{text:?}");
            assert_eq!(answer.stdout, plain.stdout);
        }
    }
    let coloured = in_environment(&forced, questions[0]);
    assert!(coloured.stdout.contains('\u{1b}'), "{coloured:?}");
}

#[test]
fn a_plan_ends_with_the_one_command_to_copy() {
    let answer = shardplan(&["plan", "llama-2-70b", "--rig", TWO_CARDS]);
    let last = answer.text().lines().last().unwrap_or_default();
    assert!(
        last.contains("llama-server -m ") && last.contains("-ts 40,41"),
        "{last}"
    );
    assert_eq!(answer.stderr, "");
}

#[test]
fn the_detected_rig_is_the_document_that_rig_show_reads() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = path(folder.path(), "rig.yaml");
    let detected = shardplan(&["rig", "detect"]);
    assert!(detected.text().starts_with("version: 1\n"), "{detected:?}");
    std::fs::write(&file, &detected.stdout).expect("the folder is ours");
    let rig = shardplan(&["rig", "show", &file, "--json"]).json(0);
    assert!(bytes(&rig["host"], "memory") > 0);
    let again = path(folder.path(), "again.yaml");
    shardplan(&["rig", "detect", "-o", &again]).text();
    let written = std::fs::read_to_string(&again).unwrap_or_default();
    // What is free may differ from one moment to the next, the devices do not.
    assert_eq!(written.lines().count(), detected.stdout.lines().count());
}

#[test]
fn what_if_has_a_row_for_every_rig_and_context() {
    let (small, large) = ("4 GiB@300 GB/s", "24 GiB@936 GB/s");
    let rigs = ["--rig", small, "--rig", large, "--context", "4k,32k"];
    let arguments = [&["whatif", "llama-2-7b"], &rigs[..], &["--json"]].concat();
    let answer = shardplan(&arguments).json(0);
    let rows: Vec<_> = list(&answer, "scenarios")
        .iter()
        .map(|row| {
            let context = bytes(row, "context");
            (row["rig"].as_str(), context, row["fits"] == true)
        })
        .collect();
    let wanted = [
        (Some(small), 4096, false),
        (Some(small), 32_768, false),
        (Some(large), 4096, true),
        (Some(large), 32_768, true),
    ];
    assert_eq!(rows, wanted);
    let table = shardplan(&[&["whatif", "llama-2-7b"], &rigs[..]].concat());
    assert_eq!(table.text().matches("lacks").count(), 2, "{}", table.stdout);
    let none = ["whatif", "llama-2-7b", "--rig", small];
    assert_eq!(shardplan(&none).code, Some(3));
}

#[test]
fn what_a_row_is_refused_for_stands_below_the_table() {
    let asked = ["whatif", "llama-2-7b", "--target", "transformers"];
    let rigs = ["--rig", "RTX 3090", "--rig", "RTX 4090"];
    let rows = ["--context", "2k,4k", "--precision", "fp8"];
    let table = shardplan(&[&asked[..], &rigs[..], &rows[..]].concat());
    let text = table.text();
    assert_eq!(text.matches("no, see 1").count(), 2, "{text}");
    assert!(text.contains("\n1: `cuda0` has no 8-bit floats"), "{text}");
    let widest = text.lines().take(6).map(|line| line.chars().count()).max();
    assert!(widest < Some(100), "{text}");
}

#[test]
fn an_inspected_model_has_its_parts_and_their_bytes() {
    let arguments = ["model", "inspect", "llama-2-7b", "--json"];
    let model = shardplan(&arguments).json(0);
    let nodes = list(&model, "nodes");
    assert_eq!(nodes.len(), 1 + 2 * 32 + 2);
    let parameters: u64 = nodes.iter().map(|node| bytes(node, "parameters")).sum();
    // Published: 6,738,415,616.
    assert_eq!(parameters, 6_738_415_616);
    let totals = &model["totals"];
    assert_eq!(bytes(totals, "parameters"), parameters);
    for precision in ["fp32", "fp16", "nf4", "q4_k_m"] {
        let sum: u64 = nodes
            .iter()
            .map(|node| bytes(&node["bytes"], precision))
            .sum();
        // Rotation buffers (64 numbers, twice) are beside the chain.
        let beside = bytes(&totals["bytes"], precision) - sum;
        assert!(beside == 0 || beside == 2 * 64 * 4, "{precision}: {beside}");
    }
    assert_eq!(nodes[1]["kind"], "attention");
    // Keys and values of 32 heads of 128 elements, 16 bits each.
    assert_eq!(bytes(&nodes[1], "kv_bytes_per_token"), 2 * 32 * 128 * 2);
}

#[test]
fn help_and_version_are_data() {
    for question in [&["--help"][..], &["plan", "--help"], &["--version"]] {
        let answer = shardplan(question);
        assert!(answer.text().contains("shardplan"), "{answer:?}");
        assert_eq!(answer.stderr, "");
    }
}
