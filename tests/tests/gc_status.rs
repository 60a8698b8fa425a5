//! GC and STATUS, which the reference has not: the bridge and its host-local together.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fs;

use cni_testkit::{Fakes, Netns, Snapshot, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::network::{Attached, Network};

const V4: &str = "10.89.0.0/24";
const V6: &str = "fd89::/64";
const VERSION: &str = "1.1.0";

fn network<'a>(suite: &'a Suite, world: &World, keys: &Value) -> Network<'a> {
    let ipam = conf::host_local(world, &[V4, V6]);
    let rules = json!({"ipMasq": true, "macspoofchk": true});
    Network::new(
        suite,
        conf::bridge(VERSION)
            .ipam(ipam)
            .with(rules)
            .with(keys.clone()),
    )
}

fn gc(network: &Network<'_>, valid: &[(&str, &str)]) {
    let network = network.edited(|conf| conf.valid_attachments(valid));
    network.call("GC").run().expect_silent_ok();
}

/// What names the attachment on the host.
#[track_caller]
fn assert_gone(world: &World, id: &str, attached: &Attached<'_>) {
    let snapshot = world.snapshot().without("last_reserved_ip");
    let addresses: Vec<_> = attached
        .cidrs()
        .iter()
        .map(|cidr| tenon_tests::network::bare(cidr))
        .collect();
    let mut names = vec![id, attached.host_end(), attached.mac()];
    names.extend(addresses.iter().map(String::as_str));
    assert_eq!(snapshot.naming(&names), Vec::<&str>::new());
}

/// Namespaces of removed attachments are usually gone; where one is not, its link goes as well.
#[test]
fn what_is_not_valid_goes_and_the_rest_works_on() {
    let suite = Suite::ours();
    for backend in [json!({}), json!({"ipMasqBackend": "iptables"})] {
        let world = World::new();
        let [c1, c2, c3] = ["pod1", "pod2", "pod3"].map(|name| world.container(name));
        let network = network(&suite, &world, &backend);
        let valid = network.add("pod1", &c1);
        let (crashed, alive) = (network.add("pod2", &c2), network.add("pod3", &c3));
        drop(c2);
        gc(&network, &[("pod1", "eth0")]);
        assert_gone(&world, "pod2", &crashed);
        assert_gone(&world, "pod3", &alive);
        assert!(c3.link("eth0").is_none());
        valid.check_ok();
        for address in valid.cidrs() {
            assert!(world.host().ping(&address), "{address}");
        }
        let before = world.snapshot();
        gc(&network, &[("pod1", "eth0")]);
        before.assert_unchanged(&world.snapshot());
        crashed.del_ok();
        gc(&network, &[]);
        assert_gone(&world, "pod1", &valid);
    }
}

#[test]
fn a_container_is_valid_for_one_interface_only() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("pod1");
    let network = network(
        &suite,
        &world,
        &json!({"isDefaultGateway": false, "isGateway": true}),
    );
    let first = network.add("pod1", &c1);
    let second = network.add_at("pod1", &c1, "eth1");
    gc(&network, &[("pod1", "eth1")]);
    assert!(c1.link("eth0").is_none());
    second.check_ok();
    assert!(first.check().code != 0);
    // Ids that only look alike.
    gc(
        &network,
        &[
            ("pod1", "eth1"),
            ("pod", "eth0"),
            ("pod11", "eth0"),
            ("../pod1", "eth0"),
        ],
    );
    second.check_ok();
}

#[test]
fn other_networks_and_foreign_things_stay() {
    let suite = Suite::ours();
    let world = World::new();
    let [c1, c2] = ["pod1", "pod2"].map(|name| world.container(name));
    let ours = network(&suite, &world, &json!({}));
    let other = network(
        &suite,
        &world,
        &json!({"name": "other-net", "bridge": "tenon1"}),
    )
    .edited(|conf| conf.ipam(conf::host_local(&world, &["10.90.0.0/24"])));
    // The name of one is the beginning of the other's.
    let longer = ours.edited(|conf| {
        conf.with(json!({"name": "tenon-net2", "bridge": "tenon2"}))
            .ipam(conf::host_local(&world, &["10.91.0.0/24"]))
    });
    let theirs = other.add("pod1", &c1);
    let theirs_too = longer.add_at("pod1", &c1, "eth1");
    make_foreign(&world);
    let before = world.snapshot();
    let stale = ours.add("pod2", &c2);
    gc(&ours, &[]);
    assert_gone(&world, "pod2", &stale);
    let own = |snapshot: Snapshot| {
        snapshot
            .without("last_reserved_ip")
            .without("tenon-net/")
            .without("tenon0")
            .without("forward")
            .without("10.89.0.0/24")
            .without("10.89.0.1")
            .without("10.89.0.255")
            .without("fd89:")
    };
    own(before).assert_unchanged(&own(world.snapshot()));
    theirs.check_ok();
    theirs_too.check_ok();
}

fn make_foreign(world: &World) {
    world
        .host()
        .ip("link add veth12345678 type veth peer name uplink");
    world.host().ip("link set veth12345678 alias backup-link");
    let ruleset = "table inet theirs {\n chain post { type nat hook postrouting priority srcnat; ip saddr 10.89.0.77 masquerade; }\n}\n";
    let file = world.file("foreign.nft", ruleset);
    world.host().command("nft", &["-f", file.to_str().unwrap()]);
    fs::create_dir_all(world.data_dir().join("third-net")).unwrap();
    fs::write(world.data_dir().join("third-net/10.89.0.77"), "c7\r\neth0").unwrap();
}

