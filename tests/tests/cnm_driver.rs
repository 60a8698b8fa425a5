//! The test driver by itself: that it connects, that it keeps count, and that it fails as told.
#![expect(clippy::indexing_slicing, reason = "test functions fail by panicking")]

use std::io::ErrorKind;
use std::process::Command;
use std::time::{Duration, Instant};

use cni_testkit::{Netns, World, wait_for};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tenon_tests::cnm::controller::{Controller, id};
use tenon_tests::cnm::driver::{
    Accepts, Builder, Driver, Failures, Fault, Framing, Gateway, InterfaceForm, MadeAt, Method,
    PoolGateway, ROUTED_GATEWAY, RemovedAt, Repeats, Route, SrcName, SuppliedMac, Wiring,
};
use tenon_tests::http::Client;

const POOL: &str = "10.77.0.0/24";
const GATEWAY: &str = "10.77.0.1/24";

/// A world with a driver and its controller.
struct Setup {
    driver: Driver,
    controller: Controller,
    network: String,
    c1: Netns,
    c2: Netns,
    world: World,
}

impl Setup {
    fn new() -> Self {
        Self::of(|builder| builder)
    }

    fn of(change: impl FnOnce(Builder) -> Builder) -> Self {
        let world = World::new();
        let driver = change(Driver::named("tenon")).start();
        let controller = Controller::new(Client::unix(driver.socket()));
        let (c1, c2) = (world.container("c1"), world.container("c2"));
        Self {
            driver,
            controller,
            network: id("net"),
            c1,
            c2,
            world,
        }
    }

    fn create_network(&self) {
        self.controller.create_network(&self.network, POOL, GATEWAY);
    }

    fn ids(&self) -> Value {
        json!({"NetworkID": self.network, "EndpointID": id("c1")})
    }

    /// The body of a `CreateEndpoint` of container `c1`.
    fn endpoint(&self, address: &str, mac: &str) -> Value {
        let mut body = self.ids();
        body["Interface"] = json!({"Address": address, "AddressIPv6": "", "MacAddress": mac});
        body["Options"] = json!({});
        body
    }

    fn join(&self) -> Value {
        let mut body = self.ids();
        body["SandboxKey"] = json!("/run/netns/c1");
        body["Options"] = json!({});
        body
    }
}

