//! cnm-shim's `engine` backend: DEL, CHECK and GC, whatever has happened since the ADD.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::time::Duration;

use cni_testkit::{Netns, World, wait_for};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Driver, Fault, Method, RemovedAt};
use tenon_tests::dockerd::Dockerd;
use tenon_tests::network::cidrs;
use tenon_tests::shim::{Before, DATA_DIR, Joined, Shim, records, sorted_links};

/// Docker with network `red`, and container `one` on `none`.
fn start(world: &World) -> Dockerd<'_> {
    let dockerd = Dockerd::start(world);
    let engine = dockerd.engine();
    engine.create_network("red", "bridge", "10.71.0.0/24");
    engine.run("one", "none");
    dockerd
}

/// A network of a test driver, and a container on another network.
fn start_remote(world: &World) -> Dockerd<'_> {
    let dockerd = Dockerd::start(world);
    let engine = dockerd.engine();
    engine.create_network("base", "bridge", "10.71.0.0/24");
    engine.create_network_with(&json!({"Name": "remote", "Driver": "tenon",
        "IPAM": {"Driver": "tenon", "Config": [{"Subnet": "10.77.0.0/24"}]}}));
    engine.run("one", "base");
    // The driver's bridge would change its own with each port.
    let links = world.host().link_names();
    let bridge = links.iter().find(|name| name.starts_with("tb")).unwrap();
    world
        .host()
        .ip(&format!("link set {bridge} address 02:00:00:00:00:0b"));
    dockerd
}

/// The name by which Docker knows a link.
fn old_name(netns: &Netns, link: &str) -> String {
    let old = netns.link(link).unwrap()["altnames"][0].clone();
    old.as_str().unwrap().to_owned()
}

fn is_connected(dockerd: &Dockerd<'_>, container: &str, network: &str) -> bool {
    dockerd.engine().endpoint(container, network).is_object()
}

#[test]
fn what_somebody_else_connects_is_theirs() {
    let world = World::new();
    let dockerd = start(&world);
    let engine = dockerd.engine();
    engine.create_network("blue", "bridge", "10.72.0.0/24");
    let shim = Shim::new(&dockerd, "red");
    let joined = shim.add("one", "eth0");
    assert_eq!(engine.connect("blue", "one", &Value::Null).status, 200);
    // Disconnected by hand, and connected again.
    assert_eq!(engine.disconnect("red", "one").status, 200);
    assert_eq!(engine.connect("red", "one", &Value::Null).status, 200);
    let endpoint = engine.endpoint("one", "red")["EndpointID"].clone();
    joined.check().expect_error(103);
    joined.del_ok();
    shim.gc(&[]).expect_silent_ok();
    assert_eq!(engine.endpoint("one", "red")["EndpointID"], endpoint);
    assert!(is_connected(&dockerd, "one", "blue"));
    assert!(!is_connected(&dockerd, "one", "none"));
    assert_eq!(sorted_links(&dockerd.netns("one")).len(), 3);
    assert!(records().is_empty());
}

#[test]
fn containers_that_are_not_what_they_were() {
    let world = World::new();
    let dockerd = start(&world);
    let engine = dockerd.engine();
    let shim = Shim::new(&dockerd, "red");
    let host = world.snapshot();

    // Removed.
    let joined = shim.add("one", "eth0");
    engine.remove("one");
    joined.check().expect_any_error();
    joined.del_ok();
    assert!(records().is_empty());

    // Stopped, and the runtime knows no namespace any more.
    engine.run("one", "none");
    let mut joined = shim.add("one", "eth0");
    engine.stop("one");
    joined.netns = String::new();
    joined.del_ok();
    joined.del_ok();
    assert!(is_connected(&dockerd, "one", "none"));
    assert!(!is_connected(&dockerd, "one", "red"));
    engine.remove("one");

    // Started again: Docker has connected it again, in another namespace.
    engine.run("one", "none");
    let joined = shim.add("one", "eth0");
    engine.stop("one");
    engine.start("one");
    assert!(is_connected(&dockerd, "one", "red"));
    let endpoint = engine.endpoint("one", "red")["EndpointID"].clone();
    assert_ne!(endpoint, "");
    joined.del_ok();
    assert!(!is_connected(&dockerd, "one", "red"));
    assert_eq!(sorted_links(&dockerd.netns("one")), ["lo"]);

    // On a network that is gone.
    let joined = shim.add("one", "eth0");
    engine.disconnect("red", "one");
    engine.remove_network("red");
    joined.del_ok();
    assert!(is_connected(&dockerd, "one", "none"));
    assert!(records().is_empty());
    engine.remove("one");
    let bridges = |line: &String| line.contains("br-") || line.contains("10.71.0.");
    let without = |lines: &[String]| -> Vec<String> {
        lines
            .iter()
            .filter(|line| !bridges(line))
            .cloned()
            .collect()
    };
    assert_eq!(without(world.snapshot().lines()), without(host.lines()));
}

