//! Low-bit floats with scales by block: FP8 of DeepSeek and its followers, FBGEMM, MXFP4.

use super::config::{classes, named, scheme, skipped};
use super::layout::{Blocks, Element, Extra, Layout, Numbers, Scaled, Span};
use super::pattern::Pattern;
use super::section::{Read, Section};
use super::{Class, Method, Scheme};
use crate::model::format::Format;

fn extra(suffix: &'static str, numbers: Numbers) -> Extra {
    let span = Span::One;
    Extra {
        suffix,
        span,
        numbers,
    }
}

pub(super) fn fp8(section: &Section<'_>, config: &Section<'_>) -> Read<Scheme> {
    let is_mx = section.text("quant_method")? == Some("mxfp8");
    let standard = if is_mx {
        Blocks::Block(1, 32)
    } else {
        Blocks::Block(128, 128)
    };
    let key = "weight_block_size";
    let blocks = match section.pair(key)? {
        Some((rows, columns)) => Blocks::Block(rows, columns),
        // Left out means the standard, and null means none.
        None if section.keys().any(|own| own == key) => Blocks::Tensor,
        None => standard,
    };
    let is_static = match section.text("activation_scheme")?.unwrap_or("dynamic") {
        text if text.eq_ignore_ascii_case("dynamic") => false,
        text if text.eq_ignore_ascii_case("static") => true,
        _ => return Err(section.bad("activation_scheme", "`dynamic` or `static`")),
    };
    // DeepSeek-V3.1 rounds its scales to exponents and yet stores floats; one byte is what
    // transformers holds of them, and MXFP8 stores.
    let scales = match section.text("scale_fmt")? {
        None | Some("float") if !is_mx => Format::F32,
        None | Some("float" | "ue8m0") => Format::I8,
        Some(_) => return Err(section.bad("scale_fmt", "`float` or `ue8m0`")),
    };
    let float = Numbers::Of(Format::F32);
    let layout = |element, blocks| {
        Layout::Scaled(Scaled {
            weight: ".weight",
            element,
            scale: ".weight_scale_inv",
            blocks,
            scales: Numbers::Of(scales),
            extras: is_static
                .then(|| extra(".activation_scale", float))
                .into_iter()
                .collect(),
        })
    };
    let keys = ["modules_to_not_convert", "ignored_layers"];
    let (mut rules, is_listed) = skipped(section, &keys)?;
    let expert_dtype = match section.text("expert_dtype")? {
        None => config.text("expert_dtype")?,
        own => own,
    };
    match expert_dtype {
        None | Some("fp8") => {}
        Some("fp4") => {
            let fp4 = layout(Element::Fp4, Blocks::Block(1, 32));
            rules.push(named(Pattern::Inside(".experts.".to_owned()), fp4));
        }
        Some(_) => return Err(section.bad("expert_dtype", "`fp8` or `fp4`")),
    }
    const WITHOUT_HEAD: &[Class] = &[Class::Linear, Class::Experts];
    const WITH_HEAD: &[Class] = &[Class::Linear, Class::Experts, Class::Head];
    let own = if is_listed { WITH_HEAD } else { WITHOUT_HEAD };
    rules.push(classes(own, layout(Element::Fp8, blocks)));
    Ok(scheme(Method::Fp8, rules))
}

/// `FbgemmFp8Linear` of transformers 5.24.
pub(super) fn fbgemm() -> Layout {
    Layout::Scaled(Scaled {
        weight: ".weight",
        element: Element::Fp8,
        scale: ".weight_scale",
        blocks: Blocks::Channel,
        scales: Numbers::Of(Format::F32),
        extras: Vec::new(),
    })
}

pub(super) fn mxfp4(section: &Section<'_>) -> Read<Scheme> {
    let (mut rules, _) = skipped(section, &["modules_to_not_convert"])?;
    rules.push(classes(&[Class::Experts], Layout::MxFp4));
    Ok(scheme(Method::MxFp4, rules))
}
