//! How quick cards are with each unit by itself, whole or with a part of it in RAM: the same whatever
//! else a layout has there.

use super::LlamaCpp;
use crate::cost::{Layout, Matrices, Parts, time};
use crate::units::Seconds;

/// By what units leave in RAM.
#[derive(Clone, Debug)]
pub(in crate::cost::llama_cpp) struct Paces {
    nothing: Pace,
    experts: Pace,
    feed_forward: Pace,
}

#[derive(Clone, Debug)]
struct Pace {
    /// By device and unit, the time that a byte takes which the card holds.
    rates: Vec<Vec<f64>>,
    /// By unit, what it takes on the card that is quickest with it, and what its part takes on the CPU.
    fastest: Vec<Seconds>,
}

/// How quick they are under one layout.
pub(super) struct Mixed<'a> {
    in_ram: &'a Pace,
    whole: &'a Pace,
    /// Where the units end that leave a part in RAM.
    cut: usize,
}

impl Paces {
    pub(in crate::cost::llama_cpp) fn new(prices: &LlamaCpp) -> Self {
        let with = |matrices| {
            let n_blocks = u32::MAX;
            Pace::new(prices, Layout::parts_alone(Parts { matrices, n_blocks }))
        };
        Self {
            nothing: Pace::new(prices, Layout::OFFLOADED),
            experts: with(Matrices::Experts),
            feed_forward: with(Matrices::FeedForward),
        }
    }

    pub(super) fn of(&self, layout: Layout) -> Mixed<'_> {
        let parts = layout.parts();
        Mixed {
            in_ram: match parts.matrices {
                Matrices::Experts => &self.experts,
                Matrices::FeedForward => &self.feed_forward,
            },
            whole: &self.nothing,
            cut: parts.units().end,
        }
    }
}

impl Pace {
    fn new(prices: &LlamaCpp, layout: Layout) -> Self {
        let n_units = prices.units.len();
        let mut fastest = vec![Seconds(f64::INFINITY); n_units];
        let rates = prices.rig.devices().iter().map(|device| {
            let law = time::llama_cpp(device.class);
            let rate = |(unit, fastest): (usize, &mut Seconds)| {
                let units = unit..unit + 1;
                let (sums, in_ram) = (prices.between(&units), prices.in_ram(layout, &units));
                let read = sums.read.saturating_sub(in_ram.read);
                let reading = law.decode(device.bandwidth, read, sums.kv_read, 0);
                let whole = reading + law.block * sums.n_blocks as f64 + prices.on_cpu(&in_ram);
                fastest.0 = fastest.0.min(whole.0);
                match prices.on_gpus(layout, &units).0 {
                    0 => f64::INFINITY,
                    held => reading.0 / held as f64,
                }
            };
            fastest.iter_mut().enumerate().map(rate).collect()
        });
        Self {
            rates: rates.collect(),
            fastest,
        }
    }
}

impl Mixed<'_> {
    fn of(&self, unit: usize) -> &Pace {
        match unit < self.cut {
            true => self.in_ram,
            false => self.whole,
        }
    }

    /// By the unit from which on: the least time that a byte takes which a card holds.
    pub(super) fn rates(&self, device: usize) -> Vec<f64> {
        let n_units = self.whole.fastest.len();
        let mut rates = vec![f64::INFINITY; n_units + 1];
        for unit in (0..n_units).rev() {
            rates[unit] = rates[unit + 1].min(self.of(unit).rates[device][unit]);
        }
        rates
    }

    /// What the units from each on take at least, each on the card that is quickest with it.
    pub(super) fn fastest(&self) -> Vec<Seconds> {
        let n_units = self.whole.fastest.len();
        let mut fastest = vec![Seconds::default(); n_units + 1];
        for unit in (0..n_units).rev() {
            fastest[unit] = fastest[unit + 1] + self.of(unit).fastest[unit];
        }
        fastest
    }
}
