//! Drivers against a server in this process.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::driver::{IpamDriver, NetworkDriver};
use crate::error::DriverError;
use crate::http::Address;
use crate::http::tests::server::{Server, Talk, pass, reply};
use crate::wire::ipam::*;
use crate::wire::network::*;
use crate::wire::{Options, ipam, network};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A plugin that answers each method with a body; what is not listed it does not implement.
fn serve(answers: &'static [(&str, &str)]) -> Server {
    Server::answering(move |request| {
        let path = request.split_whitespace().nth(1).unwrap();
        let mut found = answers
            .iter()
            .filter(|(method, _)| path == format!("/{method}"));
        match found.next() {
            Some((_, body)) => reply("200 OK", body),
            None => reply("404 Not Found", "404 page not found\n"),
        }
    })
}

fn plugin(server: &Server) -> Arc<RemotePlugin> {
    let address = PluginAddress {
        address: server.address.clone(),
        file: None,
        notes: Vec::new(),
    };
    Arc::new(RemotePlugin::at("red", address, Patience::none()))
}

fn network_driver(server: &Server) -> RemoteNetworkDriver {
    RemoteNetworkDriver::new(plugin(server))
}

fn ipam_driver(server: &Server) -> RemoteIpamDriver {
    RemoteIpamDriver::new(plugin(server))
}

/// Path and body of each request.
fn conversation(server: &Server) -> Vec<(String, Value)> {
    let requests = server.requests();
    let part = |request: &String| {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let path = head.split_whitespace().nth(1).unwrap();
        let body = match body {
            "" => Value::Null,
            body => serde_json::from_str(body).unwrap(),
        };
        (path.to_owned(), body)
    };
    requests.iter().map(part).collect()
}

const BOTH: &str = r#"{"Implements": ["VolumeDriver", "NetworkDriver", "IpamDriver"]}"#;

