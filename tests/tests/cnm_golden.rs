//! `cnm-shim` asks a driver what Docker asks of it, and in the same words: call for call and byte for
//! byte as recorded of dockerd, but for what is named here.

use cni_testkit::Conf;
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Fault, Gateway, Method, SrcName, Style};
use tenon_tests::cnm::golden::{self, Normaliser};
use tenon_tests::cnm::python::Kuryr;
use tenon_tests::cnm::shim::{Shim, dual_stack};
use tenon_tests::network::Network;

/// The network of the recording.
fn network(shim: &Shim, keys: Value) -> Network<'_> {
    let own = json!({
        "options": {"o1": "v1"},
        "ipamOptions": {"io": "1"},
        "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]},
    });
    shim.network(Conf(own).with(keys).0)
}

/// Each process activates the plugin, where dockerd does once in its life.
const HANDSHAKE: &str = "Plugin.Activate";

/// The sections of the recording one after the other, behind a handshake.
fn recorded(sections: &[&str]) -> Vec<String> {
    let lines = sections.iter().flat_map(|name| golden::section(name));
    let lines = lines.filter(|line| line != HANDSHAKE);
    std::iter::once(HANDSHAKE.to_owned()).chain(lines).collect()
}

#[test]
fn it_asks_what_dockerd_asks() {
    let shim = Shim::with(|driver| driver.capabilities(|can| can.requires_mac = true));
    let c1 = shim.world.container("c1");
    let attached = network(&shim, json!({})).add("c1", &c1);
    let mut normaliser = Normaliser::new();
    let asked = normaliser.lines(&shim.driver.requests());
    let expected = recorded(&["network create", "attach with a published port"]);
    assert_eq!(asked, expected);
    shim.driver.clear_requests();
    attached.del_ok();
    let asked = normaliser.lines(&shim.driver.requests());
    assert_eq!(asked, recorded(&["detach", "network delete"]));
    shim.assert_nothing_left();
}

/// The endpoint's own options stand beside the port mappings, as `docker network connect` puts them.
#[test]
fn options_of_the_endpoint_are_where_docker_puts_them() {
    let shim = Shim::with(|driver| driver.capabilities(|can| can.requires_mac = true));
    let c1 = shim.world.container("c1");
    let options = json!({"endpointOptions": {"x": "y"}, "runtimeConfig": {}});
    network(&shim, options).add("c1", &c1).del_ok();
    let asked = Normaliser::new().lines(&shim.driver.requests());
    let is_endpoint = |line: &&String| line.contains("CreateEndpoint");
    // The recorded container also exposes a port without publishing it. CNI has no word for that.
    let exposed = r#"[{"Port":80,"Proto":6}]"#;
    let attach = golden::section("attach");
    let expected = attach.iter().find(is_endpoint);
    let expected = expected.map(|line| line.replace(exposed, "[]"));
    assert_eq!(asked.iter().find(is_endpoint), expected.as_ref());
}

/// What clients of Docker's plugins send, and nothing that some servers stumble over.
#[test]
fn requests_have_dockers_headers() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    network(&shim, json!({})).add("c1", &c1).del_ok();
    for request in shim.driver.requests() {
        let header = |name: &str| request.header(name);
        assert_eq!(
            (request.verb.as_str(), request.version.as_str()),
            ("POST", "HTTP/1.1")
        );
        assert_eq!(
            header("accept"),
            Some("application/vnd.docker.plugins.v1.2+json")
        );
        assert_eq!(header("host"), Some("plugin.moby.localhost"));
        assert_eq!(
            header("content-length"),
            Some(request.body.len().to_string().as_str())
        );
        assert_eq!(header("content-type"), None, "{}", request.path);
        assert_eq!(header("transfer-encoding"), None, "{}", request.path);
        assert_eq!(request.status, Some(200), "{}", request.path);
    }
}

/// One way in which an ADD fails: the section of the recording, the last call before the undo, how to
/// bring it about, and what is called beyond what Docker calls.
struct Failing {
    what: &'static str,
    last: Method,
    bring_about: fn(&Driver),
    beyond: &'static [Method],
}

const FAILING: &[Failing] = &[
    Failing {
        what: "RequestAddress",
        last: Method::RequestAddress,
        bring_about: |driver| driver.fault(Method::RequestAddress, Fault::error("no")),
        beyond: &[],
    },
    // Drivers have been seen to leave something of an endpoint that they failed to make.
    Failing {
        what: "CreateEndpoint",
        last: Method::CreateEndpoint,
        bring_about: |driver| driver.fault(Method::CreateEndpoint, Fault::err("no")),
        beyond: &[Method::DeleteEndpoint],
    },
    Failing {
        what: "an illegal Interface",
        last: Method::CreateEndpoint,
        bring_about: |driver| driver.fault(Method::CreateEndpoint, Fault::illegal_interface()),
        beyond: &[],
    },
    // Likewise.
    Failing {
        what: "Join",
        last: Method::Join,
        bring_about: |driver| driver.fault(Method::Join, Fault::err_500("no")),
        beyond: &[Method::Leave],
    },
    Failing {
        what: "a link that is not there",
        last: Method::Join,
        bring_about: |driver| {
            driver.style(|style| style.src_name = SrcName::Other("nowhere".to_owned()));
        },
        beyond: &[],
    },
    Failing {
        what: "an unreachable gateway",
        last: Method::Join,
        bring_about: |driver| {
            driver.style(|style| style.gateway = Gateway::Text("192.0.2.1".to_owned()));
        },
        beyond: &[],
    },
    Failing {
        what: "ProgramExternalConnectivity",
        last: Method::ProgramExternalConnectivity,
        bring_about: |driver| {
            driver.fault(Method::ProgramExternalConnectivity, Fault::text_500("no"));
        },
        beyond: &[],
    },
];

