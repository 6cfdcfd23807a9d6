//! The way to the Hub: redirects, whom the token is given to, and proxies.

use std::io::Write;
use std::net::TcpStream;

use shardplan::model::source::Sources;

use crate::faults::says;
use crate::server::{Asked, Server, hub, send};
use crate::{checkpoint, fault, folder, run, sources};

#[test]
fn a_circle_of_redirects_ends() {
    let hub = Server::start(|asked, _, stream| {
        let location = format!("Location: {}", asked.target);
        send(stream, "302 Found", &[&location], b"");
    });
    says(
        &fault("hf:org/tiny", &sources(folder().path(), &hub)),
        &["redirects more than 10 times"],
    );
    assert_eq!(hub.targets().len(), 11);
    let hub = Server::start(|_, _, stream| {
        send(stream, "302 Found", &["Location: file:///etc/passwd"], b"")
    });
    says(
        &fault("hf:org/tiny", &sources(folder().path(), &hub)),
        &["redirects to no address"],
    );
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let (home, (hub, cdn)) = (folder(), hub("org/tiny", checkpoint()));
    let token = [("HF_TOKEN", "secret")];
    let arguments = ["plan", "hf:org/tiny", "--rig", "RTX 3090", "--json"];
    let plan = run(home.path(), &hub, &token, &arguments).json(0);
    assert_eq!(plan["model"]["name"], "hf:org/tiny");
    let has_token = |asked: &Asked| asked.headers.contains_key("authorization");
    assert!(hub.asked().iter().all(has_token));
    assert!(cdn.asked().len() == 1 && !cdn.asked().iter().any(has_token));

    let sources = Sources {
        token: Some("two\nlines".to_owned()),
        ..sources(folder().path(), &hub)
    };
    let error = fault("hf:org/tiny", &sources);
    says(&error, &["`HF_TOKEN`", "is no token"]);
    assert!(!error.contains("lines"), "{error}");
}

#[test]
fn a_proxy_is_asked_except_where_it_is_not_wanted() {
    let (home, (hub, cdn)) = (folder(), hub("org/tiny", checkpoint()));
    // It joins both sides, as a proxy does after CONNECT.
    let proxy = Server::start(|asked, _, stream| {
        let (Ok(mut there), Ok(mut here)) = (TcpStream::connect(&asked.target), stream.try_clone())
        else {
            return;
        };
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let Ok(mut back) = there.try_clone() else {
            return;
        };
        std::thread::scope(|scope| {
            scope.spawn(move || std::io::copy(&mut here, &mut there));
            let _ = std::io::copy(&mut back, stream);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        });
    });
    let arguments = ["plan", "hf:org/tiny", "--rig", "RTX 3090"];
    let through = [
        ("HTTP_PROXY", proxy.address.as_str()),
        ("http_proxy", ""),
        ("NO_PROXY", "example.org"),
    ];
    run(home.path(), &hub, &through, &arguments).text();
    let hosts: Vec<_> = [&hub, &hub, &hub, &cdn]
        .map(|server| server.address.replace("http://", ""))
        .into();
    assert_eq!(
        proxy.targets(),
        hosts,
        "the list, the configuration, where the weights are, the weights"
    );

    let spared = [
        ("HTTP_PROXY", proxy.address.as_str()),
        ("NO_PROXY", "127.0.0.1"),
    ];
    run(folder().path(), &hub, &spared, &arguments).text();
    assert_eq!(proxy.targets().len(), 4);

    let wrong = [
        ("HTTP_PROXY", "http://user:pass word@"),
        ("http_proxy", ""),
        ("NO_PROXY", ""),
    ];
    let answer = run(folder().path(), &hub, &wrong, &arguments);
    assert_eq!(answer.code, Some(1));
    says(
        &answer.stderr,
        &["is no address of a server", "`HTTPS_PROXY`"],
    );
    assert!(!answer.stderr.contains("pass word"), "{answer:?}");
}
