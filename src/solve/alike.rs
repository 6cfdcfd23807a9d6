//! The exact answer for any number of devices where most units of a chain are alike.
//!
//! Within a run of such units a stage takes what its length takes, wherever it begins: stages may
//! change places, and only their lengths count. So the orders of devices need not be told apart. Each
//! device is taken or not, and the units of the run have to add up (a knapsack). Beside them a state has
//! whether the first stage is taken, and which of the few units behind the run are.

use std::ops::Range;

use crate::cost::column::{Column, GroupId, Owner};
use crate::cost::{ColumnSet, Position};
use crate::solve::Stop;
use crate::solve::dynamic::{Answer, NO_WAY, NOTHING, Rest};
use crate::solve::line::plus;
use crate::solve::path::Taken;

/// More units behind the run than these make too many states.
const MOST_BEHIND: usize = 4;
/// More states of all devices than these take more memory than a plan is worth.
const MOST_STATES: usize = 4_000_000;

/// What a device may do.
struct Piece {
    /// The column of the CPU before it, and its own; none where only the length is known.
    columns: Vec<usize>,
    /// Units of the run.
    length: usize,
    /// Whether it is the first on a GPU.
    is_first: bool,
    /// The units behind the run, one bit each.
    behind: usize,
    worth: Rest,
}

/// The path of least cost, and of these of least load; nothing where too few units are alike, hosts
/// are told apart, there is too much to count, or more devices than a plan may use.
pub(super) fn shortest(set: &ColumnSet, stop: &Stop) -> Option<Answer> {
    let is_one_host = set.sites.n_hosts == [1] && set.sites.quota.is_none();
    // How many devices are taken is not counted.
    let n_devices: usize = set.groups.iter().map(Vec::len).sum();
    let is_free = is_one_host && n_devices <= set.most_devices;
    let run = is_free.then(|| alike(set)).flatten()?;
    let pieces = pieces(set, &run)?;
    let chain = Chain { set, run };
    let mut layers = vec![(0, chain.start())];
    for (group, devices) in set.groups.iter().enumerate() {
        for _ in devices {
            let (_, before) = &layers[layers.len() - 1];
            let after = chain.with_one_more(before, &pieces[group]);
            // One more device of a group that does not help is no help either.
            if after == *before {
                break;
            }
            layers.push((group, after));
            let is_too_much = layers.len() * chain.n_states() > MOST_STATES;
            if stop.is_set() || is_too_much {
                return None;
            }
        }
    }
    let whole_on_host = set
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.owner == Owner::Host && column.units.end == set.n_units);
    let on_host = whole_on_host.min_by_key(|(_, column)| own(column));
    let end = chain.end();
    let best = layers[layers.len() - 1].1[end];
    let path = match on_host {
        Some((index, column)) if own(column) < best => {
            return Some(answer(vec![index], own(column)));
        }
        _ if best == NO_WAY => return Some(Answer::None),
        _ => chain.followed(&layers, &pieces),
    };
    Some(answer(path, best))
}

fn answer(path: Vec<usize>, worth: Rest) -> Answer {
    let taken = path.into_iter().map(|column| Taken { column, host: 0 });
    Answer::Path {
        path: taken.collect(),
        cost: worth.cost,
        load: worth.load,
    }
}

/// What a column takes by itself.
fn own(column: &Column) -> Rest {
    Rest {
        cost: column.cost,
        load: column.load,
    }
}

/// What two parts of a path are worth together.
fn both(a: Rest, b: Rest) -> Rest {
    match (a, b) {
        (NO_WAY, _) | (_, NO_WAY) => NO_WAY,
        (a, b) => Rest {
            cost: plus(a.cost, b.cost),
            load: a.load.max(b.load),
        },
    }
}

fn is_later(column: &Column) -> bool {
    matches!(
        (column.owner, column.position),
        (Owner::Group(_), Position::Later)
    )
}

