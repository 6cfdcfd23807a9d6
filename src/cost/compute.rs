//! llama.cpp's compute buffers: what the graph allocator needs at its fullest moment.
//!
//! Closed forms of what `ggml/src/ggml-alloc.c` does with the graphs of `src/models/*.cpp`
//! (0c1e57098): which tensors live at once in a feed-forward, in attention, at the head, and while
//! weights of the CPU's blocks are copied in, always with flash attention. Held against 160 buffers
//! that llama.cpp allocated (7B to 70B, 1 to 3 devices): median 1.000, never short by more than 3 %. A graph in which weights stream reuses holes in an order that no closed form follows, so the
//! first device of an offloaded plan keeps [`Graph::streaming_margin`] besides.
//!
//! Letters, all sizes in bytes of 32-bit floats for `t` tokens unless said: `e` the residual stream,
//! `q` all query heads, `k` all key-value heads, `w` the feed-forward's inner width, `n` one number
//! for each output.

use crate::cost::{Layout, memory};
use crate::model::{Kind, Model, Part};
use crate::units::Bytes;
use crate::workload::{KvFormat, Workload};

/// Copies of the inputs that a pipelined graph holds (`GGML_SCHED_MAX_COPIES`).
const COPIES: f64 = 4.0;

/// The tensors of one graph, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Graph {
    block: Block,
    /// Numbers of one output row for all outputs: `4 · n_outputs`.
    n: f64,
    vocab: f64,
    hidden: f64,
    e: f64,
    q: f64,
    k: f64,
    w: f64,
    /// The attention mask, 16 bits a cell and token.
    mask: f64,
    /// Positions, indices and rotation matrices.
    small: f64,
    /// A copy of one layer's cache in 16 bits, which the graph makes of a 32-bit cache.
    unpacked: f64,
    /// The same, which CUDA's flash attention makes of every cache that is not in 16-bit floats.
    unpacked_by_cuda: f64,
    /// Keys and values of one layer as they are stored.
    layer_cache: f64,
    rotates: bool,
}

/// The shape of a block, which decides what lives together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Attention, then a gated feed-forward.
    Gated,
    /// Attention and a plain feed-forward beside each other (Falcon).
    Parallel,
    /// Attention, then a plain feed-forward, biases and norms with means (BLOOM).
    Plain,
}

/// What a device does in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Role {
    /// Blocks on it.
    pub n_blocks: u64,
    /// Whether the head is on it.
    pub has_head: bool,
    /// How the chain is laid out.
    pub layout: Layout,
    /// Weights of the CPU's units that are copied in for a prompt, where any are.
    pub streamed: Streamed,
}

/// The largest matrices that the CPU's blocks lend to the first device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    /// The up matrix (and as large, the gate), as stored.
    pub up: Bytes,
    /// The down matrix, as stored.
    pub down: Bytes,
    /// Whether any block streams at all.
    pub any: bool,
}

impl Streamed {
    /// The larger of both, matrix by matrix.
    pub fn or(self, other: Self) -> Self {
        Self {
            up: self.up.max(other.up),
            down: self.down.max(other.down),
            any: self.any || other.any,
        }
    }
}

impl Graph {
    /// The graph of `model` under `workload`, with logits for every token of a micro-batch (as
    /// llama-cli and llama-bench ask; a server asks for fewer).
    pub fn new(model: &Model, workload: &Workload) -> Self {
        let dimensions = &model.dimensions;
        let cells = memory::llama_cpp_cells(workload).0;
        let sequences = u64::from(workload.sequences);
        let cells_of_one = cells / sequences;
        let t = workload.ubatch.0.min(cells).next_multiple_of(sequences) as f64;
        let width = |elements: u64| 4.0 * t * elements as f64;
        let kv_width = dimensions.n_kv_heads * dimensions.head_dim;
        let format = workload.kv_format;
        let rotates = format.is_quantised() && dimensions.head_dim.is_multiple_of(64);
        let unpacked = |applies: bool| {
            if applies {
                4.0 * (cells * kv_width) as f64
            } else {
                0.0
            }
        };
        let row = format.row_bytes(kv_width);
        Self {
            block: block(model),
            n: 4.0 * t,
            vocab: dimensions.vocab as f64,
            hidden: dimensions.hidden as f64,
            e: width(dimensions.hidden),
            q: width(dimensions.n_heads * dimensions.head_dim),
            k: width(kv_width),
            w: width(dimensions.ffn),
            mask: cells_of_one as f64 * t * 2.0,
            small: 20.0 * t
                + if rotates {
                    rotation(dimensions.head_dim)
                } else {
                    0.0
                },
            unpacked: unpacked(format == KvFormat::F32),
            unpacked_by_cuda: unpacked(format != KvFormat::F16),
            layer_cache: 2.0 * (row * cells).0 as f64,
            rotates,
        }
    }

    /// The buffer of a GPU.
    pub fn device_buffer(&self, role: &Role) -> Bytes {
        let layers = if role.n_blocks > 0 {
            self.layers(role)
        } else {
            0.0
        };
        let head = if role.has_head { self.head(role) } else { 0.0 };
        let streaming = if role.streamed.any {
            self.streaming(&role.streamed)
        } else {
            0.0
        };
        Bytes(layers.max(head).max(streaming).ceil() as u64)
    }

    /// What CUDA's flash attention adds to that buffer: room for a cache that it unpacks.
    ///
    /// Source: `ggml_cuda_flash_attn_ext_get_alloc_size` (0c1e57098), read and not measured.
    pub fn cuda_scratch(&self, role: &Role) -> Bytes {
        let on_cuda = Self {
            unpacked: self.unpacked_by_cuda,
            ..*self
        };
        on_cuda
            .device_buffer(role)
            .saturating_sub(self.device_buffer(role))
    }

