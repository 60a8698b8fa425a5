//! Against what Docker Engine 20.10.24 answers: fixtures and texts are its own.

use std::time::Duration;

use cni_types::{ErrorCode, ToCniError as _};
use serde_json::{Value, json};

use super::*;
use crate::http::tests::server::{Server, Talk, reply};

const CONTAINER: &str = include_str!("fixtures/container_connected.json");
const CREATED: &str = include_str!("fixtures/container_created.json");
const NETWORK: &str = include_str!("fixtures/network.json");
const VERSION: &str = include_str!("fixtures/version.json");

const C1: &str = "eea30e499e33c295f83435301343d34e92aca14576a190f025b2b99eda6c0a32";
const RED: &str = "55dd08a6248b5dc3abd87a08185de6f25feb853fd804f792f73b5699f270142b";
const LONG: Duration = Duration::from_secs(60);

fn soon() -> Instant {
    Instant::now() + LONG
}

fn ping(version: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nApi-Version: {version}\r\nContent-Length: 2\r\n\r\nOK")
}

/// An Engine that answers every call with the same.
fn serve(status: &'static str, body: &'static str) -> Server {
    Server::answering(move |request| {
        if request.starts_with("GET /_ping ") {
            ping("1.41")
        } else {
            reply(status, body)
        }
    })
}

fn engine(server: &Server) -> Engine {
    Engine::new(server.address.clone(), Patience::none()).unwrap()
}

/// The last request: its first line, and its body.
fn asked(server: &Server) -> (String, Value) {
    let request = server.requests().pop().unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let body = match body {
        "" => Value::Null,
        body => serde_json::from_str(body).unwrap(),
    };
    (head.lines().next().unwrap().to_owned(), body)
}

#[test]
fn a_container_is_inspected() {
    let server = serve("200 OK", CONTAINER);
    let container = engine(&server).inspect_container(C1, soon()).unwrap();
    assert!(container.state.running && container.state.pid == 96);
    assert_eq!(container.host_config.network_mode, "none");
    assert_eq!(
        container.network_settings.sandbox_key,
        "/var/run/docker/netns/5b81b6daefc7"
    );
    let endpoint = &container.network_settings.networks["red"];
    assert_eq!(
        (endpoint.ip_address.as_str(), endpoint.ip_prefix_len),
        ("10.77.0.9", 24)
    );
    assert_eq!(endpoint.gateway, "10.77.0.1");
    assert_eq!(endpoint.mac_address, "02:42:0a:4d:00:09");
    assert_eq!(endpoint.network_id, RED);
    assert_eq!(endpoint.aliases, ["web", "eea30e499e33"]);
    assert_eq!(endpoint.driver_opts["x"], "y");
    assert!(endpoint.global_ipv6_address.is_empty());
    let line = format!("GET /v1.41/containers/{C1}/json HTTP/1.1");
    assert_eq!(asked(&server), (line, Value::Null));
}

#[test]
fn a_container_that_does_not_run_has_no_endpoint_yet() {
    let server = serve("200 OK", CREATED);
    let container = engine(&server).inspect_container("c2", soon()).unwrap();
    assert!(!container.state.running && container.state.pid == 0);
    assert_eq!(container.state.status, "created");
    let endpoint = &container.network_settings.networks["none"];
    assert!(endpoint.endpoint_id.is_empty() && endpoint.aliases.is_empty());
}

#[test]
fn a_container_is_known_by_id_short_id_and_name_only() {
    let server = serve("200 OK", CONTAINER);
    let engine = engine(&server);
    for name in [C1, "eea30e499e33", "c1"] {
        engine.inspect_container(name, soon()).unwrap();
    }
    // Engine takes this for the id, too. Another container's attachment may be called like that.
    for name in ["eea", "eea30e499e3", "c2"] {
        let error = engine.inspect_container(name, soon()).unwrap_err();
        assert!(error.is_not_found(), "{error:?}");
    }
}

