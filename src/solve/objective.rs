//! What a plan is best at, and how columns are priced for it.
//!
//! Objectives are sums over the stages of a plan, or the most of any stage; several are taken one
//! after the other, each among the plans that are best by those before it. Sums are packed into one
//! integer, the first in the highest bits, so that comparing costs compares them in order.

use std::fmt;
use std::str::FromStr;

use crate::cost::column::{Column, Cost, Owner};
use crate::cost::frontier::Way;
use crate::cost::{ColumnSet, Crossing, Outlook, Prefill};
use crate::solve::Amount;
use crate::solve::path::{self, Taken};
use crate::solve::serving::Known;
use crate::units::{Seconds, Tokens};

/// What a plan is best at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Objective {
    /// The least time of one token of one sequence.
    Decode,
    /// The least time to the first token of a prompt.
    Prefill,
    /// The least time of a whole request: its prompt, then its output.
    Request,
    /// The slowest stage is as fast as can be: sequences that follow each other through a pipeline.
    Throughput,
    /// The longest context.
    Context,
    /// The fewest GPUs.
    Devices,
    /// The fullest device is as empty as can be.
    Headroom,
    /// The most tokens in the cache: those of the stage that keeps the fewest.
    Kv,
    /// The most tokens a second of all sequences that the cache holds.
    Serving,
    /// The precision that costs the least quality: of stages where blocks may differ in it, else
    /// searched for by `scenario`.
    Quality,
}

/// How an objective adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sum over stages.
    Sum,
    /// The most of any stage.
    Most,
    /// By the number of stages, the slowest and the fullest together: a search over plans
    /// (`serving.rs`).
    Rate,
    /// Not by stages: `scenario` searches over workloads.
    Outside,
}

/// No such objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no objective: use {names}", names = names())]
pub struct ObjectiveError(String);

/// Objectives in the order of their weight, and the request that they speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The first decides; each later one only among plans that are equal so far.
    pub objectives: Vec<Objective>,
    /// Tokens of a prompt.
    pub prompt: Tokens,
    /// Tokens of its output.
    pub output: Tokens,
}

impl Default for Goal {
    fn default() -> Self {
        Self {
            objectives: vec![Objective::Decode],
            prompt: Tokens(2048),
            output: Tokens(512),
        }
    }
}

impl Objective {
    /// Every objective.
    pub const ALL: [Self; 10] = [
        Self::Decode,
        Self::Prefill,
        Self::Request,
        Self::Throughput,
        Self::Context,
        Self::Devices,
        Self::Headroom,
        Self::Kv,
        Self::Serving,
        Self::Quality,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill => "prefill",
            Self::Request => "request",
            Self::Throughput => "throughput",
            Self::Context => "context",
            Self::Devices => "devices",
            Self::Headroom => "headroom",
            Self::Kv => "kv",
            Self::Serving => "serving",
            Self::Quality => "quality",
        }
    }

    /// Whether it is worth what devices are fast at.
    pub fn is_of_rates(self) -> bool {
        match self {
            Self::Decode | Self::Prefill | Self::Request | Self::Throughput | Self::Serving => true,
            Self::Context | Self::Devices | Self::Headroom | Self::Kv | Self::Quality => false,
        }
    }

    /// How it adds up.
    pub fn kind(self) -> Kind {
        match self {
            Self::Decode | Self::Prefill | Self::Request | Self::Devices | Self::Quality => {
                Kind::Sum
            }
            Self::Throughput | Self::Headroom | Self::Kv => Kind::Most,
            Self::Serving => Kind::Rate,
            Self::Context => Kind::Outside,
        }
    }

    /// What a plan is worth by it, as an amount of its unit.
    pub fn amount(self, value: u64) -> Amount {
        match self {
            Self::Decode | Self::Prefill | Self::Request | Self::Throughput => {
                Amount::Time(Cost(value.into()).seconds())
            }
            Self::Devices => Amount::Devices(value),
            Self::Headroom => Amount::Fullness(value as f64 * 1e-9),
            Self::Context => Amount::Context(Tokens(value)),
            // The least worth is the most of these.
            Self::Kv => Amount::Resident(Tokens(u64::MAX - value)),
            Self::Serving => Amount::Rate(1e15 / value.max(1) as f64),
            Self::Quality => Amount::Penalty(value as f64 / Way::PARTS),
        }
    }
}

