//! What no dealing is worth more than, by prices of the kinds of devices: where no part is worth more
//! than its devices cost, all parts together are worth no more than all devices.
//!
//! The best prices are a linear program with a row for each part. Rows are added as parts turn out to be
//! worth more than they cost.

use crate::solve::Stop;
use crate::solve::flow::program;

/// Kinds of devices, and who tells what parts of them are worth.
pub struct Market<'a> {
    /// Devices of each kind.
    pub counts: &'a [usize],
    /// At these prices the part that is worth the most for its price, where one is worth more than a
    /// number for a price of one.
    pub offer: &'a dyn Fn(&[f64], f64) -> Option<Offer>,
    /// Ends the search with the best bound so far; what is offered then is not looked at.
    pub stop: &'a Stop,
}

/// Devices, and what they are worth together.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// Of each kind, which may be fractions.
    pub devices: Vec<f64>,
    /// Their worth.
    pub worth: f64,
    /// No part is worth more for a price of one.
    pub most: f64,
}

/// Each adds a row; bounds hardly fall after these.
const MOST_ROUNDS: usize = 40;
/// A price that is not nothing, as a share of what devices cost on average, so that each part has one.
const LEAST_PRICE: f64 = 1e-3;
/// Far above all other prices.
const DEAR: f64 = 1e6;

impl Market<'_> {
    /// What no dealing is worth more than; endless where prices do not tell.
    pub fn bound(&self) -> f64 {
        let n_kinds = self.counts.len();
        let costs: Vec<f64> = self.counts.iter().map(|count| *count as f64).collect();
        let n_devices: f64 = costs.iter().sum();
        let mut offers: Vec<Offer> = Vec::new();
        // What each kind is worth with as little as can be of the others.
        for kind in 0..n_kinds {
            let price = |other: usize| if other == kind { 1.0 } else { DEAR };
            let prices: Vec<_> = (0..n_kinds).map(price).collect();
            offers.extend((self.offer)(&prices, 0.0));
            if self.stop.is_set() {
                return f64::INFINITY;
            }
        }
        let each = |offer: &Offer| offer.worth / offer.devices.iter().sum::<f64>();
        // In this unit prices are about one.
        let unit = offers.iter().map(each).fold(0.0, f64::max);
        if unit <= 0.0 {
            return 0.0;
        }
        if !unit.is_finite() {
            return f64::INFINITY;
        }
        let mut bound = f64::INFINITY;
        for _ in 0..MOST_ROUNDS {
            let row = |offer: &Offer| {
                let devices = offer.devices.iter();
                devices.map(|n| n * unit / offer.worth).collect()
            };
            let rows: Vec<Vec<f64>> = offers.iter().map(row).collect();
            let Some(mut prices) = program::cheapest(&costs, &rows) else {
                return bound;
            };
            let spent = |prices: &[f64]| -> f64 {
                let all = costs.iter().zip(prices);
                all.map(|(count, price)| count * price).sum()
            };
            let least = LEAST_PRICE * spent(&prices) / n_devices;
            for price in &mut prices {
                *price = price.max(least) * unit;
            }
            let offer = (self.offer)(&prices, 1.0);
            if self.stop.is_set() {
                return bound;
            }
            let Some(offer) = offer else {
                // None is worth more than it costs, but for what is not told apart.
                return bound.min(spent(&prices) * (1.0 + CLOSE));
            };
            bound = bound.min(spent(&prices) * offer.most);
            offers.push(offer);
        }
        bound
    }
}

/// What is worth this share more than it costs is not told apart from what is not.
const CLOSE: f64 = 1e-3;
