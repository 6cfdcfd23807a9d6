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
    serde_yaml::from_str(include_str!("known.yaml"))
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
    use super::*;
    use crate::model::{Origin, config};

    #[test]
    fn every_name_is_a_model_of_about_its_size() {
        for known in all() {
            let model = config::model(&known.name, Origin::Known, &known.config).unwrap();
            let size = known.name.rsplit('-').next().unwrap();
            let billions = match size.trim_end_matches(['b', 'm']).parse::<f64>() {
                Ok(millions) if size.ends_with('m') => millions / 1e3,
                Ok(billions) => billions,
                // As their cards say.
                Err(_) => match known.name.as_str() {
                    "bloom-7b1" => 7.1,
                    "bloom" => 176.0,
                    "mixtral-8x7b" => 46.7,
                    "qwen3-30b-a3b" => 30.5,
                    "glm-4.5-air" => 106.0,
                    "deepseek-v3" => 671.0,
                    name => panic!("how large is {name}?"),
                },
            };
            let ratio = model.parameters() as f64 / 1e9 / billions;
            assert!((0.9..1.15).contains(&ratio), "{}: {ratio}", known.name);
        }
    }

    #[test]
    fn aliases_and_case_do_not_matter() {
        assert_eq!(find("BLOOM-176B").unwrap().name, "bloom");
        assert!(find("gpt-5").is_none());
    }
}
