//! Why there is no plan to show, and how that is known. Not here: what would help (`infeasible.rs`).

/// Why there is no plan to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// Every plan is ruled out.
    RuledOut(Ruling),
    /// None was found in the time that there was.
    NotFound,
}

impl NoPlan {
    /// Neither here nor there is a plan.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::RuledOut(a), Self::RuledOut(b)) => Self::RuledOut(a.max(b)),
            (Self::NotFound, _) | (_, Self::NotFound) => Self::NotFound,
        }
    }
}

/// How it is known that there is no plan: of several layouts, what the hardest of them took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ruling {
    /// The longest stages of all devices together do not cover the chain.
    #[default]
    Area,
    /// No stages lead from its begin to its end, could every device be used at will.
    Chain,
    /// Every device order was counted out.
    Orders,
    /// At some prices every chain pays more than all devices together.
    Prices,
}

impl Ruling {
    /// Its name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Area => "area bound",
            Self::Chain => "chains without limits on devices",
            Self::Orders => "dynamic program over every device order",
            Self::Prices => "prices on devices",
        }
    }
}
