//! What portmap makes on a machine, and what it leaves alone: ours.
#![expect(clippy::unwrap_used, reason = "test functions fail by panicking")]

use std::time::{Duration, Instant};

use cni_testkit::{Netns, Snapshot, Suite, World, conf};
use serde_json::{Value, json};
use tenon_tests::at_once::run_at_once;
use tenon_tests::differences;
use tenon_tests::published::{Pod, Scene, port, port_at, portmap};

/// As an operator or a runtime writes them.
const BACKENDS: [&str; 2] = ["nftables", "iptables"];

fn backend(name: &str) -> Value {
    json!({"backend": name})
}

fn some_ports() -> Value {
    json!([
        port(8080, "tcp"),
        port(8080, "udp"),
        port_at("192.0.2.1", 53, "udp")
    ])
}

/// A container that some plugin has made, which need not be there for its ports to be published.
fn pod_at(world: &World, id: &str, address: &str) -> Pod {
    let netns = world.container(id);
    let result = conf::result("1.1.0", &netns, "eth0", address);
    Pod {
        netns,
        id: id.to_owned(),
        result,
    }
}

/// What Docker, kube-proxy, firewalld and people have.
const FOREIGN_IPTABLES: &str = r#"*nat
:DOCKER - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-MARK-MASQ - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j DNAT --to-destination 10.244.0.7:80
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A DOCKER-USER -i eth0 -p tcp -m tcp --dport 8080 -j DROP
-A DOCKER-USER -j RETURN
COMMIT
"#;
const FOREIGN_NFT: &str = r#"
table inet firewalld {
    chain nat_PREROUTING { type nat hook prerouting priority dstnat + 10; iifname "eth7" tcp dport 8080 redirect to :9090; }
    chain filter_INPUT { type filter hook input priority filter + 10; ct state { established, related } accept; iifname "lo" accept; }
}
table ip kube-proxy {
    map service-nodeports { type inet_proto . inet_service : verdict; elements = { tcp . 30080 : accept }; }
    chain nat-prerouting { type nat hook prerouting priority dstnat; fib daddr type local meta l4proto . th dport vmap @service-nodeports; }
}
table ip cni_hostport {
    chain hostports { tcp dport 8082 dnat to 10.84.0.99:80 comment "other"; }
    chain prerouting { type nat hook prerouting priority dstnat; fib daddr type local jump hostports; }
}
"#;

/// Loads [`FOREIGN_IPTABLES`] and [`FOREIGN_NFT`].
fn make_foreign(world: &World) {
    let host = world.host();
    let file = world.file("foreign.nft", FOREIGN_NFT);
    host.command("nft", &["-f", file.to_str().unwrap()]);
    let file = world.file("foreign.iptables", FOREIGN_IPTABLES);
    host.command("iptables-restore", &[file.to_str().unwrap()]);
}

/// The ruleset with the handles of all that is in it, as it would be after nothing at all.
fn with_handles(host: &Netns) -> String {
    host.command("nft", &["-a", "-s", "list", "ruleset"])
}

#[test]
fn rules_of_others_are_the_same_afterwards_to_the_last_handle() {
    let suite = Suite::ours();
    let scene = Scene::new();
    let pod = scene.pod(&suite, "c1");
    make_foreign(&scene.world);
    let host = scene.world.host();
    let before = (with_handles(host), scene.world.snapshot());
    let attached = pod.publish(&suite, &json!({}), &some_ports());
    attached.check_ok();
    let between = host.command("nft", &["-a", "-s", "list", "ruleset"]);
    let foreign = between.replace(
        &host.command(
            "nft",
            &["-a", "-s", "list", "table", "inet", "tenon_portmap"],
        ),
        "",
    );
    assert_eq!(foreign, before.0, "no rule of others is changed meanwhile");
    attached.del_ok();
    assert_eq!(with_handles(host), before.0);
    before.1.assert_unchanged(&scene.world.snapshot());
}

