//! llama.cpp's accounting where every block may have a recipe of its own: a stage is stored as well
//! as its device has room for.
//!
//! What a recipe costs in quality is spread over blocks and all else in proportion to their weights.
//! That is an assumption: published penalties are of whole models. What is in no block has one
//! recipe, which is given.

use super::stored::{Held, held};
use super::{LlamaCpp, Sums};
use crate::cost::frontier::{Frontiers, Way};
use crate::cost::{
    Accounting, Layout, Memory, Offload, Parts, Place, Span, Stage, Store, Unit, capacity,
};
use crate::hardware::Rig;
use crate::model::mix::Mix;
use crate::model::recipe::Recipe;
use crate::model::{Model, Part, PrecisionError};
use crate::units::Bytes;
use crate::workload::Workload;

/// A recipe and what a whole model of it costs in quality.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// The recipe.
    pub recipe: Recipe,
    /// The penalty.
    pub penalty: f64,
}

/// The price list of one model, rig and workload, and of every mix of some recipes.
#[derive(Clone, Debug)]
pub struct Mixed<'a> {
    rest: Recipe,
    recipes: Vec<Recipe>,
    /// With all blocks of one recipe, in the order of `recipes`.
    alike: Vec<LlamaCpp<'a>>,
    on_device: Frontiers,
    on_host: Frontiers,
    /// What the recipe of the rest costs.
    penalty: u64,
    /// What all else costs at the least.
    least: u64,
    /// Layouts of later ranks are left out.
    n_ranks: usize,
}

impl<'a> Mixed<'a> {
    /// Prices mixes of `offers` over the blocks of `model`, with `rest` for what is in no block.
    ///
    /// # Errors
    /// Where llama-quantize cannot follow one of the recipes.
    pub fn new(
        model: &Model,
        (offers, rest): (&[Offer], Offer),
        rig: &'a Rig,
        workload: &Workload,
    ) -> Result<Self, PrecisionError> {
        let n_blocks = model.dimensions.n_layers as usize;
        let mut alike = Vec::with_capacity(offers.len());
        for offer in offers {
            let mix = Mix {
                rest: rest.recipe,
                blocks: vec![offer.recipe; n_blocks],
            };
            alike.push(LlamaCpp::of_formats(
                model,
                mix.formats(model)?,
                rig,
                workload,
            )?);
        }
        let shares = shares(model);
        let parts = |offer: &Offer, share: f64| (offer.penalty * share * Way::PARTS).round() as u64;
        let ways = |bytes: fn(&Sums) -> Bytes| -> Vec<Vec<Way>> {
            let of_unit = |unit: usize| {
                let priced = alike.iter().zip(offers);
                let way = |(accounting, offer): (&LlamaCpp<'_>, &Offer)| {
                    let sums = accounting.between(&(unit..unit + 1));
                    Way {
                        bytes: bytes(&sums),
                        penalty: shares.get(unit).map_or(0, |share| parts(offer, *share)),
                        read: sums.read,
                    }
                };
                priced.map(way).collect()
            };
            (0..=n_blocks).map(of_unit).collect()
        };
        let least_of = |unit: &Vec<Way>| unit.iter().map(|way| way.penalty).min();
        let on_device = ways(|sums| sums.on_device);
        let largest = rig.device_ids().map(|id| rig.capacity(id)).max();
        Ok(Self {
            least: on_device.iter().filter_map(least_of).sum(),
            on_device: Frontiers::new(on_device, largest.unwrap_or_default()),
            on_host: Frontiers::new(ways(|sums| sums.on_host), capacity(rig, Place::Host)),
            n_ranks: usize::MAX,
            penalty: parts(&rest, 1.0 - shares.iter().sum::<f64>()),
            rest: rest.recipe,
            recipes: offers.iter().map(|offer| offer.recipe).collect(),
            alike,
        })
    }

    /// What the recipe of what is in no block costs, in parts of [`Way::PARTS`].
    pub fn penalty_of_rest(&self) -> u64 {
        self.penalty
    }

    /// What no mix costs less than.
    pub fn least(&self) -> u64 {
        self.penalty.saturating_add(self.least)
    }

    /// Without the layouts behind the first `n_ranks` ranks.
    pub fn within_ranks(self, n_ranks: usize) -> Self {
        Self { n_ranks, ..self }
    }

    /// What the rest takes on the device of the head, and in RAM.
    pub fn size_of_rest(&self) -> [Bytes; 2] {
        let accounting = &self.alike[0];
        let n_units = accounting.units().len();
        let head = accounting.between(&(n_units - 1..n_units)).on_device;
        [head, accounting.input]
    }

