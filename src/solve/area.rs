//! Bounds that need no order of the devices: what each kind of card can do at its best.

use crate::cost::ColumnSet;
use crate::cost::column::{Column, GroupId, Owner};
use crate::solve::Objective;
use crate::solve::objective::{Goal, Kind};

/// The best that a group (or the host) can do.
pub(super) struct Rate {
    pub(super) per_unit: f64,
    pub(super) most_units: usize,
}

/// Whether all devices together could hold the chain, if each took its longest run.
pub(super) fn may_cover(set: &ColumnSet) -> bool {
    let most = rates(set, |_| 0.0).into_iter().map(|rate| rate.most_units);
    most.fold(0, usize::saturating_add) >= set.n_units
}

/// No plan is worth less by `objective`.
pub(super) fn bound(set: &ColumnSet, goal: &Goal, objective: Objective) -> u64 {
    match objective.kind() {
        Kind::Sum => sum(set, |column| goal.value(objective, column) as f64),
        // The host is no device of a plan.
        Kind::Most => {
            let most = set.most_devices.saturating_add(1);
            least_most(set, most, |column| goal.value(objective, column))
        }
        Kind::Rate | Kind::Outside => 0,
    }
}

/// Each group takes at most so many units, each at its best rate, and the best groups are filled
/// first. Fractions of units are allowed, so it is a bound and no plan.
fn sum(set: &ColumnSet, value: impl Fn(&Column) -> f64) -> u64 {
    let mut rates = rates(set, value);
    rates.sort_by(|a, b| a.per_unit.total_cmp(&b.per_unit));
    let (mut left, mut total) = (set.n_units as f64, 0.0);
    for rate in rates {
        let units = left.min(rate.most_units as f64);
        if units > 0.0 {
            total += units * rate.per_unit;
            left -= units;
        }
    }
    total.floor() as u64
}

/// The least value at which the columns that are worth no more could cover the chain, if each of so
/// many devices took its longest.
pub(super) fn least_most(set: &ColumnSet, n_devices: usize, value: impl Fn(&Column) -> u64) -> u64 {
    let mut columns: Vec<_> = set
        .columns
        .iter()
        .map(|column| (value(column), column.owner, column.units.len()))
        .collect();
    columns.sort_unstable();
    let mut longest: Vec<_> = set.groups.iter().map(|group| (0, group.len())).collect();
    longest.push((0, 1));
    for (value, owner, length) in columns {
        let index = match owner {
            Owner::Group(group) => group.0,
            Owner::Host => set.groups.len(),
        };
        if length > longest[index].0 {
            longest[index].0 = length;
            if covered(&longest, n_devices) >= set.n_units {
                return value;
            }
        }
    }
    u64::MAX
}

/// Units that so many devices take, given the longest run of each kind and how many it has.
fn covered(longest: &[(usize, usize)], n_devices: usize) -> usize {
    let mut longest = longest.to_vec();
    longest.sort_unstable_by(|a, b| b.cmp(a));
    let mut left = n_devices;
    let units = longest.iter().map(|(length, count)| {
        let taken = left.min(*count);
        left -= taken;
        taken * length
    });
    units.sum()
}

/// The rates of all groups, and last that of the host.
pub(super) fn rates(set: &ColumnSet, value: impl Fn(&Column) -> f64) -> Vec<Rate> {
    let rate = |count: usize| Rate {
        per_unit: f64::INFINITY,
        most_units: count,
    };
    let mut longest = vec![0; set.groups.len() + 1];
    let mut rates: Vec<_> = set.groups.iter().map(|group| rate(group.len())).collect();
    rates.push(rate(1));
    for column in &set.columns {
        let index = match column.owner {
            Owner::Group(GroupId(group)) => group,
            Owner::Host => set.groups.len(),
        };
        let per_unit = value(column) / column.units.len() as f64;
        rates[index].per_unit = rates[index].per_unit.min(per_unit);
        longest[index] = column.units.len().max(longest[index]);
    }
    for (rate, longest) in rates.iter_mut().zip(longest) {
        rate.most_units = longest.saturating_mul(rate.most_units);
    }
    rates
}
