//! Which modules a configuration means: published ones, old files, and hostile ones.

use proptest::prelude::*;
use serde_json::{Value, json};
use shardplan::model::Kind;
use shardplan::model::format::Format;
use shardplan::model::quantisation::{Blocks, Element, Group, Layout, Method, Scheme, SchemeError};

use super::{matrix, scheme};

/// Whether a linear layer of this name is quantised.
fn quantises(scheme: &Scheme, name: &str) -> bool {
    *scheme.layout(&matrix(name, Kind::Linear, &[256, 256])) != Layout::Plain
}

fn quantises_head(scheme: &Scheme) -> bool {
    *scheme.layout(&matrix("lm_head.weight", Kind::Head, &[256, 256])) != Layout::Plain
}

#[test]
fn kimi_k2_5_packs_nothing_but_routed_experts() {
    let scheme = scheme(
        &json!({"config_groups": {"group_0": {"input_activations": null,
        "output_activations": null, "targets": ["Linear"], "weights": {"actorder": null,
        "block_structure": null, "dynamic": false, "group_size": 32, "num_bits": 4,
        "observer": "minmax", "observer_kwargs": {}, "strategy": "group", "symmetric": true,
        "type": "int"}}}, "format": "pack-quantized", "ignore": ["lm_head", "re:.*self_attn.*",
        "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"],
        "kv_cache_scheme": null, "quant_method": "compressed-tensors",
        "quantization_status": "compressed"}),
    );
    assert_eq!(scheme.method, Method::CompressedTensors);
    assert!(quantises(
        &scheme,
        "model.layers.3.mlp.experts.7.up_proj.weight"
    ));
    for plain in [
        "self_attn.q_a_proj",
        "mlp.shared_experts.up_proj",
        "mlp.gate_proj",
    ] {
        assert!(
            !quantises(&scheme, &format!("model.layers.3.{plain}.weight")),
            "{plain}"
        );
    }
    assert!(!quantises_head(&scheme));
    let norm = matrix("model.norm.weight", Kind::Norm, &[7168]);
    assert_eq!(*scheme.layout(&norm), Layout::Plain);
}

#[test]
fn deepseek_v4_has_experts_of_four_bits() {
    let config = json!({"expert_dtype": "fp4", "quantization_config": {
        "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
        "scale_fmt": "ue8m0", "weight_block_size": [128, 128]}});
    let scheme = Scheme::from_config(&config).unwrap().unwrap();
    let element = |name| match scheme.layout(&matrix(name, Kind::Linear, &[2048, 4096])) {
        Layout::Scaled(scaled) => Some((scaled.element, scaled.blocks)),
        _ => None,
    };
    let expert = element("model.layers.1.mlp.experts.5.up_proj.weight");
    assert_eq!(expert, Some((Element::Fp4, Blocks::Block(1, 32))));
    let query = element("model.layers.1.self_attn.q_a_proj.weight");
    assert_eq!(query, Some((Element::Fp8, Blocks::Block(128, 128))));
    assert!(!quantises_head(&scheme));
}

#[test]
fn a_skip_list_takes_the_place_of_the_default() {
    // MiniMax-M2.5 lists its head; who lists something else quantises it.
    let fp8 = |list: Value| {
        scheme(
            &json!({"quant_method": "fp8", "weight_block_size": [128, 128],
            "modules_to_not_convert": list}),
        )
    };
    let minimax = fp8(json!(["gate", "e_score_correction_bias", "lm_head"]));
    assert!(!quantises_head(&minimax));
    assert!(!quantises(&minimax, "model.layers.0.block_sparse_moe.gate"));
    assert!(quantises(&minimax, "model.layers.0.self_attn.q_proj"));
    assert!(quantises_head(&fp8(json!(["gate"]))));
    assert!(!quantises_head(&fp8(Value::Null)));
}

