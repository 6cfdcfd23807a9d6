//! What a graph is built of: widths of every block, and how its parts are wired.
//!
//! Plain values, so that whoever reads a model fills them in one place. What is not here changes no
//! buffer: scales that fold into a kernel, how positions rotate, which activation is used.

use crate::model::format::Format;

use super::formats::Formats;

/// A decoder as llama.cpp builds its graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphShape {
    /// Width of the residual stream.
    pub hidden: u64,
    /// Entries of the vocabulary.
    pub vocab: u64,
    /// The kind of every norm.
    pub norm: Norm,
    /// What happens between the table and the first block.
    pub entry: Entry,
    /// Where rows without an output are dropped.
    pub gather: Gather,
    /// What happens to logits.
    pub logits: Logits,
    /// How the input table is stored.
    pub table: Format,
    /// How the head is stored.
    pub head: Format,
    /// The blocks, in order.
    pub blocks: Vec<BlockShape>,
}

/// A norm and the vectors behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Norm {
    /// Root mean square and a weight.
    Rms,
    /// Mean and variance, and a weight (Command-R).
    Layer,
    /// Mean and variance, a weight and a bias.
    BiasedLayer,
}

/// What follows the input table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing.
    Plain,
    /// A factor (Gemma).
    Scaled,
    /// A norm (BLOOM).
    Normed,
}

/// Where rows without an output are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// Behind the last block's attention.
    InLastBlock,
    /// In front of the final norm (gpt-oss).
    BeforeNorm,
    /// Behind the final norm (Qwen3-Next).
    AfterNorm,
}

/// What happens to logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logits {
    /// Nothing.
    Plain,
    /// A factor (Command-R).
    Scaled,
    /// Squashed by a hyperbolic tangent (Gemma 2).
    Capped,
    /// A bias (Phi-2).
    Biased,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockShape {
    /// What mixes positions.
    pub mixer: Mixer,
    /// What follows it.
    pub feed_forward: FeedForwardShape,
    /// How the two and the residual stream meet.
    pub wiring: Wiring,
    /// How each matrix is stored.
    pub formats: Formats,
}

impl BlockShape {
    /// How far the mixer looks back, where that is limited.
    pub fn window(&self) -> Option<u64> {
        match self.mixer {
            Mixer::Attention(attention) => attention.window,
            Mixer::Latent(_) | Mixer::Mamba(_) | Mixer::DeltaNet(_) => None,
        }
    }
}

/// How mixer, feed-forward and residual stream meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wiring {
    /// Norm and mixer, then norm and feed-forward.
    Sequential,
    /// The same with norms behind both parts as well (Gemma 2 and 3).
    Sandwiched,
    /// The same with norms only behind both parts (OLMo 2).
    PostNormed,
    /// Both parts of one norm (Falcon 7B).
    Falcon,
    /// Both parts beside each other, each with a norm of its own (Falcon 40B).
    FalconTwoNorms,
    /// The same in another order of sums (GPT-NeoX).
    NeoX,
    /// Both parts of one norm, in Phi-2's order of sums.
    Phi,
    /// Both parts of one norm, in Command-R's order of sums.
    CommandR,
}

/// What mixes positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mixer {
    /// Attention with keys and values.
    Attention(AttentionShape),
    /// Attention over a compressed cache (DeepSeek).
    Latent(LatentShape),
    /// A selective state space (Mamba).
    Mamba(MambaShape),
    /// A gated delta rule (Qwen3-Next).
    DeltaNet(DeltaNetShape),
}

