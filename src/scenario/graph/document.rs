//! Graphs of operators as YAML: nodes with times and memory, edges with bytes.
//!
//! ```yaml
//! version: 1
//! nodes:
//! - {name: embed, time: {gpu: 0.2 ms, cpu: 2 ms}, memory: 250 MiB}
//! - {name: block, reads: 400 MiB, memory: 400 MiB, together: blocks, device: cuda0}
//! edges:
//! - {from: embed, to: block, size: 8 MiB}
//! ```
//!
//! What a time's key means is said by the rig, in `question.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_yaml::{Location, Spanned};

use crate::hardware::yaml;
use crate::units::{Bytes, Seconds};

/// Most bytes of a document, and most nodes and edges.
const LARGEST: usize = 64 << 20;
const MOST_NODES: usize = 100_000;
const MOST_EDGES: usize = 1_000_000;

const VERSION: u32 = 1;

/// Operators, and what passes between them: unique names, known ends, no cycle.
#[derive(Clone, Debug, PartialEq)]
pub struct OperatorGraph {
    origin: String,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

/// One operator.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// How long it takes: by `gpu`, `cpu`, a class of devices such as `ampere`, or a device's name.
    #[serde(default)]
    pub time: BTreeMap<String, Seconds>,
    /// The memory that it reads once, which stands for times that are not written.
    pub reads: Option<Bytes>,
    /// What it takes on its device.
    #[serde(default)]
    pub memory: Bytes,
    /// Nodes of one such name share a device.
    pub together: Option<String>,
    /// The device that it must be on, or `cpu`.
    pub device: Option<String>,
}

/// What one operator makes and another reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Index of the node that makes it.
    pub from: usize,
    /// Index of the node that reads it.
    pub to: usize,
    /// How much it is; the same on every edge of one maker.
    pub size: Bytes,
}

/// Why a file is no graph of operators.
#[derive(Debug, thiserror::Error)]
pub enum GraphDocumentError {
    /// Longer than any graph that is read.
    #[error(
        "{origin}: a graph has at most {}, {MOST_NODES} nodes and {MOST_EDGES} edges",
        Bytes(LARGEST as u64)
    )]
    TooLarge {
        /// The file.
        origin: String,
    },
    /// A graph without nodes.
    #[error("{origin}: `nodes` is empty, and a graph has at least one")]
    Empty {
        /// The file.
        origin: String,
    },
    /// Not YAML, or not the fields of a graph; says where.
    #[error("{0}")]
    Syntax(String),
    /// Of a later version.
    #[error(
        "{origin}: version {found} is not known\nhint: this program reads `version: {VERSION}`"
    )]
    Version {
        /// The file.
        origin: String,
        /// What it says.
        found: u32,
    },
    /// A node or an edge that can't be.
    #[error("{origin}:{line}:{column}: `{excerpt}`: {fault}")]
    Entry {
        /// The file.
        origin: String,
        /// Line, counted from 1.
        line: u64,
        /// Column, counted from 1.
        column: u64,
        /// That line.
        excerpt: String,
        /// What is wrong with it.
        fault: EntryFault,
    },
}

/// What is wrong with a node or an edge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryFault {
    /// A name that can't be printed.
    #[error("a name has 1 to 200 printable letters")]
    Name,
    /// A name that another node has.
    #[error("another node is called `{0}`")]
    Twice(String),
    /// Nothing says how long it takes.
    #[error("`{0}` has neither `time` nor `reads`")]
    NoTime(String),
    /// An end that is not there.
    #[error("no node is called `{0}`")]
    NoSuchNode(String),
    /// Both ends are joined already.
    #[error("another edge leads from `{from}` to `{to}`")]
    Again {
        /// The maker.
        from: String,
        /// The reader.
        to: String,
    },
    /// Two sizes of one output.
    #[error(
        "the output of `{from}` has {size} here and {other} on another edge\nhint: an output has one size; make a second output a node of its own, with `together`"
    )]
    Sizes {
        /// The maker.
        from: String,
        /// This size.
        size: Bytes,
        /// The other.
        other: Bytes,
    },
    /// The edge closes a circle.
    #[error("the edges form a cycle: {}", .0.join(" → "))]
    Cycle(Vec<String>),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "version")]
    _version: u32,
    nodes: Vec<Spanned<Node>>,
    #[serde(default)]
    edges: Vec<Spanned<EdgeEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EdgeEntry {
    from: String,
    to: String,
    size: Bytes,
}