impl Goal {
    /// The time of a token, and a request that a context holds: of the lengths given, or where there
    /// is none of 2048 tokens and 512 more, and no more than three quarters and a quarter.
    pub fn of_request(context: Tokens, prompt: Option<Tokens>, output: Option<Tokens>) -> Self {
        let usual = Self::default();
        let quarter = context.0 / 4;
        Self {
            prompt: prompt.unwrap_or(usual.prompt.min(Tokens(context.0 - quarter))),
            output: output.unwrap_or(usual.output.min(Tokens(quarter))),
            ..usual
        }
    }

    /// The objectives that the solver itself takes, with the time of a token as the last: of two
    /// plans that are equal otherwise nobody wants the slower one. Of decode, prefill and request a
    /// third follows from two.
    pub fn by_stages(&self) -> Vec<Objective> {
        let mut chain: Vec<Objective> = Vec::new();
        let is_time = |objective: &Objective| {
            matches!(
                objective,
                Objective::Decode | Objective::Prefill | Objective::Request
            )
        };
        for objective in self.objectives.iter().copied().chain([Objective::Decode]) {
            let n_times = chain.iter().filter(|other| is_time(other)).count();
            let follows = is_time(&objective) && n_times == 2;
            if objective.kind() != Kind::Outside && !chain.contains(&objective) && !follows {
                chain.push(objective);
            }
            // A pace is that of the fewest stages.
            if objective == Objective::Serving && !chain.contains(&Objective::Devices) {
                chain.push(Objective::Devices);
            }
        }
        chain
    }

    /// What a column is worth by an objective.
    pub fn value(&self, objective: Objective, column: &Column) -> u64 {
        match objective {
            Objective::Decode | Objective::Throughput | Objective::Prefill | Objective::Request => {
                self.duration(objective, column.time, column.prefill)
            }
            Objective::Devices => u64::from(column.owner != Owner::Host),
            Objective::Headroom => column.fullness.into(),
            Objective::Kv => u64::MAX - column.resident.0,
            Objective::Quality => column.penalty,
            // Not of one stage.
            Objective::Context | Objective::Serving => 0,
        }
    }

    /// What a crossing is worth by an objective; where the most counts, a link is as busy as a stage.
    fn value_of_crossing(&self, objective: Objective, crossing: &Crossing) -> u64 {
        match objective {
            Objective::Decode | Objective::Throughput | Objective::Prefill | Objective::Request => {
                self.duration(objective, crossing.time, crossing.prefill)
            }
            Objective::Devices
            | Objective::Headroom
            | Objective::Kv
            | Objective::Serving
            | Objective::Quality
            | Objective::Context => 0,
        }
    }

    /// Picoseconds of a token, of a prompt or of both.
    fn duration(&self, objective: Objective, time: Seconds, prefill: Prefill) -> u64 {
        let picoseconds = |time: Seconds| u64::try_from(Cost::from(time).0).unwrap_or(u64::MAX);
        match objective {
            Objective::Prefill => picoseconds(prefill.time(self.prompt)),
            Objective::Request => {
                picoseconds(prefill.time(self.prompt) + time * self.output.0 as f64)
            }
            Objective::Decode
            | Objective::Throughput
            | Objective::Devices
            | Objective::Headroom
            | Objective::Kv
            | Objective::Serving
            | Objective::Quality
            | Objective::Context => picoseconds(time),
        }
    }

    /// What no plan is worth less than, by what its layout promises.
    pub fn least(&self, objective: Objective, outlook: &Outlook) -> u64 {
        let Outlook {
            time,
            prefill,
            ceiling,
            ..
        } = *outlook;
        // A sum of rounded times may be below the rounded sum.
        let least = |time: Seconds| Cost::from(time * (1.0 - 1e-9));
        let picoseconds = |time: Seconds| u64::try_from(least(time).0).unwrap_or(u64::MAX);
        match objective {
            Objective::Decode => picoseconds(time),
            Objective::Prefill => picoseconds(prefill.time(self.prompt)),
            Objective::Request => {
                picoseconds(prefill.time(self.prompt) + time * self.output.0 as f64)
            }
            Objective::Throughput => picoseconds(Seconds(1.0 / ceiling.alone)),
            Objective::Kv => u64::MAX - ceiling.resident.0,
            Objective::Serving => (1e15 / ceiling.together * (1.0 - 1e-9)) as u64,
            Objective::Context | Objective::Devices | Objective::Headroom | Objective::Quality => 0,
        }
    }

