//! What lies on this machine already: Hugging Face's cache and Ollama's store, whole and in part.

use std::path::{Path, PathBuf};

use shardplan::model::source::Sources;
use shardplan::model::{Origin, open_from};

use crate::server::{COMMIT, Files, Server, hub, send};
use crate::{checkpoint, fault, files, folder, run, sources, tiny};

/// Writes a file and the folders above it.
fn write(path: &Path, contents: &[u8]) {
    let folder = path.parent().expect("a store has folders");
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, contents))
        .expect("the folder is ours");
}

/// A repository in a cache, with files and no links, as on Windows.
fn cached(cache: &Path, files: &Files) -> PathBuf {
    let repository = cache.join("models--org--tiny");
    write(&repository.join("refs/main"), COMMIT.as_bytes());
    for (name, contents) in files {
        write(
            &repository.join("snapshots").join(COMMIT).join(name),
            contents,
        );
    }
    repository
}

/// Sources with a Hub that nobody may ask.
fn offline(home: &Path) -> Sources {
    let hub = Server::start(|_, _, _| panic!("it is asked"));
    Sources {
        offline: true,
        ..sources(home, &hub)
    }
}

#[test]
fn a_model_in_the_cache_is_read_without_asking_anybody() {
    let (home, silent) = (
        folder(),
        Server::start(|_, _, stream| send(stream, "500 No", &[], b"")),
    );
    let repository = cached(&home.path().join("hub"), &checkpoint());
    let arguments = [
        "plan",
        "hf:org/tiny",
        "--rig",
        "RTX 3090",
        "--target",
        "transformers",
    ];
    let answer = run(home.path(), &silent, &[], &arguments);
    assert!(answer.text().starts_with("hf:org/tiny fp16"), "{answer:?}");
    assert!(silent.targets().is_empty());

    let sources = Sources {
        hub_cache: home.path().join("hub"),
        ..offline(home.path())
    };
    for name in [
        &format!("hf:org/tiny@{COMMIT}"),
        &*repository.to_string_lossy(),
    ] {
        let model = open_from(name, &sources).unwrap();
        assert!(matches!(model.origin, Origin::Safetensors(_)), "{name}");
        // What transformers would load: the folder of a cache is none, a snapshot in it is.
        let snapshot = repository.join("snapshots").join(COMMIT);
        let loads = [name, &*snapshot.to_string_lossy()];
        assert_eq!(model.name, loads[usize::from(!name.starts_with("hf:"))]);
    }
    let error = fault("hf:org/other", &sources);
    assert!(
        error.contains("`hf:org/other` is not in the local cache"),
        "{error}"
    );
    assert!(error.contains("hint: unset it"), "{error}");
}

#[test]
fn a_gguf_file_in_the_cache_is_loaded_from_there() {
    let home = folder();
    let all = files(&[
        ("a-Q4_0.gguf", tiny::gguf(9)),
        ("a-Q8_0.gguf", tiny::gguf(9)),
    ]);
    let repository = cached(home.path(), &all);
    let sources = Sources {
        hub_cache: home.path().to_owned(),
        ..offline(home.path())
    };
    let model = open_from("hf:org/tiny:q8_0", &sources).unwrap();
    let path = repository
        .join("snapshots")
        .join(COMMIT)
        .join("a-Q8_0.gguf");
    assert_eq!(
        model.origin,
        Origin::Gguf(path.to_string_lossy().into_owned())
    );
    let error = fault("hf:org/tiny", &sources);
    assert!(
        error.contains("it has 2 GGUF files: `Q4_0`, `Q8_0`"),
        "{error}"
    );
}

#[test]
fn a_quantisation_that_is_not_in_the_cache_is_asked_for() {
    let (home, all) = (
        folder(),
        files(&[
            ("a-Q4_0.gguf", tiny::gguf(9)),
            ("a-Q8_0.gguf", tiny::gguf(9)),
        ]),
    );
    let (hub, _cdn) = hub("org/tiny", all);
    cached(home.path(), &files(&[("a-Q8_0.gguf", tiny::gguf(9))]));
    let sources = Sources {
        hub_cache: home.path().to_owned(),
        ..sources(home.path(), &hub)
    };
    let model = open_from("hf:org/tiny:Q4_0", &sources).unwrap();
    assert_eq!(
        model.origin,
        Origin::Gguf("hf:org/tiny:a-Q4_0.gguf".to_owned())
    );
}

