//! What the tuning plugin keeps to restore: over upgrades, crashes, several attachments and GC; and
//! whatever it is given. The reference has next to none of it.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cni_testkit::{Conf, Netns, Snapshot, Suite, World, conf, require};
use serde_json::{Value, json};
use tenon_tests::network::{Attached, Network, addresses_of};

const VERSION: &str = "1.1.0";
const MAC: &str = "02:00:00:00:00:77";
const DIR: &str = "/run/cni/tuning";

/// A container with two interfaces that some plugin has made.
fn pod(world: &World, name: &str) -> Netns {
    let c1 = world.container(name);
    for (ifname, last) in [("eth0", 1), ("eth1", 2)] {
        let peer = format!("p{ifname}");
        c1.ip(&format!(
            "link add {ifname} address 02:00:00:00:00:0{last} type veth peer name {peer} address 02:00:00:00:01:0{last}"
        ));
        c1.ip(&format!("link set {peer} up"));
        c1.ip(&format!("link set {ifname} up"));
    }
    c1
}

fn network<'a>(suite: &'a Suite, c1: &Netns, version: &str, keys: Value) -> Network<'a> {
    let result = conf::result(version, c1, "eth0", "10.93.0.2/24");
    let conf = conf::plugin(version, "tuning").with(keys);
    Network::new(suite, conf.prev_result(&result))
}

/// Everything that the tests below have tuned, and the files.
#[derive(Debug, PartialEq)]
struct Picture {
    snapshot: Snapshot,
    sysctls: Vec<String>,
    files: Vec<String>,
}

impl Picture {
    #[track_caller]
    fn assert_again(&self, c1: &Netns, when: &str) {
        let now = picture(c1);
        let diff = self.snapshot.diff(&now.snapshot);
        assert!(diff.is_empty(), "{when}: something changed:\n{diff}");
        assert_eq!(now.sysctls, self.sysctls, "{when}");
        assert_eq!(now.files, self.files, "{when}");
    }
}

fn picture(c1: &Netns) -> Picture {
    let sysctls = [
        "net/core/somaxconn",
        "net/ipv4/ip_forward",
        "net/ipv4/conf/all/log_martians",
        "net/ipv4/conf/default/forwarding",
        "net/ipv4/conf/eth0/forwarding",
        "net/ipv4/conf/eth1/forwarding",
        "net/ipv4/conf/eth0/rp_filter",
        "net/ipv4/ip_local_reserved_ports",
        "net/ipv4/tcp_rmem",
    ];
    let shown = sysctls
        .iter()
        .map(|path| format!("{path} = {}", c1.sysctl(path)));
    Picture {
        snapshot: Snapshot::of(c1),
        sysctls: shown.collect(),
        files: files(),
    }
}

fn files() -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIR) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn everything() -> Value {
    json!({
        "mac": MAC, "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 77,
        "sysctl": {
            "net.core.somaxconn": "77", "net.ipv4.ip_forward": "1",
            "net.ipv4.conf.all.log_martians": "1", "net.ipv4.conf.IFNAME.rp_filter": "2",
            "net.ipv4.ip_local_reserved_ports": "8080,8081,8082", "net.ipv4.tcp_rmem": "4096 8192 16384",
        },
    })
}

/// What the reference 1.1.1 knows.
fn of_the_reference() -> Value {
    json!({"mac": MAC, "mtu": 1400, "promisc": true, "allmulti": true})
}

#[test]
fn everything_is_put_back() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let before = picture(&c1);
    let attached = network(&suite, &c1, VERSION, everything()).add("c1", &c1);
    assert_ne!(picture(&c1), before);
    assert_eq!(attached.interface(0)["mac"], MAC);
    assert_eq!(attached.interface(0)["mtu"], 1400);
    attached.check_ok();
    attached.del_ok();
    before.assert_again(&c1, "DEL");
}

