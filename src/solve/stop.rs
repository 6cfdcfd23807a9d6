//! A flag that ends a search early, with the best found so far. Whoever keeps a clock or listens for
//! Ctrl-C sets it; nothing here reads a clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by whoever asks and whoever searches; clones are one flag.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    is_set: AtomicBool,
    /// What ends all searches ends this one.
    of_all: Option<Stop>,
}

impl Stop {
    /// A flag for one of several searches, which is set with this one or alone.
    pub fn of_one(&self) -> Self {
        Self(Arc::new(Flag {
            is_set: AtomicBool::default(),
            of_all: Some(self.clone()),
        }))
    }

    /// Ends the search soon.
    pub fn set(&self) {
        self.0.is_set.store(true, Ordering::Relaxed);
    }

    /// Whether the search should end.
    pub fn is_set(&self) -> bool {
        let Flag { is_set, of_all } = self.0.as_ref();
        is_set.load(Ordering::Relaxed) || of_all.as_ref().is_some_and(Self::is_set)
    }
}

#[cfg(test)]
mod tests {
    use super::Stop;

    #[test]
    fn what_ends_all_searches_ends_each_and_not_the_other_way() {
        let all = Stop::default();
        let [one, other] = [all.of_one(), all.of_one()];
        one.set();
        assert!(one.is_set() && !other.is_set() && !all.is_set());
        all.set();
        assert!(other.is_set());
    }
}