#[test]
fn a_network_is_inspected_by_name_or_id() {
    let server = serve("200 OK", NETWORK);
    let engine = engine(&server);
    for name in ["red", RED] {
        let network = engine.inspect_network(name, soon()).unwrap();
        assert_eq!(
            (network.id.as_str(), network.driver.as_str()),
            (RED, "bridge")
        );
        assert_eq!(network.ipam.config[0].subnet, "10.77.0.0/24");
        assert_eq!(network.ipam.config[0].gateway, "10.77.0.1");
        assert_eq!(network.options["com.docker.network.bridge.name"], "red0");
        let attached = &network.containers[C1];
        assert_eq!(
            (attached.name.as_str(), attached.ipv4_address.as_str()),
            ("c1", "10.77.0.9/24")
        );
    }
    let error = engine.inspect_network("55dd08", soon()).unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
    assert_eq!(error.to_string(), "could not inspect network 55dd08");
    assert_eq!(
        error.cause.to_string(),
        "there is none of that name (Docker takes it for red)"
    );
}

#[test]
fn networks_are_listed_by_their_whole_name() {
    let server = serve(
        "200 OK",
        r#"[{"Name":"red","Id":"1"},{"Name":"redder","Id":"2"},{"Name":"red","Id":"3","Containers":{}}]"#,
    );
    let networks = engine(&server).list_networks("red", soon()).unwrap();
    let ids: Vec<_> = networks.iter().map(|network| network.id.as_str()).collect();
    assert_eq!(ids, ["1", "3"]);
    let line = "GET /v1.41/networks?filters=%7B%22name%22%3A%5B%22red%22%5D%7D HTTP/1.1";
    assert_eq!(asked(&server).0, line);
}

#[test]
fn networks_are_listed_by_a_label_and_its_value() {
    let server = serve(
        "200 OK",
        r#"[{"Id":"1","Labels":{"a.b":"pods"}},{"Id":"2","Labels":{"a.b":"pods2"}},{"Id":"3","Labels":null}]"#,
    );
    let networks = engine(&server)
        .labelled_networks(("a.b", "pods"), soon())
        .unwrap();
    let ids: Vec<_> = networks.iter().map(|network| network.id.as_str()).collect();
    assert_eq!(ids, ["1"], "Engine is not trusted to have filtered");
    let line = "GET /v1.41/networks?filters=%7B%22label%22%3A%5B%22a.b%3Dpods%22%5D%7D HTTP/1.1";
    assert_eq!(asked(&server).0, line);
}

