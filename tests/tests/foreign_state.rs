//! Properties of whole chains over machines that other people use as well: whatever they have there
//! survives ADD, DEL and GC, and GC leaves exactly what is valid.
//!
//! `TENON_PROPERTY_CASES` says how many machines are tried (6 each); what fails shrinks, and is kept in
//! `proptest-regressions/`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cni_testkit::{Conf, Netns, Snapshot, Suite, World, conf, wait_for};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};
use tenon_tests::conflist::Attachment;
use tenon_tests::foreign::{self, Foreign};

const CONTAINERS: [&str; 4] = ["pod1", "pod2", "pod3", "pod4"];

/// The file is named in full: a world has its own working directory.
fn config(file: &'static str) -> ProptestConfig {
    let cases = std::env::var("TENON_PROPERTY_CASES");
    ProptestConfig {
        cases: cases.map_or(6, |cases| cases.parse().unwrap()),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    }
}

/// Which ways a chain takes to the firewall.
#[derive(Debug, Clone, Copy)]
struct Ways {
    masquerade: &'static str,
    ports: &'static str,
    forward: &'static str,
    spoof_check: bool,
}

fn ways() -> impl Strategy<Value = Ways> {
    let either = || prop::sample::select(&["nftables", "iptables"][..]);
    (either(), either(), either(), any::<bool>()).prop_map(
        |(masquerade, ports, forward, spoof_check)| Ways {
            masquerade,
            ports,
            forward,
            spoof_check,
        },
    )
}

/// A chain of everything, on one bridge.
fn list(world: &World, ways: Ways, name: &str, subnets: &[&str]) -> Value {
    let bridge = conf::bridge("1.1.0").ipam(conf::host_local(world, subnets));
    let bridge = bridge.with(json!({
        "ipMasq": true, "ipMasqBackend": ways.masquerade, "macspoofchk": ways.spoof_check,
    }));
    let named = |plugin_type: &str, keys: Value| conf::plugin("1.1.0", plugin_type).with(keys);
    let portmap = json!({"backend": ways.ports, "capabilities": {"portMappings": true}});
    let mut list = conf::list(
        "1.1.0",
        &[
            bridge,
            named("portmap", portmap),
            named("firewall", json!({"backend": ways.forward})),
            named(
                "bandwidth",
                json!({"ingressRate": 8_000_000, "ingressBurst": 1_000_000}),
            ),
            named(
                "tuning",
                json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}),
            ),
        ],
    );
    list["name"] = json!(name);
    list
}

fn attachment<'a>(
    suite: &'a Suite,
    list: &'a Value,
    id: &'a str,
    netns: &'a Netns,
) -> Attachment<'a> {
    let port = 8000 + CONTAINERS.iter().position(|one| *one == id).unwrap();
    let mapping = json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"});
    Attachment::new(suite, list, id, netns).capabilities(json!({"portMappings": [mapping]}))
}

fn snapshot(world: &World) -> Snapshot {
    Snapshot::of(world.host())
        .tree(&world.data_dir())
        .tree("/var/lib/cni".as_ref())
        .without("last_reserved_ip")
}

/// Nothing that was there is gone or different, but for forwarding, which ADD turns on for good.
#[track_caller]
fn assert_all_there(before: &Snapshot, after: &Snapshot) {
    let diff = before.diff(after);
    let lost = diff.lines().filter(|line| line.starts_with("- "));
    let lost: Vec<_> = lost.filter(|line| !line.starts_with("- sysctl ")).collect();
    assert!(lost.is_empty(), "{lost:#?}\n{diff}");
}

fn gc(suite: &Suite, list: &Value, valid: &[&str]) {
    let valid: Vec<_> = valid.iter().map(|id| (*id, "eth0")).collect();
    for plugin in list["plugins"].as_array().unwrap() {
        let conf = Conf(plugin.clone()).with(json!({
            "cniVersion": list["cniVersion"], "name": list["name"],
        }));
        let call = suite.plugin(plugin["type"].as_str().unwrap());
        let conf = conf.without("capabilities").valid_attachments(&valid);
        call.command("GC").conf(&conf).run().expect_silent_ok();
    }
}

/// The bridge stays behind, as the reference's does, so it is made before others come.
fn used_machine(world: &World, suite: &Suite, list: &Value, foreign: &[Foreign]) {
    let netns = world.container("first");
    let first = attachment(suite, list, CONTAINERS[0], &netns);
    let result = first.add();
    first.del(&result);
    let network = list["name"].as_str().unwrap();
    for one in foreign {
        one.make(world, network);
    }
}

