//! Packets: who reaches whom.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use cni_testkit::Netns;

use crate::support::{ENABLE_ICC, Machine, dual, id};

/// A machine beside the host, which knows no way back to the host's networks but is asked over one.
pub(crate) fn outside(machine: &Machine) -> Netns {
    let outside = machine.world.container("outside");
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

/// The source with which a datagram arrives; nobody's if it does not.
fn source(from: &Netns, to: &Netns, address: &str) -> Option<IpAddr> {
    let address: IpAddr = address.parse().unwrap();
    let receiver = to.run(|| UdpSocket::bind(SocketAddr::new(address, 0)).unwrap());
    receiver
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let destination = receiver.local_addr().unwrap();
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    // Links that have just been made lose some.
    (0..10).find_map(|_attempt| {
        let sent = from.run(|| UdpSocket::bind(any).unwrap().send_to(b"?", destination));
        sent.ok()?;
        receiver
            .recv_from(&mut [0; 4])
            .ok()
            .map(|(_length, source)| source.ip())
    })
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
            let seen = source(&c1, &outside, to).expect("a datagram arrives");
            assert_eq!(seen.to_string(), expected, "{option}");
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