/// Of iptables, the chains that all share stay, as the reference leaves them.
#[test]
fn rules_of_others_are_the_same_beside_iptables() {
    let suite = Suite::ours();
    let scene = Scene::new();
    let pod = scene.pod(&suite, "c1");
    make_foreign(&scene.world);
    let keys = backend("iptables");
    pod.publish(&suite, &keys, &some_ports()).del_ok();
    let lines = |program: &str| -> Vec<String> {
        let saved = scene.world.host().command(program, &[]);
        let kept = saved.lines().filter(|line| {
            !line.contains("CNI-HOSTPORT") && !line.starts_with(['#', ':']) && line.starts_with('-')
        });
        kept.map(str::to_owned).collect()
    };
    let foreign: Vec<&str> = FOREIGN_IPTABLES
        .lines()
        .filter(|line| line.starts_with('-'))
        .collect();
    let mut found = lines("iptables-save");
    let mut wanted: Vec<String> = foreign.iter().map(|&line| line.to_owned()).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted);
    let before = scene.world.snapshot();
    let attached = pod.publish(&suite, &keys, &some_ports());
    attached.check_ok();
    attached.del_ok();
    before.assert_unchanged(&scene.world.snapshot());
}

#[test]
fn both_backends_lead_packets_to_the_container() {
    let suite = Suite::ours();
    for name in BACKENDS {
        for keys in [
            json!({}),
            json!({"masqAll": true}),
            json!({"markMasqBit": 5}),
        ] {
            let scene = Scene::new();
            let pod = scene.pod(&suite, "c1");
            let mut keys = keys;
            keys["backend"] = json!(name);
            let attached = pod.publish(&suite, &keys, &some_ports());
            attached.check_ok();
            let listener = pod.listen();
            let neighbour = scene.pod(&suite, "c2");
            for protocol in ["tcp", "udp"] {
                let sees = |from: &Netns, to: &str| listener.sees(protocol, from, to);
                let all = keys["masqAll"] == true;
                let own = ["192.0.2.2", "2001:db8:2::2"];
                let masked = ["10.84.0.1", "fd84::1"];
                let expected = if all { masked } else { own };
                assert_eq!(sees(&scene.client, "192.0.2.1:8080"), expected[0], "{keys}");
                assert_eq!(
                    sees(&scene.client, "[2001:db8:2::1]:8080"),
                    expected[1],
                    "{keys}"
                );
                assert_eq!(
                    sees(&neighbour.netns, "192.0.2.1:8080"),
                    masked[0],
                    "{keys}"
                );
                assert_eq!(sees(&pod.netns, "192.0.2.1:8080"), masked[0], "{keys}");
                assert_eq!(
                    sees(scene.world.host(), "127.0.0.1:8080"),
                    masked[0],
                    "{keys}"
                );
            }
            attached.del_ok();
            listener.sees_nobody("tcp", &scene.client, "192.0.2.1:8080");
        }
    }
}

/// A range of ports is a list of mappings, as runtimes write it.
#[test]
fn a_range_of_ports_leads_port_by_port_by_either_backend() {
    let suite = Suite::ours();
    for name in BACKENDS {
        let scene = Scene::new();
        let pod = scene.pod(&suite, "c1");
        let mapping =
            |at: u16| json!({"hostPort": 8000 + at, "containerPort": 5000 + at, "protocol": "tcp"});
        let range: Vec<Value> = (0..200).map(mapping).collect();
        let attached = pod.publish(&suite, &backend(name), &json!(range));
        attached.check_ok();
        let listener = pod.listen(); // 5080
        listener.sees("tcp", &scene.client, "192.0.2.1:8080");
        listener.sees("tcp", &scene.client, "[2001:db8:2::1]:8080");
        listener.sees_nobody("tcp", &scene.client, "192.0.2.1:8081");
        let host = scene.world.host();
        let rules = host.command("nft", &["list", "ruleset"]);
        assert!(
            rules.lines().filter(|line| line.contains("dnat")).count() < 20,
            "{name}"
        );
        attached.del_ok();
    }
}