fn two_containers_meet(change: impl FnOnce(Builder) -> Builder) {
    let setup = Setup::of(change);
    let (controller, world) = (&setup.controller, &setup.world);
    let before = world.snapshot();
    setup.create_network();
    let attach = |container: &Netns, address: &str| {
        controller.attach(world, &setup.network, container, address)
    };
    let first = attach(&setup.c1, "10.77.0.2/24");
    let second = attach(&setup.c2, "10.77.0.3/24");
    assert_eq!(setup.driver.endpoints().len(), 2);
    assert!(setup.c1.ping("10.77.0.3"));
    assert!(setup.c2.ping("10.77.0.1"), "the bridge has the gateway");
    assert_eq!(first.reply["Gateway"], "10.77.0.1");

    controller.detach(world, &first, &setup.c1);
    controller.detach(world, &second, &setup.c2);
    controller.delete_network(&setup.network);
    setup.driver.assert_empty();
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn two_containers_meet_through_it() {
    two_containers_meet(|builder| builder);
}

#[test]
fn links_can_be_made_and_removed_otherwise() {
    two_containers_meet(|builder| {
        builder.style(|style| {
            style.made_at = MadeAt::Join;
            style.removed_at = RemovedAt::Leave;
        })
    });
}

#[test]
fn replies_of_every_framing() {
    let setup = Setup::new();
    for (framing, header, value) in [
        (Framing::KeepAlive, "content-length", "2"),
        (Framing::Close, "connection", "close"),
        (Framing::Chunked, "transfer-encoding", "chunked"),
        (Framing::Http10, "content-type", "text/x"),
    ] {
        setup.driver.style(|style| {
            style.framing = framing;
            style.content_type = "text/x".to_owned();
        });
        setup.create_network();
        let body = json!({"NetworkID": setup.network});
        let answer = setup.controller.call(Method::DeleteNetwork, &body);
        assert_eq!(answer.header(header), Some(value), "{framing:?}");
        assert_eq!(answer.json(), json!({}), "{framing:?}");
    }
}

#[test]
fn it_listens_on_tcp_too() {
    let setup = Setup::of(Builder::tcp);
    let over_tcp = Controller::new(Client::tcp(setup.driver.tcp().unwrap()));
    let reply = over_tcp.ok(Method::Activate, &Value::Null);
    assert_eq!(reply["Implements"], json!(["NetworkDriver", "IpamDriver"]));
    let port = setup.driver.tcp();
    setup.driver.die();
    assert!(over_tcp.try_call(Method::Activate, &Value::Null).is_err());
    setup.driver.revive();
    assert_eq!(setup.driver.tcp(), port);
    over_tcp.ok(Method::Activate, &Value::Null);
}

#[test]
fn requests_are_kept_as_they_came() {
    let setup = Setup::new();
    let controller = &setup.controller;
    controller.ok(Method::GetCapabilities, &Value::Null);
    setup.create_network();
    assert_eq!(
        setup.driver.calls(),
        [
            "NetworkDriver.GetCapabilities",
            "NetworkDriver.CreateNetwork"
        ]
    );
    let request = setup.driver.last(Method::CreateNetwork);
    assert_eq!(request.json()["NetworkID"], setup.network);
    assert_eq!(request.header("content-type"), None);
    assert_eq!(
        (request.status, request.reply.as_slice()),
        (Some(200), &b"{}"[..])
    );
    assert!(request.line().starts_with("NetworkDriver.CreateNetwork {"));
    assert_eq!(setup.driver.networks()[0].pools, [POOL]);
    setup.driver.clear_requests();
    assert_eq!(setup.driver.count(Method::CreateNetwork), 0);
}

#[test]
fn capabilities_are_as_told() {
    let setup = Setup::of(|builder| {
        builder.capabilities(|can| {
            can.scope = "global".to_owned();
            can.connectivity_scope = "local".to_owned();
            can.gateway_check = Some([true, false]);
            can.requires_mac = true;
        })
    });
    let ask = |method| setup.controller.ok(method, &Value::Null);
    assert_eq!(
        ask(Method::GetCapabilities),
        json!({"Scope": "global", "ConnectivityScope": "local", "GwAllocChecker": true})
    );
    assert_eq!(
        ask(Method::IpamGetCapabilities),
        json!({"RequiresMACAddress": true, "RequiresRequestReplay": false})
    );
    assert_eq!(
        ask(Method::GetDefaultAddressSpaces)["LocalDefaultAddressSpace"],
        "tlocal"
    );
    let checked = setup
        .controller
        .ok(Method::GwAllocCheck, &json!({"Options": {}}));
    assert_eq!(checked, json!({"SkipIPv4": true, "SkipIPv6": false}));
}

#[test]
fn addresses_are_given_and_taken_back() {
    let setup = Setup::of(|builder| {
        let gateway = PoolGateway::Text(GATEWAY.to_owned());
        builder.style(|style| style.pool_gateway = gateway)
    });
    let (driver, controller) = (&setup.driver, &setup.controller);
    let pool = controller.ok(
        Method::RequestPool,
        &json!({"AddressSpace": "tlocal", "Pool": POOL, "SubPool": "", "Options": null, "V6": false}),
    );
    assert_eq!(pool["Data"]["com.docker.network.gateway"], GATEWAY);
    let id = &pool["PoolID"];
    let address = |text: &str| json!({"PoolID": id, "Address": text, "Options": null});
    let given = controller.ok(Method::RequestAddress, &address(""));
    assert_eq!(given["Address"], "10.77.0.1/24");
    assert_eq!(driver.reserved(), ["10.77.0.1"]);
    assert_eq!(driver.pools().len(), 1);

    let release = json!({"PoolID": id, "Address": "10.77.0.1"});
    controller.ok(Method::ReleaseAddress, &release);
    let again = controller.call(Method::ReleaseAddress, &release);
    assert_eq!(again.status, 500);
    assert!(
        again.json()["Error"]
            .as_str()
            .unwrap()
            .contains("not reserved")
    );
    driver.style(|style| style.repeats = Repeats::Succeed);
    controller.ok(Method::ReleaseAddress, &release);
    controller.ok(Method::ReleasePool, &json!({"PoolID": id}));
    driver.assert_empty();
}

#[test]
fn replies_are_as_told() {
    let setup = Setup::of(|builder| {
        builder.style(|style| {
            style.dst_prefix = "cali".to_owned();
            style.gateway = Gateway::Text("169.254.1.1".to_owned());
            style.routes = vec![
                Route::connected("169.254.1.1/32"),
                Route::via("10.5.0.0/16", "10.77.0.9"),
            ];
            style.disable_gateway_service = true;
            style.supplies.mac = SuppliedMac::IfEmpty;
            style.supplies.pool = Some("10.77.0.128/25".to_owned());
        })
    });
    setup.create_network();
    let made = setup
        .controller
        .ok(Method::CreateEndpoint, &setup.endpoint("", ""));
    assert_eq!(made["Interface"]["Address"], "10.77.0.129/25");
    let mac = made["Interface"]["MacAddress"].as_str().unwrap();
    assert!(mac.starts_with("02:"), "{mac}");
    let joined = setup.controller.ok(Method::Join, &setup.join());
    assert_eq!(joined["InterfaceName"]["DstPrefix"], "cali");
    assert_eq!(joined["Gateway"], "169.254.1.1");
    assert_eq!(joined["DisableGatewayService"], true);
    assert_eq!(joined["StaticRoutes"][0]["RouteType"], 1);
    assert_eq!(joined["StaticRoutes"][1]["NextHop"], "10.77.0.9");
    let link = joined["InterfaceName"]["SrcName"].as_str().unwrap();
    assert_eq!(setup.world.host().link(link).unwrap()["address"], mac);

    let info = setup.controller.ok(Method::EndpointOperInfo, &setup.ids());
    assert_eq!(info, json!({"Value": {}}));
    setup.controller.ok(Method::Leave, &setup.ids());
    setup.driver.style(|style| style.src_name = SrcName::Absent);
    let joined = setup.controller.ok(Method::Join, &setup.join());
    assert_eq!(joined.get("InterfaceName"), None);
}

#[test]
fn what_was_given_is_not_supplied() {
    let setup =
        Setup::of(|builder| builder.style(|style| style.supplies.mac = SuppliedMac::IfEmpty));
    setup.create_network();
    let body = setup.endpoint("10.77.0.2/24", "02:00:00:00:00:07");
    let made = setup.controller.ok(Method::CreateEndpoint, &body);
    assert_eq!(made, json!({"Interface": {}}));
    assert_eq!(setup.driver.endpoints()[0].mac, "02:00:00:00:00:07");
}

/// Calls out of order, for unknown things, or with parts missing.
#[test]
fn wrong_requests_are_refused() {
    let setup = Setup::new();
    let controller = &setup.controller;
    setup.create_network();
    let mut no_interface = setup.endpoint("", "");
    no_interface.as_object_mut().unwrap().remove("Interface");
    for (method, body, status, text) in [
        (Method::Join, setup.join(), 500, "no endpoint"),
        (Method::Leave, setup.ids(), 500, "no endpoint"),
        (
            Method::DeleteNetwork,
            json!({"NetworkID": "x"}),
            500,
            "no network x",
        ),
        (Method::CreateEndpoint, no_interface, 400, "no Interface"),
        (Method::Join, Value::Null, 400, "the body: EOF"),
        (
            Method::Activate,
            json!({}),
            400,
            "a body where there is nothing to say",
        ),
    ] {
        let answer = controller.call(method, &body);
        assert_eq!(answer.status, status, "{method}");
        let said = answer.json()["Err"].as_str().unwrap().to_owned();
        assert!(said.contains(text), "{method}: {said}");
    }
    controller.ok(Method::CreateEndpoint, &setup.endpoint("10.77.0.2/24", ""));
    let in_use = controller.call(Method::DeleteNetwork, &json!({"NetworkID": setup.network}));
    assert!(in_use.text().contains("has endpoint"), "{}", in_use.text());

    let client = Client::unix(setup.driver.socket());
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = client
        .send("POST", "/NetworkDriver.Leave", &form, b"{}")
        .unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("<h1>Bad Request</h1>"));
    assert_eq!(client.get("/NetworkDriver.Leave").unwrap().status, 404);
    assert_eq!(
        client
            .post("/NetworkDriver.Nope", &json!({}))
            .unwrap()
            .status,
        404
    );
}

