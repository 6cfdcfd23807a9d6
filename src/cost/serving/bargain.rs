//! What pipelines are worth for the price of their cards, at the most: prices at which none is worth
//! more than it pays bound every way to deal out a rig, however many cards it has.
//!
//! For a number of stages, of sequences and a time of the slowest stage, the cards of a pipeline take all
//! blocks (`blocks.rs`), which is a sum over them. The cheapest cards that do, fractions allowed, are of
//! two kinds at the most; where there are few choices each is looked at, without fractions. More time takes cheaper cards and is worth less, so that a range of times is
//! worth no more than its shortest at the price of its longest; ranges are halved.

use crate::cost::served::{batches, levels};
use crate::cost::serving::Serving;
use crate::cost::serving::blocks::{Blocks, End, Level, Seat, Served, at_ends};
use crate::cost::serving::runs::Role;
use crate::cost::{Bargain, Measure};
use crate::hardware::DeviceId;

/// What is worth no more than this share above its price is no bargain.
const CLOSE: f64 = 1e-3;
/// Shortest and longest time of a range that is not halved any more.
const NARROW: f64 = 1.0 + 2e-4;
/// More ways to choose the cards of a pipeline are not looked at one by one.
const MOST_CHOICES: usize = 100;
/// The longest time of a batch that is looked at, over that of the shortest.
const WIDE: f64 = 1e9;

/// The best so far.
struct Search<'a> {
    prices: &'a [f64],
    found: Option<Bargain>,
    /// Worth for a price of one, at the most.
    most: f64,
}

/// Stages and what they keep, with a number that is worth less the smaller it is.
struct Ask<'a> {
    n_stages: usize,
    /// What is asked of cards at a number.
    level: &'a dyn Fn(f64) -> Level,
    /// What that is worth.
    worth: &'a dyn Fn(f64) -> f64,
}

impl Serving<'_> {
    /// The pipeline that is worth the most for its price over kinds of cards, if any is worth more than
    /// `floor` for a price of one.
    pub(super) fn best_bargain(
        &self,
        kinds: &[(DeviceId, usize)],
        prices: &[f64],
        (floor, measure): (f64, Measure),
    ) -> Option<Bargain> {
        let devices: Vec<_> = kinds.iter().map(|(id, _)| self.rig.device(*id)).collect();
        let n_cards: usize = kinds.iter().map(|(_, count)| count).sum();
        let mut search = Search {
            prices,
            found: None,
            most: floor,
        };
        for degree in self.shares.keys().copied() {
            if degree as usize > n_cards {
                continue;
            }
            if let Some(blocks) = Blocks::of_kinds(self, degree, &devices) {
                let most = (n_cards / degree as usize).min(self.units.len());
                for n_stages in 1..=most.min(self.room.most_stages as usize) {
                    search.pipelines(&blocks, n_stages, measure);
                }
            }
        }
        let most = search.most * (1.0 + CLOSE);
        search.found.map(|found| Bargain { most, ..found })
    }
}

