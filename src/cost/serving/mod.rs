//! Accounting of vLLM and SGLang: a pipeline of stages, each one GPU or a group of GPUs that share
//! every block, and a cache of pages in what the weights leave.
//!
//! The units are the blocks: the embedding is on the first stage and the final norm with the head on
//! the last, so that every stage has a block. Nothing is computed on the CPU or offloaded. Sizes are
//! those of one GPU. Weights and cache are exact but for what `share.rs` rounds, and were held against
//! vLLM 0.32.0 and SGLang 0.5.23 (`tests/engines`); all else is an estimate. Between hosts the residual
//! stream passes, see [`handed`]. Not here: offload by streaming, expert parallelism. Sources: vLLM
//! 0.33.0 and SGLang 0.5.23, as read in November 2026.

mod bargain;
mod blocks;
mod ceiling;
pub mod ends;
pub mod groups;
pub mod refusal;
mod room;
mod runs;
pub mod share;
mod sums;
mod times;

use std::collections::BTreeMap;
use std::fmt;

use crate::cost::memory::Memory;
use crate::cost::paged::Engine;
use crate::cost::prefill::{self, Work};
use crate::cost::served::{Batch, Pages, Shape};
use crate::cost::time;
use crate::cost::{
    Accounting, Bargain, Ceiling, Crossing, Layout, Measure, Offload, Outlook, Place, Span, Stage,
    Unit,
};
use crate::hardware::{DeviceId, HostId, Rig};
use crate::model::{Model, Precision, PrecisionError};
use crate::units::{Bytes, Seconds, Tokens};
use crate::workload::Workload;

use ceiling::Over;
use groups::Seating;
use room::{Part, Room};
use sums::{Asked, Shares};

pub use sums::{kept, n_blocks, sizes};

/// Sequences that are decoded at once where the workload has no more.
const USUAL_SEQUENCES: u64 = 256;
/// What one addition over the GPUs of a group costs whatever its size: NCCL over PCIe. A guess.
const ALL_REDUCE: Seconds = Seconds(20e-6);
/// Additions of a block: behind attention and behind the feed-forward.
const ALL_REDUCES: f64 = 2.0;

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
}

impl Server {
    /// How it keeps its cache.
    pub fn engine(self) -> Engine {
        match self {
            Self::Vllm => Engine::Vllm,
            Self::Sglang => Engine::Sglang,
        }
    }

    /// The blocks of each stage where nobody says: what is left over goes to the middle and late
    /// stages but the last in vLLM (`get_pp_indices`), to the last ones in SGLang.
    pub fn split(self, n_blocks: usize, n_stages: usize) -> Vec<usize> {
        let (each, over) = (n_blocks / n_stages.max(1), n_blocks % n_stages.max(1));
        let mut split = vec![each; n_stages];
        let behind = match self {
            Self::Vllm => usize::from(over > 0),
            Self::Sglang => 0,
        };
        for length in split.iter_mut().rev().skip(behind).take(over) {
            *length += 1;
        }
        split
    }
}

impl fmt::Display for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Vllm => "vLLM",
            Self::Sglang => "SGLang",
        })
    }
}

/// What a stage hands on for one token: the residual stream in two vectors, what a block adds and what
/// it adds to, of 16-bit numbers. GPUs that share blocks send a part each, and all of it once.
/// Source: `IntermediateTensors` of vLLM's and `PPProxyTensors` of SGLang's models.
pub fn handed(hidden: u64) -> Bytes {
    Bytes(2 * 2 * hidden)
}

/// How much an engine computes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most tokens: of a prompt, or one of each sequence.
    pub tokens: Tokens,
    /// The most sequences.
    pub sequences: u64,
}

impl Limit {
    /// What a workload asks for.
    pub fn of(workload: &Workload) -> Self {
        let asked = u64::from(workload.sequences);
        Self {
            tokens: workload.ubatch.max(Tokens(asked)),
            sequences: asked.max(USUAL_SEQUENCES.min(workload.ubatch.0)),
        }
    }
}

