//! A Llama of two blocks, small enough to be written whole: its configuration, its checkpoint, and its
//! GGUF file.

use crate::bytes;

/// The configuration.
pub(crate) const CONFIG: &str = r#"{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
  "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 32,
  "max_position_embeddings": 2048, "tie_word_embeddings": false, "torch_dtype": "float16"
}"#;

/// Names in a checkpoint and in a GGUF file, and the shape, slowest first.
fn tensors() -> Vec<(String, String, Vec<u64>)> {
    let mut tensors = vec![(
        "model.embed_tokens".to_owned(),
        "token_embd".to_owned(),
        vec![32, 64],
    )];
    for block in 0..2 {
        for (hf, gguf, dims) in [
            ("input_layernorm", "attn_norm", vec![64]),
            ("self_attn.q_proj", "attn_q", vec![64, 64]),
            ("self_attn.k_proj", "attn_k", vec![64, 64]),
            ("self_attn.v_proj", "attn_v", vec![64, 64]),
            ("self_attn.o_proj", "attn_output", vec![64, 64]),
            ("post_attention_layernorm", "ffn_norm", vec![64]),
            ("mlp.gate_proj", "ffn_gate", vec![128, 64]),
            ("mlp.up_proj", "ffn_up", vec![128, 64]),
            ("mlp.down_proj", "ffn_down", vec![64, 128]),
        ] {
            tensors.push((
                format!("model.layers.{block}.{hf}"),
                format!("blk.{block}.{gguf}"),
                dims,
            ));
        }
    }
    tensors.push(("model.norm".to_owned(), "output_norm".to_owned(), vec![64]));
    tensors.push(("lm_head".to_owned(), "output".to_owned(), vec![32, 64]));
    tensors
}

/// The parameters of all tensors.
pub(crate) const PARAMETERS: u64 = 2 * 32 * 64 + 64 + 2 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64);

/// A safetensors file of those tensors whose number leaves this rest when divided by two, or of all.
fn safetensors(rest: impl Fn(usize) -> bool) -> Vec<u8> {
    let (mut entries, mut offset) = (Vec::new(), 0);
    for (index, (name, _, dims)) in tensors().iter().enumerate() {
        if rest(index) {
            let end = offset + 2 * dims.iter().product::<u64>();
            entries.push(format!(
                r#""{name}.weight":{{"dtype":"F16","shape":{dims:?},"data_offsets":[{offset},{end}]}}"#
            ));
            offset = end;
        }
    }
    bytes::safetensors(&format!("{{{}}}", entries.join(",")), offset as usize)
}

/// The checkpoint in one file.
pub(crate) fn single() -> Vec<u8> {
    safetensors(|_| true)
}

/// Name and contents of the two files of a split checkpoint, and of their index.
pub(crate) fn split() -> [(&'static str, Vec<u8>); 3] {
    let shards = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let entries: Vec<_> = tensors()
        .iter()
        .enumerate()
        .map(|(index, (name, _, _))| format!("\"{name}.weight\":\"{}\"", shards[index % 2]))
        .collect();
    let index = format!("{{\"weight_map\":{{{}}}}}", entries.join(","));
    [
        (shards[0], safetensors(|index| index % 2 == 0)),
        (shards[1], safetensors(|index| index % 2 == 1)),
        ("model.safetensors.index.json", index.into_bytes()),
    ]
}

/// A vocabulary whose text has so many bytes.
fn vocabulary(size: usize) -> Vec<u8> {
    let words = [bytes::text(&"x".repeat(size)), bytes::text("")].concat();
    bytes::array("tokenizer.ggml.tokens", 8, 2, &words)
}

fn entries(more: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let name = |key: &str, value: &str| {
        [
            bytes::text(key),
            8u32.to_le_bytes().into(),
            bytes::text(value),
        ]
        .concat()
    };
    let mut entries = vec![
        name("general.architecture", "llama"),
        bytes::number("llama.block_count", 2),
        bytes::number("llama.embedding_length", 64),
        bytes::number("llama.feed_forward_length", 128),
        bytes::number("llama.attention.head_count", 4),
        bytes::number("llama.context_length", 2048),
    ];
    entries.extend(more);
    entries
}

/// The tensors that are kept, as a header states them, and the bytes that they take.
fn stated(keep: impl Fn(usize) -> bool) -> (Vec<Vec<u8>>, usize) {
    let (mut headers, mut offset) = (Vec::new(), 0);
    for (index, (_, name, dims)) in tensors().iter().enumerate() {
        if keep(index) {
            let row_first: Vec<u64> = dims.iter().rev().copied().collect();
            // 1 is f16.
            let name = format!("{name}.weight");
            headers.push(bytes::tensor(&name, &row_first, 1, offset));
            offset += 2 * dims.iter().product::<u64>();
        }
    }
    (headers, offset as usize)
}

/// The GGUF file, with a vocabulary of this size in its header.
pub(crate) fn gguf(vocabulary_size: usize) -> Vec<u8> {
    let (headers, data) = stated(|_| true);
    bytes::gguf(&entries(vec![vocabulary(vocabulary_size)]), &headers, data)
}

/// The GGUF file in two.
pub(crate) fn split_gguf() -> [Vec<u8>; 2] {
    [0, 1].map(|part: u32| {
        let (headers, data) = stated(|index| index % 2 == part as usize);
        let numbers = [
            bytes::number("split.count", 2),
            bytes::number("split.no", part),
            bytes::number("split.tensors.count", 21),
        ];
        bytes::gguf(&entries(numbers.into()), &headers, data)
    })
}
