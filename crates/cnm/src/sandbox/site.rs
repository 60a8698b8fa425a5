//! A link inside its sandbox: what it is given there.

use std::net::IpAddr;

use cni_netlink::{
    Change, Dad, Ipv4Conf, LinkId, MAIN_TABLE, NetNs, NetlinkError, Route, RouteFilter, Socket,
    add_address, advertise, gratuitous_arp, set_ipv4_conf, set_mac, set_up, sysctl,
};
use cni_types::{IpCidr, MacAddr};

use super::SandboxError;
use super::plan::{DefaultRoute, Exit, Placement};

/// A link inside its sandbox.
pub(super) struct Site<'a> {
    pub(super) netns: &'a NetNs,
    pub(super) inside: &'a Socket,
    pub(super) link: LinkId,
}

impl Site<'_> {
    /// Hardware address, addresses, up: in one send.
    pub(super) fn configure(&self, placement: &Placement) -> Result<(), SandboxError> {
        let ipv6 = placement.addresses.iter().any(IpCidr::is_ipv6);
        self.netns.run(|| prepare_ipv6(&self.link.name, ipv6))??;
        // The kernel is to tell the neighbours of addresses when they are announced.
        let mut changes = vec![set_ipv4_conf(&self.link, &[(Ipv4Conf::ArpNotify, 1)])];
        changes.extend(placement.mac.map(|mac| set_mac(&self.link, mac)));
        let addresses = placement.addresses.iter();
        changes.extend(addresses.map(|cidr| add_address(&self.link, *cidr, Dad::Skip)));
        changes.push(set_up(&self.link));
        Ok(self.inside.send_all(&changes).map_err(NetlinkError::from)?)
    }

    /// Connected destinations first, since routers are reached through them; then routers, then the
    /// ways out. What is there already, through the same link, is as it should be.
    pub(super) fn add_routes(
        &self,
        placement: &Placement,
    ) -> Result<Vec<(IpCidr, Option<IpAddr>)>, SandboxError> {
        let mut wanted: Vec<(IpCidr, Option<IpAddr>)> = placement
            .connected
            .iter()
            .map(|destination| (*destination, None))
            .collect();
        let next_hops = placement.next_hops.iter();
        wanted.extend(next_hops.map(|(destination, router)| (*destination, Some(*router))));
        for exit in self.wanted_exits(placement)? {
            let everywhere = IpCidr::default_route(exit.is_ipv6());
            wanted.push((everywhere, exit.router()));
        }
        let mut changes: Vec<Change> = Vec::new();
        for (destination, router) in &wanted {
            changes.push(self.route(placement, *destination, *router)?.add());
        }
        for outcome in self.inside.send_each(&changes) {
            match outcome {
                Err(error) if !error.is_exists() => return Err(error.into()),
                _there => {}
            }
        }
        Ok(wanted)
    }

    fn wanted_exits(&self, placement: &Placement) -> Result<Vec<Exit>, SandboxError> {
        let mut wanted = Vec::new();
        for exit in &placement.exits {
            let take = match placement.default_route {
                DefaultRoute::Always => true,
                DefaultRoute::Never => false,
                DefaultRoute::IfNone => self.default_routes(exit.is_ipv6())?.is_empty(),
            };
            wanted.extend(take.then_some(*exit));
        }
        Ok(wanted)
    }

    fn default_routes(&self, ipv6: bool) -> Result<Vec<Route>, SandboxError> {
        let filter = RouteFilter {
            ipv6,
            table: MAIN_TABLE,
            oif: None,
        };
        let mut routes = self.inside.routes(filter)?;
        routes.retain(|route| route.dst.is_default_route());
        Ok(routes)
    }

    /// A router that this link does not reach may be one that another link does: the kernel finds
    /// it, as libnetwork asks it to. A gateway must be this link's, and comes before those of others.
    fn route(
        &self,
        placement: &Placement,
        to: IpCidr,
        router: Option<IpAddr>,
    ) -> Result<Route, SandboxError> {
        let mut route = Route::new(to, router, self.link.index);
        if to.is_default_route() && to.is_ipv6() {
            // Of IPv4 routes that are equal but for their ways the last one counts. IPv6 would make
            // one route of them, and spread the traffic over both links.
            let others = self.default_routes(true)?;
            let first = others.iter().map(|other| other.priority.unwrap_or(0)).min();
            route.priority = first.map(|metric| metric.saturating_sub(1).max(1));
        }
        if let Some(router) = router
            && !to.is_default_route()
            && !placement.reaches(router)
        {
            route.oif = None;
        }
        Ok(route)
    }

    /// Whoever had the addresses before may be remembered by the neighbours. Nothing depends on it,
    /// and not every kind of link can do it.
    pub(super) fn announce(&self, placement: &Placement, mac: Option<MacAddr>) {
        let Some(mac) = mac else {
            return;
        };
        let addresses: Vec<IpAddr> = placement.addresses.iter().map(IpCidr::addr).collect();
        if addresses.iter().any(IpAddr::is_ipv4) {
            let _best_effort = self.inside.request(&gratuitous_arp(&self.link, mac));
        }
        if addresses.iter().any(IpAddr::is_ipv6) {
            let _best_effort = self.netns.run(|| advertise(&self.link, mac, &addresses));
        }
    }
}

/// A sandbox may have been made with IPv6 off, as Docker makes them; a kernel without it works
/// without, unless an address needs it.
fn prepare_ipv6(ifname: &str, needed: bool) -> Result<(), SandboxError> {
    let _not_there = sysctl::write(&["net", "ipv6", "conf", ifname, "accept_dad"], "0");
    if needed {
        sysctl::write_if_different(&["net", "ipv6", "conf", ifname, "disable_ipv6"], "0")?;
    }
    Ok(())
}
