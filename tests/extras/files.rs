//! Adapters and projectors of the tiny model, as GGUF files.

use crate::bytes;

fn entry(key: &str, value: &str) -> Vec<u8> {
    [
        bytes::text(key),
        8u32.to_le_bytes().into(),
        bytes::text(value),
    ]
    .concat()
}

/// A GGUF file with these tensors in 16 bits, shapes slowest first.
fn gguf(entries: &[Vec<u8>], tensors: Shapes<'_>) -> Vec<u8> {
    let (mut headers, mut offset) = (Vec::new(), 0);
    for (name, dims) in tensors {
        let row_first: Vec<u64> = dims.iter().rev().copied().collect();
        headers.push(bytes::tensor(name, &row_first, 1, offset));
        offset += (2 * dims.iter().product::<u64>()).next_multiple_of(32);
    }
    bytes::gguf(entries, &headers, offset as usize)
}

pub(crate) fn adapter(architecture: &str, tensors: Shapes<'_>) -> Vec<u8> {
    let entries = [
        entry("general.type", "adapter"),
        entry("general.architecture", architecture),
        entry("adapter.type", "lora"),
    ];
    gguf(&entries, tensors)
}

/// Names and shapes, slowest first.
pub(crate) type Shapes<'a> = &'a [(&'a str, &'a [u64])];

pub(crate) const PAIRS: Shapes<'_> = &[
    ("token_embd.weight.lora_a", &[32, 8]),
    ("token_embd.weight.lora_b", &[64, 8]),
    ("blk.0.attn_q.weight.lora_a", &[8, 64]),
    ("blk.0.attn_q.weight.lora_b", &[64, 8]),
    ("blk.1.ffn_down.weight.lora_a", &[8, 128]),
    ("blk.1.ffn_down.weight.lora_b", &[64, 8]),
];

/// A projector of a tower of width 16 into so many.
pub(crate) fn projector(width: u64) -> Vec<u8> {
    let entries = [
        entry("general.architecture", "clip"),
        bytes::number("clip.vision.block_count", 1),
        bytes::number("clip.vision.image_size", 56),
        bytes::number("clip.vision.patch_size", 14),
        bytes::number("clip.vision.embedding_length", 16),
        bytes::number("clip.vision.feed_forward_length", 32),
    ];
    let tensors: Shapes<'_> = &[
        ("v.blk.0.ffn_up.weight", &[32, 16]),
        ("v.blk.0.ffn_up.bias", &[33]),
        ("mm.0.weight", &[width, 16]),
    ];
    gguf(&entries, tensors)
}
