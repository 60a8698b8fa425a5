//! host-local in bridge's own process: only where it is what would have been executed, and with the same
//! outcome.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_testkit::{Conf, HeldLock, Outcome, Runner, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::machine::{Machine, V4};

const FAST: &str = "TENON_FAST_PATHS";

/// A directory with a file `host-local` of these bytes and this mode.
fn directory_with(world: &World, name: &str, bytes: &[u8], mode: u32) -> PathBuf {
    let dir = world.dir().join(name);
    fs::create_dir(&dir).unwrap();
    let file = dir.join("host-local");
    fs::write(&file, bytes).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    dir
}

fn host_local() -> Vec<u8> {
    fs::read(Suite::ours().bin_dir().join("host-local")).unwrap()
}

fn add(machine: &Machine, dir: &Path, fast: &str) -> Outcome {
    let add = machine.add(&machine.conf()).path(dir).env(FAST, fast);
    add.run()
}

/// The note says what a file is; whatever follows is not even looked at.
#[test]
fn the_same_build_is_not_executed() {
    let machine = Machine::new();
    let beginning = &host_local()[..4096];
    let dir = directory_with(&machine.world, "beginning", beginning, 0o755);
    let refused = add(&machine, &dir, "off");
    refused.expect_any_error();
    add(&machine, &dir, "on").expect_ok();
}

#[test]
fn another_build_is_executed() {
    let machine = Machine::new();
    let mut other = host_local();
    let name = b"Tenon\0\0\0";
    let at = other.windows(8).position(|window| window == name).unwrap();
    other[at + 8] ^= 1;
    let cut = directory_with(&machine.world, "cut", &other[..4096], 0o755);
    add(&machine, &cut, "on").expect_any_error();
    let whole = directory_with(&machine.world, "whole", &other, 0o755);
    add(&machine, &whole, "on").expect_ok();
}

#[test]
fn what_may_not_be_executed_is_refused_by_the_kernel() {
    let machine = Machine::new();
    let dir = directory_with(&machine.world, "data", &host_local(), 0o644);
    for fast in ["off", "on"] {
        let outcome = add(&machine, &dir, fast);
        machine.assert_refused(&outcome, 130, &["host-local", "Permission denied"]);
    }
}

#[test]
fn a_wrapper_is_executed() {
    let machine = Machine::new();
    let log = machine.world.dir().join("log");
    let script = format!(
        "#!/bin/sh\necho $CNI_COMMAND >>{}\nexec {}\n",
        log.display(),
        Suite::ours().bin_dir().join("host-local").display()
    );
    let dir = directory_with(&machine.world, "wrapper", script.as_bytes(), 0o755);
    let add = machine.add(&machine.conf()).path(&dir);
    let added = add.clone().env(FAST, "on").run().expect_ok();
    let conf = machine.conf().prev_result(&added.json());
    let rest = add.env(FAST, "on").conf(&conf);
    rest.clone().command("CHECK").run().expect_silent_ok();
    rest.command("DEL").run().expect_silent_ok();
    assert_eq!(fs::read_to_string(log).unwrap(), "ADD\nCHECK\nDEL\n");
}

/// The lives of two containers, in words that do not depend on chance.
fn story(fast: &str, conf: impl Fn(&World) -> Conf) -> Vec<Value> {
    let machine = Machine::new();
    let world = &machine.world;
    let conf = conf(world);
    let c2 = world.container("c2");
    let call = |command: &str, id: &str, conf: &Conf| -> Runner {
        let netns = if id == "c1" { &machine.c1 } else { &c2 };
        Suite::ours()
            .plugin("bridge")
            .env(FAST, fast)
            .command(command)
            .attachment(id, netns, "eth0")
            .conf(conf)
    };
    let mut told = Vec::new();
    let mut tell = |outcome: Outcome| -> Value {
        let document = if outcome.text().is_empty() {
            Value::Null
        } else {
            outcome.json()
        };
        let picked = ["code", "msg", "details", "ips", "ip4", "routes", "dns"].map(|key| {
            let text = document[key].to_string();
            text.replace(&world.dir().display().to_string(), "DIR")
        });
        told.push(json!(picked));
        document
    };
    let first = tell(call("ADD", "c1", &conf).run());
    tell(call("STATUS", "c1", &conf).run());
    tell(call("ADD", "c2", &conf).run());
    tell(call("CHECK", "c1", &conf.clone().prev_result(&first)).run());
    for entry in fs::read_dir(world.data_dir()).into_iter().flatten() {
        let _file = fs::remove_file(entry.unwrap().path().join("10.87.0.2"));
    }
    tell(call("CHECK", "c1", &conf.clone().prev_result(&first)).run());
    tell(
        call(
            "GC",
            "c1",
            &conf.clone().valid_attachments(&[("c1", "eth0")]),
        )
        .run(),
    );
    tell(call("DEL", "c1", &conf).run());
    tell(call("DEL", "c1", &conf).run());
    tell(call("DEL", "c2", &conf).run());
    told.push(json!(world.snapshot().lines().len()));
    told
}

#[test]
fn both_ways_tell_the_same() {
    let plain = |subnet: &'static str| {
        move |world: &World| conf::bridge("1.1.0").ipam(conf::host_local(world, &[subnet]))
    };
    let changed = |keys: Value| {
        move |world: &World| {
            let ipam = conf::host_local(world, &[V4]);
            conf::bridge("1.1.0").ipam(ipam).with_ipam(keys.clone())
        }
    };
    let old = |world: &World| conf::bridge("0.2.0").ipam(conf::host_local(world, &[V4]));
    assert_eq!(story("off", plain(V4)), story("on", plain(V4)));
    // The second container finds no address left.
    let small = "10.87.0.0/30";
    assert_eq!(story("off", plain(small)), story("on", plain(small)));
    assert_eq!(story("off", old), story("on", old));
    for keys in [
        json!({"ranges": []}),
        json!({"ranges": 7}),
        json!({"dataDir": 7}),
        json!({"resolvConf": "/nonexistent"}),
        json!({"dataDir": "/proc/nonexistent"}),
    ] {
        let (off, on) = (
            story("off", changed(keys.clone())),
            story("on", changed(keys.clone())),
        );
        assert_eq!(off, on, "{keys}");
    }
}

/// Nobody is there to kill an IPAM that runs in our own process: it gives up by itself.
#[test]
fn a_lock_that_is_held_is_waited_for_no_longer_than_a_delegate() {
    let machine = Machine::new();
    let conf = machine
        .conf()
        .with(json!({"delegateTimeout": 1}))
        .with_ipam(json!({"lockTimeout": 40}));
    let dir = machine.world.data_dir().join("tenon-net");
    fs::create_dir_all(&dir).unwrap();
    let _held = HeldLock::take(&dir.join("lock"));
    let add = machine.add(&conf).env(FAST, "on");
    let outcome = add.timeout(Duration::from_secs(20)).run();
    let error = outcome.expect_error(11);
    assert!(error.to_string().contains("lock"), "{error}");
    // The DEL that takes the ADD back has ten seconds more.
    assert!(outcome.elapsed < Duration::from_secs(15), "{outcome}");
}
