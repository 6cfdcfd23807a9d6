//! ggml's scheduler: which backend computes what, and what is copied in between.
//!
//! Replays `ggml_backend_sched_split_graph` of `ggml/src/ggml-backend.cpp` (llama.cpp 0c1e57098):
//! backends follow from weights and spread to their neighbours, a run of nodes on one backend is a
//! split, and what a split reads from elsewhere is copied to it, four times in a pipeline.

use std::collections::BTreeMap;

use super::allocate::Schedule;
use super::tensor::{Backend, Id, Op, Tape, Tensor};

/// Copies of the inputs that a pipelined graph holds (`GGML_SCHED_MAX_COPIES`).
const PIPELINE_COPIES: usize = 4;
/// An operation on so many rows is worth the copy of its weights to the first device
/// (`GGML_OP_OFFLOAD_MIN_BATCH`).
pub(super) const STREAMED_BATCH: u64 = 32;

/// What the scheduler is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The last backend.
    pub(super) host: Backend,
    /// Whether micro-batches overlap.
    pub(super) pipelined: bool,
    /// Whether weights in RAM are copied to the first device for large batches.
    pub(super) streams: bool,
}

/// Schedules the graph of `tape`, to which the copies are added.
pub(super) fn schedule(tape: &mut Tape, rules: Rules) -> Schedule {
    let mut scheduler = Scheduler {
        backends: assigned(tape, rules),
        copies: BTreeMap::new(),
        tape,
        rules,
    };
    let splits = scheduler.split();
    scheduler.finish(&splits)
}

/// A run of nodes on one backend, and what is copied to it.
struct Split {
    backend: Backend,
    nodes: std::ops::Range<usize>,
    copied: Vec<Id>,
}

struct Scheduler<'a> {
    tape: &'a mut Tape,
    rules: Rules,
    backends: Vec<Backend>,
    /// The copies of a tensor on a backend; in a pipeline all but the first are beside the graph.
    copies: BTreeMap<(Id, Backend), Vec<Id>>,
}

/// The backend of every tensor.
fn assigned(tape: &Tape, rules: Rules) -> Vec<Backend> {
    let mut backends: Vec<Option<Backend>> = vec![None; tape.len()];
    for id in tape.leaves.iter().chain(&tape.nodes) {
        let tensor = tape.get(*id);
        backends[id.index()] = tensor.pinned.or_else(|| given(tape, tensor, rules));
    }
    let computed = |id: &&Id| tape.get(**id).op != Op::View;
    let forward: Vec<Id> = tape.nodes.iter().filter(computed).copied().collect();
    let backward: Vec<Id> = forward.iter().rev().copied().collect();
    // Devices first spread to both sides, then whatever is there.
    for (order, from_host) in [
        (&forward, false),
        (&backward, false),
        (&forward, true),
        (&backward, true),
    ] {
        let mut last = None;
        for id in order {
            match backends[id.index()] {
                Some(backend) if backend == rules.host && !from_host => last = None,
                Some(backend) => last = Some(backend),
                None => backends[id.index()] = last,
            }
        }
    }
    for id in &tape.nodes {
        let tensor = tape.get(*id);
        let of_viewed = |backends: &[Option<Backend>], tensor: &Tensor| {
            tensor.viewed.and_then(|viewed| backends[viewed.index()])
        };
        let own = backends[id.index()].or_else(|| of_viewed(&backends, tensor));
        backends[id.index()] = own;
        for source in tensor.sources() {
            if backends[source.index()].is_none() {
                let source_tensor = tape.get(*source);
                backends[source.index()] = match source_tensor.viewed {
                    Some(_) => of_viewed(&backends, source_tensor),
                    None => own,
                };
            }
        }
        backends[id.index()] = own.or(Some(Backend(0)));
    }
    backends
        .into_iter()
        .map(|backend| backend.unwrap_or(Backend(0)))
        .collect()
}

/// The backend that memory or weights dictate.
fn given(tape: &Tape, tensor: &Tensor, rules: Rules) -> Option<Backend> {
    let holder = tensor.viewed.map_or(tensor, |viewed| tape.get(viewed));
    if holder.held.is_some() {
        return holder.held;
    }
    if tensor.is_input {
        return Some(rules.host);
    }
    if matches!(tensor.op, Op::Rope | Op::FlashAttention) {
        return None;
    }
    let mut sources = tensor.sources().iter().map(|source| tape.get(*source));
    let weight = sources.find(|source| source.is_weight)?;
    let is_streamed = rules.streams
        && weight.held == Some(rules.host)
        && rules.host.0 > 0
        && batch(tensor) >= STREAMED_BATCH;
    if is_streamed {
        Some(Backend(0))
    } else {
        weight.held
    }
}

/// The rows of an operation, as a CUDA device counts them.
fn batch(tensor: &Tensor) -> u64 {
    let [_, second, third, fourth] = tensor.extents;
    match tensor.op {
        Op::GetRows => 0,
        Op::MatMul => second,
        Op::MatMulId | Op::Rope => third,
        _ => second * third * fourth,
    }
}

