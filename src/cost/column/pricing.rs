//! The columns of one layout: which stages are tried, what each of them costs, and whether it fits.
//! Not here: what is done with them.

use super::{Column, Cost, Fit, GroupId, Owner, Within};
use crate::cost::{
    Accounting, Layout, Offload, Place, Position, Rule, Span, Stage, Whole, capacity,
};
use crate::hardware::DeviceId;
use crate::units::Bytes;

pub(super) struct Pricing<'a> {
    pub(super) accounting: &'a dyn Accounting,
    pub(super) layout: Layout,
    pub(super) fit: Fit,
    pub(super) rules: &'a [Rule],
    pub(super) within: &'a Within,
    pub(super) host_room: Bytes,
}

impl Pricing<'_> {
    /// Prefixes of the chain that the CPU computes.
    pub(super) fn host_columns(&self, columns: &mut Vec<Column>) {
        let computes = self.accounting.offload() == Offload::Computes;
        if !computes && !self.layout.is_host_only() {
            return;
        }
        for end in self.within.ends.clone() {
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
    pub(super) fn device_columns(
        &self,
        group: GroupId,
        device: DeviceId,
        columns: &mut Vec<Column>,
    ) {
        if !self.layout.is_host_only() {
            self.stages_at(Position::First, (group, device), columns);
            self.stages_at(Position::Later, (group, device), columns);
        }
    }

    fn stages_at(
        &self,
        position: Position,
        (group, device): (GroupId, DeviceId),
        columns: &mut Vec<Column>,
    ) {
        let stages = self.within.stages.of(device, position);
        let n_units = self.accounting.units().len();
        let room = capacity(self.accounting.grouped(self.layout), Place::Device(device));
        let streams = self.layout.whole() == Whole::FirstUnits
            && self.accounting.offload() == Offload::Streams;
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
            (Whole::FirstUnits, Position::First) if computes => self.within.ends.contains(&start),
            (Whole::FirstUnits, Position::Later) if computes => start > self.within.ends.start,
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
