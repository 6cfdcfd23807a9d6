//! A target made up for tests: small enough to count out, with everything that makes a real one
//! hard. Units differ, the first and the last stage hold more, a pipelined layout holds more
//! everywhere, and units are offloaded by computing (whole, or a third of each), by streaming, or not at
//! all.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use shardplan::cost::{
    Accounting, Batch, Crossing, Layout, Matrices, Memory, Offload, Pages, Parts, Place, Position,
    Prefill, Shape, Span, Stage, Unit,
};
use shardplan::hardware::{Device, DeviceClass, Host, HostId, Machine, Network, Pcie, Rig, Source};
use shardplan::units::{Bytes, BytesPerSecond, Seconds, Tokens};

/// A kind of card: memory in MiB, bandwidth in tenths of a GB/s.
type Kind = (u64, u64);

/// What a case is made of, in numbers that shrink well.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// MiB of each unit.
    pub(crate) units: Vec<u64>,
    /// The cards, of few kinds, so that some are alike.
    pub(crate) cards: Vec<Kind>,
    /// RAM, where there is any.
    pub(crate) ram: Option<Kind>,
    pub(crate) offload: Offload,
    /// MiB that never leave RAM.
    pub(crate) base: u64,
    /// Microseconds of a change of device.
    pub(crate) hop: u64,
    /// The host of each card, in order; all are on the first where this is empty.
    pub(crate) hosts: Vec<usize>,
    /// Of each host: MB/s, and microseconds of a round trip.
    pub(crate) networks: Vec<(u64, u64)>,
    /// kB that a token hands on.
    pub(crate) payload: u64,
    /// Whether all that is handed on passes the first host.
    pub(crate) passes_first: bool,
    /// Whether each host that is used has as many stages as any other.
    pub(crate) is_even: bool,
    /// How many cards a plan may use.
    pub(crate) most_devices: usize,
}

/// The price list of a case.
#[derive(Debug)]
pub(crate) struct Toy {
    rig: Rig,
    case: Case,
    chain: Vec<Unit>,
}

/// Cases of one to six units on up to four cards, alike or not, small and large.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let units = prop_oneof![
        (1..=6_usize, 1..=8_u64).prop_map(|(count, size)| vec![size; count]),
        vec(1..=9_u64, 1..=6),
        vec(3..=9_u64, 4..=6),
    ];
    let memory = prop_oneof![1..=30_u64, 6..=14_u64];
    let kinds = vec((memory, 10..=40_u64), 1..=3);
    let cards = (kinds, vec(any::<prop::sample::Index>(), 0..=4));
    let cards = cards.prop_map(|(kinds, picks)| -> Vec<Kind> {
        picks.iter().map(|pick| *pick.get(&kinds)).collect()
    });
    let ram = prop::option::weighted(0.7, (1..=40_u64, 1..=20_u64));
    let offload = prop_oneof![
        Just(Offload::Computes),
        Just(Offload::Streams),
        Just(Offload::Refused),
    ];
    let most_devices = prop_oneof![3 => Just(usize::MAX), 1 => 1..=3_usize];
    (
        units,
        cards,
        ram,
        offload,
        (0..=3_u64, most_devices),
        0..=3_000_u64,
    )
        .prop_filter_map(
            "a rig has something to compute on",
            |(units, cards, ram, offload, (base, most_devices), hop)| {
                let case = Case {
                    units,
                    cards,
                    ram,
                    offload,
                    base,
                    hop,
                    hosts: Vec::new(),
                    networks: Vec::new(),
                    payload: 0,
                    passes_first: false,
                    is_even: false,
                    most_devices,
                };
                (!case.cards.is_empty() || case.ram.is_some()).then_some(case)
            },
        )
}

/// A card as a rig has it, called by its place in the list.
pub(crate) fn card(index: usize, memory: Bytes, bandwidth: BytesPerSecond) -> Device {
    Device {
        name: format!("cuda{index}"),
        model: format!("{memory} at {bandwidth}"),
        class: DeviceClass::Unknown,
        memory,
        bandwidth,
        host: HostId::FIRST,
        link: Pcie {
            generation: 4,
            lanes: 16,
        },
        reserve: Bytes::ZERO,
        compute_capability: None,
        pci: None,
        source: Source::Stated,
    }
}

/// RAM as a rig has it.
pub(crate) fn ram(memory: Bytes, bandwidth: BytesPerSecond) -> Host {
    Host {
        name: "host".to_owned(),
        memory,
        bandwidth,
        reserve: Bytes::ZERO,
        disk: None,
        cpu: None,
        cores: None,
        source: Source::Stated,
    }
}

