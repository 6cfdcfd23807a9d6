//! Dealings against all there are, with parts that are worth anything.

use std::cell::Cell;
use std::convert::Infallible;

use proptest::collection::vec;
use proptest::prelude::*;

use super::prices::{Market, Offer};
use super::*;

/// Two classes of devices, and what a part is worth, by its counts. Some parts have no plan, of some
/// less was found than there is, and some ceilings are too high.
#[derive(Clone, Debug)]
struct Case {
    counts: Part,
    worths: Vec<(u64, u64, u64)>,
}

impl Case {
    fn of(&self, part: &[usize]) -> (u64, u64, u64) {
        self.worths[part[0] * (self.counts[1] + 1) + part[1]]
    }

    fn valued(&self, part: &[usize]) -> Valued {
        let (worth, open, _) = self.of(part);
        let bound = worth + open;
        Valued { worth, bound }
    }

    fn ceiling(&self, part: &[usize]) -> u64 {
        let (worth, open, slack) = self.of(part);
        worth + open + slack
    }

    fn closer(&self, part: &[usize]) -> u64 {
        let (worth, open, slack) = self.of(part);
        worth + open + slack / 3
    }

    /// The most that the devices left are worth in `n` parts, or any number of them, by trying all.
    fn most(&self, left: &[usize], number: Number, worth: &dyn Fn(&[usize]) -> u64) -> Option<u64> {
        let rest = match number {
            Number::Of(0) => return Some(0),
            Number::Of(n) => Number::Of(n - 1),
            Number::Auto => Number::Auto,
        };
        let mut best = (number == Number::Auto).then_some(0);
        for part in (0..=left[0]).flat_map(|a| (0..=left[1]).map(move |b| [a, b])) {
            if part == [0, 0] || worth(&part) == 0 {
                continue;
            }
            let behind = self.most(&[left[0] - part[0], left[1] - part[1]], rest, worth);
            best = best.max(behind.map(|behind| behind + worth(&part)));
        }
        best
    }
}

fn cases(open: std::ops::Range<u64>) -> impl Strategy<Value = Case> {
    (0..=3_usize, 1..=3_usize).prop_flat_map(move |(a, b)| {
        let worth = prop_oneof![Just(0), 1..60_u64];
        let one = (worth, open.clone(), 0..30_u64);
        let one = one.prop_map(|(worth, open, slack)| match worth {
            0 => (0, 0, slack),
            _ => (worth, open, slack),
        });
        vec(one, (a + 1) * (b + 1)).prop_map(move |worths| Case {
            counts: vec![a, b],
            worths,
        })
    })
}

fn numbers() -> impl Strategy<Value = Number> {
    prop_oneof![Just(Number::Auto), (1..=4_usize).prop_map(Number::Of)]
}

/// The same devices twice, which are worth what so many of the first class are.
fn doubled(case: &Case) -> Case {
    let counts: Part = case.counts.iter().map(|count| count * 2).collect();
    let of = |part: [usize; 2]| {
        let is_known = part[0] <= case.counts[0] && part[1] <= case.counts[1];
        if is_known { case.of(&part) } else { (0, 0, 0) }
    };
    let parts = (0..=counts[0]).flat_map(|a| (0..=counts[1]).map(move |b| [a, b]));
    Case {
        worths: parts.map(of).collect(),
        counts,
    }
}

/// Prices on the two classes, where the time is over after so many offers.
fn bound(case: &Case, most_offers: usize) -> f64 {
    let (stop, n_offers) = (Stop::default(), Cell::new(0));
    let market = Market {
        counts: &case.counts,
        offer: &|prices, floor| {
            n_offers.set(n_offers.get() + 1);
            if n_offers.get() > most_offers {
                stop.set();
                return None;
            }
            let parts =
                (0..=case.counts[0]).flat_map(|a| (0..=case.counts[1]).map(move |b| [a, b]));
            let offers = parts.filter(|part| *part != [0, 0]).map(|part| {
                let price = part[0] as f64 * prices[0] + part[1] as f64 * prices[1];
                let worth = case.of(&part).0 as f64;
                Offer {
                    devices: part.iter().map(|n| *n as f64).collect(),
                    worth,
                    most: worth / price,
                }
            });
            let best = offers.max_by(|a, b| a.most.total_cmp(&b.most))?;
            (best.most > floor * (1.0 + 1e-9)).then_some(best)
        },
        stop: &stop,
    };
    market.bound()
}

fn best(case: &Case, number: Number, stop: &Stop) -> (Dealt, usize) {
    best_with(case, number, stop, &[vec![case.counts.clone()]])
}

fn best_with(case: &Case, number: Number, stop: &Stop, rules: &[Vec<Part>]) -> (Dealt, usize) {
    let n_searched = Cell::new(0);
    let ceiling = |part: &[usize]| case.ceiling(part);
    let closer = |part: &[usize]| case.closer(part);
    let dealing = Dealing {
        counts: &case.counts,
        like: &<[usize]>::to_vec,
        ceiling: &ceiling,
        closer: &closer,
        most: &|| u64::MAX,
        stop,
    };
    let search = |part: &[usize]| {
        n_searched.set(n_searched.get() + 1);
        Ok::<_, Infallible>(case.valued(part))
    };
    let Ok(dealt) = dealing.best(number, rules, search);
    (dealt, n_searched.get())
}

