//! A Hub that refuses, is busy, is slow, lies or breaks off: one clear error each time, and no more asked
//! than makes sense.

use std::cell::RefCell;
use std::net::TcpStream;
use std::time::Duration;

use shardplan::model::open_from;
use shardplan::model::source::Sources;

use crate::server::{self, Asked, COMMIT, Server, hub, raw, send, send_range, silence};
use crate::session::shardplan;
use crate::{checkpoint, fault, files, folder, sources, tiny};

/// A Hub that lists one GGUF file, and answers so when it is asked for the file.
fn with_file(answer: impl Fn(&Asked, usize, &mut TcpStream) + Send + Sync + 'static) -> Server {
    let list = server::info(&files(&[("a.gguf", Vec::new())]));
    Server::start(
        move |asked, number, stream| match asked.target.starts_with("/api/") {
            true => send(stream, "200 OK", &[], list.as_bytes()),
            false => answer(asked, number, stream),
        },
    )
}

/// The error of a file that is answered so; nothing may be kept of it.
fn fault_of_file(answer: impl Fn(&Asked, usize, &mut TcpStream) + Send + Sync + 'static) -> String {
    let (home, hub) = (folder(), with_file(answer));
    let error = fault("hf:org/tiny", &sources(home.path(), &hub));
    assert!(!home.path().join(".cache").exists(), "{error}");
    error
}

/// Says all these words.
pub(crate) fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "no `{word}` in\n{error}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let cases: [(&str, &str, bool, &[&str]); 8] = [
        (
            "401 Unauthorized",
            "GatedRepo",
            false,
            &[
                "`org/tiny` is gated",
                "accept them at http://",
                "`HF_TOKEN`",
            ],
        ),
        (
            "403 Forbidden",
            "GatedRepo",
            true,
            &["`org/tiny` is gated", "of that account"],
        ),
        (
            "401 Unauthorized",
            "RepoNotFound",
            false,
            &["no `org/tiny`", "or it is private", "`HF_TOKEN`"],
        ),
        (
            "401 Unauthorized",
            "",
            true,
            &["refuses the token", "(401)", "/settings/tokens"],
        ),
        ("403 Forbidden", "", true, &["refuses the token", "(403)"]),
        (
            "404 Not Found",
            "RepoNotFound",
            false,
            &["no `org/tiny`", "check the name"],
        ),
        ("404 Not Found", "", false, &["no `org/tiny`"]),
        (
            "418 I'm a teapot",
            "",
            false,
            &["`hf:org/tiny`: the server answers 418 (short and stout)"],
        ),
    ];
    for (status, code, with_token, words) in cases {
        let hub = Server::start(move |_, _, stream| {
            let code = format!("X-Error-Code: {code}");
            send(
                stream,
                status,
                &[&code, "X-Error-Message: short and stout"],
                b"no",
            );
        });
        let home = folder();
        let token = with_token.then(|| "secret".to_owned());
        let sources = Sources {
            token,
            ..sources(home.path(), &hub)
        };
        let error = fault("hf:org/tiny", &sources);
        says(&error, words);
        assert!(!error.contains("secret"), "{error}");
        assert_eq!(hub.targets().len(), 1, "{status} is not asked twice");
    }
}

#[test]
fn a_missing_revision_or_file_is_named() {
    let (home, (hub, _cdn)) = (folder(), hub("org/tiny", checkpoint()));
    let other = fault("hf:org/tiny@v9", &sources(home.path(), &hub));
    says(&other, &["no `org/tiny`"]);
    let revision = Server::start(|_, _, stream| {
        send(
            stream,
            "404 Not Found",
            &["X-Error-Code: RevisionNotFound"],
            b"",
        );
    });
    let error = fault("hf:org/tiny@v9", &sources(home.path(), &revision));
    assert_eq!(error, "`org/tiny` has no revision `v9`");
    let gone = fault_of_file(|_, _, stream| send(stream, "404 Not Found", &[], b""));
    assert_eq!(gone, "`org/tiny` has no file `a.gguf`");
    // Who may see the list and not the file has not accepted the terms.
    let gated = fault_of_file(|_, _, stream| send(stream, "403 Forbidden", &[], b""));
    says(&gated, &["`org/tiny` is gated"]);
}

thread_local! {
    /// How long was waited, on this thread.
    static WAITS: RefCell<Vec<Duration>> = const { RefCell::new(Vec::new()) };
}

