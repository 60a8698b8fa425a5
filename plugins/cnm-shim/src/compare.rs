//! CHECK's comparison of a container's interface with the ADD's result. Pure.

use std::net::IpAddr;

use cni_cnm::sandbox::Seen;
use cni_plugin::AttachmentRequest;
use cni_types::{CniResult, Interface, IpCidr};

use crate::error::ShimError;

/// What differs from the result. Plugins that came later may have added to it.
pub(crate) fn compare<'a>(
    seen: &'a Seen,
    result: &'a CniResult,
    request: &'a AttachmentRequest,
) -> impl Iterator<Item = ShimError> + 'a {
    let name = request.attachment.ifname.as_str();
    let sandbox = &request.request.env.netns;
    let mut interfaces = result.interfaces.iter().enumerate();
    let entry = interfaces.find(|(_, it)| it.name == name && it.sandbox == *sandbox);
    let interface = move |found: String| ShimError::mismatch(format!("interface {name}"), found);
    let down = (!seen.up).then(|| interface("it is down".into()));
    let unlisted = entry
        .is_none()
        .then(|| interface(format!("prevResult has none of that name in {sandbox}")));
    let mac = entry.and_then(|(_, entry)| other_mac(seen, entry));
    let index = entry.map(|(index, _)| index);
    let addresses = result
        .ips
        .iter()
        .filter(move |ip| ip.interface == index && !seen.addresses.contains(&ip.address))
        .map(move |ip| interface(format!("address {} is missing", ip.address)));
    let routes = result.routes.iter();
    let routes = routes
        .filter(|route| !has_route(seen, route.dst, route.gw) && is_through(seen, route.gw))
        .map(move |route| interface(format!("route to {} is missing", route.dst)));
    [down, unlisted, mac.map(interface)]
        .into_iter()
        .flatten()
        .chain(host_side(seen, result, index))
        .chain(addresses)
        .chain(routes)
}

/// What stands before the container's interface in the result: the host's end of the pair, and before
/// it the bridge that it is a port of.
fn host_side(seen: &Seen, result: &CniResult, container: Option<usize>) -> Option<ShimError> {
    let mut before = result.interfaces.iter().take(container?).rev();
    let end = before.next()?;
    let differs = |found: String| {
        let what = format!("interface {} on the host", end.name);
        Some(ShimError::mismatch(what, found))
    };
    let Some(there) = seen
        .host_end
        .as_ref()
        .filter(|there| there.name == end.name)
    else {
        return differs("it is not the other end of the container's interface".into());
    };
    if !there.up {
        return differs("it is down".into());
    }
    let bridge = before.next()?;
    let master = there.bridge.as_ref().map(|(name, _)| name.as_str());
    match master {
        Some(name) if name == bridge.name => None,
        Some(other) => differs(format!("it is a port of {other}, not of {}", bridge.name)),
        None => differs(format!("it is not a port of {}", bridge.name)),
    }
}

fn other_mac(seen: &Seen, entry: &Interface) -> Option<String> {
    let same = entry.mac.is_empty() || entry.mac.eq_ignore_ascii_case(&seen.mac);
    (!same).then(|| format!("its MAC address is {}, not {}", seen.mac, entry.mac))
}

fn has_route(seen: &Seen, destination: IpCidr, router: Option<IpAddr>) -> bool {
    let mut known = seen.routes.iter();
    known.any(|(to, via)| *to == destination.subnet() && (router.is_none() || *via == router))
}

/// Whether a route of the result would leave by this interface: the router is one of its subnets.
fn is_through(seen: &Seen, router: Option<IpAddr>) -> bool {
    let Some(router) = router else {
        return true;
    };
    let on_link = seen.routes.iter().filter(|(_, via)| via.is_none());
    let mut subnets = on_link.map(|(to, _)| *to).chain(seen.addresses.clone());
    subnets.any(|subnet| subnet.contains(router))
}

#[cfg(test)]
mod tests;
