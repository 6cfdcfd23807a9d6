//! What people fix of GPUs that share blocks: how many do, and which are left out of the groups.

use super::{Constraint, ConstraintError};
use crate::cost::{Accounting, Rule, Target};
use crate::hardware::Rig;
use crate::plan::CPU;

/// The rule of a degree.
///
/// # Errors
/// Where the target cuts no block, or no layout has groups of so many.
pub(super) fn rules(
    constraint: &Constraint,
    degree: u32,
    accounting: &dyn Accounting,
    target: Target,
) -> Result<Vec<Rule>, ConstraintError> {
    let constraint = constraint.clone();
    if target.server().is_none() {
        return Err(ConstraintError::NotShared(constraint));
    }
    let shapes = accounting.ranks().into_iter().flatten();
    let shapes = shapes.filter_map(|layout| layout.shape());
    let mut known: Vec<_> = shapes.map(|shape| shape.degree).collect();
    known.dedup();
    match known.contains(&degree) {
        true => Ok(vec![Rule::Degree(degree)]),
        false => Err(ConstraintError::Degree { constraint, known }),
    }
}

/// Degrees in words.
pub(super) fn list(degrees: &[u32]) -> String {
    let degrees: Vec<_> = degrees
        .iter()
        .map(|degree| format!("`--tp {degree}`"))
        .collect();
    match degrees.is_empty() {
        true => "no group of GPUs".to_owned(),
        false => degrees.join(", "),
    }
}

/// A rig in which forbidden cards have no room.
///
/// # Errors
/// Where one is not of the rig.
pub(super) fn without_forbidden(
    rig: &Rig,
    constraints: &[Constraint],
) -> Result<Rig, ConstraintError> {
    let forbidden = constraints
        .iter()
        .filter_map(|constraint| match constraint {
            Constraint::Forbid(name) if name != CPU => Some(rig.find(name)),
            Constraint::Forbid(_)
            | Constraint::Pin(..)
            | Constraint::Ngl(_)
            | Constraint::TensorParallel(_) => None,
        });
    let forbidden = forbidden.collect::<Result<Vec<_>, _>>()?;
    Ok(rig.clone().without(forbidden))
}
