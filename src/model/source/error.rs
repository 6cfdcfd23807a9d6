//! Why a name leads to no model: what a server, a store or a repository lacks.

use std::path::PathBuf;
use std::time::Duration;

use super::choice::ChoiceError;
use super::name::NameError;
use crate::model::read::{ReadErrorKind, shown};
use crate::units::Bytes;

/// Why there is nothing to read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A repository with no file, or several, that could be meant.
    #[error("`{name}`: {error}")]
    Choice {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        error: ChoiceError,
    },
    /// Parts of a model only.
    #[error("`{name}` is incomplete: {}{}\nhint: {hint}", are_missing(.missing), begun(.partial))]
    Incomplete {
        /// What was asked for.
        name: String,
        /// Files that are not there.
        missing: Vec<String>,
        /// Downloads that have not ended.
        partial: Vec<String>,
        /// How to get them.
        hint: String,
    },
    /// Nothing of a repository, and no network to ask.
    #[error(
        "`{name}` is not in the local cache (`{}`), and `HF_HUB_OFFLINE` forbids to ask the Hub\nhint: unset it, or name a path", cache.display()
    )]
    Offline {
        /// What was asked for.
        name: String,
        /// Where it could be.
        cache: PathBuf,
    },
    /// A repository that is no model.
    #[error("`{name}` holds neither a GGUF file nor a config.json{}", adapter(*.is_adapter))]
    NoModel {
        /// What was asked for.
        name: String,
        /// Whether it is an adapter.
        is_adapter: bool,
    },
    /// Terms that were not accepted.
    #[error(
        "`{repository}` is gated: its files are for those who accepted its terms\nhint: accept them at {endpoint}/{repository}, and put a token of that account into `HF_TOKEN`"
    )]
    Gated {
        /// The repository.
        repository: String,
        /// The Hub.
        endpoint: String,
    },
    /// A repository that the Hub does not show.
    #[error(
        "the Hub shows no `{repository}`: it does not exist, or it is private\nhint: check the name; of a private one, put a token that may read it into `HF_TOKEN`"
    )]
    Hidden {
        /// The repository.
        repository: String,
    },
    /// A token that is not accepted.
    #[error(
        "the Hub refuses the token for `{repository}` ({status})\nhint: make a new one at {endpoint}/settings/tokens that may read it, and put it into `HF_TOKEN`"
    )]
    Refused {
        /// The repository.
        repository: String,
        /// 401 or 403.
        status: u16,
        /// The Hub.
        endpoint: String,
    },
    /// Something that a repository does not have.
    #[error("`{repository}` has no {what}")]
    NotFound {
        /// The repository.
        repository: String,
        /// The file or revision.
        what: String,
    },
    /// No useful answer.
    #[error("`{what}`: {error}")]
    Http {
        /// What was asked for.
        what: String,
        /// What went wrong.
        error: HttpError,
    },
    /// An answer that is not the Hub's.
    #[error(
        "`{what}`: the answer is not the Hub's: {fault}\nhint: is `HF_ENDPOINT` the Hub or a whole mirror of it?"
    )]
    NotTheHub {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A header that contradicts itself.
    #[error("`{what}`: {kind}")]
    Header {
        /// The file.
        what: String,
        /// What is wrong with it.
        kind: ReadErrorKind,
    },
    /// A cache that cannot be written.
    #[error("`{}` can't be written: {error}\nhint: `SHARDPLAN_CACHE` names another folder", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A model that Ollama does not have.
    #[error("Ollama's store (`{}`) has no `{name}`{}", store.display(), has(.installed))]
    NotInOllama {
        /// What was asked for.
        name: String,
        /// The store.
        store: PathBuf,
        /// Names of those that it has.
        installed: Vec<String>,
    },
    /// A manifest that is none, or of a model in another form.
    #[error("`{}`: {fault}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
}

/// Some of the names, fit for a terminal.
fn quoted(names: &[String]) -> String {
    const MOST: usize = 8;
    let few = names.iter().take(MOST);
    let few: Vec<_> = few.map(|name| format!("`{}`", shown(name))).collect();
    let more = match names.len().saturating_sub(MOST) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    few.join(", ") + &more
}

fn are_missing(names: &[String]) -> String {
    match names {
        [] => "its download has not ended".to_owned(),
        [_] => format!("{} is missing", quoted(names)),
        names => format!("{} are missing", quoted(names)),
    }
}

fn begun(partial: &[String]) -> String {
    match partial {
        [] => String::new(),
        partial => format!(" (begun: {})", quoted(partial)),
    }
}

fn adapter(is_adapter: bool) -> &'static str {
    match is_adapter {
        true => ": it is an adapter\nhint: name the model that it was trained on",
        false => "",
    }
}

fn has(names: &[String]) -> String {
    match names {
        [] => "\nhint: it is empty; `OLLAMA_MODELS` names another store".to_owned(),
        names => format!("\nhint: it has {}", quoted(names)),
    }
}

/// Why a server's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// An answer that is a refusal.
    #[error("the server answers {status}{}", said(.message))]
    Status {
        /// Its number.
        status: u16,
        /// What the Hub calls the reason, such as `GatedRepo`.
        code: String,
        /// What the server says of it.
        message: String,
    },
    /// No connection, or none that lasts.
    #[error(
        "`{host}` can't be reached: {reason}\nhint: check the network, `HF_ENDPOINT` and `HTTPS_PROXY`"
    )]
    Unreachable {
        /// The server.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// No answer in time.
    #[error("`{host}` did not answer within {} s\nhint: try again, or check `HTTPS_PROXY`", patience.as_secs_f64())]
    Timeout {
        /// The server.
        host: String,
        /// How long was waited.
        patience: Duration,
    },
    /// Busy for longer than anybody waits.
    #[error(
        "the server answers {status} and asks to wait for {seconds} s\nhint: try again then; with a token in `HF_TOKEN` the Hub allows more requests"
    )]
    Busy {
        /// 429, or 503.
        status: u16,
        /// What it asks for.
        seconds: u64,
    },
    /// An end before the end.
    #[error("the answer breaks off after {} bytes{}\nhint: try again", got.0, of(.stated))]
    CutOff {
        /// What came.
        got: Bytes,
        /// What was announced.
        stated: Option<Bytes>,
    },
    /// A server that sends everything.
    #[error(
        "the server sends whole files and no ranges of them, and a header is all that is wanted\nhint: is `HF_ENDPOINT` the Hub or a whole mirror of it?"
    )]
    NoRanges,
    /// An answer that does not fit the question.
    #[error("the server answers with another range than was asked for ({0})")]
    WrongRange(String),
    /// More than such a file has.
    #[error("the answer is longer than {0}, which no such file is")]
    TooLong(Bytes),
    /// A circle, or an address that is none.
    #[error("the server redirects {0}")]
    Redirect(String),
    /// An address or a proxy that the client does not understand.
    #[error(
        "`{0}` is no address of a server\nhint: `HF_ENDPOINT`, `HTTPS_PROXY` and `HTTP_PROXY` are such as `http://host:3128`"
    )]
    BadAddress(String),
    /// A token that no header can carry.
    #[error(
        "the token of `HF_TOKEN`, or in its file, is no token: it has characters that none has"
    )]
    BadToken,
}

fn said(message: &str) -> String {
    match message.is_empty() {
        true => String::new(),
        false => format!(" ({})", shown(message)),
    }
}

fn of(stated: &Option<Bytes>) -> String {
    stated.map_or(String::new(), |stated| format!(" of {}", stated.0))
}
