//! `config.json` of a Hugging Face model, in its old and new dialects, as a [`Model`].
//!
//! Keys have several names: transformers 5 writes `dtype` and `rope_parameters`, files on the hub
//! have `torch_dtype` and `rope_scaling`; BLOOM says `n_layer`, the first Falcon `n_head_kv`.

mod error;

use serde_json::{Map, Value};

use crate::model::family::{self, Definition, Family, Scope};
use crate::model::{Block, Dimensions, Experts, Extras, MOST_LAYERS, Model, Origin, Precision};
use crate::units::Tokens;

pub use error::ConfigError;

/// What a dimension is called here, and in configurations.
const DIMENSIONS: [(&str, &[&str]); 8] = [
    (
        "n_layers",
        &["num_hidden_layers", "n_layer", "num_layers", "n_layers"],
    ),
    ("hidden", &["hidden_size", "n_embed", "n_embd", "d_model"]),
    (
        "n_heads",
        &["num_attention_heads", "n_head", "n_heads", "num_heads"],
    ),
    (
        "n_kv_heads",
        &["num_key_value_heads", "num_kv_heads", "n_head_kv"],
    ),
    ("head_dim", &["head_dim"]),
    (
        "ffn",
        &[
            "intermediate_size",
            "ffn_hidden_size",
            "n_inner",
            "ffn_dim",
            "d_ff",
        ],
    ),
    ("vocab", &["vocab_size"]),
    (
        "context",
        &[
            "max_position_embeddings",
            "seq_length",
            "n_positions",
            "n_ctx",
            "max_seq_len",
            "max_sequence_length",
        ],
    ),
];
/// Experts of a block, and those of a token.
const EXPERTS: &[&str] = &[
    "n_experts",
    "num_local_experts",
    "num_experts",
    "n_routed_experts",
    "moe_num_experts",
];
const EXPERTS_USED: &[&str] = &[
    "num_experts_per_tok",
    "num_experts_per_token",
    "moe_topk",
    "moe_k",
    "moe_top_k",
    "top_k_experts",
];
const DTYPE: &[&str] = &["dtype", "torch_dtype"];

/// More than any model has, and small enough that products of three fit 64 bits.
const LARGEST: u64 = 1 << 20;

/// Reads a configuration.
///
/// # Errors
/// Where the architecture is unknown, a key is missing or a value is out of range.
pub fn model(name: &str, origin: Origin, config: &Value) -> Result<Model, ConfigError> {
    let whole = config.as_object().ok_or(ConfigError::NotAnObject)?;
    let (family, config) = family(whole)?;
    let config = Keys::new(&config);
    let mut scope = config.scope(&family.names)?;
    for refused in &family.refuse {
        if scope.is(refused)? {
            return Err(ConfigError::Variant {
                condition: refused.clone(),
                family: family.name.clone(),
            });
        }
    }
    let tied = whole.get("tie_word_embeddings").and_then(Value::as_bool);
    let tied = tied.or_else(|| config.flag("tie_word_embeddings"));
    let tied = family.always_tied || tied.unwrap_or(family.tied);
    scope.set("tied", u64::from(tied));
    let expanded = family.expand(&scope, tied)?;
    let dimensions = config.dimensions(&scope, &expanded.blocks)?;
    Ok(Model {
        name: name.to_owned(),
        architecture: match family.gguf.as_str() {
            "" => family.name.clone(),
            gguf => gguf.to_owned(),
        },
        dimensions,
        blocks: expanded.blocks,
        tensors: expanded.tensors,
        tied,
        modules: Some(expanded.modules),
        stored: config.dtype(),
        quantised: None,
        extras: Extras::default(),
        origin,
    })
}

/// The family whose row names the model type and, where one is stated, the class, and the
/// configuration of its language model with what the class assumes where nothing is said.
fn family(
    whole: &Map<String, Value>,
) -> Result<(&'static Family, Map<String, Value>), ConfigError> {
    let model_type = whole.get("model_type").and_then(Value::as_str);
    let keys = Keys::new(whole);
    let class = keys.architecture();
    let said = class.or(model_type).ok_or(ConfigError::NoArchitecture)?;
    let among = |names: &[String], said: Option<&str>| {
        said.is_none_or(|said| names.iter().any(|name| name == said))
    };
    for family in family::naming(said) {
        let named = among(&family.model_types, model_type) && among(&family.architectures, class);
        if !named {
            continue;
        }
        let config = flattened(whole, family);
        let switched = match &family.when {
            Some(condition) => Scope::new(&config).is(condition)?,
            None => true,
        };
        if switched {
            return Ok((family, config));
        }
    }
    Err(ConfigError::UnknownArchitecture(said.to_owned()))
}

/// One level of keys: those of the language model, then those around it, then what the class assumes.
fn flattened(whole: &Map<String, Value>, family: &Family) -> Map<String, Value> {
    let mut config = with_defaults(whole, &family.defaults);
    let inner = family.config.as_ref().and_then(|key| config.remove(key));
    for (key, value) in inner
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        config.insert(key.clone(), value.clone());
    }
    config
}

/// `stated`, and what `assumed` has besides, in nested objects too; null counts as not stated.
fn with_defaults(stated: &Map<String, Value>, assumed: &Map<String, Value>) -> Map<String, Value> {
    let mut merged = stated.clone();
    for (key, value) in assumed {
        match (merged.get(key), value) {
            (None | Some(Value::Null), _) => {
                merged.insert(key.clone(), value.clone());
            }
            (Some(Value::Object(inner)), Value::Object(assumed)) => {
                let inner = with_defaults(inner, assumed);
                merged.insert(key.clone(), Value::Object(inner));
            }
            (Some(_), _) => {}
        }
    }
    merged
}

