//! CHECK of the bridge plugin: finds everything right after ADD, and anything that changed later.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;

use cni_testkit::{Netns, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{Attached, Network};

const V4: &str = "10.84.0.0/24";
const V6: &str = "fd84::/64";
const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    what_was_just_added_is_found => |suite| just_added(suite);
    without_a_prev_result_there_is_nothing_to_compare => |suite| no_prev_result(suite);
    a_missing_address_is_found => |suite| mutate(suite, &json!({}), &ADDRESS_GONE);
    a_missing_route_is_found => |suite| mutate(suite, &json!({}), &ROUTE_GONE);
    a_changed_mac_is_found => |suite| mutate(suite, &json!({}), &MAC_CHANGED);
    a_missing_interface_is_found => |suite| mutate(suite, &json!({}), &INTERFACE_GONE);
    a_missing_bridge_is_found => |suite| mutate(suite, &json!({}), &BRIDGE_GONE);
    a_port_taken_from_the_bridge_is_found => |suite| mutate(suite, &json!({}), &PORT_TAKEN);
    a_bridge_that_is_not_promiscuous_is_found => |suite| mutate(suite, &json!({"promiscMode": true}), &PROMISC_OFF);
    a_missing_lease_is_found => |suite| missing_lease(suite);
    a_later_plugin_may_have_changed_things => |suite| changed_by_others(suite);
}

/// Something that happens to an attachment, and the words that CHECK has to say about it.
struct Mutation {
    happen: fn(&World, &Netns, &Attached<'_>),
    names: &'static [&'static str],
}

const ADDRESS_GONE: Mutation = Mutation {
    happen: |_, c1, _| drop(c1.ip("addr del 10.84.0.2/24 dev eth0")),
    names: &["10.84.0.2", "eth0"],
};
const ROUTE_GONE: Mutation = Mutation {
    happen: |_, c1, _| drop(c1.ip("route del 192.0.2.0/24")),
    names: &["192.0.2.0/24"],
};
const MAC_CHANGED: Mutation = Mutation {
    happen: |_, c1, _| drop(c1.ip("link set eth0 address 02:00:00:00:00:99")),
    names: &["eth0", "02:00:00:00:00:99"],
};
const INTERFACE_GONE: Mutation = Mutation {
    happen: |_, c1, _| drop(c1.ip("link del eth0")),
    names: &["eth0"],
};
const BRIDGE_GONE: Mutation = Mutation {
    happen: |world, _, _| drop(world.host().ip("link del tenon0")),
    names: &["tenon0"],
};
const PORT_TAKEN: Mutation = Mutation {
    happen: |world, _, attached| {
        world
            .host()
            .ip(&format!("link set {} nomaster", attached.host_end()));
    },
    names: &["veth", "tenon0"],
};
const PROMISC_OFF: Mutation = Mutation {
    happen: |world, _, _| drop(world.host().ip("link set tenon0 promisc off")),
    names: &["tenon0", "promisc"],
};
const LEASE_GONE: Mutation = Mutation {
    happen: |world, _, _| fs::remove_file(lease(world)).unwrap(),
    names: &["address added by container c1"],
};

fn lease(world: &World) -> std::path::PathBuf {
    world.data_dir().join("tenon-net/10.84.0.2")
}

fn network<'a>(suite: &'a Suite, world: &World, keys: &Value) -> Network<'a> {
    let ipam = conf::host_local(world, &[V4, V6]);
    let conf = conf::bridge(VERSION).ipam(ipam);
    let listed = json!({"routes": [{"dst": "192.0.2.0/24", "gw": "10.84.0.9"}]});
    Network::new(suite, conf.with_ipam(listed).with(keys.clone()))
}

