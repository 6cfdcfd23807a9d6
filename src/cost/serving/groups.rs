//! Which GPUs share blocks: groups of one size, like with like, then what is left in the order of
//! capacity. A group is as large and as fast as its GPUs, which all hold the same, are at the least.
//!
//! What a card has left may depend on how many serve. A plan is looked for among those of at most so
//! many stages, for some numbers of stages.
//!
//! No group spans hosts. Of several hosts an engine takes as many stages from each that it uses, so
//! that there is a seating for each such number, with the groups of the hosts that have so many.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::cost::served::Shape;
use crate::hardware::{Device, DeviceId, HostId, Rig, Transfer};
use crate::units::Bytes;

/// The cards of a rig as an engine uses them.
#[derive(Clone, Debug)]
pub struct Seating {
    /// How.
    pub shape: Shape,
    /// Each group as one device, with the memory that a plan may use of each of its GPUs.
    pub rig: Rig,
    /// The GPUs of each group.
    pub members: Vec<Vec<DeviceId>>,
}

/// Thousandths of a card's memory that an engine may be told to take.
pub trait Limits {
    /// Numbers of stages beside which others are not worth a look, in their order; the last is no less
    /// than `most`. The same whatever is the most, so that a rig with more cards does nothing worse.
    fn levels(&self, most: u32) -> Vec<u32>;

    /// The most for a card where so many serve; nothing where it has no room.
    fn fraction(&self, device: &Device, n_cards: u32) -> u32;

    /// What a plan may use of a card, if the engine is told so.
    fn usable(&self, device: &Device, shape: Shape) -> Bytes;
}

/// For a degree every number of stages over these cards, and every fraction that is the most of one: the
/// largest fraction comes first.
pub fn shapes(degree: u32, cards: &[&Device], limits: &dyn Limits) -> Vec<Shape> {
    // Forbidden ones have no room.
    let usable = cards.iter().filter(|card| card.capacity() > Bytes::ZERO);
    let levels = limits.levels(usable.count() as u32 / degree.max(1));
    let of_level = levels.into_iter().flat_map(|stages| {
        let shape = |fraction| Shape {
            degree,
            fraction,
            per_host: 0,
            stages,
        };
        let n_cards = shape(0).n_cards();
        let fractions = cards.iter().map(|card| limits.fraction(card, n_cards));
        let fractions: BTreeSet<_> = fractions.filter(|fraction| *fraction > 0).collect();
        fractions.into_iter().map(shape).collect::<Vec<_>>()
    });
    let mut shapes: Vec<_> = of_level.collect();
    shapes.sort_by_key(|shape| Reverse(shape.fraction));
    shapes
}

/// Every way to use a rig: for each degree, number of stages and fraction that is the most of some card,
/// the groups of the cards that have so much room, and of several hosts each number of stages a host. The
/// smallest degree, the largest fraction and the fewest stages a host come first.
pub fn seatings(rig: &Rig, degrees: &[u32], limits: &dyn Limits) -> Vec<Seating> {
    let cards: Vec<_> = rig.devices().iter().collect();
    degrees
        .iter()
        .flat_map(|degree| shapes(*degree, &cards, limits))
        .flat_map(|shape| {
            let members = groups(rig, rig.device_ids(), shape, limits);
            let on = |host: HostId| {
                members
                    .iter()
                    .filter(move |it| rig.device(it[0]).host == host)
            };
            let hosts = (0..rig.hosts().len()).map(HostId);
            let numbers = match rig.hosts().len() {
                1 => 0..1,
                _ => {
                    1..hosts
                        .clone()
                        .map(|host| on(host).count())
                        .max()
                        .unwrap_or(0)
                        + 1
                }
            };
            let seatings = numbers.filter_map(|per_host| {
                let hosts = hosts.clone().filter(|host| on(*host).count() >= per_host);
                let members = hosts.flat_map(on).cloned().collect();
                let per_host = per_host as u32;
                seating(rig, Shape { per_host, ..shape }, members, limits)
            });
            seatings.collect::<Vec<_>>()
        })
        .collect()
}

