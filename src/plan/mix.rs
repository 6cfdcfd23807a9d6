//! The recipes of a mix as a plan has them.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::model::mix::Mix;
use crate::model::{Model, Precision, PrecisionError};
use crate::plan::{CheckError, Plan, document};

/// Which blocks have which recipe, and how llama-quantize is told so. What is in no block has the
/// plan's own precision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixSummary {
    /// Runs of blocks in order; together they cover every block once.
    pub blocks: Vec<MixRun>,
    /// Patterns of names and a format each, for `--tensor-type-file`.
    pub tensors: Vec<String>,
}

/// Blocks that follow each other and have one recipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixRun {
    /// `0-39`, both included.
    #[serde(with = "document::layers")]
    pub layers: RangeInclusive<u32>,
    /// Their recipe.
    pub precision: String,
}

impl MixSummary {
    /// Writes out a mix.
    ///
    /// # Errors
    /// Where llama-quantize cannot follow one of its recipes.
    pub fn new(mix: &Mix, model: &Model) -> Result<Self, PrecisionError> {
        let mut blocks: Vec<MixRun> = Vec::new();
        for (layer, recipe) in (0..).zip(&mix.blocks) {
            match blocks.last_mut() {
                Some(run) if run.precision == recipe.name() => {
                    run.layers = *run.layers.start()..=layer;
                }
                _ => blocks.push(MixRun {
                    layers: layer..=layer,
                    precision: recipe.name().to_owned(),
                }),
            }
        }
        Ok(Self {
            blocks,
            tensors: mix.tensor_types(model)?,
        })
    }
}

impl Plan {
    /// The mix that is written, where there is one.
    ///
    /// # Errors
    /// Where its runs do not cover the blocks, or a name is no recipe.
    pub fn mix(&self) -> Result<Option<Mix>, CheckError> {
        let Some(summary) = &self.mix else {
            return Ok(None);
        };
        let recipe = |name: &str| match name.parse::<Precision>()? {
            Precision::Gguf(recipe) => Ok(recipe),
            other => Err(CheckError::NoRecipe(other)),
        };
        let mut blocks = Vec::new();
        for run in &summary.blocks {
            let (expected, found) = (blocks.len() as u32, *run.layers.start());
            if found != expected || *run.layers.end() >= self.model.blocks {
                let blocks = self.model.blocks;
                return Err(CheckError::MixRuns { expected, blocks });
            }
            blocks.resize(*run.layers.end() as usize + 1, recipe(&run.precision)?);
        }
        if blocks.len() != self.model.blocks as usize {
            return Err(CheckError::MixRuns {
                expected: blocks.len() as u32,
                blocks: self.model.blocks,
            });
        }
        let rest = recipe(&self.precision)?;
        Ok(Some(Mix { rest, blocks }))
    }

    /// How the weights are stored, for people.
    pub fn stored_as(&self) -> String {
        let Some(mix) = &self.mix else {
            return self.precision.clone();
        };
        let mut names: Vec<(&str, u32)> = Vec::new();
        for run in &mix.blocks {
            let count = run.layers.end() - run.layers.start() + 1;
            match names.iter_mut().find(|(name, _)| *name == run.precision) {
                Some((_, sum)) => *sum += count,
                None => names.push((&run.precision, count)),
            }
        }
        let parts = names
            .iter()
            .map(|(name, count)| format!("{count} blocks {name}"));
        let parts: Vec<_> = parts.collect();
        format!("{}, the rest {}", parts.join(", "), self.precision)
    }
}