impl Scheduler<'_> {
    fn split(&mut self) -> Vec<Split> {
        let mut splits: Vec<Split> = Vec::new();
        for index in 0..self.tape.nodes.len() {
            let id = self.tape.nodes[index];
            let tensor = *self.tape.get(id);
            if tensor.op == Op::View {
                continue;
            }
            let backend = self.backends[id.index()];
            let continues = splits.last().is_some_and(|split| {
                // A weight from elsewhere begins a split, so that it is copied as late as possible.
                let starts = !split.copied.is_empty()
                    && tensor.sources().iter().any(|source| {
                        self.tape.get(*source).is_weight && !self.reaches(*source, backend)
                    });
                split.backend == backend && !starts
            });
            if !continues {
                let start = if splits.is_empty() { 0 } else { index };
                if let Some(last) = splits.last_mut() {
                    last.nodes.end = index;
                }
                splits.push(Split {
                    backend,
                    nodes: start..index,
                    copied: Vec::new(),
                });
            }
            for (position, source) in tensor.sources().iter().enumerate() {
                if self.reaches(*source, backend) {
                    continue;
                }
                if !self.copies.contains_key(&(*source, backend)) {
                    let copies = self.copies_of(*source, backend);
                    self.copies.insert((*source, backend), copies);
                    if let Some(split) = splits.last_mut() {
                        split.copied.push(*source);
                    }
                }
                let copy = self.copies[&(*source, backend)][0];
                self.tape.get_mut(id).replace_source(position, copy);
            }
        }
        if let Some(last) = splits.last_mut() {
            last.nodes.end = self.tape.nodes.len();
        }
        splits
    }

    /// Whether a backend can read a tensor where it is.
    fn reaches(&self, id: Id, backend: Backend) -> bool {
        if self.backends[id.index()] == backend {
            return true;
        }
        let tensor = self.tape.get(id);
        let holder = tensor.viewed.map_or(tensor, |viewed| self.tape.get(viewed));
        holder.held == Some(backend)
    }

    fn n_copies(&self) -> usize {
        match self.rules.pipelined {
            true => PIPELINE_COPIES,
            false => 1,
        }
    }

    fn copies_of(&mut self, id: Id, backend: Backend) -> Vec<Id> {
        (0..self.n_copies())
            .map(|_| self.twin(id, backend, self.rules.pipelined))
            .collect()
    }

    /// A tensor like another one, on a backend.
    fn twin(&mut self, id: Id, backend: Backend, is_kept: bool) -> Id {
        let original = *self.tape.get(id);
        let mut twin = Tensor::new(Op::None, original.format, original.extents);
        twin.strides = original.strides;
        (twin.is_input, twin.is_output) = (is_kept, is_kept);
        self.backends.push(backend);
        self.tape.add(twin)
    }

    /// The order of execution with the copies in it.
    fn finish(mut self, splits: &[Split]) -> Schedule {
        let mut schedule = Schedule::default();
        if self.rules.pipelined {
            for leaf in self.tape.leaves.clone() {
                if !self.tape.get(leaf).is_input {
                    continue;
                }
                let backend = self.backends[leaf.index()];
                if !self.copies.contains_key(&(leaf, backend)) {
                    self.tape.get_mut(leaf).is_output = true;
                    let others = (1..PIPELINE_COPIES).map(|_| self.twin(leaf, backend, true));
                    let copies = [leaf].into_iter().chain(others).collect();
                    self.copies.insert((leaf, backend), copies);
                }
                let copies = &self.copies[&(leaf, backend)];
                schedule
                    .leaves
                    .extend(copies.iter().map(|copy| (*copy, backend)));
            }
        }
        for split in splits {
            for source in &split.copied {
                let backend = self.backends[source.index()];
                // A view of what is copied keeps it alive until here.
                let original = *self.tape.get(*source);
                let mut kept = Tensor::new(Op::None, original.format, original.extents)
                    .with_sources(&[*source]);
                kept.strides = original.strides;
                kept.viewed = Some(original.viewed.unwrap_or(*source));
                let kept = self.tape.add(kept);
                self.backends.push(backend);
                let copies = &self.copies[&(*source, split.backend)];
                schedule.nodes.push((kept, backend));
                schedule.nodes.push((copies[0], split.backend));
                if self.rules.pipelined {
                    let kept = copies.iter().map(|copy| (*copy, split.backend));
                    schedule.leaves.extend(kept);
                }
            }
            let nodes = &self.tape.nodes[split.nodes.clone()];
            let placed = nodes.iter().map(|id| (*id, self.backends[id.index()]));
            schedule.nodes.extend(placed);
        }
        let leaves = self.tape.leaves.iter();
        schedule
            .leaves
            .extend(leaves.map(|id| (*id, self.backends[id.index()])));
        schedule
    }
}
