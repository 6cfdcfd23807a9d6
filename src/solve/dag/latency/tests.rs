//! Small problems against brute force.

use super::*;
use crate::solve::dag::Item;
use crate::solve::random::Random;

/// Every way to put the operators, valued by simulating it operator by operator; the least latency.
fn by_force(problem: &Problem<'_>, n_accelerators: usize) -> Option<u64> {
    let n = problem.operators.len();
    let mut spots: Vec<Spot> = (0..n_accelerators).map(Spot::Accelerator).collect();
    spots.extend(problem.host_kind().map(|_| Spot::Host));
    let ways = (0..spots.len().pow(n as u32)).filter_map(|way| {
        let of = |it: u32| spots[way / spots.len().pow(it) % spots.len()];
        let way: Vec<Spot> = (0..n as u32).map(of).collect();
        problem
            .fits(&way)
            .then(|| simulated(problem, &way))
            .flatten()
    });
    ways.min()
}

/// Rounds in which whatever can end does; none where something never does.
fn simulated(problem: &Problem<'_>, spots: &[Spot]) -> Option<u64> {
    let accelerators = problem.accelerators();
    let n = spots.len();
    let mut ends: Vec<Option<u64>> = vec![None; n];
    for _ in 0..=n {
        for operator in 0..n {
            if ends[operator].is_some() {
                continue;
            }
            let members: Vec<usize> = match spots[operator] {
                Spot::Host => vec![operator],
                Spot::Accelerator(_) => (0..n)
                    .filter(|other| spots[*other] == spots[operator])
                    .collect(),
            };
            let mut outside: Vec<usize> = members
                .iter()
                .flat_map(|member| problem.reads[*member].clone())
                .filter(|read| !members.contains(read))
                .collect();
            outside.sort_unstable();
            outside.dedup();
            let there = outside.iter().map(|read| ends[*read]);
            let Some(start) = there.collect::<Option<Vec<u64>>>() else {
                continue;
            };
            let start = start.into_iter().max().unwrap_or(0);
            let time: u64 = match spots[operator] {
                Spot::Host => problem.work(operator, problem.host_kind()?)?,
                Spot::Accelerator(number) => {
                    let kind = accelerators[number];
                    let given = members.iter().filter(|member| {
                        let readers = &problem.readers[**member];
                        readers.iter().any(|reader| !members.contains(reader))
                    });
                    let moved = outside.iter().chain(given);
                    let moved: u64 = moved.map(|it| problem.crossing(*it, kind)).sum();
                    let works = members.iter().map(|member| problem.work(*member, kind));
                    moved + works.sum::<Option<u64>>()?
                }
            };
            for member in members {
                ends[member] = Some(start + time);
            }
        }
    }
    let ends: Option<Vec<u64>> = ends.into_iter().collect();
    Some(ends?.into_iter().max().unwrap_or(0))
}

fn random_case(random: &mut Random) -> (Vec<Operator>, Vec<Wire>, Machine, Host) {
    let n = 1 + random.below(6);
    let host = [Host::Absent, Host::Kind(1), Host::Kind(1)][random.below(3)];
    let spread = [1, 4][random.below(2)];
    let operators = (0..n).map(|operator| {
        let on = |time: usize, there: usize| (there > 0).then_some(Ticks(time as u64));
        let heavy = random.below(3) > 0;
        Operator {
            group: if random.below(4 * spread) == 0 {
                0
            } else {
                operator
            },
            backward: false,
            item: Item {
                work: vec![
                    on(random.below(6) * usize::from(heavy), random.below(9)),
                    on(random.below(30) * usize::from(heavy), random.below(9)),
                    on(random.below(9) * usize::from(heavy), random.below(9)),
                ],
                bytes: Bytes(random.below(5) as u64 * u64::from(heavy)),
            },
        }
    });
    let operators: Vec<Operator> = operators.collect();
    let times: Vec<Ticks> = (0..n).map(|_| Ticks(random.below(5) as u64)).collect();
    let pairs = (0..n).flat_map(|from| (from + 1..n).map(move |to| (from, to)));
    let wires = pairs
        .filter(|_| random.below(5) < 2)
        .map(|(from, to)| Wire {
            from,
            to,
            time: times[from],
        });
    let wires: Vec<Wire> = wires.collect();
    let kind = |count, memory, crossing| Kind {
        count,
        memory: Bytes(memory),
        crossing,
    };
    let kinds = vec![
        kind(1 + random.below(2), 3 + random.below(12) as u64, 1.0),
        kind(
            usize::from(host != Host::Absent),
            4 + random.below(30) as u64,
            0.0,
        ),
        kind(random.below(2), 3 + random.below(12) as u64, 0.5),
    ];
    (operators, wires, Machine { kinds }, host)
}

