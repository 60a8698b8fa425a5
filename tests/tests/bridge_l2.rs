//! The bridge plugin as a switch: without addresses, and what a port and the MAC addresses on both
//! its ends are like.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::time::Duration;

use cni_testkit::{ALL_VERSIONS, Conf, Netns, Suite, World, conf, wait_for};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{Network, addresses_of, has_flag, route_to, routes};

const V4: &str = "10.83.0.0/24";
const V6: &str = "fd83::/64";
const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    layer_two_at_every_version_that_can_tell_it => |suite| layer_two(suite);
    layer_two_has_no_addresses_and_switches => |suite| layer_two_switches(suite);
    layer_two_results_before_0_3_0_fail_and_leave_nothing => |suite| untellable(suite);
    hairpin_mode_is_set_on_the_port => |suite| hairpin(suite);
    promiscuous_mode_is_set_on_the_bridge => |suite| promiscuous(suite);
    hairpin_and_promiscuous_mode_exclude_each_other => |suite| exclusive(suite);
    macs_are_as_asked_for => |suite| asked_macs(suite);
    an_impossible_mac_is_refused => |suite| bad_macs(suite);
    the_bridges_mac_stays => |suite| bridge_mac(suite);
    a_deleted_container_is_gone_from_the_bridge => |suite| forwarding_entries(suite);
    no_duplicate_address_detection_unless_wanted => |suite| detection(suite);
    vlans_out_of_range_are_refused => |suite| bad_vlans(suite);
}

fn switch(version: &str) -> Conf {
    conf::plugin(version, "bridge").with(json!({"bridge": "tenon0"}))
}

fn routed<'a>(suite: &'a Suite, world: &World, keys: Value) -> Network<'a> {
    let ipam = conf::host_local(world, &[V4, V6]);
    Network::new(suite, conf::bridge(VERSION).ipam(ipam).with(keys))
}

fn port_flag(world: &World, port: &str, flag: &str) -> Value {
    world.host().link(port).unwrap()["linkinfo"]["info_slave_data"][flag].clone()
}

fn layer_two(suite: &Suite) {
    for version in ALL_VERSIONS
        .into_iter()
        .filter(|version| *version >= "0.3.0")
    {
        if version == "1.1.0" && differs(suite, "version-1.1.0") {
            continue;
        }
        let world = World::new();
        let c1 = world.container("c1");
        let attached = Network::new(suite, switch(version)).add("c1", &c1);
        assert_eq!(attached.result["ips"], Value::Null, "{version}");
        assert_eq!(attached.result["interfaces"].as_array().unwrap().len(), 3);
        assert!(has_flag(&c1, "eth0", "UP"));
        if version >= "0.4.0" && !differs(suite, "check-layer-two") {
            attached.check_ok();
        }
        attached.del_ok();
        attached.del_ok();
        assert_eq!(world.host().link_names(), ["lo", "tenon0"]);
    }
}

fn layer_two_switches(suite: &Suite) {
    let world = World::new();
    let containers = ["c1", "c2"].map(|name| world.container(name));
    let network = Network::new(suite, switch(VERSION));
    for (id, netns) in ["c1", "c2"].iter().zip(&containers) {
        network.add(id, netns);
        assert_eq!(addresses_of(netns, "eth0"), Vec::<String>::new());
        assert_eq!(routes(netns, ""), Vec::<Value>::new());
    }
    assert_eq!(addresses_of(world.host(), "tenon0"), Vec::<String>::new());
    assert_eq!(world.host().sysctl("net/ipv4/ip_forward"), "0");
    assert!(!world.data_dir().exists());
    containers[0].ip("addr add 192.0.2.1/24 dev eth0");
    containers[1].ip("addr add 192.0.2.2/24 dev eth0");
    assert!(containers[0].ping("192.0.2.2"));
}

