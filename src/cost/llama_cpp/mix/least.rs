//! What no mix of a layout with some of the chain in RAM costs less than, told before a stage is priced.
//!
//! Let blocks share what all GPUs have together, RAM, and time where that is limited, at a price for
//! each byte or picosecond. Then each block takes its cheapest way on its own, and no mix costs less
//! than all of them less the rent of what there is. Of some prices the best counts, so that any will
//! do: those at which a block would change its recipe are tried.

mod prices;
mod room;

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use super::Mixed;
use super::blocks::rate;
use crate::cost::frontier::{Frontiers, Way};
use crate::cost::{Accounting, Layout, Matrices, Place, time};
use crate::units::{Bytes, Seconds};

use prices::Prices;
use room::Room;

/// Sums of hundreds of numbers as floats: what is this close is not told apart.
const ROUNDING: f64 = 1e-9;

/// A layout, and what blocks cost there at the least.
#[derive(Clone, Debug)]
pub struct Least {
    /// The layout.
    pub layout: Layout,
    /// In any plan; `u64::MAX` where there is none.
    pub least: u64,
    /// By the number of units that are in RAM as a whole, of those with which there may be a plan.
    by_whole: Vec<(usize, u64)>,
}

impl Least {
    /// Of a layout of which nothing is known.
    pub fn unknown(layout: Layout) -> Self {
        Self {
            layout,
            least: 0,
            by_whole: Vec::new(),
        }
    }

    fn new(layout: Layout, by_whole: Vec<(usize, u64)>) -> Self {
        let least = by_whole.iter().map(|(_, least)| *least).min();
        Self {
            layout,
            least: least.unwrap_or(u64::MAX),
            by_whole,
        }
    }

    /// Where whole units in RAM end in plans whose blocks cost no more.
    pub fn ends(&self, known: u64) -> Range<usize> {
        let kept = self.by_whole.iter().filter(|(_, least)| *least <= known);
        let ends = kept.map(|(whole, _)| *whole);
        let (first, last) = (ends.clone().min(), ends.max());
        first.unwrap_or_default()..last.map_or(0, |last| last + 1)
    }
}

/// GPUs that read at one rate.
struct Kind {
    /// Picoseconds of a byte.
    a_byte: f64,
    apart: Rc<Frontiers>,
}

/// Prices at which plans are bounded, and those that tell whether there is room.
struct Bounds {
    matrices: Matrices,
    of_room: Vec<AtPrices>,
    of_plans: Vec<AtPrices>,
    /// Those that ruled out the last plans.
    last: usize,
}

/// What blocks cost at some prices, summed up to each unit.
struct AtPrices {
    prices: Prices,
    /// The price of a byte on GPUs of each kind.
    of_kind: Vec<f64>,
    in_ram: Vec<f64>,
    apart: Vec<f64>,
    on_device: Vec<f64>,
}

