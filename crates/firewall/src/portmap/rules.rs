//! The rules, as values.

use cni_types::IpCidr;

use super::{Condition, MarkBit};
use crate::matches::{End, address, is_in, octets, of_family};
use crate::nft::{Ct, Expr, Family, Header, Hook, Meta, Register, Verdict};
use crate::registry::Chain;

/// Where every packet to a port of this host comes by.
const HOST_PORTS: &str = "hostports";
/// Marks what comes from a subnet with published containers.
pub(super) const FROM_OWN_SUBNETS: &str = "from_own_subnets";
/// Mappings that hold only under conditions.
pub(super) const WITH_CONDITIONS: &str = "with_conditions";
/// Takes the mark off what no mapping was for.
pub(super) const NOT_MAPPED: &str = "not_mapped";
/// Source addresses.
pub(super) const POSTROUTING: &str = "postrouting";
/// Keeps the host's loopback to the host.
pub(super) const GUARD: &str = "guard";

/// What maps are looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Protocol and port.
    Port,
    /// The host's address, protocol and port.
    AddressAndPort,
}

/// The chains that every publication needs. `maps` are those without conditions, by family and key.
pub(super) fn chains(map: impl Fn(bool, Key) -> String) -> Vec<Chain> {
    let chain = |name, hook, rules| Chain { name, hook, rules };
    let mut host_ports = vec![vec![Expr::jump(FROM_OWN_SUBNETS)]];
    host_ports.push(vec![Expr::jump(WITH_CONDITIONS)]);
    for key in [Key::AddressAndPort, Key::Port] {
        for v6 in [false, true] {
            host_ports.push(translate(v6, key, &map(v6, key), None));
        }
    }
    host_ports.push(vec![Expr::jump(NOT_MAPPED)]);
    vec![
        chain(
            "prerouting",
            Some(Hook::DESTINATION_NAT),
            vec![to_this_host()],
        ),
        chain(
            "output",
            Some(Hook::OUTPUT_NAT),
            vec![to_loopback_v6(), to_this_host()],
        ),
        chain(HOST_PORTS, None, host_ports),
        chain(FROM_OWN_SUBNETS, None, Vec::new()),
        chain(WITH_CONDITIONS, None, Vec::new()),
        chain(NOT_MAPPED, None, Vec::new()),
        chain(POSTROUTING, Some(Hook::SOURCE_NAT), Vec::new()),
    ]
}

/// The chain that those need who are reached over loopback.
pub(super) fn guard() -> Chain {
    Chain {
        name: GUARD,
        hook: Some(Hook::INPUT),
        rules: Vec::new(),
    }
}

/// `fib daddr type local jump hostports`: what is only passing through is none of our business
/// (CVE-2025-67499).
fn to_this_host() -> Vec<Expr> {
    const RTN_LOCAL: u32 = 2;
    vec![
        Expr::DestinationKind,
        Expr::equals(RTN_LOCAL.to_ne_bytes()),
        Expr::jump(HOST_PORTS),
    ]
}

/// `ip6 daddr ::1 return`: the kernel takes no packet for `::1` from another device than `lo`, so
/// that answers would be lost. Left alone, whoever tries `::1` first is told at once.
fn to_loopback_v6() -> Vec<Expr> {
    let mut rule = of_family(true).to_vec();
    rule.push(address(End::Destination, true, Register::FIRST));
    rule.push(Expr::equals(octets(std::net::Ipv6Addr::LOCALHOST.into())));
    rule.push(Expr::Verdict(Verdict::Return));
    rule
}

/// `dnat ip to ip daddr . meta l4proto . th dport map @MAP`, under a condition if there is one.
pub(super) fn translate(v6: bool, key: Key, map: &str, condition: Option<&Condition>) -> Vec<Expr> {
    let address_words = if v6 { 4 } else { 1 };
    let mut rule = Vec::new();
    if condition.is_some() || key == Key::AddressAndPort {
        rule.extend(of_family(v6));
    }
    rule.extend(condition.into_iter().flat_map(Condition::matches).cloned());
    let protocol = match key {
        Key::Port => 0,
        Key::AddressAndPort => {
            rule.push(address(End::Destination, v6, Register::FIRST));
            address_words
        }
    };
    rule.extend([
        Expr::Meta(Meta::Transport, Register::word(protocol)),
        Expr::Payload {
            header: Header::Transport,
            offset: 2, // the destination port, of TCP, UDP and SCTP alike
            length: 2,
            register: Register::word(protocol + 1),
        },
        Expr::Map {
            map: map.to_owned(),
        },
        Expr::DestinationNat {
            family: if v6 { Family::Ip6 } else { Family::Ip },
            address: Register::FIRST,
            port: Register::word(address_words),
        },
    ]);
    rule
}