fn survives(ways: Ways, foreign: &[Foreign]) {
    let (world, suite) = (World::new(), Suite::ours());
    let list = list(&world, ways, "pods", &["10.66.0.0/24", "fd66::/64"]);
    used_machine(&world, &suite, &list, foreign);
    let before = snapshot(&world);
    let [c1, c2] = ["pod1", "pod2"].map(|name| world.container(name));
    let (pod1, pod2) = (
        attachment(&suite, &list, "pod1", &c1),
        attachment(&suite, &list, "pod2", &c2),
    );
    let result = pod1.add();
    assert_all_there(&before, &snapshot(&world));
    pod1.check(&result);
    pod2.add();
    gc(&suite, &list, &["pod1"]);
    assert_all_there(&before, &snapshot(&world));
    pod1.check(&result);
    pod1.del(&result);
    before.assert_unchanged(&snapshot(&world));
    pod1.del(&result);
    gc(&suite, &list, &[]);
    before.assert_unchanged(&snapshot(&world));
}

#[test]
fn one_of_every_foreign_thing_survives_add_del_and_gc() {
    for way in ["nftables", "iptables"] {
        let ways = Ways {
            masquerade: way,
            ports: way,
            forward: way,
            spoof_check: true,
        };
        survives(ways, &foreign::one_of_each());
    }
}

#[test]
fn whatever_foreign_things_there_are_survive_add_del_and_gc() {
    let cases = config(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/proptest-regressions/foreign_survives.txt"
    ));
    proptest!(cases, |(ways in ways(), foreign in foreign::some(12))| survives(ways, &foreign));
}

/// The facts about each of a network's attachments: leases, links, and whatever names them.
fn owned(world: &World, list: &Value, attached: &[(&str, Value)]) -> BTreeMap<String, Vec<String>> {
    let machine = snapshot(world);
    let network = list["name"].as_str().unwrap();
    let of = |id: &str, result: &Value| -> Vec<String> {
        let mut words = vec![result["interfaces"][1]["name"].as_str().unwrap()];
        words.extend(addresses(result));
        let tag = format!("net: {network}, if: eth0, id: {id}\"");
        let tagged = machine.lines().iter().filter(|line| line.contains(&tag));
        let named = machine.naming(&words).into_iter();
        tagged.cloned().chain(named.map(str::to_owned)).collect()
    };
    let all = attached
        .iter()
        .map(|(id, result)| ((*id).to_owned(), of(id, result)));
    all.filter(|(_, facts)| !facts.is_empty()).collect()
}

fn addresses(result: &Value) -> impl Iterator<Item = &str> {
    let ips = result["ips"].as_array().unwrap().iter();
    ips.map(|ip| ip["address"].as_str().unwrap().split_once('/').unwrap().0)
}

fn collects(ways: Ways, valid: &BTreeSet<usize>, gone: &BTreeSet<usize>) {
    let (world, suite) = (World::new(), Suite::ours());
    let ours = list(&world, ways, "pods", &["10.66.0.0/24"]);
    let mut others = list(&world, ways, "other-pods", &["10.67.0.0/24"]);
    // Ports are the host's.
    others["plugins"].as_array_mut().unwrap().remove(1);
    others["plugins"][0]["bridge"] = json!("tenon1");
    let mut spaces: Vec<_> = CONTAINERS
        .iter()
        .map(|id| Some(world.container(id)))
        .collect();
    let mut attached = Vec::new();
    for (id, netns) in CONTAINERS.iter().zip(&spaces) {
        attached.push((
            *id,
            attachment(&suite, &ours, id, netns.as_ref().unwrap()).add(),
        ));
    }
    let stranger = world.container("stranger");
    let kept = attachment(&suite, &others, "pod1", &stranger);
    let kept_result = kept.add();
    for &at in gone {
        drop(spaces[at].take());
        goes_with_its_namespace(&world, &attached[at].1);
    }
    let valid: Vec<_> = valid.iter().map(|at| CONTAINERS[*at]).collect();
    // Attachments whose namespace is gone still have leases and rules, valid or not.
    gc(&suite, &ours, &valid);
    let left = owned(&world, &ours, &attached);
    let left_ids: BTreeSet<&str> = left.keys().map(String::as_str).collect();
    assert_eq!(left_ids, valid.iter().copied().collect(), "{left:#?}");
    kept.check(&kept_result);
    for ((id, result), netns) in attached.iter().zip(&spaces) {
        if let Some(netns) = netns.as_ref().filter(|_| valid.contains(id)) {
            attachment(&suite, &ours, id, netns).check(result);
        }
    }
    let before = snapshot(&world);
    gc(&suite, &ours, &valid);
    before.assert_unchanged(&snapshot(&world));
}

/// The kernel takes a namespace that has gone apart behind everybody's back.
fn goes_with_its_namespace(world: &World, result: &Value) {
    let host_end = result["interfaces"][1]["name"].as_str().unwrap();
    let is_gone = || !world.host().link_names().contains(&host_end.to_owned());
    wait_for("the end of a link", Duration::from_secs(60), is_gone);
}

#[test]
fn after_gc_a_network_owns_what_is_valid_and_other_networks_are_untouched() {
    let cases = config(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/proptest-regressions/gc_collects.txt"
    ));
    let some = || prop::collection::btree_set(0..CONTAINERS.len(), 0..=CONTAINERS.len());
    proptest!(cases, |(ways in ways(), valid in some(), gone in some())| {
        collects(ways, &valid, &gone);
    });
}
