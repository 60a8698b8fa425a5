//! Taking a sandbox off a network, and collecting what was left behind.

use cni_types::Attachment;

use super::debts::{Unpaid, in_words};
use super::spec::Limits;
use super::{Controller, Outcome};
use crate::error::DriverError;
use crate::ids::{EndpointId, NetworkId};
use crate::store::StoreError;
use crate::store::record::{Debts, DriverRef, Due, EndpointRecord, SandboxRecord};

/// What to do with an endpoint whose driver does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnDriverDown {
    /// Keep it: whoever calls again may be luckier.
    #[default]
    Keep,
    /// Leave it to the collection of garbage.
    Leak,
}

/// How to go about removals.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    /// What to do if the driver does not answer.
    pub on_driver_down: OnDriverDown,
    /// Whether the network goes with its last endpoint.
    pub remove_network: bool,
    /// Whether it is an ADD that is taken back: the network that was made for it goes, too, if nobody else
    /// has come to use it.
    pub takes_back: bool,
}

/// How a removal went.
#[derive(Debug, Default)]
pub struct Departure {
    /// Whether there was an endpoint.
    pub found: bool,
    /// The driver does not answer, and the endpoint is still there.
    pub down: Option<DriverError>,
    /// What went wrong besides, in words. It is left to the collection of garbage.
    pub notes: Vec<String>,
}

impl Controller {
    /// Removes an attachment's endpoint, from whatever state it is in, as far as that can be done. No
    /// endpoint is fine.
    ///
    /// The caller holds the attachment's lock.
    ///
    /// # Errors
    /// The records could not be read or written.
    pub fn disconnect(
        &self,
        likely: &NetworkId,
        attachment: &Attachment,
        policy: Policy,
        limits: Limits,
    ) -> Outcome<Departure> {
        if let Some(record) = self.store.endpoint(likely, attachment)? {
            return Ok(self.depart(record, policy, limits)?);
        }
        self.store.sweep_endpoint(likely, attachment)?;
        Ok(self.finish_network(likely, policy, limits)?)
    }

    /// An ADD that ended before there was an endpoint may have left its network half made, and a
    /// removal that ended after there was one, a network that was to go with it. While another one
    /// makes it, it is none of ours to finish.
    fn finish_network(
        &self,
        network: &NetworkId,
        policy: Policy,
        limits: Limits,
    ) -> Result<Departure, StoreError> {
        let mut departure = Departure::default();
        let seen = self.store.network(network)?;
        let stays = |ready: bool| -> Result<bool, StoreError> {
            Ok(ready && !(policy.remove_network && self.store.endpoints(network)?.is_empty()))
        };
        if seen.map_or(Ok(true), |seen| stays(seen.ready))? {
            self.store.sweep_lock(network)?;
            return Ok(departure);
        }
        let Some(lock) = self.store.try_lock_network(network)? else {
            return Ok(departure);
        };
        let limits = limits.undo();
        departure.notes = self.finish_all_garbage(network, limits)?;
        let unpaid = self.end_unused(network, policy, &lock, limits)?;
        let unpaid = unpaid.into_iter().flat_map(Unpaid::into_words);
        departure.notes.extend(unpaid);
        Ok(departure)
    }

    /// Asks a driver to remove an endpoint that nothing is remembered of: its id can be derived. That
    /// there is none is fine.
    #[must_use]
    pub fn disconnect_forgotten(
        &self,
        network: &str,
        driver: &DriverRef,
        attachment: &Attachment,
        limits: Limits,
    ) -> Departure {
        let mut record = EndpointRecord {
            id: EndpointId::derive(network, attachment, 0),
            network: NetworkId::derive(network),
            driver: driver.clone(),
            ipam: None,
            generation: 0,
            attachment: attachment.into(),
            sandbox: SandboxRecord::default(),
            mac: String::new(),
            addresses: Vec::new(),
            join: None,
            link: None,
            made_network: false,
            complete: false,
            leaving: false,
            owed: Debts::default(),
            tries: 0,
        };
        record.owed.incur(Due::Leave);
        record.owed.incur(Due::Endpoint);
        let Unpaid { down, failures, .. } = self.pay_endpoint(&mut record, true, limits);
        Departure {
            found: false,
            down,
            notes: failures,
        }
    }

    fn depart(
        &self,
        mut record: EndpointRecord,
        policy: Policy,
        limits: Limits,
    ) -> Result<Departure, StoreError> {
        // Whoever is killed now leaves word that the driver may have heard it all.
        let again = record.leaving || record.tries > 0;
        if !again {
            record.leaving = true;
            self.store.save_endpoint(&record)?;
        }
        let Unpaid { down, failures, .. } = self.pay_endpoint(&mut record, again, limits);
        let mut departure = Departure {
            found: true,
            down: None,
            notes: failures,
        };
        match down {
            Some(error) if policy.on_driver_down == OnDriverDown::Keep => {
                record.tries += 1;
                record.leaving = true;
                self.store.save_endpoint(&record)?;
                departure.down = Some(error);
                return Ok(departure);
            }
            Some(error) => departure.notes.push(in_words(&error)),
            None => {}
        }
        if !record.owed.is_empty() {
            record.tries += 1;
            self.store.save_garbage(&record)?;
        }
        let of_failed_add = record.made_network && (!record.complete || policy.takes_back);
        self.forget(
            &record,
            policy.remove_network || of_failed_add,
            &mut departure,
            limits,
        )?;
        Ok(departure)
    }

    /// The endpoint's record goes, and the network with it if it is to.
    fn forget(
        &self,
        record: &EndpointRecord,
        with_network: bool,
        departure: &mut Departure,
        limits: Limits,
    ) -> Result<(), StoreError> {
        if !with_network {
            return self.store.remove_endpoint(record);
        }
        let _lock = self.store.lock_network(&record.network, limits.total)?;
        self.store.remove_endpoint(record)?;
        if !self.store.endpoints(&record.network)?.is_empty() {
            return Ok(());
        }
        if let Some(mut network) = self.store.network(&record.network)? {
            let unpaid = self.end_network(&mut network, limits)?;
            departure.notes.extend(unpaid.into_words());
        }
        Ok(())
    }

    /// Removes a network that has no endpoints.
    ///
    /// # Errors
    /// It has some, or the records could not be read or written.
    pub fn remove_network(&self, network: &NetworkId, limits: Limits) -> Outcome<Vec<String>> {
        let lock = self.store.lock_network(network, limits.total)?;
        let Some(mut record) = self.unused_network(network, &lock)? else {
            return Ok(Vec::new());
        };
        Ok(self.end_network(&mut record, limits)?.into_words())
    }
}
