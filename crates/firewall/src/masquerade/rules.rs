//! The rules and the places of elements, as values.

use std::net::IpAddr;

use cni_types::IpCidr;

use crate::nft::{Expr, Header, KeyType, Meta, Register, Verdict};
use crate::registry::Place;

/// The addresses, each once.
pub(super) fn distinct(addresses: &[IpCidr]) -> Vec<IpCidr> {
    let mut distinct = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !distinct.contains(address) {
            distinct.push(*address);
        }
    }
    distinct
}

/// Their subnets, each once.
pub(super) fn subnets(addresses: &[IpCidr]) -> Vec<IpCidr> {
    let subnets: Vec<IpCidr> = addresses.iter().map(IpCidr::subnet).collect();
    distinct(&subnets)
}

pub(super) fn places(addresses: &[IpCidr]) -> Vec<Place> {
    distinct(addresses)
        .iter()
        .map(|address| Place {
            set: set_name(&address.subnet()),
            key: octets(address.addr()),
        })
        .collect()
}

/// `nft` reads no name with a colon in it.
pub(super) fn set_name(subnet: &IpCidr) -> String {
    format!("from_{subnet}").replace(':', "-")
}

pub(super) fn key_type(subnet: &IpCidr) -> KeyType {
    if subnet.is_ipv6() {
        KeyType::Ipv6
    } else {
        KeyType::Ipv4
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Where an IP header has its addresses.
struct Offsets {
    source: u32,
    destination: u32,
}

fn offsets(v6: bool) -> Offsets {
    let (source, destination) = if v6 { (8, 24) } else { (12, 16) };
    Offsets {
        source,
        destination,
    }
}

/// `meta nfproto ipv4`, which `nft` leaves out where the rest of a rule implies it.
fn of_family(v6: bool) -> [Expr; 2] {
    const NFPROTO_IPV4: u8 = 2;
    const NFPROTO_IPV6: u8 = 10;
    [
        Expr::Meta(Meta::Protocol, Register::First),
        Expr::Compare {
            equal: true,
            bytes: vec![if v6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 }],
        },
    ]
}

/// `ip daddr SUBNET`, or `ip daddr != SUBNET`, as `nft` writes it: whole bytes need no mask.
fn destination_in(subnet: &IpCidr, equal: bool) -> Vec<Expr> {
    let network = octets(subnet.network());
    let whole = subnet.prefix().is_multiple_of(8) && subnet.prefix() > 0;
    let length = if whole {
        usize::from(subnet.prefix() / 8)
    } else {
        network.len()
    };
    let mut exprs = vec![Expr::Payload {
        header: Header::Network,
        offset: offsets(subnet.is_ipv6()).destination,
        length: u32::try_from(length).unwrap_or_default(),
        register: Register::First,
    }];
    if !whole {
        exprs.push(Expr::Mask(mask(subnet.prefix(), network.len())));
    }
    exprs.push(Expr::Compare {
        equal,
        bytes: network.into_iter().take(length).collect(),
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

pub(super) fn multicast_rules() -> Vec<Vec<Expr>> {
    ["224.0.0.0/4", "ff00::/8"]
        .iter()
        .filter_map(|subnet| subnet.parse::<IpCidr>().ok())
        .map(|multicast| {
            let mut rule = of_family(multicast.is_ipv6()).to_vec();
            rule.extend(destination_in(&multicast, true));
            rule.push(Expr::Verdict(Verdict::Return));
            rule
        })
        .collect()
}

pub(super) fn subnet_rule(subnet: &IpCidr) -> Vec<Expr> {
    let mut rule = of_family(subnet.is_ipv6()).to_vec();
    rule.push(Expr::Payload {
        header: Header::Network,
        offset: offsets(subnet.is_ipv6()).source,
        length: u32::from(subnet.bits() / 8),
        register: Register::First,
    });
    rule.push(Expr::Lookup {
        set: set_name(subnet),
        inverted: false,
    });
    rule.extend(destination_in(subnet, false));
    rule.push(Expr::Masquerade);
    rule
}
