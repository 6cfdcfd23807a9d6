//! What people fix before the solver decides: parts pinned to a device, devices that hold nothing,
//! how many layers llama.cpp offloads. Read from text, held against each other, turned into rules.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::shared;
use crate::cost::{Accounting, Place, Rule, Target, Unit};
use crate::hardware::{Rig, RigError};
use crate::plan::CPU;
use crate::plan::document::layers;

/// Something fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// A part of the model is on this device, or on `cpu`.
    Pin(Part, String),
    /// A device holds nothing of the model; `cpu`: nothing is offloaded.
    Forbid(String),
    /// So many GPUs share every block (vLLM, SGLang).
    TensorParallel(u32),
    /// llama.cpp's `-ngl`: so many of the blocks and the head, counted from the end, are on GPUs.
    Ngl(u32),
}

/// A part of a model that can be pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The input embedding.
    Embedding,
    /// These blocks, both ends included.
    Layers(RangeInclusive<u32>),
    /// The output head.
    Head,
}

/// What cannot be fixed so.
#[derive(Debug, thiserror::Error)]
pub enum ConstraintError {
    /// Not a pin.
    #[error(
        "`{0}` is no pin: write `layers 0-10=cuda1`, `layer 7=cpu`, `embedding=cpu` or `head=cuda0`"
    )]
    Pin(String),
    /// Nothing that can be fixed.
    #[error("`{0}` cannot be fixed: write `ngl=60`")]
    Fix(String),
    /// A device that the rig has not.
    #[error(transparent)]
    Device(#[from] RigError),
    /// RAM that the rig does not state.
    #[error("`{0}` needs RAM, and the rig states none: write such as `ram 64 GiB` into it")]
    NoRam(Constraint),
    /// Layers that the model has not.
    #[error("`{constraint}` speaks of layer {layer}, and the last one is {last}")]
    NoLayer {
        /// What was written.
        constraint: Constraint,
        /// The layer.
        layer: u32,
        /// The last that there is.
        last: u32,
    },
    /// The target puts this elsewhere in any case.
    #[error("`{constraint}` cannot be: {target} keeps {kept}")]
    Fixed {
        /// What was written.
        constraint: Constraint,
        /// The framework.
        target: Target,
        /// What it keeps where.
        kept: &'static str,
    },
    /// Of another framework.
    #[error("`{constraint}` is an option of llama.cpp, and the target is {target}")]
    NotOf {
        /// What was written.
        constraint: Constraint,
        /// The framework.
        target: Target,
    },
    /// A number of GPUs that cannot share every block.
    #[error("`{0}` is for vLLM and SGLang: no other target cuts a block")]
    NotShared(Constraint),
    /// A degree of which the rig has no group, or that divides no block.
    #[error(
        "`{constraint}` cannot be: the blocks of this model on this rig can be shared by {}", shared::list(.known)
    )]
    Degree {
        /// What was written.
        constraint: Constraint,
        /// What could be.
        known: Vec<u32>,
    },
    /// Two that exclude each other whatever the rig.
    #[error("`{0}` and `{1}` contradict each other")]
    Contradiction(Constraint, Constraint),
}

impl Constraint {
    /// Reads what stands behind `--pin`: a part, `=`, a device.
    ///
    /// # Errors
    /// Where it is not so.
    pub fn pin(text: &str) -> Result<Self, ConstraintError> {
        let wrong = || ConstraintError::Pin(text.to_owned());
        let (part, device) = text.split_once('=').ok_or_else(wrong)?;
        Ok(Self::Pin(
            part.parse().map_err(|()| wrong())?,
            device_name(device),
        ))
    }

    /// Reads what stands behind `--forbid`: a device.
    pub fn forbid(text: &str) -> Self {
        Self::Forbid(device_name(text))
    }

