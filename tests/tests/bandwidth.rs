//! The bandwidth plugin: what ADD makes, what CHECK finds, what is refused.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use cni_testkit::{Outcome, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::limits::{Look, Pair, Wired, ifbs, qdiscs, redirection};
use tenon_tests::network::{IFNAME, Network};

const VERSION: &str = "1.0.0";

/// Of the versions with limits, those that both know.
const VERSIONS: [&str; 4] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"];

cni_testkit::suites! {
    what_is_received_waits_at_the_host_end => |suite| ingress(suite);
    what_is_sent_waits_at_an_ifb => |suite| egress(suite);
    both_directions_in_all_versions => |suite| versions(suite);
    without_limits_the_result_is_passed_on => |suite| pass_through(suite);
    the_runtime_can_ask_for_limits => |suite| runtime_config(suite);
    any_key_of_the_operator_beats_the_runtime => |suite| precedence(suite);
    configs_without_sense_are_refused => |suite| bad_configs(suite);
    what_is_no_veth_pair_is_refused => |suite| bad_results(suite);
    a_foreign_qdisc_is_not_replaced => |suite| foreign_qdiscs(suite);
    other_limits_are_found => |suite| other_limits(suite);
    two_interfaces_of_one_container => |suite| two_interfaces(suite);
    a_second_add_is_refused => |suite| second_add(suite);
    versions_that_know_no_interfaces_are_refused => |suite| old_versions(suite);
    bursts_of_hours => |suite| long_burst(suite);
}

fn both() -> Value {
    json!({"ingressRate": 8_000_000, "ingressBurst": 800_000,
           "egressRate": 16_000_000, "egressBurst": 1_600_000})
}

fn ingress_only() -> Value {
    json!({"ingressRate": 8_000_000, "ingressBurst": 800_000})
}

fn egress_only() -> Value {
    json!({"egressRate": 16_000_000, "egressBurst": 1_600_000})
}

/// A token bucket at a link's root as `tc` tells it: bytes per second, bytes, microseconds.
fn bucket(rate: u64, burst: u64, latency: u64) -> Value {
    json!({"kind": "tbf", "handle": "1:", "root": true, "refcnt": 2,
           "options": {"rate": rate, "burst": burst, "lat": latency}})
}

/// The references to a qdisc are of the queues of its link.
fn without_refs(mut qdiscs: Vec<Value>) -> Vec<Value> {
    for qdisc in &mut qdiscs {
        qdisc["refcnt"] = json!(2);
    }
    qdiscs
}

#[track_caller]
fn assert_says(outcome: &Outcome, words: &str) {
    let error = outcome.expect_any_error();
    let text = format!("{} {}", error["msg"], error["details"]);
    assert!(text.contains(words), "no {words:?} in\n{outcome}");
}

/// The code of an error of ours; the reference's are 999.
#[track_caller]
fn assert_code(suite: &Suite, outcome: &Outcome, code: u32) {
    let code = if differs(suite, "error-codes") {
        999
    } else {
        code
    };
    outcome.expect_error(code);
}

fn ingress(suite: &Suite) {
    let wired = Wired::new();
    let network = wired.pair.limited(suite, VERSION, &ingress_only());
    let added = network.add("c1", &wired.c1);
    let found = without_refs(wired.qdiscs(&wired.pair.host_end));
    assert_eq!(found, [bucket(1_000_000, 100_000, 25_000)]);
    assert_eq!(ifbs(wired.world.host()), Vec::<String>::new());
    let told = wired.pair.result(VERSION);
    assert_eq!(added.result["interfaces"], told["interfaces"]);
    added.check_ok();
}

