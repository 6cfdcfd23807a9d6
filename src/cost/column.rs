//! Columns: every stage that could be part of a plan, priced once.
//!
//! Identical devices share a group and so their columns. Only here is a stage held against a
//! device's memory; whoever takes a column knows that it fits.

mod groups;

use std::ops::Range;

use crate::cost::{
    Accounting, Batch, Layout, Offload, Place, Position, Prefill, Rule, Sites, Span, Stage, Whole,
    capacity,
};
use crate::hardware::{DeviceId, Rig};
use crate::units::{Bytes, Seconds, Tokens};

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
        let ends = layout.ends_of_whole(accounting.units().len());
        Self::within(accounting, layout, fit, (rules, ends))
    }

    /// The same for the plans in which the units that are below the GPUs as a whole end within `ends`.
    pub fn within(
        accounting: &dyn Accounting,
        layout: Layout,
        fit: Fit,
        (rules, ends): (&[Rule], Range<usize>),
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
                ends,
                host_room: host_room.saturating_sub(base),
            };
            pricing.host_columns(&mut columns);
            for (index, devices) in groups.iter().enumerate() {
                pricing.device_columns(n_units, GroupId(index), devices[0], &mut columns);
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
            most_devices: accounting.most_devices(),
            columns,
        }
    }
}

struct Pricing<'a> {
    accounting: &'a dyn Accounting,
    layout: Layout,
    fit: Fit,
    rules: &'a [Rule],
    /// Where the units end that are below the GPUs as a whole.
    ends: Range<usize>,
    host_room: Bytes,
}

