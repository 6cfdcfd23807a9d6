//! Shapes, batches and places of the records, for models that no reader of the library knows too.

use serde_json::Value;
use shardplan::cost::Place;
use shardplan::cost::graph::{
    AttentionShape, Batch, BlockPlace, BlockShape, Branches, DeltaNetShape, DenseShape, Entry,
    ExpertsShape, FeedForwardShape, Formats, Gather, GraphShape, HeadNorms, LatentShape, Logits,
    MambaShape, Matrix, Mixer, Norm, Placement, Rotation, Scores, SharedShape, Wiring,
};
use shardplan::hardware::DeviceId;
use shardplan::model::format::Format;

/// The shape of the model of a record.
pub(crate) fn shape(record: &Value, facts: &Value) -> Option<GraphShape> {
    let quant = record["quant"].as_str()?;
    let sees_all = record["flags"]["swa_full"] == 1;
    let arch = facts["arch"].as_str()?;
    let number = |key: &str| facts[key].as_u64();
    let (hidden, vocab) = (number("n_embd")?, number("n_vocab")?);
    let block = |index: u64| -> Option<BlockShape> {
        let mut mixer = mixer(facts, arch, index)?;
        if let (
            Mixer::Attention(AttentionShape {
                window: Some(window),
                ..
            }),
            true,
        ) = (&mut mixer, sees_all)
        {
            // Cells for everything, in a cache of their own nonetheless.
            *window = 1 << 40;
        }
        let wiring = match arch {
            "falcon" => Wiring::FalconTwoNorms,
            "gemma2" => Wiring::Sandwiched,
            _ => Wiring::Sequential,
        };
        Some(BlockShape {
            mixer,
            feed_forward: feed_forward(facts, arch, index)?,
            wiring,
            formats: formats(facts, arch, quant, index)?,
        })
    };
    Some(GraphShape {
        hidden,
        vocab,
        norm: match arch {
            "falcon" => Norm::BiasedLayer,
            _ => Norm::Rms,
        },
        entry: match arch {
            "gemma2" => Entry::Scaled,
            _ => Entry::Plain,
        },
        gather: match arch {
            "qwen3next" => Gather::AfterNorm,
            _ => Gather::InLastBlock,
        },
        logits: match arch {
            "gemma2" => Logits::Capped,
            _ => Logits::Plain,
        },
        table: match facts["tied"] == true {
            true => head_format(arch, quant)?,
            false => base_format(quant)?,
        },
        head: head_format(arch, quant)?,
        blocks: (0..number("n_layer")?).map(block).collect::<Option<_>>()?,
    })
}

fn mixer(facts: &Value, arch: &str, index: u64) -> Option<Mixer> {
    let number = |key: &str| facts[key].as_u64();
    if arch == "mamba" {
        return Some(Mixer::Mamba(MambaShape {
            inner: number("d_inner")?,
            state: number("d_state")?,
            convolution: number("d_conv")?,
            step: number("dt_rank")?,
            groups: None,
        }));
    }
    let interval = number("full_attn_interval");
    if interval.is_some_and(|interval| !(index + 1).is_multiple_of(interval)) {
        return Some(Mixer::DeltaNet(DeltaNetShape {
            key_heads: number("n_group")?,
            value_heads: number("dt_rank")?,
            head_dim: number("d_state")?,
            convolution: number("d_conv")?,
        }));
    }
    if let Some(rank) = number("kv_lora") {
        return Some(Mixer::Latent(LatentShape {
            heads: number("n_head")?,
            query_rank: None,
            rank,
            plain_dim: number("nope")?,
            rotated_dim: number("rope")?,
            value_dim: number("vhd")?,
        }));
    }
    let dim = number("head_dim")?;
    Some(Mixer::Attention(AttentionShape {
        heads: number("n_head")?,
        kv_heads: number("n_head_kv")?,
        key_dim: dim,
        value_dim: dim,
        window: number("swa").filter(|_| index.is_multiple_of(2)),
        fused: arch == "falcon",
        biased: false,
        output_biased: false,
        head_norms: match facts["qk_norm"] == true || arch == "qwen3next" {
            true => HeadNorms::Each,
            false => HeadNorms::None,
        },
        rotation: Rotation::Plain,
        scales_queries: arch == "gemma2",
        capped: arch == "gemma2",
        sinks: false,
        gated: arch == "qwen3next",
    }))
}

fn feed_forward(facts: &Value, arch: &str, index: u64) -> Option<FeedForwardShape> {
    let number = |key: &str| facts[key].as_u64();
    let Some(inner) = number("n_ff") else {
        return Some(FeedForwardShape::None);
    };
    let is_dense = index < number("dense_lead").unwrap_or(0);
    let Some(count) = number("n_expert").filter(|_| !is_dense) else {
        return Some(FeedForwardShape::Dense(DenseShape {
            inner,
            branches: match arch {
                "falcon" => Branches::Plain,
                _ => Branches::Gated,
            },
            biased: false,
        }));
    };
    let each = number("n_ff_exp").unwrap_or(inner);
    let shared = number("n_shared").map(|n_shared| SharedShape {
        inner: n_shared * each,
        gated: false,
    });
    let gated = number("n_ff_shexp").map(|inner| SharedShape { inner, gated: true });
    Some(FeedForwardShape::Experts(ExpertsShape {
        count,
        used: number("n_expert_used")?,
        inner: each,
        scores: Scores::OfAll,
        normalised: arch != "deepseek2",
        scaled: false,
        choice_biased: false,
        groups: None,
        biased: false,
        shared: shared.or(gated),
    }))
}

