//! Routes.

use std::fmt;
use std::net::IpAddr;

use cni_types::IpCidr;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use nix::libc;

use crate::change::Change;
use crate::error::{NetlinkError, Op};
use crate::frame::{Attrs, Frame, ip_of, u16_at, u32_at, wire};
use crate::socket::{Query, Socket};

/// Bytes of `struct rtmsg`.
const HEADER: usize = 12;
/// Bytes of `struct rtnexthop`.
const NEXTHOP: usize = 8;
/// `RTAX_MTU`.
const METRIC_MTU: u16 = 2;
/// `RTAX_ADVMSS`.
const METRIC_ADVMSS: u16 = 8;

/// The main routing table.
pub const MAIN_TABLE: u32 = libc::RT_TABLE_MAIN as u32;

/// A unicast route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to. Host bits are masked away before it is sent.
    pub dst: IpCidr,
    /// By way of.
    pub gateway: Option<IpAddr>,
    /// The index of the interface it leaves by.
    pub oif: Option<u32>,
    /// The address that connections come from.
    pub source: Option<IpAddr>,
    /// The MTU of the path in bytes.
    pub mtu: Option<u32>,
    /// The maximum segment size to advertise to TCP peers, in bytes.
    pub advmss: Option<u32>,
    /// The metric: among equal destinations the lowest wins.
    pub priority: Option<u32>,
    /// The routing table.
    pub table: u32,
    /// `RT_SCOPE_*`: 0 universe, 253 link, 254 host. IPv6 has none.
    pub scope: u8,
    /// The gateway is a neighbour even though no address says so.
    pub onlink: bool,
    /// Who made it, `RTPROT_*`: 2 the kernel, 3 boot (our own and the reference's), 4 static.
    pub protocol: u8,
}

impl Route {
    /// A route in the main table by way of `gateway`, or straight to the link without one.
    #[must_use]
    pub fn new(dst: IpCidr, gateway: Option<IpAddr>, oif: u32) -> Self {
        Self {
            dst,
            gateway,
            oif: Some(oif),
            source: None,
            mtu: None,
            advmss: None,
            priority: None,
            table: MAIN_TABLE,
            scope: match gateway {
                Some(_) => 0,
                None => SCOPE_LINK,
            },
            onlink: false,
            protocol: libc::RTPROT_BOOT,
        }
    }

    /// Adds it. Routes to the same destination by other ways stay; the very same one must not be
    /// there yet.
    #[must_use]
    pub fn add(&self) -> Change {
        Change::new(
            Op::AddRoute,
            self.to_string(),
            libc::RTM_NEWROUTE,
            wire(libc::NLM_F_CREATE),
            &self.message(),
        )
    }

    /// Deletes it. The kernel takes the first route that has all that is given here.
    #[must_use]
    pub fn delete(&self) -> Change {
        Change::new(
            Op::DeleteRoute,
            self.to_string(),
            libc::RTM_DELROUTE,
            0,
            &self.message(),
        )
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = family(self.dst.is_ipv6());
        header.destination_prefix_length = self.dst.prefix();
        header.table = u8::try_from(self.table).unwrap_or(0);
        header.protocol = RouteProtocol::from(self.protocol);
        header.scope = self.scope.into();
        header.kind = RouteType::Unicast;
        if self.onlink {
            header.flags |= RouteFlags::Onlink;
        }
        message.attributes = self.attributes();
        message
    }

