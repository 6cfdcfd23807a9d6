//! What no placement exceeds, by prices of the nodes.
//!
//! Let a flow λ be reached. Every layer is then served by nodes whose rates sum to λ or more: a
//! *cover*, a choice of pairs (class c, run k) with `Σ T_c(k) ≥ λ`. A node of class c that holds k
//! layers is in the covers of k layers, so at a price `π_c` a node it costs each of them `π_c / k`.
//! If every cover costs 1 or more, then `Σ_c N_c·π_c ≥ L`. Prices for which this is false prove that
//! λ is out of reach. The best prices are a linear program; its rows, one for each cover, are added
//! as they are violated, the cheapest cover of each round being found by branch and bound.
//!
//! With covers of fractional nodes this is the area bound `L·λ ≤ Σ_c N_c·max_k k·min(T_c(k), λ)`.

use super::{Class, program};

/// A flow that is out of reach, as low as the prices prove.
pub(super) fn bound(classes: &[Class], n_layers: usize) -> f64 {
    let mut high: f64 = classes
        .iter()
        .map(|class| class.nodes.len() as f64 * class.rates.iter().copied().fold(0.0, f64::max))
        .sum();
    let (mut low, sum) = (0.0, high);
    let mut rows = Vec::new();
    while high - low > 1e-10 * high && high > 1e-9 * sum {
        let middle = 0.5 * (low + high);
        if out_of_reach(classes, n_layers, middle, &mut rows) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Whether prices prove that this flow cannot be reached.
fn out_of_reach(classes: &[Class], n_layers: usize, flow: f64, covers: &mut Vec<Cover>) -> bool {
    let counts: Vec<f64> = classes
        .iter()
        .map(|class| class.nodes.len() as f64)
        .collect();
    let pieces = pieces(classes, flow);
    // What covered a larger flow covers this one.
    covers.retain(|cover| {
        cover
            .iter()
            .map(|(class, count)| rate(classes, *class, *count))
            .sum::<f64>()
            >= flow
    });
    loop {
        let rows: Vec<Vec<f64>> = covers
            .iter()
            .map(|cover| row(cover, classes.len()))
            .collect();
        let Some(prices) = program::cheapest(&counts, &rows) else {
            return false;
        };
        let Some((cost, cover)) = cheapest_cover(&pieces, &prices, flow) else {
            return true;
        };
        let spent: f64 = counts
            .iter()
            .zip(&prices)
            .map(|(count, price)| count * price)
            .sum();
        // Divided by the cheapest cover's cost the prices are valid, whatever the solver's rounding.
        if cost > 0.0 && spent / cost < n_layers as f64 * (1.0 - 1e-9) {
            return true;
        }
        // A cover that is a row already is violated by no more than the solver's rounding.
        if cost > 1.0 - 1e-9 || covers.contains(&cover) {
            return false;
        }
        covers.push(cover);
    }
}

/// Pairs of a class and a run.
type Cover = Vec<(usize, usize)>;

fn rate(classes: &[Class], class: usize, count: usize) -> f64 {
    classes[class].rates[count - 1]
}

/// What a cover costs at a price of one for each class.
fn row(cover: &Cover, n_classes: usize) -> Vec<f64> {
    let mut row = vec![0.0; n_classes];
    for (class, count) in cover {
        row[*class] += 1.0 / *count as f64;
    }
    row
}

/// What can be in a cover: a class, a run, and its rate up to the flow. Where a longer run has no
/// smaller rate, the shorter one is never needed.
fn pieces(classes: &[Class], flow: f64) -> Vec<(usize, usize, f64)> {
    let mut pieces = Vec::new();
    for (class, Class { rates, .. }) in classes.iter().enumerate() {
        let mut most = 0.0;
        for (index, rate) in rates.iter().enumerate().rev() {
            let rate = rate.min(flow);
            if rate > most {
                most = rate;
                pieces.push((class, index + 1, rate));
            }
        }
    }
    pieces
}

/// The cheapest pieces whose rates sum to the flow, and their cost; none where no piece has a rate.
fn cheapest_cover(
    pieces: &[(usize, usize, f64)],
    prices: &[f64],
    flow: f64,
) -> Option<(f64, Cover)> {
    let mut sorted: Vec<(f64, f64, usize, usize)> = pieces
        .iter()
        .map(|(class, count, rate)| (prices[*class] / *count as f64, *rate, *class, *count))
        .collect();
    // The best value first, so that the fractional rest bounds the branch.
    sorted.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
    let mut best = None;
    branch(&sorted, 0.0, flow, &mut Vec::new(), &mut best);
    best
}

fn branch(
    pieces: &[(f64, f64, usize, usize)],
    cost: f64,
    lacking: f64,
    taken: &mut Cover,
    best: &mut Option<(f64, Cover)>,
) {
    if lacking <= 0.0 {
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            *best = Some((cost, taken.clone()));
        }
        return;
    }
    for (at, (price, rate, class, count)) in pieces.iter().enumerate() {
        let at_least = cost + price * lacking / rate;
        if best.as_ref().is_some_and(|(least, _)| at_least >= *least) {
            return;
        }
        taken.push((*class, *count));
        branch(&pieces[at..], cost + price, lacking - rate, taken, best);
        taken.pop();
    }
}
