//! Where the operators of any acyclic graph go: the question, and the way to its answer.
//!
//! The devices of the rig and the times of the operators become kinds of devices for `solve::dag`
//! (`kinds.rs`); what comes back is named, added up anew (`tally.rs`) and written (`answer.rs`).

mod answer;
mod baseline;
mod document;
mod kinds;
mod tally;

use std::collections::BTreeMap;

use crate::hardware::Rig;
use crate::plan::Status;
use crate::solve::Stop;
use crate::solve::dag::latency::{self, Problem, Spot};
use crate::solve::dag::{self, GraphError, Order, Searched, Ticks};
use crate::units::{Bytes, Seconds};

pub use answer::Placement;
pub use document::{Edge, EntryFault, GraphDocumentError, Node, OperatorGraph};
pub use kinds::KindError;

use baseline::Baseline;
use kinds::Kinds;

/// What is asked.
#[derive(Clone, Debug)]
pub struct GraphQuestion {
    /// The operators.
    pub graph: OperatorGraph,
    /// The devices.
    pub rig: Rig,
    /// What is to be small.
    pub aim: Aim,
    /// Ends the search with the best so far.
    pub stop: Stop,
}

/// What a placement is best at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The time of the busiest device, where devices form a pipeline.
    Throughput,
    /// The same, any operator on any device.
    ScatteredThroughput,
    /// The time of one sample, each GPU with one stretch of the graph.
    Latency,
}

/// Why there is no placement.
#[derive(Debug, thiserror::Error)]
pub enum NoPlacement {
    /// The times of an operator cannot be read for this rig.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// The graph is too large.
    #[error("{0}")]
    Graph(#[from] GraphError),
    /// Nothing fits; says what is missing.
    #[error("{0}")]
    Impossible(Reason),
    /// Nothing was found, and nothing rules a placement out.
    #[error(
        "no placement was found, and none is ruled out\nhint: try `--scattered`, which needs no order of devices, or a longer `--time-limit`"
    )]
    NotFound,
    /// The sums of what the solver gave do not agree with it: a mistake of this program.
    #[error("the placement was refused by its check: {0}; this is a mistake of the program")]
    Check(String),
}

/// What rules every placement out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No device can run it.
    #[error("no device of the rig has a time for {0}\nhint: give `time` for `gpu` or `cpu`")]
    NoDevice(String),
    /// It fits none.
    #[error("{name} needs {needed}, and the roomiest device that may run it has {free}: {} are missing", Bytes(.needed.0 - .free.0))]
    TooLarge {
        /// The operator, or those that stay together.
        name: String,
        /// Its memory.
        needed: Bytes,
        /// Room of the roomiest device.
        free: Bytes,
    },
    /// Devices are too small together.
    #[error("the operators need {needed}, and the devices have {free}: {} are missing", Bytes(.needed.0 - .free.0))]
    Memory {
        /// Of all operators.
        needed: Bytes,
        /// Of all devices.
        free: Bytes,
    },
    /// Memory would do, and no cut fits.
    #[error(
        "the operators would fit, but no cut of the graph into one stretch for each device does\nhint: try `--scattered`, which needs no order of devices"
    )]
    Cut,
}

/// Where each operator is: a device by its place in the rig, the host behind all.
type Spots = Vec<usize>;

/// A placement with what is known of all others.
struct Found {
    spots: Spots,
    worth: Ticks,
    bound: Ticks,
    method: &'static str,
}

impl GraphQuestion {
    /// The best placement that is found, with its proof.
    ///
    /// # Errors
    /// Where there is none, or the graph does not suit the rig.
    pub fn answer(&self) -> Result<Placement, NoPlacement> {
        let kinds = Kinds::new(&self.graph, &self.rig)?;
        let rules = baseline::all(self);
        let found = match self.aim {
            Aim::Throughput => self.pipeline(&kinds),
            Aim::ScatteredThroughput => self.scattered(&kinds),
            Aim::Latency => self.soonest(&kinds),
        };
        let found = no_worse(found, &rules)?;
        let tally = tally::add_up(&self.graph, &self.rig, &found.spots);
        let worth = tally.check(self).map_err(NoPlacement::Check)?;
        if worth != found.worth {
            let text = format!("{} is {} when added up", found.worth.0, worth.0);
            return Err(NoPlacement::Check(text));
        }
        Ok(self.written(&found, tally, &rules))
    }

