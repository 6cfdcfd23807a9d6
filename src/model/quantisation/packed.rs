//! GPTQ, AWQ and AutoRound: integers packed into 32-bit words, a scale each group of columns.

use super::config::{BLOCKS, classes, named, scheme, skipped};
use super::layout::{Group, Layout};
use super::pattern::Pattern;
use super::section::{Read, Section};
use super::{Class, Method, Rule, Scheme};

pub(super) fn gptq(section: &Section<'_>) -> Read<Scheme> {
    if section.text("checkpoint_format")? == Some("marlin") {
        return Err(section.bad("checkpoint_format", "`gptq` or `gptq_v2`"));
    }
    if !matches!(section.text("pack_dtype")?, None | Some("int32")) {
        return Err(section.bad("pack_dtype", "`int32`"));
    }
    let base = gptq_layout(section, 4, Group::Of(128))?;
    let (bits, group) = base;
    let layout = |(bits, group)| Layout::Gptq { bits, group };
    let mut rules = Vec::new();
    // GPTQModel's rules for single modules; `-:` leaves alone, and the first that matches wins.
    if let Some(dynamic) = section.section("dynamic")? {
        for key in dynamic.keys() {
            let (is_left, text) = match (key.strip_prefix("-:"), key.strip_prefix("+:")) {
                (Some(text), _) => (true, text),
                (_, text) => (false, text.unwrap_or(key)),
            };
            let own = match dynamic.section(key)? {
                Some(own) if !is_left => layout(gptq_layout(&own, bits, group)?),
                _ => Layout::Plain,
            };
            let pattern = section.pattern("dynamic", text, Pattern::start)?;
            rules.push(named(pattern, own));
        }
    }
    if section.flag("lm_head")? == Some(true) {
        rules.push(classes(&[Class::Head], layout(base)));
    }
    match section.get("modules_in_block_to_quantize") {
        None => rules.extend([shared_gate(), classes(BLOCKS, layout(base))]),
        Some(value) => {
            let key = "modules_in_block_to_quantize";
            let bad = || section.bad(key, "a list of lists of names");
            for list in value.as_array().ok_or_else(bad)? {
                let names = list.as_array().cloned();
                let names = names.unwrap_or_else(|| vec![list.clone()]);
                for name in names {
                    let pattern = Pattern::last(name.as_str().ok_or_else(bad)?);
                    rules.push(named(pattern, layout(base)));
                }
            }
        }
    }
    Ok(scheme(Method::Gptq, rules))
}

/// The single row that weighs shared experts, which GPTQModel leaves alone (`gate:!`).
fn shared_gate() -> Rule {
    named(Pattern::last("shared_expert_gate"), Layout::Plain)
}

fn gptq_layout(section: &Section<'_>, bits: u64, group: Group) -> Read<(u64, Group)> {
    let accepted = "2, 3, 4, 5, 6, 7 or 8";
    let bits = section.one_of("bits", bits, &[2, 3, 4, 5, 6, 7, 8], accepted)?;
    Ok((bits, section.group("group_size", group)?))
}

pub(super) fn awq(section: &Section<'_>) -> Read<Scheme> {
    let version = match section.text("version")? {
        None => section.text("format")?.map(|text| ("format", text)),
        Some(text) => Some(("version", text)),
    };
    // The others pack along the columns, and pad their scales.
    if let Some((key, text)) = version
        && !text.eq_ignore_ascii_case("gemm")
    {
        return Err(section.bad(key, "`gemm`"));
    }
    let key = |new, old| if section.get(new).is_some() { new } else { old };
    let bits = section.one_of(key("bits", "w_bit"), 4, &[4, 8], "4 or 8")?;
    let group = section.group(key("group_size", "q_group_size"), Group::Of(128))?;
    let (mut rules, _) = skipped(section, &["modules_to_not_convert"])?;
    rules.push(classes(BLOCKS, Layout::Awq { bits, group }));
    Ok(scheme(Method::Awq, rules))
}

pub(super) fn auto_round(section: &Section<'_>) -> Read<Scheme> {
    let packing = section
        .text("packing_format")?
        .unwrap_or("auto_round:auto_gptq");
    let is_awq = packing.contains("awq");
    if !is_awq && !packing.contains("gptq") {
        let accepted = "`auto_round:auto_gptq` or `auto_round:auto_awq`";
        return Err(section.bad("packing_format", accepted));
    }
    let (bits, group) = gptq_layout(section, 4, Group::Of(128))?;
    let layout = |bits, group| {
        if is_awq {
            Layout::Awq { bits, group }
        } else {
            Layout::Gptq { bits, group }
        }
    };
    let mut rules = vec![shared_gate()];
    if let Some(extra) = section.section("extra_config")? {
        for key in extra.keys() {
            let own = extra.section(key)?.ok_or_else(|| extra.missing(key))?;
            let own = match own.count("bits")? {
                Some(16..) => Layout::Plain,
                _ => {
                    let (bits, group) = gptq_layout(&own, bits, group)?;
                    layout(bits, group)
                }
            };
            rules.push(named(Pattern::Exact(key.to_owned()), own));
        }
    }
    let (skips, _) = skipped(section, &["modules_to_not_convert"])?;
    rules.extend(skips);
    rules.push(classes(BLOCKS, layout(bits, group)));
    Ok(scheme(Method::AutoRound, rules))
}
