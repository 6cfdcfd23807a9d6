//! A stage whose weights can be stored in several ways that fit, before one of them is chosen.

use std::ops::Range;

use crate::cost::Position;
use crate::cost::column::Owner;
use crate::cost::frontier::{Frontier, Way};
use crate::units::Bytes;

/// A column with all its ways. On one device the time of a token is what it reads over a rate, and
/// what does not depend on the way.
#[derive(Clone, Debug)]
pub struct Menu {
    /// Who computes it.
    pub owner: Owner,
    /// Its units.
    pub units: Range<usize>,
    /// Whether it is the first on a GPU.
    pub position: Position,
    /// Ways to store its run, the smallest first.
    pub ways: Frontier,
    /// So many of them fit.
    pub n_fitting: usize,
    /// Picoseconds that no way changes, and those of each byte that is read.
    pub law: Law,
}

/// A time in picoseconds as a line over the bytes that are read, or RAM in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Law {
    /// Where nothing is read.
    pub fixed: f64,
    /// For each byte.
    pub a_byte: f64,
}

impl Menu {
    /// The ways that fit.
    pub fn fitting(&self) -> &[Way] {
        &self.ways[..self.n_fitting]
    }

    /// The time of a token in whole picoseconds.
    pub fn time(&self, way: &Way) -> u64 {
        self.law.of(way.read)
    }
}

impl Law {
    /// In whole picoseconds, where so much is read.
    fn of(&self, read: Bytes) -> u64 {
        let time = self.fixed + self.a_byte * read.0 as f64;
        // Rounded to the nearest, without a call: searches ask for times by the million.
        let whole = time as u64;
        whole.saturating_add(u64::from(time - whole as f64 >= 0.5))
    }
}

/// A stage of two runs of blocks, of which each is stored in a way of its own, where stages share both
/// time and RAM: the first run has a part there, or all of it.
#[derive(Clone, Debug)]
pub struct Paired {
    /// Who computes it.
    pub owner: Owner,
    /// Its units.
    pub units: Range<usize>,
    /// Whether it is the first on a GPU.
    pub position: Position,
    /// Ways to store each run, the smallest first.
    pub runs: [Frontier; 2],
    /// What a way of each may take together.
    pub room: Bytes,
    /// Picoseconds.
    pub law: Law,
    /// What it takes of RAM whatever the ways.
    pub ram: Bytes,
}

impl Paired {
    /// A way of each run as one of the stage.
    pub fn way(&self, [first, second]: [usize; 2]) -> Way {
        self.runs[0][first].and(self.runs[1][second])
    }

    /// The time of a token in whole picoseconds.
    pub fn time(&self, way: &Way) -> u64 {
        self.law.of(way.read)
    }

    /// What it has in RAM.
    pub fn in_ram(&self, way: &Way) -> u64 {
        (self.ram + way.ram).0
    }

    /// The same stage at the cost of its time in picoseconds, and nothing else but RAM.
    #[must_use]
    pub fn at_its_time(&self) -> Self {
        let run = |index: usize| {
            let fixed = if index == 0 { self.law.fixed } else { 0.0 };
            let ways = self.runs[index].iter().map(|way| Way {
                penalty: (fixed + self.law.a_byte * way.read.0 as f64).round() as u64,
                read: Bytes::ZERO,
                ..*way
            });
            ways.collect::<Frontier>()
        };
        Self {
            runs: [run(0), run(1)],
            law: Law::default(),
            ..self.clone()
        }
    }
}
