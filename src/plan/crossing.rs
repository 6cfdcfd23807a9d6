//! Where a plan passes from one host to another, what passes and how long it takes.
//!
//! With llama.cpp the first host has the embedding and takes the logits, and what passes between two
//! others goes by way of it. A hand-over takes its bytes and half a round trip; the mask that every
//! stage on another host gets besides, and copies within such a host, are in its time and not here.

use serde::{Deserialize, Serialize};

use crate::cost::Target;
use crate::hardware::{HostId, Rig};
use crate::model::Model;
use crate::plan::{CPU, CheckError, Plan};
use crate::units::{Bytes, Seconds};

/// A hand-over between hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossingUse {
    /// What comes behind it: `layer 40`, `head`, or `logits` where these go back.
    pub before: String,
    /// The host that hands over.
    pub from: String,
    /// The host that is handed to.
    pub to: String,
    /// What passes for each token.
    pub bytes: Bytes,
    /// How long that takes.
    pub time: Seconds,
}

/// A hand-over that a map makes necessary.
struct Due {
    before: String,
    from: HostId,
    to: HostId,
    is_logits: bool,
}

/// The hand-overs of a plan, in the order of execution.
pub(super) fn uses(plan: &Plan, model: &Model) -> Vec<CrossingUse> {
    let dimensions = &model.dimensions;
    let due = due(plan).into_iter().map(|due| {
        let bytes = match due.is_logits {
            true => Bytes(4 * dimensions.vocab),
            false => Bytes(4 * dimensions.hidden),
        };
        CrossingUse {
            bytes,
            time: time(&plan.rig, &due, bytes),
            from: plan.rig.hosts()[due.from.0].name.clone(),
            to: plan.rig.hosts()[due.to.0].name.clone(),
            before: due.before,
        }
    });
    due.collect()
}

/// Whether the plan lists the hand-overs of its map, and their times are those of their bytes.
pub(super) fn check(plan: &Plan) -> Result<(), CheckError> {
    let due = due(plan);
    let name = |host: HostId| &plan.rig.hosts()[host.0].name;
    for (index, due) in due.iter().enumerate() {
        let found = plan.crossings.get(index);
        let is_it = found.is_some_and(|found| {
            let ends = (&found.before, &found.from, &found.to);
            ends == (&due.before, name(due.from), name(due.to))
                && found.time == time(&plan.rig, due, found.bytes)
        });
        if !is_it {
            let (from, to) = (name(due.from).clone(), name(due.to).clone());
            return Err(CheckError::Crossing {
                before: due.before.clone(),
                from,
                to,
            });
        }
    }
    match plan.crossings.get(due.len()) {
        None => Ok(()),
        Some(other) => Err(CheckError::NoCrossing(other.before.clone())),
    }
}

fn due(plan: &Plan) -> Vec<Due> {
    match plan.target {
        Target::LlamaCpp => {}
        Target::Transformers | Target::Vllm | Target::Sglang => return Vec::new(),
    }
    let host_of = |name: &str| match name {
        CPU => HostId::FIRST,
        name => plan
            .gpu(name)
            .map_or(HostId::FIRST, |id| plan.rig.device(id).host),
    };
    let runs = plan.device_map.runs.iter();
    let runs = runs.map(|run| {
        let before = format!("layer {}", run.layers.start());
        (before, host_of(&run.device), false)
    });
    let head = (
        "head".to_owned(),
        host_of(&plan.device_map.modules.head),
        false,
    );
    let back = ("logits".to_owned(), HostId::FIRST, true);
    let mut from = HostId::FIRST;
    let mut all = Vec::new();
    for (before, to, is_logits) in runs.chain([head, back]) {
        if to != from {
            all.push(Due {
                before,
                from,
                to,
                is_logits,
            });
        }
        from = to;
    }
    all
}

/// To the microsecond.
fn time(rig: &Rig, due: &Due, bytes: Bytes) -> Seconds {
    let legs = [due.from, due.to].into_iter();
    let legs = legs.filter_map(|host| rig.between(HostId::FIRST, host));
    let time: Seconds = legs
        .map(|network| bytes / network.rate + network.latency * 0.5)
        .sum();
    String::from(time).parse().unwrap_or(time)
}
