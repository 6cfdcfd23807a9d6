//! What no pipeline over some cards does better than, told from the cards alone: what all of them hold
//! and read together. It says which cards and which groups are worth planning for.
//!
//! Every card of a pipeline reads a part of the weights for each batch and a part of the cache for each
//! sequence, within the time of the slowest stage. So that time is at least all that is read, divided
//! by what the cards read together. A group is as fast as its slowest card, which no card of it is
//! slower than; that the slowest by its bandwidth may use it better is why a card counts as the best
//! of those that have no more bandwidth.

use crate::cost::served::Shape;
use crate::cost::serving::groups::Seating;
use crate::cost::serving::sums::Sums;
use crate::cost::serving::{ALL_REDUCE, ALL_REDUCES, Part, Serving};
use crate::cost::time;
use crate::cost::{Ceiling, Place, Position, Span};
use crate::hardware::{Device, DeviceId};
use crate::units::{Bytes, BytesPerSecond, Tokens};

use super::prefill::operations_per_byte;

/// Sums of rates are not in the order in which plans add them up.
const SLACK: f64 = 1.0 + 1e-9;

/// What is over the cards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// One pipeline of at most so many stages.
    Pipeline(usize),
    /// Any number of them, each over cards of its own.
    Parts,
}

/// What one card adds.
#[derive(Clone, Copy, Debug)]
struct Card {
    /// What weights and cache may take.
    room: Bytes,
    /// What it reads.
    reads: f64,
    /// The operations that it does.
    computes: f64,
}

/// What a degree takes of any card: nothing takes less.
struct Floor {
    /// What all launches of one batch take of the cards of a group, as bytes not read.
    launches: f64,
    /// The same of what one sequence takes to be added up.
    sums: f64,
}

/// What cards add up to: of each the best so many, where every sum may be of others.
struct Sum {
    rooms: Vec<Bytes>,
    reads: Vec<f64>,
    computes: Vec<f64>,
}

impl Sum {
    fn of(cards: &[Card]) -> Self {
        let mut rooms: Vec<_> = cards.iter().map(|card| card.room).collect();
        rooms.sort_unstable_by(|a, b| b.cmp(a));
        let mut sum = Bytes::ZERO;
        for room in &mut rooms {
            sum += *room;
            *room = sum;
        }
        Self {
            rooms,
            reads: sums(cards.iter().map(|card| card.reads).collect()),
            computes: sums(cards.iter().map(|card| card.computes).collect()),
        }
    }
}

/// The sum of the greatest, of the two greatest and so on.
fn sums(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(|a, b| b.total_cmp(a));
    let mut sum = 0.0;
    for value in &mut values {
        sum += *value;
        *value = sum;
    }
    values
}

