//! What becomes of the bandwidth plugin's limits: DEL, GC, an ADD that fails or is killed, an upgrade
//! in place and back; and STATUS.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use cni_testkit::{Runner, Suite, World, conf, require};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::limits::{Look, Pair, Wired, ifbs, redirection};
use tenon_tests::network::{Attached, Network};

const VERSION: &str = "1.0.0";

cni_testkit::suites! {
    del_takes_the_ifb_away_and_can_be_repeated => |suite| del(suite);
    del_without_a_namespace => |suite| del_without_namespace(suite);
    del_of_what_never_was => |suite| del_of_nothing(suite);
    del_frees_a_host_end_that_stays => |suite| host_end(suite);
}

fn both() -> Value {
    json!({"ingressRate": 8_000_000, "ingressBurst": 800_000,
           "egressRate": 16_000_000, "egressBurst": 1_600_000})
}

fn limited<'a>(wired: &Wired, suite: &'a Suite) -> Network<'a> {
    wired.pair.limited(suite, VERSION, &both())
}

fn no_ifbs(world: &World) {
    assert_eq!(ifbs(world.host()), Vec::<String>::new());
}

fn tc(world: &World, words: &str) {
    let words: Vec<_> = words.split(' ').collect();
    world.host().command("tc", &words);
}

fn del(suite: &Suite) {
    let wired = Wired::new();
    let added = limited(&wired, suite).add("c1", &wired.c1);
    added.del_ok();
    no_ifbs(&wired.world);
    added.del_ok();
    // The main plugin's DEL comes next.
    wired
        .world
        .host()
        .ip(&format!("link del {}", wired.pair.host_end));
    added.del_ok();
}

