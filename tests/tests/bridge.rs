//! What the bridge plugin does for containers with addresses: links, addresses, routes, gateways,
//! and real packets.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::time::Duration;

use cni_testkit::{ALL_VERSIONS, Conf, Netns, Suite, World, conf, wait_for};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{
    Attached, Network, addresses_of, bare, has_flag, pools, route_to, routes,
};

const V4: &str = "10.81.0.0/24";
const V6: &str = "fd81::/64";
const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    a_missing_bridge_is_made_and_up => |suite| missing_bridge(suite);
    the_bridge_is_cni0_unless_named => |suite| default_name(suite);
    an_existing_bridge_is_taken_as_it_is => |suite| existing_bridge(suite);
    v4_at_every_version => |suite| every_version(suite, &[V4]);
    v6_at_every_version => |suite| every_version(suite, &[V6]);
    dual_stack_at_every_version => |suite| every_version(suite, &[V4, V6]);
    several_ranges_of_a_family_at_every_version => |suite| several_ranges(suite);
    one_mtu_for_bridge_and_both_ends => |suite| mtu(suite);
    without_gateway_the_bridge_has_no_address => |suite| no_gateway(suite);
    a_gateway_without_default_route => |suite| gateway_only(suite);
    the_gateway_of_the_ipam_is_kept => |suite| gateway_of_ipam(suite);
    a_default_route_of_the_ipam_is_kept => |suite| default_route_of_ipam(suite);
    routes_go_through_the_gateway_unless_told => |suite| plain_routes(suite);
    another_address_on_the_bridge_is_refused => |suite| other_address(suite);
    force_address_replaces_it => |suite| force_address(suite);
    forwarding_is_switched_on_by_family => |suite| forwarding(suite);
    resolv_conf_is_reported => |suite| resolv_conf(suite);
    dns_of_the_config_replaces_the_ipams => |suite| dns_override(suite);
    containers_reach_each_other_and_the_gateway => |suite| packets(suite);
    two_interfaces_of_one_container => |suite| two_interfaces(suite);
    a_reused_v4_address_is_learnt_at_once => |suite| reused_address(suite, V4, "10.81.0.9");
    a_reused_v6_address_is_learnt_at_once => |suite| reused_address(suite, V6, "fd81::9");
}

/// The versions that a suite knows.
fn versions(suite: &Suite) -> Vec<&'static str> {
    let mut versions = ALL_VERSIONS.to_vec();
    versions.retain(|version| *version != "1.1.0" || !differs(suite, "version-1.1.0"));
    versions
}

fn network<'a>(suite: &'a Suite, world: &World, subnets: &[&str]) -> Network<'a> {
    let conf = conf::bridge(VERSION).ipam(conf::host_local(world, subnets));
    Network::new(suite, conf)
}

fn missing_bridge(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world, &[V4]).add("c1", &c1);
    let bridge = world.host().link("tenon0").unwrap();
    assert_eq!(bridge["linkinfo"]["info_kind"], "bridge");
    assert!(has_flag(world.host(), "tenon0", "UP"));
    assert_eq!(world.host().sysctl("net/ipv6/conf/tenon0/accept_ra"), "0");
    let host_end = world.host().link(attached.host_end()).unwrap();
    assert_eq!(host_end["operstate"], "UP", "the ADD returned too early");
    attached.del_ok();
    assert!(world.host().link("tenon0").is_some(), "a bridge stays");
}

fn default_name(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let network = network(suite, &world, &[V4]).edited(|conf| conf.without("bridge"));
    let attached = network.add("c1", &c1);
    assert_eq!(attached.interface(0)["name"], "cni0");
    assert!(world.host().link("cni0").is_some());
}

fn existing_bridge(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    world
        .host()
        .ip("link add tenon0 mtu 1400 type bridge stp_state 1");
    let before = world.host().link("tenon0").unwrap();
    let network = network(suite, &world, &[V4]).edited(|conf| conf.with(json!({"mtu": 1300})));
    network.add("c1", &c1);
    let after = world.host().link("tenon0").unwrap();
    assert_eq!(after["ifindex"], before["ifindex"]);
    assert_eq!(after["mtu"], 1300, "as its smallest port");
    assert_eq!(after["linkinfo"]["info_data"]["stp_state"], 1);
    assert!(has_flag(world.host(), "tenon0", "UP"));
}

