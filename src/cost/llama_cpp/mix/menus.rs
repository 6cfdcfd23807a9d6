//! Stages of a mix where a token may take only so long: a menu of ways by what they read.

use super::{Beside, Mixed};
use crate::cost::frontier::Way;
use crate::cost::menu::{Law, Menu};
use crate::cost::{Column, ColumnSet, Stage};
use crate::units::Bytes;

impl Mixed<'_> {
    /// Every way of each column of a set.
    pub fn menus(&self, set: &ColumnSet) -> Vec<Menu> {
        let menu = |column: &Column| {
            let span = Self::span_of(set, column);
            let place = span.place;
            let Beside { needs, .. } = self.beside(set.layout, &span);
            // Buffers take no time, so that any accounting will do.
            let read = Bytes::gib(1024);
            let stage = |read: Bytes| {
                let way = Way {
                    read,
                    ..Way::default()
                };
                let sums = self.sums(&span, way);
                self.first.priced_with(set.layout, &span, &sums, needs)
            };
            let picoseconds = |stage: &Stage| stage.time.0 * 1e12;
            let fixed = picoseconds(&stage(Bytes::ZERO));
            let law = Law {
                fixed,
                a_byte: (picoseconds(&stage(read)) - fixed) / read.0 as f64,
            };
            let ways = self.frontiers(place).of(&span.units);
            let room = self.room(set.layout, place);
            let room = room.saturating_sub(needs.total());
            Menu {
                owner: column.owner,
                units: span.units,
                position: span.position,
                n_fitting: ways.partition_point(|way| way.bytes <= room),
                ways,
                law,
            }
        };
        set.columns.iter().map(menu).collect()
    }
}
