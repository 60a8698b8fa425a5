//! A host whose packet filter is full of others' rules: Docker's with two networks and published
//! ports, kube-proxy's with some services, firewalld's with a zone that forwards nothing by itself.
//!
//! The files are what `iptables-save` and `nft list ruleset` print on such hosts.

use std::path::Path;

use cni_testkit::{Netns, require};

/// Fills the packet filter of a namespace.
pub fn fill(host: &Netns) {
    require("nft");
    for tool in ["iptables-restore", "ip6tables-restore"] {
        require(tool);
        let family = if tool.starts_with("ip6") { "v6" } else { "v4" };
        for owner in ["docker", "kubernetes"] {
            let file = fixture(&format!("{owner}.{family}"));
            host.command(tool, &["--noflush", "--wait", "5", &file]);
        }
    }
    host.command("nft", &["-f", &fixture("firewalld.nft")]);
}

fn fixture(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    file.to_str().unwrap().to_owned()
}

/// Every rule of a namespace as `nft` and `iptables-save` print them, line by line: with handles, so
/// that a rule that is taken out and put in again is another one, and without what counts packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(pub Vec<String>);

impl Rules {
    /// As they are now.
    pub fn of(host: &Netns) -> Self {
        let ruleset = host.command("nft", &["--handle", "--stateless", "list", "ruleset"]);
        let mut lines: Vec<String> = ruleset.lines().map(str::to_owned).collect();
        for tool in ["iptables-save", "ip6tables-save"] {
            let saved = host.command(tool, &[]);
            // The first and the last line tell the time.
            let rules = saved.lines().filter(|line| !line.starts_with('#'));
            lines.extend(rules.map(|line| without_counters(line).to_owned()));
        }
        Self(lines)
    }

    /// Panics with the lines that are only in one of both.
    #[track_caller]
    pub fn assert_same(&self, after: &Self, what: &str) {
        let only = |these: &Self, others: &Self, sign| {
            let lines = these.0.iter().filter(|line| !others.0.contains(line));
            lines.fold(String::new(), |text, line| text + sign + line + "\n")
        };
        let gone = only(self, after, "-");
        let new = only(after, self, "+");
        assert!(self == after, "{what}:\n{gone}{new}");
    }
}

/// `:INPUT ACCEPT [12:720]` without its counters.
fn without_counters(line: &str) -> &str {
    let policy = line.starts_with(':').then(|| line.split(" [").next());
    policy.flatten().unwrap_or(line)
}
