//! DEL: everything that can be found, whatever is gone already, and an error only for what could
//! not be removed.

mod commit;
mod ends;
mod quick;

use cni_netlink::{LinkId, NetlinkError, Socket, delete_link};
use cni_plugin::DelRequest;
use cni_types::{CniError, CniResult, Command, FastPaths, IpCidr};

use self::ends::{ContainerEnd, HostEnds};
use crate::apply::bridge::ignore_gone;
use crate::apply::filter;
use crate::config;
use crate::ipam;

/// Removes the attachment.
///
/// The config need not be valid any more: nothing but the IPAM's type is read of it. The address
/// goes back last, when nothing answers to it any more.
pub(crate) fn remove(request: &DelRequest) -> Result<(), CniError> {
    let mut errors = Vec::new();
    let prev_result = request.prev_result().unwrap_or_default();
    let container = ContainerEnd::find(request).unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let hosts = HostEnds::find(&request.attachment, &prev_result, &mut errors);
    let addresses = known_addresses(&prev_result, container.as_ref());
    let fast = request.request.env.fast_paths;
    let mut nft = None;
    let mut rules = || {
        let known = (!addresses.is_empty()).then_some(addresses.as_slice());
        nft = filter::remove_all(&request.attachment, known, &mut errors);
        // Where nobody else closes it, that waits together with the link.
        nft.take_if(|nft| fast != FastPaths::Never && nft.leave_closing());
    };
    match &hosts {
        Some(HostEnds { host, links }) if fast != FastPaths::Never => match links.as_slice() {
            [only] => quick::delete(host, only, fast, rules),
            _none_or_several => rules(),
        },
        _ => rules(),
    }
    errors.extend(delete_what_is_left(hosts.as_ref(), container.as_ref()));
    drop(nft);
    errors.extend(release_addresses(request).err());
    CniError::collect(errors)
}

/// Both ends, where the other one has not taken them along, and where nobody was quick.
fn delete_what_is_left(
    hosts: Option<&HostEnds>,
    container: Option<&ContainerEnd>,
) -> Vec<CniError> {
    let hosts = hosts.into_iter();
    let host_ends = hosts.flat_map(|ends| ends.links.iter().map(|link| (&ends.host, link)));
    let container_ends = container.into_iter().map(|end| (&end.inside, &end.link));
    host_ends
        .chain(container_ends)
        .filter_map(|(socket, link)| delete_unless_gone(socket, link).err())
        .map(CniError::from)
        .collect()
}

/// The plain way: asks the kernel and waits for its word.
fn delete_unless_gone(socket: &Socket, link: &LinkId) -> Result<(), NetlinkError> {
    if let Ok(false) = socket.has_link(link.index) {
        return Ok(());
    }
    ignore_gone(socket.request(&delete_link(link)))
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

fn release_addresses(request: &DelRequest) -> Result<(), CniError> {
    let Some(ipam) = config::ipam_type(&request.request.config) else {
        return Ok(());
    };
    let delegate = ipam::find(&request.request, ipam)?;
    delegate.run(Command::Del, request.request.delegate_deadline())
}
