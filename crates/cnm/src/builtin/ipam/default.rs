//! The IPAM driver `default`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Instant;

use cni_ipam::{Holding, Store as _};
use cni_types::{CniError, IpCidr};

use super::address::{self, Wanted, give};
use super::choose::choose;
use super::host;
use super::pool::{PoolId, Space};
use super::records::Records;
use crate::driver::{IpamDriver, Outcome};
use crate::error::{DriverError, Method};
use crate::wire::ipam;

type InUse = Box<dyn Fn() -> Result<Vec<IpCidr>, CniError> + Send + Sync>;

/// Pools and addresses of one node, in files.
///
/// Addresses are given in order: the next one after the last, and from the beginning after the end.
/// The gateway gets the first that is free.
///
/// An address that is requested with the option
/// [`com.docker.network.endpoint.name`](crate::wire::label::ENDPOINT_NAME) is of that owner, and
/// [`release_owned`](IpamDriver::release_owned) finds it by that name.
pub struct DefaultIpam {
    records: Records,
    in_use: InUse,
}

impl fmt::Debug for DefaultIpam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = &self.records;
        f.debug_struct("DefaultIpam")
            .field("records", records)
            .finish_non_exhaustive()
    }
}

impl DefaultIpam {
    /// The driver whose files are in `dir`, which is made when it is needed. `in_use` tells which
    /// subnets the host uses by itself.
    pub fn new(
        dir: &Path,
        in_use: impl Fn() -> Result<Vec<IpCidr>, CniError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            records: Records::new(dir),
            in_use: Box::new(in_use),
        }
    }

    /// The same; what is in use are the destinations of the routes in the calling thread's network
    /// namespace, and the name servers.
    #[must_use]
    pub fn of_host(dir: &Path) -> Self {
        Self::new(dir, host::subnets_in_use)
    }

    /// Releases the pools that are not valid, however often they have been requested, with their
    /// addresses: a controller that ended between requesting a pool and remembering it has left one.
    ///
    /// `valid` tells the pools to keep. It is asked while nobody can request another one; `None`
    /// is that somebody may be about to remember one, and then nothing is released.
    ///
    /// # Errors
    /// The pools cannot be read or removed.
    pub fn collect_pools(
        &self,
        valid: impl FnOnce() -> Result<Option<BTreeSet<String>>, CniError>,
        deadline: Instant,
    ) -> Result<(), CniError> {
        let _lock = self.records.lock(deadline)?;
        let Some(valid) = valid()? else {
            return Ok(());
        };
        for record in self.records.all()? {
            let whole = record.whole();
            let is_valid = |part: &String| {
                let separator = if part.is_empty() { "" } else { "/" };
                valid.contains(&format!("{whole}{separator}{part}"))
            };
            self.records.update(&whole, deadline, |references| {
                references.retain(|part, _count| is_valid(part));
            })?;
        }
        Ok(())
    }

    fn get_pool(
        &self,
        request: &ipam::RequestPoolRequest,
        deadline: Instant,
    ) -> Result<PoolId, CniError> {
        let _lock = self.records.lock(deadline)?;
        let id = choose(request, &self.records.all()?, &self.in_use)?;
        self.records.refer(&id)?;
        Ok(id)
    }

    fn get_address(
        &self,
        request: &ipam::RequestAddressRequest,
        deadline: Instant,
    ) -> Result<IpCidr, CniError> {
        let id: PoolId = request.pool_id.parse()?;
        let wanted = Wanted::of(request, &id)?;
        let owner = address::owner(request)?;
        let mut locked = self.records.lock_addresses(&id, deadline)?;
        let addr = give(&mut locked, &id, wanted, &owner)?;
        // An address of the pool has its family, so that this cannot fail.
        Ok(IpCidr::new(addr, id.subnet.prefix()).unwrap_or(id.subnet))
    }

    fn put_address(
        &self,
        request: &ipam::ReleaseAddressRequest,
        owner: Option<&str>,
        deadline: Instant,
    ) -> Result<(), CniError> {
        let addr = address::parse(&request.address)?;
        let holders = owner.map(address::holders).transpose()?;
        // A pool with another name than ours gives no addresses.
        let Ok(id) = request.pool_id.parse() else {
            return Ok(());
        };
        let Some(mut locked) = self.records.lock_addresses_if_there(&id, deadline)? else {
            return Ok(());
        };
        for holder in holders.iter().flatten() {
            if locked.holding(addr, holder)? == Holding::Attachment {
                return Ok(locked.release(addr)?);
            }
        }
        if holders.is_none() {
            locked.release(addr)?;
        }
        Ok(())
    }

    /// Reads all leases of the pool.
    fn put_owned(&self, pool: &str, owner: &str, deadline: Instant) -> Result<(), CniError> {
        let Ok(id) = pool.parse() else {
            return Ok(());
        };
        let holders = address::holders(owner)?;
        let mut errors = Vec::new();
        if let Some(mut locked) = self.records.lock_addresses_if_there(&id, deadline)? {
            for holder in &holders {
                let removed = locked.release_attachment(holder)?;
                errors.extend(removed.errors.into_iter().map(CniError::from));
            }
        }
        CniError::collect(errors)
    }

    fn put_pool(
        &self,
        request: &ipam::ReleasePoolRequest,
        deadline: Instant,
    ) -> Result<(), CniError> {
        let Ok(id) = request.pool_id.parse() else {
            return Ok(());
        };
        let _lock = self.records.lock(deadline)?;
        Ok(self.records.release(&id, deadline)?)
    }

    fn failed(&self, method: Method) -> impl FnOnce(CniError) -> DriverError {
        let title = self.title();
        move |error| DriverError::failed(title, method, error)
    }
}

