//! Whatever a plugin is given: one error that tells what is wrong, and an unchanged machine.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use cni_testkit::{
    Conf, Fakes, HeldLock, Netns, Outcome, Runner, Snapshot, Suite, World, conf, fakes,
};
use serde_json::{Value, json};
use tenon_tests::network::Network;

const V4: &str = "10.87.0.0/24";
const VERSION: &str = "1.0.0";

/// A world with a container, and what both look like.
struct Machine {
    world: World,
    c1: Netns,
    host_before: Snapshot,
    container_before: Snapshot,
}

impl Machine {
    fn new() -> Self {
        Self::prepared(|_, _| {})
    }

    /// After `prepare` has done to it what the test needs.
    fn prepared(prepare: impl FnOnce(&World, &Netns)) -> Self {
        let world = World::new();
        let c1 = world.container("c1");
        prepare(&world, &c1);
        let host_before = world.snapshot();
        let container_before = Snapshot::of(&c1);
        Self {
            world,
            c1,
            host_before,
            container_before,
        }
    }

    fn conf(&self) -> Conf {
        let keys = json!({"ipMasq": true, "macspoofchk": true});
        conf::bridge(VERSION)
            .ipam(conf::host_local(&self.world, &[V4]))
            .with(keys)
    }

    fn add(&self, conf: &Conf) -> Runner {
        let suite = Suite::ours();
        Network::new(&suite, conf.clone()).call_for("ADD", "c1", &self.c1)
    }

    fn add_with_fakes(&self, fakes: &Fakes<'_>) -> Runner {
        let conf = self
            .conf()
            .ipam(json!({"type": "ipam"}))
            .with(json!({"delegateTimeout": 1}));
        self.add(&conf).path_first(&fakes.dir())
    }

    /// `code`, all of `words` in message and details, and the machine as before.
    #[track_caller]
    fn assert_refused(&self, outcome: &Outcome, code: u32, words: &[&str]) -> Value {
        let error = outcome.expect_error(code);
        let text = format!("{} {}", error["msg"], error["details"]);
        for word in words {
            assert!(text.contains(word), "no {word:?} in\n{outcome}");
        }
        self.assert_unchanged();
        error
    }

    #[track_caller]
    fn assert_unchanged(&self) {
        self.host_before.assert_unchanged(&self.world.snapshot());
        self.container_before
            .assert_unchanged(&Snapshot::of(&self.c1));
    }
}

/// The indices of last leases and the directory they are in tell of an attempt, and may stay.
fn without_lease_index(snapshot: Snapshot) -> Snapshot {
    snapshot
        .without("last_reserved_ip")
        .without("/lock 0")
        .without("/networks/")
        .without("tenon-net/ ")
}

#[test]
fn huge_stdin() {
    let machine = Machine::new();
    let padding = "x".repeat(8 << 20);
    // Valid and large is fine for any command.
    let large = machine.conf().with(json!({"args": {"comment": padding}}));
    let added = machine.add(&large).run().expect_ok();
    let network = machine.conf().prev_result(&added.json());
    machine
        .add(&network)
        .command("DEL")
        .run()
        .expect_silent_ok();
    for stdin in [
        padding.clone(),
        format!("{{\"name\": \"{padding}"),
        "[".repeat(4 << 20),
        "{\"a\":".repeat(1 << 20),
    ] {
        let outcome = machine.add(&machine.conf()).stdin(stdin).run();
        outcome.expect_error(6);
        assert!(
            outcome.stdout.len() < 4096,
            "the error does not repeat the input"
        );
    }
    let endless = machine
        .add(&machine.conf())
        .stdin(vec![b' '; 65 << 20])
        .run();
    endless.expect_error(5);
}

#[test]
fn binary_stdin() {
    let machine = Machine::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for stdin in [
        bytes,
        b"\xff\xfe{\"name\": \"n\"}".to_vec(),
        b"{\"name\": \"\xff\"}".to_vec(),
        vec![0; 10],
    ] {
        for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            let outcome = machine
                .add(&machine.conf())
                .command(command)
                .stdin(stdin.clone())
                .run();
            let error = outcome.expect_any_error();
            assert!(matches!(error["code"].as_u64(), Some(6 | 7)), "{outcome}");
        }
        machine.assert_unchanged();
    }
}

