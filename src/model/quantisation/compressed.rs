//! compressed-tensors: groups of modules, each with a scheme for its weights.
//!
//! Source: `quantization/quant_args.py`, `utils/match.py` and the compressors of compressed-tensors
//! 0.20. A module takes the most specific target that names it: its name, then a pattern, then its
//! class.

use super::config::{EVERY_LINEAR, classes, named, scheme};
use super::layout::{Blocks, Element, Extra, Layout, Numbers, Scaled, Span};
use super::pattern::Pattern;
use super::section::{Read, SchemeError, Section, excerpt};
use super::{Class, Method, Rule, Scheme};
use crate::model::format::Format;

pub(super) fn read(section: &Section<'_>) -> Read<Scheme> {
    // Old checkpoints wrap it once more.
    if let Some(inner) = section.section("quantization_config")? {
        return read(&inner);
    }
    sparsity(section)?;
    let mut rules = Vec::new();
    for text in section.list("ignore")?.unwrap_or_default() {
        rules.extend(target(section, "ignore", text, Layout::Plain)?.map(|(_, rule)| rule));
    }
    let mut targets = Vec::new();
    if let Some(groups) = section.section("config_groups")? {
        for key in groups.keys() {
            let group = groups.section(key)?.ok_or_else(|| groups.missing(key))?;
            let layout = layout(section, &group)?;
            let texts = group.list("targets")?;
            for text in texts.ok_or_else(|| group.missing("targets"))? {
                targets.extend(target(&group, "targets", text, layout.clone())?);
            }
        }
    }
    targets.sort_by_key(|(rank, _)| *rank);
    rules.extend(targets.into_iter().map(|(_, rule)| rule));
    let kv_cache = match section.section("kv_cache_scheme")? {
        None => None,
        Some(kv) => match (kv.text("type")?, kv.count("num_bits")?) {
            (Some("float"), Some(8)) => Some(Format::FP8),
            (Some("int") | None, Some(8)) => Some(Format::I8),
            _ => return Err(kv.bad("num_bits", "8")),
        },
    };
    Ok(Scheme {
        kv_cache,
        ..scheme(Method::CompressedTensors, rules)
    })
}

/// Weights whose zeros are left out have a layout of their own.
fn sparsity(section: &Section<'_>) -> Read<()> {
    let Some(sparsity) = section.section("sparsity_config")? else {
        return Ok(());
    };
    match sparsity.text("format")? {
        None | Some("dense") => Ok(()),
        Some(_) => Err(sparsity.bad("format", "`dense`")),
    }
}

/// The rule of one target, and how specific it is. Classes that hold no weight make none.
fn target(
    section: &Section<'_>,
    key: &str,
    text: &str,
    layout: Layout,
) -> Read<Option<(u8, Rule)>> {
    if let Some(pattern) = text.strip_prefix("re:") {
        let pattern = section.pattern(key, pattern, Pattern::start)?;
        return Ok(Some((1, named(pattern, layout))));
    }
    Ok(match text {
        "Linear" => Some((2, classes(EVERY_LINEAR, layout))),
        "Embedding" => Some((2, classes(&[Class::Embedding], layout))),
        name => Some((0, named(Pattern::Exact(name.to_owned()), layout))),
    })
}

