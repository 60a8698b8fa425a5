//! What a sandbox gets, out of what the driver said to a Join. Pure.

use std::net::IpAddr;

use cni_types::{IfName, IpCidr, MacAddr};

use crate::wire::network::{JoinReply, NEXT_HOP, StaticRoute};

/// Whether an endpoint's gateway becomes the sandbox's default route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultRoute {
    /// Always.
    Always,
    /// Unless the sandbox has one of the family already.
    IfNone,
    /// Never: the network leads nowhere.
    Never,
}

/// Something in a driver's reply that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value:?}: {why}")]
pub struct BadReply {
    /// Which field.
    pub field: &'static str,
    /// What it says.
    pub value: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// What is to be done, besides what the driver says.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The name of the interface, whatever the driver's prefix.
    pub name: &'a IfName,
    /// Its hardware address, if it is not the link's own.
    pub mac: Option<MacAddr>,
    /// Its addresses.
    pub addresses: &'a [IpCidr],
    /// Routes beside the driver's, with or without a router.
    pub routes: &'a [(IpCidr, Option<IpAddr>)],
    /// What becomes of the gateway.
    pub default_route: DefaultRoute,
}

/// A way out for one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By way of a router.
    Via(IpAddr),
    /// Straight to the link, on which somebody answers for the whole world.
    Link {
        /// For IPv6.
        ipv6: bool,
    },
}

impl Exit {
    /// Which family it serves.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        match self {
            Self::Via(router) => router.is_ipv6(),
            Self::Link { ipv6 } => *ipv6,
        }
    }

    /// The router, if there is one.
    #[must_use]
    pub fn router(&self) -> Option<IpAddr> {
        match self {
            Self::Via(router) => Some(*router),
            Self::Link { .. } => None,
        }
    }
}

/// An interface as it is to be in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The link to move, by its name in the host's namespace.
    pub src_name: IfName,
    /// Its name in the sandbox.
    pub name: IfName,
    /// Its hardware address, if it is to be changed.
    pub mac: Option<MacAddr>,
    /// Its addresses.
    pub addresses: Vec<IpCidr>,
    /// Destinations on the link itself.
    pub connected: Vec<IpCidr>,
    /// Destinations behind routers.
    pub next_hops: Vec<(IpCidr, IpAddr)>,
    /// The ways out, at most one for each family.
    pub exits: Vec<Exit>,
    /// What becomes of these.
    pub default_route: DefaultRoute,
}

impl Placement {
    /// The gateway of a family, if the driver named one.
    #[must_use]
    pub fn gateway(&self, ipv6: bool) -> Option<IpAddr> {
        let exit = self.exits.iter().find(|exit| exit.is_ipv6() == ipv6);
        exit.and_then(Exit::router)
    }
}

/// Makes sense of a driver's reply. `None` if it wants nothing moved.
///
/// What is of a family that the endpoint has no address of is left out: a kernel with IPv6 switched
/// off would refuse it, and the container could not use it anyway.
///
/// # Errors
/// Something is not a name, an address or a destination.
pub fn plan(join: &JoinReply, wanted: &Wanted<'_>) -> Result<Option<Placement>, BadReply> {
    let Some(src_name) = src_name(join)? else {
        return Ok(None);
    };
    let mut placement = Placement {
        src_name,
        name: wanted.name.clone(),
        mac: wanted.mac,
        addresses: wanted.addresses.to_vec(),
        connected: Vec::new(),
        next_hops: Vec::new(),
        exits: gateways(join)?,
        default_route: wanted.default_route,
    };
    for route in &join.static_routes {
        let (destination, router) = parse_route(route)?;
        placement.add_route(destination, router);
    }
    for (destination, router) in wanted.routes {
        placement.add_route(*destination, *router);
    }
    placement.keep_families();
    Ok(Some(placement))
}

fn src_name(join: &JoinReply) -> Result<Option<IfName>, BadReply> {
    let name = &join.interface_name.src_name;
    if name.is_empty() {
        return Ok(None);
    }
    let bad = |_why| BadReply {
        field: "InterfaceName.SrcName",
        value: name.clone(),
        why: "this is not the name of an interface",
    };
    name.parse().map(Some).map_err(bad)
}