#[test]
fn a_closed_stdin() {
    let machine = Machine::new();
    let closed = ["sh", "-c", "exec \"$0\" <&-"];
    let outcome = machine.add(&machine.conf()).through(&closed).run();
    let error = outcome.expect_any_error();
    assert!(matches!(error["code"].as_u64(), Some(5 | 6)), "{error}");
    machine.assert_unchanged();
}

/// The reply cannot be delivered: the runtime will not know of the attachment. This is the last
/// thing that can fail, so all of an ADD is taken back.
#[test]
fn a_full_stdout() {
    let bridge_is_there: fn(&World, &Netns) = |world, _| {
        world
            .host()
            .ip("link add tenon0 address 02:00:00:00:00:01 type bridge");
        world.host().ip("link set tenon0 up");
    };
    let others_use_it: fn(&World, &Netns) = |world, _| {
        let c0 = world.container("c0");
        let keys = json!({"ipMasq": true, "macspoofchk": true});
        let conf = conf::bridge(VERSION)
            .ipam(conf::host_local(world, &[V4]))
            .with(keys);
        Network::new(&Suite::ours(), conf).add("c0", &c0);
        // The namespace has to stay for the attachment to stay.
        std::mem::forget(c0);
    };
    for prepare in [|_: &World, _: &Netns| {}, bridge_is_there, others_use_it] {
        let machine = Machine::prepared(prepare);
        let full = ["sh", "-c", "exec \"$0\" >/dev/full"];
        let outcome = machine.add(&machine.conf()).through(&full).run();
        assert_ne!(outcome.code, 0);
        without_lease_index(machine.host_before.clone())
            .assert_unchanged(&without_lease_index(machine.world.snapshot()));
        machine
            .container_before
            .assert_unchanged(&Snapshot::of(&machine.c1));
    }
}

#[test]
fn an_unknown_ipam_type() {
    let machine = Machine::new();
    let unknown = machine.conf().ipam(json!({"type": "no-such-ipam"}));
    let outcome = machine.add(&unknown).run();
    let error = outcome.expect_any_error();
    let text = error.to_string();
    assert!(
        text.contains("no-such-ipam") && text.contains("/"),
        "{error}"
    );
    machine.assert_unchanged();
    for evil in ["../host-local", "a/b", "..", "."] {
        let outcome = machine
            .add(&machine.conf().ipam(json!({"type": evil})))
            .run();
        outcome.expect_any_error();
        machine.assert_unchanged();
    }
}

/// The ADD of an IPAM plugin that failed may have half happened, so a DEL goes after it.
#[test]
fn an_ipam_that_fails() {
    let cases: [(&str, u32, &str); 4] = [
        (
            "printf '{\"code\": 77, \"msg\": \"no database\"}'; exit 1",
            77,
            "no database",
        ),
        ("echo on fire >&2; exit 1", 130, "on fire"),
        ("kill -9 $$", 130, "ipam"),
        ("exit 3", 130, "ipam"),
    ];
    for (lines, code, word) in cases {
        let machine = Machine::new();
        let fakes = Fakes::new(&machine.world);
        let log = machine.world.dir().join("log");
        let text = format!(
            "echo $CNI_COMMAND >>{}\nif [ $CNI_COMMAND = ADD ]; then {lines}; fi",
            log.display()
        );
        fakes.script("ipam", &text);
        let outcome = machine.add_with_fakes(&fakes).run();
        machine.assert_refused(&outcome, code, &[word]);
        assert_eq!(fs::read_to_string(log).unwrap(), "ADD\nDEL\n", "{lines}");
    }
}

