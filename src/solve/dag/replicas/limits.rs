//! The least limit under which a pipeline exists.

use std::collections::BTreeSet;

use super::knapsack::{self, Way};
use super::{Pipeline, Stage};
use crate::solve::Stop;
use crate::solve::dag::Graph;
use crate::solve::dag::downsets::DownSets;

/// More down-sets, or stages of all shapes, are not listed; then one order of the layers stands for
/// all.
const MOST_DOWN_SETS: usize = 20_000;
const MOST_STAGES: usize = 1_000_000;

/// Stages in order of execution, and whether no others are quicker.
pub(super) struct Found {
    pub(super) stages: Vec<Stage>,
    pub(super) is_exact: bool,
}

/// The layers between two down-sets with a number of devices and copies.
struct Shape {
    from: usize,
    to: usize,
    shared_by: usize,
    copies: usize,
    /// How many samples at most are under way at a time of so many ticks for all copies together, the
    /// quickest first.
    steps: Vec<(u128, usize)>,
}

impl Shape {
    /// Samples that can be under way within a limit.
    fn under_way(&self, limit: u64) -> usize {
        let all = u128::from(limit) * self.copies as u128;
        let within = self.steps.iter().rev().find(|(time, _)| *time <= all);
        within.map_or(0, |(_, held)| *held)
    }
}

pub(super) fn search(pipeline: &Pipeline, graph: &Graph, least: u64, stop: &Stop) -> Option<Found> {
    let all = DownSets::all(graph, MOST_DOWN_SETS, stop);
    let all = all.and_then(|sets| Some((Shapes::new(pipeline, &sets, stop)?, sets, true)));
    let (shapes, sets, is_whole) = match all {
        Some(all) => all,
        None => {
            let sets = DownSets::of_one_order(graph);
            (Shapes::new(pipeline, &sets, stop)?, sets, false)
        }
    };
    let limits = shapes.list.iter().flat_map(|shape| {
        let times = shape.steps.iter();
        times.filter_map(|(time, _)| u64::try_from(time.div_ceil(shape.copies as u128)).ok())
    });
    let limits: BTreeSet<u64> = limits.filter(|limit| *limit >= least).collect();
    let limits: Vec<u64> = limits.into_iter().collect();
    // Every pace is one of the limits: the first that can be kept.
    let (mut low, mut high) = (0, limits.len());
    let mut best = None;
    while low < high {
        let middle = low + (high - low) / 2;
        if stop.is_set() {
            break;
        }
        match shapes.under(pipeline, &sets, limits[middle]) {
            Some(stages) => {
                best = Some((stages, limits[middle]));
                high = middle;
            }
            None => low = middle + 1,
        }
    }
    let (stages, limit) = best?;
    let stages = stages.into_iter().map(|index| {
        let shape = &shapes.list[index];
        let layers = between(&sets, shape.from, shape.to);
        // The slowest that keeps the limit lets most samples be under way.
        let held = shape.under_way(limit) as u64;
        let ways = ways(pipeline, &layers, shape.shared_by);
        let ways = ways.map(|ways| copied(&ways, shape.copies));
        let memory = pipeline.memory.0;
        let chosen = ways.and_then(|it| knapsack::quickest(&it, held, memory, u128::MAX));
        chosen.map(|chosen| Stage {
            layers: layers.into_iter().zip(chosen.ways).collect(),
            shared_by: shape.shared_by,
            copies: shape.copies,
        })
    });
    Some(Found {
        stages: stages.collect::<Option<Vec<Stage>>>()?,
        is_exact: is_whole && shapes.are_best && low == high,
    })
}

/// The layers of one down-set that another does not have.
fn between(sets: &DownSets, from: usize, to: usize) -> Vec<usize> {
    let held = sets.items(from);
    let mut layers = sets.items(to);
    layers.retain(|layer| held.binary_search(layer).is_err());
    layers
}

