//! A mix: a GGUF file whose blocks have recipes of their own, and how llama-quantize is told so.

use std::collections::BTreeMap;

use crate::model::format::Format;
use crate::model::recipe::Recipe;
use crate::model::{BlockId, Model, Part, Precision, PrecisionError, Tensor};

/// A recipe for every block, and one for all else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Of what is in no block: the embedding, the head, and what predicts further tokens.
    pub rest: Recipe,
    /// Of each block, in order.
    pub blocks: Vec<Recipe>,
}

impl Mix {
    /// The recipe of a tensor.
    fn recipe(&self, tensor: &Tensor) -> Recipe {
        match tensor.part {
            Part::Attention(BlockId(block)) | Part::FeedForward(BlockId(block)) => self
                .blocks
                .get(block as usize)
                .copied()
                .unwrap_or(self.rest),
            Part::Embedding
            | Part::FinalNorm
            | Part::Head
            | Part::Tower
            | Part::NextToken(_)
            | Part::Everywhere => self.rest,
        }
    }

    /// The format of each tensor of `model`, in their order: what its recipe would give it in a file
    /// of that recipe alone.
    ///
    /// # Errors
    /// Where llama-quantize cannot follow one of the recipes.
    pub fn formats(&self, model: &Model) -> Result<Vec<Option<Format>>, PrecisionError> {
        let mut by_recipe = BTreeMap::new();
        for recipe in self.blocks.iter().chain([&self.rest]) {
            if !by_recipe.contains_key(recipe) {
                by_recipe.insert(*recipe, Precision::Gguf(*recipe).formats(model)?);
            }
        }
        Ok(self.formats_of(model, &by_recipe))
    }

    /// The same, of the formats of files of each recipe alone.
    pub fn formats_of(
        &self,
        model: &Model,
        by_recipe: &BTreeMap<Recipe, Vec<Option<Format>>>,
    ) -> Vec<Option<Format>> {
        let tensors = model.tensors.iter().enumerate();
        let format = |(index, tensor)| {
            let of_recipe: Option<&Vec<_>> = by_recipe.get(&self.recipe(tensor));
            of_recipe.and_then(|formats| formats[index])
        };
        tensors.map(format).collect()
    }

    /// The lines of a file for `llama-quantize --tensor-type-file`: a pattern of names and a format,
    /// for every quantised tensor of every block. No name matches two.
    ///
    /// Source: `tools/quantize/quantize.cpp` and `llama_tensor_get_type` of `src/llama-quant.cpp`
    /// (llama.cpp 007dbbf3): names are searched for each pattern, and what is found replaces the
    /// rules of the recipe, where that is of a quantised format.
    ///
    /// # Errors
    /// Where llama-quantize cannot follow one of the recipes.
    pub fn tensor_types(&self, model: &Model) -> Result<Vec<String>, PrecisionError> {
        let formats = self.formats(model)?;
        let mut blocks: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (tensor, format) in model.tensors.iter().zip(formats) {
            let in_block = tensor.gguf_name.strip_prefix("blk.");
            let Some((block, part)) = in_block.and_then(|name| name.split_once('.')) else {
                continue;
            };
            if let Some(format) = format.filter(|format| format.is_quantised()) {
                blocks.entry((part, format.name())).or_default().push(block);
            }
        }
        let line = |((part, format), blocks): ((&str, &str), Vec<&str>)| {
            let part = part.replace('.', r"\.");
            format!(r"^blk\.({})\.{part}$={format}", blocks.join("|"))
        };
        Ok(blocks.into_iter().map(line).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    #[test]
    fn every_quantised_tensor_of_a_block_has_one_pattern() {
        let model = model::open("llama-3-8b").unwrap();
        let blocks = (0..32).map(|block| match block % 3 {
            0 => Recipe::Q4KM,
            1 => Recipe::Q8_0,
            _ => Recipe::Q6K,
        });
        let mix = Mix {
            rest: Recipe::Q6K,
            blocks: blocks.collect(),
        };
        let formats = mix.formats(&model).unwrap();
        let named = |block: u32, part: &str| {
            let name = format!("blk.{block}.{part}.weight");
            let index = model.tensors.iter().position(|it| it.gguf_name == name);
            formats[index.unwrap()].unwrap()
        };
        // Of a q4_k_m of 32 blocks the first eighth and every third behind it have the better formats.
        assert_eq!(named(0, "ffn_down"), Format::Q6K);
        assert_eq!(named(4, "ffn_down"), Format::Q8_0);
        assert_eq!(named(9, "attn_q"), Format::Q4K);
        assert_eq!(named(5, "attn_q"), Format::Q6K);

        let lines = mix.tensor_types(&model).unwrap();
        for (tensor, format) in model.tensors.iter().zip(&formats) {
            let matching = lines.iter().filter(|line| {
                // The patterns are alternatives of numbers between two constant texts.
                let (pattern, written) = line.split_once('=').unwrap();
                let (numbers, part) = pattern[r"^blk\.(".len()..].split_once(r")\.").unwrap();
                let part = part.trim_end_matches('$').replace(r"\.", ".");
                let mut names = numbers
                    .split('|')
                    .map(|block| format!("blk.{block}.{part}"));
                let is_named = names.any(|name| name == tensor.gguf_name);
                assert!(!is_named || format.is_some_and(|it| it.name() == written));
                is_named
            });
            let in_block = tensor.gguf_name.starts_with("blk.");
            let due = in_block && format.is_some_and(Format::is_quantised);
            assert_eq!(matching.count(), usize::from(due), "{}", tensor.gguf_name);
        }
    }
}
