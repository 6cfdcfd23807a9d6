//! Libraries that transformers also runs as it loads a plain checkpoint, whose results it can save:
//! bitsandbytes, HQQ, AQLM, quanto, torchao.

use serde_json::Value;

use super::config::{classes, linears, named, scheme, skipped, skipping};
use super::layout::{Blocks, Bnb4, Bnb4Kind, Element, Extra, Group, Layout, Numbers, Scaled, Span};
use super::pattern::Pattern;
use super::section::{Read, Section};
use super::{Class, Method, Scheme};
use crate::model::format::Format;

pub(super) fn bitsandbytes(section: &Section<'_>) -> Read<Scheme> {
    let (mut rules, is_listed) = skipped(section, &["llm_int8_skip_modules"])?;
    // It asks `type(module) is nn.Linear`, where the others ask `isinstance`.
    rules.push(classes(&[Class::OwnLinear], Layout::Plain));
    let layout = if section.flag("load_in_4bit")? == Some(true) {
        let kind = match section.text("bnb_4bit_quant_type")? {
            // The default of `BitsAndBytesConfig`.
            None | Some("fp4") => Bnb4Kind::Fp4,
            Some("nf4") => Bnb4Kind::Nf4,
            Some(_) => return Err(section.bad("bnb_4bit_quant_type", "`fp4` or `nf4`")),
        };
        let storage = match section.text("bnb_4bit_quant_storage")? {
            None | Some("uint8" | "int8") => Format::I8,
            Some("bfloat16") => Format::BF16,
            Some("float16") => Format::F16,
            Some("float32") => Format::F32,
            Some(_) => {
                let accepted = "`uint8`, `int8`, `float16`, `bfloat16` or `float32`";
                return Err(section.bad("bnb_4bit_quant_storage", accepted));
            }
        };
        Layout::Bnb4(Bnb4 {
            kind,
            block: section.count("bnb_4bit_blocksize")?.unwrap_or(64),
            double: section.flag("bnb_4bit_use_double_quant")? == Some(true),
            storage,
        })
    } else if section.flag("load_in_8bit")? == Some(true) {
        Layout::Bnb8
    } else {
        return Err(section.missing("load_in_4bit"));
    };
    Ok(scheme(
        Method::BitsAndBytes,
        linears(rules, is_listed, layout),
    ))
}

pub(super) fn hqq(section: &Section<'_>) -> Read<Scheme> {
    let settings = section
        .section("quant_config")?
        .ok_or_else(|| section.missing("quant_config"))?;
    let (rules, is_listed) = skipped(section, &["skip_modules"])?;
    if settings.get("weight_quant_params").is_some() {
        let layout = hqq_layout(&settings)?;
        return Ok(scheme(Method::Hqq, linears(rules, is_listed, layout)));
    }
    // One setting for each kind of module: `self_attn.q_proj`.
    let mut rules = rules;
    for key in settings.keys() {
        let own = settings
            .section(key)?
            .ok_or_else(|| settings.missing(key))?;
        rules.push(named(Pattern::last(key), hqq_layout(&own)?));
    }
    Ok(scheme(Method::Hqq, rules))
}

fn hqq_layout(settings: &Section<'_>) -> Read<Layout> {
    let key = "weight_quant_params";
    let weight = settings
        .section(key)?
        .ok_or_else(|| settings.missing(key))?;
    if settings.get("scale_quant_params").is_some() {
        return Err(settings.bad("scale_quant_params", "`null`"));
    }
    if settings.get("zero_quant_params").is_some() {
        return Err(settings.bad("zero_quant_params", "`null`"));
    }
    let bits = weight.one_of("nbits", 4, &[1, 2, 3, 4, 8], "1, 2, 3, 4 or 8")?;
    let axis = match weight.get("axis").map(Value::as_u64) {
        None | Some(Some(1)) => 1,
        Some(Some(0)) => 0,
        Some(_) => return Err(weight.bad("axis", "0 or 1")),
    };
    let group = weight.group("group_size", Group::Whole)?;
    Ok(Layout::Hqq { bits, group, axis })
}

pub(super) fn aqlm(section: &Section<'_>) -> Read<Scheme> {
    let (rules, is_listed) = skipped(section, &["linear_weights_not_to_quantize"])?;
    let bits = section.count("nbits_per_codebook")?.unwrap_or(16);
    if bits > 24 {
        return Err(section.bad("nbits_per_codebook", "at most 24"));
    }
    let layout = Layout::Aqlm {
        n_codebooks: section.count("num_codebooks")?.unwrap_or(1),
        bits,
        in_group: section.count("in_group_size")?.unwrap_or(8),
        out_group: section.count("out_group_size")?.unwrap_or(1),
    };
    Ok(scheme(Method::Aqlm, linears(rules, is_listed, layout)))
}

