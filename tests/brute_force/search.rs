//! Every plan of a small problem, one after the other, and the best of them.
//!
//! It follows the definition of a plan alone: the chain is cut into stages, each on a device of its
//! own, in any order, on any subset; behind a prefix on the CPU, or with a run of units streamed to
//! the first device, where the target offloads so. It shares no column, bound or order with `solve`.

use shardplan::cost::{
    Accounting, Crossing, Layout, Offload, Place, Position, Rule, Span, Whole, capacity,
};
use shardplan::hardware::{DeviceId, HostId};
use shardplan::solve::{Ask, Goal, Objective};
use shardplan::units::{Bytes, Seconds};

/// What one plan is worth: by each objective in their order where it fits, and the bytes that its
/// devices lack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Price {
    pub(crate) worth: Vec<u64>,
    pub(crate) missing: Bytes,
}

/// The best worth of the first rank in which any plan fits that keeps the rules.
pub(crate) fn best(accounting: &dyn Accounting, ask: &Ask) -> Option<Vec<u64>> {
    accounting.ranks().into_iter().find_map(|rank| {
        let prices = rank
            .into_iter()
            .flat_map(|layout| prices(accounting, layout, ask));
        let fitting = prices.filter(|price| price.missing == Bytes::ZERO);
        fitting.map(|price| price.worth).min()
    })
}

/// The least that any plan lacks; nothing where the target may use no part of the rig.
pub(crate) fn least_missing(accounting: &dyn Accounting, ask: &Ask) -> Option<Bytes> {
    let layouts = accounting.ranks().into_iter().flatten();
    let prices = layouts.flat_map(|layout| prices(accounting, layout, ask));
    prices.map(|price| price.missing).min()
}

fn picoseconds(time: Seconds) -> u64 {
    (time.0 * 1e12).round() as u64
}

/// What a stage may use of its place.
fn room(accounting: &dyn Accounting, layout: Layout, span: &Span) -> Bytes {
    let all = capacity(accounting.grouped(layout), span.place);
    match span.place {
        Place::Host => all.saturating_sub(accounting.host_base(layout).total()),
        Place::Device(_) => all,
    }
}

/// Tokens in whole pages of what a stage leaves.
fn resident(accounting: &dyn Accounting, layout: Layout, span: &Span) -> u64 {
    let stage = accounting.stage(layout, span);
    let free =
        room(accounting, layout, span).0 - (stage.device.total().0 - stage.device.kv_cache.0);
    match stage.pages.bytes.0 {
        0 => 1 << 40,
        page => free / page * stage.pages.tokens.0,
    }
}

/// Femtoseconds a token at the best number of sequences that every stage holds: one batch for each
/// stage, all alike, or single sequences.
fn pace(accounting: &dyn Accounting, layout: Layout, stages: &[Span]) -> u64 {
    let n_stages = stages.len() as u64;
    let held = stages.iter().map(|span| {
        let pages = accounting.stage(layout, span).pages;
        let sequences = resident(accounting, layout, span) / pages.sequence.0;
        sequences.min(pages.most)
    });
    let all = 1..=held.min().expect("a plan has a stage");
    let even = all.filter(|sequences| *sequences < n_stages || sequences % n_stages == 0);
    let paces = even.map(|sequences| {
        let batch = (sequences / n_stages).max(1);
        let times = stages
            .iter()
            .map(|span| picoseconds(accounting.stage(layout, span).batch.time(batch)));
        let links = crossings(accounting, layout, stages).into_iter();
        let links = links.map(|crossing| picoseconds(crossing.batch.time(batch)));
        let slowest = times.chain(links).max().expect("a plan has a stage");
        slowest * n_stages * 1000 / sequences
    });
    paces.min().expect("every stage holds a sequence")
}

/// What a plan is worth by an objective, from its definition.
fn worth(
    objective: Objective,
    accounting: &dyn Accounting,
    layout: Layout,
    stages: &[Span],
    goal: &Goal,
) -> u64 {
    if objective == Objective::Serving {
        return pace(accounting, layout, stages);
    }
    let each = stages.iter().map(|span| {
        let stage = accounting.stage(layout, span);
        let prefill = stage.prefill.time(goal.prompt);
        match objective {
            Objective::Decode | Objective::Throughput => picoseconds(stage.time),
            Objective::Prefill => picoseconds(prefill),
            Objective::Request => picoseconds(prefill + stage.time * goal.output.0 as f64),
            Objective::Devices => u64::from(span.place != Place::Host),
            Objective::Headroom => {
                let room = room(accounting, layout, span);
                let needs = u128::from(stage.device.total().0);
                let share = needs * 1_000_000_000 / u128::from(room.0.max(1));
                share.try_into().expect("toys are small")
            }
            Objective::Kv => u64::MAX - resident(accounting, layout, span),
            Objective::Context | Objective::Quality | Objective::Serving => 0,
        }
    });
    let each = each.chain(between(objective, accounting, layout, stages, goal));
    match objective {
        Objective::Throughput | Objective::Headroom | Objective::Kv => each.max().unwrap_or(0),
        _ => each.sum(),
    }
}