/// `ip saddr SUBNET meta mark set meta mark | BIT`, or off again.
pub(super) fn mark(subnet: &IpCidr, bit: MarkBit, on: bool) -> Vec<Expr> {
    let xor = if on { bit.value() } else { 0 };
    let mut rule = from(subnet);
    rule.extend([
        Expr::Meta(Meta::Mark, Register::FIRST),
        Expr::Bitwise {
            mask: (!bit.value()).to_ne_bytes().to_vec(),
            xor: xor.to_ne_bytes().to_vec(),
        },
        Expr::SetMeta(Meta::Mark),
    ]);
    rule
}

/// `meta mark & BIT == BIT ip saddr SUBNET ip daddr @SET masquerade`
pub(super) fn hairpin(subnet: &IpCidr, bit: MarkBit, set: &str) -> Vec<Expr> {
    let bit = bit.value().to_ne_bytes();
    let mut rule = vec![
        Expr::Meta(Meta::Mark, Register::FIRST),
        Expr::mask(bit.to_vec()),
        Expr::equals(bit),
    ];
    rule.extend(from(subnet));
    rule.extend(to_set(subnet.is_ipv6(), set));
    rule
}

/// `ct status dnat ip daddr @SET masquerade`
pub(super) fn always(v6: bool, set: &str) -> Vec<Expr> {
    const IPS_DST_NAT: u32 = 1 << 5;
    let mut rule = vec![
        Expr::Ct(Ct::Status, Register::FIRST),
        Expr::mask(IPS_DST_NAT.to_ne_bytes().to_vec()),
        Expr::differs(0_u32.to_ne_bytes()),
    ];
    rule.extend(of_family(v6));
    rule.extend(to_set(v6, set));
    rule
}

fn from(subnet: &IpCidr) -> Vec<Expr> {
    let mut matches = of_family(subnet.is_ipv6()).to_vec();
    matches.extend(is_in(End::Source, subnet, true));
    matches
}

fn to_set(v6: bool, set: &str) -> [Expr; 3] {
    [
        address(End::Destination, v6, Register::FIRST),
        Expr::Lookup {
            set: set.to_owned(),
            inverted: false,
        },
        Expr::Masquerade,
    ]
}

/// `ip saddr 127.0.0.0/8 oifname . ip daddr @SET masquerade`: no packet leaves the host with such
/// a source but one that we have sent elsewhere.
pub(super) fn over_loopback(set: &str) -> Vec<Expr> {
    let mut rule = of_loopback(End::Source);
    rule.extend([
        Expr::Meta(Meta::OutputName, Register::FIRST),
        address(End::Destination, false, Register::word(4)),
        Expr::Lookup {
            set: set.to_owned(),
            inverted: false,
        },
        Expr::Masquerade,
    ]);
    rule
}

/// `iif != lo ip daddr 127.0.0.0/8 drop`: what the kernel itself drops without `route_localnet`.
pub(super) fn keep_out() -> Vec<Expr> {
    /// `LOOPBACK_IFINDEX`
    const LOOPBACK: u32 = 1;
    let mut rule = vec![
        Expr::Meta(Meta::InputIndex, Register::FIRST),
        Expr::differs(LOOPBACK.to_ne_bytes()),
    ];
    rule.extend(of_loopback(End::Destination));
    rule.push(Expr::Verdict(Verdict::Drop));
    rule
}

/// `ip saddr 127.0.0.0/8`
fn of_loopback(end: End) -> Vec<Expr> {
    let mut matches = of_family(false).to_vec();
    let loopback = IpCidr::new(std::net::Ipv4Addr::LOCALHOST.into(), 8);
    if let Ok(loopback) = loopback {
        matches.extend(is_in(end, &loopback, true));
    }
    matches
}
