//! Models by name: from the Hub over HTTP, from Hugging Face's cache, and from Ollama's store. The Hub is
//! a small server on this machine, and the stores are made in folders that remove themselves.

#[path = "readers/bytes.rs"]
mod bytes;
#[path = "cli/session.rs"]
mod session;

#[path = "sources/faults.rs"]
mod faults;
#[path = "sources/hub.rs"]
mod hub;
#[path = "sources/routes.rs"]
mod routes;
#[path = "sources/server.rs"]
mod server;
#[path = "sources/stores.rs"]
mod stores;
#[path = "sources/tiny.rs"]
mod tiny;

use std::path::Path;
use std::time::Duration;

use server::{Files, Server};
use session::{Answer, in_environment};
use shardplan::model::open_from;
use shardplan::model::source::Sources;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// Sources with everything below `home`, and this Hub.
fn sources(home: &Path, hub: &Server) -> Sources {
    Sources {
        endpoint: hub.address.clone(),
        pause: |_| (),
        patience: Duration::from_secs(10),
        ..Sources::of_variables(home, |_| None)
    }
}

fn files(files: &[(&str, Vec<u8>)]) -> Files {
    let files = files.iter();
    files
        .map(|(name, text)| ((*name).to_owned(), text.clone()))
        .collect()
}

fn checkpoint() -> Files {
    files(&[
        ("config.json", tiny::CONFIG.into()),
        ("model.safetensors", tiny::single()),
    ])
}

/// Runs the program with its stores below `home`, and this Hub.
fn run(home: &Path, hub: &Server, more: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let home = home.to_string_lossy();
    let variables = [
        ("HF_HOME", &*home),
        ("SHARDPLAN_CACHE", &*home),
        ("HF_ENDPOINT", &hub.address),
        ("NO_PROXY", "*"),
        ("HF_TOKEN", ""),
        ("HF_HUB_OFFLINE", ""),
        ("HF_HUB_CACHE", ""),
        ("HUGGINGFACE_HUB_CACHE", ""),
        ("TRANSFORMERS_OFFLINE", ""),
    ];
    in_environment(&[&variables[..], more].concat(), arguments)
}

/// The error of a name that leads to no model.
fn fault(name: &str, sources: &Sources) -> String {
    match open_from(name, sources) {
        Ok(model) => panic!("`{name}` is {}", model.name),
        Err(error) => error.to_string(),
    }
}
