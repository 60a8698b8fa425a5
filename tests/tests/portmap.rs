//! The portmap plugin as packets see it, ours and the reference's.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test functions fail by panicking"
)]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use cni_testkit::{Suite, conf};
use serde_json::{Value, json};
use tenon_tests::differences::differs;
use tenon_tests::ports::{Listener, client};
use tenon_tests::published::{PORT, Pod, Scene, port, port_at};
use tenon_tests::sctp::Sctp;

cni_testkit::suites! {
    a_published_port_is_reached_from_outside => |suite| from_outside(suite);
    a_published_port_is_reached_from_the_host => |suite| from_host(suite);
    a_published_port_is_reached_from_containers => |suite| from_containers(suite);
    sctp_is_led_there_too => |suite| sctp(suite);
    what_is_passing_through_is_not_intercepted => |suite| passing_through(suite);
    a_port_of_one_address_of_the_host => |suite| one_address(suite);
    without_snat_clients_keep_their_address => |suite| without_snat(suite);
    conditions_of_iptables => |suite| iptables_conditions(suite);
    udp_clients_reach_the_next_container => |suite| udp_to_next(suite);
    udp_clients_reach_the_host_again => |suite| udp_to_host(suite);
    a_neighbour_that_is_not_published_is_not_disturbed => |suite| neighbours(suite);
    two_networks_of_one_container => |suite| two_networks(suite);
    a_port_that_is_taken => |suite| taken(suite);
    containers_and_the_hosts_loopback => |suite| loopback_of_host(suite);
    ipv6_loopback => |suite| loopback_v6(suite);
    the_result_is_passed_on => |suite| passed_on(suite);
    without_a_result_there_is_nothing_to_publish => |suite| not_chained(suite);
    bad_mappings_are_refused => |suite| bad_mappings(suite);
    nothing_is_left_after_del => |suite| nothing_left(suite);
    del_without_mappings_in_the_config => |suite| del_without_mappings(suite);
    check_finds_what_is_missing => |suite| check_finds(suite);
}

const BOTH: [&str; 2] = ["tcp", "udp"];

/// A published container and what listens in it.
fn published(scene: &Scene, suite: &Suite, keys: &Value, mappings: &Value) -> (Pod, Listener) {
    let pod = scene.pod(suite, "c1");
    pod.publish(suite, keys, mappings);
    let listener = pod.listen();
    (pod, listener)
}

fn everywhere() -> Value {
    json!([port(8080, "tcp"), port(8080, "udp")])
}

fn from_outside(suite: &Suite) {
    let scene = Scene::new();
    let (pod, listener) = published(&scene, suite, &json!({}), &everywhere());
    for protocol in BOTH {
        let sees = |to: &str| listener.sees(protocol, &scene.client, to);
        assert_eq!(sees("192.0.2.1:8080"), "192.0.2.2");
        assert_eq!(sees("[2001:db8:2::1]:8080"), "2001:db8:2::2");
        // Any address of the host.
        assert_eq!(sees("192.0.3.1:8080"), "192.0.2.2");
        assert_eq!(sees("10.84.0.1:8080"), "192.0.2.2");
        listener.sees_nobody(protocol, &scene.client, "192.0.2.1:8081");
        // The container itself is where it was.
        let direct = format!("{}:{PORT}", pod.addresses()[0]);
        assert_eq!(sees(&direct), "192.0.2.2");
    }
}

fn from_host(suite: &Suite) {
    let scene = Scene::new();
    let (_pod, listener) = published(&scene, suite, &json!({}), &everywhere());
    for protocol in BOTH {
        let sees = |to: &str| listener.sees(protocol, scene.world.host(), to);
        assert_eq!(sees("192.0.2.1:8080"), "192.0.2.1");
        assert_eq!(sees("[2001:db8:2::1]:8080"), "2001:db8:2::1");
        assert_eq!(sees("127.0.0.1:8080"), "10.84.0.1");
    }
}

