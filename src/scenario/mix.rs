//! The best quality that fits where every block may have a recipe of its own.
//!
//! What is in no block, the embedding and the head, has one recipe, and each is tried in turn. For
//! each the solver finds the blocks' recipes together with their places: a column is priced at the
//! least penalty with which it fits its device (`cost/frontier.rs`).

mod limited;

use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use super::{GoalError, Penalties, Scenario, ScenarioError, constraint};
use crate::cost::frontier::Way;
use crate::cost::llama_cpp::mix::{Asked, Blocks, Limit, Mixed, Offer};
use crate::cost::llama_cpp::{LlamaCpp, MOST_DEVICES};
use crate::cost::{Accounting, Target};
use crate::model::Precision;
use crate::model::mix::Mix;
use crate::model::recipe::{Recipe, UnknownRecipe};
use crate::plan::build::Question;
use crate::plan::mix::MixSummary;
use crate::plan::{Plan, check};
use crate::solve::{
    self, Amount, Ask, Goal, NoPlan, Objective, Ruling, Solution, Status, baseline,
};
use crate::units::Bytes;

/// The recipes that blocks may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Candidates {
    /// Those of the table of penalties that need no importance matrix.
    Auto,
    /// These.
    Of(Vec<Recipe>),
}

impl FromStr for Candidates {
    type Err = UnknownRecipe;

    fn from_str(text: &str) -> Result<Self, UnknownRecipe> {
        match text.trim() {
            "auto" => Ok(Self::Auto),
            list => {
                let recipes = list.split(',').map(|name| name.trim().parse());
                Ok(Self::Of(recipes.collect::<Result<_, _>>()?))
            }
        }
    }
}

impl fmt::Display for Candidates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Of(recipes) => {
                let names: Vec<_> = recipes.iter().map(ToString::to_string).collect();
                formatter.write_str(&names.join(","))
            }
        }
    }
}

/// A plan with one recipe for what is in no block.
struct Found {
    mix: Mix,
    solution: Solution,
    /// What all of it costs; no plan with this recipe costs less than `bound`.
    penalty: f64,
    bound: f64,
}

impl Scenario {
    /// The mix of the least penalty that has a plan, and that plan.
    pub(super) fn best_mix(&self, candidates: &Candidates) -> Result<Plan, ScenarioError> {
        if self.target != Target::LlamaCpp {
            return Err(GoalError::MixTarget(self.target).into());
        }
        let table = self.penalties()?;
        let offers = offers(candidates, &table)?;
        let usual = Precision::Gguf(offers[0].recipe);
        let accounting = self
            .target
            .accounting(&self.model, usual, &self.rig, &self.workload)?;
        let ask = Ask {
            rules: constraint::rules(&self.terms.constraints, accounting.as_ref(), self.target)?,
            goal: self.quality_first(),
            backend: self.terms.backend,
            stop: self.terms.stop.clone(),
        };
        let sensitivity = table.sensitivity(&self.model)?;
        let asked = Asked {
            model: &self.model,
            rig: &self.rig,
            workload: &self.workload,
            offers: &offers,
            sensitivity: &sensitivity,
        };
        let method = format!("mixes of {} recipes ({})", offers.len(), table.measure);
        let hosts = self.rig.devices().iter().map(|device| device.host);
        let is_of_one_host = hosts.clone().zip(hosts.skip(1)).all(|(a, b)| a == b);
        match self.terms.max_time_per_token {
            Some(_) if !is_of_one_host => Err(GoalError::MixHosts.into()),
            Some(_) if self.rig.devices().len() > MOST_DEVICES => {
                Err(GoalError::MixDevices(MOST_DEVICES).into())
            }
            Some(most) => self.best_mix_within(most, asked, &ask, &method),
            None => self.best_mix_that_fits(asked, &ask, &method),
        }
    }

