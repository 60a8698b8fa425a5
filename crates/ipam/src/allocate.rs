//! Which address an attachment gets from each range set.

use std::fmt;
use std::net::IpAddr;

use cni_types::{Attachment, IpCidr};

use crate::lease::{Store, Survey};
use crate::range::{Range, RangeSet};
use crate::store::StoreError;

/// An address that was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The address, with the prefix length of its subnet.
    pub address: IpCidr,
    /// The gateway of its range.
    pub gateway: IpAddr,
}

/// Why a range set gave no address. The texts are the reference's.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// A gateway was asked for.
    #[error("requested ip {addr} is subnet's gateway")]
    Gateway {
        /// The address.
        addr: IpAddr,
    },
    /// The address that was asked for is reserved.
    #[error("requested IP address {addr} is not available in range set {set}")]
    Taken {
        /// The address.
        addr: IpAddr,
        /// The set, as [`RangeSet`] prints it.
        set: String,
    },
    /// The attachment has an address of the set already.
    #[error("{addr} has been allocated to {container}, duplicate allocation is not allowed")]
    Duplicate {
        /// The address it has.
        addr: IpAddr,
        /// The container.
        container: String,
    },
    /// Every address is reserved.
    #[error("no IP addresses available in range set: {set}")]
    Exhausted {
        /// The set, as [`RangeSet`] prints it.
        set: String,
    },
    /// The leases cannot be read or written.
    #[error("{0}")]
    Store(StoreError),
}

/// Why an attachment got no addresses.
#[derive(Debug, thiserror::Error)]
pub enum AllocateError {
    /// The leases cannot be read.
    #[error("read the leases of the network")]
    Survey(#[source] StoreError),
    /// One of the sets gave none; the text is its error's.
    #[error("failed to allocate for range {index}: {error}")]
    Set {
        /// Which set, from 0.
        index: usize,
        /// Why.
        error: SetError,
    },
    /// Addresses were asked for that are in no set, or are more than there are sets.
    #[error("failed to allocate all requested IPs:{}", Listed(.0))]
    Unfulfilled(Vec<IpAddr>),
}

struct Listed<'a>(&'a [IpAddr]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|addr| write!(f, " {addr}"))
    }
}

/// Nothing was allocated, unless `left` says so.
#[derive(Debug)]
pub struct AllocateFailure {
    /// Why.
    pub error: AllocateError,
    /// Leases that could not be taken back.
    pub left: Vec<StoreError>,
}

impl From<AllocateError> for AllocateFailure {
    fn from(error: AllocateError) -> Self {
        let left = Vec::new();
        Self { error, left }
    }
}

/// Reserves one address from each set, those of `requested` first, or none at all.
///
/// A requested address goes to the first set that holds it; of several in one set the first is
/// taken, and the others fail the whole request before anything is reserved.
///
/// # Errors
/// See [`AllocateError`]. What was reserved on the way is given back, and nothing else: other
/// leases of the attachment stay.
pub fn allocate<S: Store>(
    store: &mut S,
    sets: &[RangeSet],
    requested: &[IpAddr],
    attachment: &Attachment,
) -> Result<Vec<Grant>, AllocateFailure> {
    let wanted = assign(sets, requested)?;
    let mut leases = Leases {
        store,
        attachment,
        survey: None,
    };
    let mut grants: Vec<Grant> = Vec::with_capacity(sets.len());
    for (index, (set, wanted)) in sets.iter().zip(wanted).enumerate() {
        let grant = match wanted {
            Some(addr) => leases.take_requested(index, set, addr),
            None => leases.take_next(index, set),
        };
        match grant {
            Ok(grant) => grants.push(grant),
            Err(error) => {
                let given = grants.iter().map(|grant| grant.address.addr());
                let left = given
                    .filter_map(|addr| leases.store.release(addr).err())
                    .collect();
                return Err(AllocateFailure { error, left });
            }
        }
    }
    Ok(grants)
}

