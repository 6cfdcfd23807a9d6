//! Names that stand for a model, so that the first plan needs no download.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

/// One model of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Other names of the same dimensions.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Its published hyper-parameters, as config.json writes them.
    pub config: Value,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/known.json")))
        .expect("known.yaml is compiled in and a test parses it")
});

/// Every model of the list.
pub fn all() -> &'static [Known] {
    &KNOWN
}

/// The model that `name` stands for, in any case.
pub fn find(name: &str) -> Option<&'static Known> {
    let is = |other: &str| other.eq_ignore_ascii_case(name);
    KNOWN
        .iter()
        .find(|known| is(&known.name) || known.aliases.iter().any(|alias| is(alias)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{Origin, config};

    /// Billions of parameters, where the name does not say them, as the model cards do.
    const AS_CARDS_SAY: [(&str, f64); 12] = [
        ("bloom-7b1", 7.1),
        ("bloom", 176.0),
        ("command-r-plus", 104.0),
        ("deepseek-v2-lite", 15.7),
        ("deepseek-v3", 671.0),
        ("glm-4.5-air", 106.0),
        ("glm-4.6", 357.0),
        ("kimi-k2", 1026.0),
        ("llama-4-maverick", 402.0),
        ("llama-4-scout", 109.0),
        ("minimax-m2.5", 229.0),
        ("phi-4", 14.7),
    ];

    /// Names that round by more than others: what the cards say, in billions.
    const ROUNDED: [(&str, f64); 3] = [
        ("llama-3.2-1b", 1.24),
        ("mixtral-8x7b", 46.7),
        ("mixtral-8x22b", 141.0),
    ];

    fn billions(name: &str) -> Option<f64> {
        let stated = AS_CARDS_SAY.iter().chain(&ROUNDED);
        let stated = stated.clone().find(|(other, _)| *other == name);
        let size = |part: &str| match part.split_at_checked(part.len().checked_sub(1)?)? {
            (number, "b") => number.parse::<f64>().ok(),
            (number, "m") => number.parse::<f64>().ok().map(|millions| millions / 1e3),
            _ => None,
        };
        match stated {
            Some((_, billions)) => Some(*billions),
            None => name.split('-').find_map(size),
        }
    }

    #[test]
    fn every_name_is_a_model_of_about_its_size() {
        for known in all() {
            let model = config::model(&known.name, Origin::Known, &known.config).unwrap();
            let billions =
                billions(&known.name).unwrap_or_else(|| panic!("how large is {}?", known.name));
            let ratio = model.parameters() as f64 / 1e9 / billions;
            assert!((0.93..1.09).contains(&ratio), "{}: {ratio}", known.name);
        }
    }

    #[test]
    fn a_name_is_the_model_of_its_published_configuration() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
        let mut n_compared = 0;
        for known in all() {
            let names = std::iter::once(&known.name).chain(&known.aliases);
            for name in names {
                let Ok(text) = std::fs::read_to_string(folder.join(format!("{name}.json"))) else {
                    continue;
                };
                let published = serde_json::from_str(&text).unwrap();
                let model = |config| config::model("m", Origin::Known, config).unwrap();
                let (ours, theirs) = (model(&known.config), model(&published));
                assert_eq!(ours.tensors, theirs.tensors, "{name}");
                assert_eq!(ours.blocks, theirs.blocks, "{name}");
                assert_eq!(ours.dimensions, theirs.dimensions, "{name}");
                assert_eq!(ours.tied, theirs.tied, "{name}");
                n_compared += 1;
            }
        }
        assert!(n_compared >= 30, "only {n_compared} have a fixture");
    }

    #[test]
    fn no_two_models_share_a_name() {
        let names = all()
            .iter()
            .flat_map(|it| std::iter::once(&it.name).chain(&it.aliases));
        let mut names: Vec<_> = names.collect();
        let n_names = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), n_names);
    }

    #[test]
    fn aliases_and_case_do_not_matter() {
        assert_eq!(find("BLOOM-176B").unwrap().name, "bloom");
        assert!(find("gpt-5").is_none());
    }
}