#[test]
fn conditions_in_the_words_of_nft() {
    let suite = Suite::ours();
    let scene = Scene::new();
    let (limited, open) = (scene.pod(&suite, "c1"), scene.pod(&suite, "c2"));
    let keys = json!({
        "conditionsV4": ["ip", "saddr", "!=", "192.0.3.0/24"],
        "conditionsV6": ["iifname", "up3"],
    });
    let attached = limited.publish(&suite, &keys, &json!([port(8080, "tcp")]));
    attached.check_ok();
    // Another network of the same kind of mappings, without conditions.
    let other = json!({"name": "other-net"});
    open.publish(&suite, &other, &json!([port(9090, "tcp")]))
        .check_ok();
    let (first, second) = (limited.listen(), open.listen());
    let (near, far) = (&scene.client, &scene.beyond);
    first.sees("tcp", near, "192.0.2.1:8080");
    first.sees_nobody("tcp", far, "192.0.3.1:8080");
    first.sees("tcp", far, "[2001:db8:3::1]:8080");
    first.sees_nobody("tcp", near, "[2001:db8:2::1]:8080");
    second.sees("tcp", far, "192.0.3.1:9090");
    second.sees("tcp", near, "[2001:db8:2::1]:9090");
    attached.del_ok();
    second.sees("tcp", near, "192.0.2.1:9090");
}

#[test]
fn what_cannot_be_read_of_nfts_words_is_refused_by_name() {
    let suite = Suite::ours();
    let scene = Scene::new();
    let pod = scene.pod(&suite, "c1");
    let before = scene.world.snapshot();
    let keys = json!({"conditionsV4": ["ct", "state", "new"]});
    let network = pod.portmap(&suite, &keys, &some_ports());
    let error = network.try_add("c1", &pod.netns).expect_error(2);
    let text = error.to_string();
    for word in ["conditionsV4", "ct", "iptables"] {
        assert!(text.contains(word), "{text}");
    }
    before.assert_unchanged(&scene.world.snapshot());
}

/// Row `portmap-backend`.
#[test]
fn without_iptables_no_process_is_started() {
    cni_testkit::require("strace");
    let suite = Suite::ours();
    let scene = Scene::new();
    let pod = scene.pod(&suite, "c1");
    let network = pod.portmap(&suite, &json!({}), &some_ports());
    for command in ["ADD", "CHECK", "DEL"] {
        let trace = scene.world.dir().join("trace");
        let words = [
            "strace",
            "-f",
            "-e",
            "trace=execve",
            "-o",
            trace.to_str().unwrap(),
        ];
        let call = network.call_for(command, "c1", &pod.netns);
        call.through(&words).run().expect_ok();
        let trace = std::fs::read_to_string(trace).unwrap();
        let started = trace
            .lines()
            .filter(|line| line.contains("execve(") && line.ends_with("= 0"));
        assert_eq!(started.count(), 1, "{command}: portmap alone");
    }
}

