//! Where an engine keeps the embedding, the final norm and the head of a pipeline: on the first and the
//! last stage, or on each; and of which models it has no pipelines.
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

/// Blocks of the classes that vLLM refuses in several stages: they are not `SupportsPP`. Source: the
/// models of vLLM 0.32.0. Of SmolVLM and Idefics3 it does too, whose blocks are named as Llama's.
const IN_ONE_STAGE_OF_VLLM: [&str; 1] = ["Gemma3nTextDecoderLayer"];

/// Blocks of the classes whose `forward` takes no `pp_proxy_tensors`, so that a second stage would get
/// nothing from the first. Source: `srt/models` of SGLang 0.5.23.
const IN_ONE_STAGE_OF_SGLANG: [&str; 33] = [
    "Cohere2DecoderLayer",
    "CohereDecoderLayer",
    "DbrxBlock",
    "DecoderLayer",
    "Ernie4_5_MoeDecoderLayer",
    "ExaoneBlock",
    "GLMBlock",
    "GPT2Block",
    "GPTBigCodeBlock",
    "GPTJBlock",
    "Gemma2DecoderLayer",
    "Gemma3DecoderLayer",
    "Gemma3nTextDecoderLayer",
    "GemmaDecoderLayer",
    "GraniteDecoderLayer",
    "GraniteMoeDecoderLayer",
    "GraniteMoeSharedDecoderLayer",
    "HunYuanDenseV1DecoderLayer",
    "HunYuanMoEV1DecoderLayer",
    "InternLM2DecoderLayer",
    "Llama4TextDecoderLayer",
    "LongcatFlashDecoderLayer",
    "MiniCPMDecoderLayer",
    "MllamaSelfAttentionDecoderLayer",
    "Olmo2DecoderLayer",
    "OlmoDecoderLayer",
    "OlmoeDecoderLayer",
    "PhiDecoderLayer",
    "PhimoeDecoderLayer",
    "Qwen2VLDecoderLayer",
    "StableLmDecoderLayer",
    "Starcoder2DecoderLayer",
    "Step3p7DecoderLayer",
];

/// The most stages that an engine runs a model in.
pub fn most_stages(server: Server, model: &Model) -> usize {
    let in_one: &[&str] = match server {
        Server::Vllm => &IN_ONE_STAGE_OF_VLLM,
        Server::Sglang => &IN_ONE_STAGE_OF_SGLANG,
    };
    let class = model.modules.as_ref().map(|it| it.block_class.as_str());
    match class.is_some_and(|class| in_one.contains(&class)) {
        true => 1,
        false => usize::MAX,
    }
}

/// Where an engine keeps the ends of a model.
pub fn ends(server: Server, model: &Model) -> Ends {
    let class = model.modules.as_ref().map(|it| it.block_class.as_str());
    match server {
        Server::Vllm if class.is_some_and(|class| ON_EACH.contains(&class)) => Ends::OnEach,
        Server::Vllm | Server::Sglang => Ends::Apart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::open;

    #[test]
    fn a_class_without_a_pipeline_has_one_stage() {
        let gemma = open("gemma-2-27b").unwrap();
        assert_eq!(most_stages(Server::Sglang, &gemma), 1);
        assert_eq!(most_stages(Server::Vllm, &gemma), usize::MAX);
        let llama = open("llama-3-8b").unwrap();
        assert_eq!(most_stages(Server::Sglang, &llama), usize::MAX);
    }
}
