//! Making networks and taking them away.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::spec::{Existing, FamilySpec, IpamSpec, Limits, NetworkSpec};
use super::{Controller, ControllerError, Outcome, requests};
use crate::driver::{IpamDriver, NetworkDriver};
use crate::error::{Cause, DriverError, Method};
use crate::store::record::{Debts, Due, NetworkRecord, PoolRecord};
use crate::store::{Lock, StoreError};
use crate::wire::ipam::{RequestAddressReply, RequestAddressRequest};
use crate::wire::label;
use crate::wire::network::{
    Capabilities, CreateNetworkRequest, GwAllocCheckReply, GwAllocCheckRequest,
};

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
            self.clear_network(record, limits)?;
        }
        let record = self.make_network(spec, limits)?;
        Ok(Ready {
            record,
            is_new: true,
        })
    }

    /// What is in the way of a new network of that name goes first: what is left of its endpoints, for
    /// whose sake drivers may refuse to delete it, then the network.
    fn clear_network(&self, mut record: NetworkRecord, limits: Limits) -> Outcome<()> {
        let _tried = self.finish_all_garbage(&record.id, limits)?;
        let unpaid = self.end_network(&mut record, limits)?;
        if let Some(error) = unpaid.down {
            return Err(error.into());
        }
        if record.owed.has(&Due::Network) {
            return Err(ControllerError::NetworkHalfDone {
                name: record.name,
                why: unpaid.failures.join("; "),
            });
        }
        // An IPAM driver that refuses to take back what it may have forgotten must not keep the name
        // from being used for ever.
        self.forget_garbage(&record)?;
        Ok(self.store.remove_network(&record.id)?)
    }

    /// Removes a network and its record; one that still owes something keeps it, and is not ready
    /// any more. The caller holds its lock.
    pub(super) fn end_network(
        &self,
        record: &mut NetworkRecord,
        limits: Limits,
    ) -> Result<super::debts::Unpaid, StoreError> {
        if record.ready {
            // Whoever is killed now leaves word that it is not what it was.
            record.ready = false;
            self.store.save_network(record)?;
        }
        let unpaid = self.pay_network(record, limits);
        if record.owed.is_empty() {
            self.forget_garbage(record)?;
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

    fn make_network(&self, spec: &NetworkSpec, limits: Limits) -> Outcome<NetworkRecord> {
        let driver = self.drivers.network(&spec.driver)?;
        let capabilities = checked(driver.as_ref(), driver.capabilities(limits.call())?)?;
        let ipam = match &spec.ipam {
            Some(ipam) => Some((ipam, self.drivers.ipam(&ipam.driver)?)),
            None => None,
        };
        let mut making = Making {
            controller: self,
            spec,
            limits,
            driver,
            record: new_record(spec, &capabilities),
        };
        let made = making.run(&capabilities, ipam);
        let mut record = making.record;
        if let Err(error) = made {
            // Whoever comes next cleans up what cannot be cleaned up now.
            let _left = self.end_network(&mut record, limits.undo())?;
            return Err(error);
        }
        Ok(record)
    }
}

fn new_record(spec: &NetworkSpec, capabilities: &Capabilities) -> NetworkRecord {
    NetworkRecord {
        id: spec.id(),
        name: spec.name.clone(),
        driver: spec.driver.clone(),
        ipam: spec.ipam.as_ref().map(|ipam| ipam.driver.clone()),
        scope: capabilities.scope.clone(),
        made_from: spec.fingerprint(),
        request: CreateNetworkRequest {
            network_id: spec.id().to_string(),
            options: requests::network_options(spec),
            ..CreateNetworkRequest::default()
        },
        pools: Vec::new(),
        internal: spec.internal,
        requires_mac: false,
        ready: false,
        shared: false,
        owed: Debts::default(),
    }
}

/// Docker registers no driver with another scope than these.
fn checked(
    driver: &dyn NetworkDriver,
    capabilities: Capabilities,
) -> Result<Capabilities, DriverError> {
    if ["local", "global"].contains(&capabilities.scope.as_str()) {
        return Ok(capabilities);
    }
    Err(DriverError {
        driver: driver.title(),
        method: Method::GetCapabilities,
        cause: Cause::Malformed(format!(
            "its scope is {:?}, neither \"local\" nor \"global\"",
            capabilities.scope
        )),
    })
}

/// A network that is being made.
struct Making<'a> {
    controller: &'a Controller,
    spec: &'a NetworkSpec,
    limits: Limits,
    driver: Rc<dyn NetworkDriver>,
    record: NetworkRecord,
}

