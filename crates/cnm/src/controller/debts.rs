//! Paying what a network or an endpoint owes.

use std::error::Error;
use std::rc::Rc;

use super::spec::Limits;
use super::{Controller, ControllerError, requests};
use crate::driver::{IpamDriver, NetworkDriver};
use crate::error::DriverError;
use crate::sandbox::TakenOut;
use crate::store::StoreError;
use crate::store::record::{
    Debt, Debts, DriverRef, Due, EndpointRecord, LinkRecord, NetworkRecord,
};
use crate::wire::ipam::{ReleaseAddressRequest, ReleasePoolRequest};
use crate::wire::network::NetworkRequest;

/// What could not be paid.
#[derive(Debug, Default)]
pub(super) struct Unpaid {
    /// The network driver did not answer, and was not asked for anything more.
    pub(super) down: Option<DriverError>,
    /// The IPAM driver did not answer.
    pub(super) ipam_is_down: bool,
    /// In words, one for each debt that was tried in vain.
    pub(super) failures: Vec<String>,
}

/// How one payment ended.
enum Payment {
    Done,
    /// Nobody answered; nothing that comes after it may be tried.
    Down(DriverError),
    Failed(String),
}

/// An error with its causes, in one line.
pub(super) fn in_words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

/// What a driver's answer to a payment means.
///
/// A driver that refuses to take away what may never have been there is right. So is one that, when
/// asked again, says that there is no such thing.
fn judge(debt: &Debt, again: bool, answer: Result<(), DriverError>) -> Payment {
    match answer {
        Ok(()) => Payment::Done,
        Err(error) if error.is_down() => Payment::Down(error),
        Err(error) if debt.due == Due::Revoke && error.is_not_implemented() => Payment::Done,
        Err(_refused) if !debt.certain => Payment::Done,
        Err(error) if again && error.is_gone() => Payment::Done,
        Err(error) => Payment::Failed(in_words(&error)),
    }
}

/// Whoever is asked to take an endpoint away, opened when first needed.
struct Payers<'a> {
    controller: &'a Controller,
    driver: &'a DriverRef,
    ipam: Option<&'a DriverRef>,
    limits: Limits,
}

impl Payers<'_> {
    fn network(&self) -> Result<Rc<dyn NetworkDriver>, DriverError> {
        self.controller.drivers.network(self.driver)
    }

    fn ipam(&self) -> Result<Option<Rc<dyn IpamDriver>>, DriverError> {
        self.ipam
            .map(|ipam| self.controller.drivers.ipam(ipam))
            .transpose()
    }

    /// Gives an address back; one whose request was never answered, by its owner.
    fn address(&self, pool: &str, address: &str, owner: &str) -> Result<(), DriverError> {
        let Some(ipam) = self.ipam()? else {
            return Ok(());
        };
        if address.is_empty() {
            return ipam.release_owned(pool, owner, self.limits.call());
        }
        let request = ReleaseAddressRequest {
            pool_id: pool.to_owned(),
            address: address.to_owned(),
        };
        ipam.release_address_of(owner, &request, self.limits.call())
    }

    fn pool(&self, pool: &str) -> Result<(), DriverError> {
        let Some(ipam) = self.ipam()? else {
            return Ok(());
        };
        if pool.is_empty() {
            // Nobody ever heard what it is called.
            return Ok(());
        }
        let request = ReleasePoolRequest {
            pool_id: pool.to_owned(),
        };
        ipam.release_pool(&request, self.limits.call())
    }
}

impl Controller {
    /// Pays what an endpoint owes, as far as it can be paid now. The record says what is left.
    ///
    /// `again` is for what was tried before.
    pub(super) fn pay_endpoint(
        &self,
        record: &mut EndpointRecord,
        again: bool,
        limits: Limits,
    ) -> Unpaid {
        let mut unpaid = Unpaid::default();
        let mut taken_out = TakenOut::Gone;
        let debts: Vec<Debt> = record.owed.iter().cloned().collect();
        for debt in debts {
            let payment = match &debt.due {
                Due::Link => self.pay_link(record, &mut taken_out),
                Due::Key => self.pay_key(record),
                due => judge(&debt, again, self.pay_driver(record, due, limits)),
            };
            let is_ipams = matches!(debt.due, Due::Address { .. });
            match payment {
                Payment::Done => record.owed.settle(&debt.due),
                Payment::Down(error) if !is_ipams => {
                    record.owed.fail(&debt.due, &in_words(&error));
                    unpaid.down = Some(error);
                    return unpaid;
                }
                Payment::Down(error) => {
                    unpaid.ipam_is_down = true;
                    unpaid.fail(&mut record.owed, &debt.due, in_words(&error));
                }
                Payment::Failed(why) => unpaid.fail(&mut record.owed, &debt.due, why),
            }
        }
        if again {
            unpaid.forgive(&mut record.owed);
        }
        match (taken_out, &record.link) {
            (TakenOut::Moved(index), Some(link)) => self.discard(index, link, &mut unpaid),
            // Somebody who was killed may have taken it out.
            (TakenOut::Gone, Some(_)) => unpaid.failures.extend(self.sweep(record)),
            (_, None) => {}
        }
        unpaid
    }

