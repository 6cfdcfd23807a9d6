//! Held against every order of the devices of small problems.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cost::column::{Column, Cost};
use crate::cost::{Layout, Sites};
use crate::hardware::DeviceId;
use crate::solve::dynamic::{Answer, Effort, shortest};
use crate::solve::line;
use crate::solve::relaxed::tests::{column, sets};

/// A chain of unlike units and devices that are full by what they take of it, of which a plan may use
/// some: every part of a stage fits where the stage does.
fn chains() -> impl Strategy<Value = ColumnSet> {
    let units = vec(1..=9_u64, 6);
    let devices = vec((1..=2_usize, 1..=5_u64, 0..=6_u64, 4..=30_u64), 4);
    let on_host = prop_oneof![Just(0..0), Just(0..1), Just(1..3)];
    (units, devices, 1..=5_usize, on_host).prop_map(|(units, devices, most_devices, on_host)| {
        let n_units = units.len();
        let mut columns: Vec<Column> = Vec::new();
        let host = on_host.clone().map(|end| Column {
            owner: Owner::Host,
            load: 5 * end as u64,
            ..column(0, 0..end.max(1), 0)
        });
        columns.extend(host.filter(|_| on_host.start > 0));
        for (group, (_, slow, own, room)) in devices.iter().enumerate() {
            for (start, position) in (0..n_units).flat_map(|start| {
                [Position::First, Position::Later].map(|position| (start, position))
            }) {
                let is_start = start == 0 || on_host.contains(&start);
                if (position == Position::First) && !is_start {
                    continue;
                }
                for end in start + 1..=n_units {
                    let load = units[start..end].iter().sum::<u64>() * slow
                        + own
                        + u64::from(position == Position::First);
                    let stage = Column {
                        position,
                        load,
                        ..column(group, start..end, 0)
                    };
                    columns.extend((load <= *room * slow).then_some(stage));
                }
            }
        }
        columns.sort_by_key(|it| (it.units.start, it.owner, it.position, it.units.end));
        let groups = devices
            .iter()
            .map(|(count, ..)| vec![DeviceId(0); *count])
            .collect::<Vec<_>>();
        ColumnSet {
            layout: Layout::Sequential,
            n_units,
            sites: Sites::one(&groups),
            most_devices,
            groups,
            columns,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn where_parts_of_stages_fit_the_least_load_is_met(set in chains()) {
        let stop = Stop::default();
        match (least(&set, &stop), shortest(&set, Effort::Plan, &stop)) {
            (Least::Order { bound, order }, Answer::Path { load, .. }) => {
                prop_assert_eq!(bound, load);
                let along = line::along(&set, &order);
                prop_assert_eq!(along.map(|(_, worth)| worth.load), Some(bound));
            }
            (Least::None, Answer::None) => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn one_more_device_is_never_worse(set in chains(), group in 0..4_usize) {
        let stop = Stop::default();
        let mut more = set.clone();
        more.groups[group].push(DeviceId(0));
        more.sites = Sites::one(&more.groups);
        more.most_devices += 1;
        match (least(&set, &stop), least(&more, &stop)) {
            (Least::Order { bound, .. }, Least::Order { bound: less, .. }) => {
                prop_assert!(less <= bound);
            }
            (Least::None, Least::Order { .. } | Least::None) => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_plan_has_less_load_whatever_fits(set in sets(), most_devices in 1..=6_usize) {
        let stop = Stop::default();
        let mut set = ColumnSet { most_devices, ..set };
        for column in &mut set.columns {
            (column.load, column.cost) = ((column.cost.0 >> 20) as u64, Cost(0));
        }
        match (least(&set, &stop), shortest(&set, Effort::Plan, &stop)) {
            (Least::Order { bound, .. }, Answer::Path { load, .. }) => prop_assert!(bound <= load),
            (Least::Order { .. } | Least::None, Answer::None) => {}
            other => prop_assert!(false, "{:?}", other),
        }
    }
}

#[test]
fn a_plan_that_no_usual_order_has_is_found() {
    let mut set = ColumnSet {
        layout: Layout::Sequential,
        n_units: 60,
        groups: (0..12).map(|group| vec![DeviceId(group)]).collect(),
        sites: Sites::one(&[]),
        most_devices: usize::MAX,
        columns: Vec::new(),
    };
    set.sites = Sites::one(&set.groups);
    // Of device `g` alone there are the stages that begin at unit `5 · rank`, in an order of ranks that
    // nothing else tells.
    for group in 0..12 {
        let start = (group * 7 + 3) % 12 * 5;
        set.columns.push(column(group, start..start + 5, 1));
    }
    set.columns.sort_by_key(|it| it.units.start);
    let Least::Order { order, .. } = least(&set, &Stop::default()) else {
        panic!("there is one order");
    };
    let ranks = order.iter().map(|owner| match owner {
        Owner::Group(group) => (group.0 * 7 + 3) % 12,
        Owner::Host => usize::MAX,
    });
    assert_eq!(ranks.collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    assert!(line::best_of_orders(&set, &Stop::default()).is_none());
}
