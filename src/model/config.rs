//! `config.json` of a Hugging Face model, in its old and new dialects, as a [`Model`].
//!
//! Keys have several names: transformers 5 writes `dtype` and `rope_parameters`, files on the hub
//! have `torch_dtype` and `rope_scaling`; BLOOM says `n_layer`, the first Falcon `n_head_kv`.

use serde_json::{Map, Value};

use crate::model::family::{self, CachedHeads, Family};
use crate::model::{
    BlockId, Dimensions, Kind, MOST_LAYERS, Model, Origin, Part, Precision, Tensor, Window, World,
};
use crate::units::Tokens;

/// Why a configuration is no model that we can plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an object.
    #[error("a configuration is a JSON object")]
    NotAnObject,
    /// No row of the family table.
    #[error("the architecture `{0}` is not known\nhint: {known} are read", known = known())]
    UnknownArchitecture(String),
    /// Neither `model_type` nor `architectures`.
    #[error("neither `model_type` nor `architectures` says what it is")]
    NoArchitecture,
    /// A key without which sizes would be guesses.
    #[error("`{}` is missing\nhint: sizes follow from it, so it is not guessed: add it as the model's author publishes it", .0.join("` or `"))]
    Missing(&'static [&'static str]),
    /// A value of the wrong kind, or out of range.
    #[error("`{key}` is {value}, and {wanted} is needed")]
    Wrong {
        /// The key.
        key: String,
        /// What stands there.
        value: String,
        /// What should.
        wanted: &'static str,
    },
    /// A variant of a known architecture with other parts.
    #[error("`{key}` is {value}, a variant of {family} that is not read")]
    Variant {
        /// The key.
        key: String,
        /// What it says.
        value: String,
        /// The family.
        family: String,
    },
    /// Heads that do not share keys and values evenly.
    #[error("{heads} query heads do not share {kv_heads} key-value heads evenly")]
    UnevenHeads {
        /// Query heads.
        heads: u64,
        /// Key-value heads.
        kv_heads: u64,
    },
    /// A checkpoint that is already quantised.
    #[error("the checkpoint is quantised (`{0}`), which is not read yet")]
    Quantised(String),
}

/// The families that are read, for a hint.
fn known() -> String {
    let names: Vec<_> = family::all()
        .iter()
        .map(|family| format!("`{}`", family.name))
        .collect();
    names.join(", ")
}

const N_LAYERS: &[&str] = &["num_hidden_layers", "n_layer", "num_layers"];
const HIDDEN: &[&str] = &["hidden_size", "n_embed", "n_embd"];
const N_HEADS: &[&str] = &["num_attention_heads", "n_head"];
const N_KV_HEADS: &[&str] = &["num_key_value_heads", "num_kv_heads", "n_head_kv"];
const HEAD_DIM: &[&str] = &["head_dim"];
const FFN: &[&str] = &["intermediate_size", "ffn_hidden_size", "n_inner"];
const VOCAB: &[&str] = &["vocab_size"];
const CONTEXT: &[&str] = &["max_position_embeddings", "seq_length", "n_positions"];
const DTYPE: &[&str] = &["dtype", "torch_dtype"];

/// More than any model has, and small enough that products of three fit 64 bits.
const LARGEST: u64 = 1 << 20;

/// Reads a configuration.
///
/// # Errors
/// Where the architecture is unknown, a key is missing or a value is out of range.
pub fn model(name: &str, origin: Origin, config: &Value) -> Result<Model, ConfigError> {
    let config = Config(config.as_object().ok_or(ConfigError::NotAnObject)?);
    let family = config.family()?;
    for (key, refused) in &family.refuse {
        if config.0.get(key) == Some(refused) {
            let (key, value) = (key.clone(), refused.to_string());
            return Err(ConfigError::Variant {
                key,
                value,
                family: family.name.clone(),
            });
        }
    }
    if let Some(quantisation) = config.0.get("quantization_config") {
        let method = quantisation.get("quant_method").and_then(Value::as_str);
        return Err(ConfigError::Quantised(
            method.unwrap_or("quantization_config").to_owned(),
        ));
    }
    let dimensions = config.dimensions(family)?;
    let tied = config.flag("tie_word_embeddings").unwrap_or(family.tied);
    let mut tensors = family.tensors(&dimensions, tied, |key| config.flag(key) == Some(true));
    if config.rope_type() == Some("llama3") {
        tensors.push(rope_table(&dimensions));
    }
    Ok(Model {
        name: name.to_owned(),
        architecture: family.gguf.clone(),
        dimensions,
        tensors,
        tied,
        modules: Some(family.modules()),
        stored: config.dtype(),
        origin,
    })
}

