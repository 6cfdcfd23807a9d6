//! The Hub: which files a repository has at a commit, and the headers of those that are needed.
//!
//! `{endpoint}/api/models/{repository}/revision/{revision}` lists, `{endpoint}/{repository}/resolve/
//! {commit}/{file}` gives, with a redirect for large files. Source: huggingface_hub (ee0a4510). Whole
//! files are fetched only where they are small text; of weights, the bytes up to the end of the header.

use std::io::{Cursor, ErrorKind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Deserialize;

use super::http::{Http, Piece};
use super::name::{HubName, is_plain_path};
use super::need::{CONFIG, INDEX, Need, SINGLE, need};
use super::snapshot::is_commit;
use super::store::{Store, write};
use super::{Event, Found, HttpError, SourceError, Sources};
use crate::model::quantisation::SIDE_FILES;
use crate::model::read::excerpt::excerpt;
use crate::model::read::safetensors::JSON_LIMIT;
use crate::model::read::{ReadErrorKind, gguf, safetensors};
use crate::units::Bytes;

/// What the Hub says of a repository.
#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// A list of a hundred thousand files.
const LARGEST_LIST: Bytes = Bytes::mib(32);

/// A configuration that is longer is refused by its reader.
const LARGEST_CONFIG: Bytes = Bytes::mib(16);

/// Files of one model; the largest known have some hundred.
const MOST_FILES: usize = 2000;

/// Files that are fetched at once.
const WORKERS: usize = 8;

/// The first bytes of a safetensors file that are asked for; most headers are shorter.
const FIRST_OF_SAFETENSORS: Bytes = Bytes(100_000);

/// The first bytes of a GGUF file, which has a vocabulary in its header.
const FIRST_OF_GGUF: Bytes = Bytes::mib(2);

/// The same of the later files of a split one, which have none.
const FIRST_OF_PART: Bytes = Bytes(64 << 10);

/// More than any GGUF header has; that of a large vocabulary has about 20 MB.
const LONGEST_GGUF_HEADER: Bytes = Bytes::mib(128);

/// A repository at a commit.
struct Repository<'a> {
    sources: &'a Sources,
    http: &'a Http<'a>,
    store: &'a Store,
    name: &'a HubName,
    commit: String,
    files: Vec<String>,
}

/// Fetches what a plan needs of a model, where it is not yet here.
pub(super) fn find(sources: &Sources, store: &Store, name: &HubName) -> Result<Found, SourceError> {
    let http = Http::new(sources).map_err(|error| SourceError::Http {
        what: name.to_string(),
        error,
    })?;
    let info = info(sources, &http, name)?;
    let files = info.siblings.into_iter().map(|sibling| sibling.rfilename);
    let repository = Repository {
        sources,
        http: &http,
        store,
        name,
        commit: info.sha,
        // What would leave the folder of the repository is nothing that we need.
        files: files.filter(|file| is_plain_path(file)).collect(),
    };
    let found = match need(&repository.files, name)? {
        Need::Gguf(parts) => repository.gguf(parts)?,
        Need::Checkpoint => repository.checkpoint()?,
    };
    store.remember(&name.repository, &name.revision, &repository.commit)?;
    Ok(found)
}

fn info(sources: &Sources, http: &Http<'_>, name: &HubName) -> Result<Info, SourceError> {
    let HubName {
        repository,
        revision,
        ..
    } = name;
    let endpoint = &sources.endpoint;
    let revision = encoded(revision);
    let address = format!("{endpoint}/api/models/{repository}/revision/{revision}");
    let text = http
        .whole(&address, LARGEST_LIST)
        .map_err(|error| refusal(sources, name, None, error))?;
    let fault = |fault: String| SourceError::NotTheHub {
        what: name.to_string(),
        fault,
    };
    let info: Info = serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
    match is_commit(&info.sha) {
        true => Ok(info),
        false => Err(fault("`sha` is no commit".to_owned())),
    }
}

