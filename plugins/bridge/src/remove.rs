//! DEL: everything that can be found, whatever is gone already, and an error only for what could
//! not be removed.

use cni_netlink::{Link, LinkId, NetNs, Socket, delete_link};
use cni_plugin::DelRequest;
use cni_types::{Attachment, CniError, CniResult, Command, IfName, Interface, IpCidr};

use crate::apply::bridge::ignore_gone;
use crate::apply::filter;
use crate::config;
use crate::ipam;
use crate::owner;

/// Removes the attachment.
///
/// The config need not be valid any more: nothing but the IPAM's type is read of it. The address
/// goes back last, when nothing answers to it any more.
pub(crate) fn remove(request: &DelRequest) -> Result<(), CniError> {
    let mut errors = Vec::new();
    let prev_result = request.prev_result().unwrap_or_default();
    let container = find_container_end(request).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let addresses = known_addresses(&prev_result, container.as_ref());
    let known = (!addresses.is_empty()).then_some(addresses.as_slice());
    // Closing the packet filter's socket waits for the kernel to dispose of the rules, as deleting
    // a link does for the link: kept open until then, it waits for both at once.
    let filter = filter::remove_all(&request.attachment, known, &mut errors);
    if let Some(end) = container {
        errors.extend(
            ignore_gone(end.inside.request(&delete_link(&end.link)))
                .err()
                .map(CniError::from),
        );
    }
    errors.extend(remove_host_end(&request.attachment, &prev_result).err());
    drop(filter);
    errors.extend(release_addresses(request).err());
    CniError::collect(errors)
}

/// The container's end of the veth pair, and its addresses.
struct ContainerEnd {
    inside: Socket,
    link: LinkId,
    addresses: Vec<IpCidr>,
}

fn find_container_end(request: &DelRequest) -> Result<Option<ContainerEnd>, CniError> {
    let Some(path) = &request.netns else {
        return Ok(None);
    };
    let Some(netns) = NetNs::open_if_there(path)? else {
        return Ok(None);
    };
    let inside = netns.socket()?;
    match inside.find_link(&request.attachment.ifname)? {
        Some(link) if link.is_kind("veth") => {
            let link = link.id();
            let addresses = inside.addresses(Some(&link))?;
            let addresses = addresses.iter().filter(|address| !address.is_link_scope());
            let addresses = addresses.map(|address| address.cidr).collect();
            Ok(Some(ContainerEnd {
                inside,
                link,
                addresses,
            }))
        }
        // What is no veth is not ours, and not the reference's either.
        Some(_) | None => Ok(None),
    }
}

/// The addresses that the container had, as far as anybody knows.
fn known_addresses(prev_result: &CniResult, container: Option<&ContainerEnd>) -> Vec<IpCidr> {
    let found = container.map_or([].as_slice(), |end| end.addresses.as_slice());
    let told = prev_result.ips.iter().map(|ip| ip.address);
    let mut addresses: Vec<IpCidr> = told.chain(found.iter().copied()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// The host end goes with the container's, unless that could not be reached: its namespace may live
/// on without a name.
fn remove_host_end(attachment: &Attachment, prev_result: &CniResult) -> Result<(), CniError> {
    let host = Socket::open()?;
    for attempt in 0..owner::HOST_NAMES {
        let Some(name) = owner::host_name(attachment, attempt) else {
            continue;
        };
        match host.find_link(&name)? {
            Some(link) if is_own_host_end(&link, attachment) => {
                ignore_gone(host.request(&delete_link(&link.id())))?;
            }
            // The next name was tried only when this one was taken.
            Some(_foreign) => {}
            None => break,
        }
    }
    for interface in prev_result
        .interfaces
        .iter()
        .filter(|interface| interface.sandbox.is_empty())
    {
        let Ok(name) = interface.name.parse::<IfName>() else {
            continue;
        };
        match host.find_link(&name)? {
            Some(link) if is_references_host_end(&link, interface) => {
                ignore_gone(host.request(&delete_link(&link.id())))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_own_host_end(link: &Link, attachment: &Attachment) -> bool {
    link.is_kind("veth") && owner::is_of_attachment(link.alias.as_deref(), attachment)
}

/// The reference marks nothing. Its names are random, though, and the result has the MAC address.
fn is_references_host_end(link: &Link, told: &Interface) -> bool {
    let mac = link.mac.map(|mac| mac.to_string());
    link.is_kind("veth")
        && link.name.starts_with("veth")
        && link.alias.is_none()
        && mac.is_some_and(|mac| mac.eq_ignore_ascii_case(&told.mac))
}

fn release_addresses(request: &DelRequest) -> Result<(), CniError> {
    let Some(ipam) = config::ipam_type(&request.request.config) else {
        return Ok(());
    };
    let delegate = ipam::find(&request.request, ipam)?;
    delegate.run(Command::Del, request.request.delegate_deadline())
}