/// Answers so the first times, and then leads to a Hub that answers well; both that and its CDN are kept.
fn busy(status: &'static str, header: &'static str, times: usize) -> (Server, [Server; 2]) {
    let (hub, cdn) = hub("org/tiny", checkpoint());
    let behind = hub.address.clone();
    let front = Server::start(move |asked, number, stream| match number < times {
        true => send(stream, status, &[header], b"later"),
        false => {
            let location = format!("Location: {behind}{}", asked.target);
            send(stream, "307 Temporary Redirect", &[&location], b"");
        }
    });
    (front, [hub, cdn])
}

fn waits(hub: &Server) -> (Result<u64, String>, Vec<Duration>) {
    let home = folder();
    let sources = Sources {
        pause: |time| WAITS.with_borrow_mut(|waits| waits.push(time)),
        ..sources(home.path(), hub)
    };
    let answer = open_from("hf:org/tiny", &sources);
    let answer = answer.map(|model| model.parameters());
    (answer.map_err(|error| error.to_string()), WAITS.take())
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let (hub, _behind) = busy("429 Too Many Requests", "Retry-After: 7", 2);
    let seven = Duration::from_secs(7);
    assert_eq!(waits(&hub), (Ok(tiny::PARAMETERS), vec![seven, seven]));

    let (hub, _behind) = busy("503 Service Unavailable", "X: y", 3);
    let doubled = [500, 1000, 2000].map(Duration::from_millis).to_vec();
    assert_eq!(waits(&hub), (Ok(tiny::PARAMETERS), doubled));
}

#[test]
fn a_server_that_stays_busy_is_given_up() {
    let (hub, _behind) = busy("500 Internal Server Error", "Retry-After: 0", 99);
    let (answer, waits_of) = waits(&hub);
    says(&answer.unwrap_err(), &["answers 500 (5 times)"]);
    assert_eq!((waits_of.len(), hub.targets().len()), (4, 5));

    let (hub, _behind) = busy("429 Too Many Requests", "Retry-After: 3600", 99);
    let (answer, waits_of) = waits(&hub);
    says(
        &answer.unwrap_err(),
        &["answers 429 and asks to wait for 3600 s", "`HF_TOKEN`"],
    );
    assert_eq!((waits_of.len(), hub.targets().len()), (0, 1));
}

#[test]
fn a_silent_server_is_not_waited_for() {
    let impatient = |hub: &Server| Sources {
        patience: Duration::from_millis(50),
        ..sources(folder().path(), hub)
    };
    let hub = Server::start(|_, _, stream| silence(stream));
    let words = ["did not answer within 0.05 s", "try again"];
    says(&fault("hf:org/tiny", &impatient(&hub)), &words);
    // The same where the silence falls in the middle of the answer.
    let hub = with_file(|_, _, stream| {
        let range = "Content-Range: bytes 0-99/100";
        raw(
            stream,
            "206 Partial Content",
            &[range, "Content-Length: 100"],
            b"GGUF",
        );
        silence(stream);
    });
    says(&fault("hf:org/tiny", &impatient(&hub)), &words);
}

#[test]
fn nobody_there_is_said_at_once() {
    let gone = Server::start(|_, _, _| ()).address.clone();
    let home = folder();
    let hub = Server::start(|_, _, _| ());
    let sources = Sources {
        endpoint: gone,
        pause: |_| panic!("no wait helps"),
        ..sources(home.path(), &hub)
    };
    says(
        &fault("hf:org/tiny", &sources),
        &["`127.0.0.1` can't be reached", "check the network"],
    );
}

#[test]
fn an_answer_that_breaks_off_is_asked_for_again_and_then_given_up() {
    let error = fault_of_file(|_, _, stream| {
        let range = "Content-Range: bytes 0-99/100";
        raw(
            stream,
            "206 Partial Content",
            &[range, "Content-Length: 100"],
            b"GGUF",
        );
    });
    says(&error, &["breaks off after 4 bytes of 100"]);
    let error = fault_of_file(|_, _, stream| {
        send(
            stream,
            "206 Partial Content",
            &["Content-Range: bytes 0-99/100"],
            b"GGUF",
        );
    });
    says(&error, &["breaks off after 4 bytes of 100"]);
    // Once is forgiven.
    let home = folder();
    let hub = with_file(|asked, number, stream| match number {
        1 => raw(
            stream,
            "206 Partial Content",
            &["Content-Range: bytes 0-9/10", "Content-Length: 10"],
            b"GG",
        ),
        _ => send_range(stream, asked, &tiny::gguf(9)),
    });
    assert!(open_from("hf:org/tiny", &sources(home.path(), &hub)).is_ok());
}

