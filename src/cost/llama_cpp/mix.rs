//! llama.cpp's accounting where every block may have a recipe of its own: a stage is stored as well
//! as its device has room for.
//!
//! What a recipe costs in quality is spread over blocks and all else in proportion to their weights.
//! That is an assumption: published penalties are of whole models. What is in no block has one
//! recipe, which is given.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::stored::{Held, held};
use super::{LlamaCpp, Sums};
use crate::cost::column::Owner;
use crate::cost::frontier::{Counts, Frontiers, Way};
use crate::cost::menu::{Law, Menu};
use crate::cost::time;
use crate::cost::{
    Accounting, Column, ColumnSet, Layout, Memory, Offload, Place, Span, Stage, Unit, capacity,
};
use crate::hardware::{Device, Rig};
use crate::model::format::Format;
use crate::model::mix::Mix;
use crate::model::recipe::Recipe;
use crate::model::{Model, Part, Precision, PrecisionError};
use crate::units::{Bytes, BytesPerSecond, Seconds};
use crate::workload::Workload;

/// A recipe and what a whole model of it costs in quality.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// The recipe.
    pub recipe: Recipe,
    /// The penalty.
    pub penalty: f64,
}

/// What a mix is made of and for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The model.
    pub model: &'a Model,
    /// The rig.
    pub rig: &'a Rig,
    /// What has to be held.
    pub workload: &'a Workload,
    /// The recipes.
    pub offers: &'a [Offer],
    /// How sensitive the weights of each block are, beside each other.
    pub sensitivity: &'a [f64],
}

/// How long a token may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// As long as it does.
    None,
    /// No longer than this.
    Within(Seconds),
}

impl Limit {
    /// In what ways differ that are read at this rate at the most.
    fn counts(self, rate: BytesPerSecond) -> Counts {
        match self {
            Self::None => Counts::Bytes,
            Self::Within(time) => {
                Counts::BytesAndReading(Bytes((time.0 * rate.0).ceil().max(0.0) as u64))
            }
        }
    }
}

/// Every way to store the blocks of a model, whatever the rest of it is stored as.
#[derive(Debug)]
pub struct Blocks<'a> {
    asked: Asked<'a>,
    formats: BTreeMap<Recipe, Vec<Option<Format>>>,
    on_device: Frontiers,
    on_host: Frontiers,
    /// The share of what is in no block in what a recipe costs.
    share_of_rest: f64,
    /// What all blocks cost at the least.
    least: u64,
}

/// The price list of one model, rig and workload, and of every mix of some recipes.
#[derive(Clone, Debug)]
pub struct Mixed<'a> {
    blocks: Rc<Blocks<'a>>,
    rest: Recipe,
    /// With all blocks of the first recipe.
    first: LlamaCpp<'a>,
    /// With all blocks of one recipe, for each: where buffers depend on it.
    alike: OnceCell<Vec<LlamaCpp<'a>>>,
    /// What the recipe of the rest costs.
    penalty: u64,
    /// Layouts of later ranks are left out.
    n_ranks: usize,
}

impl<'a> Blocks<'a> {
    /// Prices every recipe for every block, for plans within a limit.
    ///
    /// # Errors
    /// Where llama-quantize cannot follow one of the recipes.
    pub fn new(asked: Asked<'a>, limit: Limit) -> Result<Self, PrecisionError> {
        let Asked {
            model, rig, offers, ..
        } = asked;
        let n_blocks = model.dimensions.n_layers as usize;
        let mut formats = BTreeMap::new();
        let mut alike = Vec::with_capacity(offers.len());
        for offer in offers {
            let recipe = offer.recipe;
            let of_recipe = Precision::Gguf(recipe).formats(model)?;
            formats.insert(recipe, of_recipe.clone());
            alike.push(LlamaCpp::of_formats(model, of_recipe, rig, asked.workload)?);
        }
        let shares = shares(&asked);
        let ways = |bytes: fn(&Sums) -> Bytes| -> Vec<Vec<Way>> {
            let of_unit = |unit: usize| {
                let priced = alike.iter().zip(offers);
                let way = |(accounting, offer): (&LlamaCpp<'_>, &Offer)| {
                    let sums = accounting.between(&(unit..unit + 1));
                    Way {
                        bytes: bytes(&sums),
                        penalty: parts(offer, shares[unit]),
                        read: sums.read,
                    }
                };
                priced.map(way).collect()
            };
            // The head is stored as the rest is.
            let head = std::iter::once(vec![Way::default()]);
            (0..n_blocks).map(of_unit).chain(head).collect()
        };
        let least_of = |unit: &Vec<Way>| unit.iter().map(|way| way.penalty).min();
        let on_device = ways(|sums| sums.on_device);
        let largest = rig.device_ids().map(|id| rig.capacity(id)).max();
        let rate = |device: &Device| device.bandwidth.0 * time::llama_cpp(device.class).weights;
        let rates = rig.devices().iter().map(rate);
        let fastest = limit.counts(BytesPerSecond(rates.fold(0.0, f64::max)));
        let by_cpu = rig.host().map_or(BytesPerSecond(0.0), time::host_rate);
        let in_ram = capacity(rig, Place::Host);
        Ok(Self {
            least: on_device.iter().filter_map(least_of).sum(),
            on_device: Frontiers::new(on_device, largest.unwrap_or_default(), fastest),
            on_host: Frontiers::new(ways(|sums| sums.on_host), in_ram, limit.counts(by_cpu)),
            share_of_rest: 1.0 - shares.iter().sum::<f64>(),
            asked,
            formats,
        })
    }