/// A dealing is one, and worth what it says.
fn holds(case: &Case, number: Number, dealt: &Dealt) -> Result<(), TestCaseError> {
    for class in 0..2 {
        let used: usize = dealt.parts.iter().map(|part| part[class]).sum();
        prop_assert!(used <= case.counts[class]);
    }
    let worths = dealt.parts.iter().map(|part| case.valued(part).worth);
    prop_assert!(worths.clone().all(|worth| worth > 0));
    prop_assert_eq!(worths.sum::<u64>(), dealt.worth);
    if let (Number::Of(n), false) = (number, dealt.parts.is_empty()) {
        prop_assert_eq!(dealt.parts.len(), n);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn the_dealing_is_the_best_of_all((case, number) in (cases(0..1), numbers())) {
        let (dealt, n_searched) = best(&case, number, &Stop::default());
        holds(&case, number, &dealt)?;
        let most = case.most(&case.counts, number, &|part| case.valued(part).worth);
        prop_assert_eq!(most.unwrap_or(0), dealt.worth);
        prop_assert_eq!(dealt.bound, dealt.worth);
        prop_assert_eq!(n_searched, dealt.n_searched);
    }

    #[test]
    fn more_devices_are_never_worth_less(case in cases(0..1)) {
        let (fewer, _) = best(&case, Number::Auto, &Stop::default());
        let (more, _) = best(&doubled(&case), Number::Auto, &Stop::default());
        prop_assert!(more.worth >= 2 * fewer.worth);
    }

    #[test]
    fn prices_bound_every_dealing(case in cases(0..1)) {
        let worth = |part: &[usize]| case.valued(part).worth;
        let most = case.most(&case.counts, Number::Auto, &worth).unwrap_or(0) as f64;
        let bound = bound(&case, usize::MAX);
        prop_assert!(bound >= most * (1.0 - 1e-9), "{} for {}", bound, most);
        // No more than each class at its best rate, for which any prices that hold would do.
        let each = case.worths.iter().map(|it| it.0).max().unwrap_or(0) as f64;
        let n_devices = case.counts.iter().sum::<usize>() as f64;
        prop_assert!(bound <= each * n_devices * 1.01, "{} for {}", bound, each);
    }

    #[test]
    fn prices_that_are_cut_short_bound_every_dealing(case in cases(0..1), most_offers in 0..6_usize) {
        let worth = |part: &[usize]| case.valued(part).worth;
        let most = case.most(&case.counts, Number::Auto, &worth).unwrap_or(0) as f64;
        prop_assert!(bound(&case, most_offers) >= most * (1.0 - 1e-9));
    }

    #[test]
    fn where_time_is_over_one_rule_is_enough((case, number) in (cases(0..1), numbers())) {
        let stop = Stop::default();
        stop.set();
        let singles = (0..2).flat_map(|class| {
            let single: Part = (0..2).map(|other| usize::from(other == class)).collect();
            vec![single; case.counts[class]]
        });
        let rules = [vec![case.counts.clone()], singles.collect()];
        let (dealt, _) = best_with(&case, number, &stop, &rules);
        holds(&case, number, &dealt)?;
        let has_plans = |rule: &&Vec<Part>| rule.iter().all(|part| case.valued(part).worth > 0);
        let is_asked = |rule: &&Vec<Part>| number == Number::Auto || number == Number::Of(rule.len());
        let some = rules.iter().filter(is_asked).filter(has_plans).count();
        prop_assert!(some == 0 || !dealt.parts.is_empty());
        // Of the large part nothing is known where the small ones did.
        let large = case.counts.iter().sum::<usize>() > 1;
        if large && is_asked(&&rules[1]) && has_plans(&&rules[1]) {
            prop_assert!(dealt.n_searched <= 2);
            prop_assert!(!dealt.parts.contains(&case.counts));
        }
    }

    #[test]
    fn what_repeats_is_a_dealing(case in cases(0..1), few_pairs in 3..30_usize) {
        let case = doubled(&case);
        let ceiling = |part: &[usize]| case.ceiling(part);
        let dealing = Dealing {
            counts: &case.counts,
            like: &<[usize]>::to_vec,
            ceiling: &ceiling,
            closer: &ceiling,
            most: &|| u64::MAX,
            stop: &Stop::default(),
        };
        let mut search = |part: &[usize]| Ok::<_, Infallible>(case.valued(part));
        let Ok(dealt) =
            dealing.of_copies(case.counts.clone(), few_pairs, &mut Known::default(), &mut search);
        holds(&case, Number::Auto, &dealt)?;
        let (best, _) = best(&case, Number::Auto, &Stop::default());
        prop_assert!(dealt.worth <= best.worth);
    }

    #[test]
    fn what_is_open_in_parts_or_cut_short_is_open_in_the_bound(
        (case, number) in (cases(0..9), numbers()),
        is_stopped in any::<bool>(),
    ) {
        let stop = Stop::default();
        if is_stopped {
            stop.set();
        }
        let (dealt, _) = best(&case, number, &stop);
        holds(&case, number, &dealt)?;
        let most = case.most(&case.counts, number, &|part| case.valued(part).bound);
        prop_assert!(dealt.worth <= dealt.bound);
        prop_assert!(most.unwrap_or(0) <= dealt.bound);
    }
}

#[test]
fn a_part_that_can_be_in_no_better_dealing_is_not_searched() {
    // One device is worth 10, two together 20 at the most: two replicas are searched, and no pair.
    let case = Case {
        counts: vec![0, 4],
        worths: vec![(0, 0, 0), (10, 0, 0), (15, 0, 4), (20, 0, 9), (30, 0, 0)],
    };
    let (dealt, n_searched) = best(&case, Number::Auto, &Stop::default());
    assert_eq!(dealt.parts, vec![vec![0, 1]; 4]);
    assert_eq!((dealt.worth, dealt.bound), (40, 40));
    assert_eq!(n_searched, 2);
}
