//! Replays the corpus: real examples, and what fuzzing has found. `scripts/fuzz` goes on from there.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot read the corpus has failed"
)]

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use tenon_fuzz::{TARGETS, Target};

/// What each example is followed by: itself with one place broken.
fn neighbours(example: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    // All places of what is short, and of what is long as many, evenly spread.
    const PLACES: usize = 32;
    let step = example.len().div_ceil(PLACES).max(1);
    (0..example.len()).step_by(step).flat_map(move |at| {
        let (before, behind) = example.split_at(at);
        let (first, rest) = behind.split_first().unwrap();
        let with = |middle: &[u8]| [before, middle, rest].concat();
        [
            before.to_vec(),
            with(&[]),
            with(&[0]),
            with(&[0xff]),
            with(&[first ^ 1]),
            with(&[first ^ 0x20]),
            with(&[*first, *first]),
            with(b"18446744073709551615"),
        ]
    })
}

fn holds(target: Target, bytes: &[u8], of: &Path) {
    if catch_unwind(|| (target.run)(bytes)).is_err() {
        let shown = String::from_utf8_lossy(bytes);
        panic!(
            "{} does not hold, near {}: {shown:?}",
            target.name,
            of.display()
        );
    }
}

fn replay(target: Target) {
    let examples = target.examples().unwrap();
    assert!(!examples.is_empty(), "{} has no examples", target.name);
    for (path, example) in examples {
        holds(target, &example, &path);
        for broken in neighbours(&example) {
            holds(target, &broken, &path);
        }
    }
}

#[test]
fn every_folder_of_the_corpus_is_a_targets() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folders = fs::read_dir(corpus).unwrap();
    let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = TARGETS.iter().map(|target| target.name.to_owned());
    assert_eq!(
        folders.collect::<BTreeSet<_>>(),
        names.collect::<BTreeSet<_>>()
    );
}

/// A test for each target, so that they run side by side.
macro_rules! targets {
    ($($name:ident)*) => {
        /// What the macro was given.
        const REPLAYED: &[&str] = &[$(stringify!($name)),*];

        mod holds_for_the_corpus_and_what_is_near_it {
            $(#[test]
            fn $name() {
                super::replay(super::Target::find(stringify!($name)).unwrap());
            })*
        }
    };
}

targets! {
    json names result cni_args skeleton config_bandwidth config_bridge config_cnm_shim config_firewall
    config_host_local config_portmap config_tuning tuning_state netlink_datagram netlink_payload nf_datagram
    nf_object iptables_saved lease_file lease_index cnm_reply cnm_http cnm_record network_file cache_file
}

#[test]
fn every_target_is_replayed() {
    let names = TARGETS.iter().map(|target| target.name);
    assert_eq!(names.collect::<Vec<_>>(), REPLAYED);
}