/// What each layer takes in each of its ways where so many devices share it, and with every copy but
/// the first; none where one has no way.
fn ways(pipeline: &Pipeline, layers: &[usize], shared_by: usize) -> Option<Vec<Vec<(Way, u128)>>> {
    let mut inside = vec![false; pipeline.layers.len()];
    layers.iter().for_each(|layer| inside[*layer] = true);
    let ways = layers.iter().map(|layer| {
        let ways = pipeline.layers[*layer].get(&shared_by)?;
        let ways = ways.iter().map(|way| {
            let crossing = way.taken.iter().chain(&way.given);
            let crossing = crossing.filter(|(other, _)| !inside.get(**other).unwrap_or(&false));
            let crossing: u128 = crossing.map(|(_, time)| u128::from(time.0)).sum();
            let alone = Way {
                time: u128::from(way.work.0) + crossing,
                each: way.each.0,
                fixed: way.fixed.0,
            };
            (alone, u128::from(way.agreement.0))
        });
        let ways: Vec<(Way, u128)> = ways.collect();
        (!ways.is_empty()).then_some(ways)
    });
    ways.collect()
}

/// The same with so many copies.
fn copied(ways: &[Vec<(Way, u128)>], copies: usize) -> Vec<Vec<Way>> {
    let more = copies as u128 - 1;
    let copied = |(way, agreement): &(Way, u128)| Way {
        time: way.time + agreement * more,
        ..*way
    };
    let layers = ways.iter();
    layers
        .map(|ways| ways.iter().map(copied).collect())
        .collect()
}

/// The best pace of a single stage; as large as can be where none fits.
fn alone(pipeline: &Pipeline, each: &[(usize, Vec<usize>)]) -> u64 {
    let layers: Vec<usize> = (0..pipeline.layers.len()).collect();
    let paces = each.iter().flat_map(|(shared_by, copies)| {
        let ways = ways(pipeline, &layers, *shared_by);
        copies.iter().filter_map(move |copies| {
            let ways = copied(ways.as_ref()?, *copies);
            let chosen = knapsack::quickest(&ways, 1, pipeline.memory.0, u128::MAX)?;
            u64::try_from(chosen.time.div_ceil(*copies as u128)).ok()
        })
    });
    paces.min().unwrap_or(u64::MAX)
}

/// Pairs of down-sets of which the second holds the first, by the first; none where they are more
/// than so many or the time is over.
fn pairs(sets: &DownSets, most: usize, stop: &Stop) -> Option<Vec<(usize, usize)>> {
    let mut pairs = Vec::new();
    let mut seen = vec![usize::MAX; sets.len()];
    for from in 0..sets.len() {
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            for (_, to) in &sets.next[at] {
                if seen[*to] != from {
                    seen[*to] = from;
                    open.push(*to);
                    pairs.push((from, *to));
                }
            }
        }
        if stop.is_set() || pairs.len() > most {
            return None;
        }
    }
    Some(pairs)
}

struct Shapes {
    /// By the down-set that they begin at.
    list: Vec<Shape>,
    /// Whether every knapsack was solved to the end.
    are_best: bool,
    /// A pace that is known, beyond which nothing is of use.
    limit: u64,
}

