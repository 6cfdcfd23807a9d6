//! Objectives that no stage has: the longest context, and the precision of the best quality. Each is
//! a search over scenarios, of which every one is planned.
//!
//! Both stay on the rank that the smallest question reaches, unless a time a token is asked for:
//! nothing is offloaded that a shorter context, or a smaller precision, leaves on the GPUs.

use super::{Penalties, Scenario, ScenarioError};
use crate::model::Precision;
use crate::model::recipe::Recipe;
use crate::plan::{Plan, Status};
use crate::solve::{self, Amount, NoPlan, Objective};
use crate::units::{Seconds, Tokens};
use crate::workload::Workload;

/// llama.cpp rounds a context up to so many tokens.
pub(super) const STEP: u64 = 256;

/// An order of objectives that is not searched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GoalError {
    /// `context` or `quality` behind another objective, or both.
    #[error(
        "`{0}` must be the first objective, and the only one of `context`, `quality` and `serving`"
    )]
    Outside(Objective),
    /// What only an engine that serves has.
    #[error(
        "`{0}` is about engines that keep their cache in what is left of memory: use it with `--target vllm` or `--target sglang`"
    )]
    NotServed(Objective),
    /// A request that the context does not hold.
    #[error("a request of {request} tokens does not fit a context of {context}")]
    Request {
        /// Prompt and answer.
        request: Tokens,
        /// Tokens of one sequence.
        context: Tokens,
    },
    /// No table of penalties.
    #[error(
        "no penalties are published for `{0}`, and those of another model do not count: give a table with `--penalties`"
    )]
    NoPenalties(String),
    /// A table without a precision that can be had.
    #[error("the table of penalties names no precision that {0} can load for this model")]
    NoPrecision(crate::cost::Target),
    /// A recipe of a mix that the table does not name.
    #[error("the table of penalties has none of `{0}`: give one with `--penalties`")]
    NoPenalty(Recipe),
    /// A mix for a framework that loads no GGUF.
    #[error("`--mix` is for llama.cpp: {0} loads no mix of recipes")]
    MixTarget(crate::cost::Target),
    /// A table that weighs blocks that there are none of.
    #[error(
        "the table of penalties names block {block}, and the model has {n_blocks}: count from 0"
    )]
    NoBlock {
        /// The last that is named.
        block: u32,
        /// How many there are.
        n_blocks: u32,
    },
    /// A mix for another objective that is searched.
    #[error("`--mix` is for the best quality, and `context` is another search")]
    MixContext,
    /// A time a token for mixes on GPUs of several hosts.
    #[error(
        "`--mix` with `--max-time-per-token` is for the GPUs of one host: what passes between hosts takes time that its search does not know; leave out the time, or plan for the GPUs of one host"
    )]
    MixHosts,
    /// A time a token for mixes on more GPUs than a plan may use.
    #[error(
        "`--mix` with `--max-time-per-token` is for {0} GPUs at the most: leave out the time, or name the best {0}"
    )]
    MixDevices(usize),
    /// A cache that is left open together with another search.
    #[error(
        "`--kv auto` goes with objectives of stages, not with `context`, `quality` or `--mix`: name a format"
    )]
    Cache,
    /// Wrong estimates of another objective.
    #[error(
        "`--robust` is about times (`decode`, `prefill`, `request`, `throughput`, `serving`), not about `{0}`"
    )]
    Robust(Objective),
    /// A time a token together with an objective that knows none.
    #[error("`--max-time-per-token` goes with `decode`, `context` and `quality`, not with `{0}`")]
    Time(Objective),
}

/// How one of the scenarios ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    /// A plan of this rank, fast enough.
    Yes,
    No,
    /// None was found, and none is ruled out.
    Unknown,
}