fn base_format(quant: &str) -> Option<Format> {
    Some(match quant {
        "F16" => Format::F16,
        "Q8_0" => Format::Q8_0,
        "Q4_0" => Format::Q4_0,
        "Q4_K_M" => Format::Q4K,
        _ => return None,
    })
}

fn head_format(arch: &str, quant: &str) -> Option<Format> {
    match (quant, arch) {
        ("F16" | "Q8_0", _) => base_format(quant),
        (_, "falcon") => Some(Format::Q8_0),
        _ => Some(Format::Q6K),
    }
}

/// The rules of llama-quantize, for what memory depends on.
fn formats(facts: &Value, arch: &str, quant: &str, index: u64) -> Option<Formats> {
    let base = base_format(quant)?;
    let mut formats = Formats::all(base).with(Matrix::Router, Format::F32);
    if quant == "Q4_K_M" {
        let layers = facts["n_layer"].as_u64()?;
        let eighth = layers / 8;
        let more = index < eighth || index >= 7 * layers / 8 || index.wrapping_sub(eighth) % 3 == 2;
        let down = match (arch, more) {
            ("falcon", _) if index < layers / 16 => Format::Q6K,
            ("falcon", true) => Format::Q5K,
            (_, true) => Format::Q6K,
            (_, false) => Format::Q4K,
        };
        for matrix in [Matrix::Down, Matrix::ExpertDown, Matrix::SharedDown] {
            formats = formats.with(matrix, down);
        }
        let value = match (more, layers) {
            (true, _) => Format::Q6K,
            (false, 80) => Format::Q5K,
            (false, _) => Format::Q4K,
        };
        formats = formats.with(Matrix::Value, value);
        if more {
            formats = formats.with(Matrix::Fused, Format::Q6K);
        }
        if facts["n_expert"] == 8 {
            formats = formats
                .with(Matrix::Key, Format::Q8_0)
                .with(Matrix::Value, Format::Q8_0)
                .with(Matrix::AttentionOutput, Format::Q5K);
        }
        // Rows that are no whole blocks of 256.
        let narrow = |width: &str| {
            facts[width]
                .as_u64()
                .is_some_and(|width| !width.is_multiple_of(256))
        };
        for (matrix, width) in [
            (Matrix::Down, "n_ff"),
            (Matrix::ExpertDown, "n_ff_exp"),
            (Matrix::LatentKey, "nope"),
        ] {
            if narrow(width) {
                let narrower = match formats.of(matrix) {
                    Format::Q6K => Format::Q8_0,
                    _ => Format::Q5_0,
                };
                formats = formats.with(matrix, narrower);
            }
        }
    }
    Some(formats)
}

/// What a record computes at once.
pub(crate) fn batch(record: &Value) -> Option<Batch> {
    let flags = &record["flags"];
    let number = |key: &str| flags[key].as_u64();
    let sequences = number("np").unwrap_or(1);
    let context = number("c")?.next_multiple_of(256);
    let streams = if number("kvu") == Some(1) {
        1
    } else {
        sequences
    };
    let cells = (context / streams).next_multiple_of(256);
    let ubatch = number("ub")?;
    let tokens = (cells * streams).min(ubatch).next_multiple_of(sequences);
    let format = |key: &str| flags[key].as_str()?.parse().ok();
    Some(Batch {
        tokens,
        ubatch,
        outputs: tokens.min(number("nout").unwrap_or(2048)),
        sequences,
        streams,
        cells,
        keys: format("ctk")?,
        values: format("ctv")?,
        flash: flags["fa"] == "on",
        unpacks: false,
    })
}

/// Where a record put everything, and the names of its devices in their order.
pub(crate) fn placement(
    record: &Value,
    shape: &GraphShape,
    tokens: u64,
) -> Option<(Placement, Vec<String>)> {
    let flags = &record["flags"];
    let number = |key: &str| flags[key].as_u64();
    if number("nkvo") == Some(1) || !flags["ot"].is_null() {
        return None;
    }
    let n_devices = match record["rig"].as_str()? {
        "cpu" => 0,
        "gpu1" => 1,
        "gpu2" => 2,
        _ => 3,
    };
    let devices: Vec<String> = match flags["sm"] == "none" {
        true => vec![format!("SIM{}", number("mg")?)],
        false => (0..n_devices).map(|index| format!("SIM{index}")).collect(),
    };
    let n_blocks = shape.blocks.len() as u64;
    let place = |slot: u64| -> Option<Place> {
        let runs = record["layers"].as_array()?;
        let run = runs.iter().find(|run| {
            (run[0].as_u64().unwrap_or(0)..=run[1].as_u64().unwrap_or(0)).contains(&slot)
        })?;
        let name = run[2].as_str()?;
        let device = devices.iter().position(|device| device == name);
        Some(device.map_or(Place::Host, |index| Place::Device(DeviceId(index))))
    };
    let on_host = |block: u64| {
        number("cmoe") == Some(1) || number("ncmoe").is_some_and(|first| block < first)
    };
    let blocks = (0..n_blocks).map(|block| {
        let whole = BlockPlace::whole(place(block)?);
        Some(match on_host(block) {
            true => BlockPlace {
                experts: Place::Host,
                ..whole
            },
            false => whole,
        })
    });
    let layers_on_devices = flags["ngl"].as_i64().filter(|ngl| *ngl >= 0);
    let all = layers_on_devices.is_none_or(|ngl| ngl as u64 > n_blocks);
    let placement = Placement {
        n_devices: devices.len(),
        blocks: blocks.collect::<Option<_>>()?,
        head: place(n_blocks)?,
        pipelined: record["pipeline_parallel"] == "on",
        pins_norms: record["mode"] == "real" && (tokens < 32 || all),
        streams: number("op_offload") != Some(0),
    };
    Some((placement, devices))
}
