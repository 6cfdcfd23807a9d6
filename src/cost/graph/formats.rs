//! How the matrices of a block are stored: what is copied where weights stream.

use crate::model::format::Format;

/// The matrices of a block whose formats may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say which")]
pub enum Matrix {
    Query,
    Key,
    Value,
    /// Queries, keys and values in one; the delta rule's as well.
    Fused,
    AttentionOutput,
    /// Into the compressed queries.
    QueryDown,
    /// Into the compressed keys and values.
    LatentDown,
    /// From compressed keys to heads.
    LatentKey,
    /// From compressed values to heads.
    LatentValue,
    Gate,
    Up,
    Down,
    Router,
    ExpertGate,
    ExpertUp,
    ExpertDown,
    SharedGate,
    SharedUp,
    SharedDown,
    /// Into the inner width of a state space.
    StateIn,
    /// To the gate of a delta rule's output.
    MixerGate,
    /// To step, input and output of a state space.
    StateParameters,
    StateStep,
    StateOut,
}

impl Matrix {
    /// By the end of its name in a GGUF file, without the block.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "attn_q.weight" | "attn_q_b.weight" => Self::Query,
            "attn_k.weight" => Self::Key,
            "attn_v.weight" => Self::Value,
            "attn_qkv.weight" => Self::Fused,
            "attn_output.weight" => Self::AttentionOutput,
            "attn_q_a.weight" => Self::QueryDown,
            "attn_kv_a_mqa.weight" => Self::LatentDown,
            "attn_k_b.weight" => Self::LatentKey,
            "attn_v_b.weight" => Self::LatentValue,
            "ffn_gate.weight" => Self::Gate,
            "ffn_up.weight" => Self::Up,
            "ffn_down.weight" => Self::Down,
            "ffn_gate_inp.weight" => Self::Router,
            "ffn_gate_exps.weight" => Self::ExpertGate,
            "ffn_up_exps.weight" => Self::ExpertUp,
            "ffn_down_exps.weight" => Self::ExpertDown,
            "ffn_gate_shexp.weight" => Self::SharedGate,
            "ffn_up_shexp.weight" => Self::SharedUp,
            "ffn_down_shexp.weight" => Self::SharedDown,
            "ssm_in.weight" => Self::StateIn,
            "attn_gate.weight" => Self::MixerGate,
            "ssm_x.weight" | "ssm_ba.weight" => Self::StateParameters,
            "ssm_dt.weight" => Self::StateStep,
            "ssm_out.weight" => Self::StateOut,
            _ => return None,
        })
    }
}

/// The format of each matrix of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Formats([Format; Matrix::StateOut as usize + 1]);

impl Formats {
    /// All alike.
    pub fn all(format: Format) -> Self {
        Self([format; Matrix::StateOut as usize + 1])
    }

    /// With another format of one matrix.
    #[must_use]
    pub fn with(mut self, matrix: Matrix, format: Format) -> Self {
        self.0[matrix as usize] = format;
        self
    }

    /// The format of a matrix.
    pub fn of(&self, matrix: Matrix) -> Format {
        self.0[matrix as usize]
    }
}
