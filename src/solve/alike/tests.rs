//! Held against the dynamic program over every order.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cost::column::{Column, GroupId};
use crate::cost::{Layout, Position, Sites};
use crate::hardware::DeviceId;
use crate::solve::dynamic::{self, Effort};
use crate::solve::{path, relaxed};

const N_UNITS: usize = 9;

fn column(
    owner: Owner,
    position: Position,
    units: (usize, usize),
    cost: u128,
    load: u64,
) -> Column {
    Column {
        owner,
        position,
        load,
        ..relaxed::tests::column(0, units.0..units.1, cost)
    }
}

/// Up to three groups whose stages take what their length takes, but for the first ones and those that
/// end in the last two units.
fn sets() -> impl Strategy<Value = ColumnSet> {
    let by_length = vec((1..=9_u128, 0..=3_u64), 0..=4);
    let group = (
        1..=2_usize,
        by_length,
        0..=3_u128,
        0..=3_u128,
        any::<bool>(),
    );
    let host = 0..=2_usize;
    (vec(group, 1..=4), host).prop_map(|(kinds, on_host)| {
        let mut columns = Vec::new();
        for end in 1..=on_host {
            let load = end as u64;
            columns.push(column(
                Owner::Host,
                Position::First,
                (0, end),
                20 * end as u128,
                load,
            ));
        }
        for (index, (_, by_length, first, last, is_first)) in kinds.iter().enumerate() {
            let owner = Owner::Group(GroupId(index));
            for (length, (cost, load)) in (1..).zip(by_length) {
                for start in 0..=N_UNITS - length {
                    let units = (start, start + length);
                    let behind = units.1.saturating_sub(N_UNITS - 2) as u128;
                    let cost = cost + last * behind;
                    if start <= on_host && *is_first {
                        let cost = cost + first;
                        columns.push(column(owner, Position::First, units, cost, *load));
                    }
                    if start > 0 {
                        columns.push(column(owner, Position::Later, units, cost, *load));
                    }
                }
            }
        }
        columns.sort_by_key(|it| (it.units.start, it.owner, it.position, it.units.end));
        let groups = kinds.iter().map(|(count, ..)| vec![DeviceId(0); *count]);
        let groups: Vec<_> = groups.collect();
        ColumnSet {
            layout: Layout::Sequential,
            n_units: N_UNITS,
            sites: Sites::one(&groups),
            most_devices: usize::MAX,
            groups,
            columns,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn stages_that_may_change_places_add_up_to_what_every_order_gives(set in sets()) {
        let stop = Stop::default();
        let wanted = dynamic::shortest(&set, Effort::Plan, &stop);
        match (shortest(&set, &stop), wanted) {
            (Some(Answer::Path { path, cost, load }), Answer::Path { cost: least, load: lightest, .. }) => {
                prop_assert_eq!((cost, load), (least, lightest));
                prop_assert_eq!(path::cost(&set, &path), cost);
                let columns: Vec<_> = path.iter().map(|taken| &set.columns[taken.column]).collect();
                let mut done = 0;
                let mut left: Vec<_> = set.groups.iter().map(Vec::len).collect();
                for column in columns {
                    prop_assert_eq!(column.units.start, done);
                    done = column.units.end;
                    if let Owner::Group(GroupId(group)) = column.owner {
                        prop_assert!(left[group] > 0);
                        left[group] -= 1;
                    }
                }
                prop_assert_eq!(done, N_UNITS);
            }
            (answer, wanted) => prop_assert_eq!(answer, Some(wanted)),
        }
    }
}