/// `net.ipv4.ip_forward` writes the setting of every interface.
#[test]
fn what_the_kernel_changes_along_is_put_back_too() {
    let suite = Suite::ours();
    for refused in [false, true] {
        let world = World::new();
        let c1 = pod(&world, "c1");
        c1.set_sysctl("net/ipv4/conf/eth1/forwarding", "1");
        let before = picture(&c1);
        let rp_filter = if refused { "x" } else { "2" };
        let keys = json!({"sysctl": {
            "net.ipv4.ip_forward": "1", "net.ipv4.conf.IFNAME.rp_filter": rp_filter,
            "net.ipv4.conf.IFNAME.forwarding": "0",
        }});
        let network = network(&suite, &c1, VERSION, keys);
        if refused {
            network.try_add("c1", &c1).expect_error(110);
        } else {
            let attached = network.add("c1", &c1);
            assert_eq!(c1.sysctl("net/ipv4/ip_forward"), "1");
            assert_eq!(
                c1.sysctl("net/ipv4/conf/eth0/forwarding"),
                "0",
                "the more special wins"
            );
            attached.check_ok();
            attached.del_ok();
        }
        before.assert_again(&c1, &format!("refused: {refused}"));
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let before = picture(&c1);
    let keys = json!({"sysctl": {
        "net.ipv4.ip_forward": "1", "net.ipv4.conf.all.forwarding": "0",
    }});
    let error = network(&suite, &c1, VERSION, keys)
        .try_add("c1", &c1)
        .expect_error(7);
    let text = error.to_string();
    assert!(
        text.contains("net.ipv4.ip_forward") && text.contains("after the others"),
        "{error}"
    );
    before.assert_again(&c1, "again");
}

#[test]
fn what_somebody_else_has_set_since_stays() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let keys = json!({"sysctl": {"net.core.somaxconn": "77", "net.ipv4.ip_default_ttl": "60"}});
    let attached = network(&suite, &c1, VERSION, keys).add("c1", &c1);
    c1.set_sysctl("net/core/somaxconn", "78");
    attached.del_ok();
    assert_eq!(c1.sysctl("net/core/somaxconn"), "78");
    assert_eq!(c1.sysctl("net/ipv4/ip_default_ttl"), "64");
}

/// Two interfaces of a container whose networks want the same of its namespace.
#[test]
fn who_goes_last_restores_what_several_rely_on() {
    let suite = Suite::ours();
    for last_is_first in [false, true] {
        let world = World::new();
        let c1 = pod(&world, "c1");
        let before = picture(&c1);
        let keys = json!({"sysctl": {"net.core.somaxconn": "77"}, "mtu": 1400});
        let network = network(&suite, &c1, VERSION, keys);
        let other = network.edited(|conf| conf.with(json!({"name": "other-net"})));
        let mut attached = [network.add("c1", &c1), other.add_at("c1", &c1, "eth1")];
        if last_is_first {
            attached.reverse();
        }
        let [first, second] = attached;
        first.del_ok();
        assert_eq!(c1.sysctl("net/core/somaxconn"), "77");
        second.check_ok();
        second.del_ok();
        before.assert_again(&c1, &format!("{last_is_first}"));
    }
}

/// `tuning` stands twice in the list of plugins. DEL calls both, the last one first.
#[test]
fn two_in_one_chain_are_undone_together() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let before = picture(&c1);
    let first = json!({"mtu": 1400, "sysctl": {"net.core.somaxconn": "77"}});
    let second = json!({"mtu": 1300, "mac": MAC, "sysctl": {"net.core.somaxconn": "78"}});
    let refused = json!({"mtu": 1300, "sysctl": {"net.ipv4.ip_forward": "x"}});
    let first = network(&suite, &c1, VERSION, first).add("c1", &c1);
    let between = (
        picture(&c1),
        fs::read(format!("{DIR}/c1_eth0.json")).unwrap(),
    );
    network(&suite, &c1, VERSION, refused)
        .try_add("c1", &c1)
        .expect_error(110);
    assert_eq!(
        (
            picture(&c1),
            fs::read(format!("{DIR}/c1_eth0.json")).unwrap()
        ),
        between
    );
    let second = network(&suite, &c1, VERSION, second).add("c1", &c1);
    second.check_ok();
    second.del_ok();
    first.del_ok();
    before.assert_again(&c1, "in the end");
}

