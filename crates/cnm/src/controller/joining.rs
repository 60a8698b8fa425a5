//! An endpoint on its way: each step is written down before it is taken.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cni_types::{IpCidr, MacAddr};

use super::spec::{EndpointSpec, Limits};
use super::{Controller, ControllerError, Outcome, requests};
use crate::driver::{IpamDriver, NetworkDriver};
use crate::error::{Cause, DriverError, Method};
use crate::sandbox::plan::{self, BadReply, Placement, Wanted};
use crate::sandbox::{Placed, SandboxError};
use crate::store::Lock;
use crate::store::record::{Due, EndpointRecord, LinkRecord, NetworkRecord, PoolRecord};
use crate::wire::label;
use crate::wire::network::{CreateEndpointReply, EndpointInterface, JoinReply};

/// How long a driver may take to tell what nobody waits for.
const INFO_LIMIT: Duration = Duration::from_secs(1);

/// How often Docker asks for it. Some drivers count on being asked.
const INFO_CALLS: usize = 2;

/// An endpoint as it was made.
#[derive(Debug, Clone)]
pub struct Connected {
    /// What is remembered of it.
    pub record: EndpointRecord,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<IpCidr>,
    /// The driver's gateways.
    pub gateways: Vec<IpAddr>,
    /// Its link in the sandbox, if the driver had one to move.
    pub placed: Option<Placed>,
}

impl Connected {
    /// The gateway of a family.
    #[must_use]
    pub fn gateway(&self, ipv6: bool) -> Option<IpAddr> {
        let mut gateways = self.gateways.iter().copied();
        gateways.find(|gateway| gateway.is_ipv6() == ipv6)
    }
}

/// An endpoint that is being made.
pub(super) struct Joining<'a> {
    pub(super) controller: &'a Controller,
    pub(super) spec: &'a EndpointSpec,
    pub(super) limits: Limits,
    pub(super) driver: Rc<dyn NetworkDriver>,
    pub(super) record: EndpointRecord,
}