#[test]
fn gc_of_a_network_that_never_was() {
    let suite = Suite::ours();
    let world = World::new();
    let before = world.snapshot();
    gc(&network(&suite, &world, &json!({})), &[]);
    before.assert_unchanged(&world.snapshot());
}

#[test]
fn gc_without_the_list_of_valid_ones_removes_nothing_by_mistake() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("pod1");
    let network = network(&suite, &world, &json!({}));
    let attached = network.add("pod1", &c1);
    let rubbish = [
        json!("all"),
        json!([7]),
        json!([{"containerID": 7}]),
        json!({}),
    ];
    for list in rubbish {
        let network = network.edited(|conf| conf.with(json!({"cni.dev/valid-attachments": list})));
        network.call("GC").run().expect_any_error();
        attached.check_ok();
    }
    let outcome = network.call("GC").run();
    assert!(
        outcome.code == 0 || outcome.json()["code"].is_u64(),
        "{outcome}"
    );
    attached.check_ok();
}

/// libcni since 1.2.3 sends the older key as well.
#[test]
fn the_older_key_is_understood() {
    let suite = Suite::ours();
    let world = World::new();
    let [c1, c2] = ["pod1", "pod2"].map(|name| world.container(name));
    let network = network(&suite, &world, &json!({}));
    let (valid, stale) = (network.add("pod1", &c1), network.add("pod2", &c2));
    let list = json!([{"containerID": "pod1", "ifname": "eth0"}]);
    let keys = json!({"cni.dev/attachments": list, "cni.dev/valid-attachments": list});
    let network = network.edited(|conf| conf.with(keys));
    network.call("GC").run().expect_silent_ok();
    valid.check_ok();
    assert_gone(&world, "pod2", &stale);
}

#[test]
fn gc_goes_on_when_the_ipam_fails_and_tells() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("pod1");
    let network = network(&suite, &world, &json!({}));
    let attached = network.add("pod1", &c1);
    let fakes = Fakes::new(&world);
    fakes.failing("host-local", 77, "no database");
    let network = network.edited(|conf| conf.valid_attachments(&[]));
    let error = network
        .call("GC")
        .path_first(&fakes.dir())
        .run()
        .expect_error(77);
    assert!(error.to_string().contains("no database"), "{error}");
    assert!(world.host().link(attached.host_end()).is_none());
    let left = world.snapshot();
    assert!(
        !left
            .lines()
            .iter()
            .any(|line| line.starts_with("nft") && line.contains("10.89.0.2"))
    );
}

#[test]
fn gc_hands_the_list_on() {
    let suite = Suite::ours();
    let world = World::new();
    let fakes = Fakes::new(&world);
    let recording = fakes.recording("ipam", &json!({}));
    let conf = conf::bridge(VERSION).ipam(json!({"type": "ipam"}));
    let network = Network::new(&suite, conf.valid_attachments(&[("pod1", "eth0")]));
    network
        .call("GC")
        .path_first(&fakes.dir())
        .run()
        .expect_silent_ok();
    assert_eq!(recording.commands(), ["GC"]);
    let stdin = &recording.calls()[0].stdin;
    assert_eq!(
        stdin["cni.dev/valid-attachments"],
        json!([{"containerID": "pod1", "ifname": "eth0"}])
    );
}

fn small_pool(world: &World) -> Value {
    json!({
        "type": "host-local", "dataDir": world.data_dir(),
        "ranges": [[{"subnet": V4, "rangeStart": "10.89.0.1", "rangeEnd": "10.89.0.3"}]],
    })
}

#[test]
fn status_tells_of_an_exhausted_pool() {
    let suite = Suite::ours();
    let world = World::new();
    let containers: Vec<Netns> = ["pod1", "pod2"]
        .iter()
        .map(|name| world.container(name))
        .collect();
    let network = network(&suite, &world, &json!({})).edited(|conf| conf.ipam(small_pool(&world)));
    network.call("STATUS").run().expect_silent_ok();
    let first = network.add("pod1", &containers[0]);
    network.call("STATUS").run().expect_silent_ok();
    network.add("pod2", &containers[1]);
    let before = world.snapshot();
    let error = network.call("STATUS").run().expect_error(50);
    let text = "no IP addresses available in range set: 10.89.0.1-10.89.0.3";
    assert!(error["msg"].as_str().unwrap().contains(text), "{error}");
    before.assert_unchanged(&world.snapshot());
    // Never a precondition of other commands.
    first.check_ok();
    first.del_ok();
    network.call("STATUS").run().expect_silent_ok();
}

#[test]
fn status_tells_of_a_disk_that_cannot_be_written() {
    let suite = Suite::ours();
    let world = World::new();
    let disk = world.small_disk("disk", 64 << 10);
    fs::create_dir_all(disk.join("tenon-net")).unwrap();
    world.read_only(disk.to_str().unwrap());
    let network =
        network(&suite, &world, &json!({})).edited(|conf| conf.with_ipam(json!({"dataDir": disk})));
    let error = network.call("STATUS").run().expect_error(50);
    assert!(
        error.to_string().contains(disk.to_str().unwrap()),
        "{error}"
    );
}

#[test]
fn status_changes_nothing() {
    let suite = Suite::ours();
    let world = World::new();
    let before = world.snapshot();
    network(&suite, &world, &json!({}))
        .call("STATUS")
        .run()
        .expect_silent_ok();
    before.assert_unchanged(&world.snapshot());
}
