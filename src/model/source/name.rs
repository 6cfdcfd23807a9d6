//! Names of models that are no path: `hf:org/name[@revision][:file.gguf]` and `ollama:name[:tag]`.
//!
//! What is named becomes part of paths and addresses, so that a name is checked here once.

use std::fmt;
use std::str::FromStr;

/// A name that cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Of a repository of the Hub.
    #[error(
        "`{0}` names no repository\nhint: write `hf:org/name`, and behind it, where wanted, `@revision` and `:file.gguf` or `:Q4_K_M`"
    )]
    Hub(String),
    /// Of a model of Ollama.
    #[error(
        "`{0}` names no model of Ollama\nhint: write `ollama:name` or `ollama:name:tag`, as `ollama list` shows it"
    )]
    Ollama(String),
}

/// Which file of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The one that the repository is about.
    Any,
    /// A GGUF file by its path in the repository.
    File(String),
    /// A GGUF file by its quantisation, such as `Q4_K_M`.
    Quant(String),
}

/// A model of the Hugging Face Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubName {
    /// `org/name`, or the one word of an old repository.
    pub repository: String,
    /// A branch, tag or commit; `main` where none is written.
    pub revision: String,
    /// Which of its files.
    pub pick: Pick,
}

/// The revision of a name without one.
const MAIN: &str = "main";

impl HubName {
    /// Whether the name means the Hub at all.
    pub fn is_meant(name: &str) -> bool {
        name.starts_with("hf:")
    }

    /// The revision, where it is not the usual one.
    pub fn stated_revision(&self) -> Option<&str> {
        Some(self.revision.as_str()).filter(|revision| *revision != MAIN)
    }
}

impl FromStr for HubName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let fault = || NameError::Hub(name.to_owned());
        let rest = name.strip_prefix("hf:").ok_or_else(fault)?;
        let (rest, pick) = match rest.split_once(':') {
            None => (rest, Pick::Any),
            Some((rest, file)) if is_gguf(file) => (rest, Pick::File(file.to_owned())),
            Some((rest, quant)) => (rest, Pick::Quant(quant.to_owned())),
        };
        let (repository, revision) = rest.split_once('@').unwrap_or((rest, MAIN));
        let of_repository = |part: &str| is_word(part) && !part.contains("--");
        let is_repository = repository.split('/').count() <= 2
            && repository.split('/').all(of_repository)
            && repository.len() <= 96;
        let is_revision = revision.split('/').all(is_word);
        let is_pick = match &pick {
            Pick::Any => true,
            Pick::File(file) => is_plain_path(file),
            Pick::Quant(quant) => is_word(quant),
        };
        if !(is_repository && is_revision && is_pick) {
            return Err(fault());
        }
        Ok(Self {
            repository: repository.to_owned(),
            revision: revision.to_owned(),
            pick,
        })
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "hf:{}", self.repository)?;
        if let Some(revision) = self.stated_revision() {
            write!(formatter, "@{revision}")?;
        }
        match &self.pick {
            Pick::Any => Ok(()),
            Pick::File(pick) | Pick::Quant(pick) => write!(formatter, ":{pick}"),
        }
    }
}

/// A model in Ollama's store: the four parts of the path of its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OllamaName {
    /// Where it was pulled from.
    pub host: String,
    /// Whose it is.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// Its variant.
    pub tag: String,
}

impl OllamaName {
    /// Whether the name means Ollama at all.
    pub fn is_meant(name: &str) -> bool {
        name.starts_with("ollama:")
    }
}

impl FromStr for OllamaName {
    type Err = NameError;

    /// Parts that are left out are Ollama's own: `registry.ollama.ai/library/…:latest`.
    fn from_str(name: &str) -> Result<Self, NameError> {
        let fault = || NameError::Ollama(name.to_owned());
        let rest = name.strip_prefix("ollama:").ok_or_else(fault)?;
        let (before, last) = rest.rsplit_once('/').unwrap_or(("", rest));
        let (model, tag) = last.split_once(':').unwrap_or((last, "latest"));
        let (host, namespace) = match before.split_once('/') {
            Some((host, namespace)) => (host, namespace),
            None if before.is_empty() => ("registry.ollama.ai", "library"),
            None => ("registry.ollama.ai", before),
        };
        let parts = [host, namespace, model, tag];
        if !parts.iter().all(|part| is_word(part)) {
            return Err(fault());
        }
        let [host, namespace, model, tag] = parts.map(str::to_owned);
        Ok(Self {
            host,
            namespace,
            model,
            tag,
        })
    }
}