fn without(calls: &[String], methods: &[Method]) -> Vec<String> {
    let kept = calls
        .iter()
        .filter(|call| !methods.iter().any(|method| method.name() == *call));
    kept.cloned().collect()
}

#[test]
fn it_undoes_what_dockerd_undoes() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let network = shim.lasting_network(json!({}));
    let before = shim.state(&c1);
    for case in FAILING {
        shim.driver.clear_requests();
        (case.bring_about)(&shim.driver);
        let outcome = network.try_add("c1", &c1);
        shim.driver.clear_faults();
        shim.driver.style(|style| *style = Style::default());
        outcome.expect_any_error();
        let calls = shim.driver.calls();
        let at = calls.iter().position(|call| call == case.last.name());
        let undone = &calls[at.map_or(calls.len(), |at| at + 1)..];
        let expected = golden::names(&golden::section(&format!("after {}", case.what)));
        assert_eq!(without(undone, case.beyond), expected, "{}", case.what);
        let beyond = case.beyond.iter().map(|method| method.name());
        let in_order: Vec<_> = undone
            .iter()
            .filter(|call| !expected.contains(call))
            .collect();
        assert_eq!(in_order, beyond.collect::<Vec<_>>(), "{}", case.what);
        before.assert_same(&shim.state(&c1), case.what);
    }
}

/// The one difference: Docker fails, and leaves the container connected.
#[test]
fn what_a_driver_has_to_tell_fails_nothing() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    assert_eq!(
        golden::section("after EndpointOperInfo"),
        Vec::<String>::new()
    );
    let network = shim.network(json!({}));
    for fault in [
        Fault::err("no"),
        Fault::not_found(),
        Fault::invalid_json(),
        Fault::null(),
        Fault::closes(),
    ] {
        shim.driver.fault(Method::EndpointOperInfo, fault);
        let attached = network.add("c1", &c1);
        shim.driver.clear_faults();
        assert!(c1.ping("10.77.0.1"));
        attached.check_ok();
        attached.del_ok();
        shim.assert_nothing_left();
    }
}

/// A network that cannot be made gives back its addresses and pools, and is not deleted.
#[test]
fn a_network_that_fails_is_undone_in_dockers_order() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let keys =
        json!({"auxAddresses": {"a": "10.77.0.200", "b": "fd77::200"}, "subnetV6": "fd77::/64"});
    shim.driver.fault(Method::CreateNetwork, Fault::err("no"));
    shim.network(keys).try_add("c1", &c1).expect_error(140);
    let calls = shim.driver.calls();
    let at = calls
        .iter()
        .position(|call| call == Method::CreateNetwork.name());
    let family = [
        "IpamDriver.ReleaseAddress",
        "IpamDriver.ReleaseAddress",
        "IpamDriver.ReleasePool",
    ];
    assert_eq!(
        calls[at.map_or(0, |at| at + 1)..],
        [family, family].concat()
    );
    shim.assert_nothing_left();
}

fn kuryr_takes(kuryr: &Kuryr, keys: Value) {
    let shim = Shim::with(|driver| driver.capabilities(|can| can.requires_mac = true));
    let c1 = shim.world.container("c1");
    let docker = json!({"sandboxKeyStyle": "docker"});
    let network = shim.network(Conf(docker).with(keys).0);
    let attached = network.add_at("c1", &c1, "net1");
    attached.check_ok();
    attached.del_ok();
    shim.assert_nothing_left();
    assert_eq!(
        kuryr.complaints(&shim.driver.requests()),
        Vec::<String>::new()
    );
    assert_eq!(shim.driver.count(Method::Join), 1);
}

#[test]
fn kuryrs_schemas_take_every_request() {
    let Some(kuryr) = Kuryr::start() else {
        return;
    };
    kuryr_takes(&kuryr, json!({}));
    kuryr_takes(&kuryr, json!({"subnet": "", "endpointID": "random"}));
    kuryr_takes(
        &kuryr,
        json!({"ipRange": "10.77.0.128/25", "gateway": "10.77.0.254", "options": {"a": 1}}),
    );
    kuryr_takes(&kuryr, dual_stack());
    let mappings = json!([
        {"hostPort": 8080, "containerPort": 80},
        {"hostPort": 53, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
    ]);
    kuryr_takes(&kuryr, json!({"runtimeConfig": {"portMappings": mappings}}));
    kuryr_takes(
        &kuryr,
        json!({"runtimeConfig": {"ips": ["10.77.0.9"], "mac": "02:00:00:00:00:09"}, "ipamOptions": {"x": "y"}}),
    );
}