fn egress(suite: &Suite) {
    let wired = Wired::new();
    let (host, end) = (wired.world.host(), &wired.pair.host_end);
    host.ip(&format!("link set {end} mtu 1400"));
    let network = wired.pair.limited(suite, VERSION, &egress_only());
    let added = network.add("c1", &wired.c1);

    let told = added.interface(3);
    let name = told["name"].as_str().unwrap();
    assert_eq!(ifbs(host), [name]);
    // printf %s tenon-netc1 | sha512sum
    assert_eq!(name, "bwp49a4701e120c");
    let ifb = host.link(name).unwrap();
    assert_eq!(ifb["address"], told["mac"]);
    assert_eq!(ifb["mtu"], 1400);
    assert_eq!(ifb["txqlen"], Value::Null, "iproute2 leaves out a zero");
    assert!(ifb["flags"].as_array().unwrap().contains(&json!("UP")));

    let found = without_refs(wired.qdiscs(name));
    assert_eq!(found, [bucket(2_000_000, 200_000, 25_000)]);
    let at_end = wired.qdiscs(end);
    assert_eq!(at_end.len(), 1, "{at_end:?}");
    assert_eq!(at_end[0]["kind"], "ingress");
    assert_eq!(at_end[0]["handle"], "ffff:");
    assert_eq!(redirection(host, end).as_deref(), Some(name));
    added.check_ok();
}

fn versions(suite: &Suite) {
    for version in VERSIONS {
        let wired = Wired::new();
        let before = wired.look();
        let network = wired.pair.limited(suite, version, &both());
        let added = network.add("c1", &wired.c1);
        let mut expected = wired.pair.result(version);
        let ifb = json!({"name": ifbs(wired.world.host())[0], "mac": added.interface(3)["mac"]});
        expected["interfaces"].as_array_mut().unwrap().push(ifb);
        if version < "1.0.0" || differs(suite, "empty-dns") {
            expected["dns"] = json!({});
        }
        assert_eq!(added.result, expected, "{version}");
        if version >= "0.4.0" {
            added.check_ok();
            added.del_ok();
        } else {
            network
                .call_for("DEL", "c1", &wired.c1)
                .run()
                .expect_silent_ok();
        }
        assert_eq!(ifbs(wired.world.host()), Vec::<String>::new());
        if !differs(suite, "host-end-freed") {
            wired.assert_unchanged(&before);
        }
    }
}

fn pass_through(suite: &Suite) {
    let zeros = json!({"ingressRate": 0, "ingressBurst": 0, "egressRate": 0, "egressBurst": 0});
    for version in VERSIONS {
        for keys in [
            json!({}),
            zeros.clone(),
            json!({"runtimeConfig": {"bandwidth": zeros}}),
        ] {
            let wired = Wired::new();
            let before = wired.look();
            // Not even a veth pair is needed.
            let told = json!({
                "cniVersion": version,
                "interfaces": [{"name": "macvlan0", "sandbox": wired.c1.path_str()}],
                "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
                "dns": {"nameservers": ["10.1.0.1"]},
            });
            let network = wired.pair.limited(suite, version, &keys);
            let network = network.edited(|conf| conf.prev_result(&told));
            let added = network.add("c1", &wired.c1);
            assert_eq!(added.result, told, "{version} {keys}");
            if version >= "0.4.0" && !differs(suite, "nothing-limited") {
                added.check_ok();
            }
            added.del_ok();
            wired.assert_unchanged(&before);
        }
    }
}

fn runtime_config(suite: &Suite) {
    let wired = Wired::new();
    let keys = json!({"capabilities": {"bandwidth": true}, "RuntimeConfig": {"bandwidth": both()}});
    let added = wired
        .pair
        .limited(suite, VERSION, &keys)
        .add("c1", &wired.c1);
    let found = without_refs(wired.qdiscs(added.interface(3)["name"].as_str().unwrap()));
    assert_eq!(found, [bucket(2_000_000, 200_000, 25_000)]);
    added.check_ok();
}

fn precedence(suite: &Suite) {
    for (top, limited) in [
        (
            json!({"ingressRate": 800_000, "ingressBurst": 800_000}),
            true,
        ),
        (json!({"egressRate": 0}), false),
        (json!({"IngressBurst": null}), false),
    ] {
        let wired = Wired::new();
        let network = wired.pair.limited(suite, VERSION, &top);
        let runtime = json!({"runtimeConfig": {"bandwidth": both()}});
        network
            .edited(|conf| conf.with(runtime))
            .add("c1", &wired.c1);
        let expected = if limited {
            vec![bucket(100_000, 100_000, 24_999)]
        } else {
            Vec::new()
        };
        let found = without_refs(wired.qdiscs(&wired.pair.host_end));
        assert_eq!(found, expected, "{top}");
        assert_eq!(ifbs(wired.world.host()), Vec::<String>::new(), "{top}");
    }
}

