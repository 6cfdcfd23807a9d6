//! Columns: every stage that could be part of a plan, priced once.
//!
//! Identical devices share a group and so their columns. Only here is a stage held against a
//! device's memory; whoever takes a column knows that it fits.

mod groups;
mod pricing;

use std::ops::{Range, RangeInclusive};

use crate::cost::{
    Accounting, Batch, Layout, Place, Position, Prefill, Rule, Sites, Span, Stage, capacity,
};
use crate::hardware::DeviceId;
use crate::units::{Bytes, Seconds, Tokens};

pub use groups::alike;
use pricing::Pricing;

/// An index into [`ColumnSet::groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub usize);

/// Who computes a column: the host, or any device of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// The CPU.
    Host,
    /// One device of the group.
    Group(GroupId),
}

/// A stage that could be part of a plan.
#[derive(Clone, Debug)]
pub struct Column {
    /// Who computes it.
    pub owner: Owner,
    /// Its units.
    pub units: Range<usize>,
    /// Which of these are streamed from RAM.
    pub streamed: Range<usize>,
    /// Whether it is the first on a GPU.
    pub position: Position,
    /// Time of one token.
    pub time: Seconds,
    /// What a prompt takes.
    pub prefill: Prefill,
    /// What its weights cost in quality, where that is a choice, in parts of [`Way::PARTS`].
    ///
    /// [`Way::PARTS`]: crate::cost::frontier::Way::PARTS
    pub penalty: u64,
    /// How full it makes its device, in parts of a billion.
    pub fullness: u32,
    /// Tokens that its cache keeps, where that takes what is left.
    pub resident: Tokens,
    /// Sequences of the workload's context that these are.
    pub sequences: u64,
    /// What sequences that are decoded together take.
    pub batch: Batch,
    /// What it adds to a plan: the time of a token or the bytes over capacity, until it is priced
    /// for another objective.
    pub cost: Cost,
    /// What counts only where it is the most of a plan: the fullness, until priced otherwise.
    pub load: u64,
}

/// A cost as an integer, so that sums and ties are exact: picoseconds, bytes too many, or several
/// such sums in one number, the first in the highest bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(pub u128);

impl From<Seconds> for Cost {
    fn from(time: Seconds) -> Self {
        Self((time.0 * 1e12).round() as u128)
    }
}

impl Cost {
    /// The cost as a time, where it is one.
    pub fn seconds(self) -> Seconds {
        Seconds(self.0 as f64 * 1e-12)
    }
}

/// Which columns are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Those that fit, at their time.
    Strict,
    /// Those that exceed their device by no more, at the bytes that they do so by: to find the least
    /// that is missing.
    Excess(Bytes),
}

/// What is known of plans before their columns are priced.
#[derive(Clone, Debug)]
pub struct Within {
    /// Where the units end that are below the GPUs as a whole.
    pub ends: Range<usize>,
    /// Where stages end.
    pub stages: Stages,
}

/// Where stages end, by kind of device and first unit; nothing where that is not known.
#[derive(Clone, Debug, Default)]
pub struct Stages {
    /// The kind of each device.
    pub kind_of: Vec<usize>,
    /// Of first stages.
    pub first: Vec<Vec<RangeInclusive<usize>>>,
    /// Of later ones.
    pub later: Vec<Vec<RangeInclusive<usize>>>,
}

impl Stages {
    /// By first unit, where stages of a device end; nothing where that is not known.
    fn of(&self, device: DeviceId, position: Position) -> &[RangeInclusive<usize>] {
        let stages = match position {
            Position::First => &self.first,
            Position::Later => &self.later,
        };
        let kind = self.kind_of.get(device.0);
        let stages = kind.and_then(|kind| stages.get(*kind));
        stages.map_or(&[][..], Vec::as_slice)
    }
}

/// Every column of one layout.
#[derive(Clone, Debug)]
pub struct ColumnSet {
    /// The layout.
    pub layout: Layout,
    /// Length of the chain.
    pub n_units: usize,
    /// Devices that are alike, the largest and fastest first. None has more than a plan could use.
    pub groups: Vec<Vec<DeviceId>>,
    /// The hosts that they are on.
    pub sites: Sites,
    /// How many devices a plan may use.
    pub most_devices: usize,
    /// The columns, sorted by first unit, owner, position and end.
    pub columns: Vec<Column>,
}