impl IpamDriver for DefaultIpam {
    fn title(&self) -> String {
        "IPAM driver default".to_owned()
    }

    fn capabilities(&self, _deadline: Instant) -> Outcome<ipam::Capabilities> {
        Ok(ipam::Capabilities::default())
    }

    fn default_address_spaces(&self, _deadline: Instant) -> Outcome<ipam::AddressSpaces> {
        Ok(ipam::AddressSpaces {
            local_default_address_space: Space::Local.as_str().to_owned(),
            global_default_address_space: Space::Global.as_str().to_owned(),
        })
    }

    fn request_pool(
        &self,
        request: &ipam::RequestPoolRequest,
        deadline: Instant,
    ) -> Outcome<ipam::RequestPoolReply> {
        let id = self
            .get_pool(request, deadline)
            .map_err(self.failed(Method::RequestPool))?;
        Ok(ipam::RequestPoolReply {
            pool_id: id.to_string(),
            pool: id.subnet.to_string(),
            data: BTreeMap::new(),
        })
    }

    fn release_pool(&self, request: &ipam::ReleasePoolRequest, deadline: Instant) -> Outcome<()> {
        self.put_pool(request, deadline)
            .map_err(self.failed(Method::ReleasePool))
    }

    fn request_address(
        &self,
        request: &ipam::RequestAddressRequest,
        deadline: Instant,
    ) -> Outcome<ipam::RequestAddressReply> {
        let address = self
            .get_address(request, deadline)
            .map_err(self.failed(Method::RequestAddress))?;
        Ok(ipam::RequestAddressReply {
            address: address.to_string(),
            data: BTreeMap::new(),
        })
    }

    fn knows_owners(&self) -> bool {
        true
    }

    fn release_owned(&self, pool: &str, owner: &str, deadline: Instant) -> Outcome<()> {
        self.put_owned(pool, owner, deadline)
            .map_err(self.failed(Method::ReleaseAddress))
    }

    fn release_address(
        &self,
        request: &ipam::ReleaseAddressRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        self.put_address(request, None, deadline)
            .map_err(self.failed(Method::ReleaseAddress))
    }

    fn release_address_of(
        &self,
        owner: &str,
        request: &ipam::ReleaseAddressRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        self.put_address(request, Some(owner), deadline)
            .map_err(self.failed(Method::ReleaseAddress))
    }
}

#[cfg(test)]
mod tests;