fn every_version(suite: &Suite, subnets: &[&str]) {
    for version in versions(suite) {
        let world = World::new();
        let c1 = world.container("c1");
        let version_of = |conf: Conf| conf.with(json!({"cniVersion": version}));
        let network = network(suite, &world, subnets).edited(version_of);
        let attached = network.add("c1", &c1);
        assert_eq!(attached.result["cniVersion"], version);
        assert_eq!(attached.cidrs(), cidrs_of(subnets, 2), "{version}");
        assert_attached(&world, &c1, &attached, subnets);
        if !matches!(version, "0.1.0" | "0.2.0") {
            assert_interfaces(&world, &c1, &attached);
        }
        assert_deleted(&world, &c1, &attached);
    }
}

/// The `host`th address of each subnet, in CIDR form.
fn cidrs_of(subnets: &[&str], host: u32) -> Vec<String> {
    let nth = |subnet: &&str| {
        let (network, prefix) = subnet.split_once('/').unwrap();
        match network.strip_suffix(".0") {
            Some(first) => format!("{first}.{host}/{prefix}"),
            None => format!("{network}{host:x}/{prefix}"),
        }
    };
    subnets.iter().map(nth).collect()
}

/// The kernel has what the result says.
fn assert_attached(world: &World, c1: &Netns, attached: &Attached<'_>, subnets: &[&str]) {
    assert_eq!(addresses_of(c1, "eth0"), cidrs_of(subnets, 2));
    assert_eq!(
        addresses_of(world.host(), "tenon0"),
        cidrs_of(subnets, 1),
        "the bridge has exactly the gateways"
    );
    assert!(has_flag(c1, "eth0", "UP"));
    let gateways: Vec<_> = cidrs_of(subnets, 1).iter().map(|cidr| bare(cidr)).collect();
    let mut defaults = routes(c1, "");
    defaults.retain(|route| route["dst"] == "default");
    let via: Vec<_> = defaults
        .iter()
        .map(|route| route["gateway"].as_str().unwrap())
        .collect();
    assert_eq!(via, gateways);
    for address in attached.cidrs() {
        assert!(world.host().ping(&address), "{address} does not answer");
    }
    for gateway in gateways {
        assert!(c1.ping(&gateway), "{gateway} does not answer");
    }
}

/// The interfaces of a result from 0.3.0 on: bridge, host's end, container's end.
fn assert_interfaces(world: &World, c1: &Netns, attached: &Attached<'_>) {
    let interfaces = attached.result["interfaces"].as_array().unwrap();
    assert_eq!(interfaces.len(), 3, "{interfaces:#?}");
    let host_end = attached.host_end();
    assert!(host_end.starts_with("veth"), "{host_end}");
    assert_eq!(interfaces[0]["name"], "tenon0");
    assert_eq!(interfaces[2]["name"], "eth0");
    let links = [
        (world.host(), "tenon0"),
        (world.host(), host_end),
        (c1, "eth0"),
    ];
    for (interface, (netns, name)) in interfaces.iter().zip(links) {
        let link = netns.link(name).unwrap();
        assert_eq!(interface["mac"], link["address"], "{name}");
        let sandbox = (name == "eth0").then(|| c1.path_str());
        assert_eq!(
            interface["sandbox"]
                .as_str()
                .filter(|text| !text.is_empty()),
            sandbox
        );
    }
    assert_eq!(world.host().link(host_end).unwrap()["master"], "tenon0");
    for ip in attached.result["ips"].as_array().unwrap() {
        assert_eq!(ip["interface"], 2, "{ip}");
    }
}

fn assert_deleted(world: &World, c1: &Netns, attached: &Attached<'_>) {
    attached.del_ok();
    assert!(c1.link("eth0").is_none());
    let mut links = world.host().link_names();
    links.retain(|name| name != "lo");
    assert_eq!(links, ["tenon0"], "only the bridge stays");
    let left = world.snapshot().without("last_reserved_ip");
    let addresses: Vec<_> = attached.cidrs().iter().map(|cidr| bare(cidr)).collect();
    let names: Vec<_> = addresses.iter().map(String::as_str).chain(["c1"]).collect();
    assert_eq!(left.naming(&names), Vec::<&str>::new());
    attached.del_ok();
}

