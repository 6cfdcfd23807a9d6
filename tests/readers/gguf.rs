//! Hostile and damaged GGUF files.

use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use shardplan::model::read::gguf::{Gguf, read, read_header};
use shardplan::model::read::{ReadError, ReadErrorKind};
use shardplan::units::Bytes;

use crate::bytes::{array, gguf, number, tensor, text};

/// Numbers of the formats f32 and q4_k.
const F32: u32 = 0;
const Q4_K: u32 = 12;

fn header(bytes: &[u8]) -> Result<Gguf, ReadErrorKind> {
    read_header(Cursor::new(bytes), Bytes(bytes.len() as u64))
}

/// The sentence of the error that a file with these tensors gives.
fn refused(tensors: &[Vec<u8>], data: usize) -> String {
    header(&gguf(&[], tensors, data))
        .expect_err("the file is bad")
        .to_string()
}

/// One file of a split model, with one f32 tensor of 8.
fn member(name: &str, number_from_0: u32, count: u32) -> Vec<u8> {
    let entries = [
        number("split.no", number_from_0),
        number("split.count", count),
        number("split.tensors.count", 2),
    ];
    gguf(&entries, &[tensor(name, &[8], F32, 0)], 32)
}

/// Writes files into a folder and reads one of them.
fn read_among(files: &[(&str, Vec<u8>)], read_name: &str) -> Result<Gguf, ReadError> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file can be written");
    }
    read(&folder.path().join(read_name))
}

fn names(gguf: &Gguf) -> Vec<&str> {
    gguf.tensors
        .iter()
        .map(|tensor| tensor.name.as_str())
        .collect()
}

#[test]
fn a_text_of_10_gb_is_refused_before_it_is_allocated() {
    let mut bytes = gguf(&[number("key", 1)], &[], 0);
    bytes[24..32].copy_from_slice(&10_000_000_000u64.to_le_bytes());
    let error = header(&bytes).unwrap_err().to_string();
    let expected = "the key of metadata entry 1 of 1 takes 10000000000 bytes from byte 32, and the \
                    file has 64: it is truncated or damaged";
    assert_eq!(error, expected);
}

#[test]
fn absurd_counts_are_refused() {
    for (at, what) in [
        (8, "the count of tensors"),
        (16, "the count of metadata entries"),
    ] {
        let mut bytes = gguf(&[], &[], 0);
        bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        let error = header(&bytes).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{what} is 18446744073709551615")),
            "{error}"
        );
    }
}

#[test]
fn an_array_that_claims_more_than_the_file_is_refused() {
    for (element, length) in [(8, u64::MAX), (8, 1 << 40), (10, u64::MAX), (0, 1 << 62)] {
        let entry = array("tokenizer.ggml.tokens", element, length, &[0; 64]);
        let error = header(&gguf(&[entry], &[], 0)).unwrap_err().to_string();
        assert!(
            error.starts_with("the array of `tokenizer.ggml.tokens` takes "),
            "{error}"
        );
    }
}

#[test]
fn a_tensor_of_2_to_the_63_elements_is_refused() {
    for dims in [&[1 << 63][..], &[1 << 32, 1 << 31], &[u64::MAX; 4]] {
        let error = refused(&[tensor("w", dims, F32, 0)], 32);
        assert!(
            error.ends_with("has more elements than can be counted"),
            "{error}"
        );
    }
    let error = refused(&[tensor("w", &[1 << 62], F32, 0)], 32);
    assert!(
        error.starts_with("tensor `w` ends at byte 18446744073709551"),
        "{error}"
    );
}

#[test]
fn an_offset_past_the_end_is_refused() {
    let error = refused(&[tensor("w", &[8], F32, 64)], 32);
    assert!(
        error.starts_with("tensor `w` ends at byte 160, and the file has 96"),
        "{error}"
    );
    let error = refused(&[tensor("w", &[8], F32, u64::MAX - 31)], 32);
    assert!(
        error.starts_with("tensor `w` ends at byte 18446744073709551680,"),
        "{error}"
    );
}

