//! Port mappings in a saved table, whoever wrote it.

use cni_types::NetworkName;

use super::saved::{containers, read};

pub(crate) fn read_saved(text: &str, network: &NetworkName) {
    let lines = read(text);
    assert!(lines.len() <= text.len() / 3);
    for attachment in containers(&lines, network) {
        assert_eq!(attachment.network, *network);
    }
    let entries = || lines.iter().filter_map(|line| line.entry.as_ref());
    for entry in entries() {
        assert!(entry.is_covered_by(entries()), "{entry:?} by itself");
        let _no_panic = entry.owner_text();
    }
}
