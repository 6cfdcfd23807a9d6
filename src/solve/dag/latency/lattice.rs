//! The best chain of down-sets: accelerators take differences of them, a host one piece at a time.
//!
//! What is still to come sees of what was placed only when each output that is read outside the
//! down-set is there, and which accelerators are left. So at each down-set and number of accelerators
//! used, ways are kept that no other beats in all these times. A way ends where not even the outlook
//! is sooner than what is known; where more ways would be kept than asked for, those with the worst
//! outlook go, and the best outlook that went is what is proven.

use std::collections::BTreeMap;

use super::ahead::Ahead;
use super::pieces::Pieces;
use super::ways::{Added, Ends, Followed, On, Record, States, Step, Way, beats};
use super::{Problem, Spot};
use crate::solve::Stop;
use crate::solve::dag::roster::Roster;
use crate::solve::dag::walk::Walk;
use crate::solve::dag::{Kind, Machine};
use crate::units::Bytes;

/// How far a search goes.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    /// Only what is sooner is sought.
    pub(super) below: u64,
    /// Ways that are kept at one down-set and number of accelerators used.
    pub(super) ways: usize,
    /// Steps from a way to the next after which the search gives up.
    pub(super) steps: usize,
}

/// What a search ends with.
pub(super) struct Found {
    /// Where each operator is in the soonest way, and its latency; none where no way is sooner than
    /// what was known.
    pub(super) soonest: Option<(Vec<Spot>, u64)>,
    /// No chain of these down-sets is sooner; as `below`, where none is sooner than that.
    pub(super) bound: u64,
    /// Steps that it took.
    pub(super) steps: usize,
}

/// The soonest way that is found over all rosters of devices.
pub(super) fn soonest(
    problem: &Problem<'_>,
    (pieces, ahead): (&Pieces, &Ahead),
    reach: Reach,
    stop: &Stop,
) -> Found {
    let machine = accelerators(problem);
    let rosters = match Roster::counts(&machine, pieces.sets.len()) {
        Some(roster) => vec![roster],
        None => Roster::orders(&pieces.graph, &machine),
    };
    let mut best = Found {
        soonest: None,
        bound: 0,
        steps: 0,
    };
    for roster in &rosters {
        let below = best
            .soonest
            .as_ref()
            .map_or(reach.below, |(_, latency)| *latency);
        let walk = Walk::new(&pieces.graph, &machine, &pieces.sets, (roster, &[]));
        let search = Search {
            problem,
            pieces,
            machine: &machine,
            roster,
            ones: vec![1.0; machine.kinds.len()],
            walk: &walk,
            ahead,
            small_host: small_host(problem),
        };
        let found = search.run(Reach { below, ..reach }, stop);
        best = Found {
            steps: best.steps + found.steps,
            bound: match roster {
                Roster::Counts(_) => found.bound.max(ahead.least().min(below)),
                // One order of devices is not all ways to use them.
                Roster::Order(_) => 0,
            },
            soonest: found.soonest.or(best.soonest),
        };
    }
    best
}

/// The machine without its host.
fn accelerators(problem: &Problem<'_>) -> Machine {
    let kinds = problem.kinds.iter().enumerate();
    let kinds = kinds.map(|(kind, it)| Kind {
        count: match problem.host_kind() == Some(kind) {
            true => 0,
            false => it.count,
        },
        ..*it
    });
    Machine {
        kinds: kinds.collect(),
    }
}

/// What a host has room for, where that is less than everything.
fn small_host(problem: &Problem<'_>) -> Option<Bytes> {
    let all: Bytes = problem.operators.iter().map(|it| it.item.bytes).sum();
    let room = problem.kinds[problem.host_kind()?].memory;
    (room < all).then_some(room)
}

/// Ways to compare with that count as one step.
const COMPARED: usize = 64;

struct Search<'a> {
    problem: &'a Problem<'a>,
    pieces: &'a Pieces,
    machine: &'a Machine,
    roster: &'a Roster,
    /// A price of one for each kind, at which the roster counts what is left.
    ones: Vec<f64>,
    walk: &'a Walk<'a>,
    ahead: &'a Ahead,
    small_host: Option<Bytes>,
}

/// How the times of a down-set's open outputs come from those of one before.
struct Passage {
    to: usize,
    /// Open outputs that what was added reads.
    read: Vec<usize>,
    /// For each open output then: those before that it holds, and the operators added.
    held: Vec<(Vec<usize>, Vec<usize>)>,
}

