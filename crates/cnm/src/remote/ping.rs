//! Whether a plugin answers, and how fast.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{RemoteIpamDriver, RemoteNetworkDriver, RemotePlugin, Subsystem};
use crate::driver::{IpamDriver as _, NetworkDriver as _, Outcome};
use crate::error::{DriverError, Method};
use crate::wire::{ipam, network};

/// One call and how long it took.
#[derive(Debug)]
pub struct Ping<T> {
    /// What came of it.
    pub outcome: Outcome<T>,
    /// How long it took.
    pub took: Duration,
}

impl<T> Ping<T> {
    fn of(call: impl FnOnce() -> Outcome<T>) -> Self {
        let start = Instant::now();
        let outcome = call();
        Self {
            outcome,
            took: start.elapsed(),
        }
    }
}

/// How a plugin answers what may be asked at any time. What it does not implement is not asked.
#[derive(Debug)]
pub struct PingReport {
    /// What it implements. Connecting counts into its time.
    pub activation: Ping<Vec<String>>,
    /// What its network driver wants.
    pub network: Option<Ping<network::Capabilities>>,
    /// What its IPAM driver wants.
    pub ipam: Option<Ping<ipam::Capabilities>>,
    /// What address spaces its IPAM driver has.
    pub address_spaces: Option<Ping<ipam::AddressSpaces>>,
}

impl PingReport {
    /// The first call that failed.
    #[must_use]
    pub fn failure(&self) -> Option<&DriverError> {
        let network = self.network.as_ref();
        let ipam = self.ipam.as_ref();
        let address_spaces = self.address_spaces.as_ref();
        self.activation
            .outcome
            .as_ref()
            .err()
            .or_else(|| network.and_then(|ping| ping.outcome.as_ref().err()))
            .or_else(|| ipam.and_then(|ping| ping.outcome.as_ref().err()))
            .or_else(|| address_spaces.and_then(|ping| ping.outcome.as_ref().err()))
    }
}

impl RemotePlugin {
    /// Asks what may be asked at any time. All calls together end by the deadline.
    #[must_use]
    pub fn ping(self: &Arc<Self>, deadline: Instant) -> PingReport {
        let activation = Ping::of(|| {
            let implements = self.activate(deadline);
            implements.map(<[_]>::to_vec).map_err(|cause| DriverError {
                driver: format!("plugin {}", self.name()),
                method: Method::Activate,
                cause,
            })
        });
        let has = |subsystem: Subsystem| {
            let implements = activation.outcome.as_ref();
            implements.is_ok_and(|names| names.iter().any(|name| name == subsystem.as_str()))
        };
        let network = has(Subsystem::Network).then(|| {
            let driver = RemoteNetworkDriver::new(Arc::clone(self));
            Ping::of(|| driver.capabilities(deadline))
        });
        let ipam = RemoteIpamDriver::new(Arc::clone(self));
        let has_ipam = has(Subsystem::Ipam);
        PingReport {
            network,
            ipam: has_ipam.then(|| Ping::of(|| ipam.capabilities(deadline))),
            address_spaces: has_ipam.then(|| Ping::of(|| ipam.default_address_spaces(deadline))),
            activation,
        }
    }
}
