//! What is in no block of a mix: the accounting of any rest beside any blocks, put together from files
//! of one recipe each.

use super::super::{LlamaCpp, Sums};

impl LlamaCpp<'_> {
    /// The accounting of a file whose blocks are stored as here and all else as in another. Buffers
    /// stay as they are: the table is read on the CPU and the head where it lies, so that no graph
    /// copies either of them (tested in `cost/compute`).
    pub(super) fn with_rest_of(&self, other: &Self) -> Self {
        let n_blocks = self.units.len() - 1;
        let (blocks, head) = (self.sums[n_blocks], other.head());
        let mut sums = self.sums.clone();
        sums[n_blocks + 1] = Sums {
            on_device: blocks.on_device + head.on_device,
            on_host: blocks.on_host + head.on_host,
            read: blocks.read + head.read,
            ..sums[n_blocks + 1]
        };
        Self {
            sums,
            everywhere: other.everywhere,
            input: other.input,
            ..self.clone()
        }
    }

    /// Whether beside the same blocks this rest needs no more than another, wherever they are, and
    /// takes no longer.
    pub(super) fn has_no_larger_rest_than(&self, other: &Self) -> bool {
        let (own, others) = (self.head(), other.head());
        own.on_device <= others.on_device
            && own.on_host <= others.on_host
            && own.read <= others.read
            && self.everywhere <= other.everywhere
            && self.input <= other.input
    }

    /// Whether beside the same blocks both need and take the same on devices, and on the CPU but for
    /// what RAM holds in any plan.
    pub(super) fn has_rest_of(&self, other: &Self) -> bool {
        let (own, others) = (self.head(), other.head());
        let of = |sums: &Sums| [sums.on_device, sums.on_host, sums.read];
        of(&own) == of(&others) && self.everywhere == other.everywhere
    }

    fn head(&self) -> Sums {
        let n_units = self.units.len();
        self.between(&(n_units - 1..n_units))
    }
}
