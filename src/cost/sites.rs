//! The hosts that columns are on: which are alike, and what it costs to go from one to another.
//!
//! Hosts are alike if their networks and their devices are, and no rule names one of these; the first
//! is like no other, since the framework is started there. Of hosts that are alike a plan may take
//! any, so that groups of devices span them and columns are priced once for all.

use crate::cost::column::Cost;
use crate::cost::{Accounting, Batch, Prefill};
use crate::hardware::{DeviceId, HostId, Rig};
use crate::units::Seconds;

/// What the hop into a stage takes besides, where the stage before it is on another host.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Crossing {
    /// For one token.
    pub time: Seconds,
    /// For a prompt.
    pub prefill: Prefill,
    /// For sequences that are decoded together.
    pub batch: Batch,
}

/// A crossing as the solver adds it up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hop {
    /// What it takes.
    pub crossing: Crossing,
    /// What it adds to a plan, as a column's cost does.
    pub cost: Cost,
    /// What counts only where it is the most of a plan: a link is as busy as a stage.
    pub load: u64,
    /// Whether no plan may take it.
    pub is_barred: bool,
}

/// One host: its kind, and its number among the hosts of that kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// An index of [`Sites`].
    pub kind: usize,
    /// Which of the hosts of that kind.
    pub host: usize,
}

/// The hosts of a rig by kind.
#[derive(Clone, Debug)]
pub struct Sites {
    /// The kind of host of each group.
    pub kind_of: Vec<usize>,
    /// How many devices of each group a host of its kind has.
    pub per_host: Vec<usize>,
    /// How many hosts there are of each kind.
    pub n_hosts: Vec<usize>,
    /// Where it is fixed: the stages of every host that a plan uses, which follow each other.
    pub quota: Option<usize>,
    /// From a kind to another host of a kind.
    hops: Vec<Vec<Hop>>,
    /// None costs anything.
    free: Hop,
}

impl Sites {
    /// One host with all groups.
    pub fn one(groups: &[Vec<DeviceId>]) -> Self {
        Self {
            kind_of: vec![0; groups.len()],
            per_host: groups.iter().map(Vec::len).collect(),
            n_hosts: vec![1],
            quota: None,
            hops: vec![vec![Hop::default()]],
            free: Hop::default(),
        }
    }

    /// So many kinds of hosts that have no groups yet, and no price between them.
    #[cfg(test)]
    pub(crate) fn several(n_kinds: usize) -> Self {
        Self {
            hops: vec![vec![Hop::default(); n_kinds]; n_kinds],
            ..Self::one(&[])
        }
    }

    /// What lies between the hosts of two stages that follow each other.
    pub fn hop(&self, from: Site, to: Site) -> &Hop {
        match from == to {
            true => &self.free,
            false => &self.hops[from.kind][to.kind],
        }
    }

    /// What lies between a host of a kind and another host of a kind.
    pub fn between(&self, from: usize, to: usize) -> &Hop {
        &self.hops[from][to]
    }

    /// Every hop, to be priced.
    pub fn hops_mut(&mut self) -> impl Iterator<Item = &mut Hop> {
        self.hops.iter_mut().flatten()
    }

    /// Every hop.
    pub fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.hops.iter().flatten()
    }
}

/// The kind of each host of a rig, where going from one to another costs anything.
pub(super) struct Kinds {
    /// By host.
    of: Vec<usize>,
    /// The hosts of each kind.
    hosts: Vec<Vec<HostId>>,
    quota: Option<usize>,
}

impl Kinds {
    /// Sorts hosts by kind; `device_kinds` tells which devices are alike. Where stages a host are
    /// counted, hosts are told apart even if the way between them is free.
    pub(super) fn new(
        accounting: &dyn Accounting,
        rig: &Rig,
        device_kinds: &[usize],
        quota: Option<usize>,
    ) -> Self {
        let ids: Vec<_> = (0..rig.hosts().len()).map(HostId).collect();
        let is_free = |a: HostId, b: HostId| accounting.crossing(a, b) == Crossing::default();
        let is_one = ids.len() == 1;
        if is_one || quota.is_none() && ids.iter().all(|a| ids.iter().all(|b| is_free(*a, *b))) {
            return Self {
                of: vec![0; ids.len()],
                hosts: vec![ids],
                quota: None,
            };
        }
        let mut signs: Vec<_> = ids
            .iter()
            .map(|id| (sign(rig, device_kinds, *id), *id))
            .collect();
        // The order in which a rig lists hosts that differ breaks no tie.
        signs.sort();
        let mut kinds = Self {
            of: vec![0; ids.len()],
            hosts: Vec::new(),
            quota,
        };
        let mut last = None;
        for (sign, id) in signs {
            if last.as_ref() != Some(&sign) {
                kinds.hosts.push(Vec::new());
                last = Some(sign);
            }
            kinds.of[id.0] = kinds.hosts.len() - 1;
            let newest = kinds.hosts.len() - 1;
            kinds.hosts[newest].push(id);
        }
        kinds
    }

    /// The kind of a device's host.
    pub(super) fn of(&self, rig: &Rig, device: DeviceId) -> usize {
        self.of[rig.device(device).host.0]
    }

    /// The hosts with the groups on them, of which the first device stands for all.
    pub(super) fn sites(
        &self,
        accounting: &dyn Accounting,
        rig: &Rig,
        groups: &[Vec<DeviceId>],
    ) -> Sites {
        if self.hosts.len() == 1 {
            return Sites::one(groups);
        }
        let kind_of: Vec<_> = groups.iter().map(|group| self.of(rig, group[0])).collect();
        let n_hosts: Vec<_> = self.hosts.iter().map(Vec::len).collect();
        let per_host = groups.iter().zip(&kind_of);
        let per_host = per_host.map(|(group, kind)| group.len() / n_hosts[*kind]);
        let hop = |from: &Vec<HostId>, to: &Vec<HostId>| {
            // Of one kind, another host: where there is none, there is no such hop.
            let to = to.iter().find(|to| **to != from[0]);
            let crossing = to.map(|to| accounting.crossing(from[0], *to));
            let crossing = crossing.unwrap_or_default();
            Hop {
                crossing,
                cost: crossing.time.into(),
                ..Hop::default()
            }
        };
        let hops = self
            .hosts
            .iter()
            .map(|from| self.hosts.iter().map(|to| hop(from, to)).collect());
        Sites {
            per_host: per_host.collect(),
            hops: hops.collect(),
            kind_of,
            n_hosts,
            quota: self.quota,
            free: Hop::default(),
        }
    }
}

/// Equal for hosts that are alike, and in an order that no list of hosts decides: the first host, then
/// the others by their network, the faster before.
fn sign(rig: &Rig, device_kinds: &[usize], id: HostId) -> (usize, [u64; 2], Vec<usize>) {
    let network = rig.hosts()[id.0].network;
    // Of positive numbers the bits are in their order.
    let network = network.map_or([0; 2], |it| [!it.rate.0.to_bits(), it.latency.0.to_bits()]);
    let own = rig
        .device_ids()
        .filter(|device| rig.device(*device).host == id);
    let mut devices: Vec<_> = own.map(|device| device_kinds[device.0]).collect();
    devices.sort_unstable();
    (id.0.min(1), network, devices)
}
