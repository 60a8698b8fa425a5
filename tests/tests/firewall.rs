//! The firewall plugin: rules, results and errors, over both suites; DEL, CHECK, GC and STATUS.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::fs;

use cni_testkit::{Suite, World, conf, require};
use serde_json::{Value, json};
use tenon_tests::chain::{Chain, Link};
use tenon_tests::differences::differs;
use tenon_tests::network::{Network, bare};

const SUBNETS: [&str; 2] = ["10.94.0.0/24", "fd94::/64"];

cni_testkit::suites! {
    rules_are_the_references => |suite| rules(suite, &json!({"backend": "iptables"}), OPEN);
    no_backend_and_an_unknown_one_are_iptables_without_firewalld => |suite| whatever(suite);
    a_policy_comes_before_the_accepts => |suite| rules(suite, &same_bridge(), SAME_BRIDGE);
    the_administrators_chain_can_have_another_name => |suite| admin_chain(suite);
    the_result_is_the_one_before => |suite| pass_through(suite);
    a_second_add_makes_nothing => |suite| second_add(suite);
    del_leaves_no_rule_of_the_container => |suite| nothing_left(suite);
    del_without_a_result => |suite| without_result(suite);
    check_finds_what_is_missing => |suite| check(suite);
    foreign_rules_stay => |suite| foreign(suite);
    what_makes_no_sense_is_refused => |suite| refused(suite);
    early_versions_are_refused => |suite| versions(suite);
    isolated_is_a_policy_too => |suite| isolated(suite);
    every_command_at_every_version => |suite| matrix(suite);
}

fn same_bridge() -> Value {
    json!({"backend": "iptables", "ingressPolicy": "same-bridge"})
}

fn chain<'a>(suite: &'a Suite, world: &World, keys: &Value) -> Chain<'a> {
    Chain::new(suite, world, "tenon0", &SUBNETS, keys.clone())
}

/// `iptables-save -t filter` without its dates and counters.
fn filter(world: &World, program: &str) -> String {
    require(program);
    let saved = world.host().command(program, &["-t", "filter"]);
    let lines = saved.lines().filter(|line| !line.starts_with('#'));
    lines.fold(String::new(), |text, line| match line.rsplit_once(" [") {
        // Packets may have come by.
        Some((chain, _)) if line.starts_with(':') => text + chain + " [0:0]\n",
        _ => text + line + "\n",
    })
}

const OPEN: &str = r#"*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:CNI-ADMIN - [0:0]
:CNI-FORWARD - [0:0]
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -d 10.94.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.94.0.2/32 -j ACCEPT
COMMIT
"#;

const SAME_BRIDGE: &str = r#"*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:CNI-ADMIN - [0:0]
:CNI-FORWARD - [0:0]
:CNI-ISOLATION-STAGE-1 - [0:0]
:CNI-ISOLATION-STAGE-2 - [0:0]
-A FORWARD -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-1
-A FORWARD -m comment --comment "CNI firewall plugin rules" -j CNI-FORWARD
-A CNI-FORWARD -m comment --comment "CNI firewall plugin admin overrides" -j CNI-ADMIN
-A CNI-FORWARD -d 10.94.0.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A CNI-FORWARD -s 10.94.0.2/32 -j ACCEPT
-A CNI-ISOLATION-STAGE-1 -i tenon0 ! -o tenon0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-2
-A CNI-ISOLATION-STAGE-1 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j RETURN
-A CNI-ISOLATION-STAGE-2 -o tenon0 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j DROP
-A CNI-ISOLATION-STAGE-2 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j RETURN
COMMIT
"#;

#[track_caller]
fn assert_rules(world: &World, expected: &str) {
    assert_eq!(filter(world, "iptables-save"), expected);
    let v6 = expected.replace("10.94.0.2/32", "fd94::2/128");
    assert_eq!(filter(world, "ip6tables-save"), v6);
}

fn rules(suite: &Suite, keys: &Value, expected: &str) {
    let world = World::new();
    let c1 = world.container("c1");
    let link = chain(suite, &world, keys).add("c1", &c1);
    assert_rules(&world, expected);
    link.firewall.check_ok();
}

fn whatever(suite: &Suite) {
    for keys in [
        json!({}),
        json!({"backend": ""}),
        json!({"backend": "ebpf"}),
    ] {
        rules(suite, &keys, OPEN);
    }
}

