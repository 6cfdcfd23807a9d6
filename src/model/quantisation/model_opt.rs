//! NVIDIA ModelOpt: one algorithm for the model, or one for each module.
//!
//! Source: `export/quant_utils.py` of nvidia-modelopt 0.47, which writes the same keys into
//! `hf_quant_config.json` and, renamed, into config.json. Algorithms with AWQ and SVD are not read:
//! they store factors whose numbers their configuration does not tell.

use super::config::{EVERY_LINEAR, classes, named, scheme};
use super::layout::{Blocks, Element, Extra, Layout, Numbers, Scaled, Span};
use super::pattern::Pattern;
use super::section::{Read, SchemeError, Section, excerpt};
use super::{Method, Scheme};
use crate::model::format::Format;

pub(super) fn read(section: &Section<'_>) -> Read<Scheme> {
    // A file of its own nests it, and config.json does not.
    if let Some(inner) = section.section("quantization")? {
        return read(&inner);
    }
    let mut rules = Vec::new();
    for key in ["exclude_modules", "ignore"] {
        for text in section.list(key)?.unwrap_or_default() {
            let text = text.trim_end_matches('.');
            let pattern = section.pattern(key, text, Pattern::wildcard)?;
            rules.push(named(pattern, Layout::Plain));
        }
    }
    match section.text("quant_algo")? {
        None if section.get("kv_cache_quant_algo").is_none() => {
            return Err(section.missing("quant_algo"));
        }
        // Only the cache is quantised.
        None => {}
        Some("MIXED_PRECISION") => {
            let key = "quantized_layers";
            let modules = section.section(key)?;
            let modules = modules.ok_or_else(|| section.missing(key))?;
            for name in modules.keys() {
                let own = modules.section(name)?;
                let own = own.ok_or_else(|| modules.missing(name))?;
                let pattern = modules.pattern(name, name, Pattern::wildcard)?;
                rules.push(named(pattern, layout(&own)?));
            }
        }
        Some(_) => rules.push(classes(EVERY_LINEAR, layout(section)?)),
    }
    let kv_cache = match section.get("kv_cache_scheme") {
        Some(value) if value.is_object() => Some(Format::FP8),
        _ => {
            let stated = section.text("kv_cache_quant_algo")?;
            let stated = stated.or(section.text("kv_cache_scheme")?);
            match stated {
                Some("FP8") => Some(Format::FP8),
                Some("NVFP4") => Some(Format::NVFP4),
                Some("INT8") => Some(Format::I8),
                _ => None,
            }
        }
    };
    Ok(Scheme {
        kv_cache,
        ..scheme(Method::ModelOpt, rules)
    })
}

fn layout(section: &Section<'_>) -> Read<Layout> {
    let float = Numbers::Of(Format::F32);
    let one = |suffix| Extra {
        suffix,
        span: Span::One,
        numbers: float,
    };
    let scaled = |element, blocks, scales, extras: Vec<Extra>| {
        Ok(Layout::Scaled(Scaled {
            weight: ".weight",
            element,
            scale: ".weight_scale",
            blocks,
            scales,
            extras,
        }))
    };
    let input = || vec![one(".input_scale")];
    let groups = |default| {
        let size = section.count("group_size")?.unwrap_or(default);
        Ok(Blocks::Block(1, size))
    };
    let two_scales = vec![one(".weight_scale_2")];
    match section.text("quant_algo")? {
        Some("FP8") => scaled(Element::Fp8, Blocks::Tensor, float, input()),
        Some("FP8_PER_CHANNEL_PER_TOKEN") => {
            scaled(Element::Fp8, Blocks::Channel, float, Vec::new())
        }
        Some("FP8_PB_WO") => {
            let blocks = Blocks::Block(128, 128);
            scaled(Element::Fp8, blocks, float, Vec::new())
        }
        Some("NVFP4") => {
            let extras = [two_scales, input()].concat();
            scaled(Element::Fp4, groups(16)?, Numbers::Of(Format::FP8), extras)
        }
        Some("W4A16_NVFP4") => scaled(
            Element::Fp4,
            groups(16)?,
            Numbers::Of(Format::FP8),
            two_scales,
        ),
        Some("MXFP8") => {
            let byte = Numbers::Of(Format::I8);
            scaled(Element::Fp8, groups(32)?, byte, Vec::new())
        }
        Some("W8A16") => scaled(Element::Int8, Blocks::Channel, float, Vec::new()),
        Some(other) => Err(SchemeError::Unknown(format!("modelopt {}", excerpt(other)))),
        None => Err(section.missing("quant_algo")),
    }
}
