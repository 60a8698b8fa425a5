//! Half an upgrade, and one taken back: the reference adds and ours goes on, ours adds and the
//! reference goes on, with the same state.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::time::Duration;

use cni_testkit::{Snapshot, Suite, World, conf, wait_for};
use serde_json::{Value, json};
use tenon_tests::differences;
use tenon_tests::network::{Attached, Network, bare};

const V4: &str = "10.92.0.0/24";
const V6: &str = "fd92::/64";

/// The newest version that both know, and the oldest with CHECK.
const VERSIONS: [&str; 2] = ["0.4.0", "1.0.0"];

fn network<'a>(suite: &'a Suite, world: &World, version: &str, keys: &Value) -> Network<'a> {
    let ipam = conf::host_local(world, &[V4, V6]);
    Network::new(suite, conf::bridge(version).ipam(ipam).with(keys.clone()))
}

fn features() -> Vec<Value> {
    vec![
        json!({}),
        json!({"hairpinMode": true, "mtu": 1400}),
        json!({"promiscMode": true}),
        json!({"ipMasq": true}),
        json!({"macspoofchk": true}),
        json!({"ipMasq": true, "macspoofchk": true, "hairpinMode": true}),
    ]
}

/// What names the attachment, on the host and in the leases.
fn traces(world: &World, attached: &Attached<'_>) -> Vec<String> {
    let snapshot = world.snapshot().without("last_reserved_ip");
    let addresses: Vec<_> = attached.cidrs().iter().map(|cidr| bare(cidr)).collect();
    let mut words = vec!["c1", attached.host_end(), attached.mac()];
    words.extend(addresses.iter().map(String::as_str));
    let of_chain = snapshot
        .lines()
        .iter()
        .filter(|line| line.contains("c1-eth0") || line.contains("CNI-"));
    let named = snapshot.naming(&words).into_iter().map(str::to_owned);
    named.chain(of_chain.cloned()).collect()
}

#[test]
fn what_the_reference_added_ours_checks_and_deletes() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for version in VERSIONS {
        for keys in features() {
            let world = World::new();
            let c1 = world.container("c1");
            let before = network(&reference, &world, version, &keys);
            let added = before.add("c1", &c1);
            let after = added.of(&before.through(&ours));
            // Row `upgrade`: rules of the reference count.
            after.check_ok();
            after.del_ok();
            assert!(c1.link("eth0").is_none(), "{keys}");
            assert_eq!(
                traces(&world, &added),
                Vec::<String>::new(),
                "{version} {keys}"
            );
        }
    }
}

/// The rules that the reference made for an attachment, one chain after the other.
#[test]
fn what_is_missing_of_the_references_rules_is_found() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    let keys = json!({"ipMasq": true, "macspoofchk": true});
    let chains = {
        let world = World::new();
        let c1 = world.container("c1");
        network(&reference, &world, "1.0.0", &keys).add("c1", &c1);
        chains_of_the_reference(&world)
    };
    assert!(chains.len() >= 6, "{chains:?}");
    for chain in chains {
        let world = World::new();
        let c1 = world.container("c1");
        let before = network(&reference, &world, "1.0.0", &keys);
        let after = before.add("c1", &c1).of(&before.through(&ours));
        after.check_ok();
        world
            .host()
            .command("nft", &[&format!("flush chain {chain}")]);
        let outcome = after.check();
        assert_ne!(outcome.code, 0, "flushed {chain}, and CHECK did not notice");
        outcome.expect_error(103);
        after.del_ok();
    }
}

/// `family table chain` of each chain with a rule in it.
fn chains_of_the_reference(world: &World) -> Vec<String> {
    let text = world.host().command("nft", &["-j", "list", "ruleset"]);
    let ruleset: Value = serde_json::from_str(&text).unwrap();
    let rules = ruleset["nftables"].as_array().unwrap().iter();
    let rules = rules
        .map(|object| &object["rule"])
        .filter(|rule| rule.is_object());
    let mut chains: Vec<_> = rules
        .map(|rule| {
            let text_of = |key: &str| rule[key].as_str().unwrap();
            format!(
                "{} {} {}",
                text_of("family"),
                text_of("table"),
                text_of("chain")
            )
        })
        .collect();
    chains.sort();
    chains.dedup();
    chains
}

/// A reboot, or a crash of the container's runtime, before the upgraded plugin is called.
#[test]
fn what_the_reference_added_ours_deletes_without_a_namespace() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for (path_is_empty, with_result) in [(false, true), (true, true), (false, false)] {
        let world = World::new();
        let c1 = world.container("c1");
        let keys = json!({"ipMasq": true, "macspoofchk": true});
        let before = network(&reference, &world, "1.0.0", &keys);
        let added = before.add("c1", &c1);
        drop(c1);
        let mut after = added.of(&before.through(&ours));
        if path_is_empty {
            after = after.with_netns("");
        }
        if !with_result {
            after = after.with_result(Value::Null);
        }
        after.del_ok();
        // The kernel takes the links of a dead namespace away when it finds the time.
        wait_for("the end of the namespace", Duration::from_secs(5), || {
            world.host().link(added.host_end()).is_none()
        });
        assert_eq!(
            traces(&world, &added),
            Vec::<String>::new(),
            "{path_is_empty} {with_result}"
        );
    }
}

#[test]
fn what_ours_added_the_reference_checks_and_deletes() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for version in VERSIONS {
        for keys in features() {
            let world = World::new();
            let c1 = world.container("c1");
            let before = network(&ours, &world, version, &keys);
            let added = before.add("c1", &c1);
            let after = added.of(&before.through(&reference));
            after.check_ok();
            del_by_reference(&after, &keys);
            assert!(c1.link("eth0").is_none(), "{keys}");
            assert!(
                !world
                    .host()
                    .link_names()
                    .contains(&added.host_end().to_owned())
            );
            assert!(
                !lease_files(&world)
                    .iter()
                    .any(|name| name.starts_with("10.") || name.starts_with("fd"))
            );
        }
    }
}

