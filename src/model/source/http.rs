//! Asking a server: whole small files and ranges of large ones, and what can go wrong on the way.
//!
//! The only file that names the HTTP client. Redirects are followed here and not by the client, so
//! that the token goes to nobody but the server that it is for. No length that a server states is
//! believed before the bytes have come.

use std::io::Read;
use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER};
use ureq::http::{HeaderName, Response, StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use super::{HttpError, Sources};
use crate::units::Bytes;

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 10;

/// Times that one thing is asked for.
const MOST_ATTEMPTS: u32 = 5;

/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The first wait where a server asks for none; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// A whole request may take so many times the patience for one silence.
const SILENCES: u32 = 20;

/// What is asked for.
#[derive(Clone, Copy)]
enum Wanted {
    /// All of a file of at most so many bytes.
    Whole(Bytes),
    /// So many bytes from an offset.
    Range(Bytes, Bytes),
}

/// Bytes of a file, and how long all of it is.
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) length: Bytes,
}

/// A client for one Hub.
pub(super) struct Http<'a> {
    sources: &'a Sources,
    direct: Agent,
    http: Agent,
    https: Agent,
}

/// A fault, and whether asking again could help, after which wait.
enum Attempt {
    Final(HttpError),
    Again(HttpError, Option<Duration>),
}

impl<'a> Http<'a> {
    pub(super) fn new(sources: &'a Sources) -> Result<Self, HttpError> {
        let agent = |proxy: Option<&String>| {
            let proxy = proxy.map(|address| {
                // Nobody's password belongs in an error.
                let shown = address.rsplit('@').next().unwrap_or_default();
                Proxy::new(address).map_err(|_| HttpError::BadAddress(shown.to_owned()))
            });
            let patience = Some(sources.patience);
            let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
            let config = Agent::config_builder()
                .proxy(proxy.transpose()?)
                .tls_config(tls.build())
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .accept_encoding("identity")
                .user_agent(concat!("shardplan/", env!("CARGO_PKG_VERSION")))
                .timeout_connect(patience)
                .timeout_recv_response(patience)
                .timeout_per_read(patience)
                .timeout_global(Some(sources.patience * SILENCES));
            Ok(config.build().new_agent())
        };
        Ok(Self {
            direct: agent(None)?,
            http: agent(sources.proxies.http.as_ref())?,
            https: agent(sources.proxies.https.as_ref())?,
            sources,
        })
    }

    /// All of a file, which has at most `limit`.
    pub(super) fn whole(&self, address: &str, limit: Bytes) -> Result<Vec<u8>, HttpError> {
        Ok(self.patiently(address, Wanted::Whole(limit))?.bytes)
    }

    /// At most `count` bytes of a file; fewer where it ends.
    pub(super) fn range(
        &self,
        address: &str,
        start: Bytes,
        count: Bytes,
    ) -> Result<Piece, HttpError> {
        self.patiently(address, Wanted::Range(start, count))
    }

    fn patiently(&self, address: &str, wanted: Wanted) -> Result<Piece, HttpError> {
        let mut attempt = 1;
        loop {
            match self.once(address, wanted) {
                Ok(piece) => return Ok(piece),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Again(error, _)) if attempt == MOST_ATTEMPTS => return Err(error),
                Err(Attempt::Again(_, wait)) => {
                    let usual = FIRST_WAIT * 2_u32.pow(attempt - 1);
                    (self.sources.pause)(wait.unwrap_or(usual));
                }
            }
            attempt += 1;
        }
    }

    /// One attempt, through all redirects.
    fn once(&self, address: &str, wanted: Wanted) -> Result<Piece, Attempt> {
        let mut address = address.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let uri = parse(&address).map_err(Attempt::Final)?;
            let response = self.ask(&uri, wanted)?;
            let status = response.status();
            if !status.is_redirection() || status == StatusCode::NOT_MODIFIED {
                return read(response, wanted, &uri, self.sources.patience);
            }
            let next = text(&response, LOCATION);
            address = joined(&uri, &next).map_err(Attempt::Final)?;
        }
        let circle = format!("more than {MOST_REDIRECTS} times");
        Err(Attempt::Final(HttpError::Redirect(circle)))
    }

    fn ask(&self, uri: &Uri, wanted: Wanted) -> Result<Response<Body>, Attempt> {
        let host = uri.host().unwrap_or_default();
        let agent = match uri.scheme_str() {
            _ if self.sources.proxies.spare(host) => &self.direct,
            Some("https") => &self.https,
            _ => &self.http,
        };
        let mut request = agent.get(uri);
        if let Wanted::Range(start, count) = wanted {
            let last = start + count.saturating_sub(Bytes(1));
            request = request.header(RANGE, format!("bytes={}-{}", start.0, last.0));
        }
        if let Some(token) = &self.sources.token
            && parse(&self.sources.endpoint).is_ok_and(|endpoint| is_same_server(&endpoint, uri))
        {
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Attempt::Final(HttpError::BadToken));
            }
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request
            .call()
            .map_err(|error| fault(error, host, self.sources.patience))
    }
}

