//! Held against replays of whole graphs, which are held against allocations in `cost/graph`.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::cost::graph::samples;
use crate::units::Tokens;
use crate::workload::KvFormat;

/// A cut of a chain: units on the host, and where each device ends.
#[derive(Clone, Debug)]
struct Cut {
    on_host: usize,
    ends: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Case {
    shape: GraphShape,
    workload: Workload,
    layout: Layout,
    cut: Cut,
}

fn case() -> impl Strategy<Value = Case> {
    let layouts = [
        Layout::Pipelined,
        Layout::Sequential,
        Layout::ExpertsOffloaded(0),
        Layout::Offloaded,
    ];
    let formats = [KvFormat::F16, KvFormat::F16, KvFormat::Q8_0, KvFormat::F32];
    (
        0..samples::all().len(),
        prop::sample::select(vec![2048, 8192, 32768]),
        prop::sample::select(vec![16, 128, 512, 2048]),
        prop::sample::select(formats.to_vec()),
        prop::sample::select(layouts.to_vec()),
        prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        1..3u32,
        any::<prop::sample::Index>(),
    )
        .prop_map(
            |(index, context, ubatch, kv_format, layout, cuts, sequences, in_ram)| {
                let shape = samples::all().swap_remove(index);
                let n_blocks = shape.blocks.len();
                let mut ends: Vec<usize> = cuts.iter().map(|cut| 1 + cut.index(n_blocks)).collect();
                ends.sort_unstable();
                ends.dedup();
                let on_host = match layout {
                    Layout::Offloaded => ends.remove(0),
                    _ => 0,
                };
                ends.push(n_blocks + 1);
                let layout = match layout {
                    Layout::ExpertsOffloaded(_) => {
                        Layout::ExpertsOffloaded(1 + in_ram.index(n_blocks) as u32)
                    }
                    layout => layout,
                };
                Case {
                    shape,
                    workload: Workload {
                        context: Tokens(context),
                        sequences,
                        kv_format,
                        ubatch: Tokens(ubatch),
                    },
                    layout,
                    cut: Cut { on_host, ends },
                }
            },
        )
}

/// The whole graph's buffers, the host's last.
fn whole(case: &Case) -> Vec<Bytes> {
    let batch = batch(&case.workload);
    let place = |block: usize| {
        let device = case.cut.ends.iter().position(|end| block < *end);
        match block < case.cut.on_host {
            true => Place::Host,
            false => Place::Device(DeviceId(device.unwrap())),
        }
    };
    let n_blocks = case.shape.blocks.len();
    let placement = Placement {
        n_devices: case.cut.ends.len(),
        blocks: (0..n_blocks)
            .map(|block| {
                let whole = BlockPlace::whole(place(block));
                match case.layout.experts_in_ram().contains(&block) {
                    true => BlockPlace {
                        experts: Place::Host,
                        ..whole
                    },
                    false => whole,
                }
            })
            .collect(),
        head: place(n_blocks),
        pipelined: case.layout == Layout::Pipelined,
        pins_norms: pins_norms(case.layout, &batch),
        streams: true,
    };
    graph::buffers(&case.shape, &batch, &placement)
}

/// The same buffers, one stage at a time.
fn staged(case: &Case) -> Vec<Bytes> {
    let compute = Compute::new(case.shape.clone(), &case.workload);
    let mut start = case.cut.on_host;
    let mut position = Position::First;
    let mut buffers = Vec::new();
    for end in &case.cut.ends {
        buffers.push(
            compute
                .device(case.layout, position, &(start..*end))
                .compute,
        );
        (start, position) = (*end, Position::Later);
    }
    buffers.push(compute.host(case.layout, case.cut.on_host));
    buffers
}

/// One residual stream: what a stage may be off by where holes of the allocator fall otherwise.
fn stream(case: &Case) -> Bytes {
    Bytes(4 * batch(&case.workload).tokens * case.shape.hidden)
}

/// Holds every stage against the whole graph: how many are the same, of how many.
fn hold(case: &Case) -> (u32, u32) {
    let (whole, staged) = (whole(case), staged(case));
    let devices = whole.len() - 1;
    let mut n_exact = 0;
    for (index, (whole, staged)) in whole.iter().zip(&staged).enumerate() {
        n_exact += u32::from(whole == staged);
        // The margins of `cost/llama_cpp.rs`; RAM has the room for logits besides.
        let margin = staged.scale(0.02) + stream(case);
        let is_short = index < devices && *whole > *staged + margin;
        assert!(!is_short, "{index}: {whole:?} of {staged:?}, {case:?}");
    }
    (n_exact, whole.len() as u32)
}

#[test]
fn a_stage_alone_takes_what_it_takes_in_a_whole_graph() {
    let mut runner = TestRunner::deterministic();
    let (mut n_exact, mut n_all) = (0, 0);
    for _ in 0..160 {
        let case = case().new_tree(&mut runner).unwrap().current();
        let (exact, all) = hold(&case);
        n_exact += exact;
        n_all += all;
    }
    assert!(n_exact * 100 >= n_all * 97, "{n_exact} of {n_all}");
}

#[test]
fn many_blocks_of_a_kind_take_no_more_than_a_few() {
    let workload = Workload::of_context(Tokens(8192));
    let compute = Compute::new(samples::llama_2_7b(), &workload);
    let device = |end| compute.device(Layout::Sequential, Position::First, &(0..end));
    assert_eq!(device(6), device(31));
    let replayed = compute.known.borrow().len();
    for end in 7..31 {
        device(end);
    }
    assert_eq!(compute.known.borrow().len(), replayed);
}

#[test]
fn a_quantised_cache_is_unpacked_beside_the_buffer() {
    let mut workload = Workload::of_context(Tokens(8192));
    let buffer = |workload: &Workload| {
        let compute = Compute::new(samples::llama_3_8b(), workload);
        compute.device(Layout::Sequential, Position::First, &(0..16))
    };
    assert_eq!(buffer(&workload).unpacked, Bytes::ZERO);
    workload.kv_format = KvFormat::Q8_0;
    // Keys and values of one layer in 16 bits are 32 MiB, of which holes take a part.
    let unpacked = buffer(&workload).unpacked;
    assert!(unpacked > Bytes::ZERO && unpacked <= Bytes::mib(32));
}

/// A case in which experts are in RAM.
fn case_in_ram() -> impl Strategy<Value = Case> {
    let is_routed = |block: &BlockShape| matches!(block.feed_forward, FeedForwardShape::Experts(_));
    case().prop_filter("has experts in RAM", move |case| {
        !case.layout.experts_in_ram().is_empty() && case.shape.blocks.iter().any(is_routed)
    })
}

#[test]
fn experts_in_ram_stream_through_the_first_device() {
    let mut runner = TestRunner::deterministic();
    let (mut n_exact, mut n_all) = (0, 0);
    for _ in 0..60 {
        let case = case_in_ram().new_tree(&mut runner).unwrap().current();
        let (exact, all) = hold(&case);
        n_exact += exact;
        n_all += all;
    }
    assert!(n_exact * 100 >= n_all * 95, "{n_exact} of {n_all}");
}
