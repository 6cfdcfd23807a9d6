//! The plan of some cards alone, as if the others of the rig were forbidden, and the same plan on cards
//! that are alike. Which parts are planned for is not here.

use crate::hardware::DeviceId;
use crate::plan::Plan;
use crate::scenario::{Constraint, ConstraintError, Scenario, ScenarioError};
use crate::solve::replicas::Valued;
use crate::solve::{self, Amount, Ask, NoPlan, Stop};
use crate::units::Seconds;

/// A plan of a part, and what is known of it.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) valued: Valued,
}

impl Planned {
    /// Whether none is better.
    pub(super) fn is_proven(&self) -> bool {
        self.valued.worth == self.valued.bound
    }
}

/// What came of a search.
pub(super) type Tried = Result<Planned, NoPlan>;

impl Scenario {
    /// The plan of some cards, without reasons where there is none.
    pub(super) fn attempted(&self, ids: &[DeviceId], stop: &Stop) -> Result<Tried, ScenarioError> {
        let others = self.rig.device_ids();
        let others = others.filter(|id| ids.binary_search(id).is_err());
        // What has no room is in no group, and needs no rule.
        let rig = self.rig.clone().without(others);
        let answer = self.priced_on(&rig, |accounting, precision, ask| {
            let ask = Ask {
                stop: stop.clone(),
                ..ask.clone()
            };
            let solution = match solve::attempt(accounting, &ask) {
                Ok(solution) => solution,
                Err(no) => return Ok(Err(no)),
            };
            let mut plan = self.draft((accounting, precision), &ask, &solution)?;
            plan.proof.given = self.given_of(ids);
            let plan = self.verified(plan, precision)?;
            let [worth, bound] = [solution.proof.objective(), solution.proof.bound].map(millionths);
            let valued = Valued {
                worth,
                bound: bound.max(worth),
            };
            Ok(Ok(Planned { plan, valued }))
        });
        match answer {
            // A part may have too few cards for the groups that are asked for.
            Err(ScenarioError::Constraint(ConstraintError::Degree { .. })) => {
                Ok(Err(NoPlan::RuledOut(solve::Ruling::Area)))
            }
            answer => answer,
        }
    }

    /// The same plan on other cards.
    pub(super) fn moved(
        &self,
        plan: &Plan,
        exchange: &[(DeviceId, DeviceId)],
        ids: &[DeviceId],
    ) -> Plan {
        let name = |id: DeviceId| self.rig.device(id).name.as_str();
        let names = exchange.iter().map(|(from, to)| (name(*from), name(*to)));
        let mut plan = plan.renamed(&names.collect());
        plan.proof.given = self.given_of(ids);
        plan
    }

    /// What is fixed where some cards are planned for: the others are forbidden.
    fn given_of(&self, ids: &[DeviceId]) -> Vec<String> {
        let others = self.rig.device_ids();
        let others = others.filter(|id| ids.binary_search(id).is_err());
        let others = others.map(|id| Constraint::Forbid(self.rig.device(id).name.clone()));
        let is_new = |other: &Constraint| !self.terms.constraints.contains(other);
        self.given_with(&others.filter(is_new).collect::<Vec<_>>())
    }
}

/// What adds up over replicas: millionths of a token a second, or tokens in the cache.
fn millionths(amount: Amount) -> u64 {
    match amount {
        Amount::Time(Seconds(time)) => (1e6 / time.max(1e-12)) as u64,
        Amount::Rate(rate) => (rate * 1e6) as u64,
        Amount::Resident(tokens) => tokens.0,
        Amount::Devices(_) | Amount::Fullness(_) | Amount::Context(_) | Amount::Penalty(_) => 0,
    }
}
