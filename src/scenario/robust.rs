//! What if the estimates are wrong: how much slower a plan is than the best one for rates that turn
//! out otherwise, and by how much memory may be underestimated before a device overflows.

use super::{GoalError, Scenario, ScenarioError};
use crate::hardware::{Rig, RigError};
use crate::plan::{CPU, Plan};
use crate::solve::{self, Objective};
use crate::units::Bytes;

/// Rates that a kind of device may turn out to have, as shares of the estimate: a fifth less and a
/// quarter more, about the half-width of most estimates.
const RATES: [f64; 3] = [1.0, 0.8, 1.25];
/// Kinds of devices whose rates are mixed in every way; of more kinds the first ones are.
const MOST_KINDS: usize = 4;

/// How a plan stands up to wrong estimates.
#[derive(Clone, Debug, PartialEq)]
pub struct Robustness {
    /// How many mixes of rates were tried.
    pub n_tried: usize,
    /// How much longer a token, a prompt, a request or the slowest stage takes (as the first objective
    /// says) than in the plan that is best for the rates, as a share, at the worst of them.
    pub regret: f64,
    /// The rates at the worst, by the names of devices or kinds; none where there is no regret.
    pub worst: Vec<(String, f64)>,
    /// How much more than estimated every device may need, as a share, before one overflows.
    pub memory: f64,
}

impl Scenario {
    /// Holds the best plan against rates that turn out otherwise, each mix planned anew by the first
    /// objective.
    ///
    /// # Errors
    /// Where there is no plan, or rates do not matter for the first objective.
    pub fn robustness(&self, plan: &Plan) -> Result<Robustness, ScenarioError> {
        let mut first = self.clone();
        let goal = &mut first.terms.goal;
        goal.objectives.truncate(1);
        if let Some(other) = goal.objectives.iter().find(|it| !it.is_of_rates()) {
            return Err(GoalError::Robust(*other).into());
        }
        if self.terms.mix.is_some() {
            return Err(GoalError::Robust(Objective::Quality).into());
        }
        let (layout, stages) = self.priced(|accounting, _, ask| {
            let solution = solve::solve(accounting, ask)?;
            Ok((solution.layout, solution.stages))
        })?;
        let kinds = self.kinds();
        let mut robustness = Robustness {
            n_tried: 0,
            regret: 0.0,
            worst: Vec::new(),
            memory: memory(plan),
        };
        for mix in 0..RATES.len().pow(kinds.len() as u32) {
            if self.terms.stop.is_set() {
                break;
            }
            let rate = |kind: usize| RATES[mix / RATES.len().pow(kind as u32) % RATES.len()];
            let rates = kinds.iter().cloned().enumerate();
            let rates: Vec<_> = rates.map(|(index, kind)| (kind, rate(index))).collect();
            let Ok(rig) = self.rig_at(&rates) else {
                continue;
            };
            let scenario = Self {
                rig,
                ..first.clone()
            };
            let (worth, best) = scenario.priced(|accounting, _, ask| {
                let worth = solve::worth(accounting, &ask.goal, layout, &stages);
                Ok((worth, solve::least(accounting, ask)))
            })?;
            // Rates change no memory: what fitted fits.
            let Ok(best) = best else { continue };
            robustness.n_tried += 1;
            let regret = worth as f64 / best.max(1) as f64 - 1.0;
            if regret > robustness.regret {
                robustness.regret = regret;
                robustness.worst = rates.into_iter().filter(|(_, rate)| *rate != 1.0).collect();
            }
        }
        Ok(robustness)
    }

    /// The kinds of devices, and RAM.
    fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = Vec::new();
        for device in self.rig.devices() {
            if !kinds.contains(&device.model) {
                kinds.push(device.model.clone());
            }
        }
        kinds.truncate(MOST_KINDS - 1);
        kinds.extend(self.rig.host().map(|_| CPU.to_owned()));
        kinds
    }

    fn rig_at(&self, rates: &[(String, f64)]) -> Result<Rig, RigError> {
        let rate = |kind: &str| {
            let found = rates.iter().find(|(name, _)| name == kind);
            found.map_or(1.0, |(_, rate)| *rate)
        };
        let mut devices = self.rig.devices().to_vec();
        for device in &mut devices {
            device.bandwidth = device.bandwidth * rate(&device.model);
        }
        let mut host = self.rig.host().cloned();
        if let Some(host) = &mut host {
            host.bandwidth = host.bandwidth * rate(CPU);
        }
        self.rig.with(devices, host)
    }
}

/// The least share by which what a device holds may grow.
fn memory(plan: &Plan) -> f64 {
    let used = plan.devices.iter().filter(|device| {
        // RAM that the rig does not state has exactly what is kept there.
        device.memory.total() > Bytes::ZERO
            && (plan.gpu(&device.name).is_some() || plan.rig.host().is_some())
    });
    used.map(|device| device.free().0 as f64 / device.memory.total().0 as f64)
        .fold(f64::INFINITY, f64::min)
}
