//! Containers of podman, whose network backend is CNI.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::path::Path;

use cni_testkit::{Snapshot, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::podman::Podman;
use tenon_tests::ports::{self, HOST, Listener, OUTSIDE, PROTOCOLS};

const V4: &str = "10.67.0.0/24";
const V6: &str = "fd67::/64";

/// podman writes configurations of this version itself.
const VERSION: &str = "0.4.0";

cni_testkit::suites! {
    containers_reach_each_other_and_leave_nothing => |suite| containers(suite, &[V4]);
    containers_of_both_families => |suite| containers(suite, &[V4, V6]);
    address_and_mac_are_as_asked_for => |suite| asked_for(suite);
    a_second_network_is_joined_and_left => |suite| second_network(suite);
    a_network_with_tuning_tunes_and_untunes => |suite| tuned(suite);
    the_default_network_publishes_ports => |suite| default_network(suite);
    networks_that_podman_makes_publish_ports_of_both_families => |suite| dual_stack(suite);
}

fn network(world: &World, name: &str, bridge: &str, subnets: &[&str]) -> Value {
    let keys = json!({"bridge": bridge, "ipMasq": true, "hairpinMode": true});
    let keys = conf::bridge(VERSION)
        .with(keys)
        .with(json!({"capabilities": {"ips": true, "mac": true}}));
    let list = conf::list(VERSION, &[keys.ipam(conf::host_local(world, subnets))]);
    conf::Conf(list).with(json!({"name": name})).0
}

fn containers(suite: &Suite, subnets: &[&str]) {
    let world = World::new();
    let podman = Podman::new(
        &world,
        suite.bin_dir(),
        &[network(&world, "net1", "tenon0", subnets)],
    );
    let ids = ["one", "two"].map(|name| podman.run(name, &["--network", "net1"]));
    let addresses = ["one", "two"].map(|name| addresses(&podman, name, "net1"));
    for address in addresses.iter().flatten() {
        assert!(world.host().ping(address), "no answer from {address}");
    }
    for address in &addresses[1] {
        podman.ok(&["exec", "one", "ping", "-c", "1", "-W", "2", address]);
    }
    assert_eq!(addresses[1].len(), subnets.len());

    podman.ok(&["stop", "--time", "0", "one", "two"]);
    let traces = ids.iter().chain(addresses.iter().flatten());
    assert_nothing_left(&world, &traces.map(String::as_str).collect::<Vec<_>>());

    podman.ok(&["start", "one"]);
    let again = self::addresses(&podman, "one", "net1");
    assert!(world.host().ping(&again[0]));
    podman.ok(&["rm", "--force", "--time", "0", "one", "two"]);
    assert_nothing_left(&world, &[&ids[0], &again[0]]);
}

fn addresses(podman: &Podman, container: &str, network: &str) -> Vec<String> {
    let attachment = podman.attachment(container, network);
    let text = |key: &str| attachment[key].as_str().unwrap().to_owned();
    let mut found = vec![text("IPAddress"), text("GlobalIPv6Address")];
    found.retain(|address| !address.is_empty());
    found
}

/// Bridges with their addresses and the index of the last lease stay by design.
fn assert_nothing_left(world: &World, traces: &[&str]) {
    let mut links = world.host().link_names();
    links.retain(|name| !["lo", "tenon0", "tenon1"].contains(&name.as_str()));
    assert_eq!(links, Vec::<String>::new());
    let after = world
        .snapshot()
        .tree("/var/lib/cni/results".as_ref())
        .without("last_reserved_ip");
    assert_eq!(after.naming(traces), Vec::<&str>::new());
}

fn asked_for(suite: &Suite) {
    let world = World::new();
    let podman = Podman::new(
        &world,
        suite.bin_dir(),
        &[network(&world, "net1", "tenon0", &[V4])],
    );
    let (address, mac) = ("10.67.0.77", "02:00:00:00:67:77");
    let id = podman.run(
        "one",
        &["--network", "net1", "--ip", address, "--mac-address", mac],
    );
    assert_eq!(podman.attachment("one", "net1")["IPAddress"], address);
    assert!(world.host().ping(address));
    let shown = podman.ok(&["exec", "one", "ip", "link", "show", "eth0"]);
    assert!(shown.contains(mac), "{shown}");

    let taken = podman.try_run(&[
        "run",
        "--network",
        "net1",
        "--ip",
        address,
        tenon_tests::image::NAME,
    ]);
    assert!(taken.unwrap_err().contains(address));
    assert!(
        world.host().ping(address),
        "the loser took the address along"
    );
    podman.ok(&["rm", "--force", "--time", "0", "--all"]);
    assert_nothing_left(&world, &[&id, address]);
}

fn second_network(suite: &Suite) {
    let world = World::new();
    let networks = [
        network(&world, "net1", "tenon0", &[V4]),
        network(&world, "net2", "tenon1", &["10.68.0.0/24"]),
    ];
    let podman = Podman::new(&world, suite.bin_dir(), &networks);
    let id = podman.run("one", &["--network", "net1"]);
    podman.ok(&["network", "connect", "net2", "one"]);
    let (first, second) = (
        addresses(&podman, "one", "net1"),
        addresses(&podman, "one", "net2"),
    );
    assert!(world.host().ping(&first[0]));
    assert!(world.host().ping(&second[0]));

    podman.ok(&["network", "disconnect", "net2", "one"]);
    assert!(
        world.host().ping(&first[0]),
        "the first attachment does not work any more"
    );
    let left = world.snapshot().without("last_reserved_ip");
    assert_eq!(left.naming(&[&second[0]]), Vec::<&str>::new());
    podman.ok(&["rm", "--force", "--time", "0", "one"]);
    assert_nothing_left(&world, &[&id, &first[0], &second[0]]);
}

/// `tuning` behind `bridge`, as in the networks that podman writes itself.
fn tuned(suite: &Suite) {
    let world = World::new();
    let keys = json!({
        "type": "tuning", "capabilities": {"mac": true},
        "mtu": 1400, "sysctl": {"net.core.somaxconn": "77"},
    });
    let mut list = network(&world, "net1", "tenon0", &[V4, V6]);
    list["plugins"].as_array_mut().unwrap().push(keys);
    let podman = Podman::new(&world, suite.bin_dir(), &[list]);
    let mac = "02:00:00:00:67:78";
    let id = podman.run("one", &["--network", "net1", "--mac-address", mac]);
    assert_eq!(podman.attachment("one", "net1")["MacAddress"], mac);
    let shown = podman.ok(&["exec", "one", "ip", "link", "show", "eth0"]);
    for fact in ["mtu 1400", mac] {
        assert!(shown.contains(fact), "no {fact} in {shown}");
    }
    let somaxconn = podman.ok(&["exec", "one", "cat", "/proc/sys/net/core/somaxconn"]);
    assert_eq!(somaxconn.trim(), "77");
    for address in addresses(&podman, "one", "net1") {
        assert!(world.host().ping(&address));
    }
    let state = Path::new("/run/cni/tuning");
    assert!(state.join(format!("{id}_eth0.json")).is_file());
    podman.ok(&["stop", "--time", "0", "one"]);
    assert_eq!(fs::read_dir(state).unwrap().count(), 0);
    podman.ok(&["rm", "--force", "--time", "0", "one"]);
    assert_nothing_left(&world, &[&id]);
}

/// Where published ports lead.
const PUBLISHED: [&str; 4] = ["--publish", "8080:80/tcp", "--publish", "8080:80/udp"];

/// The network that podman has without any file: `bridge`, `portmap`, `firewall` and `tuning`.
fn default_network(suite: &Suite) {
    let world = World::new();
    suite.alone_in(&world);
    let podman = Podman::new(&world, suite.bin_dir(), &[]);
    publish(suite, &world, &podman, "podman");
}

/// And one that it writes itself.
fn dual_stack(suite: &Suite) {
    let world = World::new();
    suite.alone_in(&world);
    let podman = Podman::new(&world, suite.bin_dir(), &[]);
    podman.ok(&[
        "network", "create", "--ipv6", "--subnet", V4, "--subnet", V6, "net1",
    ]);
    let written = podman.conflist("net1");
    let types = written["plugins"].as_array().unwrap().iter();
    let types: Vec<_> = types
        .map(|plugin| plugin["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["bridge", "portmap", "firewall", "tuning"]);
    publish(suite, &world, &podman, "net1");
}

/// `conf/20-podman.conflist` is what podman writes.
#[test]
fn the_example_is_as_podman_has_it() {
    let world = World::new();
    let podman = Podman::new(&world, Suite::ours().bin_dir(), &[]);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/20-podman.conflist");
    let mut example: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    podman.ok(&["network", "create", "--subnet", V4, "net1"]);
    let written = podman.conflist("net1");
    // The default network has the first name, the first bridge and the first subnet.
    example["name"] = json!("net1");
    for path in ["/plugins/0/bridge", "/plugins/0/ipam/ranges"] {
        *example.pointer_mut(path).unwrap() = written.pointer(path).unwrap().clone();
    }
    assert_eq!(written, example);
}

/// Containers with published ports on a network come and go, beside one that stays.
fn publish(suite: &Suite, world: &World, podman: &Podman, network: &str) {
    let outside = ports::outside(world);
    podman.run("two", &["--network", network]);
    let neighbour = podman.netns(world, "two");
    let before = state(world);
    for name in ["one", "other"] {
        let published = [&["--network", network], &PUBLISHED[..]].concat();
        let id = podman.run(name, &published);
        let container = podman.netns(world, name);
        let listener = Listener::new(&container, 80);
        let addresses = addresses(podman, name, network);
        let gateways = gateways(podman, name, network);
        assert_eq!(gateways.len(), addresses.len());
        for ((host, own), gateway) in HOST.iter().zip(OUTSIDE).zip(&gateways) {
            let at = format!("{host}:8080");
            assert_eq!(listener.sees_both(&outside, &at), own);
            listener.sees_both(world.host(), &at);
            // The answers of a container to itself and to its neighbour would go the short way.
            for inside in [&container, &neighbour] {
                assert_eq!(&listener.sees_both(inside, &at), gateway);
            }
        }
        let over_loopback = listener.sees_both(world.host(), "127.0.0.1:8080");
        assert_eq!(over_loopback, gateways[0]);

        podman.ok(&["stop", "--time", "0", name]);
        for (protocol, host) in PROTOCOLS.iter().zip(HOST) {
            listener.sees_nobody(protocol, &outside, &format!("{host}:8080"));
        }
        podman.ok(&["rm", "--force", "--time", "0", name]);
        let words = addresses.iter().chain([&id]).map(String::as_str);
        let after = state(world);
        assert_eq!(after.naming(&words.collect::<Vec<_>>()), Vec::<&str>::new());
        if !differs(suite, "firewall-chains-stay") {
            before.assert_unchanged(&after);
        }
    }
}

/// All that plugins and podman's libcni keep.
fn state(world: &World) -> Snapshot {
    let snapshot = world.snapshot().tree("/var/lib/cni".as_ref());
    let snapshot = snapshot.tree("/run/cni".as_ref());
    snapshot.without("last_reserved_ip")
}

fn gateways(podman: &Podman, container: &str, network: &str) -> Vec<String> {
    let attachment = podman.attachment(container, network);
    let text = |key: &str| attachment[key].as_str().unwrap().to_owned();
    let mut found = vec![text("Gateway"), text("IPv6Gateway")];
    found.retain(|address| !address.is_empty());
    found
}