/// The container was there before, and its runtime has forgotten the DEL.
#[test]
fn what_is_left_of_an_earlier_container_is_not_restored() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let lost = network(&suite, &c1, VERSION, everything()).add("c1", &c1);
    drop(c1);
    let c1 = pod(&world, "c1");
    c1.ip("link set eth0 address 02:00:00:00:00:05 mtu 1450");
    let before = Picture {
        files: Vec::new(),
        ..picture(&c1)
    };
    // Nothing of this one is to be restored, and nothing of the other.
    let keys = json!({"mtu": 1450});
    let attached = lost.of(&network(&suite, &c1, VERSION, keys));
    attached.call("ADD").run().expect_ok();
    assert_eq!(files(), Vec::<String>::new());
    attached.del_ok();
    before.assert_again(&c1, "again");
    let again = network(&suite, &c1, VERSION, everything()).add("c1", &c1);
    again.del_ok();
    before.assert_again(&c1, "again");
}

#[test]
fn the_other_implementations_state_is_restored() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for (first, second) in [(&reference, &ours), (&ours, &reference)] {
        for version in ["0.4.0", "1.0.0"] {
            let world = World::new();
            let c1 = pod(&world, "c1");
            let before = picture(&c1);
            let added = network(first, &c1, version, of_the_reference()).add("c1", &c1);
            let taken_over = added.of(&added.network().through(second));
            taken_over.check_ok();
            taken_over.del_ok();
            before.assert_again(&c1, &format!("{} then {}", first.name(), second.name()));
        }
    }
    // Ours removes what the reference has left, too.
    let world = World::new();
    let c1 = pod(&world, "c1");
    let added = network(&reference, &c1, "1.0.0", of_the_reference()).add("c1", &c1);
    drop(c1);
    added.of(&added.network().through(&ours)).del_ok();
    assert_eq!(files(), Vec::<String>::new());
}

/// Whatever an ADD or a DEL had time to do before it was killed, a DEL makes good.
#[test]
fn a_kill_at_any_point_is_made_good_by_del() {
    require("strace");
    let suite = Suite::ours();
    let mut kills = 0;
    for (command, syscall) in [
        ("ADD", "open,openat"),
        ("ADD", "write"),
        ("ADD", "sendto"),
        ("ADD", "rename"),
        ("DEL", "open,openat"),
        ("DEL", "write"),
        ("DEL", "sendto"),
        ("DEL", "unlink"),
    ] {
        for nth in 1.. {
            let world = World::new();
            let c1 = pod(&world, "c1");
            let before = picture(&c1);
            let network = network(&suite, &c1, VERSION, everything());
            if command == "DEL" {
                network.add("c1", &c1);
            }
            let inject = format!("inject={syscall}:signal=SIGKILL:when={nth}");
            let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
            let outcome = network.call_for(command, "c1", &c1).through(&wrapper).run();
            if outcome.code == 0 {
                break;
            }
            kills += 1;
            network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
            before.assert_again(&c1, &format!("{command} killed at {syscall} {nth}"));
        }
    }
    assert!(kills > 40, "only {kills} kills: does strace inject?");
}

