//! What a namespace and some directories look like, for before-and-after comparison.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::netns::Netns;
use crate::tools::{find, require};

/// A description in lines, one fact each, with what changes by itself left out: counters, timers,
/// carrier and duplicate-address-detection states, and the link-local addresses and routes that
/// the kernel makes when a carrier comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    lines: Vec<String>,
}

/// Keys of `ip -j -d` that change by themselves, or follow from others (a bridge has the smallest
/// offload limits of its ports).
const VOLATILE: &[&str] = &[
    "ifindex",
    "link_index",
    "operstate",
    "bridge_id",
    "root_id",
    "root_port",
    "root_path_cost",
    "topology_change",
    "topology_change_detected",
    "hello_timer",
    "tcn_timer",
    "topology_change_timer",
    "gc_timer",
    "forward_delay_timer",
    "hold_timer",
    "message_age_timer",
    "designated_bridge",
    "designated_root",
    "designated_port",
    "designated_cost",
    "state",
    "tentative",
    "dadfailed",
    "stats",
    "stats64",
    "addr_info",
    "config_pending",
    "hold",
    "topology_change_ack",
    "gso_max_size",
    "gso_max_segs",
    "tso_max_size",
    "tso_max_segs",
    "gro_max_size",
    "gso_ipv4_max_size",
    "gro_ipv4_max_size",
];

/// Flags of links and routes that follow the carrier.
const CARRIER_FLAGS: &[&str] = &["LOWER_UP", "NO-CARRIER", "linkdown"];

const SYSCTLS: &[&str] = &[
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/route_localnet",
];

impl Snapshot {
    /// Links, addresses, routes of all tables, rules, the nftables ruleset, legacy iptables rules
    /// where there are any, and the forwarding sysctls of a namespace.
    #[must_use]
    pub fn of(netns: &Netns) -> Self {
        let mut lines = Vec::new();
        add_links(&mut lines, &netns.ip_json("addr show"));
        for family in ["-4", "-6"] {
            add_routes(
                &mut lines,
                family,
                &netns.ip_json(&format!("{family} route show table all")),
            );
            add_list(
                &mut lines,
                &format!("rule {family}"),
                &netns.ip_json(&format!("{family} rule show")),
            );
        }
        add_ruleset(&mut lines, netns);
        add_legacy_rules(&mut lines, netns);
        add_sysctls(&mut lines, netns);
        Self { lines }
    }

    /// The same without policy rules and legacy iptables rules, asked of two programs in place of
    /// seven: for a test that looks a thousand times.
    #[must_use]
    pub fn quick(netns: &Netns) -> Self {
        let shown = netns.ip_batch("addr show\nroute show table all\n");
        let mut shown = serde_json::Deserializer::from_str(&shown).into_iter::<Value>();
        let mut next = || shown.next().unwrap().unwrap();
        let mut lines = Vec::new();
        add_links(&mut lines, &next());
        let (six, four) = next().as_array().unwrap().iter().cloned().partition(is_v6);
        for (family, routes) in [("-4", four), ("-6", six)] {
            add_routes(&mut lines, family, &Value::Array(routes));
        }
        add_ruleset(&mut lines, netns);
        add_sysctls(&mut lines, netns);
        Self { lines }
    }

    /// A snapshot of nothing, to add trees to.
    #[must_use]
    pub fn empty() -> Self {
        Self { lines: Vec::new() }
    }

    /// Adds every file and directory below `root` with mode and content. A root that is missing
    /// adds nothing.
    #[must_use]
    pub fn tree(mut self, root: &Path) -> Self {
        add_tree(&mut self.lines, root, &root.display().to_string());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn fact(mut self, line: &str) -> Self {
        self.lines.push(line.to_owned());
        self
    }

    /// Adds all facts of another one, each with a name in front.
    #[must_use]
    pub fn and(mut self, name: &str, other: &Self) -> Self {
        let named = other.lines.iter().map(|line| format!("{name}: {line}"));
        self.lines.extend(named);
        self
    }

    /// The facts.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Takes out the facts that contain `text`: what a test knows to differ.
    #[must_use]
    pub fn without(mut self, text: &str) -> Self {
        self.lines.retain(|line| !line.contains(text));
        self
    }

    /// Takes out the facts that a test knows to differ.
    #[must_use]
    pub fn without_those(mut self, differ: impl Fn(&str) -> bool) -> Self {
        self.lines.retain(|line| !differ(line));
        self
    }

    /// The facts that name one of these words (an address, a container id), not as a part of a
    /// longer word: `10.0.0.2` is not in `10.0.0.255`.
    #[must_use]
    pub fn naming(&self, words: &[&str]) -> Vec<&str> {
        let named = |line: &&str| words.iter().any(|word| names_word(line, word));
        self.lines
            .iter()
            .map(String::as_str)
            .filter(named)
            .collect()
    }

    /// The difference in lines that begin with `-` (only before) and `+` (only after).
    #[must_use]
    pub fn diff(&self, after: &Self) -> String {
        let mut out = String::new();
        let mut left = after.lines.clone();
        for line in &self.lines {
            match left.iter().position(|other| other == line) {
                Some(at) => drop(left.remove(at)),
                None => writeln!(out, "- {line}").unwrap(),
            }
        }
        for line in left {
            writeln!(out, "+ {line}").unwrap();
        }
        if out.is_empty() && self != after {
            out.push_str("the same lines in another order\n");
        }
        out
    }

    /// Panics with the difference, if there is one.
    #[track_caller]
    pub fn assert_unchanged(&self, after: &Self) {
        let diff = self.diff(after);
        assert!(diff.is_empty(), "something changed:\n{diff}");
    }
}

fn names_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let rest = &line[at + word.len()..];
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.' || c == ':')
            && !rest.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !begins_an_octet(rest)
    })
}

