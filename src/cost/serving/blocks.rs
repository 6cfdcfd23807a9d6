//! What no pipeline over some cards does better than where blocks are whole: how many blocks each card
//! takes at the most within a time, with what of the cache they need. It is closer than the sums of
//! `ceiling.rs`, and takes longer.
//!
//! The groups of some cards are known, and each is one device here. Where only kinds of cards are, a
//! group takes no more blocks than one of as many cards like any of its members would, if it were as
//! fast as the best card that has no more bandwidth: so what all groups take is no more than the sum
//! over their cards, divided by the degree.

use crate::cost::Ceiling;
use crate::cost::served::{Shape, batches, levels};
use crate::cost::serving::ceiling::Together;
use crate::cost::serving::groups::{Limits as _, as_one, groups, shapes};
use crate::cost::serving::runs::{Role, Runs, span};
use crate::cost::serving::sums::Sums;
use crate::cost::serving::{Part, Serving};
use crate::hardware::{Device, DeviceId};
use crate::units::{Bytes, Tokens};

/// Rates are told to this share.
const CLOSE: f64 = 1e-4;

/// What is asked of every card of a pipeline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Pages of every block.
    pub(super) pages: u64,
    /// Sequences of a batch.
    pub(super) batch: u64,
    /// Seconds for a batch; endless where only pages are asked for.
    pub(super) time: f64,
}

/// What a pipeline serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    /// Pages of every block.
    pub(super) pages: u64,
    /// Sequences of a batch.
    pub(super) batch: u64,
    /// Tokens of a round.
    pub(super) round: u64,
}

/// Groups, or cards, that are alike.
pub(super) struct Seat {
    count: usize,
    /// What it may use.
    room: Bytes,
    /// As what it may compute.
    laws: Vec<Device>,
}

impl Serving<'_> {
    /// Of all groups over some cards, with whole blocks.
    pub(super) fn ceiling_in_blocks(&self, cards: &[DeviceId]) -> Ceiling {
        let devices: Vec<_> = cards.iter().map(|id| self.rig.device(*id)).collect();
        let degrees = self.shares.keys();
        let degrees = degrees.filter(|degree| **degree as usize <= cards.len());
        let mut ceiling = Ceiling::NOTHING;
        for shape in degrees.flat_map(|degree| shapes(*degree, &devices, &self.room)) {
            let groups = groups(self.rig, cards.iter().copied(), shape, &self.room);
            let groups: Vec<_> = groups
                .iter()
                .filter_map(|group| as_one(self.rig, group, shape, &self.room))
                .collect();
            if let Some(blocks) = Blocks::of_groups(self, shape, &groups) {
                blocks.raise(&mut ceiling);
            }
        }
        ceiling
    }
}

pub(super) struct Blocks<'a> {
    serving: &'a Serving<'a>,
    shape: Shape,
    pub(super) degree: u32,
    runs: Runs,
    activations: Bytes,
    pub(super) seats: Vec<Seat>,
    /// What all cards do as one.
    together: Together<'a>,
}

impl<'a> Blocks<'a> {
    /// Groups, each of which is one device.
    fn of_groups(serving: &'a Serving<'a>, shape: Shape, groups: &[Device]) -> Option<Self> {
        let mut seats: Vec<Seat> = Vec::new();
        for group in groups {
            match seats.iter_mut().find(|seat| seat.laws[0].is_like(group)) {
                Some(seat) => seat.count += 1,
                None => seats.push(Seat {
                    count: 1,
                    room: group.memory,
                    laws: vec![group.clone()],
                }),
            }
        }
        let all: Vec<_> = groups.iter().collect();
        let together = serving.all_in(shape, &all);
        Self::new(serving, shape, seats, together)
    }