fn admin_chain(suite: &Suite) {
    let keys = json!({"backend": "iptables", "iptablesAdminChainName": "OVERRIDES"});
    // In the order of their names.
    let renamed = OPEN.replace(":CNI-ADMIN - [0:0]\n", "").replace(
        ":CNI-FORWARD - [0:0]\n",
        ":CNI-FORWARD - [0:0]\n:OVERRIDES - [0:0]\n",
    );
    rules(suite, &keys, &renamed.replace("CNI-ADMIN", "OVERRIDES"));
}

fn pass_through(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let link = chain(suite, &world, &json!({})).add("c1", &c1);
    let tidy = |result: &Value| {
        let mut result = result.clone();
        if differs(suite, "empty-dns") {
            result.as_object_mut().unwrap().remove("dns");
        }
        result
    };
    assert_eq!(tidy(&link.firewall.result), tidy(&link.bridge.result));
}

fn second_add(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let chain = chain(suite, &world, &same_bridge());
    let link = chain.add("c1", &c1);
    chain.open(&link.bridge, "c1", &c1);
    assert_rules(&world, SAME_BRIDGE);
}

fn nothing_left(suite: &Suite) {
    for keys in [json!({"backend": "iptables"}), same_bridge()] {
        let world = World::new();
        let (c1, c2) = (world.container("c1"), world.container("c2"));
        let chain = chain(suite, &world, &keys);
        let first = chain.join("c1", &c1);
        let joined = chain.join("c2", &c2);
        // iptables' own chains stay once it was called.
        for program in ["iptables", "ip6tables"] {
            world.host().command(program, &["-P", "FORWARD", "ACCEPT"]);
        }
        let before = world.snapshot();
        let (one, two) = (
            chain.open(&first, "c1", &c1),
            chain.open(&joined, "c2", &c2),
        );
        one.del_ok();
        two.check_ok();
        for _twice in 0..2 {
            two.del_ok();
        }
        if differs(suite, "firewall-chains-stay") {
            let left = filter(&world, "iptables-save");
            assert!(
                left.contains("CNI-FORWARD") && !left.contains("10.94.0"),
                "{left}"
            );
        } else {
            before.assert_unchanged(&world.snapshot());
        }
    }
}

fn without_result(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let link = chain(suite, &world, &json!({"backend": "iptables"})).add("c1", &c1);
    link.firewall.with_result(Value::Null).del_ok();
    let left = filter(&world, "iptables-save");
    assert_eq!(
        left.contains("10.94.0.2"),
        differs(suite, "firewall-del-without-result"),
        "{left}"
    );
}

fn check(suite: &Suite) {
    for flushed in ["FORWARD", "CNI-FORWARD"] {
        let world = World::new();
        let c1 = world.container("c1");
        let link = chain(suite, &world, &json!({"backend": "iptables"})).add("c1", &c1);
        world.host().command("iptables", &["-F", flushed]);
        let error = link.firewall.check().expect_any_error();
        assert!(error["msg"].as_str().unwrap().contains(flushed), "{error}");
    }
    let world = World::new();
    let c1 = world.container("c1");
    let chain = chain(suite, &world, &same_bridge());
    let link = chain.add("c1", &c1);
    world
        .host()
        .command("iptables", &["-F", "CNI-ISOLATION-STAGE-1"]);
    let checked = link.firewall.check();
    if differs(suite, "firewall-check") {
        checked.expect_silent_ok();
    } else {
        checked.expect_error(103);
    }
    // All of it is gone, and is not made again by asking.
    for program in ["iptables", "ip6tables"] {
        for args in ["-F", "-X"] {
            world.host().command(program, &[args]);
        }
    }
    let before = world.snapshot();
    link.firewall.check().expect_any_error();
    if !differs(suite, "firewall-check") {
        before.assert_unchanged(&world.snapshot());
    }
}

/// What Docker, kube-proxy and firewalld have in iptables, and in `nf_tables`.
const FOREIGN_IPTABLES: &str = r#"*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:FWDI_trusted - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A FWDI_trusted -s 10.94.0.2/32 -j ACCEPT
COMMIT
"#;

const FOREIGN: &str = r#"
table inet firewalld {
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ct state { established, related } accept
        iifname "lo" accept
        ip saddr 10.94.0.2 accept
    }
}
table ip kube-proxy {
    set cluster-ips { type ipv4_addr; elements = { 10.94.0.2 comment "mine" } }
    chain filter-forward { type filter hook forward priority -110; policy accept; ct state new ip daddr @cluster-ips counter; }
}
table inet mine {
    chain forward {
        type filter hook forward priority filter; policy drop;
        counter accept comment "CNI firewall plugin rules"
    }
}
table inet tenon {
    set open_v4 { type ipv4_addr; elements = { 10.94.0.2 } }
}
"#;