impl Toy {
    pub(crate) fn new(case: &Case) -> Self {
        let rate = |tenths: u64| BytesPerSecond(tenths as f64 * 1e8);
        let cards = case.cards.iter().enumerate();
        let devices = cards.map(|(index, (mib, tenths))| Device {
            host: HostId(case.hosts.get(index).copied().unwrap_or(0)),
            ..card(index, Bytes::mib(*mib), rate(*tenths))
        });
        let host = case
            .ram
            .map(|(mib, tenths)| ram(Bytes::mib(mib), rate(tenths)));
        let n_hosts = case.hosts.last().map_or(1, |last| last + 1);
        let machines = (0..n_hosts).map(|index| Machine {
            name: format!("host{index}"),
            ram: host.clone().filter(|_| index == 0),
            network: case.networks.get(index).map(|(rate, latency)| Network {
                rate: BytesPerSecond(*rate as f64 * 1e6),
                latency: Seconds(*latency as f64 * 1e-6),
            }),
        });
        let rig = Rig::of_hosts(devices.collect(), machines.collect());
        Self {
            rig: rig.expect("cases have places, all of plausible figures"),
            chain: (0..case.units.len())
                .map(|unit| Unit::Block(unit as u32))
                .collect(),
            case: case.clone(),
        }
    }

    fn weights(&self, units: Range<usize>) -> Bytes {
        self.case.units[units].iter().copied().map(Bytes::mib).sum()
    }

    /// A third of each unit is experts; those of these units that the layout leaves in RAM.
    fn in_ram(&self, layout: Layout, units: Range<usize>) -> Bytes {
        let moved = layout.parts().units();
        let units = units.filter(|unit| moved.contains(unit));
        units
            .map(|unit| Bytes::mib(self.case.units[unit]).scale(1.0 / 3.0))
            .sum()
    }

    /// A prompt: so many MiB of weights against a rate, and a copy for each micro-batch.
    fn prefill(&self, weights: Bytes, rate: u64, copying: Seconds) -> Prefill {
        let token = Seconds(weights.0 as f64 * 1e-9 / rate as f64);
        Prefill {
            token,
            pair: token * 1e-4,
            batch: copying,
            ubatch: Tokens(512),
        }
    }

    /// A cache of pages of 16 tokens and 256 KiB for each unit.
    fn pages(&self, units: &Range<usize>) -> Pages {
        Pages {
            bytes: Bytes(256 << 10) * units.len() as u64,
            tokens: Tokens(16),
            sequence: Tokens(32),
            most: 9,
        }
    }

    /// A stage of some weights at a rate, half of which are experts of which a token passes a third.
    fn batch(&self, weights: Bytes, rate: u64) -> Batch {
        let time = Seconds(weights.0 as f64 * 1e-9 / rate as f64);
        Batch {
            fixed: Seconds(self.case.hop as f64 * 1e-6),
            weights: time * 0.5,
            experts: time * 0.5,
            share: 1.0 / 3.0,
            token: time * 0.2,
            sequence: time * 0.03,
        }
    }

    /// What a stage holds besides weights: inputs where the chain begins, outputs where it ends,
    /// copies of them where micro-batches overlap, the largest unit that passes through.
    fn buffers(&self, layout: Layout, span: &Span) -> Bytes {
        let mut buffers = match layout {
            Layout::Pipelined => 2,
            Layout::OneDevice
            | Layout::Sequential
            | Layout::Offloaded(_)
            | Layout::HostOnly(_)
            | Layout::Served(_) => 0,
        };
        if span.position == Position::First {
            buffers += 1;
        }
        if span.units.end == self.chain.len() {
            buffers += 2;
        }
        let passing = &self.case.units[..span.streamed.end];
        Bytes::mib(buffers + passing.iter().copied().max().unwrap_or(0))
    }
}

impl Accounting for Toy {
    fn rig(&self) -> &Rig {
        &self.rig
    }

    fn units(&self) -> &[Unit] {
        &self.chain
    }

    fn most_devices(&self, _layout: Layout) -> usize {
        self.case.most_devices
    }

