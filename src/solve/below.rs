//! What the plans of a layout do at their best, told before its columns are priced: by how many first
//! units are below the GPUs as a whole, and where stages may end. Not here: how the best is found.
//!
//! How far stages lead is told by the set of devices that have any, not by their order: behind more
//! units a stage ends no sooner.

use std::ops::{Range, RangeInclusive};

use crate::cost::{
    Accounting, Layout, Outlook, Place, Position, Prefix, Span, Stages, alike, capacity,
};
use crate::hardware::DeviceId;
use crate::solve::{Ask, Ruling};
use crate::units::Bytes;

/// More sets of devices than these take longer than the columns that they might spare.
const MOST_SETS: usize = 1 << 12;

/// What no plan of a layout does better than.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    /// None is worth less by the first objective.
    pub(super) least: u64,
    /// The same by the units below the GPUs as a whole, of those for which a plan is not ruled out;
    /// nothing where that is not known.
    prefixes: Option<Vec<Prefix>>,
    /// Nothing until it was asked how far stages lead.
    cards: Option<Cards>,
}

impl Promise {
    /// What is known of a layout none of whose plans is worth less than `least`, but for how far stages
    /// lead.
    pub(super) fn new(accounting: &dyn Accounting, layout: Layout, ask: &Ask, least: u64) -> Self {
        let mut prefixes = accounting.prefixes(layout);
        let is_known = !prefixes.is_empty();
        prefixes.retain(|Prefix { outlook, .. }| {
            outlook.missing == Bytes::ZERO && outlook.time.0.is_finite()
        });
        let promise = Self {
            least,
            prefixes: is_known.then_some(prefixes),
            cards: None,
        };
        promise.with_least_of_prefixes(ask)
    }

    /// Whether all is known.
    pub(super) fn is_sharp(&self) -> bool {
        self.ruling().is_some() || self.prefixes.is_none() || self.cards.is_some()
    }

    /// The same where it is known how far stages lead.
    pub(super) fn sharpened(
        mut self,
        accounting: &dyn Accounting,
        layout: Layout,
        ask: &Ask,
    ) -> Self {
        if let Some(prefixes) = &mut self.prefixes {
            let mut cards = Cards::new(accounting, layout, ask);
            cards.keep_reaching(accounting, layout, prefixes);
            self.cards = Some(cards);
        }
        self.with_least_of_prefixes(ask)
    }

    fn with_least_of_prefixes(mut self, ask: &Ask) -> Self {
        if let Some(prefixes) = &self.prefixes {
            let worths = prefixes.iter().map(|prefix| worth(ask, &prefix.outlook));
            self.least = worths.min().unwrap_or(u64::MAX).max(self.least);
        }
        self
    }

