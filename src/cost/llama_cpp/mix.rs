//! llama.cpp's accounting where every block may have a recipe of its own: a stage is stored as well
//! as its device has room for.
//!
//! What is in no block has one recipe, which is given. The ways of the blocks are in `blocks.rs`.

mod blocks;
mod in_ram;
mod least;
mod menus;
mod paired;
mod rest;

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

use super::{LlamaCpp, Sums};
use crate::cost::column::Owner;
use crate::cost::frontier::{Frontiers, Way};
use crate::cost::{
    Accounting, Column, ColumnSet, Crossing, Layout, Memory, Offload, Parts, Place, Position, Span,
    Stage, Store, Unit, capacity,
};
use crate::hardware::{DeviceId, HostId, Rig};
use crate::model::mix::Mix;
use crate::model::recipe::Recipe;
use crate::units::Bytes;

use blocks::parts;
pub use blocks::{Asked, Blocks, Limit, Offer};
pub use least::Least;

/// The price list of one model, rig and workload, and of every mix of some recipes.
#[derive(Clone, Debug)]
pub struct Mixed<'a> {
    blocks: Rc<Blocks<'a>>,
    rest: Recipe,
    /// The index of its recipe.
    of_rest: usize,
    /// With all blocks of the first recipe.
    first: Rc<LlamaCpp<'a>>,
    /// With all blocks of one recipe, for each: where buffers depend on it.
    alike: Rc<OnceCell<Vec<LlamaCpp<'a>>>>,
    /// What stages need beside the weights of blocks, as far as it was asked for.
    beside: Rc<RefCell<BTreeMap<(Layout, Seat), ByRun>>>,
    /// What the recipe of the rest costs.
    penalty: u64,
    /// Layouts of other ranks are left out.
    ranks: Range<usize>,
}

/// What a stage's needs depend on besides its layout, its units and how these are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seat {
    Host,
    Device(Position),
}

/// By start, then by length.
type ByRun = Vec<Vec<Option<Beside>>>;

/// What a stage needs that is no block's weight, and the index of the accounting that says so.
#[derive(Clone, Copy, Debug)]
struct Beside {
    of: usize,
    needs: Memory,
}

impl<'a> Mixed<'a> {
    /// Mixes of the recipes of `blocks`, with the recipe of that index for what is in no block.
    pub fn new(blocks: &Rc<Blocks<'a>>, of_rest: usize) -> Self {
        let rest = &blocks.asked.offers[of_rest];
        Self {
            first: Rc::new(blocks.alike[0].with_rest_of(&blocks.alike[of_rest])),
            alike: Rc::default(),
            beside: Rc::default(),
            penalty: parts(rest, blocks.share_of_rest),
            rest: rest.recipe,
            of_rest,
            blocks: Rc::clone(blocks),
            ranks: 0..usize::MAX,
        }
    }

    /// Whether any plan of another rest is one of this as well, with no more of any device and no
    /// slower.
    pub fn has_no_larger_rest_than(&self, other: &Self) -> bool {
        self.first.has_no_larger_rest_than(&other.first)
    }

    /// Whether beside another rest every stage of these layouts needs and takes the same, so that both
    /// have the same plans.
    pub fn has_plans_of(&self, other: &Self, layouts: &[Layout]) -> bool {
        let (rig, ram) = (self.rig(), capacity(self.rig(), Place::Host));
        let base = |mixed: &Self, layout| mixed.host_base(layout).total();
        let has_room = |base: Bytes| rig.host().is_none() || base <= ram;
        let is_like = |layout: &Layout| {
            let (own, others) = (base(self, *layout), base(other, *layout));
            match layout {
                Layout::OneDevice | Layout::Pipelined | Layout::Sequential | Layout::Served(_) => {
                    has_room(own) == has_room(others)
                }
                Layout::Offloaded(_) | Layout::HostOnly(_) => own == others,
            }
        };
        self.first.has_rest_of(&other.first) && layouts.iter().all(is_like)
    }

    /// The recipe of what is in no block.
    pub fn recipe_of_rest(&self) -> Recipe {
        self.rest
    }

    /// What the recipe of what is in no block costs, in parts of [`Way::PARTS`].
    pub fn penalty_of_rest(&self) -> u64 {
        self.penalty
    }

    /// What no mix costs less than.
    pub fn least(&self) -> u64 {
        self.penalty.saturating_add(self.blocks.least)
    }

    /// With the layouts of one rank alone.
    pub fn of_rank(&self, rank: usize) -> Self {
        Self {
            ranks: rank..rank + 1,
            ..self.clone()
        }
    }

