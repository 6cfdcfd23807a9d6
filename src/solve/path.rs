//! A path through the chain: columns that follow each other, and on which host of its kind each is.

use crate::cost::column::{Cost, Owner};
use crate::cost::sites::Hop;
use crate::cost::{ColumnSet, Place, Site, Span};

/// A column of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its index.
    pub column: usize,
    /// Which host of its kind; 0 for what the CPU computes.
    pub host: usize,
}

/// Where a column of a path is, unless the CPU computes it.
pub fn site(set: &ColumnSet, owner: Owner, host: usize) -> Option<Site> {
    match owner {
        Owner::Host => None,
        Owner::Group(group) => Some(Site {
            kind: set.sites.kind_of[group.0],
            host,
        }),
    }
}

/// What lies between the stages of a path.
pub fn hops<'a>(set: &'a ColumnSet, path: &'a [Taken]) -> impl Iterator<Item = &'a Hop> {
    let site = |taken: &Taken| site(set, set.columns[taken.column].owner, taken.host);
    let pairs = path.windows(2);
    pairs.filter_map(move |pair| Some(set.sites.hop(site(&pair[0])?, site(&pair[1])?)))
}

/// What a path costs.
pub fn cost(set: &ColumnSet, path: &[Taken]) -> Cost {
    let columns = path.iter().map(|taken| set.columns[taken.column].cost.0);
    let hops = hops(set, path).map(|hop| hop.cost.0);
    Cost(columns.chain(hops).sum())
}

/// The columns of a path, each on the first device of its group and host that is free.
pub fn stages(set: &ColumnSet, path: &[Taken]) -> Vec<Span> {
    let mut taken = vec![Vec::new(); set.groups.len()];
    let spans = path.iter().map(|step| {
        let column = &set.columns[step.column];
        let place = match column.owner {
            Owner::Host => Place::Host,
            Owner::Group(group) => {
                let before = &mut taken[group.0];
                let used = before.iter().filter(|host| **host == step.host).count();
                before.push(step.host);
                let first = step.host * set.sites.per_host[group.0];
                Place::Device(set.groups[group.0][first + used])
            }
        };
        Span {
            place,
            units: column.units.clone(),
            streamed: column.streamed.clone(),
            position: column.position,
        }
    });
    spans.collect()
}
