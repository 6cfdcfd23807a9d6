//! The best quality that fits where every block may have a recipe of its own.
//!
//! What is in no block, the embedding and the head, has one recipe, and each is tried in turn unless
//! it is ruled out (`rests.rs`). For each the solver finds the blocks' recipes together with their places: a column is priced at the
//! least penalty with which it fits its device (`cost/frontier.rs`).

mod in_ram;
mod limited;
mod parts;
mod rests;
mod within;

use std::fmt;
use std::str::FromStr;

use super::{GoalError, Penalties, Scenario, ScenarioError, constraint};
use crate::cost::frontier::Way;
use crate::cost::llama_cpp::mix::{Asked, Limit, Mixed, Offer};
use crate::cost::llama_cpp::{LlamaCpp, MOST_DEVICES};
use crate::cost::{Accounting, Layout, Target};
use crate::model::Precision;
use crate::model::mix::Mix;
use crate::model::recipe::{Recipe, UnknownRecipe};
use crate::plan::Plan;
use crate::plan::mix::MixSummary;
use crate::solve::{self, Amount, Ask, Goal, NoPlan, Objective, Ruling, Solution, Status};
use crate::units::Bytes;
use rests::{NO_PLAN, Rest, Rests};

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
    /// The place of that recipe among the others.
    place: usize,
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
        let mut found: Vec<Found> = Vec::new();
        // How all of them are ruled out, as long as they are.
        let mut no = NoPlan::RuledOut(Ruling::default());
        let n_ranks = rests.smallest.mixed.ranks().len();
        let mut rank = 0;
        while found.is_empty() && rank < n_ranks {
            if self.shares_ram() && rests.smallest.mixed.ranks()[rank].contains(&Layout::OFFLOADED)
            {
                match self.best_mix_in_ram(&rests, ask)? {
                    Ok(best) => found.push(best),
                    Err(other) => no = no.and(other),
                }
                rank += 1;
                continue;
            }
            let mut floor = 0;
            let mut tried: Vec<(Mixed<'_>, Result<Solution, NoPlan>)> = Vec::new();
            for (index, rest) in rests.in_turn().enumerate() {
                let least = rest.least(floor);
                let is_worse = |found: &Found| found.penalty < least as f64 / Way::PARTS;
                if least == NO_PLAN || found.iter().any(is_worse) {
                    continue;
                }
                let mixed = rest.mixed.of_rank(rank);
                let layouts = mixed.ranks().concat();
                let alike = tried
                    .iter()
                    .find(|(other, _)| mixed.has_plans_of(other, &layouts));
                let attempt = match alike {
                    Some((_, attempt)) => attempt.clone(),
                    None => solve::attempt(&mixed, ask),
                };
                if index == 0 {
                    floor = of_blocks(&attempt);
                }
                tried.push((mixed, attempt.clone()));
                match attempt {
                    Ok(solution) => found.push(Found::new(rest, solution)),
                    Err(other) => no = no.and(other),
                }
            }
            rank += 1;
        }
        found.sort_by_key(|found| found.place);
        let bounds = found.iter().map(|found| found.bound);
        let bound = bounds.fold(f64::INFINITY, f64::min);
        let best = found.into_iter().min_by(|a, b| {
            let by_time = a.solution.time.0.total_cmp(&b.solution.time.0);
            a.penalty.total_cmp(&b.penalty).then(by_time)
        });
        let Some(best) = best else {
            return Err(solve::explain(&rests.smallest.mixed, ask, self.ruled(no)).into());
        };
        // What was not found in time could be of any penalty.
        let bound = match no {
            NoPlan::RuledOut(_) => bound,
            NoPlan::NotFound => 0.0,
        };
        self.written(best, bound, ask, method)
    }

    /// Whether stages are looked for that share RAM: their search tells no hosts apart, and takes any
    /// number of devices.
    fn shares_ram(&self) -> bool {
        let devices = self.rig.devices();
        let hosts = devices.iter().map(|device| device.host);
        devices.len() <= MOST_DEVICES && hosts.clone().zip(hosts.skip(1)).all(|(a, b)| a == b)
    }

    /// What is said where no mix was found. What is read from disk is left to plans of one recipe, parts
    /// in RAM are where these are not searched, and buffers are the largest of all recipes': nothing is
    /// ruled out where the smallest recipe alone has a plan.
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
        let mut plan = self.draft((&accounting, precision), ask, &solution)?;
        plan.mix = Some(MixSummary::new(&mix, &self.model)?);
        self.verified(plan, precision)
    }
}

/// What blocks cost at the least in any plan, in parts of [`Way::PARTS`].
fn of_blocks(attempt: &Result<Solution, NoPlan>) -> u64 {
    match attempt {
        // A float does not tell apart what is this close.
        Ok(solution) => (solution.proof.bound.number() * Way::PARTS * (1.0 - 1e-12)) as u64,
        Err(NoPlan::RuledOut(_)) => NO_PLAN,
        Err(NoPlan::NotFound) => 0,
    }
}

impl Found {
    fn new(rest: &Rest<'_>, solution: Solution) -> Self {
        let mixed = &rest.mixed;
        let of_rest = mixed.penalty_of_rest() as f64 / Way::PARTS;
        Self {
            place: rest.place,
            penalty: solution.proof.objective().number() + of_rest,
            bound: solution.proof.bound.number() + of_rest,
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
