//! What precisions cost in quality: published tables, one for each model, or the user's own.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::{Model, Precision};

/// The penalties of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Penalties {
    /// What is measured, in which unit.
    pub measure: String,
    /// The penalty of each precision, the least first.
    pub by_precision: Vec<(Precision, f64)>,
}

/// A table that is none.
#[derive(Debug, thiserror::Error)]
pub enum PenaltiesError {
    /// Not YAML, or not the fields of a table.
    #[error("{0}")]
    Syntax(String),
    /// A name that is no precision.
    #[error("{origin}: {fault}")]
    Precision {
        /// The file.
        origin: String,
        /// What is wrong.
        fault: crate::model::PrecisionError,
    },
    /// A number that is no penalty.
    #[error("{origin}: the penalty of `{precision}` is {penalty}, and must be at least 0")]
    Number {
        /// The file.
        origin: String,
        /// The precision.
        precision: String,
        /// What is written.
        penalty: f64,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    model: String,
    measure: String,
    #[serde(rename = "source")]
    _source: String,
    penalties: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    measure: String,
    penalties: BTreeMap<String, f64>,
}

impl Penalties {
    /// The published table of a model; none for any other, however alike.
    pub fn published(model: &Model) -> Option<Self> {
        let tables: Vec<Table> = serde_yaml::from_str(include_str!("penalties.yaml"))
            .expect("the table is part of the program, and a test reads it");
        let table = tables.into_iter().find(|table| table.model == model.name)?;
        Self::of(table.measure, table.penalties, "penalties.yaml").ok()
    }

    /// Reads a table: `measure`, and `penalties` by precision.
    ///
    /// # Errors
    /// Where it is no YAML, names what is no precision, or a penalty is below 0.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, PenaltiesError> {
        let own: Own = serde_yaml::from_str(text)
            .map_err(|error| PenaltiesError::Syntax(format!("{origin}: {error}")))?;
        Self::of(own.measure, own.penalties, origin)
    }

    fn of(
        measure: String,
        penalties: BTreeMap<String, f64>,
        origin: &str,
    ) -> Result<Self, PenaltiesError> {
        let mut by_precision = Vec::new();
        for (name, penalty) in penalties {
            let precision = name.parse().map_err(|fault| PenaltiesError::Precision {
                origin: origin.to_owned(),
                fault,
            })?;
            if !penalty.is_finite() || penalty < 0.0 {
                return Err(PenaltiesError::Number {
                    origin: origin.to_owned(),
                    precision: name,
                    penalty,
                });
            }
            by_precision.push((precision, penalty));
        }
        by_precision.sort_by(|a, b| a.1.total_cmp(&b.1));
        Ok(Self {
            measure,
            by_precision,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    #[test]
    fn a_model_has_its_own_table_and_another_has_none() {
        let of = |name| Penalties::published(&model::open(name).unwrap());
        let llama = of("llama-3-8b").unwrap();
        let names: Vec<_> = llama
            .by_precision
            .iter()
            .map(|(it, _)| it.to_string())
            .collect();
        assert_eq!(names[..3], ["fp16", "q8_0", "q6_k"]);
        assert_ne!(of("llama-2-70b"), Some(llama));
        assert_eq!(of("llama-3.1-8b"), None);
    }

    #[test]
    fn a_table_of_ones_own_says_where_it_is_wrong() {
        let read = |text: &str| Penalties::from_yaml(text, "own.yaml");
        let table = read("measure: mine\npenalties: {q8_0: 0.5, q4_k_m: 2}\n").unwrap();
        assert_eq!(table.by_precision.len(), 2);
        for (text, words) in [
            ("penalties: {q8_0: 1}\n", "measure"),
            ("measure: m\npenalties: {q9: 1}\n", "`q9` is no precision"),
            ("measure: m\npenalties: {q8_0: -1}\n", "must be at least 0"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains("own.yaml") && error.contains(words),
                "{error}"
            );
        }
    }
}
