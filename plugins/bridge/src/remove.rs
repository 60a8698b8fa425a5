//! DEL: everything that can be found, whatever is gone already, and an error only for what could
//! not be removed.

use cni_netlink::{Link, NetNs, Socket, delete_link};
use cni_plugin::{DelRequest, Delegate};
use cni_types::{Attachment, CniError, Command, IpCidr};

use crate::apply::bridge::ignore_gone;
use crate::apply::filter;
use crate::config;
use crate::owner;

/// Removes the attachment.
///
/// The config need not be valid any more: nothing but the IPAM's type is read of it. The address
/// goes back last, when nothing answers to it any more.
pub(crate) fn remove(request: &DelRequest) -> Result<(), CniError> {
    let mut errors = Vec::new();
    let addresses = remove_links(request, &mut errors);
    let known = (!addresses.is_empty()).then_some(addresses.as_slice());
    filter::remove_all(&request.attachment, known, &mut errors);
    errors.extend(release_addresses(request).err());
    CniError::collect(errors).map_or(Ok(()), Err)
}

/// Deletes the veth pair and tells which addresses the container had, as far as anybody knows.
fn remove_links(request: &DelRequest, errors: &mut Vec<CniError>) -> Vec<IpCidr> {
    let mut addresses: Vec<IpCidr> = request
        .prev_result()
        .map(|result| result.ips.iter().map(|ip| ip.address).collect())
        .unwrap_or_default();
    match remove_container_end(request) {
        Ok(found) => addresses.extend(found),
        Err(error) => errors.push(error),
    }
    errors.extend(remove_host_end(&request.attachment).err());
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn remove_container_end(request: &DelRequest) -> Result<Vec<IpCidr>, CniError> {
    let Some(path) = &request.netns else {
        return Ok(Vec::new());
    };
    let netns = match NetNs::open(path) {
        // An unmounted namespace leaves a plain file behind.
        Err(error) if error.is_gone() || error.is_not_namespace() => return Ok(Vec::new()),
        other => other?,
    };
    let inside = netns.socket()?;
    let Some(link) = inside.find_link(&request.attachment.ifname)? else {
        return Ok(Vec::new());
    };
    if !link.is_kind("veth") {
        // Not ours, and not the reference's either.
        return Ok(Vec::new());
    }
    let addresses = inside.addresses(Some(&link.id()))?;
    ignore_gone(inside.request(&delete_link(&link.id())))?;
    Ok(addresses
        .iter()
        .filter(|address| !address.is_link_scope())
        .map(|address| address.cidr)
        .collect())
}

/// The host end goes with the container's, unless that could not be reached: its namespace may live
/// on without a name.
fn remove_host_end(attachment: &Attachment) -> Result<(), CniError> {
    let host = Socket::open()?;
    for attempt in 0..owner::HOST_NAMES {
        let Some(name) = owner::host_name(attachment, attempt) else {
            continue;
        };
        match host.find_link(&name)? {
            Some(link) if is_host_end(&link, attachment) => {
                ignore_gone(host.request(&delete_link(&link.id())))?;
            }
            // The next name was tried only when this one was taken.
            Some(_foreign) => {}
            None => break,
        }
    }
    Ok(())
}

fn is_host_end(link: &Link, attachment: &Attachment) -> bool {
    link.is_kind("veth") && owner::is_of_attachment(link.alias.as_deref(), attachment)
}

fn release_addresses(request: &DelRequest) -> Result<(), CniError> {
    let Some(ipam) = config::ipam_type(&request.request.config) else {
        return Ok(());
    };
    let delegate = Delegate::find(&request.request, ipam)?;
    delegate.run(Command::Del, request.request.delegate_deadline())
}
