//! Disks that are full or read-only, and calls that fail.

use std::path::Path;
use std::process::Command;

use cni_testkit::{World, require};
use serde_json::{Value, json};

use crate::fixture::{Leases, call, ours, run};

fn conf(data_dir: &Path, ipam: &Value) -> Value {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "any", "ipam": ipam});
    conf["ipam"]["dataDir"] = data_dir.to_str().unwrap().into();
    conf
}

fn mount(words: &[&str]) {
    let status = Command::new("mount").args(words).status().unwrap();
    assert!(status.success(), "mount {words:?}");
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn on_a_full_disk_an_add_fails_clearly_and_leaves_nothing() {
    let world = World::new();
    let dir = world.dir().join("full");
    std::fs::create_dir(&dir).unwrap();
    let ranges = json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.1.0.0/24"}]]});
    // Inodes for the root, the network, the lock, and n more: two leases and two rotations.
    for inodes in 3..7 {
        let options = format!("nr_inodes={inodes},size=1m");
        mount(&[
            "-t",
            "tmpfs",
            "-o",
            &options,
            "tmpfs",
            dir.to_str().unwrap(),
        ]);
        let conf = conf(&dir, &ranges);
        let error = run("ADD", "a", &conf).expect_error(5);
        let details = error["details"].as_str().unwrap();
        assert!(
            details.starts_with("No space left on device"),
            "{inodes}: {error}"
        );
        assert!(details.contains("free some space"), "{inodes}: {error}");
        let left = files(&dir.join("net"));
        let leases = left.iter().filter(|name| name.starts_with("10."));
        assert_eq!(leases.count(), 0, "{inodes}: {left:?}");
        let _ok = run("DEL", "a", &conf).expect_silent_ok();
    }
    let options = "nr_inodes=7,size=1m";
    mount(&["-t", "tmpfs", "-o", options, "tmpfs", dir.to_str().unwrap()]);
    let _added = run("ADD", "a", &conf(&dir, &ranges)).expect_ok();
}

#[test]
fn on_a_read_only_disk_every_command_answers() {
    let world = World::new();
    let dir = world.dir().join("ro");
    std::fs::create_dir(&dir).unwrap();
    let path = dir.to_str().unwrap();
    mount(&["-t", "tmpfs", "tmpfs", path]);
    let mut conf = conf(&dir, &json!({"ranges": [[{"subnet": "10.0.0.0/24"}]]}));
    conf["cni.dev/valid-attachments"] = json!([]);
    let _added = run("ADD", "a", &conf).expect_ok();
    mount(&["-o", "remount,ro", path]);
    for command in ["ADD", "DEL", "GC"] {
        let id = if command == "ADD" { "b" } else { "a" };
        let error = run(command, id, &conf).expect_error(5);
        assert!(
            error["details"]
                .as_str()
                .unwrap()
                .starts_with("Read-only file system"),
            "{error}"
        );
    }
    let error = run("STATUS", "a", &conf).expect_error(50);
    assert!(
        error["details"]
            .as_str()
            .unwrap()
            .starts_with("Read-only file system"),
        "{error}"
    );
    let _ok = run("CHECK", "a", &conf).expect_silent_ok();
    assert_eq!(
        files(&dir.join("net")),
        ["10.0.0.2", "last_reserved_ip.0", "lock"]
    );
}

/// Every call fails once: one document, nothing reserved; or the call is one that does not matter.
#[test]
fn whichever_call_fails_an_add_is_whole_or_nothing() {
    require("strace");
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]});
    for (syscall, errno) in [
        ("flock", "ENOLCK"),
        ("getdents64", "EIO"),
        ("write", "ENOSPC"),
        ("linkat", "EIO"),
        ("linkat", "ENOSPC"),
        ("unlinkat", "EIO"),
        ("read", "EIO"),
    ] {
        for nth in 1..12 {
            let leases = Leases::new();
            let conf = leases.conf("1.0.0", &ipam);
            let _other = run("ADD", "other", &conf).expect_ok();
            let inject = format!("inject={syscall}:error={errno}:when={nth}");
            let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
            let outcome = call(&ours(), "ADD", "a", &conf).through(&wrapper).run();
            let when = format!("{syscall} {nth} {errno}: {outcome}");
            let held = leases.addresses().len();
            // A dynamic build: the fault met the loader, before there was a program.
            if outcome.code == 127 && outcome.stderr.contains("shared libraries") {
                assert_eq!(held, 2, "{when}");
                continue;
            }
            if outcome.code == 0 {
                assert_eq!(held, 4, "{when}");
                assert_eq!(outcome.json()["ips"].as_array().unwrap().len(), 2, "{when}");
            } else {
                assert_eq!(held, 2, "{when}");
                // A reply that cannot be written is none.
                if !outcome.stderr.contains("could not write the reply") {
                    let _document = outcome.expect_any_error();
                }
            }
            let _ok = run("DEL", "a", &conf).expect_silent_ok();
            assert_eq!(leases.addresses().len(), 2, "{when}");
        }
    }
}

/// Filesystems without `O_TMPFILE` get their leases by way of a named file beside the directory.
#[test]
fn without_unnamed_files_everything_is_the_same() {
    require("strace");
    let leases = Leases::new();
    let conf = leases.conf("1.0.0", &json!({"ranges": [[{"subnet": "10.0.0.0/24"}]]}));
    // The linkat of the unnamed file fails as it does without /proc.
    let wrapper = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=linkat:error=ENOENT:when=1",
    ];
    let _added = call(&ours(), "ADD", "a", &conf)
        .through(&wrapper)
        .run()
        .expect_ok();
    assert_eq!(leases.files()["10.0.0.2"], "a\r\neth0");
    assert_eq!(files(leases.data_dir()), ["net"]);
}