    /// What holes may add to the buffer of a device to which weights stream: one of the two halves of
    /// a layer's cache and one matrix, neither of which fits a hole that the other left.
    ///
    /// A guess that covers the allocator's answer in 324 replayed graphs (nine models of 7B to 70B,
    /// micro-batches of 128 to 2048, contexts of 2k to 64k) with at least 27 MiB to spare.
    pub fn streaming_margin(&self, streamed: &Streamed) -> Bytes {
        Bytes((self.layer_cache / 2.0) as u64) + streamed.up
    }

    /// The buffer of the host: inputs, or the graph of the blocks that the CPU computes.
    pub fn host_buffer(&self, layout: Layout) -> Bytes {
        let inputs = self.e + self.mask + self.small;
        let buffer = match layout {
            Layout::Pipelined => COPIES * (inputs + self.n) + self.e,
            Layout::OneDevice | Layout::Sequential => inputs + self.e,
            Layout::Offloaded => inputs + self.e.max(2.0 * self.k),
            Layout::HostOnly => {
                self.e
                    + inputs
                    + self.feed_forward(false).max(self.attention())
                    + self.n * self.vocab
            }
        };
        Bytes(buffer.ceil() as u64)
    }

    /// Logits on the host, for every token of a micro-batch: the most that any tool asks for.
    pub fn output_buffer(&self) -> Bytes {
        Bytes((self.n * self.vocab) as u64)
    }

    fn inputs(&self, layout: Layout) -> f64 {
        match layout {
            Layout::Pipelined => COPIES * (self.mask + self.e + self.small),
            _ => self.mask + self.small,
        }
    }

    fn feed_forward(&self, pinned: bool) -> f64 {
        match self.block {
            // Unless norms are pinned to their device, the allocator finds a hole in some graphs.
            Block::Gated if pinned && !self.rotates => 3.0 * self.w + 3.0 * self.e.max(self.q),
            Block::Gated => 3.0 * self.w + 2.6 * self.e.max(self.q),
            Block::Parallel | Block::Plain => self.w + 3.0 * self.e,
        }
    }

    /// With flash attention, which every plan asks for.
    fn attention(&self) -> f64 {
        self.unpacked
            + match self.block {
                Block::Gated => 4.0 * self.e.max(self.q),
                Block::Plain => 5.0 * self.e,
                Block::Parallel => 3.0 * self.e + 3.0 * self.k,
            }
    }

    fn layers(&self, role: &Role) -> f64 {
        let pinned = role.layout != Layout::Offloaded;
        let mut attention = self.attention();
        if self.block == Block::Parallel && self.unpacked > 0.0 {
            attention = attention.max(self.unpacked.min(self.w) + self.w + 3.0 * self.e);
        }
        self.inputs(role.layout) + self.feed_forward(pinned).max(attention)
    }

    fn head(&self, role: &Role) -> f64 {
        let logits = self.n * (self.vocab + self.hidden);
        let rows = self.n * self.hidden;
        if role.layout == Layout::Pipelined {
            let inputs = if role.n_blocks > 0 {
                self.inputs(role.layout)
            } else {
                COPIES * rows
            };
            return logits + inputs;
        }
        let pinned = role.layout != Layout::Offloaded;
        let beside_mask = if self.mask < self.e || role.n_blocks == 0 {
            0.0
        } else {
            match self.block {
                Block::Parallel | Block::Plain => rows,
                Block::Gated if pinned => 0.0,
                Block::Gated => 0.5 * rows,
            }
        };
        logits + beside_mask
    }

    /// A CPU block's attention is computed on the first GPU, with a copy of its whole cache; its
    /// matrices are copied in one after the other.
    fn streaming(&self, streamed: &Streamed) -> f64 {
        let (up, down) = (streamed.up.0 as f64, streamed.down.0 as f64);
        let attention = self.layer_cache + 3.0 * self.e + self.k + self.unpacked;
        let feed_forward = 1.25 * self.e
            + 3.0 * self.e
            + match self.block {
                Block::Gated => {
                    let hole = if up < self.w { self.w } else { 0.0 };
                    (2.0 * self.w + up + hole).max(self.w + down)
                }
                Block::Parallel | Block::Plain => {
                    (up + self.w + if down > up { down } else { 0.0 }).max(self.w + down)
                }
            };
        self.mask + self.small + attention.max(feed_forward)
    }
}

fn block(model: &Model) -> Block {
    match (model.is_gated(), model.architecture.as_str()) {
        (true, _) => Block::Gated,
        (false, "falcon") => Block::Parallel,
        (false, _) => Block::Plain,
    }
}

/// The Hadamard matrices that a quantised cache is rotated with: one as wide as the largest
/// `64 · 2^i` that divides a head, one of 64.
fn rotation(head_dim: u64) -> f64 {
    let widest = 64 << (head_dim / 64).trailing_zeros();
    (4 * widest * widest + 4 * 64 * 64) as f64
}

/// The largest matrices of blocks that stream, found in `(name, bytes)` of their tensors.
pub fn streamed<'a>(tensors: impl Iterator<Item = (&'a crate::model::Tensor, Bytes)>) -> Streamed {
    let mut streamed = Streamed::default();
    for (tensor, size) in tensors {
        let in_feed_forward = matches!(tensor.part, Part::FeedForward(_));
        if !in_feed_forward || matches!(tensor.kind, Kind::Norm | Kind::Bias) {
            continue;
        }
        streamed.any = true;
        if tensor.gguf_name.ends_with("ffn_down.weight") {
            streamed.down = streamed.down.max(size);
        } else {
            streamed.up = streamed.up.max(size);
        }
    }
    streamed
}
