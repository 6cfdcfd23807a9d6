//! Stacks of repeating blocks and towers beside them: what their rows make of a configuration.

use serde::Deserialize;

use super::row::{Number, Place, Row};
use super::{Definition, ExpressionError, Scope, add, define};
use crate::model::block::{Block, Cache, KeysValues};
use crate::model::{BlockId, MOST_LAYERS, Part, Tensor, World};
use crate::units::Tokens;

/// A run of repeating blocks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stack {
    /// The list of blocks below the root: `layers`.
    module: String,
    /// The same in a GGUF file.
    #[serde(default = "blk")]
    gguf: String,
    /// How many there are; `n_layers` if the table says nothing.
    #[serde(default)]
    count: Option<Number>,
    /// Blocks that only a GGUF file has, numbered on behind those before it: they predict further
    /// tokens, and transformers does not load them.
    #[serde(default)]
    gguf_only: bool,
    /// The kinds of blocks: the first whose condition holds for `layer` is it.
    pub(super) kinds: Vec<BlockKind>,
}

fn blk() -> String {
    "blk".to_owned()
}

/// A kind of block.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockKind {
    /// For which `layer` (counted from 0 within its stack).
    #[serde(default)]
    pub(super) when: Option<String>,
    /// Names that hold for one layer only, in order.
    #[serde(default, rename = "let")]
    pub(super) names: Vec<Definition>,
    /// What it keeps of past tokens.
    #[serde(default)]
    caches: Vec<CacheRow>,
    /// The mixer: attention or recurrence.
    #[serde(default)]
    attention: Vec<Row>,
    /// The feed-forward.
    #[serde(default)]
    feed_forward: Vec<Row>,
}

/// What a block keeps, as expressions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum CacheRow {
    /// Keys and values.
    KeysValues {
        #[serde(default)]
        when: Option<String>,
        heads: Number,
        key: Number,
        value: Number,
        /// Nothing, or 0: no limit.
        #[serde(default)]
        window: Option<Number>,
        /// The same in transformers, where llama.cpp has another or none.
        #[serde(default)]
        transformers_window: Option<Number>,
        #[serde(default)]
        transformers_heads: Option<Number>,
    },
    /// A latent vector.
    Latent { rank: Number, rope: Number },
    /// An encoder's keys and values.
    Cross {
        elements: Number,
        /// Nothing: as many as the context has.
        #[serde(default)]
        tokens: Option<Number>,
    },
    /// A recurrent state.
    State {
        channels: Number,
        kernel: Number,
        state: Number,
    },
}

/// Modules beside the chain, once or repeated.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tower {
    /// When it is there.
    #[serde(default)]
    pub(super) when: Option<String>,
    /// Names that hold in it, in order.
    #[serde(default, rename = "let")]
    pub(super) names: Vec<Definition>,
    /// The list of its blocks, where the rows are of a block.
    #[serde(default)]
    blocks: Option<String>,
    /// How many blocks.
    #[serde(default)]
    count: Option<Number>,
    /// The number of the first.
    #[serde(default)]
    first: u64,
    rows: Vec<Row>,
}

impl Stack {
    /// Whether transformers does not have it.
    pub(super) fn is_in_gguf_only(&self) -> bool {
        self.gguf_only
    }

    pub(super) fn expand(
        &self,
        scope: &Scope,
        root: &str,
        blocks: &mut Vec<Block>,
        tensors: &mut Vec<Tensor>,
    ) -> Result<(), ExpressionError> {
        let count = match &self.count {
            Some(number) => number.of(scope)?,
            None => scope.number("n_layers")?,
        };
        let mut scope = scope.clone();
        let first = if self.gguf_only {
            blocks.len() as u64
        } else {
            0
        };
        let first_tensor = tensors.len();
        for layer in first..first + count.min(MOST_LAYERS) {
            scope.set("layer", layer);
            let mut kind = None;
            for candidate in &self.kinds {
                let holds = candidate.when.as_ref().map(|condition| scope.is(condition));
                if holds.transpose()?.unwrap_or(true) {
                    kind = Some(candidate);
                    break;
                }
            }
            let Some(kind) = kind else {
                return Err(ExpressionError::OutOfRange {
                    expression: format!("the kind of layer {layer}"),
                    value: "none of those known".to_owned(),
                });
            };
            let here = &mut scope.clone();
            define(here, &kind.names)?;
            let block = BlockId(blocks.len() as u32);
            let module = format!("{root}{}.{layer}", self.module);
            let place = |part| Place {
                part,
                hf: format!("{module}."),
                gguf: format!("{}.{layer}.", self.gguf),
            };
            add(
                &kind.attention,
                here,
                &place(Part::Attention(block)),
                tensors,
            )?;
            add(
                &kind.feed_forward,
                here,
                &place(Part::FeedForward(block)),
                tensors,
            )?;
            let caches = kind.caches.iter().map(|cache| cache.of(here));
            let caches: Vec<_> = caches.collect::<Result<_, _>>()?;
            blocks.push(Block {
                module: if self.gguf_only {
                    String::new()
                } else {
                    module
                },
                caches: caches.into_iter().flatten().collect(),
            });
        }
        if self.gguf_only {
            let theirs = tensors.split_off(first_tensor).into_iter();
            tensors.extend(theirs.filter_map(Tensor::of_gguf_only));
        }
        Ok(())
    }
}

