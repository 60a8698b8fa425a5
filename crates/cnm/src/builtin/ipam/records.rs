//! The pools that have been requested, and where their addresses are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cni_ipam::{LeaseStore, LockedStore};
use cni_types::IpCidr;
use serde::{Deserialize, Serialize};

use super::error::IpamError;
use super::pool::{PoolId, Space};
use crate::store::{Lock, StoreError, file};

/// A pool that has been requested, with all its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PoolRecord {
    pub(super) address_space: Space,
    pub(super) subnet: IpCidr,
    /// How often each part has been requested and not released, by [`PoolId::part_key`].
    pub(super) references: BTreeMap<String, u32>,
}

impl PoolRecord {
    fn new(id: &PoolId) -> Self {
        Self {
            address_space: id.space,
            subnet: id.subnet,
            references: BTreeMap::new(),
        }
    }

    /// The pool as a whole, whichever parts of it were requested.
    pub(super) fn whole(&self) -> PoolId {
        PoolId {
            space: self.address_space,
            subnet: self.subnet,
            part: None,
        }
    }

    fn refers_to(&self, id: &PoolId) -> bool {
        self.references.contains_key(&id.part_key())
    }
}

/// All pools.
#[derive(Debug)]
pub(super) struct Records {
    dir: PathBuf,
}

impl Records {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Keeps others from requesting and releasing pools.
    pub(super) fn lock(&self, deadline: Instant) -> Result<Lock, IpamError> {
        Ok(Lock::acquire(&self.dir.join("lock"), deadline)?)
    }

    pub(super) fn all(&self) -> Result<Vec<PoolRecord>, StoreError> {
        let mut all = Vec::new();
        for stem in file::list(&self.dir)? {
            all.extend(file::read(&self.path(&stem))?);
        }
        Ok(all)
    }

    /// Counts one more request. Under the lock.
    pub(super) fn refer(&self, id: &PoolId) -> Result<(), IpamError> {
        let path = self.path(&id.file_stem());
        let found = file::read(&path)?;
        if found.is_none() {
            // What a crash left of a pool that was being released.
            file::remove_tree(&self.addresses_dir(id))?;
        }
        let mut record = found.unwrap_or_else(|| PoolRecord::new(id));
        *record.references.entry(id.part_key()).or_default() += 1;
        Ok(file::write(&path, &record)?)
    }

    /// Counts one request less; with the last one the pool goes, and all its addresses. That it is
    /// gone already is fine. Under the lock.
    pub(super) fn release(&self, id: &PoolId, deadline: Instant) -> Result<(), IpamError> {
        self.update(id, deadline, |references| {
            let key = id.part_key();
            match references.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(references.remove(&key)),
            }
        })
    }

    /// Changes how often a pool's parts are said to have been requested. Under the lock.
    pub(super) fn update(
        &self,
        id: &PoolId,
        deadline: Instant,
        change: impl FnOnce(&mut BTreeMap<String, u32>),
    ) -> Result<(), IpamError> {
        let path = self.path(&id.file_stem());
        let Some(mut record) = file::read::<PoolRecord>(&path)? else {
            return Ok(());
        };
        let before = record.references.clone();
        change(&mut record.references);
        if record.references.is_empty() {
            // Whoever is getting an address must be done, and everybody after finds no record.
            let _addresses = self.leases(id)?.lock(deadline)?;
            file::remove_for_good(&path)?;
            file::remove_tree(&self.addresses_dir(id))?;
        } else if record.references != before {
            file::write(&path, &record)?;
        }
        Ok(())
    }

    /// The addresses of a pool that has been requested, locked.
    pub(super) fn lock_addresses(
        &self,
        id: &PoolId,
        deadline: Instant,
    ) -> Result<LockedStore, IpamError> {
        self.expect(id)?;
        let locked = self.leases(id)?.lock_or_create(deadline)?;
        // It may have been released while the lock was waited for.
        self.expect(id)?;
        Ok(locked)
    }

    /// The addresses of a pool, locked; `None` if there are none.
    pub(super) fn lock_addresses_if_there(
        &self,
        id: &PoolId,
        deadline: Instant,
    ) -> Result<Option<LockedStore>, IpamError> {
        Ok(self.leases(id)?.lock(deadline)?)
    }

    fn expect(&self, id: &PoolId) -> Result<(), IpamError> {
        match file::read::<PoolRecord>(&self.path(&id.file_stem()))? {
            Some(record) if record.refers_to(id) => Ok(()),
            _ => Err(IpamError::UnknownPool(id.to_string())),
        }
    }

    fn leases(&self, id: &PoolId) -> Result<LeaseStore, IpamError> {
        let stem = id.file_stem().parse();
        let stem = stem.map_err(|_never| IpamError::UnknownPool(id.to_string()))?;
        Ok(LeaseStore::new(&self.dir, &stem))
    }

    fn addresses_dir(&self, id: &PoolId) -> PathBuf {
        self.dir.join(id.file_stem())
    }

    fn path(&self, stem: &str) -> PathBuf {
        self.dir.join(format!("{stem}.json"))
    }
}
