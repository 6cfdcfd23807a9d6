//! What the Hub has, by its headers alone, and what a plan of it says.

use std::path::Path;

use shardplan::model::source::Sources;
use shardplan::model::{Model, Origin, open_from};

use crate::server::{self, Server, hub, send, send_range};
use crate::{checkpoint, fault, files, folder, run, sources, tiny};

#[test]
fn a_checkpoint_of_the_hub_is_planned_by_its_headers() {
    let (home, (hub, cdn)) = (folder(), hub("org/tiny", checkpoint()));
    let arguments = [
        "plan",
        "hf:org/tiny",
        "--rig",
        "2x RTX 3090",
        "--target",
        "transformers",
    ];
    let first = run(home.path(), &hub, &[], &arguments);
    assert!(first.text().starts_with("hf:org/tiny fp16"), "{first:?}");
    assert_eq!(first.stderr, "", "no progress where nobody watches");
    assert_eq!(cdn.targets(), ["/cdn/model.safetensors"]);
    let range = cdn.asked()[0].headers.get("range").cloned();
    assert_eq!(
        range.as_deref(),
        Some("bytes=0-99999"),
        "the header and no more"
    );

    // The second time only the list of files is asked for.
    let before = hub.targets().len();
    assert_eq!(run(home.path(), &hub, &[], &arguments).text(), first.text());
    assert_eq!(
        hub.targets()[before..],
        ["/api/models/org/tiny/revision/main"]
    );
    assert_eq!(cdn.targets().len(), 1);

    // And offline nothing at all.
    let before = hub.targets().len();
    let offline = [("HF_HUB_OFFLINE", "1")];
    assert_eq!(
        run(home.path(), &hub, &offline, &arguments).text(),
        first.text()
    );
    assert_eq!(hub.targets().len(), before);
}

#[test]
fn a_plan_names_the_repository_as_each_framework_does() {
    let (home, out) = (folder(), folder());
    let q4 = files(&[
        ("tiny-Q4_K_M.gguf", tiny::gguf(10)),
        ("tiny-F16.gguf", tiny::gguf(10)),
    ]);
    let (gguf, _cdn) = hub("org/tiny", q4);
    let plan = |name: &str, hub: &Server, more: &[&str]| {
        let arguments = [&["plan", name, "--rig", "RTX 3090"], more].concat();
        run(home.path(), hub, &[], &arguments).text().to_owned()
    };
    let text = plan("hf:org/tiny:q4_k_m", &gguf, &[]);
    let load = "llama-server --hf-repo org/tiny --hf-file tiny-Q4_K_M.gguf --fit off";
    assert!(text.contains(load), "{text}");

    let (safetensors, _cdn) = hub("org/other", checkpoint());
    let file = out.path().join("plan.yaml").to_string_lossy().into_owned();
    plan(
        "hf:org/other",
        &safetensors,
        &["--target", "transformers", "-o", &file],
    );
    let emit = ["emit", &file, "--target", "transformers"];
    let text = run(home.path(), &safetensors, &[], &emit).text().to_owned();
    assert!(
        text.contains("from_pretrained(\"org/other\", device_map"),
        "{text}"
    );
    let text = plan("hf:org/other", &safetensors, &["--target", "llama.cpp"]);
    assert!(text.contains("-m other-Q4_K_M.gguf"), "{text}");
}

#[test]
fn a_split_checkpoint_is_read_shard_by_shard() {
    let mut all = files(&tiny::split());
    all.insert("config.json".to_owned(), tiny::CONFIG.into());
    let (home, (hub, cdn)) = (folder(), hub("org/tiny", all.clone()));
    let model = open_from("hf:org/tiny", &sources(home.path(), &hub)).unwrap();
    assert_eq!(model.parameters(), tiny::PARAMETERS);
    assert!(matches!(model.origin, Origin::Safetensors(_)));
    assert_eq!(cdn.targets().len(), 2);

    // A shard that the repository lacks is named before anything of the others is fetched.
    all.remove("model-00002-of-00002.safetensors");
    let (hub, cdn) = server::hub("org/tiny", all);
    let error = fault("hf:org/tiny", &sources(folder().path(), &hub));
    assert!(
        error.contains("`model-00002-of-00002.safetensors` is missing"),
        "{error}"
    );
    assert_eq!(cdn.targets().len(), 0);
}

#[test]
fn what_modelopt_quantised_is_seen() {
    let mut all = checkpoint();
    all.insert("hf_quant_config.json".to_owned(), b"{}".to_vec());
    let (home, (hub, _cdn)) = (folder(), hub("org/tiny", all));
    let error = open_from("hf:org/tiny", &sources(home.path(), &hub)).unwrap_err();
    assert!(
        error.to_string().contains("hf_quant_config.json"),
        "{error}"
    );
}

/// The bytes that were asked for of the CDN.
fn ranges(cdn: &Server) -> Vec<String> {
    let asked = cdn.asked();
    let ranges = asked.iter().filter_map(|asked| asked.headers.get("range"));
    ranges
        .map(|range| range.trim_start_matches("bytes=").to_owned())
        .collect()
}

