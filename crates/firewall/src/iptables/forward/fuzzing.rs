//! Rules of the filter table, whoever made them.

use std::net::IpAddr;

use super::line::Line;
use super::table::Filter;
use crate::nft::Rule;

pub(crate) fn read_rule(rule: &Rule) {
    let line = Line::of_rule(rule);
    let _no_panic = (line.is_made(), line.kind.text());
}

/// What a removal takes out of the table was in it.
pub(crate) fn read_saved(text: &str, address: IpAddr) {
    let filter = Filter::of_text(text);
    let closed = filter.close(&[address], true);
    let released = filter.release(&|_every| true, false);
    for removal in [closed, released] {
        let restored = removal.restore();
        let deleted = restored.lines().filter_map(|line| line.strip_prefix("-D "));
        for rule in deleted {
            let was_there = text
                .lines()
                .any(|line| line.strip_prefix("-A ") == Some(rule));
            assert!(was_there, "{rule:?} was not in the table");
        }
    }
}
