//! The text that `iptables-save` prints and `iptables-restore` reads.

use std::fmt::Write as _;

/// `xt_comment` takes 256 bytes with the terminating zero.
pub(super) const COMMENT_MAX: usize = 255;

/// A word in the double quotes of `iptables-restore`.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// What `iptables-restore --noflush` is fed to remove the jumps to a chain that have to go, and the
/// chain if none stays; `None` if there is nothing to remove.
pub(super) fn restore_for_removal(
    chain: &str,
    saved: &str,
    goes: impl Fn(&str) -> bool,
) -> Option<String> {
    let (go, stay): (Vec<&str>, Vec<&str>) = saved
        .lines()
        .filter(|line| line.starts_with("-A ") && jumps_to(line, chain))
        .partition(|line| goes(line));
    let chain_goes = stay.is_empty() && declares(saved, chain);
    if go.is_empty() && !chain_goes {
        return None;
    }
    let mut input = String::from("*nat\n");
    if chain_goes {
        // Declared, it is flushed; it can be deleted once nothing jumps to it.
        let _ok = writeln!(input, ":{chain} - [0:0]");
    }
    for line in go {
        let _ok = writeln!(input, "-D{}", line.strip_prefix("-A").unwrap_or(line));
    }
    if chain_goes {
        let _ok = writeln!(input, "-X {chain}");
    }
    input.push_str("COMMIT\n");
    Some(input)
}

/// Whether there is such a chain in a saved table.
pub(super) fn declares(saved: &str, chain: &str) -> bool {
    saved.lines().any(|line| {
        line.strip_prefix(':')
            .and_then(|line| line.split_once(' '))
            .is_some_and(|(name, _policy)| name == chain)
    })
}

pub(super) fn jumps_to(line: &str, chain: &str) -> bool {
    line.strip_suffix(chain)
        .is_some_and(|line| line.ends_with(" -j "))
}
