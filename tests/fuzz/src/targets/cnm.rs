//! What drivers and Docker Engine answer, and what is remembered of them.

use std::cell::RefCell;
use std::fmt::Debug;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cni_cnm::Method;
use cni_cnm::engine::{Container, Network, ServerVersion};
use cni_cnm::http::{Address, Client, HttpError, MAX_BODY, Patience, Request, Verb};
use cni_cnm::remote::interpret;
use cni_cnm::store::record::{EndpointRecord, NetworkRecord};
use cni_cnm::wire::{ActivateReply, ErrorReply, ipam, network};
use cni_types::Json;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// A status, and a body.
pub(super) fn reply(bytes: &[u8]) {
    let Some((status, body)) = bytes.split_first_chunk() else {
        return;
    };
    let status = u16::from_be_bytes(*status);
    for method in [Method::Join, Method::RequestPool, Method::GwAllocCheck] {
        for status in [200, 404, status] {
            if let Ok(doc) = interpret(method, status, body) {
                understood(&doc);
            }
        }
    }
    if let Ok(doc) = Json::parse_first(body) {
        let _no_panic = doc.decode::<Container>();
        let _no_panic = doc.decode::<Network>();
        if let Ok(version) = doc.decode::<ServerVersion>() {
            let _no_panic = version.major();
        }
    }
}

fn understood(doc: &Json) {
    same::<ActivateReply>(doc);
    same::<ErrorReply>(doc);
    same::<network::JoinReply>(doc);
    same::<network::CreateEndpointReply>(doc);
    same::<network::EndpointInfoReply>(doc);
    same::<network::AllocateNetworkReply>(doc);
    same::<network::GwAllocCheckReply>(doc);
    same::<ipam::RequestPoolReply>(doc);
    same::<ipam::RequestAddressReply>(doc);
}

/// What is understood of a reply is understood of the same written by us: records keep some.
fn same<T: DeserializeOwned + Serialize + PartialEq + Debug>(doc: &Json) {
    if let Ok(value) = doc.decode::<T>() {
        let text = serde_json::to_vec(&value).expect("a reply can be written");
        let doc = Json::parse(&text).expect("it is a document");
        assert_eq!(doc.decode::<T>().as_ref(), Ok(&value));
    }
}

/// A record that a program of another version, or anybody, has written.
pub(super) fn record(bytes: &[u8]) {
    kept::<NetworkRecord>(bytes);
    kept::<EndpointRecord>(bytes);
}

fn kept<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(record) = serde_json::from_slice::<T>(bytes) {
        let text = serde_json::to_vec_pretty(&record).expect("a record can be written");
        let again: T = serde_json::from_slice(&text).expect("and read");
        assert_eq!(again, record);
    }
}

/// A driver that says whatever it is told to, to whoever connects.
struct Driver {
    _dir: TempDir,
    client: Client,
    say: mpsc::Sender<Vec<u8>>,
}

impl Driver {
    fn start() -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("driver.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let (say, said) = mpsc::channel::<Vec<u8>>();
        thread::spawn(move || {
            while let Ok(reply) = said.recv() {
                let (mut stream, _) = listener.accept().expect("a client");
                answer(&mut stream, &reply);
            }
        });
        let address = Address::unix(&path).expect("an address");
        let client = Client::new(address).expect("a client");
        Self {
            _dir: dir,
            client,
            say,
        }
    }
}

/// Reads the request, says it all, and ends; the client may have had enough before.
fn answer(stream: &mut UnixStream, reply: &[u8]) {
    let mut request = [0; 4096];
    let _heard = stream.read(&mut request);
    match stream.write_all(reply) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => panic!("{error}"),
        _said_or_not => {}
    }
}

thread_local! {
    static DRIVER: RefCell<Option<Driver>> = const { RefCell::new(None) };
}

/// The bytes that come over the socket: HTTP or not.
pub(super) fn http(bytes: &[u8]) {
    DRIVER.with_borrow_mut(|driver| {
        let driver = driver.get_or_insert_with(Driver::start);
        driver
            .say
            .send(bytes.to_vec())
            .expect("the driver is there");
        let request = Request {
            verb: Verb::Post,
            path: "/NetworkDriver.Join",
            headers: &[("Host", "driver")],
            body: b"{}",
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        match driver.client.send(&request, &Patience::none(), deadline) {
            Ok(reply) => {
                assert!(reply.body.len() <= bytes.len().min(MAX_BODY));
                let _no_panic = interpret(Method::Join, reply.status, &reply.body);
            }
            Err(HttpError::Timeout) => panic!("it waits for a server that has hung up"),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