fn bad_configs(suite: &Suite) {
    let wired = Wired::new();
    let before = wired.look();
    for (keys, code, words) in [
        (
            json!({"ingressRate": 700}),
            7,
            "if rate is set, burst must also be set",
        ),
        (
            json!({"egressBurst": 700}),
            7,
            "if burst is set, rate must also be set",
        ),
        (
            json!({"egressRate": 8000, "egressBurst": 34_359_738_360_u64}),
            7,
            "burst cannot be more than 4GB",
        ),
        (
            json!({"runtimeConfig": {"bandwidth": {"ingressBurst": 9}}}),
            7,
            "if burst is set, rate must also be set",
        ),
        (
            json!({"ingressRate": -1}),
            6,
            "failed to parse network configuration",
        ),
        (
            json!({"ingressRate": 1.5}),
            6,
            "failed to parse network configuration",
        ),
        (
            json!({"egressRate": "1M"}),
            6,
            "failed to parse network configuration",
        ),
    ] {
        let network = wired.pair.limited(suite, VERSION, &keys);
        for command in ["ADD", "CHECK"] {
            let outcome = network.call_for(command, "c1", &wired.c1).run();
            assert_says(&outcome, words);
            assert_code(suite, &outcome, code);
        }
        let outcome = network.call_for("DEL", "c1", &wired.c1).run();
        if differs(suite, "families-of-old-versions") {
            assert_says(&outcome, words);
        } else {
            outcome.expect_silent_ok();
        }
    }
    // Less than a byte per second, and less than a byte.
    for keys in [
        json!({"ingressRate": 7, "ingressBurst": 8000}),
        json!({"ingressRate": 8000, "ingressBurst": 7}),
    ] {
        let network = wired.pair.limited(suite, VERSION, &keys);
        assert_code(suite, &network.try_add("c1", &wired.c1), 7);
    }
    wired.assert_unchanged(&before);
}

fn bad_results(suite: &Suite) {
    let wired = Wired::new();
    wired.c1.ip("link add macvlan0 link eth0 type macvlan");
    wired.c1.ip("link add inner0 type veth peer name inner1");
    let before = wired.look();
    let interfaces = |list: Value| json!({"cniVersion": VERSION, "interfaces": list});
    let end = &wired.pair.host_end;
    let other = interfaces(json!([{"name": "veth0"}, {"name": end, "sandbox": "/run/netns/c1"}]));
    let good = wired.pair.result(VERSION);
    let not_chained = "must be called as chained plugin";
    for (result, ifname, code, words) in [
        (Value::Null, IFNAME, 7, not_chained),
        (
            json!({"cniVersion": VERSION}),
            IFNAME,
            7,
            "no interfaces provided",
        ),
        (
            other,
            IFNAME,
            102,
            "no veth peer of container interface found in host ns",
        ),
        (good.clone(), "macvlan0", 102, "macvlan0"),
        (
            good.clone(),
            "eth7",
            102,
            "container interface eth7 has no veth peer",
        ),
        (good, "inner0", 102, "is not in host ns"),
        (
            json!({"cniVersion": VERSION, "interfaces": 7}),
            IFNAME,
            6,
            "could not parse prevResult",
        ),
    ] {
        let network = wired.pair.limited(suite, VERSION, &both());
        let network = network.edited(|conf| conf.prev_result(&result));
        let call = network.call_for("ADD", "c1", &wired.c1).ifname(ifname);
        let outcome = call.run();
        assert_says(&outcome, words);
        assert_code(suite, &outcome, code);
        if result.is_null() {
            let outcome = network.call_for("CHECK", "c1", &wired.c1).run();
            assert_says(&outcome, "must be called as a chained plugin");
            assert_code(suite, &outcome, 7);
        }
    }
    wired.assert_unchanged(&before);
}

