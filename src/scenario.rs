//! A question and its answer: a model, a rig, a target and a workload give a plan, or the reasons
//! why there is none and what would help.

mod cache;
mod constraint;
mod fix;
pub mod graph;
mod mix;
mod penalties;
mod replicas;
mod robust;
mod search;
mod shared;

use crate::cost::serving::{Server, ends::most_stages};
use crate::cost::{Accounting, Target, TargetError};
use crate::hardware::Rig;
use crate::model::{Model, Precision, PrecisionError};
use crate::plan::build::Question;
use crate::plan::{CheckError, Plan, check};
use crate::solve::replicas::Number;
use crate::solve::{self, Ask, Backend, Goal, Infeasible, Objective, Solution, Stop, baseline};
use crate::units::{Seconds, Tokens};
use crate::workload::{KvFormat, Workload};

pub use cache::CacheChoice;
pub use constraint::{Constraint, ConstraintError};
pub use fix::Fix;
pub use mix::Candidates;
pub use penalties::{Penalties, PenaltiesError};
pub use replicas::ReplicasError;
pub use robust::Robustness;
use search::Tried;
pub use search::{GoalError, TooSlow};

/// What is asked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The model.
    pub model: Model,
    /// The rig.
    pub rig: Rig,
    /// The framework.
    pub target: Target,
    /// How weights are stored.
    pub precision: Precision,
    /// What has to be held.
    pub workload: Workload,
    /// What a plan is best at, what is fixed, and who solves.
    pub terms: Terms,
}