/// The way back from the container would be a short cut.
fn from_containers(suite: &Suite) {
    let scene = Scene::new();
    let (pod, listener) = published(&scene, suite, &json!({}), &everywhere());
    let neighbour = scene.pod(suite, "c2");
    // With and without bridged packets in the packet filter.
    for bridged in ["1", "0"] {
        for key in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            scene
                .world
                .host()
                .set_sysctl(&format!("net/bridge/{key}"), bridged);
        }
        for protocol in BOTH {
            for netns in [&pod.netns, &neighbour.netns] {
                let sees = |to: &str| listener.sees(protocol, netns, to);
                assert_eq!(sees("192.0.2.1:8080"), "10.84.0.1");
                assert_eq!(sees("10.84.0.1:8080"), "10.84.0.1");
                assert_eq!(sees("[2001:db8:2::1]:8080"), "fd84::1");
            }
        }
    }
}

fn sctp(suite: &Suite) {
    let scene = Scene::new();
    let mappings = json!([port(9999, "sctp"), port(9999, "tcp")]);
    let (pod, _listener) = published(&scene, suite, &json!({}), &mappings);
    for (v6, host) in [(false, "192.0.2.1"), (true, "2001:db8:2::1")] {
        let (sender, receiver) = (Sctp::new(&scene.client, v6), Sctp::new(&pod.netns, v6));
        let host: IpAddr = host.parse().unwrap();
        let arrived = (0..10).find_map(|_attempt| {
            sender.send(host, 9999);
            receiver.received_port()
        });
        assert_eq!(arrived, Some(PORT), "{host}");
        // Those that came late.
        while receiver.received_port().is_some() {}
        sender.send(host, 9998);
        assert_eq!(receiver.received_port(), None, "{host}");
    }
}

fn passing_through(suite: &Suite) {
    let scene = Scene::new();
    let (pod, published) = published(&scene, suite, &json!({}), &everywhere());
    let far = Listener::new(&scene.beyond, 8080);
    let host = scene.world.host();
    for protocol in BOTH {
        for netns in [&scene.client, &pod.netns, host] {
            far.sees(protocol, netns, "192.0.3.2:8080");
            far.sees(protocol, netns, "[2001:db8:3::2]:8080");
            published.sees_nobody(protocol, netns, "192.0.3.2:8080");
        }
    }
}

fn one_address(suite: &Suite) {
    let scene = Scene::new();
    let mappings = json!([
        port_at("192.0.2.1", 8080, "tcp"),
        port_at("2001:db8:2::1", 8081, "tcp"),
        port_at("0.0.0.0", 8082, "tcp"),
        port_at("::", 8083, "tcp"),
        port_at("127.0.0.1", 8084, "tcp"),
    ]);
    let (_pod, listener) = published(&scene, suite, &json!({}), &mappings);
    let (outside, host) = (&scene.client, scene.world.host());
    for (from, there, elsewhere) in [
        (outside, "192.0.2.1:8080", "192.0.3.1:8080"),
        (outside, "[2001:db8:2::1]:8081", "[2001:db8:3::1]:8081"),
        (outside, "192.0.3.1:8082", "[2001:db8:2::1]:8082"),
        (outside, "[2001:db8:3::1]:8083", "192.0.2.1:8083"),
        (host, "127.0.0.1:8084", "192.0.2.1:8084"),
    ] {
        listener.sees("tcp", from, there);
        listener.sees_nobody("tcp", from, elsewhere);
    }
    listener.sees_nobody("tcp", outside, "192.0.2.1:8084");
}

fn without_snat(suite: &Suite) {
    let scene = Scene::new();
    let (_pod, listener) = published(&scene, suite, &json!({"snat": false}), &everywhere());
    assert_eq!(
        listener.sees("tcp", &scene.client, "192.0.2.1:8080"),
        "192.0.2.2"
    );
    let neighbour = scene.pod(suite, "c2");
    let host = scene.world.host();
    host.set_sysctl("net/bridge/bridge-nf-call-iptables", "0");
    listener.sees_nobody("tcp", &neighbour.netns, "192.0.2.1:8080");
    let localnet = host.sysctl("net/ipv4/conf/tenon0/route_localnet");
    assert_eq!(localnet, "0", "nobody could answer to 127.0.0.1");
}