pub(super) fn quanto(section: &Section<'_>) -> Read<Scheme> {
    let whole = |element| {
        let scalars = [".input_scale", ".output_scale"];
        let one = |suffix| Extra {
            suffix,
            span: Span::One,
            numbers: Numbers::Source,
        };
        Layout::Scaled(Scaled {
            weight: ".weight._data",
            element,
            scale: ".weight._scale",
            blocks: Blocks::Channel,
            scales: Numbers::Source,
            extras: scalars.map(one).into(),
        })
    };
    let layout = match section.text("weights")?.unwrap_or("int8") {
        "int2" => Layout::Quanto { bits: 2 },
        "int4" => Layout::Quanto { bits: 4 },
        "int8" => whole(Element::Int8),
        "float8" => whole(Element::Fp8),
        _ => return Err(section.bad("weights", "`int2`, `int4`, `int8` or `float8`")),
    };
    skipping(section, Method::Quanto, layout)
}

pub(super) fn torchao(section: &Section<'_>) -> Read<Scheme> {
    // Older versions wrote a name, newer ones the class and its data.
    if let Some(Value::String(name)) = section.get("quant_type") {
        let arguments = section.section("quant_type_kwargs")?;
        let layout = torchao_layout(section, "quant_type", name, arguments.as_ref())?;
        return skipping(section, Method::TorchAo, layout);
    }
    let kinds = section.section("quant_type")?;
    let kinds = kinds.ok_or_else(|| section.missing("quant_type"))?;
    let kind = kinds.section("default")?;
    let kind = kind.ok_or_else(|| kinds.missing("default"))?;
    let name = kind.text("_type")?.ok_or_else(|| kind.missing("_type"))?;
    let layout = torchao_layout(&kind, "_type", name, kind.section("_data")?.as_ref())?;
    let (rules, is_listed) = skipped(section, &["modules_to_not_convert"])?;
    let mut rules = linears(rules, is_listed, layout.clone());
    if section.flag("include_input_output_embeddings")? == Some(true) {
        rules.push(classes(&[Class::Embedding, Class::Head], layout));
    }
    Ok(scheme(Method::TorchAo, rules))
}

fn torchao_layout(
    section: &Section<'_>,
    key: &str,
    name: &str,
    data: Option<&Section<'_>>,
) -> Read<Layout> {
    let whole = |element, blocks, extras: &[Extra]| {
        Layout::Scaled(Scaled {
            weight: "._weight_qdata",
            element,
            scale: "._weight_scale",
            blocks,
            scales: Numbers::Of(Format::F32),
            extras: extras.into(),
        })
    };
    let zeros = Extra {
        suffix: "._weight_zero_point",
        span: Span::Scales,
        numbers: Numbers::Of(Format::I8),
    };
    let is_per_tensor = data
        .and_then(|data| data.get("granularity"))
        .is_some_and(|value| value.to_string().contains("PerTensor"));
    match name {
        "Int8WeightOnlyConfig"
        | "Int8DynamicActivationInt8WeightConfig"
        | "int8_weight_only"
        | "int8_dynamic_activation_int8_weight" => {
            Ok(whole(Element::Int8, Blocks::Channel, &[zeros]))
        }
        "Float8DynamicActivationFloat8WeightConfig" if is_per_tensor => {
            Ok(whole(Element::Fp8, Blocks::Tensor, &[]))
        }
        "Float8WeightOnlyConfig"
        | "Float8DynamicActivationFloat8WeightConfig"
        | "float8_weight_only" => Ok(whole(Element::Fp8, Blocks::Channel, &[])),
        "Int4WeightOnlyConfig" | "int4_weight_only" => {
            let group = data.map(|data| data.count("group_size")).transpose()?;
            let group = group.flatten().unwrap_or(128);
            Ok(Layout::TorchAo4 { group })
        }
        _ => Err(section.bad(
            key,
            "`Int4WeightOnlyConfig`, `Int8WeightOnlyConfig`, `Int8DynamicActivationInt8WeightConfig`, `Float8WeightOnlyConfig` or `Float8DynamicActivationFloat8WeightConfig`",
        )),
    }
}
