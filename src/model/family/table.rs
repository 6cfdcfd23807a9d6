//! The tables as they are compiled in: which file names what, and reading only those that do.

use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;

use super::Family;
use super::row::Row;

/// A file of the table: its text, and its families once it was read.
struct File {
    text: &'static str,
    families: OnceLock<Vec<Family>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Anchors that the families of a file share.
    #[serde(default, rename = "parts")]
    _parts: serde::de::IgnoredAny,
    families: Vec<Family>,
}

static FILES: [File; 12] = [
    File::new(include_str!(concat!(env!("OUT_DIR"), "/llama.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/qwen.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/mistral.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/deepseek.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/moe.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/gemma.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/vision.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/hybrid.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/classic.json"))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/phi.json"))),
    File::new(include_str!(concat!(
        env!("OUT_DIR"),
        "/encoder_decoder.json"
    ))),
    File::new(include_str!(concat!(env!("OUT_DIR"), "/falcon.json"))),
];

impl File {
    const fn new(text: &'static str) -> Self {
        Self {
            text,
            families: OnceLock::new(),
        }
    }

    fn families(&self) -> &[Family] {
        self.families.get_or_init(|| parse(self.text))
    }
}

fn parse(text: &str) -> Vec<Family> {
    let table: Table =
        serde_json::from_str(text).expect("the tables are compiled in and a test parses them");
    table.families
}

static USUAL_HEAD: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let row = "[{hf: /lm_head, gguf: output, kind: head, shape: [vocab, hidden]}]";
    serde_yaml::from_str(row).expect("a row of the shape that a test expands")
});

pub(super) fn usual_head() -> &'static [Row] {
    &USUAL_HEAD
}

/// Every family, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Family> {
    FILES.iter().flat_map(|file| file.families())
}

/// The families of the files in which `name` stands: parsing a table takes time, and one question
/// needs one family.
pub fn naming(name: &str) -> impl Iterator<Item = &'static Family> {
    let holding = FILES.iter().filter(move |file| file.text.contains(name));
    holding.flat_map(|file| file.families())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_parses_and_names_are_unique() {
        let mut names: Vec<_> = all().map(|family| family.name.as_str()).collect();
        assert!(names.len() >= 6);
        names.sort_unstable();
        let all_of_them = names.len();
        names.dedup();
        assert_eq!(names.len(), all_of_them);
    }

    #[test]
    fn every_expression_of_the_tables_compiles() {
        for family in all() {
            for expression in family.expressions() {
                assert!(
                    super::super::expression::compiles(&expression),
                    "{}: `{expression}`",
                    family.name
                );
            }
        }
    }
}
