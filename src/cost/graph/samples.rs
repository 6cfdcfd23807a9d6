//! Shapes of well-known models, for tests: those that were held against allocations.

use crate::model::format::Format;

use super::formats::{Formats, Matrix};
use super::shape::{
    AttentionShape, BlockShape, Branches, DeltaNetShape, DenseShape, Entry, ExpertsShape,
    FeedForwardShape, Gather, GraphShape, HeadNorms, LatentShape, Logits, MambaShape, Mixer, Norm,
    Rotation, Scores, SharedShape, Wiring,
};

pub(crate) fn all() -> Vec<GraphShape> {
    vec![
        llama_2_7b(),
        llama_3_8b(),
        falcon_40b(),
        gemma_2_27b(),
        mixtral(),
        qwen3_moe(),
        deepseek_v2_lite(),
        mamba(),
        qwen3_next(),
    ]
}

/// Attention of so many query heads, key-value heads and elements of a head.
fn attention(heads: u64, kv_heads: u64, dim: u64) -> AttentionShape {
    AttentionShape {
        heads,
        kv_heads,
        key_dim: dim,
        value_dim: dim,
        window: None,
        fused: false,
        biased: false,
        output_biased: false,
        head_norms: HeadNorms::None,
        rotation: Rotation::Plain,
        scales_queries: false,
        capped: false,
        sinks: false,
        gated: false,
    }
}

fn gated(inner: u64) -> FeedForwardShape {
    FeedForwardShape::Dense(DenseShape {
        inner,
        branches: Branches::Gated,
        biased: false,
    })
}

fn experts(count: u64, used: u64, inner: u64) -> ExpertsShape {
    ExpertsShape {
        count,
        used,
        inner,
        scores: Scores::OfAll,
        normalised: true,
        scaled: false,
        choice_biased: false,
        groups: None,
        biased: false,
        shared: None,
    }
}

fn model(
    hidden: u64,
    vocab: u64,
    n_blocks: u64,
    block: impl Fn(u64) -> (Mixer, FeedForwardShape),
) -> GraphShape {
    let block = |index: u64| {
        let (mixer, feed_forward) = block(index);
        BlockShape {
            mixer,
            feed_forward,
            wiring: Wiring::Sequential,
            formats: q4_k_m(index, n_blocks),
        }
    };
    GraphShape {
        hidden,
        vocab,
        norm: Norm::Rms,
        entry: Entry::Plain,
        gather: Gather::InLastBlock,
        logits: Logits::Plain,
        table: Format::Q4K,
        head: Format::Q6K,
        blocks: (0..n_blocks).map(block).collect(),
    }
}

/// What `q4_k_m` makes of a block.
fn q4_k_m(index: u64, n_blocks: u64) -> Formats {
    let eighth = n_blocks / 8;
    let is_larger =
        index < eighth || index >= 7 * n_blocks / 8 || (index.saturating_sub(eighth)) % 3 == 2;
    let formats = Formats::all(Format::Q4K).with(Matrix::Router, Format::F32);
    let larger = [
        Matrix::Value,
        Matrix::Fused,
        Matrix::Down,
        Matrix::ExpertDown,
        Matrix::SharedDown,
    ];
    larger
        .into_iter()
        .fold(formats, |formats, matrix| match is_larger {
            true => formats.with(matrix, Format::Q6K),
            false => formats,
        })
}

pub(crate) fn llama_2_7b() -> GraphShape {
    model(4096, 32000, 32, |_| {
        (Mixer::Attention(attention(32, 32, 128)), gated(11008))
    })
}

pub(crate) fn llama_3_8b() -> GraphShape {
    model(4096, 128_256, 32, |_| {
        (Mixer::Attention(attention(32, 8, 128)), gated(14336))
    })
}

pub(crate) fn falcon_40b() -> GraphShape {
    let mut shape = model(8192, 65024, 60, |_| {
        let attention = AttentionShape {
            fused: true,
            ..attention(128, 8, 64)
        };
        let dense = DenseShape {
            inner: 32768,
            branches: Branches::Plain,
            biased: false,
        };
        (Mixer::Attention(attention), FeedForwardShape::Dense(dense))
    });
    (shape.norm, shape.head) = (Norm::BiasedLayer, Format::Q8_0);
    for (index, block) in shape.blocks.iter_mut().enumerate() {
        block.wiring = Wiring::FalconTwoNorms;
        let down = match (index, block.formats.of(Matrix::Down)) {
            (0..3, _) => Format::Q6K,
            (_, Format::Q6K) => Format::Q5K,
            (_, other) => other,
        };
        block.formats = block.formats.with(Matrix::Down, down);
    }
    shape
}