#[test]
fn bitsandbytes_leaves_own_classes_and_fused_experts() {
    let scheme = scheme(&json!({"load_in_4bit": true, "bnb_4bit_quant_type": "nf4",
        "quant_method": "bitsandbytes"}));
    let layout = |kind, dims| scheme.layout(&matrix("model.layers.0.x.weight", kind, dims));
    assert_ne!(*layout(Kind::Linear, &[64, 64]), Layout::Plain);
    assert_eq!(*layout(Kind::OwnLinear, &[64, 64]), Layout::Plain);
    assert_eq!(*layout(Kind::Linear, &[8, 64, 64]), Layout::Plain);
    assert_eq!(*layout(Kind::Head, &[64, 64]), Layout::Plain);
    assert_eq!(*layout(Kind::Embedding, &[64, 64]), Layout::Plain);
    let quanto = self::scheme(&json!({"quant_method": "quanto", "weights": "int8"}));
    let own = matrix("model.layers.0.x.weight", Kind::OwnLinear, &[64, 64]);
    assert_ne!(*quanto.layout(&own), Layout::Plain);
}

#[test]
fn model_opt_speaks_two_dialects() {
    // nvidia/Llama-3.1-70B-Instruct-FP8 and Qwen/Qwen3-32B-FP8-Static-PerTensor.
    let file = json!({"producer": {"name": "modelopt", "version": "0.31.0"}, "quantization":
        {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}});
    let file = Scheme::from_side_file("hf_quant_config.json", &file).unwrap();
    let config = scheme(&json!({"config_groups": {"group_0": {"input_activations":
        {"dynamic": false, "num_bits": 8, "type": "float"}, "weights": {"dynamic": false,
        "num_bits": 8, "type": "float"}}}, "ignore": ["lm_head"], "quant_algo": "FP8",
        "kv_cache_scheme": "FP8", "producer": {"name": "modelopt", "version": "0.31.0"}}));
    for scheme in [&file, &config] {
        assert_eq!(scheme.method, Method::ModelOpt);
        assert_eq!(scheme.kv_cache, Some(Format::FP8));
        assert!(quantises(scheme, "model.layers.0.self_attn.q_proj.weight"));
        assert!(!quantises_head(scheme));
    }
    let mixed = json!({"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": {
        "model.layers.0.mlp.up_proj": {"quant_algo": "NVFP4", "group_size": 16},
        "model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"}}}});
    let mixed = Scheme::from_side_file("hf_quant_config.json", &mixed).unwrap();
    let bytes = |name: &str| {
        mixed
            .stored(&matrix(name, Kind::Linear, &[256, 256]))
            .unwrap()
            .file
            .0
    };
    assert_eq!(
        bytes("model.layers.0.mlp.up_proj.weight"),
        256 * 128 + 256 * 16 + 8
    );
    assert_eq!(
        bytes("model.layers.0.self_attn.q_proj.weight"),
        256 * 256 + 8
    );
    assert_eq!(bytes("model.layers.1.mlp.up_proj.weight"), 256 * 256 * 2);
}

#[test]
fn old_files_state_what_config_json_leaves_out() {
    let auto_gptq = json!({"bits": 4, "group_size": -1, "desc_act": false, "sym": true});
    let scheme = Scheme::from_side_file("quantize_config.json", &auto_gptq).unwrap();
    let up_proj = matrix(
        "model.layers.0.mlp.up_proj.weight",
        Kind::Linear,
        &[256, 256],
    );
    let (bits, group) = (4, Group::Whole);
    assert_eq!(*scheme.layout(&up_proj), Layout::Gptq { bits, group });
    let auto_awq = json!({"zero_point": true, "q_group_size": 64, "w_bit": 4, "version": "GEMM"});
    let scheme = Scheme::from_side_file("quant_config.json", &auto_awq).unwrap();
    let group = Group::Of(64);
    assert_eq!(*scheme.layout(&up_proj), Layout::Awq { bits, group });
}