    /// Reads what stands behind `--fix`.
    ///
    /// # Errors
    /// Where it is nothing that can be fixed.
    pub fn fix(text: &str) -> Result<Self, ConstraintError> {
        let count = text
            .trim()
            .strip_prefix("ngl=")
            .and_then(|n| n.trim().parse().ok());
        count
            .map(Self::Ngl)
            .ok_or_else(|| ConstraintError::Fix(text.to_owned()))
    }

    /// The rules that it means for a chain of units.
    ///
    /// # Errors
    /// Where it speaks of what is not there, or the target decides otherwise in any case.
    fn rules(
        &self,
        accounting: &dyn Accounting,
        target: Target,
    ) -> Result<Vec<Rule>, ConstraintError> {
        let units = accounting.units();
        let (rig, all) = (accounting.rig(), 0..units.len());
        match self {
            Self::Forbid(device) => Ok(vec![Rule::Off(all, place(rig, device)?)]),
            Self::TensorParallel(degree) => shared::rules(self, *degree, accounting, target),
            Self::Ngl(count) => {
                if target != Target::LlamaCpp {
                    let constraint = self.clone();
                    return Err(ConstraintError::NotOf { constraint, target });
                }
                let on_host = units.len().saturating_sub(*count as usize);
                if on_host > 0 && rig.host().is_none() {
                    return Err(ConstraintError::NoRam(self.clone()));
                }
                let on = Rule::On(0..on_host, Place::Host);
                let off = Rule::Off(on_host..units.len(), Place::Host);
                Ok(vec![on, off])
            }
            Self::Pin(part, device) => {
                let place = place(rig, device)?;
                let Some(first) = self.first_unit(part, units, place, target)? else {
                    return Ok(Vec::new());
                };
                if place == Place::Host && rig.host().is_none() {
                    return Err(ConstraintError::NoRam(self.clone()));
                }
                let length = match part {
                    Part::Layers(layers) => (layers.end() - layers.start()) as usize + 1,
                    Part::Embedding | Part::Head => 1,
                };
                Ok(vec![Rule::On(first..first + length, place)])
            }
        }
    }

    /// The first unit of a part; none where the target has it there in any case.
    fn first_unit(
        &self,
        part: &Part,
        units: &[Unit],
        place: Place,
        target: Target,
    ) -> Result<Option<usize>, ConstraintError> {
        let at = |wanted: Unit| units.iter().position(|unit| *unit == wanted);
        let kept = |kept| ConstraintError::Fixed {
            constraint: self.clone(),
            target,
            kept,
        };
        // An engine that serves has the embedding on the first stage and the head on the last.
        let last = units.len().checked_sub(1);
        match part {
            Part::Embedding if target.server().is_some() => Ok(last.map(|_| 0)),
            Part::Head if target.server().is_some() => Ok(last),
            Part::Embedding => match (at(Unit::Embedding), place) {
                (None, Place::Host) => Ok(None),
                (None, Place::Device(_)) => Err(kept("the input embedding in RAM")),
                (found, _) => Ok(found),
            },
            Part::Head => match at(Unit::Head) {
                None => Err(kept(
                    "the head with the embedding, whose matrix it is: pin that",
                )),
                found => Ok(found),
            },
            Part::Layers(layers) => {
                let first = at(Unit::Block(*layers.start()));
                if first.is_some() && at(Unit::Block(*layers.end())).is_some() {
                    return Ok(first);
                }
                let blocks = units.iter().filter(|unit| matches!(unit, Unit::Block(_)));
                Err(ConstraintError::NoLayer {
                    constraint: self.clone(),
                    layer: *layers.end(),
                    last: (blocks.count() as u32).saturating_sub(1),
                })
            }
        }
    }
}

/// The rules of all constraints together.
///
/// # Errors
/// The first that cannot be, or the first two that contradict each other.
pub(super) fn rules(
    constraints: &[Constraint],
    accounting: &dyn Accounting,
    target: Target,
) -> Result<Vec<Rule>, ConstraintError> {
    let each: Result<Vec<_>, _> = constraints
        .iter()
        .map(|constraint| constraint.rules(accounting, target))
        .collect();
    let each = each?;
    for (index, rules) in each.iter().enumerate() {
        for (other, others) in each[..index].iter().enumerate() {
            let contradict = |a: &Rule| others.iter().any(|b| exclude(a, b));
            if rules.iter().any(contradict) {
                let (a, b) = (&constraints[other], &constraints[index]);
                return Err(ConstraintError::Contradiction(a.clone(), b.clone()));
            }
        }
    }
    Ok(each.into_iter().flatten().collect())
}

