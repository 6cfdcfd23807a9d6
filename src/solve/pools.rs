//! What the dynamic program counts: devices in pools, and where the last stage is.
//!
//! Hosts that are alike are one kind, and their devices one pool. Which of them the last stage is on
//! does not matter then, only how many devices of that host its visit has used: staying is free while
//! the host has another, and going on to one more host of the kind costs the same from any. Staying
//! as long as one can takes the fewest hops. That the visits of a path find room on the hosts that
//! there are is tried behind ([`Pools::seated`]); where they do not, hosts are told apart one by one.

mod packing;
mod seats;

use std::ops::Range;

use crate::cost::ColumnSet;
use crate::cost::Site;
use crate::cost::sites::Hop;
use crate::solve::dynamic::MOST_STATES;

/// How hosts are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// By their kind.
    ByKind,
    /// Each from every other.
    Apart,
}

/// Devices of one group that are counted together.
pub(super) struct Pool {
    /// The most of them that a path can use.
    pub(super) most: usize,
    /// How far apart the codes of two counts are.
    pub(super) stride: usize,
    /// The group.
    pub(super) group: usize,
    /// An index into the places.
    place: usize,
    /// How many of them one host has.
    per_host: usize,
}

/// A host, or all hosts of a kind.
struct Place {
    site: Site,
    pools: Range<usize>,
    /// Of a kind with several hosts: how many there are.
    visits: Option<usize>,
}

/// Where the last stage is: a place, and what its visit has used of the pools of the place.
struct Stand {
    place: usize,
    used: Vec<usize>,
}

/// Where a stage of a pool leads.
#[derive(Clone, Copy)]
pub(super) struct Move {
    /// A stand.
    pub(super) to: usize,
    /// What lies between.
    pub(super) hop: Hop,
}

/// All of them.
pub(super) struct Pools {
    pub(super) pools: Vec<Pool>,
    /// The pools of each group.
    pub(super) of_group: Vec<Vec<usize>>,
    /// All counts.
    pub(super) n_codes: usize,
    /// All stands.
    pub(super) n_stands: usize,
    places: Vec<Place>,
    stands: Vec<Stand>,
    /// By stand and pool.
    moves: Vec<Option<Move>>,
    /// The first stage, by pool.
    entries: Vec<usize>,
    /// The stages of every host that is used, where that is fixed. Each visit then has a host of its
    /// own.
    quota: Option<usize>,
}

impl Pools {
    /// Nothing where there are more states than can be held. `is_used` tells the groups that have
    /// columns; no path that matters has more stages than `most_stages`.
    pub(super) fn new(
        set: &ColumnSet,
        hosts: Hosts,
        (is_used, most_stages): (&[bool], usize),
    ) -> Option<Self> {
        let sites = &set.sites;
        let mut pools = Vec::new();
        let mut of_group = vec![Vec::new(); set.groups.len()];
        let mut places = Vec::new();
        for (kind, n_hosts) in sites.n_hosts.iter().enumerate() {
            let (each, span) = match hosts {
                Hosts::ByKind => (1, *n_hosts),
                Hosts::Apart => (*n_hosts, 1),
            };
            for host in 0..each {
                let first = pools.len();
                for group in (0..set.groups.len()).filter(|it| sites.kind_of[*it] == kind) {
                    let most = if is_used[group] { most_stages } else { 0 };
                    let each = sites.per_host[group].min(sites.quota.unwrap_or(most));
                    of_group[group].push(pools.len());
                    pools.push(Pool {
                        most: (each * span).min(most),
                        stride: 0,
                        group,
                        place: places.len(),
                        per_host: each.min(most),
                    });
                }
                places.push(Place {
                    site: Site { kind, host },
                    pools: first..pools.len(),
                    visits: (span > 1).then_some(span),
                });
            }
        }
        let codes = pools.iter().map(|pool| pool.most);
        let n_codes = number_of(codes);
        let n_stands = places.iter().map(|place| match place.visits {
            Some(_) => number_of(pools[place.pools.clone()].iter().map(|it| it.per_host)) - 1,
            None => 1,
        });
        let n_stands = n_stands.fold(0, u128::saturating_add);
        let n_states = n_codes.saturating_mul(n_stands);
        if n_states.saturating_mul(set.n_units as u128 + 1) > MOST_STATES {
            return None;
        }
        let mut stride = 1;
        for pool in &mut pools {
            pool.stride = stride;
            stride *= pool.most + 1;
        }
        let mut all = Self {
            n_codes: stride,
            n_stands: n_stands as usize,
            stands: stands(&places, &pools),
            moves: Vec::new(),
            entries: Vec::new(),
            quota: sites.quota,
            pools,
            of_group,
            places,
        };
        all.entries = (0..all.pools.len())
            .map(|pool| all.entry(pool).unwrap_or(0))
            .collect();
        all.moves = (0..all.n_stands)
            .flat_map(|stand| (0..all.pools.len()).map(move |pool| (stand, pool)))
            .map(|(stand, pool)| all.go(set, stand, pool))
            .collect();
        Some(all)
    }

    /// How many devices of a pool a code has used.
    pub(super) fn used(&self, code: usize, pool: usize) -> usize {
        let pool = &self.pools[pool];
        code / pool.stride % (pool.most + 1)
    }

