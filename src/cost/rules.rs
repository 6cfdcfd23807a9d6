//! What is decided before the solver decides: units that are at a place, or kept off it.
//!
//! A rule drops stages and changes no price. What people write (`--pin`, `--forbid`, `--fix`) is
//! turned into rules by `scenario`.

use std::ops::Range;

use crate::cost::{Layout, Place, Span};
use crate::hardware::DeviceId;

/// A decision about units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// They are kept at this place.
    On(Range<usize>, Place),
    /// They are kept anywhere but there.
    Off(Range<usize>, Place),
    /// So many GPUs share every block.
    Degree(u32),
}

/// Where no device of a layout is: the seat of a card that the layout leaves out.
const NOWHERE: DeviceId = DeviceId(usize::MAX);

impl Rule {
    /// Whether it speaks of a place.
    pub fn names(&self, place: Place) -> bool {
        match self {
            Self::On(_, named) | Self::Off(_, named) => *named == place,
            Self::Degree(_) => false,
        }
    }

    /// The same rule where a layout has its own devices, which `seat` finds for a card.
    pub fn seated(&self, seat: impl Fn(DeviceId) -> Option<DeviceId>) -> Self {
        let seated = |place: &Place| match place {
            Place::Host => Place::Host,
            Place::Device(device) => Place::Device(seat(*device).unwrap_or(NOWHERE)),
        };
        match self {
            Self::On(units, place) => Self::On(units.clone(), seated(place)),
            Self::Off(units, place) => Self::Off(units.clone(), seated(place)),
            Self::Degree(degree) => Self::Degree(*degree),
        }
    }

    /// Whether a layout keeps it.
    pub fn allows_layout(&self, layout: Layout) -> bool {
        match self {
            Self::On(..) | Self::Off(..) => true,
            Self::Degree(degree) => layout.shape().is_some_and(|shape| shape.degree == *degree),
        }
    }

    /// Whether a stage keeps it. A streamed unit is at the host.
    pub fn allows(&self, span: &Span) -> bool {
        let [before, behind] = resident(span);
        self.allows_at(span.place, &before)
            && self.allows_at(span.place, &behind)
            && self.allows_in_ram(&span.streamed)
    }

    /// Whether units, or their experts, may be in RAM.
    pub fn allows_in_ram(&self, units: &Range<usize>) -> bool {
        self.allows_at(Place::Host, units)
    }

    fn allows_at(&self, place: Place, units: &Range<usize>) -> bool {
        match self {
            Self::On(ruled, due) => *due == place || !overlap(ruled, units),
            Self::Off(ruled, barred) => *barred != place || !overlap(ruled, units),
            Self::Degree(_) => true,
        }
    }
}

/// The units of a stage that stay on its own place: before the streamed run, and behind it.
fn resident(span: &Span) -> [Range<usize>; 2] {
    if span.streamed.is_empty() {
        return [span.units.clone(), 0..0];
    }
    [
        span.units.start..span.streamed.start,
        span.streamed.end..span.units.end,
    ]
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start.max(b.start) < a.end.min(b.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Position;
    use crate::hardware::DeviceId;

    const GPU: Place = Place::Device(DeviceId(0));

    fn span(place: Place, units: Range<usize>, streamed: Range<usize>) -> Span {
        Span {
            place,
            units,
            streamed,
            position: Position::First,
        }
    }

    #[test]
    fn a_pinned_unit_is_nowhere_else_and_a_barred_one_not_there() {
        let on = Rule::On(2..4, GPU);
        assert!(on.allows(&span(GPU, 0..9, 0..0)));
        assert!(on.allows(&span(Place::Host, 0..2, 0..0)));
        assert!(!on.allows(&span(Place::Host, 0..3, 0..0)));
        let off = Rule::Off(2..4, GPU);
        assert!(off.allows(&span(Place::Host, 0..9, 0..0)));
        assert!(off.allows(&span(GPU, 4..9, 0..0)));
        assert!(!off.allows(&span(GPU, 3..9, 0..0)));
    }

    #[test]
    fn a_streamed_unit_is_at_the_host() {
        let on = Rule::On(2..4, Place::Host);
        assert!(on.allows(&span(GPU, 0..9, 1..4)));
        assert!(!on.allows(&span(GPU, 0..9, 1..3)));
        assert!(!Rule::Off(2..4, Place::Host).allows(&span(GPU, 0..9, 1..3)));
    }
}
