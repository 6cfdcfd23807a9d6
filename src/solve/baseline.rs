//! What simple rules would do, at the same prices: the plans that ours must never be worse than.

mod rule;

use std::ops::Range;

use crate::cost::{
    Accounting, Column, Crossing, Layout, Offload, Place, Position, Rule as Decided, Span, Stage,
    capacity, crossings,
};
use crate::hardware::{DeviceId, Rig};
use crate::solve::objective::Kind;
use crate::solve::serving::Known;
use crate::solve::{Amount, Ask, Goal, Objective};
use crate::units::{Bytes, Seconds, Tokens};

pub use rule::Rule;

/// What a rule gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// The rule.
    pub rule: Rule,
    /// Whether its plan fits every device.
    pub fits: bool,
    /// The time of a token, where the plan could run if memory allowed.
    pub time: Option<Seconds>,
    /// Tokens in the cache, where that takes what is left.
    pub resident: Option<Tokens>,
    /// What it is worth by the first objective, where that is one of stages and the plan could run.
    pub worth: Option<(Objective, Amount)>,
}

/// The plan of every rule, priced. None knows what is decided already: a plan against that does not
/// fit. Where cards serve in groups, the groups are those of the plan's own layout.
pub fn all(accounting: &dyn Accounting, ask: &Ask, layout: Layout) -> Vec<Baseline> {
    let rules = Rules::new(accounting, ask, accounting.widest(layout));
    let all = Rule::all(layout).iter();
    all.map(|rule| rules.baseline(*rule)).collect()
}

/// How the rules that fit serve, so that no search is worse that is cut short.
pub(super) fn known(accounting: &dyn Accounting, ask: &Ask, layout: Layout) -> Vec<Known> {
    let rules = Rules::new(accounting, ask, layout);
    let all = Rule::all(layout).iter();
    let priced = all.filter_map(|rule| rules.price(&rules.split(*rule)?, Bytes::ZERO));
    let fitting = priced.filter(|it| it.fits);
    let known = fitting.map(|it| Known::of(&it.columns.iter().collect::<Vec<_>>(), &it.crossings));
    known.filter(Known::is_served).collect()
}

/// The most units up to so many that fit, of which more never need less.
fn most(up_to: usize, fits: impl Fn(usize) -> bool) -> usize {
    let (mut fitting, mut beyond) = (0, up_to + 1);
    while beyond - fitting > 1 {
        let middle = fitting + (beyond - fitting) / 2;
        match fits(middle) {
            true => fitting = middle,
            false => beyond = middle,
        }
    }
    fitting
}

/// How a rule divides the chain: so many units for the host, then a run for each GPU in order.
struct Split {
    on_host: usize,
    runs: Vec<(DeviceId, Range<usize>)>,
}

/// A split at its price.
struct Priced {
    fits: bool,
    time: Seconds,
    columns: Vec<Column>,
    crossings: Vec<Crossing>,
}

struct Rules<'a> {
    accounting: &'a dyn Accounting,
    decided: Vec<Decided>,
    goal: &'a Goal,
    /// The plan's.
    layout: Layout,
    n_units: usize,
}

impl<'a> Rules<'a> {
    fn new(accounting: &'a dyn Accounting, ask: &'a Ask, layout: Layout) -> Self {
        let seat = |device| accounting.seat(layout, device);
        Self {
            accounting,
            decided: ask.rules.iter().map(|rule| rule.seated(seat)).collect(),
            goal: &ask.goal,
            layout,
            n_units: accounting.units().len(),
        }
    }

    fn split(&self, rule: Rule) -> Option<Split> {
        match rule {
            Rule::Even => self.by_share(|_| 1),
            Rule::Proportional => self.by_share(|device| self.room(device).0),
            Rule::Greedy => self.filling(|rules, start| rules.fill(start, Bytes::ZERO)),
            Rule::AccelerateLike => self.filling(|rules, start| rules.fill_balanced(start)),
            Rule::LlamaCppFitLike => {
                let margin = Bytes::gib(1);
                let by_memory = self.by_share(|device| self.room(device).0);
                let roomy = |split: &Split| self.price(split, margin).is_some_and(|it| it.fits);
                by_memory
                    .filter(roomy)
                    .or_else(|| self.filling(|rules, start| rules.fill_from_last(start, margin)))
            }
            Rule::EngineDefault => self.usual(),
        }
    }

    fn baseline(&self, rule: Rule) -> Baseline {
        let split = self.split(rule);
        let priced = split.and_then(|split| self.price(&split, Bytes::ZERO));
        Baseline {
            rule,
            fits: priced.as_ref().is_some_and(|it| it.fits),
            time: priced.as_ref().map(|it| it.time),
            resident: priced
                .as_ref()
                .filter(|_| self.layout.shape().is_some())
                .and_then(|it| it.columns.iter().map(|column| column.resident).min()),
            worth: priced.and_then(|it| self.worth(&it.columns, &it.crossings)),
        }
    }