    fn attributes(&self) -> Vec<RouteAttribute> {
        let metrics: Vec<RouteMetric> = [
            self.mtu.map(RouteMetric::Mtu),
            self.advmss.map(RouteMetric::Advmss),
        ]
        .into_iter()
        .flatten()
        .collect();
        let dst = (self.dst.prefix() > 0).then(|| address(self.dst.network()));
        [
            dst.map(RouteAttribute::Destination),
            self.gateway.map(|ip| RouteAttribute::Gateway(address(ip))),
            self.source
                .map(|ip| RouteAttribute::PrefSource(address(ip))),
            self.oif.map(RouteAttribute::Oif),
            self.priority.map(RouteAttribute::Priority),
            // The header has room for the first 255 tables only.
            (self.table > 255).then_some(RouteAttribute::Table(self.table)),
            (!metrics.is_empty()).then_some(RouteAttribute::Metrics(metrics)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// `RT_SCOPE_LINK`.
pub const SCOPE_LINK: u8 = libc::RT_SCOPE_LINK;

impl fmt::Display for Route {
    /// In the words of `ip route`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.dst.subnet())?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(oif) = self.oif {
            write!(f, " oif {oif}")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        if let Some(priority) = self.priority {
            write!(f, " metric {priority}")?;
        }
        Ok(())
    }
}

/// Which routes to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteFilter {
    /// IPv6 or IPv4.
    pub ipv6: bool,
    /// The routing table.
    pub table: u32,
    /// The index of the interface they leave by.
    pub oif: Option<u32>,
}

impl RouteFilter {
    fn wants(&self, route: &Route) -> bool {
        route.table == self.table
            && route.dst.is_ipv6() == self.ipv6
            && (self.oif.is_none() || route.oif == self.oif)
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.ipv6);
        message.header.kind = RouteType::Unicast;
        message.attributes.push(RouteAttribute::Table(self.table));
        message.attributes.extend(self.oif.map(RouteAttribute::Oif));
        message
    }
}

impl Socket {
    /// The unicast routes that a filter picks; each way of a multipath route is one.
    ///
    /// # Errors
    /// The kernel does not answer, or the routes kept changing.
    pub fn routes(&self, filter: RouteFilter) -> Result<Vec<Route>, NetlinkError> {
        use netlink_packet_core::Emitable;
        let message = filter.message();
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        let query = Query {
            op: Op::ListRoutes,
            subject: &format_args!("of table {}", filter.table),
            kind: libc::RTM_GETROUTE,
            body: &body,
        };
        let listed = self.dump(&query, |frame, all| {
            all.extend(parse(frame).into_iter().filter(|route| filter.wants(route)));
        });
        match listed {
            // A table comes into being with its first route.
            Err(error) if error.is_gone() => Ok(Vec::new()),
            other => other,
        }
    }
}

impl Socket {
    /// The route that a packet to `address` takes, as the kernel looks it up; `None` if there is
    /// none, or if the address is the host's own.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn route_to(&self, address: IpAddr) -> Result<Option<Route>, NetlinkError> {
        use netlink_packet_core::Emitable;
        let destination = IpCidr::host(address);
        let mut message = RouteMessage::default();
        message.header.address_family = family(address.is_ipv6());
        message.header.destination_prefix_length = destination.prefix();
        message
            .attributes
            .push(RouteAttribute::Destination(self::address(address)));
        let mut body = vec![0; message.buffer_len()];
        message.emit(&mut body);
        let query = Query {
            op: Op::FindRoute,
            subject: &address,
            kind: libc::RTM_GETROUTE,
            body: &body,
        };
        match self.get(&query, |frame| parse(frame).into_iter().next()) {
            Err(error) if error.is_unreachable() => Ok(None),
            other => other,
        }
    }
}

/// Reads an `RTM_NEWROUTE` of a unicast route; anything else gives nothing.
pub(crate) fn parse(frame: Frame<'_>) -> Vec<Route> {
    if frame.kind != libc::RTM_NEWROUTE {
        return Vec::new();
    }
    parse_unicast(frame.payload).unwrap_or_default()
}

