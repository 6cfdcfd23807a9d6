//! Held against every choice of small random chains.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn unit() -> impl Strategy<Value = Vec<Way>> {
    let way = (1..=20_u64, 0..=20_u64, 1..=20_u64);
    let way = way.prop_map(|(bytes, penalty, read)| Way {
        bytes: Bytes(bytes),
        penalty,
        read: Bytes(read),
        ram: Bytes::ZERO,
    });
    vec(way, 1..=3)
}

/// Units of up to three kinds, so that runs are alike.
fn chain() -> impl Strategy<Value = Vec<Vec<Way>>> {
    let picks = vec(any::<prop::sample::Index>(), 1..=6);
    (vec(unit(), 1..=3), picks)
        .prop_map(|(kinds, picks)| picks.iter().map(|it| it.get(&kinds).clone()).collect())
}

/// Every choice of a chain, counted out.
fn all(units: &[Vec<Way>]) -> Vec<Way> {
    units.iter().fold(vec![Way::default()], |before, ways| {
        let with = |rest: &Way| ways.iter().map(|way| rest.and(*way)).collect::<Vec<_>>();
        before.iter().flat_map(with).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn no_choice_that_fits_is_better(units in chain(), most in 0..=120_u64, room in 0..=120_u64) {
        let frontiers = Frontiers::new(units.clone(), Bytes(most), Counts::Bytes);
        let n_units = units.len();
        for run in (0..n_units).flat_map(|start| (start + 1..=n_units).map(move |end| start..end)) {
            let choices = all(&units[run.clone()]);
            let fits = |way: &&Way| way.bytes <= Bytes(room.min(most));
            let key = |way: &Way| (way.penalty, way.bytes, way.read);
            let wanted = choices.iter().filter(fits).min_by_key(|way| key(way)).copied();
            let found = frontiers.best(&run, Bytes(room.min(most)));
            prop_assert_eq!(found, wanted);
            for middle in run.start..=run.end {
                let runs = [&(run.start..middle), &(middle..run.end)];
                prop_assert_eq!(frontiers.best_of_two(runs, Bytes(room)), wanted);
            }
            prop_assert_eq!(
                Some(frontiers.smallest(&run).bytes),
                choices.iter().map(|way| way.bytes).min()
            );
            if let Some(found) = found {
                let taken = frontiers.choices(&run, found);
                let ways = run.zip(taken).map(|(unit, way)| units[unit][way]);
                prop_assert_eq!(ways.fold(Way::default(), Way::and), found);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn no_choice_betters_all_that_are_kept_where_ram_counts_too(units in chain(), rams in vec(1..=20_u64, 18)) {
        // As many as six units of three ways have.
        let mut rams = rams.iter().cycle();
        let mut by_kind: Vec<(Vec<Way>, Vec<Way>)> = Vec::new();
        let mut in_ram = |ways: &Vec<Way>| {
            if let Some((_, known)) = by_kind.iter().find(|(kind, _)| kind == ways) {
                return known.clone();
            }
            let with = ways.iter().zip(&mut rams);
            let with = with.map(|(way, ram)| Way { ram: Bytes(*ram), ..*way });
            by_kind.push((ways.clone(), with.collect()));
            by_kind[by_kind.len() - 1].1.clone()
        };
        let units: Vec<_> = units.iter().map(&mut in_ram).collect();
        let (read, ram) = (Bytes(90), Bytes(80));
        let counts = Counts::BytesReadingAndRam { read, ram };
        let frontiers = Frontiers::new(units.clone(), Bytes(100), counts);
        let n_units = units.len();
        for run in (0..n_units).flat_map(|start| (start + 1..=n_units).map(move |end| start..end)) {
            let kept = frontiers.of(&run);
            let choices = all(&units[run.clone()]);
            let fits = |way: &&Way| way.bytes <= Bytes(100) && way.read <= read && way.ram <= ram;
            for choice in choices.iter().filter(fits) {
                prop_assert!(kept.iter().any(|way| choice.without(way).is_some()), "{:?}", choice);
            }
            for way in kept.iter() {
                prop_assert!(choices.contains(way));
                let taken = frontiers.choices(&run, *way);
                let ways = run.clone().zip(taken).map(|(unit, way)| units[unit][way]);
                prop_assert!(way.without(&ways.fold(Way::default(), Way::and)).is_some());
            }
        }
    }
}
