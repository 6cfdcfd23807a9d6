//! What streams from disk, against every other split of it.

use super::*;
use crate::hardware::{DeviceId, text};
use crate::model::{Origin, config, known};

#[test]
fn no_split_of_a_run_leaves_less_on_disk_that_ram_can_hold() {
    let config = &known::find("llama-2-7b").unwrap().config;
    let model = config::model("llama-2-7b", Origin::Known, config).unwrap();
    let workload = Workload::of_context(Tokens(2048));
    let precision = Precision::Checkpoint(Checkpoint::Fp16);
    for ram in 1..14 {
        let rig = format!("24 GiB@900 GB/s, ram {ram} GiB reserve 512 MiB, disk 2 GB/s");
        let rig = text::parse(&rig).unwrap();
        let prices = Transformers::new(&model, precision, &rig, &workload).unwrap();
        let span = Span {
            place: Place::Device(DeviceId(0)),
            units: 0..prices.units().len(),
            streamed: 1..30,
            position: Position::First,
        };
        let layout = Layout::OFFLOADED.held_by(Store::Disk);
        let (stage, room) = (prices.stage(layout, &span), capacity(&rig, Place::Host));
        assert!(stage.host.total() <= room, "{ram}");
        let found = prices.on_disk(layout, std::slice::from_ref(&span));
        let weights = |from, to| prices.between(from, to).weights;
        // Every run of the units on disk, the largest matrix passing through.
        for from in span.streamed.clone() {
            for to in from..=span.streamed.end {
                let on_disk = weights(from, to);
                let passing = if from < to {
                    prices.largest[30]
                } else {
                    Bytes::ZERO
                };
                let held = weights(1, 30).saturating_sub(on_disk) + passing;
                assert!(
                    held > room || on_disk >= found.weights,
                    "{ram}: {from}-{to}"
                );
            }
        }
        let in_ram = prices.stage(Layout::OFFLOADED, &span);
        let reading = (stage.time.0 - in_ram.time.0) * 2e9;
        assert!(
            (reading - found.read.0 as f64).abs() < 1e3,
            "{ram}: {reading}"
        );
    }
}
