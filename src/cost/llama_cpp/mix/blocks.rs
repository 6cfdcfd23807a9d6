//! Every way to store the blocks of a model, and what each costs in quality.
//!
//! What a recipe costs is spread over blocks and all else in proportion to their weights, and to the
//! sensitivity of the blocks where a table gives one. Published penalties are of whole models, so
//! without such a table it is an assumption.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::cost::frontier::{Counts, Frontiers, Way};
use crate::cost::llama_cpp::LlamaCpp;
use crate::cost::llama_cpp::stored::{Held, held};
use crate::cost::{Matrices, Place, Unit, capacity, time};
use crate::hardware::{Device, DeviceId, Rig};
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
            Self::Within(_) => Counts::BytesAndReading(self.read(rate)),
        }
    }

    /// What can be read at a rate.
    fn read(self, rate: BytesPerSecond) -> Bytes {
        match self {
            Self::None => Bytes(u64::MAX),
            Self::Within(time) => Bytes((time.0 * rate.0).ceil().max(0.0) as u64),
        }
    }
}

/// Every way to store the blocks of a model, whatever the rest of it is stored as.
#[derive(Debug)]
pub struct Blocks<'a> {
    pub(super) asked: Asked<'a>,
    /// The accounting of a file of each recipe alone.
    pub(super) alike: Vec<LlamaCpp<'a>>,
    pub(super) on_device: Rc<Frontiers>,
    pub(super) on_host: Frontiers,
    /// On a GPU without matrices that are in RAM, by kind of these; what is read is what RAM holds.
    apart: [Frontiers; Matrices::ALL.len()],
    /// The same where time counts as well, by the picoseconds of a byte on the GPU, as bits: what is
    /// read of RAM is as many bytes of the GPU as take as long.
    timed: RefCell<BTreeMap<(Matrices, u64), Rc<Frontiers>>>,
    limit: Limit,
    /// Of each block in what a recipe costs.
    shares: Vec<f64>,
    /// The share of what is in no block in what a recipe costs.
    pub(super) share_of_rest: f64,
    /// What all blocks cost at the least.
    pub(super) least: u64,
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
        let of = |offer: &Offer| {
            LlamaCpp::new(model, Precision::Gguf(offer.recipe), rig, asked.workload)
        };
        let alike: Vec<_> = offers.iter().map(of).collect::<Result<_, _>>()?;
        let shares = shares(&asked);
        let ways = |needs: &Needs<'_>| ways(&alike, offers, &shares, needs);
        let least_of = |unit: &Vec<Way>| unit.iter().map(|way| way.penalty).min();
        let on_device = ways(&|accounting, unit| {
            let sums = accounting.between(unit);
            [sums.on_device, sums.read, Bytes::ZERO]
        });
        let on_host = ways(&|accounting, unit| {
            let sums = accounting.between(unit);
            [sums.on_host, sums.read, Bytes::ZERO]
        });
        let rates = rig.devices().iter().map(|device| rate(device).0);
        let fastest = limit.counts(BytesPerSecond(rates.fold(0.0, f64::max)));
        let by_cpu = rig.host().map_or(BytesPerSecond(0.0), time::host_rate);
        let in_ram = capacity(rig, Place::Host);
        let largest = largest(rig);
        let apart = Matrices::ALL.map(|matrices| {
            let without = ways(&|accounting, unit| {
                let (whole, part) = (accounting.between(unit), accounting.part(matrices, unit));
                let left = whole.on_device.saturating_sub(part.on_device);
                [left, part.on_host, Bytes::ZERO]
            });
            Frontiers::new(without, largest, Counts::BytesAndReading(in_ram))
        });
        Ok(Self {
            least: on_device.iter().filter_map(least_of).sum(),
            on_device: Rc::new(Frontiers::new(on_device, largest, fastest)),
            on_host: Frontiers::new(on_host, in_ram, limit.counts(by_cpu)),
            apart,
            timed: RefCell::default(),
            limit,
            share_of_rest: 1.0 - shares.iter().sum::<f64>(),
            shares,
            alike,
            asked,
        })
    }
}

