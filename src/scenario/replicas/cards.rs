//! The cards of a rig in classes: those of one host that are alike in all that plans depend on.

use crate::hardware::{Device, DeviceId, HostId, Rig};
use crate::scenario::Constraint;
use crate::solve::replicas::Part;

/// Cards that may be dealt out.
pub(super) struct Cards {
    /// Of each class its cards, in the order of the rig; host by host.
    classes: Vec<Vec<DeviceId>>,
    counts: Part,
    /// Of each kind of host the classes of every host: hosts of a kind have the same ones.
    alike: Vec<Vec<std::ops::Range<usize>>>,
}

impl Cards {
    /// Those that no constraint forbids.
    pub(super) fn new(rig: &Rig, constraints: &[Constraint]) -> Self {
        let is_free = |id: &DeviceId| {
            let name = &rig.device(*id).name;
            !constraints.contains(&Constraint::Forbid(name.clone()))
        };
        let mut classes: Vec<Vec<DeviceId>> = Vec::new();
        let mut hosts: Vec<(HostId, std::ops::Range<usize>)> = Vec::new();
        for host in (0..rig.hosts().len()).map(HostId) {
            let first = classes.len();
            let own = rig.device_ids().filter(|id| rig.device(*id).host == host);
            for id in own.filter(is_free) {
                let is_like = |class: &Vec<DeviceId>| rig.device(class[0]).is_like(rig.device(id));
                match classes[first..].iter_mut().find(|class| is_like(class)) {
                    Some(class) => class.push(id),
                    None => classes.push(vec![id]),
                }
            }
            // Hosts that are alike list their classes alike.
            classes[first..]
                .sort_by(|a, b| order(rig.device(a[0])).total_cmp(&order(rig.device(b[0]))));
            hosts.push((host, first..classes.len()));
        }
        let is_like = |a: &(HostId, std::ops::Range<usize>),
                       b: &(HostId, std::ops::Range<usize>)| {
            let pairs = classes[a.1.clone()].iter().zip(&classes[b.1.clone()]);
            rig.hosts()[a.0.0].network == rig.hosts()[b.0.0].network
                && a.1.len() == b.1.len()
                && pairs.clone().all(|(a, b)| a.len() == b.len())
                && pairs
                    .clone()
                    .all(|(a, b)| rig.device(a[0]).is_like(rig.device(b[0])))
        };
        let mut alike: Vec<Vec<(HostId, std::ops::Range<usize>)>> = Vec::new();
        for host in hosts {
            match alike.iter_mut().find(|kind| is_like(&kind[0], &host)) {
                Some(kind) => kind.push(host),
                None => alike.push(vec![host]),
            }
        }
        let ranges = alike.into_iter();
        let ranges = ranges.map(|kind| kind.into_iter().map(|(_, range)| range).collect());
        Self {
            counts: classes.iter().map(Vec::len).collect(),
            alike: ranges.collect(),
            classes,
        }
    }

    /// How many each class has.
    pub(super) fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// One card of each kind, wherever it is, and how many there are.
    pub(super) fn kinds(&self, rig: &Rig) -> Vec<(DeviceId, usize)> {
        let mut kinds: Vec<(DeviceId, usize)> = Vec::new();
        for class in &self.classes {
            let is_like =
                |kind: &&mut (DeviceId, usize)| rig.device(kind.0).is_like(rig.device(class[0]));
            match kinds.iter_mut().find(is_like) {
                Some(kind) => kind.1 += class.len(),
                None => kinds.push((class[0], class.len())),
            }
        }
        kinds
    }

    /// Each card with the one that it is changed for, where `to` is taken for the first cards of a
    /// part: of each class as many.
    pub(super) fn exchange(&self, part: &[usize], to: &[DeviceId]) -> Vec<(DeviceId, DeviceId)> {
        let mut pairs = Vec::new();
        for (class, n) in self.classes.iter().zip(part) {
            let first = &class[..*n];
            let own: Vec<_> = class.iter().filter(|id| to.contains(id)).collect();
            pairs.extend(first.iter().copied().zip(own.iter().map(|id| **id)));
            // Those whose places are taken go where these come from.
            let left = own.iter().filter(|id| !first.contains(id)).map(|id| **id);
            let free = first.iter().filter(|id| !own.contains(id)).copied();
            pairs.extend(left.zip(free));
        }
        pairs
    }

    /// All of them, in the order of the rig.
    pub(super) fn ids(&self) -> Vec<DeviceId> {
        let mut ids: Vec<_> = self.classes.iter().flatten().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The first cards of each class that make up a part.
    pub(super) fn first(&self, part: &[usize]) -> Vec<DeviceId> {
        let own = self.classes.iter().zip(part);
        let mut ids: Vec<_> = own
            .flat_map(|(class, n)| class.iter().take(*n).copied())
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The same part with the fullest of hosts that are alike first.
    pub(super) fn like(&self, part: &[usize]) -> Part {
        let mut like = part.to_vec();
        for kind in &self.alike {
            let mut own: Vec<_> = kind.iter().map(|classes| &part[classes.clone()]).collect();
            own.sort_unstable_by(|a, b| b.cmp(a));
            for (classes, counts) in kind.iter().zip(own) {
                like[classes.clone()].copy_from_slice(counts);
            }
        }
        like
    }

    /// So many parts that follow each other in the rig, the earlier ones with a card more where they
    /// cannot be equal.
    pub(super) fn equal_parts(&self, n: usize) -> Vec<Part> {
        let ids = self.ids();
        let (each, over) = (ids.len() / n.max(1), ids.len() % n.max(1));
        let mut left = ids.as_slice();
        let parts = (0..n).map(|index| {
            let (own, rest) = left.split_at(each + usize::from(index < over));
            left = rest;
            let of_class =
                |class: &Vec<DeviceId>| class.iter().filter(|id| own.contains(id)).count();
            self.classes.iter().map(of_class).collect()
        });
        parts.collect()
    }

    /// The cards of each part, taken from its classes in the order of the rig: those parts first that
    /// have more of the first cards.
    pub(super) fn deal<'a>(&self, parts: &'a [Part]) -> Vec<(&'a Part, Vec<DeviceId>)> {
        let mut parts: Vec<_> = parts.iter().collect();
        parts.sort_unstable_by(|a, b| b.cmp(a));
        let mut taken = vec![0; self.classes.len()];
        let dealt = parts.into_iter().map(|part| {
            let mut ids = Vec::new();
            for ((class, taken), n) in self.classes.iter().zip(&mut taken).zip(part) {
                ids.extend(class.iter().skip(*taken).take(*n));
                *taken += n;
            }
            ids.sort_unstable();
            (part, ids)
        });
        dealt.collect()
    }
}

/// An order of unlike cards that does not depend on where they are; of equals the list decides.
fn order(card: &Device) -> f64 {
    -(card.memory.0 as f64) * card.bandwidth.0
}
