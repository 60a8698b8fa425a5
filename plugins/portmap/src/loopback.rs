//! Mapped ports at 127.0.0.1: the interface that leads to the container has to let 127.0.0.0/8 pass.

use cni_firewall::{Nft, portmap};
use cni_netlink::{LinkId, NetlinkError, Socket, localnet};
use cni_types::{CniError, IfName, IpCidr};

/// The interface by which an address is reached; `None` if it is not.
pub(crate) fn interface_to(host: &Socket, address: IpCidr) -> Result<Option<LinkId>, NetlinkError> {
    let route = host.route_to(address.addr())?;
    let Some(index) = route.and_then(|route| route.oif) else {
        return Ok(None);
    };
    let link = host.find_link_by_index(index)?;
    Ok(link.map(|link| link.id()))
}

/// The interfaces that have been opened.
pub(crate) fn opened() -> Result<Vec<IfName>, CniError> {
    let links = Socket::open()?.links()?.into_iter();
    let mut opened = Vec::new();
    for interface in links.filter_map(|link| link.name.parse::<IfName>().ok()) {
        if localnet::is_opened_by_us(&interface)? {
            opened.push(interface);
        }
    }
    Ok(opened)
}

/// Closes interfaces unless a mapping needs them.
///
/// An ADD may come in between, with a mapping that needs the interface: it has put its mapping into
/// the ruleset before it looked at the interface, so it is seen here, or it finds it closed.
pub(crate) fn close(nft: &mut Nft, interfaces: &[IfName]) -> Result<(), CniError> {
    if interfaces.is_empty() {
        return Ok(());
    }
    let host = Socket::open()?;
    for interface in interfaces {
        if portmap::uses_loopback(nft, interface)? {
            continue;
        }
        localnet::close(&host, interface)?;
        if portmap::uses_loopback(nft, interface)?
            && let Some(link) = host.find_link(interface)?
        {
            localnet::open(&host, &link.id())?;
        }
    }
    Ok(())
}