    /// The same without a limit on time: the rank is the first that any mix reaches.
    fn best_mix_that_fits(
        &self,
        asked: Asked<'_>,
        ask: &Ask,
        method: &str,
    ) -> Result<Plan, ScenarioError> {
        let rests = Rests::new(asked, Limit::None)?;
        let mut mixed: Vec<Mixed<'_>> = Vec::new();
        let mut found: Vec<Found> = Vec::new();
        // How all of them are ruled out, as long as they are.
        let mut no = NoPlan::RuledOut(Ruling::default());
        let mut n_ranks = 1;
        let mut rank = 0;
        while found.is_empty() && rank < n_ranks {
            for (index, rest) in rests.by_least.iter().enumerate() {
                let least = rests.least(rest) as f64 / Way::PARTS;
                if found.iter().any(|found| found.penalty < least) {
                    break;
                }
                if mixed.len() == index {
                    mixed.push(rests.mixed(rest)?);
                    n_ranks = mixed[index].ranks().len();
                }
                let mixed = mixed[index].of_rank(rank);
                match solve::attempt(&mixed, ask) {
                    Ok(solution) => found.push(Found::new(&mixed, solution)),
                    Err(other) => no = no.and(other),
                }
            }
            rank += 1;
        }
        let bounds = found.iter().map(|found| found.bound);
        let bound = bounds.fold(f64::INFINITY, f64::min);
        let best = found.into_iter().min_by(|a, b| {
            let by_time = a.solution.time.0.total_cmp(&b.solution.time.0);
            a.penalty.total_cmp(&b.penalty).then(by_time)
        });
        let Some(best) = best else {
            return Err(solve::explain(&rests.smallest()?, ask, self.ruled(no)).into());
        };
        // What was not found in time could be of any penalty.
        let bound = match no {
            NoPlan::RuledOut(_) => bound,
            NoPlan::NotFound => 0.0,
        };
        self.written(best, bound, ask, method)
    }

    /// What is said where no mix was found. Parts of blocks in RAM are left to plans of one recipe, so
    /// that nothing is ruled out where the smallest recipe alone has a plan.
    fn ruled(&self, no: NoPlan) -> NoPlan {
        let alone = self.at_its_smallest().map(|mut alone| {
            alone.terms.max_time_per_token = None;
            alone
        });
        match alone.is_some_and(|alone| alone.has_plan()) {
            true => NoPlan::NotFound,
            false => no,
        }
    }

    /// The question with the smallest recipe of the mix for all blocks: where it has a plan, the mix
    /// has one.
    pub(super) fn at_its_smallest(&self) -> Option<Self> {
        let candidates = self.terms.mix.as_ref()?;
        let offers = offers(candidates, &self.penalties().ok()?).ok()?;
        let precisions = offers.iter().map(|offer| Precision::Gguf(offer.recipe));
        let size = |precision: &Precision| {
            let sizes = self.model.tensor_bytes(*precision);
            sizes.ok().map(|sizes| sizes.into_iter().sum::<Bytes>())
        };
        let mut smallest = self.clone();
        smallest.precision = precisions.min_by_key(size)?;
        smallest.terms.mix = None;
        Some(smallest)
    }

    /// The objectives with quality as the first.
    fn quality_first(&self) -> Goal {
        let goal = &self.terms.goal;
        let others = goal
            .objectives
            .iter()
            .filter(|it| **it != Objective::Quality);
        Goal {
            objectives: [Objective::Quality].iter().chain(others).copied().collect(),
            ..goal.clone()
        }
    }