#[test]
fn overlapping_tensors_are_refused() {
    let tensors = [tensor("b", &[8], F32, 32), tensor("a", &[9], F32, 0)];
    assert_eq!(
        refused(&tensors, 64),
        "tensors `a` and `b` overlap at byte 128"
    );
}

#[test]
fn duplicate_names_are_refused() {
    let tensors = [tensor("w", &[8], F32, 0), tensor("w", &[8], F32, 32)];
    assert_eq!(refused(&tensors, 64), "tensor `w` appears twice");
    let error = header(&gguf(&[number("key", 1), number("key", 2)], &[], 0)).unwrap_err();
    assert_eq!(error.to_string(), "metadata key `key` appears twice");
}

#[test]
fn a_row_that_is_no_whole_blocks_is_refused() {
    let expected = "tensor `w` has rows of 128 elements, which are no whole blocks of 256 (q4_k)";
    assert_eq!(refused(&[tensor("w", &[128, 2], Q4_K, 0)], 144), expected);
}

#[test]
fn a_misaligned_tensor_is_refused() {
    let expected = "tensor `w` begins at byte 4 of the data, which is no multiple of 32";
    assert_eq!(refused(&[tensor("w", &[8], F32, 4)], 64), expected);
}

#[test]
fn unknown_types_and_dimensions_are_named() {
    let error = refused(&[tensor("w", &[8], 99, 0)], 32);
    assert_eq!(
        error,
        "tensor `w` has elements of type 99, which is unknown here"
    );
    for dims in [&[][..], &[1; 5]] {
        let error = refused(&[tensor("w", dims, F32, 0)], 32);
        assert!(
            error.ends_with("dimensions, and 1 to 4 are possible"),
            "{error}"
        );
    }
}

#[test]
fn more_numbers_than_all_layers_have_are_not_kept() {
    let entry = |index| array(&format!("key.{index}"), 0, 4096, &[0; 4096]);
    let entries: Vec<Vec<u8>> = (0..257).map(entry).collect();
    let error = header(&gguf(&entries, &[], 0)).unwrap_err().to_string();
    assert!(
        error.starts_with("the count of numbers in all arrays is 1052672"),
        "{error}"
    );
    assert!(header(&gguf(&entries[1..], &[], 0)).is_ok());
}

#[test]
fn more_text_than_a_header_has_is_not_kept() {
    let entry = |index| {
        let value = text(&"x".repeat(1 << 20));
        [
            text(&format!("key.{index}")),
            8u32.to_le_bytes().into(),
            value,
        ]
        .concat()
    };
    let entries: Vec<Vec<u8>> = (0..64).map(entry).collect();
    let error = header(&gguf(&entries, &[], 0)).unwrap_err().to_string();
    let expected = "the length of all texts up to the value of `key.63` is 67109";
    assert!(error.starts_with(expected), "{error}");
    assert!(header(&gguf(&entries[1..], &[], 0)).is_ok());
}

#[test]
fn arrays_within_arrays_are_refused_however_deep() {
    let entry = array("deep", 9, 1, &[9; 1 << 16]);
    let error = header(&gguf(&[entry], &[], 0)).unwrap_err().to_string();
    assert!(error.starts_with("`deep` is an array of arrays"), "{error}");
}

#[test]
fn head_counts_of_all_layers_are_kept_and_a_vocabulary_is_counted() {
    let tokens = array(
        "tokenizer.ggml.tokens",
        8,
        2,
        &[text("a"), text("")].concat(),
    );
    let heads: Vec<u8> = [8u32, 4].iter().flat_map(|n| n.to_le_bytes()).collect();
    let heads = array("llama.attention.head_count_kv", 4, 2, &heads);
    let file = header(&gguf(&[tokens, heads], &[], 0)).unwrap();
    assert_eq!(file.array_length("tokenizer.ggml.tokens"), Some(2));
    assert_eq!(file.unsigneds("tokenizer.ggml.tokens"), None);
    assert_eq!(
        file.unsigneds("llama.attention.head_count_kv"),
        Some(vec![8, 4])
    );
}