fn load_foreign(world: &World) {
    let file = world.file("foreign.nft", FOREIGN);
    world.host().command("nft", &["-f", file.to_str().unwrap()]);
    let file = world.file("foreign.iptables", FOREIGN_IPTABLES);
    for program in ["iptables-restore", "ip6tables-restore"] {
        let text = FOREIGN_IPTABLES.replace("10.94.0.2/32", "fd94::2/128");
        if program == "ip6tables-restore" {
            fs::write(&file, text).unwrap();
        }
        world.host().command(program, &[file.to_str().unwrap()]);
    }
}

/// Everything, with handles, without the packets that have come by.
fn everything(world: &World) -> String {
    let ruleset = world
        .host()
        .command("nft", &["-a", "-s", "list", "ruleset"]);
    ruleset + &filter(world, "iptables-save") + &filter(world, "ip6tables-save")
}

fn foreign(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let chain = chain(suite, &world, &same_bridge());
    let joined = chain.join("c1", &c1);
    load_foreign(&world);
    let before = everything(&world);
    chain.open(&joined, "c1", &c1).del_ok();
    let after = everything(&world);
    if differs(suite, "firewall-chains-stay") {
        let ours = |line: &&str| !line.contains("CNI-") && !line.contains("CNI firewall");
        let stays = |text: &str| {
            text.lines()
                .filter(ours)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let all = stays(&after);
        assert!(
            stays(&before).iter().all(|line| all.contains(line)),
            "{after}"
        );
        return;
    }
    assert_eq!(after, before);
}

#[test]
fn foreign_rules_are_the_same_after_each_backend_and_policy() {
    let suite = Suite::ours();
    for backend in ["nftables", "iptables"] {
        for policy in ["open", "same-bridge", "isolated"] {
            let world = World::new();
            let (c1, c2) = (world.container("c1"), world.container("c2"));
            let keys = json!({"backend": backend, "ingressPolicy": policy});
            let chain = chain(&suite, &world, &keys);
            let (first, second) = (chain.join("c1", &c1), chain.join("c2", &c2));
            load_foreign(&world);
            let before = everything(&world);
            let one = chain.open(&first, "c1", &c1);
            let two = chain.open(&second, "c2", &c2);
            one.check_ok();
            assert_ne!(everything(&world), before);
            one.del_ok();
            two.check_ok();
            two.with_result(Value::Null).del_ok();
            assert_eq!(everything(&world), before, "{backend} {policy}");
        }
    }
}

fn refused(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let iptables = json!({"backend": "iptables"});
    let chain = chain(suite, &world, &iptables);
    let joined = chain.join("c1", &c1);
    let before = world.snapshot();
    for command in ["ADD", "CHECK"] {
        let outcome = chain.firewall().call_for(command, "c1", &c1).run();
        let error = outcome.expect_any_error();
        assert_eq!(error["msg"], "missing prevResult from earlier plugin");
    }
    let unknown = chain.with(&json!({"ingressPolicy": "closed"}));
    let error = unknown.try_open(&joined, "c1", &c1).expect_any_error();
    assert_eq!(error["msg"], "unknown ingress policy: \"closed\"");
    let policed = chain.with(&json!({"ingressPolicy": "same-bridge"}));
    let mut bare = joined.clone();
    bare.result["interfaces"] = json!([]);
    for ip in bare.result["ips"].as_array_mut().unwrap() {
        ip.as_object_mut().unwrap().remove("interface");
    }
    let error = policed.try_open(&bare, "c1", &c1).expect_any_error();
    assert_eq!(
        error["msg"],
        "interface needs to be set for ingress policy \"same-bridge\", make sure to chain \"firewall\" plugin with \"bridge\""
    );
    if !differs(suite, "failed-add") {
        before.assert_unchanged(&world.snapshot());
    }
}

fn versions(suite: &Suite) {
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1"] {
        let world = World::new();
        let c1 = world.container("c1");
        let conf = conf::plugin(version, "firewall");
        let error = Network::new(suite, conf).try_add("c1", &c1).expect_error(1);
        assert!(
            error["msg"]
                .as_str()
                .unwrap()
                .contains("incompatible CNI versions"),
            "{error}"
        );
    }
}

