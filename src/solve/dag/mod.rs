//! Which part of any acyclic graph goes where, so that the fullest device is as idle as can be.
//!
//! The max-load problem of Tarnawski et al., NeurIPS 2020 ("Efficient Algorithms for Device
//! Placement of DNN Graph Operators"): items with a time on an accelerator and a time on a host
//! processor, outputs that cost their time on every accelerator whose border they cross, equal
//! accelerators with a memory each, host processors without. The load of an accelerator is its work
//! plus its transfers, of a host processor its work; the objective is the largest load.
//!
//! [`contiguous`] asks that the devices form a pipeline: each has a difference of two down-sets of
//! the order. It is exact over all down-sets (`stages.rs`). [`scattered`] lets every item go
//! anywhere (`scatter.rs`). Nothing here knows a model or a framework.

mod downsets;
mod join;
mod leaves;
mod scatter;
mod stages;

use crate::units::{Bytes, Seconds};

pub use join::{Joined, Operator, Order, Wire, join};
pub use scatter::scattered;
pub use stages::contiguous;

/// What is placed as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Time on an accelerator; none where it cannot run there.
    pub work: Option<Seconds>,
    /// Time on a host processor.
    pub host_work: Seconds,
    /// Memory on an accelerator.
    pub bytes: Bytes,
}

/// An output that other items read.
///
/// Every accelerator that holds some of `members` and not all of them moves it over its border
/// once: out where it holds the source, in where it holds a reader.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// The item that makes the output and those that read it, each once.
    pub members: Vec<usize>,
    /// Time of one crossing.
    pub time: Seconds,
}

/// Items, the order between them and what passes between them.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    items: Vec<Item>,
    order: Vec<(usize, usize)>,
    transfers: Vec<Transfer>,
    /// The transfers of each item.
    touching: Vec<Vec<usize>>,
}

/// Why a graph is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An edge or a transfer names an item that is not there.
    #[error("item {item} is named, and there are {items} items")]
    NoSuchItem {
        /// The item.
        item: usize,
        /// How many there are.
        items: usize,
    },
    /// A time is no number, or less than nothing.
    #[error("a time is {0}, which is no time")]
    Time(String),
    /// No order of all items satisfies the edges.
    #[error("the edges form a cycle")]
    Cycle,
}

/// The devices: equal accelerators, and host processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// How many accelerators.
    pub accelerators: usize,
    /// Memory of each accelerator.
    pub memory: Bytes,
    /// How many host processors, whose memory is not counted.
    pub hosts: usize,
}

/// A device of a [`Machine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// An accelerator.
    Accelerator,
    /// A host processor.
    Host,
}

/// Devices with the items that they have.
pub type Parts = Vec<(Device, Vec<usize>)>;

/// Which items each device has, and what is known of all other ways.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// The devices that have items, in order of execution where they form a pipeline.
    pub parts: Parts,
    /// Load of the fullest device.
    pub load: Seconds,
    /// No way has a smaller one.
    pub bound: Seconds,
    /// How that is known.
    pub proof: &'static str,
}

impl Graph {
    /// Checks what the rest relies on.
    ///
    /// # Errors
    /// Where an item is named that is not there, a time is no time, or the edges form a cycle.
    pub fn new(
        items: Vec<Item>,
        order: Vec<(usize, usize)>,
        transfers: Vec<Transfer>,
    ) -> Result<Self, GraphError> {
        let ends = order.iter().flat_map(|(from, to)| [*from, *to]);
        let members = transfers.iter().flat_map(|it| it.members.iter().copied());
        if let Some(item) = ends.chain(members).find(|item| *item >= items.len()) {
            let items = items.len();
            return Err(GraphError::NoSuchItem { item, items });
        }
        let works = items.iter().filter_map(|item| item.work);
        let times = works
            .chain(items.iter().map(|item| item.host_work))
            .chain(transfers.iter().map(|transfer| transfer.time));
        for Seconds(time) in times {
            if !(time.is_finite() && time >= 0.0) {
                return Err(GraphError::Time(time.to_string()));
            }
        }
        let mut touching = vec![Vec::new(); items.len()];
        for (index, transfer) in transfers.iter().enumerate() {
            for item in &transfer.members {
                touching[*item].push(index);
            }
        }
        let graph = Self {
            items,
            order,
            transfers,
            touching,
        };
        if graph.sorted().len() < graph.items.len() {
            return Err(GraphError::Cycle);
        }
        Ok(graph)
    }