impl Blocks<'_> {
    /// The recipe with which no block takes more of a GPU than with another, whole or without what is in
    /// RAM, if there is one.
    pub(super) fn smallest(&self) -> Option<usize> {
        let of = |accounting: &LlamaCpp<'_>| -> Vec<Bytes> {
            let units = (0..self.shares.len()).map(|unit| unit..unit + 1);
            let needs = units.flat_map(|unit| {
                let whole = accounting.between(&unit).on_device;
                let without = Matrices::ALL.map(|matrices| {
                    whole.saturating_sub(accounting.part(matrices, &unit).on_device)
                });
                std::iter::once(whole).chain(without)
            });
            needs.collect()
        };
        let of_all: Vec<_> = self.alike.iter().map(of).collect();
        let is_smallest = |own: &Vec<Bytes>| {
            let no_more = |other: &Vec<Bytes>| own.iter().zip(other).all(|(a, b)| a <= b);
            of_all.iter().all(no_more)
        };
        of_all.iter().position(is_smallest)
    }

    /// The ways of blocks on a GPU without such matrices, which are in RAM.
    pub(super) fn apart(&self, matrices: Matrices) -> &Frontiers {
        match matrices {
            Matrices::Experts => &self.apart[0],
            Matrices::FeedForward => &self.apart[1],
        }
    }

    /// The same on one GPU, by what is read and by RAM.
    pub(super) fn timed(&self, matrices: Matrices, device: DeviceId) -> Rc<Frontiers> {
        let rig = self.asked.rig;
        let rate = rate(rig.device(device));
        let mut timed = self.timed.borrow_mut();
        let known = timed.entry((matrices, rate.0.to_bits()));
        let made = known.or_insert_with(|| {
            let by_cpu = rig.host().map_or(BytesPerSecond(0.0), time::host_rate);
            let needs = |accounting: &LlamaCpp<'_>, unit: &Range<usize>| {
                let (whole, part) = (accounting.between(unit), accounting.part(matrices, unit));
                let own = whole.read.saturating_sub(part.read);
                // Without RAM no part of a block is there.
                let others = match by_cpu.0 > 0.0 {
                    true => Bytes((part.read.0 as f64 * rate.0 / by_cpu.0).round() as u64),
                    false => Bytes::ZERO,
                };
                let left = whole.on_device.saturating_sub(part.on_device);
                [left, own + others, part.on_host]
            };
            let ways = ways(&self.alike, self.asked.offers, &self.shares, &needs);
            let counts = Counts::BytesReadingAndRam {
                read: self.limit.read(rate),
                ram: capacity(rig, Place::Host),
            };
            Rc::new(Frontiers::new(ways, largest(rig), counts))
        });
        Rc::clone(made)
    }
}

/// What a unit takes of its place, what is read of it, and what it takes of RAM besides.
type Needs<'b> = dyn Fn(&LlamaCpp<'_>, &Range<usize>) -> [Bytes; 3] + 'b;

/// Every way of every unit.
fn ways(
    alike: &[LlamaCpp<'_>],
    offers: &[Offer],
    shares: &[f64],
    needs: &Needs<'_>,
) -> Vec<Vec<Way>> {
    let of_unit = |(unit, share): (usize, &f64)| {
        let priced = alike.iter().zip(offers);
        let way = |(accounting, offer): (&LlamaCpp<'_>, &Offer)| {
            let [bytes, read, ram] = needs(accounting, &(unit..unit + 1));
            Way {
                bytes,
                penalty: parts(offer, *share),
                read,
                ram,
            }
        };
        priced.map(way).collect()
    };
    // The head is stored as the rest is.
    let head = std::iter::once(vec![Way::default()]);
    shares.iter().enumerate().map(of_unit).chain(head).collect()
}

fn largest(rig: &Rig) -> Bytes {
    let rooms = rig.device_ids().map(|id| rig.capacity(id));
    rooms.max().unwrap_or_default()
}

/// At which a GPU reads weights.
pub(super) fn rate(device: &Device) -> BytesPerSecond {
    device.bandwidth * time::llama_cpp(device.class).weights
}

/// What a share of a model costs at a recipe.
pub(super) fn parts(offer: &Offer, share: f64) -> u64 {
    (offer.penalty * share * Way::PARTS).round() as u64
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