fn foreign_qdiscs(suite: &Suite) {
    for (foreign, keys, named) in [
        ("root handle 1: htb", both(), "htb 1:"),
        ("root handle 7: htb", ingress_only(), "htb 7:"),
        (
            "root handle 1: tbf rate 1mbit burst 10k limit 20k",
            both(),
            "tbf 1:",
        ),
        ("clsact", both(), "clsact ffff:"),
        ("ingress", egress_only(), "ingress ffff:"),
    ] {
        let wired = Wired::new();
        let (host, end) = (wired.world.host(), &wired.pair.host_end);
        let words = format!("qdisc add dev {end} {foreign}");
        host.command("tc", &words.split(' ').collect::<Vec<_>>());
        let before = wired.look();
        let network = wired.pair.limited(suite, VERSION, &keys);
        let outcome = network.try_add("c1", &wired.c1);
        if differs(suite, "failed-add") {
            assert_says(&outcome, "file exists");
            continue;
        }
        outcome.expect_error(101);
        assert_says(&outcome, named);
        assert_says(&outcome, end);
        wired.assert_unchanged(&before);
        network
            .call_for("DEL", "c1", &wired.c1)
            .run()
            .expect_silent_ok();
        wired.assert_unchanged(&before);
    }
}

fn other_limits(suite: &Suite) {
    let wired = Wired::new();
    let network = wired.pair.limited(suite, VERSION, &both());
    let added = network.add("c1", &wired.c1);
    for (edit, words) in [
        (json!({"ingressRate": 9_000_000}), "Rate doesn't match"),
        (json!({"egressRate": 17_000_000}), "Rate doesn't match"),
        (json!({"ingressBurst": 900_000}), "Limit doesn't match"),
        (json!({"egressBurst": 1_700_000}), "Limit doesn't match"),
    ] {
        let edited = network.edited(|conf| conf.with(edit));
        let outcome = added.of(&edited).check();
        assert_says(&outcome, words);
        assert_code(suite, &outcome, 103);
    }
    added.check_ok();
    wired
        .world
        .host()
        .command("tc", &["qdisc", "del", "dev", &wired.pair.host_end, "root"]);
    let outcome = added.check();
    if !differs(suite, "check-limits") {
        assert_says(&outcome, "Failed to find qdisc");
        assert_code(suite, &outcome, 103);
    }
}

/// One container, one network, two interfaces.
fn two_interfaces(suite: &Suite) {
    let wired = Wired::new();
    let host = wired.world.host();
    let second = Pair::new(&wired.world, &wired.c1, "eth1", 2);
    let before = wired.look();
    let eth0 = wired
        .pair
        .limited(suite, VERSION, &both())
        .add("c1", &wired.c1);
    let network = second.limited(suite, VERSION, &both());
    let call = network.call_for("ADD", "c1", &wired.c1).ifname("eth1");
    if differs(suite, "ifb-per-interface") {
        assert_says(&call.run(), "file exists");
        return;
    }
    let eth1 = network.add_at("c1", &wired.c1, "eth1");
    let names = [&eth0, &eth1].map(|one| one.interface(3)["name"].as_str().unwrap().to_owned());
    assert_ne!(names[0], names[1]);
    for (pair, name) in [&wired.pair, &second].into_iter().zip(&names) {
        assert_eq!(redirection(host, &pair.host_end).as_ref(), Some(name));
        assert_eq!(qdiscs(host, name)[0]["options"]["rate"], 2_000_000);
    }
    eth0.check_ok();
    eth1.check_ok();
    // Either goes by itself.
    eth0.del_ok();
    assert_eq!(ifbs(host), [names[1].as_str()]);
    eth1.check_ok();
    let again = eth0.network().add("c1", &wired.c1);
    assert_eq!(again.interface(3)["name"], names[0]);
    eth1.del_ok();
    again.check_ok();
    again.del_ok();
    wired.assert_unchanged(&before);
}