#[test]
fn both_drivers_of_a_plugin_share_one_activation() {
    let server = serve(&[
        ("Plugin.Activate", BOTH),
        ("NetworkDriver.GetCapabilities", r#"{"Scope": "local"}"#),
        (
            "IpamDriver.GetCapabilities",
            r#"{"RequiresMACAddress": true}"#,
        ),
        (
            "IpamDriver.GetDefaultAddressSpaces",
            r#"{"LocalDefaultAddressSpace": "l", "GlobalDefaultAddressSpace": "g"}"#,
        ),
    ]);
    let plugin = plugin(&server);
    let network = RemoteNetworkDriver::new(Arc::clone(&plugin));
    let ipam = RemoteIpamDriver::new(plugin);
    let capabilities = network.capabilities(soon()).unwrap();
    assert_eq!(capabilities.scope, "local");
    assert_eq!(capabilities.connectivity_scope, "local");
    assert!(ipam.capabilities(soon()).unwrap().requires_mac_address);
    let spaces = ipam.default_address_spaces(soon()).unwrap();
    assert_eq!(spaces.global_default_address_space, "g");
    assert_eq!(
        server.lines(),
        [
            "POST /Plugin.Activate HTTP/1.1",
            "POST /NetworkDriver.GetCapabilities HTTP/1.1",
            "POST /IpamDriver.GetCapabilities HTTP/1.1",
            "POST /IpamDriver.GetDefaultAddressSpaces HTTP/1.1",
        ]
    );
    let version = env!("CARGO_PKG_VERSION");
    let activate = format!(
        "POST /Plugin.Activate HTTP/1.1\r\nUser-Agent: Tenon/{version}\r\n\
         Host: plugin.moby.localhost\r\nAccept: application/vnd.docker.plugins.v1.2+json\r\n\
         Content-Length: 0\r\n\r\n"
    );
    assert_eq!(server.requests()[0], activate);
}

fn endpoint() -> EndpointRequest {
    EndpointRequest {
        network_id: "N".into(),
        endpoint_id: "E".into(),
    }
}

/// An attachment of a real dockerd, call by call.
fn attach(driver: &RemoteNetworkDriver) -> Result<JoinReply, DriverError> {
    let of_network = NetworkRequest {
        network_id: "N".into(),
    };
    driver.create_network(&CreateNetworkRequest::default(), soon())?;
    let endpoint_request = CreateEndpointRequest {
        network_id: "N".into(),
        endpoint_id: "E".into(),
        ..CreateEndpointRequest::default()
    };
    let made = driver.create_endpoint(&endpoint_request, soon())?;
    assert_eq!(made.interface.mac_address, "02:42:43:c4:0d:c7");
    let join = JoinRequest {
        network_id: "N".into(),
        endpoint_id: "E".into(),
        sandbox_key: "/run/netns/c1".into(),
        options: Options::new(),
    };
    let joined = driver.join(&join, soon())?;
    let program = ProgramRequest {
        network_id: "N".into(),
        endpoint_id: "E".into(),
        options: Options::new(),
    };
    driver.program_external_connectivity(&program, soon())?;
    assert!(driver.endpoint_info(&endpoint(), soon())?.value.is_empty());
    driver.revoke_external_connectivity(&endpoint(), soon())?;
    driver.leave(&endpoint(), soon())?;
    driver.delete_endpoint(&endpoint(), soon())?;
    driver.delete_network(&of_network, soon())?;
    Ok(joined)
}

#[test]
fn a_network_driver_is_asked_in_the_words_of_the_wire() {
    let server = serve(&[
        ("Plugin.Activate", r#"{"Implements": ["NetworkDriver"]}"#),
        ("NetworkDriver.CreateNetwork", "{}"),
        (
            "NetworkDriver.CreateEndpoint",
            r#"{"Interface": {"MacAddress": "02:42:43:c4:0d:c7"}}"#,
        ),
        (
            "NetworkDriver.Join",
            r#"{"InterfaceName": {"SrcName": "v1", "DstPrefix": "eth"}, "Gateway": "10.77.0.1"}"#,
        ),
        ("NetworkDriver.ProgramExternalConnectivity", "{}"),
        ("NetworkDriver.EndpointOperInfo", "null"),
        ("NetworkDriver.RevokeExternalConnectivity", "null"),
        ("NetworkDriver.Leave", "{}"),
        ("NetworkDriver.DeleteEndpoint", r#"{"Unknown": [1]}"#),
        ("NetworkDriver.DeleteNetwork", "{}"),
    ]);
    let joined = attach(&network_driver(&server)).unwrap();
    assert_eq!(joined.interface_name.src_name, "v1");
    assert_eq!(joined.gateway, "10.77.0.1");
    let ids = json!({"NetworkID": "N", "EndpointID": "E"});
    let expected = [
        ("Plugin.Activate", Value::Null),
        (
            "NetworkDriver.CreateNetwork",
            json!({"NetworkID": "", "Options": {}, "IPv4Data": [], "IPv6Data": []}),
        ),
        (
            "NetworkDriver.CreateEndpoint",
            json!({"NetworkID": "N", "EndpointID": "E", "Options": {},
                "Interface": {"Address": "", "AddressIPv6": "", "MacAddress": ""}}),
        ),
        (
            "NetworkDriver.Join",
            json!({"NetworkID": "N", "EndpointID": "E", "SandboxKey": "/run/netns/c1", "Options": {}}),
        ),
        (
            "NetworkDriver.ProgramExternalConnectivity",
            json!({"NetworkID": "N", "EndpointID": "E", "Options": {}}),
        ),
        ("NetworkDriver.EndpointOperInfo", ids.clone()),
        ("NetworkDriver.RevokeExternalConnectivity", ids.clone()),
        ("NetworkDriver.Leave", ids.clone()),
        ("NetworkDriver.DeleteEndpoint", ids),
        ("NetworkDriver.DeleteNetwork", json!({"NetworkID": "N"})),
    ];
    let expected = expected.map(|(method, body)| (format!("/{method}"), body));
    assert_eq!(conversation(&server), expected);
}

#[test]
fn an_ipam_driver_is_asked_in_the_words_of_the_wire() {
    let server = serve(&[
        ("Plugin.Activate", BOTH),
        (
            "IpamDriver.RequestPool",
            r#"{"PoolID": "P", "Pool": "10.77.0.0/24", "Data": null}"#,
        ),
        (
            "IpamDriver.RequestAddress",
            r#"{"Address": "10.77.0.2/24"}"#,
        ),
        ("IpamDriver.ReleaseAddress", "{}"),
        ("IpamDriver.ReleasePool", "null"),
    ]);
    let driver = ipam_driver(&server);
    let pool = driver
        .request_pool(&RequestPoolRequest::default(), soon())
        .unwrap();
    assert_eq!(
        (pool.pool_id.as_str(), pool.pool.as_str()),
        ("P", "10.77.0.0/24")
    );
    let request = RequestAddressRequest {
        pool_id: "P".into(),
        ..RequestAddressRequest::default()
    };
    let address = driver.request_address(&request, soon()).unwrap();
    assert_eq!(address.address, "10.77.0.2/24");
    let release = ReleaseAddressRequest {
        pool_id: "P".into(),
        address: "10.77.0.2".into(),
    };
    driver.release_address(&release, soon()).unwrap();
    let pool = ReleasePoolRequest {
        pool_id: "P".into(),
    };
    driver.release_pool(&pool, soon()).unwrap();
    let expected = [
        ("/Plugin.Activate", Value::Null),
        (
            "/IpamDriver.RequestPool",
            json!({"AddressSpace": "", "Pool": "", "SubPool": "", "Options": null, "V6": false}),
        ),
        (
            "/IpamDriver.RequestAddress",
            json!({"PoolID": "P", "Address": "", "Options": null}),
        ),
        (
            "/IpamDriver.ReleaseAddress",
            json!({"PoolID": "P", "Address": "10.77.0.2"}),
        ),
        ("/IpamDriver.ReleasePool", json!({"PoolID": "P"})),
    ];
    let expected = expected.map(|(path, body)| (path.to_owned(), body));
    assert_eq!(conversation(&server), expected);
}

#[test]
fn what_only_a_swarm_asks_can_be_asked() {
    let server = serve(&[
        ("Plugin.Activate", BOTH),
        (
            "NetworkDriver.AllocateNetwork",
            r#"{"Options": {"vni": "7"}}"#,
        ),
        ("NetworkDriver.FreeNetwork", "{}"),
        ("NetworkDriver.GwAllocCheck", r#"{"SkipIPv4": true}"#),
    ]);
    let driver = network_driver(&server);
    let allocated = driver
        .allocate_network(&AllocateNetworkRequest::default(), soon())
        .unwrap();
    assert_eq!(allocated.options["vni"], "7");
    driver
        .free_network(&NetworkRequest::default(), soon())
        .unwrap();
    let check = driver
        .check_gateway_allocation(&GwAllocCheckRequest::default(), soon())
        .unwrap();
    assert!(check.skip_ipv4 && !check.skip_ipv6);
}

#[test]
fn errors_tell_driver_call_and_the_drivers_words() {
    let server = serve(&[
        ("Plugin.Activate", BOTH),
        (
            "NetworkDriver.Leave",
            r#"{"Err": "no endpoint E"}{"Err": "no endpoint E"}"#,
        ),
        ("NetworkDriver.Join", r#"{"Gateway": 5}"#),
        (
            "IpamDriver.RequestAddress",
            r#"{"Error": "pool P is full"}"#,
        ),
    ]);
    let driver = network_driver(&server);
    let error = driver.leave(&endpoint(), soon()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "network driver red failed in NetworkDriver.Leave"
    );
    assert_eq!(error.cause.to_string(), "no endpoint E");
    assert!(error.is_gone());
    let error = driver.delete_endpoint(&endpoint(), soon()).unwrap_err();
    assert!(error.is_not_implemented());
    let error = driver.join(&JoinRequest::default(), soon()).unwrap_err();
    let text = error.cause.to_string();
    assert!(
        text.contains("Gateway") && text.contains(r#"{"Gateway":5}"#),
        "{text}"
    );
    let error = ipam_driver(&server)
        .request_address(&RequestAddressRequest::default(), soon())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "IPAM driver red failed in IpamDriver.RequestAddress"
    );
    assert_eq!(error.cause.to_string(), "pool P is full");
}

#[test]
fn what_is_not_implemented_is_not_asked() {
    let server = serve(&[("Plugin.Activate", r#"{"Implements": ["NetworkDriver"]}"#)]);
    let driver = ipam_driver(&server);
    for outcome in [
        driver.capabilities(soon()).map(drop),
        driver.default_address_spaces(soon()).map(drop),
        driver.release_pool(&ReleasePoolRequest::default(), soon()),
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.method, Method::Activate);
        assert!(
            matches!(&error.cause, Cause::NoSubsystem { implements } if implements == &["NetworkDriver"]),
            "{error:?}"
        );
    }
    assert_eq!(server.lines().len(), 1);
}

fn capabilities_of(answer: &'static str) -> Result<network::Capabilities, String> {
    let server = Server::answering(move |request| {
        let activation = request.starts_with("POST /Plugin.Activate ");
        reply("200 OK", if activation { BOTH } else { answer })
    });
    let outcome = network_driver(&server).capabilities(soon());
    outcome.map_err(|error| error.cause.to_string())
}

#[test]
fn a_scope_is_local_or_global() {
    let both = capabilities_of(r#"{"Scope": "global", "ConnectivityScope": "local"}"#).unwrap();
    assert_eq!(
        (both.scope.as_str(), both.connectivity_scope.as_str()),
        ("global", "local")
    );
    let newer = capabilities_of(r#"{"scope": "local", "GwAllocChecker": true}"#).unwrap();
    assert!(newer.gw_alloc_checker);
    for (answer, culprit) in [
        ("{}", "Scope is \"\""),
        (r#"{"Scope": "swarm"}"#, "Scope is \"swarm\""),
        (r#"{"Scope": "Local"}"#, "Scope is \"Local\""),
        (
            r#"{"Scope": "local", "ConnectivityScope": "x"}"#,
            "ConnectivityScope is \"x\"",
        ),
    ] {
        let error = capabilities_of(answer).unwrap_err();
        assert!(error.contains(culprit), "{answer}: {error}");
    }
}

#[test]
fn an_ipam_driver_that_cannot_tell_its_wishes_has_none() {
    for (status, answer) in [
        ("404 Not Found", "404 page not found"),
        ("500 Internal Server Error", r#"{"Err": "no"}"#),
        ("200 OK", r#"{"Error": "no"}"#),
        ("200 OK", "<html>"),
        ("200 OK", ""),
        ("200 OK", "null"),
    ] {
        let server = Server::answering(move |request| {
            if request.starts_with("POST /Plugin.Activate ") {
                reply("200 OK", BOTH)
            } else {
                reply(status, answer)
            }
        });
        let capabilities = ipam_driver(&server).capabilities(soon()).unwrap();
        assert_eq!(
            capabilities,
            ipam::Capabilities::default(),
            "{status} {answer}"
        );
    }
    let dying = Server::unix(|talk| {
        if talk.hear().unwrap().starts_with("POST /Plugin.Activate ") {
            talk.say(reply("200 OK", BOTH));
        }
    });
    let error = ipam_driver(&dying).capabilities(soon()).unwrap_err();
    assert!(error.is_down(), "{error:?}");
}

/// A plugin found by name, in directories of its own.
fn named(server: &Server, name: &str, patience: Patience) -> RemotePlugin {
    let Address::Unix(path) = &server.address else {
        panic!("it is on a unix socket");
    };
    let directories = Directories {
        sockets: path.parent().unwrap().to_owned(),
        specs: Vec::new(),
    };
    RemotePlugin::named(name, directories, patience)
}

#[test]
fn a_plugin_is_found_by_its_name() {
    let server = serve(&[("Plugin.Activate", BOTH)]);
    let found = named(&server, "plugin", Patience::none());
    assert_eq!(found.activate(soon()).unwrap().len(), 3);
    assert!(found.notes().is_empty());
    let missing = named(&server, "blue", Patience::of(Duration::from_millis(30)));
    let cause = missing.activate(soon()).unwrap_err();
    assert!(
        matches!(&cause, Cause::NotFound { looked } if looked.len() == 2),
        "{cause:?}"
    );
}

#[test]
fn a_plugin_that_is_starting_is_waited_for() {
    let server = serve(&[("Plugin.Activate", BOTH)]);
    let Address::Unix(path) = &server.address else {
        panic!("it is on a unix socket");
    };
    let late = path.with_file_name("late.sock");
    let plugin = named(&server, "late", Patience::of(Duration::from_secs(60)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            pass(Duration::from_millis(50));
            std::os::unix::fs::symlink(path, &late).unwrap();
        });
        assert_eq!(plugin.activate(soon()).unwrap().len(), 3);
    });
}

#[test]
fn a_plugin_that_stays_away_costs_its_patience_once() {
    let gone = serve(&[]).address.clone();
    let address = PluginAddress {
        address: gone,
        file: None,
        notes: Vec::new(),
    };
    let patience = Duration::from_millis(300);
    let plugin = Arc::new(RemotePlugin::at("red", address, Patience::of(patience)));
    let driver = RemoteNetworkDriver::new(plugin);
    let timed = || {
        let start = Instant::now();
        let error = driver.leave(&endpoint(), soon()).unwrap_err();
        assert!(
            error.is_down() && error.method == Method::Activate,
            "{error:?}"
        );
        start.elapsed()
    };
    assert!(timed() >= patience);
    // The first one took it all, so twenty more together are over in less.
    let start = Instant::now();
    for _ in 0..20 {
        timed();
    }
    assert!(start.elapsed() < patience * 19);
}

#[test]
fn a_ping_tells_what_a_plugin_answers() {
    let server = serve(&[
        ("Plugin.Activate", BOTH),
        ("NetworkDriver.GetCapabilities", r#"{"Scope": "local"}"#),
        (
            "IpamDriver.GetDefaultAddressSpaces",
            r#"{"LocalDefaultAddressSpace": "l"}"#,
        ),
    ]);
    let report = plugin(&server).ping(soon());
    assert!(report.failure().is_none());
    assert_eq!(report.activation.outcome.unwrap().len(), 3);
    assert_eq!(report.network.unwrap().outcome.unwrap().scope, "local");
    assert!(!report.ipam.unwrap().outcome.unwrap().requires_mac_address);
    let spaces = report.address_spaces.unwrap().outcome.unwrap();
    assert_eq!(spaces.local_default_address_space, "l");
}

#[test]
fn a_ping_tells_what_fails() {
    let server = serve(&[("Plugin.Activate", r#"{"Implements": ["NetworkDriver"]}"#)]);
    let report = plugin(&server).ping(soon());
    assert!(report.ipam.is_none() && report.address_spaces.is_none());
    let failure = report.failure().unwrap();
    assert_eq!(failure.method, Method::GetCapabilities);
    assert!(failure.is_not_implemented());
    let hanging = Server::unix(Talk::hang);
    let wait = Duration::from_millis(200);
    let report = plugin(&hanging).ping(Instant::now() + wait);
    let failure = report.failure().unwrap();
    assert_eq!(failure.to_string(), "plugin red failed in Plugin.Activate");
    assert!(matches!(failure.cause, Cause::Timeout));
    assert!(report.activation.took >= wait && report.network.is_none());
}
