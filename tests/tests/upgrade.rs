//! Plugins are replaced in the middle of a node's life, forward and back and forward again: containers go on
//! running, new ones come beside them, whoever deletes removes what the other has added.
//!
//! Environment:
//!   `TENON_UPGRADE_OF_EACH`    containers on the network of each version: 9 unless told, 54 in all
//!   `TENON_PREVIOUS_DIR`       binaries of an earlier release: scripts/previous builds them
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::path::PathBuf;

use cni_testkit::{ALL_VERSIONS, Snapshot, Suite, World, skip};
use tenon_tests::differences;
use tenon_tests::fleet::machine;
use tenon_tests::node::Node;
use tenon_tests::random;

/// The versions that the reference knows as well.
const SHARED: [&str; 6] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];

#[test]
fn from_the_reference_to_ours_and_back() {
    let (world, ours, reference) = (World::new(), Suite::ours(), Suite::reference());
    let mut node = Node::new(&world, &SHARED);
    node.warm_up(&reference);
    // It takes along what the reference would leave.
    node.warm_up(&ours);
    let before = machine(&world);
    life(&mut node, &reference, &ours);
    // What its DEL has left of ours: row `downgrade` of docs/differences.md.
    node.collect(&ours);
    before.assert_unchanged(&machine(&world));
}

#[test]
fn from_ours_to_the_reference_and_back() {
    let (world, ours, reference) = (World::new(), Suite::ours(), Suite::reference());
    let mut node = Node::new(&world, &SHARED);
    node.warm_up(&reference);
    let before = without_the_index(&world);
    life(&mut node, &ours, &reference);
    for command in differences::commands("downgrade") {
        world.host().command("sh", &["-ec", command]);
    }
    before.assert_unchanged(&without_the_index(&world));
}

#[test]
fn from_the_previous_release_to_this_one_and_back() {
    let Some(dir) = std::env::var_os("TENON_PREVIOUS_DIR").map(PathBuf::from) else {
        return skip("no TENON_PREVIOUS_DIR: scripts/previous builds an earlier release");
    };
    let (ours, previous) = (Suite::ours(), Suite::of("previous", &dir));
    for [first, second] in [[&previous, &ours], [&ours, &previous]] {
        let world = World::new();
        let mut node = Node::new(&world, &ALL_VERSIONS);
        node.warm_up(first);
        let before = without_the_index(&world);
        life(&mut node, first, second);
        before.assert_unchanged(&without_the_index(&world));
    }
}

/// Nobody believes it any more when others have worked on the leases: docs/decisions/014.
fn without_the_index(world: &World) -> Snapshot {
    machine(world).without("/run/tenon")
}

fn life<'a>(node: &mut Node<'a>, first: &'a Suite, second: &'a Suite) {
    let of_each = random::number("TENON_UPGRADE_OF_EACH", 9);
    let of_each = usize::try_from(of_each).unwrap();
    node.add(first, of_each);
    assert!(node.running() >= 5 * of_each);
    node.traffic_goes_on();

    node.check(second);
    node.remove(second, of_each / 2);
    node.add(second, of_each / 2);
    node.traffic_goes_on();
    node.check(second);

    node.check(first);
    // Old ones and new ones.
    node.remove(first, of_each / 2);
    node.add(first, 1);
    node.traffic_goes_on();

    node.check(second);
    node.remove_all(second);
}
