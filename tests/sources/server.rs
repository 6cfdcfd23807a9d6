//! A small Hub on this machine: it lists a repository, redirects to a second server as to a CDN, sends
//! ranges, and fails as it is told to. It ends with the test that started it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The commit that every revision of the repository is.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked, as far as tests look at it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The path of the address, or the whole where a proxy is asked.
    pub(crate) target: String,
    /// The headers by their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

/// Writes an answer. The number counts what was asked before.
type Answer = dyn Fn(&Asked, usize, &mut TcpStream) + Send + Sync;

/// A server that runs until it is dropped.
pub(crate) struct Server {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that answers so.
    pub(crate) fn start(
        answer: impl Fn(&Asked, usize, &mut TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let (asked, ended) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let answer: Arc<Answer> = Arc::new(answer);
        let (log, end) = (Arc::clone(&asked), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, &log, &*answer));
            }
        });
        Self {
            address: format!("http://127.0.0.1:{port}"),
            asked,
            ended,
            thread: Some(thread),
        }
    }

    /// All that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked
            .lock()
            .expect("no test panics while it looks")
            .clone()
    }

    /// The addresses of all that was asked so far.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.target).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes it up, to see that it has ended.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads one request and answers it; each connection is for one.
fn serve(mut stream: TcpStream, log: &Mutex<Vec<Asked>>, answer: &Answer) {
    let Ok(copy) = stream.try_clone() else { return };
    let mut lines = BufReader::new(copy).lines().map_while(Result::ok);
    let first = lines.next().unwrap_or_default();
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers = lines
        .by_ref()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    let asked = Asked { target, headers };
    let number = {
        let mut log = log.lock().expect("nobody panics while it writes");
        log.push(asked.clone());
        log.len() - 1
    };
    answer(&asked, number, &mut stream);
}

/// An answer with a status, headers, and a body of its true length.
pub(crate) fn send(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) {
    let length = format!("Content-Length: {}", body.len());
    raw(stream, status, &[headers, &[&length]].concat(), body);
}

/// An answer with these headers and no other, and this body.
pub(crate) fn raw(stream: &mut TcpStream, status: &str, headers: &[&str], body: &[u8]) {
    let headers: String = headers
        .iter()
        .map(|header| format!("{header}\r\n"))
        .collect();
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{headers}\r\n");
    // Whoever asked may have gone; that is its own affair.
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

/// Says nothing until the other side gives up.
pub(crate) fn silence(stream: &mut TcpStream) {
    let _ = stream.read_to_end(&mut Vec::new());
}

/// The bytes that a request wants of a file, as a server with ranges sends them.
pub(crate) fn send_range(stream: &mut TcpStream, asked: &Asked, file: &[u8]) {
    let range = asked.headers.get("range").and_then(|range| {
        let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
    });
    match range {
        None => send(stream, "200 OK", &[], file),
        Some((first, last)) => {
            let last = last.min(file.len() - 1);
            let stated = format!("Content-Range: bytes {first}-{last}/{}", file.len());
            send(
                stream,
                "206 Partial Content",
                &[&stated],
                &file[first..=last],
            );
        }
    }
}

/// The files of one repository.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// The list of files as the Hub's API gives it.
pub(crate) fn info(files: &Files) -> String {
    let names: Vec<_> = files
        .keys()
        .map(|name| format!("{{\"rfilename\":\"{name}\"}}"))
        .collect();
    format!(
        "{{\"sha\":\"{COMMIT}\",\"gated\":false,\"siblings\":[{}]}}",
        names.join(",")
    )
}

/// A Hub with one repository, and its CDN: weights are redirected there.
pub(crate) fn hub(repository: &'static str, files: Files) -> (Server, Server) {
    let names = info(&files);
    let (files, weights) = (Arc::new(files.clone()), Arc::new(files));
    let cdn = Server::start(move |asked, _, stream| {
        match weights.get(asked.target.trim_start_matches("/cdn/")) {
            Some(file) => send_range(stream, asked, file),
            None => send(stream, "404 Not Found", &[], b""),
        }
    });
    let elsewhere = cdn.address.clone();
    let hub = Server::start(move |asked, _, stream| {
        let file = asked
            .target
            .strip_prefix(&format!("/{repository}/resolve/{COMMIT}/"));
        if asked.target == format!("/api/models/{repository}/revision/main") {
            return send(stream, "200 OK", &[], names.as_bytes());
        }
        match file.and_then(|name| Some((name, files.get(name)?))) {
            Some((name, _)) if !name.ends_with(".json") => {
                let location = format!("Location: {elsewhere}/cdn/{name}");
                send(stream, "302 Found", &[&location], b"");
            }
            Some((_, text)) => send(stream, "200 OK", &[], text),
            None => {
                let code = "X-Error-Code: RepoNotFound";
                send(stream, "404 Not Found", &[code], b"Repository not found");
            }
        }
    });
    (hub, cdn)
}
