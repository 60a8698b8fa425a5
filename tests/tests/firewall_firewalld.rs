//! The firewall plugin with Debian's firewalld on a bus of its own.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use cni_testkit::{Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::chain::{Chain, outer_world};
use tenon_tests::differences::differs;
use tenon_tests::firewalld::Bus;
use tenon_tests::network::Network;

const SUBNETS: [&str; 2] = ["10.97.0.0/24", "fd97::/64"];
const OUTER: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

cni_testkit::suites! {
    addresses_are_sources_of_the_zone => |suite| sources(suite, &json!({"backend": "firewalld"}), "trusted");
    firewalld_is_chosen_where_it_runs => |suite| sources(suite, &json!({}), "trusted");
    the_zone_can_be_another_one => |suite| {
        sources(suite, &json!({"backend": "firewalld", "firewalldZone": "internal"}), "internal");
    };
    a_bus_without_firewalld_is_not_firewalld => |suite| bus_alone(suite);
    packets_get_through => |suite| traffic(suite);
    check_takes_no_for_no => |suite| check(suite);
    a_zone_that_does_not_exist_is_refused => |suite| no_zone(suite);
    a_second_add_is_fine => |suite| second_add(suite);
}

fn chain<'a>(suite: &'a Suite, world: &World, keys: &Value) -> Chain<'a> {
    Chain::new(suite, world, "tenon0", &SUBNETS, keys.clone())
}

fn firewalld() -> Value {
    json!({"backend": "firewalld"})
}

fn sources_of(bus: &Bus<'_>, zone: &str) -> String {
    bus.firewall_cmd(&[&format!("--zone={zone}"), "--list-sources"])
}

fn sources(suite: &Suite, keys: &Value, zone: &str) {
    let world = World::new();
    let bus = Bus::with_firewalld(&world);
    let c1 = world.container("c1");
    let link = chain(suite, &world, keys).add("c1", &c1);
    assert_eq!(sources_of(&bus, zone), "10.97.0.2/32 fd97::2/128");
    link.firewall.check_ok();
    for _twice in 0..2 {
        link.firewall.del_ok();
        assert_eq!(sources_of(&bus, zone), "");
    }
}

fn bus_alone(suite: &Suite) {
    let world = World::new();
    let _bus = Bus::start(&world);
    let c1 = world.container("c1");
    chain(suite, &world, &json!({})).add("c1", &c1);
    let saved = world.host().command("iptables-save", &["-t", "filter"]);
    assert!(
        saved.contains("-A CNI-FORWARD -s 10.97.0.2/32 -j ACCEPT"),
        "{saved}"
    );
}

/// firewalld rejects what is forwarded between its default zone and itself.
fn traffic(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let _outer = outer_world(&world, &SUBNETS);
    let chain = chain(suite, &world, &firewalld());
    let joined = chain.join("c1", &c1);
    let _bus = Bus::with_firewalld(&world);
    for address in OUTER {
        assert!(!c1.ping_within(address, 1), "{address}");
    }
    let opened = chain.open(&joined, "c1", &c1);
    for address in OUTER {
        assert!(c1.ping(address), "{address}");
    }
    opened.del_ok();
    for address in OUTER {
        assert!(!c1.ping_within(address, 1), "{address}");
    }
}

fn check(suite: &Suite) {
    let world = World::new();
    let bus = Bus::with_firewalld(&world);
    let c1 = world.container("c1");
    let link = chain(suite, &world, &firewalld()).add("c1", &c1);
    bus.firewall_cmd(&["--zone=trusted", "--remove-source=fd97::2/128"]);
    let checked = link.firewall.check();
    if differs(suite, "firewall-check") {
        checked.expect_silent_ok();
    } else {
        let error = checked.expect_error(103);
        assert_eq!(
            error["msg"],
            "failed to find the address fd97::2/128 in trusted zone"
        );
    }
    // What is gone is gone.
    link.firewall.del_ok();
    assert_eq!(sources_of(&bus, "trusted"), "");
}

fn no_zone(suite: &Suite) {
    let world = World::new();
    let bus = Bus::with_firewalld(&world);
    let c1 = world.container("c1");
    let keys = json!({"backend": "firewalld", "firewalldZone": "nowhere"});
    let chain = chain(suite, &world, &keys);
    let joined = chain.join("c1", &c1);
    let before = world.snapshot();
    let error = chain.try_open(&joined, "c1", &c1).expect_any_error();
    let message = error["msg"].as_str().unwrap();
    assert!(
        message.starts_with("failed to add the address 10.97.0.2/32 to nowhere zone"),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("INVALID_ZONE"), "{text}");
    if !differs(suite, "failed-add") {
        before.assert_unchanged(&world.snapshot());
    }
    assert_eq!(sources_of(&bus, "trusted"), "");
}

fn second_add(suite: &Suite) {
    let world = World::new();
    let bus = Bus::with_firewalld(&world);
    let c1 = world.container("c1");
    let chain = chain(suite, &world, &firewalld());
    let link = chain.add("c1", &c1);
    // ZONE_ALREADY_SET
    chain.open(&link.bridge, "c1", &c1);
    assert_eq!(sources_of(&bus, "trusted"), "10.97.0.2/32 fd97::2/128");
}