    /// The plan of a mix, at the prices of that very file.
    fn written(
        &self,
        found: Found,
        bound: f64,
        ask: &Ask,
        method: &str,
    ) -> Result<Plan, ScenarioError> {
        let Found {
            mix,
            mut solution,
            penalty,
            ..
        } = found;
        let formats = mix.formats(&self.model)?;
        let accounting = LlamaCpp::of_formats(&self.model, formats, &self.rig, &self.workload)?;
        let proof = &mut solution.proof;
        if let Some(first) = proof.worth.first_mut() {
            first.1 = Amount::Penalty(penalty);
        }
        proof.bound = Amount::Penalty(bound.min(penalty));
        if bound < penalty {
            proof.status = Status::Feasible;
        }
        proof.method = format!("{method}; {}", proof.method);
        let precision = Precision::Gguf(mix.rest);
        let question = Question {
            model: &self.model,
            rig: &self.rig,
            target: self.target,
            precision,
            workload: &self.workload,
            accounting: &accounting,
        };
        let baselines = baseline::all(&accounting, ask, solution.layout);
        let mut plan = Plan::new(&question, &solution, &baselines)?;
        plan.mix = Some(MixSummary::new(&mix, &self.model)?);
        plan.proof.given = self.given();
        check::verify(&plan, &self.model, precision, &self.workload)??;
        Ok(plan)
    }
}

/// What is in no block can have any of these recipes.
struct Rests<'a> {
    blocks: Rc<Blocks<'a>>,
    /// The one with which a mix may cost the least first.
    by_least: Vec<Offer>,
}

impl<'a> Rests<'a> {
    fn new(asked: Asked<'a>, limit: Limit) -> Result<Self, ScenarioError> {
        let blocks = Rc::new(Blocks::new(asked, limit)?);
        let mut by_least = asked.offers.to_vec();
        by_least.sort_by_key(|rest| blocks.least_with(rest));
        Ok(Self { blocks, by_least })
    }

    /// What no mix with it costs less than.
    fn least(&self, rest: &Offer) -> u64 {
        self.blocks.least_with(rest)
    }

    fn mixed(&self, rest: &Offer) -> Result<Mixed<'a>, ScenarioError> {
        Ok(Mixed::new(&self.blocks, *rest)?)
    }

    /// Where no mix has a plan, that with the smallest rest lacks the least.
    fn smallest(&self) -> Result<Mixed<'a>, ScenarioError> {
        let all = self.by_least.iter().map(|rest| self.mixed(rest));
        let all: Vec<_> = all.collect::<Result<_, _>>()?;
        let smallest = all.into_iter().min_by_key(Mixed::size_of_rest);
        // A mix has at least one recipe.
        smallest.ok_or_else(|| GoalError::NoPrecision(Target::LlamaCpp).into())
    }
}

impl Found {
    fn new(mixed: &Mixed<'_>, solution: Solution) -> Self {
        let rest = mixed.penalty_of_rest() as f64 / Way::PARTS;
        Self {
            penalty: solution.proof.objective().number() + rest,
            bound: solution.proof.bound.number() + rest,
            mix: mixed.mix(solution.layout, &solution.stages),
            solution,
        }
    }
}

/// The candidates with their penalties, the least first.
fn offers(candidates: &Candidates, table: &Penalties) -> Result<Vec<Offer>, ScenarioError> {
    let named = table.by_precision.iter();
    let known = named.filter_map(|(precision, penalty)| match precision {
        Precision::Gguf(recipe) if recipe.is_quantised() => Some(Offer {
            recipe: *recipe,
            penalty: *penalty,
        }),
        _ => None,
    });
    let known: Vec<Offer> = known.collect();
    let wanted: Vec<Recipe> = match candidates {
        Candidates::Auto => {
            let plain = known.iter().map(|offer| offer.recipe);
            plain
                .filter(|recipe| !recipe.needs_importance_matrix())
                .collect()
        }
        Candidates::Of(recipes) => recipes.clone(),
    };
    if let Some(unknown) = wanted
        .iter()
        .find(|recipe| !known.iter().any(|offer| offer.recipe == **recipe))
    {
        return Err(GoalError::NoPenalty(*unknown).into());
    }
    let offers: Vec<Offer> = known
        .into_iter()
        .filter(|offer| wanted.contains(&offer.recipe))
        .collect();
    match offers.is_empty() {
        true => Err(GoalError::NoPrecision(Target::LlamaCpp).into()),
        false => Ok(offers),
    }
}