fn parse(address: &str) -> Result<Uri, HttpError> {
    let fault = || HttpError::BadAddress(address.chars().take(200).collect());
    let uri: Uri = address.parse().map_err(|_| fault())?;
    let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
    Some(uri)
        .filter(|uri| is_known && uri.host().is_some())
        .ok_or_else(fault)
}

fn is_same_server(one: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| {
        uri.port_u16()
            .or((uri.scheme_str() == Some("https")).then_some(443))
    };
    one.scheme() == other.scheme() && one.host() == other.host() && port(one) == port(other)
}

/// Where a redirect leads: an address, or a path on the same server. Never from `https` to `http`.
fn joined(from: &Uri, to: &str) -> Result<String, HttpError> {
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", |authority| authority.as_str());
    let address = if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        to.to_owned()
    };
    let is_safe = address.starts_with("https://") || scheme == "http";
    match parse(&address) {
        Ok(_) if is_safe => Ok(address),
        Ok(_) => Err(HttpError::Redirect("from https to http".to_owned())),
        Err(_) => Err(HttpError::Redirect("to no address".to_owned())),
    }
}

fn text(response: &Response<Body>, name: HeaderName) -> String {
    let value = response.headers().get(name);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

fn fault(error: ureq::Error, host: &str, patience: Duration) -> Attempt {
    let host = host.to_owned();
    let unreachable = |host, reason: String| HttpError::Unreachable { host, reason };
    match error {
        ureq::Error::Timeout(_) => Attempt::Final(HttpError::Timeout { host, patience }),
        // It is there, and hung up: the next time it may not.
        ureq::Error::Io(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset
                    | std::io::ErrorKind::ConnectionAborted
                    | std::io::ErrorKind::BrokenPipe
                    | std::io::ErrorKind::UnexpectedEof
            ) =>
        {
            Attempt::Again(unreachable(host, error.to_string()), None)
        }
        ureq::Error::Protocol(error) => Attempt::Again(unreachable(host, error.to_string()), None),
        error => Attempt::Final(unreachable(host, error.to_string())),
    }
}

/// Reads an answer that is no redirect.
fn read(
    response: Response<Body>,
    wanted: Wanted,
    uri: &Uri,
    patience: Duration,
) -> Result<Piece, Attempt> {
    let status = response.status();
    match (status.as_u16(), wanted) {
        // All of it, which is as good as a range where it is no more than was asked for.
        (200, Wanted::Whole(limit) | Wanted::Range(Bytes::ZERO, limit)) => {
            let too_long = match wanted {
                Wanted::Whole(_) => HttpError::TooLong(limit),
                Wanted::Range(..) => HttpError::NoRanges,
            };
            let stated = response.body().content_length().map(Bytes);
            if stated.is_some_and(|stated| stated > limit) {
                return Err(Attempt::Final(too_long));
            }
            let bytes = body(response, limit, uri, patience)?;
            match Bytes(bytes.len() as u64) {
                length if length > limit => Err(Attempt::Final(too_long)),
                length => Ok(Piece { bytes, length }),
            }
        }
        (200, Wanted::Range(..)) => Err(Attempt::Final(HttpError::NoRanges)),
        (206, Wanted::Range(start, count)) => {
            let stated = text(&response, CONTENT_RANGE);
            let wrong = || Attempt::Final(HttpError::WrongRange(stated.chars().take(80).collect()));
            let (first, last, length) = content_range(&stated).ok_or_else(wrong)?;
            let end = last.checked_add(1).ok_or_else(wrong)?;
            let asked = start.0.saturating_add(count.0).min(length);
            if first != start.0 || end != asked || first >= end {
                return Err(wrong());
            }
            let size = Bytes(end - first);
            let bytes = body(response, size, uri, patience)?;
            match Bytes(bytes.len() as u64) {
                got if got == size => Ok(Piece {
                    bytes,
                    length: Bytes(length),
                }),
                got if got > size => Err(wrong()),
                got => {
                    let stated = Some(size);
                    Err(Attempt::Again(HttpError::CutOff { got, stated }, None))
                }
            }
        }
        (429 | 500 | 502 | 503 | 504, _) => Err(busy(&response)),
        (number, _) => {
            let header = |name| text(&response, HeaderName::from_static(name));
            Err(Attempt::Final(HttpError::Status {
                status: number,
                code: header("x-error-code"),
                message: header("x-error-message"),
            }))
        }
    }
}

/// The bytes of an answer, one more than `limit` at most. Grows while it reads, so that a length alone
/// allocates nothing.
fn body(
    response: Response<Body>,
    limit: Bytes,
    uri: &Uri,
    patience: Duration,
) -> Result<Vec<u8>, Attempt> {
    let stated = response.body().content_length().map(Bytes);
    let mut bytes = Vec::new();
    let reader = response.into_body().into_reader();
    match reader.take(limit.0 + 1).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => match ureq::Error::from(error) {
            error @ ureq::Error::Timeout(_) => {
                Err(fault(error, uri.host().unwrap_or_default(), patience))
            }
            _ => {
                let got = Bytes(bytes.len() as u64);
                Err(Attempt::Again(HttpError::CutOff { got, stated }, None))
            }
        },
    }
}

