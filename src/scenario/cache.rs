//! The format of the cache where it is left open: the most precise one that moves nothing further
//! down than the smallest does. Not here: what a format costs in quality, of which no table is known.

use std::str::FromStr;

use super::{GoalError, Scenario, ScenarioError};
use crate::cost::Target;
use crate::plan::Plan;
use crate::scenario::search::{Tried, is_searched};
use crate::workload::{KvFormat, WorkloadError};

/// What is asked of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheChoice {
    /// This format.
    Of(KvFormat),
    /// The most precise one that there is room for.
    Auto,
}

impl FromStr for CacheChoice {
    type Err = WorkloadError;

    fn from_str(text: &str) -> Result<Self, WorkloadError> {
        match text.trim().eq_ignore_ascii_case("auto") {
            true => Ok(Self::Auto),
            false => text.parse().map(Self::Of),
        }
    }
}

impl CacheChoice {
    /// The formats that are tried, the most precise first; none where one is named. Of formats of one
    /// size one is tried.
    pub fn formats(self, target: Target) -> Vec<KvFormat> {
        match (self, target) {
            (Self::Of(_), _) => Vec::new(),
            (Self::Auto, Target::LlamaCpp) => vec![KvFormat::F16, KvFormat::Q8_0, KvFormat::Q4_0],
            (Self::Auto, Target::Transformers) => vec![KvFormat::F16],
            (Self::Auto, Target::Vllm | Target::Sglang) => vec![KvFormat::F16, KvFormat::Fp8],
        }
    }
}

impl Scenario {
    /// The plan with the most precise of the cache's formats that reaches the rank of the smallest:
    /// nothing is offloaded that a smaller cache leaves on the GPUs.
    pub(super) fn best_cache(&self) -> Result<Plan, ScenarioError> {
        let mut objectives = self.terms.goal.objectives.iter();
        if objectives.any(|it| is_searched(*it)) || self.terms.mix.is_some() {
            return Err(GoalError::Cache.into());
        }
        let with = |format: &KvFormat| {
            let mut scenario = self.clone();
            scenario.workload.kv_format = *format;
            scenario.terms.caches.clear();
            scenario
        };
        // What a head does not fill is no candidate.
        let all = self.terms.caches.iter().map(with);
        let candidates: Vec<_> = all.filter(Self::is_loaded).collect();
        let Some(smallest) = candidates.last() else {
            return with(&KvFormat::F16).plan_as_asked();
        };
        let last = smallest.rank()?.unwrap_or(usize::MAX);
        let mut n_tried = 0;
        for scenario in &candidates {
            n_tried += 1;
            if scenario.is_within(last)? == Tried::Yes {
                let mut plan = scenario.plan_as_asked()?;
                let method = &mut plan.proof.solver;
                *method = format!(
                    "{n_tried} of {} cache formats tried; {method}",
                    candidates.len()
                );
                return Ok(plan);
            }
        }
        smallest.plan_as_asked()
    }
}