#[test]
fn single_modules_have_rules_of_their_own() {
    let gptq = scheme(
        &json!({"quant_method": "gptq", "bits": 4, "group_size": 128, "lm_head": true,
        "dynamic": {"-:.*\\.k_proj": {}, "+:.*\\.7\\..*down.*": {"bits": 8, "group_size": 32}}}),
    );
    let layout = |name| {
        gptq.layout(&matrix(name, Kind::Linear, &[256, 256]))
            .clone()
    };
    assert_eq!(layout("model.layers.7.self_attn.k_proj"), Layout::Plain);
    let (bits, group) = (8, Group::Of(32));
    assert_eq!(
        layout("model.layers.7.mlp.down_proj"),
        Layout::Gptq { bits, group }
    );
    let (bits, group) = (4, Group::Of(128));
    assert_eq!(
        layout("model.layers.17.mlp.down_proj"),
        Layout::Gptq { bits, group }
    );
    assert!(quantises_head(&gptq));
    let some = scheme(&json!({"quant_method": "gptq", "bits": 4,
        "modules_in_block_to_quantize": [["self_attn.q_proj"], ["mlp.up_proj"]]}));
    assert!(quantises(&some, "model.layers.0.mlp.up_proj"));
    assert!(!quantises(&some, "model.layers.0.mlp.down_proj"));
    let group = |targets: &[&str], bits: u64| {
        json!({"targets": targets, "weights": {"num_bits": bits, "type": "int",
            "strategy": "channel"}})
    };
    let mixed = scheme(
        &json!({"quant_method": "compressed-tensors", "format": "pack-quantized",
        "ignore": [], "config_groups": {"a": group(&["Linear"], 4),
        "b": group(&["re:.*down_proj"], 8), "c": group(&["model.layers.0.mlp.down_proj"], 2)}}),
    );
    let bits = |name| match mixed.layout(&matrix(name, Kind::Linear, &[256, 256])) {
        Layout::Packed { bits, .. } => *bits,
        _ => 0,
    };
    assert_eq!(bits("model.layers.0.mlp.down_proj"), 2);
    assert_eq!(bits("model.layers.1.mlp.down_proj"), 8);
    assert_eq!(bits("model.layers.1.mlp.up_proj"), 4);
}

#[test]
fn routers_stay_plain_though_no_list_names_them() {
    let gptq = scheme(&json!({"quant_method": "gptq", "bits": 4}));
    // DeepSeek-V3 lists nothing, and its routers are stored in 16 bits.
    let fp8 = scheme(&json!({"quant_method": "fp8", "weight_block_size": [128, 128]}));
    for scheme in [&gptq, &fp8] {
        assert!(!quantises(scheme, "model.layers.9.mlp.gate.weight"));
        assert!(quantises(scheme, "model.layers.9.mlp.gate_proj.weight"));
    }
    assert!(!quantises(
        &gptq,
        "model.layers.9.mlp.shared_expert_gate.weight"
    ));
}

#[test]
fn a_plain_configuration_has_no_scheme() {
    let plain = json!({"model_type": "llama", "quantization_config": null});
    assert!(Scheme::from_config(&plain).unwrap().is_none());
    assert!(Scheme::from_config(&json!([])).unwrap().is_none());
}