/// The first byte, the last, and the length of the whole, of `bytes 0-99/1000`.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((
        first.parse().ok()?,
        last.parse().ok()?,
        length.parse().ok()?,
    ))
}

/// A server that is busy or broken, and how long it asks to be left alone.
fn busy(response: &Response<Body>) -> Attempt {
    let status = response.status().as_u16();
    // A date, which is allowed as well, is taken as no wish.
    match text(response, RETRY_AFTER).trim().parse().ok() {
        Some(seconds) if Duration::from_secs(seconds) > LONGEST_WAIT => {
            Attempt::Final(HttpError::Busy { status, seconds })
        }
        seconds => {
            let error = HttpError::Status {
                status,
                code: String::new(),
                message: format!("{MOST_ATTEMPTS} times"),
            };
            Attempt::Again(error, seconds.map(Duration::from_secs))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(address: &str) -> Uri {
        parse(address).unwrap()
    }

    #[test]
    fn a_redirect_is_an_address_or_a_path_and_never_less_safe() {
        let from = uri("https://hub:8/a/b?c");
        let to = |to| joined(&from, to).map_err(|error| error.to_string());
        assert_eq!(to("/x?y"), Ok("https://hub:8/x?y".to_owned()));
        assert_eq!(to("//cdn/x"), Ok("https://cdn/x".to_owned()));
        assert_eq!(to("https://cdn/x"), Ok("https://cdn/x".to_owned()));
        for unsafe_one in ["http://cdn/x", "file:///etc/passwd", "", "ftp://x/"] {
            assert!(to(unsafe_one).is_err(), "{unsafe_one}");
        }
        assert!(joined(&uri("http://a/"), "http://b/").is_ok());
    }

    #[test]
    fn another_port_or_scheme_is_another_server() {
        let hub = uri("https://hub");
        assert!(is_same_server(&hub, &uri("https://hub:443/x")));
        for other in [
            "http://hub",
            "https://hub:8443",
            "https://hub.evil",
            "https://evil/hub",
        ] {
            assert!(!is_same_server(&hub, &uri(other)), "{other}");
        }
    }

    #[test]
    fn a_range_is_read_or_refused() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((0, 99, 1000)));
        for text in [
            "",
            "bytes */1000",
            "bytes 0-99/*",
            "bytes 0-99",
            "0-99/1000",
            "bytes -1-2/3",
        ] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
