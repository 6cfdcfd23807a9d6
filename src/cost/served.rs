//! What an engine serves: how it shares blocks among GPUs, how many tokens a stage keeps resident, and
//! how long a stage takes for sequences that it decodes together.

use serde::{Deserialize, Serialize};

use crate::cost::column::Cost;
use crate::units::{Bytes, Seconds, Tokens};

/// How an engine uses the cards of a rig: groups of so many GPUs that share every block, and the part
/// of each card's memory that it is told to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// GPUs of a group: the tensor-parallel degree.
    pub degree: u32,
    /// Thousandths of a card's memory, one number for all cards.
    pub fraction: u32,
    /// Stages of each host that is used, where the rig has several; 0 where it has one.
    pub per_host: u32,
    /// The most stages: what is left of a card beside weights and cache may depend on how many serve.
    pub stages: u32,
}

impl Shape {
    /// The most GPUs.
    pub fn n_cards(&self) -> u32 {
        self.degree.saturating_mul(self.stages)
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            degree: 1,
            fraction: 1000,
            per_host: 0,
            stages: 1,
        }
    }
}

/// The pages of a stage's cache, on one of its GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// One page of every block of the stage.
    pub bytes: Bytes,
    /// Tokens of a page.
    pub tokens: Tokens,
    /// What one sequence takes: its context in whole pages.
    pub sequence: Tokens,
    /// The most sequences that are decoded at once.
    pub most: u64,
}

impl Pages {
    /// What a stage without a cache is said to keep: more than any engine does.
    pub const ENDLESS: Tokens = Tokens(1 << 40);

    /// Tokens that whole pages in `room` keep.
    pub fn resident(&self, room: Bytes) -> Tokens {
        match room.0.checked_div(self.bytes.0) {
            Some(pages) => Tokens(pages.saturating_mul(self.tokens.0)).min(Self::ENDLESS),
            None => Self::ENDLESS,
        }
    }

    /// Sequences of the workload's context that so many resident tokens are, as far as they are
    /// decoded at once.
    pub fn sequences(&self, resident: Tokens) -> u64 {
        let held = resident.0.checked_div(self.sequence.0);
        held.unwrap_or(self.most).min(self.most)
    }
}

/// What a stage takes for one token of each of the sequences that it decodes together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Batch {
    /// Launches, and the way into the stage.
    pub fixed: Seconds,
    /// Reading the weights that every token passes.
    pub weights: Seconds,
    /// Reading all experts.
    pub experts: Seconds,
    /// The share of the experts that one token passes.
    pub share: f64,
    /// The operations of one token.
    pub token: Seconds,
    /// Reading keys and values of one sequence, and adding up its token over the GPUs of a group.
    pub sequence: Seconds,
}

impl Batch {
    /// The time for so many sequences: weights are read once, or computed with if that takes longer;
    /// of the experts, those are read that any of the tokens passes, if each chooses at random.
    pub fn time(&self, n_sequences: u64) -> Seconds {
        let n = n_sequences as f64;
        let touched = 1.0 - (1.0 - self.share).powf(n);
        let reading = self.weights.0 + self.experts.0 * touched;
        self.fixed + Seconds(reading.max(self.token.0 * n)) + self.sequence * n
    }

    /// The same in whole picoseconds, for comparing.
    pub fn picoseconds(&self, n_sequences: u64) -> u64 {
        u64::try_from(Cost::from(self.time(n_sequences)).0).unwrap_or(u64::MAX)
    }
}

/// How a pipeline serves: how many sequences at once, and how long each token takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Sequences in all batches.
    pub sequences: u64,
    /// Femtoseconds of a token; the most there are where nothing is served.
    pub pace: u64,
}

/// How stages serve at their best, if all of them hold `held` sequences; what lies between them on
/// other hosts is as busy as a stage.
pub fn serve(stages: &[Batch], between: &[Batch], held: u64) -> Service {
    let n_stages = stages.len() as u64;
    let of = |sequences: u64| {
        let (batch, _) = batches(n_stages, sequences);
        let all = stages.iter().chain(between);
        let slowest = all.map(|stage| stage.picoseconds(batch)).max();
        Service {
            sequences,
            pace: pace(n_stages, sequences, slowest.unwrap_or(0)),
        }
    };
    // Of equal paces the one with the most sequences.
    let all = levels(n_stages, held).into_iter().rev().map(of);
    all.min_by_key(|service| service.pace).unwrap_or(Service {
        sequences: 0,
        pace: u64::MAX,
    })
}

/// Every number of sequences up to `held` that makes a difference: those that are fewer than stages,
/// then equal batches.
pub fn levels(n_stages: u64, held: u64) -> Vec<u64> {
    let few = 1..n_stages.min(held + 1);
    let even = (1..=held / n_stages.max(1)).map(|batch| batch * n_stages);
    few.chain(even).collect()
}

/// Femtoseconds that a token takes of a pipeline of `n_stages`, which `n_sequences` pass in as many
/// batches, where the slowest stage takes `slowest` picoseconds for its batch.
///
/// The batches follow each other, so that a round takes as often the slowest stage's time as there
/// are stages, and gives one token of each sequence.
pub fn pace(n_stages: u64, n_sequences: u64, slowest: u64) -> u64 {
    let round = u128::from(slowest) * u128::from(n_stages) * 1000;
    let token = round / u128::from(n_sequences.max(1));
    u64::try_from(token).unwrap_or(u64::MAX)
}

/// Sequences of each batch where so many pass a pipeline of `n_stages`, and of all batches together:
/// batches are equal, or single sequences where these are fewer than stages.
pub fn batches(n_stages: u64, n_sequences: u64) -> (u64, u64) {
    match n_sequences / n_stages.max(1) {
        0 => (1, n_sequences),
        batch => (batch, batch * n_stages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_are_resident() {
        let pages = Pages {
            bytes: Bytes(100),
            tokens: Tokens(16),
            sequence: Tokens(48),
            most: 4,
        };
        assert_eq!(pages.resident(Bytes(999)), Tokens(144));
        assert_eq!(pages.sequences(Tokens(144)), 3);
        assert_eq!(pages.sequences(Tokens(1 << 20)), 4);
        assert_eq!(Pages::default().resident(Bytes(1)), Pages::ENDLESS);
    }

    #[test]
    fn a_batch_reads_weights_once_until_it_computes_for_longer() {
        let batch = Batch {
            fixed: Seconds(1.0),
            weights: Seconds(8.0),
            experts: Seconds(0.0),
            share: 0.0,
            token: Seconds(2.0),
            sequence: Seconds(0.5),
        };
        assert_eq!(batch.time(1), Seconds(9.5));
        assert_eq!(batch.time(4), Seconds(11.0));
        assert_eq!(batch.time(8), Seconds(21.0));
        // Two stages of 10 ps that 8 sequences pass in two batches: a round of 20 ps gives 8 tokens.
        assert_eq!(batches(2, 9), (4, 8));
        assert_eq!(pace(2, 8, 10), 2500);
        assert_eq!(batches(4, 3), (1, 3));
    }
}