/// The first family is done when the second one fails; or all is done, and nobody reads the result.
#[test]
fn a_failed_add_leaves_the_machine_as_it_was() {
    let suite = Suite::ours();
    for keys in [
        json!({"externalSetMarkChain": "IS-NOT-THERE"}),
        json!({"externalSetMarkChain": "ONLY-OF-V4"}),
    ] {
        let scene = Scene::new();
        let pod = scene.pod(&suite, "c1");
        let host = scene.world.host();
        pod.publish(&suite, &backend("iptables"), &some_ports())
            .del_ok();
        host.command("iptables", &["-t", "nat", "-N", "ONLY-OF-V4"]);
        let before = scene.world.snapshot();
        let network = pod.portmap(&suite, &keys, &some_ports());
        let error = network.try_add("c1", &pod.netns).expect_error(120);
        let details = error["details"].as_str().unwrap();
        let chain = keys["externalSetMarkChain"].as_str().unwrap();
        assert!(details.contains(chain), "in iptables' words: {error}");
        before.assert_unchanged(&scene.world.snapshot());
    }
    let scene = Scene::new();
    let pod = scene.pod(&suite, "c1");
    let before = scene.world.snapshot();
    let network = pod.portmap(&suite, &json!({}), &some_ports());
    let full = ["sh", "-c", "exec \"$0\" >/dev/full"];
    let call = network.call_for("ADD", "c1", &pod.netns).through(&full);
    assert_ne!(call.run().code, 0);
    before.assert_unchanged(&scene.world.snapshot());
    let localnet = scene
        .world
        .host()
        .sysctl("net/ipv4/conf/tenon0/route_localnet");
    assert_eq!(localnet, "0");
}

#[test]
fn without_the_right_nothing_is_done_and_the_error_says_which() {
    let suite = Suite::ours();
    let scene = Scene::new();
    let pod = scene.pod(&suite, "c1");
    let before = scene.world.snapshot();
    let network = pod.portmap(&suite, &json!({}), &some_ports());
    let call = network.call_for("ADD", "c1", &pod.netns);
    let error = call.without_capability("net_admin").run().expect_error(120);
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    before.assert_unchanged(&scene.world.snapshot());
}

/// With the last mapping behind an interface, and not before; and what somebody else has set stays.
#[test]
fn route_localnet_goes_back_with_the_last_mapping() {
    let suite = Suite::ours();
    let scene = Scene::new();
    let (first, second) = (scene.pod(&suite, "c1"), scene.pod(&suite, "c2"));
    let host = scene.world.host();
    let localnet = || host.sysctl("net/ipv4/conf/tenon0/route_localnet");
    let ports = |at: u16| json!([port(at, "tcp")]);
    let of_first = first.publish(&suite, &json!({}), &ports(8080));
    let of_second = second.publish(&suite, &json!({}), &ports(8081));
    assert_ne!(localnet(), "0");
    of_first.del_ok();
    assert_ne!(localnet(), "0");
    second.listen().sees("tcp", host, "127.0.0.1:8081");
    of_second.del_ok();
    assert_eq!(localnet(), "0");
    host.set_sysctl("net/ipv4/conf/tenon0/route_localnet", "1");
    first.publish(&suite, &json!({}), &ports(8080)).del_ok();
    assert_eq!(localnet(), "1");
    // Somebody flushes all rules, the guard among them.
    host.set_sysctl("net/ipv4/conf/tenon0/route_localnet", "0");
    let flushed = first.publish(&suite, &json!({}), &ports(8080));
    host.command("nft", &["flush", "ruleset"]);
    assert_ne!(localnet(), "0");
    flushed.del_ok();
    assert_eq!(localnet(), "0");
    // Mappings that are not reached over loopback do not open it.
    let outside = json!([port_at("192.0.2.1", 8080, "tcp")]);
    first.publish(&suite, &json!({}), &outside).check_ok();
    assert_eq!(localnet(), "0");
}

