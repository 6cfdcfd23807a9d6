//! What the plans of a layout do at their best, told before its columns are priced: by how many first
//! units are below the GPUs as a whole. Not here: how the best of them is found.

use std::ops::Range;

use crate::cost::{Accounting, Layout, Outlook, Place, Position, Prefix, Span, alike, capacity};
use crate::hardware::DeviceId;
use crate::solve::Ask;
use crate::units::Bytes;

/// More sets of devices than these take longer than the columns that they might spare.
const MOST_SETS: usize = 1 << 12;

/// What no plan of a layout does better than.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    /// None is worth less by the first objective.
    pub(super) least: u64,
    /// The same by the units below the GPUs as a whole, of those for which a plan is not ruled out;
    /// nothing where it is not known.
    prefixes: Option<Vec<Prefix>>,
}

impl Promise {
    /// What is known of a layout none of whose plans is worth less than `least`.
    pub(super) fn new(accounting: &dyn Accounting, layout: Layout, ask: &Ask, least: u64) -> Self {
        let all = accounting.prefixes(layout);
        if all.is_empty() {
            return Self {
                least,
                prefixes: None,
            };
        }
        let may_fit = |prefix: &Prefix| {
            prefix.outlook.missing == Bytes::ZERO && prefix.outlook.time.0.is_finite()
        };
        let fitting = all.into_iter().filter(may_fit).collect();
        let prefixes = reaching(accounting, layout, fitting);
        let worths = prefixes.iter().map(|prefix| worth(ask, &prefix.outlook));
        Self {
            least: worths.min().unwrap_or(u64::MAX).max(least),
            prefixes: Some(prefixes),
        }
    }

    /// Whether every plan is ruled out.
    pub(super) fn is_empty(&self) -> bool {
        self.prefixes.as_ref().is_some_and(Vec::is_empty)
    }

    /// Where these units end in plans that are worth no more than `worst`; `all` where that is not known.
    pub(super) fn ends(&self, all: Range<usize>, ask: &Ask, worst: u64) -> Range<usize> {
        let Some(prefixes) = self.prefixes.as_ref().filter(|_| !all.is_empty()) else {
            return all;
        };
        // The linear program looks at plans that are a little worse, too.
        let worst = worst.saturating_add(worst / 1000 + 1);
        let may_be = |prefix: &&Prefix| worth(ask, &prefix.outlook) <= worst;
        let ends = prefixes.iter().filter(may_be).map(|prefix| prefix.end);
        let (least, most) = (ends.clone().min(), ends.max());
        least.unwrap_or_default()..most.map_or(0, |most| most + 1)
    }
}

fn worth(ask: &Ask, outlook: &Outlook) -> u64 {
    ask.goal.least(ask.goal.by_stages()[0], outlook)
}

/// Those of the prefixes, which are in their order, from which on stages lead to the end of the chain,
/// each device at most once.
fn reaching(accounting: &dyn Accounting, layout: Layout, mut prefixes: Vec<Prefix>) -> Vec<Prefix> {
    let n_units = accounting.units().len();
    let Some(cards) = Cards::new(accounting, layout) else {
        return prefixes;
    };
    // Behind more units every stage ends later.
    let first = |card: usize, start: usize| cards.first[card][start];
    let is_short = |prefix: &Prefix| cards.reach(prefix.end, first) < n_units;
    prefixes.drain(..prefixes.partition_point(is_short));
    // The first stage has buffers of its own, so it is priced.
    let first = |card: usize, start: usize| {
        let device = cards.devices[card];
        let room = capacity(accounting.grouped(layout), Place::Device(device));
        let overflows = |end: &usize| {
            let span = Span {
                place: Place::Device(device),
                units: start..*end,
                streamed: 0..0,
                position: Position::First,
            };
            accounting.stage(layout, &span).device.total() > room
        };
        let ends: Vec<_> = (start + 1..=cards.first[card][start]).collect();
        start + ends.partition_point(|end| !overflows(end))
    };
    let is_short = |prefix: &Prefix| cards.reach(prefix.end, first) < n_units;
    let n_short = prefixes
        .iter()
        .take_while(|prefix| is_short(prefix))
        .count();
    prefixes.drain(..n_short);
    prefixes
}

/// Devices that compute the chain, those that are alike together.
struct Cards {
    /// One of each kind.
    devices: Vec<DeviceId>,
    n_of_kind: Vec<usize>,
    /// By kind and first unit, an end that no first stage that fits goes beyond, and no later one.
    first: Vec<Vec<usize>>,
    later: Vec<Vec<usize>>,
}

impl Cards {
    /// Nothing where it is not known how far stages lead, or there are too many sets of devices.
    fn new(accounting: &dyn Accounting, layout: Layout) -> Option<Self> {
        let n_units = accounting.units().len();
        let kinds = alike(accounting.grouped(layout), &[]);
        let n_of_kind: Vec<_> = kinds.iter().map(|kind| kind.len().min(n_units)).collect();
        let n_sets = n_of_kind.iter().try_fold(1_usize, |n_sets, n_devices| {
            n_sets.checked_mul(n_devices + 1)
        });
        n_sets.filter(|n_sets| *n_sets <= MOST_SETS)?;
        let devices: Vec<_> = kinds.iter().map(|kind| kind[0]).collect();
        let ends = layout.ends_of_whole(n_units);
        let [first, later] = [Position::First, Position::Later].map(|position| {
            let stages = accounting.stage_ends(layout, position, &ends, &devices);
            let farthest = stages.iter().map(|by_start| {
                let ends = by_start.iter().map(|ends| *ends.end());
                ends.collect()
            });
            farthest.collect::<Vec<_>>()
        });
        (!later.is_empty()).then_some(Self {
            devices,
            n_of_kind,
            first,
            later,
        })
    }

    /// The most units that may be done if `done` are below the GPUs, and the first stage of a kind of
    /// device ends where `first` says.
    fn reach(&self, done: usize, first: impl Fn(usize, usize) -> usize) -> usize {
        let n_sets = self.n_of_kind.iter().map(|n| n + 1).product();
        let n_units = self.later.first().map_or(0, Vec::len);
        let mut most = vec![0; n_sets];
        most[0] = done;
        for set in 0..n_sets {
            let mut stride = 1;
            for (kind, n_devices) in self.n_of_kind.iter().enumerate() {
                if set / stride % (n_devices + 1) < *n_devices && most[set] < n_units {
                    let end = match set {
                        0 => first(kind, done),
                        _ => self.later[kind][most[set]],
                    };
                    most[set + stride] = most[set + stride].max(end);
                }
                stride *= n_devices + 1;
            }
        }
        most.into_iter().max().unwrap_or_default()
    }
}