/// The longest run of units such that what later stages within it take depends on their group and
/// length alone; nothing where it is less than half of the chain.
fn alike(set: &ColumnSet) -> Option<Range<usize>> {
    let mut table = vec![vec![Vec::new(); set.n_units + 1]; set.groups.len()];
    for column in set.columns.iter().filter(|column| is_later(column)) {
        if let Owner::Group(GroupId(group)) = column.owner {
            let by_length: &mut Vec<Rest> = &mut table[group][column.units.start];
            by_length.resize(column.units.len() + 1, NO_WAY);
            by_length[column.units.len()] = own(column);
        }
    }
    // From each start, up to where its stages are those of the start before, one unit later.
    let like_before = |start: usize| {
        let up_to = |by_start: &Vec<Vec<Rest>>| {
            let [before, at] = [start - 1, start].map(|start| &by_start[start]);
            let is_other = |length: &usize| before.get(*length) != at.get(*length);
            let other = (1..=set.n_units - start).find(is_other);
            other.map_or(set.n_units, |length| start + length - 1)
        };
        table.iter().map(up_to).min().unwrap_or(0)
    };
    let like_before: Vec<_> = (2..=set.n_units).map(like_before).collect();
    let run_to = |end: usize| {
        let mut start = end - 1;
        while start > 1 && like_before[start - 2] >= end {
            start -= 1;
        }
        start..end
    };
    let runs = (2..=set.n_units).map(run_to);
    let run = runs.max_by_key(|run| (run.len(), run.end))?;
    (run.len() * 2 >= set.n_units).then_some(run)
}

/// What a device of each group may do; nothing where a first stage ends before the run, or too many
/// units are behind it.
fn pieces(set: &ColumnSet, run: &Range<usize>) -> Option<Vec<Vec<Piece>>> {
    if set.n_units - run.end > MOST_BEHIND {
        return None;
    }
    let mut pieces: Vec<Vec<Piece>> = set.groups.iter().map(|_| Vec::new()).collect();
    let columns = || set.columns.iter().enumerate();
    for (index, column) in columns() {
        let Owner::Group(GroupId(group)) = column.owner else {
            continue;
        };
        let units = &column.units;
        let behind = units.start.max(run.end)..units.end.max(run.end);
        let piece = Piece {
            columns: vec![index],
            length: units
                .end
                .min(run.end)
                .saturating_sub(units.start.max(run.start)),
            is_first: column.position == Position::First,
            behind: behind.fold(0, |bits, unit| bits | 1 << (unit - run.end)),
            worth: own(column),
        };
        match column.position {
            Position::First if units.end < run.start => return None,
            Position::First if units.start == 0 => pieces[group].push(piece),
            Position::First => {
                let before = columns()
                    .filter(|(_, host)| host.owner == Owner::Host && host.units.end == units.start);
                // What the CPU has of the run is in the first piece.
                pieces[group].extend(before.map(|(host, on_host)| Piece {
                    columns: vec![host, index],
                    length: units.end.min(run.end) - run.start,
                    worth: both(own(on_host), piece.worth),
                    ..piece
                }));
            }
            // No first stage ends before the run, so that none follows there.
            Position::Later if units.start < run.start => {}
            // One of each length stands for all that are alike.
            Position::Later if units.end <= run.end && units.start > run.start => {}
            Position::Later if units.end <= run.end => pieces[group].push(Piece {
                columns: Vec::new(),
                ..piece
            }),
            Position::Later => pieces[group].push(piece),
        }
    }
    Some(pieces)
}

struct Chain<'a> {
    set: &'a ColumnSet,
    run: Range<usize>,
}

