//! Dealings against all there are, with parts that are worth anything.

use std::cell::Cell;
use std::convert::Infallible;

use proptest::collection::vec;
use proptest::prelude::*;

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

fn best(case: &Case, number: Number, stop: &Stop) -> (Dealt, usize) {
    let n_searched = Cell::new(0);
    let ceiling = |part: &[usize]| case.ceiling(part);
    let dealing = Dealing {
        counts: &case.counts,
        like: &<[usize]>::to_vec,
        ceiling: &ceiling,
        most: u64::MAX,
        stop,
    };
    let search = |part: &[usize]| {
        n_searched.set(n_searched.get() + 1);
        Ok::<_, Infallible>(case.valued(part))
    };
    let whole = vec![case.counts.clone()];
    let Ok(dealt) = dealing.best(number, &[whole], search);
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