    /// What the rest takes on the device of the head, and in RAM.
    pub fn size_of_rest(&self) -> [Bytes; 2] {
        let n_units = self.units().len();
        let head = self.first.between(&(n_units - 1..n_units)).on_device;
        [head, self.first.input]
    }

    /// The mix in which these stages were priced.
    pub fn mix(&self, layout: Layout, stages: &[Span]) -> Mix {
        let way = |span: &Span| {
            let beside = self.beside(layout, span).needs.total();
            self.way(span, beside, self.room(layout, span.place))
        };
        let stages: Vec<_> = stages.iter().map(|span| (span, way(span))).collect();
        self.mix_of(&stages)
    }

    /// The mix of stages that are stored in these ways.
    pub fn mix_of(&self, stages: &[(&Span, Way)]) -> Mix {
        let choices = |(span, way): &(&Span, Way)| {
            let frontiers = self.frontiers(span.place);
            frontiers.choices(&span.units, *way)
        };
        self.chosen(stages.iter().map(|stage| (stage.0, choices(stage))))
    }

    /// The mix in which the blocks of stages have the recipes of these indices.
    fn chosen<'b>(&self, stages: impl Iterator<Item = (&'b Span, Vec<usize>)>) -> Mix {
        let mut blocks = vec![self.rest; self.units().len() - 1];
        for (span, choices) in stages {
            for (block, choice) in blocks[span.units.start..].iter_mut().zip(choices) {
                *block = self.blocks.asked.offers[choice].recipe;
            }
        }
        Mix {
            rest: self.rest,
            blocks,
        }
    }

    /// A column on the first device of its group.
    fn span_of(set: &ColumnSet, column: &Column) -> Span {
        Span {
            place: match column.owner {
                Owner::Host => Place::Host,
                Owner::Group(group) => Place::Device(set.groups[group.0][0]),
            },
            units: column.units.clone(),
            streamed: column.streamed.clone(),
            position: column.position,
        }
    }

    /// What a place has for its stage.
    fn room(&self, layout: Layout, place: Place) -> Bytes {
        let room = capacity(self.rig(), place);
        match place {
            Place::Host => room.saturating_sub(self.host_base(layout).total()),
            Place::Device(_) => room,
        }
    }

    fn frontiers(&self, place: Place) -> &Frontiers {
        match place {
            Place::Host => &self.blocks.on_host,
            Place::Device(_) => &self.blocks.on_device,
        }
    }

    /// The accountings whose buffers a layout may have: where the CPU computes blocks or their
    /// matrices stream, buffers depend on the formats of blocks.
    fn alike(&self, layout: Layout) -> &[LlamaCpp<'a>] {
        match layout {
            Layout::OneDevice | Layout::Pipelined | Layout::Sequential | Layout::Served(_) => {
                std::slice::from_ref(self.first.as_ref())
            }
            Layout::Offloaded(_) | Layout::HostOnly(_) => self.alike.get_or_init(|| {
                let rest = &self.blocks.alike[self.of_rest];
                let alike = self.blocks.alike.iter();
                alike.map(|blocks| blocks.with_rest_of(rest)).collect()
            }),
        }
    }

    /// What a stage needs beside the weights of its blocks, with the recipe that makes it the most.
    fn beside(&self, layout: Layout, span: &Span) -> Beside {
        let seat = match span.place {
            Place::Host => Seat::Host,
            Place::Device(_) => Seat::Device(span.position),
        };
        let mut known = self.beside.borrow_mut();
        let by_start = known.entry((layout, seat)).or_default();
        if by_start.len() <= span.units.start {
            by_start.resize(span.units.start + 1, Vec::new());
        }
        let by_length = &mut by_start[span.units.start];
        if by_length.len() <= span.units.len() {
            by_length.resize(span.units.len() + 1, None);
        }
        *by_length[span.units.len()].get_or_insert_with(|| self.largest(layout, span))
    }

    fn largest(&self, layout: Layout, span: &Span) -> Beside {
        let sums = self.sums(span, Way::default());
        let beside = |(of, alike): (usize, &LlamaCpp<'_>)| {
            // Taken off where the stage is priced: here no block weighs anything.
            let in_ram = alike.in_ram(layout, &span.units);
            let sums = Sums {
                on_device: sums.on_device + in_ram.on_device,
                on_host: sums.on_host + in_ram.on_host,
                ..sums
            };
            Beside {
                of,
                needs: alike.held(layout, span, &sums),
            }
        };
        let alike = self.alike(layout).iter().enumerate().map(beside);
        let largest = alike.max_by_key(|beside| beside.needs.total());
        largest.unwrap_or_else(|| beside((0, self.first.as_ref())))
    }

    /// A stage whose blocks are stored in a way.
    fn priced(&self, layout: Layout, span: &Span, (beside, way): (Beside, Way)) -> Stage {
        let needs = Memory {
            weights: beside.needs.weights + way.bytes,
            ..beside.needs
        };
        let sums = self.sums(span, way);
        self.alike(layout)[beside.of].priced_with(layout, span, &sums, needs)
    }

    /// The way of the least penalty that fits beside what is no weight, else the smallest.
    fn way(&self, span: &Span, beside: Bytes, room: Bytes) -> Way {
        let frontiers = self.frontiers(span.place);
        let fitting = room
            .checked_sub(beside)
            .and_then(|room| frontiers.best(&span.units, room));
        fitting.unwrap_or_else(|| frontiers.smallest(&span.units))
    }

    /// What the units of a stage add up to whose blocks are stored in a way.
    fn sums(&self, span: &Span, way: Way) -> Sums {
        let n_units = self.units().len();
        let sums = self.first.between(&span.units);
        // That of the last unit, where the stage has it.
        let head = match span.units.end == n_units {
            true => self.first.between(&(n_units - 1..n_units)),
            false => Sums::default(),
        };
        Sums {
            on_device: way.bytes + head.on_device,
            on_host: way.bytes + head.on_host,
            read: way.read + head.read,
            ..sums
        }
    }
}

