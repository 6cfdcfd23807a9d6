//! Reads which quantisation a configuration states: one dialect for each quantiser.
//!
//! Defaults are those of `transformers/utils/quantization_config.py` (5.24). What is not modelled is
//! refused by name; a value outside of what the quantiser takes is named with its key.

use serde_json::Value;

use super::layout::Layout;
use super::pattern::Pattern;
use super::section::{Read, SchemeError, Section, excerpt};
use super::{Class, Method, Rule, Scheme, Who, compressed, float8, model_opt, on_load, packed};

/// Files beside config.json in which older repositories state their quantisation, the first that is
/// there decides: of ModelOpt, AutoGPTQ and AutoAWQ.
pub const SIDE_FILES: [&str; 3] = [
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
];

/// Every matrix between embedding and head.
pub(super) const BLOCKS: &[Class] = &[Class::Linear, Class::OwnLinear, Class::Experts];
/// What is an `nn.Linear`, the head included.
pub(super) const EVERY_LINEAR: &[Class] =
    &[Class::Linear, Class::OwnLinear, Class::Experts, Class::Head];

pub(super) fn classes(classes: &'static [Class], layout: Layout) -> Rule {
    let who = Who::Classes(classes);
    Rule { who, layout }
}

pub(super) fn named(pattern: Pattern, layout: Layout) -> Rule {
    let who = Who::Named(pattern);
    Rule { who, layout }
}

impl Scheme {
    /// The quantisation that a config.json states; `None` where it states none.
    ///
    /// # Errors
    /// Where it is one that is not modelled, or contradicts itself.
    pub fn from_config(config: &Value) -> Result<Option<Self>, SchemeError> {
        let Some(map) = config.as_object() else {
            return Ok(None);
        };
        let top = Section::top(map, "");
        let text_config = top.get("text_config").and_then(Value::as_object);
        let text_config = text_config.map(|map| Section::top(map, "text_config"));
        for config in [Some(top), text_config].into_iter().flatten() {
            for key in ["quantization_config", "compression_config"] {
                if let Some(section) = config.section(key)? {
                    return read(&section, &config).map(Some);
                }
            }
            // MLX, which no framework but its own loads.
            if config.get("quantization").is_some() {
                return Err(SchemeError::Unknown("mlx".to_owned()));
            }
        }
        Ok(None)
    }

    /// The quantisation that one of [`SIDE_FILES`] states.
    ///
    /// # Errors
    /// Where it is one that is not modelled, or contradicts itself.
    pub fn from_side_file(file: &str, text: &Value) -> Result<Self, SchemeError> {
        let Some(map) = text.as_object() else {
            return Err(SchemeError::Missing(format!("{file}: an object")));
        };
        let section = Section::top(map, "");
        match (file, section.text("quant_method")?) {
            ("hf_quant_config.json", _) => {
                let inner = section.section("quantization")?;
                model_opt::read(&inner.unwrap_or(section))
            }
            (_, Some(_)) => read(&section, &section),
            ("quant_config.json", None) => packed::awq(&section),
            (_, None) => packed::gptq(&section),
        }
    }
}

fn read(section: &Section<'_>, config: &Section<'_>) -> Read<Scheme> {
    let is_on = |key| section.flag(key).map(|flag| flag == Some(true));
    if is_on("load_in_8bit")? || is_on("load_in_4bit")? {
        return on_load::bitsandbytes(section);
    }
    match section.text("quant_method")? {
        Some("gptq") => packed::gptq(section),
        Some("awq") => packed::awq(section),
        Some("auto-round" | "intel/auto-round") => packed::auto_round(section),
        Some("bitsandbytes") => on_load::bitsandbytes(section),
        Some("fp8" | "mxfp8") => float8::fp8(section, config),
        Some("fbgemm_fp8") => skipping(section, Method::FbgemmFp8, float8::fbgemm()),
        Some("compressed-tensors") => compressed::read(section),
        Some("modelopt" | "modelopt_fp4" | "modelopt_mixed") => model_opt::read(section),
        Some("mxfp4") => float8::mxfp4(section),
        Some("hqq") => on_load::hqq(section),
        Some("aqlm") => on_load::aqlm(section),
        Some("quanto") => on_load::quanto(section),
        Some("torchao") => on_load::torchao(section),
        Some("eetq") => skipping(section, Method::Eetq, Layout::Eetq),
        Some("bitnet") => skipping(section, Method::BitNet, Layout::BitNet),
        Some("exl2") => Ok(in_headers(Method::Exl2, Layout::Exl2)),
        Some("exl3") => Ok(in_headers(Method::Exl3, Layout::Exl3)),
        Some(other) => Err(SchemeError::Unknown(excerpt(other))),
        // ModelOpt wrote its own keys into config.json before it had a name for them.
        None if section.get("quant_algo").is_some() => model_opt::read(section),
        None if section.get("config_groups").is_some() => compressed::read(section),
        None => Err(section.missing("quant_method")),
    }
}

pub(super) fn scheme(method: Method, rules: Vec<Rule>) -> Scheme {
    let kv_cache = None;
    Scheme {
        method,
        kv_cache,
        rules,
    }
}

fn in_headers(method: Method, layout: Layout) -> Scheme {
    scheme(method, vec![classes(EVERY_LINEAR, layout)])
}

/// The modules that a list leaves alone, and whether there is a list: without one transformers
/// leaves the head alone (`HfQuantizer.get_modules_to_not_convert`).
pub(super) fn skipped(section: &Section<'_>, keys: &[&str]) -> Read<(Vec<Rule>, bool)> {
    for key in keys {
        if let Some(list) = section.list(key)? {
            let rule = |text: &&str| {
                let text = text.strip_suffix(".weight").unwrap_or(text);
                let pattern = section.pattern(key, text, Pattern::module)?;
                Ok(named(pattern, Layout::Plain))
            };
            return Ok((list.iter().map(rule).collect::<Read<_>>()?, true));
        }
    }
    Ok((Vec::new(), false))
}

/// A quantiser of plain linear layers with a list of exceptions.
pub(super) fn skipping(section: &Section<'_>, method: Method, layout: Layout) -> Read<Scheme> {
    let keys = ["modules_to_not_convert"];
    let (rules, is_listed) = skipped(section, &keys)?;
    Ok(scheme(method, linears(rules, is_listed, layout)))
}

/// Rules for what is an `nn.Linear` between embedding and head; experts in one parameter are none.
pub(super) fn linears(mut rules: Vec<Rule>, is_listed: bool, layout: Layout) -> Vec<Rule> {
    const WITHOUT_HEAD: &[Class] = &[Class::Linear, Class::OwnLinear];
    const WITH_HEAD: &[Class] = &[Class::Linear, Class::OwnLinear, Class::Head];
    let own = if is_listed { WITH_HEAD } else { WITHOUT_HEAD };
    rules.push(classes(own, layout));
    rules
}
