//! Simple rules to compare with: what people do by hand.

use super::{GraphQuestion, Spots, kinds, tally};
use crate::solve::dag::Ticks;
use crate::units::Bytes;

/// What a rule comes to: its name, and its placement with what that is worth where it fits.
pub(super) type Baseline = (&'static str, Option<(Spots, Ticks)>);

/// The rules, in a fixed order.
pub(super) fn all(question: &GraphQuestion) -> Vec<Baseline> {
    let listed: Vec<usize> = (0..question.graph.nodes().len()).collect();
    let sorted = sorted(question);
    let value = |spots: Option<Spots>| {
        let spots = spots?;
        let tally = tally::add_up(&question.graph, &question.rig, &spots);
        let worth = tally.check(question).ok()?;
        Some((spots, worth))
    };
    vec![
        (
            "fill devices in topological order",
            value(filled(question, &sorted)),
        ),
        (
            "equal shares in listed order",
            value(shared(question, &listed)),
        ),
        (
            "one device",
            one_device(question).and_then(|it| value(Some(it))),
        ),
    ]
}

/// Places in the order in which people fill them: devices as listed, then the host.
fn places(question: &GraphQuestion) -> Vec<(usize, Bytes)> {
    let rig = &question.rig;
    let devices = rig.devices().iter().map(|device| device.capacity());
    let rooms = devices.chain(rig.host().map(|host| host.capacity()));
    rooms.enumerate().collect()
}

/// Each device until it is full.
fn filled(question: &GraphQuestion, order: &[usize]) -> Option<Spots> {
    let places = places(question);
    let (mut at, mut held) = (0, Bytes::ZERO);
    let mut spots = vec![0; order.len()];
    for node in order {
        let it = &question.graph.nodes()[*node];
        let fits = |(place, room): &(usize, Bytes), held: Bytes| {
            held + it.memory <= *room && kinds::work(it, &question.rig, *place).is_some()
        };
        while !fits(places.get(at)?, held) {
            (at, held) = (at + 1, Bytes::ZERO);
        }
        held += it.memory;
        spots[*node] = places[at].0;
    }
    Some(spots)
}

/// As many nodes on each GPU as on another, or all on the host where there is none.
fn shared(question: &GraphQuestion, order: &[usize]) -> Option<Spots> {
    let n_devices = question.rig.devices().len();
    let count = match n_devices {
        0 => order.len(),
        _ => order.len().div_ceil(n_devices),
    };
    let mut spots = vec![0; order.len()];
    for (index, node) in order.iter().enumerate() {
        spots[*node] = index / count.max(1);
    }
    Some(spots)
}

/// All on the first device that holds it all.
fn one_device(question: &GraphQuestion) -> Option<Spots> {
    let nodes = question.graph.nodes();
    let all: Bytes = nodes.iter().map(|node| node.memory).sum();
    let runs = |place: usize| {
        nodes
            .iter()
            .all(|it| kinds::work(it, &question.rig, place).is_some())
    };
    let mut places = places(question).into_iter();
    let (place, _) = places.find(|(place, room)| all <= *room && runs(*place))?;
    Some(vec![place; nodes.len()])
}

/// Every node after those that it reads, as listed where that leaves a choice.
fn sorted(question: &GraphQuestion) -> Vec<usize> {
    let n_nodes = question.graph.nodes().len();
    let mut waits = vec![0_usize; n_nodes];
    let mut readers = vec![Vec::new(); n_nodes];
    for edge in question.graph.edges() {
        waits[edge.to] += 1;
        readers[edge.from].push(edge.to);
    }
    let ready = (0..n_nodes).filter(|node| waits[*node] == 0);
    let mut ready: std::collections::BTreeSet<usize> = ready.collect();
    let mut sorted = Vec::new();
    while let Some(node) = ready.pop_first() {
        sorted.push(node);
        for reader in &readers[node] {
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    sorted
}
