//! Held against every plan of small random chains.

use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cost::Position;
use crate::cost::column::{GroupId, Owner};
use crate::cost::frontier::Way;
use crate::cost::menu::Law;
use crate::units::Bytes;

fn ways() -> impl Strategy<Value = (Vec<Way>, usize)> {
    let way = (1..=9_u64, 0..=30_u64, 1..=30_u64).prop_map(|(bytes, penalty, read)| Way {
        bytes: Bytes(bytes),
        penalty,
        read: Bytes(read),
        ram: Bytes::ZERO,
    });
    // Some columns do not exist.
    (vec(way, 1..=3), 0..=3_usize).prop_map(|(mut ways, n_fitting)| {
        ways.sort_unstable();
        let n_fitting = n_fitting.min(ways.len());
        (ways, n_fitting)
    })
}

fn chains() -> impl Strategy<Value = Chain> {
    (1..=4_usize, vec(1..=2_usize, 1..=3), any::<bool>()).prop_flat_map(
        |(n_units, counts, host)| {
            let runs = move || {
                (0..n_units).flat_map(move |start| (start + 1..=n_units).map(move |end| start..end))
            };
            let n_menus = runs().count() * 2 * (counts.len() + 1);
            (vec((ways(), 0..=20_u64, 1..=4_u64), n_menus)).prop_map(move |priced| {
                let owners = (0..counts.len()).map(|group| Owner::Group(GroupId(group)));
                let owners: Vec<_> = owners.chain(host.then_some(Owner::Host)).collect();
                let mut priced = priced.into_iter();
                let mut menus = Vec::new();
                for units in runs() {
                    for owner in &owners {
                        for position in [Position::First, Position::Later] {
                            let exists = match (owner, position) {
                                (Owner::Host, _) => units.start == 0 && position == Position::First,
                                (Owner::Group(_), Position::First) => units.start == 0 || host,
                                (Owner::Group(_), Position::Later) => units.start > 0,
                            };
                            let Some(((ways, n_fitting), fixed, a_byte)) = priced.next() else {
                                continue;
                            };
                            if exists {
                                let law = Law {
                                    fixed: fixed as f64,
                                    a_byte: a_byte as f64,
                                };
                                menus.push(Menu {
                                    owner: *owner,
                                    units: units.clone(),
                                    position,
                                    ways: Rc::from(ways),
                                    n_fitting,
                                    law,
                                });
                            }
                        }
                    }
                }
                menus.sort_by_key(|menu| {
                    let Menu {
                        owner, position, ..
                    } = menu;
                    (menu.units.start, *owner, *position, menu.units.end)
                });
                Chain {
                    n_units,
                    counts: counts.clone(),
                    menus,
                }
            })
        },
    )
}

/// Every plan: its penalty, its time, and its slowest stage.
fn counted_out(chain: &Chain) -> Vec<(u64, u64, u64)> {
    fn go(
        chain: &Chain,
        (done, used): (usize, &[usize]),
        so_far: (u64, u64, u64),
        all: &mut Vec<(u64, u64, u64)>,
    ) {
        if done == chain.n_units {
            all.push(so_far);
            return;
        }
        let is_first = used.iter().all(|used| *used == 0);
        for menu in chain.menus.iter().filter(|menu| menu.units.start == done) {
            let mut used = used.to_vec();
            if let Owner::Group(GroupId(group)) = menu.owner {
                used[group] += 1;
                let in_place = is_first == (menu.position == Position::First);
                if used[group] > chain.counts[group] || !in_place {
                    continue;
                }
            }
            for way in menu.fitting() {
                let time = menu.time(way);
                let (penalty, sum, most) = so_far;
                let next = (penalty + way.penalty, sum + time, most.max(time));
                go(chain, (menu.units.end, &used), next, all);
            }
        }
    }
    let mut all = Vec::new();
    go(
        chain,
        (0, &vec![0; chain.counts.len()]),
        (0, 0, 0),
        &mut all,
    );
    all
}

