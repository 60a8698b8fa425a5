//! Whatever a plugin is given: one error that tells what is wrong, and an unchanged machine.

use std::fs;
use std::os::unix::fs::FileTypeExt;

use cni_testkit::{Netns, Suite, World, conf};
use serde_json::json;
use tenon_tests::machine::{Machine, V4, VERSION};
use tenon_tests::network::Network;

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
        machine.assert_unchanged_but_for_the_attempt();
    }
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
    machine.assert_unchanged_but_for_the_attempt();
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
    machine.assert_unchanged_but_for_the_attempt();
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
    machine.assert_unchanged_but_for_the_attempt();
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
    machine.assert_unchanged_but_for_the_attempt();
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
    machine.assert_unchanged_but_for_the_attempt();
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
    machine.assert_unchanged_but_for_the_attempt();
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
