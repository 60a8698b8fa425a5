//! GC: the state files of this network that belong to no valid attachment.
//!
//! Nothing is put back: the namespaces of these attachments are gone, or their interfaces go with
//! the GC of the plugins in front. Files of the reference do not say their network and stay.

use cni_plugin::GcRequest;
use cni_types::{Attachment, CniError};

use crate::config;
use crate::state::StateDir;

/// Removes stale state files; goes on after an error and tells all at the end.
pub(crate) fn collect(request: &GcRequest) -> Result<(), CniError> {
    let dir = StateDir::new(config::data_dir(&request.request.config));
    let valid: Vec<Attachment> = request.valid_attachments().collect();
    let owned = dir.owned("")?.into_iter().map(|(owner, _)| owner);
    let stale =
        owned.filter(|owner| owner.network == request.request.network && !valid.contains(owner));
    let errors = stale.filter_map(|owner| dir.remove(&owner).err());
    CniError::collect(errors.map(CniError::from))
}
