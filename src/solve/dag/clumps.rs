//! Very large graphs in fewer pieces: neighbours along one order of execution become one item.
//!
//! Stretches of one order form a chain, so a pipeline of the pieces is one of the items. It need not
//! be the best one; bounds are computed from the items.

use std::collections::BTreeSet;

use super::{Graph, Item, Machine, Transfer};
use crate::units::Bytes;

/// The graph in at most about `most` pieces, and the piece of each item.
///
/// A piece has no more than its share of the work, unless a single item has more, fits every device
/// by its share of memory, and runs on the same kinds.
pub(super) fn clumped(graph: &Graph, machine: &Machine, most: usize) -> (Graph, Vec<usize>) {
    let least = |item: &Item| item.work.iter().flatten().min().map_or(0, |work| work.0);
    let all: u64 = graph.items.iter().map(least).sum();
    let memory: Bytes = graph.items.iter().map(|item| item.bytes).sum();
    let pieces = (most / 4).max(1) as u64;
    let (share, room) = (all / pieces, memory.0 / pieces);
    let per_piece = graph.items.len().div_ceil(most / 4).max(1);
    let smallest = machine.kinds.iter().map(|kind| kind.memory).min();
    let room = room.min(smallest.map_or(u64::MAX, |least| least.0));
    let runs_on = |item: usize| graph.items[item].work.iter().map(Option::is_some);
    let mut piece_of = vec![0; graph.items.len()];
    let (mut piece, mut work, mut bytes, mut count) = (0, 0, 0, 0);
    let mut first = None;
    for item in graph.sorted() {
        let it = &graph.items[item];
        let fits = work + least(it) <= share && bytes + it.bytes.0 <= room && count < per_piece;
        let alike = first.is_none_or(|first| runs_on(first).eq(runs_on(item)));
        if first.is_some() && !(fits && alike) {
            piece += 1;
            (work, bytes, count, first) = (0, 0, 0, None);
        }
        first = first.or(Some(item));
        work += least(it);
        bytes = bytes.saturating_add(it.bytes.0);
        count += 1;
        piece_of[item] = piece;
    }
    (quotient(graph, &piece_of, piece + 1), piece_of)
}

/// The graph whose items are sets of items.
pub(super) fn quotient(graph: &Graph, of: &[usize], n_items: usize) -> Graph {
    let kinds = graph.items.first().map_or(0, |item| item.work.len());
    let nothing = Item {
        work: vec![Some(super::Ticks(0)); kinds],
        bytes: Bytes(0),
    };
    let mut items = vec![nothing; n_items];
    for (item, piece) in graph.items.iter().zip(of) {
        let sum = &mut items[*piece];
        sum.bytes += item.bytes;
        for (sum, work) in sum.work.iter_mut().zip(&item.work) {
            *sum = sum
                .zip(*work)
                .map(|(sum, work)| super::Ticks(sum.0 + work.0));
        }
    }
    let ends = graph.order.iter().map(|(from, to)| (of[*from], of[*to]));
    let order: BTreeSet<(usize, usize)> = ends.filter(|(from, to)| from != to).collect();
    let transfers = graph.transfers.iter().filter_map(|transfer| {
        let members: BTreeSet<usize> = transfer.members.iter().map(|item| of[*item]).collect();
        (members.len() > 1).then(|| Transfer {
            members: members.into_iter().collect(),
            time: transfer.time,
        })
    });
    let transfers = transfers.collect();
    Graph::linked(items, order.into_iter().collect(), transfers)
}

/// Parts of pieces as parts of items.
pub(super) fn unfold(parts: &mut super::Parts, of: &[usize]) {
    let most = of.iter().max().map_or(0, |most| most + 1);
    let mut held = vec![Vec::new(); most];
    for (item, piece) in of.iter().enumerate() {
        held[*piece].push(item);
    }
    for (_, part) in parts {
        *part = part.iter().flat_map(|piece| held[*piece].clone()).collect();
        part.sort_unstable();
    }
}
