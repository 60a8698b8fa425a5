//! Packets: who reaches whom.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use cni_testkit::Netns;

use crate::support::{ENABLE_ICC, Machine, dual, id, skip_dad};

/// A machine beside the host, which knows no way back to the host's networks.
pub(crate) fn outside(machine: &Machine) -> Netns {
    let outside = machine.world.container("outside");
    skip_dad(&outside);
    machine
        .host()
        .ip("link add up0 type veth peer name eth0 netns outside");
    machine.host().ip("addr add 192.0.2.1/24 dev up0");
    machine.host().ip("addr add 2001:db8::1/64 dev up0 nodad");
    machine.host().ip("link set up0 up");
    outside.ip("addr add 192.0.2.2/24 dev eth0");
    outside.ip("addr add 2001:db8::2/64 dev eth0 nodad");
    outside.ip("link set eth0 up");
    outside
}

/// A way back to the network, without which nobody could tell a masqueraded packet from one lost.
fn route_back(outside: &Netns) {
    outside.ip("route add 10.77.0.0/24 via 192.0.2.1");
    outside.ip("route add fd00:77::/64 via 2001:db8::1");
}

/// The source with which one of some datagrams arrives; nobody's if none does.
fn source(from: &Netns, to: &Netns, (address, attempts): (&str, usize)) -> Option<IpAddr> {
    let address: IpAddr = address.parse().unwrap();
    let receiver = to.run(|| UdpSocket::bind(SocketAddr::new(address, 0)).unwrap());
    let shortly = Duration::from_millis(200);
    receiver.set_read_timeout(Some(shortly)).unwrap();
    let destination = receiver.local_addr().unwrap();
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    (0..attempts).find_map(|_attempt| {
        let sent = from.run(|| UdpSocket::bind(any).unwrap().send_to(b"?", destination));
        sent.ok()?;
        let (_length, source) = receiver.recv_from(&mut [0; 4]).ok()?;
        Some(source.ip())
    })
}

/// The source with which a datagram arrives. Links that have just been made lose some.
fn arrives(from: &Netns, to: &Netns, address: &str) -> String {
    let source = source(from, to, (address, 50));
    source.map_or_else(|| "nothing arrives".to_owned(), |source| source.to_string())
}

fn is_lost(from: &Netns, to: &Netns, address: &str) -> bool {
    source(from, to, (address, 3)).is_none()
}

#[test]
fn endpoints_reach_each_other_and_the_gateway() {
    let machine = Machine::new();
    let (c1, c2) = (machine.world.container("c1"), machine.world.container("c2"));
    machine.create(&dual());
    machine.attach(&dual(), 2, &c1);
    machine.attach(&dual(), 3, &c2);
    for address in ["10.77.0.1", "10.77.0.3", "fd00:77::1", "fd00:77::3"] {
        assert!(c1.ping(address), "{address}");
    }
    for address in ["10.77.0.2", "fd00:77::2"] {
        assert!(
            c2.ping(address) && machine.host().ping(address),
            "{address}"
        );
    }
}

#[test]
fn what_leaves_has_the_hosts_address() {
    for (option, value, masqueraded) in [
        ("com.example.nothing", "", [true, true]),
        (
            "com.docker.network.bridge.enable_ip_masquerade",
            "false",
            [false, false],
        ),
        (
            "com.docker.network.bridge.gateway_mode_ipv6",
            "routed",
            [true, false],
        ),
    ] {
        let machine = Machine::new();
        let (c1, outside) = (machine.world.container("c1"), outside(&machine));
        route_back(&outside);
        let wanted = dual().option(option, value);
        machine.create(&wanted);
        let e2 = machine.attach(&wanted, 2, &c1);
        let sources = [
            ("192.0.2.2", "192.0.2.1", "10.77.0.2"),
            ("2001:db8::2", "2001:db8::1", "fd00:77::2"),
        ];
        for ((to, host, own), masqueraded) in sources.into_iter().zip(masqueraded) {
            let expected = if masqueraded { host } else { own };
            assert_eq!(arrives(&c1, &outside, to), expected, "{option}");
        }
        assert_eq!(machine.check(&id('1'), &e2), "");
    }
}