impl Serving<'_> {
    /// Of all degrees over some cards.
    pub(super) fn ceiling_of(&self, cards: &[DeviceId], over: Over) -> Ceiling {
        let mut kinds: Vec<(&Device, usize)> = Vec::new();
        for device in cards.iter().map(|id| self.rig.device(*id)) {
            match kinds.iter_mut().find(|kind| kind.0.is_like(device)) {
                Some(kind) => kind.1 += 1,
                None => kinds.push((device, 1)),
            }
        }
        let all: Vec<_> = kinds.iter().map(|(device, _)| *device).collect();
        let degrees = self.shares.keys();
        let degrees = degrees.filter(|degree| **degree as usize <= cards.len());
        let ceilings = degrees.map(|degree| {
            let own = kinds.iter().flat_map(|(device, count)| {
                std::iter::repeat_n(self.card(device, &all, *degree), *count)
            });
            self.with_degree(*degree, &own.collect::<Vec<_>>(), &all, over)
        });
        ceilings.fold(Ceiling::NOTHING, Ceiling::or)
    }

    /// Of the groups of one seating.
    pub(super) fn ceiling_in(&self, seating: &Seating) -> Ceiling {
        let all: Vec<_> = seating.rig.devices().iter().collect();
        let shape = seating.shape;
        let cards = self.cards_of(shape, &all);
        let over = Over::Pipeline(shape.stages as usize);
        self.with_degree(shape.degree, &cards, &all, over)
    }

    /// The cards of groups.
    fn cards_of(&self, shape: Shape, groups: &[&Device]) -> Vec<Card> {
        let degree = shape.degree;
        let cards = groups.iter().flat_map(|group| {
            let card = Card {
                room: self.room_of(group, degree, shape.n_cards()),
                reads: reads(group),
                computes: computes(group),
            };
            std::iter::repeat_n(card, degree as usize)
        });
        cards.collect()
    }

    /// What the cards of groups do together.
    pub(super) fn all_in(&self, shape: Shape, groups: &[&Device]) -> Option<Together<'_>> {
        self.together(shape.degree, &self.cards_of(shape, groups), groups)
    }

    fn card(&self, card: &Device, all: &[&Device], degree: u32) -> Card {
        let slower = all.iter();
        let slower = slower.filter(|other| other.bandwidth.0 <= card.bandwidth.0);
        Card {
            room: self.room_of(card, degree, degree),
            reads: slower.clone().map(|it| reads(it)).fold(0.0, f64::max),
            computes: slower.map(|it| computes(it)).fold(0.0, f64::max),
        }
    }

    /// What weights and cache may take of a card, or of each of a group, beside what else any has where
    /// so many serve.
    fn room_of(&self, card: &Device, degree: u32, n_cards: u32) -> Bytes {
        let activations = self.shares.get(&degree).map_or(Bytes::ZERO, |it| it.1);
        let beside = [Part::Alone, Part::Last, Part::Other].map(|part| {
            let (compute, overhead) = self.room.beside(activations, part, n_cards);
            compute + overhead
        });
        let beside = beside.into_iter().min().unwrap_or(Bytes::ZERO);
        card.capacity().saturating_sub(beside)
    }

    fn floor(&self, degree: u32, all: &[&Device]) -> Floor {
        let least = |worth: &dyn Fn(&Device) -> f64| {
            let all = all.iter().map(|card| worth(card));
            all.fold(f64::INFINITY, f64::min)
        };
        let added = match degree {
            1 => 0.0,
            _ => ALL_REDUCE.0 * ALL_REDUCES,
        };
        let blocks = self.units.len() as f64 * f64::from(degree);
        let launch = |card: &Device| reads(card) * (time::serving(card.class).block.0 + added);
        Floor {
            launches: blocks * least(&launch),
            sums: blocks * least(&|card| reads(card) * self.all_reduce(card, degree).0),
        }
    }

    /// Of groups of one degree over cards, none of which is worse than one of `all`.
    fn with_degree(&self, degree: u32, cards: &[Card], all: &[&Device], over: Over) -> Ceiling {
        let Some(together) = self.together(degree, cards, all) else {
            return Ceiling::NOTHING;
        };
        // Stages share the sequences, so that more of them have smaller batches. Parts have all cards,
        // few stages each, and no more sequences than all cards hold.
        let ways: Vec<_> = match over {
            Over::Pipeline(most) => {
                let most = (cards.len() / degree as usize).min(most);
                (1..=most.min(self.units.len()))
                    .map(|n| (n as u64, n * degree as usize))
                    .collect()
            }
            Over::Parts => vec![(1, cards.len())],
        };
        let mut ceiling = Ceiling::NOTHING;
        for (n_stages, n_cards) in ways {
            let Some((tokens, held)) = together.resident(n_cards) else {
                continue;
            };
            ceiling = ceiling.or(Ceiling {
                alone: together.rate(1, n_cards),
                together: together.rate((held / n_stages).max(1), n_cards),
                resident: tokens,
            });
        }
        ceiling
    }

    fn together(&self, degree: u32, cards: &[Card], all: &[&Device]) -> Option<Together<'_>> {
        let (shares, _) = self.shares.get(&degree)?;
        let whole = Span {
            place: Place::Host,
            units: 0..self.units.len(),
            streamed: 0..0,
            position: Position::First,
        };
        Some(Together {
            serving: self,
            degree: u64::from(degree),
            own: shares.of(&whole, self.units.len()),
            floor: self.floor(degree, all),
            sum: Sum::of(cards),
            cards: cards.to_vec(),
        })
    }

    /// What the cards of some devices do together in groups of a degree.
    pub(super) fn all_of(&self, degree: u32, devices: &[&Device]) -> Option<Together<'_>> {
        let cards = devices
            .iter()
            .map(|card| self.card(card, devices, degree))
            .collect::<Vec<_>>();
        self.together(degree, &cards, devices)
    }
}

