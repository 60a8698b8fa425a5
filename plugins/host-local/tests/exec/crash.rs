//! Killed at every system call of an ADD or a DEL.

use cni_testkit::{Suite, require};
use serde_json::{Value, json};

use crate::fixture::{Leases, call, ours, run};

/// The calls that touch the directory.
const CALLS: [&str; 8] = [
    "openat",
    "flock",
    "getdents64",
    "read",
    "write",
    "linkat",
    "unlinkat",
    "close",
];

/// Runs `command` and kills it when it is about to make the `nth` call of a kind. `false` if it
/// ended before.
fn kill_at(command: &str, syscall: &str, nth: u32, conf: &Value) -> bool {
    let inject = format!("inject={syscall}:signal=SIGKILL:when={nth}");
    let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
    let outcome = call(&ours(), command, "a", conf).through(&wrapper).run();
    outcome.code != 0
}

/// The directory is one that both implementations can go on with.
fn assert_whole(leases: &Leases, conf: &Value, when: &str) {
    for (name, content) in leases.files() {
        let whole = match name.as_str() {
            "last_reserved_ip.0" | "last_reserved_ip.1" => {
                content.parse::<std::net::IpAddr>().is_ok()
            }
            _ => content == "a\r\neth0" || content == "other\r\neth0",
        };
        assert!(whole, "{when}: {name} is {content:?}");
    }
    let _released = run("DEL", "a", conf).expect_silent_ok();
    assert_eq!(leases.addresses(), ["10.0.0.2", "fd00::2"], "{when}");
    for suite in [ours(), Suite::reference()] {
        let _added = call(&suite, "ADD", "a", conf).run().expect_ok();
        let _released = call(&suite, "DEL", "a", conf).run().expect_silent_ok();
    }
    assert_eq!(leases.addresses(), ["10.0.0.2", "fd00::2"], "{when}");
}

#[test]
fn a_kill_at_any_point_leaves_a_lease_whole_or_not_at_all() {
    require("strace");
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]});
    let mut kills = 0;
    for command in ["ADD", "DEL"] {
        for syscall in CALLS {
            for nth in 1.. {
                let leases = Leases::new();
                let conf = leases.conf("1.0.0", &ipam);
                let _other = run("ADD", "other", &conf).expect_ok();
                if command == "DEL" {
                    let _added = run("ADD", "a", &conf).expect_ok();
                }
                if !kill_at(command, syscall, nth, &conf) {
                    break;
                }
                kills += 1;
                assert_whole(
                    &leases,
                    &conf,
                    &format!("{command} killed at {syscall} {nth}"),
                );
            }
        }
    }
    assert!(kills > 40, "only {kills} kills: does strace inject?");
}