/// What a plan is best at, what is fixed, and who solves.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// What is fixed before the solver decides.
    pub constraints: Vec<Constraint>,
    /// What a plan is best at.
    pub goal: Goal,
    /// The share of memory that is left free everywhere. It is part of the rig's reserves; what is tried
    /// in its place has it too.
    pub margin: f64,
    /// The most time that a token may take.
    pub max_time_per_token: Option<Seconds>,
    /// What precisions cost in quality; the published table of the model where none is given.
    pub penalties: Option<Penalties>,
    /// The recipes that blocks may have, each its own; all have the scenario's precision where none
    /// are given.
    pub mix: Option<Candidates>,
    /// How many pipelines the cards are dealt out to.
    pub replicas: Number,
    /// Formats that the cache may have, the most precise first; the workload's where none are given.
    pub caches: Vec<KvFormat>,
    /// Who solves the linear program.
    pub backend: Backend,
    /// Ends every search with the best so far.
    pub stop: Stop,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The target cannot do this on any rig.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What cannot be fixed so.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// Objectives that do not go together.
    #[error(transparent)]
    Goal(#[from] GoalError),
    /// Replicas that there are none of.
    #[error(transparent)]
    Replicas(#[from] ReplicasError),
    /// Every plan takes too long.
    #[error(transparent)]
    TooSlow(#[from] TooSlow),
    /// No plan fits this rig.
    #[error(transparent)]
    Infeasible(#[from] Infeasible),
    /// The plan found does not hold: a fault of this program.
    #[error("the plan found does not hold, which is a fault of shardplan: {0}")]
    Refused(#[from] CheckError),
}

impl From<PrecisionError> for ScenarioError {
    fn from(error: PrecisionError) -> Self {
        Self::Target(error.into())
    }
}

/// The context that is planned for where none is named: 4096 tokens, or what the model knows if less.
pub fn usual_context(model: &Model) -> Tokens {
    model.dimensions.context.min(Tokens(4096))
}

/// What a plan is best at where nothing is named: the time of a token; of an engine that serves, the
/// tokens a second of all sequences, which is what people run one for.
pub fn usual_objectives(target: Target) -> Vec<Objective> {
    match target {
        Target::LlamaCpp | Target::Transformers => vec![Objective::Decode],
        Target::Vllm | Target::Sglang => vec![Objective::Serving],
    }
}

impl Scenario {
    /// Finds the plan, and refuses it unless an independent sum over the tensors agrees.
    ///
    /// # Errors
    /// Where the target cannot do what is asked, or nothing fits.
    pub fn plan(&self) -> Result<Plan, ScenarioError> {
        self.check_goal()?;
        if !self.terms.caches.is_empty() {
            return self.best_cache();
        }
        if let Some(candidates) = &self.terms.mix {
            return self.best_mix(candidates);
        }
        match self.terms.goal.objectives.first() {
            Some(Objective::Context) => self.longest_context(),
            Some(Objective::Quality) => self.best_precision(),
            _ => self.plan_as_asked(),
        }
    }

    /// The plan of this context and this precision.
    fn plan_as_asked(&self) -> Result<Plan, ScenarioError> {
        self.priced(|accounting, precision, ask| {
            let solution = solve::solve(accounting, ask)?;
            let fastest = solution.time;
            if let Some(most) = self
                .terms
                .max_time_per_token
                .filter(|most| fastest.0 > most.0)
            {
                let is_proven = solution.proof.status == solve::Status::Optimal;
                return Err(TooSlow {
                    most,
                    fastest,
                    is_proven,
                }
                .into());
            }
            self.document((accounting, precision), ask, &solution)
        })
    }

    /// A solution as a plan, added up again.
    fn document(
        &self,
        prices: (&dyn Accounting, Precision),
        ask: &Ask,
        solution: &Solution,
    ) -> Result<Plan, ScenarioError> {
        let plan = self.draft(prices, ask, solution)?;
        self.verified(plan, prices.1)
    }

    /// A solution as a plan that was not added up again yet.
    fn draft(
        &self,
        (accounting, precision): (&dyn Accounting, Precision),
        ask: &Ask,
        solution: &Solution,
    ) -> Result<Plan, ScenarioError> {
        let question = Question {
            model: &self.model,
            rig: &self.rig,
            target: self.target,
            precision,
            workload: &self.workload,
            accounting,
        };
        let baselines = baseline::all(accounting, ask, solution.layout);
        let mut plan = Plan::new(&question, solution, &baselines)?;
        plan.proof.given = self.given();
        Ok(plan)
    }

    /// The plan, if an independent sum over the tensors agrees.
    fn verified(&self, plan: Plan, precision: Precision) -> Result<Plan, ScenarioError> {
        check::verify(&plan, &self.model, precision, &self.workload)??;
        Ok(plan)
    }

    /// What is fixed, in words.
    fn given(&self) -> Vec<String> {
        self.given_with(&[])
    }

    /// The same with more that is fixed.
    fn given_with(&self, more: &[Constraint]) -> Vec<String> {
        let constraints = self.terms.constraints.iter().chain(more);
        let constraints = constraints.map(ToString::to_string);
        let limit = self.terms.max_time_per_token;
        // Of one precision a limit changes no plan: it keeps it or there is none.
        let limit = limit.filter(|_| self.terms.mix.is_some());
        let limit = limit.map(|most| format!("--max-time-per-token \"{most}\""));
        constraints.chain(limit).collect()
    }

    /// The engine, where it runs this model in one stage alone.
    pub fn in_one_stage(&self) -> Option<Server> {
        let engine = self.target.server();
        engine.filter(|engine| most_stages(*engine, &self.model) == 1)
    }

    /// Whether a plan is found, of as many pipelines as are asked for.
    fn has_plan(&self) -> bool {
        match self.terms.replicas {
            Number::Of(1) => self.is_possible() == Tried::Yes,
            Number::Of(_) => self.replicas().is_ok(),
            // One is a number of them too.
            Number::Auto => self.check_replicas().is_ok() && self.is_possible() == Tried::Yes,
        }
    }

    /// Whether there is a plan, as far as it can be told in time.
    fn is_possible(&self) -> Tried {
        self.is_within(usize::MAX).unwrap_or(Tried::No)
    }

    /// Hands over the price list, and what is asked of the solver.
    fn priced<T>(
        &self,
        answer: impl FnOnce(&dyn Accounting, Precision, &Ask) -> Result<T, ScenarioError>,
    ) -> Result<T, ScenarioError> {
        // What a forbidden card leaves is grouped without it, and what it lacks is no fault.
        match self.target {
            Target::Transformers | Target::Vllm | Target::Sglang => {
                let grouped = shared::without_forbidden(&self.rig, &self.terms.constraints)?;
                self.priced_on(&grouped, answer)
            }
            Target::LlamaCpp => self.priced_on(&self.rig, answer),
        }
    }

    /// The same for what a rig leaves.
    fn priced_on<T>(
        &self,
        rig: &Rig,
        answer: impl FnOnce(&dyn Accounting, Precision, &Ask) -> Result<T, ScenarioError>,
    ) -> Result<T, ScenarioError> {
        let Self {
            model,
            target,
            workload,
            terms,
            ..
        } = self;
        let precision = target.own_precision(self.precision)?;
        let accounting = target.accounting(model, precision, rig, workload)?;
        let accounting = accounting.as_ref();
        let ask = Ask {
            rules: constraint::rules(&terms.constraints, accounting, *target)?,
            goal: terms.goal.clone(),
            backend: terms.backend,
            stop: terms.stop.clone(),
        };
        answer(accounting, precision, &ask)
    }
}