fn isolated(suite: &Suite) {
    let world = World::new();
    let c1 = world.container("c1");
    let keys = json!({"backend": "iptables", "ingressPolicy": "isolated"});
    let chain = chain(suite, &world, &keys);
    let joined = chain.join("c1", &c1);
    if differs(suite, "ingress-isolated") {
        let error = chain.try_open(&joined, "c1", &c1).expect_any_error();
        assert_eq!(error["msg"], "unknown ingress policy: \"isolated\"");
        return;
    }
    chain.open(&joined, "c1", &c1).check_ok();
    let inside = "-A CNI-ISOLATION-STAGE-1 -i tenon0 -o tenon0 -m comment --comment \
                  \"CNI firewall plugin rules (ingressPolicy: isolated)\" -j DROP\n";
    let before = "-A CNI-ISOLATION-STAGE-1 -i tenon0 ! -o tenon0";
    assert_rules(
        &world,
        &SAME_BRIDGE.replace(before, &format!("{inside}{before}")),
    );
}

fn matrix(suite: &Suite) {
    for version in conf::CHECK_VERSIONS {
        if version == "1.1.0" && differs(suite, "version-1.1.0") {
            continue;
        }
        let world = World::new();
        let c1 = world.container("c1");
        let chain = chain(suite, &world, &same_bridge()).of_version(version);
        let link = chain.add("c1", &c1);
        assert_eq!(link.firewall.result["cniVersion"], version);
        link.firewall.check_ok();
        let run = |command: &str, valid: &[(&str, &str)]| {
            let network = chain
                .firewall()
                .edited(|conf| conf.valid_attachments(valid));
            network.call(command).run()
        };
        if version == "1.1.0" {
            run("STATUS", &[]).expect_silent_ok();
            run("GC", &[("c1", "eth0")]).expect_silent_ok();
            link.firewall.check_ok();
        }
        link.firewall.del_ok();
        link.firewall.del_ok();
        if version == "1.1.0" {
            run("GC", &[]).expect_silent_ok();
        }
        let versions = run("VERSION", &[]).expect_ok().json();
        let supported = versions["supportedVersions"].as_array().unwrap().clone();
        assert!(supported.contains(&json!(version)), "{versions}");
        assert!(!supported.contains(&json!("0.3.1")), "{versions}");
    }
}

/// The reference's DEL knows ours, and ours the reference's, and so do their CHECKs.
#[test]
fn either_suite_checks_and_removes_what_the_other_one_made() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for (one, other) in [(&ours, &reference), (&reference, &ours)] {
        for keys in [json!({"backend": "iptables"}), same_bridge()] {
            let world = World::new();
            let (c1, c2) = (world.container("c1"), world.container("c2"));
            let made = chain(one, &world, &keys);
            let removed = made.through(other);
            let (first, second) = (made.add("c1", &c1), made.add("c2", &c2));
            let taken = |link: &Link<'_>| link.firewall.of(removed.firewall());
            taken(&first).check_ok();
            taken(&first).del_ok();
            let left = filter(&world, "iptables-save");
            assert!(
                !left.contains("10.94.0.2/32") && left.contains("10.94.0.3/32"),
                "{left}"
            );
            second.firewall.check_ok();
            taken(&second).check_ok();
            // A policy stays while somebody may rely on it, and what the reference made stays for ever.
            taken(&second).del_ok();
            let left = filter(&world, "iptables-save") + &filter(&world, "ip6tables-save");
            assert!(
                !left.contains("10.94.0") && !left.contains("fd94::"),
                "{left}"
            );
            let next = removed.add("c3", &world.container("c3"));
            next.firewall.check_ok();
        }
    }
}

/// Containers that the reference has added are kept apart although ours come and go.
#[test]
fn a_policy_that_the_reference_made_outlives_our_containers() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    let world = World::new();
    let (c1, c2) = (world.container("c1"), world.container("c2"));
    let old = chain(&reference, &world, &same_bridge());
    old.add("c1", &c1);
    let new = old.through(&ours).add("c2", &c2);
    new.firewall.del_ok();
    let left = filter(&world, "iptables-save");
    assert!(
        left.contains("-A CNI-ISOLATION-STAGE-2 -o tenon0"),
        "{left}"
    );
}