/// Docker does not find the link by any name: it says nothing, and leaves it where it is.
#[test]
fn what_docker_leaves_behind_is_removed() {
    let world = World::new();
    let driver = Driver::named("tenon")
        .style(|style| style.removed_at = RemovedAt::Never)
        .start();
    let dockerd = start_remote(&world);
    let netns = dockerd.netns("one");
    let shim = Shim::new(&dockerd, "remote");
    let before = Before::of(&world, &netns);
    let joined = shim.add("one", "net1");
    let old = old_name(&netns, "net1");
    netns.ip(&format!("link property del dev net1 altname {old}"));
    // Another one with the same hardware address is nobody's but its maker's.
    let mac = joined.result["interfaces"][2]["mac"].as_str().unwrap();
    netns.ip(&format!(
        "link add other address {mac} type veth peer name end"
    ));
    joined.del_ok();
    assert_eq!(driver.endpoints(), []);
    assert_eq!(sorted_links(&netns), ["end", "eth0", "lo", "other"]);
    netns.ip("link del other");
    before.assert_unchanged(&world, &netns);
}

/// Somebody else's connection has failed, of which Docker keeps a note: beside that there is no going
/// back to `none`. That is told, and fails a DEL only where the config wants it to.
#[test]
fn what_is_not_as_before_is_told() {
    let world = World::new();
    let driver = Driver::named("tenon").start();
    let dockerd = start_remote(&world);
    let engine = dockerd.engine();
    engine.run("two", "none");
    let shim = Shim::new(&dockerd, "base");
    for (strict, code) in [(false, 0), (true, 1)] {
        let joined = shim.add("two", "eth0");
        driver.fault(Method::CreateEndpoint, Fault::err("no more"));
        assert_eq!(engine.connect("remote", "two", &Value::Null).status, 500);
        driver.clear_faults();
        let conf = shim.conf.clone().with(json!({"strictDelete": strict}));
        let outcome = joined.call("DEL").conf(&conf).run();
        assert_eq!(outcome.code, code, "{outcome}");
        let said = "could not connect container two and network none";
        assert!(outcome.stderr.contains(said), "{outcome}");
        assert!(!is_connected(&dockerd, "two", "base"));
        assert!(records().is_empty());
        if strict {
            let error = outcome.expect_error(140);
            assert!(error["details"].as_str().unwrap().contains(said), "{error}");
        }
        engine.remove("two");
        engine.run("two", "none");
    }
}

/// What is said of a change, and how to make it.
type Mutation = (&'static str, fn(&Netns, &Joined<'_>));

const MUTATIONS: &[Mutation] = &[
    ("it is down", |netns, _| {
        netns.ip("link set net1 down");
    }),
    ("it is missing", |netns, _| {
        netns.ip("link set net1 name other");
    }),
    ("address 10.72.0.", |netns, joined| {
        netns.ip(&format!("addr del {} dev net1", cidrs(&joined.result)[0]));
    }),
    ("its MAC address is 02:00:00:00:00:99", |netns, _| {
        netns.ip("link set net1 address 02:00:00:00:00:99");
    }),
    ("it has lost the name eth", |netns, _| {
        let old = old_name(netns, "net1");
        netns.ip(&format!("link property del dev net1 altname {old}"));
    }),
    ("route to 10.9.0.0/16 is missing", |netns, _| {
        netns.ip("route del 10.9.0.0/16");
    }),
];