#[test]
fn any_member_of_a_split_model_reads_all() {
    let files = [
        ("x-00001-of-00002.gguf", member("a", 0, 2)),
        ("x-00002-of-00002.gguf", member("b", 1, 2)),
    ];
    for (name, _) in &files {
        let model = read_among(&files, name).unwrap();
        assert_eq!(names(&model), ["a", "b"]);
        let file_names: Vec<_> = model
            .files
            .iter()
            .filter_map(|path| path.file_name())
            .collect();
        assert_eq!(file_names, [files[0].0, files[1].0]);
        assert_eq!(model.unsigned("split.no"), Some(0));
    }
}

#[test]
fn a_missing_member_is_named() {
    let files = [("x-00002-of-00003.gguf", member("b", 1, 3))];
    let error = read_among(&files, files[0].0).unwrap_err();
    let expected = "`x-00001-of-00003.gguf` beside it is missing (2 of 3 files are)";
    assert_eq!(error.kind.to_string(), expected);
    let hint = "download `x-00001-of-00003.gguf` beside `x-00002-of-00003.gguf`";
    assert_eq!(error.hint().as_deref(), Some(hint));
}

#[test]
fn a_split_count_that_lies_is_refused() {
    let (first, second) = ("x-00001-of-00002.gguf", "x-00002-of-00002.gguf");
    let lies = |a: Vec<u8>, b: Vec<u8>| read_among(&[(first, a), (second, b)], first).unwrap_err();
    let error = lies(member("a", 0, 65_535), member("b", 1, 2));
    assert!(
        error
            .to_string()
            .ends_with("counts 65535 split files, and its name 2"),
        "{error}"
    );
    let error = lies(member("a", 0, 2), member("b", 0, 2));
    assert!(
        error
            .to_string()
            .ends_with("is split file 1, and its name 2"),
        "{error}"
    );
    assert!(error.path.ends_with(second));
    let error = lies(member("a", 0, 2), member("a", 1, 2));
    assert_eq!(error.kind.to_string(), "tensor `a` appears twice");

    let one = gguf(
        &[number("split.count", 2), number("split.tensors.count", 9)],
        &[],
        0,
    );
    let error = lies(one, member("b", 1, 2));
    assert!(
        error
            .to_string()
            .ends_with("counts 9 tensors in all split files, and they have 1")
    );
}

#[test]
fn a_member_under_another_name_is_refused() {
    let error = read_among(&[("renamed.gguf", member("a", 0, 2))], "renamed.gguf").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("counts 2 split files, and its name 1"),
        "{error}"
    );
    let hint = "give all 2 files the names `NAME-00001-of-00002.gguf` and so on";
    assert_eq!(error.hint().as_deref(), Some(hint));
}

#[test]
fn what_stands_in_for_a_file_is_recognised() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let error = read_among(&[("x.gguf", pointer.to_vec())], "x.gguf").unwrap_err();
    assert_eq!(
        error.hint().as_deref(),
        Some("run `git lfs pull` beside `x.gguf`")
    );

    let error = read_among(&[("x.gguf", b"<!DOCTYPE html>".to_vec())], "x.gguf").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("begins with `<!DO` and not with `GGUF`"),
        "{error}"
    );

    let error = read_among(&[], "").unwrap_err();
    assert!(matches!(error.kind, ReadErrorKind::NotAFile));
    let error = read(Path::new("no/such/file.gguf")).unwrap_err();
    assert!(matches!(error.kind, ReadErrorKind::Io(_)));
    assert_eq!(error.path, PathBuf::from("no/such/file.gguf"));
}
