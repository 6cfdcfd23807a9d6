//! Which GGUF file of a repository is meant, and which files it is split into.
//!
//! Names are all that there is to go by: `name-Q4_K_M.gguf`, `name.q4_0.gguf`,
//! `Q8_0/name-Q8_0-00001-of-00002.gguf`. Projectors (`mmproj…`) and importance matrices are no models.

use std::path::Path;

use super::name::{Pick, is_gguf};
use crate::model::read::gguf::SplitName;

/// Why no file is chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// Several would do.
    #[error("it has {} GGUF files: {}\nhint: name one behind a colon, such as `:{}`", .0.len(), list(.0), .0[0])]
    Several(Vec<String>),
    /// None is called so.
    #[error("it has no GGUF file `{wanted}`{}", has(.labels))]
    None {
        /// What was asked for.
        wanted: String,
        /// What there is.
        labels: Vec<String>,
    },
}

fn list(labels: &[String]) -> String {
    const SHOWN: usize = 40;
    let mut shown: Vec<_> = labels
        .iter()
        .take(SHOWN)
        .map(|it| format!("`{it}`"))
        .collect();
    if labels.len() > SHOWN {
        shown.push(format!("and {} more", labels.len() - SHOWN));
    }
    shown.join(", ")
}

fn has(labels: &[String]) -> String {
    match labels {
        [] => String::new(),
        labels => format!("\nhint: it has {}", list(labels)),
    }
}

/// A model among the files: its first file, and how people call its quantisation.
struct Candidate<'a> {
    file: &'a str,
    label: String,
}

/// The files of the chosen model, in order; nothing where nothing is named and there is no GGUF file.
///
/// # Errors
/// Where none or several are meant.
pub(super) fn choose(files: &[String], pick: &Pick) -> Result<Vec<String>, ChoiceError> {
    let candidates: Vec<Candidate<'_>> = files
        .iter()
        .filter(|file| is_model(file) && is_first(file))
        .map(|file| Candidate {
            label: label(file),
            file,
        })
        .collect();
    let labels = |candidates: &[&Candidate<'_>]| {
        let mut labels: Vec<_> = candidates.iter().map(|one| one.label.clone()).collect();
        let all = labels.len();
        labels.sort();
        labels.dedup();
        // Where the quantisation does not tell them apart, the whole names do.
        match labels.len() == all {
            true => labels,
            false => candidates.iter().map(|one| one.file.to_owned()).collect(),
        }
    };
    let all: Vec<_> = candidates.iter().collect();
    let none = |wanted: &str| ChoiceError::None {
        wanted: wanted.to_owned(),
        labels: labels(&all),
    };
    let wanted = match pick {
        Pick::Any => all.clone(),
        Pick::File(wanted) => {
            let file = files.iter().find(|file| *file == wanted);
            return file.map(|file| parts(file)).ok_or_else(|| none(wanted));
        }
        Pick::Quant(quant) => {
            let exact = |one: &&&Candidate<'_>| one.label.eq_ignore_ascii_case(quant);
            let named: Vec<_> = all.iter().filter(exact).copied().collect();
            match named.is_empty() {
                false => named,
                true => {
                    let part = |one: &&&Candidate<'_>| is_part(one.file, quant);
                    all.iter().filter(part).copied().collect()
                }
            }
        }
    };
    match (wanted.as_slice(), pick) {
        ([one], _) => Ok(parts(one.file)),
        ([], Pick::Any) => Ok(Vec::new()),
        ([], Pick::File(wanted) | Pick::Quant(wanted)) => Err(none(wanted)),
        (several, _) => Err(ChoiceError::Several(labels(several))),
    }
}

/// All files of the model that this one is of.
fn parts(file: &str) -> Vec<String> {
    let Some(split) = SplitName::of(Path::new(file)).filter(|split| split.count > 1) else {
        return vec![file.to_owned()];
    };
    let folder = file
        .rsplit_once('/')
        .map(|(folder, _)| format!("{folder}/"));
    let folder = folder.unwrap_or_default();
    (0..split.count)
        .map(|index| format!("{folder}{}", split.name(index)))
        .collect()
}