    fn pipeline(&self, kinds: &Kinds) -> Result<Found, NoPlacement> {
        let joined = dag::join(&kinds.operators, &kinds.wires, Order::Pipeline)?;
        match dag::contiguous(&joined.graph, &kinds.machine, &self.stop) {
            Searched::Found(partition) => Ok(Found {
                spots: kinds.spots(&partition.parts, &joined.item_of),
                worth: partition.load,
                bound: partition.bound,
                method: partition.proof,
            }),
            Searched::Impossible => Err(self.refusal(kinds, NoPlacement::Impossible(Reason::Cut))),
            Searched::Unknown => Err(self.refusal(kinds, NoPlacement::NotFound)),
        }
    }

    fn scattered(&self, kinds: &Kinds) -> Result<Found, NoPlacement> {
        let free = dag::join(&kinds.operators, &kinds.wires, Order::Free)?;
        let start = match self.pipeline(kinds) {
            Ok(found) => kinds.parts(&found.spots, &free.item_of),
            Err(_) => kinds
                .first_fit(&free.graph)
                .ok_or_else(|| self.refusal(kinds, NoPlacement::NotFound))?,
        };
        let partition = dag::scattered(&free.graph, &kinds.machine, &start, &self.stop);
        let partition = partition.ok_or(NoPlacement::NotFound)?;
        Ok(Found {
            spots: kinds.spots(&partition.parts, &free.item_of),
            worth: partition.load,
            bound: partition.bound,
            method: partition.proof,
        })
    }

    fn soonest(&self, kinds: &Kinds) -> Result<Found, NoPlacement> {
        let problem = Problem::new(&kinds.operators, &kinds.wires, &kinds.machine, kinds.host)?;
        let schedule = latency::soonest(&problem, &self.stop);
        let schedule = schedule.ok_or_else(|| self.refusal(kinds, NoPlacement::NotFound))?;
        let places = kinds.places();
        let spots = schedule.spots.iter().map(|spot| match spot {
            Spot::Host => self.rig.devices().len(),
            Spot::Accelerator(number) => places[*number],
        });
        Ok(Found {
            spots: spots.collect(),
            worth: schedule.latency,
            bound: schedule.bound,
            method: schedule.proof,
        })
    }

    /// What rules every placement out, if something is seen to; else what is given.
    fn refusal(&self, kinds: &Kinds, otherwise: NoPlacement) -> NoPlacement {
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, operator) in kinds.operators.iter().enumerate() {
            groups.entry(operator.group).or_default().push(index);
        }
        let mut all = Bytes::ZERO;
        for members in groups.values() {
            let nodes = self.graph.nodes();
            let needed: Bytes = members.iter().map(|member| nodes[*member].memory).sum();
            let runs_on = |kind: usize| {
                members
                    .iter()
                    .all(|member| kinds.operators[*member].item.work[kind].is_some())
            };
            let able = kinds.machine.kinds.iter().enumerate();
            let able = able.filter(|(kind, _)| runs_on(*kind));
            let roomiest = able.map(|(_, kind)| kind.memory).max();
            let name = match members[..] {
                [only] => format!("`{}`", nodes[only].name),
                _ => format!(
                    "`{}` with what stays together with it",
                    nodes[members[0]].name
                ),
            };
            all += needed;
            match roomiest {
                None => return NoPlacement::Impossible(Reason::NoDevice(name)),
                Some(free) if free < needed => {
                    return NoPlacement::Impossible(Reason::TooLarge { name, needed, free });
                }
                Some(_) => {}
            }
        }
        let rooms = kinds.machine.kinds.iter();
        let free: Bytes = rooms.map(|kind| kind.memory * kind.count as u64).sum();
        match all > free {
            true => NoPlacement::Impossible(Reason::Memory { needed: all, free }),
            false => otherwise,
        }
    }

    fn status(found: &Found) -> Status {
        match found.bound >= found.worth {
            true => Status::Optimal,
            false => Status::Feasible,
        }
    }
}

/// What was found, or the placement of a simple rule where that is better: a search that was cut short
/// may not have come so far.
fn no_worse(found: Result<Found, NoPlacement>, rules: &[Baseline]) -> Result<Found, NoPlacement> {
    let placed = rules.iter().filter_map(|(_, placed)| placed.as_ref());
    let best = placed.min_by_key(|(_, worth)| *worth).cloned();
    match (found, best) {
        (Ok(found), Some((spots, worth))) if worth < found.worth => Ok(Found {
            spots,
            worth,
            ..found
        }),
        (Err(NoPlacement::NotFound), Some((spots, worth))) => Ok(Found {
            spots,
            worth,
            bound: Ticks(0),
            method: "none",
        }),
        (found, _) => found,
    }
}

/// A time that was counted in picoseconds.
fn seconds(time: Ticks) -> Seconds {
    Seconds(time.0 as f64 * 1e-12)
}

#[cfg(test)]
mod tests;