    /// What a path is worth by an objective.
    pub fn worth(&self, objective: Objective, set: &ColumnSet, path: &[Taken]) -> u64 {
        let stages: Vec<_> = path.iter().map(|it| &set.columns[it.column]).collect();
        let crossings: Vec<_> = path::hops(set, path).map(|hop| hop.crossing).collect();
        self.worth_of(objective, &stages, &crossings)
    }

    /// What stages are worth together with what lies between them.
    pub fn worth_of(
        &self,
        objective: Objective,
        stages: &[&Column],
        crossings: &[Crossing],
    ) -> u64 {
        let columns = stages.iter().map(|column| self.value(objective, column));
        let hops = crossings
            .iter()
            .map(|it| self.value_of_crossing(objective, it));
        let values = columns.chain(hops);
        match objective.kind() {
            Kind::Sum => values.fold(0, u64::saturating_add),
            Kind::Most | Kind::Outside => values.max().unwrap_or(0),
            Kind::Rate => Known::of(stages, crossings).pace,
        }
    }

    /// Prices every column by `sums`, the first in the highest bits; `most` is its load. Gives the
    /// number of bits below the first sum.
    pub fn price(&self, set: &mut ColumnSet, sums: &[Objective], most: Objective) -> u32 {
        let n_devices: usize = set.groups.iter().map(Vec::len).sum();
        let most_stages = set.n_units.min(n_devices + 1).max(1) as u128;
        let bits = |most: u64| u128::BITS - (u128::from(most) * most_stages).leading_zeros();
        let widths = sums.iter().map(|sum| {
            let values = set.columns.iter().map(|column| self.value(*sum, column));
            let hops = set.sites.hops();
            let hops = hops.map(|hop| self.value_of_crossing(*sum, &hop.crossing));
            let most = values.max().unwrap_or(0);
            bits(most.saturating_add(hops.max().unwrap_or(0)))
        });
        let mut widths: Vec<u32> = widths.collect();
        // Bits that there are not are rounded off the last sum: times of many minutes in three sums.
        let too_many = widths
            .iter()
            .sum::<u32>()
            .saturating_sub(u128::BITS - 1 - FOR_STAGES);
        let mut rounded = vec![0; widths.len()];
        if let (Some(width), Some(shift)) = (widths.last_mut(), rounded.last_mut()) {
            *shift = too_many.min(*width);
            *width -= *shift;
        }
        let packed = |value: &dyn Fn(Objective) -> u64| {
            let mut cost = 0_u128;
            for ((sum, width), shift) in sums.iter().zip(&widths).zip(&rounded) {
                cost = (cost << width) | (u128::from(value(*sum)) >> shift);
            }
            Cost(cost)
        };
        for column in &mut set.columns {
            column.cost = packed(&|sum| self.value(sum, column));
            column.load = self.value(most, column);
        }
        for hop in set.sites.hops_mut() {
            hop.cost = packed(&|sum| self.value_of_crossing(sum, &hop.crossing));
            hop.load = self.value_of_crossing(most, &hop.crossing);
        }
        widths.iter().skip(1).sum()
    }

    /// Prices every column by `sums`, and plans that are equal so far by the rule for ties: the
    /// fewest stages, then the emptiest fullest device. Gives the number of bits below the first sum.
    pub fn price_with_ties(&self, set: &mut ColumnSet, sums: &[Objective]) -> u32 {
        let bits = self.price(set, sums, Objective::Headroom);
        for column in &mut set.columns {
            column.cost.0 = (column.cost.0 << FOR_STAGES) | 1;
        }
        for hop in set.sites.hops_mut() {
            hop.cost.0 <<= FOR_STAGES;
        }
        bits + FOR_STAGES
    }
}

/// Bits that count the stages of a plan: a rig has at most 1000 devices.
const FOR_STAGES: u32 = 10;

fn names() -> String {
    let names = Objective::ALL.map(|objective| format!("`{}`", objective.name()));
    names.join(", ")
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(name: &str) -> Result<Self, ObjectiveError> {
        Self::ALL
            .into_iter()
            .find(|objective| objective.name().eq_ignore_ascii_case(name.trim()))
            .ok_or_else(|| ObjectiveError(name.to_owned()))
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
