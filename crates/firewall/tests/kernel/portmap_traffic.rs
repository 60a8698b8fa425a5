//! Packets to mapped ports, as both ends see them.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use cni_firewall::Nft;
use cni_firewall::portmap::{self, Condition, MarkBit, Masquerade, Publication};

use crate::portmap::publication;
use crate::support::{Namespace, attachment, in_private_netns, ip, load, ruleset, run};

/// How long one datagram is waited for.
const SHORTLY: Duration = Duration::from_millis(400);
/// What ports are mapped to.
const CONTAINER_PORT: u16 = 5080;

/// A host with a bridge of two containers, and a client outside whose other half of the world is
/// behind the host, too.
struct Site {
    one: Namespace,
    two: Namespace,
    client: Namespace,
    beyond: Namespace,
    nft: Nft,
}

fn site() -> Site {
    let site = Site {
        one: Namespace::new(),
        two: Namespace::new(),
        client: Namespace::new(),
        beyond: Namespace::new(),
        nft: Nft::open().unwrap(),
    };
    for path in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
        fs::write(format!("/proc/sys/net/{path}"), "1").unwrap();
    }
    // What a bridge forwards by itself is not seen by the packet filter, unless asked for.
    for path in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
        let _absent = fs::write(format!("/proc/sys/net/bridge/{path}"), "0");
    }
    ip(&[
        "link add br0 type bridge",
        "addr add 10.1.0.1/16 dev br0",
        "addr add fd00:1::1/64 dev br0 nodad",
        "link set br0 up",
    ]);
    for (at, container) in [(5, &site.one), (6, &site.two)] {
        let link = format!(
            "link add h{at} type veth peer name eth0 netns {}",
            container.tid
        );
        ip(&[&link, &format!("link set h{at} master br0 up")]);
        container.ip(&[
            "link set eth0 up",
            &format!("addr add 10.1.0.{at}/16 dev eth0"),
            &format!("addr add fd00:1::{at}/64 dev eth0 nodad"),
            "route add default via 10.1.0.1",
            "route add default via fd00:1::1",
        ]);
    }
    for (at, outside) in [(2, &site.client), (3, &site.beyond)] {
        let link = format!(
            "link add up{at} type veth peer name eth0 netns {}",
            outside.tid
        );
        ip(&[
            &link,
            &format!("link set up{at} up"),
            &format!("addr add 192.0.{at}.1/24 dev up{at}"),
            &format!("addr add 2001:db8:{at}::1/64 dev up{at} nodad"),
        ]);
        outside.ip(&[
            "link set eth0 up",
            &format!("addr add 192.0.{at}.2/24 dev eth0"),
            &format!("addr add 2001:db8:{at}::2/64 dev eth0 nodad"),
            &format!("route add default via 192.0.{at}.1"),
            &format!("route add default via 2001:db8:{at}::1"),
        ]);
    }
    site
}

/// Loopback is let out by the bridge, as plugins arrange it.
fn open_loopback() {
    fs::write("/proc/sys/net/ipv4/conf/br0/route_localnet", "1").unwrap();
}

fn bind(namespace: &Namespace, address: &str) -> UdpSocket {
    let address: SocketAddr = address.parse().unwrap();
    let socket = namespace.run(move || UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(SHORTLY)).unwrap();
    socket
}

fn any(to: SocketAddr) -> SocketAddr {
    let unspecified = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    unspecified.parse().unwrap()
}