pub(crate) fn gemma_2_27b() -> GraphShape {
    let mut shape = model(4608, 256_000, 46, |index| {
        let attention = AttentionShape {
            window: index.is_multiple_of(2).then_some(4096),
            scales_queries: true,
            capped: true,
            ..attention(32, 16, 128)
        };
        (Mixer::Attention(attention), gated(36864))
    });
    (shape.entry, shape.logits) = (Entry::Scaled, Logits::Capped);
    shape.table = Format::Q6K;
    for block in &mut shape.blocks {
        block.wiring = Wiring::Sandwiched;
    }
    shape
}

pub(crate) fn mixtral() -> GraphShape {
    let mut shape = model(4096, 32000, 32, |_| {
        let experts = FeedForwardShape::Experts(experts(8, 2, 14336));
        (Mixer::Attention(attention(32, 8, 128)), experts)
    });
    for block in &mut shape.blocks {
        block.formats = block
            .formats
            .with(Matrix::Key, Format::Q8_0)
            .with(Matrix::Value, Format::Q8_0)
            .with(Matrix::AttentionOutput, Format::Q5K);
    }
    shape
}

pub(crate) fn qwen3_moe() -> GraphShape {
    model(2048, 151_936, 48, |_| {
        let attention = AttentionShape {
            head_norms: HeadNorms::Each,
            ..attention(32, 4, 128)
        };
        let experts = FeedForwardShape::Experts(experts(128, 8, 768));
        (Mixer::Attention(attention), experts)
    })
}

pub(crate) fn deepseek_v2_lite() -> GraphShape {
    let mut shape = model(2048, 102_400, 27, |index| {
        let latent = LatentShape {
            heads: 16,
            query_rank: None,
            rank: 512,
            plain_dim: 128,
            rotated_dim: 64,
            value_dim: 128,
        };
        let experts = ExpertsShape {
            normalised: false,
            shared: Some(SharedShape {
                inner: 2816,
                gated: false,
            }),
            ..experts(64, 6, 1408)
        };
        let feed_forward = match index {
            0 => gated(10944),
            _ => FeedForwardShape::Experts(experts),
        };
        (Mixer::Latent(latent), feed_forward)
    });
    for block in &mut shape.blocks {
        // Rows that are no whole blocks of 256.
        let narrow = match block.formats.of(Matrix::Down) {
            Format::Q6K => Format::Q8_0,
            _ => Format::Q5_0,
        };
        block.formats = block
            .formats
            .with(Matrix::LatentKey, Format::Q5_0)
            .with(Matrix::Down, narrow)
            .with(Matrix::ExpertDown, narrow);
    }
    shape
}

pub(crate) fn mamba() -> GraphShape {
    let mut shape = model(2560, 50280, 64, |_| {
        let mamba = MambaShape {
            inner: 5120,
            state: 16,
            convolution: 4,
            step: 160,
            groups: None,
        };
        (Mixer::Mamba(mamba), FeedForwardShape::None)
    });
    shape.table = Format::Q6K;
    shape
}

pub(crate) fn qwen3_next() -> GraphShape {
    let mut shape = model(2048, 151_936, 48, |index| {
        let attention = AttentionShape {
            head_norms: HeadNorms::Each,
            gated: true,
            ..attention(16, 2, 256)
        };
        let delta = DeltaNetShape {
            key_heads: 16,
            value_heads: 32,
            head_dim: 128,
            convolution: 4,
        };
        let experts = ExpertsShape {
            shared: Some(SharedShape {
                inner: 512,
                gated: true,
            }),
            ..experts(512, 10, 512)
        };
        let mixer = match index % 4 {
            3 => Mixer::Attention(attention),
            _ => Mixer::DeltaNet(delta),
        };
        (mixer, FeedForwardShape::Experts(experts))
    });
    shape.gather = Gather::AfterNorm;
    shape
}
