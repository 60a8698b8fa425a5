//! DEL of the bridge plugin: does all it can, whatever is gone or broken, and touches nothing else.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fs;

use cni_testkit::{Conf, Fakes, Netns, Snapshot, Suite, World, conf, fakes};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::network::{Attached, Network};

const V4: &str = "10.85.0.0/24";
const V6: &str = "fd85::/64";
const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    a_second_del_succeeds => |suite| twice(suite);
    a_container_that_was_never_added => |suite| never_added(suite);
    the_namespace_is_gone => |suite| gone_namespace(suite);
    the_variable_is_empty => |suite| empty_variable(suite);
    the_namespaces_path_is_a_plain_file => |suite| plain_file(suite);
    without_a_prev_result => |suite| odd_prev_result(suite, Value::Null);
    foreign_things_stay => |suite| foreign(suite);
}

fn network<'a>(suite: &'a Suite, world: &World) -> Network<'a> {
    let ipam = conf::host_local(world, &[V4, V6]);
    let keys = json!({"ipMasq": true, "macspoofchk": true, "hairpinMode": true});
    Network::new(suite, conf::bridge(VERSION).ipam(ipam).with(keys))
}

/// Nothing on the host names the container, its addresses or its link any more.
#[track_caller]
fn assert_nothing_left(world: &World, attached: &Attached<'_>) {
    let links: Vec<_> = world.host().link_names();
    assert_eq!(links, ["lo", "tenon0"]);
    let left = world.snapshot().without("last_reserved_ip");
    let names = [
        "c1",
        "10.85.0.2",
        "fd85::2",
        attached.host_end(),
        attached.mac(),
    ];
    assert_eq!(left.naming(&names), Vec::<&str>::new());
}

fn twice(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world).add("c1", &c1);
    attached.del_ok();
    assert_nothing_left(&world, &attached);
    let before = world.snapshot();
    attached.del_ok();
    attached.with_result(Value::Null).del_ok();
    before.assert_unchanged(&world.snapshot());
}

fn never_added(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let network = network(suite, &world);
    let before = world.snapshot();
    network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
    let after = if differs(suite, "del-makes-data-dir") {
        Snapshot::of(world.host())
    } else {
        world.snapshot()
    };
    before.assert_unchanged(&after);
    assert!(world.host().link("tenon0").is_none());
}

/// Everything of the attachment but a namespace that can be opened is there.
fn gone_namespace(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world).add("c1", &c1);
    drop(c1);
    attached.del_ok();
    if !differs(suite, "del-without-namespace") {
        assert_nothing_left(&world, &attached);
    }
    attached.del_ok();
}

fn empty_variable(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world).add("c1", &c1);
    attached.with_netns("").del_ok();
    if !differs(suite, "del-without-namespace") {
        assert_nothing_left(&world, &attached);
        assert!(c1.link("eth0").is_none());
    }
    attached.del_ok();
}

/// What is left of a bind mount after a reboot.
fn plain_file(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world).add("c1", &c1);
    let stale = world.file("stale", "");
    drop(c1);
    let outcome = attached.with_netns(stale.to_str().unwrap()).del();
    if differs(suite, "del-without-namespace") {
        outcome.expect_any_error();
    } else {
        outcome.expect_silent_ok();
        assert_nothing_left(&world, &attached);
    }
}

fn odd_prev_result(suite: &Suite, result: Value) {
    let world = World::new();
    let c1 = world.container("c1");
    let attached = network(suite, &world).add("c1", &c1);
    attached.with_result(result).del_ok();
    assert_nothing_left(&world, &attached);
}

#[test]
fn whatever_the_prev_result_is() {
    let suite = Suite::ours();
    let rubbish = [
        json!({}),
        json!("text"),
        json!([]),
        json!({"cniVersion": "0.2.0", "ip4": {"ip": "10.85.0.2/24"}}),
        json!({"cniVersion": "9.9.9"}),
        json!({"cniVersion": VERSION, "ips": [{"address": "not an address"}]}),
        json!({"cniVersion": VERSION, "interfaces": 7}),
        // Another container's addresses are not ours to touch.
        json!({"cniVersion": VERSION, "ips": [{"address": "10.85.0.3/24"}]}),
    ];
    for result in rubbish {
        odd_prev_result(&suite, result);
    }
}

/// The container's namespace has lost its name, but a process keeps it and the link in it.
#[test]
fn a_namespace_that_lives_on_without_a_path() {
    let suite = Suite::ours();
    for variable_is_empty in [false, true] {
        let world = World::new();
        let c1 = world.container("c1");
        let attached = network(&suite, &world).add("c1", &c1);
        let kept = world.file("kept", "");
        world
            .host()
            .command("mount", &["--bind", c1.path_str(), kept.to_str().unwrap()]);
        let path = c1.path_str().to_owned();
        drop(c1);
        assert!(world.host().link(attached.host_end()).is_some());
        let netns = if variable_is_empty { "" } else { path.as_str() };
        attached.with_netns(netns).with_result(Value::Null).del_ok();
        assert_nothing_left(&world, &attached);
    }
}