impl Pricing<'_> {
    /// Prefixes of the chain that the CPU computes.
    fn host_columns(&self, columns: &mut Vec<Column>) {
        let computes = self.accounting.offload() == Offload::Computes;
        if !computes && !self.layout.is_host_only() {
            return;
        }
        for end in self.ends.clone() {
            let span = Span {
                place: Place::Host,
                units: 0..end,
                streamed: 0..0,
                position: Position::First,
            };
            let stage = self.stage(&span, self.host_room);
            match self.column(Owner::Host, &span, stage, self.host_room) {
                Some(column) => columns.push(column),
                None => break,
            }
        }
    }

    /// Stages on one device of a group.
    fn device_columns(
        &self,
        n_units: usize,
        group: GroupId,
        device: DeviceId,
        columns: &mut Vec<Column>,
    ) {
        if self.layout.is_host_only() {
            return;
        }
        let room = capacity(self.accounting.grouped(self.layout), Place::Device(device));
        let streams = self.layout.whole() == Whole::FirstUnits
            && self.accounting.offload() == Offload::Streams;
        let stages = match self.fit {
            Fit::Strict => self.accounting.stage_ends(self.layout, &self.ends, device),
            Fit::Excess(_) => Vec::new(),
        };
        for position in [Position::First, Position::Later] {
            for start in 0..n_units {
                if !self.may_start(start, position) {
                    continue;
                }
                let ends = match (self.is_on_one_device(), stages.get(start)) {
                    (true, _) => n_units..=n_units,
                    (false, Some(ends)) => ends.clone(),
                    (false, None) => start + 1..=n_units,
                };
                for end in ends {
                    let units = start..end;
                    let span = Span {
                        place: Place::Device(device),
                        units,
                        streamed: 0..0,
                        position,
                    };
                    let column = if streams && position == Position::First {
                        self.streaming(group, &span, room)
                    } else {
                        let stage = self.stage(&span, room);
                        self.column(Owner::Group(group), &span, stage, room)
                    };
                    match column {
                        Some(column) => columns.push(column),
                        // A single unit has nothing to stream beside it, and more may.
                        None if streams && position == Position::First => {}
                        // A GPU that serves alone needs no buffers for others.
                        None if self.layout.shape().is_some() => {}
                        // More units never need less.
                        None => break,
                    }
                }
            }
        }
    }

    /// Whether one device has the whole chain.
    fn is_on_one_device(&self) -> bool {
        match (self.layout, self.layout.whole()) {
            (Layout::OneDevice, _) => true,
            (Layout::Offloaded(_), Whole::Nothing) => self.accounting.rig().devices().len() == 1,
            (Layout::Offloaded(_), Whole::FirstUnits)
            | (
                Layout::Pipelined | Layout::Sequential | Layout::HostOnly(_) | Layout::Served(_),
                _,
            ) => false,
        }
    }

    /// Whether a device may begin at a unit: the first one at the start, or behind the CPU's prefix.
    fn may_start(&self, start: usize, position: Position) -> bool {
        let computes = self.accounting.offload() == Offload::Computes;
        match (self.layout.whole(), position) {
            _ if self.is_on_one_device() => start == 0 && position == Position::First,
            (Whole::FirstUnits, Position::First) if computes => self.ends.contains(&start),
            (Whole::FirstUnits, Position::Later) if computes => start > self.ends.start,
            (_, Position::First) => start == 0,
            (_, Position::Later) => start > 0,
        }
    }

    /// The first stage of a target that streams: of the runs that could stay in RAM, the one of
    /// least cost. It begins at the first unit or behind the embedding, and leaves at least one unit
    /// on the device: a map without any would compute on the CPU.
    fn streaming(&self, group: GroupId, span: &Span, room: Bytes) -> Option<Column> {
        let mut best: Option<Column> = None;
        for first in 0..=1.min(span.units.end - 1) {
            let last = span.units.end - usize::from(first == 0);
            let run = |end: usize| Span {
                streamed: first..end,
                ..span.clone()
            };
            let ends: Vec<_> = (first + 1..=last)
                .filter(|end| self.is_allowed(&run(*end)))
                .collect();
            let overflows = |end: &usize| {
                self.accounting
                    .stage(self.layout, &run(*end))
                    .device
                    .total()
                    > room
            };
            let tried = match self.fit {
                // The shortest run with which the device holds the rest: each more unit is one more
                // to copy.
                Fit::Strict => {
                    let shortest = ends.partition_point(overflows);
                    &ends[shortest..ends.len().min(shortest + 1)]
                }
                Fit::Excess(_) => &ends[..],
            };
            for end in tried {
                let span = run(*end);
                let stage = self.accounting.stage(self.layout, &span);
                let column = self.column(Owner::Group(group), &span, (stage, 0), room);
                let better =
                    |column: &Column| best.as_ref().is_none_or(|best| column.cost < best.cost);
                if let Some(column) = column.filter(better) {
                    best = Some(column);
                }
            }
        }
        best
    }

    fn is_allowed(&self, span: &Span) -> bool {
        self.rules.iter().all(|rule| rule.allows(span))
    }

    /// A stage, and what its weights cost in quality: as well stored as fits, or at its smallest.
    fn stage(&self, span: &Span, room: Bytes) -> (Stage, u64) {
        match self.fit {
            Fit::Strict => self.accounting.fitted(self.layout, span, room),
            Fit::Excess(_) => (self.accounting.stage(self.layout, span), 0),
        }
    }

    /// The column of a stage, or nothing where a rule forbids it, or it has to fit and does not.
    fn column(
        &self,
        owner: Owner,
        span: &Span,
        (stage, penalty): (Stage, u64),
        room: Bytes,
    ) -> Option<Column> {
        if !self.is_allowed(span) {
            return None;
        }
        let needs = stage.device.total();
        // Each card of a group lacks the same.
        let cards = match span.place {
            Place::Host => 1,
            Place::Device(device) => self.accounting.members(self.layout, device).len(),
        };
        let over = needs.saturating_sub(room) * cards as u64
            + stage.host.total().saturating_sub(self.host_room);
        let cost = match self.fit {
            Fit::Strict if over > Bytes::ZERO => return None,
            Fit::Strict => stage.time.into(),
            Fit::Excess(most) if over > most => return None,
            Fit::Excess(_) => Cost(over.0.into()),
        };
        Some(Column {
            cost,
            ..Column::of(owner, span, (stage, penalty), room)
        })
    }
}

impl Column {
    /// A stage on a place of a rig whose devices are all unlike.
    pub fn on(rig: &Rig, span: &Span, stage: Stage) -> Self {
        let owner = match span.place {
            Place::Host => Owner::Host,
            Place::Device(device) => Owner::Group(GroupId(device.0)),
        };
        Self::of(owner, span, (stage, 0), capacity(rig, span.place))
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
