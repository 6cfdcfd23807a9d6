//! Ollama's store: a manifest names the blobs that a model is made of.
//!
//! `manifests/HOST/NAMESPACE/MODEL/TAG` is JSON with layers, each a kind and a digest; the bytes are in
//! `blobs/sha256-HEX`. The layer of the kind `…image.model` is a GGUF file. Source: ollama,
//! `server/internal/manifest` and `types/model/name.go` (fb307609).

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::name::OllamaName;
use super::{Event, Found, SourceError, Sources};
use crate::units::Bytes;

/// A manifest has some hundred bytes.
const LARGEST_MANIFEST: u64 = 4 << 20;

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
    size: u64,
}

impl Layer {
    /// The word behind `application/vnd.ollama.image.`.
    fn kind(&self) -> &str {
        let kind = self.media_type.split(';').next().unwrap_or_default();
        kind.strip_prefix("application/vnd.ollama.image.")
            .unwrap_or_default()
    }
}

/// The GGUF file of a model; what else the model has is told.
pub(super) fn find(sources: &Sources, name: &OllamaName) -> Result<Found, SourceError> {
    let store = &sources.ollama;
    let path = [
        "manifests",
        &name.host,
        &name.namespace,
        &name.model,
        &name.tag,
    ]
    .iter()
    .fold(store.clone(), |path, part| path.join(part));
    if !path.is_file() {
        return Err(SourceError::NotInOllama {
            name: name.to_string(),
            store: store.clone(),
            installed: installed(store),
        });
    }
    let fault = |fault: String| SourceError::Manifest {
        path: path.clone(),
        fault,
    };
    let text = read(&path).map_err(|error| fault(format!("can't be read: {error}")))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| fault(format!("is no manifest of Ollama: {error}")))?;
    let of_kind = |kind: &'static str| {
        let layers = manifest.layers.iter();
        layers.filter(move |layer| layer.kind() == kind)
    };
    let models: Vec<&Layer> = of_kind("model").collect();
    let model = match models.as_slice() {
        [model] => model,
        [] if of_kind("tensor").next().is_some() => {
            let n_tensors = of_kind("tensor").count();
            return Err(fault(format!(
                "the model is kept as {n_tensors} tensors and not as a GGUF file, which is not read yet"
            )));
        }
        [] => return Err(fault("names no model layer".to_owned())),
        several => {
            let count = several.len();
            return Err(fault(format!(
                "names {count} model layers, which is not read yet"
            )));
        }
    };
    let path = blob(store, model).ok_or_else(|| fault("a digest is none".to_owned()))?;
    complete(name, model, &path)?;
    for kind in ["adapter", "projector"] {
        for layer in of_kind(kind) {
            let blob = blob(store, layer).ok_or_else(|| fault("a digest is none".to_owned()))?;
            let (size, blob) = (Bytes(layer.size), blob.display());
            let remark = format!(
                "`{name}` has {} {kind} of {size} (`{blob}`), which the plan does not count",
                article(kind)
            );
            (sources.tell)(&Event::Remark(&remark));
        }
    }
    let file = path.to_string_lossy().into_owned();
    Ok(Found::Gguf { path, file })
}

fn article(word: &str) -> &'static str {
    match word.starts_with('a') {
        true => "an",
        false => "a",
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = fs::File::open(path)?;
    file.take(LARGEST_MANIFEST).read_to_end(&mut text)?;
    Ok(text)
}

/// The file of a layer, where its digest is one.
fn blob(store: &Path, layer: &Layer) -> Option<PathBuf> {
    let digits = layer.digest.strip_prefix("sha256:")?;
    let is_digest = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then(|| store.join("blobs").join(format!("sha256-{digits}")))
}

/// All of the blob is there.
fn complete(name: &OllamaName, layer: &Layer, blob: &Path) -> Result<(), SourceError> {
    let file_name = blob.file_name().unwrap_or_default().to_string_lossy();
    let length = fs::metadata(blob).map(|blob| blob.len()).ok();
    if length == Some(layer.size) {
        return Ok(());
    }
    let partial = blob.with_file_name(format!("{file_name}-partial"));
    let partial = match length {
        Some(length) => vec![format!("{} of {} bytes", length, layer.size)],
        None if partial.is_file() => vec![format!("blobs/{file_name}-partial")],
        None => Vec::new(),
    };
    let pulled = name.to_string();
    Err(SourceError::Incomplete {
        name: name.to_string(),
        missing: vec![format!("blobs/{file_name}")],
        partial,
        hint: format!(
            "`ollama pull {}` fetches it",
            pulled.trim_start_matches("ollama:")
        ),
    })
}

/// The names of all models of a store, sorted.
fn installed(store: &Path) -> Vec<String> {
    fn walk(folder: &Path, parts: &mut Vec<String>, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            parts.push(entry.file_name().to_string_lossy().into_owned());
            match parts.as_slice() {
                [host, namespace, model, tag] => names.push(
                    OllamaName {
                        host: host.clone(),
                        namespace: namespace.clone(),
                        model: model.clone(),
                        tag: tag.clone(),
                    }
                    .to_string(),
                ),
                _ => walk(&entry.path(), parts, names),
            }
            parts.pop();
        }
    }
    let mut names = Vec::new();
    walk(&store.join("manifests"), &mut Vec::new(), &mut names);
    names.sort();
    names
}
