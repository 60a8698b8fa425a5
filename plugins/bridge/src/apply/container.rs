//! The container's end.

use std::time::{Duration, Instant};

use cni_netlink::{
    Change, Dad, LinkId, NetNs, Route as KernelRoute, Socket, add_address, set_up, sysctl,
};
use cni_types::{CniError, Route};

use crate::config::{Addressing, BridgeConfig};
use crate::plan::Addressed;

/// How long IPv6 duplicate address detection may take where it is asked for; the kernel's own is
/// one probe of one second.
const DAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The container's end, from inside its namespace.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub(crate) config: &'a BridgeConfig,
    pub(crate) netns: &'a NetNs,
    pub(crate) link: &'a LinkId,
}

impl Container<'_> {
    /// Opens a socket inside, and on the way sets what has to be set before the link comes up.
    pub(crate) fn enter(&self) -> Result<Socket, CniError> {
        let (ifname, detect) = (self.link.name.as_str(), self.config.detect_duplicates);
        let socket = self.netns.run(|| {
            prepare(ifname, detect);
            Socket::open()
        })?;
        Ok(socket?)
    }

    /// Gives it its addresses, sets it up and adds the routes, in one send.
    pub(crate) fn configure(&self, socket: &Socket, plan: &Addressed) -> Result<(), CniError> {
        if plan.has_ipv6() {
            let ifname = self.link.name.as_str();
            self.netns.run(|| enable_ipv6(ifname))??;
        }
        let dad = if self.config.detect_duplicates {
            Dad::Perform
        } else {
            Dad::Skip
        };
        let mut changes: Vec<Change> = plan
            .addresses()
            .map(|cidr| add_address(self.link, cidr, dad))
            .collect();
        changes.push(set_up(self.link));
        changes.extend(
            plan.routes
                .iter()
                .map(|route| self.kernel_route(route, plan).add()),
        );
        Ok(socket
            .send_all(&changes)
            .map_err(cni_netlink::NetlinkError::from)?)
    }

    /// Waits for duplicate address detection where it is wanted, as the reference does.
    pub(crate) fn settle(&self, socket: &Socket, plan: &Addressed) -> Result<(), CniError> {
        if self.config.detect_duplicates && plan.has_ipv6() {
            socket.wait_dad_done(self.link, Instant::now() + DAD_TIMEOUT)?;
        }
        Ok(())
    }

    /// Without an IPAM the link is just set up, unless it was asked to stay down.
    pub(crate) fn configure_layer_two(&self, socket: &Socket) -> Result<(), CniError> {
        if self.config.addressing != Addressing::Down {
            socket.request(&set_up(self.link))?;
        }
        Ok(())
    }

    fn kernel_route(&self, route: &Route, plan: &Addressed) -> KernelRoute {
        kernel_route(route, plan, self.link.index)
    }
}

/// A route of the result as the kernel gets it.
pub(crate) fn kernel_route(route: &Route, plan: &Addressed, oif: u32) -> KernelRoute {
    let mut kernel = KernelRoute::new(route.dst, plan.router_of(route), oif);
    kernel.mtu = (route.mtu > 0).then_some(route.mtu);
    kernel.advmss = (route.adv_mss > 0).then_some(route.adv_mss);
    kernel.priority = (route.priority > 0).then_some(route.priority);
    if let Some(table) = route.table {
        kernel.table = table;
    }
    if let Some(scope) = route.scope {
        kernel.scope = scope;
    }
    kernel
}

/// Whether the link's IPv6 addresses are usable at once, and whether its neighbours hear of it when
/// it comes up. A namespace without IPv6, or with a read-only /proc/sys, works without.
fn prepare(ifname: &str, detect_duplicates: bool) {
    let ipv6 = |key: &str, value: &str| {
        let _not_there = sysctl::write(&["net", "ipv6", "conf", ifname, key], value);
    };
    if detect_duplicates {
        ipv6("enhanced_dad", "1");
        ipv6("accept_dad", "1");
    } else {
        ipv6("accept_dad", "0");
    }
    let _not_there = sysctl::write(&["net", "ipv4", "conf", ifname, "arp_notify"], "1");
}

/// A namespace may have been made with IPv6 off (Docker's `none` network, podman's default).
fn enable_ipv6(ifname: &str) -> Result<(), sysctl::SysctlError> {
    for link in ["lo", ifname] {
        match sysctl::write_if_different(&["net", "ipv6", "conf", link, "disable_ipv6"], "0") {
            Err(error) if !error.is_gone() => return Err(error),
            _ => {}
        }
    }
    // Addresses that go with the first "down" would be missed after the next "up".
    sysctl::write(&["net", "ipv6", "conf", ifname, "keep_addr_on_down"], "1")
}
