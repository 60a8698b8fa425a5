//! What is wanted, given what is there. Pure.

pub(crate) mod vlan;

use std::net::IpAddr;

use cni_netlink::{Link, SCOPE_LINK};
use cni_types::{CniResult, Dns, IfName, Interface, IpCidr, IpConfig, Route};

use crate::config::{BridgeConfig, Gateway};
use crate::error::BridgeError;

/// Where the container's interface stands in the result's list; the reference's order.
pub(crate) const CONTAINER_INDEX: usize = 2;

/// What the container is to get.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Addressed {
    pub(crate) ips: Vec<IpConfig>,
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Dns,
    /// The addresses that the bridge is to have.
    pub(crate) gateways: Vec<IpCidr>,
}

/// A link by the bridge's name, if it is usable as one.
pub(crate) fn usable_bridge(
    name: &IfName,
    found: Option<Link>,
) -> Result<Option<Link>, BridgeError> {
    match found {
        Some(link) if !link.is_kind("bridge") => Err(BridgeError::NotABridge(name.clone())),
        found => Ok(found),
    }
}

/// Completes what the IPAM gave: gateways, default routes, and whose addresses they are.
pub(crate) fn address(config: &BridgeConfig, ipam: CniResult) -> Result<Addressed, BridgeError> {
    if ipam.ips.is_empty() {
        return Err(BridgeError::NoAddress);
    }
    let mut plan = Addressed {
        routes: ipam.routes,
        dns: config.dns.clone().unwrap_or(ipam.dns),
        ..Addressed::default()
    };
    for mut ip in ipam.ips {
        ip.interface = Some(CONTAINER_INDEX);
        if config.gateway >= Gateway::Yes {
            let gateway = ip.gateway.or_else(|| first_address(ip.address));
            let gateway = gateway.ok_or(BridgeError::NoGateway(ip.address))?;
            ip.gateway = Some(gateway);
            plan.add_gateway(ip.address, gateway);
        }
        if config.gateway == Gateway::Default {
            plan.add_default_route(ip.address.is_ipv6(), ip.gateway);
        }
        plan.ips.push(ip);
    }
    Ok(plan)
}

impl Addressed {
    fn add_gateway(&mut self, address: IpCidr, gateway: IpAddr) {
        if let Ok(cidr) = IpCidr::new(gateway, address.prefix())
            && !self.gateways.contains(&cidr)
        {
            self.gateways.push(cidr);
        }
    }

    /// Once for each family, and not when the IPAM has given one that says its router.
    fn add_default_route(&mut self, v6: bool, gateway: Option<IpAddr>) {
        let dst = IpCidr::default_route(v6);
        if !self
            .routes
            .iter()
            .any(|route| route.dst == dst && route.gw.is_some())
        {
            self.routes.push(Route::via(dst, gateway));
        }
    }

    /// The router of a route that names none: the first gateway of its family. A route whose scope
    /// is the link or the host has none.
    pub(crate) fn router_of(&self, route: &Route) -> Option<IpAddr> {
        if route.scope.is_some_and(|scope| scope >= SCOPE_LINK) {
            return route.gw;
        }
        let v6 = route.dst.is_ipv6();
        let of_family = |ip: &&IpConfig| ip.address.is_ipv6() == v6;
        route
            .gw
            .or_else(|| self.ips.iter().filter(of_family).find_map(|ip| ip.gateway))
    }

    pub(crate) fn has_ipv4(&self) -> bool {
        self.ips.iter().any(|ip| !ip.address.is_ipv6())
    }

    pub(crate) fn has_ipv6(&self) -> bool {
        self.ips.iter().any(|ip| ip.address.is_ipv6())
    }

    /// The addresses as they go onto the interface.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpCidr> {
        self.ips.iter().map(|ip| ip.address)
    }
}

/// The subnet's first address after its network address, as the reference takes it for the
/// gateway.
fn first_address(cidr: IpCidr) -> Option<IpAddr> {
    let first = match cidr.network() {
        IpAddr::V4(network) => u32::from(network)
            .checked_add(1)
            .map(|addr| IpAddr::V4(addr.into())),
        IpAddr::V6(network) => u128::from(network)
            .checked_add(1)
            .map(|addr| IpAddr::V6(addr.into())),
    };
    first.filter(|addr| cidr.contains(*addr))
}

/// A change to the addresses of the gateway's interface.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GatewayChange {
    Add(IpCidr),
    Remove(IpCidr),
}

/// How the interface gets the gateways' addresses, given those it has.
///
/// One IPv4 address is all that a bridge has, and IPv6 subnets must not overlap, unless all of them
/// are wanted: then they are there on purpose.
pub(crate) fn gateway_changes(
    bridge: &IfName,
    has: &[IpCidr],
    wanted: &[IpCidr],
    force: bool,
) -> Result<Vec<GatewayChange>, BridgeError> {
    let mut changes = Vec::new();
    for gateway in wanted.iter().filter(|gateway| !has.contains(gateway)) {
        for found in has
            .iter()
            .filter(|found| conflict(**found, *gateway) && !wanted.contains(found))
        {
            if !force {
                return Err(BridgeError::other_address(bridge, *gateway, *found));
            }
            let removal = GatewayChange::Remove(*found);
            if !changes.contains(&removal) {
                changes.push(removal);
            }
        }
        changes.push(GatewayChange::Add(*gateway));
    }
    Ok(changes)
}

fn conflict(found: IpCidr, wanted: IpCidr) -> bool {
    match (found.is_ipv6(), wanted.is_ipv6()) {
        (false, false) => true,
        (true, true) => found.contains(wanted.addr()) || wanted.contains(found.addr()),
        _ => false,
    }
}

/// The links of an attachment, as they were made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) bridge: Interface,
    pub(crate) host: Interface,
    pub(crate) container: Interface,
    pub(crate) vlan_gateway: Option<Interface>,
}

/// The result of the ADD.
pub(crate) fn report(made: Made, addressed: Addressed) -> CniResult {
    let mut interfaces = vec![made.bridge, made.host, made.container];
    interfaces.extend(made.vlan_gateway);
    CniResult {
        interfaces,
        ips: addressed.ips,
        routes: addressed.routes,
        dns: addressed.dns,
    }
}

#[cfg(test)]
mod tests;
