//! Held against replays of whole graphs, which are held against allocations in `cost/graph`.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::cost::graph::samples;
use crate::units::Tokens;

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
    let layouts = [Layout::Pipelined, Layout::Sequential, Layout::Offloaded];
    let formats = [KvFormat::F16, KvFormat::F16, KvFormat::Q8_0, KvFormat::F32];
    (
        0..samples::all().len(),
        prop::sample::select(vec![2048, 8192, 32768]),
        prop::sample::select(vec![16, 128, 512, 2048]),
        prop::sample::select(formats.to_vec()),
        prop::sample::select(layouts.to_vec()),
        prop::collection::vec(any::<prop::sample::Index>(), 1..5),
        1..3u32,
    )
        .prop_map(
            |(index, context, ubatch, kv_format, layout, cuts, sequences)| {
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
            .map(|block| BlockPlace::whole(place(block)))
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

#[test]
fn explore() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let mut counts = std::collections::BTreeMap::<_, (u32, u32, f64, f64)>::new();
    for _ in 0..std::env::var("CASES").map_or(300, |n| n.parse().unwrap()) {
        let case = case().new_tree(&mut runner).unwrap().current();
        let (whole, staged) = (whole(&case), staged(&case));
        let n = whole.len();
        for (index, (whole, staged)) in whole.iter().zip(&staged).enumerate() {
            let what = match (index, index + 1 == n) {
                (_, true) => "host",
                (0, _) => "first",
                _ => "later",
            };
            let entry = counts
                .entry((case.layout, what))
                .or_insert((0, 0, 1.0f64, 1.0f64));
            entry.0 += 1;
            if whole != staged {
                entry.1 += 1;
                let ratio = staged.0 as f64 / whole.0 as f64;
                entry.2 = entry.2.min(ratio);
                entry.3 = entry.3.max(ratio);
                println!(
                    "{ratio:.4} {what} {index} {:?} {:?} blocks {} hidden {} {:?} whole {:?} staged {:?}",
                    case.layout,
                    case.cut,
                    case.shape.blocks.len(),
                    case.shape.hidden,
                    case.workload,
                    whole.0,
                    staged.0
                );
            }
        }
    }
    for (key, count) in counts {
        println!("{key:?} {count:?}");
    }
    panic!("look");
}
