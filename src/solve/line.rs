//! One given device order: the same program along a line, its potentials, and a few orders for when
//! there are too many to try (`area.rs` bounds what the others could give).

use crate::cost::ColumnSet;
use crate::cost::Position;
use crate::cost::column::{Cost, GroupId, Owner};
use crate::solve::Stop;
use crate::solve::area::rates;
use crate::solve::dynamic::{NO_WAY, NOTHING, Rest};

/// The network of one order. A node is (place in the order, whether a GPU is used yet, units done).
pub struct Line<'a> {
    set: &'a ColumnSet,
    /// Who computes at each place of the order.
    pub order: Vec<Owner>,
}

/// One arc: a column at a place of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arc {
    /// The index of its column, or none for passing a device over.
    pub column: Option<usize>,
    /// Where it starts.
    pub from: usize,
    /// Where it ends.
    pub to: usize,
}

const FAR: Cost = Cost(u128::MAX);

impl<'a> Line<'a> {
    /// The network along `order`.
    pub fn new(set: &'a ColumnSet, order: Vec<Owner>) -> Self {
        Self { set, order }
    }

    fn node(&self, place: usize, used: bool, done: usize) -> usize {
        (place * 2 + usize::from(used)) * (self.set.n_units + 1) + done
    }

    /// How many nodes there are.
    pub fn n_nodes(&self) -> usize {
        self.node(self.order.len() + 1, false, 0)
    }

    /// Where every path starts.
    pub fn source(&self) -> usize {
        self.node(0, false, 0)
    }

    /// Where a path may end: every unit done, a GPU used or not.
    pub fn sinks(&self) -> [usize; 2] {
        [false, true].map(|used| self.node(self.order.len(), used, self.set.n_units))
    }

    /// Every arc, in topological order.
    pub fn arcs(&self) -> Vec<Arc> {
        let mut arcs = Vec::new();
        // By group, the host's behind all.
        let n_groups = self.set.groups.len();
        let number = |owner: Owner| match owner {
            Owner::Group(group) => group.0,
            Owner::Host => n_groups,
        };
        let mut by_owner = vec![Vec::new(); n_groups + 1];
        for (index, column) in self.set.columns.iter().enumerate() {
            by_owner[number(column.owner)].push(index);
        }
        for (place, owner) in self.order.iter().enumerate() {
            for used in [false, true] {
                for done in 0..=self.set.n_units {
                    let (from, to) = (
                        self.node(place, used, done),
                        self.node(place + 1, used, done),
                    );
                    arcs.push(Arc {
                        column: None,
                        from,
                        to,
                    });
                }
            }
            for index in &by_owner[number(*owner)] {
                let column = &self.set.columns[*index];
                let (before, after) = match (owner, column.position) {
                    (Owner::Host, _) => (false, false),
                    (Owner::Group(_), Position::First) => (false, true),
                    (Owner::Group(_), Position::Later) => (true, true),
                };
                arcs.push(Arc {
                    column: Some(*index),
                    from: self.node(place, before, column.units.start),
                    to: self.node(place + 1, after, column.units.end),
                });
            }
        }
        arcs
    }

    /// The cost of an arc.
    pub fn cost(&self, arc: &Arc) -> Cost {
        arc.column
            .map_or(Cost(0), |index| self.set.columns[index].cost)
    }

    /// The least cost from the source to each node.
    pub fn from_source(&self, arcs: &[Arc]) -> Vec<Cost> {
        let mut least = vec![FAR; self.n_nodes()];
        least[self.source()] = Cost(0);
        for arc in arcs {
            let cost = plus(least[arc.from], self.cost(arc));
            least[arc.to] = least[arc.to].min(cost);
        }
        least
    }

    /// The least cost from each node to a sink.
    pub fn to_sink(&self, arcs: &[Arc]) -> Vec<Cost> {
        let mut least = vec![FAR; self.n_nodes()];
        for sink in self.sinks() {
            least[sink] = Cost(0);
        }
        for arc in arcs.iter().rev() {
            let cost = plus(least[arc.to], self.cost(arc));
            least[arc.from] = least[arc.from].min(cost);
        }
        least
    }

    /// The best path along the order, by cost and then by load.
    fn shortest(&self) -> Option<(Vec<usize>, Rest)> {
        let arcs = self.arcs();
        let onward = |arc: &Arc, rest: Rest| match arc.column {
            _ if rest == NO_WAY => NO_WAY,
            None => rest,
            Some(index) => Rest {
                cost: plus(rest.cost, self.set.columns[index].cost),
                load: rest.load.max(self.set.columns[index].load),
            },
        };
        let mut to_sink = vec![NO_WAY; self.n_nodes()];
        for sink in self.sinks() {
            to_sink[sink] = NOTHING;
        }
        for arc in arcs.iter().rev() {
            to_sink[arc.from] = to_sink[arc.from].min(onward(arc, to_sink[arc.to]));
        }
        let mut node = self.source();
        let best = to_sink[node];
        if best == NO_WAY {
            return None;
        }
        let mut path = Vec::new();
        // Arcs are in topological order, so one pass follows the whole path.
        for arc in &arcs {
            if arc.from == node && onward(arc, to_sink[arc.to]) == to_sink[node] {
                path.extend(arc.column);
                node = arc.to;
            }
        }
        Some((path, best))
    }
}