/// Words that can only be meant for iptables choose it.
fn iptables_conditions(suite: &Suite) {
    let scene = Scene::new();
    let keys = json!({
        "conditionsV4": ["!", "-s", "192.0.3.0/24"],
        "conditionsV6": ["-s", "2001:db8:3::/64"],
    });
    let (_pod, listener) = published(&scene, suite, &keys, &everywhere());
    listener.sees("tcp", &scene.client, "192.0.2.1:8080");
    listener.sees_nobody("tcp", &scene.beyond, "192.0.3.1:8080");
    listener.sees("tcp", &scene.beyond, "[2001:db8:3::1]:8080");
    listener.sees_nobody("tcp", &scene.client, "[2001:db8:2::1]:8080");
}

/// Whether a client that keeps its port gets through soon.
fn gets_through(listener: &Listener, client: &UdpSocket, to: SocketAddr) -> bool {
    (0..5).any(|_attempt| listener.hears_udp(client, to).is_some())
}

/// A client goes on sending while one container takes the place of another.
fn udp_to_next(suite: &Suite) {
    let scene = Scene::new();
    let (first, second) = (scene.pod(suite, "c1"), scene.pod(suite, "c2"));
    let mappings = everywhere();
    for to in ["192.0.2.1:8080", "[2001:db8:2::1]:8080"] {
        let to: SocketAddr = to.parse().unwrap();
        let client = client(&scene.client, to);
        let of_first = first.publish(suite, &json!({}), &mappings);
        let listener = first.listen();
        assert!(gets_through(&listener, &client, to), "{to}");
        of_first.del_ok();
        let of_second = second.publish(suite, &json!({}), &mappings);
        let listener = second.listen();
        assert!(gets_through(&listener, &client, to), "{to}");
        of_second.del_ok();
    }
}

/// Row `udp-after-del`.
fn udp_to_host(suite: &Suite) {
    let scene = Scene::new();
    let pod = scene.pod(suite, "c1");
    for to in ["192.0.2.1:8080", "[2001:db8:2::1]:8080"] {
        let to: SocketAddr = to.parse().unwrap();
        let client = client(&scene.client, to);
        let of_host = Listener::at(scene.world.host(), &to.to_string());
        assert!(gets_through(&of_host, &client, to), "{to}");
        let attached = pod.publish(suite, &json!({}), &everywhere());
        let of_pod = pod.listen();
        assert!(gets_through(&of_pod, &client, to), "{to}");
        attached.del_ok();
        let stays = differs(suite, "udp-after-del");
        assert_eq!(!gets_through(&of_host, &client, to), stays, "{to}");
    }
}

fn neighbours(suite: &Suite) {
    let scene = Scene::new();
    let (_pod, listener) = published(&scene, suite, &json!({}), &everywhere());
    let neighbour = scene.pod(suite, "c2");
    let of_neighbour = neighbour.listen();
    let direct = format!("{}:{PORT}", neighbour.addresses()[0]);
    assert_eq!(
        of_neighbour.sees("tcp", &scene.client, &direct),
        "192.0.2.2"
    );
    of_neighbour.sees_nobody("tcp", &scene.client, "192.0.2.1:8080");
    listener.sees("tcp", &scene.client, "192.0.2.1:8080");
}

/// Each network has ports of its own; the DEL of one leaves those of the other.
fn two_networks(suite: &Suite) {
    let scene = Scene::new();
    let (pod, listener) = published(&scene, suite, &json!({}), &everywhere());
    let other = pod.publish(
        suite,
        &json!({"name": "other-net"}),
        &json!([port(9090, "tcp")]),
    );
    listener.sees("tcp", &scene.client, "192.0.2.1:9090");
    other.del_ok();
    listener.sees_nobody("tcp", &scene.client, "192.0.2.1:9090");
    listener.sees("tcp", &scene.client, "192.0.2.1:8080");
}

/// Row `port-taken`.
fn taken(suite: &Suite) {
    let scene = Scene::new();
    let (pod, listener) = published(&scene, suite, &json!({}), &everywhere());
    let second = scene.pod(suite, "c2");
    let mappings = [
        json!([port(80, "tcp"), port(8080, "tcp")]),
        json!([port_at("192.0.2.1", 8080, "udp")]),
        json!([port_at("::", 8080, "udp")]),
    ];
    for mappings in mappings {
        let before = scene.world.snapshot();
        let network = second.portmap(suite, &json!({}), &mappings);
        let outcome = network.try_add("c2", &second.netns);
        if differs(suite, "port-taken") {
            outcome.expect_ok();
            continue;
        }
        let error = outcome.expect_error(101);
        let text = format!("{} {}", error["msg"], error["details"]);
        for word in ["tenon-net", "eth0", &pod.id, "8080"] {
            assert!(text.contains(word), "no {word} in {text}");
        }
        before.assert_unchanged(&scene.world.snapshot());
    }
    listener.sees("tcp", &scene.client, "192.0.2.1:8080");
}

