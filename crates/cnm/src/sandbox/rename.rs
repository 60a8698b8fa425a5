//! Giving a link in a sandbox another name, in such a way that whoever put it there still finds it.
//!
//! Docker looks for its links by the names that it gave them. One that has been renamed stays behind
//! when Docker disconnects the container, which says nothing of it; an alternative name leads Docker
//! to it. A link that is up can be renamed since Linux 6.2; before, it has to be down for a moment,
//! which takes its routes away, and its IPv6 addresses.

use cni_netlink::{
    Address, Change, Dad, Link, LinkId, MAIN_TABLE, NetlinkError, Route, RouteFilter, Socket,
    add_address, add_alt_name, rename_link, set_down, set_up,
};
use cni_types::{IfName, IpCidr};
use nix::errno::Errno;

/// Who made a route (`RTPROT_*`): an ICMP redirect, the kernel for an address, a router that
/// advertised it. These come back by themselves.
const BY_THEMSELVES: [u8; 3] = [1, 2, 9];

/// Renames a link, whatever its state, which stays.
///
/// # Errors
/// The name is taken, or the kernel refuses something else.
pub fn rename(inside: &Socket, link: &Link, name: &IfName) -> Result<(), NetlinkError> {
    match inside.request(&rename_link(&link.id(), name)) {
        Err(error) if link.is_up() && error.errno() == Some(Errno::EBUSY) => {
            rename_down(inside, link, name)
        }
        outcome => outcome.map(drop),
    }
}

/// Renames a link that is up by setting it down and up again, and puts back what that takes away.
/// Kernels before 6.2 allow no other way.
///
/// # Errors
/// As [`rename`].
pub fn rename_down(inside: &Socket, link: &Link, name: &IfName) -> Result<(), NetlinkError> {
    let id = link.id();
    let mut routes = Vec::new();
    for ipv6 in [false, true] {
        routes.extend(inside.routes(RouteFilter {
            ipv6,
            table: MAIN_TABLE,
            oif: Some(link.index),
        })?);
    }
    let lost = Lost::of(&inside.addresses(Some(&id))?, routes);
    // The link comes up again also if it cannot be renamed.
    let renaming = [set_down(&id), rename_link(&id, name), set_up(&id)];
    let outcomes = inside.send_each(&renaming).into_iter();
    let outcomes = outcomes.chain(inside.send_each(&lost.put_back(&id)));
    for outcome in outcomes {
        match outcome {
            Err(error) if !error.is_exists() || error.op == renaming[1].op() => return Err(error),
            _there => {}
        }
    }
    Ok(())
}

/// Lets a link be found by the name that it had before; `false` if the kernel has no alternative
/// names (Linux 5.5 brought them).
///
/// # Errors
/// The name is taken, or the kernel refuses something else.
pub fn keep_old_name(inside: &Socket, link: &LinkId, old: &IfName) -> Result<bool, NetlinkError> {
    match inside.request(&add_alt_name(link, old)) {
        Ok(_) => Ok(true),
        Err(error) if error.errno() == Some(Errno::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What a link loses by being set down, and does not get back by being set up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Lost {
    addresses: Vec<IpCidr>,
    /// Those straight to the link first: others are reached through them.
    routes: Vec<Route>,
}

impl Lost {
    fn of(addresses: &[Address], mut routes: Vec<Route>) -> Self {
        let addresses = addresses.iter();
        let addresses = addresses.filter(|one| one.cidr.is_ipv6() && !one.is_link_scope());
        routes.retain(|route| !BY_THEMSELVES.contains(&route.protocol));
        routes.sort_by_key(|route| route.gateway.is_some());
        Self {
            addresses: addresses.map(|one| one.cidr).collect(),
            routes,
        }
    }

    fn put_back(&self, link: &LinkId) -> Vec<Change> {
        let addresses = self.addresses.iter();
        addresses
            // Nobody has taken it in this moment.
            .map(|cidr| add_address(link, *cidr, Dad::Skip))
            .chain(self.routes.iter().map(Route::add))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(cidr: &str, scope: u8) -> Address {
        Address {
            index: 5,
            cidr: cidr.parse().unwrap(),
            peer: None,
            broadcast: None,
            scope,
            flags: 0,
            label: None,
        }
    }

    fn route(dst: &str, gateway: &str, protocol: u8) -> Route {
        Route {
            protocol,
            ..Route::new(dst.parse().unwrap(), gateway.parse().ok(), 5)
        }
    }

    #[test]
    fn what_does_not_come_back_by_itself_is_put_back_in_order() {
        let addresses = [
            address("10.77.0.2/24", 0),
            address("fd77::2/64", 0),
            address("fe80::1/64", 253),
        ];
        let routes = vec![
            route("0.0.0.0/0", "10.77.0.1", 3),
            route("10.77.0.0/24", "", 2),
            route("10.8.0.0/16", "", 3),
            route("fd77::/64", "", 2),
            route("::/0", "fe80::99", 9),
            route("::/0", "fd77::1", 4),
        ];
        let changes = Lost::of(&addresses, routes).put_back(&LinkId::new(5, "eth1"));
        let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "add address fd77::2/64 dev eth1",
                "add route 10.8.0.0/16 oif 5",
                "add route 0.0.0.0/0 via 10.77.0.1 oif 5",
                "add route ::/0 via fd77::1 oif 5",
            ]
        );
    }
}