impl Chain<'_> {
    /// By units of the run, whether the first stage is taken, and the units behind the run.
    fn state(&self, length: usize, is_first: bool, behind: usize) -> usize {
        (behind * 2 + usize::from(is_first)) * (self.run.len() + 1) + length
    }

    fn n_behind(&self) -> usize {
        1 << (self.set.n_units - self.run.end)
    }

    fn n_states(&self) -> usize {
        self.state(0, false, self.n_behind())
    }

    fn start(&self) -> Vec<Rest> {
        let mut start = vec![NO_WAY; self.n_states()];
        start[0] = NOTHING;
        start
    }

    /// Everything is taken.
    fn end(&self) -> usize {
        self.state(self.run.len(), true, self.n_behind() - 1)
    }

    /// The best of each state if one more device may do one of these.
    fn with_one_more(&self, before: &[Rest], pieces: &[Piece]) -> Vec<Rest> {
        let mut after = before.to_vec();
        for piece in pieces {
            for (from, to) in self.moves(piece) {
                let n_lengths = self.run.len() + 1 - piece.length;
                let (from, to) = (&before[from..][..n_lengths], &mut after[to..][..n_lengths]);
                for (from, to) in from.iter().zip(to) {
                    if *from != NO_WAY {
                        *to = both(*from, piece.worth).min(*to);
                    }
                }
            }
        }
        after
    }

    /// The states without any of the run that a piece may follow, and where it leads from these.
    fn moves(&self, piece: &Piece) -> impl Iterator<Item = (usize, usize)> {
        let free = (0..self.n_behind()).filter(move |behind| behind & piece.behind == 0);
        free.flat_map(move |behind| {
            let both = [false, true].into_iter();
            let may_follow = both.filter(move |has_first| !(*has_first && piece.is_first));
            may_follow.map(move |has_first| {
                let to = self.state(
                    piece.length,
                    has_first || piece.is_first,
                    behind | piece.behind,
                );
                (self.state(0, has_first, behind), to)
            })
        })
    }

    /// The columns of the best path. Of equal ones that of the first groups; within the run groups
    /// follow in their order, and the shorter stage is before the longer.
    fn followed(&self, layers: &[(usize, Vec<Rest>)], pieces: &[Vec<Piece>]) -> Vec<usize> {
        let mut state = self.end();
        let mut taken: Vec<(usize, &Piece)> = Vec::new();
        for pair in layers.windows(2).rev() {
            let ((_, before), (group, after)) = (&pair[0], &pair[1]);
            if before[state] == after[state] {
                continue;
            }
            let ways = pieces[*group].iter().flat_map(|piece| {
                let moves = self.moves(piece).map(move |(from, to)| (piece, from, to));
                moves.filter(|(.., to)| (*to..).contains(&state))
            });
            let leads_here = |(piece, from, to): &(&Piece, usize, usize)| {
                let length = state - to;
                length + piece.length <= self.run.len()
                    && both(before[from + length], piece.worth) == after[state]
            };
            // What is better than before is so by one of these.
            if let Some((piece, from, to)) = ways.into_iter().find(leads_here) {
                taken.push((*group, piece));
                state = from + (state - to);
            }
        }
        let order = |(group, piece): &(usize, &Piece)| {
            let start = piece.columns.first();
            let start = start.map_or(0, |index| self.set.columns[*index].units.start);
            (!piece.is_first, piece.behind, start, *group, piece.length)
        };
        taken.sort_by_key(order);
        let mut done = 0;
        let mut path = Vec::new();
        for (group, piece) in taken {
            match piece.columns[..] {
                [] => path.extend(self.within(group, done..done + piece.length)),
                ref columns => path.extend(columns),
            }
            let last = path.last().map(|index: &usize| &self.set.columns[*index]);
            done = last.map_or(done, |column| column.units.end);
        }
        path
    }

    fn within(&self, group: usize, units: Range<usize>) -> Option<usize> {
        let mut columns = self.set.columns.iter();
        columns.position(|column| {
            let owner = Owner::Group(GroupId(group));
            column.owner == owner && is_later(column) && column.units == units
        })
    }
}

#[cfg(test)]
mod tests;
