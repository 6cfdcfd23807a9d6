//! Pipelines whose stages run in copies, each on several devices that are all alike.
//!
//! The problem of Tarnawski et al., NeurIPS 2021 ("Piper: Multidimensional Planner for DNN
//! Parallelization"). Each stage has layers that are a difference of two down-sets, a number of
//! devices that share every layer, and a number of copies that take turns at the samples and must
//! agree on the weights afterwards. Layers have ways to run, by devices that share them: quicker ones
//! that keep more for the way back, and others that compute it again. What a device keeps for the way
//! back counts as often as samples are under way: the copies of its stage and all later ones, over
//! its own copies, rounded up. The time between two samples is that of the slowest stage.
//!
//! Under a limit on that time, the fewest copies in all are the best way to reach a down-set from the
//! end with so many devices: a dynamic program over all down-sets is exact (`limits.rs`), and the
//! least limit that it passes is searched. How a stage's layers run best is a knapsack
//! (`knapsack.rs`).

mod knapsack;
mod limits;

use std::collections::BTreeMap;

use super::{Graph, GraphError, Item, Ticks};
use crate::solve::Stop;
use crate::units::Bytes;

/// One way to run a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Time of a sample.
    pub work: Ticks,
    /// Time a sample for every copy but the first, to agree on the weights.
    pub agreement: Ticks,
    /// Memory for every sample that is under way.
    pub each: Bytes,
    /// Other memory.
    pub fixed: Bytes,
    /// Time to take in the output of a layer in another stage, by layer.
    pub taken: BTreeMap<usize, Ticks>,
    /// Time to give the output to a layer in another stage, by layer.
    pub given: BTreeMap<usize, Ticks>,
}

/// Ways to run a layer, by how many devices share it.
pub type Layer = BTreeMap<usize, Vec<Way>>;

/// What is planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The layers.
    pub layers: Vec<Layer>,
    /// Pairs of layers of which the second reads the first.
    pub order: Vec<(usize, usize)>,
    /// How many devices there are.
    pub devices: usize,
    /// Memory of each.
    pub memory: Bytes,
    /// Samples between two updates of the weights; copies divide them.
    pub samples: usize,
}

/// Part of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Its layers, each with the place of the way that it runs in.
    pub layers: Vec<(usize, usize)>,
    /// Devices that share every layer.
    pub shared_by: usize,
    /// Copies of the stage, each on so many devices.
    pub copies: usize,
}

/// The best plan that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// In order of execution.
    pub stages: Vec<Stage>,
    /// Time between two samples, rounded up.
    pub pace: Ticks,
    /// No plan has less.
    pub bound: Ticks,
    /// How that is known.
    pub proof: &'static str,
}

impl Pipeline {
    /// The time between two samples, added up from the layers; none where a plan is none.
    pub fn pace(&self, stages: &[Stage]) -> Option<Ticks> {
        let mut stage_of = vec![usize::MAX; self.layers.len()];
        for (index, stage) in stages.iter().enumerate() {
            for (layer, _) in &stage.layers {
                let known = stage_of.get_mut(*layer)?;
                if *known != usize::MAX {
                    return None;
                }
                *known = index;
            }
        }
        let devices: usize = stages.iter().map(|it| it.copies * it.shared_by).sum();
        let in_order = |(from, to): &(usize, usize)| stage_of[*from] <= stage_of[*to];
        let mut under_way: usize = stages.iter().map(|it| it.copies).sum();
        if stage_of.contains(&usize::MAX)
            || devices > self.devices
            || under_way > self.samples
            || !self.order.iter().all(in_order)
        {
            return None;
        }
        let mut pace = 0;
        for (index, stage) in stages.iter().enumerate() {
            if stage.copies == 0 || !self.samples.is_multiple_of(stage.copies) {
                return None;
            }
            let held = under_way.div_ceil(stage.copies) as u128;
            under_way -= stage.copies;
            let (mut time, mut bytes) = (0, 0);
            for (layer, way) in &stage.layers {
                let way = self.layers[*layer].get(&stage.shared_by)?.get(*way)?;
                time += u128::from(way.work.0);
                time += u128::from(way.agreement.0) * (stage.copies as u128 - 1);
                for (other, crossing) in way.taken.iter().chain(&way.given) {
                    if *stage_of.get(*other)? != index {
                        time += u128::from(crossing.0);
                    }
                }
                bytes += u128::from(way.each.0) * held + u128::from(way.fixed.0);
            }
            if bytes > u128::from(self.memory.0) {
                return None;
            }
            pace = pace.max(time.div_ceil(stage.copies as u128));
        }
        u64::try_from(pace).ok().map(Ticks)
    }

    /// No plan has less: every layer takes devices for its work.
    fn area(&self) -> u64 {
        let least = |layer: &Layer| {
            let ways = layer.iter().flat_map(|(degree, ways)| {
                let works = ways.iter().map(|way| u128::from(way.work.0));
                works.map(|work| work * *degree as u128)
            });
            ways.min().unwrap_or(0)
        };
        let all: u128 = self.layers.iter().map(least).sum();
        (all / self.devices.max(1) as u128).min(u128::from(super::LONGEST)) as u64
    }

    /// The layers against their order: what a stage's memory depends on comes after it.
    fn backwards(&self) -> Result<Graph, GraphError> {
        let nothing = Item {
            work: Vec::new(),
            bytes: Bytes(0),
        };
        let items = vec![nothing; self.layers.len()];
        let order = self.order.iter().map(|(from, to)| (*to, *from)).collect();
        Graph::new(items, order, Vec::new())
    }
}

/// The plan with the least time between two samples that is found; none where nothing was.
///
/// # Errors
/// Where a layer is named that is not there, or the order is none.
pub fn best(pipeline: &Pipeline, stop: &Stop) -> Result<Option<Plan>, GraphError> {
    let graph = pipeline.backwards()?;
    let area = pipeline.area();
    let Some(found) = limits::search(pipeline, &graph, area, stop) else {
        return Ok(None);
    };
    let Some(pace) = pipeline.pace(&found.stages) else {
        return Ok(None);
    };
    let (bound, proof) = match found.is_exact {
        true => (pace, "dynamic program over all down-sets"),
        false => (Ticks(area).min(pace), "work over devices"),
    };
    Ok(Some(Plan {
        stages: found.stages,
        pace,
        bound,
        proof,
    }))
}

#[cfg(test)]
mod tests;