/// Row `loopback-guard`: `route_localnet`, which makes 127.0.0.1 work, lets containers in as well.
fn loopback_of_host(suite: &Suite) {
    let scene = Scene::new();
    let (pod, listener) = published(&scene, suite, &json!({}), &everywhere());
    let secret = scene
        .world
        .host()
        .run(|| UdpSocket::bind("127.0.0.1:7777").unwrap());
    secret
        .set_read_timeout(Some(Duration::from_millis(400)))
        .unwrap();
    // A container that may do as it likes sends what is for 127.0.0.1 to its gateway.
    for words in [
        "rule add pref 1 table local",
        "rule add pref 0 to 127.0.0.1 iif lo table 7",
        "route add 127.0.0.1 via 10.84.0.1 dev eth0 src 10.84.0.2 table 7",
        "rule del pref 0 table local",
    ] {
        pod.netns.ip(words);
    }
    pod.netns
        .set_sysctl("net/ipv4/conf/all/route_localnet", "1");
    let attacker = pod.netns.run(|| UdpSocket::bind("10.84.0.2:0").unwrap());
    let gets_in = (0..5).any(|_attempt| {
        let _refused = attacker.send_to(b"!", "127.0.0.1:7777");
        secret.recv_from(&mut [0; 16]).is_ok()
    });
    assert_eq!(gets_in, differs(suite, "loopback-guard"));
    // And the host itself gets out.
    listener.sees("tcp", scene.world.host(), "127.0.0.1:8080");
}

/// Row `loopback-v6`: no container could answer to `::1`, so whoever tries it first is told at once.
fn loopback_v6(suite: &Suite) {
    let scene = Scene::new();
    let (pod, listener) = published(&scene, suite, &json!({}), &everywhere());
    let host = scene.world.host();
    listener.sees_nobody("tcp", host, "[::1]:8080");
    let to = "[::1]:8080".parse().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&to, Duration::from_secs(1));
    let error = host.run(connect).unwrap_err();
    let kind = if differs(suite, "loopback-v6") {
        std::io::ErrorKind::TimedOut
    } else {
        std::io::ErrorKind::ConnectionRefused
    };
    assert_eq!(error.kind(), kind, "{error}");
    let mappings = json!([port_at("::1", 8090, "tcp")]);
    let network = pod.portmap(suite, &json!({"name": "other-net"}), &mappings);
    let outcome = network.try_add("c1", &pod.netns);
    if differs(suite, "loopback-v6") {
        outcome.expect_ok();
    } else {
        let error = outcome.expect_error(2);
        let text = "runtimeConfig.portMappings[0].hostIP: ::1 cannot be mapped";
        assert_eq!(error["msg"], text);
    }
}

fn passed_on(suite: &Suite) {
    let scene = Scene::new();
    let pod = scene.pod(suite, "c1");
    for mappings in [json!([]), everywhere()] {
        let before = scene.world.snapshot();
        let attached = pod.publish(suite, &json!({}), &mappings);
        let strip = |result: &Value| conf::plugin("", "").with(result.clone()).without("dns");
        assert_eq!(strip(&attached.result), strip(&pod.result));
        if mappings == json!([]) {
            before.assert_unchanged(&scene.world.snapshot());
        }
        if !differs(suite, "check-ports") {
            attached.check_ok();
        }
        attached.del_ok();
    }
}

fn not_chained(suite: &Suite) {
    let scene = Scene::new();
    let pod = scene.pod(suite, "c1");
    let before = scene.world.snapshot();
    let call = |command: &str| {
        let network = pod.portmap(suite, &json!({}), &everywhere());
        let network = network.edited(|conf| conf.without("prevResult"));
        network.call_for(command, "c1", &pod.netns).run()
    };
    for (command, text) in [
        ("ADD", "must be called as chained plugin"),
        ("CHECK", "Required prevResult missing"),
    ] {
        let code = if differs(suite, "error-codes") {
            999
        } else {
            7
        };
        let error = call(command).expect_error(code);
        assert!(error["msg"].as_str().unwrap().contains(text), "{error}");
    }
    before.assert_unchanged(&scene.world.snapshot());
    call("DEL").expect_silent_ok();
}