#[test]
fn what_a_download_lacks_is_named() {
    let home = folder();
    let mut all: Files = files(&tiny::split());
    all.insert("config.json".to_owned(), tiny::CONFIG.into());
    all.remove("model-00002-of-00002.safetensors");
    let repository = cached(&home.path().join("hub"), &all);
    let sources = Sources {
        hub_cache: home.path().join("hub"),
        ..offline(home.path())
    };
    let error = fault("hf:org/tiny", &sources);
    assert_eq!(
        error,
        "`hf:org/tiny` is incomplete: `model-00002-of-00002.safetensors` is missing\nhint: `hf download org/tiny` fetches what is missing"
    );
    write(&repository.join("blobs/0a1b.incomplete"), b"half");
    let error = fault("hf:org/tiny", &sources);
    assert!(
        error.contains("is missing (begun: `blobs/0a1b.incomplete`)"),
        "{error}"
    );

    // With a Hub to ask, a part is no obstacle, and it is said.
    all.extend(files(&tiny::split()));
    let (hub, _cdn) = hub("org/tiny", all);
    let arguments = ["model", "inspect", "hf:org/tiny", "--json"];
    let answer = run(home.path(), &hub, &[], &arguments);
    assert_eq!(answer.code, Some(0), "{answer:?}");
    let note = "note: `hf:org/tiny`: the local cache has only a part of it";
    assert!(answer.stderr.starts_with(note), "{answer:?}");
}

#[test]
fn a_download_that_has_only_begun_is_incomplete() {
    let home = folder();
    write(
        &home.path().join("models--org--tiny/blobs/0a1b.incomplete"),
        b"half",
    );
    let sources = Sources {
        hub_cache: home.path().to_owned(),
        ..offline(home.path())
    };
    let error = fault("hf:org/tiny", &sources);
    let words = "is incomplete: its download has not ended (begun: `blobs/0a1b.incomplete`)";
    assert!(error.contains(words), "{error}");
}

#[test]
fn a_download_into_a_folder_that_has_not_ended_is_told() {
    let (home, nobody) = (folder(), Server::start(|_, _, _| ()));
    write(&home.path().join("config.json"), tiny::CONFIG.as_bytes());
    let partial = ".cache/huggingface/download/x.0a1b.incomplete";
    write(&home.path().join(partial), b"half");
    let path = home.path().to_string_lossy();
    let answer = run(home.path(), &nobody, &[], &["model", "inspect", &path]);
    answer.text();
    let note = format!("note: `{path}`: a download into it has not ended (`{partial}`)\n");
    assert_eq!(answer.stderr, note);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_blob_that_is_gone_is_missing() {
    let home = folder();
    let repository = cached(home.path(), &files(&[("config.json", tiny::CONFIG.into())]));
    let link = |name: &str| {
        let path = repository.join("snapshots").join(COMMIT).join(name);
        std::os::unix::fs::symlink("../../blobs/0a1b", path).unwrap();
    };
    let sources = Sources {
        hub_cache: home.path().to_owned(),
        ..offline(home.path())
    };
    link("model.safetensors");
    let error = fault("hf:org/tiny", &sources);
    assert!(
        error.contains("is incomplete: `model.safetensors` is missing"),
        "{error}"
    );
    write(&repository.join("blobs/0a1b"), &tiny::single());
    assert!(open_from("hf:org/tiny", &sources).is_ok());
    link("b.gguf");
    std::fs::remove_file(repository.join("blobs/0a1b")).unwrap();
    let error = fault("hf:org/tiny:b.gguf", &sources);
    assert!(
        error.contains("is incomplete: `b.gguf` is missing"),
        "{error}"
    );
}

#[test]
fn what_was_fetched_serves_where_the_hub_cannot_be_reached() {
    let home = folder();
    let (hub, cdn) = hub("org/tiny", checkpoint());
    let sources = sources(home.path(), &hub);
    open_from("hf:org/tiny", &sources).unwrap();
    drop((hub, cdn));
    let model = open_from("hf:org/tiny", &sources).unwrap();
    assert_eq!(model.parameters(), tiny::PARAMETERS);
}

/// The digest of nothing in particular that ends in this number.
fn digest(number: usize) -> String {
    format!("{number:064x}")
}

/// A model in a store of Ollama: its layers by their kinds.
fn pulled(store: &Path, manifest: &str, layers: &[(&str, Vec<u8>)]) {
    let stated: Vec<_> = layers
        .iter()
        .enumerate()
        .map(|(number, (kind, contents))| {
            write(&store.join(format!("blobs/sha256-{}", digest(number))), contents);
            let (digest, size) = (digest(number), contents.len());
            format!(
                r#"{{"mediaType":"application/vnd.ollama.image.{kind}","digest":"sha256:{digest}","size":{size}}}"#
            )
        })
        .collect();
    let text = format!(r#"{{"schemaVersion":2,"layers":[{}]}}"#, stated.join(","));
    write(&store.join("manifests").join(manifest), text.as_bytes());
}

#[test]
fn a_model_of_ollama_is_planned_from_its_blob_and_its_other_layers_are_told() {
    let (store, nobody) = (folder(), Server::start(|_, _, _| ()));
    let layers = [
        ("model", tiny::gguf(9)),
        ("projector", vec![0; 1 << 20]),
        ("adapter", vec![0; 3 << 20]),
        ("template", b"{{ .Prompt }}".to_vec()),
    ];
    pulled(store.path(), "registry.ollama.ai/library/tiny/1b", &layers);
    let path = store.path().to_string_lossy();
    let variables = [("OLLAMA_MODELS", &*path)];
    let arguments = ["plan", "ollama:tiny:1b", "--rig", "RTX 3090"];
    let answer = run(store.path(), &nobody, &variables, &arguments);
    let text = answer.text();
    assert!(text.starts_with("ollama:tiny:1b "), "{text}");
    let blob = store.path().join(format!("blobs/sha256-{}", digest(0)));
    assert!(
        text.contains(&format!("llama-server -m {} --fit off", blob.display())),
        "{text}"
    );
    let notes: Vec<_> = answer.stderr.lines().collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].starts_with("note: `ollama:tiny:1b` has an adapter of 3.00 MiB"),
        "{notes:?}"
    );
    assert!(
        notes[1].starts_with("note: `ollama:tiny:1b` has a projector of 1.00 MiB"),
        "{notes:?}"
    );
    assert!(nobody.targets().is_empty());
}

