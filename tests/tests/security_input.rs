//! Values that mean something to files, shells, firewall tools and people, in the place of each text and
//! each number that a config has: one answer in time, nothing outside the
//! attachment, nothing left. `bad_input.rs` and `contract.rs` have documents that are none, names and
//! types; `tuning_state.rs` has sysctls.
//!
//! Each place gets a third of the values, other ones than the place before it, and of bridge and cnm-shim
//! a sixth; with `TENON_INPUT=all` it gets all of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::path::Path;
use std::time::Duration;

use cni_testkit::{Conf, Outcome, Snapshot, World, require};
use serde_json::{Value, json};
use tenon_tests::walk::{WAYS, Walk};

/// What any answer takes at most.
const PROMPT: Duration = Duration::from_secs(5);

/// What makes and removes links waits for the kernel.
const SLOW: [&str; 2] = ["bridge", "cnm-shim"];

/// Texts that would do something, if anybody let them.
const TEXTS: [&str; 16] = [
    "../../../run/evil",
    "/run/evil",
    "..",
    "a\u{0}b",
    "evil\n-A FORWARD -j EVIL\nCOMMIT\n",
    "evil\" -j ACCEPT \"",
    "evil' ; touch /run/evil ; '",
    "$(touch /run/evil)",
    "`touch /run/evil`",
    "-j ACCEPT",
    "--help",
    "%s%n%x",
    "\u{202e}live\u{200b}\u{feff}\u{1f980}",
    "\u{1b}[2J\u{7}",
    "*",
    "",
];

/// What no number is meant to be.
fn numbers() -> [Value; 7] {
    let huge = serde_json::from_str("1e308").unwrap();
    [
        json!(-1),
        json!(0),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1.5),
        huge,
        json!("7"),
    ]
}

