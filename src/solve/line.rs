//! One given device order: the same program along a line, its potentials, and a few orders for when
//! there are too many to try (`area.rs` bounds what the others could give).

use crate::cost::ColumnSet;
use crate::cost::column::{Cost, GroupId, Owner};
use crate::cost::{Position, Site};
use crate::solve::Stop;
use crate::solve::area::rates;
use crate::solve::dynamic::{NO_WAY, NOTHING, Rest};
use crate::solve::path::{Taken, site};

/// Who computes at a place of an order, and on which host of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// A group's device, or the CPU.
    pub owner: Owner,
    /// The host; 0 for the CPU.
    pub host: usize,
}

/// The CPU's.
const CPU: Seat = Seat {
    owner: Owner::Host,
    host: 0,
};

/// The network of one order. A node is (place in the order, where the last GPU is, units done); where
/// stages a host are fixed, also how many of them that host has.
pub struct Line<'a> {
    set: &'a ColumnSet,
    order: Vec<Seat>,
    /// The hosts of the order, each once.
    sites: Vec<Site>,
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
    /// What it adds, the hop to its place included.
    pub cost: Cost,
    /// What counts where it is the most.
    load: u64,
}

const FAR: Cost = Cost(u128::MAX);

impl<'a> Line<'a> {
    /// The network along `order`, which is brought together host by host where stages a host are fixed.
    pub fn new(set: &'a ColumnSet, mut order: Vec<Seat>) -> Self {
        let mut sites: Vec<Site> = Vec::new();
        for seat in &order {
            let site = site(set, seat.owner, seat.host);
            sites.extend(site.filter(|site| !sites.contains(site)));
        }
        if set.sites.quota.is_some() {
            order.sort_by_key(|seat| {
                let own = site(set, seat.owner, seat.host);
                own.and_then(|own| sites.iter().position(|site| *site == own))
            });
        }
        Self { set, order, sites }
    }

    /// How many counts of stages are told apart on a site.
    fn counts(&self) -> usize {
        self.set.sites.quota.unwrap_or(1)
    }

    /// Where the last GPU can be: nowhere yet, or on a site that has so many stages.
    fn lasts(&self) -> usize {
        self.sites.len() * self.counts() + 1
    }

    /// The last GPU is where `last` says, which is 0 where there is none yet.
    fn node(&self, place: usize, last: usize, done: usize) -> usize {
        (place * self.lasts() + last) * (self.set.n_units + 1) + done
    }

    /// Where the last GPU is behind a stage on a site, which follows on where it was; nothing where a
    /// host would have too few stages or too many.
    fn onward(&self, last: usize, site: usize) -> Option<usize> {
        let first = site * self.counts() + 1;
        let Some(before) = last
            .checked_sub(1)
            .filter(|_| self.set.sites.quota.is_some())
        else {
            return Some(first);
        };
        let is_full = (before + 1) % self.counts() == 0;
        match (before / self.counts() == site, is_full) {
            (true, false) => Some(last + 1),
            (false, true) => Some(first),
            (true, true) | (false, false) => None,
        }
    }

    /// How many nodes there are.
    pub fn n_nodes(&self) -> usize {
        self.node(self.order.len() + 1, 0, 0)
    }

    /// Where every path starts.
    pub fn source(&self) -> usize {
        self.node(0, 0, 0)
    }

    /// Where a path may end: every unit done, the last GPU anywhere, on a host with all its stages.
    pub fn sinks(&self) -> Vec<usize> {
        let last = (0..self.lasts()).step_by(self.counts());
        last.map(|last| self.node(self.order.len(), last, self.set.n_units))
            .collect()
    }

    /// Every arc that a path may come to, in topological order.
    pub fn arcs(&self) -> Vec<Arc> {
        let mut arcs: Vec<Arc> = Vec::new();
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
        let mut is_reached = vec![false; self.n_nodes()];
        is_reached[self.source()] = true;
        let mut add = |arc: Arc| {
            if is_reached[arc.from] {
                is_reached[arc.to] = true;
                arcs.push(arc);
            }
        };
        for (place, seat) in self.order.iter().enumerate() {
            for last in 0..self.lasts() {
                for done in 0..=self.set.n_units {
                    add(Arc {
                        column: None,
                        from: self.node(place, last, done),
                        to: self.node(place + 1, last, done),
                        cost: Cost(0),
                        load: 0,
                    });
                }
            }
            let own = site(self.set, seat.owner, seat.host);
            let own_site = self.sites.iter().position(|site| Some(*site) == own);
            for index in &by_owner[number(seat.owner)] {
                let column = &self.set.columns[*index];
                let before = match (seat.owner, column.position) {
                    (Owner::Host, _) | (Owner::Group(_), Position::First) => 0..1,
                    (Owner::Group(_), Position::Later) => 1..self.lasts(),
                };
                for last in before {
                    let after = match own_site {
                        Some(site) => self.onward(last, site),
                        None => Some(0),
                    };
                    let Some(after) = after else { continue };
                    let from = last.checked_sub(1);
                    let from = from.map(|last| self.sites[last / self.counts()]);
                    let hop = from
                        .zip(own)
                        .map(|(from, to)| *self.set.sites.hop(from, to));
                    let hop = hop.unwrap_or_default();
                    if hop.is_barred {
                        continue;
                    }
                    add(Arc {
                        column: Some(*index),
                        from: self.node(place, last, column.units.start),
                        to: self.node(place + 1, after, column.units.end),
                        cost: plus(column.cost, hop.cost),
                        load: column.load.max(hop.load),
                    });
                }
            }
        }
        arcs
    }

