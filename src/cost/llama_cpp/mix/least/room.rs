//! What there is for the weights of blocks where some of the chain is in RAM.

use std::cell::OnceCell;
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
    /// The numbers of units that may be in RAM as a whole.
    pub(super) fn wholes(&self, layout: Layout) -> Range<usize> {
        match layout.whole() {
            Whole::Nothing => 0..1,
            Whole::FirstUnits => layout.ends_of_whole(self.units().len()),
        }
    }

    /// What there is at the most, told without any buffer.
    pub(super) fn widest(&self, whole: usize, most: Seconds) -> Option<Room> {
        let units = whole..self.units().len();
        let (of_kind, taken) = self.without_buffer(&units, Bytes::ZERO)?;
        Some(Room {
            whole,
            of_kind,
            taken,
            ram: capacity(self.rig(), Place::Host),
            time: left(whole, most),
        })
    }

    /// What there is beside buffers, of which no stage on one of several GPUs has a smaller one.
    pub(super) fn room_for(
        &self,
        layout: Layout,
        (whole, most): (usize, Seconds),
        buffer: &OnceCell<Bytes>,
    ) -> Option<Room> {
        let span = Span {
            place: Place::Host,
            units: 0..whole,
            streamed: 0..0,
            position: Position::First,
        };
        let ram = match whole {
            0 => self.ram(layout),
            _ => {
                let beside = self.beside(layout, &span).needs.total();
                self.ram(layout).checked_sub(beside)?
            }
        };
        let (of_kind, taken) = self.on_devices(layout, &(whole..self.units().len()), buffer)?;
        Some(Room {
            whole,
            of_kind,
            taken,
            ram,
            time: left(whole, most),
        })
    }

    /// What GPUs of each kind have for the weights of the blocks among these units, and what is taken
    /// of all of them together.
    fn on_devices(
        &self,
        layout: Layout,
        units: &Range<usize>,
        buffer: &OnceCell<Bytes>,
    ) -> Option<(Vec<Bytes>, Bytes)> {
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
        let buffer = buffer.get_or_init(|| self.first.least_buffer(layout));
        self.without_buffer(units, *buffer)
    }

    fn without_buffer(&self, units: &Range<usize>, buffer: Bytes) -> Option<(Vec<Bytes>, Bytes)> {
        let sums = self.first.between(units);
        let head = self.first.between(&(units.end - 1..units.end));
        let (mut paces, mut of_kind): (Vec<f64>, Vec<Bytes>) = Default::default();
        for (device, room) in self.rig().device_ids().zip(self.first.rooms(buffer)) {
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

/// The picoseconds of a token beside what hands over from the CPU.
fn left(whole: usize, most: Seconds) -> f64 {
    let hop = match whole {
        0 => Seconds::default(),
        _ => time::HOP,
    };
    (most.0 - hop.0) * 1e12
}