/// What a refusal means: of the repository, or of a file of it.
fn refusal(sources: &Sources, name: &HubName, file: Option<&str>, error: HttpError) -> SourceError {
    let (repository, endpoint) = (name.repository.clone(), sources.endpoint.clone());
    let what = match file {
        Some(file) => format!("hf:{repository}: {file}"),
        None => name.to_string(),
    };
    let HttpError::Status { status, code, .. } = &error else {
        return SourceError::Http { what, error };
    };
    match (*status, code.as_str(), file) {
        (401 | 403, "GatedRepo", _) => SourceError::Gated {
            repository,
            endpoint,
        },
        (401 | 403, _, _) if sources.token.is_some() => SourceError::Refused {
            repository,
            status: *status,
            endpoint,
        },
        // Who may see the repository and not its files has not accepted its terms.
        (401 | 403, _, Some(_)) => SourceError::Gated {
            repository,
            endpoint,
        },
        (401 | 403, _, None) | (404, "RepoNotFound", _) => SourceError::Hidden { repository },
        (404, _, Some(file)) => SourceError::NotFound {
            repository,
            what: format!("file `{file}`"),
        },
        (404, code, None) => match name.stated_revision() {
            Some(revision) if code != "RepoNotFound" => SourceError::NotFound {
                repository,
                what: format!("revision `{revision}`"),
            },
            _ => SourceError::Hidden { repository },
        },
        _ => SourceError::Http { what, error },
    }
}

