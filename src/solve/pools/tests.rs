//! Hosts by kind against hosts apart: the same optimum, also where visits find no room.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::cost::column::{Column, Cost, GroupId, Owner};
use crate::cost::{Layout, Pages, Position, Sites};
use crate::hardware::DeviceId;
use crate::solve::Stop;
use crate::solve::dynamic::{Answer, Effort, counted, shortest};
use crate::solve::path::{self, Taken};
use crate::solve::relaxed::tests::column;

const N_UNITS: usize = 8;

/// Three cards on the first host, and two hosts with three cards each; columns of one or two units.
fn sets() -> impl Strategy<Value = ColumnSet> {
    let columns = vec((0..N_UNITS, 1..=2_usize, 0..2_usize, 1..=50_u128), 20..=60);
    let quota = option::of(1..=3_usize);
    (columns, vec(1..=30_u128, 3), quota).prop_map(|(columns, hops, quota)| {
        let columns = columns
            .into_iter()
            .map(|(start, length, group, cost)| Column {
                resident: Pages::ENDLESS,
                ..column(group, start..(start + length).min(N_UNITS), cost)
            });
        let mut columns: Vec<_> = columns.collect();
        columns.sort_by_key(|it| (it.units.start, it.owner, it.position, it.units.end));
        let groups = vec![vec![DeviceId(0); 3], vec![DeviceId(0); 6]];
        let mut sites = Sites::several(2);
        sites.kind_of = vec![0, 1];
        sites.per_host = vec![3, 3];
        sites.n_hosts = vec![1, 2];
        sites.quota = quota;
        for (hop, index) in sites.hops_mut().zip([0, 0, 1, 2]) {
            hop.cost = Cost(hops[index]);
        }
        ColumnSet {
            layout: Layout::Sequential,
            n_units: N_UNITS,
            groups,
            sites,
            most_devices: usize::MAX,
            columns,
        }
    })
}

/// Whether a path without hosts was found whose visits have no room.
fn has_no_room(set: &ColumnSet) -> bool {
    counted(set, Hosts::ByKind, Effort::Plan, &Stop::default()).is_none()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn hosts_by_kind_give_the_optimum_of_hosts_apart(set in sets()) {
        let stop = Stop::default();
        let apart = counted(&set, Hosts::Apart, Effort::Plan, &stop).expect("each has its place");
        match (shortest(&set, Effort::Plan, &stop), apart) {
            (Answer::Path { path, cost, load }, Answer::Path { cost: least, load: lightest, .. }) => {
                prop_assert_eq!((cost, load), (least, lightest));
                prop_assert_eq!(path::cost(&set, &path), cost);
                for host in 0..2 {
                    let is_there = |taken: &&Taken| {
                        let owner = set.columns[taken.column].owner;
                        owner == Owner::Group(GroupId(1)) && taken.host == host
                    };
                    let n_stages = path.iter().filter(is_there).count();
                    prop_assert!(n_stages <= 3);
                    prop_assert!(set.sites.quota.is_none_or(|quota| [0, quota].contains(&n_stages)));
                }
            }
            (found, apart) => prop_assert_eq!(found, apart),
        }
    }
}

#[test]
fn three_visits_of_two_have_no_room_on_two_hosts_of_three() {
    use proptest::strategy::ValueTree;
    let whole = sets().new_tree(&mut proptest::test_runner::TestRunner::deterministic());
    let mut set = whole.expect("nothing is filtered").current();
    set.sites.quota = None;
    let like = set.columns[0].clone();
    // Units of the hosts that are alike, but for the third and the sixth, each a column of its own.
    let column = |unit: usize| Column {
        units: unit..unit + 1,
        position: match unit {
            0 => Position::First,
            _ => Position::Later,
        },
        owner: Owner::Group(GroupId(usize::from(![2, 5].contains(&unit)))),
        ..like.clone()
    };
    set.columns = (0..N_UNITS).map(column).collect();
    assert!(has_no_room(&set));
    let found = shortest(&set, Effort::Plan, &Stop::default());
    assert!(matches!(found, Answer::Path { .. }), "{found:?}");
}
