//! Collecting what was left behind.

use std::error::Error;

use cni_types::{Attachment, NetworkName};

use super::debts::{Unpaid, in_words};
use super::spec::Limits;
use super::{Controller, Outcome, Policy};
use crate::ids::NetworkId;
use crate::store::record::EndpointRecord;
use crate::store::{Lock, StoreError};

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

impl Collected {
    fn note(&mut self, error: &dyn Error) {
        self.failures.push(in_words(error));
    }

    /// What succeeded; what did not is told.
    fn keep<T, E: Error>(&mut self, outcome: Result<T, E>) -> Option<T> {
        outcome.map_err(|error| self.note(&error)).ok()
    }
}

/// Which CNI network's attachments are collected, and on which network they are likely to be; all
/// without any.
pub type Whose<'a> = Option<(&'a NetworkName, &'a NetworkId)>;

/// One collection.
struct Round<'a> {
    controller: &'a Controller,
    whose: Whose<'a>,
    is_valid: &'a dyn Fn(&Attachment) -> bool,
    policy: Policy,
    limits: Limits,
    collected: Collected,
}

impl Controller {
    /// Removes the endpoints of a CNI network's attachments that are not valid, and finishes earlier
    /// removals of it; then its drivers may remove what they know of and we do not. Goes on after a
    /// failure.
    ///
    /// # Errors
    /// The directory of records cannot be read.
    pub fn collect(
        &self,
        whose: Whose<'_>,
        is_valid: impl Fn(&Attachment) -> bool,
        policy: Policy,
        limits: Limits,
    ) -> Outcome<Collected> {
        let mut round = Round {
            controller: self,
            whose,
            is_valid: &is_valid,
            policy,
            limits,
            collected: Collected::default(),
        };
        self.store.sweep_records()?;
        for network in self.store.network_ids()? {
            round.visit(&network)?;
        }
        self.store.sweep_locks()?;
        Ok(round.collected)
    }

    /// Removes a network that is not needed, unless it turns out to be. `None` if it is.
    pub(super) fn end_unused(
        &self,
        network: &NetworkId,
        policy: Policy,
        _lock: &Lock,
        limits: Limits,
    ) -> Result<Option<Unpaid>, StoreError> {
        if !self.store.is_unused(network)? {
            return Ok(None);
        }
        match self.store.network(network)? {
            Some(now) if now.ready && !policy.remove_network => Ok(None),
            Some(mut now) => self.end_network(&mut now, limits).map(Some),
            None => {
                // Its record was lost; what is left is empty.
                self.store.remove_network(network)?;
                Ok(None)
            }
        }
    }
}

impl Round<'_> {
    fn is_ours(&self, record: &EndpointRecord) -> bool {
        self.whose
            .is_none_or(|(name, _)| record.attachment.network == *name)
    }

    /// What there is on one network, whether its own record is there or not. The network itself is
    /// looked at if it is the likely one, or any of what is on it was whose this is about: others
    /// have their own idea of when theirs go.
    fn visit(&mut self, network: &NetworkId) -> Result<(), StoreError> {
        let mut concerned = self.whose.is_none_or(|(_, likely)| network == likely);
        for read in self.controller.store.endpoints(network)? {
            let read = self.collected.keep(read);
            let Some(endpoint) = read.filter(|endpoint| self.is_ours(endpoint)) else {
                continue;
            };
            concerned = true;
            if !(self.is_valid)(&Attachment::from(&endpoint.attachment)) {
                self.end_endpoint(&endpoint);
            }
        }
        for read in self.controller.store.garbage(network)? {
            let read = self.collected.keep(read);
            if let Some(garbage) = read.filter(|garbage| self.is_ours(garbage)) {
                concerned = true;
                self.finish(garbage);
            }
        }
        if concerned {
            if let Err(error) = self.let_driver_collect(network) {
                let why = format!("network {}: {}", self.name(network), in_words(&error));
                self.collected.failures.push(why);
            }
            self.end_network(network);
        }
        Ok(())
    }

    /// As people know it.
    fn name(&self, network: &NetworkId) -> String {
        let record = self.controller.store.network(network).ok().flatten();
        record.map_or_else(|| network.to_string(), |record| record.name)
    }

    /// Nobody makes an endpoint of the network meanwhile, so that all that have a record are all.
    fn let_driver_collect(&self, network: &NetworkId) -> Outcome<()> {
        let (controller, limits) = (self.controller, self.limits);
        let _lock = controller.store.lock_network(network, limits.total)?;
        let Some(record) = controller.store.network(network)? else {
            return Ok(());
        };
        let driver = controller.drivers.network(&record.driver)?;
        let living = controller.store.endpoints(network)?.into_iter();
        let left = controller.store.garbage(network)?.into_iter();
        let known: Result<Vec<String>, StoreError> = living
            .chain(left)
            .map(|read| read.map(|record| record.id.to_string()))
            .collect();
        Ok(driver.collect(network.as_str(), &known?, limits.call())?)
    }

    fn end_endpoint(&mut self, found: &EndpointRecord) {
        let removed = self.controller.remove_endpoint(found, self.limits);
        let Some(departure) = self.collected.keep(removed).flatten() else {
            return;
        };
        self.collected.failures.extend(departure.notes);
        match departure.down {
            Some(error) => self.collected.note(&error),
            None => self.collected.endpoints += 1,
        }
    }

    fn finish(&mut self, garbage: EndpointRecord) {
        let failures = self.controller.finish_garbage(garbage, self.limits);
        self.collected.garbage += usize::from(failures.is_empty());
        self.collected.failures.extend(failures);
    }

    /// A network that is half made or half removed, or that nobody needs any more.
    fn end_network(&mut self, network: &NetworkId) {
        let ended = self.end_network_if_unused(network);
        if let Some(unpaid) = self.collected.keep(ended).flatten() {
            let failures = unpaid.into_words();
            self.collected.networks += usize::from(failures.is_empty());
            self.collected.failures.extend(failures);
        }
    }

    fn end_network_if_unused(&self, network: &NetworkId) -> Result<Option<Unpaid>, StoreError> {
        let store = &self.controller.store;
        let seen = store.network(network)?;
        if seen.is_some_and(|seen| seen.ready) && !self.policy.remove_network {
            return Ok(None);
        }
        let lock = store.lock_network(network, self.limits.total)?;
        self.controller
            .end_unused(network, self.policy, &lock, self.limits)
    }
}