/// Whether two rules want one unit in two places, or at a place and not there.
fn exclude(a: &Rule, b: &Rule) -> bool {
    let (Rule::On(first, _) | Rule::Off(first, _)) = a else {
        return matches!((a, b), (Rule::Degree(one), Rule::Degree(other)) if one != other);
    };
    let (Rule::On(second, _) | Rule::Off(second, _)) = b else {
        return false;
    };
    let overlap = first.start.max(second.start) < first.end.min(second.end);
    let clash = match (a, b) {
        (Rule::On(_, here), Rule::On(_, there)) => here != there,
        (Rule::On(_, here), Rule::Off(_, there)) | (Rule::Off(_, here), Rule::On(_, there)) => {
            here == there
        }
        (Rule::Off(..), Rule::Off(..)) | (Rule::Degree(_), _) | (_, Rule::Degree(_)) => false,
    };
    overlap && clash
}

/// The place of a name.
fn place(rig: &Rig, device: &str) -> Result<Place, RigError> {
    match device {
        CPU => Ok(Place::Host),
        name => rig.find(name).map(Place::Device),
    }
}

/// A name as rigs have it: `cuda:1`, as torch writes it, is `cuda1`.
fn device_name(text: &str) -> String {
    let text = text.trim();
    match text.split_once(':') {
        Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{kind}{number}")
        }
        _ => text.to_owned(),
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.trim();
        match text {
            "embedding" => return Ok(Self::Embedding),
            "head" => return Ok(Self::Head),
            _ => {}
        }
        let run = text
            .strip_prefix("layers")
            .or(text.strip_prefix("layer"))
            .ok_or(())?;
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self::Layers(first..=last)),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedding => formatter.write_str("embedding"),
            Self::Head => formatter.write_str("head"),
            Self::Layers(run) if run.start() == run.end() => {
                write!(formatter, "layer {}", run.start())
            }
            Self::Layers(run) => write!(formatter, "layers {}", layers::text(run)),
        }
    }
}

impl fmt::Display for Constraint {
    /// The words that ask for it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pin(part @ Part::Layers(_), device) => {
                write!(formatter, "--pin \"{part}={device}\"")
            }
            Self::Pin(part, device) => write!(formatter, "--pin {part}={device}"),
            Self::Forbid(device) => write!(formatter, "--forbid {device}"),
            Self::TensorParallel(degree) => write!(formatter, "--tp {degree}"),
            Self::Ngl(count) => write!(formatter, "--fix ngl={count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_and_written_alike() {
        for text in [
            "layers 0-10=cuda1",
            "layer 7=cpu",
            "embedding=cpu",
            "head=cuda0",
        ] {
            let pin = Constraint::pin(text).unwrap();
            let written = pin.to_string().replace('"', "");
            assert_eq!(written, format!("--pin {text}"));
        }
        assert_eq!(
            Constraint::pin("layers 0-10 = cuda:1").unwrap(),
            Constraint::pin("layers 0-10=cuda1").unwrap()
        );
    }

    #[test]
    fn what_is_no_pin_is_told_how_to_write_one() {
        for text in [
            "",
            "layers 0-10",
            "layers 9-3=cuda0",
            "layers=cuda0",
            "norm=cuda0",
        ] {
            let error = Constraint::pin(text).unwrap_err();
            assert!(error.to_string().contains("layers 0-10=cuda1"), "{error}");
        }
        assert!(Constraint::fix("ngl=many").is_err());
        assert_eq!(Constraint::fix("ngl=60").unwrap(), Constraint::Ngl(60));
    }
}