#[test]
fn gc_removes_the_state_of_what_is_not_valid() {
    let suite = Suite::ours();
    let world = World::new();
    let (c1, c2) = (pod(&world, "c1"), pod(&world, "c2"));
    let network = network(&suite, &c1, VERSION, json!({"mtu": 1400}));
    let other = network.edited(|conf| conf.with(json!({"name": "tenon-net2"})));
    let valid = network.add("c1", &c1);
    network.add_at("c1", &c1, "eth1");
    network.add("c2", &c2);
    other.add_at("c2", &c2, "eth1");
    // The reference's, somebody's notes, a copy under another name, what a crash has left, a trap.
    let dir = Path::new(DIR);
    for (name, content) in [
        ("c3_eth0.json", br#"{"mtu": 1500}"#.to_vec()),
        ("c4_eth0.json", b"".to_vec()),
        ("notes", b"mine".to_vec()),
        ("c5_eth0.json", fs::read(dir.join("c2_eth0.json")).unwrap()),
        (
            ".tenon-c2_eth0.json",
            fs::read(dir.join("c2_eth0.json")).unwrap(),
        ),
    ] {
        fs::write(dir.join(name), content).unwrap();
    }
    symlink(dir.join("c1_eth0.json"), dir.join("c6_eth0.json")).unwrap();
    let gc = |valid: &[(&str, &str)]| {
        let network = network.edited(|conf| conf.valid_attachments(valid).without("prevResult"));
        network.call("GC").run().expect_silent_ok();
    };
    gc(&[("c1", "eth0"), ("c1", "eth2"), ("../c1", "eth1")]);
    let foreign = [
        "c3_eth0.json",
        "c4_eth0.json",
        "c5_eth0.json",
        "c6_eth0.json",
        "notes",
    ];
    let kept: Vec<&str> = [&["c1_eth0.json", "c2_eth1.json"], &foreign[..]].concat();
    assert_eq!(files(), kept);
    valid.check_ok();
    gc(&[]);
    assert_eq!(files(), [&["c2_eth1.json"], &foreign[..]].concat());
    fs::remove_dir_all(dir).unwrap();
    gc(&[]);
    assert!(!dir.exists());
}

#[test]
fn status_tells_whether_an_add_would_be_allowed_and_could_be_undone() {
    let suite = Suite::ours();
    let world = World::new();
    world.shadow("/etc");
    let status = |keys: Value| {
        let conf = conf::plugin(VERSION, "tuning").with(keys);
        Network::new(&suite, conf).call("STATUS").run()
    };
    let sysctl = json!({"sysctl": {"net.core.somaxconn": "77"}});
    status(json!({})).expect_silent_ok();
    status(sysctl.clone()).expect_silent_ok();
    status(json!({"mtu": "many"})).expect_error(6);
    status(json!({"sysctl": {"kernel.x": "1"}})).expect_error(7);
    fs::create_dir_all("/etc/cni/tuning").unwrap();
    for (list, words) in [("net.ipv4", "not allowed"), ("(", "allowlist.conf:1")] {
        fs::write("/etc/cni/tuning/allowlist.conf", list).unwrap();
        let error = status(sysctl.clone()).expect_error(50);
        assert!(error.to_string().contains(words), "{error}");
        status(json!({"mtu": 1400})).expect_silent_ok();
    }
    let disk = world.small_disk("disk", 64 << 10);
    world.read_only(disk.to_str().unwrap());
    let error = status(json!({"mtu": 1400, "dataDir": disk})).expect_error(50);
    assert!(
        error.to_string().contains(disk.to_str().unwrap()),
        "{error}"
    );
    assert_eq!(files(), Vec::<String>::new());
}

#[test]
fn state_that_cannot_be_written_changes_nothing() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let before = picture(&c1);
    let read_only = world.small_disk("read-only", 64 << 10);
    world.read_only(read_only.to_str().unwrap());
    let full = world.small_disk("full", 4096);
    fs::write(full.join("big"), vec![1; 4096]).unwrap();
    let file = world.file("file", "");
    for dir in [read_only, full.clone(), file, "/nul\0nul".into()] {
        let keys = Conf(everything()).with(json!({"dataDir": dir})).0;
        let network = network(&suite, &c1, VERSION, keys);
        let error = network.try_add("c1", &c1).expect_error(5);
        let shown = dir.to_str().unwrap().split('\0').next().unwrap();
        assert!(error["msg"].as_str().unwrap().contains(shown), "{error}");
        before.assert_again(&c1, "again");
        network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
    }
    assert_eq!(
        fs::read_dir(full).unwrap().count(),
        1,
        "nothing but what filled it"
    );
}