/// The groups of one shape over some cards, in the order of the rig, as whoever takes the cards as they
/// come would.
pub fn groups(
    rig: &Rig,
    cards: impl Iterator<Item = DeviceId>,
    shape: Shape,
    limits: &dyn Limits,
) -> Vec<Vec<DeviceId>> {
    let usable = |id: DeviceId| limits.usable(rig.device(id), shape);
    let may_serve = |id: &DeviceId| {
        let fraction = limits.fraction(rig.device(*id), shape.n_cards());
        fraction >= shape.fraction && usable(*id) > Bytes::ZERO
    };
    let mut cards: Vec<_> = cards.filter(may_serve).collect();
    // The largest and fastest first, and cards that are alike beside each other.
    let by_size = |a: &DeviceId, b: &DeviceId| {
        let (one, other) = (rig.device(*a), rig.device(*b));
        let by_speed = other.bandwidth.0.total_cmp(&one.bandwidth.0);
        usable(*b)
            .cmp(&usable(*a))
            .then(by_speed)
            .then_with(|| (one.class, one.link).cmp(&(other.class, other.link)))
    };
    let host_of = |id: &DeviceId| rig.device(*id).host;
    cards.sort_by(|a, b| {
        let by_host = host_of(a).cmp(&host_of(b));
        by_host.then(by_size(a, b)).then(a.cmp(b))
    });
    let size = shape.degree.max(1) as usize;
    let mut members = Vec::new();
    for own in cards.chunk_by(|a, b| host_of(a) == host_of(b)) {
        let mut left = Vec::new();
        for alike in own.chunk_by(|a, b| by_size(a, b).is_eq()) {
            let full = alike.chunks_exact(size);
            left.extend_from_slice(full.remainder());
            members.extend(full.map(<[DeviceId]>::to_vec));
        }
        members.extend(left.chunks_exact(size).map(<[DeviceId]>::to_vec));
    }
    members.sort();
    members
}

/// Groups as devices; none where there are none.
fn seating(
    rig: &Rig,
    shape: Shape,
    members: Vec<Vec<DeviceId>>,
    limits: &dyn Limits,
) -> Option<Seating> {
    let groups = members.iter().enumerate();
    let devices = groups.filter_map(|(number, group)| {
        Some(Device {
            name: format!("group{number}"),
            ..as_one(rig, group, shape, limits)?
        })
    });
    let grouped = rig.of_groups(devices.collect()).ok()?;
    Some(Seating {
        shape,
        rig: grouped,
        members,
    })
}

/// A group as one device, with what a plan may use of each of its cards; none where it has no card.
pub fn as_one(rig: &Rig, group: &[DeviceId], shape: Shape, limits: &dyn Limits) -> Option<Device> {
    let usable = |id: DeviceId| limits.usable(rig.device(id), shape);
    let slowest = group
        .iter()
        .map(|id| rig.device(*id))
        .min_by(|a, b| a.bandwidth.0.total_cmp(&b.bandwidth.0))?;
    let link = |id: &DeviceId| rig.device(*id).link;
    let rate = |id: &DeviceId| link(id).bandwidth(Transfer::Pinned).0;
    let narrowest = group
        .iter()
        .min_by(|a, b| rate(a).total_cmp(&rate(b)))
        .map(link)?;
    Some(Device {
        memory: group.iter().map(|id| usable(*id)).min()?,
        reserve: Bytes::ZERO,
        link: narrowest,
        pci: None,
        ..slowest.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::text;

    /// All of a card.
    struct Whole;

    impl Limits for Whole {
        fn levels(&self, most: u32) -> Vec<u32> {
            vec![most]
        }

        fn fraction(&self, _device: &Device, _n_cards: u32) -> u32 {
            1000
        }

        fn usable(&self, device: &Device, _shape: Shape) -> Bytes {
            device.capacity()
        }
    }

    fn groups(rig: &str, degree: u32) -> Vec<Vec<usize>> {
        let rig = text::parse(rig).unwrap();
        let seatings = seatings(&rig, &[degree], &Whole);
        let members = seatings.into_iter().flat_map(|seating| seating.members);
        members
            .map(|group| group.into_iter().map(|id| id.0).collect())
            .collect()
    }

    #[test]
    fn like_cards_share_first_and_what_is_left_by_size() {
        assert_eq!(groups("4x RTX 3090", 2), [vec![0, 1], vec![2, 3]]);
        let rig = "RTX 3060 + 2x RTX 3090 + RTX 3060 + RTX 4060 Ti 16GB + RTX 3090";
        assert_eq!(groups(rig, 2), [vec![0, 3], vec![1, 2], vec![5, 4]]);
        assert_eq!(groups("3x RTX 3090", 2), [vec![0, 1]]);
        assert_eq!(groups("RTX 3090", 2), Vec::<Vec<usize>>::new());
    }

    #[test]
    fn a_group_is_as_large_and_as_fast_as_its_smallest() {
        let rig = text::parse("RTX 3090 + RTX 3060").unwrap();
        let seatings = seatings(&rig, &[2], &Whole);
        let group = &seatings[0].rig.devices()[0];
        assert_eq!(group.memory, rig.devices()[1].capacity());
        assert_eq!(group.bandwidth, rig.devices()[1].bandwidth);
    }
}
