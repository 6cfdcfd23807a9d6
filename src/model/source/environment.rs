//! Where stores and servers are, by the variables that Hugging Face, Ollama and curl read.

use std::env;
use std::path::{Path, PathBuf};

use super::Sources;

/// The Hub, where nothing else is said.
const HUB: &str = "https://huggingface.co";

/// Through which proxy to go, as the environment says it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For addresses with `http:`.
    pub http: Option<String>,
    /// For addresses with `https:`.
    pub https: Option<String>,
    /// Hosts that are asked directly: a name with all below it, or `*`.
    pub direct: Vec<String>,
}

impl Sources {
    /// The sources that this process's environment names.
    pub fn of_environment() -> Self {
        let home = env::home_dir().unwrap_or_default();
        Self::of_variables(&home, |name| env::var(name).ok())
    }

    /// The sources that these variables name.
    pub fn of_variables(home: &Path, variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| variable(name));
            values.find(|value| !value.trim().is_empty())
        };
        let folder = |names: &[&str]| first(names).map(|path| expand(home, &path));
        let is_on = |name: &str| {
            let value = variable(name).unwrap_or_default().to_ascii_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        let caches = folder(&["XDG_CACHE_HOME"]).unwrap_or_else(|| home.join(".cache"));
        let hub_home = folder(&["HF_HOME"]).unwrap_or_else(|| caches.join("huggingface"));
        let token_file = folder(&["HF_TOKEN_PATH"]).unwrap_or_else(|| hub_home.join("token"));
        let own = folder(&["SHARDPLAN_CACHE"])
            .or_else(|| folder(&["LOCALAPPDATA"]).map(|data| data.join("shardplan")));
        let endpoint = first(&["HF_ENDPOINT"]).unwrap_or_else(|| HUB.to_owned());
        let direct = first(&["no_proxy", "NO_PROXY"]).unwrap_or_default();
        let token = first(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
            .or_else(|| std::fs::read_to_string(token_file).ok())
            .map(|token| token.trim().to_owned());
        Self {
            hub_cache: folder(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"])
                .unwrap_or_else(|| hub_home.join("hub")),
            ollama: folder(&["OLLAMA_MODELS"]).unwrap_or_else(|| home.join(".ollama/models")),
            cache: own.unwrap_or_else(|| caches.join("shardplan")),
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            token: token.filter(|token| !token.is_empty()),
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            proxies: Proxies {
                http: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
                https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
                direct: direct
                    .split(',')
                    .map(|host| host.trim().to_ascii_lowercase())
                    .filter(|host| !host.is_empty())
                    .collect(),
            },
            ..Self::nowhere()
        }
    }
}

/// A path as Python's `expanduser` reads it, for Hugging Face does.
fn expand(home: &Path, path: &str) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with(['/', '\\']) => home.join(&rest[1..]),
        _ => path.into(),
    }
}

impl Proxies {
    /// Whether this host is asked directly.
    pub(super) fn spare(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        self.direct.iter().any(|rule| {
            let rule = rule.trim_start_matches('*').trim_start_matches('.');
            let below = host.strip_suffix(rule);
            below.is_some_and(|below| below.is_empty() || rule.is_empty() || below.ends_with('.'))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Sources {
        Sources::of_variables(Path::new("/home/me"), |name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_environment_means_the_usual_places() {
        let sources = of(&[("HF_HOME", "")]);
        assert_eq!(
            sources.hub_cache,
            Path::new("/home/me/.cache/huggingface/hub")
        );
        assert_eq!(sources.ollama, Path::new("/home/me/.ollama/models"));
        assert_eq!(sources.cache, Path::new("/home/me/.cache/shardplan"));
        assert_eq!(sources.endpoint, "https://huggingface.co");
        assert!(sources.token.is_none() && !sources.offline);
        assert!(sources.proxies == Proxies::default());
    }

    #[test]
    fn each_variable_moves_what_it_names() {
        let moved = of(&[
            ("XDG_CACHE_HOME", "/c"),
            ("HF_ENDPOINT", "http://mirror/ "),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "true"),
            ("OLLAMA_MODELS", "~/models"),
        ]);
        assert_eq!(moved.hub_cache, Path::new("/c/huggingface/hub"));
        assert_eq!(moved.cache, Path::new("/c/shardplan"));
        assert_eq!(moved.ollama, Path::new("/home/me/models"));
        assert_eq!(moved.endpoint, "http://mirror");
        assert_eq!(moved.token.as_deref(), Some("secret"));
        assert!(moved.offline);
        let deeper = of(&[
            ("HF_HOME", "/h"),
            ("HF_HUB_CACHE", "/hub"),
            ("SHARDPLAN_CACHE", "/s"),
        ]);
        assert_eq!(deeper.hub_cache, Path::new("/hub"));
        assert_eq!(deeper.cache, Path::new("/s"));
        assert_eq!(of(&[("HF_HOME", "/h")]).hub_cache, Path::new("/h/hub"));
    }

    #[test]
    fn a_token_lies_in_a_file_where_no_variable_has_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "from-file\n").unwrap();
        let home = folder.path().to_string_lossy();
        assert_eq!(
            of(&[("HF_HOME", &home)]).token.as_deref(),
            Some("from-file")
        );
        let both = of(&[("HF_HOME", &home), ("HF_TOKEN", "own")]);
        assert_eq!(both.token.as_deref(), Some("own"));
    }

    #[test]
    fn proxies_are_those_of_curl() {
        let Proxies { http, https, .. } = of(&[("ALL_PROXY", "a"), ("HTTPS_PROXY", "b")]).proxies;
        assert_eq!((http.as_deref(), https.as_deref()), (Some("a"), Some("b")));
        let proxies = of(&[("NO_PROXY", "localhost, .corp.example,*.lan,10.0.0.1")]).proxies;
        for host in [
            "localhost",
            "a.corp.example",
            "corp.example",
            "x.lan",
            "10.0.0.1",
            "LOCALHOST",
        ] {
            assert!(proxies.spare(host), "{host}");
        }
        for host in ["huggingface.co", "notcorp.example", "110.0.0.1"] {
            assert!(!proxies.spare(host), "{host}");
        }
        assert!(of(&[("NO_PROXY", "*")]).proxies.spare("anything"));
        assert!(!Proxies::default().spare("anything"));
    }
}
