//! Hostile and damaged safetensors files and indices.

use std::fs;

use shardplan::model::read::safetensors::{Safetensors, read, read_header};
use shardplan::model::read::{ReadError, ReadErrorKind};
use shardplan::units::Bytes;

use crate::bytes::safetensors;

const INDEX: &str = "model.safetensors.index.json";
const A: &str = r#"{"a":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]}}"#;
const B: &str = r#"{"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#;

fn header(bytes: &[u8]) -> Result<Safetensors, ReadErrorKind> {
    read_header(bytes, Bytes(bytes.len() as u64))
}

/// The sentence of the error that a file with this JSON text gives.
fn refused(json: &str, data: usize) -> String {
    header(&safetensors(json, data))
        .expect_err("the file is bad")
        .to_string()
}

/// Reads an index beside the shards `1` (with `A`) and `2` (with `B`).
fn indexed(index: &str) -> Result<Safetensors, ReadError> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let files = [
        ("1", safetensors(A, 8)),
        ("2", safetensors(B, 4)),
        (INDEX, index.as_bytes().to_vec()),
    ];
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("a file can be written");
    }
    read(&folder.path().join(INDEX))
}

fn index_refused(index: &str) -> String {
    indexed(index)
        .expect_err("the index is bad")
        .kind
        .to_string()
}

#[test]
fn a_header_of_10_gb_is_refused_before_it_is_allocated() {
    let mut bytes = safetensors("{}", 0);
    bytes[..8].copy_from_slice(&10_000_000_000u64.to_le_bytes());
    let error = header(&bytes).unwrap_err().to_string();
    assert!(error.starts_with("the length of the header is 10000000000, and at most 100000000"));
    bytes[..8].copy_from_slice(&99_000_000u64.to_le_bytes());
    let error = header(&bytes).unwrap_err().to_string();
    let expected = "the header takes 99000000 bytes from byte 8, and the file has 10: it is \
                    truncated or damaged";
    assert_eq!(error, expected);
}

#[test]
fn a_tensor_of_2_to_the_63_elements_is_refused() {
    for shape in ["[9223372036854775808]", "[4294967296,2147483648]"] {
        let json = format!(r#"{{"w":{{"dtype":"U8","shape":{shape},"data_offsets":[0,4]}}}}"#);
        let error = refused(&json, 4);
        assert!(
            error.ends_with("has more elements than can be counted"),
            "{error}"
        );
    }
}

#[test]
fn an_offset_past_the_end_is_refused() {
    let past = A.replace("[0,8]", "[8,16]");
    assert!(refused(&past, 8).starts_with("tensor `a` ends at byte 81, and the file has 73:"));
    let far = A.replace("[0,8]", "[18446744073709551607,18446744073709551615]");
    assert!(refused(&far, 8).starts_with("tensor `a` ends at byte 18446744073709551"));
    assert_eq!(
        refused(&A.replace("[0,8]", "[8,0]"), 8),
        "tensor `a` ends before it begins"
    );
}

#[test]
fn a_size_that_the_shape_does_not_have_is_refused() {
    let error = refused(&A.replace("[2,2]", "[2,3]"), 8);
    assert_eq!(error, "tensor `a` has 8 bytes, and its shape needs 12");
}

#[test]
fn overlapping_tensors_and_holes_are_refused() {
    let two = |offsets: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},
                "b":{{"dtype":"U8","shape":[4],"data_offsets":{offsets}}}}}"#
        )
    };
    assert!(header(&safetensors(&two("[4,8]"), 8)).is_ok());
    let error = refused(&two("[3,7]"), 7);
    assert!(
        error.starts_with("tensors `a` and `b` overlap at byte "),
        "{error}"
    );
    for (offsets, data) in [("[5,9]", 9), ("[4,8]", 9)] {
        let error = refused(&two(offsets), data);
        assert!(
            error.starts_with("nothing claims the bytes from "),
            "{error}"
        );
    }
}

#[test]
fn duplicate_names_are_refused_where_a_map_would_keep_the_last() {
    let other = A.replace("[0,8]", "[8,16]");
    let twice = format!("{},{}", &A[..A.len() - 1], &other[1..]);
    assert_eq!(refused(&twice, 16), "tensor `a` appears twice");
    let metadata = r#"{"__metadata__":{"k":"1","k":"2"}}"#;
    assert_eq!(refused(metadata, 0), "metadata key `k` appears twice");
    let metadata = r#"{"__metadata__":{},"__metadata__":{}}"#;
    assert!(refused(metadata, 0).ends_with("`__metadata__` appears twice"));
}

#[test]
fn an_unknown_type_is_named() {
    let error = refused(&A.replace("F16", "F4"), 8);
    assert_eq!(
        error,
        "tensor `a` has elements of type `F4`, which is unknown here"
    );
}

#[test]
fn json_that_is_none_is_named_by_line_and_column() {
    assert_eq!(refused("{\n\"a\" 1}", 0), "line 2, column 5: expected `:`");
    for json in [
        "",
        "[]",
        "7",
        "{\"a\":{}}",
        "{\"a\":null}",
        &"[".repeat(10_000),
    ] {
        assert!(refused(json, 0).starts_with("line "), "{json}");
    }
    let dims = "1,".repeat(1000);
    let long = A.replace("[2,2]", &format!("[{dims}1]"));
    assert!(refused(&long, 8).contains("expected at most 64 dimensions"));
}

#[test]
fn an_index_reads_every_shard() {
    let index = r#"{"metadata":{"total_size":12},"weight_map":{"b":"2","a":"1"}}"#;
    let checkpoint = indexed(index).unwrap();
    let sizes: Vec<(&str, u64)> = checkpoint
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.bytes.0))
        .collect();
    assert_eq!(sizes, [("a", 8), ("b", 4)]);
    assert_eq!(checkpoint.files.len(), 2);
}

#[test]
fn an_index_and_its_shards_must_agree_in_both_directions() {
    let error = index_refused(r#"{"weight_map":{"a":"1","b":"2","c":"2"}}"#);
    assert_eq!(error, "tensor `c` should be in `2` and is not");
    let error = index_refused(r#"{"weight_map":{"c":"1","b":"2"}}"#);
    assert_eq!(error, "tensor `a` of `1` is not listed for that file");
    let error = index_refused(r#"{"weight_map":{"a":"2","b":"1"}}"#);
    assert_eq!(error, "tensor `a` of `1` is not listed for that file");
    let error = index_refused(r#"{"weight_map":{"a":"1","a":"2"}}"#);
    assert_eq!(error, "tensor `a` appears twice");
    assert!(index_refused("{}").contains("missing field `weight_map`"));
}

#[test]
fn a_missing_shard_is_named() {
    let error = indexed(r#"{"weight_map":{"a":"1","b":"3","c":"4"}}"#).unwrap_err();
    assert_eq!(
        error.kind.to_string(),
        "`3` beside it is missing (2 of 3 files are)"
    );
    let hint = format!("download `3` beside `{INDEX}`");
    assert_eq!(error.hint(), Some(hint));
}

#[test]
fn a_shard_outside_the_folder_is_refused() {
    for name in [
        "../1",
        "/etc/passwd",
        "..",
        "",
        "a/1",
        "./1",
        r"a\\1",
        r"1\u0000",
    ] {
        let error = index_refused(&format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#));
        assert!(
            error.ends_with("is no name of a file beside it"),
            "{name}: {error}"
        );
    }
}
