//! ADD.

use cni_firewall::iptables::hostports;
use cni_firewall::{Nft, portmap};
use cni_netlink::{LinkId, Socket, localnet};
use cni_plugin::{AttachmentRequest, Undo};
use cni_types::{Attachment, CniError, CniResult, IpCidr};

use crate::config::PortmapConfig;
use crate::error::PortmapError;
use crate::loopback;
use crate::plan::{Plan, address_behind_loopback, addresses};

/// Publishes the container's ports, and passes the result on as it came.
pub(crate) fn add(request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
    let config = PortmapConfig::load(&request.request)?;
    let result = request
        .request
        .prev_result()?
        .ok_or(PortmapError::NotChained)?;
    let addresses = addresses(&result, &request.attachment.ifname);
    if config.mappings.is_empty() || addresses.is_empty() {
        return Ok(result);
    }
    let host = Socket::open()?;
    let link = match address_behind_loopback(&config, &addresses) {
        Some(address) => loopback::interface_to(&host, address)?,
        None => None,
    };
    let interface = link.as_ref().and_then(|link| link.name.parse().ok());
    let plan = Plan::new(config, addresses, interface);
    publish(&request.attachment, &plan, undo)?;
    if let Some(link) = link {
        open(&host, &link, &plan)?;
    }
    Ok(result)
}

/// All of it or nothing; what comes afterwards has all of it taken back.
fn publish(attachment: &Attachment, plan: &Plan, undo: &mut Undo) -> Result<(), CniError> {
    let mut nft = Nft::open()?;
    let owner = attachment.clone();
    match plan {
        Plan::Nftables(publication) => {
            portmap::add(&mut nft, attachment, publication)?;
            undo.push("withdraw the ports", move || {
                let mut nft = Nft::open()?;
                let removed = portmap::remove(&mut nft, &owner)?;
                loopback::close(&mut nft, &removed.idle)
            });
        }
        Plan::Iptables(ports) => {
            hostports::add(&mut nft, attachment, ports)?;
            let addresses = ports.publication.addresses.iter();
            let addresses: Vec<_> = addresses.map(IpCidr::addr).collect();
            undo.push("withdraw the ports", move || {
                Ok(hostports::remove(&mut Nft::open()?, &owner, &addresses)?)
            });
        }
    }
    Ok(())
}

/// With iptables, the chains that all share stay, and so does what they need.
fn open(host: &Socket, link: &LinkId, plan: &Plan) -> Result<(), CniError> {
    match plan {
        Plan::Nftables(_) => localnet::open(host, link)?,
        Plan::Iptables(_) => localnet::open_for_good(host, link)?,
    }
    Ok(())
}