#[test]
fn brute_force_agrees_on_small_samples_and_never_falls_below_the_bound() {
    let mut random = Random(7);
    let (mut cases, mut met, mut proven, mut tight) = (0, 0, 0, 0);
    for _ in 0..400 {
        let (operators, wires, machine, host) = random_case(&mut random);
        let problem = Problem::new(&operators, &wires, &machine, host).unwrap();
        let force = by_force(&problem, problem.accelerators().len());
        let ours = search::best_in(&problem, 300, &Stop::default());
        let Some(force) = force else {
            assert_eq!(ours, None);
            continue;
        };
        let path = bound::Outlook::new(&problem, &Stop::default()).least;
        assert!(path <= force, "{operators:?} {wires:?} {machine:?} {path}");
        cases += 1;
        tight += usize::from(path == force);
        let Some(ours) = ours else {
            continue;
        };
        let (spots, latency, bound) = (ours.spots, ours.latency.0, ours.bound.0);
        assert_eq!(simulated(&problem, &spots), Some(latency));
        assert!(latency >= force);
        assert!(
            bound <= force,
            "{operators:?} {wires:?} {machine:?} {host:?} {bound} {force}"
        );
        met += usize::from(latency == force);
        proven += usize::from(latency == bound);
    }
    assert!(cases > 250, "{cases}");
    assert!(met * 100 >= cases * 98, "{met} of {cases}");
    assert!(proven * 100 >= cases * 70, "{proven} of {cases}");
    assert!(tight * 100 >= cases * 25, "{tight} of {cases}");
}

#[test]
fn down_sets_alone_find_and_prove_the_soonest_sample_of_whole_pieces() {
    let mut random = Random(11);
    let stop = Stop::default();
    let mut cases = 0;
    for _ in 0..600 {
        let (operators, wires, machine, host) = random_case(&mut random);
        let problem = Problem::new(&operators, &wires, &machine, host).unwrap();
        let outlook = bound::Outlook::new(&problem, &stop);
        let pieces = pieces::Pieces::of_groups(&problem, 1_000, &stop).unwrap();
        if !pieces.are_all {
            continue;
        }
        cases += 1;
        let reach = lattice::Reach {
            below: u64::MAX,
            ways: usize::MAX,
            steps: usize::MAX,
        };
        let whole = (&pieces, &outlook);
        let ahead = ahead::Ahead::new(&problem, whole, u64::MAX, &stop).unwrap();
        let found = lattice::soonest(&problem, (&pieces, &ahead), reach, &stop);
        let force = by_force(&problem, problem.accelerators().len());
        let ours = found.soonest.as_ref().map(|(_, latency)| *latency);
        assert_eq!(ours, force, "{operators:?} {wires:?} {machine:?} {host:?}");
        assert_eq!(found.bound, force.unwrap_or(u64::MAX));
        if let Some((spots, latency)) = found.soonest {
            assert_eq!(simulated(&problem, &spots), Some(latency));
            for (below, sought) in [(latency + 1, Some(latency)), (latency, None)] {
                let reach = lattice::Reach { below, ..reach };
                let ahead = ahead::Ahead::new(&problem, whole, below, &stop).unwrap();
                let again = lattice::soonest(&problem, (&pieces, &ahead), reach, &stop);
                assert_eq!(again.soonest.map(|(_, latency)| latency), sought);
                assert_eq!(again.bound, latency);
            }
        }
    }
    assert!(cases > 300, "{cases}");
}

#[test]
fn what_stops_early_proves_no_more_than_it_knows() {
    let mut random = Random(13);
    let stop = Stop::default();
    let mut fewer = 0;
    for _ in 0..300 {
        let (operators, wires, machine, host) = random_case(&mut random);
        let problem = Problem::new(&operators, &wires, &machine, host).unwrap();
        let outlook = bound::Outlook::new(&problem, &stop);
        let pieces = pieces::Pieces::of_groups(&problem, 1_000, &stop).unwrap();
        let Some(force) = by_force(&problem, problem.accelerators().len()) else {
            continue;
        };
        if pieces.are_all {
            let reach = lattice::Reach {
                below: u64::MAX,
                ways: 1,
                steps: 1 + random.below(40),
            };
            let whole = (&pieces, &outlook);
            let ahead = ahead::Ahead::new(&problem, whole, u64::MAX, &stop).unwrap();
            let found = lattice::soonest(&problem, (&pieces, &ahead), reach, &stop);
            assert!(found.bound <= force, "{operators:?} {wires:?} {machine:?}");
            fewer += usize::from(found.bound < force);
        }
    }
    assert!(fewer > 20, "{fewer}");
}

#[test]
fn small_samples_are_counted_out() {
    let mut random = Random(17);
    let stop = Stop::default();
    let (mut found, mut none) = (0, 0);
    for _ in 0..400 {
        let (operators, wires, machine, host) = random_case(&mut random);
        let problem = Problem::new(&operators, &wires, &machine, host).unwrap();
        let force = by_force(&problem, problem.accelerators().len());
        let tails = bound::Outlook::new(&problem, &stop).tails;
        let out = |known| match count::out(&problem, &tails, known, &stop) {
            count::Counted::Out(found) => found,
            count::Counted::TooMany(_) => panic!("{operators:?} {wires:?} {machine:?}"),
        };
        let ours = out(u64::MAX).and_then(|spots| simulated(&problem, &spots));
        assert_eq!(ours, force, "{operators:?} {wires:?} {machine:?} {host:?}");
        match force {
            Some(force) => {
                found += 1;
                assert_eq!(out(force), None);
                let again = out(force + 1).and_then(|spots| simulated(&problem, &spots));
                assert_eq!(again, Some(force));
                // What a search says of such a problem is proven.
                let whole = search::best_in(&problem, 30, &stop).unwrap();
                assert_eq!((whole.latency.0, whole.bound.0), (force, force));
            }
            None => none += 1,
        }
    }
    assert!(found > 250 && none > 10, "{found} {none}");
}