    /// How every plan is ruled out, if it is.
    pub(super) fn ruling(&self) -> Option<Ruling> {
        let prefixes = self.prefixes.as_ref().filter(|it| it.is_empty());
        prefixes.map(|_| match self.cards {
            None => Ruling::Area,
            Some(_) => Ruling::Orders,
        })
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

    /// Where stages end in plans in which these units end within `ends`.
    pub(super) fn stages(
        &self,
        accounting: &dyn Accounting,
        layout: Layout,
        ends: &Range<usize>,
    ) -> Stages {
        let cards = self.cards.as_ref();
        cards.map_or_else(Stages::default, |cards| {
            cards.stages(accounting, layout, ends)
        })
    }
}

/// Where stages end in plans of a layout in which the units below the GPUs as a whole end within `ends`;
/// nothing where that is not known.
pub fn stages_within(
    accounting: &dyn Accounting,
    layout: Layout,
    ask: &Ask,
    ends: &Range<usize>,
) -> Stages {
    let mut cards = Cards::new(accounting, layout, ask);
    let known = cards.asked(accounting, layout, ends);
    if known.first.is_empty() || known.later.is_empty() {
        return Stages::default();
    }
    if cards.n_sets == 0 {
        return known;
    }
    cards.first = known.first;
    cards.set_later(known.later, ends);
    cards.stages(accounting, layout, ends)
}

fn worth(ask: &Ask, outlook: &Outlook) -> u64 {
    ask.goal.least(ask.goal.by_stages()[0], outlook)
}

/// Devices that compute a chain, those that are alike together.
#[derive(Clone, Debug)]
struct Cards {
    kind_of: Vec<usize>,
    /// One of each kind.
    devices: Vec<DeviceId>,
    /// Of sets of devices, which are told by a number of theirs; none where there are too many.
    n_sets: usize,
    /// By the set that has one less.
    steps: Vec<Step>,
    /// By kind and first unit, where first stages may end, and later ones.
    first: Vec<Vec<RangeInclusive<usize>>>,
    later: Vec<Vec<RangeInclusive<usize>>>,
    /// By kind and units that are done, where a later stage ends at the most.
    farthest: Vec<Vec<usize>>,
}

/// From one set to that with one more device of a kind.
#[derive(Clone, Copy, Debug)]
struct Step {
    from: usize,
    kind: usize,
    to: usize,
}

impl Cards {
    fn new(accounting: &dyn Accounting, layout: Layout, ask: &Ask) -> Self {
        let rig = accounting.grouped(layout);
        let n_units = accounting.units().len();
        let kinds = alike(rig, &ask.rules);
        let mut kind_of = vec![0; rig.devices().len()];
        for (kind, devices) in kinds.iter().enumerate() {
            devices.iter().for_each(|device| kind_of[device.0] = kind);
        }
        let n_of_kind: Vec<_> = kinds.iter().map(|kind| kind.len().min(n_units)).collect();
        let sets = n_of_kind.iter().map(|n_devices| n_devices + 1);
        let n_sets = sets.fold(1, usize::saturating_mul);
        let n_sets = if n_sets > MOST_SETS { 0 } else { n_sets };
        let mut steps = Vec::new();
        for from in 0..n_sets {
            let mut stride = 1;
            for (kind, n_devices) in n_of_kind.iter().enumerate() {
                if from / stride % (n_devices + 1) < *n_devices {
                    let to = from + stride;
                    steps.push(Step { from, kind, to });
                }
                stride *= n_devices + 1;
            }
        }
        Self {
            kind_of,
            devices: kinds.iter().map(|kind| kind[0]).collect(),
            n_sets,
            steps,
            first: Vec::new(),
            later: Vec::new(),
            farthest: Vec::new(),
        }
    }

    /// What the accounting knows of where stages end.
    fn asked(&self, accounting: &dyn Accounting, layout: Layout, ends: &Range<usize>) -> Stages {
        let [first, later] = [Position::First, Position::Later]
            .map(|position| accounting.stage_ends(layout, position, ends, &self.devices));
        Stages {
            kind_of: self.kind_of.clone(),
            first,
            later,
        }
    }

    /// Drops those of the prefixes, which are in their order, up to the last from which no stages, each
    /// on a device of its own, lead to the end of the chain.
    fn keep_reaching(
        &mut self,
        accounting: &dyn Accounting,
        layout: Layout,
        prefixes: &mut Vec<Prefix>,
    ) {
        if self.n_sets == 0 {
            return;
        }
        let n_units = accounting.units().len();
        let ends = layout.ends_of_whole(n_units);
        // The accounting takes first stages to have the least buffer of any, which is told sooner.
        self.first = accounting.stage_ends(layout, Position::First, &ends, &self.devices);
        self.set_later(self.first.clone(), &ends);
        self.drop_short(prefixes);
        if prefixes.is_empty() {
            return;
        }
        let later = accounting.stage_ends(layout, Position::Later, &ends, &self.devices);
        self.set_later(later, &ends);
        self.drop_short(prefixes);
        let is_short = |prefix: &Prefix| {
            let first = |kind: usize| self.priced_end(accounting, layout, kind, prefix.end);
            !self.forward(prefix.end, first).contains(&n_units)
        };
        let n_short = prefixes.iter().take_while(|prefix| is_short(prefix));
        prefixes.drain(..n_short.count());
    }

    fn set_later(&mut self, later: Vec<Vec<RangeInclusive<usize>>>, ends: &Range<usize>) {
        let farthest = later.iter().map(|by_start| {
            let by_start = by_start.iter().enumerate();
            let ends = by_start.scan(0, |most, (start, stages)| {
                // No later stage begins before.
                if start > ends.start {
                    *most = (*most).max(*stages.end());
                }
                Some(*most)
            });
            ends.collect()
        });
        self.farthest = farthest.collect();
        self.later = later;
    }

