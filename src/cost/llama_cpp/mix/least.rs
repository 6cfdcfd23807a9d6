//! What no mix of a layout with some of the chain in RAM costs less than, told before a stage is priced.
//!
//! Let blocks share what all GPUs have together, and RAM, at a price for each byte of either. Then each
//! block takes its cheapest way on its own, and no mix costs less than all of them less the rent of
//! what there is. Of some prices the best counts, so that any will do: those at which a block would
//! change its recipe are tried.

use std::ops::Range;

use super::Mixed;
use crate::cost::frontier::{Frontiers, Way};
use crate::cost::{Accounting, Layout, Matrices, Place, Position, Span, Whole, capacity};
use crate::units::Bytes;

/// So many prices of a kind at the most, and how far they are from each other at the least.
const MOST_PRICES: usize = 24;
const APART: f64 = 1.02;
/// Sums of hundreds of numbers as floats: what is this close is not told apart.
const ROUNDING: f64 = 1e-9;

/// What blocks cost at two prices, summed up to each unit.
struct AtPrices {
    of_device: f64,
    of_ram: f64,
    in_ram: Vec<f64>,
    apart: Vec<f64>,
    on_device: Vec<f64>,
}

/// What there is for the weights of blocks where so many first units are in RAM as a whole.
struct Room {
    whole: usize,
    devices: Bytes,
    ram: Bytes,
}

impl Mixed<'_> {
    /// The layouts with some of the chain in RAM, each with what its blocks cost at the least; none
    /// where they have no plan.
    pub fn least_with_some_in_ram(&self) -> Vec<(Layout, Option<u64>)> {
        let by_matrices = Matrices::ALL.map(|matrices| (matrices, self.at_prices(matrices)));
        let of_layout = |layout: Layout| {
            let matrices = layout.parts().matrices;
            let of = by_matrices.iter().find(|(of, _)| *of == matrices);
            let prices = of.map_or(&[][..], |(_, prices)| prices);
            let rooms = self.rooms_of(layout);
            let costs = rooms.iter().map(|room| {
                let bounds = prices.iter().map(|at| at.bound(layout, room));
                bounds.fold(0.0, f64::max)
            });
            let least = costs.fold(f64::INFINITY, f64::min);
            let least = least.is_finite().then_some(least * (1.0 - ROUNDING));
            (layout, least.map(|least| least as u64))
        };
        self.with_some_in_ram().into_iter().map(of_layout).collect()
    }

    fn at_prices(&self, matrices: Matrices) -> Vec<AtPrices> {
        let blocks = &self.blocks;
        let (apart, n_units) = (blocks.apart(matrices), self.units().len());
        let of_device = prices(&blocks.on_device, n_units, |way| way.bytes);
        let of_ram = prices(&blocks.on_host, n_units, |way| way.bytes)
            .into_iter()
            .chain(prices(apart, n_units, |way| way.read));
        let of_ram = thinned(of_ram.collect());
        let pairs = of_device
            .iter()
            .flat_map(|device| of_ram.iter().map(move |ram| (*device, *ram)));
        let at = |(device, ram): (f64, f64)| AtPrices {
            of_device: device,
            of_ram: ram,
            in_ram: sums(&blocks.on_host, n_units, |way| ram * way.bytes.0 as f64),
            apart: sums(apart, n_units, |way| {
                device * way.bytes.0 as f64 + ram * way.read.0 as f64
            }),
            on_device: sums(&blocks.on_device, n_units, |way| {
                device * way.bytes.0 as f64
            }),
        };
        pairs.map(at).collect()
    }

    /// By the units that are in RAM as a whole, where that leaves something.
    fn rooms_of(&self, layout: Layout) -> Vec<Room> {
        let n_units = self.units().len();
        let wholes = match layout.whole() {
            Whole::Nothing => 0..1,
            Whole::FirstUnits => layout.ends_of_whole(n_units),
        };
        let room = |whole: usize| {
            let span = Span {
                place: Place::Host,
                units: 0..whole,
                streamed: 0..0,
                position: Position::First,
            };
            let ram = match whole {
                0 => Some(self.ram(layout)),
                _ => {
                    let beside = self.beside(layout, &span).needs.total();
                    self.ram(layout).checked_sub(beside)
                }
            };
            Some(Room {
                whole,
                devices: self.on_devices(layout, &(whole..n_units))?,
                ram: ram?,
            })
        };
        wholes.filter_map(room).collect()
    }

    /// What all GPUs together have for the weights of the blocks among these units.
    fn on_devices(&self, layout: Layout, units: &Range<usize>) -> Option<Bytes> {
        let rig = self.rig();
        if let [device] = rig.device_ids().collect::<Vec<_>>()[..] {
            let span = Span {
                place: Place::Device(device),
                units: units.clone(),
                streamed: 0..0,
                position: Position::First,
            };
            let beside = self.beside(layout, &span).needs.total();
            return capacity(rig, span.place).checked_sub(beside);
        }
        let buffer = self.first.least_buffer(layout);
        let sums = self.first.between(units);
        let head = self.first.between(&(units.end - 1..units.end));
        let all: Bytes = self.first.rooms(buffer).sum();
        all.checked_sub(sums.kv_device + head.on_device)
    }
}

impl AtPrices {
    fn bound(&self, layout: Layout, room: &Room) -> f64 {
        let whole = room.whole;
        let cut = layout.parts().units().end.max(whole);
        let last = self.on_device.len() - 1;
        let rent = self.of_device * room.devices.0 as f64 + self.of_ram * room.ram.0 as f64;
        let cost = self.in_ram[whole]
            + (self.apart[cut] - self.apart[whole])
            + (self.on_device[last] - self.on_device[cut]);
        // Its rounding may be as large as that of either.
        cost - rent - ROUNDING * (cost + rent)
    }
}

/// The least of each unit's ways, summed up to each.
fn sums(frontiers: &Frontiers, n_units: usize, rent: impl Fn(&Way) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    for unit in 0..n_units {
        let costs = frontiers.ways_of(unit).iter();
        let costs = costs.map(|way| way.penalty as f64 + rent(way));
        sum += costs.fold(f64::INFINITY, f64::min);
        sums.push(sum);
    }
    sums
}

/// At which prices of a byte a unit would change from one way to another; nothing costs nothing.
fn prices(of: &Frontiers, n_units: usize, bytes: fn(&Way) -> Bytes) -> Vec<f64> {
    let mut prices = vec![0.0];
    for unit in 0..n_units {
        let ways = of.ways_of(unit);
        for (index, one) in ways.iter().enumerate() {
            for other in &ways[index + 1..] {
                let (a, b) = (bytes(one).0 as f64, bytes(other).0 as f64);
                let price = (one.penalty as f64 - other.penalty as f64) / (b - a);
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
