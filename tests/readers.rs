//! The readers of weight files survive any bytes: they never panic, never believe a length that the
//! file cannot hold, and name what is wrong.

#[path = "readers/bytes.rs"]
mod bytes;
#[path = "readers/gguf.rs"]
mod gguf;
#[path = "readers/safetensors.rs"]
mod safetensors;

use std::io::Cursor;

use proptest::collection::vec;
use proptest::prelude::*;
use shardplan::model::format::Format;
use shardplan::model::read::{self, TensorInfo};
use shardplan::units::Bytes;

fn read_gguf(bytes: &[u8]) -> Result<Vec<TensorInfo>, String> {
    let length = Bytes(bytes.len() as u64);
    let file = read::gguf::read_header(Cursor::new(bytes), length);
    file.map(|file| file.tensors)
        .map_err(|error| error.to_string())
}

fn read_safetensors(bytes: &[u8]) -> Result<Vec<TensorInfo>, String> {
    let file = read::safetensors::read_header(bytes, Bytes(bytes.len() as u64));
    file.map(|file| file.tensors)
        .map_err(|error| error.to_string())
}

/// What was read, if anything, fits the file.
fn plausible(tensors: Result<Vec<TensorInfo>, String>, bytes: &[u8]) -> bool {
    tensors.map_or(true, |tensors| {
        let sizes = tensors.iter().map(|tensor| tensor.bytes.0);
        sizes.sum::<u64>() <= bytes.len() as u64
    })
}

/// The parts of a GGUF file, and how an error names each if the file ends within it.
fn gguf_parts() -> Vec<(Vec<u8>, &'static str)> {
    let number = |n: u32| n.to_le_bytes().to_vec();
    let long = |n: u64| n.to_le_bytes().to_vec();
    let token = [number(8), long(1), bytes::text("hello")].concat();
    vec![
        (b"GGUF".to_vec(), "the magic number takes"),
        (number(3), "the version takes"),
        (long(2), "the count of tensors takes"),
        (long(3), "the count of metadata entries takes"),
        (
            bytes::text("name"),
            "the key of metadata entry 1 of 3 takes",
        ),
        (number(8), "the type of `name` takes"),
        (bytes::text("Llama 2"), "the value of `name` takes"),
        (
            bytes::text("layers"),
            "the key of metadata entry 2 of 3 takes",
        ),
        (number(4), "the type of `layers` takes"),
        (number(1), "the value of `layers` takes"),
        (
            bytes::text("tokens"),
            "the key of metadata entry 3 of 3 takes",
        ),
        (number(9), "the type of `tokens` takes"),
        (token, "the array of `tokens` takes"),
        (bytes::text("a"), "the name of tensor 1 takes"),
        (
            [number(1), long(8)].concat(),
            "the shape of tensor `a` takes",
        ),
        (number(0), "the type of tensor `a` takes"),
        (long(0), "the offset of tensor `a` takes"),
        (bytes::text("b"), "the name of tensor 2 takes"),
        (
            [number(2), long(32), long(2)].concat(),
            "the shape of tensor `b` takes",
        ),
        (number(8), "the type of tensor `b` takes"),
        (long(32), "the offset of tensor `b` takes"),
        (vec![0; 30], "tensor `a` ends at byte 256"),
        (vec![0; 32], "tensor `a` ends at byte 256"),
        (vec![0; 68], "tensor `b` ends at byte 324"),
    ]
}

/// The same of a safetensors file.
fn safetensors_parts() -> Vec<(Vec<u8>, &'static str)> {
    let json = r#"{"__metadata__":{"format":"pt"},
        "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]}}"#;
    vec![
        (
            (json.len() as u64).to_le_bytes().into(),
            "the length of the header takes",
        ),
        (json.as_bytes().into(), "the header takes"),
        (vec![0; 8], "tensor `a` ends at byte"),
        (vec![0; 8], "tensor `b` ends at byte"),
    ]
}

fn joined(parts: &[(Vec<u8>, &str)]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|(part, _)| part.iter().copied())
        .collect()
}

/// Cuts the file at every byte, and compares what the error names.
fn cut_everywhere(
    parts: &[(Vec<u8>, &str)],
    read: impl Fn(&[u8]) -> Result<Vec<TensorInfo>, String>,
) {
    let whole = joined(parts);
    assert_eq!(read(&whole).map(|tensors| tensors.len()), Ok(2));
    let mut begin = 0;
    for (part, named) in parts {
        for cut in begin..begin + part.len() {
            let error = read(&whole[..cut]).expect_err("the file is cut");
            assert!(
                error.starts_with(named),
                "cut at {cut}: {error}, not {named}"
            );
            assert!(
                error.contains(&format!("the file has {cut}")),
                "cut at {cut}: {error}"
            );
        }
        begin += part.len();
    }
}

