//! Published ports as those who use them see them: somebody outside, the host itself, containers; and
//! as a listener in a container hears them.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cni_testkit::{Netns, World};

/// How long one attempt may take.
const SHORTLY: Duration = Duration::from_millis(400);

/// Links that have just been made lose the first packets, and a machine may be busy.
const ATTEMPTS: u32 = 20;

/// How often silence is asked for.
const DOUBTS: u32 = 2;

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

/// Somebody in a namespace who answers at one port, over TCP and UDP, IPv4 and IPv6.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    udp: UdpSocket,
}

/// Tells one question from all others, so that a late one is not taken for the next.
type Word = [u8; 8];

impl Listener {
    /// Listens at `port` of a namespace.
    pub fn new(netns: &Netns, port: u16) -> Self {
        let all = (Ipv6Addr::UNSPECIFIED, port);
        let tcp = netns.run(|| TcpListener::bind(all).unwrap());
        let udp = netns.run(|| UdpSocket::bind(all).unwrap());
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(SHORTLY)).unwrap();
        Self { tcp, udp }
    }

    /// Asks at `address:port` (IPv6 addresses in brackets) from a namespace, until an answer comes
    /// from here. Tells the client's address as it is seen here.
    #[track_caller]
    pub fn sees(&self, protocol: &str, from: &Netns, to: &str) -> String {
        let seen = self.seen(protocol, from, to, ATTEMPTS);
        let from = from.path().display();
        seen.unwrap_or_else(|| panic!("{to}/{protocol} does not lead here from {from}"))
            .to_string()
    }

    /// The same over both protocols; the client has the same address in both.
    #[track_caller]
    pub fn sees_both(&self, from: &Netns, to: &str) -> String {
        let [tcp, udp] = PROTOCOLS.map(|protocol| self.sees(protocol, from, to));
        assert_eq!(tcp, udp, "{to}");
        tcp
    }

    /// Nobody gets here by way of `to`.
    #[track_caller]
    pub fn sees_nobody(&self, protocol: &str, from: &Netns, to: &str) {
        let seen = self.seen(protocol, from, to, DOUBTS);
        let from = from.path().display();
        assert_eq!(seen, None, "{to}/{protocol} leads here from {from}");
    }

    fn seen(&self, protocol: &str, from: &Netns, to: &str, attempts: u32) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        let hear = || match protocol {
            "tcp" => self.hear_tcp(from, to),
            "udp" => self.hear_udp(from, to),
            other => panic!("{other} is not for this"),
        };
        let seen = (0..attempts).find_map(|_attempt| hear())?;
        Some(seen.to_canonical())
    }

    fn hear_tcp(&self, from: &Netns, to: SocketAddr) -> Option<IpAddr> {
        let word = new_word();
        let mut client = from.run(|| TcpStream::connect_timeout(&to, SHORTLY)).ok()?;
        client.set_read_timeout(Some(SHORTLY)).unwrap();
        client.write_all(&word).ok()?;
        let seen = self.accept(word)?;
        let mut answer = Word::default();
        client.read_exact(&mut answer).ok()?;
        (answer == word).then_some(seen)
    }

    /// The connection that brings `word`; older ones are given up. One that is established is in the
    /// queue here, unless somebody else has it.
    fn accept(&self, word: Word) -> Option<IpAddr> {
        loop {
            let (mut stream, peer) = match self.tcp.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("accept: {error}"),
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(SHORTLY)).unwrap();
            let mut said = Word::default();
            if stream.read_exact(&mut said).is_ok() && said == word {
                stream.write_all(&word).ok()?;
                return Some(peer.ip());
            }
        }
    }

    fn hear_udp(&self, from: &Netns, to: SocketAddr) -> Option<IpAddr> {
        let word = new_word();
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        // Connected: only what comes from there is an answer.
        let client = from.run(|| {
            let client = UdpSocket::bind(any)?;
            client.connect(to)?;
            client.send(&word)?;
            Ok::<_, std::io::Error>(client)
        });
        let client = client.ok()?;
        client.set_read_timeout(Some(SHORTLY)).unwrap();
        let mut said = Word::default();
        let peer = loop {
            let (_length, peer) = self.udp.recv_from(&mut said).ok()?;
            if said == word {
                break peer;
            }
        };
        self.udp.send_to(&word, peer).unwrap();
        client.recv(&mut said).ok()?;
        (said == word).then_some(peer.ip())
    }
}

/// Something that nobody has said before.
fn new_word() -> Word {
    static WORDS: AtomicU64 = AtomicU64::new(1);
    WORDS.fetch_add(1, Ordering::Relaxed).to_be_bytes()
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
