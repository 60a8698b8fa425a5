//! GC: what is of this network and belongs to no valid attachment.

use cni_firewall::iptables::hostports;
use cni_firewall::{Nft, portmap};
use cni_plugin::GcRequest;
use cni_types::{Attachment, CniError};

use crate::loopback;

/// Withdraws stale ports; goes on after an error and tells all at the end.
pub(crate) fn collect(request: &GcRequest) -> Result<(), CniError> {
    let valid: Vec<Attachment> = request.valid_attachments().collect();
    let network = &request.request.network;
    let mut nft = Nft::open()?;
    let own = match portmap::gc(&mut nft, network, &valid) {
        // Not those alone of which it was the last: another GC may have got no further.
        Ok(_removed) => {
            loopback::opened().and_then(|interfaces| loopback::close(&mut nft, &interfaces))
        }
        Err(error) => Err(error.into()),
    };
    let chains = hostports::gc(&mut nft, network, &valid);
    let errors = [own.err(), chains.err().map(CniError::from)];
    CniError::collect(errors.into_iter().flatten())
}
