//! Items that cost nothing follow the only one that they feed or are fed by: nothing is lost, and
//! the order has far fewer down-sets.
//!
//! Let item v be free, w the only item that waits for it, and let every transfer of v have w as a
//! member. In any pipeline v can move to the stage of w: what v waits for is no later than v, which
//! is no later than w. The stage of w moved those transfers already, for it had not all members; the
//! stage that v left moves no more than before. The same holds where w is all that v waits for.

use std::collections::BTreeSet;

use super::{Graph, Item, Machine, Transfer};
use crate::units::Bytes;

/// The graph with such items joined to their leaders, and for each item the one it is now in.
///
/// An item with memory joins only where all items together fit one accelerator, so that the best
/// pipeline stays among the ways that are left.
pub(super) fn without_leaves(graph: &Graph, machine: &Machine) -> (Graph, Vec<usize>) {
    let all: Bytes = graph.items.iter().map(|item| item.bytes).sum();
    let roomy = all <= machine.memory;
    let mut host: Vec<usize> = (0..graph.items.len()).collect();
    while let Some((leaf, leader)) = (0..host.len()).find_map(|item| {
        let free = host[item] == item && costs_nothing(&graph.items[item], roomy);
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
    item.work.is_some_and(|work| work.0 == 0.0)
        && item.host_work.0 == 0.0
        && (roomy || item.bytes == Bytes(0))
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
    let place = |item: usize| kept.binary_search(&host[item]).unwrap_or_default();
    let mut items: Vec<Item> = kept.iter().map(|item| graph.items[*item].clone()).collect();
    for (item, old) in graph.items.iter().enumerate() {
        if host[item] != item {
            items[place(item)].bytes += old.bytes;
        }
    }
    let mut order: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (from, to) in &graph.order {
        if host[*from] != host[*to] {
            order.insert((place(*from), place(*to)));
        }
    }
    let transfers = graph.transfers.iter().filter_map(|transfer| {
        let members: BTreeSet<usize> = transfer.members.iter().map(|it| place(*it)).collect();
        (members.len() > 1).then(|| Transfer {
            members: members.into_iter().collect(),
            time: transfer.time,
        })
    });
    let transfers: Vec<Transfer> = transfers.collect();
    let mut touching = vec![Vec::new(); items.len()];
    for (index, transfer) in transfers.iter().enumerate() {
        for item in &transfer.members {
            touching[*item].push(index);
        }
    }
    let place_of = (0..host.len()).map(place).collect();
    let order = order.into_iter().collect();
    let graph = Graph {
        items,
        order,
        transfers,
        touching,
    };
    (graph, place_of)
}
