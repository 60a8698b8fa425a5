//! One address: which one is asked for, in whose name, and how it is given.

use std::fs::File;
use std::net::IpAddr;

use cni_ipam::{LeaseDir, LockedStore, Store as _, StoreError};
use cni_types::Attachment;

use super::error::IpamError;
use super::pool::{PoolId, Span};
use crate::wire::ipam::RequestAddressRequest;
use crate::wire::label;

/// How many addresses are tried one after another before all that are given are listed: nearly
/// always the first one is free.
const TRIES: usize = 4;

/// What a lease is for: an endpoint, by its name, or the pool itself.
const FOR_ENDPOINT: &str = "endpoint";
const FOR_POOL: &str = "pool";

/// Under which number the last address given is remembered. Only [`Wanted::Next`] goes on from it,
/// so that the others have one of their own.
const ROTATION: usize = 0;
const NO_ROTATION: usize = 1;

/// Which address is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This one.
    This(IpAddr),
    /// The first that is free.
    First,
    /// The next that is free after the last one given.
    Next,
}

impl Wanted {
    pub(super) fn of(request: &RequestAddressRequest, id: &PoolId) -> Result<Self, IpamError> {
        if request.address.is_empty() {
            return Ok(if is_for_gateway(request) {
                Self::First
            } else {
                Self::Next
            });
        }
        let address = parse(&request.address)?;
        let subnet = id.subnet;
        if !subnet.contains(address) {
            return Err(IpamError::OutOfRange { address, subnet });
        }
        // Not only a part of the pool: a gateway may well be outside of it.
        if !Span::of_hosts(&subnet).contains(address) {
            return Err(IpamError::NotAHost { address, subnet });
        }
        Ok(Self::This(address))
    }
}

/// Reads an address without a prefix length.
pub(super) fn parse(text: &str) -> Result<IpAddr, IpamError> {
    text.parse::<IpAddr>()
        .map(|addr| addr.to_canonical())
        .map_err(|_not_an_address| IpamError::Address(text.to_owned()))
}

fn option<'a>(request: &'a RequestAddressRequest, key: &str) -> Option<&'a str> {
    request.options.as_ref()?.get(key).map(String::as_str)
}

fn is_for_gateway(request: &RequestAddressRequest) -> bool {
    option(request, label::REQUEST_ADDRESS_TYPE) == Some(label::GATEWAY)
}

/// In whose name an address is reserved.
pub(super) fn owner(request: &RequestAddressRequest) -> Result<Attachment, IpamError> {
    let name = option(request, label::ENDPOINT_NAME);
    match (name, is_for_gateway(request)) {
        (Some(name), false) => holder(name, FOR_ENDPOINT),
        (name, true) => holder(name.unwrap_or("gateway"), FOR_POOL),
        (None, false) => holder("reserved", FOR_POOL),
    }
}

/// The holders of whatever has been reserved for somebody of that name.
pub(super) fn holders(name: &str) -> Result<[Attachment; 2], IpamError> {
    Ok([holder(name, FOR_ENDPOINT)?, holder(name, FOR_POOL)?])
}

/// A lease has a container and an interface; ours have a name and what the address is for.
fn holder(name: &str, purpose: &str) -> Result<Attachment, IpamError> {
    let build = || {
        Some(Attachment {
            network: FOR_POOL.parse().ok()?,
            container_id: name.parse().ok()?,
            ifname: purpose.parse().ok()?,
        })
    };
    build().ok_or_else(|| IpamError::Owner(name.to_owned()))
}

/// Gives an address, for good: it is on the disk before anybody is told of it.
pub(super) fn give(
    locked: &mut LockedStore,
    id: &PoolId,
    wanted: Wanted,
    owner: &Attachment,
) -> Result<IpAddr, IpamError> {
    let addr = match wanted {
        Wanted::This(address) => {
            let subnet = id.subnet;
            let reserved = locked.reserve(address, owner, NO_ROTATION)?;
            reserved
                .then_some(address)
                .ok_or(IpamError::InUse { address, subnet })
        }
        Wanted::First => find(locked, id, owner, NO_ROTATION),
        Wanted::Next => find(locked, id, owner, ROTATION),
    }?;
    if let Err(error) = sync(locked, addr) {
        // The first error tells more than that of taking the address back.
        let _second = locked.release(addr);
        return Err(error.into());
    }
    Ok(addr)
}

/// Reserves an address that nobody has.
fn find(
    locked: &mut LockedStore,
    id: &PoolId,
    owner: &Attachment,
    rotation: usize,
) -> Result<IpAddr, IpamError> {
    let exhausted = || IpamError::Exhausted(*id);
    let span = id.span().ok_or_else(exhausted)?;
    let last = match rotation {
        ROTATION => locked.last_reserved(ROTATION),
        _ => None,
    };
    for addr in span.after(last).take(TRIES) {
        if locked.reserve(addr, owner, rotation)? {
            return Ok(addr);
        }
    }
    // By their names alone, and only then without those that a crash left empty.
    let lists = [LeaseDir::addresses, LeaseDir::reserved];
    for list in lists {
        let taken = list(locked)?.into_iter().collect();
        if let Some(addr) = span.first_free(last, &taken)
            && locked.reserve(addr, owner, rotation)?
        {
            return Ok(addr);
        }
    }
    Err(exhausted())
}

/// Waits until a lease is on the disk, name and content.
fn sync(locked: &LockedStore, addr: IpAddr) -> Result<(), StoreError> {
    let lease = locked.path().join(addr.to_string());
    for path in [lease.as_path(), locked.path()] {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|source| StoreError::Io {
            op: "sync",
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(())
}