fn untellable(suite: &Suite) {
    for version in ["0.1.0", "0.2.0"] {
        let world = World::new();
        let c1 = world.container("c1");
        world.host().ip("link add tenon0 type bridge");
        world.host().ip("link set tenon0 up");
        let before = world.snapshot();
        let network = Network::new(suite, switch(version));
        let error = network.try_add("c1", &c1).expect_any_error();
        let text = error["msg"].as_str().unwrap();
        assert!(
            text.contains("cannot convert: no valid IP addresses"),
            "{error}"
        );
        if differs(suite, "failed-add") {
            assert!(c1.link("eth0").is_some());
        } else {
            assert!(c1.link("eth0").is_none());
            before.assert_unchanged(&world.snapshot());
        }
    }
}

fn hairpin(suite: &Suite) {
    for on in [true, false] {
        let world = World::new();
        let c1 = world.container("c1");
        let attached = routed(suite, &world, json!({"hairpinMode": on})).add("c1", &c1);
        assert_eq!(port_flag(&world, attached.host_end(), "hairpin"), on);
        attached.check_ok();
    }
}

fn promiscuous(suite: &Suite) {
    for on in [true, false] {
        let world = World::new();
        let c1 = world.container("c1");
        let attached = routed(suite, &world, json!({"promiscMode": on})).add("c1", &c1);
        assert_eq!(has_flag(world.host(), "tenon0", "PROMISC"), on);
        attached.check_ok();
    }
    // An existing one is set as well, and never reset: others may rely on it.
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    world.host().ip("link add tenon0 type bridge");
    routed(suite, &world, json!({"promiscMode": true})).add("c1", &c1);
    assert!(has_flag(world.host(), "tenon0", "PROMISC"));
    routed(suite, &world, json!({})).add("c2", &c2);
    assert!(has_flag(world.host(), "tenon0", "PROMISC"));
}

fn exclusive(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let before = world.snapshot();
    let network = routed(
        suite,
        &world,
        json!({"hairpinMode": true, "promiscMode": true}),
    );
    let outcome = network.try_add("c1", &c1);
    let error = if differs(suite, "error-codes") {
        outcome.expect_error(999)
    } else {
        outcome.expect_error(7)
    };
    let text = "cannot set hairpin mode and promiscuous mode at the same time";
    assert_eq!(error["msg"].as_str().unwrap().trim_end_matches('.'), text);
    before.assert_unchanged(&world.snapshot());
}

/// The runtime's wish beats the config's, which beats the environment's.
fn asked_macs(suite: &Suite) {
    let [env, args, runtime] = [
        "02:00:00:00:00:01",
        "02:00:00:00:00:02",
        "02:00:00:00:00:03",
    ];
    let in_args = json!({"args": {"cni": {"mac": args}}});
    let in_runtime = json!({"runtimeConfig": {"mac": runtime}});
    let both = json!({"args": {"cni": {"mac": args}}, "runtimeConfig": {"mac": runtime}});
    let upper = json!({"runtimeConfig": {"mac": "02-00-00-00-00-0A"}});
    for (cni_args, keys, expected) in [
        (format!("IgnoreUnknown=1;MAC={env}"), json!({}), env),
        (format!("IgnoreUnknown=1;MAC={env}"), in_args, args),
        (
            format!("IgnoreUnknown=1;MAC={env}"),
            in_runtime.clone(),
            runtime,
        ),
        (String::new(), both, runtime),
        (String::new(), in_runtime, runtime),
        (String::new(), upper, "02:00:00:00:00:0a"),
    ] {
        let world = World::new();
        let c1 = world.container("c1");
        let attached = routed(suite, &world, keys).args(&cni_args).add("c1", &c1);
        assert_eq!(c1.link("eth0").unwrap()["address"], expected);
        assert_eq!(attached.mac(), expected);
        let host_end = world.host().link(attached.host_end()).unwrap();
        assert_ne!(
            host_end["address"], expected,
            "only the container's end is meant"
        );
        attached.check_ok();
    }
}