impl Making<'_> {
    fn run(
        &mut self,
        capabilities: &Capabilities,
        ipam: Option<(&IpamSpec, Rc<dyn IpamDriver>)>,
    ) -> Outcome<()> {
        let skip = self.gateways_to_skip(capabilities)?;
        match ipam {
            Some((spec, driver)) => self.request_pools(spec, driver.as_ref(), skip)?,
            None => self.take_given(),
        }
        self.create()
    }

    fn gateways_to_skip(&self, capabilities: &Capabilities) -> Outcome<GwAllocCheckReply> {
        if !capabilities.gw_alloc_checker {
            return Ok(GwAllocCheckReply::default());
        }
        let request = GwAllocCheckRequest {
            options: self.record.request.options.clone(),
        };
        Ok(self
            .driver
            .check_gateway_allocation(&request, self.limits.call())?)
    }

    /// Endpoints come with their addresses: the driver is told what is known of the subnets.
    fn take_given(&mut self) {
        let request = &mut self.record.request;
        request.ipv4_data = requests::given_data(&self.spec.v4).into_iter().collect();
        if self.spec.enable_ipv6 {
            request.ipv6_data = requests::given_data(&self.spec.v6).into_iter().collect();
        }
    }

    fn request_pools(
        &mut self,
        ipam: &IpamSpec,
        driver: &dyn IpamDriver,
        skip: GwAllocCheckReply,
    ) -> Outcome<()> {
        self.record.requires_mac = driver
            .capabilities(self.limits.call())?
            .requires_mac_address;
        let spaces = driver.default_address_spaces(self.limits.call())?;
        let space = if self.record.scope == "global" {
            spaces.global_default_address_space
        } else {
            spaces.local_default_address_space
        };
        let (v4, v6) = (self.spec.v4.clone(), self.spec.v6.clone());
        let mut source = Source {
            making: self,
            ipam,
            driver,
            space: &space,
        };
        source.family(&v4, Family::V4, skip)?;
        if source.making.spec.enable_ipv6 {
            source.family(&v6, Family::V6, skip)?;
        }
        Ok(())
    }

    /// Remembers what is owed before the call that makes it.
    fn owe(&mut self, due: Due) -> Outcome<()> {
        self.record.owed.incur(due);
        Ok(self.controller.store.save_network(&self.record)?)
    }

    fn create(&mut self) -> Outcome<()> {
        self.owe(Due::Network)?;
        let answer = self
            .driver
            .create_network(&self.record.request, self.limits.call());
        match answer {
            Ok(()) => self.record.owed.confirm(&Due::Network),
            Err(error) if error.is_exists() && self.may_exist() => {
                self.record.shared = true;
                self.record.owed.settle(&Due::Network);
            }
            Err(error) => {
                // Of one that was refused there is nothing to delete, or it is somebody else's.
                if !error.is_unknown() {
                    self.record.owed.settle(&Due::Network);
                }
                return Err(error.into());
            }
        }
        self.record.ready = true;
        Ok(self.controller.store.save_network(&self.record)?)
    }

    fn may_exist(&self) -> bool {
        match self.spec.existing {
            Existing::Tolerate => true,
            Existing::IfGlobal => self.record.scope == "global",
            Existing::Fail => false,
        }
    }
}

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// Where a network's pools come from.
struct Source<'m, 'a> {
    making: &'m mut Making<'a>,
    ipam: &'m IpamSpec,
    driver: &'m dyn IpamDriver,
    space: &'m str,
}