/// The host of a stage on a GPU.
fn host(accounting: &dyn Accounting, layout: Layout, span: &Span) -> Option<HostId> {
    match span.place {
        Place::Device(device) => Some(accounting.grouped(layout).device(device).host),
        Place::Host => None,
    }
}

/// What lies between stages on GPUs of two hosts.
fn crossings(accounting: &dyn Accounting, layout: Layout, stages: &[Span]) -> Vec<Crossing> {
    let mut all = Vec::new();
    for index in 1..stages.len() {
        let from = host(accounting, layout, &stages[index - 1]);
        let to = host(accounting, layout, &stages[index]);
        if let (Some(from), Some(to)) = (from, to)
            && from != to
        {
            all.push(accounting.crossing(from, to));
        }
    }
    all
}

/// Whether stages come to each host once, and each has as many as the layout says.
fn keeps_stages_per_host(accounting: &dyn Accounting, layout: Layout, stages: &[Span]) -> bool {
    let per_host = layout.shape().map_or(0, |shape| shape.per_host as usize);
    let hosts: Vec<_> = stages
        .iter()
        .filter_map(|span| host(accounting, layout, span))
        .collect();
    let mut met: Vec<HostId> = Vec::new();
    for index in 0..hosts.len() {
        if index % per_host.max(1) == 0 {
            if per_host > 0 && met.contains(&hosts[index]) {
                return false;
            }
            met.push(hosts[index]);
        } else if hosts[index] != hosts[index - 1] {
            return false;
        }
    }
    per_host == 0 || hosts.len() % per_host == 0
}

/// What lies between stages on GPUs of two hosts is worth what it takes; a link is one more stage.
fn between(
    objective: Objective,
    accounting: &dyn Accounting,
    layout: Layout,
    stages: &[Span],
    goal: &Goal,
) -> Vec<u64> {
    let mut all = Vec::new();
    for crossing in crossings(accounting, layout, stages) {
        let prefill = crossing.prefill.time(goal.prompt);
        all.push(match objective {
            Objective::Decode | Objective::Throughput => picoseconds(crossing.time),
            Objective::Prefill => picoseconds(prefill),
            Objective::Request => picoseconds(prefill + crossing.time * goal.output.0 as f64),
            Objective::Devices
            | Objective::Headroom
            | Objective::Kv
            | Objective::Serving
            | Objective::Context
            | Objective::Quality => 0,
        });
    }
    all
}

/// What a plan is worth and lacks.
pub(crate) fn price(
    accounting: &dyn Accounting,
    layout: Layout,
    stages: &[Span],
    goal: &Goal,
) -> Price {
    let chain = goal.by_stages();
    let mut price = Price {
        worth: Vec::new(),
        missing: Bytes::ZERO,
    };
    let mut on_host = accounting.host_base(layout).total();
    for span in stages {
        let stage = accounting.stage(layout, span);
        on_host += stage.host.total();
        match span.place {
            Place::Host => on_host += stage.device.total(),
            Place::Device(device) => {
                let room = capacity(accounting.grouped(layout), span.place);
                let lacking = stage.device.total().saturating_sub(room);
                price.missing += lacking * accounting.members(layout, device).len() as u64;
            }
        }
    }
    // RAM that nobody states is taken to hold what never leaves it.
    if let Some(host) = accounting.grouped(layout).host() {
        price.missing += on_host.saturating_sub(host.capacity());
    }
    if price.missing == Bytes::ZERO {
        let worth = |objective| worth(objective, accounting, layout, stages, goal);
        price.worth = chain.into_iter().map(worth).collect();
    }
    price
}