impl OperatorGraph {
    /// Reads the document `text`, which comes from the file `origin`.
    ///
    /// # Errors
    /// Where it is no YAML, no graph, or has a cycle.
    pub fn from_yaml(text: &str, origin: &str) -> Result<Self, GraphDocumentError> {
        let too_large = || GraphDocumentError::TooLarge {
            origin: origin.to_owned(),
        };
        if text.len() > LARGEST {
            return Err(too_large());
        }
        let document: Document = yaml::large_from_str(text).map_err(|error| {
            // The version first: a later one may have fields that this program would call unknown.
            match yaml::large_from_str(text) {
                Ok(Versioned { version }) if version != VERSION => GraphDocumentError::Version {
                    origin: origin.to_owned(),
                    found: version,
                },
                Ok(Versioned { .. }) | Err(_) => syntax(&error, origin),
            }
        })?;
        if document._version != VERSION {
            return Err(GraphDocumentError::Version {
                origin: origin.to_owned(),
                found: document._version,
            });
        }
        if document.nodes.len() > MOST_NODES || document.edges.len() > MOST_EDGES {
            return Err(too_large());
        }
        if document.nodes.is_empty() {
            return Err(GraphDocumentError::Empty {
                origin: origin.to_owned(),
            });
        }
        let at = |place: Location, fault| entry(place, text, origin, fault);
        let mut index: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, node) in document.nodes.iter().enumerate() {
            let name = node.value.name.as_str();
            let fault = if !may_name(name) {
                Some(EntryFault::Name)
            } else if index.insert(name, number).is_some() {
                Some(EntryFault::Twice(name.to_owned()))
            } else if node.value.time.is_empty() && node.value.reads.is_none() {
                Some(EntryFault::NoTime(name.to_owned()))
            } else {
                None
            };
            if let Some(fault) = fault {
                return Err(at(node.referenced, fault));
            }
        }
        let mut edges = Vec::new();
        let mut known = BTreeSet::new();
        let mut sizes: BTreeMap<usize, Bytes> = BTreeMap::new();
        for edge in &document.edges {
            let EdgeEntry { from, to, size } = &edge.value;
            let end = |name: &String| {
                let found = index.get(name.as_str()).copied();
                found.ok_or_else(|| at(edge.referenced, EntryFault::NoSuchNode(name.clone())))
            };
            let (start, end) = (end(from)?, end(to)?);
            let other = *sizes.entry(start).or_insert(*size);
            let (from, to, size) = (from.clone(), to.clone(), *size);
            if !known.insert((start, end)) {
                return Err(at(edge.referenced, EntryFault::Again { from, to }));
            }
            if other != size {
                return Err(at(edge.referenced, EntryFault::Sizes { from, size, other }));
            }
            edges.push(Edge {
                from: start,
                to: end,
                size,
            });
        }
        if let Some((cycle, closing)) = cycle(document.nodes.len(), &edges) {
            let mut names: Vec<String> = cycle
                .iter()
                .chain(cycle.first())
                .map(|node| format!("`{}`", document.nodes[*node].value.name))
                .collect();
            if names.len() > 9 {
                names.splice(4..names.len() - 4, ["…".to_owned()]);
            }
            let place = document.edges[closing].referenced;
            return Err(at(place, EntryFault::Cycle(names)));
        }
        Ok(Self {
            origin: origin.to_owned(),
            nodes: document.nodes.into_iter().map(|it| it.value).collect(),
            edges,
        })
    }

    /// The file it was read from.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Its nodes, as they are listed.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Its edges, as they are listed.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }
}

/// Nodes that wait for each other in a circle, each before the one that waits for it, and the edge
/// from the last to the first.
fn cycle(n_nodes: usize, edges: &[Edge]) -> Option<(Vec<usize>, usize)> {
    let mut waits = vec![0_usize; n_nodes];
    let mut readers = vec![Vec::new(); n_nodes];
    for edge in edges {
        waits[edge.to] += 1;
        readers[edge.from].push(edge.to);
    }
    let mut ready: Vec<usize> = (0..n_nodes).filter(|node| waits[*node] == 0).collect();
    while let Some(node) = ready.pop() {
        for reader in &readers[node] {
            waits[*reader] -= 1;
            if waits[*reader] == 0 {
                ready.push(*reader);
            }
        }
    }
    // Whoever still waits does so for another that waits: back along those until one returns.
    let mut before = vec![None; n_nodes];
    for (index, edge) in edges.iter().enumerate() {
        if waits[edge.from] > 0 && waits[edge.to] > 0 {
            before[edge.to] = Some(index);
        }
    }
    let mut at = (0..n_nodes).find(|node| waits[*node] > 0)?;
    let mut seen = BTreeMap::new();
    let mut path = Vec::new();
    while !seen.contains_key(&at) {
        seen.insert(at, path.len());
        path.push(at);
        at = edges[before[at]?].from;
    }
    let mut circle = path.split_off(seen[&at]);
    let closing = before[circle[0]]?;
    // The path went against the edges.
    circle.reverse();
    circle.rotate_right(1);
    let (first, last) = (edges[closing].to, edges[closing].from);
    match (circle.first() == Some(&first), circle.last() == Some(&last)) {
        (true, true) => Some((circle, closing)),
        _ => None,
    }
}

/// Prints on one line; a control character could rewrite the terminal.
fn may_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= 200 && !name.chars().any(char::is_control)
}

fn syntax(error: &serde_yaml::Error, origin: &str) -> GraphDocumentError {
    GraphDocumentError::Syntax(format!("{origin}: {}", yaml::rendered(error, origin)))
}

fn entry(place: Location, text: &str, origin: &str, fault: EntryFault) -> GraphDocumentError {
    let index = usize::try_from(place.line()).unwrap_or(0).saturating_sub(1);
    let line = text.lines().nth(index).unwrap_or_default();
    let plain = line.trim().chars().filter(|letter| !letter.is_control());
    GraphDocumentError::Entry {
        origin: origin.to_owned(),
        line: place.line(),
        column: place.column(),
        excerpt: plain.take(120).collect(),
        fault,
    }
}
