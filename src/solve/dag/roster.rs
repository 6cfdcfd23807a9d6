//! What devices a search over down-sets has used so far.

use super::{Graph, Machine};

/// More states, of down-sets and devices used, are not kept.
const MOST_STATES: usize = 20_000_000;

/// How the devices in use are counted: a state has a number of its own and a count that is best
/// small.
pub(super) enum Roster {
    /// Its own are the counts of all kinds but the first, whose count is best small.
    Counts(Vec<usize>),
    /// Devices are used in one order, some left out; the place in it is best early.
    Order(Vec<usize>),
}

/// A device that can be next.
#[derive(Clone, Copy)]
pub(super) struct Move {
    pub(super) kind: usize,
    pub(super) own: usize,
    pub(super) used: usize,
}

impl Roster {
    /// Devices by how many of each kind are used; none where the states would be too many.
    pub(super) fn counts(machine: &Machine, n_sets: usize) -> Option<Self> {
        let others = machine.kinds.iter().skip(1).map(|kind| kind.count + 1);
        let width = others.fold(1, usize::saturating_mul);
        let few = width.saturating_mul(n_sets) <= MOST_STATES;
        few.then(|| Self::of_counts(machine))
    }

    pub(super) fn of_counts(machine: &Machine) -> Self {
        Self::Counts(machine.kinds.iter().map(|kind| kind.count).collect())
    }

    /// A few orders: as the kinds are listed, and the quickest first.
    pub(super) fn orders(graph: &Graph, machine: &Machine) -> Vec<Self> {
        let listed: Vec<usize> = (0..machine.kinds.len()).collect();
        let time = |kind: &usize| {
            let works = graph.items.iter().map(|item| item.work[*kind]);
            works
                .map(|work| work.map_or(1 << 50, |work| work.0))
                .fold(0, u64::saturating_add)
        };
        let mut quickest = listed.clone();
        quickest.sort_by_key(time);
        let each = [listed, quickest].map(|kinds| {
            let devices = kinds.into_iter();
            Self::Order(
                devices
                    .flat_map(|kind| vec![kind; machine.kinds[kind].count])
                    .collect(),
            )
        });
        each.into()
    }

    pub(super) fn width(&self) -> usize {
        match self {
            Self::Counts(counts) => counts.iter().skip(1).map(|count| count + 1).product(),
            Self::Order(_) => 1,
        }
    }

    /// For each kind but the first: the kind, what one more device adds to a state's own number, and
    /// whether there is one more.
    fn digits(counts: &[usize], own: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let mut stride = 1;
        counts.iter().enumerate().skip(1).map(move |(kind, count)| {
            let here = stride;
            stride *= count + 1;
            (kind, here, own / here % (count + 1))
        })
    }

    pub(super) fn moves(&self, own: usize, used: usize) -> Vec<Move> {
        match self {
            Self::Counts(counts) => {
                let first = counts.first().is_some_and(|count| used < *count);
                let first = first.then_some(Move {
                    kind: 0,
                    own,
                    used: used + 1,
                });
                let others = Self::digits(counts, own);
                let others = others.filter(|(kind, _, digit)| *digit < counts[*kind]);
                first
                    .into_iter()
                    .chain(others.map(|(kind, stride, _)| Move {
                        kind,
                        own: own + stride,
                        used,
                    }))
                    .collect()
            }
            Self::Order(devices) => {
                let mut moves: Vec<Move> = Vec::new();
                for (place, kind) in devices.iter().copied().enumerate().skip(used) {
                    // Of devices that are alike the next.
                    if moves.iter().all(|known| known.kind != kind) {
                        moves.push(Move {
                            kind,
                            own,
                            used: place + 1,
                        });
                    }
                }
                moves
            }
        }
    }

    /// What the devices that a state leaves sell for at prices of their kinds.
    pub(super) fn rest(&self, own: usize, used: usize, prices: &[f64]) -> f64 {
        match self {
            Self::Counts(counts) => {
                let first = counts.first().map_or(0, |count| count - used) as f64;
                let first = first * prices.first().unwrap_or(&0.0);
                let others = Self::digits(counts, own);
                others.fold(first, |sum, (kind, _, digit)| {
                    sum + (counts[kind] - digit) as f64 * prices[kind]
                })
            }
            Self::Order(devices) => devices[used..].iter().map(|kind| prices[*kind]).sum(),
        }
    }

    /// Whether a state, its own number and its count, has used no more of anything than another.
    pub(super) fn is_within(&self, state: (usize, usize), other: (usize, usize)) -> bool {
        let others = match self {
            Self::Counts(counts) => Self::digits(counts, state.0)
                .zip(Self::digits(counts, other.0))
                .all(|((_, _, digit), (_, _, other))| digit <= other),
            Self::Order(_) => true,
        };
        others && state.1 <= other.1
    }

    /// States that have used no more of anything than this one: the nearest of them.
    pub(super) fn before(&self, own: usize) -> Vec<usize> {
        match self {
            Self::Counts(counts) => Self::digits(counts, own)
                .filter(|(_, _, digit)| *digit > 0)
                .map(|(_, stride, _)| own - stride)
                .collect(),
            Self::Order(_) => Vec::new(),
        }
    }
}