/// The keys of a configuration, read by any of the names that a dimension has.
pub struct Keys<'a>(&'a Map<String, Value>);

impl<'a> Keys<'a> {
    /// The keys of an object, one level of them.
    pub fn new(config: &'a Map<String, Value>) -> Self {
        Self(config)
    }

    /// The class it names.
    pub fn architecture(&self) -> Option<&str> {
        self.0.get("architectures")?.get(0)?.as_str()
    }

    /// A dimension by our name for it.
    ///
    /// # Errors
    /// Where it stands there and is no number that a model can have.
    pub fn dimension(&self, name: &str) -> Result<Option<u64>, ConfigError> {
        let keys = DIMENSIONS.iter().find(|(ours, _)| *ours == name);
        keys.map_or(Ok(None), |(_, keys)| self.number(keys))
    }

    /// The names that expressions may use: the keys, our names of the dimensions, and the family's.
    fn scope(&self, names: &[Definition]) -> Result<Scope, ConfigError> {
        let mut scope = Scope::new(self.0);
        for (name, keys) in DIMENSIONS {
            if let Some(number) = self.number(keys)? {
                scope.set(name, number);
            }
        }
        if let (false, Ok(n_heads)) = (scope.has("n_kv_heads"), scope.number("n_heads")) {
            scope.set("n_kv_heads", n_heads);
        }
        if let (false, Ok(hidden), Ok(n_heads)) = (
            scope.has("head_dim"),
            scope.number("hidden"),
            scope.number("n_heads"),
        ) && hidden.is_multiple_of(n_heads)
        {
            scope.set("head_dim", hidden / n_heads);
        }
        scope.set_text("rope_type", self.rope_type().unwrap_or_default());
        family::define(&mut scope, names)?;
        if let (Ok(heads), Ok(kv_heads)) = (scope.number("n_heads"), scope.number("n_kv_heads"))
            && (kv_heads == 0 || !heads.is_multiple_of(kv_heads))
        {
            return Err(ConfigError::UnevenHeads { heads, kv_heads });
        }
        Ok(scope)
    }

    fn dimensions(&self, scope: &Scope, blocks: &[Block]) -> Result<Dimensions, ConfigError> {
        let optional = |name: &str| scope.number(name).unwrap_or(0);
        let first = |names: &[&str]| names.iter().find_map(|name| scope.number(name).ok());
        let experts = first(EXPERTS).filter(|total| *total > 1);
        let used = first(EXPERTS_USED);
        Ok(Dimensions {
            n_layers: u32::try_from(blocks.len()).unwrap_or(u32::MAX),
            hidden: scope.number("hidden")?,
            ffn: optional("ffn"),
            n_heads: optional("n_heads"),
            n_kv_heads: optional("n_kv_heads"),
            head_dim: optional("head_dim"),
            vocab: scope.number("vocab")?,
            context: Tokens(scope.number("context").unwrap_or(2048)),
            experts: experts.zip(used).map(|(total, used)| Experts {
                total,
                used: used.min(total),
            }),
        })
    }

    /// The number under the first of `keys` that stands there; null counts as absent.
    ///
    /// # Errors
    /// Where it is no number that a model can have.
    pub fn number(&self, keys: &[&str]) -> Result<Option<u64>, ConfigError> {
        let found = keys.iter().find_map(|key| Some((*key, self.0.get(*key)?)));
        // A list has a value for each layer, which the family reads.
        let Some((key, value)) = found.filter(|(_, value)| !value.is_null() && !value.is_array())
        else {
            return Ok(None);
        };
        let (largest, wanted) = match DIMENSIONS.iter().find(|(_, keys)| keys.contains(&key)) {
            Some(("context", _)) => (1 << 40, "a whole number of tokens"),
            Some(("n_layers", _)) => (MOST_LAYERS, "a whole number from 1 to 512"),
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
        let missing = ConfigError::Missing(vec!["vocab_size".to_owned()]);
        assert_eq!(read(config).unwrap_err(), missing);
        let config = json!({"model_type": "mystery"});
        let error = read(config).unwrap_err().to_string();
        assert!(
            error.starts_with("the architecture `mystery` is not known"),
            "{error}"
        );
    }

    #[test]
    fn numbers_whose_products_no_model_has_are_refused() {
        let most = (1_u64 << 40) - 1;
        let mixture = |key: &str| {
            let mut config = json!({"model_type": "mixtral", "hidden_size": 4096,
                "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
                "vocab_size": 32000, "num_experts_per_tok": 2});
            config[key] = json!(most);
            read(config).unwrap_err().to_string()
        };
        let error = mixture("num_local_experts");
        assert!(error.starts_with("`parameters, in all` is"), "{error}");
        let mamba = json!({"model_type": "mamba", "hidden_size": 768, "num_hidden_layers": 24,
            "vocab_size": 50280, "state_size": 16, "conv_kernel": most});
        assert!(read(mamba).is_err());
    }

    #[test]
    fn a_number_written_as_text_is_refused() {
        let config = json!({"model_type": "llama", "hidden_size": "4096"});
        let error = read(config).unwrap_err().to_string();
        assert!(error.starts_with("`hidden_size` is \"4096\""), "{error}");
    }
}
