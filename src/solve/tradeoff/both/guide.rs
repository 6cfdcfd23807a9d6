//! The best way on from each state of a chain at some prices.

use super::TakenPair;
use super::prices::{Catalogue, Priced};
use crate::solve::tradeoff::network::Network;

/// The best way on from each state at some prices.
pub(super) struct Guide {
    pub(super) priced: Priced,
    /// From the states that were asked for.
    pub(super) tails: Vec<Option<Tail>>,
}

/// The best way on from a state to the end.
#[derive(Clone, Copy, Default)]
pub(super) struct Tail {
    /// The first step, and where it leads; none at the end.
    pub(super) step: Option<(TakenPair, usize)>,
    pub(super) penalty: u64,
    pub(super) time: u64,
    pub(super) ram: u64,
}

impl Guide {
    pub(super) fn new(network: &Network<'_>, priced: Priced) -> Self {
        Self {
            priced,
            tails: vec![None; network.n_states()],
        }
    }

    /// From a state on, where there is a way to the end.
    pub(super) fn tail(
        &mut self,
        network: &Network<'_>,
        catalogue: &Catalogue<'_>,
        from: usize,
    ) -> Option<Tail> {
        let mut state = from;
        let mut steps = Vec::new();
        let mut tail = loop {
            match self.tails[state] {
                Some(known) => break known,
                None if network.is_end(state) => break Tail::default(),
                None => {}
            }
            let step = self.step(network, catalogue, state)?;
            steps.push((state, step));
            state = step.1;
        };
        for (state, step) in steps.into_iter().rev() {
            let [penalty, time, ram] = catalogue.worth(&[step.0]);
            tail = Tail {
                step: Some(step),
                penalty: tail.penalty.saturating_add(penalty),
                time: tail.time.saturating_add(time),
                ram: tail.ram.saturating_add(ram),
            };
            self.tails[state] = Some(tail);
        }
        Some(tail)
    }

    /// The best step; of equal ones the first.
    fn step(
        &self,
        network: &Network<'_>,
        catalogue: &Catalogue<'_>,
        state: usize,
    ) -> Option<(TakenPair, usize)> {
        let Priced { costs, rest, .. } = &self.priced;
        let (mut least, mut step) = (f64::INFINITY, None);
        for (run, next) in network.ways(state) {
            for menu in run {
                let to = next + catalogue.menus[menu].units.end;
                let cost = costs.of_menus[menu] + rest.costs[to];
                let best = costs.of_choices[catalogue.choice_of[menu]];
                if let Some((_, ways)) = best.filter(|_| cost < least) {
                    least = cost;
                    step = Some((TakenPair { menu, ways }, to));
                }
            }
        }
        step
    }
}