#[test]
fn a_server_that_ignores_ranges_is_not_listened_to() {
    let error = fault_of_file(|_, _, stream| {
        // Eight terabytes are announced, and none is waited for.
        raw(
            stream,
            "200 OK",
            &["Content-Length: 8000000000000"],
            b"GGUF",
        );
        silence(stream);
    });
    says(&error, &["whole files and no ranges", "`HF_ENDPOINT`"]);
    let error = fault_of_file(|_, _, stream| {
        raw(stream, "200 OK", &[], &vec![0; (2 << 20) + 1]);
    });
    says(&error, &["whole files and no ranges"]);
    // A whole file that is no longer than the range is as good.
    let (home, hub) = (
        folder(),
        with_file(|_, _, stream| send(stream, "200 OK", &[], &tiny::gguf(9))),
    );
    assert!(open_from("hf:org/tiny", &sources(home.path(), &hub)).is_ok());
}

#[test]
fn another_range_than_asked_for_is_no_answer() {
    for range in [
        "bytes 1-100/1000",
        "bytes 0-98/1000",
        "bytes 0-0/18446744073709551615",
        "bytes 0-18446744073709551615/18446744073709551615",
        "bytes 0-99/*",
        "bytes 5-2/1000",
        "nonsense",
        "",
    ] {
        let error = fault_of_file(move |_, _, stream| {
            let range = format!("Content-Range: {range}");
            send(stream, "206 Partial Content", &[&range], &[0; 100]);
        });
        says(&error, &["another range than was asked for"]);
    }
    let error = fault_of_file(|_, _, stream| send(stream, "416 Range Not Satisfiable", &[], b""));
    says(&error, &["the server answers 416"]);
}

#[test]
fn a_file_that_changes_between_two_ranges_is_refused() {
    let error = fault_of_file(|asked, _, stream| {
        let mut file = tiny::gguf(5 << 20);
        file.extend(vec![
            0;
            if asked.headers["range"].starts_with("bytes=0-") {
                0
            } else {
                1
            }
        ]);
        send_range(stream, asked, &file);
    });
    says(&error, &["bytes long, then"]);
}

#[test]
fn what_is_no_header_is_refused_by_the_name_of_its_file() {
    let error = fault_of_file(|asked, _, stream| {
        send_range(stream, asked, b"<html>no weights here</html>")
    });
    says(&error, &["`hf:org/tiny: a.gguf`", "it is no GGUF file"]);
    let mut all = checkpoint();
    // Its length says that the header has 2^63 bytes.
    all.insert(
        "model.safetensors".to_owned(),
        [&[0, 0, 0, 0, 0, 0, 0, 0x80][..], &[0; 100]].concat(),
    );
    let (home, (hub, _cdn)) = (folder(), hub("org/tiny", all));
    let error = fault("hf:org/tiny", &sources(home.path(), &hub));
    says(
        &error,
        &[
            "`hf:org/tiny: model.safetensors`",
            "the length of the header is 9223372036854775808",
        ],
    );
}

#[test]
fn what_is_no_list_of_files_is_no_hub() {
    for text in ["<html>", "{}", "{\"sha\":\"../..\",\"siblings\":[]}", "[]"] {
        let hub = Server::start(move |_, _, stream| send(stream, "200 OK", &[], text.as_bytes()));
        let error = fault("hf:org/tiny", &sources(folder().path(), &hub));
        says(&error, &["the answer is not the Hub's", "`HF_ENDPOINT`"]);
    }
    // No list is compared with names that no model has.
    let many = files(&[("a-00001-of-99999.gguf", Vec::new())]);
    let list = server::info(&many);
    let hub = Server::start(move |_, _, stream| send(stream, "200 OK", &[], list.as_bytes()));
    let error = fault("hf:org/tiny", &sources(folder().path(), &hub));
    says(&error, &["99999 files, and a model has at most 2000"]);
    // A file that would leave the folder is no file of the repository.
    let list =
        format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{{\"rfilename\":\"../../x.gguf\"}}]}}");
    let hub = Server::start(move |_, _, stream| send(stream, "200 OK", &[], list.as_bytes()));
    let error = fault("hf:org/tiny", &sources(folder().path(), &hub));
    says(&error, &["holds neither a GGUF file nor a config.json"]);
}

#[test]
fn a_name_that_is_none_says_how_names_are_written() {
    for (name, hint) in [
        ("hf:a/b/c", "write `hf:org/name`"),
        ("ollama:../x", "write `ollama:name`"),
    ] {
        let answer = shardplan(&["plan", name, "--rig", "RTX 3090"]);
        assert_eq!(answer.code, Some(1));
        says(
            &answer.stderr,
            &[&format!("error: `{name}` names no"), hint],
        );
    }
}
