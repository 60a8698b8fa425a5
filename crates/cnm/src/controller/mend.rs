//! What people mend by hand: one endpoint, one network, one piece of garbage.

use cni_types::Attachment;

use super::disconnect::{Collected, Departure, Policy};
use super::spec::Limits;
use super::{Controller, ControllerError, Outcome};
use crate::ids::NetworkId;
use crate::store::Lock;
use crate::store::record::{EndpointRecord, NetworkRecord};

impl Controller {
    /// Removes an endpoint that was looked at before, as a [`disconnect`](Self::disconnect) does, and
    /// its link if that is still in the host's namespace. `None` if there is another one by now, or none:
    /// nothing is done then.
    ///
    /// # Errors
    /// Its attachment is busy, or the records could not be read or written.
    pub fn remove_endpoint(
        &self,
        seen: &EndpointRecord,
        limits: Limits,
    ) -> Outcome<Option<Departure>> {
        let attachment = Attachment::from(&seen.attachment);
        let _lock = self.lock(&attachment, limits.total)?;
        if !self.is_still(seen, &attachment)? {
            return Ok(None);
        }
        let policy = Policy::default();
        let mut departure = self.disconnect(&seen.network, &attachment, policy, limits)?;
        if departure.down.is_none() {
            let mut swept = Collected::default();
            self.sweep(seen, &mut swept);
            departure.notes.extend(swept.failures);
        }
        Ok(Some(departure))
    }

    /// Forgets an endpoint without asking anybody to remove it. `false` if there is another one by now,
    /// or none.
    ///
    /// # Errors
    /// Its attachment is busy, or the record could not be removed.
    pub fn forget_endpoint(&self, seen: &EndpointRecord, limits: Limits) -> Outcome<bool> {
        let attachment = Attachment::from(&seen.attachment);
        let _lock = self.lock(&attachment, limits.total)?;
        let is_still = self.is_still(seen, &attachment)?;
        if is_still {
            self.store.remove_endpoint(seen)?;
        }
        Ok(is_still)
    }

    /// A runtime may have removed the endpoint meanwhile, and have made another one.
    fn is_still(&self, seen: &EndpointRecord, attachment: &Attachment) -> Outcome<bool> {
        let now = self.store.endpoint(&seen.network, attachment)?;
        Ok(now.is_some_and(|now| (&now.id, &now.sandbox) == (&seen.id, &seen.sandbox)))
    }

    /// Tries again to remove what is left of an endpoint; says in words what cannot be removed.
    #[must_use]
    pub fn finish_garbage(&self, garbage: EndpointRecord, limits: Limits) -> Vec<String> {
        let mut collected = Collected::default();
        self.collect_garbage(garbage, limits, &mut collected);
        collected.failures
    }

    /// Forgets a network, and what is left of its endpoints, without asking anybody to remove them.
    /// `None` if there is none.
    ///
    /// # Errors
    /// It has endpoints, or the records could not be read or removed.
    pub fn forget_network(
        &self,
        network: &NetworkId,
        limits: Limits,
    ) -> Outcome<Option<NetworkRecord>> {
        let lock = self.store.lock_network(network, limits.total)?;
        let Some(record) = self.unused_network(network, &lock)? else {
            return Ok(None);
        };
        self.forget_garbage(&record)?;
        self.store.remove_network(&record.id)?;
        Ok(Some(record))
    }

    /// The record of a network that has no endpoints. The caller holds its lock.
    pub(super) fn unused_network(
        &self,
        network: &NetworkId,
        _lock: &Lock,
    ) -> Outcome<Option<NetworkRecord>> {
        let Some(record) = self.store.network(network)? else {
            return Ok(None);
        };
        match self.store.endpoints(network)?.len() {
            0 => Ok(Some(record)),
            endpoints => Err(ControllerError::NetworkInUse {
                name: record.name,
                endpoints,
            }),
        }
    }
}