#[test]
fn del_knows_the_sources_without_a_result_and_in_whatever_zone() {
    let suite = Suite::ours();
    for edited in [
        json!({"backend": "firewalld", "firewalldZone": "internal"}),
        json!({"backend": "iptables"}),
        json!({}),
    ] {
        let world = World::new();
        let bus = Bus::with_firewalld(&world);
        let c1 = world.container("c1");
        let chain = chain(&suite, &world, &firewalld());
        let joined = chain.join("c1", &c1);
        bus.use_zone("trusted");
        let before = world.snapshot();
        let opened = chain.open(&joined, "c1", &c1);
        let after_edit = chain.with(&edited);
        opened
            .of(after_edit.firewall())
            .with_result(Value::Null)
            .del_ok();
        assert_eq!(sources_of(&bus, "trusted"), "", "{edited}");
        before.assert_unchanged(&world.snapshot());
    }
}

#[test]
fn gc_keeps_the_valid() {
    let suite = Suite::ours();
    let world = World::new();
    let bus = Bus::with_firewalld(&world);
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let keys = json!({"backend": "firewalld", "ingressPolicy": "isolated", "cniVersion": "1.1.0"});
    let chain = chain(&suite, &world, &keys);
    let (first, second) = (chain.join("c1", &c1), chain.join("c2", &c2));
    bus.use_zone("trusted");
    let before = world.snapshot();
    chain.open(&first, "c1", &c1);
    let valid = chain.open(&second, "c2", &c2);
    let gc = |valid: &[(&str, &str)]| {
        let network = chain
            .firewall()
            .edited(|conf| conf.valid_attachments(valid));
        network.call("GC").run().expect_silent_ok();
    };
    gc(&[("c2", "eth0")]);
    assert_eq!(sources_of(&bus, "trusted"), "10.97.0.3/32 fd97::3/128");
    valid.check_ok();
    gc(&[]);
    assert_eq!(sources_of(&bus, "trusted"), "");
    before.assert_unchanged(&world.snapshot());
}

/// Each suite's DEL removes what the other one's ADD has made.
#[test]
fn either_suite_removes_the_sources_of_the_other_one() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for (one, other) in [(&ours, &reference), (&reference, &ours)] {
        let world = World::new();
        let bus = Bus::with_firewalld(&world);
        let c1 = world.container("c1");
        let made = chain(one, &world, &firewalld());
        let link = made.add("c1", &c1);
        let removed = made.through(other);
        let taken = link.firewall.of(removed.firewall());
        taken.check_ok();
        taken.del_ok();
        assert_eq!(sources_of(&bus, "trusted"), "");
    }
}

/// The second address is in the way: the first one has to come out again.
#[test]
fn a_failed_add_leaves_firewalld_as_it_was() {
    let suite = Suite::ours();
    let world = World::new();
    let bus = Bus::with_firewalld(&world);
    let c1 = world.container("c1");
    let keys = json!({"backend": "firewalld", "ingressPolicy": "isolated"});
    let chain = chain(&suite, &world, &keys);
    let joined = chain.join("c1", &c1);
    bus.use_zone("trusted");
    bus.firewall_cmd(&["--zone=drop", "--add-source=fd97::2/128"]);
    let before = world.snapshot();
    let error = chain.try_open(&joined, "c1", &c1).expect_error(120);
    let details = error["details"].as_str().unwrap();
    assert!(
        details.contains("ZONE_CONFLICT") && details.contains("--get-zone-of-source"),
        "{error}"
    );
    assert_eq!(sources_of(&bus, "trusted"), "");
    assert_eq!(sources_of(&bus, "drop"), "fd97::2/128");
    before.assert_unchanged(&world.snapshot());
    // Nor does a DEL take it from where somebody else has put it.
    chain
        .firewall()
        .call_for("DEL", "c1", &c1)
        .run()
        .expect_silent_ok();
    assert_eq!(sources_of(&bus, "drop"), "fd97::2/128");
}

#[test]
fn without_firewalld_add_fails_and_del_does_not() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let chain = chain(&suite, &world, &firewalld());
    let joined = chain.join("c1", &c1);
    let before = world.snapshot();
    let error = chain.try_open(&joined, "c1", &c1).expect_error(120);
    assert_eq!(error["msg"], "failed to reach firewalld");
    let with_result = chain
        .firewall()
        .edited(|conf| conf.prev_result(&joined.result));
    with_result
        .call_for("DEL", "c1", &c1)
        .run()
        .expect_silent_ok();
    let _bus = Bus::start(&world);
    let error = chain.try_open(&joined, "c1", &c1).expect_error(120);
    let details = error["details"].as_str().unwrap();
    assert!(
        details.contains("org.fedoraproject.FirewallD1"),
        "{details}"
    );
    with_result
        .call_for("DEL", "c1", &c1)
        .run()
        .expect_silent_ok();
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn status_looks_for_firewalld() {
    let suite = Suite::ours();
    let world = World::new();
    let status = || {
        let conf = conf::plugin("1.1.0", "firewall").with(firewalld());
        Network::new(&suite, conf).call("STATUS").run()
    };
    status().expect_error(50);
    let mut bus = Bus::start(&world);
    status().expect_error(50);
    bus.start_firewalld();
    status().expect_silent_ok();
}