/// What cards do together, as if they were one.
pub(super) struct Together<'a> {
    serving: &'a Serving<'a>,
    /// Each of them.
    cards: Vec<Card>,
    degree: u64,
    /// One card's part of everything.
    own: Sums,
    floor: Floor,
    sum: Sum,
}

impl Together<'_> {
    /// Tokens that so many cards keep at the most, and sequences that these are; nothing where the
    /// cards do not hold the model and what is asked for.
    pub(super) fn resident(&self, n_cards: usize) -> Option<(Tokens, u64)> {
        let (page, workload) = (self.serving.server.engine().page(), &self.serving.workload);
        let left = self.sum.rooms[n_cards - 1].0;
        let left = left.checked_sub(self.own.weights.0 * self.degree)?;
        let pages = left.checked_div(self.own.page.0 * self.degree);
        let tokens = pages.map_or(u64::MAX, |pages| pages.saturating_mul(page.0));
        let held = tokens / workload.context.0.next_multiple_of(page.0).max(1);
        let is_enough = held >= u64::from(workload.sequences);
        is_enough.then_some((Tokens(tokens), held.min(self.serving.limit.sequences)))
    }

    /// Tokens a second of batches of so many sequences, at the most.
    pub(super) fn rate(&self, batch: u64, n_cards: usize) -> f64 {
        SLACK * batch as f64 / self.time(batch, n_cards)
    }

    /// What the slowest stage takes for a batch, at the least.
    fn time(&self, batch: u64, n_cards: usize) -> f64 {
        let (bytes, operations) = self.work(batch);
        (bytes / self.sum.reads[n_cards - 1]).max(operations / self.sum.computes[n_cards - 1])
    }

    /// Tokens a second of batches of so many for a price of one, where each of the cards has a price.
    pub(super) fn rate_for_price(&self, batch: u64, prices: &[f64]) -> f64 {
        let (bytes, _) = self.work(batch);
        let reads = self.cards.iter().zip(prices);
        let reads = reads.map(|(card, price)| card.reads / price);
        SLACK * batch as f64 * reads.fold(0.0, f64::max) / bytes
    }

    /// Bytes that all cards read for a batch at the least, and operations that they do.
    fn work(&self, batch: u64) -> (f64, f64) {
        let (own, degree, n) = (&self.own, self.degree as f64, batch as f64);
        let page = self.serving.server.engine().page();
        let context = own.page.0 * self.serving.workload.context.0.div_ceil(page.0);
        let touched = 1.0 - (1.0 - self.serving.expert_share).powf(n);
        let read = own.read.0 as f64 + own.experts.0 as f64 * touched + n * context as f64;
        let bytes = degree * read + self.floor.launches + n * self.floor.sums;
        let operations = n * degree * own.operations;
        (bytes, operations)
    }
}

/// What a card reads at its best.
fn reads(card: &Device) -> f64 {
    let law = time::serving(card.class);
    let rate = |share: f64| -> BytesPerSecond { card.bandwidth * share };
    rate(law.weights).0.max(rate(law.kv).0)
}

fn computes(card: &Device) -> f64 {
    card.bandwidth.0 * operations_per_byte(card.class)
}
