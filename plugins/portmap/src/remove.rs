//! DEL: everything that is the attachment's, whatever made it, and an error only for what could not
//! be removed.

use std::net::IpAddr;

use cni_firewall::iptables::hostports;
use cni_firewall::{Nft, portmap, reference};
use cni_plugin::DelRequest;
use cni_types::{CniError, IpCidr};

use crate::loopback;
use crate::plan::addresses;

/// Withdraws the attachment's ports.
///
/// Nothing is read of the config: what an operator or a runtime has changed, or leaves out, since ADD
/// must leave nothing behind. The addresses of `prevResult` only tell more than is needed.
pub(crate) fn remove(request: &DelRequest) -> Result<(), CniError> {
    let attachment = &request.attachment;
    let result = request.prev_result().unwrap_or_default();
    let addresses: Vec<IpAddr> = addresses(&result, &attachment.ifname)
        .iter()
        .map(IpCidr::addr)
        .collect();
    let mut nft = Nft::open()?;
    let own = match portmap::remove(&mut nft, attachment) {
        Ok(removed) => loopback::close(&mut nft, &removed.idle),
        Err(error) => Err(error.into()),
    };
    let outcomes = [
        own,
        hostports::remove(&mut nft, attachment, &addresses).map_err(CniError::from),
        reference::remove_ports(&mut nft, attachment, &addresses).map_err(CniError::from),
    ];
    CniError::collect(outcomes.into_iter().filter_map(Result::err))
}
