//! cnm-shim's `engine` backend: what it refuses, and that nothing is left of an ADD that fails.
#![expect(clippy::indexing_slicing, reason = "test functions fail by panicking")]

use std::time::{Duration, Instant};

use cni_testkit::{Netns, Outcome, Snapshot, World};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Fault, Gateway, Method, SrcName, Style};
use tenon_tests::dockerd::Dockerd;
use tenon_tests::shim::{Before, Shim, records, sorted_links};

/// `code`, and all of `words` in message and details.
#[track_caller]
fn assert_refused(outcome: &Outcome, code: u32, words: &[&str]) {
    let error = outcome.expect_error(code);
    let text = format!("{} {}", error["msg"], error["details"]);
    for word in words {
        assert!(text.contains(word), "no {word:?} in\n{outcome}");
    }
    assert_eq!(records(), Vec::<String>::new());
}

/// A container `one` on `none`, and what is there before.
struct Setup<'a> {
    world: &'a World,
    netns: Netns,
    before: Before,
}

impl<'a> Setup<'a> {
    fn new(world: &'a World, dockerd: &Dockerd<'_>) -> Self {
        dockerd.engine().run("one", "none");
        let netns = dockerd.netns("one");
        let before = Before::of(world, &netns);
        Self {
            world,
            netns,
            before,
        }
    }

    #[track_caller]
    fn assert_unchanged(&self, dockerd: &Dockerd<'_>) {
        self.before.assert_unchanged(self.world, &self.netns);
        assert!(dockerd.engine().endpoint("one", "none").is_object());
    }
}

#[test]
fn containers_that_cannot_be_joined() {
    let world = World::new();
    let nobody = world.container("nobody");
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("red", "bridge", "10.71.0.0/24");
    let setup = Setup::new(&world, &dockerd);
    let shim = Shim::new(&dockerd, "red");
    let add = |id: &str, netns: &str| {
        let call = shim.call("ADD").container_id(id).ifname("eth0");
        call.netns(netns).run()
    };
    assert_refused(
        &add("nobody", nobody.path_str()),
        3,
        &[
            "container nobody is none of Docker's",
            "No such container",
            "containerd",
        ],
    );
    // Docker takes the beginning of an id for the id.
    let id = engine.inspect("one")["Id"].as_str().unwrap().to_owned();
    assert_refused(&add(&id[..3], nobody.path_str()), 3, &["none of that name"]);
    let call = shim.call("DEL").container_id("nobody").ifname("eth0");
    call.run().expect_silent_ok();

    let stopped = engine.create("stopped", "none");
    assert_refused(
        &add(&stopped, nobody.path_str()),
        11,
        &["container stopped does not run", "created"],
    );
    let host = engine.run("host", "host");
    let path = nobody.path_str();
    assert_refused(&add(&host, path), 140, &["network mode \\\"host\\\""]);
    let shared = engine.run("shared", "container:one");
    assert_refused(&add(&shared, path), 140, &["network mode \\\"container:"]);

    // The namespace is another container's, or nobody's, or none.
    engine.run("two", "red");
    let pid = engine.pid("one").to_string();
    let (own, other) = (dockerd.netns_path("one"), dockerd.netns_path("two"));
    for wrong in [other.as_str(), nobody.path_str()] {
        let words = [wrong, "is not the namespace of container one", pid.as_str()];
        assert_refused(&add(&id, wrong), 8, &words);
    }
    let no_namespace = add(&id, "/proc/self/status");
    assert_refused(&no_namespace, 8, &["not a network namespace"]);
    // The container whose process namespace nobody here can look into.
    let outside = shim.call_for("ADD", "one", "eth0").through(&[]);
    let outside = outside.netns(setup.netns.path_str()).run();
    assert_refused(
        &outside,
        8,
        &[setup.netns.path_str(), "does it run on this machine"],
    );
    // args.docker.containerID leads to it, whatever CNI_CONTAINERID is.
    let named = json!({"args": {"docker": {"containerID": "one"}}});
    let conf = shim.conf.clone().with(named);
    let call = shim.call("ADD").conf(&conf).container_id("pod1");
    let call = call.netns(&own).ifname("net1");
    call.run().expect_ok();
    assert!(engine.endpoint("one", "red").is_object());
    call.command("DEL").run().expect_silent_ok();
    engine.remove("two");
    setup.assert_unchanged(&dockerd);
}