impl Search<'_> {
    /// Looks at all pipelines of a degree and so many stages.
    fn pipelines(&mut self, blocks: &Blocks<'_>, n_stages: usize, measure: Measure) {
        let asked = blocks.asked();
        // Pages that these stages keep at the most.
        let fits = |pages: u64| {
            let level = Level {
                pages,
                batch: 1,
                time: f64::INFINITY,
            };
            self.cheapest(blocks, n_stages, level).is_some()
        };
        if !fits(asked) {
            return;
        }
        match measure {
            Measure::Alone => {
                let served = Served {
                    pages: asked,
                    batch: 1,
                    round: n_stages as u64,
                };
                self.rates(blocks, n_stages, served);
            }
            Measure::Together => {
                let all = levels(n_stages as u64, blocks.most_sequences());
                let n_fit = all.partition_point(|it| fits(blocks.pages(*it).max(asked)));
                for sequences in all[..n_fit].iter().rev() {
                    let (batch, _) = batches(n_stages as u64, *sequences);
                    let served = Served {
                        pages: blocks.pages(*sequences).max(asked),
                        batch,
                        round: *sequences,
                    };
                    self.rates(blocks, n_stages, served);
                }
            }
            Measure::Resident => {
                let mut high = asked.max(1);
                while fits(high) && high < 1 << 40 {
                    high *= 2;
                }
                let tokens = blocks.tokens_of_a_page();
                let ask = Ask {
                    n_stages,
                    level: &|inverse| Level {
                        pages: (1.0 / inverse).floor() as u64,
                        batch: 1,
                        time: f64::INFINITY,
                    },
                    worth: &|inverse| tokens / inverse,
                };
                self.range(blocks, &ask, (1.0 / high as f64, 1.0 / asked.max(1) as f64));
            }
        }
    }

    /// Looks at the times in which so many sequences may be served.
    fn rates(&mut self, blocks: &Blocks<'_>, n_stages: usize, served: Served) {
        let prices = self.prices;
        let share = served.round as f64 / (served.batch * n_stages as u64) as f64;
        if blocks.rate_for_price(served.batch, prices) * share <= self.most * (1.0 + CLOSE) {
            return;
        }
        let round = served.round as f64 / n_stages as f64;
        let n_cards = (n_stages * blocks.degree as usize) as f64;
        let least = prices.iter().copied().fold(f64::INFINITY, f64::min);
        // A longer time is worth less than any cards cost.
        let longest = round / (n_cards * least * self.most.max(f64::MIN_POSITIVE)).max(1e-12);
        let ask = Ask {
            n_stages,
            level: &|time| Level {
                pages: served.pages,
                batch: served.batch,
                time,
            },
            worth: &|time| round / time,
        };
        self.range(blocks, &ask, (longest.min(1e3) / WIDE, longest.min(1e3)));
    }

    /// Looks at a range, or halves it.
    fn range(&mut self, blocks: &Blocks<'_>, ask: &Ask<'_>, (low, high): (f64, f64)) {
        let Some(cards) = self.cheapest(blocks, ask.n_stages, (ask.level)(high)) else {
            return;
        };
        let price: f64 = cards
            .iter()
            .zip(self.prices)
            .map(|(n, price)| n * price)
            .sum();
        let most = (ask.worth)(low) / price;
        if most <= self.most * (1.0 + CLOSE) {
            return;
        }
        if high <= low * NARROW {
            self.most = most;
            self.found = Some(Bargain {
                worth: (ask.worth)(low),
                cards,
                most,
            });
            return;
        }
        let middle = (low * high).sqrt();
        self.range(blocks, ask, (low, middle));
        self.range(blocks, ask, (middle, high));
    }

    /// The cheapest cards of each kind of which so many groups take all blocks, where there are any.
    fn cheapest(&self, blocks: &Blocks<'_>, n_stages: usize, level: Level) -> Option<Vec<f64>> {
        let n_cards = (n_stages * blocks.degree as usize) as f64;
        let seats = &blocks.seats;
        let alone = |kind: usize, share: f64| {
            let mut cards = vec![0.0; seats.len()];
            cards[kind] = n_cards * share;
            cards
        };
        let price = |kind: usize| self.prices[kind];
        if n_stages == 1 {
            let can = |kind: &usize| blocks.most(&seats[*kind], Role::Whole, level) > 0;
            let able = (0..seats.len()).filter(can);
            let best = able.min_by(|a, b| price(*a).total_cmp(&price(*b)))?;
            return Some(alone(best, 1.0));
        }
        let middle = |seat: &Seat| blocks.most(seat, Role::Middle, level) as f64;
        let taken: Vec<_> = seats.iter().map(middle).collect();
        let ends = blocks.ends(level, &taken);
        if self.n_choices(n_stages * blocks.degree as usize) <= MOST_CHOICES {
            return self.whole_cards(blocks, n_stages, &taken, &ends);
        }
        // What a card has to take on average.
        let needed = (blocks.n_blocks() - at_ends(&ends)?) / n_stages as f64;
        let mut best: Option<(f64, Vec<f64>)> = None;
        let mut keep = |each: f64, cards: &dyn Fn() -> Vec<f64>| {
            if best.as_ref().is_none_or(|(least, _)| each < *least) {
                best = Some((each, cards()));
            }
        };
        for (kind, own) in taken.iter().enumerate().filter(|(_, own)| **own >= needed) {
            keep(price(kind), &|| alone(kind, 1.0));
            for (other, less) in taken.iter().enumerate().filter(|(_, less)| **less < needed) {
                let share = (needed - less) / (own - less);
                let each = share * price(kind) + (1.0 - share) * price(other);
                keep(each, &|| {
                    let mut cards = alone(kind, share);
                    cards[other] = n_cards * (1.0 - share);
                    cards
                });
            }
        }
        best.map(|(_, cards)| cards)
    }

    /// Ways to choose so many cards of all kinds.
    fn n_choices(&self, n_cards: usize) -> usize {
        let others = 1..self.prices.len();
        others.fold(1, |all: usize, kind| {
            all.saturating_mul(n_cards + kind) / kind
        })
    }

    /// The same without fractions: every choice of cards is looked at.
    fn whole_cards(
        &self,
        blocks: &Blocks<'_>,
        n_stages: usize,
        taken: &[f64],
        ends: &[End],
    ) -> Option<Vec<f64>> {
        let n_cards = n_stages * blocks.degree as usize;
        let mut best: Option<(f64, Vec<f64>)> = None;
        let mut chosen = vec![0; n_cards];
        loop {
            let sum = |of: &[f64]| chosen.iter().map(|kind| of[*kind]).sum::<f64>();
            let own: Vec<_> = chosen.iter().map(|kind| ends[*kind]).collect();
            let needed = at_ends(&own).map(|ends| blocks.n_blocks() - ends);
            let each = sum(taken) / f64::from(blocks.degree);
            let (price, fits) = (
                sum(self.prices),
                needed.is_some_and(|needed| each >= needed),
            );
            if fits && best.as_ref().is_none_or(|(least, _)| price < *least) {
                let count = |kind: usize| chosen.iter().filter(|own| **own == kind).count() as f64;
                best = Some((price, (0..taken.len()).map(count).collect()));
            }
            // The next choice in the order of the kinds, none of which falls behind another.
            let Some(at) = chosen.iter().rposition(|kind| kind + 1 < taken.len()) else {
                break;
            };
            let next = chosen[at] + 1;
            chosen[at..].fill(next);
        }
        best.map(|(_, cards)| cards)
    }
}