/// Changed by an operator between ADD and DEL.
#[test]
fn del_finds_the_rules_of_either_backend() {
    let suite = Suite::ours();
    for (before, after) in [
        (
            json!({"backend": "nftables", "ingressPolicy": "isolated"}),
            json!({"backend": "iptables", "ingressPolicy": "open"}),
        ),
        (
            json!({"backend": "iptables", "ingressPolicy": "isolated"}),
            json!({"backend": "nftables", "ingressPolicy": 7}),
        ),
    ] {
        let world = World::new();
        let c1 = world.container("c1");
        let chain = chain(&suite, &world, &before);
        let joined = chain.join("c1", &c1);
        load_foreign(&world);
        let bare = everything(&world);
        let opened = chain.open(&joined, "c1", &c1);
        let edited = chain.with(&after);
        opened
            .of(edited.firewall())
            .with_netns("")
            .with_result(Value::Null)
            .del_ok();
        assert_eq!(everything(&world), bare);
    }
}

#[test]
fn a_late_del_leaves_the_addresss_next_owner_alone() {
    let suite = Suite::ours();
    for backend in ["nftables", "iptables"] {
        let world = World::new();
        let (c1, c2) = (world.container("c1"), world.container("c2"));
        let chain = chain(
            &suite,
            &world,
            &json!({"backend": backend, "ingressPolicy": "same-bridge"}),
        );
        load_foreign(&world);
        let first = chain.add("c1", &c1);
        first.bridge.del_ok();
        let next = chain.join("c2", &c2);
        let mut again = next.clone();
        again.result["ips"] = first.bridge.result["ips"].clone();
        let next = chain.open(&again, "c2", &c2);
        first.firewall.del_ok();
        next.check_ok();
    }
}

#[test]
fn gc_keeps_the_valid() {
    let suite = Suite::ours();
    for backend in ["nftables", "iptables"] {
        let world = World::new();
        let (c1, c2) = (world.container("c1"), world.container("c2"));
        let keys = json!({"backend": backend, "ingressPolicy": "isolated", "cniVersion": "1.1.0"});
        let chain = chain(&suite, &world, &keys);
        let (first, second) = (chain.join("c1", &c1), chain.join("c2", &c2));
        load_foreign(&world);
        let before = everything(&world);
        let (gone, valid) = (
            chain.open(&first, "c1", &c1),
            chain.open(&second, "c2", &c2),
        );
        let gc = |valid: &[(&str, &str)]| {
            let network = chain
                .firewall()
                .edited(|conf| conf.valid_attachments(valid));
            network.call("GC").run().expect_silent_ok();
        };
        gc(&[("c2", "eth0"), ("c1", "eth1")]);
        valid.check_ok();
        let left = everything(&world);
        let rule = format!("-A CNI-FORWARD -s {}/32", gone.address());
        assert!(!left.contains("id: c1") && !left.contains(&rule), "{left}");
        gone.check().expect_error(103);
        gc(&[]);
        assert_eq!(everything(&world), before);
    }
}

