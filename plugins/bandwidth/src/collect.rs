//! GC: the IFBs that are of this network and belong to no valid attachment.
//!
//! The qdiscs of host ends go with these, which are the main plugin's.

use cni_netlink::{Change, Socket, delete_link};
use cni_plugin::GcRequest;
use cni_types::{Attachment, CniError};

use crate::apply::ignore_gone;
use crate::owner;

/// Removes stale IFBs; goes on after an error and tells all at the end.
pub(crate) fn collect(request: &GcRequest) -> Result<(), CniError> {
    let valid: Vec<Attachment> = request.valid_attachments().collect();
    let network = &request.request.network;
    let half_made = owner::unmarked_group(network);
    let host = Socket::open()?;
    let stale: Vec<Change> = host
        .links_of_kind(owner::KIND)?
        .iter()
        .filter(|ifb| match &ifb.alias {
            None => ifb.group == half_made,
            alias => owner::is_stale(alias.as_deref(), network, &valid),
        })
        .map(|ifb| delete_link(&ifb.id()))
        .collect();
    let outcomes = host.send_each(&stale).into_iter().map(ignore_gone);
    CniError::collect(outcomes.filter_map(Result::err).map(CniError::from))
}