/// The error of a model in Ollama's store.
fn ollama_fault(store: &Path, name: &str) -> String {
    fault(
        name,
        &Sources {
            ollama: store.to_owned(),
            ..offline(store)
        },
    )
}

#[test]
fn what_ollama_lacks_is_said() {
    let store = folder();
    let error = ollama_fault(store.path(), "ollama:tiny");
    assert!(
        error.contains("has no `ollama:tiny:latest`\nhint: it is empty"),
        "{error}"
    );
    pulled(
        store.path(),
        "registry.ollama.ai/library/tiny/1b",
        &[("model", tiny::gguf(9))],
    );
    pulled(
        store.path(),
        "hf.co/org/name/Q4_K_M",
        &[("model", tiny::gguf(9))],
    );
    let error = ollama_fault(store.path(), "ollama:tiny");
    let names = "hint: it has `ollama:hf.co/org/name:Q4_K_M`, `ollama:tiny:1b`";
    assert!(error.contains(names), "{error}");

    let blob = store.path().join(format!("blobs/sha256-{}", digest(0)));
    let all = std::fs::read(&blob).unwrap();
    std::fs::write(&blob, &all[..100]).unwrap();
    let error = ollama_fault(store.path(), "ollama:tiny:1b");
    assert!(
        error.contains(&format!("(begun: `100 of {} bytes`)", all.len())),
        "{error}"
    );
    assert!(
        error.ends_with("hint: `ollama pull tiny:1b` fetches it"),
        "{error}"
    );
    std::fs::rename(&blob, format!("{}-partial", blob.display())).unwrap();
    let error = ollama_fault(store.path(), "ollama:tiny:1b");
    assert!(
        error.contains("is missing (begun: `blobs/sha256-") && error.contains("-partial`)"),
        "{error}"
    );
}

#[test]
fn a_manifest_of_another_kind_is_refused_by_name() {
    let store = folder();
    let manifest = "registry.ollama.ai/library/tiny/latest";
    let layer = |_: usize| ("tensor", Vec::new());
    pulled(store.path(), manifest, &[layer(0), layer(1)]);
    let error = ollama_fault(store.path(), "ollama:tiny");
    assert!(
        error.contains("kept as 2 tensors and not as a GGUF file"),
        "{error}"
    );
    for (text, words) in [
        ("{}", "names no model layer"),
        ("no", "is no manifest of Ollama"),
        (
            r#"{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../../x","size":1}]}"#,
            "a digest is none",
        ),
    ] {
        write(
            &store.path().join("manifests").join(manifest),
            text.as_bytes(),
        );
        let error = ollama_fault(store.path(), "ollama:tiny");
        assert!(
            error.contains("latest`: ") && error.contains(words),
            "{error}"
        );
    }
}