/// The price list of one model, precision, rig and workload.
#[derive(Clone, Debug)]
pub struct Serving<'a> {
    server: Server,
    rig: &'a Rig,
    units: Vec<Unit>,
    seatings: Vec<Seating>,
    /// Where the seating of a shape stands among them.
    places: BTreeMap<Shape, usize>,
    /// What a GPU holds, and the activations of its largest moment, by the degree.
    shares: BTreeMap<u32, (Shares, Bytes)>,
    room: Room,
    work: Work,
    limit: Limit,
    workload: Workload,
    hidden: u64,
    expert_share: f64,
}

impl<'a> Serving<'a> {
    /// Prices `model` for an engine at a precision.
    ///
    /// # Errors
    /// Where the engine cannot load that precision.
    pub fn new(
        (server, precision): (Server, Precision),
        model: &Model,
        rig: &'a Rig,
        workload: &Workload,
    ) -> Result<Self, PrecisionError> {
        let checkpoint = precision.for_serving()?;
        let sizes = sizes(model, checkpoint)?;
        let units: Vec<_> = (0..n_blocks(model)).map(Unit::Block).collect();
        let limit = Limit::of(workload);
        let cards = rig.devices().len() as u64;
        let degrees = (1..=cards as u32).filter(|degree| share::divides(model, *degree).is_ok());
        let degrees: Vec<_> = degrees.collect();
        let asked = Asked {
            server,
            model,
            sizes: &sizes,
            kv_format: kept(workload.kv_format, checkpoint),
        };
        let shares = degrees.iter();
        let shares = shares.map(|degree| {
            let activations = room::activations(model, *degree, limit.tokens);
            (*degree, (Shares::new(&asked, *degree), activations))
        });
        let room = Room {
            server,
            limit,
            vocab: model.dimensions.vocab,
            most_stages: ends::most_stages(server, model).min(units.len()) as u32,
        };
        let seatings = groups::seatings(rig, &degrees, &room);
        let places = seatings.iter().enumerate();
        Ok(Self {
            server,
            rig,
            places: places.map(|(place, it)| (it.shape, place)).collect(),
            seatings,
            work: Work::new(model, &units, limit.tokens),
            units,
            shares: shares.collect(),
            room,
            limit,
            workload: *workload,
            hidden: model.dimensions.hidden,
            expert_share: model.dimensions.experts.map_or(1.0, |experts| {
                experts.used as f64 / experts.total.max(1) as f64
            }),
        })
    }

    /// The cards as a layout uses them. A layout of other targets is none of this one's, and is taken
    /// for the first.
    fn seating(&self, layout: Layout) -> Option<&Seating> {
        let found = layout.shape().and_then(|shape| self.places.get(&shape));
        self.seatings.get(found.copied().unwrap_or(0))
    }
}

