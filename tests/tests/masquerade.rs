//! Masquerading and the MAC spoof check of the bridge plugin, as packets see them.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test functions fail by panicking"
)]

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use cni_testkit::{Netns, Suite, World, conf, wait_for};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{Network, bare};

const V4: &str = "10.86.0.0/24";
const V6: &str = "fd86::/64";
const VERSION: &str = "1.0.0";

/// The host's address towards the world, and the world's.
const UPLINK: [(&str, &str); 2] = [
    ("192.0.2.1/24", "192.0.2.2"),
    ("2001:db8::1/64", "2001:db8::2"),
];

cni_testkit::suites! {
    the_world_sees_the_hosts_address => |suite| leaves_as_host(suite, &json!({"ipMasq": true}));
    unmasked_traffic_keeps_its_address => |suite| unmasked(suite);
    neighbours_see_each_others_address => |suite| inside(suite, &json!({"ipMasq": true}));
    nothing_is_left_after_del => |suite| nothing_left(suite, &json!({"ipMasq": true}));
    two_containers_do_not_disturb_each_other => |suite| two(suite, &json!({"ipMasq": true}));
    spoofed_mac_addresses_are_dropped => |suite| spoofed(suite);
    the_spoof_check_is_gone_after_del => |suite| spoof_check_gone(suite);
}

fn network<'a>(suite: &'a Suite, world: &World, keys: &Value) -> Network<'a> {
    let ipam = conf::host_local(world, &[V4, V6]);
    Network::new(suite, conf::bridge(VERSION).ipam(ipam).with(keys.clone()))
}

/// A namespace behind the host that knows no way back to the containers.
fn outer_world(world: &World) -> Netns {
    let outer = world.container("outer");
    let host = world.host();
    host.ip("link add up0 type veth peer name eth0 netns outer");
    for (ours, theirs) in UPLINK {
        let (_, prefix) = ours.split_once('/').unwrap();
        let nodad = if theirs.contains(':') { "nodad" } else { "" };
        host.ip(&format!("addr add {ours} dev up0 {nodad}"));
        outer.ip(&format!("addr add {theirs}/{prefix} dev eth0 {nodad}"));
    }
    host.ip("link set up0 up");
    outer.ip("link set eth0 up");
    outer
}

/// A listener at `address` of a namespace, as soon as duplicate address detection lets it.
fn listen(netns: &Netns, address: &str) -> UdpSocket {
    let address = address.parse::<IpAddr>().unwrap();
    let mut bound = None;
    wait_for("the address", Duration::from_secs(5), || {
        bound = netns.run(move || UdpSocket::bind((address, 9000))).ok();
        bound.is_some()
    });
    let socket = bound.unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(3)))
        .unwrap();
    socket
}