#[test]
fn what_is_wrong_is_named_with_its_key() {
    let error = |config: Value| {
        let config = json!({"quantization_config": config});
        Scheme::from_config(&config).unwrap_err()
    };
    for (config, start) in [
        (json!({}), "`quantization_config.quant_method` is missing"),
        (
            json!({"quant_method": "vptq"}),
            "the quantisation `vptq` is not modelled\nhint: gptq",
        ),
        (
            json!({"quant_method": "gptq", "bits": 9}),
            "`quantization_config.bits` is 9, and 2, 3, 4, 5, 6, 7 or 8 is accepted",
        ),
        (
            json!({"quant_method": "gptq", "bits": 4, "group_size": 0}),
            "`quantization_config.group_size` is 0, and a positive whole number or -1 is accepted",
        ),
        (
            json!({"quant_method": "awq", "version": "gemv"}),
            "`quantization_config.version` is \"gemv\", and `gemm` is accepted",
        ),
        (
            json!({"quant_method": "fp8", "weight_block_size": [128, 0]}),
            "`quantization_config.weight_block_size` is [128,0], and two positive whole numbers is",
        ),
        (
            json!({"quant_method": "fp8", "modules_to_not_convert": ["("]}),
            "`quantization_config.modules_to_not_convert` has the pattern `(`: ",
        ),
        (
            json!({"quant_method": "modelopt", "quant_algo": "NVFP4_SVD"}),
            "the quantisation `modelopt NVFP4_SVD` is not modelled",
        ),
        (
            json!({"quant_method": "compressed-tensors", "format": "marlin-24", "config_groups":
                {"g": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 128}}}}),
            "`quantization_config.format` is `marlin-24`, and `pack-quantized`, ",
        ),
        (
            json!({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 5}}}),
            "`quantization_config.quant_config.weight_quant_params.nbits` is 5, and 1, 2, 3, 4 or 8",
        ),
    ] {
        let text = error(config).to_string();
        assert!(text.starts_with(start), "{text}");
    }
    let mlx = json!({"quantization": {"group_size": 64, "bits": 4}});
    let unknown = SchemeError::Unknown("mlx".to_owned());
    assert_eq!(Scheme::from_config(&mlx).unwrap_err(), unknown);
}

/// Keys that some dialect reads, with values that it may not expect.
fn hostile() -> impl Strategy<Value = Value> {
    let keys = "quant_method|bits|group_size|load_in_4bit|load_in_8bit|weight_block_size|format\
        |config_groups|targets|weights|num_bits|strategy|ignore|quant_algo|quantized_layers|dynamic\
        |modules_to_not_convert|quant_config|weight_quant_params|nbits|axis|num_codebooks|quant_type\
        |default|_type|_data|in_group_size|nbits_per_codebook|bnb_4bit_blocksize|extra_config";
    let words = "gptq|awq|auto-round|bitsandbytes|fp8|compressed-tensors|modelopt|mxfp4|hqq|aqlm\
        |quanto|torchao|exl3|pack-quantized|group|block|NVFP4|int4|Int4WeightOnlyConfig|re:.*|re:\\(|*";
    let key = proptest::sample::select(keys.split('|').collect::<Vec<_>>());
    let leaf = prop_oneof![
        proptest::sample::select(words.split('|').collect::<Vec<_>>()).prop_map(Value::from),
        proptest::sample::select(vec![0_u64, 1, 2, 3, 4, 8, 16, 64, 1 << 32, u64::MAX])
            .prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key.clone(), inner), 0..8).prop_map(|entries| {
                let entries = entries
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value));
                Value::Object(entries.collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_configuration_and_no_shape_panics(
        config in hostile(),
        method in proptest::sample::select(vec!["gptq", "awq", "bitsandbytes", "fp8", "hqq", "aqlm",
            "compressed-tensors", "modelopt", "quanto", "torchao", "auto-round", "mxfp4", "bitnet"]),
        rows in prop_oneof![0..=1_u64 << 20, Just(u64::MAX)],
        columns in prop_oneof![0..=1_u64 << 20, Just(u64::MAX)],
    ) {
        let mut config = config;
        if let Some(map) = config.as_object_mut() {
            map.insert("quant_method".to_owned(), method.into());
        }
        let config = json!({"quantization_config": config});
        if let Ok(Some(scheme)) = Scheme::from_config(&config) {
            let dims = [rows, columns];
            for kind in [Kind::Linear, Kind::Head] {
                let stored = scheme.stored(&matrix("model.layers.0.x.weight", kind, &dims));
                let stored = stored.unwrap();
                let sum = stored.tensors.iter().map(|tensor| tensor.bytes).sum();
                prop_assert_eq!(stored.file, sum);
            }
        }
    }
}