#[test]
fn a_gguf_file_cut_at_any_byte_names_what_was_cut() {
    cut_everywhere(&gguf_parts(), read_gguf);
}

#[test]
fn a_safetensors_file_cut_at_any_byte_names_what_was_cut() {
    cut_everywhere(&safetensors_parts(), read_safetensors);
}

/// The address space that this process has had at most, in bytes: what was asked for counts, even if
/// it was never touched.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find(|line| line.starts_with("VmPeak:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .expect("it is a number of KiB")
        << 10
}

#[cfg(target_os = "linux")]
#[test]
fn no_length_in_a_header_allocates_what_the_file_does_not_have() {
    // Threads of other tests reserve some; a believed length would ask for far more than this.
    let bound = peak() + (3 << 30);
    for parts in [gguf_parts(), safetensors_parts()] {
        let whole = joined(&parts);
        for at in 0..whole.len().saturating_sub(8) {
            for claim in [4 << 30, 100 << 30, 1 << 40, 1 << 62, u64::MAX] {
                let mut bytes = whole.clone();
                bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(claim));
                assert!(plausible(read_gguf(&bytes), &bytes));
                assert!(plausible(read_safetensors(&bytes), &bytes));
            }
        }
    }
    assert!(peak() < bound, "{} MiB", peak() >> 20);
}

/// Bytes to write over a file, and where, as a share of its length.
fn edits() -> impl Strategy<Value = Vec<(f64, Vec<u8>)>> {
    let small = vec(any::<u8>(), 1..4);
    let number = any::<u64>().prop_map(|number| number.to_le_bytes().to_vec());
    vec((0.0..1.0, prop_oneof![small, number]), 1..6)
}

fn edited(mut bytes: Vec<u8>, edits: &[(f64, Vec<u8>)]) -> Vec<u8> {
    for (place, edit) in edits {
        let at = (*place * bytes.len() as f64) as usize;
        for (byte, new) in bytes[at..].iter_mut().zip(edit) {
            *byte = *new;
        }
    }
    bytes
}

/// Shapes, row length first, whose rows are whole blocks of a format that GGUF has.
fn tensors() -> impl Strategy<Value = Vec<(Format, Vec<u64>)>> {
    let formats: Vec<Format> = Format::all().filter(|format| format.in_gguf()).collect();
    let dims = vec(0u64..5, 1..=4);
    let tensor = (prop::sample::select(formats), dims).prop_map(|(format, mut dims)| {
        dims[0] *= format.block();
        (format, dims)
    });
    vec(tensor, 0..8)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert!(plausible(read_gguf(&bytes), &bytes));
        prop_assert!(plausible(read_safetensors(&bytes), &bytes));
        let begun = [b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0", &bytes[..]].concat();
        prop_assert!(plausible(read_gguf(&begun), &begun));
    }

    #[test]
    fn arbitrary_text_for_a_header_never_panics(text in "[\\[\\]{}:,\"a-c0-9\\\\ ]{0,60}") {
        let bytes = bytes::safetensors(&text, 4);
        prop_assert!(plausible(read_safetensors(&bytes), &bytes));
    }

    #[test]
    fn edited_files_never_panic(edits in edits()) {
        let bytes = edited(joined(&gguf_parts()), &edits);
        prop_assert!(plausible(read_gguf(&bytes), &bytes));
        let bytes = edited(joined(&safetensors_parts()), &edits);
        prop_assert!(plausible(read_safetensors(&bytes), &bytes));
    }

    #[test]
    fn what_is_written_is_read(tensors in tensors()) {
        let mut data = Bytes::ZERO;
        let mut headers = Vec::new();
        for (index, (format, dims)) in tensors.iter().enumerate() {
            let number = (0..64).find(|number| Format::from_gguf(*number) == Some(*format));
            let number = number.expect("the strategy takes only formats of GGUF");
            headers.push(bytes::tensor(&format!("t{index}"), dims, number, data.0));
            let size = format.bytes(dims[1..].iter().product(), dims[0]);
            data = (data + size).align_up(Bytes(32));
        }
        let file = bytes::gguf(&[bytes::number("key", 7)], &headers, data.0 as usize);
        let read = read_gguf(&file).map_err(TestCaseError::fail)?;
        prop_assert_eq!(read.len(), tensors.len());
        for (info, (format, dims)) in read.iter().zip(&tensors) {
            prop_assert_eq!(info.format, *format);
            prop_assert!(info.dims.iter().rev().eq(dims));
            prop_assert_eq!(info.bytes, format.bytes(dims[1..].iter().product(), dims[0]));
        }
    }
}
