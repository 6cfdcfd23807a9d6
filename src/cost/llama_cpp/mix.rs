//! llama.cpp's accounting where every block may have a recipe of its own: a stage is stored as well
//! as its device has room for.
//!
//! What is in no block has one recipe, which is given. The ways of the blocks are in `blocks.rs`.

mod blocks;

use std::cell::OnceCell;
use std::ops::Range;
use std::rc::Rc;

use super::{LlamaCpp, Sums};
use crate::cost::column::Owner;
use crate::cost::frontier::{Frontiers, Way};
use crate::cost::menu::{Law, Menu};
use crate::cost::{
    Accounting, Column, ColumnSet, Crossing, Layout, Memory, Offload, Parts, Place, Span, Stage,
    Store, Unit, capacity,
};
use crate::hardware::{HostId, Rig};
use crate::model::PrecisionError;
use crate::model::mix::Mix;
use crate::model::recipe::Recipe;
use crate::units::Bytes;

use blocks::parts;
pub use blocks::{Asked, Blocks, Limit, Offer};

/// The price list of one model, rig and workload, and of every mix of some recipes.
#[derive(Clone, Debug)]
pub struct Mixed<'a> {
    blocks: Rc<Blocks<'a>>,
    rest: Recipe,
    /// With all blocks of the first recipe.
    first: Rc<LlamaCpp<'a>>,
    /// With all blocks of one recipe, for each: where buffers depend on it.
    alike: Rc<OnceCell<Vec<LlamaCpp<'a>>>>,
    /// What the recipe of the rest costs.
    penalty: u64,
    /// Layouts of other ranks are left out.
    ranks: Range<usize>,
}

impl<'a> Mixed<'a> {
    /// Prices mixes of the recipes of `blocks`, with `rest` for what is in no block.
    ///
    /// # Errors
    /// Where a draft model beside it cannot be loaded.
    pub fn new(blocks: &Rc<Blocks<'a>>, rest: Offer) -> Result<Self, PrecisionError> {
        let offers = blocks.asked.offers;
        let first = offers.first().map_or(rest.recipe, |offer| offer.recipe);
        Ok(Self {
            first: Rc::new(blocks.accounting(first, rest.recipe)?),
            alike: Rc::default(),
            penalty: parts(&rest, blocks.share_of_rest),
            rest: rest.recipe,
            blocks: Rc::clone(blocks),
            ranks: 0..usize::MAX,
        })
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
            let (_, beside) = self.largest(layout, span);
            self.way(span, beside, self.room(layout, span.place))
        };
        let stages: Vec<_> = stages.iter().map(|span| (span, way(span))).collect();
        self.mix_of(&stages)
    }

    /// The mix of stages that are stored in these ways.
    pub fn mix_of(&self, stages: &[(&Span, Way)]) -> Mix {
        let mut blocks = vec![self.rest; self.units().len() - 1];
        for (span, way) in stages {
            let choices = self.frontiers(span.place).choices(&span.units, *way);
            for (block, choice) in blocks[span.units.start..].iter_mut().zip(choices) {
                *block = self.blocks.asked.offers[choice].recipe;
            }
        }
        Mix {
            rest: self.rest,
            blocks,
        }
    }

    /// Every way of each column of a set.
    pub fn menus(&self, set: &ColumnSet) -> Vec<Menu> {
        let menu = |column: &Column| {
            let place = match column.owner {
                Owner::Host => Place::Host,
                Owner::Group(group) => Place::Device(set.groups[group.0][0]),
            };
            let span = Span {
                place,
                units: column.units.clone(),
                streamed: column.streamed.clone(),
                position: column.position,
            };
            // Buffers take no time, so that any accounting will do.
            let read = Bytes::gib(1024);
            let stage = |read: Bytes| {
                let way = Way {
                    read,
                    ..Way::default()
                };
                self.first.priced(set.layout, &span, &self.sums(&span, way))
            };
            let picoseconds = |stage: &Stage| stage.time.0 * 1e12;
            let fixed = picoseconds(&stage(Bytes::ZERO));
            let law = Law {
                fixed,
                a_byte: (picoseconds(&stage(read)) - fixed) / read.0 as f64,
            };
            let ways = self.frontiers(place).of(&span.units);
            let room = self.room(set.layout, place);
            let (_, beside) = self.largest(set.layout, &span);
            let room = room.saturating_sub(beside);
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
            Layout::Offloaded(_) | Layout::HostOnly(_) => {
                self.alike.get_or_init(|| {
                    let offers = self.blocks.asked.offers.iter();
                    let of = |offer: &Offer| self.blocks.accounting(offer.recipe, self.rest);
                    // What stands beside the model does not depend on its recipes.
                    offers
                        .map(|offer| of(offer).unwrap_or_else(|_| LlamaCpp::clone(&self.first)))
                        .collect()
                })
            }
        }
    }

    /// The accounting whose buffers are the largest, and what a stage needs with it that is no block's
    /// weight.
    fn largest(&self, layout: Layout, span: &Span) -> (&LlamaCpp<'a>, Bytes) {
        let sums = self.sums(span, Way::default());
        let alike = self.alike(layout).iter();
        let needs = alike.map(|alike| (alike, alike.held(layout, span, &sums).total()));
        let largest = needs.max_by_key(|(_, needs)| *needs);
        largest.unwrap_or((self.first.as_ref(), Bytes::ZERO))
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

    fn most_devices(&self) -> usize {
        self.first.most_devices()
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

    /// At its smallest. Its buffers are the largest that any of the recipes needs.
    fn stage(&self, layout: Layout, span: &Span) -> Stage {
        let way = self.frontiers(span.place).smallest(&span.units);
        let (largest, _) = self.largest(layout, span);
        largest.priced(layout, span, &self.sums(span, way))
    }

    fn fitted(&self, layout: Layout, span: &Span, room: Bytes) -> (Stage, u64) {
        let (largest, beside) = self.largest(layout, span);
        let way = self.way(span, beside, room);
        let stage = largest.priced(layout, span, &self.sums(span, way));
        (stage, way.penalty)
    }

    fn host_base(&self, layout: Layout) -> Memory {
        let bases = self
            .alike(layout)
            .iter()
            .map(|alike| alike.host_base(layout));
        bases.max_by_key(|base| base.total()).unwrap_or_default()
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
