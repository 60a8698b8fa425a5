//! Whether a namespace forwards packets, asked over a socket that is open anyway: opening the file of the
//! setting takes ten times as long.

use nix::libc;

use crate::error::Op;
use crate::frame::{Attrs, u32_at};
use crate::socket::{Query, Socket};

/// `RTM_GETNETCONF` of `linux/rtnetlink.h`; a reply has [`NEW_NETCONF`].
const GET_NETCONF: u16 = 82;
const NEW_NETCONF: u16 = 80;

/// Bytes of `struct netconfmsg`, with what aligns the attributes behind it.
const HEADER: usize = 4;

/// `NETCONFA_IFINDEX` and `NETCONFA_FORWARDING` of `linux/netconf.h`.
const IFINDEX: u16 = 1;
const FORWARDING: u16 = 2;

/// `NETCONFA_IFINDEX_ALL`: the setting of the whole namespace, not of one interface.
const ALL: i32 = -1;

/// The protocols that have forwarding of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `net.ipv4.ip_forward`
    Ipv4,
    /// `net.ipv6.conf.all.forwarding`
    Ipv6,
}

impl Socket {
    /// Whether the namespace forwards packets of a protocol. `None` if the kernel does not tell: it is
    /// older than 3.8, or has no such protocol.
    #[must_use]
    pub fn forwards(&self, protocol: Protocol) -> Option<bool> {
        let query = Query {
            op: Op::GetForwarding,
            subject: &"of the namespace",
            kind: GET_NETCONF,
            body: &body(protocol),
        };
        let told = self.get(&query, |frame| {
            (frame.kind == NEW_NETCONF)
                .then(|| forwarding(frame.payload))
                .flatten()
        });
        told.ok().flatten()
    }
}

fn body(protocol: Protocol) -> Vec<u8> {
    let family = match protocol {
        Protocol::Ipv4 => libc::AF_INET,
        Protocol::Ipv6 => libc::AF_INET6,
    };
    let [family, ..] = family.to_le_bytes();
    let mut body = vec![family, 0, 0, 0];
    body.extend(8_u16.to_ne_bytes());
    body.extend(IFINDEX.to_ne_bytes());
    body.extend(ALL.to_ne_bytes());
    body
}

fn forwarding(reply: &[u8]) -> Option<bool> {
    let mut attributes = Attrs::new(reply.get(HEADER..)?);
    let (_, value) = attributes.find(|(kind, _)| *kind == FORWARDING)?;
    Some(u32_at(value, 0)? != 0)
}
