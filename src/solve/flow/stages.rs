//! Placements of equal runs: stages of k layers, each served by a few nodes that all hold these k.
//!
//! For a flow λ a *pattern* is a choice of at most three nodes by class whose rates at k layers sum
//! to λ, with the largest such k. Which patterns hold the most layers with the nodes there are is an
//! unbounded knapsack over the counts of nodes used; λ is the largest of the sums of rates for which
//! that is all layers. Links are not looked at.

use super::{Class, Cluster, Run};

/// More steps of the knapsack than these, counted as states times patterns, are not made.
const MOST_STEPS: usize = 25_000_000;

/// Nodes by class, and the run that they all hold.
struct Pattern {
    use_of: Vec<usize>,
    count: usize,
}

/// The best placement of stages with a flow of at most `ceiling`, where there is one.
pub(super) fn best(cluster: &Cluster, classes: &[Class], ceiling: f64) -> Option<Vec<Run>> {
    let states: usize = classes
        .iter()
        .try_fold(1_usize, |states, class| {
            states.checked_mul(class.nodes.len() + 1)
        })
        .filter(|states| *states <= MOST_STEPS)?;
    let n_patterns = |size| multisets(classes.len(), size).len();
    let size = (1..=3)
        .rev()
        .find(|size| states * n_patterns(*size) <= MOST_STEPS)?;
    let choices = multisets(classes.len(), size);
    let mut flows: Vec<f64> = choices
        .iter()
        .flat_map(|choice| sums(classes, choice))
        .collect();
    flows.retain(|flow| *flow > 0.0 && *flow <= ceiling * (1.0 + super::CLOSE));
    flows.sort_by(f64::total_cmp);
    flows.dedup();
    let knapsack = Knapsack::new(classes, states);
    let (mut reached, mut failed) = (None, flows.len());
    let mut from = 0;
    while from < failed {
        let middle = usize::midpoint(from, failed);
        // A sum of the same rates in another order must not miss what it is.
        let flow = flows[middle] * (1.0 - super::CLOSE);
        let patterns = patterns(classes, &choices, flow);
        match knapsack.fill(&patterns, cluster.n_layers) {
            Some(stages) => {
                let stages = trim(classes, stages, flow, cluster.n_layers);
                if let Some(stages) = stages {
                    reached = Some(stages);
                }
                from = middle + 1;
            }
            None => failed = middle,
        }
    }
    Some(lay(cluster, classes, &reached?))
}

/// All choices of one to `size` classes, with repetition.
fn multisets(n_classes: usize, size: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut last: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..size {
        let longer = last.iter().flat_map(|choice| {
            let from = choice.last().copied().unwrap_or(0);
            (from..n_classes).map(|class| [choice.as_slice(), &[class]].concat())
        });
        last = longer.collect();
        all.extend(last.iter().cloned());
    }
    all
}

/// What the nodes of a choice pass together, for each run that all can hold.
fn sums(classes: &[Class], choice: &[usize]) -> Vec<f64> {
    let longest = choice.iter().map(|class| classes[*class].rates.len()).min();
    (0..longest.unwrap_or(0))
        .map(|index| {
            choice
                .iter()
                .map(|class| classes[*class].rates[index])
                .sum()
        })
        .collect()
}

fn patterns(classes: &[Class], choices: &[Vec<usize>], flow: f64) -> Vec<Pattern> {
    let mut patterns: Vec<Pattern> = Vec::new();
    for choice in choices {
        let sums = sums(classes, choice);
        let Some(index) = sums.iter().rposition(|sum| *sum >= flow) else {
            continue;
        };
        let mut use_of = vec![0; classes.len()];
        for class in choice {
            use_of[*class] += 1;
        }
        // Choices grow, so what needs fewer nodes for as many layers is there already.
        let better = patterns.iter().any(|other| {
            other.count > index
                && other
                    .use_of
                    .iter()
                    .zip(&use_of)
                    .all(|(one, two)| one <= two)
        });
        if !better {
            let count = index + 1;
            patterns.push(Pattern { use_of, count });
        }
    }
    patterns
}

/// Counts of nodes used, as numbers of mixed radix.
struct Knapsack {
    strides: Vec<usize>,
    /// `digits[state · classes + class]`.
    digits: Vec<u16>,
    states: usize,
}