/// Sends a question to `to` and hears the answer, which has to come from there. Answers the source
/// that the listener has seen; `None` if either got lost or came from elsewhere.
fn ask(client: &UdpSocket, to: SocketAddr, listener: &UdpSocket) -> Option<IpAddr> {
    if client.send_to(b"?", to).is_err() {
        return None;
    }
    let mut buffer = [0; 16];
    let (_length, seen) = listener.recv_from(&mut buffer).ok()?;
    listener.send_to(b"!", seen).ok()?;
    match client.recv_from(&mut buffer) {
        Ok((_length, from)) => (from == to).then_some(seen.ip()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("receive: {error}"),
    }
}

/// The same from a new port of `client`; links that have just been made lose some.
fn seen(client: Option<&Namespace>, to: &str, listener: &UdpSocket) -> String {
    seen_within(client, to, listener, 25).unwrap_or_else(|| panic!("no answer from {to}"))
}

fn unseen(client: Option<&Namespace>, to: &str, listener: &UdpSocket) {
    assert_eq!(seen_within(client, to, listener, 2), None, "{to}");
}

fn seen_within(
    client: Option<&Namespace>,
    to: &str,
    listener: &UdpSocket,
    attempts: usize,
) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    let socket = move || UdpSocket::bind(any(to)).unwrap();
    (0..attempts).find_map(|_attempt| {
        let socket = match client {
            Some(client) => client.run(socket),
            None => socket(),
        };
        socket.set_read_timeout(Some(SHORTLY)).unwrap();
        ask(&socket, to, listener).map(|seen| seen.to_string())
    })
}

const BOTH: [&str; 2] = ["10.1.0.5/16", "fd00:1::5/64"];

fn documented() -> Publication {
    Publication {
        loopback: Some("br0".parse().unwrap()),
        ..publication(&BOTH, &["8080:5080/udp"])
    }
}

fn listener(namespace: &Namespace) -> UdpSocket {
    bind(namespace, &format!("[::]:{CONTAINER_PORT}"))
}

/// A listener on `[::]` sees IPv4 addresses in IPv6 ones.
fn v4(address: &str) -> String {
    format!("::ffff:{address}")
}

#[test]
fn a_mapped_port_is_reached_from_wherever_one_is() {
    in_private_netns(|| {
        let mut site = site();
        let owner = attachment("net", "c1", "eth0");
        open_loopback();
        portmap::add(&mut site.nft, &owner, &documented()).unwrap();
        let at = listener(&site.one);
        let Site {
            one, two, client, ..
        } = &site;
        // From outside, with its own address.
        assert_eq!(seen(Some(client), "192.0.2.1:8080", &at), v4("192.0.2.2"));
        assert_eq!(
            seen(Some(client), "[2001:db8:2::1]:8080", &at),
            "2001:db8:2::2"
        );
        assert_eq!(seen(Some(client), "10.1.0.1:8080", &at), v4("192.0.2.2"));
        // From the host itself, over loopback too.
        assert_eq!(seen(None, "192.0.2.1:8080", &at), v4("192.0.2.1"));
        assert_eq!(seen(None, "[2001:db8:2::1]:8080", &at), "2001:db8:2::1");
        assert_eq!(seen(None, "127.0.0.1:8080", &at), v4("10.1.0.1"));
        assert_eq!(seen(None, "127.0.0.9:8080", &at), v4("10.1.0.1"));
        // From the container itself and from its neighbour, whose answers would go the short way.
        for inside in [one, two] {
            assert_eq!(seen(Some(inside), "192.0.2.1:8080", &at), v4("10.1.0.1"));
            assert_eq!(seen(Some(inside), "10.1.0.1:8080", &at), v4("10.1.0.1"));
            assert_eq!(seen(Some(inside), "[2001:db8:2::1]:8080", &at), "fd00:1::1");
        }
        // Straight to the container, nothing changes.
        assert_eq!(seen(Some(two), "10.1.0.5:5080", &at), v4("10.1.0.6"));
        // Another port, another protocol: nothing.
        unseen(Some(client), "192.0.2.1:8081", &at);
        portmap::remove(&mut site.nft, &owner).unwrap();
        unseen(Some(&site.client), "192.0.2.1:8080", &at);
    });
}

