//! A limit on the slowest stage: it only drops ways, so each limit is one exact program over every
//! order, and the next lower limit that matters is just below the slowest stage of its plan.

use super::network::{Network, Orders};
use super::{Answer, Chain, Kept, Taken, number, worth};
use crate::cost::menu::Menu;

/// The ways of every stage by time, each better than all that are faster.
pub struct Slowest<'a> {
    network: Network<'a>,
    stairs: Vec<Vec<Stair>>,
}

struct Stair {
    time: u64,
    penalty: u64,
    way: usize,
}

impl<'a> Slowest<'a> {
    /// Of a chain; none where there are too many orders to count out.
    pub fn new(chain: &'a Chain) -> Option<Self> {
        Some(Self {
            network: Network::new(chain, Orders::all(chain)?),
            stairs: chain.menus.iter().map(stairs).collect(),
        })
    }

    /// The least penalty among plans none of whose stages takes longer than `most` picoseconds, and
    /// of equals one whose slowest stage is fastest. Exact for penalties below 2⁵³ parts.
    pub fn within(&self, most: u64) -> Answer {
        let Some(mut best) = self.solve(most) else {
            return Answer::Impossible;
        };
        while let Some(other) = self.faster(&best).filter(|it| it.penalty == best.penalty) {
            best = other;
        }
        Answer::Found(best)
    }

    /// Every trade of penalty for the slowest stage, from the least penalty to the fastest: no plan is
    /// as good as one of these by both and better by one.
    pub fn frontier(&self) -> Vec<Kept> {
        let mut points: Vec<Kept> = Vec::new();
        let mut next = self.solve(u64::MAX);
        while let Some(kept) = next {
            next = self.faster(&kept);
            points.pop_if(|last| last.penalty == kept.penalty);
            points.push(kept);
        }
        points
    }

    /// The best plan whose slowest stage is faster than that of another.
    fn faster(&self, than: &Kept) -> Option<Kept> {
        self.solve(than.time.checked_sub(1)?)
    }

    fn solve(&self, most: u64) -> Option<Kept> {
        let within = |stairs: &Vec<Stair>| {
            let n_within = stairs.partition_point(|stair| stair.time <= most);
            n_within.checked_sub(1)
        };
        let taken: Vec<_> = self.stairs.iter().map(within).collect();
        let priced = self.stairs.iter().zip(&taken);
        let cost = |(stairs, taken): (&Vec<Stair>, &Option<usize>)| {
            number(taken.map(|taken| stairs[taken].penalty))
        };
        let costs: Vec<f64> = priced.map(cost).collect();
        let rest = self.network.rest(&costs);
        if !rest.start().is_finite() {
            return None;
        }
        let path = self.network.path(&rest, &costs).into_iter();
        let stage = |menu: usize| taken[menu].map(|taken| (menu, &self.stairs[menu][taken]));
        let path: Vec<_> = path.filter_map(stage).collect();
        let stages: Vec<Taken> = path
            .iter()
            .map(|(menu, stair)| Taken {
                menu: *menu,
                way: stair.way,
            })
            .collect();
        let (penalty, _) = worth(self.network.chain, &stages);
        Some(Kept {
            stages,
            penalty,
            time: path.iter().map(|(_, stair)| stair.time).max()?,
            bound: penalty,
        })
    }
}

fn stairs(menu: &Menu) -> Vec<Stair> {
    let ways = menu.fitting().iter().enumerate();
    let stair = |(way, stored)| Stair {
        time: menu.time(stored),
        penalty: stored.penalty,
        way,
    };
    let mut all: Vec<Stair> = ways.map(stair).collect();
    all.sort_by_key(|stair| (stair.time, stair.penalty, stair.way));
    let mut least = None;
    all.retain(|stair| {
        let is_better = least.is_none_or(|least| stair.penalty < least);
        if is_better {
            least = Some(stair.penalty);
        }
        is_better
    });
    all
}