/// The prices of all plans of a layout.
fn prices(accounting: &dyn Accounting, layout: Layout, ask: &Ask) -> Vec<Price> {
    let n_units = accounting.units().len();
    let mut plans = Plans {
        accounting,
        layout,
        ask,
        n_units,
        free: accounting.grouped(layout).device_ids().collect(),
        stages: Vec::new(),
        prices: Vec::new(),
    };
    match (layout, layout.whole(), accounting.offload()) {
        (Layout::HostOnly(_), ..) => plans.behind_the_cpu(n_units),
        (_, Whole::FirstUnits, Offload::Computes) => {
            // Where parts of all blocks are in RAM that are there as a whole, nothing is apart.
            let most = match layout.parts().units().end {
                0 => n_units - 1,
                n_blocks => (n_blocks - 1).min(n_units - 1),
            };
            (1..=most).for_each(|end| plans.behind_the_cpu(end));
        }
        (_, Whole::FirstUnits, Offload::Refused) => {}
        (_, Whole::FirstUnits, Offload::Streams) | (_, Whole::Nothing, _) => plans.go_on(0),
    }
    plans.prices
}

/// Whether a plan keeps a rule, unit by unit. A unit whose experts are in RAM is partly there.
fn keeps(rule: &Rule, layout: Layout, stages: &[Span]) -> bool {
    let moved = layout.parts().units();
    let place_of = |unit: usize| {
        let span = stages.iter().find(|span| span.units.contains(&unit));
        span.map(|span| match span.streamed.contains(&unit) {
            true => Place::Host,
            false => span.place,
        })
    };
    match rule {
        Rule::On(units, place) => units.clone().all(|unit| {
            let is_whole = *place == Place::Host || !moved.contains(&unit);
            place_of(unit) == Some(*place) && is_whole
        }),
        Rule::Off(units, place) => units.clone().all(|unit| {
            let is_partly = *place == Place::Host && moved.contains(&unit);
            place_of(unit) != Some(*place) && !is_partly
        }),
        Rule::Degree(degree) => layout.shape().is_some_and(|shape| shape.degree == *degree),
    }
}

struct Plans<'a> {
    accounting: &'a dyn Accounting,
    layout: Layout,
    ask: &'a Ask,
    n_units: usize,
    free: Vec<DeviceId>,
    stages: Vec<Span>,
    prices: Vec<Price>,
}

impl Plans<'_> {
    fn behind_the_cpu(&mut self, end: usize) {
        self.stages.push(Span {
            place: Place::Host,
            units: 0..end,
            streamed: 0..0,
            position: Position::First,
        });
        self.go_on(end);
        self.stages.pop();
    }

    /// Every way to place the units from `done` on.
    fn go_on(&mut self, done: usize) {
        if done == self.n_units {
            let rules = &self.ask.rules;
            if rules
                .iter()
                .all(|rule| keeps(rule, self.layout, &self.stages))
                && keeps_stages_per_host(self.accounting, self.layout, &self.stages)
            {
                let price = price(self.accounting, self.layout, &self.stages, &self.ask.goal);
                self.prices.push(price);
            }
            return;
        }
        let used = self.stages.iter().filter(|it| it.place != Place::Host);
        if used.count() == self.accounting.most_devices(self.layout) {
            return;
        }
        let is_first = self.stages.iter().all(|span| span.place == Place::Host);
        let ends = match self.layout {
            Layout::OneDevice => self.n_units..=self.n_units,
            _ => done + 1..=self.n_units,
        };
        for index in 0..self.free.len() {
            let device = self.free.remove(index);
            for end in ends.clone() {
                for streamed in self.streamable(is_first, end) {
                    self.stages.push(Span {
                        place: Place::Device(device),
                        units: done..end,
                        streamed,
                        position: match is_first {
                            true => Position::First,
                            false => Position::Later,
                        },
                    });
                    self.go_on(end);
                    self.stages.pop();
                }
            }
            self.free.insert(index, device);
        }
    }

    /// The runs of a stage that could stay in RAM: from the first unit, or behind the embedding. One
    /// unit at least is on the device itself, or no map would name it as the one that computes.
    fn streamable(&self, is_first: bool, end: usize) -> Vec<std::ops::Range<usize>> {
        let streams = self.layout.whole() == Whole::FirstUnits
            && self.accounting.offload() == Offload::Streams;
        if !streams || !is_first {
            return std::iter::once(0..0).collect();
        }
        let runs = (0..end.min(2)).flat_map(|first| (first + 1..=end).map(move |to| first..to));
        runs.filter(|run| *run != (0..end)).collect()
    }
}