    /// The mix in which these stages were priced.
    pub fn mix(&self, layout: Layout, stages: &[Span]) -> Mix {
        let mut blocks = vec![self.rest; self.units().len() - 1];
        for span in stages {
            let room = capacity(self.rig(), span.place);
            let room = match span.place {
                Place::Host => room.saturating_sub(self.host_base(layout).total()),
                Place::Device(_) => room,
            };
            let way = self.way(layout, span, room);
            let choices = self.frontiers(span.place).choices(&span.units, way);
            for (block, choice) in blocks[span.units.start..].iter_mut().zip(choices) {
                *block = self.recipes[choice];
            }
        }
        Mix {
            rest: self.rest,
            blocks,
        }
    }

    fn frontiers(&self, place: Place) -> &Frontiers {
        match place {
            Place::Host => &self.on_host,
            Place::Device(_) => &self.on_device,
        }
    }

    /// The way of the least penalty that fits beside what is no weight, else the smallest.
    fn way(&self, layout: Layout, span: &Span, room: Bytes) -> Way {
        let frontiers = self.frontiers(span.place);
        let beside = self.stored(layout, span, Way::default()).device.total();
        let fitting = room
            .checked_sub(beside)
            .and_then(|room| frontiers.best(&span.units, room));
        fitting.unwrap_or_else(|| frontiers.smallest(&span.units))
    }

    /// A stage stored in a way. Where the CPU computes blocks or their matrices stream, buffers depend
    /// on the formats of blocks: they are the largest that any of the recipes needs.
    fn stored(&self, layout: Layout, span: &Span, way: Way) -> Stage {
        let sums = Sums {
            on_device: way.bytes,
            on_host: way.bytes,
            read: way.read,
            ..self.alike[0].between(&span.units)
        };
        let alike = match layout {
            Layout::OneDevice | Layout::Pipelined | Layout::Sequential => &self.alike[..1],
            Layout::Offloaded(_) | Layout::HostOnly(_) => &self.alike[..],
        };
        let stages = alike.iter().map(|alike| alike.priced(layout, span, &sums));
        stages
            .max_by_key(|stage| stage.device.total())
            .unwrap_or_default()
    }
}

/// The share of each block in all weights that a token may need.
fn shares(model: &Model) -> Vec<f64> {
    let is_loaded = |part: Part| !matches!(part, Part::Tower | Part::NextToken(_));
    let tensors = || model.tensors.iter().filter(|it| !it.gguf_name.is_empty());
    let loaded = tensors().filter(|tensor| is_loaded(tensor.part));
    let all = loaded.map(|tensor| tensor.elements()).sum::<u64>().max(1) as f64;
    let of_block = |block| {
        let own = tensors()
            .filter(|it| it.part != Part::Embedding)
            .filter(|it| matches!(held(it, Unit::Block(block), true), Held::Own));
        own.map(|tensor| tensor.elements()).sum::<u64>() as f64 / all
    };
    (0..model.dimensions.n_layers).map(of_block).collect()
}

impl Accounting for Mixed<'_> {
    fn rig(&self) -> &Rig {
        self.alike[0].rig()
    }

    fn units(&self) -> &[Unit] {
        self.alike[0].units()
    }

    fn ranks(&self) -> Vec<Vec<Layout>> {
        // Parts in RAM, and what is read from disk, are priced for one recipe only.
        let in_one =
            |layout: &Layout| layout.parts() == Parts::NONE && layout.store() == Store::Ram;
        let mut ranks = self.alike[0].ranks();
        for rank in &mut ranks {
            rank.retain(in_one);
        }
        ranks.retain(|rank| !rank.is_empty());
        ranks.truncate(self.n_ranks);
        ranks
    }

    /// At its smallest.
    fn stage(&self, layout: Layout, span: &Span) -> Stage {
        let way = self.frontiers(span.place).smallest(&span.units);
        self.stored(layout, span, way)
    }

    fn fitted(&self, layout: Layout, span: &Span, room: Bytes) -> (Stage, u64) {
        let way = self.way(layout, span, room);
        (self.stored(layout, span, way), way.penalty)
    }

    fn host_base(&self, layout: Layout) -> Memory {
        let bases = self.alike.iter().map(|alike| alike.host_base(layout));
        bases.max_by_key(|base| base.total()).unwrap_or_default()
    }

    fn offload(&self) -> Offload {
        Offload::Computes
    }

    fn uncertainty(&self, layout: Layout, span: &Span) -> f64 {
        self.alike[0].uncertainty(layout, span)
    }
}