    /// The accounting of a model whose blocks all have one recipe.
    fn accounting(&self, blocks: Recipe, rest: Recipe) -> Result<LlamaCpp<'a>, PrecisionError> {
        let Asked {
            model,
            rig,
            workload,
            ..
        } = self.asked;
        let mix = Mix {
            rest,
            blocks: vec![blocks; model.dimensions.n_layers as usize],
        };
        LlamaCpp::of_formats(model, mix.formats_of(model, &self.formats), rig, workload)
    }
}

fn parts(offer: &Offer, share: f64) -> u64 {
    (offer.penalty * share * Way::PARTS).round() as u64
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
            first: blocks.accounting(first, rest.recipe)?,
            alike: OnceCell::new(),
            penalty: parts(&rest, blocks.share_of_rest),
            rest: rest.recipe,
            blocks: Rc::clone(blocks),
            n_ranks: usize::MAX,
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

    /// Without the layouts behind the first `n_ranks` ranks.
    pub fn within_ranks(self, n_ranks: usize) -> Self {
        Self { n_ranks, ..self }
    }

    /// What the rest takes on the device of the head, and in RAM.
    pub fn size_of_rest(&self) -> [Bytes; 2] {
        let n_units = self.units().len();
        let head = self.first.between(&(n_units - 1..n_units)).on_device;
        [head, self.first.input]
    }

    /// The mix in which these stages were priced.
    pub fn mix(&self, layout: Layout, stages: &[Span]) -> Mix {
        let way = |span: &Span| self.way(layout, span, self.room(layout, span.place));
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
            let empty = self.stored(set.layout, &span, Way::default());
            let read = Bytes::gib(1024);
            let reading = Way {
                read,
                ..Way::default()
            };
            let picoseconds = |stage: &Stage| stage.time.0 * 1e12;
            let fixed = picoseconds(&empty);
            let law = Law {
                fixed,
                a_byte: (picoseconds(&self.stored(set.layout, &span, reading)) - fixed)
                    / read.0 as f64,
            };
            let ways = self.frontiers(place).of(&span.units);
            let room = self.room(set.layout, place);
            let room = room.saturating_sub(empty.device.total());
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
            Layout::OneDevice | Layout::Pipelined | Layout::Sequential => {
                std::slice::from_ref(&self.first)
            }
            Layout::Offloaded | Layout::ExpertsOffloaded(_) | Layout::HostOnly => {
                self.alike.get_or_init(|| {
                    let offers = self.blocks.asked.offers.iter();
                    let of = |offer: &Offer| self.blocks.accounting(offer.recipe, self.rest);
                    // What stands beside the model does not depend on its recipes.
                    offers
                        .map(|offer| of(offer).unwrap_or_else(|_| self.first.clone()))
                        .collect()
                })
            }
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

    /// A stage whose blocks are stored in a way. Its buffers are the largest that any of the recipes
    /// needs.
    fn stored(&self, layout: Layout, span: &Span, way: Way) -> Stage {
        let n_units = self.units().len();
        let sums = self.first.between(&span.units);
        // That of the last unit, where the stage has it.
        let head = match span.units.end == n_units {
            true => self.first.between(&(n_units - 1..n_units)),
            false => Sums::default(),
        };
        let sums = Sums {
            on_device: way.bytes + head.on_device,
            on_host: way.bytes + head.on_host,
            read: way.read + head.read,
            ..sums
        };
        let alike = self.alike(layout).iter();
        let stages = alike.map(|alike| alike.priced(layout, span, &sums));
        stages
            .max_by_key(|stage| stage.device.total())
            .unwrap_or_default()
    }
}

/// The share of each block in what a recipe costs: by its weights among all that a token may need,
/// and its sensitivity beside other blocks.
fn shares(asked: &Asked<'_>) -> Vec<f64> {
    let model = asked.model;
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
    let by_weights: Vec<f64> = (0..model.dimensions.n_layers).map(of_block).collect();
    let weigh = |(share, weight): (&f64, &f64)| share * weight;
    let weighed: Vec<f64> = by_weights
        .iter()
        .zip(asked.sensitivity)
        .map(weigh)
        .collect();
    let (before, after) = (by_weights.iter().sum::<f64>(), weighed.iter().sum::<f64>());
    // All blocks together keep their share: a model of one recipe costs what its table says.
    let scale = if after > 0.0 { before / after } else { 0.0 };
    weighed.into_iter().map(|share| share * scale).collect()
}

impl Accounting for Mixed<'_> {
    fn rig(&self) -> &Rig {
        self.first.rig()
    }

    fn units(&self) -> &[Unit] {
        self.first.units()
    }

    fn ranks(&self) -> Vec<Vec<Layout>> {
        // Experts in RAM are priced for one recipe only.
        let in_one = |layout: &Layout| !matches!(layout, Layout::ExpertsOffloaded(_));
        let mut ranks = self.first.ranks();
        ranks.truncate(self.n_ranks);
        for rank in &mut ranks {
            rank.retain(in_one);
        }
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
        let bases = self
            .alike(layout)
            .iter()
            .map(|alike| alike.host_base(layout));
        bases.max_by_key(|base| base.total()).unwrap_or_default()
    }

    fn offload(&self) -> Offload {
        Offload::Computes
    }

    fn uncertainty(&self, layout: Layout, span: &Span) -> f64 {
        self.first.uncertainty(layout, span)
    }
}
