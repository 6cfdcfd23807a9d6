//! Which part of any acyclic graph goes where.
//!
//! The placement problems of Tarnawski et al., NeurIPS 2020 ("Efficient Algorithms for Device
//! Placement of DNN Graph Operators"), with devices of any number of kinds: items with a time on
//! each kind, outputs that cost their time on every device whose border they cross, devices with a
//! memory each. The load of a device is its work plus its transfers.
//!
//! [`contiguous`] makes the largest load least among pipelines: each device has a difference of two
//! down-sets of the order. It is exact over all down-sets (`stages.rs`), with `leaves.rs` and
//! `clumps.rs` making graphs smaller before. [`scattered`] lets every item go anywhere:
//! small graphs are counted out (`count.rs`), others searched (`scatter.rs`), bounded by `area.rs`
//! and `force.rs`. `latency` has the time of one sample,
//! `replicas` pipelines whose stages run in copies.
//! Nothing here knows a model or a framework.

mod area;
mod clumps;
mod count;
mod downsets;
mod force;
mod join;
pub mod latency;
mod leaves;
pub mod replicas;
mod roster;
mod scatter;
mod stages;
mod walk;

use crate::units::Bytes;

pub use join::{Joined, Operator, Order, Wire, join};
pub use scatter::scattered;
pub use stages::contiguous;

/// A time in whole units of the caller's choice, so that sums are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticks(pub u64);

/// What is placed as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Time on a device of each kind; none where it cannot run there.
    pub work: Vec<Option<Ticks>>,
    /// Memory that it takes.
    pub bytes: Bytes,
}

/// An output that other items read.
///
/// Every device that holds some of `members` and not all of them moves it over its border once: out
/// where it holds the source, in where it holds a reader.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// The item that makes the output and those that read it, each once.
    pub members: Vec<usize>,
    /// Time of one crossing where a kind's `crossing` is 1.
    pub time: Ticks,
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
    /// An item has times for another number of kinds than the first.
    #[error("item {0} has times for another number of kinds of devices")]
    Kinds(usize),
    /// The sum of all times does not fit.
    #[error("the times add up to more than can be counted")]
    TooLong,
    /// No order of all items satisfies the edges.
    #[error("the edges form a cycle")]
    Cycle,
}

/// Devices that are alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// How many.
    pub count: usize,
    /// Memory of each.
    pub memory: Bytes,
    /// The share of its `time` that a transfer takes over the border of such a device, 1 at most; 0
    /// for a host processor, whose memory is where outputs are handed over.
    pub crossing: f64,
}

/// The devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// By kind; items have a time for each.
    pub kinds: Vec<Kind>,
}

/// Devices, each by its kind, with the items that they have.
pub type Parts = Vec<(usize, Vec<usize>)>;

/// Which items each device has, and what is known of all other ways.
#[derive(Clone, Debug, PartialEq)]
pub struct Partition {
    /// The devices that have items, in order of execution where they form a pipeline.
    pub parts: Parts,
    /// Load of the fullest device.
    pub load: Ticks,
    /// No way has a smaller one.
    pub bound: Ticks,
    /// How that is known.
    pub proof: &'static str,
}

/// What a search for a placement ends with.
#[derive(Clone, Debug, PartialEq)]
pub enum Searched {
    /// A placement.
    Found(Partition),
    /// There is none.
    Impossible,
    /// None was found, and none is ruled out.
    Unknown,
}

impl Searched {
    /// The placement, where there is one.
    pub fn found(self) -> Option<Partition> {
        match self {
            Self::Found(partition) => Some(partition),
            Self::Impossible | Self::Unknown => None,
        }
    }
}

/// More than all times together may be, and so no load is longer. Sums of a few such sums still fit.
const LONGEST: u64 = 1 << 60;

impl Graph {
    /// Checks what the rest relies on.
    ///
    /// # Errors
    /// Where an item is named that is not there, times are missing or too large, or the edges form a
    /// cycle.
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
        let kinds = items.first().map_or(0, |item| item.work.len());
        if let Some(item) = items.iter().position(|item| item.work.len() != kinds) {
            return Err(GraphError::Kinds(item));
        }
        let works = items.iter().map(|item| item.work.iter().flatten().max());
        let works: u128 = works.flatten().map(|work| u128::from(work.0)).sum();
        let crossings: u128 = transfers.iter().map(|it| u128::from(it.time.0)).sum();
        if works + crossings > u128::from(LONGEST) {
            return Err(GraphError::TooLong);
        }
        let graph = Self::linked(items, order, transfers);
        if graph.sorted().len() < graph.items.len() {
            return Err(GraphError::Cycle);
        }
        Ok(graph)
    }

    /// A graph of parts that a graph was made of.
    fn linked(items: Vec<Item>, order: Vec<(usize, usize)>, transfers: Vec<Transfer>) -> Self {
        let mut touching = vec![Vec::new(); items.len()];
        for (index, transfer) in transfers.iter().enumerate() {
            for item in &transfer.members {
                touching[*item].push(index);
            }
        }
        Self {
            items,
            order,
            transfers,
            touching,
        }
    }

    /// The items.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Every item after those it waits for; fewer than all where there is a cycle. An item follows
    /// as soon as it can the one that it waited for last, so that branches stay together.
    pub fn sorted(&self) -> Vec<usize> {
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

    /// Time of each transfer over the border of a device of this kind.
    fn crossings(&self, kind: &Kind) -> Vec<u64> {
        let times = self.transfers.iter().map(|it| it.over(kind).0);
        times.collect()
    }

    /// What a device that has these items is busy with; none where it cannot have them.
    pub fn load(&self, machine: &Machine, kind: usize, part: &[usize]) -> Option<Ticks> {
        let bytes: Bytes = part.iter().map(|item| self.items[*item].bytes).sum();
        if bytes > machine.kinds[kind].memory {
            return None;
        }
        let mut works = part.iter().map(|item| self.items[*item].work[kind]);
        let work = works.try_fold(0, |sum, work| Some(sum + work?.0))?;
        let mut held = std::collections::BTreeMap::new();
        for item in part {
            for transfer in &self.touching[*item] {
                *held.entry(*transfer).or_insert(0_usize) += 1;
            }
        }
        let crossing = held
            .into_iter()
            .map(|(index, held)| (&self.transfers[index], held))
            .filter(|(it, held)| *held < it.members.len())
            .map(|(it, _)| it.over(&machine.kinds[kind]).0);
        Some(Ticks(work + crossing.sum::<u64>()))
    }

    /// The largest load of the parts, added up again from the items; none where a part does not fit,
    /// there are too many, or an item is not in exactly one of them.
    pub fn largest_load(&self, machine: &Machine, parts: &[(usize, Vec<usize>)]) -> Option<Ticks> {
        let mut left: Vec<usize> = machine.kinds.iter().map(|kind| kind.count).collect();
        let mut times = vec![0; self.items.len()];
        for (kind, part) in parts {
            left[*kind] = left[*kind].checked_sub(1)?;
            for item in part {
                times[*item] += 1;
            }
        }
        if times.iter().any(|times| *times != 1) {
            return None;
        }
        parts.iter().try_fold(Ticks(0), |most, (kind, part)| {
            Some(most.max(self.load(machine, *kind, part)?))
        })
    }
}

impl Transfer {
    /// Its time over the border of a device of this kind.
    pub fn over(&self, kind: &Kind) -> Ticks {
        Ticks((self.time.0 as f64 * kind.crossing.clamp(0.0, 1.0)).round() as u64)
    }
}

#[cfg(test)]
mod tests;