impl Accounting for Mixed<'_> {
    fn rig(&self) -> &Rig {
        self.first.rig()
    }

    fn units(&self) -> &[Unit] {
        self.first.units()
    }

    fn most_devices(&self, layout: Layout) -> usize {
        self.first.most_devices(layout)
    }

    fn ranks(&self) -> Vec<Vec<Layout>> {
        // Parts in RAM, and what is read from disk, are priced for one recipe only.
        let in_one =
            |layout: &Layout| layout.parts() == Parts::NONE && layout.store() == Store::Ram;
        let mut ranks = self.first.ranks();
        for rank in &mut ranks {
            rank.retain(in_one);
        }
        ranks.retain(|rank| !rank.is_empty());
        let ranks = ranks.into_iter().enumerate();
        let ranks = ranks.filter(|(index, _)| self.ranks.contains(index));
        ranks.map(|(_, rank)| rank).collect()
    }

    /// At its smallest. Its buffers are the largest that any of the recipes needs. Where blocks have a
    /// part in RAM only what it needs is meant: what such a mix takes is asked of its file.
    fn stage(&self, layout: Layout, span: &Span) -> Stage {
        let way = self.smallest(layout, span);
        self.priced(layout, span, (self.beside(layout, span), way))
    }

    fn fitted(&self, layout: Layout, span: &Span, room: Bytes) -> (Stage, u64) {
        // What all stages of such a layout have in RAM is one sum: `menus_by_ram` has the ways.
        if layout.parts() != Parts::NONE {
            return (self.stage(layout, span), 0);
        }
        let beside = self.beside(layout, span);
        let way = self.way(span, beside.needs.total(), room);
        (self.priced(layout, span, (beside, way)), way.penalty)
    }

    /// Without parts of blocks, which weigh more or less.
    fn host_base(&self, layout: Layout) -> Memory {
        let all = 0..self.units().len();
        let base = |alike: &LlamaCpp<'_>| {
            let base = alike.host_base(layout);
            let in_ram = alike.in_ram(layout, &all).on_host;
            Memory {
                weights: base.weights.saturating_sub(in_ram),
                ..base
            }
        };
        let bases = self.alike(layout).iter().map(base);
        bases.max_by_key(|base| base.total()).unwrap_or_default()
    }

    /// As far as blocks are as small as they can be.
    fn stage_ends(
        &self,
        layout: Layout,
        position: Position,
        ends: &Range<usize>,
        devices: &[DeviceId],
    ) -> Vec<Vec<RangeInclusive<usize>>> {
        let smallest = self.blocks.smallest();
        smallest.map_or_else(Vec::new, |smallest| {
            self.alike(layout)[smallest].stage_ends(layout, position, ends, devices)
        })
    }

    fn crossing(&self, from: HostId, to: HostId) -> Crossing {
        self.first.crossing(from, to)
    }

    fn offload(&self) -> Offload {
        Offload::Computes
    }

    fn uncertainty(&self, layout: Layout, span: &Span) -> f64 {
        self.first.uncertainty(layout, span)
    }
}
