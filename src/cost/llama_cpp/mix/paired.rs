//! Stages of a mix where some blocks have a part in RAM and a token may take only so long: what all
//! stages have in RAM is one sum, and their times another.
//!
//! On a GPU a stage has two runs, blocks with a part in RAM and behind them blocks without. Of either
//! any way may be the right one, so the stage is the ways of both, and not of their pairs.

use std::ops::Range;
use std::rc::Rc;

use super::Mixed;
use super::blocks::rate;
use crate::cost::frontier::{Frontier, Frontiers, Way};
use crate::cost::menu::{Law, Paired};
use crate::cost::{Accounting, Column, ColumnSet, Layout, Parts, Place, Span, time};
use crate::hardware::DeviceId;
use crate::model::mix::Mix;
use crate::units::{Bytes, Seconds};

impl Mixed<'_> {
    /// The layouts with a part of blocks in RAM.
    pub fn with_parts_in_ram(&self) -> Vec<Layout> {
        let mut layouts = self.with_some_in_ram();
        layouts.retain(|layout| layout.parts() != Parts::NONE);
        layouts
    }

    /// The ways of each column of a set, by what they read and the RAM that they take.
    pub fn paired(&self, set: &ColumnSet) -> Vec<Paired> {
        let nothing: Frontier = Rc::from([Way::default()]);
        let paired = |column: &Column| {
            let span = Self::span_of(set, column);
            let beside = self.beside(set.layout, &span).needs.total();
            let (runs, room, ram) = match span.place {
                Place::Host => {
                    let runs = [self.by_host(&span.units), Rc::clone(&nothing)];
                    (runs, Bytes(u64::MAX), beside)
                }
                Place::Device(device) => {
                    let room = self.room(set.layout, span.place).saturating_sub(beside);
                    let runs = self.timed(set.layout, (device, &span.units));
                    let runs = runs.map(|(frontiers, units)| frontiers.of(&units));
                    (runs, room, Bytes::ZERO)
                }
            };
            Paired {
                owner: column.owner,
                units: span.units.clone(),
                position: span.position,
                runs,
                room,
                law: self.law(set.layout, &span),
                ram,
            }
        };
        set.columns.iter().map(paired).collect()
    }

    /// The mix of stages whose runs are stored in these ways.
    pub fn mix_of_paired(&self, layout: Layout, stages: &[(&Span, [Way; 2])]) -> Mix {
        let choices = |(span, ways): &(&Span, [Way; 2])| match span.place {
            Place::Host => {
                let on_host = &self.blocks.on_host;
                let own = on_host.of(&span.units);
                let own = own.iter().find(|own| by_host(own) == ways[0]);
                on_host.choices(&span.units, own.copied().unwrap_or_default())
            }
            Place::Device(device) => {
                let runs = self.timed(layout, (device, &span.units)).into_iter();
                let of = |((frontiers, units), way): ((Rc<Frontiers>, Range<usize>), &Way)| {
                    frontiers.choices(&units, *way)
                };
                runs.zip(ways).flat_map(of).collect()
            }
        };
        self.chosen(stages.iter().map(|stage| (stage.0, choices(stage))))
    }

    /// The ways of whole blocks in RAM.
    fn by_host(&self, units: &Range<usize>) -> Frontier {
        self.blocks.on_host.of(units).iter().map(by_host).collect()
    }

    /// Blocks with a part in RAM, and behind them those without.
    fn timed(
        &self,
        layout: Layout,
        (device, units): (DeviceId, &Range<usize>),
    ) -> [(Rc<Frontiers>, Range<usize>); 2] {
        let parts = layout.parts();
        let cut = parts.units().end.clamp(units.start, units.end);
        let apart = self.blocks.timed(parts.matrices, device);
        let on_device = Rc::clone(&self.blocks.on_device);
        [(apart, units.start..cut), (on_device, cut..units.end)]
    }

    /// What a stage takes beside the reading of its blocks, and what a byte of these takes.
    fn law(&self, layout: Layout, span: &Span) -> Law {
        let picoseconds = |time: Seconds| time.0 * 1e12;
        // What RAM holds is that of one recipe here, and taken off.
        let in_ram = self.first.in_ram(layout, &span.units).read;
        let of_file = Way {
            read: in_ram,
            ..Way::default()
        };
        let needs = self.beside(layout, span).needs;
        let sums = self.sums(span, of_file);
        let stage = self.first.priced_with(layout, span, &sums, needs);
        let by_cpu = self.rig().host().map(time::host_rate);
        let reading = |read: Bytes| by_cpu.map_or(Seconds::default(), |rate| read / rate);
        let a_byte = match span.place {
            Place::Host => reading(Bytes(1)),
            Place::Device(device) => Bytes(1) / rate(self.rig().device(device)),
        };
        Law {
            fixed: picoseconds(stage.time) - picoseconds(reading(in_ram)),
            a_byte: picoseconds(a_byte),
        }
    }
}

/// All of it is in RAM.
fn by_host(way: &Way) -> Way {
    Way {
        bytes: Bytes::ZERO,
        ram: way.bytes,
        ..*way
    }
}