#[test]
fn the_containers_on_a_network_are_listed_whether_they_run_or_not() {
    let server = serve("200 OK", r#"[{"Id":"c1","Names":["/one"]},{"Id":"c2"}]"#);
    let network = Network {
        name: "red".into(),
        id: "55dd".into(),
        ..Network::default()
    };
    let ids = engine(&server).containers_on(&network, soon()).unwrap();
    assert_eq!(ids, ["c1", "c2"]);
    let line = "GET /v1.41/containers/json?all=1&\
        filters=%7B%22network%22%3A%5B%2255dd%22%2C%22red%22%5D%7D HTTP/1.1";
    assert_eq!(asked(&server).0, line);
}

#[test]
fn a_network_is_made_and_removed() {
    let server = serve("201 Created", r#"{"Id":"55dd","Warning":""}"#);
    let mut network = CreateNetwork::new("red", "bridge");
    assert_eq!(
        engine(&server).create_network(&network, soon()).unwrap(),
        "55dd"
    );
    let plain = json!({"Name": "red", "CheckDuplicate": true, "Driver": "bridge", "Internal": false,
        "EnableIPv6": false, "IPAM": {}});
    let line = "POST /v1.41/networks/create HTTP/1.1".to_owned();
    assert_eq!(asked(&server), (line, plain));
    network.enable_ipv6 = true;
    network.options.insert("parent".into(), "eth0".into());
    network.ipam.driver = "default".into();
    network.ipam.config.push(IpamPool {
        subnet: "10.77.0.0/24".into(),
        gateway: "10.77.0.1".into(),
        ..IpamPool::default()
    });
    engine(&server).create_network(&network, soon()).unwrap();
    let full = json!({"Name": "red", "CheckDuplicate": true, "Driver": "bridge", "Internal": false,
        "EnableIPv6": true, "Options": {"parent": "eth0"}, "IPAM": {"Driver": "default",
        "Config": [{"Subnet": "10.77.0.0/24", "Gateway": "10.77.0.1"}]}});
    assert_eq!(asked(&server).1, full);
    let server = serve("204 No Content", "");
    engine(&server).remove_network("red", soon()).unwrap();
    assert_eq!(asked(&server).0, "DELETE /v1.41/networks/red HTTP/1.1");
}

#[test]
fn a_container_is_connected_and_disconnected() {
    let server = serve("200 OK", "");
    let engine = engine(&server);
    let nothing = EndpointConfig::default();
    engine.connect("red", C1, &nothing, soon()).unwrap();
    let line = "POST /v1.41/networks/red/connect HTTP/1.1".to_owned();
    let body = json!({"Container": C1, "EndpointConfig": {}});
    assert_eq!(asked(&server), (line, body));
    let config = EndpointConfig {
        ipam_config: Some(EndpointIpam {
            ipv4_address: "10.77.0.9".into(),
            ipv6_address: String::new(),
        }),
        mac_address: "02:00:00:00:00:09".into(),
        driver_opts: [("x".to_owned(), "y".to_owned())].into(),
        aliases: vec!["web".into()],
        gw_priority: Some(1),
    };
    engine.connect(RED, "c1", &config, soon()).unwrap();
    let body = json!({"Container": "c1", "EndpointConfig": {
        "IPAMConfig": {"IPv4Address": "10.77.0.9"}, "MacAddress": "02:00:00:00:00:09",
        "DriverOpts": {"x": "y"}, "Aliases": ["web"], "GwPriority": 1}});
    assert_eq!(asked(&server).1, body);
    engine.disconnect("none", C1, false, soon()).unwrap();
    let line = "POST /v1.41/networks/none/disconnect HTTP/1.1".to_owned();
    assert_eq!(
        asked(&server),
        (line, json!({"Container": C1, "Force": false}))
    );
    engine.disconnect("red", C1, true, soon()).unwrap();
    assert_eq!(asked(&server).1, json!({"Container": C1, "Force": true}));
}

#[test]
fn requests_say_that_they_are_json() {
    let server = serve("200 OK", "");
    let config = EndpointConfig::default();
    engine(&server)
        .connect("red", "c1", &config, soon())
        .unwrap();
    let requests = server.requests();
    let version = env!("CARGO_PKG_VERSION");
    let common = format!(
        "User-Agent: Tenon/{version}\r\nHost: api.moby.localhost\r\nAccept: application/json\r\n"
    );
    assert_eq!(requests[0], format!("GET /_ping HTTP/1.1\r\n{common}\r\n"));
    let connect = format!(
        "POST /v1.41/networks/red/connect HTTP/1.1\r\n{common}Content-Type: application/json\r\n\
         Content-Length: 38\r\n\r\n{{\"Container\":\"c1\",\"EndpointConfig\":{{}}}}"
    );
    assert_eq!(requests[1], connect);
}

#[test]
fn versions_are_negotiated_once() {
    let server = serve("200 OK", NETWORK);
    let asking = engine(&server);
    for _ in 0..2 {
        asking.inspect_network("red", soon()).unwrap();
    }
    assert_eq!(asking.api_version(soon()).unwrap().to_string(), "1.41");
    assert_eq!(
        server.lines(),
        [
            "GET /_ping HTTP/1.1",
            "GET /v1.41/networks/red HTTP/1.1",
            "GET /v1.41/networks/red HTTP/1.1",
        ]
    );
    let newer = Server::answering(|_request| ping("1.60"));
    assert_eq!(
        engine(&newer).api_version(soon()).unwrap().to_string(),
        "1.54"
    );
    let ancient = Server::answering(|_request| reply("200 OK", "OK"));
    assert_eq!(
        engine(&ancient).api_version(soon()).unwrap().to_string(),
        "1.24"
    );
}

#[test]
fn an_engine_tells_who_it_is() {
    let version = engine(&serve("200 OK", VERSION))
        .server_version(soon())
        .unwrap();
    assert_eq!(version.version, "20.10.24+dfsg1");
    assert_eq!(version.major(), Some(20));
    assert_eq!(
        (
            version.api_version.as_str(),
            version.min_api_version.as_str()
        ),
        ("1.41", "1.12")
    );
    let unreleased = ServerVersion {
        version: "dev".into(),
        ..ServerVersion::default()
    };
    assert_eq!(unreleased.major(), None);
}

#[test]
fn names_cannot_become_other_paths() {
    let server = serve("404 Not Found", r#"{"message":"network not found"}"#);
    let engine = engine(&server);
    let error = engine.inspect_network("../containers/c1?x#y z\u{e4}", soon());
    assert!(error.unwrap_err().is_not_found());
    let line = "GET /v1.41/networks/..%2Fcontainers%2Fc1%3Fx%23y%20z%C3%A4 HTTP/1.1";
    assert_eq!(asked(&server).0, line);
    let before = server.requests().len();
    for name in ["", ".", ".."] {
        let error = engine.inspect_network(name, soon()).unwrap_err();
        assert!(error.cause.to_string().contains("is no name"), "{error:?}");
        engine.inspect_container(name, soon()).unwrap_err();
        engine.remove_network(name, soon()).unwrap_err();
        let config = EndpointConfig::default();
        engine.connect(name, "c1", &config, soon()).unwrap_err();
    }
    assert_eq!(server.requests().len(), before);
}

/// Of what is asked of an error, what is so.
fn traits(error: &EngineError) -> Vec<&'static str> {
    let all = [
        (error.is_not_found(), "not found"),
        (error.is_conflict(), "conflict"),
        (error.is_not_connected(), "not connected"),
        (error.is_already_connected(), "already connected"),
        (error.is_none_mode(), "none mode"),
        (error.is_ambiguous(), "ambiguous"),
        (error.is_in_use(), "in use"),
        (error.is_interface_taken(), "interface taken"),
        (error.is_down(), "down"),
    ];
    all.into_iter()
        .filter_map(|(so, name)| so.then_some(name))
        .collect()
}

/// Status, message, and what they mean.
const MEANINGS: [(&str, &str, &[&str]); 15] = [
    (
        "400 Bad Request",
        "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        &["none mode"],
    ),
    (
        "500 Internal Server Error",
        "container eea30e49 is not connected to network none",
        &["not connected"],
    ),
    (
        "500 Internal Server Error",
        "container eea30e49 is not connected to the network red",
        &["not connected"],
    ),
    (
        "403 Forbidden",
        "endpoint with name c1 already exists in network red",
        &["already connected"],
    ),
    (
        "409 Conflict",
        "network with name red already exists",
        &["conflict"],
    ),
    (
        "400 Bad Request",
        "container cannot be disconnected from host network or connected to host network",
        &[],
    ),
    ("404 Not Found", "network nope not found", &["not found"]),
    ("404 Not Found", "No such container: nope", &["not found"]),
    ("404 Not Found", "endpoint gone not found", &["not found"]),
    (
        "400 Bad Request",
        "network twin is ambiguous (2 matches found on name)",
        &["ambiguous"],
    ),
    (
        "400 Bad Request",
        "2 matches found based on name: network twin is ambiguous",
        &["ambiguous"],
    ),
    (
        "403 Forbidden",
        "error while removing network: network red id 55dd08a6 has active endpoints",
        &["in use"],
    ),
    (
        "500 Internal Server Error",
        "failed to add interface veth91e6b50 to sandbox: error renaming interface \"veth91e6b50\" to \"eth0\": file exists",
        &["interface taken"],
    ),
    ("500 Internal Server Error", "NetworkDriver.Join: boom", &[]),
    (
        "400 Bad Request",
        "client version 1.44 is too old. Minimum supported API version is 1.45, please upgrade your client to a newer version",
        &[],
    ),
];

#[test]
fn what_engine_means_is_told_from_status_and_words() {
    for (status, message, expected) in MEANINGS {
        let body: &'static str = json!({ "message": message }).to_string().leak();
        let server = serve(status, body);
        let config = EndpointConfig::default();
        let error = engine(&server)
            .connect("red", "c1", &config, soon())
            .unwrap_err();
        assert_eq!(traits(&error), expected, "{message}");
        assert_eq!(
            error.status(),
            status.split(' ').next().unwrap().parse().ok()
        );
        assert_eq!(
            error.to_string(),
            "could not connect container c1 and network red"
        );
        assert!(error.cause.to_string().contains(message), "{}", error.cause);
    }
}

#[test]
fn errors_have_codes_and_can_be_told_with_names() {
    let code = |status, body| {
        let outcome = engine(&serve(status, body)).inspect_network("red", soon());
        outcome.unwrap_err().code()
    };
    let ambiguous = r#"{"message":"network red is ambiguous (2 matches found on name)"}"#;
    assert_eq!(
        code("400 Bad Request", ambiguous),
        ErrorCode::INVALID_CONFIG
    );
    let boom = r#"{"message":"boom"}"#;
    assert_eq!(code("500 Internal Server Error", boom), ErrorCode::DRIVER);
    assert_eq!(code("200 OK", "<html>"), ErrorCode::DRIVER);
    let nobody = Engine::new(
        Address::unix("/nonexistent/docker.sock".as_ref()).unwrap(),
        Patience::none(),
    );
    let error = nobody.unwrap().inspect_network("red", soon()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TRY_AGAIN);
    let error = error.between("one", "red");
    assert!(
        error.to_string().ends_with("/nonexistent/docker.sock"),
        "{error}"
    );
    let failing = serve("500 Internal Server Error", boom);
    let refused = engine(&failing).disconnect(RED, C1, false, soon());
    assert_eq!(
        refused.unwrap_err().between("one", "red").to_string(),
        "could not disconnect container one and network red"
    );
}

#[test]
fn an_error_without_a_message_is_told_by_its_text_or_status() {
    let rows = [
        (
            "502 Bad Gateway",
            "<html><h1>Bad Gateway</h1></html>",
            "Docker says: Bad Gateway (HTTP status 502)",
        ),
        (
            "500 Internal Server Error",
            "",
            "Docker says: nothing (HTTP status 500)",
        ),
        (
            "301 Moved Permanently",
            "",
            "Docker says: nothing (HTTP status 301)",
        ),
        ("200 OK", "", "Docker's answer makes no sense: EOF"),
        ("200 OK", "[]", "Docker's answer makes no sense: "),
        (
            "200 OK",
            "<html>",
            "Docker's answer makes no sense: expected value",
        ),
    ];
    for (status, body, expected) in rows {
        let error = engine(&serve(status, body))
            .inspect_network("red", soon())
            .unwrap_err();
        assert!(
            error.cause.to_string().starts_with(expected),
            "{}",
            error.cause
        );
    }
}

#[test]
fn nobody_and_others_than_docker_are_told() {
    let gone = engine(&serve("200 OK", ""));
    let error = gone.inspect_container("c1", soon()).unwrap_err();
    assert_eq!(traits(&error), ["down"]);
    assert_eq!(error.operation, Operation::Reach);
    assert!(
        error
            .to_string()
            .starts_with("could not reach Docker at unix:///"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("is Docker running?"));

    let hanging = Server::unix(Talk::hang);
    let soon_over = Instant::now() + Duration::from_millis(200);
    let error = engine(&hanging).server_version(soon_over).unwrap_err();
    assert_eq!(traits(&error), ["down"]);

    let plugin = Server::answering(|_request| reply("404 Not Found", "404 page not found\n"));
    let error = engine(&plugin).inspect_container("c1", soon()).unwrap_err();
    assert_eq!(error.operation, Operation::Reach);
    assert!(
        error.cause.to_string().contains("404 page not found"),
        "{}",
        error.cause
    );
    let strange = Server::answering(|_request| ping("one"));
    let error = engine(&strange)
        .inspect_container("c1", soon())
        .unwrap_err();
    assert!(
        error.hint().unwrap().contains("Docker Engine's socket"),
        "{error:?}"
    );
}