#[test]
fn check_finds_every_change() {
    let world = World::new();
    let dockerd = Dockerd::start(&world);
    let engine = dockerd.engine();
    engine.create_network("first", "bridge", "10.71.0.0/24");
    engine.create_network("second", "bridge", "10.72.0.0/24");
    engine.run("one", "first");
    let netns = dockerd.netns("one");
    let shim = Shim::new(&dockerd, "second");
    let changed = |said: &str, joined: &Joined<'_>| {
        let error = joined.check().expect_error(103);
        let text = format!("{} {}", error["msg"], error["details"]);
        assert!(text.contains(said), "no {said:?} in {error}");
    };
    for (said, mutate) in MUTATIONS {
        let mut joined = shim.add("one", "net1");
        // As if a driver had told of it.
        netns.ip("route add 10.9.0.0/16 via 10.72.0.9");
        let routes = joined.result["routes"].as_array_mut();
        let route = json!({"dst": "10.9.0.0/16", "gw": "10.72.0.9"});
        match routes {
            Some(routes) => routes.push(route),
            None => joined.result["routes"] = json!([route]),
        }
        joined.check().expect_silent_ok();
        mutate(&netns, &joined);
        changed(said, &joined);
        joined.del_ok();
        assert!(!is_connected(&dockerd, "one", "second"), "{said}");
        if netns.link("other").is_some() {
            netns.ip("link del other");
        }
        assert_eq!(sorted_links(&netns), ["eth0", "lo"], "{said}");
    }
    let joined = shim.add("one", "net1");
    engine.disconnect("second", "one");
    changed("the container is not on it any more", &joined);
    let blind = shim.conf.clone().with(json!({"checkDriver": false}));
    let blind = blind.prev_result(&joined.result);
    let error = joined.call("CHECK").conf(&blind).run().expect_error(103);
    assert!(!error.to_string().contains("Docker's network"), "{error}");
    joined.del_ok();
    joined.check().expect_error(103);
}

#[test]
fn a_docker_that_dies_between_add_and_del() {
    let world = World::new();
    let dockerd = start(&world);
    let shim = Shim::new(&dockerd, "red").with(json!({"timeout": "2s"}));
    let joined = shim.add("one", "eth0");
    dockerd.kill();
    let error = joined.del().expect_error(11);
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("could not reach Docker"),
        "{error}"
    );
    assert_eq!(records().len(), 1);
    joined.check().expect_error(103);
    dockerd.start_again();
    joined.del_ok();
    joined.del_ok();
    assert!(records().is_empty());
    assert!(!is_connected(&dockerd, "one", "red"));

    // Whoever cannot wait leaves it to GC.
    let engine = dockerd.engine();
    engine.start("one");
    let joined = shim.add("one", "eth0");
    dockerd.kill();
    let leak = shim.conf.clone().with(json!({"onDriverDown": "leak"}));
    joined.call("DEL").conf(&leak).run().expect_silent_ok();
    assert_eq!(records().len(), 1);
    dockerd.start_again();
    shim.gc(&[]).expect_silent_ok();
    assert!(records().is_empty());
    assert!(!is_connected(&dockerd, "one", "red"));
}

#[test]
fn a_docker_that_hangs_is_not_waited_for() {
    let world = World::new();
    let dockerd = start(&world);
    let shim = Shim::new(&dockerd, "red").with(json!({"timeout": "1s"}));
    let joined = shim.add("one", "eth0");
    dockerd.signal("STOP");
    let outcome = joined.del();
    let error = outcome.expect_error(11);
    assert!(
        error["details"]
            .as_str()
            .unwrap()
            .contains("GC, tries again"),
        "{error}"
    );
    assert!(outcome.elapsed < Duration::from_secs(4), "{outcome}");
    dockerd.signal("CONT");
    joined.del_ok();
    assert!(is_connected(&dockerd, "one", "none"));
}

