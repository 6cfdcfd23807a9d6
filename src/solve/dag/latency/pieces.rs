//! The pieces that runs are made of, and the down-sets at which one can end.
//!
//! A piece is all operators that stay together. Where its order has too many down-sets, pieces that
//! follow each other alone are joined, those first whose output takes longest to move; or the pieces
//! are stretches of one order of the operators, whose down-sets are a chain.

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use crate::solve::Stop;
use crate::solve::dag::clumps::quotient;
use crate::solve::dag::downsets::DownSets;
use crate::solve::dag::leaves::without_leaves;
use crate::solve::dag::{Graph, Item, Machine, Operator, Order, Ticks, Transfer, Wire, join};

/// Stretches that an order is cut into, at most.
const MOST_STRETCHES: usize = 1_000;

/// Among more pieces than these, what takes nothing is not sought.
const MOST_SIFTED: usize = 1_000;

pub(super) struct Pieces {
    pub(super) graph: Graph,
    pub(super) piece_of: Vec<usize>,
    /// The operators of each piece, each after those that it reads.
    pub(super) members: Vec<Vec<usize>>,
    pub(super) sets: DownSets,
    /// By down-set: which pieces it holds.
    pub(super) held: Vec<Vec<bool>>,
    /// By down-set: its operators that others read, those with the same readers outside together.
    pub(super) open: Vec<Vec<Vec<usize>>>,
    /// Whether every answer is a chain of these down-sets.
    pub(super) are_all: bool,
}

impl Pieces {
    /// Over all orders of the groups, or of what they are joined to until there are at most so many
    /// down-sets; none where that cannot be, or the time is over.
    pub(super) fn of_groups(problem: &Problem<'_>, most: usize, stop: &Stop) -> Option<Self> {
        let wires = problem.reads.iter().enumerate().flat_map(|(to, reads)| {
            reads.iter().map(move |from| Wire {
                from: *from,
                to,
                time: Ticks(problem.output[*from]),
            })
        });
        let wires: Vec<Wire> = wires.collect();
        // A sample runs forward through all of them.
        let operators = problem.operators.iter().map(|operator| Operator {
            backward: false,
            ..operator.clone()
        });
        let operators: Vec<Operator> = operators.collect();
        let groups = join(&operators, &wires, Order::Pipeline).ok()?.item_of;
        let mut are_all = are_whole(problem, &groups);
        // What takes neither time nor memory follows its only neighbour as in a pipeline: no block
        // begins later or takes longer, and what leads through a whole piece still does.
        let machine = Machine {
            kinds: problem.kinds.to_vec(),
        };
        let whole = graph(problem, &groups);
        let mut piece_of = match whole.items().len() <= MOST_SIFTED {
            true => {
                let (_, leader_of) = without_leaves(&whole, &machine, stop);
                groups.iter().map(|group| leader_of[*group]).collect()
            }
            false => groups,
        };
        loop {
            let graph = graph(problem, &piece_of);
            if let Some(sets) = DownSets::all(&graph, most, stop) {
                return Some(Self::new(problem, graph, piece_of, sets, are_all));
            }
            if stop.is_set() {
                return None;
            }
            piece_of = shorter(problem, &graph, &piece_of)?;
            are_all = false;
        }
    }

    /// Along one order of the operators.
    pub(super) fn along(problem: &Problem<'_>, order: &[usize]) -> Self {
        let stride = order.len().div_ceil(MOST_STRETCHES).max(1);
        let mut piece_of = vec![0; order.len()];
        for (at, operator) in order.iter().enumerate() {
            piece_of[*operator] = at / stride;
        }
        let graph = graph(problem, &piece_of);
        let stretches: Vec<usize> = (0..graph.items().len()).collect();
        let sets = DownSets::of_prefixes(&stretches);
        Self::new(problem, graph, piece_of, sets, false)
    }

    fn new(
        problem: &Problem<'_>,
        graph: Graph,
        piece_of: Vec<usize>,
        sets: DownSets,
        are_all: bool,
    ) -> Self {
        let mut members = vec![Vec::new(); graph.items().len()];
        for operator in &problem.sorted {
            members[piece_of[*operator]].push(*operator);
        }
        let held = sets.held(members.len());
        let open = held.iter().map(|held| open(problem, &piece_of, held));
        Self {
            open: open.collect(),
            graph,
            piece_of,
            members,
            sets,
            held,
            are_all,
        }
    }
}

/// Operators of a down-set that are read outside it, by who reads them there.
fn open(problem: &Problem<'_>, piece_of: &[usize], held: &[bool]) -> Vec<Vec<usize>> {
    let mut open: BTreeMap<Vec<usize>, Vec<usize>> = BTreeMap::new();
    for (operator, readers) in problem.readers.iter().enumerate() {
        if held[piece_of[operator]] {
            let outside = readers.iter().filter(|it| !held[piece_of[**it]]);
            let outside: Vec<usize> = outside.copied().collect();
            if !outside.is_empty() {
                open.entry(outside).or_default().push(operator);
            }
        }
    }
    open.into_values().collect()
}

