//! GC: what is of this network and belongs to no valid attachment.

use cni_firewall::Nft;
use cni_firewall::forward;
use cni_plugin::GcRequest;
use cni_types::{Attachment, CniError};

use crate::remove::remove_sources;

/// Removes stale rules and sources; goes on after an error and tells all at the end.
pub(crate) fn collect(request: &GcRequest) -> Result<(), CniError> {
    let valid: Vec<Attachment> = request.valid_attachments().collect();
    let network = &request.request.network;
    let mut nft = Nft::open()?;
    let held = forward::stale(&mut nft, network, &valid)?;
    let mut errors = remove_sources(&request.request.config, &held);
    let collected = forward::collect(&mut nft, network, &valid, &held);
    errors.extend(collected.err().map(CniError::from));
    CniError::collect(errors)
}
