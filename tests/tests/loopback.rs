//! The loopback plugin.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use cni_testkit::{Netns, Snapshot, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{Network, has_flag};

const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    lo_comes_up_and_is_told => |suite| up(suite);
    lo_goes_down_with_del => |suite| down(suite);
    the_interfaces_name_does_not_matter => |suite| any_name(suite);
    a_prev_result_is_passed_on => |suite| prev_result(suite);
    an_address_that_is_not_of_loopback_is_refused => |suite| foreign_address(suite);
    check_finds_lo_down => |suite| check(suite);
    del_without_namespace_succeeds => |suite| no_namespace(suite);
}

fn network(suite: &Suite) -> Network<'_> {
    Network::new(suite, conf::plugin(VERSION, "loopback"))
}

/// As the kernel makes them.
fn with_lo_down(world: &World) -> Netns {
    let c1 = world.container("c1");
    c1.ip("link set lo down");
    c1
}

fn up(suite: &Suite) {
    let world = World::new();
    let c1 = with_lo_down(&world);
    let attached = network(suite).add_at("c1", &c1, "lo");
    assert!(has_flag(&c1, "lo", "UP"));
    assert!(c1.ping("127.0.0.1") && c1.ping("::1"));
    let expected = json!([{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": c1.path_str()}]);
    assert_eq!(attached.result["interfaces"], expected);
    let expected = json!([
        {"interface": 0, "address": "127.0.0.1/8"},
        {"interface": 0, "address": "::1/128"},
    ]);
    assert_eq!(attached.result["ips"], expected);
    attached.check_ok();
}

fn down(suite: &Suite) {
    let world = World::new();
    let c1 = with_lo_down(&world);
    let attached = network(suite).add_at("c1", &c1, "lo");
    attached.del_ok();
    assert!(!has_flag(&c1, "lo", "UP"));
    attached.del_ok();
}

fn any_name(suite: &Suite) {
    let world = World::new();
    let c1 = with_lo_down(&world);
    let attached = network(suite).add_at("c1", &c1, "eth0");
    assert!(has_flag(&c1, "lo", "UP"));
    assert_eq!(attached.interface(0)["name"], "lo");
}

fn prev_result(suite: &Suite) {
    let world = World::new();
    let c1 = with_lo_down(&world);
    let result = conf::result(VERSION, &c1, "eth0", "10.0.0.2/24");
    let network = network(suite).edited(|conf| conf.prev_result(&result));
    let told = network.add_at("c1", &c1, "lo").result;
    for key in ["cniVersion", "interfaces", "ips"] {
        assert_eq!(told[key], result[key], "{key}");
    }
    assert!(has_flag(&c1, "lo", "UP"));
}

fn foreign_address(suite: &Suite) {
    let world = World::new();
    let c1 = with_lo_down(&world);
    c1.ip("addr add 192.0.2.7/32 dev lo");
    let before = Snapshot::of(&c1);
    let outcome = network(suite).call("ADD").attachment("c1", &c1, "lo").run();
    let error = outcome.expect_any_error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("non-loopback address"),
        "{error}"
    );
    if !differs(suite, "failed-add") {
        outcome.expect_error(102);
        assert!(
            error["msg"].as_str().unwrap().contains("192.0.2.7"),
            "{error}"
        );
        before.assert_unchanged(&Snapshot::of(&c1));
    }
}

fn check(suite: &Suite) {
    let world = World::new();
    let c1 = with_lo_down(&world);
    let attached = network(suite).add_at("c1", &c1, "lo");
    c1.ip("link set lo down");
    let outcome = attached.check();
    let error = outcome.expect_any_error();
    assert!(error["msg"].as_str().unwrap().contains("down"), "{error}");
}

fn no_namespace(suite: &Suite) {
    let world = World::new();
    let c1 = with_lo_down(&world);
    let attached = network(suite).add_at("c1", &c1, "lo");
    attached.with_netns("").del_ok();
    attached
        .with_result(Value::Null)
        .with_netns("/run/netns/missing")
        .del_ok();
    drop(c1);
    attached.del_ok();
}

#[test]
fn nothing_that_is_no_namespace_is_entered() {
    let suite = Suite::ours();
    let world = World::new();
    let plain = world.file("plain", "");
    let c1 = world.container("c1");
    let attached = network(&suite).add_at("c1", &c1, "lo");
    for path in ["/run/netns/missing", plain.to_str().unwrap()] {
        let call = network(&suite)
            .call("ADD")
            .attachment("c1", &c1, "lo")
            .netns(path);
        let error = call.run().expect_error(8);
        assert!(error.to_string().contains(path), "{error}");
    }
    attached.with_netns(plain.to_str().unwrap()).del_ok();
}