#[test]
fn an_ipam_that_hangs() {
    let machine = Machine::new();
    let fakes = Fakes::new(&machine.world);
    fakes.hanging("ipam");
    let outcome = machine.add_with_fakes(&fakes).run();
    machine.assert_refused(&outcome, 11, &["ipam"]);
    assert!(outcome.elapsed < Duration::from_secs(5), "{outcome}");
    // Even when its DEL hangs as well: the error tells of both.
    fakes.hanging_always("ipam");
    let outcome = machine
        .add_with_fakes(&fakes)
        .timeout(Duration::from_secs(40))
        .run();
    machine.assert_refused(&outcome, 11, &["ipam", "DEL"]);
    assert!(outcome.elapsed < Duration::from_secs(20), "{outcome}");
}

#[test]
fn an_ipam_that_prints_rubbish() {
    let result = fakes::ipam_result(VERSION, "10.87.0.2/24", "10.87.0.1");
    let rubbish = [
        String::new(),
        "rubbish".to_owned(),
        format!("{result}{result}"),
        format!("{result}\n{result}"),
        format!("log line\n{result}"),
        json!([result]).to_string(),
        json!({"cniVersion": VERSION}).to_string(),
        json!({"cniVersion": VERSION, "ips": []}).to_string(),
        json!({"cniVersion": VERSION, "ips": [{"address": "10.87.0.2"}]}).to_string(),
        json!({"cniVersion": VERSION, "ips": [{"address": "10.87.0.2/99"}]}).to_string(),
        json!({"cniVersion": VERSION, "ips": {"address": "10.87.0.2/24"}}).to_string(),
        json!({"cniVersion": "9.9.9", "ips": [{"address": "10.87.0.2/24"}]}).to_string(),
    ];
    for text in rubbish {
        let machine = Machine::new();
        let fakes = Fakes::new(&machine.world);
        let log = machine.world.dir().join("log");
        let lines = format!(
            "echo $CNI_COMMAND >>{}\nif [ $CNI_COMMAND = ADD ]; then printf '%s' '{text}'; fi",
            log.display()
        );
        fakes.script("ipam", &lines);
        let outcome = machine.add_with_fakes(&fakes).run();
        let error = outcome.expect_any_error();
        assert!(
            !matches!(error["code"].as_u64(), Some(0 | 999)),
            "{text}: {error}"
        );
        machine.assert_unchanged();
        assert_eq!(fs::read_to_string(log).unwrap(), "ADD\nDEL\n", "{text}");
    }
}

#[test]
fn ranges_that_make_no_sense() {
    let range = |subnet: &str| json!({"subnet": subnet});
    let rows = [
        (json!([]), "no IP ranges specified"),
        (json!([[]]), "empty range set"),
        (
            json!([[range("10.87.0.0/24"), range("10.87.0.0/25")]]),
            "overlap",
        ),
        (
            json!([[range("10.87.0.0/24")], [range("10.87.0.128/25")]]),
            "overlaps with",
        ),
        (
            json!([[range("10.87.0.0/24"), range("fd87::/64")]]),
            "mixed address families",
        ),
        (json!([[range("10.87.0.7/24")]]), "10.87.0.0"),
        (json!([[range("rubbish")]]), "rubbish"),
        (json!([[range("10.87.0.0")]]), "10.87.0.0"),
        (json!([[range("10.87.0.0/32")]]), "too small"),
        (
            json!([[{"subnet": V4, "rangeStart": "10.88.0.1"}]]),
            "10.88.0.1",
        ),
        (
            json!([[{"subnet": V4, "rangeEnd": "10.88.0.1"}]]),
            "10.88.0.1",
        ),
        (
            json!([[{"subnet": V4, "rangeStart": "10.87.0.9", "rangeEnd": "10.87.0.8"}]]),
            "10.87.0",
        ),
        (json!([[{"subnet": V4, "gateway": "rubbish"}]]), "rubbish"),
    ];
    for (ranges, word) in rows {
        let machine = Machine::new();
        let conf = machine.conf().with_ipam(json!({"ranges": ranges}));
        let outcome = machine.add(&conf).run();
        machine.assert_refused(&outcome, 7, &[word]);
    }
}

