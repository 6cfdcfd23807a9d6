//! What no sample is faster than.
//!
//! Take a path of the graph. Its operators run one after the other; those on one accelerator follow
//! each other on it, for otherwise the accelerator would wait for itself. So the path is cut into
//! operators on the host and runs on accelerators, no more of them than there are, each within the
//! memory of the roomiest one; a run takes its work, what the path brings in, and what it takes out.
//! The least time over all such cuts, by a dynamic program, bounds the latency. Members of a group
//! are in one run or all on the host, so each carries its share of the group's bytes.

use super::Problem;
use crate::solve::Stop;

/// Paths with more pairs of places, times accelerators, are not cut.
const MOST_CUTS: usize = 200_000_000;

/// Paths that are tried, by what they are long in: shares of the time where it is least, of the time
/// on the host, and of memory.
const WEIGHTS: [[f64; 3]; 8] = [
    [1.0, 0.0, 0.0],
    [0.0, 1.0, 0.0],
    [0.0, 0.0, 1.0],
    [1.0, 1.0, 0.0],
    [1.0, 0.1, 0.0],
    [1.0, 0.0, 1.0],
    [0.0, 1.0, 1.0],
    [1.0, 0.1, 0.3],
];

/// What is known of the time after each operator.
pub(super) struct Outlook {
    /// From an operator's start to the end of all that waits for it, each where it is quickest.
    pub(super) tails: Vec<u64>,
    /// Paths that are long.
    pub(super) paths: Vec<Vec<usize>>,
    /// No sample takes less.
    pub(super) least: u64,
}

impl Outlook {
    pub(super) fn new(problem: &Problem<'_>, stop: &Stop) -> Self {
        let costs = Costs::new(problem);
        let n = problem.operators.len();
        let mut tails = vec![0; n];
        let mut least = 0;
        for operator in problem.sorted.iter().rev() {
            let after = problem.readers[*operator].iter();
            let after = after.map(|reader| tails[*reader]).max().unwrap_or(0);
            tails[*operator] = costs.least(*operator) + after;
            least = least.max(tails[*operator]);
        }
        let mut paths: Vec<Vec<usize>> = Vec::new();
        for weights in &WEIGHTS {
            let path = costs.longest(weights);
            if !paths.contains(&path) && (paths.is_empty() || !stop.is_set()) {
                least = least.max(costs.cut(&path));
                paths.push(path);
            }
        }
        Self {
            tails,
            paths,
            least,
        }
    }
}

struct Costs<'a> {
    problem: &'a Problem<'a>,
    /// On the host, on the quickest accelerator for each, and the least crossing of each output.
    host: Vec<Option<u64>>,
    quickest: Vec<Option<u64>>,
    crossing: Vec<u64>,
    /// Memory of the roomiest accelerator, and how many there are.
    room: u64,
    count: usize,
}

impl<'a> Costs<'a> {
    fn new(problem: &'a Problem<'a>) -> Self {
        let accelerators = problem.accelerators();
        let mut kinds = accelerators.clone();
        kinds.dedup();
        let n = problem.operators.len();
        let least = |of: &dyn Fn(usize) -> Option<u64>| kinds.iter().filter_map(|it| of(*it)).min();
        let quickest = (0..n).map(|it| least(&|kind| problem.work(it, kind)));
        let crossing = (0..n).map(|it| least(&|kind| Some(problem.crossing(it, kind))));
        let rooms = kinds.iter().map(|kind| problem.kinds[*kind].memory.0);
        let host = problem.host_kind();
        Self {
            host: (0..n).map(|it| problem.work(it, host?)).collect(),
            quickest: quickest.collect(),
            crossing: crossing.map(|least| least.unwrap_or(0)).collect(),
            room: rooms.max().unwrap_or(0),
            count: accelerators.len(),
            problem,
        }
    }

