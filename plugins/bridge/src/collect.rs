//! GC: what is of this network and belongs to no valid attachment.

use cni_firewall::{Nft, iptables, masquerade, spoofcheck};
use cni_netlink::{Socket, delete_link};
use cni_plugin::GcRequest;
use cni_types::{Attachment, CniError, Command};

use crate::apply::bridge::ignore_gone;
use crate::config;
use crate::ipam;
use crate::owner;

/// Removes stale host ends, rules and addresses; goes on after an error and tells all at the end.
pub(crate) fn collect(request: &GcRequest) -> Result<(), CniError> {
    let valid: Vec<Attachment> = request.valid_attachments().collect();
    let outcomes = [
        collect_links(request, &valid),
        collect_rules(request, &valid),
        collect_addresses(request),
    ];
    CniError::collect(outcomes.into_iter().filter_map(Result::err))
}

fn collect_links(request: &GcRequest, valid: &[Attachment]) -> Result<(), CniError> {
    let host = Socket::open()?;
    let network = &request.request.network;
    let half_made = owner::unmarked_group(network);
    let mut errors = Vec::new();
    for link in host.links()? {
        let alias = link.alias.as_deref();
        let is_half_made = alias.is_none() && link.group == half_made;
        if link.is_kind("veth") && (is_half_made || owner::is_stale(alias, network, valid)) {
            errors.extend(
                ignore_gone(host.request(&delete_link(&link.id())))
                    .err()
                    .map(CniError::from),
            );
        }
    }
    CniError::collect(errors)
}

fn collect_rules(request: &GcRequest, valid: &[Attachment]) -> Result<(), CniError> {
    let mut nft = Nft::open()?;
    let network = &request.request.network;
    let masquerade = masquerade::gc(&mut nft, network, valid);
    let spoof_check = spoofcheck::gc(&mut nft, network, valid);
    let chains = iptables::gc(&mut nft, network, valid);
    let errors = [masquerade.err(), spoof_check.err(), chains.err()];
    CniError::collect(errors.into_iter().flatten().map(CniError::from))
}

fn collect_addresses(request: &GcRequest) -> Result<(), CniError> {
    let Some(ipam) = config::ipam_type(&request.request.config) else {
        return Ok(());
    };
    let delegate = ipam::find(&request.request, ipam)?;
    delegate.run(Command::Gc, request.request.delegate_deadline())
}
