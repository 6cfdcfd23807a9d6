//! Where device orders are too many to count out: the problem without the rule that a device serves
//! once, at a price for every use.
//!
//! With prices `μ(g) ≥ 0` the least `Σ c(k) + μ(owner of k)` over all paths, less `Σ m(g) μ(g)`, is no
//! more than any plan costs: a plan uses each group at most `m(g)` times. Paths are free of any order
//! now, so each bound is one pass over the columns. Prices rise where the path overuses a group
//! (subgradients, Polyak's step), and the best of all bounds is the linear program's over paths with
//! one row for each group. A column through which no path costs as little as a known plan is in no
//! better one, and is dropped: what is left can often be counted out.

use crate::cost::ColumnSet;
use crate::cost::Position;
use crate::cost::column::{Cost, Owner};
use crate::solve::Stop;

/// What the relaxation tells.
pub(super) struct Relaxed {
    /// No plan costs less.
    pub(super) bound: Cost,
    /// Who computes along the best path of the last prices: an order worth trying.
    pub(super) order: Vec<Owner>,
    /// For each column, whether it may be in a plan of at most the known cost.
    pub(super) may_help: Vec<bool>,
}

/// Passes over the columns; bounds hardly rise after these.
const MOST_PASSES: usize = 400;
/// Passes without a better bound after which steps are halved.
const PATIENCE: usize = 8;
/// Costs are sums of a few hundred rounded numbers: what is this close is not told apart.
const ROUNDING: f64 = 1e-9;

/// Whether columns lead from the first unit to the last, if every device could be used at will.
pub(super) fn has_path(set: &ColumnSet) -> bool {
    let network = Network::new(set);
    let free = vec![0.0; network.limits.len()];
    network.shortest(&free).cost.is_finite()
}

/// Whether no plan exists because devices are too few: prices prove it at which every path, at no
/// cost of its own, pays more than all devices together.
pub(super) fn is_ruled_out(set: &ColumnSet, stop: &Stop) -> bool {
    let mut network = Network::new(set);
    network.costs.fill(0.0);
    network.dearest(1.0, stop).bound > 0.1
}

/// Bounds the cost of every plan, given one of cost `known`.
pub(super) fn relax(set: &ColumnSet, known: Cost, stop: &Stop) -> Relaxed {
    let network = Network::new(set);
    let known = known.0 as f64;
    let Dearest { bound, prices } = network.dearest(known, stop);
    let path = network.shortest(&prices);
    let through = network.through(&prices);
    let rent = network.rent(&prices);
    let most = known * (1.0 + ROUNDING);
    Relaxed {
        bound: Cost((bound * (1.0 - ROUNDING)).max(0.0).floor() as u128),
        order: path
            .columns
            .iter()
            .map(|index| set.columns[*index].owner)
            .collect(),
        may_help: through.iter().map(|cost| cost - rent <= most).collect(),
    }
}

/// Prices, and the bound that they give.
struct Dearest {
    bound: f64,
    prices: Vec<f64>,
}

/// The columns as arcs between (units done, whether a GPU is used), in topological order.
struct Network<'a> {
    set: &'a ColumnSet,
    arcs: Vec<(usize, usize)>,
    costs: Vec<f64>,
    /// The group of each column, the host behind all groups.
    owner: Vec<usize>,
    /// How often each group may be used.
    limits: Vec<f64>,
}

struct Path {
    cost: f64,
    columns: Vec<usize>,
}

impl<'a> Network<'a> {
    fn new(set: &'a ColumnSet) -> Self {
        let arcs = set.columns.iter().map(|column| {
            let (before, after) = match (column.owner, column.position) {
                (Owner::Host, _) => (0, 0),
                (Owner::Group(_), Position::First) => (0, 1),
                (Owner::Group(_), Position::Later) => (1, 1),
            };
            (
                column.units.start * 2 + before,
                column.units.end * 2 + after,
            )
        });
        let owner = set.columns.iter().map(|column| match column.owner {
            Owner::Group(group) => group.0,
            Owner::Host => set.groups.len(),
        });
        let limits = set.groups.iter().map(|group| group.len() as f64);
        Self {
            set,
            arcs: arcs.collect(),
            costs: set
                .columns
                .iter()
                .map(|column| column.cost.0 as f64)
                .collect(),
            owner: owner.collect(),
            limits: limits.chain([1.0]).collect(),
        }
    }