/// The places of a document's leaves.
fn leaves(document: &Value, at: &str, found: &mut Vec<String>) {
    match document {
        Value::Object(keys) => {
            for (key, value) in keys {
                leaves(value, &format!("{at}/{}", key.replace('/', "~1")), found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                leaves(value, &format!("{at}/{index}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

/// What else a config can have of texts and numbers, beside what all commands need.
fn more(plugin: &str, way: &str) -> Value {
    let range = json!({
        "subnet": "10.88.0.0/24", "rangeStart": "10.88.0.9", "rangeEnd": "10.88.0.99",
        "gateway": "10.88.0.1",
    });
    let route = json!({"dst": "192.0.2.0/24", "gw": "10.88.0.1", "mtu": 1400, "table": 99});
    let ipam = json!({
        "type": "host-local", "dataDir": "/run/tenon-test/networks", "ranges": [[range]],
        "routes": [route], "resolvConf": "/etc/resolv.conf", "lockTimeout": 1,
    });
    match (plugin, way) {
        ("host-local", _) => json!({"ipam": ipam, "args": {"cni": {"ips": ["10.88.0.77"]}}}),
        ("bridge", "IPv4") => json!({
            "ipam": ipam, "mtu": 1400, "ipMasqBackend": "nftables", "delegateTimeout": 9,
            "runtimeConfig": {"mac": "02:00:00:00:00:78", "ips": ["10.88.0.78"]},
        }),
        ("portmap", "nftables") => json!({
            "conditionsV4": ["ip", "saddr", "192.0.2.0/24"], "conditionsV6": ["iifname", "eth9"],
            "markMasqBit": 13, "masqAll": true,
        }),
        ("portmap", _) => json!({
            "conditionsV4": ["-s", "192.0.2.0/24"],
            "externalSetMarkChain": "OTHERS-MARK",
        }),
        ("firewall", _) => json!({
            "backend": "iptables", "iptablesAdminChainName": "MY-ADMIN", "firewalldZone": "trusted",
        }),
        ("tuning", _) => {
            json!({"txQLen": 500, "dataDir": "/run/cni/tuning", "args": {"cni": {"mac": "02:00:00:00:00:79"}}})
        }
        ("cnm-shim", _) => json!({
            "driver": "bridge", "gateway": "10.89.0.1", "timeout": "5s",
            "networkOptions": {"com.docker.network.bridge.name": "shim0"},
        }),
        _ => json!({}),
    }
}

fn variants(conf: &Conf, slow: bool) -> Vec<(String, Conf)> {
    let mut places = Vec::new();
    leaves(&conf.0, "", &mut places);
    // Which plugin it is, and what the main plugin said, is the runtime's; a path may lead anywhere.
    let given = ["/type", "/cniVersion", "/ipam/dataDir", "/dataDir"];
    places.retain(|place| !given.contains(&place.as_str()) && !place.starts_with("/prevResult"));
    let all = std::env::var("TENON_INPUT").is_ok_and(|value| value == "all");
    let mut variants = Vec::new();
    for (turn, place) in places.into_iter().enumerate() {
        let values: Vec<Value> = match conf.0.pointer(&place) {
            Some(Value::String(_)) => TEXTS.iter().map(|text| json!(text)).collect(),
            Some(Value::Number(_)) => numbers().into(),
            _ => vec![json!("evil"), json!(7), json!({}), json!([[]])],
        };
        let share = if slow { 6 } else { 3 };
        let mine = |index: usize| all || (index + turn).is_multiple_of(share);
        let values = values
            .into_iter()
            .enumerate()
            .filter(|(index, _)| mine(*index));
        for (_, value) in values {
            let mut variant = conf.clone();
            let what = format!("{place} = {value}");
            *variant.0.pointer_mut(&place).unwrap() = value;
            variants.push((what, variant));
        }
    }
    variants
}

/// All rules, and what a shell would have made.
fn rules(world: &World) -> Vec<String> {
    let mut rules = Vec::new();
    for tool in ["iptables-save", "ip6tables-save"] {
        require(tool);
        let saved = world.host().command(tool, &[]);
        let lines = saved.lines().filter(|line| line.starts_with("-A"));
        rules.extend(lines.map(|line| line.split(" [").next().unwrap_or(line).to_owned()));
    }
    rules
}

#[track_caller]
fn assert_sane(outcome: &Outcome, what: &str) {
    assert!(outcome.elapsed < PROMPT, "{what}: {outcome}");
    assert!(outcome.stdout.len() < 20_000, "{what}: {outcome}");
    if outcome.code != 0 {
        let code = outcome.expect_any_error()["code"].as_u64();
        assert!(!matches!(code, None | Some(0 | 999)), "{what}: {outcome}");
    }
    assert!(!Path::new("/run/evil").exists(), "{what}: {outcome}");
}

/// ADD with every value in every place of the plugin's own keys, and DEL.
fn every_value_in_every_place(plugin: &str) -> usize {
    let mut cases = 0;
    for way in WAYS
        .into_iter()
        .filter(|way| way.plugin == plugin && way.name != "IPv6")
    {
        let walk = Walk::new(way);
        walk.world.shadow("/etc");
        let whole = walk.conf().clone().with(more(plugin, way.name));
        if way.plugin == "portmap" {
            walk.world
                .host()
                .command("iptables", &["-t", "nat", "-N", "OTHERS-MARK"]);
        }
        // Chains for all attachments come with the first one.
        for command in ["ADD", "DEL"] {
            let call = walk.call(command, &[]).conf(&whole).run();
            assert_eq!(call.code, 0, "{plugin}, {}: {call}", way.name);
        }
        let before = (rules(&walk.world), Snapshot::of(&walk.c1));
        for (what, conf) in variants(&whole, SLOW.contains(&plugin)) {
            let what = format!("{plugin}, {}: {what}", way.name);
            let add = walk.call("ADD", &[]).conf(&conf).run();
            assert_sane(&add, &what);
            let del = walk.call("DEL", &[]).conf(&conf).run();
            assert_sane(&del, &what);
            // Wherever the leases and records of an odd directory or network went.
            let del = walk.call("DEL", &[]).run();
            assert_sane(&del, &what);
            cases += 1;
        }
        let after = (rules(&walk.world), Snapshot::of(&walk.c1));
        assert_eq!(before.0, after.0, "{plugin}");
        before.1.assert_unchanged(&after.1);
    }
    cases
}

#[test]
fn host_local_takes_every_value_in_every_place() {
    let cases = every_value_in_every_place("host-local");
    eprintln!("{cases} values");
    assert!(cases >= 60, "{cases}");
}

#[test]
fn bridge_takes_every_value_in_every_place() {
    let cases = every_value_in_every_place("bridge");
    eprintln!("{cases} values");
    assert!(cases >= 30, "{cases}");
}

#[test]
fn portmap_takes_every_value_in_every_place() {
    let cases = every_value_in_every_place("portmap");
    eprintln!("{cases} values");
    assert!(cases >= 60, "{cases}");
}

#[test]
fn firewall_takes_every_value_in_every_place() {
    let cases = every_value_in_every_place("firewall");
    eprintln!("{cases} values");
    assert!(cases >= 10, "{cases}");
}

#[test]
fn tuning_takes_every_value_in_every_place() {
    let cases = every_value_in_every_place("tuning");
    eprintln!("{cases} values");
    assert!(cases >= 15, "{cases}");
}

#[test]
fn bandwidth_takes_every_value_in_every_place() {
    let cases = every_value_in_every_place("bandwidth");
    eprintln!("{cases} values");
    assert!(cases >= 15, "{cases}");
}

#[test]
fn cnm_shim_takes_every_value_in_every_place() {
    let cases = every_value_in_every_place("cnm-shim");
    eprintln!("{cases} values");
    assert!(cases >= 15, "{cases}");
}

/// A pod's name, namespace and the rest of `CNI_ARGS`: nobody's file, rule or command.
#[test]
fn what_a_pod_is_called_goes_nowhere() {
    let read = ["leases", "nftables", "link and sysctl"];
    for way in WAYS.into_iter().filter(|way| read.contains(&way.name)) {
        let walk = Walk::new(way);
        let before = (rules(&walk.world), Snapshot::of(&walk.c1));
        for text in TEXTS.iter().filter(|text| !text.contains('\u{0}')) {
            let args =
                format!("IgnoreUnknown=1;K8S_POD_NAME={text};K8S_POD_NAMESPACE={text};X{text}=1");
            let what = format!("{}, {}: {args}", way.plugin, way.name);
            for command in ["ADD", "DEL"] {
                assert_sane(&walk.call(command, &[]).args(&args).run(), &what);
            }
            walk.call("DEL", &[]).run().expect_silent_ok();
        }
        let after = (rules(&walk.world), Snapshot::of(&walk.c1));
        assert_eq!(before.0, after.0, "{}", way.plugin);
        before.1.assert_unchanged(&after.1);
    }
}

/// Ids are names of files, and lines of them, comments of rules, aliases of links: one that is too long
/// for any of these is an error, and never something that a DEL does not find again.
#[test]
fn an_id_of_any_length_is_found_again_or_refused() {
    for way in WAYS
        .into_iter()
        .filter(|way| !["IPv6", "up"].contains(&way.name))
    {
        let walk = Walk::new(way);
        let look = || {
            (
                walk.world.snapshot().without("/last_reserved_ip."),
                Snapshot::of(&walk.c1),
            )
        };
        // The first one leaves a directory and its lock.
        for command in ["ADD", "DEL"] {
            assert_eq!(walk.call(command, &[]).run().code, 0, "{}", way.name);
        }
        let before = look();
        for length in [64, 240, 256, 4090, 100_000] {
            let id = "x".repeat(length);
            let run = |command: &str| walk.call(command, &[]).container_id(&id).run();
            let what = format!("{}, {}: {length}", way.plugin, way.name);
            let add = run("ADD");
            assert_sane(&add, &what);
            let del = run("DEL");
            assert!(add.code != 0 || del.code == 0, "{what}: {del}");
        }
        let after = look();
        before.0.assert_unchanged(&after.0);
        before.1.assert_unchanged(&after.1);
    }
}