impl Accounting for Serving<'_> {
    fn rig(&self) -> &Rig {
        self.rig
    }

    fn grouped(&self, layout: Layout) -> &Rig {
        self.seating(layout)
            .map_or(self.rig, |seating| &seating.rig)
    }

    fn seat(&self, layout: Layout, device: DeviceId) -> Option<DeviceId> {
        let members = &self.seating(layout)?.members;
        let found = members.iter().position(|group| group.contains(&device));
        found.map(DeviceId)
    }

    fn members(&self, layout: Layout, device: DeviceId) -> Vec<DeviceId> {
        let members = self.seating(layout).map(|seating| &seating.members);
        let group = members.and_then(|members| members.get(device.0));
        group.cloned().unwrap_or_default()
    }

    fn usual_split(&self, n_stages: usize) -> Vec<usize> {
        self.server.split(self.units.len(), n_stages)
    }

    fn most_devices(&self, layout: Layout) -> usize {
        let stages = self.seating(layout).map(|it| it.shape.stages);
        stages.unwrap_or_default().min(self.room.most_stages) as usize
    }

    fn widest(&self, layout: Layout) -> Layout {
        let Some(Seating { shape, .. }) = self.seating(layout) else {
            return layout;
        };
        let of_kind =
            |other: &&Shape| (other.degree, other.per_host) == (shape.degree, shape.per_host);
        let shapes = self.seatings.iter().map(|seating| &seating.shape);
        let widest = shapes
            .filter(of_kind)
            .max_by_key(|it| (it.stages, it.fraction));
        Layout::Served(*widest.unwrap_or(shape))
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn ranks(&self) -> Vec<Vec<Layout>> {
        let layouts = self.seatings.iter();
        let layouts: Vec<_> = layouts
            .map(|seating| Layout::Served(seating.shape))
            .collect();
        match layouts.is_empty() {
            true => Vec::new(),
            false => vec![layouts],
        }
    }

    fn stage(&self, layout: Layout, span: &Span) -> Stage {
        let (Some(seating), Place::Device(group)) = (self.seating(layout), span.place) else {
            return Stage::default();
        };
        let degree = seating.shape.degree;
        let Some((shares, activations)) = self.shares.get(&degree) else {
            return Stage::default();
        };
        let device = seating.rig.device(group);
        let own = shares.of(span, self.units.len());
        let part = match span.units == (0..self.units.len()) {
            true if degree == 1 => Part::Alone,
            _ if span.units.end == self.units.len() => Part::Last,
            _ => Part::Other,
        };
        let n_cards = seating.shape.n_cards();
        let (compute, overhead) = self.room.beside(*activations, part, n_cards);
        let page = self.server.engine().page();
        let pages = Pages {
            bytes: own.kept,
            tokens: page,
            sequence: Tokens(self.workload.context.0.next_multiple_of(page.0)),
            most: self.limit.sequences,
        };
        let kept = pages.sequence.0 / page.0 * u64::from(self.workload.sequences);
        let batch = self.batch(device, degree, &own, span);
        Stage {
            device: Memory {
                weights: own.weights,
                kv_cache: own.kept * kept,
                compute,
                overhead,
            },
            host: Memory::default(),
            time: batch.time(1),
            prefill: self.prompt(device, degree, span),
            pages,
            batch,
        }
    }

    fn outlook(&self, layout: Layout) -> Outlook {
        Outlook {
            ceiling: self
                .seating(layout)
                .map_or(Ceiling::UNKNOWN, |it| self.ceiling_in(it)),
            ..Outlook::default()
        }
    }

    fn ceiling(&self, cards: &[DeviceId]) -> Ceiling {
        self.ceiling_of(cards, Over::Pipeline(self.units.len()))
    }

    fn ceiling_in_blocks(&self, cards: &[DeviceId]) -> Ceiling {
        self.ceiling_in_blocks(cards)
    }

    fn bargain(
        &self,
        kinds: &[(DeviceId, usize)],
        prices: &[f64],
        over: (f64, Measure),
    ) -> Option<Bargain> {
        self.best_bargain(kinds, prices, over)
    }

    fn ceiling_in_parts(&self, cards: &[DeviceId]) -> Ceiling {
        self.ceiling_of(cards, Over::Parts)
    }

    fn host_base(&self, _layout: Layout) -> Memory {
        Memory::default()
    }

    /// The hosts speak to each other without a third. The few bytes of a token that come back to the
    /// first stage are left out.
    fn crossing(&self, from: HostId, to: HostId) -> Crossing {
        let Some(network) = self.rig.between(from, to) else {
            return Crossing::default();
        };
        let each = handed(self.hidden) / network.rate;
        let once = network.latency * 0.5;
        Crossing {
            time: each + once,
            prefill: prefill::Prefill {
                token: each,
                batch: once,
                ubatch: self.limit.tokens,
                ..prefill::Prefill::default()
            },
            batch: Batch {
                fixed: once,
                sequence: each,
                ..Batch::default()
            },
        }
    }

    fn offload(&self) -> Offload {
        Offload::Refused
    }

    fn uncertainty(&self, layout: Layout, span: &Span) -> f64 {
        match (self.seating(layout), span.place) {
            (Some(seating), Place::Device(group)) => {
                time::serving(seating.rig.device(group).class).uncertainty
            }
            _ => time::HOST_UNCERTAINTY,
        }
    }
}
