//! How many units may be done with devices that are used, so that a plan can be: no more than stages
//! on these lead to, and no fewer than stages on the others lead on from to the end.

use std::ops::Range;

use crate::cost::column::Owner;
use crate::cost::{ColumnSet, Position};
use crate::solve::pools::Pools;

/// By group, how far stages lead.
struct Reach {
    /// From so many units done or fewer, the most that may be done behind one stage; 0 for none.
    far: Vec<Vec<usize>>,
    /// To so many units done or more, the fewest before one stage; more than all for none.
    near: Vec<Vec<usize>>,
}

impl Reach {
    fn new(set: &ColumnSet, position: Position) -> Self {
        let n_units = set.n_units;
        let mut far = vec![vec![0; n_units + 1]; set.groups.len()];
        let mut near = vec![vec![n_units + 1; n_units + 1]; set.groups.len()];
        for column in &set.columns {
            if let Owner::Group(group) = column.owner
                && column.position == position
            {
                let (start, end) = (column.units.start, column.units.end);
                let (far, near) = (&mut far[group.0][start], &mut near[group.0][end]);
                (*far, *near) = (end.max(*far), start.min(*near));
            }
        }
        for (far, near) in far.iter_mut().zip(&mut near) {
            for unit in 1..=n_units {
                far[unit] = far[unit].max(far[unit - 1]);
            }
            for unit in (0..n_units).rev() {
                near[unit] = near[unit].min(near[unit + 1]);
            }
        }
        Self { far, near }
    }
}

/// By code of the counts, the units that may be done; none where no plan has these counts.
pub(super) fn reaches(set: &ColumnSet, pools: &Pools) -> Vec<Range<usize>> {
    let [first, later] = [Position::First, Position::Later].map(|it| Reach::new(set, it));
    let n_units = set.n_units;
    let of = |code: usize| if code == 0 { &first } else { &later };
    let onward = |code: usize| {
        let free = pools.pools.iter().enumerate();
        let free = free.filter(move |(index, pool)| pools.used(code, *index) < pool.most);
        free.map(move |(_, pool)| (pool.group, code + pool.stride))
    };
    let on_host = set.columns.iter().filter(|it| it.owner == Owner::Host);
    let on_host = on_host.map(|column| column.units.end).max().unwrap_or(0);
    let mut most = vec![None; pools.n_codes];
    most[0] = Some(on_host);
    for code in 0..pools.n_codes {
        let Some(done) = most[code] else { continue };
        for (group, next) in onward(code) {
            let end = of(code).far[group][done];
            if end > 0 {
                most[next] = most[next].max(Some(end));
            }
        }
    }
    let mut least = vec![n_units; pools.n_codes];
    for code in (0..pools.n_codes).rev() {
        for (group, next) in onward(code) {
            least[code] = least[code].min(of(code).near[group][least[next]]);
        }
    }
    let n_used = |code: usize| -> usize {
        let all = 0..pools.pools.len();
        all.map(|pool| pools.used(code, pool)).sum()
    };
    let range = |(code, (most, least)): (usize, (&Option<usize>, &usize))| match most {
        _ if n_used(code) > set.most_devices => 0..0,
        // The CPU may begin before any device.
        Some(most) if code == 0 && least <= most => 0..most + 1,
        Some(most) if least <= most => *least..most + 1,
        Some(_) | None => 0..0,
    };
    most.iter().zip(&least).enumerate().map(range).collect()
}
