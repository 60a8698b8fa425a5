//! What people mend by hand: one endpoint, one network, one piece of garbage.

use cni_types::Attachment;

use super::debts::in_words;
use super::disconnect::{Departure, Policy};
use super::spec::Limits;
use super::{Controller, ControllerError, Outcome};
use crate::ids::NetworkId;
use crate::store::record::{Due, EndpointRecord, NetworkRecord};
use crate::store::{Lock, StoreError};

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
            departure.notes.extend(self.sweep(seen));
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
            if seen.owed.has(&Due::Key) && !self.has_other_with_key(seen)? {
                self.sandboxes.remove_key(&seen.sandbox.key)?;
            }
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
    pub fn finish_garbage(&self, mut garbage: EndpointRecord, limits: Limits) -> Vec<String> {
        let mut failures = self.pay_endpoint(&mut garbage, true, limits).into_words();
        let saved = if garbage.owed.is_empty() {
            failures.extend(self.sweep(&garbage));
            self.store.remove_garbage(&garbage)
        } else {
            garbage.tries += 1;
            self.store.save_garbage(&garbage)
        };
        failures.extend(saved.err().map(|error| in_words(&error)));
        failures
    }

    /// The same with all that there is of a network.
    pub(super) fn finish_all_garbage(
        &self,
        network: &NetworkId,
        limits: Limits,
    ) -> Result<Vec<String>, StoreError> {
        let all = self.store.garbage(network)?.into_iter().flatten();
        Ok(all
            .flat_map(|garbage| self.finish_garbage(garbage, limits))
            .collect())
    }

    /// The link of an endpoint that is dead may still lie about in the host's namespace. Says in words
    /// why it cannot be removed.
    pub(super) fn sweep(&self, dead: &EndpointRecord) -> Option<String> {
        let link = dead.link.as_ref()?;
        // Mostly not, and then nobody else need be asked after.
        if !self.sandboxes.is_on_host(&link.src_name) {
            return None;
        }
        let living = self.store.endpoints(&dead.network).unwrap_or_default();
        let others = living.into_iter().flatten().filter(|one| one.id != dead.id);
        let mut links = others.filter_map(|one| one.link);
        if links.any(|other| other.src_name == link.src_name) {
            return None;
        }
        let discarded = self.sandboxes.discard_named(&link.src_name);
        discarded.err().map(|error| in_words(&error))
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
