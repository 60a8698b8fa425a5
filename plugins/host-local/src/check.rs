//! What only looks: CHECK and STATUS. Neither takes the lock, so that neither ever waits.

use std::net::IpAddr;

use cni_ipam::{Holding, LeaseDir, RangeSet};
use cni_plugin::{AttachmentRequest, Request};
use cni_types::{CniError, ErrorCode};

use crate::config::IpamConfig;

/// The attachment holds a lease, and those of the addresses it is said to have.
pub(crate) fn check(request: &AttachmentRequest) -> Result<(), CniError> {
    let config = IpamConfig::of(&request.request)?;
    let prev = request.request.prev_result()?.unwrap_or_default();
    let told = prev.ips.iter().map(|ip| ip.address.addr());
    let ours: Vec<IpAddr> = told
        .filter(|addr| config.sets.iter().any(|set| set.contains(*addr)))
        .collect();
    let Some(dir) = config.leases.store.open()? else {
        return Err(missing(request));
    };
    for addr in &ours {
        check_lease(request, &dir, *addr)?;
    }
    if ours.is_empty() && !holds_any(request, &dir)? {
        return Err(missing(request));
    }
    Ok(())
}

fn check_lease(request: &AttachmentRequest, dir: &LeaseDir, addr: IpAddr) -> Result<(), CniError> {
    let what = match dir.holding(addr, &request.attachment)? {
        Holding::Attachment | Holding::Container => return Ok(()),
        Holding::Others => "is reserved for somebody else",
        Holding::Nobody => "is not reserved",
    };
    let file = dir.path().join(addr.to_string());
    Err(missing(request).and(format_args!("{addr} {what}: see {}", file.display())))
}

fn holds_any(request: &AttachmentRequest, dir: &LeaseDir) -> Result<bool, CniError> {
    let leases = dir.leases()?;
    Ok(leases.iter().any(|lease| {
        matches!(
            lease.holding(&request.attachment),
            Holding::Attachment | Holding::Container
        )
    }))
}

/// The reference's words.
fn missing(request: &AttachmentRequest) -> CniError {
    let container = &request.attachment.container_id;
    let msg = format!("host-local: Failed to find address added by container {container}");
    CniError::new(ErrorCode::CHECK_FAILED, msg)
}

/// Whether an ADD would find an address in every set and could write its lease.
pub(crate) fn status(request: &Request) -> Result<(), CniError> {
    let config = IpamConfig::of(request)?;
    let store = &config.leases.store;
    store.check_writable().map_err(CniError::not_available)?;
    let Some(dir) = store.open().map_err(CniError::not_available)? else {
        return Ok(());
    };
    let full = find_full(&config.sets, &dir).map_err(CniError::not_available)?;
    full.map_or(Ok(()), |set| {
        let msg = format!("no IP addresses available in range set: {set}");
        let error = CniError::new(ErrorCode::NOT_AVAILABLE, msg);
        Err(error.and(format_args!("the leases are in {}", dir.path().display())))
    })
}

/// The first set without a free address. Names are counted first, which opens no file; only if
/// there seem to be too many are files that a crash left empty told from leases.
fn find_full<'a>(
    sets: &'a [RangeSet],
    dir: &LeaseDir,
) -> Result<Option<&'a RangeSet>, cni_ipam::StoreError> {
    let named = dir.addresses()?;
    if !sets.iter().any(|set| is_full(set, &named)) {
        return Ok(None);
    }
    let reserved = dir.reserved()?;
    Ok(sets.iter().find(|set| is_full(set, &reserved)))
}

fn is_full(set: &RangeSet, addresses: &[IpAddr]) -> bool {
    let taken = addresses
        .iter()
        .filter(|addr| set.contains(**addr) && !set.is_gateway(**addr));
    taken.count() as u128 >= set.capacity()
}