impl Repository<'_> {
    /// Every file of a GGUF model.
    fn gguf(&self, parts: Vec<String>) -> Result<Found, SourceError> {
        self.fetch_all(&parts, |index, part| {
            let first = match index {
                0 => FIRST_OF_GGUF,
                _ => FIRST_OF_PART,
            };
            self.gguf_header(part, first)
        })?;
        let file = parts[0].clone();
        Ok(Found::Gguf {
            path: self.folder().join(&file),
            file,
        })
    }

    /// The configuration and the headers of a checkpoint.
    fn checkpoint(&self) -> Result<Found, SourceError> {
        let has = |wanted: &&str| self.files.iter().any(|file| file == wanted);
        let texts = [CONFIG, INDEX].into_iter().chain(SIDE_FILES);
        let texts: Vec<String> = texts.filter(|file| has(file)).map(str::to_owned).collect();
        self.fetch_all(&texts, |_, file| {
            let limit = match file {
                INDEX => JSON_LIMIT,
                _ => LARGEST_CONFIG,
            };
            self.http
                .whole(&self.address(file), limit)
                .map_err(|error| self.refusal(file, error))
        })?;
        let shards = if has(&INDEX) {
            let path = self.folder().join(INDEX);
            let text = std::fs::read(&path).map_err(|error| SourceError::Cache { path, error })?;
            safetensors::read_index(&text).map_err(|kind| self.header_fault(INDEX, kind))?
        } else if has(&SINGLE) {
            vec![SINGLE.to_owned()]
        } else {
            Vec::new()
        };
        self.fetch_all(&shards, |_, file| self.safetensors_header(file))?;
        Ok(Found::Folder(self.folder()))
    }

    /// Fetches those of the files that are not yet here, several at once.
    fn fetch_all<F>(&self, files: &[String], fetch: F) -> Result<(), SourceError>
    where
        F: Fn(usize, &str) -> Result<Vec<u8>, SourceError> + Sync,
    {
        if files.len() > MOST_FILES {
            return Err(SourceError::NotTheHub {
                what: self.name.to_string(),
                fault: format!(
                    "{} files, and a model has at most {MOST_FILES}",
                    files.len()
                ),
            });
        }
        let missing = files.iter().filter(|file| !self.files.contains(file));
        let missing: Vec<String> = missing.cloned().collect();
        if !missing.is_empty() {
            return Err(SourceError::Incomplete {
                name: self.name.to_string(),
                missing,
                partial: Vec::new(),
                hint: "the repository itself lacks them: name another revision".to_owned(),
            });
        }
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = files.get(index) else {
                    return Ok(());
                };
                let path = self.folder().join(file);
                if path.is_file() {
                    continue;
                }
                (self.sources.tell)(&Event::Fetching {
                    file,
                    number: index + 1,
                    count: files.len(),
                });
                let fetched = fetch(index, file).and_then(|bytes| write(&path, &bytes));
                if fetched.is_err() {
                    // Nobody need begin another.
                    next.store(files.len(), Ordering::Relaxed);
                    return fetched;
                }
            }
        };
        thread::scope(|scope| {
            let workers = (0..WORKERS.min(files.len())).map(|_| scope.spawn(work));
            let workers: Vec<_> = workers.collect();
            let mut ends = workers.into_iter().map(|worker| worker.join());
            ends.try_for_each(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    /// The header of a GGUF file: more and more of its beginning, until the reader has enough.
    fn gguf_header(&self, file: &str, first: Bytes) -> Result<Vec<u8>, SourceError> {
        let mut piece = self.range(file, Bytes::ZERO, first)?;
        loop {
            let have = Bytes(piece.bytes.len() as u64);
            match gguf::read_header(Cursor::new(&piece.bytes), piece.length) {
                Ok(header) => {
                    let end = header.data_offset.min(have);
                    let end = usize::try_from(end.0).unwrap_or(piece.bytes.len());
                    return Ok(excerpt(&piece.bytes[..end], piece.length));
                }
                Err(ReadErrorKind::Io(error))
                    if error.kind() == ErrorKind::UnexpectedEof
                        && have < piece.length
                        && have < LONGEST_GGUF_HEADER =>
                {
                    let most = LONGEST_GGUF_HEADER.saturating_sub(have);
                    self.extend(file, &mut piece, (have * 3).min(most))?;
                }
                Err(kind) => return Err(self.header_fault(file, kind)),
            }
        }
    }

    /// The header of a safetensors file, whose length stands in front.
    fn safetensors_header(&self, file: &str) -> Result<Vec<u8>, SourceError> {
        let mut piece = self.range(file, Bytes::ZERO, FIRST_OF_SAFETENSORS)?;
        let stated = piece
            .bytes
            .first_chunk()
            .map_or(0, |it| u64::from_le_bytes(*it));
        let end = Bytes(stated.saturating_add(8)).min(piece.length);
        let have = Bytes(piece.bytes.len() as u64);
        // A length that the reader refuses is not worth the way.
        if have < end && Bytes(stated) <= JSON_LIMIT {
            self.extend(file, &mut piece, end.saturating_sub(have))?;
        }
        safetensors::read_header(Cursor::new(&piece.bytes), piece.length)
            .map_err(|kind| self.header_fault(file, kind))?;
        let end = usize::try_from(end.0).unwrap_or(piece.bytes.len());
        Ok(excerpt(
            &piece.bytes[..end.min(piece.bytes.len())],
            piece.length,
        ))
    }

    fn extend(&self, file: &str, piece: &mut Piece, count: Bytes) -> Result<(), SourceError> {
        let more = self.range(file, Bytes(piece.bytes.len() as u64), count)?;
        if more.length != piece.length {
            let lengths = format!("{} bytes long, then {}", piece.length.0, more.length.0);
            return Err(self.refusal(file, HttpError::WrongRange(lengths)));
        }
        piece.bytes.extend(more.bytes);
        Ok(())
    }

    fn range(&self, file: &str, start: Bytes, count: Bytes) -> Result<Piece, SourceError> {
        self.http
            .range(&self.address(file), start, count)
            .map_err(|error| self.refusal(file, error))
    }

    fn folder(&self) -> std::path::PathBuf {
        self.store.snapshot(&self.name.repository, &self.commit)
    }

    fn address(&self, file: &str) -> String {
        let (endpoint, repository) = (&self.sources.endpoint, &self.name.repository);
        let file: Vec<_> = file.split('/').map(encoded).collect();
        format!(
            "{endpoint}/{repository}/resolve/{}/{}",
            self.commit,
            file.join("/")
        )
    }

    fn refusal(&self, file: &str, error: HttpError) -> SourceError {
        refusal(self.sources, self.name, Some(file), error)
    }

    fn header_fault(&self, file: &str, kind: ReadErrorKind) -> SourceError {
        let what = format!("hf:{}: {file}", self.name.repository);
        SourceError::Header { what, kind }
    }
}

/// One part of an address, with every byte escaped that could end it.
fn encoded(part: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    part.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