#[test]
fn what_stands_in_the_place_of_the_state_is_left_alone() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let before = picture(&c1);
    let network = network(&suite, &c1, VERSION, json!({"mtu": 1400}));
    let target = world.file("target", r#"{"mtu": 1300}"#);
    fs::create_dir_all(DIR).unwrap();
    let place = Path::new(DIR).join("c1_eth0.json");
    let refuses = |words: &str| {
        let snapshot = Snapshot::empty().tree(Path::new(DIR));
        let error = network.try_add("c1", &c1).expect_error(101);
        let text = error.to_string();
        assert!(
            text.contains("c1_eth0.json") && text.contains(words),
            "{error}"
        );
        network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
        snapshot.assert_unchanged(&Snapshot::empty().tree(Path::new(DIR)));
        let now = picture(&c1);
        assert_eq!(
            (now.snapshot, now.sysctls),
            (before.snapshot.clone(), before.sysctls.clone())
        );
    };
    symlink(&target, &place).unwrap();
    refuses("not a regular file");
    assert_eq!(fs::read_to_string(&target).unwrap(), r#"{"mtu": 1300}"#);
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    refuses("not a regular file");
    fs::remove_dir(&place).unwrap();
    // Rubbish is nobody's: DEL removes it, ADD replaces it.
    for text in ["", "{", "[]", "\0\0\0", r#"{"mtu": "many"}"#] {
        fs::write(&place, text).unwrap();
        network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
        fs::write(&place, text).unwrap();
        network.add("c1", &c1).del_ok();
        before.assert_again(&c1, "in the end");
    }
}

/// Container `c1_eth0` with interface `b`, and container `c1` with interface `eth0_b`.
#[test]
fn two_attachments_can_have_one_file_name() {
    let suite = Suite::ours();
    let world = World::new();
    let (c1, c2) = (pod(&world, "c1"), pod(&world, "c2"));
    c1.ip("link set eth1 down");
    c1.ip("link set eth1 name b");
    c2.ip("link set eth1 down");
    c2.ip("link set eth1 name eth0_b");
    let network = network(&suite, &c1, VERSION, json!({"mtu": 1400}));
    let first = network.add_at("c1_eth0", &c1, "b");
    let call = network.call("ADD").attachment("c1", &c2, "eth0_b");
    let error = call.run().expect_error(101);
    assert!(error.to_string().contains("c1_eth0/b"), "{error}");
    let before = (Snapshot::of(&c1), files());
    call.command("DEL").run().expect_silent_ok();
    assert_eq!((Snapshot::of(&c1), files()), before);
    first.del_ok();
    assert_eq!(c1.link("b").unwrap()["mtu"], 1500);
}

/// A state file is believed as little as a config.
#[test]
fn state_does_not_lead_out_of_the_namespace() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    fs::create_dir_all(DIR).unwrap();
    let state = json!({"tenon": {
        "network": "tenon-net", "containerID": "c1", "ifname": "eth0", "sysctl": [
            {"name": "kernel/hostname", "was": "evil", "is": hostname.trim()},
            {"name": "net/../kernel/hostname", "was": "evil", "is": hostname.trim()},
            {"name": "net/core/somaxconn", "was": "77", "is": c1.sysctl("net/core/somaxconn")},
        ],
    }});
    fs::write(format!("{DIR}/c1_eth0.json"), state.to_string()).unwrap();
    let network = network(&suite, &c1, VERSION, json!({"mtu": 1400}));
    network.call_for("DEL", "c1", &c1).run().expect_silent_ok();
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        hostname
    );
    assert_eq!(c1.sysctl("net/core/somaxconn"), "77");
}

