//! Items that cost nothing follow the only one that they feed or are fed by: nothing is lost, and
//! the order has far fewer down-sets.
//!
//! Let item v be free, w the only item that waits for it, and let every transfer of v have w as a
//! member. In any pipeline v can move to the stage of w: what v waits for is no later than v, which
//! is no later than w. The stage of w moved those transfers already, for it had not all members; the
//! stage that v left moves no more than before. The same holds where w is all that v waits for.

use std::collections::BTreeSet;

use super::clumps::quotient;
use super::{Graph, Item, Machine, Ticks};
use crate::solve::Stop;
use crate::units::Bytes;

/// The graph with such items joined to their leaders, and for each item the one it is now in.
///
/// An item with memory joins only where all items together fit every device, so that the best
/// pipeline stays among the ways that are left. Where the time is over, fewer are joined.
pub(super) fn without_leaves(graph: &Graph, machine: &Machine, stop: &Stop) -> (Graph, Vec<usize>) {
    let all: Bytes = graph.items.iter().map(|item| item.bytes).sum();
    let roomy = machine.kinds.iter().all(|kind| all <= kind.memory);
    let mut host: Vec<usize> = (0..graph.items.len()).collect();
    while let Some((leaf, leader)) = (0..host.len()).find_map(|item| {
        let free = host[item] == item && costs_nothing(&graph.items[item], roomy) && !stop.is_set();
        let leader = if free {
            leader(graph, &host, item)
        } else {
            None
        };
        leader.map(|leader| (item, leader))
    }) {
        for at in &mut host {
            if *at == leaf {
                *at = leader;
            }
        }
    }
    renumber(graph, &host)
}

fn costs_nothing(item: &Item, roomy: bool) -> bool {
    item.work.iter().all(|work| *work == Some(Ticks(0))) && (roomy || item.bytes == Bytes(0))
}

/// The item that this one can follow, where there is one.
fn leader(graph: &Graph, host: &[usize], item: usize) -> Option<usize> {
    let ends = graph
        .order
        .iter()
        .map(|(from, to)| (host[*from], host[*to]));
    let edges: BTreeSet<(usize, usize)> = ends.filter(|(from, to)| from != to).collect();
    let only = |others: Vec<usize>| match others[..] {
        [other] => Some(other),
        _ => None,
    };
    let after = edges.iter().filter(|(from, _)| *from == item);
    let before = edges.iter().filter(|(_, to)| *to == item);
    let candidates = [
        only(after.map(|(_, to)| *to).collect()),
        only(before.map(|(from, _)| *from).collect()),
    ];
    let moves_with = |other: usize| {
        graph.transfers.iter().all(|transfer| {
            let has = |item| transfer.members.iter().any(|member| host[*member] == item);
            !has(item) || has(other)
        })
    };
    candidates
        .into_iter()
        .flatten()
        .find(|other| moves_with(*other))
}

fn renumber(graph: &Graph, host: &[usize]) -> (Graph, Vec<usize>) {
    let kept: BTreeSet<usize> = host.iter().copied().collect();
    let kept: Vec<usize> = kept.into_iter().collect();
    let place = |item: &usize| kept.binary_search(item).unwrap_or_default();
    let place_of: Vec<usize> = host.iter().map(place).collect();
    (quotient(graph, &place_of, kept.len()), place_of)
}