    /// Behind more units every stage ends later.
    fn drop_short(&self, prefixes: &mut Vec<Prefix>) {
        let n_units = self.later.first().map_or(0, Vec::len);
        let is_short = |prefix: &Prefix| {
            let first = |kind: usize| *self.first[kind][prefix.end].end();
            !self.forward(prefix.end, first).contains(&n_units)
        };
        prefixes.drain(..prefixes.partition_point(is_short));
    }

    /// Where the longest first stage from a unit on ends that fits.
    fn priced_end(
        &self,
        accounting: &dyn Accounting,
        layout: Layout,
        kind: usize,
        start: usize,
    ) -> usize {
        let place = Place::Device(self.devices[kind]);
        let room = capacity(accounting.grouped(layout), place);
        let fits = |end: &usize| {
            let span = Span {
                place,
                units: start..*end,
                streamed: 0..0,
                position: Position::First,
            };
            accounting.stage(layout, &span).device.total() <= room
        };
        let mut ends = start + 1..=*self.first[kind][start].end();
        ends.rfind(fits).unwrap_or(start)
    }

    /// By set, the most units that may be done with stages on its devices if `done` are below the GPUs
    /// and the first stage ends where `first` says of a kind; 0 where nothing may.
    fn forward(&self, done: usize, first: impl Fn(usize) -> usize) -> Vec<usize> {
        let mut most = vec![0; self.n_sets];
        for Step { from, kind, to } in &self.steps {
            let end = match from {
                0 => first(*kind),
                // Where all is done no stage begins.
                _ => *self.farthest[*kind]
                    .get(most[*from])
                    .unwrap_or(&most[*from]),
            };
            most[*to] = most[*to].max(end);
        }
        most[0] = done;
        most
    }

    /// By set, the first unit from which on stages on its devices lead to the end.
    fn backward(&self) -> Vec<usize> {
        let n_units = self.farthest.first().map_or(0, Vec::len);
        // By kind and unit, the first unit from which on a stage leads there.
        let nearest = self.farthest.iter().map(|by_start| {
            let from = |unit: usize| by_start.partition_point(|end| *end < unit);
            (0..=n_units).map(from).collect()
        });
        let nearest: Vec<Vec<usize>> = nearest.collect();
        let mut least = vec![n_units; self.n_sets];
        for Step { from, kind, to } in &self.steps {
            least[*to] = least[*to].min(nearest[*kind][least[*from]]);
        }
        least
    }

    /// Where stages end in plans in which the units below the GPUs as a whole end within `ends`: where
    /// other devices lead to their begin, and the rest of them to the end of the chain.
    fn stages(&self, accounting: &dyn Accounting, layout: Layout, ends: &Range<usize>) -> Stages {
        if self.n_sets == 0 {
            return self.asked(accounting, layout, ends);
        }
        let done = ends.clone().last().unwrap_or_default();
        let forward = self.forward(done, |kind| *self.first[kind][done].end());
        let backward = self.backward();
        let n_units = accounting.units().len();
        let rest = |set: usize| backward[self.n_sets - 1 - set];
        // By kind, the first end of a first stage from which on devices are left that lead to the end.
        let mut firsts = vec![n_units + 1; self.devices.len()];
        // The same of later stages, by their begin.
        let mut laters = vec![vec![n_units + 1; n_units + 1]; self.devices.len()];
        for Step { from, kind, to } in &self.steps {
            let end = match from {
                0 => &mut firsts[*kind],
                _ => &mut laters[*kind][forward[*from]],
            };
            *end = rest(*to).min(*end);
        }
        let of_kind = |kind: usize| {
            let later = &mut laters[kind];
            for begin in (0..n_units).rev() {
                later[begin] = later[begin].min(later[begin + 1]);
            }
            let from =
                |ends: &RangeInclusive<usize>, least: usize| least.max(*ends.start())..=*ends.end();
            let first = self.first[kind].iter().map(|ends| from(ends, firsts[kind]));
            let later = self.later[kind].iter().zip(later);
            let later = later.map(|(ends, least)| from(ends, *least));
            (first.collect::<Vec<_>>(), later.collect::<Vec<_>>())
        };
        let (first, later) = (0..self.devices.len()).map(of_kind).unzip();
        Stages {
            kind_of: self.kind_of.clone(),
            first,
            later,
        }
    }
}
