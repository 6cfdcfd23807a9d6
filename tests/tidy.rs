//! The house rules that a machine can see: which module may use which, who may name which crate,
//! how long a file is and how it begins. What is good style beyond that is for readers.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, from the ground up: a module may use what stands on a lower floor, and itself.
const FLOORS: [&[&str]; 8] = [
    &["units"],
    &["model", "hardware", "workload"],
    &["cost"],
    &["solve"],
    &["plan"],
    &["emit"],
    &["scenario", "sweep"],
    &["cli", "web"],
];

/// Crates that only some files may name, so that each can be exchanged in one place.
const FENCED: [(&str, &[&str]); 5] = [
    // Two programs that share nothing: flows of time over columns, and prices of nodes.
    (
        concat!("good", "_lp"),
        &["src/solve/milp.rs", "src/solve/flow/program.rs"],
    ),
    (concat!("ctrl", "c::"), &["src/cli/interrupt.rs"]),
    (concat!("pet", "graph"), &["src/model/graph.rs"]),
    (concat!("ur", "eq"), &["src/model/source/http.rs"]),
    (
        concat!("nvml", "_wrapper"),
        &["src/hardware/detect.rs", "src/hardware/nvml.rs"],
    ),
];

const MOST_LINES: usize = 400;

/// A source file: its path from the root of the repository, and its text.
struct File {
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> File {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let path = path.strip_prefix(root()).unwrap_or(path).to_string_lossy();
    File {
        path: path.replace('\\', "/"),
        text,
    }
}

/// The files below `folder` with one of these extensions, in the order of their paths.
fn files(folder: &str, extensions: &[&str]) -> Vec<File> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let extension = path.extension().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                folders.push(path);
            } else if extensions.contains(&extension.as_ref()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found.iter().map(|path| read(path)).collect()
}

fn rust_files() -> Vec<File> {
    let all = ["src", "tests", "examples"].map(|folder| files(folder, &["rs"]));
    all.into_iter().flatten().collect()
}

fn none(offences: Vec<String>) {
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// The number and the text of each line that is kept.
fn lines<'a>(
    file: &'a File,
    keep: impl Fn(&str) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    let numbered = file.text.lines().enumerate();
    numbered
        .filter(move |(_, line)| keep(line))
        .map(|(index, line)| format!("{}:{}: {}", file.path, index + 1, line.trim()))
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The module of the crate's root that a file below `src` belongs to.
fn module(path: &str) -> &str {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    path.split('/').next().unwrap_or(path)
}

/// What a line names of the crate's root: `hardware` of `use crate::hardware::Rig`.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}

#[test]
fn a_module_uses_only_what_stands_on_a_lower_floor() {
    let mut offences = Vec::new();
    for file in files("src", &["rs"]) {
        let own = module(&file.path);
        if ["lib", "main"].contains(&own) {
            continue;
        }
        let Some(height) = floor(own) else {
            offences.push(format!("{}: `{own}` has no floor", file.path));
            continue;
        };
        // An empty name is `crate::{…}`, which hides from this test what it uses.
        let may_use = |other: &str| other == own || floor(other).is_some_and(|it| it < height);
        offences.extend(lines(&file, move |line| {
            named(line).any(|other| !may_use(other))
        }));
    }
    none(offences);
}

#[test]
fn a_crate_that_may_be_exchanged_is_named_in_one_place() {
    let mut offences = Vec::new();
    for file in rust_files() {
        for (name, homes) in FENCED {
            if !homes.contains(&file.path.as_str()) {
                offences.extend(lines(&file, move |line| line.contains(name)));
            }
        }
    }
    none(offences);
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let all = ["src", "tests", "examples"].map(|folder| files(folder, &["rs", "py", "sh", "c"]));
    let long = all.into_iter().flatten().filter_map(|file| {
        let count = file.text.lines().count();
        (count > MOST_LINES).then(|| format!("{}: {count} lines, split it by idea", file.path))
    });
    none(long.collect());
}

#[test]
fn no_file_is_a_drawer_for_what_has_no_place() {
    let drawers = ["util", "utils", "common", "helpers", "misc", "prelude"];
    let paths = rust_files().into_iter().map(|file| file.path);
    none(
        paths
            .filter(|path| {
                let parts = path.trim_end_matches(".rs").split('/');
                parts.into_iter().any(|part| drawers.contains(&part))
            })
            .collect(),
    );
}

#[test]
fn every_file_begins_by_saying_what_is_in_it() {
    let silent = rust_files()
        .into_iter()
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| format!("{} does not begin with `//!`", file.path));
    none(silent.collect());
}

#[test]
fn nothing_is_left_undone_or_skipped() {
    let words = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[", "ignore"),
        concat!("dbg", "!("),
    ];
    let unfinished = rust_files();
    let unfinished = unfinished
        .iter()
        .flat_map(|file| lines(file, move |line| words.iter().any(|it| line.contains(it))));
    none(unfinished.collect());
}

/// The text between single backticks, outside fenced blocks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    let open = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    open.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Whether the words are one path of this repository, rather than a pattern or a command.
fn is_path(words: &str) -> bool {
    let folders = ["src/", "tests/", "plans/", "docs/", "examples/"];
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    folders.iter().any(|folder| words.starts_with(folder)) && words.chars().all(plain)
}

#[test]
fn every_file_that_the_documents_name_is_there() {
    let mut documents = files("docs", &["md"]);
    let top = ["README.md", "CHANGELOG.md"].map(|name| root().join(name));
    documents.extend(
        top.iter()
            .filter(|path| path.is_file())
            .map(|path| read(path)),
    );
    let mut lost = Vec::new();
    for document in documents {
        let paths = quoted(&document.text).filter(|words| is_path(words));
        lost.extend(
            paths
                .filter(|path| !root().join(path).exists())
                .map(|path| format!("{} names `{path}`, which is not there", document.path)),
        );
    }
    none(lost);
}

#[test]
fn the_rules_see_what_they_are_to_forbid() {
    let names: Vec<_> = named("use crate::hardware::Rig; crate::{a, b}; pub(in crate::cost)")
        .map(str::to_owned)
        .collect();
    assert_eq!(names, ["hardware", "", "cost"]);
    assert_eq!(module("src/cost/column.rs"), "cost");
    assert_eq!(module("src/units.rs"), "units");
    let text = "see `src/units.rs` and `src/*.rs`\n```\n`src/lost.rs`\n```\n`docs/a.md`";
    let paths: Vec<_> = quoted(text).filter(|words| is_path(words)).collect();
    assert_eq!(paths, ["src/units.rs", "docs/a.md"]);
    assert!(rust_files().len() > 50);
}
