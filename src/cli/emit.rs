//! `shardplan emit`.

use super::args::EmitArguments;
use super::{Failure, Outcome, output, render};
use crate::emit;
use crate::plan::Document;

pub(super) fn run(arguments: &EmitArguments) -> Result<Outcome, Failure> {
    let path = &arguments.plan;
    let unreadable = |error| format!("`{}` can't be read: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let emission = match Document::from_yaml(&text, &path.to_string_lossy())? {
        Document::Plan(plan) => emit::emit(&plan, arguments.target)?,
        Document::Fleet(fleet) => emit::fleet::emit(&fleet, arguments.target)?,
    };
    match &arguments.output {
        Some(folder) => {
            let failed = |error| format!("`{}` can't be made: {error}", folder.display());
            std::fs::create_dir_all(folder).map_err(failed)?;
            for (name, contents) in &emission.files {
                output::write_file(&folder.join(name), contents)?;
                output::remark(&format!("wrote `{}`", folder.join(name).display()))?;
            }
            output::print(&format!("{}\n", emission.launch))?;
        }
        None => output::print(&render::emission(&emission))?,
    }
    Ok(Outcome::Done)
}