fn just_added(suite: &Suite) {
    let mut features = vec![
        json!({}),
        json!({"isDefaultGateway": false}),
        json!({"isDefaultGateway": false, "isGateway": true}),
        json!({"hairpinMode": true}),
        json!({"promiscMode": true}),
        json!({"mtu": 1400}),
        json!({"enabledad": true}),
        json!({"macspoofchk": true}),
        json!({"ipMasq": true}),
        json!({"forceAddress": true}),
        json!({"runtimeConfig": {"mac": "02:00:00:00:00:07"}}),
        json!({"dns": {"nameservers": ["192.0.2.1"]}}),
    ];
    if !differs(suite, "new-keys") {
        features.extend([
            json!({"portIsolation": true}),
            json!({"ipMasq": true, "ipMasqBackend": "nftables"}),
            json!({"ipMasq": true, "ipMasqBackend": "iptables"}),
            json!({"ipMasq": true, "macspoofchk": true, "hairpinMode": true, "cniVersion": "1.1.0"}),
        ]);
    }
    for version in ["0.4.0", VERSION] {
        for keys in &features {
            let world = World::new();
            let c1 = world.container("c1");
            let network = network(suite, &world, &json!({"cniVersion": version}))
                .edited(|conf| conf.with(keys.clone()));
            let attached = network.add("c1", &c1);
            let before = world.snapshot();
            attached.check_ok();
            attached.check_ok();
            before.assert_unchanged(&world.snapshot());
        }
    }
}

fn no_prev_result(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world, &json!({})).add("c1", &c1);
    let outcome = attached.with_result(Value::Null).check();
    let error = outcome.expect_any_error();
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("prevResult missing"),
        "{error}"
    );
    if !differs(suite, "error-codes") {
        outcome.expect_error(7);
    }
    let rubbish = attached
        .with_result(json!({"cniVersion": VERSION, "ips": "none"}))
        .check();
    rubbish.expect_any_error();
    if !differs(suite, "error-codes") {
        rubbish.expect_error(6);
    }
}

/// Adds, lets it happen, and reads what CHECK says about it.
fn mutate(suite: &Suite, keys: &Value, mutation: &Mutation) {
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let network = network(suite, &world, keys);
    let attached = network.add("c1", &c1);
    let bystander = network.add("c2", &c2);
    attached.check_ok();
    (mutation.happen)(&world, &c1, &attached);
    let outcome = attached.check();
    let error = outcome.expect_any_error();
    if !differs(suite, "error-codes") {
        outcome.expect_error(103);
        let text = format!("{} {}", error["msg"], error["details"]);
        for name in mutation.names {
            assert!(text.contains(name), "no {name:?} in\n{outcome}");
        }
    }
    if world.host().link("tenon0").is_some() && !keys["promiscMode"].is_boolean() {
        bystander.check_ok();
    }
    attached.del_ok();
}

/// The reference is content with any lease of the attachment, here that of the other family.
fn missing_lease(suite: &Suite) {
    if !differs(suite, "check-lease") {
        return mutate(suite, &json!({}), &LEASE_GONE);
    }
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world, &json!({})).add("c1", &c1);
    (LEASE_GONE.happen)(&world, &c1, &attached);
    attached.check_ok();
    fs::remove_file(world.data_dir().join("tenon-net/fd84::2")).unwrap();
    attached.check().expect_any_error();
}

/// "must tolerate later plugins of the chain": another default route, more addresses and routes.
fn changed_by_others(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world, &json!({})).add("c1", &c1);
    c1.ip("route replace default via 10.84.0.77");
    c1.ip("addr add 198.51.100.7/24 dev eth0");
    c1.ip("route add 203.0.113.0/24 via 10.84.0.9");
    c1.ip("link set eth0 mtu 1300");
    attached.check_ok();
}

