//! From operators to items: what must stay together becomes one item.
//!
//! Operators of one group share a device. In a training graph every backward operator is in the
//! group of its forward one, and only the forward order asks for contiguity; a group without forward
//! operators takes the mirrored order of its backward ones. Groups that wait for each other in a
//! cycle are one item.

use std::collections::{BTreeMap, BTreeSet};

use super::clumps::quotient;
use super::{Graph, GraphError, Item, Ticks, Transfer};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Who makes the output.
    pub from: usize,
    /// Who reads it.
    pub to: usize,
    /// Time of the output over the border of a device; the same on every wire from here.
    pub time: Ticks,
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
    let items: Vec<Item> = operators.iter().map(|it| it.item.clone()).collect();
    // Sums are checked before they are made.
    let parts = Graph::new(items, Vec::new(), Vec::new())?;
    let graph = Graph::new(
        quotient(&parts, &item_of, n_items).items,
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

/// For each node the number of its strongly connected component, in order of their first nodes.
///
/// Kosaraju's: components are what the reversed edges reach, begun from the node that a walk along
/// the edges left last. Sharir, Computers and Mathematics with Applications 7, 1981.
fn without_cycles(n_nodes: usize, edges: &BTreeSet<(usize, usize)>) -> Vec<usize> {
    let reversed: BTreeSet<(usize, usize)> = edges.iter().map(|(from, to)| (*to, *from)).collect();
    let mut seen = vec![false; n_nodes];
    let mut left = Vec::new();
    for node in 0..n_nodes {
        walk(node, edges, &mut seen, &mut left);
    }
    let mut seen = vec![false; n_nodes];
    let mut first = vec![0; n_nodes];
    for node in left.into_iter().rev() {
        let mut component = Vec::new();
        walk(node, &reversed, &mut seen, &mut component);
        let least = component.iter().min().copied().unwrap_or(node);
        component.into_iter().for_each(|node| first[node] = least);
    }
    let mut number = vec![0; n_nodes];
    let mut count = 0;
    for node in 0..n_nodes {
        if first[node] == node {
            number[node] = count;
            count += 1;
        } else {
            number[node] = number[first[node]];
        }
    }
    number
}

/// Walks from a node to all that it reaches and nobody has seen; each is left after those.
fn walk(start: usize, edges: &BTreeSet<(usize, usize)>, seen: &mut [bool], left: &mut Vec<usize>) {
    if std::mem::replace(&mut seen[start], true) {
        return;
    }
    let after = |node: usize| edges.range((node, 0)..(node + 1, 0));
    let mut open = vec![(start, after(start))];
    while let Some((node, rest)) = open.last_mut() {
        match rest.next() {
            Some((_, to)) if !seen[*to] => {
                seen[*to] = true;
                open.push((*to, after(*to)));
            }
            Some(_) => {}
            None => {
                left.push(*node);
                open.pop();
            }
        }
    }
}

fn transfers(wires: &[Wire], item_of: &[usize], n_operators: usize) -> Vec<Transfer> {
    let mut outputs = vec![(BTreeSet::new(), Ticks(0)); n_operators];
    for wire in wires {
        let (members, time) = &mut outputs[wire.from];
        members.extend([item_of[wire.from], item_of[wire.to]]);
        *time = wire.time;
    }
    let crossing = outputs
        .into_iter()
        .filter(|(members, time)| members.len() > 1 && time.0 > 0);
    // Outputs that the same items share cross the same borders: one transfer.
    let mut joined: BTreeMap<Vec<usize>, Ticks> = BTreeMap::new();
    for (members, time) in crossing {
        let sum = joined
            .entry(members.into_iter().collect())
            .or_insert(Ticks(0));
        sum.0 = sum.0.saturating_add(time.0);
    }
    let transfers = joined.into_iter();
    transfers
        .map(|(members, time)| Transfer { members, time })
        .collect()
}