/// The graph of the pieces. Outputs stay apart, so that what each takes is rounded as elsewhere.
fn graph(problem: &Problem<'_>, piece_of: &[usize]) -> Graph {
    let items: Vec<Item> = problem.operators.iter().map(|it| it.item.clone()).collect();
    let reads = problem.reads.iter().enumerate();
    let order = reads.flat_map(|(to, reads)| reads.iter().map(move |from| (*from, to)));
    let outputs = problem.readers.iter().enumerate();
    let outputs =
        outputs.filter(|(from, readers)| problem.output[*from] > 0 && !readers.is_empty());
    let transfers = outputs.map(|(from, readers)| Transfer {
        members: [from].into_iter().chain(readers.iter().copied()).collect(),
        time: Ticks(problem.output[from]),
    });
    let whole = Graph::linked(items, order.collect(), transfers.collect());
    let n_pieces = piece_of.iter().max().map_or(0, |most| most + 1);
    quotient(&whole, piece_of, n_pieces)
}

/// Whether every answer is a chain of down-sets of these pieces.
///
/// Accelerators and the operators on hosts wait for each other in no cycle. That is so for whole
/// pieces as well where a piece is one group, and within it each operator that reads from outside
/// leads to each that is read outside: what would wait through the piece waits already.
fn are_whole(problem: &Problem<'_>, piece_of: &[usize]) -> bool {
    let pieces: BTreeSet<&usize> = piece_of.iter().collect();
    pieces.len() == problem.groups.len()
        && problem.groups.iter().all(|group| {
            let inside = |it: &usize| problem.group_of[*it] == problem.group_of[group[0]];
            let entries = group
                .iter()
                .filter(|it| problem.reads[**it].iter().any(|read| !inside(read)));
            let exits: BTreeSet<usize> = group
                .iter()
                .filter(|it| problem.readers[**it].iter().any(|reader| !inside(reader)))
                .copied()
                .collect();
            let mut entries = entries.copied();
            entries.all(|entry| {
                let mut reached = BTreeSet::from([entry]);
                let mut ahead = vec![entry];
                while let Some(operator) = ahead.pop() {
                    for reader in problem.readers[operator].iter().filter(|it| inside(it)) {
                        if reached.insert(*reader) {
                            ahead.push(*reader);
                        }
                    }
                }
                exits.is_subset(&reached)
            })
        })
}

/// Fewer pieces: a tenth of those that alone follow one that feeds nothing else are joined to it,
/// where the output between them takes longest; none where there is nothing to join.
fn shorter(problem: &Problem<'_>, graph: &Graph, piece_of: &[usize]) -> Option<Vec<usize>> {
    let n_pieces = graph.items().len();
    let (mut before, mut after) = (
        vec![BTreeSet::new(); n_pieces],
        vec![BTreeSet::new(); n_pieces],
    );
    let mut between: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for (from, readers) in problem.readers.iter().enumerate() {
        for piece in readers
            .iter()
            .map(|it| piece_of[*it])
            .collect::<BTreeSet<_>>()
        {
            if piece != piece_of[from] {
                before[piece].insert(piece_of[from]);
                after[piece_of[from]].insert(piece);
                *between.entry((piece_of[from], piece)).or_default() += problem.output[from];
            }
        }
    }
    let smallest = problem.kinds.iter().filter(|kind| kind.count > 0);
    let smallest = smallest.map(|kind| kind.memory).min()?;
    let mut pairs: Vec<(u64, usize, usize)> = between
        .into_iter()
        .filter(|((from, to), _)| before[*to].len() == 1 && after[*from].len() == 1)
        .filter(|((from, to), _)| {
            let bytes = graph.items()[*from].bytes + graph.items()[*to].bytes;
            bytes.0 <= smallest.0 / 4
        })
        .map(|((from, to), time)| (time, from, to))
        .collect();
    pairs.sort_by_key(|(time, from, to)| (std::cmp::Reverse(*time), *from, *to));
    pairs.truncate(pairs.len().div_ceil(10));
    let mut leader: Vec<usize> = (0..n_pieces).collect();
    let mut taken = BTreeSet::new();
    for (_, from, to) in &pairs {
        if !taken.contains(from) && !taken.contains(to) {
            leader[*to] = *from;
            taken.extend([*from, *to]);
        }
    }
    let kept: BTreeSet<usize> = leader.iter().copied().collect();
    let kept: Vec<usize> = kept.into_iter().collect();
    let place = |piece: &usize| kept.binary_search(&leader[*piece]).unwrap_or_default();
    (kept.len() < n_pieces).then(|| piece_of.iter().map(place).collect())
}