    /// Cards of any kinds, of which every group is a part.
    pub(super) fn of_kinds(
        serving: &'a Serving<'a>,
        degree: u32,
        kinds: &[&Device],
    ) -> Option<Self> {
        // No pipeline has more of a card than one of a single stage.
        let shape = Shape {
            degree,
            ..Shape::default()
        };
        let seat = |device: &&Device| {
            let mut laws: Vec<Device> = Vec::new();
            for other in kinds {
                let may_be = match degree {
                    1 => other.is_like(device),
                    _ => other.bandwidth.0 <= device.bandwidth.0,
                };
                laws.extend(may_be.then(|| Device {
                    link: device.link,
                    ..(*other).clone()
                }));
            }
            let fraction = serving.room.fraction(device, shape.n_cards());
            let usable = serving.room.usable(device, Shape { fraction, ..shape });
            Seat {
                count: 1,
                room: usable.min(device.capacity()),
                laws,
            }
        };
        let seats = kinds.iter().map(seat).collect();
        let together = serving.all_of(degree, kinds);
        Self::new(serving, shape, seats, together)
    }

    fn new(
        serving: &'a Serving<'a>,
        shape: Shape,
        seats: Vec<Seat>,
        together: Option<Together<'a>>,
    ) -> Option<Self> {
        let (shares, activations) = serving.shares.get(&shape.degree)?;
        Some(Self {
            serving,
            degree: shape.degree,
            shape,
            runs: Runs::new(shares, serving.units.len()),
            activations: *activations,
            seats,
            together: together?,
        })
    }

    /// Raises what is known of other degrees to what this one may do.
    fn raise(&self, ceiling: &mut Ceiling) {
        let (together, degree) = (&self.together, self.degree as usize);
        let n_groups: usize = self.seats.iter().map(|seat| seat.count).sum();
        let most = n_groups.min(self.serving.room.most_stages as usize);
        for n_stages in 1..=most.min(self.shape.stages as usize) {
            let n_cards = n_stages * degree;
            let Some((tokens, held)) = together.resident(n_cards) else {
                continue;
            };
            self.raise_resident(n_stages, tokens, ceiling);
            if together.rate(1, n_cards) > ceiling.alone {
                let one = Served {
                    pages: self.asked(),
                    batch: 1,
                    round: n_stages as u64,
                };
                self.raise_rate(n_stages, one, &mut ceiling.alone);
            }
            // More sequences are mostly better, so that fewer are seldom looked at.
            for sequences in levels(n_stages as u64, held).into_iter().rev() {
                let (batch, _) = batches(n_stages as u64, sequences);
                let served = Served {
                    pages: self.pages(sequences).max(self.asked()),
                    batch,
                    round: sequences,
                };
                let share = sequences as f64 / (batch * n_stages as u64) as f64;
                if together.rate(batch, n_cards) * share > ceiling.together {
                    self.raise_rate(n_stages, served, &mut ceiling.together);
                }
            }
        }
    }