/// Row `downgrade`: its first DEL of a masqueraded attachment misses its iptables chain. That fails
/// after everything else is done, and the runtime's second DEL succeeds.
#[track_caller]
fn del_by_reference(attached: &Attached<'_>, keys: &Value) {
    if keys["ipMasq"] == true {
        let error = attached.del().expect_error(999);
        let text = error["msg"].as_str().unwrap();
        assert!(
            text.contains("CNI-") && text.contains("does not exist"),
            "{error}"
        );
    }
    attached.del_ok();
}

fn lease_files(world: &World) -> Vec<String> {
    let entries = fs::read_dir(world.data_dir().join("tenon-net")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Everything that a downgrade leaves behind is in the tables of row `downgrade`, harms nobody, and
/// goes with the command given there.
#[test]
fn what_a_downgrade_leaves_is_listed_and_its_command_removes_it() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let keys = json!({"ipMasq": true, "macspoofchk": true});
    // So that what the reference itself never removes is there before.
    let old = network(&reference, &world, "1.0.0", &keys);
    old.add("c0", &c1).del_ok();
    let before = world.snapshot().without("last_reserved_ip");

    let network = network(&ours, &world, "1.0.0", &keys);
    let added = network.add("c1", &c1);
    del_by_reference(&added.of(&network.through(&reference)), &keys);
    let left = world.snapshot().without("last_reserved_ip");
    let new: Vec<_> = left
        .lines()
        .iter()
        .filter(|line| !before.lines().contains(line))
        .collect();
    assert!(
        !new.is_empty(),
        "nothing is left: docs/differences.md says too much"
    );
    assert!(new.iter().all(|line| line.starts_with("nft ")), "{new:#?}");

    // Harmless: the next container with these addresses has all of its network.
    let same = format!("IgnoreUnknown=1;IP={}", added.address());
    let next = old.clone().args(&same).add("c2", &c2);
    assert!(world.host().ping(&next.address()) && c2.ping("10.92.0.1"));
    next.del_ok();

    let commands = differences::commands("downgrade");
    assert!(
        !commands.is_empty(),
        "docs/differences.md has no commands for `downgrade`"
    );
    for command in &commands {
        world.host().command("sh", &["-ec", command]);
    }
    let cleaned = world.snapshot().without("last_reserved_ip");
    before.assert_unchanged(&cleaned);
    // Where there is nothing to remove, or only some of it, they do no harm either.
    for command in &commands {
        world.host().command("sh", &["-ec", command]);
    }
    before.assert_unchanged(&world.snapshot().without("last_reserved_ip"));
}

/// Going forward again finds what the downgrade left.
#[test]
fn an_upgrade_after_a_downgrade_cleans_up_by_itself() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    let world = World::new();
    let c1 = world.container("c1");
    let keys = json!({"ipMasq": true, "macspoofchk": true});
    let network = network(&ours, &world, "1.0.0", &keys);
    let added = network.add("c1", &c1);
    let clean = |snapshot: Snapshot| snapshot.without("last_reserved_ip");
    del_by_reference(&added.of(&network.through(&reference)), &keys);
    added.del_ok();
    let left = clean(world.snapshot());
    assert_eq!(
        left.naming(&["c1", "10.92.0.2", "fd92::2", added.host_end()]),
        Vec::<&str>::new()
    );
}

/// The rows of a table per plugin: bridge of one, IPAM of the other.
#[test]
fn either_bridge_works_with_either_ipam() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for (bridge, ipam) in [(&ours, &reference), (&reference, &ours)] {
        let world = World::new();
        let c1 = world.container("c1");
        let mixed = Suite::mixed(&world, &[("bridge", bridge), ("host-local", ipam)]);
        let attached = network(&mixed, &world, "1.0.0", &json!({"ipMasq": true})).add("c1", &c1);
        assert_eq!(attached.cidrs(), ["10.92.0.2/24", "fd92::2/64"]);
        assert!(world.host().ping("10.92.0.2"));
        attached.check_ok();
        attached.del_ok();
        assert_eq!(traces(&world, &attached), Vec::<String>::new());
    }
}

/// Both take the same lock and see the same files: no address is given twice.
#[test]
fn both_hand_out_of_one_pool() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    let world = World::new();
    let ipam = conf::plugin("1.0.0", "host-local").ipam(conf::host_local(&world, &[V4]));
    let c1 = world.container("c1");
    let ids: Vec<_> = (0..40).map(|index| format!("c{index}")).collect();
    let results = std::thread::scope(|scope| {
        let started: Vec<_> = ids
            .iter()
            .enumerate()
            .map(|(index, id)| {
                let suite = if index % 2 == 0 { &ours } else { &reference };
                let call = Network::new(suite, ipam.clone()).call_for("ADD", id, &c1);
                scope.spawn(move || call.run())
            })
            .collect();
        started
            .into_iter()
            .map(|run| run.join().unwrap().expect_ok().json())
            .collect::<Vec<_>>()
    });
    let mut given: Vec<_> = results
        .iter()
        .flat_map(tenon_tests::network::cidrs)
        .collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), ids.len());
    for (index, id) in ids.iter().enumerate() {
        // Each gives back what the other gave.
        let suite = if index % 2 == 0 { &reference } else { &ours };
        Network::new(suite, ipam.clone())
            .call_for("DEL", id, &c1)
            .run()
            .expect_silent_ok();
    }
    assert!(
        !lease_files(&world)
            .iter()
            .any(|name| name.starts_with("10."))
    );
}