#[test]
fn check_tells_each_difference() {
    let suite = Suite::ours();
    let damages = [
        (
            "nft",
            "flush map inet tenon_portmap any_v4",
            "8080/tcp of any IPv4 address",
        ),
        (
            "nft",
            "flush chain inet tenon_portmap prerouting",
            "prerouting",
        ),
        ("nft", "flush chain inet tenon_portmap guard", "loopback"),
        (
            "sysctl",
            "-w net.ipv4.conf.tenon0.route_localnet=0",
            "route_localnet of tenon0",
        ),
        ("iptables", "-t nat -F CNI-HOSTPORT-DNAT", "--dports 8080"),
        ("iptables", "-t raw -F PREROUTING", "CNI-HOSTPORT-GUARD"),
    ];
    for (program, words, text) in damages {
        let scene = Scene::new();
        let pod = scene.pod(&suite, "c1");
        let name = if program == "iptables" {
            "iptables"
        } else {
            "nftables"
        };
        let attached = pod.publish(&suite, &backend(name), &some_ports());
        attached.check_ok();
        let words: Vec<&str> = words.split(' ').collect();
        scene.world.host().command(program, &words);
        let error = attached.check().expect_error(103);
        assert!(error.to_string().contains(text), "{words:?}: {error}");
        // ADD again puts it right.
        let again = pod.portmap(&suite, &backend(name), &some_ports());
        again.add("c1", &pod.netns).check_ok();
        attached.del_ok();
    }
}

/// Changed by an operator between ADD and DEL.
#[test]
fn del_finds_the_rules_of_either_backend() {
    let suite = Suite::ours();
    for (before, after) in [("nftables", "iptables"), ("iptables", "nftables")] {
        let scene = Scene::new();
        let pod = scene.pod(&suite, "c1");
        let attached = pod.publish(&suite, &backend(before), &some_ports());
        let edited = json!({"backend": after, "snat": false, "conditionsV4": []});
        let network = pod.portmap(&suite, &edited, &json!([port(1, "tcp")]));
        attached.of(&network).del_ok();
        let left = scene.world.snapshot();
        let ruleset: Vec<_> = left
            .lines()
            .iter()
            .filter(|line| line.starts_with("nft") && line.contains("8080"))
            .collect();
        assert!(ruleset.is_empty(), "{ruleset:?}");
        // Even of a config that no ADD would take.
        let broken =
            network.edited(|conf| conf.with(json!({"backend": "ebpf", "markMasqBit": 99})));
        attached.of(&broken).del_ok();
    }
}

fn gc(suite: &Suite, keys: &Value, valid: &[(&str, &str)]) {
    let conf = portmap(keys, &json!([]))
        .with(json!({"cniVersion": "1.1.0"}))
        .valid_attachments(valid);
    let network = tenon_tests::network::Network::new(suite, conf);
    network.call("GC").run().expect_silent_ok();
}

#[test]
fn gc_withdraws_what_belongs_to_nobody_in_its_network() {
    let suite = Suite::ours();
    for name in BACKENDS {
        let scene = Scene::new();
        let pods = ["c1", "c2", "c3"].map(|id| scene.pod(&suite, id));
        let keys = backend(name);
        let other = json!({"backend": name, "name": "tenon-net2"});
        let valid = pods[0].publish(&suite, &keys, &json!([port(8081, "tcp")]));
        let theirs = pods[2].publish(&suite, &other, &json!([port(8083, "tcp")]));
        let before = scene.world.snapshot();
        pods[1].publish(
            &suite,
            &keys,
            &json!([port(8082, "tcp"), port(8082, "udp")]),
        );
        gc(&suite, &keys, &[("c1", "eth0")]);
        before.assert_unchanged(&scene.world.snapshot());
        valid.check_ok();
        theirs.check_ok();
        gc(&suite, &keys, &[]);
        theirs.check_ok();
        valid.check().expect_error(103);
        pods[0]
            .listen()
            .sees_nobody("tcp", &scene.client, "192.0.2.1:8081");
        if name == "nftables" {
            theirs.del_ok();
            let localnet = scene
                .world
                .host()
                .sysctl("net/ipv4/conf/tenon0/route_localnet");
            assert_eq!(localnet, "0");
        }
    }
}