    /// The most tokens that all stages keep.
    fn raise_resident(&self, n_stages: usize, most: Tokens, ceiling: &mut Ceiling) {
        let page = self.serving.server.engine().page().0;
        let covers = |pages: u64| {
            let level = Level {
                pages,
                batch: 1,
                time: f64::INFINITY,
            };
            self.covers(n_stages, level)
        };
        let (mut low, mut high) = (ceiling.resident.0 / page, most.0 / page);
        if high <= low || !covers(low.max(self.asked())) {
            return;
        }
        if covers(high) {
            low = high;
        }
        while high > low + 1 {
            let middle = low + (high - low) / 2;
            match covers(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        ceiling.resident = ceiling.resident.max(Tokens(low.saturating_mul(page)));
    }

    /// Pages of what is asked for, which every plan keeps.
    pub(super) fn asked(&self) -> u64 {
        self.pages(u64::from(self.serving.workload.sequences))
    }

    pub(super) fn pages(&self, sequences: u64) -> u64 {
        let page = self.serving.server.engine().page().0;
        self.serving.workload.context.0.div_ceil(page) * sequences
    }

    /// The most tokens a second, where it is more than known.
    fn raise_rate(&self, n_stages: usize, served: Served, most: &mut f64) {
        // A round takes as often the slowest stage's time as there are stages.
        let rate = |time: f64| served.round as f64 / (n_stages as f64 * time);
        let covers = |time: f64| {
            let level = Level {
                pages: served.pages,
                batch: served.batch,
                time,
            };
            self.covers(n_stages, level)
        };
        let mut high = rate(1.0) / most.max(1e-12);
        if !covers(high) {
            return;
        }
        let mut low = high / 2.0;
        while covers(low) && low > 1e-12 {
            (low, high) = (low / 2.0, low);
        }
        while high - low > CLOSE * low {
            let middle = low + (high - low) / 2.0;
            match covers(middle) {
                true => high = middle,
                false => low = middle,
            }
        }
        // No plan has a slowest stage as fast as this.
        *most = most.max(rate(low));
    }

    /// Whether so many groups may take all blocks.
    fn covers(&self, n_stages: usize, level: Level) -> bool {
        if n_stages == 1 {
            let can = |seat: &Seat| self.most(seat, Role::Whole, level) > 0;
            return self.seats.iter().any(can);
        }
        let middle = |seat: &Seat| self.most(seat, Role::Middle, level) as f64;
        let taken: Vec<_> = self.seats.iter().map(middle).collect();
        let Some(at_ends) = at_ends(&self.ends(level, &taken)) else {
            return false;
        };
        let counts = self.seats.iter().map(|seat| seat.count);
        let mut taken: Vec<_> = taken.into_iter().zip(counts).collect();
        taken.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let (mut left, mut all) = (n_stages, at_ends);
        for (blocks, count) in taken {
            let own = left.min(count);
            all += blocks * own as f64;
            left -= own;
        }
        all >= self.n_blocks()
    }

    /// How many blocks more the first stage takes, and the last, than another on the same cards, given
    /// what each kind of card takes there; nothing where it cannot be that stage.
    pub(super) fn ends(&self, level: Level, taken: &[f64]) -> Vec<End> {
        let own = self.seats.iter().zip(taken).map(|(seat, middle)| {
            [Role::First, Role::Last].map(|role| {
                let own = self.most(seat, role, level) as f64;
                (own > 0.0).then_some(own - middle)
            })
        });
        own.collect()
    }

    pub(super) fn n_blocks(&self) -> f64 {
        self.serving.units.len() as f64
    }

    pub(super) fn tokens_of_a_page(&self) -> f64 {
        self.serving.server.engine().page().0 as f64
    }

    /// The most sequences that are decoded at once.
    pub(super) fn most_sequences(&self) -> u64 {
        self.serving.limit.sequences
    }

    /// Tokens a second of batches of so many, for a price of one, at the most.
    pub(super) fn rate_for_price(&self, batch: u64, prices: &[f64]) -> f64 {
        self.together.rate_for_price(batch, prices)
    }

    /// The most blocks that a card takes, or all in the only stage.
    pub(super) fn most(&self, seat: &Seat, role: Role, level: Level) -> usize {
        let part = match role {
            Role::Whole if self.degree == 1 => Part::Alone,
            Role::Whole | Role::Last => Part::Last,
            Role::First | Role::Middle => Part::Other,
        };
        let n_cards = self.shape.n_cards();
        let (compute, overhead) = self.serving.room.beside(self.activations, part, n_cards);
        let room = seat.room.saturating_sub(compute + overhead);
        let runs = self.runs.of(role);
        let fits = |own: &Sums| {
            own.weights
                .0
                .saturating_add(own.kept.0.saturating_mul(level.pages))
                <= room.0
        };
        let runs = &runs[..runs.partition_point(fits)];
        if level.time.is_infinite() {
            return runs.len();
        }
        // The first has no way into it.
        let span = span(match role {
            Role::Whole | Role::First => 0..1,
            Role::Middle | Role::Last => 1..2,
        });
        let of_law = |law: &Device| {
            runs.partition_point(|own| {
                let batch = self.serving.batch(law, self.degree, own, &span);
                batch.time(level.batch).0 <= level.time * (1.0 + 1e-9)
            })
        };
        seat.laws.iter().map(of_law).max().unwrap_or(0)
    }
}

/// What a kind of card takes more as the first stage, and as the last.
pub(super) type End = [Option<f64>; 2];

/// What both ends take more, of the kinds that take the most.
pub(super) fn at_ends(ends: &[End]) -> Option<f64> {
    let most = |end: usize| ends.iter().filter_map(|own| own[end]).reduce(f64::max);
    Some(most(0)? + most(1)?)
}
