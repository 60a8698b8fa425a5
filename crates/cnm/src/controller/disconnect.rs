//! Taking a sandbox off a network, and collecting what was left behind.

use cni_types::{Attachment, NetworkName};

use super::debts::{Unpaid, in_words};
use super::spec::Limits;
use super::{Controller, Outcome};
use crate::error::DriverError;
use crate::ids::{EndpointId, NetworkId};
use crate::store::StoreError;
use crate::store::record::{Debts, DriverRef, Due, EndpointRecord, NetworkRecord, SandboxRecord};

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

/// How a collection of garbage went.
#[derive(Debug, Default)]
pub struct Collected {
    /// How many endpoints were removed.
    pub endpoints: usize,
    /// How much of earlier removals was finished.
    pub garbage: usize,
    /// How many networks were removed.
    pub networks: usize,
    /// What could not be removed, in words.
    pub failures: Vec<String>,
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
        match self.store.endpoint(likely, attachment)? {
            Some(record) => Ok(self.depart(record, policy, limits)?),
            None => Ok(self.finish_network(likely, limits)?),
        }
    }

    /// An ADD that ended before there was an endpoint may have left its network half made.
    fn finish_network(&self, network: &NetworkId, limits: Limits) -> Result<Departure, StoreError> {
        let mut departure = Departure::default();
        let seen = self.store.network(network)?;
        if let Some(seen) = seen.filter(|seen| !seen.ready) {
            let unpaid = self.collect_unused(&seen, Policy::default(), limits.undo())?;
            departure
                .notes
                .extend(unpaid.into_iter().flat_map(Unpaid::into_words));
        }
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
        let Unpaid { down, failures } = self.pay_endpoint(&mut record, true, limits);
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
        let again = record.tries > 0;
        let Unpaid { down, failures } = self.pay_endpoint(&mut record, again, limits);
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
        let of_failed_add = record.made_network && !record.complete;
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

    /// Removes the endpoints of a CNI network's attachments that are not valid, and finishes earlier
    /// removals of it; then its drivers may remove what they know of and we do not. Without a network
    /// it does so for all. Goes on after a failure.
    ///
    /// # Errors
    /// The directory of records cannot be read.
    pub fn collect(
        &self,
        of: Option<(&NetworkName, &NetworkId)>,
        is_valid: impl Fn(&Attachment) -> bool,
        policy: Policy,
        limits: Limits,
    ) -> Outcome<Collected> {
        let mut collected = Collected::default();
        let is_ours = |record: &EndpointRecord| {
            of.is_none_or(|(network, _)| record.attachment.network == *network)
        };
        for read in self.store.networks()? {
            let Some(record) = keep(read, &mut collected) else {
                continue;
            };
            for read in self.store.endpoints(&record.id)? {
                let Some(endpoint) = keep(read, &mut collected).filter(is_ours) else {
                    continue;
                };
                let attachment = Attachment::from(&endpoint.attachment);
                if !is_valid(&attachment) {
                    self.collect_endpoint(&endpoint, limits, &mut collected);
                }
            }
            for read in self.store.garbage(&record.id)? {
                if let Some(garbage) = keep(read, &mut collected).filter(is_ours) {
                    self.collect_garbage(garbage, limits, &mut collected);
                }
            }
            if of.is_none_or(|(_, likely)| record.id == *likely) {
                let told = self.let_driver_collect(&record, limits);
                collected
                    .failures
                    .extend(told.err().map(|error| in_words(&error)));
            }
            self.collect_network(&record, policy, limits, &mut collected);
        }
        Ok(collected)
    }

    /// Nobody makes an endpoint of the network meanwhile, so that all that have a record are all.
    fn let_driver_collect(&self, network: &NetworkRecord, limits: Limits) -> Outcome<()> {
        let _lock = self.store.lock_network(&network.id, limits.total)?;
        let driver = self.drivers.network(&network.driver)?;
        let living = self.store.endpoints(&network.id)?.into_iter();
        let left = self.store.garbage(&network.id)?.into_iter();
        let known: Result<Vec<String>, StoreError> = living
            .chain(left)
            .map(|read| read.map(|record| record.id.to_string()))
            .collect();
        Ok(driver.collect(network.id.as_str(), &known?, limits.call())?)
    }

    fn collect_endpoint(&self, found: &EndpointRecord, limits: Limits, collected: &mut Collected) {
        match self.remove_endpoint(found, limits) {
            Ok(None) => {}
            Ok(Some(departure)) => {
                collected.endpoints += usize::from(departure.down.is_none());
                collected.failures.extend(departure.notes);
                let down = departure.down.as_ref();
                collected.failures.extend(down.map(|error| in_words(error)));
            }
            Err(error) => collected.failures.push(in_words(&error)),
        }
    }

    /// The link of an endpoint that is dead may still lie about in the host's namespace.
    pub(super) fn sweep(&self, dead: &EndpointRecord, collected: &mut Collected) {
        let Some(link) = &dead.link else {
            return;
        };
        let living = self.store.endpoints(&dead.network).unwrap_or_default();
        let mut living = living.into_iter().flatten().filter_map(|one| one.link);
        if living.any(|other| other.src_name == link.src_name) {
            return;
        }
        if let Err(error) = self.sandboxes.discard_named(&link.src_name) {
            collected.failures.push(in_words(&error));
        }
    }

    pub(super) fn collect_garbage(
        &self,
        mut record: EndpointRecord,
        limits: Limits,
        collected: &mut Collected,
    ) {
        let unpaid = self.pay_endpoint(&mut record, true, limits);
        let saved = if record.owed.is_empty() {
            collected.garbage += 1;
            self.sweep(&record, collected);
            self.store.remove_garbage(&record)
        } else {
            record.tries += 1;
            self.store.save_garbage(&record)
        };
        collected.failures.extend(unpaid.into_words());
        collected
            .failures
            .extend(saved.err().map(|error| in_words(&error)));
    }

    /// A network that is half made or half removed, or that nobody needs any more.
    fn collect_network(
        &self,
        seen: &NetworkRecord,
        policy: Policy,
        limits: Limits,
        collected: &mut Collected,
    ) {
        let outcome = self.collect_unused(seen, policy, limits);
        match outcome {
            Ok(None) => {}
            Ok(Some(unpaid)) => {
                let failures = unpaid.into_words();
                collected.networks += usize::from(failures.is_empty());
                collected.failures.extend(failures);
            }
            Err(error) => collected.failures.push(in_words(&error)),
        }
    }

    fn collect_unused(
        &self,
        seen: &NetworkRecord,
        policy: Policy,
        limits: Limits,
    ) -> Result<Option<Unpaid>, StoreError> {
        if seen.ready && !policy.remove_network {
            return Ok(None);
        }
        let _lock = self.store.lock_network(&seen.id, limits.total)?;
        let Some(mut now) = self.store.network(&seen.id)? else {
            return Ok(None);
        };
        let needed = (now.ready && !policy.remove_network) || !self.store.is_unused(&now.id)?;
        if needed {
            return Ok(None);
        }
        self.end_network(&mut now, limits).map(Some)
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

/// A record that could be read; the others are told.
fn keep<T>(read: Result<T, StoreError>, collected: &mut Collected) -> Option<T> {
    read.map_err(|error| collected.failures.push(in_words(&error)))
        .ok()
}

impl Unpaid {
    fn into_words(self) -> Vec<String> {
        let down = self.down.as_ref().map(|error| in_words(error));
        self.failures.into_iter().chain(down).collect()
    }
}
