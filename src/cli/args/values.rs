//! What stands behind options, as values; what only model and rig can tell is checked later.

use crate::scenario::Constraint;
use crate::solve::Backend;
use crate::solve::replicas::Number;
use crate::units::Bytes;

pub(super) fn reserve(text: &str) -> Result<(String, Bytes), String> {
    let (device, size) = text
        .split_once('=')
        .ok_or_else(|| "write a device and a size, such as `cuda0=1GiB`".to_owned())?;
    let size = size.parse().map_err(|error| format!("{error}"))?;
    Ok((device.to_owned(), size))
}

/// Only so that the parser's type is that of the others: a name is checked against the rig.
pub(super) fn forbid(text: &str) -> Result<Constraint, String> {
    match text.trim() {
        "" => Err("write a device, such as `cuda2`".to_owned()),
        device => Ok(Constraint::forbid(device)),
    }
}

/// Only so that a degree is fixed as all else is: whether it can be depends on model and rig.
pub(super) fn degree(text: &str) -> Result<Constraint, String> {
    let degree = text.trim().parse().ok().filter(|degree| *degree > 0);
    degree
        .map(Constraint::TensorParallel)
        .ok_or_else(|| "write how many GPUs share a block, such as `2`".to_owned())
}

/// One is a plan as it is without.
pub(super) fn replicas(text: &str) -> Result<Number, String> {
    match text.trim() {
        "auto" => Ok(Number::Auto),
        text => text
            .parse()
            .ok()
            .filter(|n| (1..=1000).contains(n))
            .map(Number::Of)
            .ok_or_else(|| "write how many pipelines, such as `2`, or `auto`".to_owned()),
    }
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let percent = text
        .trim()
        .strip_suffix('%')
        .and_then(|digits| digits.trim().parse().ok());
    percent
        .filter(|percent| (0.0..=90.0).contains(percent))
        .map(|percent: f64| percent / 100.0)
        .ok_or_else(|| "write a share from `0%` to `90%`, such as `5%`".to_owned())
}

pub(super) fn backend(name: &str) -> Result<Backend, String> {
    let known = Backend::ALL
        .iter()
        .find(|backend| backend.to_string().eq_ignore_ascii_case(name));
    let names = || {
        Backend::ALL
            .map(|backend| format!("`{backend}`"))
            .join(" and ")
    };
    known
        .copied()
        .ok_or_else(|| format!("this build has {}", names()))
}