/// The table of rotation frequencies that a GGUF file of Llama 3.1 holds.
fn rope_table(dimensions: &Dimensions) -> Tensor {
    Tensor {
        part: Part::Everywhere,
        kind: Kind::Table,
        hf_name: String::new(),
        gguf_name: "rope_freqs.weight".to_owned(),
        dims: vec![dimensions.head_dim / 2],
        stored: None,
        world: World::Gguf,
    }
}

struct Config<'a>(&'a Map<String, Value>);

impl Config<'_> {
    /// The family whose row names the model type and, where one is stated, the class.
    fn family(&self) -> Result<&'static Family, ConfigError> {
        let model_type = self.0.get("model_type").and_then(Value::as_str);
        let class = self
            .0
            .get("architectures")
            .and_then(|list| list.get(0))
            .and_then(Value::as_str);
        let said = class.or(model_type).ok_or(ConfigError::NoArchitecture)?;
        let among = |names: &[String], said: Option<&str>| {
            said.is_none_or(|said| names.iter().any(|name| name == said))
        };
        // The first Falcon 40B had a model type of its own instead of the switch.
        let own_type = model_type == Some("RefinedWeb");
        family::all()
            .iter()
            .find(|family| {
                let named = among(&family.model_types, model_type);
                let switched = family.when.as_ref();
                let switched = switched.is_none_or(|key| own_type || self.flag(key) == Some(true));
                named && among(&family.architectures, class) && switched
            })
            .ok_or_else(|| ConfigError::UnknownArchitecture(said.to_owned()))
    }

    fn dimensions(&self, family: &Family) -> Result<Dimensions, ConfigError> {
        let hidden = self.required(HIDDEN)?;
        let n_heads = self.required(N_HEADS)?;
        let n_kv_heads = match self.number(N_KV_HEADS)? {
            // The classic Falcon block has one key-value head, whatever `num_kv_heads` says.
            _ if family.name == "falcon-7b" && self.flag("multi_query") == Some(true) => 1,
            Some(heads) => heads,
            None => n_heads,
        };
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(ConfigError::UnevenHeads {
                heads: n_heads,
                kv_heads: n_kv_heads,
            });
        }
        let head_dim = match self.number(HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(n_heads) => hidden / n_heads,
            None => return Err(ConfigError::Missing(HEAD_DIM)),
        };
        let ffn = match self.number(FFN)? {
            Some(ffn) => ffn,
            None if family.ffn_is_four_times => hidden * 4,
            None => return Err(ConfigError::Missing(FFN)),
        };
        let window_is_on = family
            .window_switch
            .as_ref()
            .is_none_or(|key| self.flag(key) == Some(true));
        let from = match family.window_from.as_deref() {
            Some(key) => self
                .0
                .get(key)
                .and_then(Value::as_u64)
                .unwrap_or(0)
                .min(MOST_LAYERS),
            None => 0,
        };
        let window = self.number(&["sliding_window"])?.filter(|_| window_is_on);
        let window = window.map(|size| Window {
            size: Tokens(size),
            from: BlockId(from as u32),
        });
        Ok(Dimensions {
            n_layers: self.required(N_LAYERS)? as u32,
            hidden,
            ffn,
            n_heads,
            n_kv_heads,
            head_dim,
            vocab: self.required(VOCAB)?,
            context: Tokens(self.number(CONTEXT)?.unwrap_or(2048)),
            window,
            transformers_cached_heads: match family.transformers_caches {
                CachedHeads::KvHeads => n_kv_heads,
                CachedHeads::QueryHeads => n_heads,
            },
        })
    }

    fn required(&self, keys: &'static [&'static str]) -> Result<u64, ConfigError> {
        self.number(keys)?.ok_or(ConfigError::Missing(keys))
    }

    /// The first of `keys` that stands there; null counts as absent.
    fn number(&self, keys: &[&str]) -> Result<Option<u64>, ConfigError> {
        let found = keys.iter().find_map(|key| Some((*key, self.0.get(*key)?)));
        let Some((key, value)) = found.filter(|(_, value)| !value.is_null()) else {
            return Ok(None);
        };
        let (largest, wanted) = match key {
            "sliding_window" => (1 << 40, "a whole number of tokens"),
            _ if CONTEXT.contains(&key) => (1 << 40, "a whole number of tokens"),
            _ if N_LAYERS.contains(&key) => (MOST_LAYERS, "a whole number from 1 to 512"),
            _ => (LARGEST, "a whole number from 1 to about a million"),
        };
        match value
            .as_u64()
            .filter(|number| (1..=largest).contains(number))
        {
            Some(number) => Ok(Some(number)),
            None => Err(ConfigError::Wrong {
                key: key.to_owned(),
                value: excerpt(value),
                wanted,
            }),
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        self.0.get(key).and_then(Value::as_bool)
    }

    fn rope_type(&self) -> Option<&str> {
        let rope = ["rope_parameters", "rope_scaling"]
            .iter()
            .find_map(|key| self.0.get(*key))?;
        rope.get("rope_type")
            .or_else(|| rope.get("type"))
            .and_then(Value::as_str)
    }

    fn dtype(&self) -> Option<Precision> {
        let dtype = DTYPE.iter().find_map(|key| self.0.get(*key)?.as_str())?;
        match dtype.trim_start_matches("torch.") {
            "float32" => "fp32".parse().ok(),
            "float16" => "fp16".parse().ok(),
            "bfloat16" => "bf16".parse().ok(),
            _ => None,
        }
    }
}