/// Attention with keys and values, many query heads to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: u64,
    /// Key-value heads.
    pub kv_heads: u64,
    /// Elements of a head of keys and queries.
    pub key_dim: u64,
    /// Elements of a head of values.
    pub value_dim: u64,
    /// How far it looks back, where that is limited.
    pub window: Option<u64>,
    /// Queries, keys and values of one matrix.
    pub fused: bool,
    /// Biases of the projections into heads.
    pub biased: bool,
    /// A bias of the projection back.
    pub output_biased: bool,
    /// Norms of queries and keys.
    pub head_norms: HeadNorms,
    /// How positions enter.
    pub rotation: Rotation,
    /// Queries are scaled by an operation of their own (Gemma, Phi).
    pub scales_queries: bool,
    /// Scores are squashed (Gemma 2); seen only without flash attention.
    pub capped: bool,
    /// A learned score besides (gpt-oss).
    pub sinks: bool,
    /// The query matrix yields a gate of the output as well (Qwen3-Next).
    pub gated: bool,
}

/// Norms of queries and keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeadNorms {
    /// None.
    None,
    /// Of each head (Qwen3, Gemma 3).
    Each,
    /// Of all heads together (OLMo 2).
    Together,
}

/// How positions enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rotation {
    /// By a slope of the scores (BLOOM).
    None,
    /// By rotating queries and keys.
    Plain,
    /// The same with a table of factors (Llama 3.1).
    Factors,
}

/// Attention over a compressed cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatentShape {
    /// Heads.
    pub heads: u64,
    /// Width of the compressed queries, where they are compressed.
    pub query_rank: Option<u64>,
    /// Width of the compressed keys and values.
    pub rank: u64,
    /// Elements of a head that carry no position.
    pub plain_dim: u64,
    /// Elements of a head that are rotated.
    pub rotated_dim: u64,
    /// Elements of a head of values.
    pub value_dim: u64,
}

/// A selective state space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MambaShape {
    /// Width inside.
    pub inner: u64,
    /// Elements of the state of one channel.
    pub state: u64,
    /// Positions that the convolution sees.
    pub convolution: u64,
    /// Rank of the step's projection (Mamba), or heads (Mamba-2).
    pub step: u64,
    /// Groups that share inputs and outputs of the state: only Mamba-2 has them.
    pub groups: Option<u64>,
}

/// A gated delta rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeltaNetShape {
    /// Heads of queries and keys.
    pub key_heads: u64,
    /// Heads of values.
    pub value_heads: u64,
    /// Elements of a head.
    pub head_dim: u64,
    /// Positions that the convolution sees.
    pub convolution: u64,
}

/// What follows the mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FeedForwardShape {
    /// Nothing (Mamba).
    None,
    /// Matrices for every token.
    Dense(DenseShape),
    /// Matrices that a router chooses.
    Experts(ExpertsShape),
}

/// Matrices for every token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DenseShape {
    /// Width inside.
    pub inner: u64,
    /// Which branches there are.
    pub branches: Branches,
    /// Biases of every matrix.
    pub biased: bool,
}

/// The branches of a feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Branches {
    /// Up and down.
    Plain,
    /// A gate beside up.
    Gated,
    /// The gate in the same matrix as up (Phi-3).
    GatedInOne,
}

/// Matrices that a router chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExpertsShape {
    /// Experts.
    pub count: u64,
    /// Experts that a token sees.
    pub used: u64,
    /// Width inside one.
    pub inner: u64,
    /// How scores become weights.
    pub scores: Scores,
    /// Whether the weights of those used are made to sum to one.
    pub normalised: bool,
    /// Whether these weights are scaled.
    pub scaled: bool,
    /// A bias that only the choice sees (DeepSeek-V3).
    pub choice_biased: bool,
    /// Groups of experts and how many of them are used, where there are several.
    pub groups: Option<(u64, u64)>,
    /// Biases of every matrix (gpt-oss).
    pub biased: bool,
    /// Width inside the experts that every token sees.
    pub shared: Option<SharedShape>,
}

/// Experts that every token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SharedShape {
    /// Width inside.
    pub inner: u64,
    /// Whether a gate weighs them (Qwen).
    pub gated: bool,
}

/// How a router's scores become weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scores {
    /// Normalised over all experts, or squashed one by one.
    OfAll,
    /// Normalised over those used (gpt-oss).
    OfUsed,
}