#[test]
fn status_tells_whether_the_backend_can_be_used() {
    let suite = Suite::ours();
    let world = World::new();
    let before = world.snapshot();
    let status = |keys: Value| {
        let conf = portmap(&keys, &json!([])).with(json!({"cniVersion": "1.1.0"}));
        tenon_tests::network::Network::new(&suite, conf).call("STATUS")
    };
    for keys in [json!({}), backend("nftables"), backend("iptables")] {
        status(keys).run().expect_silent_ok();
    }
    before.assert_unchanged(&world.snapshot());
    status(json!({"backend": "ebpf"})).run().expect_error(7);
    // A machine without iptables.
    let nothing = world.dir().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    for dir in ["/usr/sbin", "/usr/local/sbin"] {
        let words = ["--bind", nothing.to_str().unwrap(), dir];
        if std::path::Path::new(dir).is_dir() {
            world.host().command("mount", &words);
        }
    }
    let error = status(backend("iptables")).run().expect_error(50);
    assert!(error.to_string().contains("install them"), "{error}");
    status(json!({})).run().expect_silent_ok();
}

#[test]
fn many_adds_and_dels_at_once_lose_nothing() {
    let suite = Suite::ours();
    for name in BACKENDS {
        let world = World::new();
        let pods: Vec<Pod> = (0..16)
            .map(|at| {
                pod_at(
                    &world,
                    &format!("pod{at}"),
                    &format!("10.84.0.{}/24", at + 2),
                )
            })
            .collect();
        let network = |at: usize, pod: &Pod| {
            let host_port = 8000 + u16::try_from(at).unwrap();
            let mappings = json!([
                port(host_port, "tcp"),
                port_at("192.0.2.1", host_port, "udp")
            ]);
            let network = pod.portmap(&suite, &backend(name), &mappings);
            network.edited(|conf| conf.with(json!({"cniVersion": "1.1.0"})))
        };
        let empty = world.snapshot();
        for round in 0..2 {
            let calls = |command: &str| {
                let pods = pods.iter().enumerate();
                pods.map(|(at, pod)| network(at, pod).call_for(command, &pod.id, &pod.netns))
                    .collect::<Vec<_>>()
            };
            for command in ["ADD", "CHECK", "DEL"] {
                for outcome in run_at_once(&calls(command)) {
                    assert_eq!(outcome.code, 0, "{name}, round {round}: {outcome}");
                }
            }
            let left = world.snapshot();
            let named = left.naming(&["pod3", "10.84.0.5", "8003"]);
            assert_eq!(named, Vec::<&str>::new());
            if name == "nftables" {
                empty.assert_unchanged(&left);
            }
        }
    }
}

/// What an ADD and a DEL cost, the start of the process included.
#[test]
fn the_five_thousandth_mapping_costs_like_the_first() {
    const MANY: usize = 5000;
    const SAMPLE: usize = 15;
    let suite = Suite::ours();
    let world = World::new();
    let pod = pod_at(&world, "c1", "10.85.0.2/16");
    let timed = |host_port: usize| -> [Duration; 2] {
        let mappings = json!([port(u16::try_from(host_port).unwrap(), "tcp")]);
        let network = pod.portmap(&suite, &json!({}), &mappings);
        let network = network.edited(|conf| conf.with(json!({"cniVersion": "1.1.0"})));
        let begin = Instant::now();
        let attached = network.add("c1", &pod.netns);
        let added = begin.elapsed();
        let begin = Instant::now();
        attached.del_ok();
        [added, begin.elapsed()]
    };
    let median = |which: usize, times: &[[Duration; 2]]| {
        let mut sorted: Vec<Duration> = times.iter().map(|time| time[which]).collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    };
    // Another attachment keeps the table, so that rules are there before and after.
    let other = pod_at(&world, "c0", "10.85.0.3/16");
    let one = json!([port(1, "tcp")]);
    let keep = other.portmap(&suite, &json!({}), &one);
    let keep = keep.edited(|conf| conf.with(json!({"cniVersion": "1.1.0"})));
    keep.add("c0", &other.netns);
    let few: Vec<_> = (0..SAMPLE).map(|at| timed(60_000 + at)).collect();
    let big = pod_at(&world, "big", "10.85.0.4/16");
    let range: Vec<Value> = (0..MANY)
        .map(|at| port(u16::try_from(10_000 + at).unwrap(), "tcp"))
        .collect();
    let network = big.portmap(&suite, &json!({}), &json!(range));
    let network = network.edited(|conf| conf.with(json!({"cniVersion": "1.1.0"})));
    let attached = network.add("big", &big.netns);
    attached.check_ok();
    let many: Vec<_> = (0..SAMPLE).map(|at| timed(60_000 + at)).collect();
    let [add_few, add_many] = [&few, &many].map(|times| median(0, times));
    let [del_few, del_many] = [&few, &many].map(|times| median(1, times));
    println!("ADD {add_few:?} with 1, {add_many:?} with {MANY}");
    println!("DEL {del_few:?} with 1, {del_many:?} with {MANY}");
    assert!(add_many < add_few * 3, "{add_few:?}, then {add_many:?}");
    attached.del_ok();
}

