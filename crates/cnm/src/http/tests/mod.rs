//! Every way in which a conversation can go wrong, against a server in this process.

pub(crate) mod server;
mod tls;

use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::*;
use server::{Server, Talk, pass, reply};

/// Longer than any machine takes for what should not take long.
const LONG: Duration = Duration::from_secs(60);
/// Long enough for one exchange, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

fn within(time: Duration) -> Instant {
    Instant::now() + time
}

fn request(body: &[u8]) -> Request<'_> {
    Request {
        verb: Verb::Post,
        path: "/NetworkDriver.Join",
        headers: &[
            ("Host", "plugin.moby.localhost"),
            ("Accept", "application/json"),
        ],
        body,
    }
}

fn send(server: &Server, time: Duration) -> Result<Reply, HttpError> {
    let client = Client::new(server.address.clone()).unwrap();
    client.send(&request(b"{}"), &Patience::none(), within(time))
}

/// What comes of an answer that is exactly these bytes and then the end.
fn answered(bytes: impl Into<Vec<u8>>) -> Result<Reply, HttpError> {
    let bytes = bytes.into();
    let server = Server::unix(move |talk| {
        talk.hear();
        talk.say(&bytes);
    });
    let outcome = send(&server, LONG);
    assert_eq!(server.connections(), 1, "nothing is sent twice");
    outcome
}

fn body(outcome: Result<Reply, HttpError>) -> (u16, String) {
    let reply = outcome.unwrap();
    (reply.status, String::from_utf8(reply.body).unwrap())
}