fn is_model(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    is_gguf(&name) && !name.starts_with("mmproj") && !name.contains("imatrix")
}

fn is_first(file: &str) -> bool {
    let split = SplitName::of(Path::new(file));
    split.is_none_or(|split| file.ends_with(&split.name(0)))
}

/// The name without what is not the model's.
fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    match SplitName::of(Path::new(file)) {
        Some(split) => split.stem,
        None => name[..name.len() - ".gguf".len()].to_owned(),
    }
}

/// What people call the quantisation: the last word of the name, with Unsloth's mark before it.
fn label(file: &str) -> String {
    let stem = stem(file);
    let mut words = stem.rsplit(['-', '.']);
    let last = words.next().unwrap_or_default();
    match words.next() {
        Some(mark) if mark.eq_ignore_ascii_case("UD") => format!("{mark}-{last}"),
        _ => last.to_owned(),
    }
}

/// Whether the file is of this quantisation by the end of its name, or by its folder.
fn is_part(file: &str, quant: &str) -> bool {
    let (stem, quant) = (stem(file).to_ascii_lowercase(), quant.to_ascii_lowercase());
    let ends = stem
        .strip_suffix(&quant)
        .is_some_and(|before| before.is_empty() || before.ends_with(['-', '.', '_']));
    let mut folders = file.split('/').rev().skip(1);
    ends || folders.any(|folder| folder.eq_ignore_ascii_case(&quant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 9] = [
        "README.md",
        "imatrix.gguf",
        "mmproj-model-f16.gguf",
        "llama.q4_0.gguf",
        "llama-Q4_K_M.gguf",
        "llama-UD-Q4_K_M.gguf",
        "Q8_0/llama-Q8_0-00001-of-00002.gguf",
        "Q8_0/llama-Q8_0-00002-of-00002.gguf",
        "BF16/part-00001-of-00001.gguf",
    ];

    fn chosen(pick: Pick) -> Result<Vec<String>, ChoiceError> {
        choose(&FILES.map(str::to_owned), &pick)
    }

    fn quant(quant: &str) -> Vec<String> {
        chosen(Pick::Quant(quant.to_owned())).unwrap()
    }

    #[test]
    fn a_quantisation_names_its_file() {
        assert_eq!(quant("q4_k_m"), ["llama-Q4_K_M.gguf"]);
        assert_eq!(quant("UD-Q4_K_M"), ["llama-UD-Q4_K_M.gguf"]);
        assert_eq!(quant("Q4_0"), ["llama.q4_0.gguf"]);
        assert_eq!(quant("Q8_0"), [FILES[6], FILES[7]], "with all its parts");
        assert_eq!(quant("bf16"), [FILES[8]], "by its folder");
    }

    #[test]
    fn any_part_names_the_whole() {
        let pick = Pick::File(FILES[7].to_owned());
        assert_eq!(chosen(pick).unwrap(), [FILES[6], FILES[7]]);
    }

    #[test]
    fn what_is_there_is_listed() {
        let error = chosen(Pick::Any).unwrap_err().to_string();
        let labels = "it has 5 GGUF files: `Q4_K_M`, `Q8_0`, `UD-Q4_K_M`, `part`, `q4_0`";
        assert!(error.starts_with(labels), "{error}");
        let error = chosen(Pick::Quant("Q5".to_owned()))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("it has no GGUF file `Q5`\nhint: it has `Q4_K_M`"),
            "{error}"
        );
        let error = chosen(Pick::File("x.gguf".to_owned()))
            .unwrap_err()
            .to_string();
        assert!(error.contains("`x.gguf`\nhint: it has `Q4_K_M`"), "{error}");
        assert_eq!(choose(&["a.bin".to_owned()], &Pick::Any), Ok(Vec::new()));
    }

    #[test]
    fn files_of_one_quantisation_are_told_apart_by_their_names() {
        let files = ["a-Q4_0.gguf", "b-Q4_0.gguf"].map(str::to_owned);
        let error = choose(&files, &Pick::Quant("Q4_0".to_owned())).unwrap_err();
        assert_eq!(error, ChoiceError::Several(files.into()));
    }
}