/// `:62:`, as behind `c6` in a MAC address.
fn begins_an_octet(rest: &str) -> bool {
    matches!(rest.as_bytes(), [b':', high, low, b':', ..]
        if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

fn add_links(lines: &mut Vec<String>, addr_show: &Value) {
    for link in addr_show.as_array().unwrap() {
        let name = format!("link {}", link["ifname"].as_str().unwrap());
        flatten(lines, &name, "", link);
        for address in link["addr_info"].as_array().into_iter().flatten() {
            let local = address["local"].as_str().unwrap_or("?");
            if !local.starts_with("fe80:") {
                flatten(lines, &format!("{name} address {local}"), "", address);
            }
        }
    }
}

/// Of a route, which does not say it.
fn is_v6(route: &Value) -> bool {
    ["dst", "gateway", "prefsrc"]
        .iter()
        .any(|key| route[key].as_str().is_some_and(|text| text.contains(':')))
}

fn add_routes(lines: &mut Vec<String>, family: &str, routes: &Value) {
    for route in routes.as_array().unwrap() {
        let text = |key: &str| route[key].as_str().unwrap_or("").to_owned();
        let by_itself = matches!(text("type").as_str(), "multicast" | "anycast")
            || text("dst").starts_with("fe80:")
            || (family == "-6" && text("table") == "local");
        if !by_itself {
            lines.push(format!("route {family} {}", compact(route)));
        }
    }
}

fn add_list(lines: &mut Vec<String>, name: &str, list: &Value) {
    lines.extend(
        list.as_array()
            .unwrap()
            .iter()
            .map(|item| format!("{name} {}", compact(item))),
    );
}

fn add_sysctls(lines: &mut Vec<String>, netns: &Netns) {
    for key in SYSCTLS {
        lines.push(format!("sysctl {key} = {}", netns.sysctl(key)));
    }
}

fn add_ruleset(lines: &mut Vec<String>, netns: &Netns) {
    require("nft");
    let ruleset = netns.command("nft", &["--stateless", "list", "ruleset"]);
    lines.extend(ruleset.lines().map(|line| format!("nft {line}")));
}

fn add_legacy_rules(lines: &mut Vec<String>, netns: &Netns) {
    for (tool, names) in [
        ("iptables-legacy-save", "/proc/self/net/ip_tables_names"),
        ("ip6tables-legacy-save", "/proc/self/net/ip6_tables_names"),
    ] {
        // Asking for legacy rules where there are none would make their tables.
        let tables = netns.run(|| fs::read_to_string(names.replace("self", "thread-self")));
        if find(tool) && tables.is_ok_and(|tables| !tables.is_empty()) {
            let rules = netns.command(tool, &[]);
            let rules = rules.lines().filter(|line| !line.starts_with('#'));
            lines.extend(rules.map(|line| format!("{tool} {}", without_counters(line))));
        }
    }
}

/// `:INPUT ACCEPT [12:720]` without its counters.
fn without_counters(line: &str) -> &str {
    line.split(" [").next().unwrap_or(line)
}

/// One line for each leaf: `link br0 linkinfo.info_kind = "bridge"`.
fn flatten(lines: &mut Vec<String>, subject: &str, path: &str, value: &Value) {
    let Value::Object(object) = value else {
        lines.push(format!("{subject} {path} = {}", compact(value)));
        return;
    };
    for (key, value) in object
        .iter()
        .filter(|(key, _)| !VOLATILE.contains(&key.as_str()))
    {
        let joint = if path.is_empty() { "" } else { "." };
        flatten(lines, subject, &format!("{path}{joint}{key}"), value);
    }
}

/// Compact JSON without what is volatile.
fn compact(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let kept = object
                .iter()
                .filter(|(key, _)| !VOLATILE.contains(&key.as_str()));
            let pairs: Vec<_> = kept
                .map(|(key, value)| format!("{key}: {}", compact(value)))
                .collect();
            pairs.join(", ")
        }
        Value::Array(items) => {
            let kept = items.iter().filter(|item| !is_carrier_flag(item));
            format!("[{}]", kept.map(compact).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn is_carrier_flag(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| CARRIER_FLAGS.contains(&text))
}

fn add_tree(lines: &mut Vec<String>, path: &Path, shown: &str) {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if metadata.is_dir() {
        lines.push(format!("{shown}/ {mode:04o}"));
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        for name in names {
            let name = name.to_string_lossy();
            add_tree(lines, &path.join(&*name), &format!("{shown}/{name}"));
        }
    } else if metadata.is_file() {
        let content = fs::read(path).unwrap_or_default();
        lines.push(format!(
            "{shown} {mode:04o} {:?}",
            String::from_utf8_lossy(&content)
        ));
    } else {
        lines.push(format!("{shown} {mode:04o} {:?}", metadata.file_type()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::World;

    #[test]
    fn the_same_namespace_has_no_difference_whatever_its_carrier_does() {
        let world = World::new();
        let host = world.host();
        host.ip("link add br0 address 02:00:00:00:00:01 type bridge");
        host.ip("link add va type veth peer name vb");
        host.ip("addr add fd00::1/64 dev br0");
        let before = Snapshot::of(host).without("link va").without("link vb");
        assert!(
            before.lines().iter().any(|line| line.contains("fd00::1")),
            "{before:#?}"
        );
        host.ip("link set va master br0");
        host.ip("link set va up");
        host.ip("link set vb up");
        host.ip("link del va");
        before.assert_unchanged(&Snapshot::of(host));
    }

    #[test]
    fn a_quick_look_sees_what_a_long_one_does_but_for_policy_rules() {
        let world = World::new();
        let host = world.host();
        for words in [
            "link add br0 type bridge",
            "addr add 10.0.0.1/24 dev br0",
            "addr add fd00::1/64 dev br0",
            "link set br0 up",
            "route add 10.7.0.0/24 dev br0 table 7",
            "route add default via 10.0.0.2",
            "-6 route add default via fd00::2",
        ] {
            host.ip(words);
        }
        host.command("nft", &["add table inet t"]);
        let sorted = |snapshot: Snapshot| {
            let mut lines = snapshot.without("rule -").lines;
            lines.sort();
            lines
        };
        assert_eq!(sorted(Snapshot::quick(host)), sorted(Snapshot::of(host)));
    }

    #[test]
    fn words_are_found_whole() {
        assert!(names_word("ip saddr 10.0.0.2 accept", "10.0.0.2"));
        assert!(names_word("net/fd00::2 0600 \"c1\"", "fd00::2"));
        assert!(!names_word("prefsrc 10.0.0.255", "10.0.0.2"));
        assert!(!names_word("110.0.0.2", "10.0.0.2"));
        assert!(!names_word("fd00::2a", "fd00::2"));
        assert!(!names_word("address = \"c6:62:e6:f9:df:65\"", "c6"));
        assert!(names_word("10.0.0.2:8080", "10.0.0.2"));
    }

    #[test]
    fn every_kind_of_change_is_seen() {
        let world = World::new();
        let host = world.host();
        let (_, lease) = (
            host.ip("link add br0 type bridge"),
            world.data_dir().join("net"),
        );
        for change in [
            "ip link set br0 mtu 1400",
            "ip link set br0 up",
            "ip addr add 10.0.0.1/24 dev br0",
            "ip route add 10.7.0.0/24 dev br0 table 7",
            "ip rule add from 10.0.0.0/8 table 7",
            "sysctl -qw net.ipv4.ip_forward=1",
            "nft add table inet t",
        ] {
            let before = world.snapshot();
            let words: Vec<_> = change.split(' ').collect();
            host.command(words[0], &words[1..]);
            assert!(
                !before.diff(&world.snapshot()).is_empty(),
                "not seen: {change}"
            );
        }
        let before = world.snapshot();
        fs::create_dir_all(&lease).unwrap();
        fs::write(lease.join("10.0.0.2"), "c1\r\neth0").unwrap();
        let diff = before.diff(&world.snapshot());
        assert!(diff.contains(r#"net/10.0.0.2 0644 "c1\r\neth0""#), "{diff}");
    }
}