    fn ranks(&self) -> Vec<Vec<Layout>> {
        let n_devices = self.rig.devices().len();
        if self.case.is_even {
            let even = (1..=n_devices as u32).map(|per_host| {
                Layout::Served(Shape {
                    per_host,
                    ..Shape::default()
                })
            });
            return vec![even.collect()];
        }
        let may_offload = self.rig.host().is_some() && self.case.offload != Offload::Refused;
        let on_devices = match n_devices {
            0 => vec![],
            1 => vec![Layout::OneDevice],
            _ => vec![Layout::OneDevice, Layout::Pipelined, Layout::Sequential],
        };
        let offloaded = match (may_offload, n_devices) {
            (false, _) => vec![],
            (true, 0) => vec![Layout::HOST_ONLY],
            (true, _) if self.case.offload == Offload::Computes => {
                let parts = (1..=self.chain.len() as u32).map(|n_blocks| Parts {
                    matrices: Matrices::Experts,
                    n_blocks,
                });
                let alone = parts.clone().map(Layout::parts_alone);
                let whole = [Layout::OFFLOADED, Layout::HOST_ONLY];
                let both = parts.map(Layout::whole_and);
                alone.chain(whole).chain(both).collect()
            }
            (true, _) => vec![Layout::OFFLOADED, Layout::HOST_ONLY],
        };
        let ranks = [on_devices, offloaded].into_iter();
        ranks.filter(|rank| !rank.is_empty()).collect()
    }

    fn stage(&self, layout: Layout, span: &Span) -> Stage {
        let weights = self.weights(span.units.clone());
        let streamed = self.weights(span.streamed.clone());
        let pages = self.pages(&span.units);
        // One sequence of two pages.
        let memory = |weights, compute| Memory {
            weights,
            compute,
            kv_cache: pages.bytes * 2,
            ..Memory::default()
        };
        match span.place {
            Place::Host => Stage {
                // What is a part of a unit is there in any plan of the layout.
                device: memory(
                    weights.saturating_sub(self.in_ram(layout, span.units.clone())),
                    Bytes::ZERO,
                ),
                host: Memory::default(),
                time: self
                    .rig
                    .host()
                    .map_or(Seconds(0.0), |host| weights / host.bandwidth),
                prefill: self.prefill(weights, 10, Seconds(0.0)),
                pages,
                batch: self.batch(weights, 1),
            },
            Place::Device(device) => {
                let hop = if span.units.start > 0 {
                    self.case.hop
                } else {
                    0
                };
                let in_ram = self.in_ram(layout, span.units.clone());
                let resident = weights.saturating_sub(streamed + in_ram);
                let reading = weights.saturating_sub(in_ram) / self.rig.device(device).bandwidth
                    + self
                        .rig
                        .host()
                        .map_or(Seconds(0.0), |host| in_ram / host.bandwidth);
                let copying = streamed / BytesPerSecond(1e9);
                Stage {
                    device: memory(resident, self.buffers(layout, span)),
                    host: Memory {
                        weights: streamed,
                        ..Memory::default()
                    },
                    time: reading + copying + Seconds(hop as f64 * 1e-6),
                    // Cards that are slow to decode may be quick with prompts.
                    prefill: self.prefill(weights, self.case.cards[device.0].0, copying),
                    pages,
                    batch: self.batch(weights, self.case.cards[device.0].1),
                }
            }
        }
    }

    fn host_base(&self, layout: Layout) -> Memory {
        Memory {
            weights: Bytes::mib(self.case.base) + self.in_ram(layout, 0..self.chain.len()),
            ..Memory::default()
        }
    }

    fn crossing(&self, from: HostId, to: HostId) -> Crossing {
        let legs = match self.case.passes_first {
            true => vec![(from, HostId::FIRST), (HostId::FIRST, to)],
            false => vec![(from, to)],
        };
        let networks = legs.into_iter().filter_map(|(a, b)| self.rig.between(a, b));
        let payload = Bytes(self.case.payload * 1000);
        let each = networks.map(|it| (payload / it.rate, it.latency));
        let (payload, latency) = each.fold(
            (Seconds(0.0), Seconds(0.0)),
            |(payload, latency), (more, longer)| (payload + more, latency + longer),
        );
        Crossing {
            time: payload + latency,
            prefill: Prefill {
                token: payload,
                pair: payload * 1e-5,
                batch: latency,
                ubatch: Tokens(512),
            },
            batch: Batch {
                fixed: latency,
                sequence: payload,
                ..Batch::default()
            },
        }
    }

    fn offload(&self) -> Offload {
        self.case.offload
    }

    fn uncertainty(&self, _layout: Layout, _span: &Span) -> f64 {
        0.1
    }
}