#[test]
fn ranges_that_are_exhausted() {
    let machine = Machine::prepared(|world, _| {
        let leases = world.data_dir().join("tenon-net");
        fs::create_dir_all(&leases).unwrap();
        fs::write(leases.join("lock"), "").unwrap();
        fs::write(leases.join("10.87.0.2"), "c8\r\neth0").unwrap();
        fs::write(leases.join("10.87.0.3"), "c9\r\neth0").unwrap();
    });
    let ranges =
        json!({"ranges": [[{"subnet": V4, "rangeStart": "10.87.0.1", "rangeEnd": "10.87.0.3"}]]});
    let outcome = machine.add(&machine.conf().with_ipam(ranges)).run();
    machine.assert_refused(
        &outcome,
        100,
        &["no IP addresses available in range set: 10.87.0.1-10.87.0.3"],
    );
}

/// What the first range set has given is given back when the second has nothing.
#[test]
fn a_second_range_that_is_exhausted() {
    let machine = Machine::prepared(|world, _| {
        let leases = world.data_dir().join("tenon-net");
        fs::create_dir_all(&leases).unwrap();
        fs::write(leases.join("lock"), "").unwrap();
        fs::write(leases.join("fd87::2"), "c9\r\neth0").unwrap();
        fs::write(leases.join("last_reserved_ip.0"), "10.87.0.2").unwrap();
    });
    let ranges = json!({"ranges": [
        [{"subnet": V4}],
        [{"subnet": "fd87::/64", "rangeStart": "fd87::1", "rangeEnd": "fd87::2"}],
    ]});
    let outcome = machine.add(&machine.conf().with_ipam(ranges)).run();
    outcome.expect_error(100);
    without_lease_index(machine.host_before.clone())
        .assert_unchanged(&without_lease_index(machine.world.snapshot()));
    assert!(
        !machine
            .world
            .data_dir()
            .join("tenon-net/10.87.0.3")
            .exists()
    );
}

#[test]
fn an_interface_name_that_is_taken() {
    let machine = Machine::prepared(|_, c1| drop(c1.ip("link add eth0 type bridge")));
    let outcome = machine.add(&machine.conf()).run();
    let error = outcome.expect_error(101);
    assert!(
        error.to_string().contains("eth0") && error.to_string().contains("already exists"),
        "{error}"
    );
    without_lease_index(machine.host_before.clone())
        .assert_unchanged(&without_lease_index(machine.world.snapshot()));
    machine
        .container_before
        .assert_unchanged(&Snapshot::of(&machine.c1));
}

/// A runtime that forgot its first ADD: the container that it made goes on undisturbed.
#[test]
fn a_second_add_of_a_living_attachment() {
    let machine = Machine::prepared(|world, c1| {
        let keys = json!({"ipMasq": true, "macspoofchk": true});
        let conf = conf::bridge(VERSION)
            .ipam(conf::host_local(world, &[V4]))
            .with(keys);
        Network::new(&Suite::ours(), conf).add("c1", c1);
    });
    let outcome = machine.add(&machine.conf()).run();
    machine.assert_refused(&outcome, 101, &[]);
    assert!(machine.world.host().ping("10.87.0.2"));
}

#[test]
fn a_bridge_that_is_not_one() {
    let machine = Machine::prepared(|world, _| {
        world.host().ip("link add tenon0 type veth peer name other");
    });
    let outcome = machine.add(&machine.conf()).run();
    let error = outcome.expect_error(102);
    assert!(
        error["msg"]
            .as_str()
            .unwrap()
            .contains("already exists but is not a bridge"),
        "{error}"
    );
    without_lease_index(machine.host_before.clone())
        .assert_unchanged(&without_lease_index(machine.world.snapshot()));
}

#[test]
fn bridge_names_that_no_interface_can_have() {
    for name in ["a/b", "sixteen-bytes-xx", "a b", "..", "a:b"] {
        let machine = Machine::new();
        let outcome = machine
            .add(&machine.conf().with(json!({"bridge": name})))
            .run();
        machine.assert_refused(&outcome, 7, &["bridge", name]);
    }
    for mtu in [json!(-1), json!(4_294_967_296_i64)] {
        let machine = Machine::new();
        let outcome = machine.add(&machine.conf().with(json!({"mtu": mtu}))).run();
        machine.assert_refused(&outcome, 7, &["mtu"]);
    }
}

