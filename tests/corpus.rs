//! Every reader survives every file of the corpus, and thousands of damaged copies of each.
//!
//! The corpus has a folder for each reader: small files as programs write them, and what a fuzzer
//! found. The damage is random, and the same in every run; `docs/fuzzing.md` says how to run the
//! fuzzer itself.

#[path = "corpus/targets.rs"]
mod targets;

use std::fs;
use std::path::{Path, PathBuf};

use targets::TARGETS;

/// The files of a reader, in the order of their names; the plans of `plans` are plans too.
fn files(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_folder = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("every reader has a folder");
        entries.flatten().map(|entry| entry.path())
    };
    let mut paths: Vec<PathBuf> = in_folder(&root.join("tests/corpus").join(target)).collect();
    if target == "plan_yaml" {
        let plans = in_folder(&root.join("plans")).map(|case| case.join("plan.yaml"));
        paths.extend(plans.filter(|plan| plan.is_file()));
    }
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).expect("it can be read");
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Marsaglia's xorshift64, which needs nothing and repeats itself in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Numbers at which lengths, counts and offsets go wrong.
const NUMBERS: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    u32::MAX as u64,
    10_000_000_000,
    1 << 62,
    1 << 63,
    u64::MAX - 7,
    u64::MAX,
];

/// What texts are made of.
const WORDS: [&[u8]; 16] = [
    b"NaN",
    b"-Infinity",
    b"null",
    b"[[[[",
    b"{\"a\":",
    b"\\u0000",
    b"\"",
    b"1e400",
    b"-1",
    b" GiB",
    b"99999999999999999999",
    b": &a [*a]",
    b"\n",
    b"\xff\xfe",
    b"\xc3",
    b"0x10",
];

/// A damaged copy.
fn damaged(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(copy.len());
        let end = (at + dice.below(40)).min(copy.len());
        match dice.below(7) {
            0 => copy.truncate(at),
            1 => drop(copy.drain(at..end)),
            2 => {
                let part = copy[at..end].to_vec();
                copy.splice(at..at, part);
            }
            3 => {
                let word = WORDS[dice.below(WORDS.len())];
                copy.splice(at..end.min(at + word.len()), word.iter().copied());
            }
            4 => {
                let digits = NUMBERS[dice.below(NUMBERS.len())].to_string();
                copy.splice(at..end.min(at + 1), digits.into_bytes());
            }
            5 => {
                let number = NUMBERS[dice.below(NUMBERS.len())].to_le_bytes();
                copy.iter_mut()
                    .skip(at)
                    .zip(number)
                    .for_each(|(byte, new)| *byte = new);
            }
            _ => {
                let bit = 1 << dice.below(8);
                copy.iter_mut()
                    .skip(at)
                    .take(1)
                    .for_each(|byte| *byte ^= bit);
            }
        }
    }
    copy
}

#[test]
fn every_reader_accepts_what_is_whole_and_survives_the_rest() {
    for (name, read) in TARGETS {
        for (folder, _) in TARGETS {
            for (path, bytes) in files(folder) {
                let accepted = read(&bytes);
                let stem = path.file_stem().unwrap_or_default();
                if folder == name && (stem == "whole" || stem == "plan") {
                    assert!(accepted, "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn every_reader_survives_damaged_copies() {
    for (name, read) in TARGETS {
        for (index, (path, bytes)) in files(name).iter().enumerate() {
            // Long files are slow to read, and there are many plans.
            let copies = 60_000 / (300 + bytes.len());
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15 + index as u64);
            for round in 0..copies {
                let copy = damaged(bytes, &mut dice);
                let read = std::panic::catch_unwind(|| read(&copy));
                assert!(read.is_ok(), "copy {round} of {}", path.display());
            }
        }
    }
}