/// Rows `error-codes` and `port-checked`.
fn bad_mappings(suite: &Suite) {
    let scene = Scene::new();
    let pod = scene.pod(suite, "c1");
    let mapping = |keys: Value| {
        let whole = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"});
        json!([cni_testkit::Conf(whole).with(keys).0])
    };
    let rows = [
        (
            mapping(json!({"hostPort": 0})),
            "Invalid host port number: 0",
            "[0].hostPort",
        ),
        (
            mapping(json!({"containerPort": -1})),
            "Invalid container port number: -1",
            "[0].containerPort",
        ),
        (mapping(json!({"hostPort": 65536})), "65536", "[0].hostPort"),
        (
            mapping(json!({"containerPort": 70000})),
            "70000",
            "[0].containerPort",
        ),
        (mapping(json!({"protocol": "icmp"})), "icmp", "[0].protocol"),
        (mapping(json!({"hostIP": "here"})), "here", "[0].hostIP"),
    ];
    for (mappings, text, path) in rows {
        let before = scene.world.snapshot();
        let network = pod.portmap(suite, &json!({}), &mappings);
        let outcome = network.try_add("c1", &pod.netns);
        if differs(suite, "port-checked") {
            outcome.expect_error(999);
            continue;
        }
        let error = outcome.expect_error(7);
        let msg = error["msg"].as_str().unwrap();
        assert!(msg.contains(text), "{error}");
        assert!(
            msg.starts_with(&format!("runtimeConfig.portMappings{path}: ")),
            "{error}"
        );
        before.assert_unchanged(&scene.world.snapshot());
    }
}

fn nothing_left(suite: &Suite) {
    for gone in ["", "path", "variable", "result"] {
        let scene = Scene::new();
        let mappings = json!([
            port(8080, "tcp"),
            port(53, "udp"),
            port_at("192.0.2.1", 9, "sctp")
        ]);
        let first = scene.pod(suite, "c0");
        // What the reference makes for all stays: chains, and the bridge's setting.
        first.publish(suite, &json!({}), &mappings).del_ok();
        let before = scene.world.snapshot();
        let netns = scene.world.container("c2");
        let pod = Pod {
            netns,
            id: "c2".to_owned(),
            result: first.result.clone(),
        };
        let attached = pod.publish(suite, &json!({}), &mappings);
        assert_ne!(scene.world.snapshot(), before);
        let attached = match gone {
            "variable" => attached.with_netns(""),
            "result" => attached.with_result(Value::Null),
            _ => attached,
        };
        if gone == "path" {
            drop(pod);
        }
        attached.del_ok();
        before.assert_unchanged(&scene.world.snapshot());
        attached.del_ok();
        before.assert_unchanged(&scene.world.snapshot());
    }
}

/// Row `del-without-mappings`.
fn del_without_mappings(suite: &Suite) {
    let scene = Scene::new();
    let pod = scene.pod(suite, "c1");
    pod.publish(suite, &json!({}), &everywhere()).del_ok();
    let before = scene.world.snapshot();
    let attached = pod.publish(suite, &json!({}), &everywhere());
    let network = pod.portmap(suite, &json!({}), &json!([]));
    attached.of(&network).del_ok();
    let left = before.diff(&scene.world.snapshot());
    assert_eq!(
        !left.is_empty(),
        differs(suite, "del-without-mappings"),
        "{left}"
    );
}

fn check_finds(suite: &Suite) {
    let scene = Scene::new();
    let pod = scene.pod(suite, "c1");
    let attached = pod.publish(suite, &json!({}), &everywhere());
    if !differs(suite, "check-ports") {
        attached.check_ok();
    }
    let host = scene.world.host();
    host.command("nft", &["flush", "ruleset"]);
    let error = attached.check().expect_any_error();
    if !differs(suite, "error-codes") {
        assert_eq!(error["code"], 103, "{error}");
    }
}