fn del_without_namespace(suite: &Suite) {
    type Forget = fn(&Attached<'_>) -> Runner;
    let ways: [Forget; 4] = [
        |added| added.with_netns("").call("DEL"),
        |added| added.with_netns("/run/netns/missing").call("DEL"),
        |added| forgotten(added).with_netns("").call("DEL"),
        // What a bind mount leaves behind after a reboot.
        |added| added.with_netns("/run/plain").call("DEL"),
    ];
    for way in ways {
        let wired = Wired::new();
        std::fs::write("/run/plain", "").unwrap();
        let added = limited(&wired, suite).add("c1", &wired.c1);
        way(&added).run().expect_silent_ok();
        no_ifbs(&wired.world);
    }
    let wired = Wired::new();
    let added = limited(&wired, suite).add("c1", &wired.c1);
    wired.c1.ip("link del eth0");
    added.del_ok();
    no_ifbs(&wired.world);
}

fn del_of_nothing(suite: &Suite) {
    let wired = Wired::new();
    let network = limited(&wired, suite);
    let before = wired.look();
    network
        .call_for("DEL", "c9", &wired.c1)
        .run()
        .expect_silent_ok();
    wired.assert_unchanged(&before);
}

fn host_end(suite: &Suite) {
    let wired = Wired::new();
    let before = wired.look();
    let added = limited(&wired, suite).add("c1", &wired.c1);
    added.del_ok();
    if differs(suite, "host-end-freed") {
        assert_eq!(wired.qdiscs(&wired.pair.host_end).len(), 2);
        assert!(!wired.c1.ping_within(&wired.pair.host_address, 1));
    } else {
        wired.assert_unchanged(&before);
        assert!(wired.c1.ping(&wired.pair.host_address));
    }
}

/// Neither the limits nor a valid config nor a `prevResult` need to be those of the ADD.
#[test]
fn del_after_any_edit() {
    let suite = Suite::ours();
    for (edit, whole) in [
        (json!({"egressRate": 1_000_000}), true),
        (json!({"egressRate": 0, "egressBurst": 0}), true),
        // The token bucket at the host's end is known by what it is set to, and by nothing else: it
        // goes with that end.
        (json!({"ingressRate": 1_000_000}), false),
        (json!({"ingressRate": 0, "ingressBurst": 0}), false),
        (json!({"ingressRate": "fast"}), false),
        (json!({"ingressRate": 7}), false),
        (json!({"prevResult": null}), true),
        (json!({"prevResult": {"interfaces": 7}}), true),
        (json!({"prevResult": {"cniVersion": "0.2.0"}}), true),
    ] {
        let wired = Wired::new();
        let before = wired.look();
        let network = limited(&wired, &suite);
        network.add("c1", &wired.c1);
        let edited = network.edited(|conf| conf.with(edit.clone()));
        edited
            .call_for("DEL", "c1", &wired.c1)
            .run()
            .expect_silent_ok();
        no_ifbs(&wired.world);
        assert!(wired.c1.ping(&wired.pair.host_address), "{edit}");
        let end = &wired.pair.host_end;
        if !whole {
            assert_eq!(wired.qdiscs(end).len(), 1, "{edit}");
            tc(&wired.world, &format!("qdisc del dev {end} root"));
        }
        wired.assert_unchanged(&before);
    }
}

#[test]
fn del_leaves_alone_what_others_have_put_there() {
    let suite = Suite::ours();
    let wired = Wired::new();
    let (host, end) = (wired.world.host(), &wired.pair.host_end);
    let added = limited(&wired, &suite).add("c1", &wired.c1);
    tc(
        &wired.world,
        &format!("qdisc replace dev {end} root handle 5: htb"),
    );
    let theirs = "protocol ip prio 9 u32 match u32 0 0 flowid 1:1";
    tc(
        &wired.world,
        &format!("filter add dev {end} ingress {theirs}"),
    );
    added.del_ok();
    no_ifbs(&wired.world);
    assert_eq!(redirection(host, end), None);
    let left = wired.qdiscs(end);
    let kinds: Vec<_> = left.iter().map(|qdisc| &qdisc["kind"]).collect();
    assert_eq!(kinds, ["htb", "ingress"]);
    let shown = host.command("tc", &["filter", "show", "dev", end, "ingress"]);
    assert!(shown.contains("pref 9"), "{shown}");
    assert!(wired.c1.ping(&wired.pair.host_address));
}

/// Links of somebody else's that have an IFB's names.
#[test]
fn foreign_links_are_neither_used_nor_removed() {
    let suite = Suite::ours();
    let names = ifb_names(&suite);
    let wired = Wired::new();
    let host = wired.world.host();
    for (first, second) in [("type ifb", "type bridge"), ("type bridge", "type ifb")] {
        for (name, kind) in names.iter().zip([first, second]) {
            host.ip(&format!("link add {name} {kind}"));
            host.ip(&format!("link set {name} alias somebody's"));
        }
        let before = wired.look();
        let network = limited(&wired, &suite);
        let error = network.try_add("c1", &wired.c1).expect_error(101);
        let text = error.to_string();
        assert!(
            text.contains("no free name for the IFB") && text.contains(&names[1]),
            "{text}"
        );
        wired.assert_unchanged(&before);
        network
            .call_for("DEL", "c1", &wired.c1)
            .run()
            .expect_silent_ok();
        let conf = conf::plugin("1.1.0", "bandwidth").valid_attachments(&[]);
        Network::new(&suite, conf)
            .call("GC")
            .run()
            .expect_silent_ok();
        wired.assert_unchanged(&before);
        host.ip(&format!("link del {}", names[0]));
        // One free name is enough.
        let added = network.add("c1", &wired.c1);
        assert_eq!(added.interface(3)["name"], names[0].as_str());
        added.del_ok();
        host.ip(&format!("link del {}", names[1]));
    }
}

/// The two names for the IFB of `c1` at `eth0`.
fn ifb_names(suite: &Suite) -> [String; 2] {
    let wired = Wired::new();
    let name = |added: &Attached<'_>| added.interface(3)["name"].as_str().unwrap().to_owned();
    let added = limited(&wired, suite).add("c1", &wired.c1);
    let first = name(&added);
    added.del_ok();
    wired
        .world
        .host()
        .ip(&format!("link add {first} type bridge"));
    let second = name(&limited(&wired, suite).add("c1", &wired.c1));
    [first, second]
}

/// Runs the plugin with its `nth` message to the kernel handled as strace's `inject` says.
fn with_fault(call: &Runner, fault: &str, nth: usize) -> Runner {
    require("strace");
    let inject = format!("inject=sendto:{fault}:when={nth}");
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
    call.clone().through(&words)
}

/// How many messages an ADD sends.
const SENDS: usize = 5;

#[test]
fn an_add_that_fails_anywhere_leaves_nothing() {
    let suite = Suite::ours();
    let wired = Wired::new();
    let before = wired.look();
    let call = limited(&wired, &suite).call_for("ADD", "c1", &wired.c1);
    for nth in 1..=SENDS {
        let outcome = with_fault(&call, "error=ENOBUFS", nth).run();
        let error = outcome.expect_error(11);
        assert!(!error.to_string().contains("left behind"), "{error}");
        wired.assert_unchanged(&before);
    }
    let added = with_fault(&call, "error=ENOBUFS", SENDS + 1).run();
    added.expect_ok();
}

#[test]
fn an_add_that_cannot_tell_its_result_leaves_nothing() {
    let suite = Suite::ours();
    let wired = Wired::new();
    let before = wired.look();
    let call = limited(&wired, &suite).call_for("ADD", "c1", &wired.c1);
    let inject = "inject=write:error=EPIPE:when=1";
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject];
    let outcome = call.through(&words).run();
    assert_ne!(outcome.code, 0, "{outcome}");
    wired.assert_unchanged(&before);
}

