//! A small linear program through the solver crate, which knows nothing of what it means.

use good_lp::solvers::SolverModel as _;
use good_lp::{Expression, Solution as _, variable, variables};

/// `min cost·x` with `row·x ≥ 1` for each row and `0 ≤ x ≤ 1,000`; none where the solver fails.
pub(in crate::solve) fn cheapest(costs: &[f64], rows: &[Vec<f64>]) -> Option<Vec<f64>> {
    let mut names = variables!();
    let unknowns: Vec<_> = costs
        .iter()
        .map(|_| names.add(variable().min(0).max(1_000)))
        .collect();
    let sum = |factors: &[f64]| -> Expression {
        let terms = factors.iter().zip(&unknowns);
        terms.map(|(factor, unknown)| *factor * *unknown).sum()
    };
    let rows: Vec<_> = rows.iter().map(|row| sum(row).geq(1)).collect();
    let model = names
        .minimise(sum(costs))
        .using(good_lp::microlp)
        .with_all(rows);
    let solution = model.solve().ok()?;
    Some(
        unknowns
            .iter()
            .map(|unknown| solution.value(*unknown))
            .collect(),
    )
}
