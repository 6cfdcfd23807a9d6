//! What no plan of a layout does better than, told from sums alone.
//!
//! Weights and cache need room on GPUs whatever the cut, and each block takes at least what it takes
//! on the card that is quickest with it, and no card reads more than it holds. Of buffers the least
//! of any stage counts, and a hop for each card that cannot be done without.

mod paces;
mod prompt;

use std::ops::{Range, RangeInclusive};

use super::{CUDA_CONTEXT, LlamaCpp};
use crate::cost::{Ceiling, Layout, Memory, Outlook, Place, Span, Store, Whole, capacity, time};
use crate::cost::{Position, Prefill, Prefix};
use crate::hardware::DeviceId;
use crate::units::{Bytes, Seconds};
use paces::Mixed;
pub(super) use paces::Paces;

/// What a card does at its best under a layout.
struct Card {
    /// What it has for weights and cache.
    room: Bytes,
    /// The most of both that a run of blocks takes of it which are all alike in what RAM holds of them.
    run: Bytes,
    /// How much more a run may take that is not so, or has the head.
    more: Bytes,
    /// By the unit from which on: the least time that a byte takes which the card holds.
    rates: Vec<f64>,
    /// What launches of a block take.
    launch: Seconds,
}

/// What all cards do at their best under a layout.
struct Cards {
    all: Vec<Card>,
    /// What all have for weights and cache.
    room: Bytes,
    /// What the runs of a few cards take more than those of the others.
    more: Bytes,
    /// The most that so many cards hold, by their number.
    most: Vec<Bytes>,
    /// What the units from each on take at least, each on the card that is quickest with it.
    fastest: Vec<Seconds>,
}

