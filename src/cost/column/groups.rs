//! Which devices of a rig are alike, so that columns are priced once for all of them.

use super::{Cost, Fit};
use crate::cost::sites::Kinds;
use crate::cost::{Accounting, Layout, Place, Rule, Sites};
use crate::hardware::{Device, DeviceId, Rig};

/// Devices that any plan may exchange, the largest and fastest first, so that the order in which a
/// rig lists its devices breaks no tie, and their hosts. A device that a rule names is like no other.
/// Missing bytes cost the same on any host.
pub(super) fn groups(
    accounting: &dyn Accounting,
    layout: Layout,
    fit: Fit,
    rules: &[Rule],
) -> (Vec<Vec<DeviceId>>, Sites) {
    let rig = accounting.grouped(layout);
    let per_host = layout.shape().map_or(0, |shape| shape.per_host as usize);
    let quota = (per_host > 0).then_some(per_host);
    let mut alike = alike(rig, rules);
    let mut kind_of_device = vec![0; rig.devices().len()];
    for (kind, devices) in alike.iter().enumerate() {
        devices.iter().for_each(|id| kind_of_device[id.0] = kind);
    }
    if rig.hosts().len() == 1 || (fit != Fit::Strict && quota.is_none()) {
        // A plan has no more stages than units.
        alike.iter_mut().for_each(|group| {
            group.truncate(
                accounting
                    .units()
                    .len()
                    .min(accounting.most_devices(layout)),
            )
        });
        let sites = Sites::one(&alike);
        return (alike, sites);
    }
    let kinds = Kinds::new(accounting, rig, &kind_of_device, quota);
    let mut groups: Vec<Vec<DeviceId>> = Vec::new();
    for mut devices in alike {
        devices.sort_by_key(|id| kinds.of(rig, *id));
        let by_host = devices.chunk_by(|a, b| kinds.of(rig, *a) == kinds.of(rig, *b));
        groups.extend(by_host.map(<[DeviceId]>::to_vec));
    }
    let mut sites = kinds.sites(accounting, rig, &groups);
    if fit != Fit::Strict {
        sites.hops_mut().for_each(|hop| hop.cost = Cost(0));
    }
    (groups, sites)
}

/// Devices of equal figures, the largest and fastest first. One that a rule names is like no other.
pub fn alike(rig: &Rig, rules: &[Rule]) -> Vec<Vec<DeviceId>> {
    let is_ruled = |id: DeviceId| rules.iter().any(|rule| rule.names(Place::Device(id)));
    let alike = |a: &Device, b: &Device| {
        (a.capacity(), a.class, a.link) == (b.capacity(), b.class, b.link)
            && a.bandwidth == b.bandwidth
    };
    let mut groups: Vec<Vec<DeviceId>> = Vec::new();
    for id in rig.device_ids() {
        let device = rig.device(id);
        match groups.iter_mut().find(|group| {
            !is_ruled(id) && !is_ruled(group[0]) && alike(rig.device(group[0]), device)
        }) {
            Some(group) => group.push(id),
            None => groups.push(vec![id]),
        }
    }
    groups.sort_by(|a, b| {
        let (a, b) = (rig.device(a[0]), rig.device(b[0]));
        let by_size = b.capacity().cmp(&a.capacity());
        let by_speed = b.bandwidth.0.total_cmp(&a.bandwidth.0);
        by_size
            .then(by_speed)
            .then_with(|| (a.class, a.link).cmp(&(b.class, b.link)))
    });
    groups
}
