//! The host's end of the container's veth pair, where limits are set.

use cni_netlink::{Link, NetlinkError, Socket};
use cni_types::{CniError, CniResult, IfName};

use crate::error::BandwidthError;

/// The kind of both ends.
pub(crate) const VETH: &str = "veth";

/// The host's end of the pair whose other end is the container's interface of that name. It has to be
/// one of the interfaces that `result` names.
pub(crate) fn get(
    host: &Socket,
    inside: &Socket,
    ifname: &IfName,
    result: &CniResult,
) -> Result<Link, CniError> {
    if result.interfaces.is_empty() {
        return Err(BandwidthError::NoInterfaces.into());
    }
    let no_peer = |why: &str| BandwidthError::NoPeer {
        ifname: ifname.clone(),
        why: why.to_owned(),
    };
    let own = inside.find_link(ifname)?;
    let own = own.ok_or_else(|| no_peer("there is no such interface"))?;
    let index = peer_index(&own).ok_or_else(|| no_peer("it is not a veth"))?;
    let end = find(host, &own)?.ok_or(BandwidthError::PeerElsewhere(index))?;
    if !is_named(result, &end.name) {
        return Err(BandwidthError::PeerNotNamed(end.name).into());
    }
    Ok(end)
}

/// The host's end of the pair whose other end is `own`, a link of the container; `None` if that is no
/// such pair.
pub(crate) fn find(host: &Socket, own: &Link) -> Result<Option<Link>, NetlinkError> {
    let Some(index) = peer_index(own) else {
        return Ok(None);
    };
    let end = host.find_link_by_index(index)?;
    Ok(end.filter(|end| are_peers(end, own)))
}

/// Whether the result has an interface of that name on the host.
pub(crate) fn is_named(result: &CniResult, name: &str) -> bool {
    let mut interfaces = result.interfaces.iter();
    interfaces.any(|interface| interface.sandbox.is_empty() && interface.name == name)
}

fn peer_index(own: &Link) -> Option<u32> {
    own.peer.filter(|_| own.is_kind(VETH))
}

/// Both ends have to say so: an index is of a namespace, and the peer may be in a third one.
fn are_peers(end: &Link, own: &Link) -> bool {
    end.is_kind(VETH)
        && end.peer == Some(own.index)
        && end.peer_netns.is_some() == own.peer_netns.is_some()
}
