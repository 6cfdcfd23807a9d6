//! The rows that are printed.

use std::fmt::Write as _;
use std::time::Instant;

/// Rows, of the instances whose name holds a filter.
pub(crate) struct Table {
    filter: String,
    rows: Vec<String>,
}

/// One answer, in the instance's own unit.
pub(crate) struct Answer {
    pub(crate) value: f64,
    pub(crate) bound: f64,
    pub(crate) proof: String,
}

impl Table {
    pub(crate) fn new(filter: String) -> Self {
        Self {
            filter,
            rows: Vec::new(),
        }
    }

    /// Solves one instance, unless the filter leaves it out, and keeps its row.
    #[allow(clippy::print_stderr, reason = "an example shows its progress")]
    pub(crate) fn solve(
        &mut self,
        name: &str,
        known: &str,
        answer: impl FnOnce() -> Option<Answer>,
    ) {
        if !name.contains(&self.filter) {
            return;
        }
        let start = Instant::now();
        let answer = answer();
        let seconds = start.elapsed().as_secs_f64();
        let row = match answer {
            Some(Answer {
                value,
                bound,
                proof,
            }) => {
                let gap = 100.0 * (value - bound).abs() / value.abs().max(f64::MIN_POSITIVE);
                let gap = match gap {
                    0.0 => "0".to_owned(),
                    gap => format!("{gap:.2} %"),
                };
                format!(
                    "| {name} | {known} | {} | {gap} | {proof} | {seconds:.3} |",
                    short(value)
                )
            }
            None => format!("| {name} | {known} | none found | | | {seconds:.3} |"),
        };
        eprintln!("{row}");
        self.rows.push(row);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "| instance | best known | ours | gap | proof of the bound | seconds |\n\
             | --- | --- | --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            let _ = writeln!(text, "{row}");
        }
        text
    }
}

/// Seven digits, as the published values have at most.
fn short(value: f64) -> String {
    let digits = (6 - value.abs().max(1e-9).log10().floor() as i32).clamp(0, 9);
    format!("{value:.*}", digits as usize)
}
