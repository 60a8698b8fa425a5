//! `cnm-shim`: CHECK, GC and STATUS over a driver.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cni_testkit::{Fakes, Netns, conf};
use serde_json::{Value, json};
use tenon_tests::cnm::driver::{Fault, Method, RemovedAt, Route};
use tenon_tests::cnm::shim::{RECORDS, Shim, dual_stack, records, sandbox_paths};
use tenon_tests::network::{Attached, Network};

/// Something that happens to an attachment, and the words that CHECK has to say about it.
type Mutation = (fn(&Shim, &Netns, &Attached<'_>), &'static [&'static str]);

const MUTATIONS: &[Mutation] = &[
    (
        |_, c1, _| drop(c1.ip("link set eth0 down")),
        &["eth0", "down"],
    ),
    (
        |_, c1, _| drop(c1.ip("link del eth0")),
        &["eth0", "missing"],
    ),
    (
        |_, c1, _| {
            c1.ip("link set eth0 down");
            c1.ip("link set eth0 name other0");
            c1.ip("link set other0 up");
        },
        &["eth0", "missing"],
    ),
    (
        |_, c1, _| drop(c1.ip("link set eth0 address 02:00:00:00:00:99")),
        &["eth0", "02:00:00:00:00:99"],
    ),
    (
        |_, c1, _| drop(c1.ip("addr del 10.77.0.2/24 dev eth0")),
        &["eth0", "10.77.0.2/24"],
    ),
    (
        |_, c1, _| drop(c1.ip("addr del fd77::2/64 dev eth0")),
        &["eth0", "fd77::2/64"],
    ),
    (|_, c1, _| drop(c1.ip("route del default")), &["0.0.0.0/0"]),
    (|_, c1, _| drop(c1.ip("-6 route del default")), &["::/0"]),
    (
        |_, c1, _| drop(c1.ip("route del 10.5.0.0/16")),
        &["10.5.0.0/16"],
    ),
    (
        |_, c1, _| drop(c1.ip("route del 10.6.0.0/16")),
        &["10.6.0.0/16"],
    ),
    (
        |_, c1, _| drop(c1.ip("route replace 10.6.0.0/16 via 10.77.0.9")),
        &["10.6.0.0/16"],
    ),
    (
        |shim, _, attached| {
            let host = shim.world.host();
            host.ip(&format!("link set {} nomaster", attached.host_end()));
        },
        &["interface th", "not a port of tb"],
    ),
    (
        |shim, _, attached| {
            let host = shim.world.host();
            host.ip(&format!("link set {} down", attached.host_end()));
        },
        &["interface th", "down"],
    ),
    (
        |shim, _, _| shim.driver.restart_without_memory(),
        &["NetworkDriver.EndpointOperInfo", "no endpoint"],
    ),
    (
        |shim, _, _| shim.driver.die(),
        &["network driver tenon", "cannot be reached"],
    ),
    (
        |shim, _, _| {
            shim.driver
                .fault(Method::EndpointOperInfo, Fault::err("it is broken"));
        },
        &["it is broken"],
    ),
    (
        |_, _, _| fs::remove_file(record("endpoints")).unwrap(),
        &["has no endpoint"],
    ),
    (
        |_, _, _| fs::remove_file(record("network.json")).unwrap(),
        &["is lost"],
    ),
];

/// The path of a network's record, or of its one endpoint's.
fn record(kind: &str) -> String {
    records()
        .into_iter()
        .find(|path| path.contains(kind))
        .unwrap()
}

fn machine() -> Shim {
    Shim::with(|driver| {
        driver.style(|style| {
            style.routes = vec![
                Route::connected("10.5.0.0/16"),
                Route::via("10.6.0.0/16", "10.77.0.1"),
            ];
        })
    })
}

fn network(shim: &Shim) -> Network<'_> {
    let keys = conf::Conf(dual_stack()).with(json!({"cniVersion": "1.1.0", "timeout": 4}));
    shim.network(keys.0)
}

#[test]
fn what_was_just_added_is_found() {
    let shim = machine();
    let c1 = shim.world.container("c1");
    let attached = network(&shim).add("c1", &c1);
    let before = shim.state(&c1);
    attached.check_ok();
    attached.check_ok();
    before.assert_same(&shim.state(&c1), "CHECK");
    // What a driver says of its endpoints is its own business.
    for answer in [
        Fault::null(),
        Fault::saying(r#"{"Value": null}"#),
        Fault::not_found(),
    ] {
        shim.driver.fault(Method::EndpointOperInfo, answer);
        attached.check_ok();
        shim.driver.clear_faults();
    }
    attached.del_ok();
    shim.assert_nothing_left();
}

#[test]
fn every_change_is_found() {
    for (happen, words) in MUTATIONS {
        let shim = machine();
        let c1 = shim.world.container("c1");
        let attached = network(&shim).add("c1", &c1);
        happen(&shim, &c1, &attached);
        let outcome = attached.check();
        let error = outcome.expect_any_error();
        let text = format!("{} {}", error["msg"], error["details"]);
        for word in *words {
            assert!(text.contains(word), "no {word:?} in\n{outcome}");
        }
    }
}

/// What came after may have been added by others.
#[test]
fn what_was_added_since_is_no_difference() {
    let shim = machine();
    let c1 = shim.world.container("c1");
    let attached = network(&shim).add("c1", &c1);
    for more in [
        "addr add 10.77.0.200/24 dev eth0",
        "route add 192.0.2.0/24 via 10.77.0.1",
        "link add more0 type bridge",
        "link set eth0 txqueuelen 77",
    ] {
        c1.ip(more);
    }
    attached.check_ok();
}

#[test]
fn a_check_needs_a_result_and_a_whole_attachment() {
    let shim = machine();
    let c1 = shim.world.container("c1");
    let attached = network(&shim).add("c1", &c1);
    let error = attached.with_result(Value::Null).check().expect_error(7);
    assert_eq!(error["msg"], "Required prevResult missing");
    let unchecked = attached
        .network()
        .edited(|conf| conf.with(json!({"checkDriver": false})));
    shim.driver.die();
    attached.of(&unchecked).check_ok();
    attached.check().expect_error(11);
    // A DEL that could not be finished.
    attached.del().expect_error(11);
    let error = attached.check().expect_error(103);
    assert!(
        error["msg"].as_str().unwrap().contains("half removed"),
        "{error}"
    );
    shim.driver.revive();
    attached.del_ok();
    shim.assert_nothing_left();
}

/// A CNI plugin that gives the addresses has its say.
#[test]
fn a_lost_lease_is_found() {
    let shim = machine();
    let fakes = Fakes::new(&shim.world);
    let c1 = shim.world.container("c1");
    let keys = json!({"ipamDriver": "", "subnet": "", "ipam": {"type": "ipam"}});
    let network = shim.network(keys);
    let result = cni_testkit::fakes::ipam_result("1.0.0", "10.77.0.2/24", "10.77.0.1");
    fakes.answering("ipam", &result);
    let add = network.call_for("ADD", "c1", &c1).path_first(&fakes.dir());
    let result = add.run().expect_ok().json();
    let conf = network.conf().clone().prev_result(&result);
    let check = network.call_for("CHECK", "c1", &c1).conf(&conf);
    let check = check.path_first(&fakes.dir());
    check.run().expect_silent_ok();
    fakes.failing("ipam", 77, "the lease is gone");
    let error = check.run().expect_error(77);
    assert_eq!(error["msg"], "the lease is gone");
}

fn gc(network: &Network<'_>, valid: &[(&str, &str)]) {
    let network = network.edited(|conf| conf.valid_attachments(valid));
    network.call("GC").run().expect_silent_ok();
}

#[test]
fn what_is_not_valid_goes_and_the_rest_works_on() {
    for removed_at in [
        RemovedAt::DeleteEndpoint,
        RemovedAt::Leave,
        RemovedAt::Never,
    ] {
        let shim = Shim::with(|driver| driver.style(|style| style.removed_at = removed_at));
        let [c1, c2, c3] = ["c1", "c2", "c3"].map(|name| shim.world.container(name));
        let docker = json!({"cniVersion": "1.1.0", "sandboxKeyStyle": "docker"});
        let network = shim.network(docker);
        let valid = network.add("c1", &c1);
        let second = network.add_at("c1", &c1, "eth1");
        let (crashed, _alive) = (network.add("c2", &c2), network.add("c3", &c3));
        drop(c2);
        gc(&network, &[("c1", "eth0")]);
        assert_eq!(shim.driver.endpoints().len(), 1);
        assert_eq!(shim.driver.reserved(), ["10.77.0.1", "10.77.0.2"]);
        assert_eq!(c1.link_names(), ["lo", "eth0"]);
        assert_eq!(c3.link_names(), ["lo"]);
        assert_eq!(records().len(), 2, "{:?}", records());
        assert_eq!(sandbox_paths().len(), 1, "{:?}", sandbox_paths());
        valid.check_ok();
        assert!(c1.ping("10.77.0.1"));
        let before = shim.state(&c1);
        gc(&network, &[("c1", "eth0")]);
        before.assert_same(&shim.state(&c1), "a second GC");
        crashed.del_ok();
        second.del_ok();
        gc(&network, &[]);
        assert_eq!(c1.link_names(), ["lo"]);
        shim.assert_nothing_left();
    }
}

/// GC is of one network, whatever others have left.
#[test]
fn other_networks_stay() {
    let shim = Shim::new();
    let [c1, c2] = ["c1", "c2"].map(|name| shim.world.container(name));
    let other = json!({"cniVersion": "1.1.0", "name": "other", "subnet": "10.78.0.0/24"});
    let stays = shim
        .network(other)
        .edited(|conf| conf.without("removeNetworkWhenUnused"));
    let theirs = stays.add("c1", &c1);
    let ours = shim.network(json!({"cniVersion": "1.1.0"}));
    ours.add("c2", &c2);
    gc(&ours, &[]);
    assert_eq!(c2.link_names(), ["lo"]);
    assert_eq!(
        shim.driver.networks().len(),
        1,
        "{:?}",
        shim.driver.networks()
    );
    theirs.check_ok();
    // Unused, it stays too: its own config does not say that it goes.
    theirs.del_ok();
    gc(&ours, &[]);
    assert_eq!(
        shim.driver.networks().len(),
        1,
        "{:?}",
        shim.driver.networks()
    );
    gc(&stays, &[]);
    assert_eq!(
        shim.driver.networks().len(),
        1,
        "{:?}",
        shim.driver.networks()
    );
    gc(
        &stays.edited(|conf| conf.with(json!({"removeNetworkWhenUnused": true}))),
        &[],
    );
    shim.assert_nothing_left();
}

/// Two CNI networks on one of Docker's: each collects its own.
#[test]
fn a_shared_network_is_collected_by_halves() {
    let shim = Shim::new();
    let [c1, c2] = ["c1", "c2"].map(|name| shim.world.container(name));
    let [one, two] = ["one", "two"].map(|name| {
        shim.network(json!({"cniVersion": "1.1.0", "name": name, "network": "shared"}))
    });
    one.add("c1", &c1);
    let theirs = two.add("c2", &c2);
    gc(&one, &[]);
    assert_eq!(c1.link_names(), ["lo"]);
    theirs.check_ok();
    gc(&two, &[]);
    shim.assert_nothing_left();
}

#[test]
fn a_gc_asks_the_ipam_plugin_too() {
    let shim = Shim::new();
    let c1 = shim.world.container("c1");
    let ipam = json!({"type": "host-local", "dataDir": shim.world.data_dir(),
        "ranges": [[{"subnet": "10.80.0.0/24"}]]});
    let keys = json!({"cniVersion": "1.1.0", "ipamDriver": "", "subnet": "", "ipam": ipam});
    let network = shim.network(keys);
    network.add("c1", &c1);
    let lease = shim.world.data_dir().join(conf::NETWORK).join("10.80.0.2");
    assert!(lease.exists());
    gc(&network, &[("c1", "eth0")]);
    assert!(lease.exists());
    gc(&network, &[]);
    assert!(!lease.exists());
    shim.driver.assert_empty();
}

/// A record that cannot be read is told, and in nobody's way.
#[test]
fn a_broken_record_is_put_aside() {
    let shim = Shim::new();
    let [c1, c2] = ["c1", "c2"].map(|name| shim.world.container(name));
    let network = shim.network(json!({"cniVersion": "1.1.0"}));
    let broken = network.add("c1", &c1);
    let path = record("endpoints");
    let other = network.add("c2", &c2);
    fs::write(&path, "{").unwrap();
    let error = broken.check().expect_error(6);
    assert!(error["msg"].as_str().unwrap().contains(&path), "{error}");
    let collecting = network.edited(|conf| conf.valid_attachments(&[]));
    let error = collecting.call("GC").run().expect_any_error();
    assert!(error.to_string().contains(&path), "{error}");
    assert_eq!(c2.link_names(), ["lo"], "the others are collected");
    other.del_ok();
    let outcome = broken.del().expect_silent_ok();
    assert!(outcome.stderr.contains(".json.broken"), "{outcome}");
    assert!(Path::new(&format!("{path}.broken")).exists());
}

fn status(shim: &Shim, keys: Value) -> cni_testkit::Outcome {
    let keys = conf::Conf(keys).with(json!({"cniVersion": "1.1.0"}));
    shim.network(keys.0).call("STATUS").run()
}

#[test]
fn status_tells_whether_an_add_would_work() {
    let shim = Shim::new();
    status(&shim, json!({})).expect_silent_ok();
    assert!(!Path::new(RECORDS).exists(), "STATUS makes nothing");
    for (keys, words) in [
        (
            json!({"driver": "absent"}),
            "there is no plugin of that name",
        ),
        (
            json!({"ipamDriver": "absent"}),
            "there is no plugin of that name",
        ),
        (
            json!({"driverURL": "unix:///run/nobody.sock"}),
            "/run/nobody.sock",
        ),
        (
            json!({"ipamDriver": "", "ipam": {"type": "absent"}}),
            "absent",
        ),
    ] {
        let start = Instant::now();
        let error = status(&shim, keys).expect_error(50);
        assert!(error.to_string().contains(words), "{error}");
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "nobody is waited for"
        );
    }
    shim.driver
        .capabilities(|can| can.implements.retain(|name| name != "IpamDriver"));
    let error = status(&shim, json!({})).expect_error(50);
    assert!(error.to_string().contains("does not implement"), "{error}");
    shim.driver.die();
    let error = status(&shim, json!({})).expect_error(50);
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[test]
fn status_does_not_wait_for_a_driver_that_hangs() {
    let shim = Shim::new();
    for method in [
        Method::Activate,
        Method::GetCapabilities,
        Method::IpamGetCapabilities,
    ] {
        shim.driver.fault(method, Fault::hang());
        let start = Instant::now();
        let error = status(&shim, json!({})).expect_error(50);
        assert!(error.to_string().contains("did not answer"), "{error}");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
        shim.driver.clear_faults();
    }
    status(&shim, json!({})).expect_silent_ok();
}