impl Mixed<'_> {
    /// What blocks cost at the least in the layouts with some of the chain in RAM.
    pub fn least_with_some_in_ram(&self) -> Vec<Least> {
        let prices = |matrices| [Prices::OF_ROOM.to_vec(), self.without_time(matrices)];
        self.least_of_all(self.with_some_in_ram(), (Seconds(0.0), u64::MAX), prices)
    }

    /// The same in those with a part of blocks there, where a token may take so long. What costs more
    /// than is known may cost more than is said.
    pub fn least_with_parts_in_ram(&self, most: Seconds, known: u64) -> Vec<Least> {
        let prices = |matrices| {
            let mut of_room = Prices::OF_ROOM.to_vec();
            of_room.extend(self.of_time(matrices));
            let mut prices = self.without_time(matrices);
            prices.extend(self.with_time(matrices));
            [of_room, prices]
        };
        self.least_of_all(self.with_parts_in_ram(), (most, known), prices)
    }

    /// The same, but what a token takes at the least in picoseconds.
    pub fn least_times_with_parts_in_ram(&self, known: u64) -> Vec<Least> {
        let prices = |matrices| {
            let of_time = self.of_time(matrices);
            [Prices::OF_ROOM.to_vec(), of_time.collect()]
        };
        self.least_of_all(self.with_parts_in_ram(), (Seconds(0.0), known), prices)
    }

    fn of_time(&self, matrices: Matrices) -> impl Iterator<Item = Prices> {
        let paces = self.kinds(matrices).into_iter().map(|kind| kind.a_byte);
        std::iter::once(0.0).chain(paces).map(Prices::of_time)
    }

    /// By the prices that tell whether there is room, and those at which plans are bounded.
    fn least_of_all(
        &self,
        layouts: Vec<Layout>,
        (most, known): (Seconds, u64),
        prices: impl Fn(Matrices) -> [Vec<Prices>; 2],
    ) -> Vec<Least> {
        let is_asked = |matrices: &Matrices| {
            let mut of = layouts.iter().map(|layout| layout.parts().matrices);
            of.any(|of| of == *matrices)
        };
        let bounds = |matrices| {
            let [of_room, of_plans] = prices(matrices);
            Bounds {
                matrices,
                of_room: self.at(matrices, of_room),
                of_plans: self.at(matrices, of_plans),
                last: 0,
            }
        };
        let asked = Matrices::ALL.into_iter().filter(is_asked);
        let mut bounds: Vec<_> = asked.map(bounds).collect();
        let mut least = |layout: Layout| {
            let matrices = layout.parts().matrices;
            let of = bounds.iter_mut().find(|of| of.matrices == matrices);
            let by_whole = of.map_or_else(Vec::new, |of| of.least(self, layout, (most, known)));
            Least::new(layout, by_whole)
        };
        layouts.into_iter().map(&mut least).collect()
    }

    /// One for each rate at which GPUs read.
    fn kinds(&self, matrices: Matrices) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = Vec::new();
        for device in self.rig().device_ids() {
            let a_byte = self.picoseconds_of_a_byte(Place::Device(device));
            if kinds.iter().all(|kind| kind.a_byte != a_byte) {
                let apart = self.blocks.timed(matrices, device);
                kinds.push(Kind { a_byte, apart });
            }
        }
        kinds
    }

    fn picoseconds_of_a_byte(&self, place: Place) -> f64 {
        let rate = match place {
            Place::Host => self.rig().host().map(time::host_rate),
            Place::Device(device) => Some(rate(self.rig().device(device))),
        };
        rate.map_or(0.0, |rate| 1e12 / rate.0)
    }

    fn at(&self, matrices: Matrices, prices: Vec<Prices>) -> Vec<AtPrices> {
        let (blocks, n_units) = (&self.blocks, self.units().len());
        let kinds = self.kinds(matrices);
        let by_cpu = self.picoseconds_of_a_byte(Place::Host);
        let fixed = self.fixed_times(matrices);
        let at = |prices: Prices| {
            let Prices {
                penalty,
                device,
                ram,
                time,
            } = prices;
            // So that a byte costs the same wherever it is, its time included, as far as that goes.
            let of_kind = kinds
                .iter()
                .map(|kind| (device - time * kind.a_byte).max(0.0));
            let of_kind: Vec<f64> = of_kind.collect();
            let on_kind = |kind: usize, way: &Way| {
                of_kind[kind] * way.bytes.0 as f64 + time * kinds[kind].a_byte * way.read.0 as f64
            };
            let of_way = |way: &Way| penalty * way.penalty as f64;
            let in_ram = least(&blocks.on_host, |way| {
                of_way(way) + ram * way.bytes.0 as f64 + time * by_cpu * way.read.0 as f64
            });
            let mut apart = vec![f64::INFINITY; n_units];
            let mut on_device = apart.clone();
            for (index, kind) in kinds.iter().enumerate() {
                let of_parts = least(&kind.apart, |way| {
                    of_way(way) + on_kind(index, way) + ram * way.ram.0 as f64
                });
                let of_whole = least(&blocks.on_device, |way| of_way(way) + on_kind(index, way));
                for unit in 0..n_units {
                    apart[unit] = apart[unit].min(of_parts[unit]);
                    on_device[unit] = on_device[unit].min(of_whole[unit]);
                }
            }
            let with = |costs: Vec<f64>, place: usize| {
                let units = costs.iter().zip(&fixed);
                sums(units.map(|(cost, fixed)| cost + time * fixed[place]))
            };
            AtPrices {
                in_ram: with(in_ram, 0),
                apart: with(apart, 1),
                on_device: with(on_device, 2),
                prices,
                of_kind,
            }
        };
        prices.into_iter().map(at).collect()
    }

    /// What each unit takes at the least beside the reading of its block, in RAM as a whole, on a GPU
    /// with a part in RAM, and on a GPU, in picoseconds.
    fn fixed_times(&self, matrices: Matrices) -> Vec<[f64; 3]> {
        let n_units = self.units().len();
        let by_cpu = self.rig().host().map(time::host_rate);
        let of_unit = |unit: usize| {
            let units = unit..unit + 1;
            let sums = self.first.between(&units);
            let read = match unit + 1 == n_units {
                true => sums.read,
                false => Bytes::ZERO,
            };
            let n_blocks = sums.n_blocks;
            let on_devices = self.rig().devices().iter().map(|device| {
                let law = time::llama_cpp(device.class);
                law.decode(device.bandwidth, read, sums.kv_read, n_blocks).0
            });
            let on_device = on_devices.fold(f64::INFINITY, f64::min);
            let reading = by_cpu.map_or(Seconds::default(), |rate| sums.kv_read / rate);
            let on_host = reading + time::HOST_BLOCK * n_blocks as f64;
            let n_parts = self.first.part(matrices, &units).n_blocks;
            let apart = on_device + (time::PARTS * n_parts as f64).0;
            [on_host.0, apart, on_device].map(|time| time * 1e12)
        };
        (0..n_units).map(of_unit).collect()
    }
}

