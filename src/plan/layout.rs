//! Layouts as plans write them: a name, and beside it what a name cannot say; and whether the map is
//! one of that layout.

use serde::{Deserialize, Serialize};

use crate::cost::{Below, Layout, Matrices, Parts, Shape, Store, Target, Whole};
use crate::plan::{CPU, CheckError, Plan};
use crate::units::Bytes;

/// What is read from disk, where a plan does so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskUse {
    /// Weights that are on disk alone.
    pub weights: Bytes,
    /// What is read for every token.
    pub read_a_token: Bytes,
}

/// The name of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayoutName {
    /// Everything on one GPU.
    OneDevice,
    /// Everything on GPUs, and micro-batches overlap.
    Pipelined,
    /// Everything on GPUs, one after the other.
    Sequential,
    /// Experts of the first blocks on the CPU.
    ExpertsOffloaded,
    /// The dense feed-forwards of the first blocks on the CPU.
    FeedForwardOffloaded,
    /// The first units on the CPU, or streamed, and it may be parts of further blocks.
    Offloaded,
    /// No GPU.
    HostOnly,
    /// A pipeline of groups of GPUs, with a cache in what is left.
    Served,
}

/// Parts on the CPU, as a document has them: of so many first blocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OnCpu {
    pub(super) experts: Option<u32>,
    pub(super) feed_forward: Option<u32>,
}

impl LayoutName {
    /// The name of a layout.
    pub fn of(layout: Layout) -> Self {
        match layout {
            Layout::OneDevice => Self::OneDevice,
            Layout::Pipelined => Self::Pipelined,
            Layout::Sequential => Self::Sequential,
            Layout::Offloaded(Below { whole, parts, .. }) => match (whole, parts.matrices) {
                (Whole::FirstUnits, _) => Self::Offloaded,
                (Whole::Nothing, Matrices::Experts) => Self::ExpertsOffloaded,
                (Whole::Nothing, Matrices::FeedForward) => Self::FeedForwardOffloaded,
            },
            Layout::HostOnly(_) => Self::HostOnly,
            Layout::Served(_) => Self::Served,
        }
    }

    /// The layout that a document means.
    pub(super) fn layout(
        self,
        on_cpu: OnCpu,
        store: Store,
        shape: Shape,
    ) -> Result<Layout, CheckError> {
        // None is a number that the check refuses.
        let parts = |matrices, n_blocks: Option<u32>| Parts {
            matrices,
            n_blocks: n_blocks.unwrap_or(0),
        };
        let experts = parts(Matrices::Experts, on_cpu.experts);
        let feed_forward = parts(Matrices::FeedForward, on_cpu.feed_forward);
        let layout = match (self, on_cpu.experts, on_cpu.feed_forward) {
            (Self::ExpertsOffloaded, _, None) => Layout::parts_alone(experts),
            (Self::FeedForwardOffloaded, None, _) => Layout::parts_alone(feed_forward),
            (Self::Offloaded, _, None) => Layout::whole_and(experts),
            (Self::Offloaded, None, _) => Layout::whole_and(feed_forward),
            (Self::OneDevice, None, None) => Layout::OneDevice,
            (Self::Pipelined, None, None) => Layout::Pipelined,
            (Self::Sequential, None, None) => Layout::Sequential,
            (Self::HostOnly, None, None) => Layout::HOST_ONLY,
            (Self::Served, None, None) => Layout::Served(shape),
            (
                Self::ExpertsOffloaded
                | Self::FeedForwardOffloaded
                | Self::Offloaded
                | Self::OneDevice
                | Self::Pipelined
                | Self::Sequential
                | Self::HostOnly
                | Self::Served,
                ..,
            ) => return Err(CheckError::PartsBesideLayout),
        };
        Ok(layout.held_by(store))
    }
}

impl OnCpu {
    pub(super) fn of(parts: Parts) -> Self {
        let n_blocks = (parts.n_blocks > 0).then_some(parts.n_blocks);
        match parts.matrices {
            Matrices::Experts => Self {
                experts: n_blocks,
                ..Self::default()
            },
            Matrices::FeedForward => Self {
                feed_forward: n_blocks,
                ..Self::default()
            },
        }
    }
}

impl Plan {
    /// Parts in RAM are of blocks of which the last is on a GPU.
    pub(super) fn check_parts(&self) -> Result<(), CheckError> {
        let (parts, blocks) = (self.layout.parts(), self.model.blocks);
        let Layout::Offloaded(below) = self.layout else {
            return Ok(());
        };
        let found = parts.n_blocks;
        let on_cpu = self.device_map.runs.iter().filter(|run| run.device == CPU);
        let first_on_gpu = on_cpu.map(|run| run.layers.end() + 1).max().unwrap_or(0);
        let is_kept = match (below.whole, found) {
            (Whole::FirstUnits, 0) => true,
            (Whole::FirstUnits, _) => first_on_gpu > 0,
            (Whole::Nothing, _) => first_on_gpu == 0,
        };
        let is_within = found == 0 || (found > first_on_gpu && found <= blocks);
        let may_be_none = below.whole == Whole::FirstUnits && found == 0;
        let is_right_target = self.target == Target::LlamaCpp;
        match may_be_none || (is_kept && is_within && found > 0 && is_right_target) {
            true => Ok(()),
            false => Err(CheckError::Parts {
                matrices: parts.matrices,
                found,
                blocks,
            }),
        }
    }

    /// A plan says what it reads from disk exactly where its layout does, and the rig has a disk.
    pub(super) fn check_disk(&self) -> Result<(), CheckError> {
        let reads = self.layout.store() == Store::Disk;
        let has_disk = self.rig.host().is_some_and(|host| host.disk.is_some());
        match reads == self.disk.is_some() && (!reads || has_disk) {
            true => Ok(()),
            false => Err(CheckError::Disk),
        }
    }
}