fn gateways(join: &JoinReply) -> Result<Vec<Exit>, BadReply> {
    let fields = [
        ("Gateway", &join.gateway),
        ("GatewayIPv6", &join.gateway_ipv6),
    ];
    let mut exits: Vec<Exit> = Vec::new();
    for (field, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        let address = value.parse::<IpAddr>().map_err(|_why| BadReply {
            field,
            value: value.clone(),
            why: "this is not an IP address",
        })?;
        // "No gateway" in the words of some.
        if !address.is_unspecified() {
            push_exit(&mut exits, Exit::Via(address));
        }
    }
    Ok(exits)
}

/// The first of a family counts: the gateway before a route to everywhere.
fn push_exit(exits: &mut Vec<Exit>, exit: Exit) {
    if !exits.iter().any(|known| known.is_ipv6() == exit.is_ipv6()) {
        exits.push(exit);
    }
}

fn parse_route(route: &StaticRoute) -> Result<(IpCidr, Option<IpAddr>), BadReply> {
    let destination: IpCidr = route.destination.parse().map_err(|_why| BadReply {
        field: "StaticRoutes.Destination",
        value: route.destination.clone(),
        why: "this is not a destination with a prefix length",
    })?;
    if route.route_type != NEXT_HOP {
        return Ok((destination, None));
    }
    let router = route.next_hop.parse().map_err(|_why| BadReply {
        field: "StaticRoutes.NextHop",
        value: route.next_hop.clone(),
        why: "this is not an IP address",
    })?;
    Ok((destination, Some(router)))
}

impl Placement {
    fn add_route(&mut self, destination: IpCidr, router: Option<IpAddr>) {
        let destination = destination.subnet();
        match router {
            _ if destination.is_default_route() => {
                let ipv6 = destination.is_ipv6();
                let exit = router.map_or(Exit::Link { ipv6 }, Exit::Via);
                push_exit(&mut self.exits, exit);
            }
            Some(router) if !self.next_hops.contains(&(destination, router)) => {
                self.next_hops.push((destination, router));
            }
            None if !self.connected.contains(&destination) => self.connected.push(destination),
            _twice => {}
        }
    }

    fn keep_families(&mut self) {
        let has = |ipv6| {
            let mut addresses = self.addresses.iter();
            addresses.any(|address| address.is_ipv6() == ipv6)
        };
        let (v4, v6) = (has(false), has(true));
        let kept = |ipv6: bool| if ipv6 { v6 } else { v4 };
        self.connected.retain(|route| kept(route.is_ipv6()));
        self.next_hops.retain(|(route, _)| kept(route.is_ipv6()));
        self.exits.retain(|exit| kept(exit.is_ipv6()));
    }