/// What the reference does not look at: the gateway and the lease.
#[test]
fn what_the_gateway_lost_is_found() {
    expect_found(&[
        (
            json!({}),
            Mutation {
                happen: |world, _, _| drop(world.host().ip("addr del 10.84.0.1/24 dev tenon0")),
                names: &["10.84.0.1", "tenon0"],
            },
        ),
        (
            json!({}),
            Mutation {
                happen: |world, _, _| drop(world.host().ip("addr del fd84::1/64 dev tenon0")),
                names: &["fd84::1", "tenon0"],
            },
        ),
        (
            json!({}),
            Mutation {
                happen: |world, _, _| world.host().set_sysctl("net/ipv4/ip_forward", "0"),
                names: &["ip_forward"],
            },
        ),
        (
            json!({}),
            Mutation {
                happen: |world, _, _| fs::write(lease(world), "c9\r\neth0").unwrap(),
                names: &["10.84.0.2"],
            },
        ),
    ]);
}

/// What the reference does not look at: the port's flags.
#[test]
fn changed_port_flags_are_found() {
    expect_found(&[
        (
            json!({"hairpinMode": true}),
            Mutation {
                happen: |world, _, attached| set_port(world, attached, "hairpin off"),
                names: &["hairpin", "veth"],
            },
        ),
        (
            json!({}),
            Mutation {
                happen: |world, _, attached| set_port(world, attached, "hairpin on"),
                names: &["hairpin", "veth"],
            },
        ),
        (
            json!({"portIsolation": true}),
            Mutation {
                happen: |world, _, attached| set_port(world, attached, "isolated off"),
                names: &["portIsolation", "veth"],
            },
        ),
    ]);
}

/// What the reference does not look at: links that are down.
#[test]
fn links_that_are_down_are_found() {
    expect_found(&[
        (
            json!({}),
            Mutation {
                happen: |_, c1, _| drop(c1.ip("link set eth0 down")),
                names: &["eth0", "down"],
            },
        ),
        (
            json!({}),
            Mutation {
                happen: |world, _, attached| {
                    world
                        .host()
                        .ip(&format!("link set {} down", attached.host_end()));
                },
                names: &["veth", "down"],
            },
        ),
        (
            json!({}),
            Mutation {
                happen: |world, _, _| drop(world.host().ip("link set tenon0 down")),
                names: &["tenon0", "down"],
            },
        ),
    ]);
}

/// What the reference does not look at: the host's MAC addresses.
#[test]
fn changed_mac_addresses_on_the_host_are_found() {
    expect_found(&[
        (
            json!({}),
            Mutation {
                happen: |world, _, attached| {
                    let end = attached.host_end();
                    world
                        .host()
                        .ip(&format!("link set {end} address 02:00:00:00:00:98"));
                },
                names: &["veth", "02:00:00:00:00:98"],
            },
        ),
        (
            json!({}),
            Mutation {
                happen: |world, _, _| {
                    world.host().ip("link set tenon0 address 02:00:00:00:00:97");
                },
                names: &["tenon0", "02:00:00:00:00:97"],
            },
        ),
    ]);
}

fn expect_found(rows: &[(Value, Mutation)]) {
    let suite = Suite::ours();
    for (keys, mutation) in rows {
        let world = World::new();
        let c1 = world.container("c1");
        let attached = network(&suite, &world, keys).add("c1", &c1);
        attached.check_ok();
        (mutation.happen)(&world, &c1, &attached);
        expect_named(&attached, mutation.names);
    }
}

fn set_port(world: &World, attached: &Attached<'_>, words: &str) {
    let end = attached.host_end();
    world
        .host()
        .ip(&format!("link set {end} type bridge_slave {words}"));
}

/// CHECK fails with one error that has these words.
#[track_caller]
fn expect_named(attached: &Attached<'_>, names: &[&str]) {
    let outcome = attached.check();
    let error = outcome.expect_error(103);
    let text = format!("{} {}", error["msg"], error["details"]);
    for name in names {
        assert!(text.contains(name), "no {name:?} in\n{outcome}");
    }
}