impl ColumnSet {
    /// Prices every stage of `layout` that the rules allow.
    pub fn new(accounting: &dyn Accounting, layout: Layout, fit: Fit, rules: &[Rule]) -> Self {
        let within = Within {
            ends: layout.ends_of_whole(accounting.units().len()),
            stages: Stages::default(),
        };
        Self::within(accounting, layout, fit, (rules, within))
    }

    /// The same for the plans of which something is known.
    pub fn within(
        accounting: &dyn Accounting,
        layout: Layout,
        fit: Fit,
        (rules, within): (&[Rule], Within),
    ) -> Self {
        let n_units = accounting.units().len();
        let rig = accounting.grouped(layout);
        let seat = |device: DeviceId| accounting.seat(layout, device);
        let seated: Vec<_> = rules.iter().map(|rule| rule.seated(seat)).collect();
        let rules = seated.as_slice();
        let (groups, sites) = groups::groups(accounting, layout, fit, rules);
        let mut columns = Vec::new();
        let base = accounting.host_base(layout).total();
        let host_room = capacity(rig, Place::Host);
        // Where RAM is stated, what never leaves it must fit it too.
        let host_is_stated = rig.host().is_some();
        let base_fits = !host_is_stated || base <= host_room;
        let in_ram = layout.parts().units();
        let is_allowed = rules
            .iter()
            .all(|rule| rule.allows_in_ram(&in_ram) && rule.allows_layout(layout));
        if is_allowed && (base_fits || fit != Fit::Strict) {
            let pricing = Pricing {
                accounting,
                layout,
                fit,
                rules,
                within: &within,
                host_room: host_room.saturating_sub(base),
            };
            pricing.host_columns(&mut columns);
            for (index, devices) in groups.iter().enumerate() {
                pricing.device_columns(GroupId(index), devices[0], &mut columns);
            }
        }
        // Columns are large, and each is moved once this way.
        columns.sort_by_cached_key(|column| {
            (
                column.units.start,
                column.owner,
                column.position,
                column.units.end,
            )
        });
        Self {
            layout,
            n_units,
            groups,
            sites,
            most_devices: accounting.most_devices(layout),
            columns,
        }
    }
}

impl Column {
    /// A stage of a layout on a place of a rig whose devices are all unlike.
    pub fn on(accounting: &dyn Accounting, layout: Layout, span: &Span, stage: Stage) -> Self {
        let room = capacity(accounting.grouped(layout), span.place);
        let (owner, room) = match span.place {
            // What the host holds in any plan is not left for its stage.
            Place::Host => {
                let base = accounting.host_base(layout).total();
                (Owner::Host, room.saturating_sub(base))
            }
            Place::Device(device) => (Owner::Group(GroupId(device.0)), room),
        };
        Self::of(owner, span, (stage, 0), room)
    }

    /// A stage at the cost of its time, on a place with so much room.
    pub fn of(owner: Owner, span: &Span, (stage, penalty): (Stage, u64), room: Bytes) -> Self {
        let needs = stage.device.total();
        let fullness = fullness(needs, room);
        let beside = needs.saturating_sub(stage.device.kv_cache);
        let resident = stage.pages.resident(room.saturating_sub(beside));
        Self {
            owner,
            units: span.units.clone(),
            streamed: span.streamed.clone(),
            position: span.position,
            time: stage.time,
            prefill: stage.prefill,
            penalty,
            fullness,
            resident,
            sequences: stage.pages.sequences(resident),
            batch: stage.batch,
            cost: stage.time.into(),
            load: fullness.into(),
        }
    }
}

fn fullness(needs: Bytes, room: Bytes) -> u32 {
    let share = u128::from(needs.0) * 1_000_000_000 / u128::from(room.0.max(1));
    u32::try_from(share).unwrap_or(u32::MAX)
}
