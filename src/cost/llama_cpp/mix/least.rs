//! What no mix of a layout with some of the chain in RAM costs less than, told before a stage is priced.
//!
//! Let blocks share what all GPUs have together, RAM, and time where that is limited, at a price for
//! each byte or picosecond. Then each block takes its cheapest way on its own, and no mix costs less
//! than all of them less the rent of what there is. Of some prices the best counts, so that any will
//! do: those at which a block would change its recipe are tried.

use std::ops::Range;
use std::rc::Rc;

use super::Mixed;
use super::blocks::rate;
use crate::cost::frontier::{Frontiers, Way};
use crate::cost::{Accounting, Layout, Matrices, Place, Position, Span, Whole, capacity, time};
use crate::units::{Bytes, Seconds};

/// So many prices of a kind at the most, and how far they are from each other at the least.
const MOST_PRICES: usize = 24;
const APART: f64 = 1.02;
/// Sums of hundreds of numbers as floats: what is this close is not told apart.
const ROUNDING: f64 = 1e-9;

/// What a plan is charged for its penalty, a byte on GPUs with the time to read it, a byte of RAM, and
/// a picosecond.
#[derive(Clone, Copy, Debug)]
struct Prices {
    penalty: f64,
    device: f64,
    ram: f64,
    time: f64,
}