/// How the weights of a group are stored.
fn layout(section: &Section<'_>, group: &Section<'_>) -> Read<Layout> {
    let Some(weights) = group.section("weights")? else {
        return Ok(Layout::Plain);
    };
    let accepted_bits = "1, 2, 3, 4, 5, 6, 7 or 8";
    let bits = weights.one_of("num_bits", 8, &[1, 2, 3, 4, 5, 6, 7, 8], accepted_bits)?;
    let is_float = match weights.text("type")? {
        None | Some("int") => false,
        Some("float") => true,
        Some(_) => return Err(weights.bad("type", "`int` or `float`")),
    };
    let is_symmetric = weights.flag("symmetric")?.unwrap_or(true);
    let blocks = blocks(&weights)?;
    let (at, format) = match (group.text("format")?, section.text("format")?) {
        (Some(format), _) => (group, format),
        (None, Some(format)) => (section, format),
        (None, None) => return Err(section.missing("format")),
    };
    let element = match (is_float, bits) {
        (true, 8) => Element::Fp8,
        (true, 6) => Element::Fp6,
        (true, 4) => Element::Fp4,
        (false, 8) => Element::Int8,
        // Smaller integers that are not packed take a byte each.
        (false, 1..8) => Element::Int8,
        _ => return Err(weights.bad("num_bits", "4, 6 or 8")),
    };
    let input = inputs(group)?;
    let byte = Numbers::Of(Format::I8);
    let scaled = |weight, element, blocks, scales, extras: Vec<Extra>| {
        Layout::Scaled(Scaled {
            weight,
            element,
            scale: ".weight_scale",
            blocks,
            scales,
            extras,
        })
    };
    match format {
        "dense" => Ok(Layout::Plain),
        "pack-quantized" => Ok(Layout::Packed {
            bits,
            blocks,
            zero_points: !is_symmetric,
            permuted: weights.text("actorder").ok().flatten() == Some("group"),
        }),
        "int-quantized" | "float-quantized" | "naive-quantized" => {
            let zeros = (!is_symmetric).then_some(Extra {
                suffix: ".weight_zero_point",
                span: Span::Scales,
                numbers: byte,
            });
            let extras = input.into_iter().chain(zeros).collect();
            Ok(scaled(".weight", element, blocks, Numbers::Source, extras))
        }
        "nvfp4-pack-quantized" => {
            let float = Numbers::Of(Format::F32);
            let one = |suffix| Extra {
                suffix,
                span: Span::One,
                numbers: float,
            };
            let mut extras = vec![one(".weight_global_scale")];
            if group.section("input_activations")?.is_some() {
                extras.push(one(".input_global_scale"));
            }
            let scales = Numbers::Of(Format::FP8);
            let blocks = Blocks::Block(1, 16);
            Ok(scaled(
                ".weight_packed",
                Element::Fp4,
                blocks,
                scales,
                extras,
            ))
        }
        "mxfp4-pack-quantized" | "mxfp6-pack-quantized" | "mxfp8-quantized" => {
            let (weight, element) = match format {
                "mxfp4-pack-quantized" => (".weight_packed", Element::Fp4),
                "mxfp6-pack-quantized" => (".weight_packed", Element::Fp6),
                _ => (".weight", Element::Fp8),
            };
            Ok(scaled(
                weight,
                element,
                Blocks::Block(1, 32),
                byte,
                Vec::new(),
            ))
        }
        "mixed-precision" => Err(group.missing("format")),
        other => {
            let known = "`pack-quantized`, `int-quantized`, `float-quantized`, `naive-quantized`, `nvfp4-pack-quantized`, `mxfp4-pack-quantized`, `mxfp6-pack-quantized`, `mxfp8-quantized` or `dense`";
            Err(SchemeError::Value {
                key: at.key("format"),
                value: format!("`{}`", excerpt(other)),
                accepted: known,
            })
        }
    }
}

/// What shares a scale; what is left out follows from the size of a group.
fn blocks(weights: &Section<'_>) -> Read<Blocks> {
    let size = match weights.get("group_size") {
        Some(value) if value.as_i64() == Some(-1) => None,
        _ => weights.count("group_size")?,
    };
    match (weights.text("strategy")?, size) {
        (Some("tensor"), _) => Ok(Blocks::Tensor),
        (Some("channel"), _) => Ok(Blocks::Channel),
        (Some("group" | "tensor_group") | None, Some(size)) => Ok(Blocks::Block(1, size)),
        (Some("group" | "tensor_group"), None) => Err(weights.missing("group_size")),
        (Some("block"), _) => {
            let pair = weights.pair("block_structure")?;
            let (rows, columns) = pair.ok_or_else(|| weights.missing("block_structure"))?;
            Ok(Blocks::Block(rows, columns))
        }
        (None, None) if weights.get("group_size").is_some() => Ok(Blocks::Channel),
        (None, None) => Ok(Blocks::Tensor),
        (Some(_), _) => Err(weights.bad(
            "strategy",
            "`tensor`, `channel`, `group`, `tensor_group` or `block`",
        )),
    }
}

/// What activations that are scaled ahead of time leave beside the weight.
fn inputs(group: &Section<'_>) -> Read<Vec<Extra>> {
    let Some(input) = group.section("input_activations")? else {
        return Ok(Vec::new());
    };
    let is_static = match input.get("dynamic") {
        None => true,
        Some(value) => value.as_bool() == Some(false),
    };
    if !is_static {
        return Ok(Vec::new());
    }
    let one = |suffix, numbers| Extra {
        suffix,
        span: Span::One,
        numbers,
    };
    let mut extras = vec![one(".input_scale", Numbers::Source)];
    if input.flag("symmetric")? == Some(false) {
        extras.push(one(".input_zero_point", Numbers::Of(Format::I8)));
    }
    Ok(extras)
}