fn second_add(suite: &Suite) {
    for keys in [both(), ingress_only(), egress_only()] {
        let wired = Wired::new();
        let network = wired.pair.limited(suite, VERSION, &keys);
        let added = network.add("c1", &wired.c1);
        let before = wired.look();
        let outcome = network.try_add("c1", &wired.c1);
        assert_code(suite, &outcome, 101);
        wired.assert_unchanged(&before);
        added.check_ok();
    }
}

fn old_versions(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    for version in ["0.1.0", "0.2.0"] {
        let network = Network::new(suite, conf::plugin(version, "bandwidth"));
        for command in ["ADD", "DEL"] {
            let outcome = network.call_for(command, "c1", &c1).run();
            outcome.expect_error(1);
            assert_says(&outcome, "incompatible CNI versions");
        }
    }
    let call = suite.plugin("bandwidth").command("VERSION");
    let told = call.run().expect_ok().json();
    let mut expected = VERSIONS.to_vec();
    if !differs(suite, "version-1.1.0") {
        expected.push("1.1.0");
    }
    assert_eq!(told["supportedVersions"], json!(expected));
}

/// 2^31 - 1 bits at 1 Mbit/s, as containerd asks for when a pod's annotation does, are 2,147 seconds;
/// the kernel's clock has 275, which are 34 MB. Row `long-burst`.
fn long_burst(suite: &Suite) {
    let wired = Wired::new();
    let keys = json!({"ingressRate": 1_000_000, "ingressBurst": i32::MAX});
    let added = wired
        .pair
        .limited(suite, VERSION, &keys)
        .add("c1", &wired.c1);
    let burst = if differs(suite, "long-burst") {
        27_917_286
    } else {
        34_359_738
    };
    let found = wired.qdiscs(&wired.pair.host_end);
    assert_eq!(found[0]["options"]["burst"], burst, "{found:?}");
    added.check_ok();
}

/// Both sides in one sitting, number by number.
#[test]
fn all_parameters_are_the_references() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for (rate, burst) in [
        (8_u64, 8),
        (123, 456),
        (64_000, 12_112),
        (1_000_003, 999_999),
        (8_000_000, 12_345_678),
        (16_777_217, 2_147_483_647_u64),
        (123_456_789, 8_888_888),
        (10_000_000_000, 80_000_000),
        (40_000_000_000, 30_000_000_000),
    ] {
        let keys = json!({"ingressRate": rate, "ingressBurst": burst,
                          "egressRate": rate, "egressBurst": burst});
        let shown = [&ours, &reference].map(|suite| {
            let wired = Wired::new();
            let network = wired.pair.limited(suite, VERSION, &keys);
            let added = network.add("c1", &wired.c1);
            // What one has made the other finds right.
            for checker in [&ours, &reference] {
                added.of(&network.through(checker)).check_ok();
            }
            let ifb = added.interface(3)["name"].as_str().unwrap();
            [wired.qdiscs(&wired.pair.host_end), wired.qdiscs(ifb)]
        });
        assert_eq!(shown[0], shown[1], "{rate} {burst}");
    }
}

/// Between the bridge and its last word: each plugin does its part of each command.
#[test]
fn behind_a_bridge() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let ipam = conf::host_local(&world, &["10.98.0.0/24", "fd98::/64"]);
    let bridge = Network::new(&suite, conf::bridge("1.1.0").ipam(ipam));
    bridge.add("c0", &world.container("c0")).del_ok();
    let before = Look::at(&world);
    let main = bridge.add("c1", &c1);
    let limits = conf::plugin("1.1.0", "bandwidth").with(both());
    let limits = Network::new(&suite, limits.prev_result(&main.result));
    let limited = limits.add("c1", &c1);
    assert_eq!(limited.interface(3)["mtu"], 1500);
    assert_eq!(limited.result["ips"], main.result["ips"]);
    assert!(world.host().ping(&main.address()) && c1.ping("10.98.0.1") && c1.ping("fd98::1"));
    limited.check_ok();
    main.with_result(limited.result.clone()).check_ok();
    limited.del_ok();
    main.with_result(limited.result.clone()).del_ok();
    before.assert_unchanged(&Look::at(&world));
}
