//! What there is for the weights of blocks where some of the chain is in RAM.

use std::ops::Range;

use crate::cost::llama_cpp::mix::Mixed;
use crate::cost::{Accounting, Layout, Place, Position, Span, Whole, capacity, time};
use crate::units::{Bytes, Seconds};

/// What there is for the weights of blocks where so many first units are in RAM as a whole.
pub(super) struct Room {
    pub(super) whole: usize,
    /// By kind; and what is taken of all of them together.
    pub(super) of_kind: Vec<Bytes>,
    pub(super) taken: Bytes,
    pub(super) ram: Bytes,
    /// Picoseconds.
    pub(super) time: f64,
}

impl Mixed<'_> {
    /// By the units that are in RAM as a whole, where that leaves something.
    pub(super) fn rooms_of(&self, layout: Layout, most: Seconds) -> Vec<Room> {
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