    /// What is taken where a path goes along an arc.
    fn taken(&self, arc: &Arc) -> Option<Taken> {
        let place = arc.from / (self.n_nodes() / (self.order.len() + 1));
        arc.column.map(|column| Taken {
            column,
            host: self.order[place].host,
        })
    }

    /// The least cost from the source to each node.
    pub fn from_source(&self, arcs: &[Arc]) -> Vec<Cost> {
        let mut least = vec![FAR; self.n_nodes()];
        least[self.source()] = Cost(0);
        for arc in arcs {
            let cost = plus(least[arc.from], arc.cost);
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
            let cost = plus(least[arc.to], arc.cost);
            least[arc.from] = least[arc.from].min(cost);
        }
        least
    }

    /// The best path along the order, by cost and then by load.
    fn shortest(&self) -> Option<(Vec<Taken>, Rest)> {
        let arcs = self.arcs();
        let onward = |arc: &Arc, rest: Rest| match rest {
            NO_WAY => NO_WAY,
            rest => Rest {
                cost: plus(rest.cost, arc.cost),
                load: rest.load.max(arc.load),
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
                path.extend(self.taken(arc));
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

/// The path's own order, then the devices that it left out, as many as a plan may use.
pub fn order_of(set: &ColumnSet, path: &[Taken]) -> Vec<Seat> {
    let most = MOST_PLACES.min(set.most_devices.saturating_add(1));
    let seats = path.iter().map(|taken| Seat {
        owner: set.columns[taken.column].owner,
        host: taken.host,
    });
    let mut order: Vec<_> = seats.collect();
    if order.first() != Some(&CPU) {
        order.insert(0, CPU);
    }
    for index in 0..set.groups.len() {
        let owner = Owner::Group(GroupId(index));
        for host in 0..set.sites.n_hosts[set.sites.kind_of[index]] {
            let seat = Seat { owner, host };
            let used = order.iter().filter(|other| **other == seat).count();
            let room = most.saturating_sub(order.len());
            let free = set.sites.per_host[index].saturating_sub(used);
            order.extend(std::iter::repeat_n(seat, free.min(room)));
        }
    }
    order
}

/// Devices of groups in an order, each on the host of the one before it as long as that has another,
/// then on the first that has.
fn seated(set: &ColumnSet, groups: impl IntoIterator<Item = usize>) -> Vec<Seat> {
    let sites = &set.sites;
    let mut order = vec![CPU];
    let mut free: Vec<Vec<usize>> = (0..set.groups.len())
        .map(|group| vec![sites.per_host[group]; sites.n_hosts[sites.kind_of[group]]])
        .collect();
    let mut last: Option<Site> = None;
    for group in groups {
        let kind = sites.kind_of[group];
        let stays = last.filter(|last| last.kind == kind && free[group][last.host] > 0);
        let next = || free[group].iter().position(|free| *free > 0);
        let Some(host) = stays.map(|last| last.host).or_else(next) else {
            continue;
        };
        free[group][host] -= 1;
        last = Some(Site { kind, host });
        let owner = Owner::Group(GroupId(group));
        order.push(Seat { owner, host });
    }
    // Behind the CPU.
    order.truncate(set.most_devices.saturating_add(1));
    order
}

/// Kinds of cards of which each is tried in the last place.
const MOST_LAST: usize = 16;

/// The best plan over a few device orders that a person would try.
pub(super) fn best_of_orders(set: &ColumnSet, stop: &Stop) -> Option<(Vec<Taken>, Rest)> {
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
    let orders = [fastest_first, as_listed, grouped(by_size)]
        .into_iter()
        .chain(each_last);
    let mut best: Option<(Vec<Taken>, Rest)> = None;
    for (index, devices) in orders.enumerate() {
        // A plan that was stopped is better than none, and no worse than the simple rules, which go
        // along the order of the rig.
        if best.is_some() && index > 1 && stop.is_set() {
            break;
        }
        if let Some(found) = Line::new(set, seated(set, devices)).shortest()
            && best.as_ref().is_none_or(|(_, worth)| found.1 < *worth)
        {
            best = Some(found);
        }
    }
    best.map(|found| improved(set, found))
}

/// The best path along an order that someone proposes, behind the host, and the devices that it left
/// out behind that.
pub(super) fn along(set: &ColumnSet, proposed: &[Owner]) -> Option<(Vec<Taken>, Rest)> {
    let proposed = proposed.iter().filter_map(|owner| match owner {
        Owner::Group(GroupId(group)) => Some(*group),
        Owner::Host => None,
    });
    let mut order = seated(set, proposed.chain(0..set.groups.len()));
    order.truncate(MOST_PLACES);
    let found = Line::new(set, order).shortest()?;
    Some(improved(set, found))
}

/// A path may gain from the devices that it left out, behind its own: tried until nothing is gained.
fn improved(set: &ColumnSet, found: (Vec<Taken>, Rest)) -> (Vec<Taken>, Rest) {
    match Line::new(set, order_of(set, &found.0)).shortest() {
        Some(better) if better.1 < found.1 => improved(set, better),
        _ => found,
    }
}