impl Shapes {
    /// All stages between two down-sets; none where they are too many or the time is over.
    fn new(pipeline: &Pipeline, sets: &DownSets, stop: &Stop) -> Option<Self> {
        let most = pipeline.devices.min(pipeline.samples);
        let degrees: BTreeSet<usize> = pipeline
            .layers
            .iter()
            .flat_map(|layer| layer.keys().copied())
            .filter(|degree| *degree > 0)
            .collect();
        let each = degrees.into_iter().map(|shared_by| {
            let copies = 1..=most.min(pipeline.devices / shared_by);
            let copies = copies.filter(|it| pipeline.samples.is_multiple_of(*it));
            (shared_by, copies.collect())
        });
        let each: Vec<(usize, Vec<usize>)> = each.collect();
        let n_shapes: usize = each.iter().map(|(_, copies)| copies.len()).sum();
        let pairs = pairs(sets, MOST_STAGES / n_shapes.max(1), stop)?;
        let mut shapes = Self {
            list: Vec::new(),
            are_best: true,
            limit: alone(pipeline, &each),
        };
        for (from, to) in pairs {
            let layers = between(sets, from, to);
            for (shared_by, copies) in &each {
                let Some(ways) = ways(pipeline, &layers, *shared_by) else {
                    continue;
                };
                for copies in copies {
                    let ways = copied(&ways, *copies);
                    shapes.add(pipeline, (from, to), &ways, (*shared_by, *copies));
                }
            }
            if stop.is_set() {
                return None;
            }
        }
        Some(shapes)
    }

    fn add(
        &mut self,
        pipeline: &Pipeline,
        (from, to): (usize, usize),
        ways: &[Vec<Way>],
        (shared_by, copies): (usize, usize),
    ) {
        let most = pipeline.devices.min(pipeline.samples).div_ceil(copies);
        let within = u128::from(self.limit) * copies as u128;
        let mut steps: Vec<(u128, usize)> = Vec::new();
        let mut held = 1;
        while held <= most {
            let memory = pipeline.memory.0;
            let Some(chosen) = knapsack::quickest(ways, held as u64, memory, within) else {
                break;
            };
            self.are_best &= chosen.is_best;
            if chosen.time > within {
                break;
            }
            // The same ways fit while more samples are under way.
            let (each, fixed) = sums(ways, &chosen.ways);
            let room = u128::from(pipeline.memory.0).saturating_sub(fixed);
            let until = match each {
                0 => most,
                each => usize::try_from(room / each)
                    .unwrap_or(most)
                    .clamp(held, most),
            };
            steps.push((chosen.time, until));
            held = until + 1;
        }
        if !steps.is_empty() {
            self.list.push(Shape {
                from,
                to,
                shared_by,
                copies,
                steps,
            });
        }
    }

    /// The stages of a pipeline that keeps a limit, by their places, in order of execution.
    fn under(&self, pipeline: &Pipeline, sets: &DownSets, limit: u64) -> Option<Vec<usize>> {
        let width = pipeline.devices + 1;
        let most = pipeline.devices.min(pipeline.samples);
        // At a down-set with so many devices: the fewest copies, and the last stage.
        let mut fewest = vec![(usize::MAX, 0); sets.len() * width];
        fewest[0].0 = 0;
        for (index, shape) in self.list.iter().enumerate() {
            let under_way = shape.under_way(limit);
            let (copies, devices) = (shape.copies, shape.copies * shape.shared_by);
            if under_way == 0 {
                continue;
            }
            for used in 0..=pipeline.devices - devices {
                let (known, _) = fewest[shape.from * width + used];
                let all = known.saturating_add(copies);
                let there = &mut fewest[shape.to * width + used + devices];
                if all <= most && all.div_ceil(copies) <= under_way && all < there.0 {
                    *there = (all, index);
                }
            }
        }
        let end = (sets.len() - 1) * width;
        let used = (0..width).find(|used| fewest[end + used].0 < usize::MAX)?;
        let (mut set, mut used) = (sets.len() - 1, used);
        let mut stages = Vec::new();
        while set > 0 {
            let index = fewest[set * width + used].1;
            let shape = &self.list[index];
            stages.push(index);
            used -= shape.copies * shape.shared_by;
            set = shape.from;
        }
        Some(stages)
    }
}

/// Memory of chosen ways for every sample under way, and the rest of it.
fn sums(layers: &[Vec<Way>], chosen: &[usize]) -> (u128, u128) {
    let ways = layers.iter().zip(chosen).map(|(ways, it)| &ways[*it]);
    ways.fold((0, 0), |(each, fixed), way| {
        (each + u128::from(way.each), fixed + u128::from(way.fixed))
    })
}