impl Tensor {
    /// The same where only a GGUF file has it; none where a GGUF file has it in other pieces.
    fn of_gguf_only(self) -> Option<Self> {
        let part = match self.part {
            Part::Attention(block) | Part::FeedForward(block) => Part::NextToken(block),
            part => part,
        };
        (self.world != World::Transformers).then(|| Self {
            part,
            hf_name: String::new(),
            checkpoint: Vec::new(),
            world: World::Gguf,
            ..self
        })
    }
}

impl Tower {
    pub(super) fn expand(
        &self,
        scope: &Scope,
        tensors: &mut Vec<Tensor>,
    ) -> Result<(), ExpressionError> {
        if let Some(condition) = &self.when
            && !scope.is(condition)?
        {
            return Ok(());
        }
        // The names may depend on the layer, and the count on the names.
        let names_of = |layer: u64| {
            let mut scope = scope.clone();
            scope.set("layer", layer);
            define(&mut scope, &self.names).map(|()| scope)
        };
        let copies = match &self.count {
            Some(number) => number.of(&names_of(self.first)?)?.min(MOST_LAYERS),
            None => 1,
        };
        for layer in self.first..self.first + copies {
            let scope = names_of(layer)?;
            let place = Place {
                part: Part::Tower,
                hf: match &self.blocks {
                    Some(blocks) => format!("{blocks}.{layer}."),
                    None => String::new(),
                },
                gguf: String::new(),
            };
            add(&self.rows, &scope, &place, tensors)?;
        }
        Ok(())
    }
}

impl CacheRow {
    fn of(&self, scope: &Scope) -> Result<Option<Cache>, ExpressionError> {
        Ok(Some(match self {
            Self::KeysValues {
                when: Some(condition),
                ..
            } if !scope.is(condition)? => return Ok(None),
            Self::KeysValues {
                heads,
                key,
                value,
                window,
                transformers_window,
                transformers_heads,
                ..
            } => {
                let heads = heads.of(scope)?;
                let window = tokens(window.as_ref(), scope)?;
                let transformers_window = tokens(transformers_window.as_ref(), scope)?;
                let transformers_heads = match transformers_heads {
                    Some(number) => number.of(scope)?,
                    None => heads,
                };
                Cache::KeysValues(KeysValues {
                    heads,
                    key: key.of(scope)?,
                    value: value.of(scope)?,
                    window,
                    transformers_window: transformers_window.or(window),
                    transformers_heads,
                })
            }
            Self::Latent { rank, rope } => Cache::Latent {
                rank: rank.of(scope)?,
                rope: rope.of(scope)?,
            },
            Self::Cross { elements, tokens } => Cache::Cross {
                elements: elements.of(scope)?,
                tokens: match tokens {
                    Some(number) => Some(Tokens(number.of(scope)?)),
                    None => None,
                },
            },
            Self::State {
                channels,
                kernel,
                state,
            } => Cache::State {
                channels: channels.of(scope)?,
                kernel: kernel.of(scope)?,
                state: state.of(scope)?,
            },
        }))
    }
}

/// A window; null, absent and 0 limit nothing.
fn tokens(window: Option<&Number>, scope: &Scope) -> Result<Option<Tokens>, ExpressionError> {
    let size = match window.map(|number| number.of(scope)) {
        None | Some(Err(ExpressionError::Missing(_))) => None,
        Some(size) => Some(size?),
    };
    Ok(size.filter(|size| *size > 0).map(Tokens))
}
