//! What vLLM and SGLang refuse to load, or is not planned for them: parts of models, extras, formats,
//! and cards of an older architecture.
//!
//! Source of the least architectures: `get_min_capability` of each quantisation in vLLM 0.33.0 and SGLang 0.5.23, as read in
//! November 2026. A card that states no compute capability is taken at its word.

use crate::cost::serving::Server;
use crate::cost::serving::ends::is_of;
use crate::hardware::{ComputeCapability, Device, Rig};
use crate::model::quantisation::Method;
use crate::model::{Cache, Checkpoint, Model, Origin};
use crate::units::Bytes;
use crate::workload::{KvFormat, Workload};

/// Why an engine does not load this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A GGUF file.
    #[error(
        "{server} needs the Hugging Face model, and `{file}` is a GGUF file, which vLLM reads by a plugin alone\nhint: name the folder or the `config.json`, or try `--target llama.cpp`"
    )]
    Gguf {
        /// The engine.
        server: Server,
        /// The file.
        file: String,
    },
    /// A rig without GPUs.
    #[error(
        "{0} computes on GPUs alone, and the rig has none\nhint: name one, or try `--target llama.cpp`"
    )]
    NoGpu(Server),
    /// A class that the engine neither has nor takes from transformers.
    #[error(
        "{server} has no class for `{model}`, and does not run that of transformers\nhint: try `--target transformers` or `--target llama.cpp`"
    )]
    NoClass {
        /// The engine.
        server: Server,
        /// The model.
        model: String,
    },
    /// A cache that is not made of pages of tokens.
    #[error(
        "`{model}` keeps {kept}, and how {server} pages that is not planned\nhint: try `--target llama.cpp` or `--target transformers`"
    )]
    NotPaged {
        /// The engine.
        server: Server,
        /// The model.
        model: String,
        /// What it keeps.
        kept: &'static str,
    },
    /// A format of the cache that the engine has not.
    #[error("{server} keeps keys and values in 16 bits or in fp8, not in {format}: use `--kv f16`")]
    KvFormat {
        /// The engine.
        server: Server,
        /// What was asked.
        format: KvFormat,
    },
    /// Something beside the model.
    #[error(
        "`{name}` stands beside the model, and what {server} takes for it is not planned\nhint: leave it out, and room for it free with such as `--reserve cuda0=1GiB`"
    )]
    Extra {
        /// The engine.
        server: Server,
        /// The extra.
        name: String,
    },
    /// A quantiser that the engine does not know.
    #[error(
        "{server} loads no checkpoint quantised by {method}\nhint: GPTQ, AWQ, FP8 and compressed-tensors are loaded by both engines"
    )]
    Method {
        /// The engine.
        server: Server,
        /// The quantiser.
        method: &'static str,
    },
    /// A card of too old an architecture.
    #[error(
        "`{device}` has compute capability {found}, and {server} needs {least} for {what}\nhint: `--forbid {device}` leaves it out{}", match .what {
            &"bf16" => ", and `--precision fp16` does without",
            _ => "",
        }
    )]
    Card {
        /// The card.
        device: String,
        /// What it has.
        found: ComputeCapability,
        /// The engine.
        server: Server,
        /// What it needs.
        least: ComputeCapability,
        /// For what.
        what: &'static str,
    },
}

/// Blocks of the classes that SGLang 0.5.23 has not, and whose classes in transformers it refuses, since
/// they do not let it attend in their place or share their matrices: seen, with transformers 5.19.
const UNKNOWN_TO_SGLANG: [&str; 8] = [
    "BioGptDecoderLayer",
    "BloomBlock",
    "CodeGenBlock",
    "FalconDecoderLayer",
    "GPTNeoBlock",
    "GlmDecoderLayer",
    "MptBlock",
    "XGLMDecoderLayer",
];

/// Whether an engine has what a model and a workload are made of, and a rig something to compute on.
///
/// # Errors
/// The first reason why not.
pub fn check(server: Server, model: &Model, rig: &Rig, workload: &Workload) -> Result<(), Refusal> {
    if let Origin::Gguf(file) = &model.origin {
        let file = file.clone();
        return Err(Refusal::Gguf { server, file });
    }
    if rig.devices().is_empty() {
        return Err(Refusal::NoGpu(server));
    }
    if server == Server::Sglang && is_of(model, &UNKNOWN_TO_SGLANG) {
        let model = model.architecture.clone();
        return Err(Refusal::NoClass { server, model });
    }
    let kept = model.blocks.iter().flat_map(|block| &block.caches);
    let mut kept = kept.filter_map(|cache| match cache {
        Cache::KeysValues(_) | Cache::Latent { .. } => None,
        Cache::Cross { .. } => Some("keys and values of an encoder"),
        Cache::State { .. } => Some("recurrent states"),
    });
    if let Some(kept) = kept.next() {
        let model = model.architecture.clone();
        return Err(Refusal::NotPaged {
            server,
            model,
            kept,
        });
    }
    let extras = &model.extras;
    let projector = extras.projector.as_ref().map(|projector| &projector.name);
    let draft = extras.draft.as_ref().map(|draft| &draft.name);
    let ahead = extras.ahead.as_ref().map(|_| &model.name);
    let adapter = extras.adapters.first().map(|adapter| &adapter.name);
    if let Some(name) = projector.or(draft).or(ahead).or(adapter) {
        let name = name.clone();
        return Err(Refusal::Extra { server, name });
    }
    match workload.kv_format {
        KvFormat::F16 | KvFormat::Bf16 | KvFormat::Fp8 => Ok(()),
        format => Err(Refusal::KvFormat { server, format }),
    }
}