/// More than one address of a family cannot be told before 0.3.0: ADD fails, and so the DEL of the
/// reference.
fn several_ranges(suite: &Suite) {
    let subnets = [V4, V6, "fd82::/64"];
    for version in versions(suite) {
        let world = World::new();
        let c1 = world.container("c1");
        let version_of = |conf: Conf| conf.with(json!({"cniVersion": version}));
        let network = network(suite, &world, &subnets).edited(version_of);
        if matches!(version, "0.1.0" | "0.2.0") {
            let error = network.try_add("c1", &c1).expect_any_error();
            let why =
                format!("CNI version {version} does not support more than 1 address per family");
            assert!(error["msg"].as_str().unwrap().contains(&why), "{error}");
            let deleted = network.call_for("DEL", "c1", &c1).run();
            if differs(suite, "families-of-old-versions") {
                let error = deleted.expect_any_error();
                assert!(error["msg"].as_str().unwrap().contains(&why), "{error}");
            } else {
                deleted.expect_silent_ok();
            }
            continue;
        }
        let attached = network.add("c1", &c1);
        assert_eq!(attached.cidrs(), cidrs_of(&subnets, 2), "{version}");
        for address in attached.cidrs() {
            assert!(world.host().ping(&address), "{address} does not answer");
        }
        assert_deleted(&world, &c1, &attached);
    }
}

fn mtu(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let network = network(suite, &world, &[V4]).edited(|conf| conf.with(json!({"mtu": 1350})));
    let attached = network.add("c1", &c1);
    for name in ["tenon0", attached.host_end()] {
        assert_eq!(world.host().link(name).unwrap()["mtu"], 1350, "{name}");
    }
    assert_eq!(c1.link("eth0").unwrap()["mtu"], 1350);
}

fn no_gateway(suite: &Suite) {
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let network = network(suite, &world, &[V4, V6]).edited(|conf| conf.without("isDefaultGateway"));
    network.add("c1", &c1);
    let second = network.add("c2", &c2);
    assert_eq!(addresses_of(world.host(), "tenon0"), Vec::<String>::new());
    assert_eq!(world.host().sysctl("net/ipv4/ip_forward"), "0");
    let mut defaults = routes(&c1, "");
    defaults.retain(|route| route["dst"] == "default");
    assert_eq!(defaults, Vec::<Value>::new());
    for address in second.cidrs() {
        assert!(c1.ping(&address), "{address} does not answer");
    }
}

fn gateway_only(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let network = network(suite, &world, &[V4]).edited(|conf| {
        conf.without("isDefaultGateway")
            .with(json!({"isGateway": true}))
    });
    let attached = network.add("c1", &c1);
    assert_eq!(addresses_of(world.host(), "tenon0"), ["10.81.0.1/24"]);
    assert_eq!(attached.result["ips"][0]["gateway"], "10.81.0.1");
    assert_eq!(attached.result["routes"], Value::Null);
    assert!(
        !routes(&c1, "")
            .iter()
            .any(|route| route["dst"] == "default")
    );
    assert!(c1.ping("10.81.0.1"));
}

fn gateway_of_ipam(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let ipam = json!({
        "type": "host-local",
        "dataDir": world.data_dir(),
        "ranges": [[{"subnet": V4, "gateway": "10.81.0.254"}]],
    });
    let attached = network(suite, &world, &[])
        .edited(|conf| conf.ipam(ipam))
        .add("c1", &c1);
    assert_eq!(addresses_of(world.host(), "tenon0"), ["10.81.0.254/24"]);
    assert_eq!(route_to(&c1, "default", "")["gateway"], "10.81.0.254");
    assert_eq!(attached.result["ips"][0]["gateway"], "10.81.0.254");
    assert_eq!(attached.cidrs(), ["10.81.0.1/24"]);
    assert!(c1.ping("10.81.0.254"));
}

fn default_route_of_ipam(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let routes_of_ipam = json!({"routes": [{"dst": "0.0.0.0/0", "gw": "10.81.0.77"}]});
    let network = network(suite, &world, &[V4, V6]).edited(|conf| conf.with_ipam(routes_of_ipam));
    let attached = network.add("c1", &c1);
    let mut defaults = routes(&c1, "");
    defaults.retain(|route| route["dst"] == "default");
    let via: Vec<_> = defaults
        .iter()
        .map(|route| route["gateway"].as_str().unwrap())
        .collect();
    assert_eq!(via, ["10.81.0.77", "fd81::1"]);
    let told = &attached.result["routes"];
    let expected = json!([
        {"dst": "0.0.0.0/0", "gw": "10.81.0.77"},
        {"dst": "::/0", "gw": "fd81::1"},
    ]);
    assert_eq!(*told, expected);
}