/// CVE-2025-67499: what goes to other machines by way of this one is not ours to intercept.
#[test]
fn what_is_only_passing_through_is_left_alone() {
    in_private_netns(|| {
        let mut site = site();
        let owner = attachment("net", "c1", "eth0");
        portmap::add(&mut site.nft, &owner, &documented()).unwrap();
        let far = bind(&site.beyond, "[::]:8080");
        for inside in [&site.client, &site.one, &site.two] {
            let address = |namespace: &Namespace, v6: bool| {
                let family = if v6 { "-6" } else { "-4" };
                let text = namespace.run(move || {
                    run(
                        "ip",
                        &[
                            family, "-o", "addr", "show", "dev", "eth0", "scope", "global",
                        ],
                    )
                });
                let cidr = text.split_whitespace().nth(3).unwrap().to_owned();
                cidr.split('/').next().unwrap().to_owned()
            };
            assert_eq!(
                seen(Some(inside), "192.0.3.2:8080", &far),
                v4(&address(inside, false))
            );
            assert_eq!(
                seen(Some(inside), "[2001:db8:3::2]:8080", &far),
                address(inside, true)
            );
        }
        assert_eq!(seen(None, "192.0.3.2:8080", &far), v4("192.0.3.1"));
    });
}

#[test]
fn a_mapping_for_one_address_of_the_host_is_for_no_other() {
    in_private_netns(|| {
        let mut site = site();
        let owner = attachment("net", "c1", "eth0");
        let mappings = [
            "192.0.2.1:8080:5080/udp",
            "127.0.0.1:8081:5080/udp",
            "2001:db8:2::1:8080:5080/udp",
        ];
        open_loopback();
        let publication = Publication {
            loopback: Some("br0".parse().unwrap()),
            ..publication(&BOTH, &mappings)
        };
        portmap::add(&mut site.nft, &owner, &publication).unwrap();
        let at = listener(&site.one);
        let client = Some(&site.client);
        assert_eq!(seen(client, "192.0.2.1:8080", &at), v4("192.0.2.2"));
        assert_eq!(seen(client, "[2001:db8:2::1]:8080", &at), "2001:db8:2::2");
        assert_eq!(seen(None, "127.0.0.1:8081", &at), v4("10.1.0.1"));
        unseen(client, "192.0.3.1:8080", &at);
        unseen(client, "[2001:db8:3::1]:8080", &at);
        unseen(client, "192.0.2.1:8081", &at);
        unseen(None, "127.0.0.1:8080", &at);
    });
}

#[test]
fn masquerade_is_for_all_for_those_who_need_it_or_for_none() {
    in_private_netns(|| {
        let mut site = site();
        let owner = attachment("net", "c1", "eth0");
        let at = listener(&site.one);
        open_loopback();
        let with = |masquerade| Publication {
            masquerade,
            ..documented()
        };
        let nft = &mut site.nft;
        portmap::add(nft, &owner, &with(Masquerade::Always)).unwrap();
        assert_eq!(
            seen(Some(&site.client), "192.0.2.1:8080", &at),
            v4("10.1.0.1")
        );
        assert_eq!(
            seen(Some(&site.client), "[2001:db8:2::1]:8080", &at),
            "fd00:1::1"
        );
        assert_eq!(seen(Some(&site.two), "192.0.2.1:8080", &at), v4("10.1.0.1"));
        assert_eq!(seen(None, "127.0.0.1:8080", &at), v4("10.1.0.1"));
        // Not what comes to the container by itself.
        assert_eq!(
            seen(Some(&site.client), "10.1.0.5:5080", &at),
            v4("192.0.2.2")
        );
        portmap::remove(nft, &owner).unwrap();
        let other_bit = Publication {
            mark: MarkBit::new(31).unwrap(),
            ..documented()
        };
        portmap::add(nft, &owner, &other_bit).unwrap();
        assert_eq!(seen(Some(&site.two), "192.0.2.1:8080", &at), v4("10.1.0.1"));
        assert_eq!(
            seen(Some(&site.client), "192.0.2.1:8080", &at),
            v4("192.0.2.2")
        );
        portmap::remove(nft, &owner).unwrap();
        let never = Publication {
            loopback: None,
            ..with(Masquerade::Never)
        };
        portmap::add(nft, &owner, &never).unwrap();
        assert_eq!(
            seen(Some(&site.client), "192.0.2.1:8080", &at),
            v4("192.0.2.2")
        );
        // The answer takes the short way and comes from the container's address.
        unseen(Some(&site.two), "192.0.2.1:8080", &at);
    });
}