impl Source<'_, '_> {
    /// Pool, gateway, reserved addresses.
    fn family(&mut self, spec: &FamilySpec, of: Family, skip: GwAllocCheckReply) -> Outcome<()> {
        let ipv6 = of == Family::V6;
        let skip_gateway = if ipv6 { skip.skip_ipv6 } else { skip.skip_ipv4 };
        let request = requests::pool(spec, ipv6, self.space, &self.ipam.options);
        let asked = Due::Pool {
            pool: String::new(),
        };
        self.making.owe(asked.clone())?;
        let answer = self
            .driver
            .request_pool(&request, self.making.limits.call());
        let owed = &mut self.making.record.owed;
        if !answer.as_ref().is_err_and(DriverError::is_unknown) {
            owed.settle(&asked);
        }
        let reply = answer?;
        let due = Due::Pool {
            pool: reply.pool_id.clone(),
        };
        owed.incur(due.clone());
        owed.confirm(&due);
        let mut pool = PoolRecord {
            id: reply.pool_id,
            ipv6,
            subnet: reply.pool,
            chosen_by_user: spec.subnet.is_some(),
            gateway: reply.data.get(label::GATEWAY).cloned().unwrap_or_default(),
            aux: BTreeMap::new(),
        };
        let wanted = spec.gateway.map(|gateway| gateway.to_string());
        if wanted.is_some() || (pool.gateway.is_empty() && !skip_gateway) {
            let request = requests::gateway(&pool.id, wanted.as_deref().unwrap_or_default());
            pool.gateway = self.address(&request)?;
        }
        for (name, address) in &spec.aux {
            let request = requests::address(&pool.id, address.to_string(), BTreeMap::new());
            pool.aux.insert(name.clone(), self.address(&request)?);
        }
        let data = requests::ipam_data(&pool, self.space);
        let wire = &mut self.making.record.request;
        if ipv6 {
            wire.ipv6_data.push(data);
        } else {
            wire.ipv4_data.push(data);
        }
        self.making.record.pools.push(pool);
        Ok(())
    }

    /// An address that the network itself needs; some drivers have none to give.
    fn address(&mut self, request: &RequestAddressRequest) -> Outcome<String> {
        let asked = Due::Address {
            pool: request.pool_id.clone(),
            address: String::new(),
        };
        self.making.owe(asked.clone())?;
        let owner = self.making.record.id.to_string();
        let request = requests::tagged(self.driver, request.clone(), &owner);
        let answer = self
            .driver
            .request_address(&request, self.making.limits.call());
        Ok(self.making.record.owed.receive(&asked, answer)?)
    }
}

impl Debts {
    /// Takes note of what became of a request for an address. One that was refused made no debt;
    /// whether one that was not answered did, only the driver may know.
    pub(super) fn receive(
        &mut self,
        asked: &Due,
        answer: Result<RequestAddressReply, DriverError>,
    ) -> Result<String, DriverError> {
        if !answer.as_ref().is_err_and(DriverError::is_unknown) {
            self.settle(asked);
        }
        let reply = answer?;
        if let (Due::Address { pool, .. }, Some(address)) = (asked, host_part(&reply.address)) {
            let due = Due::Address {
                pool: pool.clone(),
                address: address.to_owned(),
            };
            self.incur(due.clone());
            self.confirm(&due);
        }
        Ok(reply.address)
    }
}

/// An address without its prefix length, if it is one that was given: some drivers answer
/// 0.0.0.0/0 for none.
fn host_part(cidr: &str) -> Option<&str> {
    let host = cidr.split('/').next().unwrap_or(cidr);
    let address: std::net::IpAddr = host.parse().ok()?;
    (!address.is_unspecified()).then_some(host)
}