    /// The rig as the plan's layout uses it.
    fn rig(&self) -> &Rig {
        self.accounting.grouped(self.layout)
    }

    /// Runs as the target has them where nobody says.
    fn usual(&self) -> Option<Split> {
        let ids: Vec<_> = self.devices().collect();
        let mut start = 0;
        let lengths = self.accounting.usual_split(ids.len());
        let runs = ids.into_iter().zip(lengths).map(|(id, length)| {
            start += length;
            (id, start - length..start)
        });
        let runs: Vec<_> = runs.collect();
        (start == self.n_units).then_some(Split { on_host: 0, runs })
    }

    /// The GPUs that may hold anything, in the order of the rig; where stages a host are fixed, as many
    /// first ones of each.
    fn devices(&self) -> impl DoubleEndedIterator<Item = DeviceId> {
        let rig = self.rig();
        let usable = rig.device_ids().filter(|id| {
            let barred = Decided::Off(0..self.n_units, Place::Device(*id));
            !self.decided.contains(&barred)
        });
        let usable: Vec<_> = usable.collect();
        let Some(quota) = self.quota() else {
            return usable.into_iter();
        };
        let host = |id: &DeviceId| rig.device(*id).host;
        let by_host = usable.chunk_by(|a, b| host(a) == host(b));
        let full = by_host.filter_map(|own| own.get(..quota));
        full.flatten().copied().collect::<Vec<_>>().into_iter()
    }

    /// How many stages each host has that a plan uses, where that is fixed.
    fn quota(&self) -> Option<usize> {
        let shape = self.layout.shape()?;
        (shape.per_host > 0).then_some(shape.per_host as usize)
    }

    /// Whether every host that is used has the stages that it must have.
    fn keeps_quota(&self, spans: &[Span]) -> bool {
        let host = |span: &Span| match span.place {
            Place::Host => None,
            Place::Device(device) => Some(self.rig().device(device).host),
        };
        let mut by_host = spans.chunk_by(|a, b| host(a) == host(b));
        self.quota()
            .is_none_or(|quota| by_host.all(|own| own.len() == quota))
    }

    fn room(&self, device: DeviceId) -> Bytes {
        capacity(self.rig(), Place::Device(device))
    }

    /// Runs whose lengths follow the shares of all GPUs.
    fn by_share(&self, share: impl Fn(DeviceId) -> u64) -> Option<Split> {
        let ids: Vec<_> = self.devices().collect();
        let total: u128 = ids.iter().map(|id| u128::from(share(*id))).sum();
        let mut runs = Vec::new();
        let (mut before, mut start) = (0_u128, 0);
        for id in ids {
            before += u128::from(share(id));
            let end = (self.n_units as u128 * before).checked_div(total)? as usize;
            runs.push((id, start..end));
            start = end;
        }
        (!runs.is_empty()).then_some(Split { on_host: 0, runs })
    }

    /// The fewest units on the host with which filling takes all others.
    fn filling(
        &self,
        fill: impl Fn(&Self, usize) -> Option<Vec<(DeviceId, Range<usize>)>>,
    ) -> Option<Split> {
        let may_offload =
            self.rig().host().is_some() && self.accounting.offload() != Offload::Refused;
        let most = if may_offload { self.n_units } else { 0 };
        (0..=most).find_map(|on_host| {
            Some(Split {
                on_host,
                runs: fill(self, on_host)?,
            })
        })
    }

    /// Each GPU in order takes what fits, with a margin to spare.
    fn fill(&self, start: usize, margin: Bytes) -> Option<Vec<(DeviceId, Range<usize>)>> {
        let mut runs = Vec::new();
        let mut at = start;
        for id in self.devices() {
            let room = self.room(id).checked_sub(margin).unwrap_or_default();
            let fits = |count| self.needs(start, id, at..at + count, at == start) <= room;
            let end = at + most(self.n_units - at, fits);
            runs.push((id, at..end));
            at = end;
        }
        (at == self.n_units).then_some(runs)
    }

    /// From the last GPU to the first, each takes what fits, with a margin to spare.
    fn fill_from_last(&self, start: usize, margin: Bytes) -> Option<Vec<(DeviceId, Range<usize>)>> {
        let mut runs = Vec::new();
        let mut at = self.n_units;
        for id in self.devices().rev() {
            let room = self.room(id).checked_sub(margin).unwrap_or_default();
            let fits = |count| self.needs(start, id, at - count..at, at - count == start) <= room;
            let from = at - most(at - start, fits);
            runs.push((id, from..at));
            at = from;
        }
        runs.reverse();
        (at == start).then_some(runs)
    }

