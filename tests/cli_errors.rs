//! Sessions with the real program that end badly: each error is one sentence on standard error that
//! names what is wrong, where, and what to do; the exit code tells the kinds apart; nothing is left
//! half-written, and a plan that does not exist is an answer with hints that work.

#[path = "cli/session.rs"]
mod session;

use std::path::Path;

use session::{Answer, shardplan};
use tempfile::TempDir;

const RIG: [&str; 2] = ["--rig", "RTX 3090"];

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// A file of `contents` in `folder`.
fn file(folder: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, contents).expect("the folder is ours");
    path.to_string_lossy().into_owned()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The run ends with `code`, has no data, and says all these words in one error.
fn refused(arguments: &[&str], code: i32, words: &[&str]) -> Answer {
    let answer = shardplan(arguments);
    assert_eq!(answer.code, Some(code), "{answer:?}");
    assert_eq!(answer.stdout, "", "{arguments:?}");
    let errors = answer.stderr.lines().filter(|line| line.contains("error:"));
    assert_eq!(errors.count(), 1, "{}", answer.stderr);
    assert!(answer.stderr.starts_with("error: "), "{}", answer.stderr);
    assert!(!answer.stderr.contains("panicked"), "{}", answer.stderr);
    for word in words {
        let text = &answer.stderr;
        assert!(text.contains(word), "{arguments:?}: no `{word}` in\n{text}");
    }
    answer
}

#[test]
fn an_unknown_model_gets_the_nearest_names() {
    let words = ["`lama-2-70b` is no file", "hint:", "`llama-2-70b`"];
    refused(&[&["plan", "lama-2-70b"], &RIG[..]].concat(), 1, &words);
}

#[test]
fn a_configuration_that_is_no_model_says_where_and_what_to_do() {
    let folder = folder();
    let cases: [(&str, &[&str]); 7] = [
        (
            "{\"model_type\": \"llama\", \"hidden_size\": NaN}",
            &["`hidden_size` is \"NaN\"", "a whole number"],
        ),
        (
            "{\"model_type\": \"\\u001b[2J\", \"a\": [Infinity]}",
            &["`\\u{1b}[2J` is not known"],
        ),
        (
            "{\"model_type\": \"llama\",\n \"hidden_size\": 1,, }",
            &["config.json:2:19"],
        ),
        ("[]", &["config.json", "JSON object"]),
        (
            "{\"model_type\": \"gpt9\"}",
            &["config.json", "`gpt9`", "hint: ", "families are read"],
        ),
        (
            "{\"model_type\": \"llama\", \"hidden_size\": 64}",
            &["config.json", "`vocab_size`", "hint: "],
        ),
        (
            "{\"model_type\": \"llama\", \"hidden_size\": \"wide\", \"vocab_size\": 4}",
            &["config.json", "`hidden_size`", "\"wide\""],
        ),
    ];
    for (text, words) in cases {
        let model = file(&folder, "config.json", text);
        refused(&[&["plan", &model], &RIG[..]].concat(), 1, words);
    }
}

#[test]
fn a_file_that_ends_within_its_header_is_called_truncated() {
    let folder = folder();
    let model = file(&folder, "cut.gguf", b"GGUF\x03\0\0\0\x05\0");
    let words = ["cut.gguf", "byte 8", "truncated", "hint: download"];
    refused(&["model", "inspect", &model], 1, &words);
    refused(&[&["plan", &model], &RIG[..]].concat(), 1, &words);
}

#[test]
fn a_number_without_a_unit_is_refused_where_it_stands() {
    let plan = ["plan", "llama-2-7b"];
    let with = |rig| [&plan[..], &["--rig", rig]].concat();
    refused(
        &with("24 + RTX 3090"),
        1,
        &["`24`", "no unit", "hint: write `24 GiB"],
    );
    refused(&with("24 GiB@936"), 1, &["`936`", "such as `936 GB/s`"]);
    refused(&with("RTX 3090, ram 64"), 1, &["`64`", "such as `24 GiB`"]);
    let reserve = [&plan[..], &RIG, &["--reserve", "cuda0=1"]].concat();
    refused(&reserve, 2, &["`1`", "unit"]);
    let folder = folder();
    let rig = "version: 1\nhosts:\n- devices:\n  - {memory: 24, bandwidth: 936 GB/s}\n";
    let rig = file(&folder, "rig.yaml", rig);
    refused(
        &with(&rig),
        1,
        &["rig.yaml", "4:14", "`24`", "write a number and its unit"],
    );
}

