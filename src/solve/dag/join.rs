//! From operators to items: what must stay together becomes one item.
//!
//! Operators of one group share a device. In a training graph every backward operator is in the
//! group of its forward one, and only the forward order asks for contiguity; a group without forward
//! operators takes the mirrored order of its backward ones. Groups that wait for each other in a
//! cycle are one item.

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, GraphError, Item, Transfer};
use crate::units::{Bytes, Seconds};

/// One operator of a graph as a profiler writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Operator {
    /// Operators of one group share a device.
    pub group: usize,
    /// Whether it belongs to the backward pass.
    pub backward: bool,
    /// What it takes.
    pub item: Item,
}

/// An edge between two operators, by their places in the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wire {
    /// Who makes the output.
    pub from: usize,
    /// Who reads it.
    pub to: usize,
    /// Time of the output over the border of an accelerator; the same on every wire from here.
    pub time: Seconds,
}

/// Whether the order of the operators binds the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The devices form a pipeline.
    Pipeline,
    /// Any operator goes anywhere.
    Free,
}

/// The graph of the items, and the item of each operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The graph.
    pub graph: Graph,
    /// For each operator its item.
    pub item_of: Vec<usize>,
}

/// Joins operators into items.
///
/// # Errors
/// Where a wire names an operator that is not there, or a time is none.
pub fn join(operators: &[Operator], wires: &[Wire], order: Order) -> Result<Joined, GraphError> {
    let ends = wires.iter().flat_map(|wire| [wire.from, wire.to]);
    let items = operators.len();
    if let Some(item) = ends.into_iter().find(|item| *item >= items) {
        return Err(GraphError::NoSuchItem { item, items });
    }
    let mut number = BTreeMap::new();
    let groups: Vec<usize> = operators
        .iter()
        .map(|operator| {
            let next = number.len();
            *number.entry(operator.group).or_insert(next)
        })
        .collect();
    let (item_of, edges) = match order {
        Order::Free => (groups, BTreeSet::new()),
        Order::Pipeline => {
            let edges = forward_edges(operators, wires, &groups);
            let merged = without_cycles(number.len(), &edges);
            let item_of: Vec<usize> = groups.iter().map(|group| merged[*group]).collect();
            let between = edges.iter().map(|(from, to)| (merged[*from], merged[*to]));
            (item_of, between.filter(|(from, to)| from != to).collect())
        }
    };
    let n_items = item_of.iter().max().map_or(0, |most| most + 1);
    let graph = Graph::new(
        add_up(operators, &item_of, n_items),
        edges.into_iter().collect(),
        transfers(wires, &item_of, operators.len()),
    )?;
    Ok(Joined { graph, item_of })
}

/// The order between groups that binds a pipeline.
fn forward_edges(
    operators: &[Operator],
    wires: &[Wire],
    groups: &[usize],
) -> BTreeSet<(usize, usize)> {
    let forward: BTreeSet<usize> = operators
        .iter()
        .zip(groups)
        .filter(|(operator, _)| !operator.backward)
        .map(|(_, group)| *group)
        .collect();
    let edges = wires.iter().filter_map(|wire| {
        let (from, to) = (groups[wire.from], groups[wire.to]);
        match (operators[wire.from].backward, operators[wire.to].backward) {
            (false, false) => Some((from, to)),
            (true, true) if !forward.contains(&from) || !forward.contains(&to) => Some((to, from)),
            _ => None,
        }
    });
    edges.filter(|(from, to)| from != to).collect()
}

/// For each node the number of its strongly connected component, counted from nought.
fn without_cycles(n_nodes: usize, edges: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let reversed: BTreeSet<(usize, usize)> = edges.iter().map(|(from, to)| (*to, *from)).collect();
    let reach = |edges: &BTreeSet<(usize, usize)>, start: usize| {
        let mut seen = vec![false; n_nodes];
        let mut open = vec![start];
        seen[start] = true;
        while let Some(node) = open.pop() {
            for (_, to) in edges.range((node, 0)..(node + 1, 0)) {
                if !std::mem::replace(&mut seen[*to], true) {
                    open.push(*to);
                }
            }
        }
        seen
    };
    let mut component = vec![None; n_nodes];
    let mut count = 0;
    for node in 0..n_nodes {
        if component[node].is_some() {
            continue;
        }
        let after = reach(edges, node);
        let before = reach(&reversed, node);
        for other in 0..n_nodes {
            if after[other] && before[other] {
                component[other] = Some(count);
            }
        }
        count += 1;
    }
    component.into_iter().flatten().collect()
}

fn add_up(operators: &[Operator], item_of: &[usize], n_items: usize) -> Vec<Item> {
    let nothing = Item {
        work: Some(Seconds(0.0)),
        host_work: Seconds(0.0),
        bytes: Bytes(0),
    };
    let mut items = vec![nothing; n_items];
    for (operator, item) in operators.iter().zip(item_of) {
        let item = &mut items[*item];
        item.work = item.work.zip(operator.item.work).map(|(sum, it)| sum + it);
        item.host_work = item.host_work + operator.item.host_work;
        item.bytes += operator.item.bytes;
    }
    items
}

fn transfers(wires: &[Wire], item_of: &[usize], n_operators: usize) -> Vec<Transfer> {
    let mut outputs = vec![(BTreeSet::new(), Seconds(0.0)); n_operators];
    for wire in wires {
        let (members, time) = &mut outputs[wire.from];
        members.extend([item_of[wire.from], item_of[wire.to]]);
        *time = wire.time;
    }
    let crossing = outputs
        .into_iter()
        .filter(|(members, time)| members.len() > 1 && time.0 > 0.0);
    // Outputs that the same items share cross the same borders: one transfer.
    let mut joined: BTreeMap<Vec<usize>, Seconds> = BTreeMap::new();
    for (members, time) in crossing {
        let sum = joined
            .entry(members.into_iter().collect())
            .or_insert(Seconds(0.0));
        *sum = *sum + time;
    }
    let transfers = joined.into_iter();
    transfers
        .map(|(members, time)| Transfer { members, time })
        .collect()
}
