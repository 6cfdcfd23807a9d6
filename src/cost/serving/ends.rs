//! What an engine keeps on which stages of a pipeline, where it is not only what the stage computes; and
//! of which models it has no pipelines.
//!
//! Not all classes leave out of a stage what is only used on others. Sources: the models of vLLM 0.33.0,
//! where an embedding or a head is made without a look at the stage, and those of SGLang 0.5.23; of those
//! in `tests/engines/vllm_stages.py` and `tests/engines/sglang_stages.py` it was seen on built ones.

use crate::cost::serving::Server;
use crate::model::{Model, Part};

/// Which stages keep something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The one that computes with it.
    Once,
    /// Each.
    OnEach,
}

/// What is kept where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The embedding, of the first stage.
    pub embedding: Kept,
    /// The norm behind the last block, of the last stage.
    pub norm: Kept,
    /// The head, of the last stage.
    pub head: Kept,
    /// What reads pictures, of the first stage.
    pub tower: Kept,
    /// Keys and values of a block, of its stage.
    pub cache: Kept,
}

impl Ends {
    /// A model that is cut as it is computed.
    const CUT: Self = Self {
        embedding: Kept::Once,
        norm: Kept::Once,
        head: Kept::Once,
        tower: Kept::Once,
        cache: Kept::Once,
    };
}

/// Blocks of the classes of vLLM that keep embedding, norm and head on each stage.
const ON_EACH_OF_VLLM: [&str; 25] = [
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

/// Blocks of the classes of SGLang that make a head without a look at the stage. Llava models with such
/// blocks are run without a class of their own, and keep less.
const HEAD_ON_EACH_OF_SGLANG: [&str; 15] = [
    "ApertusDecoderLayer",
    "ArceeDecoderLayer",
    "Exaone4DecoderLayer",
    "Glm4MoeDecoderLayer",
    "Glm4MoeLiteDecoderLayer",
    "GptOssDecoderLayer",
    "InternLM3DecoderLayer",
    "LlamaDecoderLayer",
    "Ministral3DecoderLayer",
    "MistralDecoderLayer",
    "MixtralDecoderLayer",
    "OPTDecoderLayer",
    "Phi3DecoderLayer",
    "Qwen2MoeDecoderLayer",
    "Qwen3MoeDecoderLayer",
];

/// Blocks of the classes of SGLang that make an embedding without a look at the stage.
const EMBEDDING_ON_EACH_OF_SGLANG: [&str; 2] = ["MiniMaxM2DecoderLayer", "OPTDecoderLayer"];

/// Blocks of the classes of SGLang that do not say which blocks are theirs (`start_layer`), so that it
/// keeps room in the cache of each stage for every block.
const CACHE_ON_EACH_OF_SGLANG: [&str; 5] = [
    "Gemma4TextDecoderLayer",
    "Glm4vTextDecoderLayer",
    "MiniMaxM2DecoderLayer",
    "OPTDecoderLayer",
    "Qwen2_5_VLDecoderLayer",
];

/// The same of the class that reads pictures for Mistral's blocks.
const CACHE_ON_EACH_WITH_A_TOWER: [&str; 2] = ["Ministral3DecoderLayer", "MistralDecoderLayer"];

/// Blocks of the classes of SGLang whose head is the embedding itself where both are one matrix, which
/// the last of several stages has not: it fails at the first token.
const TIED_IN_ONE_STAGE_OF_SGLANG: [&str; 7] = [
    "ApertusDecoderLayer",
    "Exaone4DecoderLayer",
    "InternLM3DecoderLayer",
    "LlamaDecoderLayer",
    "Ministral3DecoderLayer",
    "MistralDecoderLayer",
    "Phi3DecoderLayer",
];

/// Blocks of the classes of SGLang whose embedding is whole on each GPU of a group.
const EMBEDDING_REPEATED_BY_SGLANG: [&str; 3] = [
    "Gemma3DecoderLayer",
    "Gemma3nTextDecoderLayer",
    "Gemma4TextDecoderLayer",
];

/// Blocks of the classes that vLLM refuses in several stages: they are not `SupportsPP`. Source: the
/// models of vLLM 0.32.0. Of SmolVLM and Idefics3 it does too, whose blocks are named as Llama's.
const IN_ONE_STAGE_OF_VLLM: [&str; 1] = ["Gemma3nTextDecoderLayer"];

/// Blocks of the classes whose `forward` takes no `pp_proxy_tensors`, so that a second stage would get
/// nothing from the first. Source: `srt/models` of SGLang 0.5.23.
const IN_ONE_STAGE_OF_SGLANG: [&str; 35] = [
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
    "NemotronDecoderLayer",
    "Olmo2DecoderLayer",
    "Olmo3DecoderLayer",
    "OlmoDecoderLayer",
    "OlmoeDecoderLayer",
    "PhiDecoderLayer",
    "PhimoeDecoderLayer",
    "Qwen2VLDecoderLayer",
    "StableLmDecoderLayer",
    "Starcoder2DecoderLayer",
    "Step3p7DecoderLayer",
];

/// Whether the blocks of a model are of one of some classes.
pub(super) fn is_of(model: &Model, classes: &[&str]) -> bool {
    let class = model.modules.as_ref().map(|it| it.block_class.as_str());
    class.is_some_and(|class| classes.contains(&class))
}

/// The most stages that an engine runs a model in.
pub fn most_stages(server: Server, model: &Model) -> usize {
    let in_one = match server {
        Server::Vllm => is_of(model, &IN_ONE_STAGE_OF_VLLM),
        Server::Sglang => {
            is_of(model, &IN_ONE_STAGE_OF_SGLANG)
                || model.tied && is_of(model, &TIED_IN_ONE_STAGE_OF_SGLANG)
        }
    };
    match in_one {
        true => 1,
        false => usize::MAX,
    }
}

/// What an engine keeps of a model on which stages.
pub fn ends(server: Server, model: &Model) -> Ends {
    let kept = |is_on_each: bool| match is_on_each {
        true => Kept::OnEach,
        false => Kept::Once,
    };
    let has_tower = || {
        model
            .tensors
            .iter()
            .any(|tensor| tensor.part == Part::Tower)
    };
    match server {
        Server::Vllm => {
            let all = kept(is_of(model, &ON_EACH_OF_VLLM));
            Ends {
                embedding: all,
                norm: all,
                head: all,
                ..Ends::CUT
            }
        }
        Server::Sglang => Ends {
            embedding: kept(is_of(model, &EMBEDDING_ON_EACH_OF_SGLANG)),
            norm: Kept::Once,
            head: kept(is_of(model, &HEAD_ON_EACH_OF_SGLANG)),
            tower: Kept::OnEach,
            cache: kept(
                is_of(model, &CACHE_ON_EACH_OF_SGLANG)
                    || is_of(model, &CACHE_ON_EACH_WITH_A_TOWER) && has_tower(),
            ),
        },
    }
}

/// Whether each GPU of a group has the whole embedding.
pub fn is_embedding_repeated(server: Server, model: &Model) -> bool {
    match server {
        Server::Vllm => false,
        Server::Sglang => is_of(model, &EMBEDDING_REPEATED_BY_SGLANG),
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
        // Its head is the embedding, which the last stage would lack.
        let tied = open("llama-3.2-1b").unwrap();
        assert_eq!(most_stages(Server::Sglang, &tied), 1);
        assert_eq!(most_stages(Server::Vllm, &tied), usize::MAX);
    }
}
