//! CHECK: is everything that ADD made still there, and as it was made?

use cni_firewall::iptables::hostports;
use cni_firewall::{Nft, portmap, reference};
use cni_netlink::{Socket, localnet};
use cni_plugin::AttachmentRequest;
use cni_types::CniError;

use crate::config::PortmapConfig;
use crate::error::PortmapError;
use crate::loopback;
use crate::plan::{Plan, address_behind_loopback, addresses};

/// Compares, and tells all differences in one error.
pub(crate) fn check(request: &AttachmentRequest) -> Result<(), CniError> {
    let config = PortmapConfig::load(&request.request)?;
    let result = request
        .request
        .prev_result()?
        .ok_or(PortmapError::NoPrevResult)?;
    let addresses = addresses(&result, &request.attachment.ifname);
    if config.mappings.is_empty() || addresses.is_empty() {
        return Ok(());
    }
    let link = match address_behind_loopback(&config, &addresses) {
        Some(address) => loopback::interface_to(&Socket::open()?, address)?,
        None => None,
    };
    let interface = link.and_then(|link| link.name.parse().ok());
    let plan = Plan::new(config, addresses, interface);
    let mut found = check_rules(request, &plan)?;
    let interface = plan.publication().loopback.as_ref();
    if let Some(interface) = interface.filter(|interface| !localnet::is_open(interface)) {
        found.push(PortmapError::Mismatch {
            what: "loopback",
            found: format!("route_localnet of {interface} is 0"),
        });
    }
    CniError::collect(found.into_iter().map(CniError::from))
}

/// Rules of the reference count: the attachment may be older than an upgrade. Those of iptables are
/// the same anyway.
fn check_rules(request: &AttachmentRequest, plan: &Plan) -> Result<Vec<PortmapError>, CniError> {
    let mut nft = Nft::open()?;
    let attachment = &request.attachment;
    let missing: Vec<String> = match plan {
        Plan::Nftables(publication) => {
            let missing = portmap::check(&mut nft, attachment, publication)?;
            if !missing.is_empty() && reference::publishes(&mut nft, attachment, publication)? {
                return Ok(Vec::new());
            }
            missing.iter().map(ToString::to_string).collect()
        }
        Plan::Iptables(ports) => {
            let missing = hostports::check(&mut nft, attachment, ports)?;
            missing.iter().map(ToString::to_string).collect()
        }
    };
    let mismatch = |found| PortmapError::Mismatch {
        what: "port mappings",
        found,
    };
    Ok(missing.into_iter().map(mismatch).collect())
}
