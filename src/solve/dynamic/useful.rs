//! How many devices a plan of the least cost may have where all are alike: a plan is known, and each
//! stage costs at least so much beside what its units are counted at.

use crate::cost::column::{Column, Owner};
use crate::cost::{ColumnSet, Position};

/// The most devices that a path of the least cost can have; as many as there are units where nothing
/// better is known.
pub(in crate::solve) fn most(set: &ColumnSet) -> usize {
    let [devices] = set.groups.as_slice() else {
        return set.n_units;
    };
    let known = greedy(set).filter(|(n_stages, _)| {
        set.sites.n_hosts == [1] && *n_stages <= devices.len().min(set.most_devices)
    });
    let within = known.and_then(|(_, cost)| most_within(set, cost));
    within.map_or(set.n_units, |most| most.min(set.n_units))
}

/// The number of stages of the path whose stages are each as long as can be, and its cost; nothing
/// where it does not begin on a device, or comes to no end.
fn greedy(set: &ColumnSet) -> Option<(usize, i128)> {
    let (mut n_stages, mut cost, mut done) = (0, 0, 0);
    while done < set.n_units {
        let position = match n_stages {
            0 => Position::First,
            _ => Position::Later,
        };
        let from = set.columns.partition_point(|it| it.units.start < done);
        let starts = set.columns[from..].iter();
        let starts = starts.take_while(|it| it.units.start == done);
        let of_devices = starts.filter(|it| it.owner != Owner::Host && it.position == position);
        let longest = of_devices.max_by_key(|it| it.units.end)?;
        (n_stages, cost, done) = (n_stages + 1, cost + own(longest)?, longest.units.end);
    }
    Some((n_stages, cost))
}

/// The most stages on devices that a path of this cost has; nothing where each more could cost nothing.
fn most_within(set: &ColumnSet, cost: i128) -> Option<usize> {
    let counted = counted(set)?;
    let units = |column: &Column| counted[column.units.end] - counted[column.units.start];
    let (mut first, mut later, mut on_host) = (i128::MAX, i128::MAX, 0);
    for column in &set.columns {
        let least = match (column.owner, column.position) {
            (Owner::Host, _) => &mut on_host,
            (Owner::Group(_), Position::First) => &mut first,
            (Owner::Group(_), Position::Later) => &mut later,
        };
        *least = own(column)?.saturating_sub(units(column)).min(*least);
    }
    let left = [counted[set.n_units], first, on_host].into_iter();
    let left = left.fold(cost, i128::saturating_sub);
    let n_later = left.checked_div(later).filter(|_| later > 0)?;
    usize::try_from(n_later.max(0)).ok()?.checked_add(1)
}

/// What the units before each are counted at: each at the least that it adds to a stage. Whatever
/// they are counted at, what stages cost beside it is the same in sum.
fn counted(set: &ColumnSet) -> Option<Vec<i128>> {
    let mut added = vec![None; set.n_units];
    for pair in set.columns.windows(2) {
        let [one, more] = pair else { continue };
        let is_one_more = (one.units.start, one.owner, one.position)
            == (more.units.start, more.owner, more.position)
            && one.units.end + 1 == more.units.end;
        if is_one_more && one.owner != Owner::Host {
            let adds = own(more)? - own(one)?;
            let unit: &mut Option<i128> = &mut added[one.units.end];
            *unit = Some(unit.map_or(adds, |least| least.min(adds)));
        }
    }
    let sums = added.into_iter().scan(0_i128, |sum, unit| {
        *sum = sum.saturating_add(unit.unwrap_or(0));
        Some(*sum)
    });
    Some([0].into_iter().chain(sums).collect())
}

/// The cost of a column, where it leaves room for sums.
fn own(column: &Column) -> Option<i128> {
    let most = i128::MAX >> u16::BITS;
    i128::try_from(column.cost.0)
        .ok()
        .filter(|cost| *cost <= most)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::most;
    use crate::cost::ColumnSet;
    use crate::hardware::DeviceId;
    use crate::solve::relaxed::tests::{column, set_of};

    /// So many alike devices, of stages each at its begin, its length and its cost.
    fn set(n_devices: usize, stages: &[(usize, usize, u128)]) -> ColumnSet {
        let columns = stages.iter();
        let columns = columns.map(|(start, length, cost)| column(0, *start..start + length, *cost));
        set_of(vec![vec![DeviceId(0); n_devices]], columns.collect())
    }

    /// The least cost of paths on from a unit, and the most stages of those of least cost.
    fn best(set: &ColumnSet, done: usize, n_free: usize) -> Option<(u128, usize)> {
        if done == set.n_units {
            return Some((0, 0));
        }
        let free = n_free.checked_sub(1)?;
        let columns = set.columns.iter().filter(|it| it.units.start == done);
        let paths = columns.filter_map(|column| {
            let (cost, n_stages) = best(set, column.units.end, free)?;
            Some((column.cost.0 + cost, n_stages + 1))
        });
        paths.min_by_key(|(cost, n_stages)| (*cost, usize::MAX - n_stages))
    }

    #[test]
    fn where_each_stage_costs_something_few_help() {
        // A unit takes 10, a stage 1, and a device holds three of the five units.
        let lengths = |start: usize| (1..=3.min(5 - start)).map(move |length| (start, length));
        let stages = (0..5).flat_map(lengths);
        let stages: Vec<_> = stages
            .map(|(start, length)| (start, length, length as u128 * 10 + 1))
            .collect();
        assert_eq!(most(&set(5, &stages)), 2);
        // Of too few devices no plan is known.
        assert_eq!(most(&set(1, &stages)), 5);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5000) })]

        #[test]
        fn no_plan_of_the_least_cost_has_more(
            n_devices in 1..=5_usize,
            (unit, stage) in (0..10_u128, 0..20_u128),
            noise in vec(vec((0..4_u128, 0..8), 5), 5),
        ) {
            // One stage in eight is missing.
            let rows = noise.iter().enumerate();
            let stages = rows.flat_map(|(start, row)| {
                let row = row.iter().enumerate().take(5 - start);
                let there = row.filter(|(_, (_, chance))| *chance > 0);
                there.map(move |(index, (noise, _))| {
                    let length = index + 1;
                    (start, length, unit * length as u128 + stage + noise)
                })
            });
            let set = set(n_devices, &stages.collect::<Vec<_>>());
            if let Some((_, n_stages)) = best(&set, 0, n_devices) {
                prop_assert!(n_stages <= most(&set));
            }
        }
    }
}
