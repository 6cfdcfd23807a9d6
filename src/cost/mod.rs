//! What a stage of a plan needs in memory and takes in time, for each target.
//!
//! A plan is a chain of *units* cut into *stages*, each on one device. A target says what its units
//! are and prices any stage; the solver above knows nothing else of models or frameworks. Memory is
//! exact where the target allocates exactly; times are estimates (`time.rs`).

pub mod column;
pub mod compute;
pub mod extras;
pub mod frontier;
pub mod graph;
pub mod layout;
pub mod llama_cpp;
pub mod memory;
pub mod menu;
pub mod paged;
pub mod parts;
pub mod prefill;
pub mod rules;
pub mod served;
pub mod serving;
pub mod sites;
pub mod target;
pub mod time;
pub mod transformers;

use std::ops::{Range, RangeInclusive};

use crate::hardware::{DeviceId, HostId, Rig};
use crate::units::{Bytes, Seconds, Tokens};

pub use column::{Column, ColumnSet, Fit, Stages, Within, alike};
pub use layout::{Below, Layout, Matrices, Parts, Store, Whole};
pub use memory::Memory;
pub use prefill::Prefill;
pub use rules::Rule;
pub use served::{Batch, Pages, Shape};
pub use sites::{Crossing, Site, Sites};
pub use target::{Target, TargetError};

/// Where a stage computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the CPU, weights in RAM.
    Host,
    /// On a GPU.
    Device(DeviceId),
}

/// Which part of the chain a unit is, for maps and for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The input embedding.
    Embedding,
    /// A whole block.
    Block(u32),
    /// The final norm.
    FinalNorm,
    /// The output head; with llama.cpp it includes the final norm.
    Head,
}

/// Whether a stage is the first on a GPU: it then takes the inputs of the whole chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// The first GPU of the chain.
    First,
    /// Any later one.
    Later,
}

/// A stage as the solver proposes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it computes.
    pub place: Place,
    /// Its units.
    pub units: Range<usize>,
    /// Which of these stay in RAM and are streamed; empty unless the target streams.
    pub streamed: Range<usize>,
    /// Whether it is the first on a GPU.
    pub position: Position,
}

/// What a stage needs and takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stage {
    /// Memory of the place it computes on.
    pub device: Memory,
    /// Memory of the host that a stage on a GPU takes besides: weights that it streams.
    pub host: Memory,
    /// Time of one token in it, the hop into it included.
    pub time: Seconds,
    /// What a prompt takes in it.
    pub prefill: Prefill,
    /// The pages of its cache, where that has any.
    pub pages: Pages,
    /// What sequences that are decoded together take in it, where the target does so.
    pub batch: Batch,
}

/// What any plan of a layout lacks and takes at the least: what can be said before a stage is priced.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outlook {
    /// No plan lacks less memory.
    pub missing: Bytes,
    /// No plan that fits takes less for a token.
    pub time: Seconds,
    /// Nor for a prompt.
    pub prefill: Prefill,
    /// No plan that fits serves more.
    pub ceiling: Ceiling,
}

/// What no plan does better than.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// Tokens a second of single sequences that follow each other.
    pub alone: f64,
    /// Tokens a second of all sequences that the cache holds.
    pub together: f64,
    /// Tokens in the cache.
    pub resident: Tokens,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl Ceiling {
    /// There is no plan.
    pub const NOTHING: Self = Self {
        alone: 0.0,
        together: 0.0,
        resident: Tokens(0),
    };

    /// Nothing is ruled out.
    pub const UNKNOWN: Self = Self {
        alone: f64::INFINITY,
        together: f64::INFINITY,
        resident: Tokens(u64::MAX),
    };

    /// Of plans of two kinds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            alone: self.alone.max(other.alone),
            together: self.together.max(other.together),
            resident: self.resident.max(other.resident),
        }
    }
}

/// What of a ceiling is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Tokens a second of single sequences.
    Alone,
    /// Tokens a second of all sequences.
    Together,
    /// Tokens in the cache.
    Resident,
}

/// The pipeline that is worth the most for the price of its cards.
#[derive(Clone, Debug, PartialEq)]
pub struct Bargain {
    /// Cards of each kind, which may be fractions.
    pub cards: Vec<f64>,
    /// What no pipeline over them is worth more than.
    pub worth: f64,
    /// No pipeline over any cards is worth more for a price of one.
    pub most: f64,
}

/// The same of those plans in which so many first units are below the GPUs as a whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prefix {
    /// Where these units end.
    pub end: usize,
    /// What no such plan does better than.
    pub outlook: Outlook,
}

/// What a plan leaves on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// Units of which nothing is in RAM.
    pub units: Range<usize>,
    /// What RAM holds of weights that may be read from disk, beside what the stages need.
    pub in_ram: Bytes,
    /// Weights that are on disk alone.
    pub weights: Bytes,
    /// What is read from disk for every token.
    pub read: Bytes,
}

/// A target's accounting: its units, its layouts, and the price of any stage.
pub trait Accounting {
    /// The rig that is planned for.
    fn rig(&self) -> &Rig;

    /// The rig as a layout uses it: cards, or groups of cards as one device each.
    fn grouped(&self, _layout: Layout) -> &Rig {
        self.rig()
    }

    /// The device of a layout that a card of the rig is, or is part of; none where the layout leaves
    /// it out.
    fn seat(&self, _layout: Layout, device: DeviceId) -> Option<DeviceId> {
        Some(device)
    }

    /// The cards that a device of a layout is.
    fn members(&self, _layout: Layout, device: DeviceId) -> Vec<DeviceId> {
        vec![device]
    }

