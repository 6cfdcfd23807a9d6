//! Prices at which blocks would change their recipe: those at which plans are bounded.

use crate::cost::frontier::{Frontiers, Way};
use crate::cost::llama_cpp::mix::Mixed;
use crate::cost::{Matrices, Place};

/// So many prices of a kind at the most, and how far they are from each other at the least.
const MOST_PRICES: usize = 24;
const APART: f64 = 1.02;

/// What a plan is charged for its penalty, a byte on GPUs with the time to read it, a byte of RAM, and
/// a picosecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prices {
    pub(super) penalty: f64,
    pub(super) device: f64,
    pub(super) ram: f64,
    pub(super) time: f64,
}

impl Prices {
    /// At which a plan that has room costs no more than its rent.
    pub(super) const OF_ROOM: [Self; 2] = [
        Self {
            penalty: 0.0,
            device: 1.0,
            ram: 0.0,
            time: 0.0,
        },
        Self {
            penalty: 0.0,
            device: 0.0,
            ram: 1.0,
            time: 0.0,
        },
    ];

    /// At which a plan costs its time.
    pub(super) fn of_time(device: f64) -> Self {
        Self {
            penalty: 0.0,
            device,
            ram: 0.0,
            time: 1.0,
        }
    }
}

impl Mixed<'_> {
    /// Prices on bytes alone.
    pub(super) fn without_time(&self, matrices: Matrices) -> Vec<Prices> {
        let blocks = &self.blocks;
        let of_device = prices(&blocks.on_device, |way| way.bytes.0 as f64);
        let of_ram = prices(&blocks.on_host, |way| way.bytes.0 as f64);
        let apart = self.kinds(matrices).into_iter();
        let apart = apart.flat_map(|kind| prices(&kind.apart, |way| way.ram.0 as f64));
        let of_ram = thinned(of_ram.into_iter().chain(apart).collect());
        let pairs = of_device
            .iter()
            .flat_map(|device| of_ram.iter().map(move |ram| (*device, *ram)));
        let prices = pairs.map(|(device, ram)| Prices {
            penalty: 1.0,
            device,
            ram,
            time: 0.0,
        });
        prices.collect()
    }

    /// Prices on bytes of GPUs and on time.
    pub(super) fn with_time(&self, matrices: Matrices) -> Vec<Prices> {
        let blocks = &self.blocks;
        let of_device = prices(&blocks.on_device, |way| way.bytes.0 as f64);
        let of = |frontiers: &Frontiers, a_byte: f64| {
            prices(frontiers, move |way| way.read.0 as f64 * a_byte)
        };
        let on_host = of(&blocks.on_host, self.picoseconds_of_a_byte(Place::Host));
        let kinds = self.kinds(matrices);
        let apart = kinds.iter();
        let apart = apart.flat_map(|kind| of(&kind.apart, kind.a_byte));
        let of_time = thinned(on_host.into_iter().chain(apart).collect()).into_iter();
        let prices = of_time.filter(|time| *time > 0.0).flat_map(|time| {
            // Where time is dear, the slower kinds of GPUs are charged for nothing else.
            let paces = kinds.iter().map(move |kind| time * kind.a_byte);
            let devices = of_device.iter().copied().chain(paces);
            devices.map(move |device| Prices {
                penalty: 1.0,
                device,
                ram: 0.0,
                time,
            })
        });
        prices.collect()
    }
}

/// At which prices of what a way takes a unit would change from one to another; nothing costs nothing.
fn prices(of: &Frontiers, takes: impl Fn(&Way) -> f64) -> Vec<f64> {
    let mut prices = vec![0.0];
    for ways in of.ways_of_kinds() {
        for (index, one) in ways.iter().enumerate() {
            for other in &ways[index + 1..] {
                let fewer = takes(other) - takes(one);
                let price = (one.penalty as f64 - other.penalty as f64) / fewer;
                if price.is_finite() && price > 0.0 {
                    prices.push(price);
                }
            }
        }
    }
    thinned(prices)
}

fn thinned(mut prices: Vec<f64>) -> Vec<f64> {
    prices.sort_by(f64::total_cmp);
    prices.dedup_by(|next, kept| *next <= *kept * APART);
    let step = prices.len().div_ceil(MOST_PRICES).max(1);
    prices.into_iter().step_by(step).collect()
}
