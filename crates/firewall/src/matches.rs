//! What rules look at, in the expressions that `nft` makes of the same words: so its text is ours.

use std::net::IpAddr;

use cni_types::{IfName, IpCidr};

use crate::nft::{Expr, Header, Meta, Register};

/// Which of an IP header's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Destination,
}

/// An address as it is in a packet.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An interface's name as `meta iifname` loads it: 16 bytes, padded with zeros.
pub(crate) fn interface_key(name: &IfName) -> Vec<u8> {
    let mut key = name.as_str().as_bytes().to_vec();
    key.resize(nix::libc::IFNAMSIZ, 0);
    key
}

/// `meta nfproto ipv4`, which `nft` leaves out where the rest of a rule implies it.
pub(crate) fn of_family(v6: bool) -> [Expr; 2] {
    const NFPROTO_IPV4: u8 = 2;
    const NFPROTO_IPV6: u8 = 10;
    [
        Expr::Meta(Meta::Protocol, Register::FIRST),
        Expr::equals([if v6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 }]),
    ]
}

/// Loads the first bytes of an address.
fn load(end: End, v6: bool, length: usize, register: Register) -> Expr {
    let offset = match (end, v6) {
        (End::Source, false) => 12,
        (End::Destination, false) => 16,
        (End::Source, true) => 8,
        (End::Destination, true) => 24,
    };
    Expr::Payload {
        header: Header::Network,
        offset,
        length: u32::try_from(length).unwrap_or_default(),
        register,
    }
}

/// Loads an address into registers.
pub(crate) fn address(end: End, v6: bool, register: Register) -> Expr {
    load(end, v6, if v6 { 16 } else { 4 }, register)
}

/// `ip daddr SUBNET`, or `ip daddr != SUBNET`, as `nft` writes it: whole bytes need no mask.
pub(crate) fn is_in(end: End, subnet: &IpCidr, inside: bool) -> Vec<Expr> {
    let network = octets(subnet.network());
    let whole = subnet.prefix().is_multiple_of(8) && subnet.prefix() > 0;
    let length = if whole {
        usize::from(subnet.prefix() / 8)
    } else {
        network.len()
    };
    let mut exprs = vec![load(end, subnet.is_ipv6(), length, Register::FIRST)];
    if !whole {
        exprs.push(Expr::mask(mask(subnet.prefix(), network.len())));
    }
    let bytes: Vec<u8> = network.into_iter().take(length).collect();
    exprs.push(if inside {
        Expr::equals(bytes)
    } else {
        Expr::differs(bytes)
    });
    exprs
}

fn mask(prefix: u8, length: usize) -> Vec<u8> {
    let mut left = u32::from(prefix);
    let byte = |_at| {
        let bits = left.min(8);
        left -= bits;
        u8::try_from(0xff00_u32 >> bits & 0xff).unwrap_or_default()
    };
    (0..length).map(byte).collect()
}