impl Scenario {
    /// Whether the objectives can be taken in their order.
    pub(super) fn check_goal(&self) -> Result<(), GoalError> {
        let goal = &self.terms.goal;
        let is_outside =
            |objective: &&Objective| is_searched(**objective) || **objective == Objective::Serving;
        if let Some(objective) = goal.objectives.iter().skip(1).find(is_outside) {
            return Err(GoalError::Outside(*objective));
        }
        let mut objectives = goal.objectives.iter();
        let is_of_service = |it: &&Objective| matches!(it, Objective::Kv | Objective::Serving);
        if let (Some(objective), None) = (objectives.find(is_of_service), self.target.server()) {
            return Err(GoalError::NotServed(*objective));
        }
        let request = goal
            .objectives
            .iter()
            .fold(0, |most, objective| match objective {
                Objective::Prefill => goal.prompt.0.max(most),
                Objective::Request => goal.prompt.0.saturating_add(goal.output.0).max(most),
                _ => most,
            });
        if self.terms.mix.is_some() && goal.objectives.contains(&Objective::Context) {
            return Err(GoalError::MixContext);
        }
        let context = self.workload.context;
        if request > context.0 {
            let request = Tokens(request);
            return Err(GoalError::Request { request, context });
        }
        let timeless = goal
            .objectives
            .iter()
            .find(|objective| !matches!(objective, Objective::Decode) && !is_searched(**objective));
        match (self.terms.max_time_per_token, timeless) {
            (Some(_), Some(objective)) => Err(GoalError::Time(*objective)),
            _ => Ok(()),
        }
    }

    /// The same question without its first objective.
    fn behind_the_first(&self) -> Self {
        let mut scenario = self.clone();
        scenario.terms.goal.objectives.remove(0);
        scenario
    }

    /// The longest context up to that of the workload, in steps of 256 tokens: bisected, since
    /// a longer one never needs less.
    pub(super) fn longest_context(&self) -> Result<Plan, ScenarioError> {
        let most = self.workload.context.0;
        let inner = self.behind_the_first();
        let at = |step: u64| inner.with_context(Tokens((step * STEP).min(most)));
        let (mut found, mut beyond) = (1, most.div_ceil(STEP) + 1);
        let rank = at(found).rank()?;
        let mut ruled_out = beyond;
        let mut n_tried = 1;
        while let Some(last) = rank.filter(|_| beyond - found > 1) {
            let middle = found + (beyond - found) / 2;
            let tried = at(middle).is_within(last)?;
            n_tried += 1;
            match tried {
                Tried::Yes => found = middle,
                Tried::No => (beyond, ruled_out) = (middle, middle),
                Tried::Unknown => beyond = middle,
            }
        }
        let plan = at(found).plan_as_asked()?;
        let context = plan.workload.context;
        let bound = ((ruled_out - 1) * STEP).min(most).max(context);
        let amounts = [context, bound].map(|tokens| Amount::Context(Tokens(tokens)));
        let method = format!("{n_tried} contexts tried");
        Ok(searched(plan, Objective::Context, amounts, &method))
    }

    /// The user's table of penalties, or the published one.
    pub(super) fn penalties(&self) -> Result<Penalties, GoalError> {
        let published = || Penalties::published(&self.model);
        let table = self.terms.penalties.clone().or_else(published);
        table.ok_or_else(|| GoalError::NoPenalties(self.model.name.clone()))
    }

    /// The precisions of the table and their penalties, the least first. What this target cannot load, or
    /// this file cannot become, is none.
    pub(super) fn candidates(&self) -> Result<Vec<(Precision, f64)>, GoalError> {
        let with = |precision: Precision| Self {
            precision,
            ..self.clone()
        };
        let all = self.penalties()?.by_precision.into_iter();
        let loaded = all.filter(|(precision, _)| with(*precision).is_loaded());
        Ok(loaded.collect())
    }