    /// Whether the last stage can be there once so many devices are used.
    pub(super) fn may_stand(&self, code: usize, stand: usize) -> bool {
        if code == 0 || self.n_stands == 1 {
            return stand == 0;
        }
        let stand = &self.stands[stand];
        // Hosts that were left have all their stages, and the others none.
        let is_whole = |quota: usize| {
            let visit: usize = stand.used.iter().sum();
            let mut others = (0..self.places.len()).filter(|place| *place != stand.place);
            visit <= quota
                && others.all(|place| self.on(code, place).is_multiple_of(quota))
                && (self.places[stand.place].visits.is_none()
                    || (self.on(code, stand.place) + quota - visit).is_multiple_of(quota))
        };
        if !self.quota.is_none_or(is_whole) {
            return false;
        }
        let place = &self.places[stand.place];
        let mut used = place.pools.clone().map(|pool| self.used(code, pool));
        match place.visits {
            Some(_) => used.zip(&stand.used).all(|(all, visit)| *visit <= all),
            None => used.any(|used| used > 0),
        }
    }

    /// The stand behind a stage of a pool, where a device is free.
    pub(super) fn onward(&self, code: usize, stand: usize, pool: usize) -> Option<Move> {
        match code {
            0 => Some(Move {
                to: self.entries[pool],
                hop: Hop::default(),
            }),
            _ => {
                let onward = self.moves[stand * self.pools.len() + pool];
                onward.filter(|_| self.keeps_quota(code, stand, pool))
            }
        }
    }

    /// How many stages a place has.
    fn on(&self, code: usize, place: usize) -> usize {
        let pools = self.places[place].pools.clone();
        pools.map(|pool| self.used(code, pool)).sum()
    }

    /// How many stages the host of the last stage has.
    fn on_last(&self, code: usize, stand: usize) -> usize {
        let stand = &self.stands[stand];
        match self.places[stand.place].visits {
            Some(_) => stand.used.iter().sum(),
            None => self.on(code, stand.place),
        }
    }

    /// Whether a host is left with as many stages as it has to have, for one that has none.
    fn keeps_quota(&self, code: usize, stand: usize, pool: usize) -> bool {
        let Some(quota) = self.quota else {
            return true;
        };
        let (from, to) = (self.stands[stand].place, self.pools[pool].place);
        match self.on_last(code, stand) < quota {
            true => from == to,
            false => self.on(code, to) < quota * self.places[to].visits.unwrap_or(1),
        }
    }

    /// Whether a path may end there.
    pub(super) fn may_end(&self, code: usize, stand: usize) -> bool {
        let is_full = |quota| code == 0 || self.on_last(code, stand) == quota;
        self.quota.is_none_or(is_full)
    }

    fn find(&self, place: usize, used: &[usize]) -> Option<usize> {
        let is_it = |stand: &Stand| stand.place == place && stand.used == used;
        self.stands.iter().position(is_it)
    }

    /// The stand of a stage that comes from another host.
    fn entry(&self, pool: usize) -> Option<usize> {
        let at = self.pools[pool].place;
        let place = &self.places[at];
        let first = place.pools.clone().map(|it| usize::from(it == pool));
        match place.visits {
            Some(_) => self.find(at, &first.collect::<Vec<_>>()),
            None => self.find(at, &[]),
        }
    }

    fn go(&self, set: &ColumnSet, stand: usize, pool: usize) -> Option<Move> {
        let from = &self.stands[stand];
        let to = self.pools[pool].place;
        let place = &self.places[to];
        if from.place == to {
            let index = pool - place.pools.start;
            let has_another = from
                .used
                .get(index)
                .is_none_or(|used| *used < self.pools[pool].per_host);
            let n_used: usize = from.used.iter().sum();
            let is_short = self.quota.is_some_and(|quota| n_used < quota);
            let is_full = self.quota == Some(n_used);
            if is_short && !has_another {
                return None;
            }
            if has_another && !is_full {
                let mut used = from.used.clone();
                used.iter_mut().skip(index).take(1).for_each(|it| *it += 1);
                return Some(Move {
                    to: self.find(to, &used)?,
                    hop: Hop::default(),
                });
            }
        }
        let hop = *set
            .sites
            .between(self.places[from.place].site.kind, place.site.kind);
        (!hop.is_barred).then_some(Move {
            to: self.entry(pool)?,
            hop,
        })
    }
}

/// How many vectors of counts there are up to these.
fn number_of(most: impl Iterator<Item = usize>) -> u128 {
    most.fold(1, |codes: u128, most| {
        codes.saturating_mul(most as u128 + 1)
    })
}

fn stands(places: &[Place], pools: &[Pool]) -> Vec<Stand> {
    let mut stands = Vec::new();
    for (index, place) in places.iter().enumerate() {
        let mut used = vec![0; place.pools.len()];
        if place.visits.is_none() {
            used.clear();
            stands.push(Stand { place: index, used });
            continue;
        }
        // Counts one after the other, without that of nothing used.
        let most = |at: usize| pools[place.pools.start + at].per_host;
        while let Some(at) = (0..used.len()).find(|at| used[*at] < most(*at)) {
            used[..at].fill(0);
            used[at] += 1;
            stands.push(Stand {
                place: index,
                used: used.clone(),
            });
        }
    }
    stands
}

#[cfg(test)]
mod tests;
