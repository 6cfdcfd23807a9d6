//! States and steps: units done, and which devices are used.

use std::ops::Range;

use super::Chain;
use crate::cost::Position;
use crate::cost::column::{GroupId, Owner};

/// What a state remembers of the devices that are used.
#[derive(Clone, Debug)]
pub(super) enum Orders {
    /// How many of each group: every order. The strides of the counts.
    All { strides: Vec<usize>, n_codes: usize },
    /// How far along one order of groups.
    One(Vec<usize>),
    /// Whether any: a device may serve twice.
    Free,
}

/// More steps than these take longer than a person waits, since a search makes some tens of passes.
const MOST_STEPS: f64 = 4e7;

impl Orders {
    /// All of them, if that is not too many.
    pub(super) fn all(chain: &Chain) -> Option<Self> {
        let mut strides = Vec::with_capacity(chain.counts.len());
        let mut n_codes = 1_usize;
        for count in &chain.counts {
            strides.push(n_codes);
            n_codes = n_codes.checked_mul(count + 1)?;
        }
        let steps = n_codes as f64 * chain.menus.len() as f64;
        (steps <= MOST_STEPS).then_some(Self::All { strides, n_codes })
    }

    /// The fastest group first, by the time of a unit in its best stage.
    pub(super) fn by_speed(chain: &Chain, times: &[f64]) -> Self {
        let mut best = vec![f64::INFINITY; chain.counts.len()];
        for (menu, time) in chain.menus.iter().zip(times) {
            if let Owner::Group(GroupId(group)) = menu.owner {
                best[group] = best[group].min(time / menu.units.len() as f64);
            }
        }
        let mut groups: Vec<usize> = (0..best.len()).collect();
        groups.sort_by(|a, b| best[*a].total_cmp(&best[*b]));
        let devices = groups
            .iter()
            .flat_map(|group| std::iter::repeat_n(*group, chain.counts[*group]));
        Self::One(devices.collect())
    }

    fn n_codes(&self) -> usize {
        match self {
            Self::All { n_codes, .. } => *n_codes,
            Self::One(order) => order.len() + 1,
            Self::Free => 2,
        }
    }

    /// The code behind a stage on a device of the group, if one is free.
    fn next(&self, counts: &[usize], code: usize, group: usize) -> Option<usize> {
        match self {
            Self::All { strides, .. } => {
                let used = code / strides[group] % (counts[group] + 1);
                (used < counts[group]).then(|| code + strides[group])
            }
            Self::One(order) => {
                let at = order[code..].iter().position(|other| *other == group);
                at.map(|at| code + at + 1)
            }
            Self::Free => Some(1),
        }
    }
}

/// The states of a chain, with the menus that lead from one to the next.
pub(super) struct Network<'a> {
    pub(super) chain: &'a Chain,
    orders: Orders,
    /// By start.
    runs: Vec<Vec<Run>>,
    /// By code: the units that may be done, where a plan goes through it.
    done: Vec<Range<usize>>,
}

/// Menus of one start, owner and position, each a unit longer than the one before it.
struct Run {
    owner: Owner,
    position: Position,
    menus: Range<usize>,
    /// The units that are done behind the first of them.
    end: usize,
}

/// The least cost from each state to the end.
pub(super) struct Rest {
    pub(super) costs: Vec<f64>,
}

impl Rest {
    /// From the start.
    pub(super) fn start(&self) -> f64 {
        self.costs[0]
    }
}

impl<'a> Network<'a> {
    pub(super) fn new(chain: &'a Chain, orders: Orders) -> Self {
        let mut runs: Vec<Vec<Run>> = Vec::new();
        runs.resize_with(chain.n_units, Vec::new);
        for (index, menu) in chain.menus.iter().enumerate() {
            let alike = |run: &&mut Run| {
                run.menus.end == index
                    && (run.owner, run.position) == (menu.owner, menu.position)
                    && run.end + run.menus.len() == menu.units.end
            };
            let of_start = &mut runs[menu.units.start];
            match of_start.last_mut().filter(alike) {
                Some(run) => run.menus.end = index + 1,
                None => of_start.push(Run {
                    owner: menu.owner,
                    position: menu.position,
                    menus: index..index + 1,
                    end: menu.units.end,
                }),
            }
        }
        let longest = Longest::new(chain);
        let done = (0..orders.n_codes()).map(|code| longest.done(chain, &orders, code));
        Self {
            chain,
            done: done.collect(),
            orders,
            runs,
        }
    }

    pub(super) fn n_states(&self) -> usize {
        self.orders.n_codes() * (self.chain.n_units + 1)
    }

    pub(super) fn is_end(&self, state: usize) -> bool {
        state % (self.chain.n_units + 1) == self.chain.n_units
    }

    /// The runs of menus that a state may take, with the first state of the code that they lead to.
    pub(super) fn ways(&self, state: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
        let n_ends = self.chain.n_units + 1;
        let (code, done) = (state / n_ends, state % n_ends);
        let runs = self.runs.get(done).into_iter().flatten();
        runs.filter_map(move |run| {
            let next = |group| self.orders.next(&self.chain.counts, code, group);
            let next = run.next(code, next)?;
            Some((run.menus.clone(), next * n_ends))
        })
    }