    /// The prices of the greatest bound, sought from below `known`.
    fn dearest(&self, known: f64, stop: &Stop) -> Dearest {
        let mut prices = vec![0.0; self.limits.len()];
        let mut best = Dearest {
            bound: f64::NEG_INFINITY,
            prices: prices.clone(),
        };
        let (mut scale, mut since) = (1.0, 0);
        for _ in 0..MOST_PASSES {
            let path = self.shortest(&prices);
            let bound = path.cost - self.rent(&prices);
            since += 1;
            if bound > best.bound {
                since = 0;
                best.bound = bound;
                best.prices.clone_from(&prices);
            }
            if since > PATIENCE {
                (scale, since) = (scale / 2.0, 0);
            }
            let mut overuse: Vec<f64> = self.limits.iter().map(|limit| -limit).collect();
            for index in &path.columns {
                overuse[self.owner[*index]] += 1.0;
            }
            // What is free and used no more than it may be is no direction to go.
            for (overuse, price) in overuse.iter_mut().zip(&prices) {
                if *price <= 0.0 && *overuse < 0.0 {
                    *overuse = 0.0;
                }
            }
            let length: f64 = overuse.iter().map(|over| over * over).sum();
            let is_done = length == 0.0 || known - best.bound <= known * ROUNDING || scale < 1e-4;
            if is_done || !bound.is_finite() || stop.is_set() {
                break;
            }
            let step = scale * (known - bound).max(known * 1e-6) / length;
            for (price, overuse) in prices.iter_mut().zip(&overuse) {
                *price = (*price + step * overuse).max(0.0);
            }
        }
        best
    }

    /// What all devices cost if each is used as often as it may be.
    fn rent(&self, prices: &[f64]) -> f64 {
        prices
            .iter()
            .zip(&self.limits)
            .map(|(price, limit)| price * limit)
            .sum()
    }

    fn price(&self, index: usize, prices: &[f64]) -> f64 {
        self.costs[index] + prices[self.owner[index]]
    }

    /// The least cost from the start to each node, and the column that it comes by.
    fn forwards(&self, prices: &[f64]) -> (Vec<f64>, Vec<usize>) {
        let n_nodes = (self.set.n_units + 1) * 2;
        let (mut least, mut by) = (vec![f64::INFINITY; n_nodes], vec![usize::MAX; n_nodes]);
        least[0] = 0.0;
        for (index, (from, to)) in self.arcs.iter().enumerate() {
            let cost = least[*from] + self.price(index, prices);
            if cost < least[*to] {
                (least[*to], by[*to]) = (cost, index);
            }
        }
        (least, by)
    }

    fn shortest(&self, prices: &[f64]) -> Path {
        let (least, by) = self.forwards(prices);
        let end = self.set.n_units * 2;
        let mut node = if least[end] < least[end + 1] {
            end
        } else {
            end + 1
        };
        let cost = least[node];
        let mut columns = Vec::new();
        while node > 1 && by[node] != usize::MAX {
            columns.push(by[node]);
            node = self.arcs[by[node]].0;
        }
        columns.reverse();
        Path { cost, columns }
    }