/// Each rule, chain, element and table that is ours, deleted one by one.
#[test]
fn every_part_of_the_packet_filter_is_looked_at() {
    let suite = Suite::ours();
    for keys in [
        json!({"ipMasq": true}),
        json!({"macspoofchk": true}),
        json!({"ipMasq": true, "ipMasqBackend": "iptables"}),
    ] {
        let parts = {
            let world = World::new();
            let c1 = world.container("c1");
            network(&suite, &world, &keys).add("c1", &c1);
            deletions(&world)
        };
        assert!(parts.len() >= 2, "{parts:?}");
        for part in parts {
            let world = World::new();
            let c1 = world.container("c1");
            let attached = network(&suite, &world, &keys).add("c1", &c1);
            attached.check_ok();
            world.host().command("nft", &[&part]);
            let outcome = attached.check();
            assert_ne!(outcome.code, 0, "`nft {part}` is not noticed with {keys}");
            let error = outcome.expect_error(103);
            let text = format!("{} {}", error["msg"], error["details"]);
            assert!(
                text.contains("masquerade") || text.contains("spoof"),
                "{error}"
            );
            attached.del_ok();
        }
    }
}

/// nft commands, each of which takes one rule or all elements of one set or map away, or a table.
fn deletions(world: &World) -> Vec<String> {
    let text = world
        .host()
        .command("nft", &["-j", "-a", "list", "ruleset"]);
    let ruleset: Value = serde_json::from_str(&text).unwrap();
    let mut commands = Vec::new();
    for object in ruleset["nftables"].as_array().unwrap() {
        let place = |kind: &str, name: &str| {
            let described = &object[kind];
            let text_of = |key: &str| described[key].as_str().unwrap().to_owned();
            format!(
                "{} {} {}",
                text_of("family"),
                text_of("table"),
                text_of(name)
            )
        };
        if object["rule"].is_object() {
            let handle = &object["rule"]["handle"];
            commands.push(format!(
                "delete rule {} handle {handle}",
                place("rule", "chain")
            ));
        }
        for kind in ["set", "map"] {
            if object[kind]["elem"].is_array() {
                commands.push(format!("flush {kind} {}", place(kind, "name")));
            }
        }
        if let Some(table) = object["table"].as_object() {
            let (family, name) = (
                table["family"].as_str().unwrap(),
                table["name"].as_str().unwrap(),
            );
            commands.push(format!("delete table {family} {name}"));
        }
    }
    commands
}

/// Several differences are told at once.
#[test]
fn all_differences_are_in_one_error() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(&suite, &world, &json!({})).add("c1", &c1);
    c1.ip("addr del fd84::2/64 dev eth0");
    c1.ip("link set eth0 address 02:00:00:00:00:99");
    world.host().ip("addr del 10.84.0.1/24 dev tenon0");
    expect_named(&attached, &["fd84::2", "02:00:00:00:00:99", "10.84.0.1"]);
}

/// Link-local traces of the kernel are no difference: a router that the container made itself.
#[test]
fn check_of_a_bare_switch_looks_at_its_links() {
    let suite = Suite::ours();
    let conf = conf::plugin("1.1.0", "bridge").with(json!({"bridge": "tenon0"}));
    for keys in [json!({}), json!({"disableContainerInterface": true})] {
        let world = World::new();
        let c1 = world.container("c1");
        let network = Network::new(&suite, conf.clone().with(keys));
        let attached = network.add("c1", &c1);
        attached.check_ok();
        world
            .host()
            .ip(&format!("link set {} nomaster", attached.host_end()));
        expect_named(&attached, &["tenon0", attached.host_end()]);
        c1.ip("link del eth0");
        expect_named(&attached, &["eth0"]);
    }
}

/// Leases of an attachment are its own business, whatever else its network has.
#[test]
fn a_namespace_that_is_gone_is_named() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(&suite, &world, &json!({})).add("c1", &c1);
    drop(c1);
    let error = attached.check().expect_any_error();
    let text = format!("{} {}", error["msg"], error["details"]);
    assert!(text.contains("/run/netns/c1"), "{error}");
}