    /// Units of each stage as the target divides the chain where nobody says; none where it leaves
    /// that to the user.
    fn usual_split(&self, _n_stages: usize) -> Vec<usize> {
        Vec::new()
    }

    /// How many devices a plan of a layout may use, however many there are.
    fn most_devices(&self, _layout: Layout) -> usize {
        usize::MAX
    }

    /// The layout of that kind whose plans may use the most devices.
    fn widest(&self, layout: Layout) -> Layout {
        layout
    }

    /// The chain, in order of execution.
    fn units(&self) -> &[Unit];

    /// The layouts that this target and this rig allow, in ranks: one of a later rank is considered
    /// only where no earlier one fits, so that no unit is offloaded that a GPU could hold, and a
    /// prompt is left to the CPU alone only where no GPU can take part.
    fn ranks(&self) -> Vec<Vec<Layout>>;

    /// What a stage needs and takes.
    fn stage(&self, layout: Layout, span: &Span) -> Stage;

    /// The same, stored as well as `room` has space for where that is a choice, and what that costs in
    /// quality.
    fn fitted(&self, layout: Layout, span: &Span, _room: Bytes) -> (Stage, u64) {
        (self.stage(layout, span), 0)
    }

    /// What no plan of a layout does better than; nothing where that is not known.
    fn outlook(&self, _layout: Layout) -> Outlook {
        Outlook::default()
    }

    /// What no plan over these cards alone does better than, whatever its layout.
    fn ceiling(&self, _cards: &[DeviceId]) -> Ceiling {
        Ceiling::UNKNOWN
    }

    /// Over kinds of cards, of which there are so many and each has a price, the pipeline that is
    /// worth the most for its price; none where none is worth more than a number for a price of one.
    fn bargain(
        &self,
        kinds: &[(DeviceId, usize)],
        _prices: &[f64],
        _over: (f64, Measure),
    ) -> Option<Bargain> {
        Some(Bargain {
            cards: vec![1.0; kinds.len()],
            worth: f64::INFINITY,
            most: f64::INFINITY,
        })
    }

    /// The same, closer to what there is, which takes longer to tell.
    fn ceiling_in_blocks(&self, _cards: &[DeviceId]) -> Ceiling {
        Ceiling::UNKNOWN
    }

    /// The same of any number of plans together, each over cards of its own.
    fn ceiling_in_parts(&self, _cards: &[DeviceId]) -> Ceiling {
        Ceiling::UNKNOWN
    }

    /// The outlook by the units that are below the GPUs as a whole; nothing where that is not known.
    fn prefixes(&self, _layout: Layout) -> Vec<Prefix> {
        Vec::new()
    }

    /// For each of these devices and each first unit, where stages at a position may end in a plan that
    /// fits, if the units below the GPUs as a whole end within `ends`; nothing where that is not known.
    fn stage_ends(
        &self,
        _layout: Layout,
        _position: Position,
        _ends: &Range<usize>,
        _devices: &[DeviceId],
    ) -> Vec<Vec<RangeInclusive<usize>>> {
        Vec::new()
    }

    /// What a plan leaves on disk; nothing unless its layout says so.
    fn on_disk(&self, _layout: Layout, _stages: &[Span]) -> OnDisk {
        OnDisk::default()
    }

    /// What the host holds besides the stages: inputs, and tables that never leave it.
    fn host_base(&self, layout: Layout) -> Memory;

    /// What the hop into a stage on a GPU takes besides its time, where the stage before it is on a
    /// GPU of another host. Hosts other than the first that have one network are alike to it, as they
    /// are to the price of a stage.
    fn crossing(&self, _from: HostId, _to: HostId) -> Crossing {
        Crossing::default()
    }

    /// How the target offloads to the host.
    fn offload(&self) -> Offload;

    /// Half-width of the interval around a stage's time, as a share of it.
    fn uncertainty(&self, layout: Layout, span: &Span) -> f64;
}

/// How a target uses host memory for units that no GPU holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// The CPU computes a prefix of the chain.
    Computes,
    /// The first GPU computes them, and their weights are copied to it for every token.
    Streams,
    /// Not at all: the target refuses to load such a map.
    Refused,
}

/// What a device can hold of a plan.
pub fn capacity(rig: &Rig, place: Place) -> Bytes {
    match place {
        Place::Host => rig.host().map_or(Bytes::ZERO, |host| host.capacity()),
        Place::Device(device) => rig.capacity(device),
    }
}

/// The crossings of a chain of stages, in their order. What lies between the CPU and a GPU is a part
/// of the GPU's stage.
pub fn crossings(accounting: &dyn Accounting, layout: Layout, stages: &[Span]) -> Vec<Crossing> {
    let rig = accounting.grouped(layout);
    let host_of = |span: &Span| match span.place {
        Place::Host => None,
        Place::Device(device) => Some(rig.device(device).host),
    };
    let pairs = stages.windows(2);
    let hosts = pairs.filter_map(|pair| host_of(&pair[0]).zip(host_of(&pair[1])));
    let other = hosts.filter(|(from, to)| from != to);
    other
        .map(|(from, to)| accounting.crossing(from, to))
        .collect()
}

/// The layouts that apply, by rank, without empty ranks.
fn allowed<const RANKS: usize>(ranks: [Vec<(Layout, bool)>; RANKS]) -> Vec<Vec<Layout>> {
    let applying = |rank: Vec<(Layout, bool)>| {
        rank.into_iter()
            .filter_map(|(layout, applies)| applies.then_some(layout))
            .collect::<Vec<_>>()
    };
    ranks
        .into_iter()
        .map(applying)
        .filter(|rank| !rank.is_empty())
        .collect()
}