impl Search<'_> {
    fn run(&self, reach: Reach, stop: &Stop) -> Found {
        let sets = &self.pieces.sets;
        let mut record = Record {
            reach,
            followed: Vec::new(),
            lost: u64::MAX,
            steps: 0,
            times: Vec::new(),
        };
        let mut states: Vec<States> = (0..sets.len()).map(|_| States::new()).collect();
        let first = Way {
            times: vec![0; self.beside()],
            outlook: 0,
            step: Step {
                before: 0,
                set: 0,
                on: On::Nothing,
            },
        };
        states[0].insert((0, 0), vec![first]);
        let mut stages = self.walk.stages(reach.below);
        for set in 0..sets.len() - 1 {
            if stop.is_set() || record.steps > record.reach.steps {
                return Found {
                    soonest: None,
                    bound: 0,
                    steps: record.steps,
                };
            }
            let here = self.kept(std::mem::take(&mut states[set]), &mut record);
            self.on_the_host(set, &here, &mut states, &mut record);
            for kind in 0..self.machine.kinds.len() {
                let moved = self.moved(&here, kind);
                let listed = match moved.is_empty() {
                    true => Vec::new(),
                    false => stages.from(set, kind),
                };
                record.steps += listed.len();
                for (to, load) in listed {
                    let mut passage = None;
                    for (from, state) in &moved {
                        let left = self.left(*state);
                        let beyond = self.ahead.beyond((set, to), load, &from.way.times, left);
                        if beyond >= reach.below {
                            continue;
                        }
                        let passage = passage.get_or_insert_with(|| self.passage(set, to));
                        let read = passage.read.iter().map(|slot| from.way.times[*slot]);
                        let added = Added {
                            ends: Ends::All(read.max().unwrap_or(0) + load),
                            on: On::Kind(kind),
                            bytes: Bytes(0),
                        };
                        self.offer(passage, (from, *state), &added, &mut states, &mut record);
                    }
                }
            }
        }
        self.end(states.pop().unwrap_or_default(), &record)
    }

    /// The ways that are followed from a down-set.
    fn kept(&self, states: States, record: &mut Record) -> Vec<Followed> {
        let mut here: Vec<Followed> = Vec::new();
        for (state, mut ways) in states {
            record.crop(&mut ways);
            for way in ways {
                record.steps += here.len() / COMPARED;
                let beaten = here.iter().any(|known| {
                    self.roster.is_within(known.state, state) && beats(&known.way.times, &way.times)
                });
                if !beaten {
                    record.followed.push(way.step);
                    here.push(Followed {
                        way,
                        state,
                        number: record.followed.len() - 1,
                    });
                }
            }
        }
        here
    }

    /// The ways that can go on with an accelerator of this kind, and the state that each then has.
    fn moved<'w>(&self, here: &'w [Followed], kind: usize) -> Vec<(&'w Followed, (usize, usize))> {
        let moved = here.iter().flat_map(|from| {
            let moves = self.roster.moves(from.state.0, from.state.1).into_iter();
            let moves = moves.filter(|next| next.kind == kind);
            moves.map(move |next| (from, (next.own, next.used)))
        });
        moved.collect()
    }

    fn passage(&self, from: usize, to: usize) -> Passage {
        let (before, then) = (&self.pieces.open[from], &self.pieces.open[to]);
        let added = |operator: &usize| {
            let piece = self.pieces.piece_of[*operator];
            self.pieces.held[to][piece] && !self.pieces.held[from][piece]
        };
        let is_read = |slot: &Vec<usize>| self.problem.readers[slot[0]].iter().any(added);
        let slots = before.iter().enumerate();
        let read = slots.filter(|(_, slot)| is_read(slot)).map(|(it, _)| it);
        let held = then.iter().map(|slot| {
            // Those with the same readers outside have the same ones later: the first stands for all.
            let olds = before.iter().enumerate();
            let olds = olds.filter(|(_, old)| slot.binary_search(&old[0]).is_ok());
            let news = slot.iter().copied().filter(added);
            (olds.map(|(it, _)| it).collect(), news.collect())
        });
        Passage {
            to,
            read: read.collect(),
            held: held.collect(),
        }
    }

    /// Goes on with single pieces on the host, operator after operator.
    fn on_the_host(
        &self,
        set: usize,
        here: &[Followed],
        states: &mut [States],
        record: &mut Record,
    ) {
        let Some(host) = self.problem.host_kind() else {
            return;
        };
        let open = &self.pieces.open[set];
        let slot_of = |read: &usize| open.iter().position(|it| it.binary_search(read).is_ok());
        for (piece, to) in &self.pieces.sets.next[set] {
            let members = &self.pieces.members[*piece];
            let works = members.iter().map(|it| self.problem.work(*it, host));
            let Some(works) = works.collect::<Option<Vec<u64>>>() else {
                continue;
            };
            let passage = self.passage(set, *to);
            for from in here {
                let mut ends: BTreeMap<usize, u64> = BTreeMap::new();
                for (operator, work) in members.iter().zip(&works) {
                    let reads = self.problem.reads[*operator].iter();
                    let there = reads.map(|read| match ends.get(read) {
                        Some(end) => *end,
                        None => slot_of(read).map_or(0, |slot| from.way.times[slot]),
                    });
                    let start = there.max().unwrap_or(0);
                    ends.insert(*operator, start + work);
                }
                let added = Added {
                    ends: Ends::Each(ends),
                    on: On::Host,
                    bytes: self.pieces.graph.items()[*piece].bytes,
                };
                self.offer(&passage, (from, from.state), &added, states, record);
            }
        }
    }

    /// Keeps the way that adds something to another, unless something beats it.
    fn offer(
        &self,
        passage: &Passage,
        (from, state): (&Followed, (usize, usize)),
        added: &Added,
        states: &mut [States],
        record: &mut Record,
    ) {
        record.steps += 1;
        let n_before = from.way.times.len() - self.beside();
        let slots = passage.held.iter().map(|(olds, news)| {
            let olds = olds.iter().map(|slot| from.way.times[*slot]);
            let news = news.iter().map(|operator| added.ends.of(*operator));
            olds.chain(news).max().unwrap_or(0)
        });
        let times = &mut record.times;
        times.clear();
        times.extend(slots);
        let through = from.way.times[n_before].max(added.ends.last());
        let left = self.left(state);
        let outlook = through.max(self.ahead.outlook(passage.to, times, left));
        if outlook >= record.reach.below {
            return;
        }
        times.push(through);
        if let Some(room) = self.small_host {
            let held = from.way.times[n_before + 1];
            let held = match added.on {
                On::Host => held.saturating_add(added.bytes.0),
                On::Nothing | On::Kind(_) => held,
            };
            if held > room.0 {
                return;
            }
            times.push(held);
        }
        let ways = states[passage.to].entry(state).or_default();
        record.steps += ways.len() / COMPARED;
        if ways.iter().any(|known| beats(&known.times, times)) {
            return;
        }
        ways.retain(|known| !beats(times, &known.times));
        ways.push(Way {
            times: times.clone(),
            outlook,
            step: Step {
                before: from.number,
                set: passage.to,
                on: added.on,
            },
        });
        if ways.len() >= record.reach.ways.saturating_mul(4) {
            record.crop(ways);
        }
    }

    /// Accelerators that a state leaves.
    fn left(&self, state: (usize, usize)) -> usize {
        self.roster.rest(state.0, state.1, &self.ones) as usize
    }

    /// How many numbers of a way are not of open outputs.
    fn beside(&self) -> usize {
        1 + usize::from(self.small_host.is_some())
    }

    /// The soonest of the ways that hold everything.
    fn end(&self, states: States, record: &Record) -> Found {
        let ways = states.into_values().flatten();
        let best = ways.min_by_key(|way| way.outlook);
        let bound = best.as_ref().map_or(record.reach.below, |it| it.outlook);
        Found {
            soonest: best.map(|way| (self.trace(way.step, &record.followed), way.outlook)),
            bound: bound.min(record.lost),
            steps: record.steps,
        }
    }

    /// Where a way puts the operators.
    fn trace(&self, last: Step, followed: &[Step]) -> Vec<Spot> {
        let kinds = self.machine.kinds.iter().scan(0, |sum, kind| {
            *sum += kind.count;
            Some(*sum - kind.count)
        });
        let mut next: Vec<usize> = kinds.collect();
        let mut spots = vec![Spot::Host; self.problem.operators.len()];
        let mut steps = vec![last];
        while let Some(step) = steps.last().filter(|step| step.set > 0) {
            steps.push(followed[step.before]);
        }
        for (step, before) in steps.iter().zip(&steps[1..]).rev() {
            if let On::Kind(kind) = step.on {
                let (held, had) = (&self.pieces.held[step.set], &self.pieces.held[before.set]);
                for (operator, piece) in self.pieces.piece_of.iter().enumerate() {
                    if held[*piece] && !had[*piece] {
                        spots[operator] = Spot::Accelerator(next[kind]);
                    }
                }
                next[kind] += 1;
            }
        }
        spots
    }
}
