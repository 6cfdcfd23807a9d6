//! Held against every plan of small random chains.

use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cost::Position;
use crate::cost::column::{GroupId, Owner};
use crate::cost::frontier::Way;
use crate::units::Bytes;

fn run() -> impl Strategy<Value = Vec<Way>> {
    let way = (0..=6_u64, 0..=30_u64, 0..=20_u64, 0..=9_u64);
    let way = way.prop_map(|(bytes, penalty, read, ram)| Way {
        bytes: Bytes(bytes),
        penalty,
        read: Bytes(read),
        ram: Bytes(ram),
    });
    vec(way, 1..=3).prop_map(|mut ways| {
        ways.sort_unstable();
        ways
    })
}

fn chains() -> impl Strategy<Value = PairedChain> {
    (1..=4_usize, vec(1..=2_usize, 1..=2), any::<bool>()).prop_flat_map(
        |(n_units, counts, host)| {
            let spans = move || {
                (0..n_units).flat_map(move |start| (start + 1..=n_units).map(move |end| start..end))
            };
            let n_menus = spans().count() * 2 * (counts.len() + 1);
            let priced = (run(), run(), 0..=12_u64, 0..=20_u64, 1..=4_u64, 0..=3_u64);
            vec(priced, n_menus).prop_map(move |priced| {
                let owners = (0..counts.len()).map(|group| Owner::Group(GroupId(group)));
                let owners: Vec<_> = owners.chain(host.then_some(Owner::Host)).collect();
                let mut priced = priced.into_iter();
                let mut menus = Vec::new();
                for units in spans() {
                    for owner in &owners {
                        for position in [Position::First, Position::Later] {
                            let exists = match (owner, position) {
                                (Owner::Host, _) => units.start == 0 && position == Position::First,
                                (Owner::Group(_), Position::First) => units.start == 0 || host,
                                (Owner::Group(_), Position::Later) => units.start > 0,
                            };
                            let Some((first, second, room, fixed, a_byte, ram)) = priced.next()
                            else {
                                continue;
                            };
                            if exists {
                                menus.push(Paired {
                                    owner: *owner,
                                    units: units.clone(),
                                    position,
                                    runs: [Rc::from(first), Rc::from(second)],
                                    room: Bytes(room),
                                    law: Law {
                                        fixed: fixed as f64 + 0.25,
                                        a_byte: a_byte as f64,
                                    },
                                    ram: Bytes(ram),
                                });
                            }
                        }
                    }
                }
                menus.sort_by_key(|menu| {
                    (menu.units.start, menu.owner, menu.position, menu.units.end)
                });
                PairedChain {
                    n_units,
                    counts: counts.clone(),
                    menus,
                }
            })
        },
    )
}

/// Penalty, time and RAM of every plan.
fn all(chain: &PairedChain) -> Vec<[u64; 3]> {
    let mut found = Vec::new();
    let start = (0, chain.counts.clone(), [0; 3]);
    let mut open = vec![start];
    while let Some((done, left, sums)) = open.pop() {
        if done == chain.n_units {
            found.push(sums);
            continue;
        }
        let is_first = left == chain.counts;
        for menu in chain.menus.iter().filter(|menu| menu.units.start == done) {
            let mut left = left.clone();
            match (menu.owner, menu.position, is_first) {
                (Owner::Host, _, true) if done == 0 => {}
                (Owner::Group(GroupId(group)), Position::First, true)
                | (Owner::Group(GroupId(group)), Position::Later, false)
                    if left[group] > 0 =>
                {
                    left[group] -= 1;
                }
                _ => continue,
            }
            for one in menu.runs[0].iter() {
                for two in menu.runs[1].iter() {
                    let way = one.and(*two);
                    if way.bytes <= menu.room {
                        let [penalty, time, ram] = sums;
                        let sums = [
                            penalty + way.penalty,
                            time + menu.time(&way),
                            ram + menu.in_ram(&way),
                        ];
                        open.push((menu.units.end, left.clone(), sums));
                    }
                }
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_other_plan_within_both_limits_is_better(
        chain in chains(),
        time in 0..=120_u64,
        ram in 0..=24_u64,
        known in prop_oneof![Just(u64::MAX >> 1), 0..=90_u64],
        begin in (0.0..2.0_f64, 0.0..3.0_f64),
    ) {
        let begin = Prices { time: begin.0, ram: begin.1 };
        let plans = all(&chain);
        let keeps = |plan: &&[u64; 3]| plan[1] <= time && plan[2] <= ram;
        let best = plans.iter().filter(keeps).map(|plan| (plan[0], plan[1])).min();
        let limits = Limits { time, ram, known };
        let (ending, _) = within_both(&chain, limits, begin, &Stop::default());
        let wanted = best.filter(|(penalty, _)| *penalty <= known);
        match (ending, wanted) {
            (Ending::Found(kept, bound), Some(wanted)) => {
                prop_assert_eq!((kept.penalty, kept.time), wanted);
                prop_assert_eq!(bound, kept.penalty);
                let of = |taken: &TakenPair| {
                    let menu = &chain.menus[taken.menu];
                    let way = menu.way(taken.ways);
                    assert!(way.bytes <= menu.room);
                    [way.penalty, menu.time(&way), menu.in_ram(&way)]
                };
                let sums = kept.stages.iter().map(of);
                let sums = sums.fold([0; 3], |a, b| [a[0] + b[0], a[1] + b[1], a[2] + b[2]]);
                prop_assert_eq!((sums[0], sums[1]), wanted);
                prop_assert!(sums[2] <= ram);
            }
            (Ending::None(bound), None) => {
                prop_assert!(best.is_none_or(|(penalty, _)| penalty >= bound));
            }
            (ending, wanted) => prop_assert!(false, "{:?} and {:?}", ending, wanted),
        }
    }
}
