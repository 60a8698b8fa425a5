//! ADD; CHECK passes. Then any one thing that ADD made is changed, whichever it is, and CHECK fails.
//!
//! What there is to change is read off the machine, not listed here: every address and route of the
//! container, both ends of the link, the bridge's addresses, forwarding, every lease, and every rule and
//! element in our tables.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "test functions fail by panicking, and tell what they have tried"
)]

use std::fs;

use cni_testkit::{Netns, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::conflist::Attachment;

/// A change of the machine, as a command of the host or of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Host(Vec<String>),
    Container(Vec<String>),
    RemoveFile(String),
    WriteFile(String, &'static str),
}

impl Change {
    fn make(&self, world: &World, container: &Netns) {
        let run = |netns: &Netns, words: &[String]| {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            netns.command(words[0], &words[1..]);
        };
        match self {
            Self::Host(words) => run(world.host(), words),
            Self::Container(words) => run(container, words),
            Self::RemoveFile(path) => fs::remove_file(path).unwrap(),
            Self::WriteFile(path, text) => fs::write(path, text).unwrap(),
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn host(text: &str) -> Change {
    Change::Host(words(text))
}

fn container(text: &str) -> Change {
    Change::Container(words(text))
}

/// Everything about an attachment that can be taken from it.
fn changes(world: &World, netns: &Netns, result: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    changes.extend(of_container(netns));
    let host_end = result["interfaces"][1]["name"].as_str().unwrap();
    changes.extend(of_link(host_end));
    changes.extend(of_bridge(world));
    changes.extend(of_leases(world, result));
    changes.extend(of_ruleset(world));
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        changes.push(host(&format!("sysctl -qw {key}=0")));
    }
    changes
}

fn of_container(netns: &Netns) -> Vec<Change> {
    let mut changes: Vec<_> = [
        "ip link set eth0 down",
        "ip link set eth0 address 02:00:00:00:00:99",
        "ip link del eth0",
        "sysctl -qw net.ipv4.conf.eth0.arp_filter=0",
    ]
    .map(container)
    .to_vec();
    let addresses = netns.addresses().into_iter();
    let own = addresses.filter(|cidr| {
        !cidr.starts_with("fe80:") && !cidr.starts_with("127.") && cidr != "::1/128"
    });
    changes.extend(own.map(|cidr| container(&format!("ip addr del {cidr} dev eth0"))));
    for family in ["-4", "-6"] {
        for route in netns
            .ip_json(&format!("{family} route show"))
            .as_array()
            .unwrap()
        {
            let dst = route["dst"].as_str().unwrap();
            if route["protocol"] != "kernel" {
                changes.push(container(&format!("ip {family} route del {dst}")));
            }
        }
    }
    changes
}

fn of_link(host_end: &str) -> Vec<Change> {
    let set = ["nomaster", "down"].map(|to| format!("ip link set {host_end} {to}"));
    let port = ["hairpin off", "isolated off"]
        .map(|to| format!("ip link set {host_end} type bridge_slave {to}"));
    let all = set.iter().chain(&port);
    all.map(|text| host(text)).collect()
}

fn of_bridge(world: &World) -> Vec<Change> {
    let mut changes = vec![host("ip link set tenon0 down"), host("ip link del tenon0")];
    let shown = world.host().ip_json("addr show dev tenon0");
    for address in shown[0]["addr_info"].as_array().unwrap() {
        let (local, prefix) = (address["local"].as_str().unwrap(), &address["prefixlen"]);
        if !local.starts_with("fe80:") {
            changes.push(host(&format!("ip addr del {local}/{prefix} dev tenon0")));
        }
    }
    changes
}

fn of_leases(world: &World, result: &Value) -> Vec<Change> {
    let dir = world.data_dir().join(conf::NETWORK);
    let of = |ip: &Value| {
        let (address, _) = ip["address"].as_str().unwrap().split_once('/').unwrap();
        let path = dir.join(address).to_str().unwrap().to_owned();
        [
            Change::RemoveFile(path.clone()),
            Change::WriteFile(path, "another\r\neth0"),
        ]
    };
    result["ips"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(of)
        .collect()
}

/// Every rule and every element of the tables that ADD made: there are no others in this world.
fn of_ruleset(world: &World) -> Vec<Change> {
    let text = world.host().command("nft", &["-j", "list", "ruleset"]);
    let ruleset: Value = serde_json::from_str(&text).unwrap();
    let objects = ruleset["nftables"].as_array().unwrap().iter();
    objects.flat_map(of_object).collect()
}

fn of_object(object: &Value) -> Vec<Change> {
    let place = |of: &Value, name: &str| {
        let part = |key: &str| of[key].as_str().unwrap().to_owned();
        [part("family"), part("table"), part(name)].join(" ")
    };
    if let Some(rule) = object.get("rule") {
        let at = place(rule, "chain");
        return vec![nft(&format!("delete rule {at} handle {}", rule["handle"]))];
    }
    let Some(set) = object.get("set").or_else(|| object.get("map")) else {
        return Vec::new();
    };
    let delete = |element: &Value| {
        let (at, key) = (place(set, "name"), key(element));
        nft(&format!("delete element {at} {{ {key} }}"))
    };
    set["elem"]
        .as_array()
        .into_iter()
        .flatten()
        .map(delete)
        .collect()
}

fn nft(command: &str) -> Change {
    Change::Host(vec!["nft".to_owned(), command.to_owned()])
}

/// The key of an element as `nft` reads it: of a map's it is the first of two.
fn key(element: &Value) -> String {
    match element {
        Value::Array(pair) => key(&pair[0]),
        Value::Object(object) => match (&object.get("elem"), object.get("concat")) {
            (Some(element), _) => key(&element["val"]),
            (None, Some(Value::Array(parts))) => {
                parts.iter().map(key).collect::<Vec<_>>().join(" . ")
            }
            _ => panic!("{element}"),
        },
        Value::String(text) => text.clone(),
        number => number.to_string(),
    }
}

fn list(world: &World, way: &str) -> Value {
    let bridge =
        conf::bridge("1.1.0").ipam(conf::host_local(world, &["10.68.0.0/24", "fd68::/64"]));
    let bridge = bridge.with_ipam(json!({"routes": [{"dst": "192.0.2.0/24", "gw": "10.68.0.9"}]}));
    let bridge = bridge.with(json!({
        "ipMasq": true, "ipMasqBackend": way, "macspoofchk": true, "hairpinMode": true,
        "portIsolation": true,
    }));
    let named = |plugin_type: &str, keys: Value| conf::plugin("1.1.0", plugin_type).with(keys);
    let ports = json!({"backend": way, "capabilities": {"portMappings": true}});
    conf::list(
        "1.1.0",
        &[
            bridge,
            named("portmap", ports),
            named(
                "firewall",
                json!({"backend": way, "ingressPolicy": "same-bridge"}),
            ),
            named(
                "tuning",
                json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}),
            ),
        ],
    )
}

/// A machine with one attachment, and the changes that there are to make.
fn attached(
    world: &World,
    suite: &Suite,
    way: &str,
    see: impl FnOnce(&Attachment<'_>, &Netns, &Value),
) {
    let list = list(world, way);
    let netns = world.container("pod1");
    let mappings = json!([
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
    ]);
    let attachment = Attachment::new(suite, &list, "pod1", &netns);
    let attachment = attachment.capabilities(json!({"portMappings": mappings}));
    let result = attachment.add();
    attachment.check(&result);
    see(&attachment, &netns, &result);
}

/// What CHECK says after the change of that number; `None` if there are not so many.
fn verdict(suite: &Suite, way: &str, at: usize) -> Option<(Change, bool)> {
    let world = World::new();
    let mut verdict = None;
    attached(&world, suite, way, |attachment, netns, result| {
        let changes = changes(&world, netns, result).into_iter();
        let Some(change) = changes
            .filter(|change| !is_for_removal(way, change))
            .nth(at)
        else {
            return;
        };
        change.make(&world, netns);
        let plugins = attachment.plugins().iter();
        let found = plugins.filter(|plugin| attachment.call("CHECK", plugin, result).code != 0);
        verdict = Some((change, found.count() > 0));
    });
    verdict
}

/// With iptables, whose an address is is told to DEL and GC alone; the reference tells nobody, and what it
/// made passes CHECK.
fn is_for_removal(way: &str, change: &Change) -> bool {
    let Change::Host(words) = change else {
        return false;
    };
    way == "iptables"
        && words[1..]
            .concat()
            .starts_with("delete element inet tenon_forward ")
}

fn every_change_is_found(way: &str) {
    let suite = Suite::ours();
    let verdicts: Vec<_> = (0..).map_while(|at| verdict(&suite, way, at)).collect();
    let unseen = verdicts.iter().filter(|(_, found)| !found);
    let unseen: Vec<_> = unseen.map(|(change, _)| change).collect();
    eprintln!("{way}: {} changes", verdicts.len());
    assert!(unseen.is_empty(), "{unseen:#?} of {}", verdicts.len());
}

#[test]
fn any_one_change_of_what_add_made_with_nftables_makes_check_fail() {
    every_change_is_found("nftables");
}

#[test]
fn any_one_change_of_what_add_made_with_iptables_makes_check_fail() {
    every_change_is_found("iptables");
}
