//! The list of intended differences is neither too short nor too long.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fs;
use std::path::Path;

use tenon_tests::differences::{commands, ids};

/// The sources of all suites but this one.
fn sources() -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let names = paths.filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    let sources = names.map(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).unwrap())
    });
    sources
        .filter(|(name, _)| name != "differences.rs")
        .collect()
}

#[test]
fn every_row_is_cited_by_a_test() {
    let all: String = sources().into_iter().map(|(_, text)| text).collect();
    let cited = |id: &&str| all.contains(&format!("\"{id}\"")) || all.contains(&format!("`{id}`"));
    let uncited: Vec<_> = ids().into_iter().filter(|id| !cited(id)).collect();
    assert_eq!(uncited, Vec::<&str>::new());
}

#[test]
fn rows_have_ids_of_their_own() {
    let mut all = ids();
    assert!(all.len() > 20, "{all:?}");
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count);
    assert!(!commands("downgrade").is_empty());
}

/// Suites over whole runtimes and in a virtual machine, which say in words what they expect.
const IN_WORDS: [&str; 2] = ["containerd.rs", "vlan.rs"];

/// A suite that asks directly whether it runs over the reference cites nothing.
#[test]
fn no_suite_looks_at_the_reference_without_citing_a_row() {
    for (name, text) in sources() {
        if IN_WORDS.contains(&name.as_str()) {
            continue;
        }
        assert!(
            !text.contains("is_reference"),
            "{name}: use tenon_tests::differences::differs"
        );
    }
}
