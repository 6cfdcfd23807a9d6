//! Which tensors of a header belong together, and what is wrong with them.

use serde_json::json;
use shardplan::model::Kind;
use shardplan::model::format::Format;
use shardplan::model::quantisation::{group, is_cache_scale};
use shardplan::model::read::TensorInfo;
use shardplan::units::Bytes;

use super::{matrix, scheme};

fn tensor(name: &str, format: Format, dims: &[u64]) -> TensorInfo {
    TensorInfo {
        name: name.to_owned(),
        dims: dims.to_vec(),
        format,
        bytes: format.row_bytes(dims.iter().product()),
    }
}

#[test]
fn exl3_tells_its_bits_only_in_the_header() {
    // `mtp.layers.0.self_attn.q_proj` of a published 4-bit EXL3 checkpoint of Qwen3.8-27B.
    let header = [
        tensor("l.q_proj.trellis", Format::I16, &[320, 768, 64]),
        tensor("l.q_proj.suh", Format::F16, &[5120]),
        tensor("l.q_proj.svh", Format::F16, &[12288]),
        tensor("l.q_proj.mul1", Format::I32, &[]),
        tensor("l.norm.weight", Format::BF16, &[5120]),
    ];
    let scheme = scheme(&json!({"quant_method": "exl3", "bits": 4.0, "head_bits": 6}));
    let q_proj = matrix("l.q_proj.weight", Kind::Linear, &[12288, 5120]);
    let error = scheme.stored(&q_proj).unwrap_err().to_string();
    assert!(error.contains("only in the headers"), "{error}");
    let grouped = group(&header);
    let held = scheme.held(&q_proj, &grouped.modules["l.q_proj"]).unwrap();
    assert_eq!(held.file, Bytes(31_457_280 + 10_240 + 24_576 + 4));
    let transposed = matrix("l.q_proj.weight", Kind::Linear, &[5120, 12288]);
    assert!(
        scheme
            .held(&transposed, &grouped.modules["l.q_proj"])
            .is_err()
    );
    let norm = &grouped.modules["l.norm"];
    assert!(!norm.is_quantised());
    let plain = matrix("l.norm.weight", Kind::Norm, &[5120]);
    assert_eq!(scheme.held(&plain, norm).unwrap().file, Bytes(10_240));
}

#[test]
fn exl2_has_the_rows_of_its_packed_weight() {
    let header = [
        tensor("l.q_weight", Format::I32, &[528, 4096]),
        tensor("l.q_invperm", Format::I32, &[4096]),
        tensor("l.q_scale", Format::I32, &[32, 512]),
        tensor("l.q_scale_max", Format::F16, &[32]),
        tensor("l.q_groups", Format::I16, &[64]),
    ];
    let scheme = scheme(&json!({"quant_method": "exl2", "bits": 4.1}));
    let grouped = group(&header);
    assert!(grouped.others.is_empty());
    let held = |rows| {
        let dims = [rows, 4096];
        let linear = matrix("l.weight", Kind::Linear, &dims);
        scheme
            .held(&linear, &grouped.modules["l"])
            .map(|it| it.file)
    };
    let sum = 528 * 4096 * 4 + 4096 * 4 + 32 * 512 * 4 + 32 * 2 + 64 * 2;
    assert_eq!(held(4096), Ok(Bytes(sum)));
    assert!(held(4097).is_err());
}

#[test]
fn what_belongs_to_no_weight_is_left_over() {
    let header = [
        tensor("a.q_proj.qweight", Format::I32, &[8, 64]),
        tensor("a.q_proj.bias", Format::F16, &[64]),
        tensor("a.k_scale", Format::F32, &[]),
        tensor("a.sinks", Format::BF16, &[64]),
        tensor("residual_blocks", Format::F32, &[2]),
        tensor("mlp.experts.down_proj_blocks", Format::I8, &[2, 4, 1, 16]),
        tensor("mlp.experts.down_proj_scales", Format::I8, &[2, 4, 1]),
        tensor("mlp.experts.down_proj_bias", Format::BF16, &[2, 4]),
    ];
    let grouped = group(&header);
    let modules: Vec<_> = grouped.modules.keys().copied().collect();
    assert_eq!(modules, ["a.q_proj", "mlp.experts.down_proj"]);
    let others: Vec<_> = grouped
        .others
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect();
    let left = [
        "a.q_proj.bias",
        "a.k_scale",
        "a.sinks",
        "residual_blocks",
        "mlp.experts.down_proj_bias",
    ];
    assert_eq!(others, left);
    assert!(is_cache_scale("a.k_scale") && !is_cache_scale("a.sinks"));
}

#[test]
fn headers_decide_where_a_configuration_is_loose() {
    // The configuration says nothing of the head, which the file quantises, and the file leaves a
    // matrix plain that the configuration means.
    let scheme = scheme(&json!({"quant_method": "fp8"}));
    let head = matrix("lm_head.weight", Kind::Head, &[256, 256]);
    assert_eq!(scheme.stored(&head).unwrap().file, Bytes(256 * 256 * 2));
    let header = [
        tensor("lm_head.weight", Format::FP8, &[256, 256]),
        // Qwen stores its scales in 16 bits.
        tensor("lm_head.weight_scale_inv", Format::BF16, &[2, 2]),
        tensor("l.up_proj.weight", Format::BF16, &[256, 256]),
    ];
    let grouped = group(&header);
    let held = scheme.held(&head, &grouped.modules["lm_head"]).unwrap();
    assert_eq!(held.file, Bytes(256 * 256 + 8));
    let plain = matrix("l.up_proj.weight", Kind::Linear, &[256, 256]);
    let held = scheme.held(&plain, &grouped.modules["l.up_proj"]).unwrap();
    assert_eq!(held.file, Bytes(256 * 256 * 2));
}

#[test]
fn a_missing_weight_and_another_shape_are_named() {
    let scheme = scheme(&json!({"quant_method": "gptq", "bits": 4, "group_size": 128}));
    let header = [tensor("l.qweight", Format::I32, &[16, 64])];
    let grouped = group(&header);
    let linear = matrix("l.weight", Kind::Linear, &[64, 256]);
    let error = scheme.held(&linear, &grouped.modules["l"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tensor `l.qweight` is [16, 64], and its quantisation makes it [32, 64]"
    );
    let header = [tensor("l.weight_packed", Format::I32, &[64, 32])];
    let grouped = group(&header);
    let error = scheme.held(&linear, &grouped.modules["l"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the tensor `l.qweight`, which its quantisation asks for, is missing"
    );
}