/// An operator's edits between ADD and DEL.
#[test]
fn the_config_was_edited() {
    let suite = Suite::ours();
    let edits: [fn(Conf) -> Conf; 9] = [
        |conf| conf.with(json!({"bridge": "another0"})),
        |conf| conf.with(json!({"ipMasq": false, "macspoofchk": false})),
        |conf| conf.with(json!({"ipMasqBackend": "iptables"})),
        |conf| conf.with(json!({"ipMasqBackend": "rubbish"})),
        |conf| conf.with(json!({"vlan": 9999, "mtu": "many", "hairpinMode": 7})),
        |conf| conf.with(json!({"promiscMode": true, "hairpinMode": true})),
        |conf| conf.with_ipam(json!({"ranges": [[{"subnet": "rubbish"}]]})),
        |conf| conf.with_ipam(json!({"ranges": [[{"subnet": "10.99.0.0/24"}]]})),
        |conf| conf.with_ipam(json!({"ranges": [], "routes": "none", "resolvConf": "/nowhere"})),
    ];
    for edit in edits {
        let world = World::new();
        let c1 = world.container("c1");
        let network = network(&suite, &world);
        let attached = network.add("c1", &c1);
        let edited = network.edited(edit);
        attached.of(&edited).del_ok();
        assert_nothing_left(&world, &attached);
    }
}

/// The address cannot be given back, which is told; everything else is gone.
/// What happens to the fakes.
type Mishap = fn(&Fakes<'_>);

#[test]
fn the_ipam_fails() {
    let suite = Suite::ours();
    let rows: [(&str, Mishap, &str); 4] = [
        (
            "fails",
            |fakes| fakes.failing("ipam", 77, "no database"),
            "no database",
        ),
        (
            "says nothing",
            |fakes| fakes.failing_without_words("ipam", "on fire"),
            "on fire",
        ),
        (
            "is missing",
            |fakes| fs::remove_file(fakes.dir().join("ipam")).unwrap(),
            "ipam",
        ),
        ("hangs", |fakes| fakes.hanging_always("ipam"), "ipam"),
    ];
    for (case, breaks, text) in rows {
        let world = World::new();
        let c1 = world.container("c1");
        let fakes = Fakes::new(&world);
        fakes.answering(
            "ipam",
            &fakes::ipam_result(VERSION, "10.85.0.2/24", "10.85.0.1"),
        );
        let conf = conf::bridge(VERSION)
            .with(json!({"ipMasq": true, "macspoofchk": true, "delegateTimeout": 1}));
        let network = Network::new(&suite, conf.ipam(json!({"type": "ipam"})));
        let added = network
            .call_for("ADD", "c1", &c1)
            .path_first(&fakes.dir())
            .run();
        let result = added.expect_ok().json();
        breaks(&fakes);
        let call = network
            .edited(|conf| conf.prev_result(&result))
            .call_for("DEL", "c1", &c1);
        let error = call.path_first(&fakes.dir()).run().expect_any_error();
        let told = format!("{} {}", error["msg"], error["details"]);
        assert!(told.contains(text), "{case}: {error}");
        assert!(c1.link("eth0").is_none(), "{case}");
        assert_eq!(world.host().link_names(), ["lo", "tenon0"], "{case}");
        let left = world.snapshot();
        assert_eq!(
            left.naming(&["c1", "10.85.0.2"]),
            Vec::<&str>::new(),
            "{case}"
        );
    }
}

/// Links, addresses, routes, rules, sets and files that somebody else has made.
fn make_foreign(world: &World, c1: &Netns) {
    let host = world.host();
    for words in [
        "link add veth0badcafe type veth peer name uplink",
        "link set veth0badcafe master tenon0",
        "link set uplink alias somebodys",
        "addr add 10.99.0.1/24 dev uplink",
        "link set uplink up",
        "route add 198.51.100.0/24 dev uplink",
        "rule add from 10.85.0.2 table 7",
    ] {
        host.ip(words);
    }
    let ruleset = "table inet theirs {\n\
         set pods { type ipv4_addr; elements = { 10.85.0.2 }; }\n\
         chain post { type nat hook postrouting priority srcnat; ip saddr @pods masquerade; }\n}\n\
         table bridge nat { chain theirs { ether saddr 02:00:00:00:00:01 drop; }\n}\n";
    let file = world.file("foreign.nft", ruleset);
    host.command("nft", &["-f", file.to_str().unwrap()]);
    let rule = "-t nat -A POSTROUTING -s 10.85.0.2 -m comment --comment c1 -j MASQUERADE";
    host.command("iptables", &rule.split(' ').collect::<Vec<_>>());
    c1.ip("link add eth1 type veth peer name eth2");
    c1.ip("addr add 10.98.0.1/24 dev eth1");
    fs::create_dir_all(world.data_dir().join("other-net")).unwrap();
    fs::write(world.data_dir().join("other-net/10.85.0.2"), "c1\r\neth0").unwrap();
    fs::write(world.data_dir().join("tenon-net/10.85.0.77"), "c1\r\neth1").unwrap();
    fs::write(world.data_dir().join("tenon-net/10.85.0.78"), "c12\r\neth0").unwrap();
}

fn foreign(suite: &Suite) {
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let network = network(suite, &world);
    let bystander = network.add("c2", &c2);
    make_foreign(&world, &c1);
    let (host, container) = (world.snapshot(), Snapshot::of(&c1));
    let bystanders = Snapshot::of(&c2);
    let attached = network.add("c1", &c1);
    assert_ne!(host, world.snapshot());
    attached.del_ok();
    let own = |snapshot: Snapshot| snapshot.without("last_reserved_ip");
    own(host).assert_unchanged(&own(world.snapshot()));
    container.assert_unchanged(&Snapshot::of(&c1));
    bystanders.assert_unchanged(&Snapshot::of(&c2));
    bystander.check_ok();
}

/// An interface by that name that nobody of ours has made.
#[test]
fn a_foreign_interface_of_that_name_stays() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    c1.ip("link add eth0 type bridge");
    let before = Snapshot::of(&c1);
    network(&suite, &world)
        .call_for("DEL", "c1", &c1)
        .run()
        .expect_silent_ok();
    before.assert_unchanged(&Snapshot::of(&c1));
}
