//! Several hosts: crossings are priced as a search over every plan prices them, whichever hosts are
//! alike, and no network makes a plan better than one host would.

use proptest::collection::vec;
use proptest::prelude::*;
use shardplan::cost::column::Cost;
use shardplan::solve::{self, Ask, Status};

use crate::toy::{self, Case, Toy};
use crate::{agrees, asked, is_searched, seeded, stopped};

/// Networks of few kinds, so that hosts are often alike: MB/s, and microseconds of a round trip.
fn networks() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let kinds = vec((1..=200_u64, 0..=2_000_u64), 1..=2);
    let picks = vec(any::<prop::sample::Index>(), 5);
    (kinds, picks).prop_map(|(kinds, picks)| picks.iter().map(|pick| *pick.get(&kinds)).collect())
}

/// Any case, its cards on up to four hosts.
fn scattered() -> impl Strategy<Value = Case> {
    let hosts = vec(0..=3_usize, 6);
    let fields = (
        toy::cases(),
        hosts,
        networks(),
        0..=2_000_u64,
        any::<bool>(),
    );
    fields.prop_map(|(case, mut hosts, networks, payload, passes_first)| {
        hosts.truncate(case.cards.len());
        hosts.sort_unstable();
        Case {
            hosts: without_gaps(&hosts),
            networks,
            payload,
            passes_first,
            ..case
        }
    })
}

/// Hosts numbered one after the other; the first may have no card.
fn without_gaps(hosts: &[usize]) -> Vec<usize> {
    let mut met: Vec<usize> = vec![0];
    hosts
        .iter()
        .map(|host| {
            if !met.contains(host) {
                met.push(*host);
            }
            met.iter()
                .position(|other| other == host)
                .expect("it was met")
        })
        .collect()
}

/// The same where each host that is used has as many stages as any other.
fn even(cases: impl Strategy<Value = Case>) -> impl Strategy<Value = Case> {
    cases
        .prop_map(|case| Case {
            ram: None,
            offload: shardplan::cost::Offload::Refused,
            is_even: true,
            ..case
        })
        .prop_filter("a host alone has no others", |case| {
            case.hosts.last().is_some_and(|last| *last > 0)
        })
}

/// Two or three hosts with the same two or three cards each, beside a card or none on the first.
fn alike() -> impl Strategy<Value = Case> {
    let host = vec((3..=9_u64, 10..=40_u64), 2..=3);
    let first = vec((3..=9_u64, 10..=40_u64), 0..=1);
    let units = vec(1..=3_u64, 4..=6);
    (units, first, host, 2..=3_usize, networks(), 0..=2_000_u64).prop_map(
        |(units, first, host, n_hosts, networks, payload)| {
            let n_hosts = n_hosts.min(6 / host.len());
            let mut hosts = vec![0; first.len()];
            let mut cards = first;
            for index in 1..=n_hosts {
                hosts.extend(vec![index; host.len()]);
                cards.extend(host.clone());
            }
            Case {
                units,
                cards,
                ram: None,
                offload: shardplan::cost::Offload::Refused,
                base: 0,
                hop: 300,
                hosts,
                networks: vec![networks[0]; 5],
                payload,
                passes_first: false,
                is_even: false,
                most_devices: usize::MAX,
            }
        },
    )
}

/// The time of the best plan on cards, where there is one.
fn best(case: &Case) -> Option<Cost> {
    let solution = solve::solve(&Toy::new(case), &Ask::default()).ok()?;
    assert_eq!(solution.proof.status, Status::Optimal);
    Some(Cost::from(solution.time))
}

/// Plans that offload are of another rank, and no faster network leads to them or from them.
fn on_cards(case: Case) -> Case {
    Case { ram: None, ..case }
}

proptest! {
    #![proptest_config(seeded(2000))]

    #[test]
    fn crossings_are_priced_as_trying_every_plan_prices_them(case in scattered()) {
        agrees(&Toy::new(&case), &Ask::default())?;
    }

    #[test]
    fn every_objective_and_every_rule_holds_over_hosts((case, ask) in asked(scattered())) {
        prop_assume!(is_searched(&case, &ask.goal));
        agrees(&Toy::new(&case), &ask)?;
    }

    #[test]
    fn stages_are_as_many_on_each_host_where_an_engine_wants_it((case, ask) in asked(even(scattered()))) {
        prop_assume!(is_searched(&case, &ask.goal));
        agrees(&Toy::new(&case), &ask)?;
    }

    #[test]
    fn a_stopped_search_over_even_hosts_never_claims_what_is_not_so((case, ask) in asked(even(scattered()))) {
        prop_assume!(is_searched(&case, &ask.goal));
        stopped(&case, &ask)?;
    }

    #[test]
    fn a_stopped_search_over_hosts_never_claims_what_is_not_so((case, ask) in asked(scattered())) {
        prop_assume!(is_searched(&case, &ask.goal));
        stopped(&case, &ask)?;
    }
}

proptest! {
    #![proptest_config(seeded(200))]

    #[test]
    fn even_stages_on_hosts_that_are_alike_are_the_best_of_all(case in even(alike())) {
        agrees(&Toy::new(&case), &Ask::default())?;
    }
}

proptest! {
    #![proptest_config(seeded(1000))]

    #[test]
    fn hosts_that_are_alike_are_exchanged_and_the_best_is_found(case in alike()) {
        agrees(&Toy::new(&case), &Ask::default())?;
    }

    #[test]
    fn a_faster_network_never_worsens_the_optimum(case in scattered(), which in 0..5_usize) {
        let case = on_cards(case);
        prop_assume!(!case.cards.is_empty());
        let mut faster = case.clone();
        let (rate, latency) = faster.networks[which];
        faster.networks[which] = (rate * 2, latency / 2);
        prop_assert!(best(&faster) <= best(&case));
    }

    #[test]
    fn one_host_is_no_worse_than_several_and_equal_where_the_network_is_free(case in scattered()) {
        let case = on_cards(case);
        prop_assume!(!case.cards.is_empty());
        let together = Case { hosts: vec![], ..case.clone() };
        prop_assert!(best(&together) <= best(&case));
        let free = Case { payload: 0, networks: vec![(1, 0); 5], ..case };
        prop_assert_eq!(best(&together), best(&free));
    }
}
