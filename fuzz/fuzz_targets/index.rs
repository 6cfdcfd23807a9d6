//! Fuzzes the reader of the same name in `tests/corpus/targets.rs`.
#![no_main]

#[allow(dead_code, reason = "the other readers have fuzzers of their own")]
#[path = "../../tests/corpus/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    targets::read_index(bytes);
});
