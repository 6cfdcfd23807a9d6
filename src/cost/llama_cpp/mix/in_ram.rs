//! Stages of a mix where RAM has some of the chain: what all of them have there is one sum, so each is
//! a menu of ways by the RAM that they take.
//!
//! A stage on a GPU has two runs: blocks of which a part is in RAM, and behind them blocks that have
//! nothing there. For each way of the former the latter take the best that the GPU has room for
//! beside it, so that nothing is lost and the menu has no more ways than the first run.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use super::Mixed;
use crate::cost::frontier::{Frontier, Frontiers, Way};
use crate::cost::menu::{Law, Menu};
use crate::cost::{Accounting, Column, ColumnSet, Layout, Place, Span, Store};
use crate::model::mix::Mix;
use crate::units::Bytes;

/// Blocks of a stage that are stored in one of these ways each.
struct Run<'a> {
    frontiers: &'a Frontiers,
    units: Range<usize>,
}

impl Run<'_> {
    fn ways(&self) -> Frontier {
        self.frontiers.of(&self.units)
    }
}

impl Mixed<'_> {
    /// The layouts with a GPU and some of the chain in RAM.
    pub fn with_some_in_ram(&self) -> Vec<Layout> {
        let of_gpu_and_ram = |layout: &Layout| {
            matches!(layout, Layout::Offloaded(_)) && layout.store() == Store::Ram
        };
        let layouts = self.first.ranks().into_iter().flatten();
        layouts.filter(of_gpu_and_ram).collect()
    }

    /// The RAM that the stages of a layout have together.
    pub fn ram(&self, layout: Layout) -> Bytes {
        self.room(layout, Place::Host)
    }

    /// Every way of each column of a set, by the RAM that it takes.
    pub fn menus_by_ram(&self, set: &ColumnSet) -> Vec<Menu> {
        // By the addresses of both runs' ways, and their room: runs that are alike share theirs.
        let mut known: BTreeMap<([usize; 2], Bytes), Frontier> = BTreeMap::new();
        let mut menu = |column: &Column| {
            let span = Self::span_of(set, column);
            let beside = self.beside(set.layout, &span).needs.total();
            let room = self.room(set.layout, span.place).saturating_sub(beside);
            let (ways, fixed) = match span.place {
                Place::Host => (Rc::from(self.by_ram_on_host(&span.units, room)), beside),
                Place::Device(_) => {
                    let runs = self.runs(set.layout, &span.units);
                    let addresses = [&runs[0], &runs[1]].map(|run| run.ways().as_ptr().addr());
                    let ways = known.entry((addresses, room));
                    let ways = ways.or_insert_with(|| Rc::from(by_ram_on_device(&runs, room)));
                    (Rc::clone(ways), Bytes::ZERO)
                }
            };
            Menu {
                owner: column.owner,
                units: span.units,
                position: span.position,
                n_fitting: ways.len(),
                ways,
                law: Law {
                    fixed: fixed.0 as f64,
                    a_byte: 1.0,
                },
            }
        };
        set.columns.iter().map(&mut menu).collect()
    }

    /// The mix of stages that are stored in these ways of their menus by RAM.
    pub fn mix_by_ram(&self, layout: Layout, stages: &[(&Span, Way)]) -> Mix {
        let choices = |(span, way): &(&Span, Way)| match span.place {
            Place::Host => {
                let ways = self.blocks.on_host.of(&span.units);
                let own = ways.iter().find(|own| own.bytes == way.bytes);
                let own = own.copied().unwrap_or_default();
                self.blocks.on_host.choices(&span.units, own)
            }
            Place::Device(_) => {
                let beside = self.beside(layout, span).needs.total();
                let room = self.room(layout, span.place).saturating_sub(beside);
                let runs = self.runs(layout, &span.units);
                let mut both = pairs(&runs, room).into_iter();
                let both = both.find(|both| joined(both) == *way);
                let both = both.unwrap_or_default();
                let of = |(run, way): (&Run<'_>, Way)| run.frontiers.choices(&run.units, way);
                runs.iter().zip(both).flat_map(of).collect()
            }
        };
        self.chosen(stages.iter().map(|stage| (stage.0, choices(stage))))
    }

    /// The fewest bytes of a stage's blocks on its own place.
    pub(super) fn smallest(&self, layout: Layout, span: &Span) -> Way {
        match span.place {
            Place::Host => self.blocks.on_host.smallest(&span.units),
            Place::Device(_) => {
                let runs = self.runs(layout, &span.units);
                joined(&runs.map(|run| run.frontiers.smallest(&run.units)))
            }
        }
    }

    /// Blocks with a part in RAM, and behind them those without.
    fn runs(&self, layout: Layout, units: &Range<usize>) -> [Run<'_>; 2] {
        let parts = layout.parts();
        let cut = parts.units().end.clamp(units.start, units.end);
        [
            Run {
                frontiers: self.blocks.apart(parts.matrices),
                units: units.start..cut,
            },
            Run {
                frontiers: &self.blocks.on_device,
                units: cut..units.end,
            },
        ]
    }

    fn by_ram_on_host(&self, units: &Range<usize>, room: Bytes) -> Vec<Way> {
        let ways = self.blocks.on_host.of(units);
        let fitting = ways.iter().take_while(|way| way.bytes <= room);
        let by_ram = fitting.map(|way| Way {
            read: way.bytes,
            ..*way
        });
        by_ram.collect()
    }
}

/// Of two runs on one GPU: each way of the first, and the best of the second beside it.
fn pairs(runs: &[Run<'_>; 2], room: Bytes) -> Vec<[Way; 2]> {
    let [first, second] = [&runs[0], &runs[1]].map(Run::ways);
    let beside = move |way: Way| {
        let left = room.checked_sub(way.bytes)?;
        let n_fitting = second.partition_point(|other| other.bytes <= left);
        Some([way, second[n_fitting.checked_sub(1)?]])
    };
    first.iter().copied().filter_map(beside).collect()
}

/// Both as one. What is read of the second says nothing of RAM.
fn joined(both: &[Way; 2]) -> Way {
    Way {
        bytes: both[0].bytes + both[1].bytes,
        penalty: both[0].penalty.saturating_add(both[1].penalty),
        read: both[0].read,
        ram: Bytes::ZERO,
    }
}

/// Those of which none is as good and takes as little RAM as another.
fn by_ram_on_device(runs: &[Run<'_>; 2], room: Bytes) -> Vec<Way> {
    let mut ways: Vec<Way> = pairs(runs, room).iter().map(joined).collect();
    ways.sort_unstable_by_key(|way| (way.read, way.penalty, way.bytes));
    let mut least = u64::MAX;
    ways.retain(|way| {
        let is_better = way.penalty < least;
        least = least.min(way.penalty);
        is_better
    });
    ways
}
