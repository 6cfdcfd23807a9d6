//! Times the reading of headers as large as the largest models have, and tells the memory it takes.
//!
//! Writes sparse files of hundreds of GB, which take a few MB of a disk, into a temporary folder:
//! a GGUF file with the tensors and the vocabulary of DeepSeek-V3, one with 30 000 tensors, and a
//! checkpoint of 160 safetensors files with 91 000 tensors. The best of ten rounds counts, with the
//! files in the system's cache. Linux tells the memory.
//!
//! `cargo run --release --example time_the_readers`

#![allow(clippy::print_stdout, reason = "an example prints")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use shardplan::model::read::{gguf, safetensors};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("1100.gguf");
    write_gguf(&path, 1_100, 400_000_000_000 / 1_100)?;
    time("GGUF, 1 100 tensors, 400 GB", || {
        Ok(gguf::read(&path)?.tensors.len())
    })?;

    let path = folder.path().join("30000.gguf");
    write_gguf(&path, 30_000, 10_000_000)?;
    time("GGUF, 30 000 tensors", || {
        Ok(gguf::read(&path)?.tensors.len())
    })?;

    let index = write_safetensors(folder.path(), 160, 570)?;
    let text = fs::read(&index)?;
    time("safetensors index alone", || {
        Ok(safetensors::read_index(&text)?.len())
    })?;
    time("safetensors, 160 files, 91 200 tensors", || {
        Ok(safetensors::read(&index)?.tensors.len())
    })
}

fn time(what: &str, read: impl Fn() -> Result<usize, Failure>) -> Result<(), Failure> {
    let before = resident("VmRSS:");
    // Linux then counts the peak anew.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let mut best = Duration::MAX;
    let mut found = 0;
    for _ in 0..10 {
        let start = Instant::now();
        found = read()?;
        best = best.min(start.elapsed());
    }
    let peak = resident("VmHWM:").saturating_sub(before);
    println!("{what}: {best:.1?}, {peak} KiB more memory, {found} read");
    Ok(())
}

/// A line of the kernel's account of this process, in KiB; 0 where there is none.
fn resident(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// A vocabulary of 150 000 tokens with scores, types and merges, and so many f32 tensors.
fn write_gguf(path: &Path, n_tensors: u64, bytes_each: u64) -> Result<(), Failure> {
    const VOCABULARY: u64 = 150_000;
    let mut header = b"GGUF\x03\0\0\0".to_vec();
    header.extend(
        [n_tensors, 5]
            .iter()
            .flat_map(|number| number.to_le_bytes()),
    );
    text(&mut header, "general.architecture");
    header.extend(8u32.to_le_bytes());
    text(&mut header, "deepseek2");
    for (key, element) in [
        ("tokens", 8u32),
        ("merges", 8),
        ("scores", 6),
        ("token_type", 5),
    ] {
        text(&mut header, &format!("tokenizer.ggml.{key}"));
        header.extend(
            [9, element]
                .iter()
                .flat_map(|number: &u32| number.to_le_bytes()),
        );
        header.extend(VOCABULARY.to_le_bytes());
        for index in 0..VOCABULARY {
            match element {
                8 => text(&mut header, &format!("token {index}")),
                _ => header.extend(1u32.to_le_bytes()),
            }
        }
    }
    let elements = bytes_each / 128 * 32;
    for index in 0..n_tensors {
        text(&mut header, &format!("blk.{index}.ffn_down_exps.weight"));
        header.extend(1u32.to_le_bytes());
        header.extend(elements.to_le_bytes());
        header.extend(0u32.to_le_bytes());
        header.extend((index * elements * 4).to_le_bytes());
    }
    let data = header.len().next_multiple_of(32) as u64;
    let mut file = File::create(path)?;
    file.write_all(&header)?;
    Ok(file.set_len(data + n_tensors * elements * 4)?)
}

/// Files of so many experts' matrices each, and the index of all; gives the path of the index.
fn write_safetensors(
    folder: &Path,
    n_files: u64,
    n_each: u64,
) -> Result<std::path::PathBuf, Failure> {
    const BYTES: u64 = 7168 * 2048;
    let mut index = String::from("{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for shard in 1..=n_files {
        let name = format!("model-{shard:05}-of-{n_files:06}.safetensors");
        let mut header = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
        for number in 0..n_each {
            let tensor = format!("model.layers.{shard}.mlp.experts.{number}.down_proj.weight");
            let (begin, end) = (number * BYTES, (number + 1) * BYTES);
            write!(
                header,
                ",\"{tensor}\":{{\"dtype\":\"F8_E4M3\",\"shape\":[7168,2048],\"data_offsets\":[{begin},{end}]}}"
            )?;
            let comma = if shard == 1 && number == 0 { "" } else { "," };
            write!(index, "{comma}\n    \"{tensor}\": \"{name}\"")?;
        }
        header.push('}');
        let mut file = File::create(folder.join(name))?;
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        file.set_len(8 + header.len() as u64 + n_each * BYTES)?;
    }
    index.push_str("}}");
    let path = folder.join("model.safetensors.index.json");
    fs::write(&path, index)?;
    Ok(path)
}
