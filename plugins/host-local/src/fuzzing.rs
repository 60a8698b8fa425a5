//! What `tests/fuzz` calls: how the config is read, and nothing that acts.

use cni_plugin::AttachmentRequest;
use cni_types::CniError;

use crate::config::{IpamConfig, Leases};

/// The config as it is understood, in a form to compare.
///
/// # Errors
/// It is refused.
pub fn load(request: &AttachmentRequest) -> Result<String, CniError> {
    let request = &request.request;
    // DEL and GC look at nothing else.
    let _deadline = Leases::of(request)?.lock_deadline();
    let config = IpamConfig::of(request)?;
    let sets = config.sets.iter();
    let capacities: Vec<u128> = sets.map(cni_ipam::RangeSet::capacity).collect();
    Ok(format!("{config:?} {capacities:?}"))
}