/// Whether an engine loads a model at a precision on every card of a rig.
///
/// # Errors
/// The first card that is too old, or that no card will do.
pub fn check_cards(
    server: Server,
    model: &Model,
    checkpoint: Checkpoint,
    rig: &Rig,
) -> Result<(), Refusal> {
    let quantised = match checkpoint {
        Checkpoint::Stored => model.quantised,
        _ => None,
    };
    let (what, least) = match (quantised, checkpoint) {
        (Some(method), _) => {
            let what = method.name();
            let none = Refusal::Method {
                server,
                method: what,
            };
            (what, of_method(server, method).ok_or(none)?)
        }
        (None, Checkpoint::Fp8) => ("fp8", of_fp8(server)),
        // vLLM refuses bfloat16 below 8.0; SGLang turns to float16 itself.
        (None, Checkpoint::Bf16) if server == Server::Vllm => ("bf16", (8, 0)),
        (None, _) => return Ok(()),
    };
    // A card without room, as a forbidden one, is not used.
    let lacks = |device: &&Device| {
        let capability = device.compute_capability;
        device.capacity() > Bytes::ZERO
            && capability.is_some_and(|has| (has.major, has.minor) < least)
    };
    match rig.devices().iter().find(lacks) {
        Some(Device {
            name,
            compute_capability: Some(found),
            ..
        }) => Err(Refusal::Card {
            device: name.clone(),
            found: *found,
            server,
            least: ComputeCapability {
                major: least.0,
                minor: least.1,
            },
            what,
        }),
        _ => Ok(()),
    }
}

/// 8-bit floats made on load: vLLM unpacks them as it computes below 8.9.
fn of_fp8(server: Server) -> (u32, u32) {
    match server {
        Server::Vllm => (7, 5),
        Server::Sglang => (8, 9),
    }
}

/// The least capability for a quantiser's checkpoints; none where the engine has no such loader.
fn of_method(server: Server, method: Method) -> Option<(u32, u32)> {
    match (method, server) {
        (Method::Gptq | Method::AutoRound, _) => Some((6, 0)),
        (Method::Awq | Method::CompressedTensors, Server::Vllm) => Some((7, 5)),
        (Method::Awq | Method::CompressedTensors, Server::Sglang) => Some((8, 0)),
        (Method::Fp8 | Method::FbgemmFp8, server) => Some(of_fp8(server)),
        (Method::ModelOpt | Method::MxFp4, _) => Some((8, 0)),
        (Method::BitsAndBytes, Server::Sglang) => Some((7, 0)),
        (Method::BitsAndBytes, Server::Vllm) => None,
        (
            Method::Hqq
            | Method::Aqlm
            | Method::Quanto
            | Method::TorchAo
            | Method::Eetq
            | Method::BitNet
            | Method::Exl2
            | Method::Exl3,
            _,
        ) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::text;
    use crate::model::open;
    use crate::units::Tokens;

    #[test]
    fn a_card_that_is_too_old_is_named() {
        let model = open("llama-3-8b").unwrap();
        let rig = text::parse("RTX 3090 + T4").unwrap();
        let refusal = check_cards(Server::Vllm, &model, Checkpoint::Bf16, &rig).unwrap_err();
        let text = refusal.to_string();
        assert!(
            text.contains("`cuda1` has compute capability 7.5"),
            "{text}"
        );
        assert!(text.contains("`--precision fp16`"), "{text}");
        assert_eq!(
            check_cards(Server::Vllm, &model, Checkpoint::Fp8, &rig),
            Ok(())
        );
        assert!(check_cards(Server::Sglang, &model, Checkpoint::Fp8, &rig).is_err());
        assert_eq!(
            check_cards(Server::Sglang, &model, Checkpoint::Bf16, &rig),
            Ok(())
        );
    }

    #[test]
    fn a_class_that_an_engine_does_not_run_is_refused() {
        let model = open("falcon-40b").unwrap();
        let rig = text::parse("RTX 3090").unwrap();
        let workload = Workload::of_context(Tokens(1024));
        let check = |server| check(server, &model, &rig, &workload);
        assert!(matches!(
            check(Server::Sglang),
            Err(Refusal::NoClass { .. })
        ));
        assert_eq!(check(Server::Vllm), Ok(()));
    }

    #[test]
    fn a_quantiser_without_a_loader_is_refused() {
        let mut model = open("llama-3-8b").unwrap();
        model.quantised = Some(Method::BitsAndBytes);
        let rig = text::parse("RTX 3090").unwrap();
        assert!(check_cards(Server::Vllm, &model, Checkpoint::Stored, &rig).is_err());
        assert_eq!(
            check_cards(Server::Sglang, &model, Checkpoint::Stored, &rig),
            Ok(())
        );
        assert_eq!(
            check_cards(Server::Vllm, &model, Checkpoint::Bf16, &rig),
            Ok(())
        );
    }
}
