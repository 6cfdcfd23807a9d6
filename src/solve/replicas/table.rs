//! The best dealing where every part is worth something that is known, over all dealings of few devices.
//! What a part is worth is not told here.

use super::{Dealing, Dealt, Number, Part};

/// More pairs of a part and what is left beside it take too long to look at again and again.
const MOST_PAIRS: usize = 5_000_000;

/// All parts, by a number that adds up as they do.
pub(super) struct Table {
    parts: Vec<Part>,
    /// The index of the part that stands for each.
    like: Vec<usize>,
    /// Every part of each that has a device, the smallest first.
    within: Vec<Vec<usize>>,
}

/// The best dealing of a part.
#[derive(Clone, Copy, Default)]
struct Best {
    worth: u64,
    n_parts: usize,
    /// The first of its parts.
    first: usize,
}

impl Table {
    /// Nothing where it would be too large.
    pub(super) fn new(dealing: &Dealing<'_>) -> Option<Self> {
        if n_pairs(dealing.counts) > MOST_PAIRS {
            return None;
        }
        let mut parts = vec![Vec::new()];
        for count in dealing.counts {
            let longer = |n: usize| {
                parts
                    .iter()
                    .map(move |part| [part.as_slice(), &[n]].concat())
            };
            parts = (0..=*count).flat_map(longer).collect();
        }
        let of_part = |part: &[usize]| {
            let digits = part.iter().zip(dealing.counts).rev();
            digits.fold(0, |code, (n, count)| code * (count + 1) + n)
        };
        let mut by_size: Vec<_> = (1..parts.len()).collect();
        by_size.sort_by_key(|part| (parts[*part].iter().sum::<usize>(), *part));
        let is_within = |small: &Part, large: &Part| small.iter().zip(large).all(|(a, b)| a <= b);
        let within = parts.iter().map(|large| {
            let own = by_size.iter().copied();
            own.filter(|small| is_within(&parts[*small], large))
                .collect()
        });
        Some(Self {
            like: parts
                .iter()
                .map(|part| of_part(&(dealing.like)(part)))
                .collect(),
            within: within.collect(),
            parts,
        })
    }

    /// The parts that stand for others, and for themselves.
    pub(super) fn likes(&self) -> impl Iterator<Item = &Part> {
        let parts = self.parts.iter().zip(&self.like).enumerate();
        let own = parts.filter(|(index, (_, like))| index == *like && *index > 0);
        own.map(|(_, (part, _))| part)
    }

    /// The best dealing where each part is worth what `worth` says of the one that stands for it; 0 is
    /// no plan.
    pub(super) fn deal(&self, number: Number, worth: impl Fn(&[usize]) -> u64) -> Dealt {
        let of_like = self.parts.iter().zip(&self.like).enumerate();
        let of_like = of_like.map(|(index, (part, like))| match *like == index && index > 0 {
            true => worth(part),
            false => 0,
        });
        let of_like: Vec<_> = of_like.collect();
        let worths: Vec<_> = self.like.iter().map(|like| of_like[*like]).collect();
        let layers = match number {
            Number::Auto => vec![self.any(&worths)],
            Number::Of(n) => self.exactly(n, &worths),
        };
        let mut dealt = Dealt::none();
        let (mut left, mut layer) = (self.parts.len() - 1, layers.len());
        dealt.worth = layers.last().map_or(0, |layer| layer[left].worth);
        while let Some(best) = layer.checked_sub(1).map(|layer| layers[layer][left]) {
            if best.first == 0 {
                break;
            }
            dealt.parts.push(self.parts[best.first].clone());
            left -= best.first;
            if number != Number::Auto {
                layer -= 1;
            }
        }
        dealt
    }

    /// Into any number of parts: of equals the fewest, then the smaller first.
    fn any(&self, worths: &[u64]) -> Vec<Best> {
        let mut all: Vec<Best> = Vec::with_capacity(self.parts.len());
        for (part, within) in self.within.iter().enumerate() {
            let mut best = Best::default();
            for first in within.iter().filter(|first| worths[**first] > 0) {
                // Those before are smaller; a part of all leaves nothing.
                let rest = match part - first {
                    0 => Best::default(),
                    rest => all[rest],
                };
                let (worth, n_parts) =
                    (worths[*first].saturating_add(rest.worth), rest.n_parts + 1);
                let is_equal = worth == best.worth;
                if worth > best.worth || is_equal && n_parts < best.n_parts {
                    let first = *first;
                    best = Best {
                        worth,
                        n_parts,
                        first,
                    };
                }
            }
            all.push(best);
        }
        all
    }

    /// Into one part, two and so on up to `n`; of equals the smaller first.
    fn exactly(&self, n: usize, worths: &[u64]) -> Vec<Vec<Best>> {
        let mut layers: Vec<Vec<Best>> = Vec::new();
        for n_parts in 1..=n {
            let of_part = |part: usize| {
                let mut best = Best::default();
                for first in self.within[part].iter().copied() {
                    let rest = match layers.last() {
                        Some(before) => before[part - first],
                        None => Best::default(),
                    };
                    let worth = worths[first].saturating_add(rest.worth);
                    let is_whole = worths[first] > 0 && (n_parts == 1 || rest.first > 0);
                    if is_whole && worth > best.worth {
                        best = Best {
                            worth,
                            n_parts,
                            first,
                        };
                    }
                }
                best
            };
            layers.push((0..self.parts.len()).map(of_part).collect());
        }
        layers
    }
}

/// Pairs of a part and one within it.
pub(super) fn n_pairs(counts: &[usize]) -> usize {
    let pairs = counts.iter().map(|count| (count + 1) * (count + 2) / 2);
    pairs.fold(1, |all: usize, own| all.saturating_mul(own))
}