#[test]
fn without_icc_endpoints_reach_the_gateway_alone() {
    let machine = Machine::new();
    let (c1, c2) = (machine.world.container("c1"), machine.world.container("c2"));
    let wanted = dual().option(ENABLE_ICC, "false");
    machine.create(&wanted);
    machine.attach(&wanted, 2, &c1);
    machine.attach(&wanted, 3, &c2);
    assert!(c1.ping("10.77.0.1") && c2.ping("10.77.0.1"));
    for address in ["10.77.0.3", "fd00:77::3"] {
        assert!(!c1.ping_within(address, 1), "{address}");
    }
}

#[test]
fn an_internal_network_leads_nowhere_and_nobody_gets_in() {
    let machine = Machine::new();
    let before = machine.snapshot();
    let [c1, c2, c3] = ["c1", "c2", "c3"].map(|name| machine.world.container(name));
    let outside = outside(&machine);
    route_back(&outside);
    let wanted = dual().internal();
    let other = dual().id(&id('2')).subnets(78).internal();
    machine.create(&wanted);
    machine.create(&other);
    let e2 = machine.attach(&wanted, 2, &c1);
    let e3 = machine.attach(&wanted, 3, &c2);
    machine.attach(&other, 2, &c3);
    // Nobody was told a way out: those who find one by themselves do not get far.
    assert!(!c1.ip("route").contains("default"));
    for (sandbox, n) in [(&c1, "77"), (&c3, "78")] {
        sandbox.ip(&format!("route add default via 10.{n}.0.1"));
        sandbox.ip(&format!("route add default via fd00:{n}::1"));
    }
    for address in ["10.77.0.1", "10.77.0.3", "fd00:77::1", "fd00:77::3"] {
        assert!(c1.ping(address), "{address}");
    }
    assert!(machine.host().ping("10.77.0.2") && machine.host().ping("192.0.2.2"));
    for (address, there) in [
        ("192.0.2.2", &outside),
        ("2001:db8::2", &outside),
        ("10.78.0.2", &c3),
        ("fd00:78::2", &c3),
    ] {
        assert!(is_lost(&c1, there, address), "{address}");
    }
    for address in ["10.77.0.2", "fd00:77::2"] {
        assert!(is_lost(&outside, &c1, address), "{address}");
    }
    assert_eq!(machine.check(&id('1'), &e2), "");
    machine.host().command("nft", &["flush", "ruleset"]);
    assert!(
        machine
            .check(&id('1'), &e2)
            .contains("chain inet tenon_isolation forward is missing")
    );
    // So it is the rules that keep them apart; the next endpoint brings them back.
    assert_eq!(arrives(&c1, &outside, "192.0.2.2"), "10.77.0.2");
    machine.leave(&id('1'), &e3);
    machine.attach(&wanted, 3, &c2);
    assert!(is_lost(&c1, &outside, "192.0.2.2"));
    assert_eq!(machine.check(&id('1'), &e2), "");
    machine.delete(&id('1'));
    machine.delete(&id('2'));
    machine.host().ip("link del up0");
    before.assert_unchanged(&machine.snapshot());
}

/// Where `br_netfilter` is loaded, what stays on the bridge comes by the rules as well.
#[test]
fn what_stays_on_an_internal_bridge_gets_through_also_with_br_netfilter() {
    let machine = Machine::new();
    let key = "net/bridge/bridge-nf-call-iptables";
    if !std::path::Path::new("/proc/sys").join(key).exists() {
        cni_testkit::skip("this kernel has no br_netfilter");
        return;
    }
    let (c1, c2) = (machine.world.container("c1"), machine.world.container("c2"));
    let wanted = dual().internal();
    machine.create(&wanted);
    machine.attach(&wanted, 2, &c1);
    machine.attach(&wanted, 3, &c2);
    for (call, answered) in [("1", true), ("0", true)] {
        machine.host().set_sysctl(key, call);
        assert_eq!(c1.ping_within("10.77.0.3", 2), answered, "{call}");
    }
    // They do come by: rules that drop everything drop this.
    machine.host().set_sysctl(key, "1");
    let rules = "add table inet t; add chain inet t c { type filter hook forward priority 0; policy drop; }";
    machine.host().command("nft", &[rules]);
    assert!(!c1.ping_within("10.77.0.3", 1));
}