impl LlamaCpp<'_> {
    /// What is told at a glance: each unit on the card that is quickest with it.
    pub(super) fn best_of(&self, layout: Layout) -> Outlook {
        let room = || self.rooms(self.least_buffer(layout)).sum::<Bytes>();
        let each = match layout {
            Layout::Offloaded(_) => {
                let fastest = self.pace(layout).fastest();
                self.with_prefixes(layout, room(), |end, _| fastest[end])
            }
            Layout::Pipelined | Layout::Sequential => {
                let on_gpus = self.on_gpus(layout, &(0..self.units.len()));
                return Outlook {
                    missing: on_gpus.saturating_sub(room()),
                    time: self.pace(layout).fastest()[0],
                    prefill: self.least_prompt(layout, 0),
                    ceiling: Ceiling::UNKNOWN,
                };
            }
            Layout::OneDevice | Layout::HostOnly(_) | Layout::Served(_) => {
                return Outlook::default();
            }
        };
        let missing = each.iter().map(|prefix| prefix.outlook.missing).min();
        let fitting = each.iter().filter(|it| it.outlook.missing == Bytes::ZERO);
        let times = fitting.clone().map(|prefix| prefix.outlook.time);
        let prompts = fitting.map(|prefix| prefix.outlook.prefill);
        Outlook {
            ceiling: Ceiling::UNKNOWN,
            missing: missing.unwrap_or(Bytes(u64::MAX)),
            time: times
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .unwrap_or(Seconds(f64::INFINITY)),
            prefill: prompts.reduce(Prefill::least).unwrap_or_default(),
        }
    }

    /// For each number of first units that may be in RAM as a whole, what no such plan does better
    /// than. What is there more than a plan can have takes for ever.
    pub(super) fn best_by_prefix(&self, layout: Layout) -> Vec<Prefix> {
        match layout {
            Layout::Offloaded(_) => {
                let cards = self.cards(layout);
                self.with_prefixes(layout, cards.room, |end, on_gpus| {
                    self.least_on_cards(layout, end, on_gpus, &cards)
                })
            }
            Layout::OneDevice
            | Layout::Pipelined
            | Layout::Sequential
            | Layout::HostOnly(_)
            | Layout::Served(_) => Vec::new(),
        }
    }

    fn with_prefixes(
        &self,
        layout: Layout,
        room: Bytes,
        on_cards: impl Fn(usize, Bytes) -> Seconds,
    ) -> Vec<Prefix> {
        let n_units = self.units.len();
        let ends = match layout.whole() {
            Whole::FirstUnits => layout.ends_of_whole(n_units),
            Whole::Nothing => 0..1,
        };
        let base = self.base(layout);
        let ram = capacity(self.rig, Place::Host);
        let with_whole = |end: usize| {
            let on_gpus = self.on_gpus(layout, &(end..n_units));
            let on_host = base + self.whole_on_host(layout, &(0..end));
            let time =
                self.time_on_host(&(0..end)) + on_cards(end, on_gpus) + self.rereading(layout, end);
            Prefix {
                end,
                outlook: Outlook {
                    missing: on_gpus.saturating_sub(room) + on_host.saturating_sub(ram),
                    time,
                    prefill: self.least_prompt(layout, end),
                    ceiling: Ceiling::UNKNOWN,
                },
            }
        };
        ends.map(with_whole).collect()
    }

    fn pace(&self, layout: Layout) -> Mixed<'_> {
        self.paces.get_or_init(|| Paces::new(self)).of(layout)
    }

    /// For each of these cards and each first unit, where stages end in plans that fit and have so many
    /// units in RAM as a whole: the other cards could not hold what shorter ones leave, nor this card
    /// longer ones, of which a first stage is taken to have the least buffer of any.
    pub(super) fn stages_of(
        &self,
        layout: Layout,
        position: Position,
        ends: &Range<usize>,
        devices: &[DeviceId],
    ) -> Vec<Vec<RangeInclusive<usize>>> {
        let n_units = self.units.len();
        let last = match layout.whole() {
            Whole::FirstUnits => ends.end.saturating_sub(1),
            Whole::Nothing => 0,
        };
        let cards = self.cards(layout);
        let runs = cards.all.iter().map(|card| card.run);
        let all: Bytes = runs.sum::<Bytes>() + cards.more;
        let held = self.held_up_to(layout);
        let of = |units: Range<usize>| Bytes(held[units.end] - held[units.start]);
        let stages = |device: &DeviceId| {
            let own = &cards.all[device.0];
            let least = of(last..n_units).saturating_sub(all.saturating_sub(own.run));
            let (mut shortest, mut longest) = (0, 0);
            let from = |start: usize| {
                shortest = shortest.max(start + 1);
                while shortest < n_units && of(start..shortest) < least {
                    shortest += 1;
                }
                longest = longest.max(start);
                while longest < n_units && of(start..longest + 1) <= own.room {
                    longest += 1;
                }
                let mut end = longest;
                while position == Position::Later
                    && end > start
                    && start > ends.start
                    && !self.fits_later(layout, *device, start..end)
                {
                    end -= 1;
                }
                shortest..=end
            };
            (0..n_units).map(from).collect()
        };
        devices.iter().map(stages).collect()
    }

    fn fits_later(&self, layout: Layout, device: DeviceId, units: Range<usize>) -> bool {
        let span = Span {
            place: Place::Device(device),
            units,
            streamed: 0..0,
            position: Position::Later,
        };
        let needs = self.held(layout, &span, &self.between(&span.units));
        needs.total() <= capacity(self.rig, span.place)
    }

    pub(super) fn rooms(&self, buffer: Bytes) -> impl Iterator<Item = Bytes> {
        let devices = self.rig.devices().iter();
        devices.map(move |device| device.capacity().saturating_sub(CUDA_CONTEXT + buffer))
    }

    /// Weights and cache of units on cards.
    fn on_gpus(&self, layout: Layout, units: &Range<usize>) -> Bytes {
        let sums = self.between(units);
        let in_ram = self.in_ram(layout, units).on_device;
        (sums.on_device + sums.kv_device).saturating_sub(in_ram)
    }

    /// The same of all units up to each; it never falls.
    fn held_up_to(&self, layout: Layout) -> Vec<u64> {
        let ends = 0..=self.units.len();
        ends.map(|end| self.on_gpus(layout, &(0..end)).0).collect()
    }

    fn cards(&self, layout: Layout) -> Cards {
        let n_units = self.units.len();
        let held = self.held_up_to(layout);
        let buffer = self.least_buffer(layout);
        let pace = self.pace(layout);
        // Behind the last block is the head.
        let cut = layout.parts().units().end.min(n_units - 1);
        let of_device = |(index, room): (usize, Bytes)| {
            let run = [0..cut, cut..n_units - 1].map(|run| longest(&held, run, room));
            let run = run[0].max(run[1]);
            Card {
                room,
                run,
                more: longest(&held, 0..n_units, room).saturating_sub(run),
                rates: pace.rates(index),
                launch: time::llama_cpp(self.rig.devices()[index].class).block,
            }
        };
        let rooms = self.rooms(buffer).enumerate();
        let all: Vec<_> = rooms.map(of_device).collect();
        // One run has the head, and one begins among blocks with parts in RAM and ends behind them.
        let mut more: Vec<_> = all.iter().map(|card| card.more).collect();
        more.sort_unstable_by(|a, b| b.cmp(a));
        let more: Bytes = more.into_iter().take(2).sum();
        let mut runs: Vec<_> = all.iter().map(|card| card.run).collect();
        runs.sort_unstable_by(|a, b| b.cmp(a));
        let most = runs.into_iter().scan(more, |sum, run| {
            *sum += run;
            Some(*sum)
        });
        Cards {
            room: all.iter().map(|card| card.room).sum(),
            more,
            most: most.collect(),
            fastest: pace.fastest(),
            all,
        }
    }

    /// What any stage on a card takes for its graph at the least: a later one of one unit, or the first
    /// of all with one block or with every block, and no stage more than a residual stream less, which
    /// is the margin that is kept besides. Held against stages of all kinds of models in the tests.
    pub(super) fn least_buffer(&self, layout: Layout) -> Bytes {
        let n_units = self.units.len();
        let buffer = |position: Position, units: Range<usize>| {
            self.compute.device(layout, position, &units).compute
        };
        let (from, first_of_all) = match layout.whole() {
            Whole::Nothing => (1, vec![0..1, 0..n_units - 1]),
            Whole::FirstUnits => (2, Vec::new()),
        };
        let first = first_of_all.into_iter();
        let first = first.map(|units| buffer(Position::First, units));
        let later = self.compute.unlike_alone(layout, from).into_iter();
        let later = later.map(|unit| buffer(Position::Later, unit..unit + 1));
        first.chain(later).min().unwrap_or_default() + self.adapted
    }

    /// What the units from `end` on take at least: each on the quickest card, or where each card reads
    /// no more than its run has, and the hops between as many cards as are needed.
    fn least_on_cards(&self, layout: Layout, end: usize, on_gpus: Bytes, cards: &Cards) -> Seconds {
        let Some(fewest) = cards.most.iter().position(|most| *most >= on_gpus) else {
            return Seconds(f64::INFINITY);
        };
        let n_hops = fewest + usize::from(end > 0);
        later(
            cards.fastest[end],
            self.filling(layout, end, on_gpus, cards),
        ) + time::HOP * n_hops as f64
    }

    /// Bytes are filled in from the card that is quickest with any of them. Dense blocks are alike in
    /// this.
    fn filling(&self, layout: Layout, end: usize, on_gpus: Bytes, cards: &Cards) -> Seconds {
        let units = end..self.units.len();
        let launches = cards.all.iter().map(|card| card.launch.0);
        let launch = launches.fold(f64::INFINITY, f64::min);
        let runs = cards.all.iter().map(|card| (card.rates[end], card.run));
        let mut runs: Vec<_> = runs.collect();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((_, run)) = runs.first_mut() {
            *run += cards.more;
        }
        let mut left = on_gpus;
        let mut total = launch * self.between(&units).n_blocks as f64;
        for (rate, run) in runs {
            let taken = left.min(run);
            if taken > Bytes::ZERO {
                total += rate * taken.0 as f64;
            }
            left = left.saturating_sub(taken);
        }
        Seconds(total) + self.on_cpu(&self.in_ram(layout, &units))
    }

    /// What is read from disk for a token where the first units are in RAM as a whole, if no buffers
    /// were beside them.
    fn rereading(&self, layout: Layout, end: usize) -> Seconds {
        let own = self.in_ram(layout, &(end..self.units.len()));
        let whole = Span {
            place: Place::Host,
            units: 0..end,
            streamed: 0..0,
            position: Position::First,
        };
        let beside = Memory {
            kv_cache: self.between(&whole.units).kv_host,
            ..Memory::default()
        };
        let reread = self.reread_by_host(layout, &whole, &beside).of_tokens
            + self.reread_of_parts(layout, &own).of_tokens;
        match reread {
            Bytes::ZERO => Seconds::default(),
            reread => self.disk_time(reread),
        }
    }

    /// What RAM holds in any plan, without buffers.
    fn base(&self, layout: Layout) -> Bytes {
        let beside = self.beside.on_gpu.host;
        self.weights_in_any_plan(layout) + beside.weights + beside.kv_cache
    }

    fn whole_on_host(&self, layout: Layout, units: &Range<usize>) -> Bytes {
        let sums = self.between(units);
        let weights = match layout.store() {
            Store::Ram => sums
                .on_host
                .saturating_sub(self.in_ram(layout, units).on_host),
            Store::Disk => Bytes::ZERO,
        };
        weights + sums.kv_host
    }

    fn time_on_host(&self, units: &Range<usize>) -> Seconds {
        let sums = self.between(units);
        let rate = self.rig.host().map(time::host_rate);
        let reading = rate.map_or(Seconds::default(), |rate| (sums.read + sums.kv_read) / rate);
        reading + time::HOST_BLOCK * sums.n_blocks as f64
    }
}

fn later(a: Seconds, b: Seconds) -> Seconds {
    Seconds(a.0.max(b.0))
}

/// The most bytes of a run of units within `range` that has room; `held` sums them up to each unit.
fn longest(held: &[u64], range: Range<usize>, room: Bytes) -> Bytes {
    let (mut end, mut most) = (range.start, 0);
    for start in range.clone() {
        end = end.max(start);
        while end < range.end && held[end + 1] - held[start] <= room.0 {
            end += 1;
        }
        most = most.max(held[end] - held[start]);
    }
    Bytes(most)
}

#[cfg(test)]
mod tests;