    fn pay_driver(
        &self,
        record: &EndpointRecord,
        due: &Due,
        limits: Limits,
    ) -> Result<(), DriverError> {
        let payers = Payers {
            controller: self,
            driver: &record.driver,
            ipam: record.ipam.as_ref(),
            limits,
        };
        let (request, by) = (requests::endpoint(record), limits.call());
        match due {
            Due::Revoke => payers.network()?.revoke_external_connectivity(&request, by),
            Due::Leave => payers.network()?.leave(&request, by),
            Due::Endpoint => payers.network()?.delete_endpoint(&request, by),
            Due::Address { pool, address } => payers.address(pool, address, record.id.as_str()),
            Due::Link | Due::Key | Due::Pool { .. } | Due::Network => Ok(()),
        }
    }

    fn pay_link(&self, record: &EndpointRecord, taken_out: &mut TakenOut) -> Payment {
        let Some(link) = &record.link else {
            return Payment::Done;
        };
        match self.sandboxes.take_out(&record.sandbox, link) {
            Ok(now) => {
                *taken_out = now;
                Payment::Done
            }
            Err(error) => Payment::Failed(in_words(&error)),
        }
    }

    fn pay_key(&self, record: &EndpointRecord) -> Payment {
        let shared = self.has_other_with_key(record);
        let removed = shared.map_err(ControllerError::from).and_then(|shared| {
            if !shared {
                self.sandboxes.remove_key(&record.sandbox.key)?;
            }
            Ok(())
        });
        removed.map_or_else(
            |error| Payment::Failed(in_words(&error)),
            |()| Payment::Done,
        )
    }

    /// Whether another endpoint of the container is there, on whatever network.
    pub(super) fn has_other_with_key(&self, record: &EndpointRecord) -> Result<bool, StoreError> {
        for network in self.store.networks()?.into_iter().flatten() {
            let mut others = self.store.endpoints(&network.id)?.into_iter().flatten();
            if others.any(|it| it.sandbox.key == record.sandbox.key && it.id != record.id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A link that its driver has left in the host's namespace is nothing without its endpoint.
    fn discard(&self, index: u32, link: &LinkRecord, unpaid: &mut Unpaid) {
        if let Err(error) = self.sandboxes.discard(index, &link.src_name) {
            unpaid.failures.push(in_words(&error));
        }
    }

    /// Pays what a network owes, as far as it can be paid now. The record says what is left.
    pub(super) fn pay_network(&self, record: &mut NetworkRecord, limits: Limits) -> Unpaid {
        let mut unpaid = Unpaid::default();
        let debts: Vec<Debt> = record.owed.iter().cloned().collect();
        for debt in debts {
            let payers = Payers {
                controller: self,
                driver: &record.driver,
                ipam: record.ipam.as_ref(),
                limits,
            };
            let answer = match &debt.due {
                Due::Address { pool, address } => payers.address(pool, address, record.id.as_str()),
                Due::Pool { pool } => payers.pool(pool),
                Due::Network => payers.network().and_then(|driver| {
                    let request = NetworkRequest {
                        network_id: record.id.to_string(),
                    };
                    driver.delete_network(&request, limits.call())
                }),
                Due::Revoke | Due::Leave | Due::Link | Due::Endpoint | Due::Key => Ok(()),
            };
            // There is no second chance to hear that it is gone already.
            match judge(&debt, true, answer) {
                Payment::Done => record.owed.settle(&debt.due),
                Payment::Down(error) => {
                    unpaid.fail(&mut record.owed, &debt.due, in_words(&error));
                    unpaid.down = Some(error);
                    return unpaid;
                }
                Payment::Failed(why) => unpaid.fail(&mut record.owed, &debt.due, why),
            }
        }
        unpaid
    }
}

impl Unpaid {
    /// All of it.
    pub(super) fn into_words(self) -> Vec<String> {
        let down = self.down.as_ref().map(|error| in_words(error));
        self.failures.into_iter().chain(down).collect()
    }

    /// An endpoint that its driver has deleted is in no sandbox any more. That a driver which was asked
    /// twice refuses to say so cannot be told from its words.
    fn forgive(&mut self, owed: &mut Debts) {
        if owed.has(&Due::Endpoint) {
            return;
        }
        let told = |due: &Due| matches!(due, Due::Revoke | Due::Leave);
        let refused: Vec<Debt> = owed
            .iter()
            .filter(|debt| told(&debt.due))
            .cloned()
            .collect();
        for debt in refused {
            owed.settle(&debt.due);
            self.failures
                .retain(|why| debt.failed.as_ref() != Some(why));
        }
    }

    fn fail(&mut self, owed: &mut Debts, due: &Due, why: String) {
        owed.fail(due, &why);
        self.failures.push(why);
    }
}