    /// The precision of the least penalty that has a plan.
    pub(super) fn best_precision(&self) -> Result<Plan, ScenarioError> {
        let candidates = self.candidates()?;
        let inner = self.behind_the_first();
        let with = |precision: Precision| Self {
            precision,
            ..inner.clone()
        };
        let Some((smallest, _)) = candidates.last() else {
            return Err(GoalError::NoPrecision(self.target).into());
        };
        let last = with(*smallest).rank()?.unwrap_or(usize::MAX);
        let mut bound = None;
        for (index, (precision, penalty)) in candidates.iter().enumerate() {
            let tried = with(*precision).is_within(last)?;
            if tried == Tried::Unknown {
                bound = bound.or(Some(*penalty));
            }
            let is_last = index + 1 == candidates.len();
            if tried == Tried::Yes || is_last {
                let plan = with(*precision).plan_as_asked()?;
                let amounts = [*penalty, bound.unwrap_or(*penalty)].map(Amount::Penalty);
                let measure = self.penalties()?.measure;
                let method = format!("{} precisions tried ({measure})", index + 1);
                return Ok(searched(plan, Objective::Quality, amounts, &method));
            }
        }
        Err(GoalError::NoPrecision(self.target).into())
    }

    fn with_context(&self, context: Tokens) -> Self {
        let workload = Workload {
            context,
            ..self.workload
        };
        Self {
            workload,
            ..self.clone()
        }
    }

    /// Whether the target can do what is asked, on some rig.
    pub(super) fn is_loaded(&self) -> bool {
        self.priced(|_, _, _| Ok(())).is_ok()
    }

    /// The first rank that has a plan; none where there is no plan.
    pub(super) fn rank(&self) -> Result<Option<usize>, ScenarioError> {
        self.priced(|accounting, _, ask| Ok(solve::first_rank(accounting, ask, usize::MAX).ok()))
    }

    /// Whether there is a plan of a rank, or of any if a time a token is asked for and kept, as far as it
    /// can be told in time.
    pub(super) fn is_within(&self, last: usize) -> Result<Tried, ScenarioError> {
        if self.terms.stop.is_set() {
            return Ok(Tried::Unknown);
        }
        let most = self.terms.max_time_per_token;
        self.priced(|accounting, _, ask| {
            let found = match most {
                Some(most) => solve::is_within(accounting, ask, most),
                None => solve::first_rank(accounting, ask, last).map(|_| ()),
            };
            Ok(match found {
                Ok(()) => Tried::Yes,
                Err(NoPlan::RuledOut(_)) => Tried::No,
                Err(NoPlan::NotFound) => Tried::Unknown,
            })
        })
    }
}

/// Whether an objective is a search over scenarios.
pub(super) fn is_searched(objective: Objective) -> bool {
    matches!(objective, Objective::Context | Objective::Quality)
}

/// The plan that a search ends with, and what it is worth by the searched objective.
fn searched(mut plan: Plan, objective: Objective, amounts: [Amount; 2], method: &str) -> Plan {
    let [worth, bound] = amounts.map(Amount::rounded);
    let proof = &mut plan.proof;
    let inner = match proof.goal.as_str() {
        "" => Objective::Decode.name(),
        goal => goal,
    };
    proof.goal = format!("{objective}, {inner}");
    if worth != bound {
        proof.status = Status::Feasible;
    }
    let (least, most) = (
        worth.number().min(bound.number()),
        worth.number().max(bound.number()),
    );
    proof.gap = if most > 0.0 {
        ((1.0 - least / most) * 1e4).round() / 1e4
    } else {
        0.0
    };
    proof.objective = worth;
    proof.bound = bound;
    proof.solver = format!("{method}; {}", proof.solver);
    plan
}

/// What a plan may take at most and takes at least.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("no plan takes at most {most} a token: {} takes {fastest}", if *.is_proven { "the fastest" } else { "the fastest that was found" })]
pub struct TooSlow {
    /// What was asked.
    pub most: Seconds,
    /// What there is.
    pub fastest: Seconds,
    /// Whether no plan is faster.
    pub is_proven: bool,
}