fn bad_macs(suite: &Suite) {
    let mut impossible = vec!["rubbish", "02:00:00:00:00", "zz:00:00:00:00:01"];
    if !differs(suite, "mac-checked") {
        impossible.extend(["01:00:5e:00:00:01", "00:00:00:00:00:00"]);
    }
    for mac in impossible {
        let world = World::new();
        let c1 = world.container("c1");
        let before = world.snapshot();
        let network = routed(suite, &world, json!({"runtimeConfig": {"mac": mac}}));
        let outcome = network.try_add("c1", &c1);
        let error = outcome.expect_any_error();
        if !differs(suite, "error-codes") {
            outcome.expect_error(7);
            assert!(
                error["msg"].as_str().unwrap().contains("runtimeConfig.mac"),
                "{error}"
            );
            before.assert_unchanged(&world.snapshot());
        }
    }
}

/// Left alone, a bridge takes the lowest MAC address of its ports, and changes it as they come and
/// go; neighbours then lose the gateway.
fn bridge_mac(suite: &Suite) {
    let world = World::new();
    let containers = ["c1", "c2", "c3"].map(|name| world.container(name));
    let mac_of = |name: &str| world.host().link(name).unwrap()["address"].clone();
    let network = routed(suite, &world, json!({}));
    let first = network.add("c1", &containers[0]);
    let mac = mac_of("tenon0");
    assert_eq!(first.interface(0)["mac"], mac);
    // The lowest there can be, which the bridge would take.
    let low =
        network.edited(|conf| conf.with(json!({"runtimeConfig": {"mac": "02:00:00:00:00:00"}})));
    let second = low.add("c2", &containers[1]);
    world.host().ip(&format!(
        "link set {} address 00:00:00:00:00:01",
        second.host_end()
    ));
    let third = network.add("c3", &containers[2]);
    assert_eq!(mac_of("tenon0"), mac);
    for attached in [&first, &second, &third] {
        assert_ne!(mac_of(attached.host_end()), mac);
        attached.del_ok();
        assert_eq!(mac_of("tenon0"), mac);
    }
}

fn forwarding_entries(suite: &Suite) {
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let network = routed(suite, &world, json!({}));
    let (first, second) = (network.add("c1", &c1), network.add("c2", &c2));
    assert!(c1.ping(&second.address()));
    let known = || {
        world
            .host()
            .command("bridge", &["fdb", "show", "br", "tenon0"])
    };
    assert!(known().contains(second.mac()));
    second.del_ok();
    assert!(!known().contains(second.mac()), "{}", known());
    assert!(world.host().ping(&first.address()));
}

fn detection(suite: &Suite) {
    for on in [false, true] {
        let world = World::new();
        let c1 = world.container("c1");
        routed(suite, &world, json!({"enabledad": on})).add("c1", &c1);
        let expected = if on { "1" } else { "0" };
        if !differs(suite, "duplicate-address-detection") {
            assert_eq!(c1.sysctl("net/ipv6/conf/eth0/accept_dad"), expected);
        }
        let shown = c1.ip_json("-6 addr show dev eth0");
        for info in shown[0]["addr_info"].as_array().unwrap() {
            if info["scope"] == "global" || !on {
                let tentative = info["tentative"] == true;
                assert!(
                    !tentative || differs(suite, "duplicate-address-detection"),
                    "{info}"
                );
            }
        }
        if !on && !differs(suite, "duplicate-address-detection") {
            assert_link_local_works(&c1);
        }
    }
}

/// Usable without waiting for anything: a socket can be bound to it.
fn assert_link_local_works(c1: &Netns) {
    let shown = c1.ip_json("-6 addr show dev eth0");
    let infos = shown[0]["addr_info"].as_array().unwrap();
    let link_local = infos.iter().find(|info| info["scope"] == "link");
    let address = link_local.unwrap_or_else(|| panic!("no link-local address: {infos:?}"));
    let address = address["local"].as_str().unwrap().to_owned();
    let index = u32::try_from(shown[0]["ifindex"].as_u64().unwrap()).unwrap();
    let bound = c1.run(move || {
        let ip = address.parse().unwrap();
        std::net::UdpSocket::bind(std::net::SocketAddrV6::new(ip, 0, 0, index))
    });
    bound.unwrap();
}

