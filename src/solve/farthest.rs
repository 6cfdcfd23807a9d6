//! How far sets of devices lead where no stage may have more than so much load: the least load of any
//! plan, and an order of devices that has it.
//!
//! Behind more units a stage ends no sooner, so that only the set of devices that are used matters,
//! and how far it leads at the most. States are counts of devices of each group, without the units that
//! are done: a few hundred thousand where the dynamic program would have millions. What it leaves out
//! makes every plan easier (a stage may begin before its column does; hops are free; stages a host are
//! not counted), so that what leads nowhere has no plan. Whether a plan keeps the order is told by
//! `line.rs`.

use crate::cost::ColumnSet;
use crate::cost::Position;
use crate::cost::column::{GroupId, Owner};
use crate::solve::Stop;

/// More steps from set to set than these for one limit take longer than a plan is worth.
const MOST_STEPS: usize = 8_000_000;

/// What is known of the least load.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Least {
    /// No plan has less than `bound`, and this order leads to the end with no more.
    Order { bound: u64, order: Vec<Owner> },
    /// No order leads to the end.
    None,
    /// There are too many sets, or the search was told to stop.
    Unknown,
}

/// The least load at which devices lead to the end of the chain.
pub(super) fn least(set: &ColumnSet, stop: &Stop) -> Least {
    let mut loads: Vec<_> = set.columns.iter().map(|column| column.load).collect();
    loads.sort_unstable();
    loads.dedup();
    // Without a limit first: whether there is any plan.
    let (mut low, mut high) = (0, loads.len());
    let mut best = Least::None;
    let mut limit = u64::MAX;
    loop {
        if stop.is_set() {
            return Least::Unknown;
        }
        let middle = loads.partition_point(|load| *load <= limit);
        match Reach::new(set, limit).order() {
            Led::To(order) => {
                high = middle.saturating_sub(1);
                let bound = loads.get(high).copied().unwrap_or(0);
                best = Least::Order { bound, order };
            }
            Led::Nowhere if limit == u64::MAX => return Least::None,
            Led::Nowhere => low = middle,
            Led::Unknown => return Least::Unknown,
        }
        if low >= high {
            return best;
        }
        limit = loads[low + (high - low) / 2];
    }
}

/// Where devices lead.
enum Led {
    To(Vec<Owner>),
    Nowhere,
    Unknown,
}

/// How far a stage leads that keeps the limit.
struct Reach {
    n_units: usize,
    /// What the CPU does before any device at the most.
    on_host: usize,
    /// By group, where the longest first stage ends; 0 for none.
    first: Vec<usize>,
    /// By group and units done, where a later stage ends that begins there or before; 0 for none.
    later: Vec<Vec<usize>>,
    /// How many devices of each group are worth using.
    counts: Vec<usize>,
    most_devices: usize,
}

impl Reach {
    fn new(set: &ColumnSet, limit: u64) -> Self {
        let n_units = set.n_units;
        let n_groups = set.groups.len();
        let mut reach = Self {
            n_units,
            on_host: 0,
            first: vec![0; n_groups],
            later: vec![vec![0; n_units + 1]; n_groups],
            counts: Vec::new(),
            most_devices: set.most_devices,
        };
        let columns = || set.columns.iter().filter(|column| column.load <= limit);
        let on_host = columns().filter(|column| column.owner == Owner::Host);
        reach.on_host = on_host.map(|it| it.units.end).max().unwrap_or(0);
        for column in columns() {
            let (start, end) = (column.units.start, column.units.end);
            let Owner::Group(GroupId(group)) = column.owner else {
                continue;
            };
            let far = match column.position {
                Position::First if start > reach.on_host => continue,
                Position::First => &mut reach.first[group],
                Position::Later => &mut reach.later[group][start],
            };
            *far = end.max(*far);
        }
        for far in &mut reach.later {
            for unit in 1..=n_units {
                far[unit] = far[unit].max(far[unit - 1]);
            }
        }
        reach.counts = (0..n_groups)
            .map(|group| reach.worth_using(set, group))
            .collect();
        reach
    }

    /// Devices that lead as far as others wherever they are used may take their places. So one is used
    /// only where all are that lead farther, and there may be too many of these.
    fn worth_using(&self, set: &ColumnSet, group: usize) -> usize {
        let leads_as_far = |other: usize| {
            let later = self.later[other].iter().zip(&self.later[group]);
            self.first[other] >= self.first[group] && later.into_iter().all(|(a, b)| a >= b)
        };
        let is_equal = |other: usize| {
            self.first[other] == self.first[group] && self.later[other] == self.later[group]
        };
        let before = (0..set.groups.len()).filter(|other| {
            *other != group && leads_as_far(*other) && (*other < group || !is_equal(*other))
        });
        let before: usize = before.map(|other| set.groups[other].len()).sum();
        let is_of_use = self.first[group] > 0 || self.later[group][self.n_units] > 0;
        let room = set.most_devices.saturating_sub(before);
        set.groups[group].len().min(room) * usize::from(is_of_use)
    }

    /// Devices that lead to the end, in their order.
    fn order(&self) -> Led {
        if self.on_host >= self.n_units {
            return Led::To(Vec::new());
        }
        let groups: Vec<_> = (0..self.counts.len())
            .filter(|group| self.counts[*group] > 0)
            .collect();
        let of_counts = groups.iter().map(|group| self.counts[*group] + 1);
        let n_sets = of_counts.fold(1, usize::saturating_mul);
        if n_sets.saturating_mul(groups.len()) > MOST_STEPS {
            return Led::Unknown;
        }
        // By set the most units that are done, and the group of the last stage; 0 where none leads.
        let mut most = vec![0; n_sets];
        let mut last = vec![0; n_sets];
        most[0] = self.on_host;
        let mut used = vec![0; groups.len()];
        let mut n_used = 0;
        for code in 0..n_sets {
            let done = most[code];
            let goes_on = code == 0 || done > 0;
            let mut stride = 1;
            for (index, group) in groups.iter().enumerate() {
                let count = self.counts[*group];
                if goes_on && n_used < self.most_devices && used[index] < count {
                    let end = match code {
                        0 => self.first[*group],
                        _ => self.later[*group][done],
                    };
                    let next = code + stride;
                    if end > most[next] {
                        (most[next], last[next]) = (end, index);
                    }
                    if end >= self.n_units {
                        return Led::To(self.followed(&groups, &last, next));
                    }
                }
                stride *= count + 1;
            }
            // The next code by one more of the first group that has another.
            for (index, group) in groups.iter().enumerate() {
                if used[index] < self.counts[*group] {
                    used[index] += 1;
                    n_used += 1;
                    break;
                }
                n_used -= used[index];
                used[index] = 0;
            }
        }
        Led::Nowhere
    }

    /// The order in which a set was reached.
    fn followed(&self, groups: &[usize], last: &[usize], mut code: usize) -> Vec<Owner> {
        let strides = groups.iter().scan(1, |stride, group| {
            let own = *stride;
            *stride *= self.counts[*group] + 1;
            Some(own)
        });
        let strides: Vec<_> = strides.collect();
        let mut order = Vec::new();
        while code > 0 {
            let index = last[code];
            order.push(Owner::Group(GroupId(groups[index])));
            code -= strides[index];
        }
        order.reverse();
        order
    }
}

#[cfg(test)]
mod tests;
