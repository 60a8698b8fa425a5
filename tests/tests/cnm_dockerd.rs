//! Docker Engine as the tests have it, by itself: that its containers run and meet, and that the
//! test driver serves a real controller.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;

use cni_testkit::{Runner, World};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Fault, Gateway, Method, Model, SrcName, Style};
use tenon_tests::cnm::golden::{self, Normaliser};
use tenon_tests::dockerd::Dockerd;
use tenon_tests::image;

#[test]
fn a_container_on_two_networks_pings_another() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    let first = engine.create_network("first", "bridge", "10.71.0.0/24");
    engine.create_network("second", "bridge", "10.72.0.0/24");
    let one = engine.run("one", "none");
    let two = engine.run("two", "first");
    let refused = engine.connect("first", &one, &Value::Null);
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert_eq!(engine.disconnect("none", &one).status, 200);
    for network in [first.as_str(), "second"] {
        let connected = engine.connect(network, "one", &Value::Null);
        assert_eq!(connected.status, 200, "{}", connected.text());
    }
    let address = engine.endpoint(&two, "first")["IPAddress"].clone();
    assert!(engine.ping(&one, address.as_str().unwrap()));
    assert_eq!(engine.network("first")["Id"], first);

    let netns = dockerd.netns("one");
    let mut links = netns.link_names();
    links.sort();
    assert_eq!(links, ["eth0", "eth1", "lo"]);
    assert!(netns.ping("10.72.0.1"));

    engine.remove("one");
    engine.remove("two");
    engine.remove_network("first");
    engine.remove_network("second");
    assert_eq!(world.host().link_names(), ["lo"]);
}

/// What runs beside dockerd finds a container by the process that dockerd names.
#[test]
fn a_process_is_found_beside_it() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    dockerd.engine().run("one", "none");
    // A plugin that answers with the namespace that it finds.
    let plugin = "#!/bin/sh\nprintf '\"%s\"' \"$(readlink \"$CNI_NETNS\")\"\n";
    world.executable("bin/find", plugin);
    let call = Runner::new(&world.dir().join("bin"), "find");
    let call = call.netns(dockerd.netns_path("one"));
    let found = dockerd.beside(call).run().expect_ok().json();
    let netns = dockerd.netns("one");
    let own = netns.run(|| fs::read_link("/proc/thread-self/ns/net").unwrap());
    assert_eq!(found, own.to_str().unwrap());
    assert_eq!(netns.link_names(), ["lo"]);
}

#[test]
fn the_test_driver_serves_it() {
    let world = World::new();
    let driver = Driver::named("tenon").start();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network_with(&network("net"));
    engine.run("one", "net");
    engine.run("two", "net");
    let endpoint = engine.endpoint("two", "net");
    let two = endpoint["IPAddress"].as_str().unwrap();
    assert!(engine.ping("one", two));
    assert!(engine.ping("one", "10.77.0.1"));
    assert_eq!(driver.reserved(), ["10.77.0.1", "10.77.0.2", "10.77.0.3"]);
    assert!(driver.endpoints().iter().all(|one| one.sandbox.is_some()));
    assert_eq!(driver.count(Method::Activate), 1);

    engine.remove("one");
    engine.stop("two");
    assert_eq!(driver.endpoints(), []);
    engine.remove("two");
    engine.remove_network("net");
    driver.assert_empty();
    assert_eq!(world.host().link_names(), ["lo"]);
}

/// Each of the models gets on with a real controller, whose containers meet through it. Their scope
/// is local here: global networks are a swarm's.
#[test]
fn models_of_other_drivers_serve_it() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    for (name, model) in [
        ("cilium", Model::Cilium),
        ("contiv", Model::Contiv),
        ("kuryr", Model::Kuryr),
        ("ovn", Model::Ovn),
        ("weave", Model::Weave),
    ] {
        let driver = model_driver(name, model);
        engine.create_network_with(&network_of(name, model));
        engine.run("one", name);
        engine.run("two", name);
        let endpoint = engine.endpoint("two", name);
        assert!(
            engine.ping("one", endpoint["IPAddress"].as_str().unwrap()),
            "{name}"
        );
        engine.remove("one");
        engine.remove("two");
        engine.remove_network(name);
        driver.assert_empty();
    }
}

/// Calico's IPv6 gateway kills the Join of a container without IPv6 in every Engine since 17.06.
#[test]
fn the_model_of_calico_fails_as_calico_does() {
    let world = World::new();
    let driver = model_driver("calico", Model::Calico);
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network_with(&network_of("calico", Model::Calico));
    let one = engine.run("one", "none");
    engine.disconnect("none", &one);
    let answer = engine.connect("calico", &one, &Value::Null);
    assert_eq!(answer.status, 500);
    assert!(
        answer.text().contains("permission denied"),
        "{}",
        answer.text()
    );
    assert_eq!(driver.endpoints(), []);
    assert_eq!(driver.reserved(), Vec::<String>::new());
}

fn model_driver(name: &str, model: Model) -> Driver {
    Driver::named(name)
        .like(model)
        .capabilities(|can| "local".clone_into(&mut can.scope))
        .start()
}