impl Bounds {
    /// By units in RAM as a whole.
    fn least(
        &mut self,
        mixed: &Mixed<'_>,
        layout: Layout,
        (most, known): (Seconds, u64),
    ) -> Vec<(usize, u64)> {
        let buffer = OnceCell::new();
        let mut least = |whole: usize| {
            // Buffers take long to tell, and mostly it goes without.
            let widest = self.of(layout, &mixed.widest(whole, most)?, known)?;
            if widest > known {
                return Some((whole, widest));
            }
            let room = mixed.room_for(layout, (whole, most), &buffer)?;
            Some((whole, self.of(layout, &room, known)?))
        };
        mixed.wholes(layout).filter_map(&mut least).collect()
    }

    /// Where there is room. No more than is known need be told.
    fn of(&mut self, layout: Layout, room: &Room, known: u64) -> Option<u64> {
        let mut of_room = self.of_room.iter().map(|at| at.bound(layout, room));
        if of_room.any(|lacking| lacking > 0.0) {
            return None;
        }
        let mut most = 0.0;
        // What ruled out plans much like these rules them out mostly.
        let others = 0..self.of_plans.len();
        for index in std::iter::once(self.last).chain(others) {
            let bound = self.of_plans[index].bound(layout, room) * (1.0 - ROUNDING);
            if bound > most {
                most = bound;
                self.last = index;
            }
            if most > known as f64 {
                break;
            }
        }
        Some(most as u64)
    }
}

impl AtPrices {
    fn bound(&self, layout: Layout, room: &Room) -> f64 {
        let whole = room.whole;
        let cut = layout.parts().units().end.max(whole);
        let last = self.on_device.len() - 1;
        let of_kinds = self.of_kind.iter().zip(&room.of_kind);
        let of_kinds: f64 = of_kinds.map(|(price, room)| price * room.0 as f64).sum();
        let least = self.of_kind.iter().copied().fold(f64::INFINITY, f64::min);
        let rent = of_kinds - least * room.taken.0 as f64
            + self.prices.ram * room.ram.0 as f64
            + self.prices.time * room.time;
        let cost = self.in_ram[whole]
            + (self.apart[cut] - self.apart[whole])
            + (self.on_device[last] - self.on_device[cut]);
        // Its rounding may be as large as that of either.
        cost - rent - ROUNDING * (cost + rent.abs())
    }
}

/// The least that the ways of each unit cost.
fn least(frontiers: &Frontiers, cost: impl Fn(&Way) -> f64) -> Vec<f64> {
    let of_kind = |kind: &[Way]| kind.iter().map(&cost).fold(f64::INFINITY, f64::min);
    let of_kinds: Vec<f64> = frontiers.ways_of_kinds().map(of_kind).collect();
    frontiers
        .kinds()
        .iter()
        .map(|kind| of_kinds[*kind])
        .collect()
}

/// Summed up to each unit.
fn sums(costs: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sums = vec![0.0];
    sums.extend(costs.scan(0.0, |sum, cost| {
        *sum += cost;
        Some(*sum)
    }));
    sums
}