/// Without an undo, as after a loss of power: DEL finds whatever had been made, although the IFB has
/// no mark yet.
#[test]
fn del_after_an_add_that_was_killed() {
    let suite = Suite::ours();
    let [first, _] = ifb_names(&suite);
    for (nth, is_taken) in (1..=SENDS)
        .zip([false; SENDS])
        .chain([(5, true), (6, true)])
    {
        let wired = Wired::new();
        if is_taken {
            wired
                .world
                .host()
                .ip(&format!("link add {first} type bridge"));
        }
        let before = wired.look();
        let network = limited(&wired, &suite);
        let add = network.call_for("ADD", "c1", &wired.c1);
        // The signal comes after the message.
        let outcome = with_fault(&add, "signal=SIGKILL", nth).run();
        assert_ne!(outcome.code, 0, "{outcome}");
        let del = network.edited(|conf| conf.without("prevResult"));
        let del = del.call_for("DEL", "c1", &wired.c1);
        del.run().expect_silent_ok();
        no_ifbs(&wired.world);
        wired.assert_unchanged(&before);
    }
}

/// The same attachment, without any `prevResult`.
fn forgotten<'a>(attached: &Attached<'a>) -> Attached<'a> {
    let network = attached.network().edited(|conf| conf.without("prevResult"));
    attached.of(&network).with_result(Value::Null)
}

/// Row `upgrade`: the reference's IFB has no mark, and may be another interface's.
#[test]
fn what_the_reference_added_ours_checks_and_deletes() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for way in ["whole", "no prevResult", "no namespace", "nothing"] {
        let wired = Wired::new();
        let second = Pair::new(&wired.world, &wired.c1, "eth1", 2);
        let before = wired.look();
        let old = limited(&wired, &reference);
        let eth0 = old.add("c1", &wired.c1);
        let eth0 = eth0.of(&old.through(&ours));
        eth0.check_ok();
        // The same container has its next interface from us.
        let eth1 = second
            .limited(&ours, VERSION, &both())
            .add_at("c1", &wired.c1, "eth1");
        assert_ne!(eth0.interface(3)["name"], eth1.interface(3)["name"]);
        eth0.check_ok();
        eth1.check_ok();
        eth1.del_ok();
        eth1.del_ok();
        eth0.check_ok();
        let eth0 = match way {
            "no prevResult" => forgotten(&eth0),
            "no namespace" => eth0.with_netns("/run/netns/gone"),
            "nothing" => forgotten(&eth0).with_netns(""),
            _ => eth0,
        };
        eth0.del_ok();
        no_ifbs(&wired.world);
        if way == "whole" || way == "no prevResult" {
            wired.assert_unchanged(&before);
        }
    }
}

/// Row `downgrade`: what ours has added has the reference's name.
#[test]
fn what_ours_added_the_reference_checks_and_deletes() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    let wired = Wired::new();
    let network = limited(&wired, &ours);
    let added = network
        .add("c1", &wired.c1)
        .of(&network.through(&reference));
    added.check_ok();
    added.del_ok();
    no_ifbs(&wired.world);
}

