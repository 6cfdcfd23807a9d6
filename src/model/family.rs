//! Families as data: reads `families.yaml` and turns a row and dimensions into tensors.
//!
//! A family of known parts is a row there and needs no code here.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::model::{BlockId, Dimensions, Kind, Part, Tensor, World};

/// One family of models.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Its name here.
    pub name: String,
    /// Classes that `architectures` of a config.json may name.
    pub architectures: Vec<String>,
    /// What `model_type` of a config.json may say.
    pub model_types: Vec<String>,
    /// The key of config.json that must be true for this row to apply.
    #[serde(default)]
    pub when: Option<String>,
    /// The architecture in a GGUF file.
    pub gguf: String,
    /// Names of the modules.
    pub modules: Modules,
    /// Whether the head is tied where config.json says nothing.
    #[serde(default)]
    pub tied: bool,
    /// Whether its GGUF file holds a head of its own although transformers ties it.
    #[serde(default)]
    pub head_apart_in_gguf: bool,
    /// The key of config.json that switches its sliding window on.
    #[serde(default)]
    pub window_switch: Option<String>,
    /// The key of config.json that says which block is the first with a window.
    #[serde(default)]
    pub window_from: Option<String>,
    /// Whether the feed-forward is four times as wide where config.json says nothing.
    #[serde(default)]
    pub ffn_is_four_times: bool,
    /// Values of config.json that make it a variant with other parts, which is refused.
    #[serde(default)]
    pub refuse: BTreeMap<String, serde_json::Value>,
    /// Which heads transformers keeps in its cache.
    #[serde(default)]
    pub transformers_caches: CachedHeads,
    embedding: Vec<Row>,
    attention: Vec<Row>,
    feed_forward: Vec<Row>,
    final_norm: Vec<Row>,
}

/// How the modules of a Hugging Face class are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// The module that holds all but the head: `model`, `transformer`.
    pub root: String,
    /// The list of blocks inside it: `layers`, `h`.
    pub blocks: String,
    /// The class of a block, which accelerate must not split.
    pub block_class: String,
    /// Modules inside the root that hold rotation tables and no parameters; a map has to name them.
    #[serde(default)]
    pub buffers: Vec<String>,
    /// The modules of the input embedding; the table leaves them to the tensors.
    #[serde(default)]
    pub embedding: Vec<String>,
    /// The module of the final norm; likewise.
    #[serde(default)]
    pub final_norm: String,
}

/// Which heads are cached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CachedHeads {
    /// Key-value heads.
    #[default]
    KvHeads,
    /// Every query head: keys and values are broadcast before they are cached.
    QueryHeads,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    hf: String,
    gguf: String,
    kind: Kind,
    shape: Vec<Dimension>,
    #[serde(default)]
    bias: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Dimension {
    Hidden,
    Ffn,
    Vocab,
    Q,
    Kv,
    Qkv,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "parts")]
    _parts: serde::de::IgnoredAny,
    families: Vec<Family>,
}

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(|| {
    let table: Table = serde_yaml::from_str(include_str!("families.yaml"))
        .expect("families.yaml is compiled in and a test parses it");
    table.families
});

/// Every family, in the order of the table.
pub fn all() -> &'static [Family] {
    &FAMILIES
}

impl Dimension {
    fn of(self, dimensions: &Dimensions) -> u64 {
        let q = dimensions.n_heads.saturating_mul(dimensions.head_dim);
        let kv = dimensions.n_kv_heads.saturating_mul(dimensions.head_dim);
        match self {
            Self::Hidden => dimensions.hidden,
            Self::Ffn => dimensions.ffn,
            Self::Vocab => dimensions.vocab,
            Self::Q => q,
            Self::Kv => kv,
            Self::Qkv => q.saturating_add(kv.saturating_mul(2)),
        }
    }
}

impl Family {
    /// The tensors of a model of this family, in the order of execution.
    ///
    /// `is_on(key)` answers whether config.json turns an optional bias on.
    pub fn tensors(
        &self,
        dimensions: &Dimensions,
        tied: bool,
        is_on: impl Fn(&str) -> bool,
    ) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        let root = &self.modules.root;
        let mut add = |rows: &[Row], part: Part, hf_prefix: &str, gguf_prefix: &str| {
            for row in rows {
                tensors.push(row.weight(dimensions, part, hf_prefix, gguf_prefix));
                let bias = row.bias.as_deref();
                if bias.is_some_and(|key| key == "always" || is_on(key)) {
                    tensors.push(row.bias(dimensions, part, hf_prefix, gguf_prefix));
                }
            }
        };
        add(&self.embedding, Part::Embedding, &format!("{root}."), "");
        for layer in 0..dimensions.n_layers {
            let hf = format!("{root}.{}.{layer}.", self.modules.blocks);
            let gguf = format!("blk.{layer}.");
            add(&self.attention, Part::Attention(BlockId(layer)), &hf, &gguf);
            add(
                &self.feed_forward,
                Part::FeedForward(BlockId(layer)),
                &hf,
                &gguf,
            );
        }
        add(&self.final_norm, Part::FinalNorm, &format!("{root}."), "");
        if !tied || self.head_apart_in_gguf {
            tensors.push(Tensor {
                world: if tied { World::Gguf } else { World::Both },
                part: Part::Head,
                kind: Kind::Head,
                hf_name: "lm_head.weight".to_owned(),
                gguf_name: "output.weight".to_owned(),
                dims: vec![dimensions.vocab, dimensions.hidden],
                stored: None,
            });
        }
        tensors.extend(self.modules.buffers.iter().map(|buffer| Tensor {
            part: Part::Everywhere,
            kind: Kind::Table,
            hf_name: format!("{root}.{buffer}"),
            gguf_name: String::new(),
            // Frequencies as computed and as they were before scaling, one for two elements.
            dims: vec![2, dimensions.head_dim / 2],
            stored: None,
            world: World::Transformers,
        }));
        tensors
    }

    /// The names of its modules, with those of embedding and final norm.
    pub fn modules(&self) -> Modules {
        let path = |row: &Row| format!("{}.{}", self.modules.root, row.hf);
        Modules {
            embedding: self.embedding.iter().map(path).collect(),
            final_norm: self.final_norm.first().map(path).unwrap_or_default(),
            ..self.modules.clone()
        }
    }
}

impl Row {
    fn weight(&self, dimensions: &Dimensions, part: Part, hf: &str, gguf: &str) -> Tensor {
        Tensor {
            part,
            kind: self.kind,
            hf_name: format!("{hf}{}.weight", self.hf),
            gguf_name: format!("{gguf}{}.weight", self.gguf),
            dims: self
                .shape
                .iter()
                .map(|dimension| dimension.of(dimensions))
                .collect(),
            stored: None,
            world: World::Both,
        }
    }

    fn bias(&self, dimensions: &Dimensions, part: Part, hf: &str, gguf: &str) -> Tensor {
        Tensor {
            part,
            kind: Kind::Bias,
            hf_name: format!("{hf}{}.bias", self.hf),
            gguf_name: format!("{gguf}{}.bias", self.gguf),
            dims: vec![self.shape.first().map_or(1, |rows| rows.of(dimensions))],
            stored: None,
            world: World::Both,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses_and_names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|family| family.name.as_str()).collect();
        assert!(names.len() >= 6);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }
}