/// Others translate destinations as well: their connections keep the client's address, although
/// they go from neighbour to neighbour and to a published container.
#[test]
fn connections_that_others_translate_are_not_masqueraded() {
    in_private_netns(|| {
        let mut site = site();
        let owner = attachment("net", "c1", "eth0");
        portmap::add(&mut site.nft, &owner, &documented()).unwrap();
        load(
            "table ip services {
                chain prerouting {
                    type nat hook prerouting priority dstnat + 1;
                    ip daddr 10.96.0.1 udp dport 8080 dnat to 10.1.0.5:5080
                    ip daddr 192.0.2.1 udp dport 9090 dnat to 10.1.0.5:5080
                }
            }",
        );
        let at = listener(&site.one);
        for service in ["10.96.0.1:8080", "192.0.2.1:9090"] {
            let socket = bind(&site.two, "0.0.0.0:0");
            let source = (0..25).find_map(|_attempt| {
                socket
                    .send_to(b"?", service.parse::<SocketAddr>().unwrap())
                    .unwrap();
                let (_length, seen) = at.recv_from(&mut [0; 16]).ok()?;
                Some(seen.ip().to_string())
            });
            assert_eq!(source, Some(v4("10.1.0.6")), "{service}");
        }
    });
}

#[test]
fn conditions_hold_for_the_attachment_that_has_them_alone() {
    in_private_netns(|| {
        let mut site = site();
        let (one, two) = (attachment("a", "c1", "eth0"), attachment("b", "c2", "eth0"));
        let limited = Publication {
            condition_v4: Condition::parse(&["ip", "saddr", "192.0.2.0/24"], false).unwrap(),
            condition_v6: Condition::parse(&["iifname", "!=", "up2"], true).unwrap(),
            ..publication(&BOTH, &["8080:5080/udp"])
        };
        let open = publication(&["10.1.0.6/16", "fd00:1::6/64"], &["9090:5080/udp"]);
        portmap::add(&mut site.nft, &one, &limited).unwrap();
        portmap::add(&mut site.nft, &two, &open).unwrap();
        let (first, second) = (listener(&site.one), listener(&site.two));
        let (near, far) = (Some(&site.client), Some(&site.beyond));
        assert_eq!(seen(near, "192.0.2.1:8080", &first), v4("192.0.2.2"));
        unseen(far, "192.0.3.1:8080", &first);
        assert_eq!(seen(far, "[2001:db8:3::1]:8080", &first), "2001:db8:3::2");
        unseen(near, "[2001:db8:2::1]:8080", &first);
        for (outside, to) in [(near, "192.0.2.1:9090"), (far, "192.0.3.1:9090")] {
            seen(outside, to, &second);
        }
    });
}

/// With `route_localnet`, the kernel would let the containers in.
#[test]
fn containers_do_not_reach_what_listens_on_the_hosts_loopback() {
    in_private_netns(|| {
        let mut site = site();
        open_loopback();
        let secret = UdpSocket::bind("127.0.0.1:7777").unwrap();
        secret.set_read_timeout(Some(SHORTLY)).unwrap();
        // A container that may do as it likes sends 127.0.0.1 to the bridge.
        site.two.ip(&[
            "rule add pref 0 to 127.0.0.1 iif lo table 7",
            "route add 127.0.0.1 via 10.1.0.1 dev eth0 src 10.1.0.6 table 7",
            "rule del pref 0 table local",
            "rule add pref 1 table local",
        ]);
        site.two
            .run(|| fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap());
        // What was sent by one word and was late does not count for the next.
        let gets_in = |word: u8, attempts: usize| {
            let attacker = bind(&site.two, "10.1.0.6:0");
            (0..attempts).any(|_attempt| {
                let _refused = attacker.send_to(&[word], "127.0.0.1:7777");
                let mut heard = [0];
                while secret.recv_from(&mut heard).is_ok() {
                    if heard == [word] {
                        return true;
                    }
                }
                false
            })
        };
        assert!(gets_in(1, 25), "this attack does not work at all");
        let owner = attachment("net", "c1", "eth0");
        portmap::add(&mut site.nft, &owner, &documented()).unwrap();
        assert!(!gets_in(2, 3), "{}", ruleset());
        // And the host itself still does.
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        own.send_to(b"?", "127.0.0.1:7777").unwrap();
        assert!(secret.recv_from(&mut [0; 16]).is_ok());
    });
}