#[test]
fn hostile_sysctls() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let before = picture(&c1);
    let long = "x".repeat(1 << 20);
    let rows = [
        (json!({"net.ipv4.ip_forward": "1\n1"}), 7),
        (json!({"net.ipv4.ip_forward": "1\u{0}"}), 7),
        (json!({"net.ipv4.ip_forward": "1 1"}), 110),
        (json!({"net.ipv4.ip_forward": "99999999999999999999"}), 110),
        (json!({"net.ipv4.ip_forward": "-"}), 110),
        (json!({"net.ipv4.ip_forward": ""}), 110),
        (json!({"net.ipv4.ip_forward\n": "1"}), 7),
        (json!({"net.ipv4.ip_forward\u{0}": "1"}), 7),
        (json!({"net.ipv4.ip_forward/": {}}), 6),
        (json!({"net.ipv4.conf.IFNAME.IFNAME": "1"}), 110),
        (json!({"net.ipv4.conf.*.rp_filter": "1"}), 110),
        (json!({"net.ipv4.ip_forward": long}), 7),
        (json!({format!("net.{long}"): "1"}), 7),
        (
            json!({"net.ipv4.tcp_available_congestion_control": "x"}),
            110,
        ),
    ];
    for (sysctl, code) in rows {
        let network = network(&suite, &c1, VERSION, json!({"sysctl": sysctl}));
        let outcome = network.try_add("c1", &c1);
        outcome.expect_error(code);
        assert!(
            outcome.stdout.len() < 4096,
            "the error does not repeat the input\n{outcome}"
        );
        before.assert_again(&c1, "in the end");
    }
}

/// What cannot be read can be set, and is nobody's to put back.
#[test]
fn a_setting_that_only_acts_is_set() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let keys = json!({"sysctl": {"net.ipv4.route.flush": "1"}});
    let attached = network(&suite, &c1, VERSION, keys).add("c1", &c1);
    attached.check_ok();
    attached.del_ok();
}

#[test]
fn an_empty_value_empties_a_list() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let path = "net/ipv4/ip_local_reserved_ports";
    c1.set_sysctl(path, "8080,8081");
    let keys = json!({"sysctl": {path: ""}});
    let attached = network(&suite, &c1, VERSION, keys).add("c1", &c1);
    assert_eq!(c1.sysctl(path), "");
    attached.check_ok();
    attached.del_ok();
    assert_eq!(c1.sysctl(path), "8080-8081");
    // And back.
    c1.set_sysctl(path, "\n");
    let keys = json!({"sysctl": {path: "8080"}});
    network(&suite, &c1, VERSION, keys).add("c1", &c1).del_ok();
    assert_eq!(c1.sysctl(path), "");
}

#[test]
fn a_read_only_proc_sys_is_named_and_no_obstacle_to_what_is_right() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    world.read_only("/proc/sys");
    let before = picture(&c1);
    let forward = |value: &str| json!({"sysctl": {"net.ipv4.ip_forward": value}, "mtu": 1400});
    let error = network(&suite, &c1, VERSION, forward("1"))
        .try_add("c1", &c1)
        .expect_error(110);
    let text = error.to_string();
    for word in [
        "net.ipv4.ip_forward",
        "/proc/sys/net/ipv4/ip_forward",
        "Read-only",
        "hint",
    ] {
        assert!(text.contains(word), "no {word} in {error}");
    }
    before.assert_again(&c1, "again");
    let attached = network(&suite, &c1, VERSION, forward("0")).add("c1", &c1);
    attached.check_ok();
    attached.del_ok();
    before.assert_again(&c1, "again");
}

/// The reply cannot be delivered, or the kernel refuses everything.
#[test]
fn the_last_and_the_first_thing_that_can_fail() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = pod(&world, "c1");
    let before = picture(&c1);
    let add = network(&suite, &c1, VERSION, everything()).call_for("ADD", "c1", &c1);
    let full = ["sh", "-c", "exec \"$0\" >/dev/full"];
    assert_ne!(add.clone().through(&full).run().code, 0);
    before.assert_again(&c1, "in the end");
    let error = add.without_capability("net_admin").run().expect_error(110);
    let text = error.to_string();
    assert!(
        text.contains("not permitted") && text.contains("CAP_NET_ADMIN"),
        "{error}"
    );
    before.assert_again(&c1, "in the end");
}

