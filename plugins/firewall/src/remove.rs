//! DEL: everything that can be found, by whatever backend it was made, and whatever is gone already.

use cni_firewall::Nft;
use cni_firewall::forward::{self, Held};
use cni_plugin::DelRequest;
use cni_types::{CniError, FastPaths, Json};

use crate::config::{Choice, addresses, firewalld_of};
use crate::firewalld::Firewalld;

/// Removes what the attachment has, and what the reference made for its addresses.
///
/// The config need not be valid any more, and the `prevResult` may be missing: whom an address is
/// open for is on record.
pub(crate) fn remove(request: &DelRequest) -> Result<(), CniError> {
    let mut nft = Nft::open()?;
    let attachment = &request.attachment;
    let known = addresses(&request.prev_result().unwrap_or_default());
    let held = forward::held(&mut nft, attachment, &known)?;
    let mut errors = remove_sources(&request.request.config, &held);
    let removed = forward::remove(&mut nft, attachment, &held);
    errors.extend(removed.err().map(CniError::from));
    if request.request.env.fast_paths != FastPaths::Never {
        // Where there can be no other process, as with firewalld's threads, this one waits.
        nft.leave_closing();
    }
    CniError::collect(errors)
}

/// Takes addresses out of firewalld's zones: those on record out of the zone that they are in, and
/// those that nobody is on record for out of the config's, where the reference has put them. Asks
/// nobody where nothing hints at firewalld.
pub(crate) fn remove_sources(config: &Json, held: &Held) -> Vec<CniError> {
    let (backend, zone) = firewalld_of(config);
    let unrecorded = match backend {
        Choice::Firewalld | Choice::Whatever => held.unrecorded.as_slice(),
        Choice::Nftables | Choice::Iptables => &[],
    };
    if held.zoned.is_empty() && unrecorded.is_empty() {
        return Vec::new();
    }
    // Without firewalld there are no zones that an address could be in.
    let Some(firewalld) = Firewalld::if_running() else {
        return Vec::new();
    };
    let recorded = held.zoned.iter().map(|&address| (address, None));
    let unrecorded = unrecorded
        .iter()
        .map(|&address| (address, Some(zone.as_str())));
    recorded
        .chain(unrecorded)
        .filter_map(|(address, zone)| firewalld.remove_source(address, zone).err())
        .map(CniError::from)
        .collect()
}