    fn least(&self, operator: usize) -> u64 {
        let both = [self.host[operator], self.quickest[operator]];
        both.into_iter().flatten().min().unwrap_or(0)
    }

    /// The path that is longest in a mixture of what can be long.
    fn longest(&self, weights: &[f64; 3]) -> Vec<usize> {
        let problem = self.problem;
        let n = problem.operators.len();
        let measures: [Vec<f64>; 3] = [
            (0..n).map(|it| self.least(it) as f64).collect(),
            (0..n).map(|it| self.host[it].unwrap_or(0) as f64).collect(),
            (0..n)
                .map(|it| {
                    let group = &problem.groups[problem.group_of[it]];
                    let bytes = group.iter().map(|it| problem.operators[*it].item.bytes.0);
                    bytes.fold(0, u64::saturating_add) as f64 / group.len() as f64
                })
                .collect(),
        ];
        let sums: Vec<f64> = measures
            .iter()
            .map(|measure| measure.iter().sum::<f64>().max(1.0))
            .collect();
        let weight = |it: usize| -> f64 {
            (0..3)
                .map(|which| weights[which] * measures[which][it] / sums[which])
                .sum()
        };
        let mut to = vec![(0.0_f64, None); n];
        for operator in &problem.sorted {
            let before = problem.reads[*operator].iter();
            let longest = before.max_by(|one, other| to[**one].0.total_cmp(&to[**other].0));
            let start = longest.map_or(0.0, |it| to[*it].0);
            to[*operator] = (start + weight(*operator), longest.copied());
        }
        let mut at = (0..n).max_by(|one, other| to[*one].0.total_cmp(&to[*other].0));
        let mut path = Vec::new();
        while let Some(operator) = at {
            path.push(operator);
            at = to[operator].1;
        }
        path.reverse();
        path
    }

    /// The least time of a path over all its cuts.
    fn cut(&self, path: &[usize]) -> u64 {
        let problem = self.problem;
        let mut members = vec![0_u64; problem.groups.len()];
        path.iter()
            .for_each(|it| members[problem.group_of[*it]] += 1);
        let bytes: Vec<u64> = path
            .iter()
            .map(|it| {
                let group = problem.group_of[*it];
                let sizes = problem.groups[group].iter();
                let sizes = sizes.map(|it| problem.operators[*it].item.bytes.0);
                sizes.fold(0, u64::saturating_add) / members[group]
            })
            .collect();
        let (last, runs) = (path.len(), self.count.min(path.len()));
        if runs.saturating_mul(last * last) > MOST_CUTS {
            return 0;
        }
        // With so many runs at most, the least time up to each place.
        let mut least = vec![u64::MAX; last + 1];
        least[0] = 0;
        self.along_the_host(path, &mut least);
        for _ in 0..runs {
            let mut more = least.clone();
            for from in (0..last).filter(|from| least[*from] < u64::MAX) {
                let brought = from.checked_sub(1).map_or(0, |it| self.crossing[path[it]]);
                let (mut time, mut held) = (least[from] + brought, 0_u64);
                for to in from..last {
                    held = held.saturating_add(bytes[to]);
                    let Some(work) = self.quickest[path[to]].filter(|_| held <= self.room) else {
                        break;
                    };
                    time += work;
                    let out = match to + 1 < last {
                        true => self.crossing[path[to]],
                        false => 0,
                    };
                    more[to + 1] = more[to + 1].min(time + out);
                }
            }
            self.along_the_host(path, &mut more);
            least = more;
        }
        match least[last] {
            u64::MAX => 0,
            least => least,
        }
    }

    /// What is reached with the next operators on the host.
    fn along_the_host(&self, path: &[usize], least: &mut [u64]) {
        for (at, operator) in path.iter().enumerate() {
            if let Some(work) = self.host[*operator]
                && least[at] < u64::MAX
            {
                least[at + 1] = least[at + 1].min(least[at] + work);
            }
        }
    }
}