impl Knapsack {
    fn new(classes: &[Class], states: usize) -> Self {
        let mut strides = vec![1; classes.len()];
        for index in 1..classes.len() {
            strides[index] = strides[index - 1] * (classes[index - 1].nodes.len() + 1);
        }
        let digit = |state: usize, class: usize| {
            (state / strides[class] % (classes[class].nodes.len() + 1)) as u16
        };
        let all = (0..states).flat_map(|state| (0..classes.len()).map(move |class| (state, class)));
        let digits = all.map(|(state, class)| digit(state, class)).collect();
        Self {
            strides,
            digits,
            states,
        }
    }

    /// Patterns that hold all layers with the nodes there are, where there are such.
    fn fill(&self, patterns: &[Pattern], n_layers: usize) -> Option<Vec<Pattern>> {
        let n_classes = self.strides.len();
        let mut held = vec![0_u32; self.states];
        let mut by = vec![usize::MAX; self.states];
        for (index, pattern) in patterns.iter().enumerate() {
            let uses = pattern
                .use_of
                .iter()
                .enumerate()
                .filter(|(_, uses)| **uses > 0);
            let uses: Vec<(usize, u16)> = uses.map(|(class, uses)| (class, *uses as u16)).collect();
            let offset: usize = uses
                .iter()
                .map(|(class, uses)| self.strides[*class] * usize::from(*uses))
                .sum();
            for state in offset..self.states {
                let digits = &self.digits[state * n_classes..];
                let with = held[state - offset] + pattern.count as u32;
                if with > held[state] && uses.iter().all(|(class, uses)| digits[*class] >= *uses) {
                    held[state] = with;
                    by[state] = index;
                }
            }
        }
        let mut state = (0..self.states).find(|state| held[*state] as usize >= n_layers)?;
        let mut stages = Vec::new();
        while held[state] > 0 {
            let pattern = &patterns[by[state]];
            stages.push(Pattern {
                use_of: pattern.use_of.clone(),
                count: pattern.count,
            });
            let uses = pattern.use_of.iter().zip(&self.strides);
            state -= uses.map(|(uses, stride)| uses * stride).sum::<usize>();
        }
        Some(stages)
    }
}

/// Shortens stages until they hold exactly the layers, each still with the flow.
fn trim(
    classes: &[Class],
    stages: Vec<Pattern>,
    flow: f64,
    n_layers: usize,
) -> Option<Vec<Pattern>> {
    // For each number of layers that the stages so far can hold, the run of the last of them.
    let mut reached: Vec<Vec<Option<usize>>> = vec![vec![None; n_layers + 1]];
    reached[0][0] = Some(0);
    for (at, stage) in stages.iter().enumerate() {
        let rate = |count: usize| -> f64 {
            let uses = stage
                .use_of
                .iter()
                .zip(classes)
                .filter(|(uses, _)| **uses > 0);
            uses.map(|(uses, class)| *uses as f64 * class.rates[count - 1])
                .sum()
        };
        let mut next = vec![None; n_layers + 1];
        for held in (0..=n_layers).filter(|held| reached[at][*held].is_some()) {
            for count in 1..=stage.count {
                if held + count <= n_layers && rate(count) >= flow {
                    next[held + count] = Some(count);
                }
            }
        }
        reached.push(next);
    }
    let mut held = n_layers;
    let mut trimmed = Vec::new();
    for (at, stage) in stages.into_iter().enumerate().rev() {
        let count = reached[at + 1][held]?;
        held -= count;
        let use_of = stage.use_of;
        trimmed.push(Pattern { use_of, count });
    }
    Some(trimmed)
}

/// The stages one after the other; nodes that are left over hold the first layer beside others.
fn lay(cluster: &Cluster, classes: &[Class], stages: &[Pattern]) -> Vec<Run> {
    let mut runs = vec![Run { start: 0, count: 1 }; cluster.nodes.len()];
    let mut free: Vec<_> = classes.iter().map(|class| class.nodes.iter()).collect();
    let mut start = 0;
    for stage in stages {
        for (uses, free) in stage.use_of.iter().zip(&mut free) {
            for node in free.by_ref().take(*uses) {
                let count = stage.count;
                runs[*node] = Run { start, count };
            }
        }
        start += stage.count;
    }
    runs
}
