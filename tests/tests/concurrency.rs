//! Many ADDs and DELs at once.

use std::collections::BTreeSet;
use std::time::Duration;

use cni_testkit::{Netns, Outcome, Suite, World, conf};
use serde_json::json;
use tenon_tests::at_once::run_at_once;
use tenon_tests::differences::differs;
use tenon_tests::network::{Network, addresses_of, cidrs};

const V4: &str = "10.88.0.0/24";
const V6: &str = "fd88::/64";
const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    two_first_adds_on_a_missing_bridge => |suite| first_adds(suite, 2);
    sixteen_first_adds_on_a_missing_bridge => |suite| first_adds(suite, 16);
    containers_come_and_go_at_once => |suite| come_and_go(suite);
}

fn network<'a>(suite: &'a Suite, world: &World, subnets: &[&str]) -> Network<'a> {
    Network::new(
        suite,
        conf::bridge(VERSION).ipam(conf::host_local(world, subnets)),
    )
}

fn containers(world: &World, count: usize) -> Vec<(String, Netns)> {
    let ids = (0..count).map(|index| format!("pod{index}"));
    ids.map(|id| (id.clone(), world.container(&id))).collect()
}

/// The address, the MAC address and the forwarding of a bridge are for the first who comes, and
/// several may be.
fn first_adds(suite: &Suite, count: usize) {
    for round in 0..3 {
        let world = World::new();
        let containers = containers(&world, count);
        let network = network(suite, &world, &[V4, V6]);
        let calls: Vec<_> = containers
            .iter()
            .map(|(id, netns)| {
                network
                    .call_for("ADD", id, netns)
                    .timeout(Duration::from_secs(60))
            })
            .collect();
        let outcomes = run_at_once(&calls);
        if differs(suite, "first-adds-at-once") {
            continue;
        }
        let added: Vec<_> = outcomes.into_iter().map(Outcome::expect_ok).collect();
        let given: BTreeSet<_> = added
            .iter()
            .flat_map(|added| cidrs(&added.json()))
            .collect();
        assert_eq!(
            given.len(),
            2 * count,
            "round {round}: an address was given twice"
        );
        let mut gateways = addresses_of(world.host(), "tenon0");
        gateways.sort();
        assert_eq!(gateways, ["10.88.0.1/24", "fd88::1/64"], "round {round}");
        for (added, (_, netns)) in added.iter().zip(&containers) {
            for address in cidrs(&added.json()) {
                assert!(world.host().ping(&address), "round {round}: {address}");
            }
            assert!(
                netns.ping("10.88.0.1") && netns.ping("fd88::1"),
                "round {round}"
            );
        }
    }
}

fn come_and_go(suite: &Suite) {
    let world = World::new();
    let all = containers(&world, 12);
    let (stay, go) = all.split_at(6);
    let network = network(suite, &world, &[V4])
        .edited(|conf| conf.with(json!({"ipMasq": true, "macspoofchk": true})));
    let old: Vec<_> = go
        .iter()
        .map(|(id, netns)| network.add(id, netns))
        .collect();
    let calls: Vec<_> = old
        .iter()
        .map(|attached| attached.call("DEL"))
        .chain(
            stay.iter()
                .map(|(id, netns)| network.call_for("ADD", id, netns)),
        )
        .map(|call| call.timeout(Duration::from_secs(60)))
        .collect();
    for outcome in run_at_once(&calls) {
        outcome.expect_ok();
    }
    for (_, netns) in stay {
        assert!(netns.ping("10.88.0.1"));
    }
    let left = world.snapshot().without("last_reserved_ip");
    let mut names: Vec<_> = go.iter().map(|(id, _)| id.as_str()).collect();
    names.extend(old.iter().map(tenon_tests::network::Attached::host_end));
    assert_eq!(left.naming(&names), Vec::<&str>::new());
    assert_eq!(world.host().link_names().len(), 2 + stay.len());
}

/// A failing ADD must not take away what the others have come to rely on.
#[test]
fn a_failing_first_add_harms_nobody() {
    let suite = Suite::ours();
    for _ in 0..5 {
        let world = World::new();
        let containers = containers(&world, 6);
        let network = network(&suite, &world, &[V4]);
        let mut calls = Vec::new();
        for (index, (id, netns)) in containers.iter().enumerate() {
            let call = network.call_for("ADD", id, netns);
            let fails_last = ["sh", "-c", "exec \"$0\" >/dev/full"];
            calls.push(if index % 2 == 0 {
                call.through(&fails_last)
            } else {
                call
            });
        }
        let outcomes = run_at_once(&calls);
        for (index, outcome) in outcomes.into_iter().enumerate() {
            if index % 2 == 0 {
                assert_ne!(outcome.code, 0, "{outcome}");
                continue;
            }
            let added = outcome.expect_ok().json();
            let Some((_, netns)) = containers.get(index) else {
                continue;
            };
            assert!(
                netns.ping("10.88.0.1"),
                "the gateway was taken away: {added}"
            );
        }
        assert_eq!(world.host().sysctl("net/ipv4/ip_forward"), "1");
        assert_eq!(world.host().link_names().len(), 2 + containers.len() / 2);
    }
}

/// Twice the same attachment at once: one wins, and the loser takes nothing of the winner's away.
#[test]
fn the_same_attachment_twice_at_once() {
    let suite = Suite::ours();
    for _ in 0..5 {
        let world = World::new();
        let c1 = world.container("c1");
        let network = network(&suite, &world, &[V4])
            .edited(|conf| conf.with(json!({"ipMasq": true, "macspoofchk": true})));
        let call = network.call_for("ADD", "c1", &c1);
        let outcomes = run_at_once(&[call.clone(), call]);
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|run| run.code == 0);
        assert_eq!((won.len(), lost.len()), (1, 1), "{won:?} {lost:?}");
        let result = won.into_iter().next().unwrap().expect_ok().json();
        assert!(
            world.host().ping("10.88.0.2"),
            "the loser took the winner's address"
        );
        let network = network.edited(|conf| conf.prev_result(&result));
        network
            .call_for("CHECK", "c1", &c1)
            .run()
            .expect_silent_ok();
    }
}
