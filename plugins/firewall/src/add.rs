//! ADD.

use std::net::IpAddr;

use cni_firewall::Nft;
use cni_firewall::forward::{self, Forwarding};
use cni_plugin::{AttachmentRequest, Undo};
use cni_types::{Attachment, CniError, CniResult};

use crate::backend::Backend;
use crate::config::{FirewallConfig, addresses, prev_result};
use crate::firewalld::Firewalld;

/// Lets the addresses of the `prevResult` through, and answers with it.
pub(crate) fn add(request: &AttachmentRequest, undo: &mut Undo) -> Result<CniResult, CniError> {
    let config = FirewallConfig::load(&request.request)?;
    let result = prev_result(request)?;
    let ingress = config.ingress(&result)?;
    let backend = Backend::choose(&config)?;
    let forwarding = Forwarding {
        addresses: addresses(&result),
        ingress,
        keeper: backend.keeper,
        fast_paths: request.request.env.fast_paths,
    };
    add_rules(&request.attachment, &forwarding, undo)?;
    if let Some(firewalld) = &backend.firewalld {
        add_sources(firewalld, &forwarding.addresses, &config.zone, undo)?;
    }
    Ok(result)
}

fn add_rules(
    attachment: &Attachment,
    forwarding: &Forwarding,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let mut nft = Nft::open()?;
    let owner = attachment.clone();
    undo.push("remove the forwarding rules", move || {
        let mut nft = Nft::open()?;
        let held = forward::held(&mut nft, &owner, &[])?;
        Ok(forward::remove(&mut nft, &owner, &held)?)
    });
    forward::add(&mut nft, attachment, forwarding, |opened| {
        let owner = attachment.clone();
        undo.push("remove the rules of iptables", move || {
            Ok(forward::shut(&mut Nft::open()?, &owner, &opened)?)
        });
    })?;
    Ok(())
}

fn add_sources(
    firewalld: &Firewalld,
    addresses: &[IpAddr],
    zone: &str,
    undo: &mut Undo,
) -> Result<(), CniError> {
    for &address in addresses {
        if firewalld.add_source(address, zone)? {
            let zone = zone.to_owned();
            undo.push(format!("remove {address} from firewalld"), move || {
                Ok(Firewalld::connect()?.remove_source(address, Some(&zone))?)
            });
        }
    }
    Ok(())
}
