//! What no pipeline over some cards does better than, told from the cards alone: what all of them hold
//! and read together. It says which cards are worth planning for.
//!
//! Every card of a pipeline reads a part of the weights for each batch and a part of the cache for each
//! sequence, within the time of the slowest stage. So that time is at least all that is read, divided
//! by what the cards read together. A group is as fast as its slowest card, which no card of it is
//! slower than; that the slowest by its bandwidth may use it better is why a card counts as the best
//! of those that have no more bandwidth.

use crate::cost::serving::sums::Sums;
use crate::cost::serving::{ALL_REDUCE, ALL_REDUCES, Part, Serving};
use crate::cost::time;
use crate::cost::{Ceiling, Place, Position, Span};
use crate::hardware::{Device, DeviceId};
use crate::units::{Bytes, BytesPerSecond, Tokens};

use super::prefill::operations_per_byte;

/// Sums of rates are not in the order in which plans add them up.
const SLACK: f64 = 1.0 + 1e-9;

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

impl Serving<'_> {
    /// See [`Accounting::ceiling`](crate::cost::Accounting::ceiling).
    pub(super) fn ceiling_of(&self, cards: &[DeviceId]) -> Ceiling {
        let all: Vec<_> = self.rig.devices().iter().collect();
        let own = cards.iter().map(|id| self.rig.device(*id));
        let mut best = Ceiling::NOTHING;
        for degree in self.shares.keys().filter(|it| **it as usize <= cards.len()) {
            let cards: Vec<_> = own
                .clone()
                .map(|card| self.card(card, &all, *degree))
                .collect();
            best = best.or(self.with_degree(*degree, &cards, &self.floor(*degree, &all)));
        }
        best
    }

    fn card(&self, card: &Device, all: &[&Device], degree: u32) -> Card {
        let slower = all
            .iter()
            .filter(|other| other.bandwidth.0 <= card.bandwidth.0);
        let activations = self.shares.get(&degree).map_or(Bytes::ZERO, |it| it.1);
        let room = crate::cost::serving::Room {
            n_cards: 1,
            ..self.room
        };
        let beside = [Part::Alone, Part::Last, Part::Other].map(|part| {
            let (compute, overhead) = room.beside(activations, part);
            compute + overhead
        });
        let beside = beside.into_iter().min().unwrap_or(Bytes::ZERO);
        Card {
            room: card.capacity().saturating_sub(beside),
            reads: slower.clone().map(|it| reads(it)).fold(0.0, f64::max),
            computes: slower.map(|it| computes(it)).fold(0.0, f64::max),
        }
    }

    fn floor(&self, degree: u32, all: &[&Device]) -> Floor {
        let n_blocks = self.units.len() as f64;
        let least = |worth: &dyn Fn(&Device) -> f64| {
            let all = all.iter().map(|card| worth(card));
            all.fold(f64::INFINITY, f64::min)
        };
        let added = match degree {
            1 => 0.0,
            _ => ALL_REDUCE.0 * ALL_REDUCES,
        };
        let groups = n_blocks * f64::from(degree);
        let launch = |card: &Device| reads(card) * (time::serving(card.class).block.0 + added);
        Floor {
            launches: groups * least(&launch),
            sums: groups * least(&|card| reads(card) * self.all_reduce(card, degree).0),
        }
    }

    fn with_degree(&self, degree: u32, cards: &[Card], floor: &Floor) -> Ceiling {
        let Some((shares, _)) = self.shares.get(&degree) else {
            return Ceiling::NOTHING;
        };
        let whole = Span {
            place: Place::Host,
            units: 0..self.units.len(),
            streamed: 0..0,
            position: Position::First,
        };
        let own: Sums = shares.of(&whole, self.units.len());
        let each = f64::from(degree);
        let room: Bytes = cards.iter().map(|card| card.room).sum();
        let weights = own.weights * u64::from(degree);
        let Some(left) = room.0.checked_sub(weights.0) else {
            return Ceiling::NOTHING;
        };
        let page = self.server.engine().page();
        let pages = left.checked_div(own.page.0 * u64::from(degree));
        let resident = pages.map_or(Tokens(u64::MAX), |pages| {
            Tokens(pages.saturating_mul(page.0))
        });
        let sequence = self.workload.context.0.next_multiple_of(page.0);
        let held = (resident.0 / sequence.max(1)).min(self.limit.sequences);
        if held < u64::from(self.workload.sequences) {
            return Ceiling::NOTHING;
        }
        let largest = cards.iter().map(|card| card.room).max();
        let of_a_group = largest.unwrap_or(Bytes::ZERO) * u64::from(degree);
        let n_stages = weights.0.div_ceil(of_a_group.0.max(1)).max(1);
        let reads: f64 = cards.iter().map(|card| card.reads).sum();
        let computes: f64 = cards.iter().map(|card| card.computes).sum();
        let context = own.page.0 * self.workload.context.0.div_ceil(page.0);
        // The slowest stage's time for batches of so many, at the least.
        let time = |batch: u64| {
            let n = batch as f64;
            let touched = 1.0 - (1.0 - self.expert_share).powf(n);
            let read = own.read.0 as f64 + own.experts.0 as f64 * touched + n * context as f64;
            let bytes = each * read + floor.launches + n * floor.sums;
            (bytes / reads).max(n * each * own.operations / computes)
        };
        let batch = (held / n_stages).max(1);
        Ceiling {
            alone: SLACK / time(1),
            together: SLACK * batch as f64 / time(batch),
            resident,
        }
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
