//! DEL: everything that is the attachment's, whatever made it, and an error only for what could not
//! be removed.

use std::net::IpAddr;

use cni_firewall::iptables::hostports;
use cni_firewall::{Nft, portmap, reference};
use cni_netlink::Socket;
use cni_plugin::DelRequest;
use cni_types::{CniError, FastPaths, IfName, IpCidr, Json};

use crate::loopback;
use crate::plan::addresses;

/// Withdraws the attachment's ports.
///
/// The config need not be valid, or the same as it was: what an operator or a runtime has changed, or
/// leaves out, since ADD must leave nothing behind. `prevResult` only tells more than is needed.
pub(crate) fn remove(request: &DelRequest) -> Result<(), CniError> {
    let attachment = &request.attachment;
    let result = request.prev_result().unwrap_or_default();
    let cidrs = addresses(&result, &attachment.ifname);
    let addresses: Vec<IpAddr> = cidrs.iter().map(IpCidr::addr).collect();
    let mut nft = Nft::open()?;
    let own = match portmap::remove(&mut nft, attachment) {
        Ok(removed) if removed.elements == 0 => close_forgotten(&mut nft, request, &cidrs),
        Ok(removed) => loopback::close(&mut nft, &removed.idle),
        Err(error) => Err(error.into()),
    };
    let outcomes = [
        own,
        hostports::remove(&mut nft, attachment, &addresses).map_err(CniError::from),
        reference::remove_ports(&mut nft, attachment, &addresses).map_err(CniError::from),
    ];
    if request.request.env.fast_paths != FastPaths::Never {
        nft.leave_closing();
    }
    CniError::collect(outcomes.into_iter().filter_map(Result::err))
}

/// Somebody has flushed the ruleset since ADD, and with it the guard: then the interface must not
/// stay open.
fn close_forgotten(
    nft: &mut Nft,
    request: &DelRequest,
    addresses: &[IpCidr],
) -> Result<(), CniError> {
    let v4 = addresses.iter().find(|address| !address.is_ipv6());
    let (Some(address), true) = (v4, has_mappings(&request.request.config)) else {
        return Ok(());
    };
    let link = loopback::interface_to(&Socket::open()?, *address)?;
    let interface: Option<IfName> = link.and_then(|link| link.name.parse().ok());
    loopback::close(nft, interface.as_slice())
}

/// Whether a config, valid or not, has port mappings.
fn has_mappings(config: &Json) -> bool {
    let mappings = || config.get("runtimeConfig")?.get("portMappings");
    matches!(mappings(), Some(Json::Array(all)) if !all.is_empty())
}