/// Behind `bridge`, as podman and nerdctl have it.
struct Chain<'a> {
    bridge: Network<'a>,
    tuning: Network<'a>,
}

impl<'a> Chain<'a> {
    fn new(suite: &'a Suite, world: &World, version: &str, keys: Value) -> Self {
        let ipam = conf::host_local(world, &["10.94.0.0/24", "fd94::/64"]);
        Self {
            bridge: Network::new(suite, conf::bridge(version).ipam(ipam)),
            tuning: Network::new(suite, conf::plugin(version, "tuning").with(keys)),
        }
    }

    /// What each of the two gets on CHECK and DEL: the last result.
    fn add(&self, id: &str, netns: &Netns) -> (Attached<'a>, Attached<'a>) {
        let bridge = self.bridge.add(id, netns);
        let tuning = self.tuning.edited(|conf| conf.prev_result(&bridge.result));
        let tuning = tuning.add(id, netns);
        (bridge.with_result(tuning.result.clone()), tuning)
    }
}

#[test]
fn behind_bridge_everything_is_as_told_and_reachable() {
    let suite = Suite::ours();
    for version in ["0.3.1", "0.4.0", "1.0.0", VERSION] {
        let world = World::new();
        let (c1, c2) = (world.container("c1"), world.container("c2"));
        let keys = json!({
            "mac": MAC, "mtu": 1400, "sysctl": {"net.ipv4.conf.IFNAME.rp_filter": "2"},
        });
        let chain = Chain::new(&suite, &world, version, keys);
        let other = chain.bridge.add("c2", &c2);
        let before = world.snapshot().without("last_reserved_ip");
        let (bridge, tuning) = chain.add("c1", &c1);
        let mut expected = json!({"mac": MAC, "name": "eth0", "sandbox": c1.path_str()});
        if version >= "1.1.0" {
            expected["mtu"] = json!(1400);
        }
        assert_eq!(tuning.interface(2), &expected);
        for address in tuning.cidrs() {
            assert!(
                world.host().ping(&address) && c2.ping(&address),
                "{address}"
            );
        }
        if version >= "0.4.0" {
            bridge.check_ok();
            tuning.check_ok();
        }
        tuning.del_ok();
        assert_eq!(c1.link("eth0").unwrap()["mtu"], 1500);
        assert_ne!(c1.link("eth0").unwrap()["address"], MAC);
        bridge.del_ok();
        tuning.del_ok();
        before.assert_unchanged(&world.snapshot().without("last_reserved_ip"));
        assert_eq!(files(), Vec::<String>::new());
        assert!(c2.ping("10.94.0.1"), "{:?}", other.cidrs());
    }
}

/// Neighbours that have spoken with the container learn its new address without asking.
#[test]
fn a_new_mac_address_is_announced() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    let chain = Chain::new(&suite, &world, VERSION, json!({"mac": MAC}));
    let bridge = chain.bridge.add("c1", &c1);
    for address in bridge.cidrs() {
        assert!(world.host().ping(&address));
    }
    assert_eq!(addresses_of(&c1, "eth0").len(), 2);
    let knows = |mac: &str| {
        let known = world.host().ip_json("neigh show dev tenon0");
        let known = known.as_array().unwrap().iter();
        known
            .filter(|entry| {
                entry["lladdr"] == mac && !entry["dst"].as_str().unwrap().starts_with("fe80")
            })
            .count()
    };
    assert_eq!(knows(bridge.mac()), 2);
    let tuning = chain.tuning.edited(|conf| conf.prev_result(&bridge.result));
    tuning.add("c1", &c1);
    let limit = std::time::Duration::from_secs(2);
    cni_testkit::wait_for("both entries", limit, || knows(MAC) == 2);
}
