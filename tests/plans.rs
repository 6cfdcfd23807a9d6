//! The cases of `plans/`: each folder holds a question and the answer that it must get.
//!
//! `scenario.yaml` has the words of the command line. Where a plan exists the folder holds
//! `plan.yaml` and the files that `emit` writes; where none does, `error.txt`. `BLESS=1 cargo test`
//! rewrites the answers: read the difference before you commit it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    /// Why this case is here; for people.
    #[serde(rename = "why")]
    _why: String,
    model: String,
    rig: String,
    target: String,
    precision: Option<String>,
    mix: Option<String>,
    context: Option<String>,
    sequences: Option<String>,
    kv: Option<String>,
    reserve: Option<String>,
    margin: Option<String>,
    objective: Option<String>,
    prompt: Option<String>,
    answer: Option<String>,
    max_time_per_token: Option<String>,
    draft: Option<String>,
    tp: Option<String>,
    replicas: Option<String>,
    #[serde(default)]
    pin: Vec<String>,
    #[serde(default)]
    forbid: Vec<String>,
    #[serde(default)]
    fix: Vec<String>,
}

impl Scenario {
    fn arguments(&self) -> Vec<String> {
        let optional = [
            ("--precision", &self.precision),
            ("--mix", &self.mix),
            ("--context", &self.context),
            ("--sequences", &self.sequences),
            ("--kv", &self.kv),
            ("--reserve", &self.reserve),
            ("--margin", &self.margin),
            ("--objective", &self.objective),
            ("--prompt", &self.prompt),
            ("--answer", &self.answer),
            ("--max-time-per-token", &self.max_time_per_token),
            ("--draft", &self.draft),
            ("--tp", &self.tp),
            ("--replicas", &self.replicas),
        ];
        let lists = [
            ("--pin", &self.pin),
            ("--forbid", &self.forbid),
            ("--fix", &self.fix),
        ];
        let mut arguments = [
            "plan",
            &self.model,
            "--rig",
            &self.rig,
            "--target",
            &self.target,
            // What is found must not depend on how busy the machine is.
            "--time-limit",
            "600s",
        ]
        .map(str::to_owned)
        .to_vec();
        for (flag, value) in optional {
            arguments.extend(
                value
                    .iter()
                    .flat_map(|value| [flag.to_owned(), value.clone()]),
            );
        }
        for (flag, values) in lists {
            let each = values.iter();
            arguments.extend(each.flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        arguments
    }
}

/// Files by name.
type Files = BTreeMap<String, String>;

#[test]
fn every_case_gets_its_answer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let bless = std::env::var_os("BLESS").is_some();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(
        folders.len() >= 20,
        "{} holds {} cases",
        root.display(),
        folders.len()
    );
    let mut wrong = Vec::new();
    for folder in folders {
        let found = answer(&folder);
        let wanted = recorded(&folder);
        if found == wanted {
            continue;
        }
        if bless {
            write(&folder, &wanted, &found);
        } else {
            wrong.push(format!(
                "{}\n{}",
                folder.display(),
                difference(&wanted, &found)
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "run `BLESS=1 cargo test` if this is meant:\n{}",
        wrong.join("\n")
    );
}

fn run(folder: &Path, arguments: &[String]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shardplan"))
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

/// What the program answers to the question in `folder`.
fn answer(folder: &Path) -> Files {
    let text = std::fs::read_to_string(folder.join("scenario.yaml")).unwrap();
    let scenario: Scenario =
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let scratch = tempfile::tempdir().unwrap();
    let plan = scratch.path().join("plan.yaml");
    let mut arguments = scenario.arguments();
    arguments.extend(["-o".to_owned(), plan.to_string_lossy().into_owned()]);
    let output = run(folder, &arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    if output.status.code() == Some(3) {
        return Files::from([("error.txt".to_owned(), errors)]);
    }
    assert!(output.status.success(), "{}: {errors}", folder.display());
    let emitted = scratch.path().join("emitted");
    let arguments = [
        "emit",
        &plan.to_string_lossy(),
        "--target",
        &scenario.target,
        "-o",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([emitted.to_string_lossy().into_owned()]);
    let output = run(folder, &arguments.collect::<Vec<_>>());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut files = files_in(&emitted);
    files.insert(
        "plan.yaml".to_owned(),
        std::fs::read_to_string(plan).unwrap(),
    );
    files
}

/// The answer that lies in `folder`.
fn recorded(folder: &Path) -> Files {
    let mut files = files_in(folder);
    files.retain(|name, _| name != "scenario.yaml" && name != "config.json");
    files
}

fn files_in(folder: &Path) -> Files {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            (entry.file_name().to_string_lossy().into_owned(), text)
        })
        .collect()
}

fn write(folder: &Path, old: &Files, new: &Files) {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    for (name, text) in new {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// The first lines that differ, file by file.
fn difference(wanted: &Files, found: &Files) -> String {
    let empty = String::new();
    let names: std::collections::BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let mut text = String::new();
    for name in names {
        let (old, new) = (
            wanted.get(name).unwrap_or(&empty),
            found.get(name).unwrap_or(&empty),
        );
        let lines = old.lines().chain(std::iter::repeat("")).zip(new.lines());
        if let Some((old, new)) = lines.into_iter().find(|(old, new)| old != new) {
            text.push_str(&format!("  {name}:\n    - {old}\n    + {new}\n"));
        } else if old != new {
            text.push_str(&format!("  {name}: its end differs\n"));
        }
    }
    text
}
