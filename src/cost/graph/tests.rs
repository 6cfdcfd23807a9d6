//! Held against buffers that llama.cpp 0c1e57098 allocated, on devices that behave like GPUs; the
//! models stored as `q4_k_m`, micro-batches of 512, logits for every token.

use super::*;
use crate::hardware::DeviceId;

fn batch(context: u64) -> Batch {
    Batch {
        tokens: 512,
        ubatch: 512,
        outputs: 512,
        sequences: 1,
        streams: 1,
        cells: context,
        keys: Format::F16,
        values: Format::F16,
        flash: true,
        unpacks: false,
    }
}

/// The first blocks on the host, then so many units on each device; the head is a unit.
fn placement(shape: &GraphShape, on_host: usize, runs: &[usize], pipelined: bool) -> Placement {
    let host = std::iter::repeat_n(Place::Host, on_host);
    let runs_of =
        |(index, run): (usize, &usize)| std::iter::repeat_n(Place::Device(DeviceId(index)), *run);
    let mut places: Vec<_> = host
        .chain(runs.iter().enumerate().flat_map(runs_of))
        .collect();
    assert_eq!(places.len(), shape.blocks.len() + 1);
    Placement {
        n_devices: runs.len(),
        head: places.pop().unwrap(),
        blocks: places.into_iter().map(BlockPlace::whole).collect(),
        pipelined,
        pins_norms: on_host == 0,
        streams: true,
    }
}

#[test]
fn one_device_is_exact_to_the_byte() {
    // Blocks on the host; the buffers of the device and of the host, 8192 cells.
    let recorded = [
        (samples::llama_2_7b(), 0, [101_199_872, 25_180_160]),
        (samples::llama_2_7b(), 17, [168_822_784, 33_568_768]),
        (samples::llama_3_8b(), 0, [271_056_896, 25_180_160]),
        (samples::falcon_40b(), 0, [149_946_368, 41_957_376]),
        (samples::falcon_40b(), 31, [533_792_768, 45_068_288]),
        (samples::gemma_2_27b(), 0, [533_725_184, 32_004_096]),
        (samples::gemma_2_27b(), 24, [533_725_184, 32_004_096]),
        (samples::mixtral(), 0, [209_727_488, 25_180_160]),
        (samples::mixtral(), 1, [487_065_600, 25_180_160]),
        (samples::mixtral(), 17, [506_988_544, 25_180_160]),
        (samples::qwen3_moe(), 0, [315_359_232, 16_791_552]),
        (samples::qwen3_moe(), 25, [315_359_232, 16_791_552]),
        (samples::deepseek_v2_lite(), 0, [247_738_368, 16_787_456]),
        (samples::deepseek_v2_lite(), 15, [275_644_672, 16_787_456]),
        (samples::mamba(), 0, [113_461_376, 10_489_888]),
        (samples::mamba(), 33, [120_895_616, 37_816_992]),
        (samples::qwen3_next(), 0, [323_747_840, 16_791_584]),
        (samples::qwen3_next(), 25, [548_405_248, 29_470_752]),
    ];
    for (shape, on_host, bytes) in recorded {
        let rest = shape.blocks.len() + 1 - on_host;
        let placement = placement(&shape, on_host, &[rest], false);
        let ours = buffers(&shape, &batch(8192), &placement);
        assert_eq!(ours, bytes.map(Bytes), "{on_host} of {shape:?}");
    }
}

#[test]
fn scores_that_are_written_down_are_counted() {
    let without = Batch {
        flash: false,
        ..batch(32768)
    };
    let recorded = [
        (samples::llama_3_8b(), [2_252_349_440, 88_090_624]),
        (samples::gemma_2_27b(), [2_276_470_784, 112_211_968]),
    ];
    for (shape, bytes) in recorded {
        let placement = placement(&shape, 0, &[shape.blocks.len() + 1], false);
        assert_eq!(buffers(&shape, &without, &placement), bytes.map(Bytes));
    }
}

#[test]
fn a_pipeline_holds_its_inputs_four_times() {
    let (llama, gemma) = (samples::llama_3_8b(), samples::gemma_2_27b());
    let in_a_pipeline = placement(&llama, 0, &[8, 16, 9], true);
    let recorded = [180_396_032, 180_396_032, 338_214_912, 75_554_816];
    assert_eq!(
        buffers(&llama, &batch(8192), &in_a_pipeline),
        recorded.map(Bytes)
    );
    let behind_the_host = placement(&gemma, 11, &[9, 18, 9], false);
    let recorded = [304_482_304, 258_492_416, 533_725_184, 32_004_096];
    assert_eq!(
        buffers(&gemma, &batch(8192), &behind_the_host),
        recorded.map(Bytes)
    );
}