#[test]
fn gc_disconnects_what_is_not_valid_and_ours() {
    let world = World::new();
    let dockerd = start(&world);
    let engine = dockerd.engine();
    for name in ["two", "three", "four"] {
        engine.run(name, "none");
    }
    engine.run("theirs", "red");
    let shim = Shim::new(&dockerd, "red");
    let other = Shim::new(&dockerd, "red").named("other-net");
    let stays = shim.add("one", "eth0");
    shim.add("two", "eth0");
    let of_other = other.add("three", "eth0");
    // One whose DEL was lost together with the container.
    shim.add("four", "eth0");
    engine.remove("four");
    assert_eq!(records().len(), 4);
    shim.gc(&[&stays]).expect_silent_ok();
    for (name, connected) in [
        ("one", true),
        ("two", false),
        ("three", true),
        ("theirs", true),
    ] {
        assert_eq!(is_connected(&dockerd, name, "red"), connected, "{name}");
    }
    assert!(is_connected(&dockerd, "two", "none"));
    assert_eq!(records().len(), 2);
    stays.check().expect_silent_ok();
    of_other.check().expect_silent_ok();
}

/// A record that makes no sense is put aside by the DEL that needs it, and told by GC.
#[test]
fn a_record_that_makes_no_sense() {
    let world = World::new();
    let dockerd = start(&world);
    let shim = Shim::new(&dockerd, "red");
    let joined = shim.add("one", "eth0");
    let path = format!("{DATA_DIR}/engine/{}", records()[0]);
    let good = fs::read(&path).unwrap();
    fs::write(&path, "{\"attachment\"").unwrap();
    let error = shim.gc(&[]).expect_error(6);
    assert!(
        error["msg"].as_str().unwrap().contains("is not a record"),
        "{error}"
    );
    let outcome = joined.del().expect_silent_ok();
    assert!(outcome.stderr.contains("it is kept as"), "{outcome}");
    shim.gc(&[]).expect_silent_ok();
    fs::write(&path, good).unwrap();
    joined.del_ok();
    assert!(is_connected(&dockerd, "one", "none"));
}

/// Killed while Docker waits for the driver: what is known then is enough for DEL.
#[test]
fn an_add_that_is_killed_is_finished_by_del() {
    let world = World::new();
    let driver = Driver::named("tenon").start();
    let dockerd = start_remote(&world);
    let netns = dockerd.netns("one");
    let before = Before::of(&world, &netns);
    let shim = Shim::new(&dockerd, "remote");
    for method in [
        Method::CreateEndpoint,
        Method::Join,
        Method::EndpointOperInfo,
    ] {
        driver.fault(method, Fault::slow(Duration::from_secs(1)));
        let call = shim.call_for("ADD", "one", "net1");
        let killed = call.timeout(Duration::from_millis(500)).run();
        assert!(killed.timed_out, "{killed}");
        assert_eq!(records().len(), 1);
        // Docker has the container locked until it is done.
        shim.call_for("DEL", "one", "net1").run().expect_silent_ok();
        assert_eq!(driver.endpoints(), [], "{method}");
        assert!(!is_connected(&dockerd, "one", "remote"), "{method}");
        assert!(records().is_empty());
        driver.clear_faults();
    }
    before.assert_unchanged(&world, &netns);
}

/// Docker is slower than the caller is patient: it goes on, and whoever comes next finds that out.
#[test]
fn an_add_that_gives_up_is_finished_by_del() {
    let world = World::new();
    let driver = Driver::named("tenon").start();
    let dockerd = start_remote(&world);
    let netns = dockerd.netns("one");
    let before = Before::of(&world, &netns);
    let shim = Shim::new(&dockerd, "remote").with(json!({"timeout": "500ms"}));
    driver.fault(Method::Join, Fault::slow_to_work(Duration::from_secs(2)));
    let error = shim.try_add("one", "net1").expect_error(11);
    let text = error["details"].as_str().unwrap();
    assert!(
        text.contains("could not take the connection back"),
        "{error}"
    );
    assert_eq!(records().len(), 1);
    wait_for("the driver", Duration::from_secs(5), || {
        is_connected(&dockerd, "one", "remote")
    });
    driver.clear_faults();
    shim.call_for("DEL", "one", "net1").run().expect_silent_ok();
    assert_eq!(driver.endpoints(), []);
    assert!(records().is_empty());
    before.assert_unchanged(&world, &netns);
}