/// The kernel's own words, and nothing left of the bridge that was made for it.
#[test]
fn an_mtu_that_the_kernel_refuses() {
    let machine = Machine::new();
    let outcome = machine
        .add(&machine.conf().with(json!({"mtu": 100_000})))
        .run();
    let error = outcome.expect_any_error();
    assert!(!matches!(error["code"].as_u64(), Some(0 | 999)), "{error}");
    without_lease_index(machine.host_before.clone())
        .assert_unchanged(&without_lease_index(machine.world.snapshot()));
    machine
        .container_before
        .assert_unchanged(&Snapshot::of(&machine.c1));
}

#[test]
fn a_bridge_with_another_address() {
    let machine = Machine::prepared(|world, _| {
        world
            .host()
            .ip("link add tenon0 address 02:00:00:00:00:01 type bridge");
        world.host().ip("addr add 10.99.0.1/24 dev tenon0");
        world.host().ip("link set tenon0 up");
    });
    let outcome = machine.add(&machine.conf()).run();
    let error = outcome.expect_error(101);
    let text = error.to_string();
    for word in ["tenon0", "10.99.0.1/24", "10.87.0.1/24", "forceAddress"] {
        assert!(text.contains(word), "no {word} in {error}");
    }
    without_lease_index(machine.host_before.clone())
        .assert_unchanged(&without_lease_index(machine.world.snapshot()));
    machine
        .container_before
        .assert_unchanged(&Snapshot::of(&machine.c1));
}

#[test]
fn a_netns_that_is_none() {
    let machine = Machine::new();
    let plain = machine.world.file("plain", "");
    let fifo = machine.world.dir().join("fifo");
    machine
        .world
        .host()
        .command("mkfifo", &[fifo.to_str().unwrap()]);
    assert!(fs::metadata(&fifo).unwrap().file_type().is_fifo());
    let paths = [
        "/run/netns/missing",
        plain.to_str().unwrap(),
        fifo.to_str().unwrap(),
        "/",
        "/dev/null",
        "/proc/self/ns/mnt",
    ];
    for path in paths {
        for command in ["ADD", "CHECK"] {
            let conf = machine.conf().prev_result(&conf::result(
                VERSION,
                &machine.c1,
                "eth0",
                "10.87.0.2/24",
            ));
            let conf = if command == "ADD" {
                machine.conf()
            } else {
                conf.without("ipam")
            };
            let outcome = machine.add(&conf).command(command).netns(path).run();
            machine.assert_refused(&outcome, 8, &[path]);
        }
        let outcome = machine
            .add(&machine.conf())
            .command("DEL")
            .netns(path)
            .run();
        assert!(
            outcome.code == 0 || outcome.json()["code"] == 8,
            "{outcome}"
        );
    }
    for own in [
        "/run/netns/host",
        "/proc/self/ns/net",
        "/proc/thread-self/ns/net",
    ] {
        let outcome = machine.add(&machine.conf()).netns(own).run();
        machine.assert_refused(&outcome, 8, &["should not be the same"]);
    }
}

#[test]
fn a_read_only_proc_sys() {
    let machine = Machine::prepared(|world, _| world.read_only("/proc/sys"));
    let outcome = machine.add(&machine.conf()).run();
    let error = outcome.expect_any_error();
    let text = error.to_string();
    assert!(
        text.contains("ip_forward") && text.contains("Read-only"),
        "{error}"
    );
    without_lease_index(machine.host_before.clone())
        .assert_unchanged(&without_lease_index(machine.world.snapshot()));
    machine
        .container_before
        .assert_unchanged(&Snapshot::of(&machine.c1));
    // A switch needs none of them.
    let switch = conf::plugin(VERSION, "bridge").with(json!({"bridge": "tenon0"}));
    machine.add(&switch).run().expect_ok();
    drop(machine);
    // Nor does a network whose forwarding is on already.
    let machine = Machine::prepared(|world, _| {
        world.host().set_sysctl("net/ipv4/ip_forward", "1");
        world.read_only("/proc/sys");
    });
    machine.add(&machine.conf()).run().expect_ok();
}