fn bad_vlans(suite: &Suite) {
    let mut rows = vec![(json!({"vlan": 4095}), "invalid VLAN ID 4095")];
    if !differs(suite, "vlan-checked") {
        rows.push((json!({"vlan": -1}), "invalid VLAN ID -1"));
    }
    if !differs(suite, "new-keys") {
        rows.extend([
            (
                json!({"vlanTrunk": [{"minID": 5}]}),
                "minID and maxID should be configured simultaneously, maxID is missing",
            ),
            (
                json!({"vlanTrunk": [{"maxID": 5}]}),
                "minID and maxID should be configured simultaneously, minID is missing",
            ),
            (
                json!({"vlanTrunk": [{"minID": 0, "maxID": 5}]}),
                "incorrect trunk minID parameter",
            ),
            (
                json!({"vlanTrunk": [{"minID": 5, "maxID": 4095}]}),
                "incorrect trunk maxID parameter",
            ),
            (
                json!({"vlanTrunk": [{"id": 4095}]}),
                "incorrect trunk id parameter",
            ),
            (
                json!({"vlanTrunk": [{"minID": 7, "maxID": 5}]}),
                "minID is greater than maxID in trunk parameter",
            ),
        ]);
    }
    for (keys, text) in rows {
        let world = World::new();
        let c1 = world.container("c1");
        let before = world.snapshot();
        let outcome = routed(suite, &world, keys).try_add("c1", &c1);
        let error = outcome.expect_any_error();
        assert!(error["msg"].as_str().unwrap().contains(text), "{error}");
        before.assert_unchanged(&world.snapshot());
    }
}

#[test]
fn isolated_ports_reach_the_gateway_and_not_each_other() {
    let suite = Suite::ours();
    let world = World::new();
    let [c1, c2, c3] = ["c1", "c2", "c3"].map(|name| world.container(name));
    let isolated = routed(&suite, &world, json!({"portIsolation": true}));
    let first = isolated.add("c1", &c1);
    let second = isolated.add("c2", &c2);
    assert_eq!(port_flag(&world, first.host_end(), "isolated"), true);
    for gateway in ["10.83.0.1", "fd83::1"] {
        assert!(c1.ping(gateway) && c2.ping(gateway), "{gateway}");
    }
    for address in second.cidrs() {
        assert!(!c1.ping_within(&address, 1), "{address} answers");
    }
    let open = routed(&suite, &world, json!({})).add("c3", &c3);
    assert_eq!(port_flag(&world, open.host_end(), "isolated"), false);
    assert!(
        c1.ping(&open.address()),
        "a port that is not isolated is reached"
    );
    first.check_ok();
}

