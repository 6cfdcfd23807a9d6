//! What the pages show is what the program prints: every session on them that starts with
//! `$ shardplan`, and every one of the README whose answer is below it, run in their order in one
//! folder.

use std::path::{Path, PathBuf};
use std::process::Command;

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).expect("a page of the project")
}

/// The fenced blocks of a page: their language and their text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let fenced = page.split("\n```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// The arguments of a command line, as a shell would see them.
fn arguments(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    for (index, part) in line.split('"').enumerate() {
        match index % 2 {
            0 => arguments.extend(part.split_whitespace().map(str::to_owned)),
            _ => arguments.push(part.to_owned()),
        }
    }
    arguments
}

/// What a command prints, both streams.
fn printed(folder: &Path, arguments: &[String]) -> String {
    // What is found must not depend on how busy the machine is.
    let patience: &[&str] = match arguments.first().map(String::as_str) {
        Some("plan" | "whatif") => &["--time-limit", "600s"],
        _ => &[],
    };
    let output = Command::new(env!("CARGO_BIN_EXE_shardplan"))
        .args(arguments)
        .args(patience)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .expect("cargo builds the program before its tests");
    // What it says of its doing comes before its answer.
    let text = [output.stderr, output.stdout].concat();
    trimmed(&String::from_utf8(text).expect("the program writes UTF-8"))
}

/// Without the spaces at the ends of lines, and without the time that an answer took.
fn trimmed(text: &str) -> String {
    let lines = text.trim_end().lines().map(str::trim_end);
    let lines: Vec<_> = lines.filter(|it| !it.contains("\"seconds\":")).collect();
    lines.join("\n")
}

#[test]
fn the_sessions_on_the_page_of_documents_are_runs_of_the_program() {
    let page = page("docs/yaml.md");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut document = "";
    let mut n_sessions = 0;
    for (language, text) in blocks(&page) {
        if language == "yaml" {
            document = text;
        }
        let Some((command, shown)) = text.split_once('\n') else {
            continue;
        };
        // What is piped into another program is not compared.
        let Some(command) = command
            .strip_prefix("$ shardplan ")
            .filter(|it| !it.contains('|'))
        else {
            continue;
        };
        // The page shows the documents of a rig and of a graph before it reads them.
        let words = arguments(command);
        let shown_before = |word: &&String| ["desk.yaml", "eyes.yaml"].contains(&word.as_str());
        if let Some(name) = words.iter().find(shown_before) {
            let path: PathBuf = folder.path().join(name);
            if !path.exists() {
                std::fs::write(path, document).expect("a file in a temporary folder");
            }
        }
        assert_eq!(
            printed(folder.path(), &arguments(command)),
            trimmed(shown),
            "\n$ shardplan {command}"
        );
        n_sessions += 1;
    }
    assert!(n_sessions >= 10, "{n_sessions}");
}

#[test]
fn the_answers_that_the_readme_shows_are_runs_of_the_program() {
    let page = page("README.md");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut n_sessions = 0;
    for pair in blocks(&page).windows(2) {
        let [("sh", command), ("text", shown)] = pair else {
            continue;
        };
        let command = command.trim_start_matches("cargo run --release -- ");
        let command = command.trim_start_matches("shardplan ");
        let printed = printed(folder.path(), &arguments(command));
        assert_eq!(printed, trimmed(shown), "\n$ shardplan {command}");
        n_sessions += 1;
    }
    assert!(n_sessions >= 2, "{n_sessions}");
}
