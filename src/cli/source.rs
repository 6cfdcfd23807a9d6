//! The model that a command names, and what is told meanwhile.

use std::io::{self, IsTerminal, Write};

use super::Failure;
use super::args::LoadArguments;
use crate::model::source::{Event, Sources};
use crate::model::{self, Model};

/// Reads the model, from where the environment says that models are.
pub(super) fn open(name: &str) -> Result<Model, Failure> {
    let sources = Sources {
        tell,
        ..Sources::of_environment()
    };
    Ok(model::open_from(name, &sources)?)
}

/// Reads the model with what is to stand beside it.
pub(super) fn open_with_extras(name: &str, load: &LoadArguments) -> Result<Model, Failure> {
    let mut model = open(name)?;
    if load.mtp {
        model = model.with_blocks_ahead()?;
    }
    for adapter in &load.lora {
        model = model.with_adapter(adapter)?;
    }
    if let Some(projector) = &load.mmproj {
        model = model.with_projector(projector)?;
    }
    if let Some(draft) = &load.draft {
        model = model.with_draft(open(draft)?)?;
    }
    Ok(model)
}

/// Remarks are for everybody, progress for whoever watches.
fn tell(event: &Event<'_>) {
    let mut stream = anstream::stderr().lock();
    // Where even standard error is gone there is nobody to tell.
    let _ = match event {
        Event::Remark(remark) => writeln!(stream, "note: {remark}"),
        Event::Fetching {
            file,
            number,
            count,
        } if io::stderr().is_terminal() => {
            writeln!(stream, "reading the header of {file} ({number} of {count})")
        }
        Event::Fetching { .. } => Ok(()),
    };
}
