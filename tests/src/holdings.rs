//! How much a machine has of everything that could pile up on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use cni_testkit::{Netns, World};
use serde_json::Value;

/// Counts by the name of what is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings(BTreeMap<String, u64>);

/// Below `/run` a [`World`] has all that plugins write: their state, leases and caches.
const FILES: &str = "/run";

const BYTES: &str = "bytes in files";
const CONNECTIONS: &str = "connections";

/// Namespaces are counted for themselves.
const NAMESPACES: &str = "/run/netns";

impl Holdings {
    /// As they are now.
    pub fn of(world: &World) -> Self {
        let host = world.host();
        let mut counts = BTreeMap::new();
        let mut count = |what: &str, number: usize| {
            counts.insert(what.to_owned(), u64::try_from(number).unwrap());
        };
        count("links", host.link_names().len());
        for (what, words) in [
            ("IPv4 routes", "-4 route show table all"),
            ("IPv4 rules", "-4 rule show"),
            ("IPv6 rules", "-6 rule show"),
            ("namespaces that the host knows", "netns list-id"),
        ] {
            count(what, length(&host.ip_json(words)));
        }
        count(
            "qdiscs",
            length(&json(host, "tc", &["-j", "qdisc", "show"])),
        );
        count("named namespaces", length_of_dir(Path::new(NAMESPACES)));
        let conntrack = host.sysctl("net/netfilter/nf_conntrack_count");
        count(CONNECTIONS, conntrack.parse().unwrap());
        let (files, bytes) = files_below(Path::new(FILES));
        count("files", files);
        count(BYTES, bytes);
        let ruleset = json(host, "nft", &["-j", "list", "ruleset"]);
        for object in ruleset["nftables"].as_array().unwrap() {
            for (kind, object) in object.as_object().unwrap() {
                let elements = length(&object["elem"]);
                *counts.entry(format!("nft {kind}s")).or_default() += 1;
                *counts.entry("nft elements".to_owned()).or_default() +=
                    u64::try_from(elements).unwrap();
            }
        }
        Self(counts)
    }

    /// Panics with the counts that differ by more than they may.
    #[track_caller]
    pub fn assert_same(&self, later: &Self, what: &str) {
        let of = |these: &Self, key: &str| these.0.get(key).copied().unwrap_or(0);
        let keys: BTreeSet<_> = self.0.keys().chain(later.0.keys()).collect();
        let other: Vec<_> = keys
            .into_iter()
            .filter(|key| of(self, key).abs_diff(of(later, key)) > margin(key))
            .map(|key| format!("{key}: {} -> {}", of(self, key), of(later, key)))
            .collect();
        assert!(other.is_empty(), "{what}: {other:#?}");
    }
}

/// The address in the rotation and its like get longer, and the kernel itself reports memberships in
/// multicast groups.
fn margin(what: &str) -> u64 {
    match what {
        BYTES => 64,
        CONNECTIONS => 3,
        _ => 0,
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.iter().map(|(what, count)| format!("{what} {count}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

fn json(host: &Netns, program: &str, args: &[&str]) -> Value {
    let text = host.command(program, args);
    serde_json::from_str(&text).unwrap()
}

fn length(list: &Value) -> usize {
    list.as_array().map_or(0, Vec::len)
}

fn length_of_dir(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// How many there are, directories included, and the size of all.
fn files_below(dir: &Path) -> (usize, usize) {
    let (mut files, mut bytes) = (0, 0);
    let mut rest = vec![dir.to_owned()];
    while let Some(dir) = rest.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let metadata = entry.metadata().unwrap();
            files += 1;
            if entry.path() == Path::new(NAMESPACES) {
                continue;
            }
            if metadata.is_dir() {
                rest.push(entry.path());
            } else {
                bytes += usize::try_from(metadata.len()).unwrap();
            }
        }
    }
    (files, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_added_is_counted() {
        let world = World::new();
        let host = world.host();
        for change in [
            "ip link add br0 type bridge",
            "ip addr add 10.0.0.1/24 dev lo",
            "ip rule add from 10.0.0.0/8 table 7",
            "tc qdisc add dev br0 ingress",
            "nft add table inet t",
            "nft 'add set inet t s { type ipv4_addr; }'",
            "nft 'add element inet t s { 10.0.0.1 }'",
            "touch /run/netns/other",
            "mkdir -p /run/a/b /run/z",
            "touch /run/a/b/file",
            "touch /run/z/file",
            "ip netns add known",
            "ip link add va type veth peer name vb netns known",
        ] {
            let before = Holdings::of(&world);
            host.command("sh", &["-c", change]);
            assert_ne!(before, Holdings::of(&world), "not seen: {change}");
        }
        let later = Holdings::of(&world);
        later.assert_same(&later, "nothing");
    }

    #[test]
    #[should_panic(expected = "grown")]
    fn files_may_grow_by_so_much_only() {
        let world = World::new();
        let file = world.file("file", "");
        let after = Holdings::of(&world);
        fs::write(&file, [b'x'; 64]).unwrap();
        after.assert_same(&Holdings::of(&world), "not by that");
        fs::write(&file, [b'x'; 65]).unwrap();
        after.assert_same(&Holdings::of(&world), "grown");
    }
}
