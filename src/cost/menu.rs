//! A stage whose weights can be stored in several ways that fit, before one of them is chosen.

use std::ops::Range;

use crate::cost::Position;
use crate::cost::column::Owner;
use crate::cost::frontier::{Frontier, Way};

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
        let time = self.law.fixed + self.law.a_byte * way.read.0 as f64;
        // Rounded to the nearest, without a call: searches ask for times by the million.
        let whole = time as u64;
        whole.saturating_add(u64::from(time - whole as f64 >= 0.5))
    }
}
