//! The simple rules by name, and which a plan is compared with. How each divides a chain is not here.

use crate::cost::Layout;

/// A simple rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The same number of units for every GPU.
    Even,
    /// Units in proportion to memory.
    Proportional,
    /// Fill one GPU after the other in the order of the rig, the rest to the host.
    Greedy,
    /// As accelerate's balanced map: weights alone, an equal cap for all but the last GPU.
    AccelerateLike,
    /// As llama.cpp's `--fit`: by free memory, else from the last GPU with 1 GiB to spare each.
    LlamaCppFitLike,
    /// As the engine divides the blocks where nobody says.
    EngineDefault,
}

impl Rule {
    /// The rules that a plan of some layout is compared with, the plainest first.
    pub(super) fn all(layout: Layout) -> &'static [Self] {
        match layout.shape() {
            Some(_) => &[Self::EngineDefault, Self::Proportional, Self::Greedy],
            None => &[
                Self::Even,
                Self::Proportional,
                Self::Greedy,
                Self::AccelerateLike,
                Self::LlamaCppFitLike,
            ],
        }
    }

    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Proportional => "proportional",
            Self::Greedy => "greedy",
            Self::AccelerateLike => "accelerate-like",
            Self::LlamaCppFitLike => "llama.cpp-fit-like",
            Self::EngineDefault => "engine-default",
        }
    }
}