    /// The items.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Every item after those it waits for; fewer than all where there is a cycle. An item follows
    /// as soon as it can the one that it waited for last, so that branches stay together.
    fn sorted(&self) -> Vec<usize> {
        let mut waits = vec![0_usize; self.items.len()];
        let mut next = vec![Vec::new(); self.items.len()];
        for (from, to) in &self.order {
            waits[*to] += 1;
            next[*from].push(*to);
        }
        let mut ready: Vec<usize> = (0..waits.len())
            .rev()
            .filter(|item| waits[*item] == 0)
            .collect();
        let mut sorted = Vec::new();
        while let Some(item) = ready.pop() {
            sorted.push(item);
            for after in next[item].iter().rev() {
                waits[*after] -= 1;
                if waits[*after] == 0 {
                    ready.push(*after);
                }
            }
        }
        sorted
    }

    /// What a device that has these items is busy with; none where it cannot have them.
    pub fn load(&self, machine: &Machine, device: Device, part: &[usize]) -> Option<Seconds> {
        match device {
            Device::Host => Some(part.iter().map(|item| self.items[*item].host_work).sum()),
            Device::Accelerator => {
                let bytes: Bytes = part.iter().map(|item| self.items[*item].bytes).sum();
                if bytes > machine.memory {
                    return None;
                }
                let mut works = part.iter().map(|item| self.items[*item].work);
                let work = works.try_fold(Seconds(0.0), |sum, work| Some(sum + work?))?;
                let mut held = vec![0; self.transfers.len()];
                for item in part {
                    for transfer in &self.touching[*item] {
                        held[*transfer] += 1;
                    }
                }
                let crossing = self.transfers.iter().zip(held);
                let crossing = crossing.filter(|(it, held)| *held > 0 && *held < it.members.len());
                Some(work + crossing.map(|(it, _)| it.time).sum())
            }
        }
    }

    /// The largest load of the parts, added up again from the items; none where a part does not fit,
    /// there are too many, or an item is not in exactly one of them.
    pub fn largest_load(
        &self,
        machine: &Machine,
        parts: &[(Device, Vec<usize>)],
    ) -> Option<Seconds> {
        let count = |device| parts.iter().filter(|(it, _)| *it == device).count();
        let mut times = vec![0; self.items.len()];
        for item in parts.iter().flat_map(|(_, part)| part) {
            times[*item] += 1;
        }
        let once = times.iter().all(|times| *times == 1);
        if !once
            || count(Device::Accelerator) > machine.accelerators
            || count(Device::Host) > machine.hosts
        {
            return None;
        }
        parts.iter().try_fold(Seconds(0.0), |most, (device, part)| {
            Some(Seconds(most.0.max(self.load(machine, *device, part)?.0)))
        })
    }
}

/// What bounds every way, contiguous or not.
///
/// Area: `T ≥ Σ work / (k + l·ρ)` with k accelerators, l hosts and `ρ = max work / host_work`, for
/// a host does in T at most what takes accelerators `ρ·T`. Items that no accelerator takes count
/// for the hosts: `T ≥ Σ host_work / l`. And the largest item: `T ≥ min(work, host_work)`.
fn area_bound(graph: &Graph, machine: &Machine) -> f64 {
    let shares = shares(machine.accelerators, machine.hosts, host_rate(graph));
    let work: f64 = graph
        .items
        .iter()
        .filter_map(|it| it.work)
        .map(|it| it.0)
        .sum();
    let hosted = graph.items.iter().filter(|it| it.work.is_none());
    let hosted: f64 = hosted.map(|it| it.host_work.0).sum();
    let largest = graph.items.iter().map(|it| {
        let host = if machine.hosts > 0 {
            it.host_work.0
        } else {
            f64::INFINITY
        };
        let accelerator = it.work.map_or(f64::INFINITY, |work| work.0);
        if machine.accelerators > 0 {
            host.min(accelerator)
        } else {
            host
        }
    });
    let largest = largest.fold(0.0, f64::max);
    let over_hosts = if hosted > 0.0 {
        hosted / machine.hosts as f64
    } else {
        0.0
    };
    let over_all = if work > 0.0 { work / shares } else { 0.0 };
    over_all.max(over_hosts).max(largest)
}

/// How many accelerators the devices stand for at most.
fn shares(accelerators: usize, hosts: usize, host_rate: f64) -> f64 {
    let hosts = if hosts > 0 {
        hosts as f64 * host_rate
    } else {
        0.0
    };
    accelerators as f64 + hosts
}

/// How much accelerator time a second of a host processor stands for at most; none where an item
/// costs a host nothing and an accelerator something.
fn host_rate(graph: &Graph) -> f64 {
    let rates = graph.items.iter().filter_map(|item| {
        let work = item.work?.0;
        (work > 0.0).then_some(work / item.host_work.0)
    });
    rates.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests;
