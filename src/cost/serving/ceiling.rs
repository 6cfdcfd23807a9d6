//! What no pipeline over some cards does better than, told from the cards alone: what all of them hold
//! and read together. It says which cards and which groups are worth planning for.
//!
//! Every card of a pipeline reads a part of the weights for each batch and a part of the cache for each
//! sequence, within the time of the slowest stage. So that time is at least all that is read, divided
//! by what the cards read together. A group is as fast as its slowest card, which no card of it is
//! slower than; that the slowest by its bandwidth may use it better is why a card counts as the best
//! of those that have no more bandwidth.

use crate::cost::serving::groups::Seating;
use crate::cost::serving::sums::Sums;
use crate::cost::serving::{ALL_REDUCE, ALL_REDUCES, Part, Room, Serving};
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
    /// One pipeline.
    Pipeline,
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
        let all: Vec<_> = self.rig.devices().iter().collect();
        let own = cards.iter().map(|id| self.rig.device(*id));
        let degrees = self.shares.keys();
        let degrees = degrees.filter(|degree| **degree as usize <= cards.len());
        let ceilings = degrees.map(|degree| {
            let cards = own.clone().map(|card| self.card(card, &all, *degree));
            self.with_degree(*degree, &cards.collect::<Vec<_>>(), &all, over)
        });
        ceilings.fold(Ceiling::NOTHING, Ceiling::or)
    }

    /// Of the groups of one seating.
    pub(super) fn ceiling_in(&self, seating: &Seating) -> Ceiling {
        let all: Vec<_> = seating.rig.devices().iter().collect();
        let degree = seating.shape.degree;
        let cards = all.iter().flat_map(|group| {
            let card = Card {
                room: self.room_of(group, degree),
                reads: reads(group),
                computes: computes(group),
            };
            std::iter::repeat_n(card, degree as usize)
        });
        self.with_degree(degree, &cards.collect::<Vec<_>>(), &all, Over::Pipeline)
    }

    fn card(&self, card: &Device, all: &[&Device], degree: u32) -> Card {
        let slower = all.iter();
        let slower = slower.filter(|other| other.bandwidth.0 <= card.bandwidth.0);
        Card {
            room: self.room_of(card, degree),
            reads: slower.clone().map(|it| reads(it)).fold(0.0, f64::max),
            computes: slower.map(|it| computes(it)).fold(0.0, f64::max),
        }
    }

    /// What weights and cache may take of a card, or of each of a group, beside what else any has.
    fn room_of(&self, card: &Device, degree: u32) -> Bytes {
        let activations = self.shares.get(&degree).map_or(Bytes::ZERO, |it| it.1);
        let room = Room {
            n_cards: 1,
            ..self.room
        };
        let beside = [Part::Alone, Part::Last, Part::Other].map(|part| {
            let (compute, overhead) = room.beside(activations, part);
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
        let (Some((shares, _)), floor) = (self.shares.get(&degree), self.floor(degree, all)) else {
            return Ceiling::NOTHING;
        };
        let whole = Span {
            place: Place::Host,
            units: 0..self.units.len(),
            streamed: 0..0,
            position: Position::First,
        };
        let own: Sums = shares.of(&whole, self.units.len());
        let (each, sum) = (u64::from(degree), Sum::of(cards));
        let page = self.server.engine().page();
        let context = own.page.0 * self.workload.context.0.div_ceil(page.0);
        let resident = |n_cards: usize| {
            let left = sum.rooms[n_cards - 1].0.checked_sub(own.weights.0 * each)?;
            let pages = left.checked_div(own.page.0 * each);
            let tokens = pages.map_or(u64::MAX, |pages| pages.saturating_mul(page.0));
            let held = tokens / self.workload.context.0.next_multiple_of(page.0).max(1);
            let is_enough = held >= u64::from(self.workload.sequences);
            is_enough.then_some((Tokens(tokens), held.min(self.limit.sequences)))
        };
        // What the slowest stage takes for batches of so many, at the least.
        let time = |batch: u64, n_cards: usize| {
            let n = batch as f64;
            let touched = 1.0 - (1.0 - self.expert_share).powf(n);
            let read = own.read.0 as f64 + own.experts.0 as f64 * touched + n * context as f64;
            let bytes = f64::from(degree) * read + floor.launches + n * floor.sums;
            let operations = n * f64::from(degree) * own.operations;
            (bytes / sum.reads[n_cards - 1]).max(operations / sum.computes[n_cards - 1])
        };
        let rate = |batch: u64, n_cards| SLACK * batch as f64 / time(batch, n_cards);
        // Stages share the sequences, so that more of them have smaller batches. Parts have all cards,
        // few stages each, and no more sequences than all cards hold.
        let ways: Vec<_> = match over {
            Over::Pipeline => {
                let most = (cards.len() / degree as usize).min(self.units.len());
                (1..=most)
                    .map(|n| (n as u64, n * degree as usize))
                    .collect()
            }
            Over::Parts => vec![(1, cards.len())],
        };
        let mut ceiling = Ceiling::NOTHING;
        for (n_stages, n_cards) in ways {
            let Some((tokens, held)) = resident(n_cards) else {
                continue;
            };
            ceiling = ceiling.or(Ceiling {
                alone: rate(1, n_cards),
                together: rate((held / n_stages).max(1), n_cards),
                resident: tokens,
            });
        }
        ceiling
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
