//! Detection on machines without a GPU: tests/fixtures/fake_nvml.c plays the driver's library.
#![cfg(unix)]

use std::path::{Path, PathBuf};
use std::process::Command;

use shardplan::hardware::{
    DetectError, Detected, Device, DeviceClass, HostId, Pcie, Rig, Source, detect,
};
use shardplan::units::{Bytes, BytesPerSecond};

/// Compiles the driver with these definitions, asks it, and puts it away.
fn detect_with(definitions: &[&str]) -> Detected {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let library = compile(folder.path(), definitions);
    detect(Some(&library)).unwrap_or_else(|error| panic!("{error}"))
}

fn compile(folder: &Path, definitions: &[&str]) -> PathBuf {
    let library = folder.join("libfake_nvml.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fake_nvml.c");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args(definitions)
        .arg(source)
        .output()
        .expect("cc links every Rust program, so it is here");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    library
}

/// Notes on the GPUs alone: those on RAM and disk depend on the machine that runs the test.
fn gpu_notes(detected: &Detected) -> Vec<&str> {
    let of_host = |note: &&str| note.starts_with("RAM") || note.starts_with("disk");
    let notes = detected.notes.iter().map(String::as_str);
    notes.filter(|note| !of_host(note)).collect()
}

#[test]
fn two_gpus_are_matched_to_the_table() {
    let detected = detect_with(&["-DDEVICES=2"]);
    let [first, second] = detected.rig.devices() else {
        panic!("{:?}", detected.rig.devices());
    };
    let expected = Device {
        name: "cuda0".to_owned(),
        model: "RTX 3090".to_owned(),
        class: DeviceClass::Ampere,
        memory: Bytes::mib(24_124),
        bandwidth: BytesPerSecond(936.2e9),
        host: HostId::FIRST,
        link: Pcie {
            generation: 4,
            lanes: 16,
        },
        reserve: Bytes::mib(812),
        compute_capability: "8.6".parse().ok(),
        pci: Some("0000:01:00.0".to_owned()),
        source: Source::Datasheet,
    };
    assert_eq!(first, &expected);
    let expected = Device {
        name: "cuda1".to_owned(),
        link: Pcie {
            generation: 4,
            lanes: 8,
        },
        reserve: Bytes::ZERO,
        pci: Some("0000:02:00.0".to_owned()),
        ..expected
    };
    assert_eq!(second, &expected);
    assert_eq!(
        gpu_notes(&detected),
        ["cuda0: 812.00 MiB is in use now and kept as its reserve"]
    );
}

#[test]
fn a_detected_rig_is_the_document_that_users_write() {
    let rig = detect_with(&["-DDEVICES=2"]).rig;
    let text = rig.to_yaml();
    assert!(text.contains("0000:02:00.0"), "{text}");
    let read = Rig::from_yaml(&text, "detected").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read, rig);
    assert_eq!(read.to_yaml(), text);
}

#[test]
fn the_host_is_read_and_its_bandwidth_admitted_as_assumed() {
    let detected = detect_with(&["-DDEVICES=0"]);
    let host = detected.rig.host().expect("this machine has RAM");
    assert!(host.memory > Bytes::mib(64));
    assert_eq!(host.source, Source::Assumed);
    assert!(
        detected
            .notes
            .iter()
            .any(|note| note.contains("bandwidth is assumed"))
    );
}

#[test]
fn a_driver_without_gpus_gives_a_rig_of_ram_and_a_note() {
    let detected = detect_with(&["-DDEVICES=0"]);
    assert!(detected.rig.devices().is_empty());
    assert_eq!(gpu_notes(&detected), ["the NVIDIA driver lists no GPU"]);
}

#[test]
fn a_gpu_outside_the_table_gets_bandwidth_from_bus_and_clock() {
    let detected = detect_with(&["-DDEVICES=1", "-DNAME=\"NVIDIA Moon 1\""]);
    let device = &detected.rig.devices()[0];
    assert_eq!(
        (device.model.as_str(), device.class),
        ("NVIDIA Moon 1", DeviceClass::Ampere)
    );
    // 384 bits / 8 × 9751 MHz × 2, by hand.
    assert_eq!(device.bandwidth, BytesPerSecond(936.096e9));
    assert_eq!(device.source, Source::Measured);
    // 2 % of 24,576 MiB is kept by the driver.
    assert_eq!(device.memory, Bytes::mib(24_084));
}

#[test]
fn a_property_that_is_not_supported_is_a_note() {
    let detected = detect_with(&["-DDEVICES=1", "-DNAME=\"NVIDIA Moon 1\"", "-DNO_BUS_WIDTH"]);
    let device = &detected.rig.devices()[0];
    assert_eq!(device.source, Source::Assumed);
    let notes = gpu_notes(&detected);
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("cuda0: its bus width can't be read"))
    );
    assert!(
        notes
            .iter()
            .any(|note| note.contains("bandwidth is assumed")),
        "{notes:?}"
    );
}

#[test]
fn memory_that_is_not_reported_comes_from_the_table_or_the_gpu_is_left_out() {
    let known = detect_with(&["-DDEVICES=1", "-DNAME=\"NVIDIA GB10\"", "-DNO_MEMORY"]);
    assert_eq!(known.rig.devices()[0].memory, Bytes::gib(119));
    let unknown = detect_with(&["-DDEVICES=1", "-DNAME=\"NVIDIA Moon 1\"", "-DNO_MEMORY"]);
    assert!(unknown.rig.devices().is_empty());
    let notes = gpu_notes(&unknown);
    assert!(
        notes.iter().any(|note| note.contains("left out")),
        "{notes:?}"
    );
}

#[test]
fn a_lost_gpu_leaves_the_others_their_numbers() {
    let detected = detect_with(&["-DDEVICES=3", "-DLOST"]);
    let names: Vec<_> = detected
        .rig
        .devices()
        .iter()
        .map(|device| &device.name)
        .collect();
    assert_eq!(names, ["cuda0", "cuda2"]);
    let notes = gpu_notes(&detected);
    assert!(
        notes
            .iter()
            .any(|note| note.starts_with("cuda1: it does not answer")),
        "{notes:?}"
    );
}

#[test]
fn a_library_that_was_asked_for_must_answer() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("libmissing.so");
    let Err(DetectError::Library { path, .. }) = detect(Some(&missing)) else {
        panic!("a library that is not there answered");
    };
    assert_eq!(path, missing);
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    assert!(detect(Some(&text)).is_err());
}

#[test]
fn without_a_library_the_driver_of_this_machine_is_asked_and_may_be_absent() {
    let detected = detect(None).unwrap_or_else(|error| panic!("{error}"));
    assert!(detected.rig.host().is_some());
    assert!(!detected.notes.is_empty());
}
