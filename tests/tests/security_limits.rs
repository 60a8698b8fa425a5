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
