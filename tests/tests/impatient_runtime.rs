//! Runtimes that do not listen any more, or end a plugin in the middle of its work.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cni_testkit::{Suite, World, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tenon_tests::fleet::{Member, Tally, chains, machine};
use tenon_tests::random::Random;

/// Whoever reads stderr may have been restarted.
#[test]
fn a_del_whose_remarks_nobody_hears_does_all_it_can() {
    let (world, suite, tally) = (World::new(), Suite::ours(), Tally::default());
    let mut random = Random::new(1);
    let c1 = world.container("c1");
    for chain in &chains(&world) {
        let member = Member::new(&suite, chain, ("c1", &c1), 9001, &tally);
        let result = member.add(&mut random);
        member.del(&mut random, &result);
        let before = machine(&world);
        member.add(&mut random);
        // Every plugin remarks on this one.
        let broken = json!({"cniVersion": "1.1.0", "ips": "none"});
        for call in member.dels(&mut random, &broken) {
            let unheard = ["sh", "-c", "exec \"$0\" 2>/dev/full"];
            call.through(&unheard).run().expect_silent_ok();
        }
        before.assert_unchanged(&machine(&world));
    }
}

#[test]
fn an_add_whose_answer_nobody_hears_is_undone() {
    let (world, suite, tally) = (World::new(), Suite::ours(), Tally::default());
    let mut random = Random::new(1);
    let c1 = world.container("c1");
    for chain in &chains(&world) {
        let member = Member::new(&suite, chain, ("c1", &c1), 9001, &tally);
        let result = member.add(&mut random);
        member.del(&mut random, &result);
        let mut result = Value::Null;
        for plugin in member.plugins() {
            let before = machine(&world);
            let call = member.call(&mut random, "ADD", plugin, &result);
            let unheard = ["sh", "-c", "exec \"$0\" >/dev/full 2>&1"];
            let failed = call.clone().through(&unheard).run();
            assert!(failed.code > 0 && !failed.timed_out, "{failed}");
            before.assert_unchanged(&machine(&world));
            result = call.run().expect_ok().json();
        }
        member.check_ok(&mut random, &result);
        member.del(&mut random, &result);
    }
}

/// A program that waits for a lock would make its rules when DEL has looked for them already.
#[test]
fn what_a_killed_add_has_started_does_not_go_on() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let (world, suite, tally) = (World::new(), Suite::ours(), Tally::default());
        let mut random = Random::new(1);
        let c1 = world.container("c1");
        let [_, _, chain, _] = &chains(&world);
        let member = Member::new(&suite, chain, ("c1", &c1), 9001, &tally);
        let result = member.add(&mut random);
        member.del(&mut random, &result);
        let before = machine(&world);
        let [bridge, portmap, firewall, _] = member.plugins() else {
            panic!("not podman's chain");
        };
        let mut result = Value::Null;
        for plugin in [bridge, portmap] {
            result = member
                .call(&mut random, "ADD", plugin, &result)
                .run()
                .expect_ok()
                .json();
        }
        let begun = slow_iptables(&world);
        let running = member.call(&mut random, "ADD", firewall, &result).start();
        wait_for("iptables-restore", Duration::from_secs(20), || {
            begun.exists()
        });
        let slow: i32 = fs::read_to_string(&begun).unwrap().trim().parse().unwrap();
        assert!(running.stop(signal, false));
        wait_for("its end", Duration::from_secs(5), || !is_alive(slow));
        member.del(&mut random, &result);
        before.assert_unchanged(&machine(&world));
    }
}

/// Puts something in the place of `iptables-restore` that gets nowhere, and leaves its process id.
fn slow_iptables(world: &World) -> std::path::PathBuf {
    let begun = world.dir().join("begun");
    let script = format!(
        "#!/bin/sh\necho $$ >{0}.new\nmv {0}.new {0}\nexec sleep 1000\n",
        begun.display()
    );
    let slow = world.executable("slow", script);
    let real = fs::canonicalize("/usr/sbin/iptables-restore").unwrap();
    let mounted = Command::new("mount")
        .arg("--bind")
        .args([&slow, &real])
        .status();
    assert!(mounted.unwrap().success());
    begun
}

fn is_alive(id: i32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(id.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
