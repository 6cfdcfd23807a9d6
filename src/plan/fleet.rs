//! Replicas: several plans of one model, each on cards of its own, as one document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_yaml::FlowMap;

use crate::plan::served::joined;
use crate::plan::{
    BaselineSummary, CheckError, DocumentError, Plan, ProofSummary, VERSION, document, members,
};
use document::Kind;

/// Plans that share a rig and no card of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// What is proven of all of them together.
    pub proof: ProofSummary,
    /// What simple rules of dealing out the cards would do.
    pub baselines: Vec<BaselineSummary>,
    /// One or more, in the order of their first cards. The proof of each is about its own cards.
    pub replicas: Vec<Plan>,
}

/// What a file of `plan` holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// One plan.
    Plan(Box<Plan>),
    /// Replicas.
    Fleet(Fleet),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    proof: ProofSummary,
    baselines: Vec<FlowMap<BaselineSummary>>,
    replicas: Vec<document::Document>,
}

impl Fleet {
    /// By which share it is better than a rule.
    pub fn gain(&self, rule: &BaselineSummary) -> Option<f64> {
        let ours = self.proof.objective.number();
        let theirs = rule.worth?.number();
        (ours > 0.0).then(|| 1.0 - theirs / ours)
    }

    /// Writes it as YAML.
    pub fn to_yaml(&self) -> String {
        let written = Written {
            version: VERSION,
            proof: self.proof.clone(),
            baselines: self.baselines.iter().cloned().map(FlowMap).collect(),
            replicas: self.replicas.iter().map(document::Document::from).collect(),
        };
        serde_yaml::to_string(&written).expect("strings, finite numbers and lists are always YAML")
    }

    fn read(text: &str, origin: &str) -> Result<Self, DocumentError> {
        let contradicts = |fault| DocumentError::Check {
            origin: origin.to_owned(),
            fault,
        };
        let written: Written = document::read(text, origin)?;
        let replicas = written.replicas.into_iter();
        let replicas = replicas.map(document::Document::plan);
        let fleet = Self {
            proof: written.proof,
            baselines: written.baselines.into_iter().map(|it| it.0).collect(),
            replicas: replicas.collect::<Result<_, _>>().map_err(contradicts)?,
        };
        fleet.check().map_err(contradicts)?;
        Ok(fleet)
    }

    /// Holds the replicas against each other; each was held against itself.
    ///
    /// # Errors
    /// Where they are of several models or rigs, or share a card.
    fn check(&self) -> Result<(), CheckError> {
        let first = self.replicas.first().ok_or(CheckError::NoReplica)?;
        let mut seen: Vec<&str> = Vec::new();
        for (index, plan) in self.replicas.iter().enumerate() {
            let is_like = plan.model == first.model
                && plan.target == first.target
                && plan.precision == first.precision
                && plan.rig == first.rig;
            if !is_like {
                return Err(CheckError::Unlike(index));
            }
            for name in plan.used_gpus() {
                if seen.contains(&name) {
                    return Err(CheckError::Shared(name.to_owned()));
                }
                seen.push(name);
            }
        }
        Ok(())
    }
}

impl Plan {
    /// The same plan on cards of other names, which are alike: each name that is listed becomes the
    /// other, and every name that one becomes is listed.
    pub fn renamed(&self, names: &BTreeMap<&str, &str>) -> Self {
        let name = |name: &str| names.get(name).map_or(name, |other| *other).to_owned();
        let on = |device: &str| {
            let others: Vec<_> = members(device).map(name).collect();
            joined(others.iter().map(String::as_str))
        };
        let mut plan = self.clone();
        for run in &mut plan.device_map.runs {
            run.device = on(&run.device);
        }
        let modules = &mut plan.device_map.modules;
        for module in [
            &mut modules.embedding,
            &mut modules.final_norm,
            &mut modules.head,
        ] {
            *module = on(module);
        }
        let memory = self.devices.iter().map(|it| (name(&it.name), it.memory));
        let memory: BTreeMap<_, _> = memory.collect();
        for device in &mut plan.devices {
            device.memory = memory.get(&device.name).copied().unwrap_or_default();
        }
        plan
    }
}

impl Document {
    /// Reads `text`, which comes from the file `origin`, and checks it.
    ///
    /// # Errors
    /// Where it is no YAML, neither a plan nor replicas, or contradicts itself.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, DocumentError> {
        match document::kind(text, origin)? {
            Kind::Plan => Ok(Self::Plan(Box::new(Plan::read(text, origin)?))),
            Kind::Replicas => Ok(Self::Fleet(Fleet::read(text, origin)?)),
        }
    }
}