/// Without iptables on the machine.
fn hide_iptables(world: &World) {
    world.shadow("/usr/sbin");
    for entry in fs::read_dir("/usr/sbin").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("iptables") || name.starts_with("ip6tables") || name.contains("xtables")
        {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn status_looks_for_the_backend() {
    let suite = Suite::ours();
    let world = World::new();
    let conf = conf::plugin("1.1.0", "firewall");
    let status = |keys: Value| {
        let conf = conf.clone().with(keys);
        Network::new(&suite, conf).call("STATUS").run()
    };
    for keys in [
        json!({}),
        json!({"backend": "iptables"}),
        json!({"backend": "nftables"}),
    ] {
        status(keys).expect_silent_ok();
    }
    let error = status(json!({"backend": "firewalld"})).expect_error(50);
    assert_eq!(error["msg"], "backend firewalld: firewalld is not running");
    status(json!({"ingressPolicy": "closed"})).expect_error(7);
    hide_iptables(&world);
    let error = status(json!({"backend": "iptables"})).expect_error(50);
    assert_eq!(
        error["msg"],
        "backend iptables: iptables and ip6tables are not installed"
    );
    status(json!({})).expect_silent_ok();
}

#[test]
fn without_iptables_nf_tables_serve() {
    let suite = Suite::ours();
    let world = World::new();
    let c1 = world.container("c1");
    load_foreign(&world);
    let chain = chain(&suite, &world, &json!({}));
    hide_iptables(&world);
    let link = chain.add("c1", &c1);
    let ruleset = world.host().command("nft", &["-s", "list", "ruleset"]);
    assert!(
        ruleset.contains("ip saddr @tenon_forward_v4 accept"),
        "{ruleset}"
    );
    // The chain that iptables would have is like any other now.
    let forward = ruleset.split("chain FORWARD {").nth(1).unwrap();
    let forward = forward.split('}').next().unwrap();
    assert!(forward.contains("@tenon_forward_v4"), "{forward}");
    link.firewall.check_ok();
    link.firewall.del_ok();
    let left = world.host().command("nft", &["-s", "list", "ruleset"]);
    assert!(!left.contains("tenon_forward"), "{left}");
    let asked = chain.with(&json!({"backend": "iptables"}));
    let error = asked.try_open(&link.bridge, "c1", &c1).expect_error(120);
    let details = error["details"].as_str().unwrap();
    assert!(details.contains("cannot run iptables-restore"), "{details}");
}

/// The second family fails, when the first one is done.
#[test]
fn a_failed_add_leaves_the_machine_as_it_was() {
    let suite = Suite::ours();
    for policy in ["open", "same-bridge", "isolated"] {
        let world = World::new();
        let c1 = world.container("c1");
        let chain = chain(
            &suite,
            &world,
            &json!({"backend": "iptables", "ingressPolicy": policy}),
        );
        let joined = chain.join("c1", &c1);
        load_foreign(&world);
        let before = everything(&world);
        let fake = "#!/bin/sh\necho out of order >&2\nexit 1\n";
        let fake = world.executable("fakes/ip6tables-restore", fake);
        let path = format!("{}:/usr/sbin:/usr/bin", fake.parent().unwrap().display());
        let network = chain
            .firewall()
            .edited(|conf| conf.prev_result(&joined.result));
        let call = network.call_for("ADD", "c1", &c1).env("PATH", path);
        let error = call.run().expect_error(120);
        assert_eq!(error["msg"], "let the host forward for net-tenon0/c1/eth0");
        let details = error["details"].as_str().unwrap();
        assert!(
            details.contains("ip6tables-restore failed") && details.contains("out of order"),
            "{details}"
        );
        assert_eq!(everything(&world), before, "{policy}");
    }
}

/// What an ADD starts and whom it talks to. iptables is run for the first container of a host, and
/// where that is asked for; what it has made is copied for the others.
#[test]
fn an_add_starts_one_process_for_each_family_at_most_and_asks_no_bus() {
    require("strace");
    let suite = Suite::ours();
    for (backend, fast_paths, processes) in [
        ("iptables", "off", 3),
        ("iptables", "on", 1),
        ("nftables", "on", 1),
    ] {
        let world = World::new();
        let (c0, c1) = (world.container("c0"), world.container("c1"));
        let chain = chain(
            &suite,
            &world,
            &json!({"backend": backend, "ingressPolicy": "isolated"}),
        );
        chain.add("c0", &c0);
        let joined = chain.join("c1", &c1);
        let network = chain
            .firewall()
            .edited(|conf| conf.prev_result(&joined.result));
        let trace = world.dir().join("trace");
        let words = [
            "strace",
            "-f",
            "-e",
            "trace=execve,connect",
            "-o",
            trace.to_str().unwrap(),
        ];
        let call = network.call_for("ADD", "c1", &c1).through(&words);
        let call = call.env("TENON_FAST_PATHS", fast_paths);
        let added = call.run().expect_ok().json();
        let text = fs::read_to_string(&trace).unwrap();
        let started = text
            .lines()
            .filter(|line| line.contains("execve(") && line.ends_with("= 0"));
        assert_eq!(started.count(), processes, "{text}");
        // Not counting where plugins meet each other.
        let calls = |line: &&str| line.contains("AF_UNIX") && !line.contains("@\"tenon ");
        assert_eq!(text.lines().find(calls), None, "{text}");
        let del = chain.firewall().edited(|conf| conf.prev_result(&added));
        del.call_for("DEL", "c1", &c1)
            .through(&words)
            .run()
            .expect_silent_ok();
        let text = fs::read_to_string(&trace).unwrap();
        let started = text
            .lines()
            .filter(|line| line.contains("execve(") && line.ends_with("= 0"));
        assert_eq!(started.count(), 1, "{text}");
        assert_eq!(
            bare(added["ips"][0]["address"].as_str().unwrap()),
            "10.94.0.3"
        );
    }
}