    /// As accelerate's `get_balanced_memory` and `infer_auto_device_map`: weights alone; all but the
    /// last GPU are capped at an equal share and a quarter more than the largest unit.
    fn fill_balanced(&self, start: usize) -> Option<Vec<(DeviceId, Range<usize>)>> {
        let ids: Vec<_> = self.devices().collect();
        let first = *ids.first()?;
        let weights: Vec<_> = (0..self.n_units)
            .map(|unit| {
                self.stage(start, first, unit..unit + 1, false)
                    .device
                    .weights
            })
            .collect();
        let (total, largest) = (
            weights.iter().copied().sum::<Bytes>(),
            weights.iter().max()?,
        );
        let share = Bytes(total.0 / ids.len() as u64) + largest.scale(1.25);
        let mut runs = Vec::new();
        let mut at = start;
        for (index, id) in ids.iter().enumerate() {
            let is_last = index + 1 == ids.len();
            let cap = if is_last {
                self.room(*id)
            } else {
                self.room(*id).min(share)
            };
            let mut used = Bytes::ZERO;
            let from = at;
            while at < self.n_units && used + weights[at] <= cap {
                used += weights[at];
                at += 1;
            }
            runs.push((*id, from..at));
        }
        (at == self.n_units).then_some(runs)
    }

    fn needs(&self, on_host: usize, device: DeviceId, units: Range<usize>, first: bool) -> Bytes {
        self.stage(on_host, device, units, first).device.total()
    }

    fn stage(&self, on_host: usize, device: DeviceId, units: Range<usize>, first: bool) -> Stage {
        let layout = match self.layout {
            layout @ Layout::Served(_) => layout,
            _ if on_host > 0 => Layout::OFFLOADED,
            _ => Layout::Sequential,
        };
        self.accounting.stage(
            layout,
            &self.span(on_host, Place::Device(device), units, first),
        )
    }

    /// The span of a run. A target that streams computes what the host holds on its first GPU.
    fn span(&self, on_host: usize, place: Place, units: Range<usize>, first: bool) -> Span {
        let streams = first && self.accounting.offload() == Offload::Streams;
        let streamed = if streams { 0..on_host } else { 0..0 };
        let start = if streams { 0 } else { units.start };
        let position = if first {
            Position::First
        } else {
            Position::Later
        };
        Span {
            place,
            units: start..units.end,
            streamed,
            position,
        }
    }

    /// Whether a split fits with a margin on every GPU, and what it is worth.
    fn price(&self, split: &Split, margin: Bytes) -> Option<Priced> {
        let used: Vec<_> = split
            .runs
            .iter()
            .filter(|(_, units)| !units.is_empty())
            .collect();
        let layout = match (split.on_host, used.len()) {
            (0, 0) => return None,
            _ if self.layout.shape().is_some() => self.layout,
            (0, 1) => Layout::OneDevice,
            (0, _) => Layout::Sequential,
            (_, 0) => Layout::HOST_ONLY,
            (..) => Layout::OFFLOADED,
        };
        let mut spans = Vec::new();
        if split.on_host > 0 && (used.is_empty() || self.accounting.offload() == Offload::Computes)
        {
            spans.push(Span {
                place: Place::Host,
                units: 0..split.on_host,
                streamed: 0..0,
                position: Position::First,
            });
        }
        for (index, (device, units)) in used.iter().enumerate() {
            spans.push(self.span(
                split.on_host,
                Place::Device(*device),
                units.clone(),
                index == 0,
            ));
        }
        let (mut fits, mut time) = (true, Seconds::default());
        let mut on_host = self.accounting.host_base(layout).total();
        let mut columns = Vec::new();
        for span in &spans {
            let stage = self.accounting.stage(layout, span);
            fits &= self.decided.iter().all(|decided| decided.allows(span));
            time = time + stage.time;
            on_host += stage.host.total();
            columns.push(Column::on(self.accounting, layout, span, stage));
            match span.place {
                Place::Host => on_host += stage.device.total(),
                Place::Device(device) => fits &= stage.device.total() + margin <= self.room(device),
            }
        }
        let crossings = crossings(self.accounting, layout, &spans);
        for crossing in &crossings {
            time = time + crossing.time;
        }
        fits &= self.keeps_quota(&spans) && used.len() <= self.accounting.most_devices(layout);
        let host = self.rig().host();
        fits &= host.is_none_or(|host| on_host <= host.capacity());
        Some(Priced {
            fits,
            time,
            columns,
            crossings,
        })
    }

    /// What stages are worth by the first objective. Contexts and qualities are not of stages that
    /// one recipe stores.
    fn worth(&self, columns: &[Column], between: &[Crossing]) -> Option<(Objective, Amount)> {
        let first = *self.goal.objectives.first()?;
        if first == Objective::Quality || first.kind() == Kind::Outside {
            return None;
        }
        let stages: Vec<_> = columns.iter().collect();
        let worth = self.goal.worth_of(first, &stages, between);
        Some((first, first.amount(worth)))
    }
}