#[test]
fn networks_that_cannot_be_joined() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    let setup = Setup::new(&world, &dockerd);
    let refused = |keys: Value, code: u32, words: &[&str]| {
        let shim = Shim::new(&dockerd, "blue").with(keys);
        assert_refused(&shim.try_add("one", "eth0"), code, words);
        setup.assert_unchanged(&dockerd);
    };
    let missing = &[
        "Docker has no network \\\"blue\\\"",
        "docker network create",
    ];
    refused(json!({}), 7, missing);
    refused(json!({"network": "host"}), 7, &["network: ", "host"]);
    refused(
        json!({"subnet": "10.71.0.0/24"}),
        7,
        &["subnet needs driver"],
    );
    let overlapping = json!({"driver": "bridge", "subnet": "10.71.0.0/33"});
    refused(overlapping, 7, &["subnet"]);
    let call = Shim::new(&dockerd, "blue").call("STATUS");
    let status = call.conf(&Shim::new(&dockerd, "blue").newest()).run();
    assert_refused(&status, 50, missing);

    // Two of one name.
    let ids = ["10.71.0.0/24", "10.72.0.0/24"].map(|subnet| {
        let ipam = json!({"Config": [{"Subnet": subnet}]});
        engine.create_network_with(&json!({"Name": "twice", "Driver": "bridge", "IPAM": ipam}))
    });
    let shim = Shim::new(&dockerd, "twice");
    assert_refused(&shim.try_add("one", "eth0"), 7, &["ambiguous", "ids"]);
    let shim = Shim::new(&dockerd, &ids[1]);
    let joined = shim.add("one", "eth0");
    assert!(joined.address().starts_with("10.72.0."));
    joined.check().expect_silent_ok();
    joined.del_ok();
    for id in &ids {
        engine.remove_network(id);
    }
    setup.assert_unchanged(&dockerd);
}

#[test]
fn names_that_are_taken() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("first", "bridge", "10.71.0.0/24");
    engine.create_network("second", "bridge", "10.72.0.0/24");
    engine.create_network("third", "bridge", "10.73.0.0/24");
    engine.run("one", "first");
    let netns = dockerd.netns("one");
    let second = Shim::new(&dockerd, "second").named("second");
    let before = Before::of(&world, &netns);
    let taken = &["an interface eth0 already", "net1"];
    assert_refused(&second.try_add("one", "eth0"), 101, taken);
    let first = Shim::new(&dockerd, "first");
    let theirs = &[
        "one is on network first already",
        "docker network disconnect",
    ];
    assert_refused(&first.try_add("one", "net1"), 101, theirs);
    before.assert_unchanged(&world, &netns);

    let joined = second.add("one", "net1");
    let third = Shim::new(&dockerd, "third").named("third");
    let between = Before::of(&world, &netns);
    let error = third.try_add("one", "eth1").expect_error(101);
    let text = error["msg"].as_str().unwrap();
    assert!(text.contains("Docker knows net1 by that name"), "{error}");
    // The very same attachment.
    let again = second.try_add("one", "net1").expect_error(101);
    assert!(
        again["msg"].as_str().unwrap().contains("attached already"),
        "{again}"
    );
    between.assert_unchanged(&world, &netns);
    joined.check().expect_silent_ok();
    joined.del_ok();
    before.assert_unchanged(&world, &netns);
}