    /// The least cost of a path through each column.
    fn through(&self, prices: &[f64]) -> Vec<f64> {
        let (before, _) = self.forwards(prices);
        let mut behind = vec![f64::INFINITY; before.len()];
        let end = self.set.n_units * 2;
        (behind[end], behind[end + 1]) = (0.0, 0.0);
        let mut through = vec![f64::INFINITY; self.arcs.len()];
        for (index, (from, to)) in self.arcs.iter().enumerate().rev() {
            let cost = self.price(index, prices) + behind[*to];
            behind[*from] = behind[*from].min(cost);
            through[index] = before[*from] + cost;
        }
        through
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::ops::Range;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    use super::*;
    use crate::cost::column::{Column, GroupId};
    use crate::cost::{Batch, Layout, Prefill, Sites};
    use crate::hardware::DeviceId;
    use crate::solve::dynamic::{Answer, Effort, shortest};
    use crate::units::{Seconds, Tokens};

    /// A stage on a device of a group, at the start of the chain the first, which has nothing but a
    /// cost.
    pub(in crate::solve) fn column(group: usize, units: Range<usize>, cost: u128) -> Column {
        Column {
            owner: Owner::Group(GroupId(group)),
            position: match units.start {
                0 => Position::First,
                _ => Position::Later,
            },
            units,
            streamed: 0..0,
            time: Seconds(0.0),
            prefill: Prefill::default(),
            penalty: 0,
            fullness: 0,
            resident: Tokens(0),
            sequences: 0,
            batch: Batch::default(),
            cost: Cost(cost),
            load: 0,
        }
    }

    /// A few devices of three groups, and columns of any cost.
    pub(in crate::solve) fn sets() -> impl Strategy<Value = ColumnSet> {
        let stage = (0..5_usize, 1..=3_usize, 0..3_usize, 1..=50_u128);
        let devices = vec(1..=2_usize, 3);
        (devices, vec(stage, 1..=40)).prop_map(|(counts, columns)| {
            let columns = columns.into_iter().map(|(start, length, group, cost)| {
                column(group, start..(start + length).min(5), cost << 20)
            });
            let groups = counts.iter().map(|count| vec![DeviceId(0); *count]);
            set_of(groups.collect(), columns.collect())
        })
    }

    /// Stages of five units on groups of one host.
    pub(in crate::solve) fn set_of(
        groups: Vec<Vec<DeviceId>>,
        mut columns: Vec<Column>,
    ) -> ColumnSet {
        columns.sort_by_key(|it| (it.units.start, it.owner, it.position, it.units.end));
        ColumnSet {
            layout: Layout::Sequential,
            n_units: 5,
            sites: Sites::one(&groups),
            most_devices: usize::MAX,
            groups,
            columns,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn no_plan_is_below_the_bound_and_no_best_one_is_dropped(set in sets()) {
            match shortest(&set, Effort::Plan, &Stop::default()) {
                Answer::Path { path, cost, .. } => {
                    let relaxed = relax(&set, cost, &Stop::default());
                    prop_assert!(relaxed.bound <= cost);
                    prop_assert!(path.iter().all(|taken| relaxed.may_help[taken.column]));
                    // From a worse plan the same holds.
                    let relaxed = relax(&set, Cost(cost.0 * 2), &Stop::default());
                    prop_assert!(relaxed.bound <= cost);
                    prop_assert!(path.iter().all(|taken| relaxed.may_help[taken.column]));
                    prop_assert!(has_path(&set) && !is_ruled_out(&set, &Stop::default()));
                }
                Answer::None => {}
                Answer::TooManyOrders => prop_assert!(false, "five units can be counted out"),
            }
        }
    }

    #[test]
    fn one_device_cannot_serve_twice() {
        let whole = sets().new_tree(&mut proptest::test_runner::TestRunner::deterministic());
        let mut set = whole.unwrap().current();
        let like = set.columns[0].clone();
        let column = |start: usize| Column {
            units: start..start + 1,
            position: if start == 0 {
                Position::First
            } else {
                Position::Later
            },
            owner: Owner::Group(GroupId(0)),
            ..like.clone()
        };
        set.columns = (0..5).map(column).collect();
        set.groups[0] = vec![DeviceId(0); 4];
        set.sites = Sites::one(&set.groups);
        assert!(has_path(&set) && is_ruled_out(&set, &Stop::default()));
        set.groups[0] = vec![DeviceId(0); 5];
        set.sites = Sites::one(&set.groups);
        assert!(!is_ruled_out(&set, &Stop::default()));
    }
}