fn parse_unicast(payload: &[u8]) -> Option<Vec<Route>> {
    let &[family, prefix, _, _, table, protocol, scope, kind, ..] =
        payload.first_chunk::<HEADER>()?;
    if kind != libc::RTN_UNICAST {
        return None;
    }
    let ipv6 = i32::from(family) == libc::AF_INET6;
    let flags = RouteFlags::from_bits_retain(u32_at(payload, 8)?);
    let mut route = Route {
        table: table.into(),
        scope,
        protocol,
        onlink: flags.contains(RouteFlags::Onlink),
        ..Route::new(IpCidr::default_route(ipv6), None, 0)
    };
    route.oif = None;
    let mut ways = Vec::new();
    for (kind, value) in Attrs::new(payload.get(HEADER..)?) {
        match kind {
            libc::RTA_DST => route.dst = IpCidr::new(ip_of(value)?, prefix).ok()?,
            libc::RTA_MULTIPATH => ways = parse_nexthops(value),
            _ => take(&mut route, kind, value),
        }
    }
    if ways.is_empty() {
        return Some(vec![route]);
    }
    let with_way = |(oif, gateway)| Route {
        oif: Some(oif),
        gateway,
        ..route.clone()
    };
    Some(ways.into_iter().map(with_way).collect())
}

fn take(route: &mut Route, kind: u16, value: &[u8]) {
    match kind {
        libc::RTA_GATEWAY => route.gateway = ip_of(value),
        libc::RTA_VIA => route.gateway = value.get(2..).and_then(ip_of),
        libc::RTA_OIF => route.oif = u32_at(value, 0),
        libc::RTA_PREFSRC => route.source = ip_of(value),
        libc::RTA_PRIORITY => route.priority = u32_at(value, 0),
        libc::RTA_TABLE => route.table = u32_at(value, 0).unwrap_or(route.table),
        libc::RTA_METRICS => {
            for (metric, value) in Attrs::new(value) {
                match metric {
                    METRIC_MTU => route.mtu = u32_at(value, 0),
                    METRIC_ADVMSS => route.advmss = u32_at(value, 0),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// The interface and gateway of each `struct rtnexthop`.
fn parse_nexthops(mut bytes: &[u8]) -> Vec<(u32, Option<IpAddr>)> {
    let mut ways = Vec::new();
    while let (Some(len), Some(oif)) = (u16_at(bytes, 0), u32_at(bytes, 4)) {
        let len = usize::from(len);
        let Some(attributes) = bytes.get(NEXTHOP..len) else {
            break;
        };
        let gateway = Attrs::new(attributes)
            .find(|(kind, _)| *kind == libc::RTA_GATEWAY)
            .and_then(|(_, value)| ip_of(value));
        ways.push((oif, gateway));
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    ways
}

fn family(ipv6: bool) -> AddressFamily {
    if ipv6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    }
}

fn address(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nexthop(oif: u32, gateway: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![16, 0, 0, 0];
        if cfg!(target_endian = "big") {
            bytes = vec![0, 16, 0, 0];
        }
        bytes.extend_from_slice(&oif.to_ne_bytes());
        bytes.extend_from_slice(&8_u16.to_ne_bytes());
        bytes.extend_from_slice(&libc::RTA_GATEWAY.to_ne_bytes());
        bytes.extend_from_slice(&gateway);
        bytes
    }

    #[test]
    fn every_way_of_a_multipath_route_is_read() {
        let ways = [nexthop(3, [10, 0, 0, 1]), nexthop(4, [10, 0, 1, 1])].concat();
        let expected = [(3, "10.0.0.1"), (4, "10.0.1.1")];
        assert_eq!(
            parse_nexthops(&ways),
            expected.map(|(oif, gateway)| (oif, gateway.parse().ok()))
        );
        assert_eq!(parse_nexthops(&ways[..20]).len(), 1, "cut off");
        assert_eq!(parse_nexthops(&[0; 16]), [], "no length");
    }

    #[test]
    fn a_route_prints_as_ip_route_would() {
        let gateway = "10.1.0.1".parse().ok();
        let route = Route {
            table: 100,
            priority: Some(5),
            ..Route::new("10.2.3.4/16".parse().unwrap(), gateway, 3)
        };
        let text = "10.2.0.0/16 via 10.1.0.1 oif 3 table 100 metric 5";
        assert_eq!(route.to_string(), text);
    }
}
