//! What the outlook takes for granted.

use super::*;
use crate::cost::{Accounting, Matrices, Parts};
use crate::hardware::text;
use crate::model::{Origin, Precision, config, known, recipe::Recipe};
use crate::units::Tokens;
use crate::workload::Workload;

/// Every kind of attention and of feed-forward, large vocabularies, and blocks that are not alike.
const MODELS: [(&str, Matrices); 9] = [
    ("gpt-oss-20b", Matrices::Experts),
    ("llama-3-8b", Matrices::FeedForward),
    ("gemma-3-12b", Matrices::FeedForward),
    ("bloom", Matrices::FeedForward),
    ("falcon-40b", Matrices::FeedForward),
    ("llama-3.3-nemotron-super-49b", Matrices::FeedForward),
    ("deepseek-v3", Matrices::Experts),
    ("kimi-k2", Matrices::Experts),
    ("qwen3-next-80b-a3b", Matrices::Experts),
];

/// Models whose first stage takes less than a later one: recurrent ones, and one with a dense block
/// before its experts.
const FIXTURES: [(&str, &str, Matrices); 4] = [
    (
        "rwkv7-world-1.5b",
        include_str!("../../../../tests/fixtures/configs/rwkv7-world-1.5b.json"),
        Matrices::FeedForward,
    ),
    (
        "mamba-2.8b",
        include_str!("../../../../tests/fixtures/configs/mamba-2.8b.json"),
        Matrices::FeedForward,
    ),
    (
        "kimi-linear-48b",
        include_str!("../../../../tests/fixtures/configs/kimi-linear-48b.json"),
        Matrices::Experts,
    ),
    (
        "dots1",
        include_str!("../../../../tests/fixtures/configs/dots1.json"),
        Matrices::Experts,
    ),
];

/// A stage that needs less than its weights, its cache and the least buffer would be ruled out wrongly.
#[test]
fn no_stage_takes_less_beside_weights_and_cache_than_the_least_one() {
    let rig = text::parse("24 GiB@1 TB/s + 16 GiB@500 GB/s, ram 64 GiB").unwrap();
    let known = MODELS.map(|(name, matrices)| {
        let config = known::find(name).unwrap().config.clone();
        (name, config, matrices)
    });
    let fixtures = FIXTURES
        .map(|(name, text, matrices)| (name, serde_json::from_str(text).unwrap(), matrices));
    for (name, config, matrices) in known.into_iter().chain(fixtures) {
        let model = config::model(name, Origin::Known, &config).unwrap();
        let workload = Workload::of_context(Tokens(8192));
        let precision = Precision::Gguf(Recipe::Q4KM);
        let prices = LlamaCpp::new(&model, precision, &rig, &workload).unwrap();
        let n_units = prices.units().len();
        let cut = n_units / 3;
        let parts = Parts {
            matrices,
            n_blocks: cut as u32,
        };
        let layouts = [
            Layout::Sequential,
            Layout::Pipelined,
            Layout::OFFLOADED,
            Layout::parts_alone(parts),
            Layout::whole_and(parts),
        ];
        for layout in layouts {
            let least = prices.least_buffer(layout);
            let starts = [0, 1, 2, cut - 1, cut, cut + 1, n_units - 2, n_units - 1];
            let stages = starts.into_iter().flat_map(|start| {
                let ends = [start + 1, start + 2, start + 7, n_units - 1, n_units];
                ends.map(|end| start..end)
            });
            for units in stages.filter(|units| !units.is_empty() && units.end <= n_units) {
                let is_first = match layout.whole() {
                    Whole::Nothing => units.start == 0,
                    Whole::FirstUnits => layout.ends_of_whole(n_units).contains(&units.start),
                };
                let first = is_first.then_some(Position::First);
                let later = (units.start > 1).then_some(Position::Later);
                for position in first.into_iter().chain(later) {
                    let span = Span {
                        place: Place::Device(DeviceId(0)),
                        units: units.clone(),
                        streamed: 0..0,
                        position,
                    };
                    let needs = prices.stage(layout, &span).device.total();
                    let least = prices.on_gpus(layout, &units) + CUDA_CONTEXT + least;
                    assert!(needs >= least, "{name} {layout:?} {position:?} {units:?}");
                }
            }
        }
    }
}

#[test]
fn the_longest_run_is_of_units_that_follow_each_other() {
    // Units of 4, 1, 1, 3 and 9 bytes.
    let held = [0, 4, 5, 6, 9, 18];
    let most = |range, room| longest(&held, range, Bytes(room)).0;
    assert_eq!(most(0..5, 3), 3);
    assert_eq!(most(0..5, 5), 5);
    assert_eq!(most(0..5, 8), 6);
    assert_eq!(most(0..5, 18), 18);
    assert_eq!(most(1..4, 9), 5);
    assert_eq!(most(2..2, 9), 0);
}