fn plain_routes(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let added = json!({"routes": [
        {"dst": "192.0.2.0/24"},
        {"dst": "198.51.100.0/24", "gw": "10.81.0.9"},
        {"dst": "2001:db8::/32"},
    ]});
    let network = network(suite, &world, &[V4, V6]).edited(|conf| conf.with_ipam(added));
    let attached = network.add("c1", &c1);
    let via = |dst: &str| route_to(&c1, dst, "")["gateway"].clone();
    assert_eq!(via("192.0.2.0/24"), "10.81.0.1");
    assert_eq!(via("198.51.100.0/24"), "10.81.0.9");
    assert_eq!(via("2001:db8::/32"), "fd81::1");
    let told = &attached.result["routes"];
    assert_eq!(told[0]["dst"], "192.0.2.0/24");
    assert_eq!(told[1]["gw"], "10.81.0.9");
    assert_eq!(
        told.as_array().unwrap().len(),
        5,
        "two default routes behind them"
    );
}

fn other_address(suite: &Suite) {
    for (other, subnet) in [
        ("10.99.0.1/24", V4),
        ("10.81.0.200/24", V4),
        ("fd81::ffff/64", V6),
    ] {
        let world = World::new();
        let c1 = world.container("c1");
        world.host().ip("link add tenon0 type bridge");
        world.host().ip(&format!("addr add {other} dev tenon0"));
        let network = network(suite, &world, &[subnet]);
        let error = network.try_add("c1", &c1).expect_any_error();
        let msg = error["msg"].as_str().unwrap();
        assert!(
            msg.contains("already has an IP address different from"),
            "{error}"
        );
        assert!(msg.contains("tenon0"), "{error}");
        assert_eq!(addresses_of(world.host(), "tenon0"), [other]);
    }
    let world = World::new();
    let c1 = world.container("c1");
    world.host().ip("link add tenon0 type bridge");
    world.host().ip("addr add fd99::1/64 dev tenon0");
    network(suite, &world, &[V6]).add("c1", &c1);
    let mut both = addresses_of(world.host(), "tenon0");
    both.sort();
    assert_eq!(
        both,
        ["fd81::1/64", "fd99::1/64"],
        "disjoint IPv6 subnets share a bridge"
    );
}

fn force_address(suite: &Suite) {
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let forced =
        network(suite, &world, &[V4, V6]).edited(|conf| conf.with(json!({"forceAddress": true})));
    world.host().ip("link add tenon0 type bridge");
    world.host().ip("addr add 10.99.0.1/24 dev tenon0");
    world.host().ip("addr add fd81::ffff/64 dev tenon0");
    forced.add("c1", &c1);
    assert_eq!(addresses_of(world.host(), "tenon0"), cidrs_of(&[V4, V6], 1));
    let before = world.host().link("tenon0").unwrap();
    forced.add("c2", &c2);
    assert_eq!(addresses_of(world.host(), "tenon0"), cidrs_of(&[V4, V6], 1));
    assert_eq!(
        world.host().link("tenon0").unwrap()["ifindex"],
        before["ifindex"]
    );
    assert!(c1.ping("10.81.0.1") && c1.ping("fd81::1"));
}

fn forwarding(suite: &Suite) {
    for (subnet, on) in [(V4, ["1", "0"]), (V6, ["0", "1"])] {
        let world = World::new();
        let c1 = world.container("c1");
        let keys = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"];
        let network = network(suite, &world, &[subnet]);
        network.add("c1", &c1).del_ok();
        assert_eq!(keys.map(|key| world.host().sysctl(key)), on);
        // Writing to it, even the same value, resets other settings of every interface.
        world
            .host()
            .set_sysctl("net/ipv4/conf/lo/accept_redirects", "0");
        world.host().set_sysctl("net/ipv6/conf/lo/forwarding", "0");
        network.add("c1", &c1);
        assert_eq!(
            world.host().sysctl("net/ipv6/conf/lo/forwarding"),
            "0",
            "was written again"
        );
    }
}

fn resolv_conf(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let text = "# comment\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n\
                domain example.com\nsearch a.example b.example\noptions ndots:5 edns0\n";
    let file = world.file("resolv.conf", text);
    let network =
        network(suite, &world, &[V4]).edited(|conf| conf.with_ipam(json!({"resolvConf": file})));
    let expected = json!({
        "nameservers": ["192.0.2.53", "2001:db8::53"],
        "domain": "example.com",
        "search": ["a.example", "b.example"],
        "options": ["ndots:5", "edns0"],
    });
    let expected = if differs(suite, "dns-of-ipam") {
        json!({})
    } else {
        expected
    };
    assert_eq!(network.add("c1", &c1).result["dns"], expected);
}

