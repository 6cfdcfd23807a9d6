//! What precisions cost in quality: published tables, one for each model, or the user's own.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;

use super::GoalError;
use crate::hardware::yaml;
use crate::model::{Model, Precision};

/// The penalties of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Penalties {
    /// What is measured, in which unit.
    pub measure: String,
    /// The penalty of each precision, the least first.
    pub by_precision: Vec<(Precision, f64)>,
    /// How sensitive the weights of some blocks are, beside all others at 1.
    pub by_block: Vec<(Range<u32>, f64)>,
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
    /// A run of blocks that is none, or a sensitivity that is none.
    #[error(
        "{origin}: `{blocks}: {weight}` under `blocks` is no sensitivity: write a block or a run of them and a number from 0 to a million, such as `0-3: 2.5`"
    )]
    Blocks {
        /// The file.
        origin: String,
        /// The run, as written.
        blocks: String,
        /// What is written behind it.
        weight: f64,
    },
    /// A block of two runs.
    #[error("{origin}: block {block} stands twice under `blocks`")]
    Twice {
        /// The file.
        origin: String,
        /// The block.
        block: u32,
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
    #[serde(default)]
    blocks: BTreeMap<String, f64>,
}

impl Penalties {
    /// The published table of a model; none for any other, however alike.
    pub fn published(model: &Model) -> Option<Self> {
        let tables: Vec<Table> = serde_yaml::from_str(include_str!("penalties.yaml"))
            .expect("the table is part of the program, and a test reads it");
        let table = tables.into_iter().find(|table| table.model == model.name)?;
        Self::of(table.measure, table.penalties, "penalties.yaml").ok()
    }

    /// Reads a table: `measure`, `penalties` by precision, and if need be the sensitivity of `blocks`.
    ///
    /// # Errors
    /// Where it is no YAML, names what is no precision or no block, or a number is below 0.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, PenaltiesError> {
        let own: Own = yaml::from_str(text)
            .map_err(|error| PenaltiesError::Syntax(format!("{origin}: {error}")))?;
        let table = Self::of(own.measure, own.penalties, origin)?;
        let by_block = of_blocks(own.blocks, origin)?;
        Ok(Self { by_block, ..table })
    }

    /// How sensitive each block of a model is.
    ///
    /// # Errors
    /// Where the model has fewer blocks than the table.
    pub fn sensitivity(&self, model: &Model) -> Result<Vec<f64>, GoalError> {
        let n_blocks = model.dimensions.n_layers;
        let mut weights = vec![1.0; n_blocks as usize];
        for (run, weight) in &self.by_block {
            if run.end > n_blocks {
                let block = run.end - 1;
                return Err(GoalError::NoBlock { block, n_blocks });
            }
            weights[run.start as usize..run.end as usize].fill(*weight);
        }
        Ok(weights)
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
            by_block: Vec::new(),
        })
    }
}

/// Far above any ratio that a measurement gives, and far below where sums of penalties overflow.
const MOST_SENSITIVE: f64 = 1e6;

fn of_blocks(
    blocks: BTreeMap<String, f64>,
    origin: &str,
) -> Result<Vec<(Range<u32>, f64)>, PenaltiesError> {
    let mut by_block: Vec<(Range<u32>, f64)> = Vec::new();
    for (blocks, weight) in blocks {
        let (first, last) = blocks.split_once('-').unwrap_or((&blocks, &blocks));
        let number = |text: &str| text.trim().parse::<u32>().ok();
        let run = number(first).zip(number(last).and_then(|last| last.checked_add(1)));
        let run = run.map(|(first, end)| first..end);
        match run.filter(|run| !run.is_empty() && (0.0..=MOST_SENSITIVE).contains(&weight)) {
            Some(run) => by_block.push((run, weight)),
            None => {
                let origin = origin.to_owned();
                return Err(PenaltiesError::Blocks {
                    origin,
                    blocks,
                    weight,
                });
            }
        }
    }
    by_block.sort_by_key(|(run, _)| run.start);
    let twice = by_block
        .windows(2)
        .find(|pair| pair[1].0.start < pair[0].0.end);
    match twice {
        Some(pair) => Err(PenaltiesError::Twice {
            origin: origin.to_owned(),
            block: pair[1].0.start,
        }),
        None => Ok(by_block),
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
        let edges = "measure: m\npenalties: {q8_0: 1}\nblocks: {30-31: 4, 0-1: 2.5, 7: 3}\n";
        let model = model::open("llama-3-8b").unwrap();
        let weights = read(edges).unwrap().sensitivity(&model).unwrap();
        assert_eq!(
            (weights.len(), weights.iter().sum::<f64>()),
            (32, 27.0 + 13.0 + 3.0)
        );
        let longer = "measure: m\npenalties: {q8_0: 1}\nblocks: {32: 4}\n";
        assert!(read(longer).unwrap().sensitivity(&model).is_err());
        for (text, words) in [
            ("penalties: {q8_0: 1}\n", "measure"),
            ("measure: m\npenalties: {q9: 1}\n", "`q9` is no precision"),
            ("measure: m\npenalties: {q8_0: -1}\n", "must be at least 0"),
            (
                "measure: m\npenalties: {q8_0: 1}\nblocks: {3-1: 2}\n",
                "`3-1: 2`",
            ),
            (
                "measure: m\npenalties: {q8_0: 1}\nblocks: {a: 2}\n",
                "`a: 2`",
            ),
            (
                "measure: m\npenalties: {q8_0: 1}\nblocks: {0: -2}\n",
                "`0: -2`",
            ),
            (
                "measure: m\npenalties: {q8_0: 1}\nblocks: {0: .nan}\n",
                "from 0",
            ),
            (
                "measure: m\npenalties: {q8_0: 1}\nblocks: {0-4: 2, 4: 1}\n",
                "block 4",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains("own.yaml") && error.contains(words),
                "{error}"
            );
        }
    }
}
