//! Every reader of what a stranger wrote, as a function of bytes that tells whether it accepts them.
//! What is accepted is used a step further, as the program would.
//!
//! `tests/corpus.rs` and the programs in `fuzz` share this file.

use std::io::Cursor;
use std::str;

use shardplan::emit;
use shardplan::hardware::{self, Rig};
use shardplan::model::read::{gguf, json, safetensors};
use shardplan::model::{Model, Origin, config, from_gguf};
use shardplan::plan::Document;
use shardplan::units::Bytes;

/// The name of a reader, which its folder of the corpus has too, and the reader.
pub(crate) type Target = (&'static str, fn(&[u8]) -> bool);

/// All of them.
pub(crate) const TARGETS: [Target; 7] = [
    ("gguf", read_gguf),
    ("safetensors", read_safetensors),
    ("index", read_index),
    ("config", read_config),
    ("rig_text", read_rig_text),
    ("rig_yaml", read_rig_yaml),
    ("plan_yaml", read_plan_yaml),
];

/// A GGUF header, of a file that is as long as its bytes and of one that has room for any weights.
pub(crate) fn read_gguf(bytes: &[u8]) -> bool {
    let length = Bytes(bytes.len() as u64);
    let _ = gguf::read_header(Cursor::new(bytes), length);
    let header = gguf::read_header(Cursor::new(bytes), length + Bytes(1 << 50));
    let model = header.map(|header| from_gguf::model("fuzz", "fuzz.gguf", &header));
    model.is_ok_and(|model| model.is_ok_and(|model| weigh(&model)))
}

/// The JSON text of a safetensors header, and eight bytes that say how much data follows, so that
/// the length of the file can fit what the header claims. Or a whole file.
pub(crate) fn read_safetensors(bytes: &[u8]) -> bool {
    let (text, data) = bytes.split_last_chunk().unwrap_or((bytes, &[0; 8]));
    let file = [&(text.len() as u64).to_le_bytes(), text].concat();
    let length = Bytes(file.len() as u64) + Bytes(u64::from_le_bytes(*data));
    let claimed = safetensors::read_header(file.as_slice(), length).is_ok();
    claimed || safetensors::read_header(bytes, Bytes(bytes.len() as u64)).is_ok()
}

/// `model.safetensors.index.json`.
pub(crate) fn read_index(bytes: &[u8]) -> bool {
    safetensors::read_index(bytes).is_ok()
}

/// `config.json`.
pub(crate) fn read_config(bytes: &[u8]) -> bool {
    let origin = Origin::Config("fuzz".to_owned());
    let model = json::python(bytes).map(|value| config::model("fuzz", origin, &value));
    model.is_ok_and(|model| model.is_ok_and(|model| weigh(&model)))
}

/// A rig in a line of text.
pub(crate) fn read_rig_text(bytes: &[u8]) -> bool {
    let text = str::from_utf8(bytes).unwrap_or_default();
    hardware::text::parse(text).is_ok_and(|rig| written_and_read(&rig))
}

/// A rig document.
pub(crate) fn read_rig_yaml(bytes: &[u8]) -> bool {
    let text = str::from_utf8(bytes).unwrap_or_default();
    Rig::from_yaml(text, "fuzz.yaml").is_ok_and(|rig| written_and_read(&rig))
}

/// A plan document.
pub(crate) fn read_plan_yaml(bytes: &[u8]) -> bool {
    let text = str::from_utf8(bytes).unwrap_or_default();
    let written = |document: &Document| match document {
        Document::Plan(plan) => plan.to_yaml(),
        Document::Fleet(fleet) => fleet.to_yaml(),
    };
    let Ok(document) = Document::from_yaml(text, "fuzz.yaml") else {
        return false;
    };
    for emitter in &emit::TARGETS {
        let _ = match &document {
            Document::Plan(plan) => (emitter.emit)(plan),
            Document::Fleet(fleet) => emit::fleet::emit(fleet, emitter.target),
        };
    }
    let text = written(&document);
    let again = Document::from_yaml(&text, "again.yaml").expect("it was just written");
    assert_eq!(written(&again), text);
    true
}

fn weigh(model: &Model) -> bool {
    for precision in ["stored", "f16", "q4_k_m", "q1_0", "nf4"] {
        let precision = precision.parse().expect("these are precisions");
        let _ = model.tensor_bytes(precision);
    }
    true
}

fn written_and_read(rig: &Rig) -> bool {
    let text = rig.to_yaml();
    let again = Rig::from_yaml(&text, "again.yaml").expect("it was just written");
    assert_eq!(again.to_yaml(), text);
    true
}
