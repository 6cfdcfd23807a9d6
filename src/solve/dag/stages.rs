//! The best pipeline: stages that are differences of down-sets.
//!
//! First along one order of the items, then over all down-sets where they are not too many; the
//! walks themselves are in `walk.rs`. A limit is raised from the area bound until a walk finds a
//! pipeline, then limits are halved towards each other until both sides agree.

use super::area::{self, Prices};
use super::clumps::{clumped, unfold};
use super::downsets::DownSets;
use super::leaves::without_leaves;
use super::roster::Roster;
use super::walk::{Walk, Walked};
use super::{Graph, LONGEST, Machine, Partition, Parts, Searched, Ticks, force};
use crate::solve::Stop;

/// More down-sets than these are not listed.
const MOST_DOWN_SETS: usize = 150_000;

/// More items than these are joined to fewer before.
const MOST_ITEMS: usize = 4_096;

/// The pipeline with the smallest largest load.
///
/// Exact where the order has at most 150,000 down-sets and the kinds of devices are few. Beyond it
/// is the best along one order of the items, with what bounds every placement.
pub fn contiguous(graph: &Graph, machine: &Machine, stop: &Stop) -> Searched {
    let (area, prices) = area::bound(graph, machine);
    let is_large = graph.items.len() > MOST_ITEMS;
    let (small, place_of) = match is_large {
        true => clumped(graph, machine, MOST_ITEMS),
        false => without_leaves(graph, machine, stop),
    };
    let ask = Ask {
        graph: &small,
        machine,
        prices: &prices,
        stop,
    };
    let rough = ask.along_one_order(area);
    let all = match is_large {
        true => None,
        false => DownSets::all(&small, MOST_DOWN_SETS, stop),
    };
    let roster = Roster::counts(machine, all.as_ref().map_or(usize::MAX, DownSets::len));
    let (best, low, is_exact) = match (&all, &roster) {
        (Some(sets), Some(roster)) => {
            let walk = ask.walk(sets, roster);
            let best = ask.best(&walk, Best::above(area, rough));
            let is_exact = !best.stopped;
            (best.pipeline, best.low, is_exact)
        }
        (None, _) | (_, None) => (rough, area, false),
    };
    let Some((mut parts, _)) = best else {
        return match is_exact {
            true => Searched::Impossible,
            false => Searched::Unknown,
        };
    };
    unfold(&mut parts, &place_of);
    let Some(load) = graph.largest_load(machine, &parts) else {
        return Searched::Unknown;
    };
    let (bound, proof) = match (is_exact, low > area) {
        (true, _) => (load.0, "dynamic program over all down-sets"),
        (false, true) => (low, "dynamic program over all down-sets, not finished"),
        (false, false) => force::bound(graph, machine, &prices, [area, load.0], stop),
    };
    Searched::Found(Partition {
        parts,
        load,
        bound: Ticks(bound.min(load.0)),
        proof,
    })
}

/// What is searched.
struct Ask<'a> {
    graph: &'a Graph,
    machine: &'a Machine,
    prices: &'a [Prices],
    stop: &'a Stop,
}

/// What a search over limits ends with.
struct Best {
    /// The best pipeline and its largest load.
    pipeline: Option<(Parts, u64)>,
    /// No pipeline of these down-sets has less.
    low: u64,
    /// Whether the time was over before all was known.
    stopped: bool,
}

impl Best {
    /// Before anything is tried.
    fn above(low: u64, pipeline: Option<(Parts, u64)>) -> Self {
        Self {
            pipeline,
            low,
            stopped: false,
        }
    }
}

impl Ask<'_> {
    fn walk<'a>(&'a self, sets: &'a DownSets, roster: &'a Roster) -> Walk<'a> {
        Walk::new(self.graph, self.machine, sets, (roster, self.prices))
    }

    /// The best pipeline along one order of the items.
    fn along_one_order(&self, low: u64) -> Option<(Parts, u64)> {
        let sets = DownSets::of_one_order(self.graph);
        let rosters = match Roster::counts(self.machine, sets.len()) {
            Some(roster) => vec![roster],
            None => Roster::orders(self.graph, self.machine),
        };
        let nothing = Best::above(low, None);
        let tried = rosters.iter().fold(nothing, |best, roster| {
            // Another order of devices may do with less.
            let known = Best { low, ..best };
            self.best(&self.walk(&sets, roster), known)
        });
        tried.pipeline
    }

    /// The best pipeline of a walk, or what is known already where no walk is better.
    fn best(&self, walk: &Walk<'_>, mut best: Best) -> Best {
        let mut low = best.low;
        let mut step = 0.002;
        while best.pipeline.as_ref().is_none_or(|(_, high)| low < *high) {
            let high = best.pipeline.as_ref().map(|(_, load)| *load);
            let raised = low.saturating_add((low as f64 * step) as u64).min(LONGEST);
            let limit = match high {
                // A walk under a higher limit takes longer.
                Some(high) => raised.min(low + (high - low) / 2),
                None => raised,
            };
            step *= 2.0;
            match walk.under(limit, self.stop) {
                Walked::Pipeline(parts, load) => best.pipeline = Some((parts, load)),
                Walked::Blocked(next) if next > LONGEST => break,
                Walked::Blocked(next) => low = next,
                Walked::Stopped => {
                    best.stopped = true;
                    break;
                }
            }
            best.low = low;
        }
        best
    }
}
