//! YAML of a stranger: aliases, which let a few bytes stand for millions, have a bound.

use serde::de::DeserializeOwned;

/// Events that aliases may stand for in all. The documents that we write have none.
const MOST_REPLAYED: usize = 10_000;

/// Values in a long document: 100,000 entries of a dozen and a million of seven.
const MOST_NODES: usize = 12_000_000;

/// Reads one document.
pub(crate) fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    let options = serde_yaml::options! {
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MOST_REPLAYED },
    };
    serde_yaml::from_str_with_options(text, options)
}

/// Reads one document that may be long: a graph of many nodes.
pub(crate) fn large_from_str<T: DeserializeOwned>(text: &str) -> Result<T, serde_yaml::Error> {
    let options = serde_yaml::options! {
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MOST_REPLAYED },
        budget: serde_yaml::budget! { max_nodes: MOST_NODES, max_events: 2 * MOST_NODES },
    };
    serde_yaml::from_str_with_options(text, options)
}

/// An error as a person reads it, with the lines around it.
pub(crate) fn rendered(error: &serde_yaml::Error, origin: &str) -> String {
    let rendered = error.render_with_options(serde_yaml::render_options! {
        source_name: Some(origin),
    });
    // Whoever prints an error puts that word before it.
    let rendered = rendered.strip_prefix("error: ").unwrap_or(&rendered);
    // What a program that reads YAML could do about it.
    rendered.replace(", set DuplicateKeyPolicy in Options if acceptable", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_twice_is_named_to_a_person() {
        let error = from_str::<std::collections::BTreeMap<String, u8>>("a: 1\na: 2\n").unwrap_err();
        let text = rendered(&error, "rig.yaml");
        assert!(text.contains("duplicate mapping key: a\n"), "{text}");
        assert!(!text.contains("Options"), "{text}");
    }

    #[test]
    fn aliases_may_not_stand_for_millions() {
        let tens = |of: &str| format!("[{}]", [of; 10].join(", "));
        let text = |levels: u8| {
            let line =
                |level: u8| format!("{level}: &x{level} {}\n", tens(&format!("*x{}", level - 1)));
            let lines: String = (1..=levels).map(line).collect();
            format!("0: &x0 {}\n{lines}", tens("x"))
        };
        type Lists = std::collections::BTreeMap<u8, serde::de::IgnoredAny>;
        assert!(from_str::<Lists>(&text(2)).is_ok());
        let error = from_str::<Lists>(&text(8)).unwrap_err().to_string();
        assert!(error.contains("alias"), "{error}");
    }
}