/// What `a` and `b` cost together; no way stays no way.
pub fn plus(a: Cost, b: Cost) -> Cost {
    Cost(a.0.saturating_add(b.0))
}

/// Places of an order that the path's own devices and those that it left out may fill.
const MOST_PLACES: usize = 16;

/// The path's own order, then the devices that it left out.
pub fn order_of(set: &ColumnSet, path: &[usize]) -> Vec<Owner> {
    let mut order: Vec<_> = path.iter().map(|index| set.columns[*index].owner).collect();
    if order.first() != Some(&Owner::Host) {
        order.insert(0, Owner::Host);
    }
    for (index, devices) in set.groups.iter().enumerate() {
        let owner = Owner::Group(GroupId(index));
        let used = order.iter().filter(|other| **other == owner).count();
        let room = MOST_PLACES.saturating_sub(order.len());
        order.extend(std::iter::repeat_n(owner, (devices.len() - used).min(room)));
    }
    order
}

/// Kinds of cards of which each is tried in the last place.
const MOST_LAST: usize = 16;

/// The best plan over a few device orders that a person would try.
pub(super) fn best_of_orders(set: &ColumnSet, stop: &Stop) -> Option<(Vec<usize>, Rest)> {
    let rates = rates(set, |column| column.time.0);
    let mut by_speed: Vec<_> = (0..set.groups.len()).collect();
    by_speed.sort_by(|a, b| rates[*a].per_unit.total_cmp(&rates[*b].per_unit));
    let mut by_size: Vec<_> = (0..set.groups.len()).collect();
    by_size.sort_by_key(|group| std::cmp::Reverse(rates[*group].most_units));
    let grouped = |groups: Vec<usize>| {
        let devices = groups
            .into_iter()
            .map(|group| (group, set.groups[group].len()));
        devices
            .flat_map(|(group, count)| std::iter::repeat_n(group, count))
            .collect::<Vec<_>>()
    };
    let mut as_listed: Vec<_> = set
        .groups
        .iter()
        .enumerate()
        .flat_map(|(group, devices)| devices.iter().map(move |device| (*device, group)))
        .collect();
    as_listed.sort_unstable();
    let as_listed = as_listed.into_iter().map(|(_, group)| group).collect();
    let fastest_first = grouped(by_speed);
    // The last stage holds the head: each kind of card gets to be it.
    let each_last = (0..set.groups.len().min(MOST_LAST)).map(|last| {
        let mut order = fastest_first.clone();
        if let Some(at) = order.iter().position(|group| *group == last) {
            let device = order.remove(at);
            order.push(device);
        }
        order
    });
    let each_last: Vec<_> = each_last.collect();
    let orders = [fastest_first, grouped(by_size), as_listed]
        .into_iter()
        .chain(each_last);
    let mut best: Option<(Vec<usize>, Rest)> = None;
    for devices in orders {
        // The first is tried in any case: a plan that was stopped is better than none.
        if best.is_some() && stop.is_set() {
            break;
        }
        let owners = devices
            .into_iter()
            .map(|group| Owner::Group(GroupId(group)));
        let order = std::iter::once(Owner::Host).chain(owners).collect();
        if let Some(found) = Line::new(set, order).shortest()
            && best.as_ref().is_none_or(|(_, worth)| found.1 < *worth)
        {
            best = Some(found);
        }
    }
    best.map(|found| improved(set, found))
}

/// The best path along an order that someone proposes, behind the host, and the devices that it left
/// out behind that.
pub(super) fn along(set: &ColumnSet, proposed: &[Owner]) -> Option<(Vec<usize>, Rest)> {
    let mut free: Vec<usize> = set.groups.iter().map(Vec::len).collect();
    let mut order = vec![Owner::Host];
    let mut take = |owner: Owner| match owner {
        Owner::Group(GroupId(group)) if free[group] > 0 && order.len() < MOST_PLACES => {
            free[group] -= 1;
            order.push(owner);
        }
        _ => {}
    };
    proposed.iter().copied().for_each(&mut take);
    (0..set.groups.len()).for_each(|group| take(Owner::Group(GroupId(group))));
    let found = Line::new(set, order).shortest()?;
    Some(improved(set, found))
}

/// A path may gain from the devices that it left out, behind its own: tried until nothing is gained.
fn improved(set: &ColumnSet, found: (Vec<usize>, Rest)) -> (Vec<usize>, Rest) {
    match Line::new(set, order_of(set, &found.0)).shortest() {
        Some(better) if better.1 < found.1 => improved(set, better),
        _ => found,
    }
}