/// Between a bound of 24 ⅓, as the lines of the others cross, and 25 there is room for a way on no line.
#[test]
fn what_a_bound_says_in_parts_is_not_rounded_up_before_ways_are_dropped() {
    let way = |bytes: u64, (read, penalty): (u64, u64)| Way {
        bytes: Bytes(bytes),
        penalty,
        read: Bytes(read),
        ram: Bytes::ZERO,
    };
    let ways = [way(1, (4, 26)), way(2, (5, 25)), way(3, (7, 21))];
    let chain = Chain {
        n_units: 1,
        counts: vec![1],
        menus: vec![Menu {
            owner: Owner::Group(GroupId(0)),
            units: 0..1,
            position: Position::First,
            ways: Rc::from(ways),
            n_fitting: 3,
            law: Law {
                fixed: 0.0,
                a_byte: 1.0,
            },
        }],
    };
    let wanted = Wanted {
        most: 5,
        known: 25,
        price: 0.0,
    };
    let kept = match within_sum(&chain, wanted, &Stop::default()).0 {
        Answer::Found(kept) => (kept.penalty, kept.time, kept.bound),
        other => panic!("{other:?}"),
    };
    assert_eq!(kept, (25, 5, 25));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn no_plan_within_a_time_is_better(
        chain in chains(), most in 0..=300_u64, known in prop_oneof![Just(1_000), 0..=60_u64],
        price in prop_oneof![Just(0.0), 0.0..3.0_f64],
    ) {
        let all = counted_out(&chain);
        let keeps = all.iter().filter(|(_, time, _)| *time <= most);
        let wanted = keeps.map(|(penalty, time, _)| (*penalty, *time)).min();
        let fastest = all.iter().map(|(_, time, _)| *time).min();
        match (within_sum(&chain, Wanted { most, known, price }, &Stop::default()).0, wanted) {
            (Answer::Found(kept), Some(wanted)) => {
                prop_assert_eq!((kept.penalty, kept.time), wanted);
                prop_assert_eq!(kept.bound, kept.penalty);
                prop_assert_eq!(worth(&chain, &kept.stages), wanted);
            }
            (Answer::Worse(bound), Some((penalty, _))) => {
                prop_assert!(known < bound && bound <= penalty, "{known} < {bound} <= {penalty}");
            }
            // A price may tell so before it is known whether any is fast enough.
            (Answer::Worse(bound), None) => prop_assert!(price > 0.0 && known < bound),
            (Answer::TooSlow { fastest: found, is_proven }, None) => {
                prop_assert_eq!((Some(found), is_proven), (fastest, true));
            }
            (Answer::Impossible, None) => prop_assert_eq!(fastest, None),
            (found, wanted) => prop_assert!(false, "{:?} and {:?}", found, wanted),
        }
    }

    #[test]
    fn no_plan_of_stages_within_a_time_is_better(chain in chains(), most in 0..=100_u64) {
        let all = counted_out(&chain);
        let keeps = all.iter().filter(|(.., slowest)| *slowest <= most);
        let wanted = keeps.map(|(penalty, _, slowest)| (*penalty, *slowest)).min();
        let slowest = Slowest::new(&chain);
        prop_assert!(slowest.is_some());
        let Some(slowest) = slowest else { return Ok(()) };
        let found = match slowest.within(most) {
            Answer::Found(kept) => Some((kept.penalty, kept.time)),
            Answer::Impossible => None,
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(found, wanted);
        let mut trades: Vec<_> = all.iter().map(|(penalty, _, time)| (*penalty, *time)).collect();
        trades.sort_unstable();
        let mut fastest = u64::MAX;
        trades.retain(|(_, time)| *time < fastest && { fastest = *time; true });
        let frontier = slowest.frontier();
        let frontier: Vec<_> = frontier.iter().map(|kept| (kept.penalty, kept.time)).collect();
        prop_assert_eq!(frontier, trades);
    }

    /// What is said where there are too many orders: along one order, between a bound and a plan.
    #[test]
    fn one_order_gives_plans_and_no_false_proof(chain in chains(), most in 0..=300_u64) {
        let stop = Stop::default();
        let fast = |menu: &Menu| menu.fitting().iter().map(|way| menu.time(way)).min();
        let times: Vec<f64> = chain.menus.iter().map(|menu| number(fast(menu))).collect();
        let keeps = counted_out(&chain).into_iter().filter(|(_, time, _)| *time <= most);
        let least = keeps.map(|(penalty, ..)| penalty).min();
        let network = Network::new(&chain, Orders::by_speed(&chain, &times));
        let fastest = network.rest(&times);
        if fastest.start() > most as f64 {
            return Ok(());
        }
        let free = Network::new(&chain, Orders::Free);
        let hulls = Hulls::new(&chain.menus);
        let relaxed = Dual::new(&free, &hulls, most, &stop).map_or(0, |dual| dual.bound);
        prop_assert!(Some(relaxed) <= least);
        let dual = Dual::new(&network, &hulls, most, &stop);
        prop_assert!(dual.is_some());
        if let Some(dual) = dual {
            let best = labels::best(&network, (&hulls, dual), &fastest, (most, 1_000), &stop);
            let found = best.found.map(|found| found.penalty);
            prop_assert!(found.is_some() && least <= found);
            prop_assert_eq!(found, Some(best.bound));
        }
    }
}
