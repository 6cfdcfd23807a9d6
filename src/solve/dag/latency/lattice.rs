//! The best cut into runs over all orders at once: runs are differences of down-sets, as in
//! `stages.rs`, and everything still runs one after the other.

use super::{Problem, Spot};
use crate::solve::Stop;
use crate::solve::dag::downsets::DownSets;
use crate::solve::dag::walk::{Roster, Walk};
use crate::solve::dag::{Machine, Order, Ticks, Wire, join};

/// More down-sets than these, and more accelerators, are not tried.
const MOST_DOWN_SETS: usize = 6_000;
const MOST_ACCELERATORS: usize = 64;

/// Where the best runs put each operator; none where they do not hold everything, or the graph has
/// too many down-sets.
pub(super) fn runs(
    problem: &Problem<'_>,
    accelerators: &[usize],
    stop: &Stop,
) -> Option<Vec<Spot>> {
    let wires = problem.reads.iter().enumerate().flat_map(|(to, reads)| {
        reads.iter().map(move |from| Wire {
            from: *from,
            to,
            time: Ticks(problem.output[*from]),
        })
    });
    let wires: Vec<Wire> = wires.collect();
    let joined = join(problem.operators, &wires, Order::Pipeline).ok()?;
    let machine = Machine {
        kinds: problem.kinds.to_vec(),
    };
    let sets = DownSets::all(&joined.graph, MOST_DOWN_SETS, stop)?;
    let roster = Roster::of_counts(&machine);
    let walk = Walk::new(&joined.graph, &machine, &sets, (&roster, &[]));
    let mut stages = walk.stages();
    let devices = &accelerators[..accelerators.len().min(MOST_ACCELERATORS)];
    let width = devices.len() + 1;
    // At a down-set with so many devices passed: the time, and where it came from.
    let mut table = vec![(u64::MAX, (0, 0)); sets.len() * width];
    table[0].0 = 0;
    for set in 0..sets.len() {
        if stop.is_set() {
            return None;
        }
        let lists: Vec<Vec<(usize, u64)>> = (0..machine.kinds.len())
            .map(|kind| match devices.contains(&kind) {
                true => stages.from(set, kind),
                false => Vec::new(),
            })
            .collect();
        for used in 0..width {
            let (time, _) = table[set * width + used];
            if time == u64::MAX {
                continue;
            }
            let mut offer = |to: usize, used_then: usize, time: u64| {
                let known = &mut table[to * width + used_then];
                if time < known.0 {
                    *known = (time, (set, used));
                }
            };
            if let Some(host) = problem.host_kind() {
                for (item, to) in &sets.next[set] {
                    if let Some(work) = joined.graph.items()[*item].work[host] {
                        offer(*to, used, time + work.0);
                    }
                }
            }
            if let Some(kind) = devices.get(used) {
                offer(set, used + 1, time);
                for (to, load) in &lists[*kind] {
                    offer(*to, used + 1, time + load);
                }
            }
        }
    }
    let end = (sets.len() - 1) * width;
    let used = (0..width).min_by_key(|used| table[end + used].0)?;
    let mut at = (sets.len() - 1, used);
    let mut of_item = vec![Spot::Host; joined.graph.items().len()];
    if table[end + used].0 == u64::MAX {
        return None;
    }
    while at != (0, 0) {
        let before = table[at.0 * width + at.1].1;
        if before.1 < at.1 {
            let held = sets.items(before.0);
            let run = sets.items(at.0).into_iter();
            for item in run.filter(|item| held.binary_search(item).is_err()) {
                of_item[item] = Spot::Accelerator(before.1);
            }
        }
        at = before;
    }
    Some(joined.item_of.iter().map(|item| of_item[*item]).collect())
}
