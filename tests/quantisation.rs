//! How quantised checkpoints store a matrix, against what the quantisers themselves store.
//!
//! `tests/fixtures/quantised_linears.jsonl` has one linear layer in each line: its configuration, its
//! rows and columns, its numbers before, and the tensors that stood in its place. They were read back
//! from layers that the library quantised on a CPU, or built empty as it does before it loads a
//! checkpoint: transformers 5.24, bitsandbytes 0.50, hqq 0.2.8, optimum-quanto 0.2.7, torchao 0.18,
//! aqlm 1.1.7, GPTQModel 7.7, compressed-tensors 0.20. Two lines have another source: int4 of torchao
//! is the docstring of its `Int4Tensor`, and ModelOpt is the header of nvidia/DeepSeek-R1-FP4.

#[path = "quantisation/configs.rs"]
mod configs;
#[path = "quantisation/headers.rs"]
mod headers;

use serde_json::{Value, json};
use shardplan::model::Kind;
use shardplan::model::format::Format;
use shardplan::model::quantisation::{Matrix, Scheme, group};
use shardplan::model::read::TensorInfo;
use shardplan::units::Bytes;

#[derive(serde::Deserialize)]
struct Fact {
    config: Value,
    dims: [u64; 2],
    source: String,
    tensors: Vec<String>,
}

fn facts() -> Vec<Fact> {
    let lines = include_str!("fixtures/quantised_linears.jsonl").lines();
    lines
        .map(|line| serde_json::from_str(line).expect("the fixture is JSON"))
        .collect()
}

/// A tensor of a model in bfloat16.
fn matrix<'a>(name: &'a str, kind: Kind, dims: &'a [u64]) -> Matrix<'a> {
    let source = Format::BF16;
    Matrix {
        name,
        kind,
        dims,
        source,
    }
}

/// The scheme of a config.json with this quantisation.
fn scheme(config: &Value) -> Scheme {
    let config = json!({"quantization_config": config});
    let scheme = Scheme::from_config(&config);
    scheme.expect("a known scheme").expect("a quantisation")
}

fn linear<'a>(dims: &'a [u64], source: Format) -> Matrix<'a> {
    Matrix {
        name: "model.layers.0.mlp.up_proj.weight",
        kind: Kind::Linear,
        dims,
        source,
    }
}

/// `qweight I32 32x320`.
fn line(tensor: &TensorInfo) -> String {
    let suffix = tensor.name.strip_prefix("model.layers.0.mlp.up_proj.");
    let dims: Vec<_> = tensor.dims.iter().map(u64::to_string).collect();
    let format = tensor.format.name().to_uppercase();
    format!("{} {format} {}", suffix.unwrap_or_default(), dims.join("x"))
}

#[test]
fn layouts_are_what_the_quantisers_store() {
    assert_eq!(facts().len(), 43);
    for fact in facts() {
        let source = fact.source.parse().unwrap();
        let stored = scheme(&fact.config).stored(&linear(&fact.dims, source));
        let tensors = stored.unwrap().tensors;
        let mut lines: Vec<_> = tensors.iter().map(line).collect();
        if fact.config["quant_method"] == "hqq" {
            // Behind weight, scales and zeros come sixteen settings of so many bytes.
            let settings: Bytes = tensors[3..].iter().map(|tensor| tensor.bytes).sum();
            assert_eq!(
                (lines.len(), settings),
                (19, Bytes(12 + 16 + 7 + 11 + 13 + 9))
            );
            lines.truncate(3);
        }
        assert_eq!(lines, fact.tensors, "{}", fact.config);
    }
}

#[test]
fn headers_lead_back_to_the_same_sizes() {
    for fact in facts() {
        let scheme = scheme(&fact.config);
        let matrix = linear(&fact.dims, fact.source.parse().unwrap());
        let stored = scheme.stored(&matrix).unwrap();
        let grouped = group(&stored.tensors);
        assert!(grouped.others.is_empty(), "{:?}", grouped.others);
        let found = &grouped.modules["model.layers.0.mlp.up_proj"];
        assert!(found.is_quantised());
        let held = scheme.held(&matrix, found).unwrap();
        let sizes = (stored.file, stored.loaded);
        assert_eq!((held.file, held.loaded), sizes, "{}", fact.config);
        let larger = fact.dims.map(|dim| dim + 64);
        let other = linear(&larger, matrix.source);
        assert!(scheme.held(&other, found).is_err(), "{}", fact.config);
    }
}

#[test]
fn one_formula_agrees_with_the_formats_of_what_is_quantised_on_load() {
    let nf4 = |double: bool| {
        json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": double})
    };
    for (config, format) in [
        (nf4(false), Format::NF4),
        (nf4(true), Format::NF4DoubleQuant),
        (json!({"load_in_8bit": true}), Format::Int8),
        (json!({"quant_method": "fp8"}), Format::FP8),
    ] {
        let stored = scheme(&config).stored(&linear(&[8192, 8200], Format::BF16));
        assert_eq!(stored.unwrap().loaded, format.bytes(8192, 8200), "{format}");
    }
}

#[test]
fn gpt_oss_weighs_what_its_index_states() {
    // openai/gpt-oss-20b: `total_size` in its model.safetensors.index.json is 13 761 264 768.
    let scheme = scheme(&json!({"quant_method": "mxfp4", "modules_to_not_convert":
        ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]}));
    let size = |name: &str, kind: Kind, dims: &[u64]| {
        let source = Format::BF16;
        let matrix = Matrix {
            name,
            kind,
            dims,
            source,
        };
        scheme.stored(&matrix).unwrap().file
    };
    let layer: [(&str, Kind, &[u64]); 17] = [
        ("mlp.experts.gate_up_proj", Kind::Linear, &[32, 5760, 2880]),
        ("mlp.experts.gate_up_proj_bias", Kind::Bias, &[32, 5760]),
        ("mlp.experts.down_proj", Kind::Linear, &[32, 2880, 2880]),
        ("mlp.experts.down_proj_bias", Kind::Bias, &[32, 2880]),
        ("mlp.router.weight", Kind::Linear, &[32, 2880]),
        ("mlp.router.bias", Kind::Bias, &[32]),
        ("self_attn.q_proj.weight", Kind::Linear, &[4096, 2880]),
        ("self_attn.q_proj.bias", Kind::Bias, &[4096]),
        ("self_attn.k_proj.weight", Kind::Linear, &[512, 2880]),
        ("self_attn.k_proj.bias", Kind::Bias, &[512]),
        ("self_attn.v_proj.weight", Kind::Linear, &[512, 2880]),
        ("self_attn.v_proj.bias", Kind::Bias, &[512]),
        ("self_attn.o_proj.weight", Kind::Linear, &[2880, 4096]),
        ("self_attn.o_proj.bias", Kind::Bias, &[2880]),
        ("self_attn.sinks", Kind::Bias, &[64]),
        ("input_layernorm.weight", Kind::Norm, &[2880]),
        ("post_attention_layernorm.weight", Kind::Norm, &[2880]),
    ];
    let layer: Bytes = layer
        .iter()
        .map(|(name, kind, dims)| size(&format!("model.layers.0.{name}"), *kind, dims))
        .sum();
    let table = [201_088, 2880];
    let rest = [
        size("model.embed_tokens.weight", Kind::Embedding, &table),
        size("lm_head.weight", Kind::Head, &table),
        size("model.norm.weight", Kind::Norm, &[2880]),
    ];
    let total = layer * 24 + rest.into_iter().sum();
    assert_eq!(total, Bytes(13_761_264_768));
}
