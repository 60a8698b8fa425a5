//! Whatever an IPAM plugin does, or cannot do: one error, and an unchanged machine.

use std::fs;
use std::time::Duration;

use cni_testkit::{Fakes, HeldLock, Snapshot, fakes};
use serde_json::json;
use tenon_tests::machine::{Machine, V4, VERSION};

#[test]
fn an_unknown_ipam_type() {
    let machine = Machine::new();
    let unknown = machine.conf().ipam(json!({"type": "no-such-ipam"}));
    let outcome = machine.add(&unknown).run();
    let error = outcome.expect_any_error();
    let text = error.to_string();
    assert!(
        text.contains("no-such-ipam") && text.contains('/'),
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
    machine.assert_unchanged_but_for_the_attempt();
    assert!(
        !machine
            .world
            .data_dir()
            .join("tenon-net/10.87.0.3")
            .exists()
    );
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
