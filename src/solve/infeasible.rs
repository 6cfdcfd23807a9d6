//! Why not: the plan that comes closest, and what each device lacks in it.

use crate::cost::column::Cost;
use crate::cost::{Accounting, ColumnSet, Fit, Layout, Place, capacity};
use crate::solve::path::{Taken, stages};
use crate::solve::{Ask, Effort, NoPlan, Ruling, dynamic, line};
use crate::units::Bytes;

/// No plan fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", if matches!(.no, NoPlan::RuledOut(_)) { "no plan fits" } else { "no plan was found, though none is ruled out" }, sentence(.reasons))]
pub struct Infeasible {
    /// Whether every plan was ruled out, and how; else there were too many device orders to try.
    pub no: NoPlan,
    /// What the plan that comes closest lacks, by device. Empty where the target may not use any
    /// part of the rig.
    pub reasons: Vec<Reason>,
}

/// A device that is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// The device, or the host.
    pub place: Place,
    /// What it can hold.
    pub capacity: Bytes,
    /// What it lacks.
    pub missing: Bytes,
}

impl Infeasible {
    /// Whether every plan was ruled out.
    pub fn is_proven(&self) -> bool {
        self.ruling().is_some()
    }

    /// How every plan was ruled out, where it was.
    pub fn ruling(&self) -> Option<Ruling> {
        match self.no {
            NoPlan::RuledOut(ruling) => Some(ruling),
            NoPlan::NotFound => None,
        }
    }

    /// What is missing on all devices together.
    pub fn missing(&self) -> Bytes {
        self.reasons.iter().map(|reason| reason.missing).sum()
    }
}

fn sentence(reasons: &[Reason]) -> String {
    let missing: Bytes = reasons.iter().map(|reason| reason.missing).sum();
    match reasons.len() {
        0 => "no part of the rig can be used as asked".to_owned(),
        1 => format!("{missing} are missing"),
        n => format!("{missing} are missing on {n} devices"),
    }
}

/// Finds the plan whose devices are exceeded by the least in total.
pub(super) fn explain(accounting: &dyn Accounting, ask: &Ask, no: NoPlan) -> Infeasible {
    let layouts: Vec<_> = accounting.ranks().into_iter().flatten().collect();
    let missing =
        |reasons: &Vec<Reason>| reasons.iter().map(|reason| reason.missing).sum::<Bytes>();
    let outlooks = layouts.iter().map(|layout| {
        let base = base_lacks(accounting, *layout);
        accounting.outlook(*layout).missing.max(base)
    });
    let mut by_outlook: Vec<_> = outlooks.zip(0..).collect();
    by_outlook.sort_unstable();
    let mut least: Option<(Bytes, usize, Vec<Reason>)> = None;
    for (promised, index) in by_outlook {
        // Of equals the first of all layouts.
        let may_be_less = |(best, of, _): &(Bytes, usize, _)| (promised, index) < (*best, *of);
        if !least.as_ref().is_none_or(may_be_less) || (least.is_some() && ask.stop.is_set()) {
            continue;
        }
        let known = least.as_ref().map_or(Bytes(u64::MAX), |(best, ..)| *best);
        if let Some(reasons) = closest(accounting, ask, layouts[index], (promised, known)) {
            let found = (missing(&reasons), index);
            if least
                .as_ref()
                .is_none_or(|(best, of, _)| found < (*best, *of))
            {
                least = Some((found.0, found.1, reasons));
            }
        }
    }
    Infeasible {
        no,
        reasons: least.map(|(.., reasons)| reasons).unwrap_or_default(),
    }
}

/// What RAM lacks for what is there in every plan of a layout.
fn base_lacks(accounting: &dyn Accounting, layout: Layout) -> Bytes {
    let base = accounting.host_base(layout).total();
    let host = accounting.grouped(layout).host();
    let room = host.map(|host| host.capacity());
    room.map_or(Bytes::ZERO, |room| base.saturating_sub(room))
}

/// The path that exceeds its devices by the fewest bytes, no fewer than `promised`, among the columns
/// that exceed theirs by few: more of these are priced until a path is found that needs no others, or
/// none exceeds them by as few as `known`.
fn least_over(
    accounting: &dyn Accounting,
    ask: &Ask,
    layout: Layout,
    (promised, known): (Bytes, Bytes),
) -> Option<(ColumnSet, Vec<Taken>)> {
    let mut step = Bytes::mib(256);
    let mut most = (promised + step).min(known);
    loop {
        let set = ColumnSet::new(accounting, layout, Fit::Excess(most), &ask.rules);
        let found = match dynamic::shortest(&set, Effort::Try, &ask.stop) {
            dynamic::Answer::Path { path, cost, .. } => Some((path, cost)),
            dynamic::Answer::None => None,
            dynamic::Answer::TooManyOrders => {
                let found = line::best_of_orders(&set, &ask.stop);
                found.map(|(path, worth)| (path, worth.cost))
            }
        };
        let is_all = most == known;
        match found {
            Some((path, cost)) if is_all || cost <= Cost(most.0.into()) => {
                return Some((set, path));
            }
            None if is_all => return None,
            Some((_, cost)) => most = Bytes(u64::try_from(cost.0).unwrap_or(u64::MAX)).min(known),
            None => {
                step = Bytes(step.0.saturating_mul(8));
                most = (promised + step).min(known);
            }
        }
    }
}

fn closest(
    accounting: &dyn Accounting,
    ask: &Ask,
    layout: Layout,
    worths: (Bytes, Bytes),
) -> Option<Vec<Reason>> {
    let (set, path) = least_over(accounting, ask, layout, worths)?;
    let mut on_host = accounting.host_base(layout).total();
    let mut reasons = Vec::new();
    for span in stages(&set, &path) {
        let stage = accounting.stage(layout, &span);
        on_host += stage.host.total();
        match span.place {
            Place::Host => on_host += stage.device.total(),
            Place::Device(device) => {
                let found = reason(accounting, layout, span.place, stage.device.total());
                // Each card of a group lacks it.
                let cards = accounting.members(layout, device).into_iter();
                let places = cards.map(Place::Device);
                reasons.extend(
                    places.filter_map(|place| found.map(|found| Reason { place, ..found })),
                );
            }
        }
    }
    if accounting.grouped(layout).host().is_some() {
        reasons.extend(reason(accounting, layout, Place::Host, on_host));
    }
    reasons.sort_by_key(|reason| reason.place);
    Some(reasons)
}

fn reason(
    accounting: &dyn Accounting,
    layout: Layout,
    place: Place,
    needs: Bytes,
) -> Option<Reason> {
    let capacity = capacity(accounting.grouped(layout), place);
    let missing = needs
        .checked_sub(capacity)
        .filter(|missing| *missing > Bytes::ZERO)?;
    Some(Reason {
        place,
        capacity,
        missing,
    })
}