#[test]
fn the_containers_interface_can_be_left_down() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let down = Network::new(
        &suite,
        switch("1.1.0").with(json!({"disableContainerInterface": true})),
    );
    let attached = down.add("c1", &c1);
    assert!(!has_flag(&c1, "eth0", "UP"));
    assert_eq!(c1.link("eth0").unwrap()["operstate"], "DOWN");
    let shown = c1.ip_json("addr show dev eth0");
    assert_eq!(
        shown[0]["addr_info"],
        json!([]),
        "no link-local address either"
    );
    assert_eq!(
        world.host().link(attached.host_end()).unwrap()["master"],
        "tenon0"
    );
    attached.check_ok();
    attached.del_ok();

    let both = routed(&suite, &world, json!({"disableContainerInterface": true}));
    let before = world.snapshot();
    let error = both.try_add("c1", &c1).expect_error(7);
    assert_eq!(
        error["msg"],
        "cannot use IPAM when DisableContainerInterface flag is set"
    );
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn routes_of_version_1_1_0_have_their_attributes() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let listed = json!({"routes": [
        {"dst": "192.0.2.0/24", "mtu": 1300, "advmss": 1200, "priority": 77},
        {"dst": "198.51.100.0/24", "table": 42},
        {"dst": "203.0.113.0/24", "scope": 253},
        {"dst": "2001:db8::/32", "mtu": 1350, "priority": 78, "table": 43},
    ]});
    let version = json!({"cniVersion": "1.1.0"});
    let network = routed(&suite, &world, version).edited(|conf| conf.with_ipam(listed.clone()));
    let attached = network.add("c1", &c1);
    let first = route_to(&c1, "192.0.2.0/24", "");
    assert_eq!(first["gateway"], "10.83.0.1");
    assert_eq!(first["metric"], 77);
    assert_eq!(first["metrics"], json!([{"mtu": 1300, "advmss": 1200}]));
    assert_eq!(
        route_to(&c1, "198.51.100.0/24", "table 42")["gateway"],
        "10.83.0.1"
    );
    let link = route_to(&c1, "203.0.113.0/24", "");
    assert_eq!(
        (&link["scope"], &link["gateway"]),
        (&json!("link"), &Value::Null)
    );
    let sixth = route_to(&c1, "2001:db8::/32", "table 43");
    assert_eq!(
        (&sixth["metric"], &sixth["gateway"]),
        (&json!(78), &json!("fd83::1"))
    );
    assert_eq!(sixth["metrics"], json!([{"mtu": 1350}]));
    let told = attached.result["routes"].as_array().unwrap();
    for (route, told) in listed["routes"].as_array().unwrap().iter().zip(told) {
        for (key, value) in route.as_object().unwrap() {
            assert_eq!(told[key], *value, "{key} of {told}");
        }
    }
    attached.check_ok();
}

#[test]
fn an_older_configs_routes_have_them_too() {
    // The reference looks at priority, table and scope whatever the version is.
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let listed = json!({"routes": [{"dst": "192.0.2.0/24", "priority": 77}]});
    let attached = routed(&suite, &world, json!({}))
        .edited(|conf| conf.with_ipam(listed))
        .add("c1", &c1);
    assert_eq!(route_to(&c1, "192.0.2.0/24", "")["metric"], 77);
    attached.check_ok();
}

#[test]
fn status_is_the_ipams() {
    let suite = Suite::ours();
    let world = World::new();
    let fakes = cni_testkit::Fakes::new(&world);
    fakes.failing("ipam", 50, "no address left");
    let conf = switch("1.1.0").ipam(json!({"type": "ipam"}));
    let status = |conf: &Conf| {
        let call = Network::new(&suite, conf.clone()).call("STATUS");
        call.path_first(&fakes.dir()).run()
    };
    let error = status(&conf).expect_error(50);
    assert!(
        error["msg"].as_str().unwrap().contains("no address left"),
        "{error}"
    );
    fakes.script("ipam", "exit 0");
    status(&conf).expect_silent_ok();
    status(&switch("1.1.0")).expect_silent_ok();
    let missing = switch("1.1.0").ipam(json!({"type": "no-such-ipam"}));
    let error = status(&missing).expect_error(50);
    assert!(
        error["msg"].as_str().unwrap().contains("no-such-ipam"),
        "{error}"
    );
}

#[test]
fn nobody_has_to_wait_for_the_links_of_an_attachment() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let attached = routed(&suite, &world, json!({})).add("c1", &c1);
    let state =
        world.host().link(attached.host_end()).unwrap()["linkinfo"]["info_slave_data"]["state"]
            .clone();
    assert_eq!(state, "forwarding");
    wait_for(
        "no tentative address on the bridge",
        Duration::from_millis(1),
        || {
            let shown = world.host().ip_json("-6 addr show dev tenon0 scope global");
            shown[0]["addr_info"][0]["tentative"] != true
        },
    );
}
