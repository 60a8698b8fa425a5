//! Packets: what is masqueraded, what is not, and what does not get through.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use cni_firewall::spoofcheck::{self, Binding};
use cni_firewall::{Nft, masquerade};

use crate::support::{Namespace, attachment, cidrs, in_private_netns, ip};

/// How long one datagram is waited for.
const SHORTLY: Duration = Duration::from_millis(400);

/// Sends one datagram from one place to another; answers the source it arrived with, if it did.
fn deliver(from: &Namespace, to: &Namespace, address: &str) -> Option<IpAddr> {
    let address: IpAddr = address.parse().unwrap();
    let receiver = to.run(move || UdpSocket::bind(SocketAddr::new(address, 0)).unwrap());
    let destination = receiver.local_addr().unwrap();
    from.run(move || {
        let any: SocketAddr = if address.is_ipv4() {
            "0.0.0.0:0".parse().unwrap()
        } else {
            "[::]:0".parse().unwrap()
        };
        let sender = UdpSocket::bind(any).unwrap();
        sender.send_to(b"?", destination).unwrap();
    });
    receiver.set_read_timeout(Some(SHORTLY)).unwrap();
    let mut buffer = [0; 16];
    receiver
        .recv_from(&mut buffer)
        .ok()
        .map(|(_length, source)| source.ip())
}

/// The source of the first datagram that arrives. Links that have just been made lose some.
fn arrives(from: &Namespace, to: &Namespace, address: &str) -> String {
    (0..50)
        .find_map(|_attempt| deliver(from, to, address))
        .expect("no datagram arrives")
        .to_string()
}

/// Two containers in one subnet that the host routes between, so that even what stays inside comes
/// by our chain, and somebody outside who has a way back.
fn routed_world() -> (Namespace, Namespace, Namespace) {
    let (one, two, outside) = (Namespace::new(), Namespace::new(), Namespace::new());
    for (path, value) in [
        ("/proc/sys/net/ipv4/ip_forward", "1"),
        ("/proc/sys/net/ipv6/conf/all/forwarding", "1"),
    ] {
        fs::write(path, value).unwrap();
    }
    for (at, namespace) in [(5, &one), (6, &two)] {
        ip(&[
            &format!(
                "link add h{at} type veth peer name eth0 netns {}",
                namespace.tid
            ),
            &format!("link set h{at} up"),
            &format!("addr add 10.9.9.{at}/32 dev h{at}"),
            &format!("addr add fd00:9::{at}/128 dev h{at} nodad"),
            &format!("route add 10.1.0.{at}/32 dev h{at}"),
            &format!("route add fd00:1::{at}/128 dev h{at}"),
        ]);
        namespace.ip(&[
            "link set eth0 up",
            &format!("addr add 10.1.0.{at}/32 dev eth0"),
            &format!("addr add fd00:1::{at}/128 dev eth0 nodad"),
            &format!("route add 10.9.9.{at}/32 dev eth0"),
            &format!("route add default via 10.9.9.{at}"),
            &format!("route add fd00:9::{at}/128 dev eth0"),
            &format!("route add default via fd00:9::{at}"),
        ]);
    }
    ip(&[
        &format!(
            "link add up0 type veth peer name eth0 netns {}",
            outside.tid
        ),
        "link set up0 up",
        "addr add 192.0.2.1/24 dev up0",
        "addr add 2001:db8::1/64 dev up0 nodad",
    ]);
    outside.ip(&[
        "link set eth0 up",
        "addr add 192.0.2.2/24 dev eth0",
        "addr add 2001:db8::2/64 dev eth0 nodad",
        "route add 10.1.0.0/16 via 192.0.2.1",
        "route add fd00:1::/64 via 2001:db8::1",
    ]);
    (one, two, outside)
}

#[test]
fn what_leaves_the_subnet_is_masqueraded_and_what_stays_is_not() {
    in_private_netns(|| {
        let (one, two, outside) = routed_world();
        let owner = attachment("net", "c1", "eth0");
        let addresses = cidrs(&["10.1.0.5/16", "fd00:1::5/64"]);
        let mut nft = Nft::open().unwrap();
        assert_eq!(arrives(&one, &outside, "192.0.2.2"), "10.1.0.5");
        assert_eq!(arrives(&one, &outside, "2001:db8::2"), "fd00:1::5");
        masquerade::add(&mut nft, &owner, &addresses).unwrap();
        assert_eq!(arrives(&one, &outside, "192.0.2.2"), "192.0.2.1");
        assert_eq!(arrives(&one, &outside, "2001:db8::2"), "2001:db8::1");
        assert_eq!(arrives(&one, &two, "10.1.0.6"), "10.1.0.5");
        assert_eq!(arrives(&one, &two, "fd00:1::6"), "fd00:1::5");
        // The other container did not ask for it.
        assert_eq!(arrives(&two, &outside, "192.0.2.2"), "10.1.0.6");
        assert_eq!(arrives(&two, &outside, "2001:db8::2"), "fd00:1::6");
        masquerade::remove(&mut nft, &owner, Some(&addresses)).unwrap();
        assert_eq!(arrives(&one, &outside, "192.0.2.2"), "10.1.0.5");
        assert_eq!(arrives(&one, &outside, "2001:db8::2"), "fd00:1::5");
    });
}