#[test]
fn a_gguf_header_is_read_until_it_ends_and_not_further() {
    let mut large = tiny::gguf(5 << 20);
    let whole = large.len();
    large.extend(vec![0; 16 << 20]);
    let (home, (hub, cdn)) = (
        folder(),
        hub("org/tiny", files(&[("a.gguf", large.clone())])),
    );
    let model = open_from("hf:org/tiny", &sources(home.path(), &hub)).unwrap();
    assert_eq!(model.parameters(), tiny::PARAMETERS);
    assert_eq!(model.origin, Origin::Gguf("hf:org/tiny:a.gguf".to_owned()));
    assert_eq!(ranges(&cdn), ["0-2097151", "2097152-8388607"]);

    // What is kept is the header, and no weights.
    let kept = home.path().join(".cache/shardplan/hub");
    let kept = find(&kept, "a.gguf").expect("it is kept");
    let length = std::fs::metadata(kept).unwrap().len() as usize;
    assert!((5 << 20..whole).contains(&length), "{length} of {whole}");
}

/// The first file of this name below a folder.
fn find(folder: &Path, name: &str) -> Option<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path.ends_with(name).then_some(path),
    })
}

#[test]
fn a_split_gguf_model_is_one_model() {
    let [first, second] = tiny::split_gguf();
    let all = files(&[
        ("Q8_0/t-Q8_0-00001-of-00002.gguf", first),
        ("Q8_0/t-Q8_0-00002-of-00002.gguf", second),
        ("mmproj-f16.gguf", b"no model".to_vec()),
    ]);
    let (home, (hub, _cdn)) = (folder(), hub("org/tiny", all));
    for name in ["hf:org/tiny", "hf:org/tiny:Q8_0"] {
        let model = open_from(name, &sources(home.path(), &hub)).unwrap();
        assert_eq!((model.parameters(), &*model.name), (tiny::PARAMETERS, name));
    }
}

#[test]
fn several_gguf_files_are_listed() {
    let all = ["a-Q4_K_M.gguf", "a-Q8_0.gguf"].map(|name| (name, tiny::gguf(1)));
    let (home, (hub, cdn)) = (folder(), hub("org/tiny", files(&all)));
    let fault = |name: &str| fault(name, &sources(home.path(), &hub));
    assert_eq!(
        fault("hf:org/tiny"),
        "`hf:org/tiny`: it has 2 GGUF files: `Q4_K_M`, `Q8_0`\nhint: name one behind a colon, such as `:Q4_K_M`"
    );
    assert_eq!(
        fault("hf:org/tiny:Q5_K_M"),
        "`hf:org/tiny:Q5_K_M`: it has no GGUF file `Q5_K_M`\nhint: it has `Q4_K_M`, `Q8_0`"
    );
    assert!(cdn.targets().is_empty());
}

#[test]
fn a_tensor_past_the_end_of_a_remote_file_is_found() {
    let mut short = tiny::gguf(10);
    short.truncate(short.len() - 1);
    let mut short_checkpoint = tiny::single();
    short_checkpoint.truncate(short_checkpoint.len() - 1);
    let checkpoint = [
        ("config.json", tiny::CONFIG.into()),
        ("model.safetensors", short_checkpoint),
    ];
    for all in [files(&[("a.gguf", short)]), files(&checkpoint)] {
        let (home, (hub, _cdn)) = (folder(), hub("org/tiny", all));
        let error = open_from("hf:org/tiny", &sources(home.path(), &hub)).unwrap_err();
        assert!(
            error.to_string().contains("truncated or damaged"),
            "{error}"
        );
        assert!(
            find(home.path(), "a.gguf").is_none(),
            "what is damaged is not kept"
        );
    }
}

/// A Hub with one revision of another name, at a mirror with a path, which redirects a renamed
/// repository on the same server.
fn renamed() -> Server {
    let all = checkpoint();
    let info = server::info(&all);
    Server::start(move |asked, _, stream| {
        let target = asked.target.as_str();
        if target == "/mirror/api/models/org/old/revision/refs%2Fpr%2F1" {
            let location = "Location: /mirror/api/models/org/new";
            return send(stream, "307 Temporary Redirect", &[location], b"");
        }
        let text = match target.rsplit_once('/') {
            Some((_, "new")) => info.as_bytes(),
            Some((_, file)) => all.get(file).map_or(&b""[..], Vec::as_slice),
            None => b"",
        };
        send_range(stream, asked, text);
    })
}

#[test]
fn a_revision_and_a_renamed_repository_are_followed_with_the_token() {
    let (home, hub) = (folder(), renamed());
    let sources = Sources {
        endpoint: format!("{}/mirror", hub.address),
        token: Some("secret".to_owned()),
        ..sources(home.path(), &hub)
    };
    let model: Model = open_from("hf:org/old@refs/pr/1", &sources).unwrap();
    assert_eq!(model.parameters(), tiny::PARAMETERS);
    let asked = hub.asked();
    let knows = |asked: &server::Asked| {
        asked.headers.get("authorization").map(String::as_str) == Some("Bearer secret")
    };
    assert!(asked.len() == 4 && asked.iter().all(knows), "{asked:?}");
}

#[test]
fn a_bare_name_of_the_hub_gets_a_hint() {
    let (home, (hub, _cdn)) = (folder(), hub("org/tiny", checkpoint()));
    let error = open_from("org/tiny", &sources(home.path(), &hub)).unwrap_err();
    assert!(
        error.to_string().contains(
            "hint: name a GGUF file, a config.json, a folder with one, `hf:org/tiny`, or"
        ),
        "{error}"
    );
}
