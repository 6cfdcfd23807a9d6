//! Where an engine keeps the embedding, the final norm and the head of a pipeline: on the first and the
//! last stage, or on each.
//!
//! Not all of vLLM's classes leave out of a stage what is only used on others. Source: the models of
//! vLLM 0.33.0, where an embedding or a head is made without a look at the stage; of those in
//! `tests/engines/vllm_stages.py` it was seen on built ones.

use crate::cost::serving::Server;
use crate::model::Model;

/// The stages that hold the ends of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The first has the embedding, the last the norm and the head.
    Apart,
    /// Each has all of them.
    OnEach,
}

/// Blocks of the classes that keep both ends on each stage.
const ON_EACH: [&str; 25] = [
    "BloomBlock",
    "Cohere2DecoderLayer",
    "CohereDecoderLayer",
    "DbrxBlock",
    "FalconDecoderLayer",
    "GLMBlock",
    "GPT2Block",
    "GPTJBlock",
    "Gemma2DecoderLayer",
    "Gemma3DecoderLayer",
    "Gemma4TextDecoderLayer",
    "GemmaDecoderLayer",
    "GptOssDecoderLayer",
    "GraniteMoeDecoderLayer",
    "GraniteMoeSharedDecoderLayer",
    "InternLM2DecoderLayer",
    "MiniCPMDecoderLayer",
    "MixtralDecoderLayer",
    "OPTDecoderLayer",
    "OlmoeDecoderLayer",
    "PhimoeDecoderLayer",
    "Qwen2MoeDecoderLayer",
    "Qwen3MoeDecoderLayer",
    "Qwen3VLMoeTextDecoderLayer",
    "StableLmDecoderLayer",
];

/// Where an engine keeps the ends of a model.
pub fn ends(server: Server, model: &Model) -> Ends {
    let class = model.modules.as_ref().map(|it| it.block_class.as_str());
    match server {
        Server::Vllm if class.is_some_and(|class| ON_EACH.contains(&class)) => Ends::OnEach,
        Server::Vllm | Server::Sglang => Ends::Apart,
    }
}