impl fmt::Display for OllamaName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            namespace,
            model,
            tag,
        } = self;
        match (host.as_str(), namespace.as_str()) {
            ("registry.ollama.ai", "library") => write!(formatter, "ollama:{model}:{tag}"),
            ("registry.ollama.ai", _) => write!(formatter, "ollama:{namespace}/{model}:{tag}"),
            _ => write!(formatter, "ollama:{host}/{namespace}/{model}:{tag}"),
        }
    }
}

/// Whether the name is that of a GGUF file.
pub(super) fn is_gguf(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".gguf")
}

/// Whether the text is one harmless component of a path or an address.
fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=200).contains(&text.len()) && text.bytes().all(allowed) && !text.bytes().all(|b| b == b'.')
}

/// Whether a path of a repository stays inside of it, on every system.
pub(super) fn is_plain_path(path: &str) -> bool {
    let is_plain = |part: &str| {
        let forbidden = |letter: char| letter.is_control() || "\\:<>\"|?*".contains(letter);
        !part.is_empty() && !part.bytes().all(|byte| byte == b'.') && !part.contains(forbidden)
    };
    path.len() <= 400 && path.split('/').all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_hub_survives_being_written() {
        for (name, repository, revision, pick) in [
            ("hf:org/name", "org/name", "main", Pick::Any),
            ("hf:gpt2@refs/pr/1", "gpt2", "refs/pr/1", Pick::Any),
            (
                "hf:a/b:UD-Q4_K_XL",
                "a/b",
                "main",
                Pick::Quant("UD-Q4_K_XL".to_owned()),
            ),
            (
                "hf:a/b@v1.0:BF16/x y-00001-of-00002.gguf",
                "a/b",
                "v1.0",
                Pick::File("BF16/x y-00001-of-00002.gguf".to_owned()),
            ),
        ] {
            let parsed: HubName = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
            assert_eq!(
                (&*parsed.repository, &*parsed.revision),
                (repository, revision)
            );
            assert_eq!(parsed.pick, pick);
        }
    }

    #[test]
    fn a_name_that_leaves_its_folder_is_none() {
        for name in [
            "hf:",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/b--c",
            "hf:a/b@",
            "hf:a/b@x/../y",
            "hf:a/b:",
            "hf:a/b:../x.gguf",
            "hf:a/b:/x.gguf",
            "hf:a/b:x\\y.gguf",
            "hf:a/b:q4 k",
            "hf:a/b?c=d",
        ] {
            assert_eq!(
                name.parse::<HubName>(),
                Err(NameError::Hub(name.to_owned()))
            );
        }
        for name in [
            "ollama:",
            "ollama:a:",
            "ollama:../a",
            "ollama:a/b/c/d",
            "ollama:a:b:c",
        ] {
            let fault = Err(NameError::Ollama(name.to_owned()));
            assert_eq!(name.parse::<OllamaName>(), fault);
        }
    }

    #[test]
    fn ollama_fills_in_what_a_name_leaves_out() {
        let path = |name: &str| {
            let name: OllamaName = name.parse().unwrap();
            [name.host, name.namespace, name.model, name.tag].join("/")
        };
        assert_eq!(
            path("ollama:llama2"),
            "registry.ollama.ai/library/llama2/latest"
        );
        assert_eq!(
            path("ollama:me/llama2:7b"),
            "registry.ollama.ai/me/llama2/7b"
        );
        assert_eq!(path("ollama:hf.co/a/b:Q4_K_M"), "hf.co/a/b/Q4_K_M");
        for name in [
            "ollama:llama2:7b",
            "ollama:me/llama2:7b",
            "ollama:hf.co/a/b:Q4",
        ] {
            assert_eq!(name.parse::<OllamaName>().unwrap().to_string(), name);
        }
    }
}