#[test]
fn without_the_capability() {
    let machine = Machine::new();
    let outcome = machine
        .add(&machine.conf())
        .without_capability("net_admin")
        .run();
    let error = outcome.expect_any_error();
    let text = error.to_string();
    assert!(
        text.contains("not permitted") && text.contains("CAP_NET_ADMIN"),
        "{error}"
    );
    without_lease_index(machine.host_before.clone())
        .assert_unchanged(&without_lease_index(machine.world.snapshot()));
    machine
        .container_before
        .assert_unchanged(&Snapshot::of(&machine.c1));
}

#[test]
fn a_full_disk() {
    let machine = Machine::new();
    let disk = machine.world.small_disk("disk", 64 << 10);
    fs::create_dir_all(disk.join("tenon-net")).unwrap();
    fs::write(disk.join("tenon-net/lock"), "").unwrap();
    let _ = fs::write(disk.join("filler"), vec![1; 1 << 20]);
    let before = Snapshot::empty().tree(&disk);
    let outcome = machine
        .add(&machine.conf().with_ipam(json!({"dataDir": disk})))
        .run();
    machine.assert_refused(&outcome, 5, &["No space left", disk.to_str().unwrap()]);
    before.assert_unchanged(&Snapshot::empty().tree(&disk));
}

#[test]
fn a_data_dir_that_cannot_be() {
    let machine = Machine::new();
    let file = machine.world.file("file", "");
    for dir in [file.join("below"), file.clone(), "/proc/nowhere".into()] {
        let outcome = machine
            .add(&machine.conf().with_ipam(json!({"dataDir": dir})))
            .run();
        machine.assert_refused(&outcome, 5, &[dir.to_str().unwrap()]);
    }
}

#[test]
fn a_lock_that_is_held_for_ever() {
    let machine = Machine::new();
    let lock = machine.world.data_dir().join("tenon-net/lock");
    let held = HeldLock::take(&lock);
    let before = machine.world.snapshot();
    let conf = machine.conf().with_ipam(json!({"lockTimeout": 1}));
    let outcome = machine.add(&conf).run();
    let error = outcome.expect_error(11);
    let text = error.to_string();
    assert!(text.contains(lock.to_str().unwrap()), "{error}");
    assert!(
        text.contains(&std::process::id().to_string()),
        "the holder is named: {error}"
    );
    before.assert_unchanged(&machine.world.snapshot());
    machine
        .container_before
        .assert_unchanged(&Snapshot::of(&machine.c1));
    machine.add(&conf).command("DEL").run().expect_error(11);
    drop(held);
    machine.add(&conf).run().expect_ok();
}

/// Without a key for it the deadline is shorter than what a runtime waits.
#[test]
fn a_lock_that_is_held_for_ever_with_the_default_deadline() {
    let machine = Machine::new();
    let _held = HeldLock::take(&machine.world.data_dir().join("tenon-net/lock"));
    let call = machine
        .add(&machine.conf())
        .timeout(Duration::from_secs(60));
    let outcome = call.run();
    outcome.expect_error(11);
    assert!(outcome.elapsed > Duration::from_secs(5), "{outcome}");
}

#[test]
fn a_lock_that_is_released_in_time() {
    let machine = Machine::new();
    let held = HeldLock::take(&machine.world.data_dir().join("tenon-net/lock"));
    let call = machine.add(&machine.conf());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| call.run());
        let (_never, wait) = std::sync::mpsc::channel::<()>();
        let _ = wait.recv_timeout(Duration::from_millis(300));
        drop(held);
        waiting.join().unwrap().expect_ok();
    });
}

/// A plugin that prints nothing but its one document, also when it is told to print everything.
#[test]
fn a_panic_would_still_be_one_document() {
    let machine = Machine::new();
    let outcome = machine
        .add(&machine.conf())
        .env("RUST_BACKTRACE", "1")
        .run()
        .expect_ok();
    assert_eq!(outcome.stderr, "");
    let _ = outcome.json();
}
