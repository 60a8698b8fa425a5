//! Published ports as those who use them see them: somebody outside, the host itself, containers; and
//! as a listener in a container hears them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cni_testkit::{Netns, World};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;

/// How long an answer is waited for.
const SHORTLY: Duration = Duration::from_millis(700);

/// The addresses by which [`outside`] knows the host.
pub const HOST: [&str; 2] = ["192.0.2.1", "[2001:db8::1]"];

/// The addresses of [`outside`] itself.
pub const OUTSIDE: [&str; 2] = ["192.0.2.2", "2001:db8::2"];

/// A machine beside the host, in its network of documentation addresses.
pub fn outside(world: &World) -> Netns {
    let outside = world.container("outside");
    let host = world.host();
    host.ip("link add up0 type veth peer name eth0 netns outside");
    host.ip("addr add 192.0.2.1/24 dev up0");
    host.ip("addr add 2001:db8::1/64 dev up0 nodad");
    host.ip("link set up0 up");
    outside.ip("addr add 192.0.2.2/24 dev eth0");
    outside.ip("addr add 2001:db8::2/64 dev eth0 nodad");
    outside.ip("link set eth0 up");
    outside.ip("route add default via 192.0.2.1");
    outside.ip("route add default via 2001:db8::1");
    outside
}

/// Both transports that ports are published for.
pub const PROTOCOLS: [&str; 2] = ["tcp", "udp"];

/// Listens at one port for TCP and UDP, of both families.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    udp: UdpSocket,
}

fn timeout() -> TimeVal {
    TimeVal::new(0, i64::try_from(SHORTLY.as_micros()).unwrap())
}

impl Listener {
    /// At all addresses of a namespace.
    pub fn new(netns: &Netns, port: u16) -> Self {
        Self::at(netns, &format!("[::]:{port}"))
    }

    /// At one address.
    pub fn at(netns: &Netns, address: &str) -> Self {
        let (tcp, udp) = netns.run(|| {
            (
                TcpListener::bind(address).unwrap(),
                UdpSocket::bind(address).unwrap(),
            )
        });
        // accept(2) heeds it too.
        setsockopt(&tcp, ReceiveTimeout, &timeout()).unwrap();
        udp.set_read_timeout(Some(SHORTLY)).unwrap();
        Self { tcp, udp }
    }

    /// Whose address somebody in `from` has who sends to `to`, and gets an answer from there;
    /// `None` if nothing comes, or if somebody else answers. What is left of earlier clients is
    /// passed over: each says something of its own.
    fn hears(&self, protocol: &str, from: &Netns, to: SocketAddr) -> Option<IpAddr> {
        let seen = match protocol {
            "tcp" => self.hears_tcp(from, to),
            "udp" => self.hears_udp(&client(from, to), to),
            other => panic!("{other} is not for this"),
        };
        seen.map(|seen| seen.to_canonical())
    }

    fn hears_tcp(&self, from: &Netns, to: SocketAddr) -> Option<IpAddr> {
        let word = new_word();
        let mut client = from.run(|| TcpStream::connect_timeout(&to, SHORTLY)).ok()?;
        client.set_read_timeout(Some(SHORTLY)).unwrap();
        client.write_all(&word).ok()?;
        let mut said = [0; 8];
        loop {
            let (mut served, seen) = self.tcp.accept().ok()?;
            served.set_read_timeout(Some(SHORTLY)).unwrap();
            if served.read_exact(&mut said).is_ok() && said == word {
                served.write_all(&word).ok()?;
                client.read_exact(&mut said).ok()?;
                return Some(seen.ip());
            }
        }
    }

    /// The same over UDP, by a client that keeps its port.
    pub fn hears_udp(&self, client: &UdpSocket, to: SocketAddr) -> Option<IpAddr> {
        let word = new_word();
        client.send_to(&word, to).ok()?;
        let mut said = [0; 8];
        let seen = loop {
            let (_, seen) = self.udp.recv_from(&mut said).ok()?;
            if said == word {
                break seen;
            }
        };
        self.udp.send_to(&word, seen).ok()?;
        loop {
            let (_, answerer) = client.recv_from(&mut said).ok()?;
            if said == word {
                return (answerer == to).then(|| seen.ip());
            }
        }
    }

    /// Whose address a client has who connects to `to`. Links that have just been made lose a few
    /// packets.
    #[track_caller]
    pub fn sees(&self, protocol: &str, from: &Netns, to: &str) -> String {
        let to: SocketAddr = to.parse().unwrap();
        let seen = (0..15).find_map(|_attempt| self.hears(protocol, from, to));
        let from = from.path().display();
        seen.unwrap_or_else(|| panic!("{to}/{protocol} is not reached from {from}"))
            .to_string()
    }

    /// The same over TCP and UDP; the client has the same address in both.
    #[track_caller]
    pub fn sees_both(&self, from: &Netns, to: &str) -> String {
        let [tcp, udp] = PROTOCOLS.map(|protocol| self.sees(protocol, from, to));
        assert_eq!(tcp, udp, "{to}");
        tcp
    }

    /// Nobody gets here by way of `to`.
    #[track_caller]
    pub fn sees_nobody(&self, protocol: &str, from: &Netns, to: &str) {
        let to: SocketAddr = to.parse().unwrap();
        for _attempt in 0..2 {
            let seen = self.hears(protocol, from, to);
            assert_eq!(seen, None, "{to}/{protocol} is reached");
        }
    }
}

/// Something that nobody has said before.
fn new_word() -> [u8; 8] {
    static WORDS: AtomicU64 = AtomicU64::new(0);
    WORDS.fetch_add(1, Ordering::Relaxed).to_be_bytes()
}

/// A socket that can send to an address.
pub fn client(from: &Netns, to: SocketAddr) -> UdpSocket {
    let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let client = from.run(|| UdpSocket::bind(any).unwrap());
    client.set_read_timeout(Some(SHORTLY)).unwrap();
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_reached_where_it_is_and_nowhere_else() {
        let world = World::new();
        let outside = outside(&world);
        let listener = Listener::new(world.host(), 8080);
        for (host, own) in HOST.iter().zip(OUTSIDE) {
            assert_eq!(listener.sees_both(&outside, &format!("{host}:8080")), own);
            for protocol in PROTOCOLS {
                listener.sees_nobody(protocol, &outside, &format!("{host}:8081"));
            }
        }
        assert_eq!(
            listener.sees_both(world.host(), "127.0.0.1:8080"),
            "127.0.0.1"
        );
    }
}