    /// Whether a router can be reached through this link, as far as its own addresses and routes
    /// tell. Others are the kernel's to find.
    #[must_use]
    pub fn reaches(&self, router: IpAddr) -> bool {
        let link_local =
            matches!(router, IpAddr::V6(router) if router.segments()[0] & 0xffc0 == 0xfe80);
        let mut on_link = self.addresses.iter().chain(&self.connected);
        link_local || on_link.any(|subnet| subnet.contains(router))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode;

    fn planned(reply: &str, addresses: &[&str]) -> Result<Option<Placement>, BadReply> {
        let join: JoinReply = decode(reply.as_bytes()).unwrap();
        let addresses: Vec<IpCidr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        plan(
            &join,
            &Wanted {
                name: &"eth0".parse().unwrap(),
                mac: None,
                addresses: &addresses,
                routes: &[],
                default_route: DefaultRoute::IfNone,
            },
        )
    }

    fn placed(reply: &str, addresses: &[&str]) -> Placement {
        planned(reply, addresses).unwrap().unwrap()
    }

    #[test]
    fn nothing_to_move() {
        for reply in [
            "null",
            "{}",
            r#"{"InterfaceName": null}"#,
            r#"{"InterfaceName": {"SrcName": "", "DstPrefix": "eth"}}"#,
        ] {
            assert_eq!(planned(reply, &["10.0.0.2/24"]), Ok(None), "{reply}");
        }
    }

    #[test]
    fn the_name_is_the_attachments_not_the_drivers() {
        let placement = placed(
            r#"{"InterfaceName": {"SrcName": "temp1", "DstPrefix": "cali"}}"#,
            &["10.0.0.2/24"],
        );
        assert_eq!(placement.src_name.as_str(), "temp1");
        assert_eq!(placement.name.as_str(), "eth0");
        assert_eq!(placement.exits, []);
    }

    /// Calico always tells an IPv6 gateway, and a route to it.
    #[test]
    fn what_an_endpoint_without_ipv6_cannot_use_is_left_out() {
        let reply = r#"{"InterfaceName": {"SrcName": "temp1", "DstPrefix": "cali"},
            "Gateway": "169.254.1.1", "GatewayIPv6": "fe80::1",
            "StaticRoutes": [
                {"Destination": "169.254.1.1/32", "RouteType": 1, "NextHop": ""},
                {"Destination": "fe80::1/128", "RouteType": 1, "NextHop": ""}]}"#;
        let v4 = placed(reply, &["192.168.1.5/32"]);
        assert_eq!(v4.connected, ["169.254.1.1/32".parse().unwrap()]);
        assert_eq!(v4.exits, [Exit::Via("169.254.1.1".parse().unwrap())]);
        assert!(v4.reaches("169.254.1.1".parse().unwrap()));
        let both = placed(reply, &["192.168.1.5/32", "fd00::5/128"]);
        assert_eq!((both.connected.len(), both.exits.len()), (2, 2));
        assert!(both.reaches("fe80::1".parse().unwrap()));
    }

    /// cilium-docker: the default route is one of the static ones.
    #[test]
    fn a_static_default_route_is_a_gateway_and_the_gateway_wins() {
        let reply = r#"{"InterfaceName": {"SrcName": "tmp1"}, "Gateway": "10.0.0.1",
            "StaticRoutes": [
                {"Destination": "0.0.0.0/0", "RouteType": 0, "NextHop": "10.0.0.1"},
                {"Destination": "::/0", "RouteType": 1},
                {"Destination": "10.9.0.7/16", "RouteType": 0, "NextHop": "10.0.0.9"},
                {"Destination": "10.9.0.0/16", "RouteType": 0, "NextHop": "10.0.0.9"}]}"#;
        let placement = placed(reply, &["10.0.0.2/24", "fd00::2/64"]);
        assert_eq!(placement.gateway(false), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(placement.gateway(true), None);
        assert_eq!(placement.exits[1], Exit::Link { ipv6: true });
        let behind = ("10.9.0.0/16".parse().unwrap(), "10.0.0.9".parse().unwrap());
        assert_eq!(placement.next_hops, [behind], "once, without host bits");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (reply, field) in [
            (
                r#"{"InterfaceName": {"SrcName": "a/b"}}"#,
                "InterfaceName.SrcName",
            ),
            (
                r#"{"InterfaceName": {"SrcName": "a"}, "Gateway": "10.0.0.1/24"}"#,
                "Gateway",
            ),
            (
                r#"{"InterfaceName": {"SrcName": "a"}, "StaticRoutes": [{"Destination": "x"}]}"#,
                "StaticRoutes.Destination",
            ),
            (
                r#"{"InterfaceName": {"SrcName": "a"}, "StaticRoutes": [{"Destination": "10.0.0.0/8"}]}"#,
                "StaticRoutes.NextHop",
            ),
        ] {
            assert_eq!(planned(reply, &[]).unwrap_err().field, field);
        }
        let none = placed(
            r#"{"InterfaceName": {"SrcName": "a"}, "Gateway": "0.0.0.0"}"#,
            &["10.0.0.2/24"],
        );
        assert_eq!(none.exits, []);
    }
}