impl Joining<'_> {
    pub(super) fn save(&self) -> Outcome<()> {
        Ok(self.controller.store.save_endpoint(&self.record)?)
    }

    /// An answer that makes no sense.
    fn bad(&self, method: Method, why: impl Into<String>) -> ControllerError {
        let error = DriverError {
            driver: self.driver.title(),
            method,
            cause: Cause::Malformed(why.into()),
        };
        error.into()
    }

    /// Takes note of what there is already: the network that was made for it, and the path that the
    /// driver will be told. Without either, nothing is owed yet, and nothing need be written.
    pub(super) fn begin(&mut self) -> Outcome<()> {
        let Some(key) = &self.spec.sandbox.key else {
            return if self.record.made_network {
                self.save()
            } else {
                Ok(())
            };
        };
        self.record.sandbox.key.clone_from(key);
        self.record.owed.incur(Due::Key);
        self.save()?;
        let made = self
            .controller
            .sandboxes
            .make_key(key, &self.record.sandbox.path);
        // One that leads somewhere else is not ours to remove.
        made.or_else(|error| self.abandon(&[Due::Key], error))
    }

    /// Addresses and hardware address, as far as they do not come from the network driver.
    pub(super) fn address(&mut self, network: &NetworkRecord, _lock: &Lock) -> Outcome<()> {
        let mac = match self.spec.mac {
            None if network.requires_mac => Some(self.controller.random.mac()),
            wanted => wanted,
        };
        self.record.mac = mac.map(|mac| mac.to_string()).unwrap_or_default();
        let Some(ipam) = &network.ipam else {
            let given = self.spec.given.iter();
            self.record.addresses = given.map(IpCidr::to_string).collect();
            return Ok(());
        };
        let ipam = self.controller.drivers.ipam(ipam)?;
        let pools: &[PoolRecord] = if ipam.gives_addresses() {
            &network.pools
        } else {
            &[]
        };
        for wanted in &self.spec.wanted {
            if !pools.iter().any(|pool| pool.ipv6 == wanted.is_ipv6()) {
                return Err(ControllerError::NoPool(*wanted));
            }
        }
        for pool in pools {
            self.request_address(pool, network.requires_mac, ipam.as_ref())?;
        }
        Ok(())
    }

    fn request_address(
        &mut self,
        pool: &PoolRecord,
        requires_mac: bool,
        ipam: &dyn IpamDriver,
    ) -> Outcome<()> {
        let asked = Due::Address {
            pool: pool.id.clone(),
            address: String::new(),
        };
        self.record.owed.incur(asked.clone());
        self.save()?;
        let mut options = BTreeMap::new();
        if requires_mac {
            options.insert(label::MAC_ADDRESS.to_owned(), self.record.mac.clone());
        }
        let wanted = self.spec.wanted(pool.ipv6);
        let wanted = wanted
            .map(|address| address.to_string())
            .unwrap_or_default();
        let request = requests::address(&pool.id, wanted, options);
        let request = requests::tagged(ipam, request, self.record.id.as_str());
        let answer = ipam.request_address(&request, self.limits.call());
        let address = self.record.owed.receive(&asked, answer);
        let address = match address {
            Ok(address) => address,
            Err(error) => return self.abandon(&[], error),
        };
        if address.is_empty() {
            let error = DriverError {
                driver: ipam.title(),
                method: Method::RequestAddress,
                cause: Cause::Malformed("there is no address in it".into()),
            };
            return self.abandon(&[], error);
        }
        self.record.addresses.push(address);
        Ok(())
    }

    /// `CreateEndpoint`. The record that says so also owes the Leave that comes after it, so as to be
    /// written once.
    pub(super) fn create(&mut self) -> Outcome<()> {
        self.record.owed.incur(Due::Endpoint);
        self.record.owed.incur(Due::Leave);
        self.save()?;
        let request = requests::create_endpoint(&self.record, self.spec);
        let answer = self.driver.create_endpoint(&request, self.limits.call());
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) if error.was_not_sent() => {
                return self.abandon(&[Due::Leave, Due::Endpoint], error);
            }
            Err(error) => return self.abandon(&[Due::Leave], error),
        };
        self.record.owed.confirm(&Due::Endpoint);
        if let Err(error) = self.merge(&reply, &request.interface) {
            return self.abandon(&[Due::Leave], error);
        }
        Ok(())
    }

    /// What comes later will not happen any more, and need not be taken back.
    fn abandon<T>(&mut self, dues: &[Due], error: impl Into<ControllerError>) -> Outcome<T> {
        for due in dues {
            self.record.owed.settle(due);
        }
        self.save()?;
        Err(error.into())
    }

    /// The driver fills what it was not given, and nothing else.
    fn merge(&mut self, reply: &CreateEndpointReply, given: &EndpointInterface) -> Outcome<()> {
        let answered = &reply.interface;
        let fields = [
            ("IPv4 address", &given.address, &answered.address),
            ("IPv6 address", &given.address_ipv6, &answered.address_ipv6),
            ("MAC address", &given.mac_address, &answered.mac_address),
        ];
        for (what, given, answered) in fields {
            if !given.is_empty() && !answered.is_empty() {
                let why = format!(
                    "endpoint interface {what} present ({given}). Cannot be modified with {answered}."
                );
                return Err(self.bad(Method::CreateEndpoint, why));
            }
        }
        // Told apart by their values, whatever the key, as libnetwork does.
        let addresses = [&answered.address, &answered.address_ipv6];
        let addresses = addresses.into_iter().filter(|address| !address.is_empty());
        self.record.addresses.extend(addresses.cloned());
        self.record.addresses.sort_by_key(|one| one.contains(':'));
        if !answered.mac_address.is_empty() {
            self.record.mac.clone_from(&answered.mac_address);
        }
        self.addresses()?;
        self.mac().map(drop)
    }

    pub(super) fn join(&mut self) -> Outcome<JoinReply> {
        let request = requests::join(&self.record, self.spec);
        let reply = match self.driver.join(&request, self.limits.join()) {
            Ok(reply) => reply,
            Err(error) if error.was_not_sent() => return self.abandon(&[Due::Leave], error),
            Err(error) => return Err(error.into()),
        };
        self.record.owed.confirm(&Due::Leave);
        self.record.join = Some(reply.clone());
        Ok(reply)
    }

    fn addresses(&self) -> Outcome<Vec<IpCidr>> {
        let texts = self.record.addresses.iter();
        let parsed = texts.map(|text| {
            text.parse().map_err(|_why| BadReply {
                field: "Address",
                value: text.clone(),
                why: "this is not an address with its prefix length",
            })
        });
        parsed
            .collect::<Result<_, _>>()
            .map_err(|bad| self.bad(Method::CreateEndpoint, bad.to_string()))
    }

    fn mac(&self) -> Outcome<Option<MacAddr>> {
        if self.record.mac.is_empty() {
            return Ok(None);
        }
        let bad = |_why| BadReply {
            field: "MacAddress",
            value: self.record.mac.clone(),
            why: "this is not a MAC address",
        };
        let mac = self.record.mac.parse();
        mac.map(Some)
            .map_err(|why| self.bad(Method::CreateEndpoint, bad(why).to_string()))
    }

    /// What the sandbox gets. From here on the record owes the link's way back, and what
    /// [`Self::program`] will do.
    pub(super) fn plan(&mut self, reply: &JoinReply) -> Outcome<Option<Placement>> {
        let (addresses, mac) = (self.addresses()?, self.mac()?);
        let wanted = Wanted {
            name: &self.spec.attachment.ifname,
            mac,
            addresses: &addresses,
            routes: &self.spec.routes,
            default_route: self.spec.default_route,
        };
        let planned =
            plan::plan(reply, &wanted).map_err(|bad| self.bad(Method::Join, bad.to_string()))?;
        if let Some(placement) = &planned {
            // Once it is written down, it is taken for the driver's, and removed as such.
            if self.controller.sandboxes.is_at_work(&placement.src_name)? {
                return Err(SandboxError::AtWork(placement.src_name.clone()).into());
            }
            self.record.link = Some(LinkRecord {
                src_name: placement.src_name.to_string(),
                name: placement.name.to_string(),
                index: 0,
                mac: self.record.mac.clone(),
            });
            self.record.owed.incur(Due::Link);
        }
        self.record.owed.incur(Due::Revoke);
        self.save()?;
        Ok(planned)
    }

    pub(super) fn place(&mut self, placement: &Placement) -> Outcome<Placed> {
        let sandbox = &self.record.sandbox;
        match self.controller.sandboxes.place(sandbox, placement) {
            Ok(placed) => {
                self.record.link = Some(placed.link.clone());
                self.record.owed.confirm(&Due::Link);
                Ok(placed)
            }
            Err(error) => self.abandon(&[Due::Revoke], error),
        }
    }

    /// Only for the endpoint that leads out of its sandbox, or that is to be reached from outside.
    pub(super) fn program(&mut self, placed: Option<&Placed>) -> Outcome<()> {
        let mut routes = placed.into_iter().flat_map(|placed| &placed.routes);
        let leads_out = routes.any(|(destination, _)| destination.is_default_route());
        if !leads_out && self.spec.ports.is_empty() {
            self.record.owed.settle(&Due::Revoke);
            return Ok(());
        }
        let request = requests::program(&self.record, self.spec);
        let answer = self
            .driver
            .program_external_connectivity(&request, self.limits.call());
        match answer {
            Err(error) if error.is_not_implemented() => self.record.owed.settle(&Due::Revoke),
            // Whether it was done is not known.
            Err(error) if error.is_unknown() => return Err(error.into()),
            Err(error) => return self.abandon(&[Due::Revoke], error),
            Ok(()) => self.record.owed.confirm(&Due::Revoke),
        }
        Ok(())
    }

    pub(super) fn finish(
        mut self,
        placement: Option<&Placement>,
        placed: Option<Placed>,
    ) -> Outcome<Connected> {
        self.ask_for_information();
        let addresses = self.addresses()?;
        self.record.complete = true;
        self.controller.store.complete_endpoint(&self.record)?;
        let gateways = placement
            .iter()
            .flat_map(|placement| [placement.gateway(false), placement.gateway(true)])
            .flatten()
            .collect();
        Ok(Connected {
            record: self.record,
            addresses,
            gateways,
            placed,
        })
    }

    /// Nobody needs the answer.
    fn ask_for_information(&self) {
        let by = self.limits.total.min(Instant::now() + INFO_LIMIT);
        let request = requests::endpoint(&self.record);
        for _again in 0..INFO_CALLS {
            let answer = self.driver.endpoint_info(&request, by);
            if answer.is_err_and(|error: DriverError| error.is_down()) {
                return;
            }
        }
    }
}
