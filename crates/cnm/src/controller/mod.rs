//! The controller: calls drivers in libnetwork's order, puts links into sandboxes, and remembers
//! what it owes.
//!
//! Nothing is undone in the middle of a failure. What was done stands in the records
//! ([`store`](crate::store)), and one function pays what is owed: after a failed
//! [`connect`](Controller::connect), for a container that goes, for a crash that left something, and
//! when garbage is collected.

mod collect;
mod connect;
mod debts;
mod disconnect;
mod error;
mod joining;
mod making;
mod mend;
mod network;
mod requests;
pub mod spec;

use std::rc::Rc;
use std::time::Instant;

use cni_types::{Attachment, MacAddr};

pub use self::collect::{Collected, Whose};
pub use self::disconnect::{Departure, OnDriverDown, Policy};
pub use self::error::ControllerError;
pub use self::joining::Connected;
use self::spec::{Limits, NetworkSpec};
use crate::driver::{IpamDriver, NetworkDriver};
use crate::error::DriverError;
use crate::ids::NetworkId;
use crate::sandbox::Sandboxes;
use crate::store::record::{DriverRef, EndpointRecord};
use crate::store::{Lock, Store, StoreError};

/// What the controller's operations give.
type Outcome<T> = Result<T, ControllerError>;

/// Opens drivers. Opening talks to nobody yet.
pub trait Drivers {
    /// A network driver.
    ///
    /// # Errors
    /// There is none of that name, or its address makes no sense.
    fn network(&self, driver: &DriverRef) -> Result<Rc<dyn NetworkDriver>, DriverError>;

    /// An IPAM driver.
    ///
    /// # Errors
    /// There is none of that name, or its address makes no sense.
    fn ipam(&self, driver: &DriverRef) -> Result<Rc<dyn IpamDriver>, DriverError>;
}

/// Where randomness comes from.
pub trait Random {
    /// A hardware address.
    fn mac(&self) -> MacAddr;

    /// What an endpoint's id is made of.
    fn bytes(&self) -> [u8; 32];
}

/// The controller of the networks of one node.
#[expect(
    missing_debug_implementations,
    reason = "drivers and sandboxes have nothing to show"
)]
pub struct Controller {
    store: Store,
    drivers: Box<dyn Drivers>,
    sandboxes: Box<dyn Sandboxes>,
    random: Box<dyn Random>,
}

impl Controller {
    /// A controller that remembers in `store`.
    pub fn new(
        store: Store,
        drivers: impl Drivers + 'static,
        sandboxes: impl Sandboxes + 'static,
        random: impl Random + 'static,
    ) -> Self {
        Self {
            store,
            drivers: Box::new(drivers),
            sandboxes: Box::new(sandboxes),
            random: Box::new(random),
        }
    }

    /// What it remembers.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What it does with sandboxes.
    #[must_use]
    pub fn sandboxes(&self) -> &dyn Sandboxes {
        self.sandboxes.as_ref()
    }

    /// Waits until nobody else is busy with the attachment. Whoever connects or disconnects it holds
    /// this lock.
    ///
    /// # Errors
    /// It was not free by the deadline.
    pub fn lock(&self, attachment: &Attachment, deadline: Instant) -> Result<Lock, StoreError> {
        self.store.lock_attachment(attachment, deadline)
    }

    /// The record of an attachment's endpoint, `likely` on that network.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn endpoint(
        &self,
        likely: &NetworkId,
        attachment: &Attachment,
    ) -> Result<Option<EndpointRecord>, StoreError> {
        self.store.endpoint(likely, attachment)
    }

    /// Whether the drivers of a network answer.
    ///
    /// # Errors
    /// One does not.
    pub fn probe(&self, network: &NetworkSpec, limits: Limits) -> Result<(), DriverError> {
        self.drivers
            .network(&network.driver)?
            .capabilities(limits.call())?;
        if let Some(ipam) = &network.ipam {
            self.drivers
                .ipam(&ipam.driver)?
                .capabilities(limits.call())?;
        }
        Ok(())
    }

    /// Whether the driver of an endpoint still answers for it.
    ///
    /// # Errors
    /// It does not answer, or with an error.
    pub fn probe_endpoint(
        &self,
        record: &EndpointRecord,
        limits: Limits,
    ) -> Result<(), DriverError> {
        let driver = self.drivers.network(&record.driver)?;
        driver.check_endpoint(&requests::endpoint(record), limits.call())
    }
}

#[cfg(test)]
mod tests;