#[test]
fn a_rig_document_that_is_none_says_the_file_and_the_line() {
    let folder = folder();
    let cases: [(&str, &[&str]); 5] = [
        (
            "- {gpu: T4, name: a}\n  - {gpu: T4, name: a}",
            &["called `a`", "hint: give each its own"],
        ),
        (
            "- {gpu: T4, vram: 1 GiB}",
            &["4:15", "unknown field `vram`", "memory"],
        ),
        (
            "- {gpu: RTX 3091}",
            &[":4:", "`RTX 3091`", "hint: did you mean `RTX 3090`"],
        ),
        ("- {memory: 24 GiB}", &[":4:", "needs `bandwidth`"]),
        (
            "- {gpu: T4, reserve: 99 GiB}",
            &["99.00 GiB", "exceeds its memory"],
        ),
    ];
    for (devices, words) in cases {
        let text = format!("version: 1\nhosts:\n- devices:\n  {devices}\n");
        let rig = file(&folder, "rig.yaml", text);
        let answer = refused(&["rig", "show", &rig], 1, words);
        assert!(answer.stderr.contains("rig.yaml"), "{}", answer.stderr);
    }
    let missing = folder.path().join("missing.yaml");
    refused(
        &["rig", "show", &missing.to_string_lossy()],
        1,
        &["missing.yaml"],
    );
}

