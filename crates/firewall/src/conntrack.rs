//! Connections that the kernel remembers, over ctnetlink: those that rules no longer stand for are
//! forgotten.
//!
//! NAT is decided by a connection's first packet. For UDP a "connection" is whatever comes from the
//! same ports within half a minute, so that a client that keeps sending never sees a mapping that
//! was made, or removed, since its first datagram.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use nix::libc;

use crate::error::Cause;
use crate::nfnetlink::{ACK, Attributes, DUMP, Writer};
use crate::nft::Nft;

/// `NFNL_SUBSYS_CTNETLINK`, in the high byte of every message type.
const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_*` and the attributes of `linux/netfilter/nfnetlink_conntrack.h`.
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// `CTA_FILTER_F_CTA_PROTO_NUM`
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PORTS: u16 = 2;
const V4_SOURCE: u16 = 1;
const V4_DESTINATION: u16 = 2;
const V6_SOURCE: u16 = 3;
const V6_DESTINATION: u16 = 4;
const PORTS_PROTOCOL: u16 = 1;
const PORTS_SOURCE: u16 = 2;
const PORTS_DESTINATION: u16 = 3;

const UDP: u8 = 17;
/// As many acknowledgements as any receive buffer holds.
const AT_ONCE: usize = 64;

/// A UDP connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Connection {
    /// Where its first datagram was sent.
    pub(crate) destination: SocketAddr,
    /// Where answers come from: elsewhere, if the destination was translated.
    pub(crate) answers_from: SocketAddr,
    /// What names it to the kernel.
    name: Name,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    tuple: Vec<u8>,
    id: Option<u32>,
    zone: Option<Vec<u8>>,
}

/// Tells addresses of this host from others, by binding to them.
#[derive(Debug, Default)]
pub(crate) struct Locality(BTreeMap<IpAddr, bool>);

impl Locality {
    pub(crate) fn is_local(&mut self, address: IpAddr) -> bool {
        *self
            .0
            .entry(address)
            .or_insert_with(|| UdpSocket::bind((address, 0)).is_ok())
    }
}

/// Forgets the UDP connections of a family that are `stale`. Answers how many that were. A kernel
/// without ctnetlink forgets nothing.
pub(crate) fn forget(
    nft: &mut Nft,
    v6: bool,
    mut stale: impl FnMut(&Connection) -> bool,
) -> Result<usize, Cause> {
    let connections = match list(nft, v6) {
        Err(cause) if cause.is_unsupported() => return Ok(0),
        other => other?,
    };
    let stale: Vec<Connection> = connections
        .into_iter()
        .flatten()
        .filter(|connection| stale(connection))
        .collect();
    for some in stale.chunks(AT_ONCE) {
        let mut outbox = nft.outbox();
        for connection in some {
            outbox.message(DELETE, ACK, (family(v6), 0), |body| {
                connection.name.write(body);
            });
        }
        nft.exchange(&outbox, "forget a connection", |_which, _object| Ok(()))?;
    }
    Ok(stale.len())
}

fn family(v6: bool) -> u8 {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    u8::try_from(family).unwrap_or_default()
}

/// The kernel leaves out other protocols since 5.8; before, we do.
fn list(nft: &mut Nft, v6: bool) -> Result<Vec<Option<Connection>>, Cause> {
    nft.list(
        |outbox| {
            outbox.message(GET, DUMP, (family(v6), 0), |body| {
                body.nested(TUPLE_ORIGINAL, |tuple| {
                    tuple.nested(TUPLE_PORTS, |ports| {
                        ports.bytes(PORTS_PROTOCOL, &[UDP]);
                    });
                })
                .nested(FILTER, |filter| {
                    filter
                        .bytes(FILTER_ORIGINAL, &FILTER_BY_PROTOCOL.to_ne_bytes())
                        .bytes(FILTER_REPLY, &0_u32.to_ne_bytes());
                });
            });
        },
        |object| Ok(Connection::read(Attributes(object))),
    )
}

impl Connection {
    /// `None` if it is not UDP.
    pub(crate) fn read(connection: Attributes<'_>) -> Option<Self> {
        let original = connection.nested(TUPLE_ORIGINAL)?;
        let reply = connection.nested(TUPLE_REPLY)?;
        let protocol = original.nested(TUPLE_PORTS)?.bytes(PORTS_PROTOCOL)?;
        if protocol != [UDP] {
            return None;
        }
        Some(Self {
            destination: end(
                original,
                (V4_DESTINATION, V6_DESTINATION, PORTS_DESTINATION),
            )?,
            answers_from: end(reply, (V4_SOURCE, V6_SOURCE, PORTS_SOURCE))?,
            name: Name {
                tuple: original.0.to_vec(),
                id: connection.u32(ID),
                zone: connection.bytes(ZONE).map(<[u8]>::to_vec),
            },
        })
    }
}

fn end(tuple: Attributes<'_>, (v4, v6, port): (u16, u16, u16)) -> Option<SocketAddr> {
    let addresses = tuple.nested(TUPLE_ADDRESSES)?;
    let address = match (addresses.bytes(v4), addresses.bytes(v6)) {
        (Some(v4), _) => IpAddr::from(*v4.first_chunk::<4>()?),
        (None, Some(v6)) => IpAddr::from(*v6.first_chunk::<16>()?),
        (None, None) => return None,
    };
    let port = tuple.nested(TUPLE_PORTS)?.bytes(port)?;
    Some(SocketAddr::new(
        address,
        u16::from_be_bytes(*port.first_chunk()?),
    ))
}

impl Name {
    fn write(&self, body: &mut Writer<'_>) {
        body.nested(TUPLE_ORIGINAL, |tuple| tuple.0.extend(&self.tuple));
        if let Some(id) = self.id {
            body.u32(ID, id);
        }
        if let Some(zone) = &self.zone {
            body.bytes(ZONE, zone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(protocol: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        let tuple = |body: &mut Writer<'_>, kind, ends: [[u8; 4]; 2], ports: [u16; 2]| {
            body.nested(kind, |tuple| {
                tuple
                    .nested(TUPLE_ADDRESSES, |addresses| {
                        addresses
                            .bytes(V4_SOURCE, &ends[0])
                            .bytes(V4_DESTINATION, &ends[1]);
                    })
                    .nested(TUPLE_PORTS, |all| {
                        all.bytes(PORTS_PROTOCOL, &[protocol])
                            .bytes(PORTS_SOURCE, &ports[0].to_be_bytes())
                            .bytes(PORTS_DESTINATION, &ports[1].to_be_bytes());
                    });
            });
        };
        let mut body = Writer(&mut bytes);
        let (client, host, container) = ([192, 0, 2, 2], [192, 0, 2, 1], [10, 1, 0, 5]);
        tuple(&mut body, TUPLE_ORIGINAL, [client, host], [4000, 8080]);
        tuple(&mut body, TUPLE_REPLY, [container, client], [80, 4000]);
        body.u32(ID, 7).bytes(ZONE, &[0, 3]);
        bytes
    }

    #[test]
    fn a_connection_is_read_with_its_name() {
        let connection = Connection::read(Attributes(&entry(UDP))).unwrap();
        assert_eq!(connection.destination, "192.0.2.1:8080".parse().unwrap());
        assert_eq!(connection.answers_from, "10.1.0.5:80".parse().unwrap());
        assert_eq!(connection.name.id, Some(7));
        // The name is what the kernel said, without the way back.
        let mut written = Vec::new();
        connection.name.write(&mut Writer(&mut written));
        let named = Attributes(&written);
        let told = entry(UDP);
        let told = Attributes(&told);
        for kind in [TUPLE_ORIGINAL, ID, ZONE] {
            assert_eq!(named.bytes(kind), told.bytes(kind));
        }
        assert_eq!(named.bytes(TUPLE_REPLY), None);
    }

    #[test]
    fn other_protocols_and_rubbish_are_no_connections() {
        assert_eq!(Connection::read(Attributes(&entry(6))), None);
        assert_eq!(Connection::read(Attributes(b"\x08\x00\x01\x80rubb")), None);
    }

    #[test]
    fn the_hosts_addresses_are_told_from_others() {
        let mut locality = Locality::default();
        assert!(locality.is_local("127.0.0.1".parse().unwrap()));
        assert!(!locality.is_local("192.0.2.77".parse().unwrap()));
    }
}
