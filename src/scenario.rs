//! A question and its answer: a model, a rig, a target and a workload give a plan, or the reasons
//! why there is none and what would help.

use crate::cost::{Target, TargetError};
use crate::hardware::{Rig, RigError, Source};
use crate::model::recipe::Recipe;
use crate::model::{Checkpoint, Model, Precision, PrecisionError};
use crate::plan::build::Question;
use crate::plan::{CheckError, Plan, check};
use crate::solve::{self, Backend, Infeasible, baseline};
use crate::units::{Bytes, Tokens};
use crate::workload::{KvFormat, Workload};

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
    /// Who solves the linear program.
    pub backend: Backend,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The target cannot do this on any rig.
    #[error(transparent)]
    Target(#[from] TargetError),
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

/// A change that makes a plan possible; each was tried.
#[derive(Clone, Debug, PartialEq)]
pub enum Fix {
    /// A shorter context.
    Context(Tokens),
    /// A smaller cache.
    Kv(KvFormat),
    /// Fewer sequences.
    Sequences(u32),
    /// Smaller weights.
    Precision(Precision),
    /// RAM to offload to.
    Ram(Bytes),
    /// One more card of a kind that the rig has, as a rig text names it.
    AnotherCard(String),
    /// Another framework, that offloads what this one refuses to, at a precision that it loads.
    Target(Target, Precision),
}

/// The context that is planned for where none is named: 4096 tokens, or what the model knows if less.
pub fn usual_context(model: &Model) -> Tokens {
    model.dimensions.context.min(Tokens(4096))
}

impl Scenario {
    /// Finds the plan, and refuses it unless an independent sum over the tensors agrees.
    ///
    /// # Errors
    /// Where the target cannot do what is asked, or nothing fits.
    pub fn plan(&self) -> Result<Plan, ScenarioError> {
        let precision = self.target.own_precision(self.precision)?;
        let Self {
            model,
            rig,
            target,
            workload,
            ..
        } = self;
        let accounting = target.accounting(model, precision, rig, workload)?;
        let accounting = accounting.as_ref();
        let solution = solve::solve(accounting, self.backend)?;
        let baselines = baseline::all(accounting);
        let question = Question {
            model,
            target: *target,
            precision,
            workload,
            accounting,
        };
        let plan = Plan::new(&question, &solution, &baselines);
        check::verify(&plan, model, precision, workload)??;
        Ok(plan)
    }

    /// Tries one change of each kind, the smallest that works, and keeps those that do.
    pub fn fixes(&self, infeasible: &Infeasible) -> Vec<Fix> {
        let missing = infeasible.missing();
        let candidates = [
            self.first_that_works(self.shorter_contexts()),
            self.first_that_works(self.smaller_caches()),
            self.first_that_works(self.fewer_sequences()),
            self.first_that_works(self.smaller_precisions()),
            self.first_that_works(self.more_ram(missing)),
            self.first_that_works(self.more_cards()),
            self.first_that_works(self.other_targets()),
        ];
        candidates.into_iter().flatten().collect()
    }

    fn first_that_works(&self, changes: Vec<(Fix, Self)>) -> Option<Fix> {
        changes
            .into_iter()
            .find_map(|(fix, scenario)| scenario.plan().is_ok().then_some(fix))
    }

    fn with_workload(&self, workload: Workload) -> Self {
        Self {
            workload,
            ..self.clone()
        }
    }

    fn shorter_contexts(&self) -> Vec<(Fix, Self)> {
        let halves = std::iter::successors(Some(self.workload.context.0 / 2), |c| Some(c / 2));
        halves
            .take_while(|context| *context >= 512)
            .map(|context| {
                let workload = Workload {
                    context: Tokens(context),
                    ..self.workload
                };
                (Fix::Context(Tokens(context)), self.with_workload(workload))
            })
            .collect()
    }

    fn smaller_caches(&self) -> Vec<(Fix, Self)> {
        let one = |format: KvFormat| format.row_bytes(256);
        [KvFormat::F16, KvFormat::Q8_0, KvFormat::Q4_0]
            .into_iter()
            .filter(|format| one(*format) < one(self.workload.kv_format))
            .map(|kv_format| {
                let workload = Workload {
                    kv_format,
                    ..self.workload
                };
                (Fix::Kv(kv_format), self.with_workload(workload))
            })
            .collect()
    }

    fn fewer_sequences(&self) -> Vec<(Fix, Self)> {
        let halves = std::iter::successors(Some(self.workload.sequences / 2), |n| Some(n / 2));
        halves
            .take_while(|sequences| *sequences >= 1)
            .map(|sequences| {
                let workload = Workload {
                    sequences,
                    ..self.workload
                };
                (Fix::Sequences(sequences), self.with_workload(workload))
            })
            .collect()
    }

    fn smaller_precisions(&self) -> Vec<(Fix, Self)> {
        let ladder: &[Precision] = match self.target {
            Target::LlamaCpp => &[
                Precision::Gguf(Recipe::Q8_0),
                Precision::Gguf(Recipe::Q6K),
                Precision::Gguf(Recipe::Q5KM),
                Precision::Gguf(Recipe::Q4KM),
                Precision::Gguf(Recipe::Q3KM),
                Precision::Gguf(Recipe::Q2K),
                Precision::Gguf(Recipe::IQ2XXS),
            ],
            Target::Transformers => &[
                Precision::Checkpoint(Checkpoint::Int8),
                Precision::Checkpoint(Checkpoint::Nf4),
            ],
        };
        let size = |precision: Precision| {
            let own = self.target.own_precision(precision).ok()?;
            Some(
                self.model
                    .tensor_bytes(own)
                    .ok()?
                    .into_iter()
                    .sum::<Bytes>(),
            )
        };
        let now = size(self.precision);
        ladder
            .iter()
            .filter(|precision| size(**precision) < now)
            .map(|precision| {
                (
                    Fix::Precision(*precision),
                    Self {
                        precision: *precision,
                        ..self.clone()
                    },
                )
            })
            .collect()
    }

    /// RAM that could take what is missing; a fifth less, since what is offloaded needs less beside.
    fn more_ram(&self, missing: Bytes) -> Vec<(Fix, Self)> {
        let now = self.rig.host().map_or(Bytes::ZERO, |host| host.memory);
        [16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
            .map(Bytes::gib)
            .into_iter()
            .filter(|ram| *ram > now && ram.saturating_sub(now) >= missing.scale(0.8))
            .filter_map(|ram| {
                Some((
                    Fix::Ram(ram),
                    Self {
                        rig: self.rig.with_ram(ram).ok()?,
                        ..self.clone()
                    },
                ))
            })
            .collect()
    }

    fn more_cards(&self) -> Vec<(Fix, Self)> {
        let mut seen = Vec::new();
        let mut changes = Vec::new();
        for device in self.rig.devices() {
            if seen.contains(&&device.model) {
                continue;
            }
            seen.push(&device.model);
            let added: Result<Rig, RigError> = self.rig.with_another(device);
            let spelled = match device.source {
                Source::Stated => format!("{}@{}", String::from(device.memory), device.bandwidth),
                Source::Measured | Source::Datasheet | Source::Assumed => device.model.clone(),
            };
            let fix = Fix::AnotherCard(spelled);
            changes.extend(added.ok().map(|rig| {
                (
                    fix,
                    Self {
                        rig,
                        ..self.clone()
                    },
                )
            }));
        }
        changes
    }

    fn other_targets(&self) -> Vec<(Fix, Self)> {
        let target = Target::LlamaCpp;
        if self.target == target {
            return Vec::new();
        }
        [self.precision, target.usual_precision(&self.model)]
            .into_iter()
            .filter_map(|precision| target.own_precision(precision).ok())
            .map(|precision| {
                (
                    Fix::Target(target, precision),
                    Self {
                        target,
                        precision,
                        ..self.clone()
                    },
                )
            })
            .collect()
    }
}