#[test]
fn what_the_target_cannot_do_is_refused_with_what_it_can() {
    let plan = [&["plan", "llama-2-7b"], &RIG[..]].concat();
    let transformers = [&plan[..], &["--target", "transformers"]].concat();
    let with = |flags: &[&'static str]| [&transformers[..], flags].concat();
    refused(
        &with(&["--kv", "q8_0"]),
        1,
        &["transformers", "q8_0", "`--kv f16`"],
    );
    refused(
        &with(&["--precision", "q4_k_m"]),
        1,
        &["transformers", "q4_k_m", "`nf4`"],
    );
    let nf4 = [&plan[..], &["--precision", "nf4"]].concat();
    refused(&nf4, 1, &["llama.cpp", "nf4", "q4_k_m"]);
    let reserve = [&plan[..], &["--reserve", "cuda7=1GiB"]].concat();
    refused(&reserve, 1, &["`cuda7`", "hint: the rig has `cuda0`"]);
    let none = [&plan[..], &["--sequences", "0"]].concat();
    refused(&none, 1, &["0 sequences", "1 to 1024"]);
}

#[test]
fn wrong_usage_is_told_from_wrong_input() {
    let plan = [&["plan", "llama-2-7b"], &RIG[..]].concat();
    for flags in [
        ["--target", "mlc-llm"],
        ["--kv", "f17"],
        ["--precision", "q4_k_x"],
        ["--context", "0"],
        ["--solver", "cbc"],
        ["--reserve", "cuda0"],
    ] {
        refused(&[&plan[..], &flags].concat(), 2, &flags);
    }
    refused(&["plan", "llama-2-7b"], 2, &["--rig"]);
    refused(
        &["plot"],
        2,
        &["`plot`", "plot"].map(|word| word.trim_matches('`')),
    );
}

#[test]
fn a_plan_that_cannot_be_written_leaves_nothing_behind() {
    let folder = folder();
    let plan = |output: &str| {
        let arguments = [&["plan", "llama-2-7b"], &RIG[..], &["-o", output]].concat();
        refused(&arguments, 1, &[output, "can't be written"]);
    };
    plan(&folder.path().join("missing/plan.yaml").to_string_lossy());
    plan(&folder.path().to_string_lossy());
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn a_file_is_left_alone_where_no_plan_takes_its_place() {
    let folder = folder();
    let old = file(&folder, "plan.yaml", "old");
    let rig = ["--rig", "4 GiB@300 GB/s"];
    let arguments = [&["plan", "llama-2-70b"], &rig[..], &["-o", &old]].concat();
    refused(&arguments, 3, &["no plan fits"]);
    assert_eq!(std::fs::read(&old).ok(), Some(b"old".to_vec()));
    assert_eq!(names(folder.path()), ["plan.yaml"]);
}

#[test]
fn an_edited_plan_is_emitted_only_if_it_is_still_a_plan() {
    let folder = folder();
    let plan = folder.path().join("plan.yaml");
    let plan = plan.to_string_lossy();
    let rig = ["--rig", "2x RTX 3090", "-o", &plan];
    shardplan(&[&["plan", "llama-2-70b"], &rig[..]].concat()).text();
    let text = std::fs::read_to_string(&*plan).expect("the plan was written");
    let other = ["emit", &plan, "--target", "transformers"];
    refused(
        &other,
        1,
        &["for llama.cpp", "hint: ", "--target transformers"],
    );
    for (from, to, words) in [
        (
            "layers: 40-79",
            "layers: 39-79",
            &["layer 39", "layer 40"][..],
        ),
        ("layers: 40-79", "layers: 41-79", &["layer 41", "layer 40"]),
        ("layers: 40-79", "layers: 40-78", &["layer 79"]),
        ("layers: 40-79", "layers: 79-40", &["`79-40`"]),
        ("    device: cuda1", "    device: cuda7", &["`cuda7`"]),
        ("    device: cuda1", "    device: cuda0", &["`cuda0`"]),
        ("weights: 2", "weights: 9", &["`cuda"]),
        ("version: 1\nmodel", "version: 2\nmodel", &["version 2"]),
        ("layout:", "lay_out:", &["lay_out"]),
        ("proof:", "proof: [", &["edited.yaml"]),
    ] {
        assert!(text.contains(from), "no `{from}` in\n{text}");
        let edited = file(&folder, "edited.yaml", text.replacen(from, to, 1));
        let out = folder.path().join("out");
        let folder = out.to_string_lossy();
        let arguments = ["emit", &edited, "--target", "llama.cpp", "-o", &folder];
        let answer = refused(&arguments, 1, words);
        assert!(answer.stderr.contains("edited.yaml"), "{}", answer.stderr);
        assert!(!out.exists(), "{to}");
    }
    refused(
        &["emit", "nowhere.yaml", "--target", "llama.cpp"],
        1,
        &["`nowhere.yaml`"],
    );
    let taken = file(&folder, "taken", "a file");
    let arguments = ["emit", &plan, "--target", "llama.cpp", "-o", &taken];
    refused(&arguments, 1, &["taken"]);
}

#[test]
fn a_library_that_does_not_answer_is_an_error_only_where_it_was_asked_for() {
    let arguments = ["rig", "detect", "--nvml-library", "/nonexistent"];
    refused(&arguments, 1, &["`/nonexistent`"]);
}

#[test]
fn no_plan_names_the_devices_what_they_lack_and_what_helps() {
    let rig = ["--rig", "RTX 3090 + RTX 3060", "--context", "4k"];
    let arguments = [&["plan", "llama-2-70b"], &rig[..]].concat();
    let words = ["no plan fits", "`cuda0` lacks", "GiB", "hint: "];
    refused(&arguments, 3, &words);
    let answer = shardplan(&[&arguments[..], &["--json"]].concat()).json(3);
    assert_eq!(answer["status"], "infeasible");
    let reasons = answer["reasons"].as_array().expect("a list of devices");
    assert!(!reasons.is_empty());
    for reason in reasons {
        assert!(
            reason["device"]
                .as_str()
                .is_some_and(|name| name.starts_with("cuda"))
        );
        assert!(
            reason["missing"]
                .as_u64()
                .is_some_and(|missing| missing > 0)
        );
    }
    assert!(
        answer["fixes"]
            .as_array()
            .is_some_and(|fixes| !fixes.is_empty())
    );
}