#[test]
fn wishes_that_docker_does_not_heed() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("alpha", "bridge", "10.71.0.0/24");
    engine.create_network("beta", "bridge", "10.72.0.0/24");
    engine.run("one", "alpha");
    engine.run("two", "beta");
    let netns = dockerd.netns("one");
    let before = Before::of(&world, &netns);
    let refused = |keys: Value, code: u32, words: &[&str]| {
        let shim = Shim::new(&dockerd, "beta").with(keys);
        assert_refused(&shim.try_add("one", "net1"), code, words);
        before.assert_unchanged(&world, &netns);
        assert_eq!(engine.endpoint("one", "beta"), Value::Null);
    };
    refused(
        json!({"runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80}]}}),
        2,
        &["runtimeConfig.portMappings", "`portmap` behind it"],
    );
    refused(
        json!({"runtimeConfig": {"mac": "02:00:00:00:00:05"}}),
        2,
        &[
            "runtimeConfig.mac: 02:00:00:00:00:05 was asked for",
            "API 1.41",
            "tuning",
        ],
    );
    refused(
        json!({"isDefaultGateway": true}),
        2,
        &["isDefaultGateway: ", "Engine 28"],
    );
    let other_family = json!({"runtimeConfig": {"ips": ["fd72::5/64"]}});
    refused(
        other_family,
        7,
        &["fd72::5 is in no subnet of network beta (10.72.0.0/24)"],
    );
    refused(
        json!({"runtimeConfig": {"ips": ["10.72.0.5/24", "10.72.0.6/24"]}}),
        2,
        &["runtimeConfig.ips", "one address of each family"],
    );
    let outside = json!({"runtimeConfig": {"ips": ["10.99.0.5/24"]}});
    refused(outside, 7, &["10.99.0.5 is in no subnet of network beta"]);
    let two = engine.endpoint("two", "beta")["IPAddress"].clone();
    let taken = json!({"runtimeConfig": {"ips": [two]}});
    refused(taken, 101, &["of network beta belongs to container two"]);
}

/// One way in which Docker fails to connect, and how to bring it about.
type Failing = (&'static str, fn(&Driver));

const FAILING: &[Failing] = &[
    ("RequestAddress", |driver| {
        driver.fault(Method::RequestAddress, Fault::error("no more"));
    }),
    ("CreateEndpoint", |driver| {
        driver.fault(Method::CreateEndpoint, Fault::err("no more"));
    }),
    ("Join", |driver| {
        driver.fault(Method::Join, Fault::err_500("no more"));
    }),
    // Docker answers an error, and yet the container is connected.
    ("EndpointOperInfo", |driver| {
        driver.fault(Method::EndpointOperInfo, Fault::err("no more"));
    }),
    // The link is in the container by then.
    ("an unreachable gateway", |driver| {
        driver.style(|style| style.gateway = Gateway::Text("192.0.2.1".to_owned()));
    }),
    // Docker is content, and there is no interface.
    ("no interface", |driver| {
        driver.style(|style| {
            style.src_name = SrcName::Absent;
            style.gateway = Gateway::Text(String::new());
            style.disable_gateway_service = true;
        });
    }),
];

#[test]
fn nothing_is_left_of_a_connection_that_fails() {
    let world = World::new();
    let driver = Driver::named("tenon").start();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    let setup = Setup::new(&world, &dockerd);
    let shim = Shim::new(&dockerd, "remote").with(json!({
        "driver": "tenon", "ipamDriver": "tenon", "subnet": "10.77.0.0/24",
    }));
    for (what, bring_about) in FAILING {
        bring_about(&driver);
        let words: &[&str] = match *what {
            "no interface" => &["no interface in it has 10.77.0."],
            "RequestAddress" => &["could not create network remote", "no more"],
            "an unreachable gateway" => &["could not connect", "route for the gateway"],
            _ => &[
                "could not connect container one and network remote",
                "no more",
            ],
        };
        assert_refused(&shim.try_add("one", "eth0"), 140, words);
        driver.clear_faults();
        driver.style(|style| *style = Style::default());
        driver.assert_empty();
        let gone = engine.request("GET", "/networks/remote", &Value::Null);
        assert_eq!(gone.status, 404, "{what}: the network was made for nothing");
        setup.assert_unchanged(&dockerd);
    }
}

/// Of a connection that has failed Docker keeps a note, which there is no striking out while the
/// network is there. It is in nobody's way.
#[test]
fn a_note_that_docker_keeps_is_told_and_gets_over() {
    let world = World::new();
    let driver = Driver::named("tenon").start();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    let setup = Setup::new(&world, &dockerd);
    engine.create_network_with(&json!({"Name": "kept", "Driver": "tenon",
        "IPAM": {"Driver": "tenon", "Config": [{"Subnet": "10.77.0.0/24"}]}}));
    let inside = || Snapshot::of(&setup.netns).without("nft");
    let before = inside();
    let shim = Shim::new(&dockerd, "kept");
    for method in [Method::CreateEndpoint, Method::Join] {
        driver.fault(method, Fault::err("no more"));
        let words = &[
            "no more",
            "Docker keeps a note of container one and network kept",
        ];
        assert_refused(&shim.try_add("one", "eth0"), 140, words);
        driver.clear_faults();
        assert_eq!(driver.endpoints(), []);
        before.assert_unchanged(&inside());
        let joined = shim.add("one", "eth0");
        joined.check().expect_silent_ok();
        joined.del_ok();
        assert!(engine.endpoint("one", "none").is_object());
    }
    engine.remove_network("kept");
    driver.assert_empty();
    setup.assert_unchanged(&dockerd);
}

#[test]
fn nothing_is_left_when_the_result_cannot_be_written() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    dockerd
        .engine()
        .create_network("red", "bridge", "10.71.0.0/24");
    let setup = Setup::new(&world, &dockerd);
    let shim = Shim::new(&dockerd, "red");
    let words = dockerd.words();
    let full = ["sh", "-c", "exec \"$0\" >/dev/full"].map(str::to_owned);
    let through: Vec<&str> = words.iter().chain(&full).map(String::as_str).collect();
    let outcome = shim.call_for("ADD", "one", "eth0").through(&through).run();
    assert_eq!(outcome.code, 1, "{outcome}");
    assert_eq!(records(), Vec::<String>::new());
    assert_eq!(sorted_links(&setup.netns), ["lo"]);
    setup.assert_unchanged(&dockerd);
}

#[test]
fn a_docker_that_is_not_there_or_does_not_answer() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    dockerd
        .engine()
        .create_network("red", "bridge", "10.71.0.0/24");
    let setup = Setup::new(&world, &dockerd);
    let nowhere = json!({"engineSocket": "/run/nowhere.sock", "timeout": "1s"});
    let shim = Shim::new(&dockerd, "red").with(nowhere);
    let words = &[
        "could not reach Docker at unix:///run/nowhere.sock",
        "is Docker running",
    ];
    assert_refused(&shim.try_add("one", "eth0"), 11, words);
    let status = |shim: &Shim<'_>| shim.call("STATUS").conf(&shim.newest()).run();
    assert_refused(&status(&shim), 50, words);
    // Nothing was ever asked of it: nobody needs it.
    let call = shim.call_for("DEL", "one", "eth0");
    call.run().expect_silent_ok();
    shim.gc(&[]).expect_silent_ok();

    let shim = Shim::new(&dockerd, "red").with(json!({"timeout": "1s"}));
    let call = shim.call_for("ADD", "one", "eth0");
    status(&shim).expect_silent_ok();
    dockerd.signal("STOP");
    let start = Instant::now();
    assert_refused(&call.run(), 11, &["did not answer in time"]);
    assert_refused(&status(&shim), 50, &["did not answer in time"]);
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    dockerd.signal("CONT");
    setup.assert_unchanged(&dockerd);
    shim.add("one", "eth0").del_ok();
    setup.assert_unchanged(&dockerd);
}