fn dns_override(suite: &Suite) {
    let file = |world: &World| world.file("resolv.conf", "nameserver 192.0.2.53\n");
    let cases = [
        (json!({}), json!({"nameservers": ["192.0.2.53"]})),
        (
            json!({"nameservers": ["192.0.2.1"]}),
            json!({"nameservers": ["192.0.2.1"]}),
        ),
        (
            json!({"domain": "example.com"}),
            json!({"domain": "example.com"}),
        ),
        (json!({"search": []}), Value::Null),
    ];
    for (dns, expected) in cases {
        let world = World::new();
        let c1 = world.container("c1");
        let file = file(&world);
        let network = network(suite, &world, &[V4]).edited(|conf| {
            conf.with(json!({"dns": dns}))
                .with_ipam(json!({"resolvConf": file}))
        });
        let told = network.add("c1", &c1).result["dns"].clone();
        if dns == json!({}) && differs(suite, "dns-of-ipam") {
            assert_eq!(told, json!({}));
            continue;
        }
        assert_eq!(
            told.as_object().filter(|dns| !dns.is_empty()),
            expected.as_object(),
            "{dns}"
        );
    }
}

fn packets(suite: &Suite) {
    let world = World::new();
    let containers = ["c1", "c2", "c3"].map(|name| world.container(name));
    let network = network(suite, &world, &[V4, V6]);
    let attached: Vec<_> = ["c1", "c2", "c3"]
        .iter()
        .zip(&containers)
        .map(|(id, netns)| network.add(id, netns))
        .collect();
    for from in &containers {
        for to in attached.iter().flat_map(Attached::cidrs) {
            assert!(from.ping(&to), "{to} does not answer {}", from.path_str());
        }
        assert!(from.ping("10.81.0.1") && from.ping("fd81::1"));
    }
    attached[1].del_ok();
    assert!(
        containers[0].ping(&attached[2].address()),
        "the others go on"
    );
    assert!(!containers[0].ping_within(&attached[1].address(), 1));
}

fn two_interfaces(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let network = network(suite, &world, &[V4]).edited(|conf| {
        conf.without("isDefaultGateway")
            .with(json!({"isGateway": true}))
    });
    let first = network.add("c1", &c1);
    let second = network.add_at("c1", &c1, "eth1");
    assert_eq!(addresses_of(&c1, "eth0"), ["10.81.0.2/24"]);
    assert_eq!(addresses_of(&c1, "eth1"), ["10.81.0.3/24"]);
    second.del_ok();
    assert!(c1.link("eth1").is_none());
    assert!(
        world.host().ping("10.81.0.2"),
        "the first interface goes on"
    );
    first.del_ok();
    assert!(c1.link("eth0").is_none());
}

/// A neighbour entry of the previous owner would keep a new container off the net for seconds.
fn reused_address(suite: &Suite, subnet: &str, address: &str) {
    let world = World::new();
    let [c1, c2, bystander] = ["c1", "c2", "c3"].map(|name| world.container(name));
    let network = network(suite, &world, &[subnet]);
    // With its last port a bridge loses its carrier, and the kernel forgets the neighbours.
    network.add("c3", &bystander);
    let network = network.args(&format!("IgnoreUnknown=1;IP={address}"));
    let first = network.add("c1", &c1);
    assert!(world.host().ping(address));
    let known_mac = || {
        let entries = world.host().ip_json(&format!("neigh show {address}"));
        entries[0]["lladdr"].as_str().map(str::to_owned)
    };
    assert_eq!(known_mac().as_deref(), Some(first.mac()), "before");
    first.del_ok();
    let second = network.add("c2", &c2);
    assert_eq!(second.address(), address);
    assert_ne!(first.mac(), second.mac());
    if differs(suite, "announce") {
        assert_eq!(known_mac().as_deref(), Some(first.mac()), "after");
        return;
    }
    wait_for("the new neighbour", Duration::from_millis(200), || {
        known_mac().as_deref() == Some(second.mac())
    });
    assert!(world.host().ping_within(address, 1));
}

#[test]
fn pools_take_keys_of_their_own() {
    let world = World::new();
    let ipam = pools(&world, &[V4], json!({"routes": []}));
    assert_eq!(ipam["routes"], json!([]));
}