/// For each set the address that was asked of it.
fn assign(sets: &[RangeSet], requested: &[IpAddr]) -> Result<Vec<Option<IpAddr>>, AllocateError> {
    let mut wanted = vec![None; sets.len()];
    let mut left: Vec<IpAddr> = Vec::new();
    for addr in requested.iter().map(IpAddr::to_canonical) {
        let home = sets
            .iter()
            .zip(&mut wanted)
            .find(|(set, _)| set.contains(addr));
        match home {
            Some((_, slot @ None)) => *slot = Some(addr),
            Some((_, Some(already))) if *already == addr => {}
            _ if left.contains(&addr) => {}
            _ => left.push(addr),
        }
    }
    if left.is_empty() {
        Ok(wanted)
    } else {
        Err(AllocateError::Unfulfilled(left))
    }
}

struct Leases<'a, S> {
    store: &'a mut S,
    attachment: &'a Attachment,
    /// Made when first needed: a request for certain addresses needs none.
    survey: Option<Survey>,
}

impl<S: Store> Leases<'_, S> {
    /// As the reference, this does not ask whether the attachment has an address already.
    fn take_requested(
        &mut self,
        index: usize,
        set: &RangeSet,
        addr: IpAddr,
    ) -> Result<Grant, AllocateError> {
        let fail = |error| AllocateError::Set { index, error };
        let not_available = || SetError::Taken {
            addr,
            set: set.to_string(),
        };
        let range = set.range_of(addr).ok_or_else(|| fail(not_available()))?;
        if set.is_gateway(addr) {
            return Err(fail(SetError::Gateway { addr }));
        }
        match self.store.reserve(addr, self.attachment, index) {
            Ok(true) => grant(addr, range).ok_or_else(|| fail(not_available())),
            Ok(false) => Err(fail(not_available())),
            Err(error) => Err(fail(SetError::Store(error))),
        }
    }

    fn take_next(&mut self, index: usize, set: &RangeSet) -> Result<Grant, AllocateError> {
        let fail = |error| AllocateError::Set { index, error };
        let survey = match self.survey.take() {
            Some(survey) => survey,
            None => self
                .store
                .survey(self.attachment)
                .map_err(AllocateError::Survey)?,
        };
        let survey = self.survey.insert(survey);
        if let Some(addr) = survey.held().find(|addr| set.contains(*addr)) {
            let container = self.attachment.container_id.to_string();
            return Err(fail(SetError::Duplicate { addr, container }));
        }
        if let Some(grant) = self.take_free(index, set)? {
            return Ok(grant);
        }
        let changed = self.store.recount().map_err(AllocateError::Survey)?;
        let grant = if changed {
            self.take_free(index, set)?
        } else {
            None
        };
        grant.ok_or_else(|| fail(exhausted(set)))
    }

    /// The first free address whose lease can be made, in the order of the rotation.
    fn take_free(&mut self, index: usize, set: &RangeSet) -> Result<Option<Grant>, AllocateError> {
        let last = self.store.last_reserved(index);
        let mut candidates = set.candidates(last);
        loop {
            let next = candidates.next_free(|block| self.store.taken(block));
            let Some((addr, range)) = next.map_err(AllocateError::Survey)? else {
                return Ok(None);
            };
            match self.store.reserve(addr, self.attachment, index) {
                Ok(true) => return Ok(grant(addr, range)),
                Ok(false) => {}
                Err(error) => {
                    let error = SetError::Store(error);
                    return Err(AllocateError::Set { index, error });
                }
            }
        }
    }
}

fn exhausted(set: &RangeSet) -> SetError {
    let set = set.to_string();
    SetError::Exhausted { set }
}

/// `None` cannot be: a range's address has its subnet's family.
fn grant(addr: IpAddr, range: &Range) -> Option<Grant> {
    let address = IpCidr::new(addr, range.subnet().prefix()).ok()?;
    let gateway = range.gateway();
    Some(Grant { address, gateway })
}

#[cfg(test)]
mod tests;