/// What names the container, on the host.
fn traces(world: &World) -> Vec<String> {
    let snapshot: Snapshot = world.snapshot();
    let lines = snapshot.lines().iter().filter(|line| {
        let of_rules = line.starts_with("nft") || line.starts_with("ip");
        of_rules && (line.contains("CNI-DN-") || line.contains(":5080") || line.contains("8080"))
    });
    lines.cloned().collect()
}

/// Row `upgrade`: what the reference has published counts, and goes with our DEL.
#[test]
fn what_the_reference_added_ours_checks_and_deletes() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    for keys in [
        json!({}),
        json!({"snat": false}),
        json!({"markMasqBit": 13}),
    ] {
        for told in [true, false] {
            let scene = Scene::new();
            let pod = scene.pod(&reference, "c1");
            let before = pod.portmap(&reference, &keys, &some_ports());
            let added = before.add("c1", &pod.netns);
            let after = added.of(&before.through(&ours));
            after.check_ok();
            scene
                .world
                .host()
                .command("iptables", &["-t", "nat", "-F", "CNI-HOSTPORT-DNAT"]);
            after.check().expect_error(103);
            let after = if told {
                after
            } else {
                after.with_result(Value::Null).with_netns("")
            };
            after.del_ok();
            assert_eq!(traces(&scene.world), Vec::<String>::new(), "{keys}");
            // And the port can be published anew.
            pod.publish(&ours, &keys, &some_ports()).check_ok();
            pod.listen().sees("tcp", &scene.client, "192.0.2.1:8080");
        }
    }
}

/// Row `downgrade`.
#[test]
fn what_ours_added_is_left_by_the_reference_and_goes_by_hand() {
    let (ours, reference) = (Suite::ours(), Suite::reference());
    let scene = Scene::new();
    let pod = scene.pod(&ours, "c1");
    let host = scene.world.host();
    let network = pod.portmap(&ours, &json!({}), &some_ports());
    let added = network.add("c1", &pod.netns);
    // Its DEL makes iptables' tables.
    let by_reference = added.of(&network.through(&reference));
    by_reference.del_ok();
    assert!(
        host.command("nft", &["list", "tables"])
            .contains("tenon_portmap")
    );
    for command in differences::commands("downgrade") {
        let words: Vec<&str> = command.splitn(2, ' ').collect();
        host.command(words[0], &[words[1].trim_matches('\'')]);
    }
    let left = host.command("nft", &["list", "tables"]);
    assert_eq!(left, "table ip nat\ntable ip6 nat\n");
    // By iptables, either suite removes what the other one made.
    let network = pod.portmap(&ours, &backend("iptables"), &some_ports());
    let added = network.add("c1", &pod.netns);
    added.of(&network.through(&reference)).del_ok();
    assert_eq!(traces(&scene.world), Vec::<String>::new());
}