#[test]
fn gc_removes_what_is_not_valid() {
    let suite = Suite::ours();
    let wired = Wired::new();
    let (world, c1) = (&wired.world, &wired.c1);
    let host = world.host();
    let c2 = world.container("c2");
    let pairs = [
        (Pair::new(world, c1, "eth1", 2), c1, "c1"),
        (Pair::new(world, &c2, "eth0", 3), &c2, "c2"),
    ];
    let valid = limited(&wired, &suite).add("c1", c1);
    for (pair, container, id) in &pairs {
        let network = pair.limited(&suite, VERSION, &both());
        network.add_at(id, container, &pair.ifname);
    }
    // Of another network, and of nobody that is known.
    let other = Pair::new(world, &c2, "eth5", 5).limited(&suite, VERSION, &both());
    let other = other.edited(|conf| conf.with(json!({"name": "tenon-net2"})));
    let other = other.add_at("c2", &c2, "eth5");
    host.ip("link add bwp000000000000 type ifb");
    assert_eq!(ifbs(host).len(), 5);

    let gc = |valid: &[(&str, &str)]| {
        let conf = conf::plugin("1.1.0", "bandwidth").valid_attachments(valid);
        Network::new(&suite, conf)
            .call("GC")
            .run()
            .expect_silent_ok();
    };
    gc(&[("c1", "eth0"), ("c2", "eth7"), ("../c2", "eth0")]);
    let name = |added: &Attached<'_>| added.interface(3)["name"].as_str().unwrap().to_owned();
    let left = |expected: &[&str]| {
        let mut expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        let mut found = ifbs(host);
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    };
    left(&[&name(&valid), &name(&other), "bwp000000000000"]);
    valid.check_ok();
    other.check_ok();
    let before = Look::at(world);
    gc(&[("c1", "eth0")]);
    before.assert_unchanged(&Look::at(world));
    gc(&[]);
    left(&[&name(&other), "bwp000000000000"]);
    other.check_ok();
}

#[test]
fn gc_without_the_list_of_valid_ones_removes_nothing() {
    let suite = Suite::ours();
    let wired = Wired::new();
    let added = limited(&wired, &suite).add("c1", &wired.c1);
    for list in [json!({}), json!({"cni.dev/valid-attachments": "all"})] {
        let conf = conf::plugin("1.1.0", "bandwidth").with(list);
        Network::new(&suite, conf)
            .call("GC")
            .run()
            .expect_any_error();
        added.check_ok();
    }
}

/// Every part that ADD made, one after the other. `END` and `IFB` stand for their names.
#[test]
fn check_looks_at_every_part() {
    let suite = Suite::ours();
    let other_rate =
        "tc qdisc replace dev END root handle 1: tbf rate 9mbit burst 100kb limit 125kb";
    for (damage, words) in [
        ("ip link set IFB down", "it is down"),
        ("ip link set IFB alias x", "get ifb device"),
        ("ip link del IFB", "redirected to no IFB of this attachment"),
        ("tc qdisc del dev IFB root", "Failed to find qdisc"),
        ("tc qdisc replace dev IFB root handle 9: htb", "htb 9:"),
        ("tc filter del dev END ingress", "not redirected to an IFB"),
        (other_rate, "Rate doesn't match"),
    ] {
        let wired = Wired::new();
        let added = limited(&wired, &suite).add("c1", &wired.c1);
        added.check_ok();
        let ifb = added.interface(3)["name"].as_str().unwrap();
        let damage = damage
            .replace("END", &wired.pair.host_end)
            .replace("IFB", ifb);
        let (tool, arguments) = damage.split_once(' ').unwrap();
        let arguments: Vec<_> = arguments.split(' ').collect();
        wired.world.host().command(tool, &arguments);
        let error = added.check().expect_error(103);
        assert!(error.to_string().contains(words), "no {words:?} in {error}");
    }
}

#[test]
fn check_wants_the_ifb_in_the_result() {
    let suite = Suite::ours();
    let wired = Wired::new();
    let added = limited(&wired, &suite).add("c1", &wired.c1);
    let without = added.with_result(wired.pair.result(VERSION));
    let error = without.check().expect_error(103);
    assert!(
        error.to_string().contains("prevResult does not name it"),
        "{error}"
    );
}

#[test]
fn status_asks_for_what_the_config_needs() {
    let suite = Suite::ours();
    let world = World::new();
    let before = Look::at(&world);
    let status = |keys: &Value| {
        let conf = conf::plugin("1.1.0", "bandwidth").with(keys.clone());
        Network::new(&suite, conf).call("STATUS")
    };
    for keys in [
        json!({}),
        both(),
        json!({"ingressRate": 8000, "ingressBurst": 8000}),
        json!({"egressRate": 8000, "egressBurst": 8000}),
        json!({"runtimeConfig": {"bandwidth": both()}}),
    ] {
        status(&keys).run().expect_silent_ok();
    }
    let error = status(&json!({"egressRate": 8000})).run().expect_error(7);
    assert!(
        error["msg"].as_str().unwrap().contains("egressBurst"),
        "{error}"
    );
    // Who may not ask cannot tell; and nobody who limits nothing has to ask.
    let error = status(&both())
        .without_capability("net_admin")
        .run()
        .expect_error(110);
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    let unlimited = status(&json!({})).without_capability("net_admin");
    unlimited.run().expect_silent_ok();
    before.assert_unchanged(&Look::at(&world));
}