#[test]
fn failures_are_said_in_every_style() {
    let setup = Setup::new();
    for (style, status, body) in [
        (Failures::Status500, 500, r#"{"Err":"no network x"}"#),
        (Failures::Status200, 200, r#"{"Err":"no network x"}"#),
        (Failures::Text, 400, "no network x"),
        (
            Failures::Twice,
            200,
            "{\"Err\":\"no network x\"}\n{\"Err\":\"no network x\"}\n",
        ),
    ] {
        setup.driver.style(|driver| driver.failures = style);
        let answer = setup
            .controller
            .call(Method::DeleteNetwork, &json!({"NetworkID": "x"}));
        assert_eq!((answer.status, answer.text().as_str()), (status, body));
    }
    setup
        .driver
        .style(|style| style.failures = Failures::Status200);
    let answer = setup
        .controller
        .call(Method::ReleasePool, &json!({"PoolID": "x"}));
    assert_eq!(answer.text(), r#"{"Error":"no pool x"}"#);
}

/// A fault, the status and the beginning of its answer, and whether the work was done.
type Answered = (Fault, u16, &'static str, bool);

fn assert_answered(faults: &[Answered]) {
    let setup = Setup::new();
    setup.create_network();
    let body = setup.endpoint("10.77.0.2/24", "");
    for (fault, status, begin, done) in faults {
        setup.driver.fault(Method::CreateEndpoint, fault.clone());
        let answer = setup.controller.call(Method::CreateEndpoint, &body);
        assert_eq!(answer.status, *status, "{fault:?}");
        let text = answer.text();
        assert!(text.starts_with(begin), "{fault:?}: {text}");
        let endpoints = setup.driver.endpoints().len();
        assert_eq!(endpoints, usize::from(*done), "{fault:?}");
        setup.driver.clear_faults();
        if *done {
            setup.controller.ok(Method::DeleteEndpoint, &setup.ids());
        }
    }
}

#[test]
fn faults_that_refuse() {
    let twice = "{\"Err\":\"no\"}\n{\"Err\":\"no\"}";
    assert_answered(&[
        (Fault::err("no"), 200, r#"{"Err":"no"}"#, false),
        (Fault::err_500("no"), 500, r#"{"Err":"no"}"#, false),
        (Fault::error("no"), 200, r#"{"Error":"no"}"#, false),
        (Fault::err_twice("no"), 200, twice, false),
        (Fault::text_500("no"), 500, "no", false),
        (Fault::html_400(), 400, "<!doctype html>", false),
        (Fault::not_found(), 404, "404 page not found", false),
        (Fault::null().without_work(), 200, "null", false),
    ]);
}

#[test]
fn faults_that_answer_badly() {
    let short = Duration::from_millis(50);
    let illegal = r#"{"Interface":{"Address":"198.51.100.9/24""#;
    assert_answered(&[
        (Fault::err("no").with_work(), 200, r#"{"Err":"no"}"#, true),
        (Fault::null(), 200, "null", true),
        (Fault::empty(), 200, "", true),
        (
            Fault::two_documents(),
            200,
            r#"{"Interface":{}}{"Err":"#,
            true,
        ),
        (Fault::invalid_json(), 200, r#"{"Interface": {"#, true),
        (Fault::huge(2 << 20), 200, r#"{"Padding":"xxx"#, true),
        (Fault::illegal_interface(), 200, illegal, true),
        (Fault::slow(short), 200, r#"{"Interface":{}}"#, true),
        (Fault::slow_to_work(short), 200, r#"{"Interface":{}}"#, true),
    ]);
}

#[test]
fn a_redirection_tells_where_to() {
    let setup = Setup::new();
    setup
        .driver
        .fault(Method::Activate, Fault::redirect("http://127.0.0.1:1/"));
    let answer = setup.controller.call(Method::Activate, &Value::Null);
    assert_eq!(answer.status, 302);
    assert_eq!(answer.header("Location"), Some("http://127.0.0.1:1/"));
}

#[test]
fn connections_are_cut() {
    let setup = Setup::new();
    setup.create_network();
    let body = setup.endpoint("10.77.0.2/24", "");
    let error = |fault| {
        setup.driver.fault_nth(Method::CreateEndpoint, 1, fault);
        let answer = setup.controller.try_call(Method::CreateEndpoint, &body);
        setup.driver.clear_faults();
        answer.unwrap_err().kind()
    };
    assert_eq!(error(Fault::closes()), ErrorKind::UnexpectedEof);
    assert_eq!(setup.driver.endpoints(), []);
    assert_eq!(
        error(Fault::closes_in_the_middle()),
        ErrorKind::UnexpectedEof
    );
    assert_eq!(setup.driver.endpoints().len(), 1);
    assert_eq!(setup.driver.last(Method::CreateEndpoint).status, None);
}

#[test]
fn a_hung_call_ends_with_its_client_and_others_are_answered() {
    let setup = Setup::new();
    setup.driver.fault_nth(Method::Activate, 1, Fault::hang());
    let client = Client::unix(setup.driver.socket()).timeout(Duration::from_millis(200));
    let start = Instant::now();
    std::thread::scope(|scope| {
        let hung = scope.spawn(|| Controller::new(client).try_call(Method::Activate, &Value::Null));
        wait_for("the call", Duration::from_secs(5), || {
            setup.driver.count(Method::Activate) == 1
        });
        setup.controller.ok(Method::Activate, &Value::Null);
        assert_eq!(
            hung.join().unwrap().unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn the_driver_dies_at_a_call_or_after_it() {
    let setup = Setup::new();
    let call = || setup.controller.try_call(Method::Activate, &Value::Null);
    setup.driver.fault_nth(Method::Activate, 2, Fault::dies());
    setup
        .driver
        .fault_nth(Method::Activate, 3, Fault::answers_and_dies());
    call().unwrap();
    let cut = call().unwrap_err().kind();
    assert!(
        [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&cut),
        "{cut}"
    );
    assert_eq!(call().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    setup.driver.revive();
    call().unwrap();
    wait_for("its death", Duration::from_secs(5), || {
        call().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    setup.driver.revive();
    call().unwrap();
}

#[test]
fn a_restart_without_memory_forgets_but_leaves_links() {
    let setup = Setup::new();
    setup.create_network();
    let endpoint = setup.endpoint("10.77.0.2/24", "");
    setup.controller.ok(Method::CreateEndpoint, &endpoint);
    let links = setup.world.host().link_names();
    setup.driver.restart_without_memory();
    setup.driver.assert_empty();
    assert_eq!(setup.world.host().link_names(), links);
    let answer = setup.controller.call(Method::DeleteEndpoint, &setup.ids());
    assert!(answer.text().contains("no endpoint"), "{}", answer.text());

    setup.create_network();
    setup.driver.fault(Method::Join, Fault::forgets());
    assert_eq!(
        setup.controller.call(Method::Join, &setup.join()).status,
        500
    );
    setup.driver.assert_empty();
}

#[test]
fn endpoints_can_be_routed() {
    let setup = Setup::of(|builder| {
        builder.style(|style| {
            style.wiring = Wiring::Routed;
            style.gateway = Gateway::Text(ROUTED_GATEWAY.to_owned());
        })
    });
    let (controller, world) = (&setup.controller, &setup.world);
    setup.create_network();
    let joined = [(&setup.c1, "10.77.0.2/32"), (&setup.c2, "10.77.0.3/32")].map(|(c, address)| {
        let joined = controller.attach(world, &setup.network, c, address);
        c.ip(&format!("route add {ROUTED_GATEWAY} dev eth0"));
        c.ip(&format!("route add default via {ROUTED_GATEWAY}"));
        joined
    });
    assert!(setup.c1.ping("10.77.0.3"));
    assert!(world.host().ping("10.77.0.2"));
    controller.detach(world, &joined[0], &setup.c1);
    controller.detach(world, &joined[1], &setup.c2);
    assert_eq!(world.host().link_names(), ["lo"]);
}

#[test]
fn interfaces_are_said_in_every_form() {
    let setup = Setup::new();
    setup.create_network();
    let all = json!({"Interface": {"Address": "", "AddressIPv6": "", "MacAddress": ""}});
    for (form, reply) in [
        (InterfaceForm::Supplied, json!({"Interface": {}})),
        (InterfaceForm::AllKeys, all),
        (InterfaceForm::Null, json!({"Interface": null})),
        (InterfaceForm::Absent, json!({})),
    ] {
        setup.driver.style(|style| style.interface = form);
        let body = setup.endpoint("10.77.0.2/24", "");
        assert_eq!(setup.controller.ok(Method::CreateEndpoint, &body), reply);
        setup.controller.ok(Method::DeleteEndpoint, &setup.ids());
    }
    setup
        .driver
        .style(|style| style.supplies.mac = SuppliedMac::Always);
    let body = setup.endpoint("10.77.0.2/24", "02:00:00:00:00:07");
    let reply = setup.controller.ok(Method::CreateEndpoint, &body);
    assert_eq!(
        reply,
        json!({"Interface": {"MacAddress": "02:00:00:00:00:07"}})
    );
}

#[test]
fn single_drivers_are_choosy() {
    let setup = Setup::new();
    let network = json!({
        "NetworkID": "net", "IPv6Data": [],
        "IPv4Data": [{"AddressSpace": "a", "Pool": POOL}],
        "Options": {"com.docker.network.generic": {}, "com.docker.network.enable_ipv4": true},
    });
    let pool = json!({"AddressSpace": "a", "Pool": POOL, "SubPool": POOL, "V6": false});
    let address = json!({"PoolID": "x", "Address": "", "Options": {"RequestAddressType": "y"}});
    for (accepts, method, body, text) in [
        (
            Accepts::Calico,
            Method::CreateNetwork,
            &network,
            "enable_ipv4 is not supported",
        ),
        (
            Accepts::Calico,
            Method::RequestPool,
            &pool,
            "sub-pools are not supported",
        ),
        (
            Accepts::Calico,
            Method::RequestAddress,
            &address,
            "options are not supported",
        ),
        (Accepts::Kuryr, Method::CreateNetwork, &network, "NetworkID"),
        (Accepts::Kuryr, Method::Join, &setup.join(), "SandboxKey"),
        (
            Accepts::Ovn,
            Method::CreateNetwork,
            &network,
            "no gateway_ip",
        ),
        (
            Accepts::Cilium,
            Method::CreateEndpoint,
            &setup.endpoint("", ""),
            "no IPv6 address",
        ),
    ] {
        setup.driver.style(|style| style.accepts = accepts);
        let said = setup.controller.call(method, body).text();
        assert!(said.contains(text), "{accepts:?} {method}: {said}");
    }
    setup
        .driver
        .style(|style| style.missing = vec![Method::Leave]);
    assert_eq!(
        setup.controller.call(Method::Leave, &setup.ids()).status,
        404
    );
}

/// A client that gives up early does not stop the driver's work.
#[test]
fn late_work_is_done_all_the_same() {
    let setup = Setup::new();
    setup.create_network();
    let late = Fault::slow_to_work(Duration::from_millis(150));
    setup.driver.fault(Method::CreateEndpoint, late);
    let client = Client::unix(setup.driver.socket()).timeout(Duration::from_millis(20));
    let body = setup.endpoint("10.77.0.2/24", "");
    let answer = Controller::new(client).try_call(Method::CreateEndpoint, &body);
    assert!(answer.is_err());
    assert_eq!(setup.driver.endpoints(), []);
    wait_for("the late work", Duration::from_secs(5), || {
        setup.driver.endpoints().len() == 1
    });
}

#[test]
fn dropping_it_leaves_nothing() {
    let world = World::new();
    let before = world.snapshot();
    let driver = Driver::named("tenon").start();
    let controller = Controller::new(Client::unix(driver.socket()));
    controller.create_network(&id("net"), POOL, GATEWAY);
    let container = world.container("c1");
    controller.attach(&world, &id("net"), &container, "10.77.0.2/24");
    let socket = driver.socket().to_owned();
    drop(driver);
    before.assert_unchanged(&world.snapshot());
    assert!(!socket.exists());
    assert_eq!(container.link_names(), ["lo"]);
}

/// The program that people and demonstrations run.
#[test]
fn it_is_a_program_too() {
    let world = World::new();
    let before = world.snapshot();
    let socket = world.dir().join("driver.sock");
    let said = std::fs::File::create(world.dir().join("said")).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_cnm-test-driver"))
        .arg(&socket)
        .stderr(said)
        .spawn()
        .unwrap();
    let controller = Controller::new(Client::unix(&socket));
    wait_for("the driver", Duration::from_secs(5), || {
        controller.try_call(Method::Activate, &Value::Null).is_ok()
    });
    controller.create_network(&id("net"), POOL, GATEWAY);
    assert!(world.host().ping("10.77.0.1"));
    signal::kill(Pid::from_raw(program.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(program.wait().unwrap().success());
    before.assert_unchanged(&world.snapshot());
    let said = std::fs::read_to_string(world.dir().join("said")).unwrap();
    assert!(
        said.contains("Plugin.Activate -> 200 {\"Implements\""),
        "{said}"
    );
}
