//! Where a plan passes from one host to another, what passes and how long it takes.
//!
//! With llama.cpp the first host has the embedding and takes the logits, and what passes between two
//! others goes by way of it. A hand-over takes its bytes and half a round trip; the mask that every
//! stage on another host gets besides, and copies within such a host, are in its time and not here.
//! Engines that serve hand over from stage to stage.

use serde::{Deserialize, Serialize};

use crate::cost::Target;
use crate::cost::serving::handed;
use crate::hardware::HostId;
use crate::model::Model;
use crate::plan::{CPU, CheckError, Plan, Run, members};
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
            false if plan.target.server().is_some() => handed(dimensions.hidden),
            false => Bytes(4 * dimensions.hidden),
        };
        CrossingUse {
            bytes,
            time: time(plan, &due, bytes),
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
                && found.time == time(plan, due, found.bytes)
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
        Target::Transformers => return Vec::new(),
        Target::Vllm | Target::Sglang => return between_stages(plan),
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

/// From the host of each stage to that of the next.
fn between_stages(plan: &Plan) -> Vec<Due> {
    let host_of = |run: &Run| {
        let first = members(&run.device).next();
        let first = first.and_then(|name| plan.gpu(name));
        first.map_or(HostId::FIRST, |id| plan.rig.device(id).host)
    };
    let pairs = plan.device_map.runs.windows(2);
    let pairs = pairs.map(|pair| (host_of(&pair[0]), host_of(&pair[1]), &pair[1].layers));
    let other = pairs.filter(|(from, to, _)| from != to);
    let due = other.map(|(from, to, layers)| Due {
        before: format!("layer {}", layers.start()),
        from,
        to,
        is_logits: false,
    });
    due.collect()
}

/// To the microsecond.
fn time(plan: &Plan, due: &Due, bytes: Bytes) -> Seconds {
    let between = |from, to| plan.rig.between(from, to);
    let legs: Vec<_> = match plan.target.server() {
        Some(_) => vec![between(due.from, due.to)],
        None => [due.from, due.to]
            .map(|host| between(HostId::FIRST, host))
            .to_vec(),
    };
    let time: Seconds = legs
        .into_iter()
        .flatten()
        .map(|network| bytes / network.rate + network.latency * 0.5)
        .sum();
    String::from(time).parse().unwrap_or(time)
}
