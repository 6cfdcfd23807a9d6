//! What would help where nothing fits: one change of each kind, tried before it is offered.

use super::search::{STEP, Tried};
use super::{Constraint, Scenario, usual_objectives};
use crate::cost::Target;
use crate::hardware::{Rig, RigError, Source};
use crate::model::recipe::Recipe;
use crate::model::{Checkpoint, Precision};
use crate::solve::{Infeasible, Objective};
use crate::units::{Bytes, Tokens};
use crate::workload::{KvFormat, Workload};

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
    /// One constraint less.
    Without(Constraint),
    /// Another framework, that has a pipeline of this model or offloads what this one refuses to, at a
    /// precision that it loads, and the objectives where it does not know those that were asked for.
    Target(Target, Precision, Vec<Objective>),
}

impl Scenario {
    /// Tries one change of each kind, the smallest that works, and keeps those that do.
    pub fn fixes(&self, infeasible: &Infeasible) -> Vec<Fix> {
        self.at_its_least().changes(infeasible.missing())
    }

    fn changes(&self, missing: Bytes) -> Vec<Fix> {
        let mut kept: Vec<Fix> = self.unpinned();
        let candidates = [
            self.first_that_works(self.shorter_contexts()),
            self.first_that_works(self.smaller_caches()),
            self.first_that_works(self.fewer_sequences()),
            self.first_that_works(self.smaller_precisions()),
            self.first_that_works(self.more_ram(missing)),
            self.first_that_works(self.more_cards()),
            self.first_that_works(self.other_targets()),
        ];
        kept.extend(candidates.into_iter().flatten());
        kept
    }

    /// The question that asks for the least of those that this one searches: where it has no plan, none
    /// has one.
    fn at_its_least(&self) -> Self {
        let mut least = match self.at_its_smallest() {
            Some(smallest) => smallest,
            None => self.clone(),
        };
        let goal = &self.terms.goal;
        match goal.objectives.first() {
            Some(Objective::Context) => {
                least.workload.context = self.workload.context.min(Tokens(STEP));
            }
            Some(Objective::Quality) if self.terms.mix.is_none() => {
                let candidates = self.candidates().unwrap_or_default();
                let smallest = candidates.last().map(|(precision, _)| *precision);
                least.precision = smallest.unwrap_or(self.precision);
            }
            _ => {}
        }
        least
    }

    /// The constraints without which alone there would be a plan.
    fn unpinned(&self) -> Vec<Fix> {
        let constraints = &self.terms.constraints;
        let without = constraints.iter().enumerate().filter(|(index, _)| {
            let mut others = constraints.clone();
            others.remove(*index);
            self.with_constraints(others).has_plan()
        });
        without
            .map(|(_, constraint)| Fix::Without(constraint.clone()))
            .collect()
    }

    /// The smallest set of constraints that leaves no plan, where that is proven: one alone or two
    /// together, else each is dropped that is not needed for that. Empty where there is no plan without
    /// any of them either.
    pub fn conflict(&self, infeasible: &Infeasible) -> Vec<Constraint> {
        match infeasible.is_proven() {
            true => self.at_its_least().conflicting(),
            false => Vec::new(),
        }
    }

    fn conflicting(&self) -> Vec<Constraint> {
        let mut all: Vec<Constraint> = Vec::new();
        for constraint in &self.terms.constraints {
            if !all.contains(constraint) {
                all.push(constraint.clone());
            }
        }
        let is_free = || self.with_constraints(Vec::new()).has_plan();
        if all.is_empty() || !is_free() {
            return Vec::new();
        }
        let leaves_none = |set: &Vec<Constraint>| {
            set.len() == all.len() || self.with_constraints(set.clone()).is_possible() == Tried::No
        };
        let alone = all.iter().map(|it| vec![it.clone()]);
        let earlier = all
            .iter()
            .enumerate()
            .map(|(index, it)| (&all[..index], it));
        let pairs = earlier
            .flat_map(|(others, it)| others.iter().map(|other| vec![other.clone(), it.clone()]));
        if let Some(smallest) = alone.chain(pairs).find(leaves_none) {
            return smallest;
        }
        let mut kept = all.clone();
        for constraint in &all {
            let others = kept.iter().filter(|other| *other != constraint);
            let others: Vec<_> = others.cloned().collect();
            if leaves_none(&others) {
                kept = others;
            }
        }
        kept
    }

    fn with_constraints(&self, constraints: Vec<Constraint>) -> Self {
        let mut scenario = self.clone();
        scenario.terms.constraints = constraints;
        scenario
    }

    fn first_that_works(&self, changes: Vec<(Fix, Self)>) -> Option<Fix> {
        changes
            .into_iter()
            .find_map(|(fix, scenario)| scenario.has_plan().then_some(fix))
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
        [KvFormat::F16, KvFormat::Fp8, KvFormat::Q8_0, KvFormat::Q4_0]
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
            Target::Vllm | Target::Sglang => &[Precision::Checkpoint(Checkpoint::Fp8)],
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
        // Where the best precision is sought, its table alone says which there are.
        let ladder = match self.terms.goal.objectives.contains(&Objective::Quality) {
            true => &[],
            false => ladder,
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
                        rig: self.rig.with_ram(ram, self.terms.margin).ok()?,
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
            let added: Result<Rig, RigError> = self.rig.with_another(device);
            let spelled = match device.source {
                Source::Stated => format!("{}@{}", String::from(device.memory), device.bandwidth),
                Source::Measured | Source::Datasheet | Source::Assumed => device.model.clone(),
            };
            if seen.contains(&spelled) {
                continue;
            }
            seen.push(spelled.clone());
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

    /// The other engine that serves, then the framework that offloads.
    fn other_targets(&self) -> Vec<(Fix, Self)> {
        let other = Target::LlamaCpp;
        let asked = &self.terms.goal.objectives;
        let mut changes = Vec::new();
        if self.target.server().is_some() {
            let engines = [Target::Vllm, Target::Sglang].into_iter();
            let engines = engines.filter(|target| *target != self.target);
            changes.extend(engines.map(|target| (target, self.precision, Vec::new())));
        }
        // The tokens in a cache that is as large as it was asked for are no objective there.
        if self.target != other && !asked.contains(&Objective::Kv) {
            let objectives = match asked.contains(&Objective::Serving) {
                true => usual_objectives(other),
                false => Vec::new(),
            };
            let precisions = [self.precision, other.usual_precision(&self.model)].into_iter();
            let precisions = precisions.filter_map(|precision| other.own_precision(precision).ok());
            changes.extend(precisions.map(|precision| (other, precision, objectives.clone())));
        }
        let changes = changes.into_iter().map(|(target, precision, objectives)| {
            let changed = Self {
                target,
                precision,
                ..self.clone()
            };
            (Fix::Target(target, precision, objectives), changed)
        });
        changes.collect()
    }
}
