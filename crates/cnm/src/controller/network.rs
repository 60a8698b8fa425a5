//! Finding networks and taking them away.

use super::debts::Unpaid;
use super::making::Undeleted;
use super::spec::{Limits, NetworkSpec};
use super::{Controller, ControllerError, Outcome};
use crate::store::record::{Debts, Due, NetworkRecord};
use crate::store::{Lock, StoreError};

/// How often a driver may refuse to remove something. Some refuse for ever what they have removed
/// already, and do not say that it is gone.
pub(super) const TRIES: u32 = 10;

/// A network that is ready, and whether it was made just now.
pub(super) struct Ready {
    pub(super) record: NetworkRecord,
    pub(super) is_new: bool,
}

impl Controller {
    /// Finds a network, or makes it. The caller holds its lock.
    pub(super) fn ensure_network(
        &self,
        spec: &NetworkSpec,
        _lock: &Lock,
        limits: Limits,
    ) -> Outcome<Ready> {
        if let Some(record) = self.store.network(&spec.id())? {
            let fits = record.made_from == spec.fingerprint();
            if record.ready && fits {
                return Ok(Ready {
                    record,
                    is_new: false,
                });
            }
            if record.ready && !self.store.endpoints(&record.id)?.is_empty() {
                return Err(ControllerError::NetworkChanged(spec.name.clone()));
            }
            let stays = self.clear_network(record, spec, limits)?;
            return self.make_network(spec, stays, limits);
        }
        self.make_network(spec, None, limits)
    }

    /// What is in the way of a new network of that name goes first: what is left of its endpoints, for
    /// whose sake drivers may refuse to delete it, then the network. A driver that refuses all the same
    /// may have none any more; that shows when it is to make one.
    fn clear_network(
        &self,
        mut record: NetworkRecord,
        spec: &NetworkSpec,
        limits: Limits,
    ) -> Outcome<Option<Undeleted>> {
        let _tried = self.finish_all_garbage(&record.id, limits)?;
        let unpaid = self.end_network(&mut record, limits)?;
        if let Some(error) = unpaid.down {
            return Err(error.into());
        }
        // An IPAM driver that refuses to take back what it may have forgotten must not keep the name
        // from being used for ever.
        if !record.owed.has(&Due::Network) {
            self.forget_garbage(&record)?;
            self.store.remove_network(&record.id)?;
            return Ok(None);
        }
        let why = unpaid.failures.join("; ");
        if record.driver == spec.driver {
            return Ok(Some(Undeleted { why, record }));
        }
        Err(ControllerError::NetworkHalfDone {
            name: record.name,
            why,
        })
    }

    /// Removes a network and its record; one that still owes something keeps it, and is not ready
    /// any more. The caller holds its lock.
    pub(super) fn end_network(
        &self,
        record: &mut NetworkRecord,
        limits: Limits,
    ) -> Result<Unpaid, StoreError> {
        if record.ready {
            // Whoever is killed now leaves word that it is not what it was.
            record.ready = false;
            self.store.save_network(record)?;
        }
        let mut unpaid = self.pay_network(record, limits);
        if record.owed.is_empty() {
            self.forget_garbage(record)?;
            self.store.remove_network(&record.id)?;
            return Ok(unpaid);
        }
        record.tries += u32::from(unpaid.down.is_none());
        if record.tries > TRIES {
            let name = &record.name;
            let told = format!("network {name} is given up after {TRIES} refusals");
            unpaid.failures.push(told);
            record.owed = Debts::default();
            self.store.remove_network(&record.id)?;
        } else {
            self.store.save_network(record)?;
        }
        Ok(unpaid)
    }

    /// A driver that has deleted a network has no endpoints of it any more.
    pub(super) fn forget_garbage(&self, record: &NetworkRecord) -> Result<(), StoreError> {
        for garbage in self.store.garbage(&record.id)?.into_iter().flatten() {
            self.store.remove_garbage(&garbage)?;
        }
        Ok(())
    }
}