#[test]
fn requests_are_what_drivers_are_used_to() {
    let server = Server::answering(|_request| reply("200 OK", "{}"));
    let client = Client::new(server.address.clone()).unwrap();
    for bytes in [b"".as_slice(), br#"{"NetworkID":"N"}"#] {
        client
            .send(&request(bytes), &Patience::none(), within(LONG))
            .unwrap();
    }
    let get = Request {
        verb: Verb::Get,
        path: "/_ping",
        headers: &[("Host", "docker")],
        body: b"",
    };
    client.send(&get, &Patience::none(), within(LONG)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let post = |length: usize, body: &str| {
        format!(
            "POST /NetworkDriver.Join HTTP/1.1\r\nUser-Agent: Tenon/{version}\r\n\
             Host: plugin.moby.localhost\r\nAccept: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    assert_eq!(
        server.requests(),
        [
            post(0, ""),
            post(17, r#"{"NetworkID":"N"}"#),
            format!("GET /_ping HTTP/1.1\r\nUser-Agent: Tenon/{version}\r\nHost: docker\r\n\r\n"),
        ]
    );
}

#[test]
fn replies_of_every_form_are_read() {
    let rows = [
        reply("200 OK", "{}"),
        "HTTP/1.0 200 OK\r\nServer: Werkzeug\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
            .to_owned(),
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
    ];
    for row in rows {
        assert_eq!(body(answered(row.clone())), (200, "{}".to_owned()), "{row}");
    }
    let empty = answered("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(body(empty), (204, String::new()));
    let failed = answered(reply("500 Internal Server Error", r#"{"Err":"no"}"#));
    assert_eq!(body(failed), (500, r#"{"Err":"no"}"#.to_owned()));
}

#[test]
fn headers_are_found_whatever_their_case() {
    let reply =
        answered("HTTP/1.1 200 OK\r\nAPI-Version: 1.41\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(reply.header("Api-Version"), Some("1.41"));
    assert_eq!(reply.header("Ostype"), None);
}

#[test]
fn redirects_are_not_followed() {
    let redirect = answered(
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(body(redirect), (302, String::new()));
}

#[test]
fn a_reply_that_breaks_off_is_none() {
    let rows = [
        "",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"Err\":",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    ];
    for row in rows {
        let error = answered(row).unwrap_err();
        assert!(
            matches!(error, HttpError::Unreachable(_)),
            "{row}: {error:?}"
        );
    }
}

#[test]
fn garbage_is_told_from_breaking_off() {
    let rows = [
        "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
    ];
    for row in rows {
        let error = answered(row).unwrap_err();
        assert!(matches!(error, HttpError::Malformed(_)), "{row}: {error:?}");
    }
}

#[test]
fn a_body_is_read_up_to_a_mebibyte() {
    let whole = answered(reply("200 OK", &"x".repeat(MAX_BODY))).unwrap();
    assert_eq!(whole.body.len(), MAX_BODY);
    let long = "x".repeat(MAX_BODY + 1);
    let error = answered(reply("200 OK", &long)).unwrap_err();
    assert!(matches!(error, HttpError::Malformed(_)), "{error:?}");
    // Without a length it is found out on the way.
    let error = answered(format!("HTTP/1.0 200 OK\r\n\r\n{long}{long}")).unwrap_err();
    assert!(matches!(error, HttpError::Malformed(_)), "{error:?}");
}

#[test]
fn a_server_that_hangs_costs_the_deadline_and_no_more() {
    let silent = Server::unix(Talk::hang);
    let after_head = Server::unix(|talk| {
        talk.hear();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{");
        talk.hang();
    });
    // A drop now and then must not put it off.
    let trickling = Server::unix(|talk| {
        talk.hear();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
        while talk.say(" ") {
            pass(Duration::from_millis(20));
        }
    });
    for server in [silent, after_head, trickling] {
        let start = Instant::now();
        assert_eq!(send(&server, SHORT).unwrap_err(), HttpError::Timeout);
        assert!(start.elapsed() >= SHORT && start.elapsed() < LONG / 2);
    }
}

#[test]
fn a_slow_server_is_waited_for() {
    let server = Server::unix(|talk| {
        talk.hear();
        pass(SHORT);
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{");
        pass(SHORT);
        talk.say("}");
    });
    assert_eq!(body(send(&server, LONG)), (200, "{}".to_owned()));
}

#[test]
fn nothing_is_sent_when_time_is_up() {
    let server = Server::answering(|_request| reply("200 OK", "{}"));
    let client = Client::new(server.address.clone()).unwrap();
    let outcome = client.send(&request(b"{}"), &Patience::default(), Instant::now());
    assert!(matches!(outcome.unwrap_err(), HttpError::NoConnection(_)));
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_request_that_was_sent_is_not_sent_again() {
    let closing = Server::unix(|_talk| {});
    let reading = Server::unix(|talk| {
        talk.hear();
    });
    for server in [closing, reading] {
        let client = Client::new(server.address.clone()).unwrap();
        let outcome = client.send(&request(b"{}"), &Patience::default(), within(LONG));
        let error = outcome.unwrap_err();
        assert!(matches!(error, HttpError::Unreachable(_)), "{error:?}");
        assert_eq!(server.connections(), 1);
    }
}

#[test]
fn servers_that_keep_a_connection_and_servers_that_close_it_are_alike() {
    let keeping = Server::unix(|talk| {
        while talk.hear().is_some() {
            talk.say(reply("200 OK", "{}"));
        }
    });
    // It announces that it keeps the connection, and closes it all the same.
    let closing = Server::answering(|_request| {
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}".to_owned()
    });
    for server in [keeping, closing] {
        let client = Client::new(server.address.clone()).unwrap();
        for _ in 0..3 {
            let reply = client.send(&request(b"{}"), &Patience::none(), within(LONG));
            assert_eq!(body(reply), (200, "{}".to_owned()));
        }
        assert_eq!(server.lines(), ["POST /NetworkDriver.Join HTTP/1.1"; 3]);
    }
}

#[test]
fn tcp_is_spoken_by_address_and_by_name() {
    let server = Server::tcp(|talk| {
        talk.hear();
        talk.say(reply("200 OK", "{}"));
    });
    assert_eq!(body(send(&server, LONG)), (200, "{}".to_owned()));
    let Address::Tcp(HostPort { port, .. }) = server.address else {
        panic!("a TCP server has a TCP address");
    };
    // 0.0.0.0 is what one driver writes into its spec file.
    for host in ["localhost", "0.0.0.0"] {
        let url = format!("tcp://{host}:{port}");
        let client = Client::new(Address::parse(&url, &TlsConfig::unverified()).unwrap()).unwrap();
        let outcome = client.send(&request(b"{}"), &Patience::none(), within(LONG));
        assert_eq!(body(outcome), (200, "{}".to_owned()), "{url}");
    }
}

#[test]
fn nobody_there_is_told_at_once_without_patience() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.sock");
    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).unwrap());
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let refused = Address::Tcp(HostPort {
        host: "127.0.0.1".to_owned(),
        port,
    });
    let rows = [
        (Address::Unix(missing), "No such file"),
        (Address::Unix(stale), "refused"),
        (refused, "refused"),
    ];
    for (address, why) in rows {
        let start = Instant::now();
        let client = Client::new(address.clone()).unwrap();
        let error = client
            .send(&request(b"{}"), &Patience::none(), within(LONG))
            .unwrap_err();
        assert!(matches!(error, HttpError::NoConnection(_)), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(why) && text.contains(&address.to_string()),
            "{text}"
        );
        assert!(start.elapsed() < LONG / 2);
    }
}

#[test]
fn patience_ends_before_the_deadline_and_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Address::Unix(dir.path().join("missing.sock"));
    let client = Client::new(missing).unwrap();
    for (patience, time) in [(SHORT, LONG), (LONG, SHORT)] {
        let start = Instant::now();
        let outcome = client.send(&request(b"{}"), &Patience::of(patience), within(time));
        // Why it has not answered is worth more than that time is up.
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        assert!(start.elapsed() < LONG / 2);
    }
}

#[test]
fn a_server_that_starts_meanwhile_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late.sock");
    let client = Client::new(Address::Unix(path.clone())).unwrap();
    let late = std::thread::spawn(move || {
        pass(Duration::from_millis(50));
        let listener = UnixListener::bind(path).unwrap();
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{}") {
            let mut some = [0; 1024];
            let count = std::io::Read::read(&mut socket, &mut some).unwrap();
            request.extend_from_slice(&some[..count]);
        }
        std::io::Write::write_all(&mut socket, reply("200 OK", "{}").as_bytes()).unwrap();
        // The client has to have read it before it may see the end.
        let _request = std::io::Read::read_to_end(&mut socket, &mut Vec::new());
    });
    let outcome = client.send(&request(b"{}"), &Patience::of(LONG), within(LONG));
    assert_eq!(body(outcome), (200, "{}".to_owned()));
    late.join().unwrap();
}

#[test]
fn a_server_that_does_not_accept_costs_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("busy.sock");
    let listener = UnixListener::bind(&path).unwrap();
    // A queue of one, and somebody is in it.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let waiting = UnixStream::connect(&path).unwrap();
    let client = Client::new(Address::Unix(path)).unwrap();
    let start = Instant::now();
    let outcome = client.send(&request(b"{}"), &Patience::default(), within(SHORT));
    let error = outcome.unwrap_err();
    assert!(matches!(error, HttpError::NoConnection(_)), "{error:?}");
    assert!(start.elapsed() >= SHORT && start.elapsed() < LONG / 2);
    drop((waiting, listener));
}
