//! Which of several hosts that are alike each visit of a path is on. Where visits find room is
//! `packing.rs`.

use super::Pools;
use super::packing::{MOST_TRIES, Packing};
use crate::solve::path::Taken;

/// Stages that follow each other on one host.
struct Visit {
    place: usize,
    used: Vec<usize>,
}

impl Pools {
    /// The hosts of the columns of a path, given the stand that each leads to: by their place, or of
    /// a kind such that every visit finds room. Nothing where no such way was found.
    pub(in crate::solve) fn seated(&self, path: &[(usize, usize)]) -> Option<Vec<Taken>> {
        let mut visits: Vec<Visit> = Vec::new();
        let mut visit_of = Vec::new();
        let mut last = None;
        for (_, stand) in path {
            let Some(at) = self.stands.get(*stand) else {
                visit_of.push(None);
                continue;
            };
            let is_new = last != Some(at.place) || at.used.iter().sum::<usize>() == 1;
            last = Some(at.place);
            if is_new {
                visits.push(Visit {
                    place: at.place,
                    used: Vec::new(),
                });
            }
            let index = visits.len() - 1;
            visits[index].used.clone_from(&at.used);
            visit_of.push(Some(index));
        }
        let hosts = self.hosts_of(&visits)?;
        let taken = path.iter().zip(visit_of).map(|((column, _), visit)| Taken {
            column: *column,
            host: visit.map_or(0, |visit| hosts[visit]),
        });
        Some(taken.collect())
    }

    /// A host for each visit, the hosts of a kind numbered as they are come to.
    fn hosts_of(&self, visits: &[Visit]) -> Option<Vec<usize>> {
        let mut hosts: Vec<_> = visits
            .iter()
            .map(|visit| self.places[visit.place].site.host)
            .collect();
        for (index, place) in self.places.iter().enumerate() {
            let Some(n_hosts) = place.visits else {
                continue;
            };
            let mut own: Vec<_> = (0..visits.len())
                .filter(|visit| visits[*visit].place == index)
                .collect();
            if self.quota.is_some() {
                // Each has a host of its own.
                own.iter()
                    .zip(0..)
                    .for_each(|(visit, host)| hosts[*visit] = host);
                continue;
            }
            // The largest first: they are the hardest to place.
            own.sort_by_key(|visit| std::cmp::Reverse(visits[*visit].used.iter().sum::<usize>()));
            let room = self.pools[place.pools.clone()].iter().map(|it| it.per_host);
            let room: Vec<usize> = room.collect();
            let mut packing = Packing {
                visits: own
                    .iter()
                    .map(|visit| visits[*visit].used.as_slice())
                    .collect(),
                rooms: vec![room; n_hosts.min(own.len())],
                chosen: Vec::new(),
                left: MOST_TRIES,
            };
            if !packing.go_on() {
                return None;
            }
            for (visit, host) in own.iter().zip(&packing.chosen) {
                hosts[*visit] = *host;
            }
            own.sort_unstable();
            let mut met: Vec<usize> = Vec::new();
            for visit in own {
                let host = hosts[visit];
                let number = met.iter().position(|other| *other == host);
                hosts[visit] = number.unwrap_or(met.len());
                if number.is_none() {
                    met.push(host);
                }
            }
        }
        Some(hosts)
    }
}