/// The value as a message shows it, cut where it is long.
fn excerpt(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: Value) -> Result<Model, ConfigError> {
        model("test", Origin::Known, &config)
    }

    #[test]
    fn both_dialects_of_falcon_are_one_model() {
        let new = json!({"model_type": "falcon", "new_decoder_architecture": true, "bias": false,
            "hidden_size": 8192, "num_hidden_layers": 60, "num_attention_heads": 128,
            "num_kv_heads": 8, "vocab_size": 65024});
        let old = json!({"model_type": "RefinedWeb", "architectures": ["RWForCausalLM"],
            "bias": false, "hidden_size": 8192, "n_layer": 60, "n_head": 128, "n_head_kv": 8,
            "vocab_size": 65024});
        let (new, old) = (read(new).unwrap(), read(old).unwrap());
        assert_eq!(new.tensors, old.tensors);
        // Counted by transformers 5.24 on the meta device.
        assert_eq!(new.parameters(), 41_303_293_952);
    }

    #[test]
    fn the_first_falcon_shares_one_key_value_head() {
        let config = json!({"model_type": "falcon", "multi_query": true, "bias": false,
            "new_decoder_architecture": false, "hidden_size": 4544, "num_hidden_layers": 32,
            "num_attention_heads": 71, "num_kv_heads": 71, "vocab_size": 65024});
        assert_eq!(read(config).unwrap().parameters(), 6_921_720_704);
    }

    #[test]
    fn what_is_missing_is_named() {
        let config = json!({"model_type": "llama", "hidden_size": 4096});
        assert_eq!(read(config).unwrap_err(), ConfigError::Missing(N_HEADS));
        let config = json!({"model_type": "mystery"});
        let error = read(config).unwrap_err().to_string();
        assert!(
            error.starts_with("the architecture `mystery` is not known\nhint: `llama`"),
            "{error}"
        );
    }

    #[test]
    fn a_number_written_as_text_is_refused() {
        let config = json!({"model_type": "llama", "hidden_size": "4096"});
        let error = read(config).unwrap_err().to_string();
        assert!(error.starts_with("`hidden_size` is \"4096\""), "{error}");
    }
}