    /// The best way on from each state where menus cost this much. Steps lead to later states, but
    /// for `Free`, whose second code leads to itself with more units done: so units go first.
    pub(super) fn rest(&self, costs: &[f64]) -> Rest {
        let n_ends = self.chain.n_units + 1;
        let mut rest = vec![f64::INFINITY; self.n_states()];
        let mut next = vec![None; self.chain.counts.len()];
        for code in (0..self.orders.n_codes()).rev() {
            rest[code * n_ends + self.chain.n_units] = 0.0;
            for (group, next) in next.iter_mut().enumerate() {
                *next = self.orders.next(&self.chain.counts, code, group);
            }
            for done in self.done[code].clone().rev() {
                let mut best = f64::INFINITY;
                for run in &self.runs[done] {
                    let Some(to) = run.next(code, |group| next[group]) else {
                        continue;
                    };
                    // With fewer units done no plan goes on from there.
                    let n_short = self.done[to].start.saturating_sub(run.end);
                    let n_short = n_short.min(run.menus.len());
                    let first = to * n_ends + run.end + n_short;
                    let menus = run.menus.start + n_short..run.menus.end;
                    let behind = &rest[first..first + menus.len()];
                    best = best.min(least_sum(&costs[menus], behind));
                }
                rest[code * n_ends + done] = best;
            }
        }
        Rest { costs: rest }
    }

    /// The menus of the best path from the start; of equal ones the first.
    pub(super) fn path(&self, rest: &Rest, costs: &[f64]) -> Vec<usize> {
        let mut state = 0;
        let mut path = Vec::new();
        while !self.is_end(state) {
            let steps = self.ways(state).flat_map(|(run, next)| {
                run.map(move |menu| (menu, next + self.chain.menus[menu].units.end))
            });
            let cost = |(menu, next): &(usize, usize)| costs[*menu] + rest.costs[*next];
            let best = steps.min_by(|a, b| cost(a).total_cmp(&cost(b)));
            // Every state on the way from a start with an end has a way on.
            let Some((menu, next)) = best else { break };
            path.push(menu);
            state = next;
        }
        path
    }
}

impl Run {
    /// The code behind it, where a plan may take it at a code and `next` says which follows with a
    /// device of a group.
    fn next(&self, code: usize, next: impl Fn(usize) -> Option<usize>) -> Option<usize> {
        match self.owner {
            Owner::Host => (code == 0).then_some(0),
            Owner::Group(GroupId(group)) => match (code == 0, self.position) {
                (true, Position::First) | (false, Position::Later) => next(group),
                (true, Position::Later) | (false, Position::First) => None,
            },
        }
    }
}

/// The least sum of a cost and what is behind it. Several at a time, since these are most of the work.
fn least_sum(costs: &[f64], behind: &[f64]) -> f64 {
    const LANES: usize = 4;
    let less = |a: f64, b: f64| if a < b { a } else { b };
    let mut least = [f64::INFINITY; LANES];
    let (costs, behind) = (costs.chunks_exact(LANES), behind.chunks_exact(LANES));
    let last = costs.remainder().iter().zip(behind.remainder());
    let last = last.map(|(cost, behind)| cost + behind);
    for (costs, behind) in costs.zip(behind) {
        for lane in 0..LANES {
            least[lane] = less(costs[lane] + behind[lane], least[lane]);
        }
    }
    least.into_iter().chain(last).fold(f64::INFINITY, less)
}

/// The longest stage of each group, and of the host.
struct Longest {
    of_group: Vec<usize>,
    on_host: usize,
}

impl Longest {
    fn new(chain: &Chain) -> Self {
        let mut longest = Self {
            of_group: vec![0; chain.counts.len()],
            on_host: 0,
        };
        for menu in chain.menus.iter().filter(|menu| menu.n_fitting > 0) {
            let longest = match menu.owner {
                Owner::Host => &mut longest.on_host,
                Owner::Group(GroupId(group)) => &mut longest.of_group[group],
            };
            *longest = menu.units.len().max(*longest);
        }
        longest
    }

    /// The units that may be done with the devices of a code: no more than these can hold, and no
    /// fewer than the others can finish.
    fn done(&self, chain: &Chain, orders: &Orders, code: usize) -> Range<usize> {
        let Orders::All { strides, .. } = orders else {
            return 0..chain.n_units;
        };
        let (mut most, mut left) = (self.on_host, 0);
        let groups = self.of_group.iter().zip(strides).zip(&chain.counts);
        for ((longest, stride), count) in groups {
            let used = code / stride % (count + 1);
            most += used * longest;
            left += (count - used) * longest;
        }
        if code == 0 {
            left += self.on_host;
        }
        chain.n_units.saturating_sub(left)..chain.n_units.min(most + 1)
    }
}