/// A client that never stops sending, from one port.
#[test]
fn udp_goes_where_the_port_leads_now() {
    in_private_netns(|| {
        let mut site = site();
        let (first, second) = (
            attachment("net", "c1", "eth0"),
            attachment("net", "c2", "eth0"),
        );
        let of_two = publication(&["10.1.0.6/16", "fd00:1::6/64"], &["8080:5080/udp"]);
        let (at_one, at_two) = (listener(&site.one), listener(&site.two));
        for to in ["192.0.2.1:8080", "[2001:db8:2::1]:8080"] {
            let to: SocketAddr = to.parse().unwrap();
            let at_host = UdpSocket::bind(to).unwrap();
            at_host.set_read_timeout(Some(SHORTLY)).unwrap();
            let client = bind(&site.client, &any(to).to_string());
            let reaches =
                |listener: &UdpSocket| (0..3).any(|_attempt| ask(&client, to, listener).is_some());
            let warm_up = (0..25).any(|_attempt| ask(&client, to, &at_host).is_some());
            assert!(warm_up, "the host is not reached");
            let nft = &mut site.nft;
            portmap::add(nft, &first, &documented()).unwrap();
            assert!(
                reaches(&at_one),
                "{to}: an older connection stayed with the host"
            );
            portmap::remove(nft, &first).unwrap();
            assert!(
                reaches(&at_host),
                "{to}: a connection stayed with the container"
            );
            portmap::add(nft, &second, &of_two).unwrap();
            assert!(reaches(&at_two), "{to}: a connection stayed with the first");
            portmap::remove(nft, &second).unwrap();
        }
    });
}

/// Connections of others with the same port, or by way of this host, are remembered.
#[test]
fn other_connections_are_not_forgotten() {
    in_private_netns(|| {
        let mut site = site();
        let owner = attachment("net", "c1", "eth0");
        let other = attachment("net", "c2", "eth0");
        let of_two = publication(&["10.1.0.6/16", "fd00:1::6/64"], &["9090:5080/udp"]);
        portmap::add(&mut site.nft, &other, &of_two).unwrap();
        let (far, at_two) = (bind(&site.beyond, "[::]:8080"), listener(&site.two));
        let known = || {
            let table = fs::read_to_string("/proc/thread-self/net/nf_conntrack").unwrap();
            let mut known: Vec<String> = table
                .lines()
                .filter(|line| line.contains("udp"))
                .map(|line| {
                    let words = line.split_whitespace();
                    let ends =
                        words.filter(|word| word.starts_with("src=") || word.contains("port="));
                    ends.collect::<Vec<_>>().join(" ")
                })
                .collect();
            known.sort_unstable();
            known
        };
        let client = bind(&site.client, "0.0.0.0:4000");
        let passing: SocketAddr = "192.0.3.2:8080".parse().unwrap();
        let mapped: SocketAddr = "192.0.2.1:9090".parse().unwrap();
        assert!((0..25).any(|_attempt| ask(&client, passing, &far).is_some()));
        assert!((0..25).any(|_attempt| ask(&client, mapped, &at_two).is_some()));
        let before = known();
        assert!(before.len() >= 2, "{before:?}");
        portmap::add(&mut site.nft, &owner, &documented()).unwrap();
        portmap::remove(&mut site.nft, &owner).unwrap();
        assert_eq!(known(), before);
        portmap::remove(&mut site.nft, &other).unwrap();
        assert_eq!(known().len(), before.len() - 1);
    });
}
