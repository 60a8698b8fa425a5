//! How little plugins need: capabilities and system calls. `docs/security.md` has the tables.

use cni_testkit::{Snapshot, require};
use tenon_tests::walk::{WAYS, Walk, Way};

/// Capabilities as setpriv(1) takes them: these, and no other.
fn only(capabilities: &[&str]) -> String {
    let kept: Vec<String> = capabilities
        .iter()
        .map(|name| format!(",+{name}"))
        .collect();
    format!("--bounding-set=-all{}", kept.concat())
}

fn run_with(way: Way, capabilities: &[&str]) -> usize {
    require("setpriv");
    let through = ["setpriv", "--inh-caps=-all", &only(capabilities)];
    Walk::new(way).go(&through)
}

#[test]
fn every_command_works_with_the_capabilities_that_are_documented() {
    let mut commands = 0;
    for way in WAYS {
        commands += run_with(way, way.capabilities);
    }
    assert_eq!(commands, 99);
}

/// Without any one of them: an error that says so, and the machine as before.
#[test]
fn a_capability_that_is_missing_is_named_and_costs_nothing() {
    let mut missing = 0;
    for way in WAYS
        .iter()
        .filter(|way| !["IPv4", "layer two"].contains(&way.name))
    {
        let walk = Walk::new(*way);
        let look = || {
            let host = walk.world.snapshot().without("/last_reserved_ip.");
            let host = ["/lock 0", "/networks/ 0", "/tenon-net/ 0"]
                .into_iter()
                .fold(host, Snapshot::without);
            (host, Snapshot::of(&walk.c1))
        };
        let (host, inside) = look();
        for taken in way.capabilities {
            let kept = way
                .capabilities
                .iter()
                .copied()
                .filter(|name| name != taken);
            let through = [
                "setpriv",
                "--inh-caps=-all",
                &only(&kept.collect::<Vec<_>>()),
            ];
            let outcome = walk.call("ADD", &through).run();
            let text = outcome.expect_any_error().to_string();
            let named = text.contains(&format!("CAP_{}", taken.to_uppercase()));
            assert!(named, "{}, {}, {taken}: {text}", way.plugin, way.name);
            let after = look();
            host.assert_unchanged(&after.0);
            inside.assert_unchanged(&after.1);
            missing += 1;
        }
    }
    assert_eq!(missing, 14);
}

/// The profile, from where the test was built.
const PROFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/seccomp.json");

/// Runs a program under a seccomp filter.
const CONFINED: &str = env!("CARGO_BIN_EXE_confined");

/// With all fast paths, and without those that host-local and bridge have.
fn walk_confined(profile: &str, refused: &str) {
    for fast_paths in ["on", "off"] {
        let has_others = |way: &&Way| fast_paths == "on" || ["IPv4", "leases"].contains(&way.name);
        let fast_paths = format!("TENON_FAST_PATHS={fast_paths}");
        for way in WAYS.iter().filter(has_others) {
            Walk::new(*way).go(&["env", &fast_paths, CONFINED, profile, refused]);
        }
    }
}

#[test]
fn every_command_works_under_the_seccomp_profile() {
    walk_confined(PROFILE, "");
}

/// System calls that kernels of long-term distributions lack: without all of them everything works,
/// one way or another.
#[test]
fn every_command_works_on_a_kernel_without_young_system_calls() {
    let young = "openat2,close_range,pidfd_open,clone3,faccessat2,epoll_pwait2,fchmodat2,rseq,\
                 membarrier,statx,renameat2,getrandom";
    walk_confined("-", young);
}

/// A filter does refuse; and what cannot be done without is an error that leaves nothing.
#[test]
fn a_system_call_that_is_needed_and_refused_is_an_error_that_says_so() {
    let bridge = WAYS.iter().find(|way| way.name == "IPv4").copied().unwrap();
    for (refused, words) in [
        ("setns", "enter netns"),
        ("sendto,sendmsg", ""),
        ("linkat", "write"),
    ] {
        let walk = Walk::new(bridge);
        let before = Snapshot::of(walk.world.host());
        let outcome = walk.call("ADD", &[CONFINED, PROFILE, refused]).run();
        let text = outcome.expect_any_error().to_string();
        assert!(
            text.contains(words) && text.contains("not implemented"),
            "{refused}: {text}"
        );
        before.assert_unchanged(&Snapshot::of(walk.world.host()));
        assert_eq!(walk.c1.link_names(), ["lo"], "{refused}");
    }
}