/// Whose address a datagram from `from` to `address` carries when it arrives.
fn seen_source(from: &Netns, to: &Netns, address: &str) -> Option<String> {
    let listener = listen(to, address);
    let target = address.parse::<IpAddr>().unwrap();
    let any = if target.is_ipv6() { "::" } else { "0.0.0.0" };
    from.run(move || {
        let socket = UdpSocket::bind((any, 0)).unwrap();
        socket.send_to(b"who am I?", (target, 9000)).unwrap();
    });
    match listener.recv_from(&mut [0; 64]) {
        Ok((_, source)) => Some(source.ip().to_string()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("receive: {error}"),
    }
}

fn leaves_as_host(suite: &Suite, keys: &Value) {
    let world = World::new();
    let (c1, outer) = (world.container("c1"), outer_world(&world));
    let attached = network(suite, &world, keys).add("c1", &c1);
    for (ours, theirs) in UPLINK {
        assert_eq!(seen_source(&c1, &outer, theirs), Some(bare(ours)), "{keys}");
        assert!(c1.ping(theirs), "answers find their way back");
    }
    if !differs(suite, "check-rules") {
        attached.check_ok();
    }
}

fn unmasked(suite: &Suite) {
    let world = World::new();
    let (c1, outer) = (world.container("c1"), outer_world(&world));
    let attached = network(suite, &world, &json!({})).add("c1", &c1);
    for (address, (_, theirs)) in attached.cidrs().iter().zip(UPLINK) {
        assert_eq!(seen_source(&c1, &outer, theirs), Some(bare(address)));
    }
}

/// Bridged packets pass the packet filter where `br_netfilter` is loaded; they stay as they are.
fn inside(suite: &Suite, keys: &Value) {
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let network = network(suite, &world, keys);
    let (first, second) = (network.add("c1", &c1), network.add("c2", &c2));
    for (from, to) in first.cidrs().iter().zip(second.cidrs()) {
        assert_eq!(seen_source(&c1, &c2, &bare(&to)), Some(bare(from)));
    }
    for (from, gateway) in first.cidrs().iter().zip(["10.86.0.1", "fd86::1"]) {
        assert_eq!(seen_source(&c1, world.host(), gateway), Some(bare(from)));
    }
}

fn nothing_left(suite: &Suite, keys: &Value) {
    for gone in ["", "path", "variable"] {
        let world = World::new();
        let c1 = world.container("c1");
        let network = network(suite, &world, keys);
        // Tables and base chains stay; the second attachment has to leave nothing besides.
        network.add("c0", &c1).del_ok();
        let before = world.snapshot().without("last_reserved_ip");
        let c2 = world.container("c2");
        let attached = network.add("c2", &c2);
        match gone {
            "path" => {
                drop(c2);
                attached.del_ok();
            }
            "variable" => attached.with_netns("").del_ok(),
            _ => attached.del_ok(),
        }
        if !gone.is_empty() && differs(suite, "del-without-namespace") {
            continue;
        }
        let after = world.snapshot().without("last_reserved_ip");
        before.assert_unchanged(&after);
    }
}

fn two(suite: &Suite, keys: &Value) {
    let world = World::new();
    let (c1, c2, outer) = (
        world.container("c1"),
        world.container("c2"),
        outer_world(&world),
    );
    let network = network(suite, &world, keys);
    let (first, _second) = (network.add("c1", &c1), network.add("c2", &c2));
    first.del_ok();
    for (ours, theirs) in UPLINK {
        assert_eq!(seen_source(&c2, &outer, theirs), Some(bare(ours)), "{keys}");
    }
}

fn spoofed(suite: &Suite) {
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let guarded = network(suite, &world, &json!({"macspoofchk": true}));
    let attached = guarded.add("c1", &c1);
    network(suite, &world, &json!({})).add("c2", &c2);
    assert!(c1.ping("10.86.0.1") && c1.ping("fd86::1"));
    c1.ip("link set eth0 address 02:00:00:00:00:66");
    for address in ["10.86.0.1", "10.86.0.3", "fd86::1"] {
        assert!(
            !c1.ping_within(address, 1),
            "{address} hears a spoofed address"
        );
    }
    c1.ip(&format!("link set eth0 address {}", attached.mac()));
    assert!(c1.ping("10.86.0.1"));
    c2.ip("link set eth0 address 02:00:00:00:00:67");
    assert!(c2.ping("10.86.0.1"), "the other one is not guarded");
}

fn spoof_check_gone(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let network = network(suite, &world, &json!({"macspoofchk": true}));
    network.add("c0", &c1).del_ok();
    let before = world.snapshot().without("last_reserved_ip");
    let attached = network.add("c1", &c1);
    assert_ne!(before, world.snapshot().without("last_reserved_ip"));
    attached.del_ok();
    before.assert_unchanged(&world.snapshot().without("last_reserved_ip"));
}

fn backend(name: &str) -> Value {
    json!({"ipMasq": true, "ipMasqBackend": name})
}

#[test]
fn both_backends_show_the_hosts_address() {
    for name in ["nftables", "iptables"] {
        leaves_as_host(&Suite::ours(), &backend(name));
        two(&Suite::ours(), &backend(name));
    }
}

#[test]
fn both_backends_leave_neighbours_alone() {
    for name in ["nftables", "iptables"] {
        inside(&Suite::ours(), &backend(name));
    }
}

#[test]
fn both_backends_leave_nothing() {
    for name in ["nftables", "iptables"] {
        nothing_left(&Suite::ours(), &backend(name));
    }
}

/// Changed by an operator between ADD and DEL.
#[test]
fn del_finds_the_rules_of_either_backend() {
    let suite = Suite::ours();
    for (before, after) in [("nftables", "iptables"), ("iptables", "nftables")] {
        let world = World::new();
        let c1 = world.container("c1");
        let network = network(&suite, &world, &backend(before));
        let attached = network.add("c1", &c1);
        let edited = network.edited(|conf| conf.with(backend(after)));
        attached.of(&edited).del_ok();
        let left = world.snapshot().without("last_reserved_ip");
        assert_eq!(
            left.naming(&["c1", "10.86.0.2", "fd86::2"]),
            Vec::<&str>::new()
        );
    }
}

#[test]
fn an_unknown_backend_is_refused() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let before = world.snapshot();
    let error = network(&suite, &world, &backend("ebpf"))
        .try_add("c1", &c1)
        .expect_error(7);
    assert!(error["msg"].as_str().unwrap().contains("ebpf"), "{error}");
    before.assert_unchanged(&world.snapshot());
}

/// Two interfaces of one container share a chain with the reference; DEL of one breaks the other.
#[test]
fn two_interfaces_of_one_container_are_masqueraded_apart() {
    let suite = Suite::ours();
    for name in ["nftables", "iptables"] {
        let world = World::new();
        let (c1, outer) = (world.container("c1"), outer_world(&world));
        let network = network(&suite, &world, &backend(name));
        let first = network.add("c1", &c1);
        let second = network
            .edited(|conf| conf.without("isDefaultGateway"))
            .add_at("c1", &c1, "eth1");
        second.del_ok();
        for (ours, theirs) in UPLINK {
            assert_eq!(seen_source(&c1, &outer, theirs), Some(bare(ours)), "{name}");
        }
        first.check_ok();
    }
}

#[test]
fn the_default_backend_starts_no_process() {
    cni_testkit::require("strace");
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let trace = world.dir().join("trace");
    let keys = json!({"ipMasq": true, "macspoofchk": true});
    let call = network(&suite, &world, &keys).call_for("ADD", "c1", &c1);
    let words = [
        "strace",
        "-f",
        "-e",
        "trace=execve",
        "-o",
        trace.to_str().unwrap(),
    ];
    call.through(&words).run().expect_ok();
    let trace = std::fs::read_to_string(trace).unwrap();
    let started = trace
        .lines()
        .filter(|line| line.contains("execve(") && line.ends_with("= 0"));
    let started: Vec<_> = started.collect();
    // bridge, and its IPAM if that is not run in the same process.
    let plain = std::env::var("TENON_FAST_PATHS").is_ok_and(|value| value == "off");
    assert_eq!(started.len(), if plain { 2 } else { 1 }, "{started:#?}");
}