#[test]
fn multicast_is_not_masqueraded() {
    in_private_netns(|| {
        let (_one, _two, outside) = routed_world();
        // Multicast is not forwarded here, so the host itself sends from a masqueraded address.
        ip(&[
            "addr add 10.1.0.7/32 dev up0",
            "route add 224.0.0.0/4 dev up0",
        ]);
        let mut nft = Nft::open().unwrap();
        let owner = attachment("net", "c1", "eth0");
        masquerade::add(&mut nft, &owner, &cidrs(&["10.1.0.7/16"])).unwrap();
        let group = Ipv4Addr::new(239, 1, 2, 3);
        let listener = outside.run(move || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            let local = "192.0.2.2".parse().unwrap();
            socket.join_multicast_v4(&group, &local).unwrap();
            socket.set_read_timeout(Some(SHORTLY)).unwrap();
            socket
        });
        let port = listener.local_addr().unwrap().port();
        let sender = UdpSocket::bind("10.1.0.7:0").unwrap();
        let mut buffer = [0; 16];
        for (to, seen) in [
            (IpAddr::V4(group), "10.1.0.7"),
            ("192.0.2.2".parse().unwrap(), "192.0.2.1"),
        ] {
            let attempt = |_attempt| {
                sender.send_to(b"?", (to, port)).unwrap();
                listener.recv_from(&mut buffer).ok()
            };
            let (_length, source) = (0..50).find_map(attempt).expect("no datagram arrives");
            assert_eq!(source.ip().to_string(), seen, "to {to}");
        }
    });
}

#[test]
fn only_the_containers_own_mac_gets_through_a_guarded_port() {
    in_private_netns(|| {
        let (one, two) = (Namespace::new(), Namespace::new());
        ip(&["link add br0 type bridge", "link set br0 up"]);
        for (at, namespace) in [(1, &one), (2, &two)] {
            ip(&[
                &format!(
                    "link add h{at} type veth peer name eth0 netns {}",
                    namespace.tid
                ),
                &format!("link set h{at} master br0 up"),
            ]);
            namespace.ip(&[
                &format!("link set eth0 address 02:00:00:00:00:0{at} up"),
                &format!("addr add 10.1.0.{at}/24 dev eth0"),
            ]);
        }
        // Known in advance: resolution would be dropped as well, and hide what is tested.
        let known = "neigh replace 10.1.0.2 lladdr 02:00:00:00:00:02 dev eth0";
        one.ip(&[known]);
        let owner = attachment("net", "c1", "eth0");
        let binding = Binding {
            host_ifname: "h1".parse().unwrap(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
        };
        let wear = |mac: &str| one.ip(&[&format!("link set eth0 address {mac}"), known]);
        let mut nft = Nft::open().unwrap();
        spoofcheck::add(&mut nft, &owner, &binding).unwrap();
        assert_eq!(arrives(&one, &two, "10.1.0.2"), "10.1.0.1");
        wear("02:00:00:00:00:66");
        assert_eq!(deliver(&one, &two, "10.1.0.2"), None);
        // Not even the address of another container on the bridge.
        wear("02:00:00:00:00:02");
        assert_eq!(deliver(&one, &two, "10.1.0.2"), None);
        wear("02:00:00:00:00:01");
        assert_eq!(arrives(&one, &two, "10.1.0.2"), "10.1.0.1");
        // A port that nobody guards is nobody's business.
        two.ip(&["link set eth0 address 02:00:00:00:00:77"]);
        assert_eq!(arrives(&two, &one, "10.1.0.1"), "10.1.0.2");
        spoofcheck::remove(&mut nft, &owner, Some(&binding)).unwrap();
        two.ip(&["link set eth0 address 02:00:00:00:00:02"]);
        wear("02:00:00:00:00:66");
        assert_eq!(arrives(&one, &two, "10.1.0.2"), "10.1.0.1");
    });
}
