//! The quickest way to run each layer of a stage within the memory of a device.

/// Choices that are followed at once; beyond it some are dropped, and the answer may not be the best.
const MOST_LABELS: usize = 20_000;

/// What a layer takes in one way: time, memory for every sample under way, other memory.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) time: u128,
    pub(super) each: u64,
    pub(super) fixed: u64,
}

/// The ways that were chosen, and whether none are quicker.
pub(super) struct Chosen {
    pub(super) ways: Vec<usize>,
    pub(super) time: u128,
    pub(super) is_best: bool,
}

impl Way {
    fn bytes(&self, held: u64) -> u128 {
        u128::from(self.each) * u128::from(held) + u128::from(self.fixed)
    }
}

/// The least sum of times, `most` at most, with so many samples under way; none where memory does
/// not suffice for that.
pub(super) fn quickest(layers: &[Vec<Way>], held: u64, memory: u64, most: u128) -> Option<Chosen> {
    let room = u128::from(memory);
    let quickest: Vec<usize> = layers
        .iter()
        .map(|ways| first(ways, |it| it.time))
        .collect();
    let alone = chosen(layers, quickest.clone(), true);
    if alone.time > most {
        return None;
    }
    if bytes(layers, &quickest, held) <= room {
        return Some(alone);
    }
    let smallest: Vec<usize> = layers
        .iter()
        .map(|ways| first(ways, |it| it.bytes(held)))
        .collect();
    if bytes(layers, &smallest, held) > room {
        return None;
    }
    // What the layers from each on take at least.
    let mut rest = vec![(0, 0); layers.len() + 1];
    for layer in (0..layers.len()).rev() {
        let (time, bytes) = rest[layer + 1];
        let ways = &layers[layer];
        rest[layer] = (
            time + ways[quickest[layer]].time,
            bytes + ways[smallest[layer]].bytes(held),
        );
    }
    let rough = exchanged(layers, &quickest, (held, room)).unwrap_or(smallest);
    let rough = chosen(layers, rough, false);
    let most = most.min(rough.time);
    // Of each label: bytes and time so far, the label before and the way.
    let mut labels = vec![vec![(0, 0, 0, 0)]];
    let mut is_best = true;
    for (layer, ways) in layers.iter().enumerate() {
        let (rest_time, rest_bytes) = rest[layer + 1];
        let mut next: Vec<(u128, u128, usize, usize)> = Vec::new();
        for (before, (bytes, time, _, _)) in labels[layer].iter().enumerate() {
            for (index, way) in ways.iter().enumerate() {
                let (bytes, time) = (bytes + way.bytes(held), time + way.time);
                if bytes + rest_bytes <= room && time + rest_time <= most {
                    next.push((bytes, time, before, index));
                }
            }
        }
        next.sort_unstable();
        let mut least = u128::MAX;
        next.retain(|(_, time, _, _)| {
            let is_quicker = *time < least;
            least = least.min(*time);
            is_quicker
        });
        if next.len() > MOST_LABELS {
            is_best = false;
            let stride = next.len().div_ceil(MOST_LABELS);
            next = next.into_iter().step_by(stride).collect();
        }
        labels.push(next);
    }
    let last = labels.last()?;
    let Some(best) = (0..last.len()).min_by_key(|it| last[*it].1) else {
        // What was dropped may have been quick enough.
        return (!is_best).then_some(rough);
    };
    let mut ways = vec![0; layers.len()];
    let mut at = best;
    for layer in (0..layers.len()).rev() {
        let (_, _, before, way) = labels[layer + 1][at];
        ways[layer] = way;
        at = before;
    }
    Some(chosen(layers, ways, is_best))
}

/// The place of the least.
fn first(ways: &[Way], of: impl Fn(&Way) -> u128) -> usize {
    (0..ways.len()).min_by_key(|it| of(&ways[*it])).unwrap_or(0)
}

fn bytes(layers: &[Vec<Way>], chosen: &[usize], held: u64) -> u128 {
    let ways = layers.iter().zip(chosen);
    ways.map(|(ways, it)| ways[*it].bytes(held)).sum()
}

fn chosen(layers: &[Vec<Way>], ways: Vec<usize>, is_best: bool) -> Chosen {
    let times = layers.iter().zip(&ways);
    Chosen {
        time: times.map(|(ways, it)| ways[*it].time).sum(),
        ways,
        is_best,
    }
}

/// From the quickest ways on, exchanges those that save most bytes for their time until all fits.
fn exchanged(
    layers: &[Vec<Way>],
    quickest: &[usize],
    (held, room): (u64, u128),
) -> Option<Vec<usize>> {
    let mut ways = quickest.to_vec();
    let mut exchanges: Vec<(f64, usize, usize)> = Vec::new();
    for (layer, choices) in layers.iter().enumerate() {
        let from = choices[ways[layer]];
        for (index, to) in choices.iter().enumerate() {
            if to.bytes(held) < from.bytes(held) {
                let saved = (from.bytes(held) - to.bytes(held)) as f64;
                exchanges.push(((to.time - from.time) as f64 / saved, layer, index));
            }
        }
    }
    exchanges.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    for (_, layer, to) in exchanges {
        if bytes(layers, &ways, held) <= room {
            break;
        }
        if layers[layer][to].bytes(held) < layers[layer][ways[layer]].bytes(held) {
            ways[layer] = to;
        }
    }
    (bytes(layers, &ways, held) <= room).then_some(ways)
}
