//! What an engine serves with a plan, and with its own split or a simple rule.

use super::{BOLD, DIM, short};
use crate::plan::Plan;

/// A line for what is served and one for what others keep; nothing where the target serves none.
pub(super) fn lines(plan: &Plan) -> String {
    let Some(service) = plan.service else {
        return String::new();
    };
    let others = plan.baselines.iter().filter_map(|baseline| {
        let fits = if baseline.feasible { "" } else { ", too few" };
        let kept = baseline.resident_tokens?;
        Some(format!("{} keeps {kept}{fits}", baseline.name))
    });
    let others: Vec<_> = others.collect();
    format!(
        "{DIM}serve{DIM:#}   {BOLD}{} tokens{BOLD:#} in the cache, about {} tokens/s of {} together\n        {}\n",
        service.resident_tokens,
        short(service.tokens_per_second),
        match service.sequences {
            1 => "1 sequence".to_owned(),
            n => format!("{n} sequences"),
        },
        others.join("; "),
    )
}
