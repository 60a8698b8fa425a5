//! The IPAM plugin that addresses are delegated to.

use cni_plugin::linked::Linked;
use cni_plugin::{Delegate, Request};
use cni_types::CniError;

/// These run in our own process, where the binary that is found is the same: docs/decisions/016.
const LINKED: &[Linked] = &[host_local::LINKED];

/// Finds the IPAM plugin of that name.
///
/// # Errors
/// Code 7 when the name is a path, 130 when there is no such binary.
pub(crate) fn find(request: &Request, name: &str) -> Result<Delegate, CniError> {
    let found = Delegate::find(request, name)?;
    Ok(found.or_linked(LINKED, request.env.fast_paths))
}