fn network_of(name: &str, model: Model) -> Value {
    let mut config = vec![json!({"Subnet": "10.77.0.0/24"})];
    if model == Model::Cilium {
        config.push(json!({"Subnet": "fd77::/64"}));
    }
    let ipam = if model == Model::Ovn { "default" } else { name };
    json!({
        "Name": name,
        "Driver": name,
        "EnableIPv6": model == Model::Cilium,
        "IPAM": {"Driver": ipam, "Config": config},
    })
}

/// The recording that other controllers are compared with is of this very dockerd.
#[test]
fn it_asks_what_was_recorded() {
    let world = World::new();
    let driver = Driver::named("tenon")
        .capabilities(|can| can.requires_mac = true)
        .start();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    let mut normaliser = Normaliser::new();
    let mut assert_recorded = |section: &str| {
        let asked = normaliser.lines(&driver.requests());
        assert_eq!(asked, golden::section(section), "{section}");
        driver.clear_requests();
    };
    engine.create_network_with(&network("net"));
    assert_recorded("network create");

    let body = json!({
        "Image": image::NAME,
        "HostConfig": {"NetworkMode": "none"},
        "ExposedPorts": {"80/tcp": {}},
    });
    let one = engine.create_with("one", &body);
    engine.start(&one);
    engine.disconnect("none", &one);
    let config = json!({"DriverOpts": {"x": "y"}});
    let connected = engine.connect("net", &one, &config);
    assert_eq!(connected.status, 200, "{}", connected.text());
    assert_recorded("attach");

    let key = driver_sandbox(&dockerd, "one");
    assert!(key.starts_with("/var/run/docker/netns/"), "{key}");
    engine.disconnect("net", &one);
    assert_recorded("detach");

    let mut published = body;
    published["HostConfig"]["PortBindings"] = json!({"80/tcp": [{"HostPort": "8080"}]});
    let two = engine.create_with("two", &published);
    engine.start(&two);
    engine.disconnect("none", &two);
    driver.clear_requests();
    engine.connect("net", &two, &Value::Null);
    // Ids are counted anew, so that this can be compared by itself.
    let asked = Normaliser::new().lines(&driver.requests());
    assert_eq!(asked, golden::section("attach with a published port"));
    engine.disconnect("net", &two);
    driver.clear_requests();
    engine.remove_network("net");
    assert_recorded("network delete");
    driver.assert_empty();
}

fn network(name: &str) -> Value {
    let config = json!([{"Subnet": "10.77.0.0/24"}]);
    let ipam = json!({"Driver": "tenon", "Options": {"io": "1"}, "Config": config});
    json!({"Name": name, "Driver": "tenon", "Options": {"o1": "v1"}, "IPAM": ipam})
}

fn driver_sandbox(dockerd: &Dockerd<'_>, container: &str) -> String {
    let inspected = dockerd.engine().inspect(container);
    let key = inspected["NetworkSettings"]["SandboxKey"].as_str();
    key.unwrap().to_owned()
}

/// One way in which an attach fails: the section of the recording, the last call before the undo,
/// and how to bring it about.
type Failing = (&'static str, Method, fn(&Driver));

const FAILING: &[Failing] = &[
    ("RequestAddress", Method::RequestAddress, |driver| {
        driver.fault(Method::RequestAddress, Fault::error("no"));
    }),
    ("CreateEndpoint", Method::CreateEndpoint, |driver| {
        driver.fault(Method::CreateEndpoint, Fault::err("no"));
    }),
    ("an illegal Interface", Method::CreateEndpoint, |driver| {
        driver.fault(Method::CreateEndpoint, Fault::illegal_interface());
    }),
    ("Join", Method::Join, |driver| {
        driver.fault(Method::Join, Fault::err_500("no"));
    }),
    ("a link that is not there", Method::Join, |driver| {
        driver.style(|style| style.src_name = SrcName::Other("nowhere".to_owned()));
    }),
    ("an unreachable gateway", Method::Join, |driver| {
        driver.style(|style| style.gateway = Gateway::Text("192.0.2.1".to_owned()));
    }),
    (
        "ProgramExternalConnectivity",
        Method::ProgramExternalConnectivity,
        |driver| driver.fault(Method::ProgramExternalConnectivity, Fault::text_500("no")),
    ),
    ("EndpointOperInfo", Method::EndpointOperInfo, |driver| {
        driver.fault(Method::EndpointOperInfo, Fault::err("no"));
    }),
];

#[test]
fn it_undoes_what_was_recorded() {
    let world = World::new();
    let driver = Driver::named("tenon").start();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network_with(&network("net"));
    let one = engine.run("one", "none");
    engine.disconnect("none", &one);
    for (what, last, bring_about) in FAILING {
        driver.clear_requests();
        bring_about(&driver);
        let answer = engine.connect("net", &one, &Value::Null);
        assert_eq!(answer.status, 500, "{what}: {}", answer.text());
        let calls = driver.calls();
        let at = calls.iter().position(|call| call == last.name()).unwrap();
        let section = golden::section(&format!("after {what}"));
        assert_eq!(calls[at + 1..], section, "{what}");

        driver.clear_faults();
        driver.style(|style| *style = Style::default());
        // What the driver did before it answered wrongly.
        for endpoint in driver.endpoints() {
            assert_eq!(*what, "EndpointOperInfo", "left {endpoint:?}");
            engine.disconnect("net", &one);
        }
        assert_eq!(driver.reserved(), ["10.77.0.1"], "{what}");
    }
}
