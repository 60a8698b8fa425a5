//! The container's end.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use cni_netlink::{
    Change, Dad, Ipv4Conf, LinkId, NetNs, NetlinkError, Route as KernelRoute, Socket, add_address,
    advertise, gratuitous_arp, set_up, set_up_with, sysctl,
};
use cni_types::{CniError, IfName, MacAddr, Route};

use crate::error::BridgeError;
use crate::plan::Addressed;

/// How long IPv6 duplicate address detection may take where it is asked for; the kernel's own is
/// one probe of one second.
const DAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A socket inside the container's namespace, where the interface's name is free.
///
/// A name that is taken is most likely that of a living attachment, whose addresses a second ADD
/// must not touch: nothing may be asked of the IPAM before this.
pub(crate) fn enter(netns: &NetNs, home: &NetNs, ifname: &IfName) -> Result<Socket, CniError> {
    let inside = netns.socket_from(home)?;
    match inside.find_link(ifname)? {
        Some(_taken) => Err(BridgeError::ContainerNameTaken(ifname.clone()).into()),
        None => Ok(inside),
    }
}

/// The container's end, from inside its namespace.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    pub(crate) netns: &'a NetNs,
    /// The host's.
    pub(crate) home: &'a NetNs,
    pub(crate) inside: &'a Socket,
    pub(crate) link: &'a LinkId,
    pub(crate) mac: MacAddr,
    /// Whether IPv6 addresses wait for duplicate address detection.
    pub(crate) detect_duplicates: bool,
}

impl Container<'_> {
    /// Sets it up, and before that what has to be set before. This needs no addresses: the IPAM may
    /// still be at work.
    pub(crate) fn set_up(&self) -> Result<(), CniError> {
        self.netns.run_from(self.home, || {
            prepare_ipv6(&self.link.name, self.detect_duplicates);
        })?;
        // The kernel is to tell the neighbours of addresses when the link comes up again.
        let settings = [(Ipv4Conf::ArpNotify, 1)];
        Ok(self
            .inside
            .request(&set_up_with(self.link, &settings))
            .map(drop)?)
    }

    /// Gives it its addresses and routes and tells the neighbours, who may remember whoever had the
    /// addresses before: in one send. Its port must be forwarding, or nobody hears it.
    pub(crate) fn configure(&self, plan: &Addressed) -> Result<(), CniError> {
        if plan.has_ipv6() {
            self.netns
                .run_from(self.home, || enable_ipv6(&self.link.name))??;
        }
        let dad = if self.detect_duplicates {
            Dad::Perform
        } else {
            Dad::Skip
        };
        let addresses = plan
            .addresses()
            .map(|cidr| add_address(self.link, cidr, dad));
        let routes = plan.routes.iter();
        let routes = routes.map(|route| kernel_route(route, plan, self.link.index).add());
        let mut changes: Vec<Change> = addresses.chain(routes).collect();
        if plan.has_ipv4() {
            changes.push(gratuitous_arp(self.link, self.mac));
        }
        Ok(self.inside.send_all(&changes).map_err(NetlinkError::from)?)
    }

    /// Waits for duplicate address detection where it is wanted, as the reference does.
    pub(crate) fn settle(&self, plan: &Addressed) -> Result<(), CniError> {
        if self.detect_duplicates && plan.has_ipv6() {
            self.inside
                .wait_dad_done(self.link, Instant::now() + DAD_TIMEOUT)?;
        }
        Ok(())
    }

    /// Tells the neighbours of the IPv6 addresses, once they are nobody else's.
    pub(crate) fn advertise(&self, plan: &Addressed) -> Result<(), CniError> {
        if plan.has_ipv6() {
            let addresses: Vec<IpAddr> = plan.addresses().map(|cidr| cidr.addr()).collect();
            self.netns
                .run_from(self.home, || advertise(self.link, self.mac, &addresses))??;
        }
        Ok(())
    }

    /// Without an IPAM it is just set up.
    pub(crate) fn set_up_bare(&self) -> Result<(), CniError> {
        self.inside.request(&set_up(self.link))?;
        Ok(())
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

/// Whether the link's own IPv6 address is usable at once. A namespace without IPv6, or with a
/// read-only /proc/sys, works without.
fn prepare_ipv6(ifname: &str, detect_duplicates: bool) {
    let ipv6 = |key: &str, value: &str| {
        let _not_there = sysctl::write(&["net", "ipv6", "conf", ifname, key], value);
    };
    if detect_duplicates {
        ipv6("enhanced_dad", "1");
        ipv6("accept_dad", "1");
    } else {
        ipv6("accept_dad", "0");
    }
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
