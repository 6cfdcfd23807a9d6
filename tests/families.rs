//! Every family of the tables, held against what transformers or the author says of a real model:
//! parameters in total and of named modules, computed buffers, and what the cache keeps.
//!
//! A case is an entry of `families/<lineage>.yaml`; adding one adds no Rust.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shardplan::cost::memory::transformers_cache;
use shardplan::model::{self, Kind, Model, Part, Tensor, World, family};
use shardplan::units::{Bytes, Tokens};
use shardplan::workload::{KvFormat, Workload};

/// What is known of a configuration below `fixtures/configs`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// The file, without its ending.
    config: String,
    /// Trained elements, a tied head counted once.
    parameters: u64,
    /// Those below some modules.
    #[serde(default)]
    blocks: BTreeMap<String, u64>,
    /// Bytes of what is computed and not stored.
    #[serde(default)]
    buffers: Option<u64>,
    /// Bytes of the cache for one sequence of 4096 tokens in 16 bits, in transformers.
    #[serde(default)]
    cache_at_4096: Option<u64>,
    /// Elements that its GGUF file holds, by llama.cpp's converter, where that is not what the class
    /// trains.
    #[serde(default)]
    gguf_elements: Option<u64>,
    /// By whom the numbers were found.
    checked: String,
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn fixture(case: &Case) -> String {
    let path = tests().join(format!("fixtures/configs/{}.json", case.config));
    path.to_string_lossy().into_owned()
}

fn cases() -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(tests().join("families"))
        .expect("the folder of the cases")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    let read = |file: &PathBuf| -> Vec<Case> {
        let text = std::fs::read_to_string(file).expect("a file of cases");
        let cases: Option<Vec<Case>> = serde_yaml::from_str(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        cases.unwrap_or_default()
    };
    files.iter().flat_map(read).collect()
}

fn trained_below(model: &Model, module: &str) -> u64 {
    let is_below = |tensor: &&Tensor| {
        let rest = tensor.hf_name.strip_prefix(module);
        tensor.is_trained() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let below = model.tensors.iter().filter(is_below);
    below.map(Tensor::elements).sum()
}

fn buffers(model: &Model) -> u64 {
    let constants = model
        .tensors
        .iter()
        .filter(|tensor| tensor.kind.is_constant() && !tensor.hf_name.is_empty());
    let size = |tensor: &Tensor| match tensor.kind {
        Kind::HalfTable => 2 * tensor.elements(),
        _ => 4 * tensor.elements(),
    };
    constants.map(size).sum()
}

fn in_gguf(model: &Model) -> u64 {
    let held = model
        .tensors
        .iter()
        .filter(|tensor| !tensor.gguf_name.is_empty());
    held.map(Tensor::elements).sum()
}

/// What differs from the case, a line each.
fn differences(case: &Case) -> Vec<String> {
    let model = match model::open(&fixture(case)) {
        Ok(model) => model,
        Err(error) => return vec![format!("{}: {error}", case.config)],
    };
    let workload = Workload::of_context(Tokens(4096));
    let kept = |block| transformers_cache(block, &workload, KvFormat::F16);
    let cache: Bytes = model.blocks.iter().map(kept).sum();
    let mut numbers = vec![
        (
            "parameters".to_owned(),
            Some(case.parameters),
            model.parameters(),
        ),
        ("buffers".to_owned(), case.buffers, buffers(&model)),
        ("cache".to_owned(), case.cache_at_4096, cache.0),
        (
            "a GGUF file".to_owned(),
            case.gguf_elements,
            in_gguf(&model),
        ),
    ];
    for (module, parameters) in &case.blocks {
        numbers.push((
            module.clone(),
            Some(*parameters),
            trained_below(&model, module),
        ));
    }
    let differ = numbers.into_iter().filter_map(|(what, said, ours)| {
        let said = said.filter(|said| *said != ours)?;
        Some(format!(
            "{}: {what} is {ours}, and {said} by {}",
            case.config, case.checked
        ))
    });
    differ.collect()
}

#[test]
fn every_family_has_the_parameters_that_its_authors_say() {
    let cases = cases();
    assert!(!cases.is_empty());
    let differ: Vec<_> = cases.iter().flat_map(differences).collect();
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
}

#[test]
fn every_flat_fixture_is_a_case_and_each_only_once() {
    let mut said: Vec<_> = cases().into_iter().map(|case| case.config).collect();
    said.sort();
    let mut there: Vec<_> = std::fs::read_dir(tests().join("fixtures/configs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    there.sort();
    assert_eq!(said, there);
}

/// Whatever the pieces, a GGUF file holds what the class trains: a row that one of the two worlds
/// lacks shows here. Blocks that predict further tokens, and heads that only a file has, are more;
/// the weights of an activation, which a file keeps among its settings, are less.
#[test]
fn a_gguf_file_holds_what_the_class_trains() {
    let mut differ = Vec::new();
    for case in cases() {
        let model = model::open(&fixture(&case)).unwrap();
        if !family::all().any(|family| family.gguf == model.architecture) {
            continue;
        }
        let is_of_both = |tensor: &&Tensor| match tensor.part {
            // What both worlds store and one does not load; vocabularies that a file pads.
            _ if tensor.world == World::Gguf && !tensor.hf_name.is_empty() => false,
            _ if tensor.kind == Kind::Embedding => false,
            Part::Embedding | Part::Attention(_) | Part::FeedForward(_) | Part::FinalNorm => true,
            Part::Head => !model.tied,
            Part::NextToken(_) | Part::Tower | Part::Everywhere => false,
        };
        let (mut trained, mut in_file) = (0, 0);
        for tensor in model.tensors.iter().filter(is_of_both) {
            let is_named = !tensor.gguf_name.is_empty() && !tensor.kind.is_constant();
            trained += u64::from(tensor.is_trained()) * tensor.elements();
            in_file += u64::from(is_named) * tensor.elements();
        }
        if in_file.abs_diff(trained) > 2 * model.blocks.len() as u64 {
            differ.push(format!(
                "{}: {in_file} elements in a GGUF file, {trained} trained",
                case.config
            ));
        }
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
}

/// What a token reads of a mixture follows from how many experts it passes.
#[test]
fn a_mixture_says_how_many_experts_a_token_passes() {
    let lacking: Vec<_> = cases()
        .into_iter()
        .filter(|case| {
            let model = model::open(&fixture(case)).unwrap();
            let has_experts = model
                .tensors
                .iter()
                .any(|tensor| tensor.kind == Kind::Experts);
            has_experts && model.dimensions.experts.is_none()
        })
        .map(|case| case.config)
        .collect();
    assert!(lacking.is_empty(), "{}", lacking.join(", "));
}
