//! The IPv4 settings of one link, those of `/proc/sys/net/ipv4/conf/LINK`, over netlink.
//!
//! So they need neither a thread in the namespace nor a writable `/proc/sys`, and go into the same
//! send as everything else. IPv6 has nothing of the kind.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{AfSpecInet, AfSpecUnspec, LinkAttribute};

use super::LinkId;
use super::set::set;
use crate::change::Change;
use crate::error::Op;

/// `IFLA_INET_CONF`.
const INET_CONF: u16 = 1;

/// A setting in `/proc/sys/net/ipv4/conf/LINK`; the numbers are the kernel's `IPV4_DEVCONF_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u16)]
pub enum Ipv4Conf {
    /// `forwarding`: packets that come in by the link are routed on.
    Forwarding = 1,
    /// `proxy_arp`
    ProxyArp = 3,
    /// `rp_filter`
    RpFilter = 8,
    /// `arp_ignore`
    ArpIgnore = 19,
    /// `arp_notify`: gratuitous ARP when the link comes up or its MAC is set.
    ArpNotify = 22,
    /// `route_localnet`: 127.0.0.0/8 is not dropped as a destination.
    RouteLocalnet = 26,
}

impl Ipv4Conf {
    const fn number(self) -> u16 {
        self as u16
    }
}

/// Sets IPv4 settings of a link.
#[must_use]
pub fn set_ipv4_conf(link: &LinkId, settings: &[(Ipv4Conf, u32)]) -> Change {
    set(Op::SetConf, link, |builder| {
        builder.append_extra_attribute(attribute(settings))
    })
}

/// Sets a link up and changes such settings of it, in one request. The kernel does the latter last
/// (`do_setlink` of `net/core/rtnetlink.c`): what an address that comes afterwards meets is there.
#[must_use]
pub fn set_up_with(link: &LinkId, settings: &[(Ipv4Conf, u32)]) -> Change {
    set(Op::SetUp, link, |builder| {
        builder.up().append_extra_attribute(attribute(settings))
    })
}

/// `IFLA_AF_SPEC { AF_INET { IFLA_INET_CONF { setting: value, ... } } }`
fn attribute(settings: &[(Ipv4Conf, u32)]) -> LinkAttribute {
    let mut nested = Vec::with_capacity(8 * settings.len());
    for (conf, value) in settings {
        nested.extend_from_slice(&8_u16.to_ne_bytes());
        nested.extend_from_slice(&conf.number().to_ne_bytes());
        nested.extend_from_slice(&value.to_ne_bytes());
    }
    let conf = AfSpecInet::Other(DefaultNla::new(INET_CONF, nested));
    LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![conf])])
}