impl Prices {
    /// At which a plan that has room costs no more than its rent.
    const OF_ROOM: [Self; 2] = [
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
    fn of_time(device: f64) -> Self {
        Self {
            penalty: 0.0,
            device,
            ram: 0.0,
            time: 1.0,
        }
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

/// What there is for the weights of blocks where so many first units are in RAM as a whole.
struct Room {
    whole: usize,
    /// By kind; and what is taken of all of them together.
    of_kind: Vec<Bytes>,
    taken: Bytes,
    ram: Bytes,
    /// Picoseconds.
    time: f64,
}

impl Mixed<'_> {
    /// The layouts with some of the chain in RAM, each with what its blocks cost at the least; none
    /// where they have no plan.
    pub fn least_with_some_in_ram(&self) -> Vec<(Layout, Option<u64>)> {
        let prices = |matrices| self.without_time(matrices);
        self.least_of_all(self.with_some_in_ram(), Seconds(0.0), prices)
    }

    /// The same of the layouts with a part of blocks there, where a token may take so long.
    pub fn least_with_parts_in_ram(&self, most: Seconds) -> Vec<(Layout, Option<u64>)> {
        let prices = |matrices| {
            let mut prices = self.without_time(matrices);
            prices.extend(self.with_time(matrices));
            prices
        };
        self.least_of_all(self.with_parts_in_ram(), most, prices)
    }

    /// The same, but what a token takes at the least in picoseconds.
    pub fn least_times_with_parts_in_ram(&self) -> Vec<(Layout, Option<u64>)> {
        let prices = |matrices| {
            let paces = self.kinds(matrices).into_iter().map(|kind| kind.a_byte);
            let devices = std::iter::once(0.0).chain(paces);
            devices.map(Prices::of_time).collect()
        };
        self.least_of_all(self.with_parts_in_ram(), Seconds(0.0), prices)
    }

    fn least_of_all(
        &self,
        layouts: Vec<Layout>,
        most: Seconds,
        prices: impl Fn(Matrices) -> Vec<Prices>,
    ) -> Vec<(Layout, Option<u64>)> {
        let is_asked = |matrices: &Matrices| {
            let mut of = layouts.iter().map(|layout| layout.parts().matrices);
            of.any(|of| of == *matrices)
        };
        let bounds = |matrices| Bounds {
            matrices,
            of_room: self.at(matrices, Prices::OF_ROOM.to_vec()),
            of_plans: self.at(matrices, prices(matrices)),
        };
        let asked = Matrices::ALL.into_iter().filter(is_asked);
        let bounds: Vec<_> = asked.map(bounds).collect();
        let least = |layout: Layout| {
            let matrices = layout.parts().matrices;
            let of = bounds.iter().find(|of| of.matrices == matrices);
            let least = of.and_then(|of| of.least(layout, &self.rooms_of(layout, most)));
            (layout, least)
        };
        layouts.into_iter().map(least).collect()
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

    /// Prices on bytes alone.
    fn without_time(&self, matrices: Matrices) -> Vec<Prices> {
        let (blocks, n_units) = (&self.blocks, self.units().len());
        let of_device = prices(&blocks.on_device, n_units, |way| way.bytes.0 as f64);
        let of_ram = prices(&blocks.on_host, n_units, |way| way.bytes.0 as f64);
        let apart = self.kinds(matrices).into_iter();
        let apart = apart.flat_map(|kind| prices(&kind.apart, n_units, |way| way.ram.0 as f64));
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
    fn with_time(&self, matrices: Matrices) -> Vec<Prices> {
        let (blocks, n_units) = (&self.blocks, self.units().len());
        let of_device = prices(&blocks.on_device, n_units, |way| way.bytes.0 as f64);
        let of = |frontiers: &Frontiers, a_byte: f64| {
            prices(frontiers, n_units, move |way| way.read.0 as f64 * a_byte)
        };
        let on_host = of(
            &blocks.on_host,
            self.picoseconds_of_a_byte(Place::Host),
        );
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
            let of_kind = kinds.iter().map(|kind| (device - time * kind.a_byte).max(0.0));
            let of_kind: Vec<f64> = of_kind.collect();
            let on_kind = |kind: usize, way: &Way| {
                of_kind[kind] * way.bytes.0 as f64 + time * kinds[kind].a_byte * way.read.0 as f64
            };
            let of_way = |way: &Way| penalty * way.penalty as f64;
            let in_ram = |unit: usize| {
                least(&blocks.on_host, unit, |way| {
                    of_way(way) + ram * way.bytes.0 as f64 + time * by_cpu * way.read.0 as f64
                })
            };
            let apart = |unit: usize| {
                let of_kind = kinds.iter().enumerate().map(|(index, kind)| {
                    least(&kind.apart, unit, |way| {
                        of_way(way) + on_kind(index, way) + ram * way.ram.0 as f64
                    })
                });
                of_kind.fold(f64::INFINITY, f64::min)
            };
            let on_device = |unit: usize| {
                let of_kind = (0..kinds.len()).map(|kind| {
                    least(&blocks.on_device, unit, |way| of_way(way) + on_kind(kind, way))
                });
                of_kind.fold(f64::INFINITY, f64::min)
            };
            let with = |cost: &dyn Fn(usize) -> f64, place: usize| {
                let costs = (0..n_units).map(|unit| cost(unit) + time * fixed[unit][place]);
                sums(costs)
            };
            AtPrices {
                in_ram: with(&in_ram, 0),
                apart: with(&apart, 1),
                on_device: with(&on_device, 2),
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

    /// By the units that are in RAM as a whole, where that leaves something.
    fn rooms_of(&self, layout: Layout, most: Seconds) -> Vec<Room> {
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
            let hop = match whole {
                0 => Seconds::default(),
                _ => time::HOP,
            };
            let (of_kind, taken) = self.on_devices(layout, &(whole..n_units))?;
            Some(Room {
                whole,
                of_kind,
                taken,
                ram: ram?,
                time: (most.0 - hop.0) * 1e12,
            })
        };
        wholes.filter_map(room).collect()
    }

    /// What GPUs of each kind have for the weights of the blocks among these units, and what is taken
    /// of all of them together.
    fn on_devices(&self, layout: Layout, units: &Range<usize>) -> Option<(Vec<Bytes>, Bytes)> {
        let rig = self.rig();
        if let [device] = rig.device_ids().collect::<Vec<_>>()[..] {
            let span = Span {
                place: Place::Device(device),
                units: units.clone(),
                streamed: 0..0,
                position: Position::First,
            };
            let beside = self.beside(layout, &span).needs.total();
            let left = capacity(rig, span.place).checked_sub(beside)?;
            return Some((vec![left], Bytes::ZERO));
        }
        let buffer = self.first.least_buffer(layout);
        let sums = self.first.between(units);
        let head = self.first.between(&(units.end - 1..units.end));
        let (mut paces, mut of_kind): (Vec<f64>, Vec<Bytes>) = Default::default();
        for (device, room) in rig.device_ids().zip(self.first.rooms(buffer)) {
            let a_byte = self.picoseconds_of_a_byte(Place::Device(device));
            match paces.iter().position(|known| *known == a_byte) {
                Some(kind) => of_kind[kind] += room,
                None => {
                    paces.push(a_byte);
                    of_kind.push(room);
                }
            }
        }
        let taken = sums.kv_device + head.on_device;
        let all: Bytes = of_kind.iter().copied().sum();
        (taken <= all).then_some((of_kind, taken))
    }
}

impl Bounds {
    fn least(&self, layout: Layout, rooms: &[Room]) -> Option<u64> {
        let fits = |room: &&Room| self.of_room.iter().all(|at| at.bound(layout, room) <= 0.0);
        let costs = rooms.iter().filter(fits).map(|room| {
            let bounds = self.of_plans.iter().map(|at| at.bound(layout, room));
            bounds.fold(0.0, f64::max)
        });
        let least = costs.fold(f64::INFINITY, f64::min);
        let least = least.is_finite().then_some(least * (1.0 - ROUNDING));
        least.map(|least| least as u64)
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

/// The least that a unit's ways cost.
fn least(frontiers: &Frontiers, unit: usize, cost: impl Fn(&Way) -> f64) -> f64 {
    let costs = frontiers.ways_of(unit).iter().map(cost);
    costs.fold(f64::INFINITY, f64::min)
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

/// At which prices of what a way takes a unit would change from one to another; nothing costs nothing.
fn prices(of: &Frontiers, n_units: usize, takes: impl Fn(&Way) -> f64) -> Vec<f64> {
    let mut prices = vec![0.0];
    for unit in 0..n_units {
        let ways = of.ways_of(unit);
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
