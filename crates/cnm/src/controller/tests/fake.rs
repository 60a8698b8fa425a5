//! A driver, an IPAM driver and a kernel in memory, strict as the strictest real ones, that fail
//! when they are told to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

use cni_types::{IfName, MacAddr};

use crate::controller::{Drivers, Random};
use crate::driver::{IpamDriver, NetworkDriver, Outcome};
use crate::error::{Cause, DriverError, Method};
use crate::sandbox::plan::Placement;
use crate::sandbox::{Placed, SandboxError, Sandboxes, Seen, TakenOut};
use crate::store::record::{DriverRef, LinkRecord, SandboxRecord};
use crate::wire::ipam::*;
use crate::wire::network::*;
use crate::wire::{decode, ipam, label, network};

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is answered with an error, and nothing was done.
    Refused,
    /// There is no connection.
    NotSent,
    /// It is not answered, and nothing was done.
    Lost,
    /// It is not answered, and yet done.
    Unanswered,
    /// The plugin is killed before it.
    KilledBefore,
    /// The plugin is killed after it.
    KilledAfter,
}

pub(super) const FAULTS: [Fault; 6] = [
    Fault::Refused,
    Fault::NotSent,
    Fault::Lost,
    Fault::Unanswered,
    Fault::KilledBefore,
    Fault::KilledAfter,
];

/// What is there besides the controller.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) networks: BTreeSet<String>,
    pub(super) endpoints: BTreeSet<String>,
    pub(super) joined: BTreeSet<String>,
    pub(super) programmed: BTreeSet<String>,
    /// How often each pool was requested.
    pub(super) pools: BTreeMap<String, u32>,
    /// Addresses in use, each with its pool, and their owners.
    pub(super) addresses: BTreeMap<(String, String), String>,
    /// Links in the host's namespace and in sandboxes.
    pub(super) host_links: BTreeSet<String>,
    pub(super) sandbox_links: BTreeMap<String, String>,
    /// Paths of sandboxes that were made for the driver.
    pub(super) keys: BTreeSet<String>,
    /// The calls so far.
    pub(super) calls: Vec<String>,
    /// The bodies of the calls so far, as JSON.
    pub(super) bodies: Vec<serde_json::Value>,
    /// Which call goes wrong, and how; every one from there on if it is to last.
    pub(super) fault: Option<(Method, Fault)>,
    pub(super) fault_lasts: bool,
    pub(super) join_reply: JoinReply,
    pub(super) endpoint_reply: CreateEndpointReply,
    pub(super) requires_mac: bool,
    pub(super) scope: &'static str,
    pub(super) next: u8,
}

/// Handles to it all. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct World(pub(super) Rc<RefCell<State>>);

impl World {
    pub(super) fn new() -> Self {
        let join =
            r#"{"InterfaceName": {"SrcName": "tmp0", "DstPrefix": "eth"}, "Gateway": "10.77.0.1"}"#;
        Self(Rc::new(RefCell::new(State {
            join_reply: decode(join.as_bytes()).unwrap(),
            scope: "local",
            ..State::default()
        })))
    }

    pub(super) fn fault(&self, method: Method, fault: Fault) {
        self.0.borrow_mut().fault = Some((method, fault));
    }

    pub(super) fn fault_for_ever(&self, method: Method, fault: Fault) {
        self.fault(method, fault);
        self.0.borrow_mut().fault_lasts = true;
    }

    pub(super) fn recover(&self) {
        let mut state = self.0.borrow_mut();
        (state.fault, state.fault_lasts) = (None, false);
    }

    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().calls)
    }

    /// What somebody has to take away.
    pub(super) fn left(&self) -> Vec<String> {
        let state = self.0.borrow();
        let mut left = Vec::new();
        left.extend(state.networks.iter().map(|one| format!("network {one}")));
        left.extend(state.endpoints.iter().map(|one| format!("endpoint {one}")));
        left.extend(state.joined.iter().map(|one| format!("joined {one}")));
        left.extend(
            state
                .programmed
                .iter()
                .map(|one| format!("programmed {one}")),
        );
        left.extend(state.pools.keys().map(|one| format!("pool {one}")));
        left.extend(
            state
                .addresses
                .keys()
                .map(|(_, one)| format!("address {one}")),
        );
        left.extend(state.keys.iter().map(|one| format!("key {one}")));
        left.extend(state.host_links.iter().map(|one| format!("link {one}")));
        left.extend(
            state
                .sandbox_links
                .keys()
                .map(|one| format!("sandbox link {one}")),
        );
        left
    }

    /// One call: `act` does it and says what a strict driver would.
    fn call<T>(
        &self,
        method: Method,
        body: &impl serde::Serialize,
        act: impl FnOnce(&mut State) -> Result<T, String>,
    ) -> Outcome<T> {
        let fail = |cause| {
            Err(DriverError {
                driver: "network driver fake".into(),
                method,
                cause,
            })
        };
        let mut state = self.0.borrow_mut();
        let due = state.fault.filter(|(which, _)| *which == method);
        if due.is_some() && !state.fault_lasts {
            state.fault = None;
        }
        state.calls.push(method.to_string());
        state.bodies.push(serde_json::to_value(body).unwrap());
        match due.map(|(_, fault)| fault) {
            Some(Fault::Refused) => return fail(Cause::Refused("it is not my day".into())),
            Some(Fault::NotSent) => return fail(Cause::NoConnection("Connection refused".into())),
            Some(Fault::Lost) => return fail(Cause::Timeout),
            Some(Fault::KilledBefore) => {
                drop(state);
                std::panic::panic_any("killed");
            }
            Some(Fault::Unanswered) => {
                let _unheard = act(&mut state);
                return fail(Cause::Timeout);
            }
            Some(Fault::KilledAfter) => {
                let _unheard = act(&mut state);
                drop(state);
                std::panic::panic_any("killed");
            }
            None => {}
        }
        act(&mut state).or_else(|text| fail(Cause::Refused(text)))
    }
}

fn remove(set: &mut BTreeSet<String>, kind: &str, id: &str) -> Result<(), String> {
    if set.remove(id) {
        Ok(())
    } else {
        Err(format!("{kind} {id} not found"))
    }
}

impl NetworkDriver for World {
    fn title(&self) -> String {
        "network driver fake".into()
    }

    fn capabilities(&self, _: Instant) -> Outcome<network::Capabilities> {
        self.call(Method::GetCapabilities, &(), |state| {
            Ok(network::Capabilities {
                scope: state.scope.into(),
                ..network::Capabilities::default()
            })
        })
    }

    fn check_gateway_allocation(
        &self,
        request: &GwAllocCheckRequest,
        _: Instant,
    ) -> Outcome<GwAllocCheckReply> {
        self.call(Method::GwAllocCheck, request, |_| {
            Ok(GwAllocCheckReply::default())
        })
    }

    fn create_network(&self, request: &CreateNetworkRequest, _: Instant) -> Outcome<()> {
        self.call(Method::CreateNetwork, request, |state| {
            if state.networks.insert(request.network_id.clone()) {
                Ok(())
            } else {
                Err(format!("network {} already exists", request.network_id))
            }
        })
    }

    fn delete_network(&self, request: &NetworkRequest, _: Instant) -> Outcome<()> {
        self.call(Method::DeleteNetwork, request, |state| {
            remove(&mut state.networks, "network", &request.network_id)
        })
    }

    fn create_endpoint(
        &self,
        request: &CreateEndpointRequest,
        _: Instant,
    ) -> Outcome<CreateEndpointReply> {
        self.call(Method::CreateEndpoint, request, |state| {
            if !state.networks.contains(&request.network_id) {
                return Err(format!("network {} not found", request.network_id));
            }
            if !state.endpoints.insert(request.endpoint_id.clone()) {
                return Err(format!("endpoint {} already exists", request.endpoint_id));
            }
            state.host_links.insert("tmp0".into());
            Ok(state.endpoint_reply.clone())
        })
    }

    fn endpoint_info(&self, request: &EndpointRequest, _: Instant) -> Outcome<EndpointInfoReply> {
        self.call(Method::EndpointOperInfo, request, |_| {
            Ok(EndpointInfoReply::default())
        })
    }

    fn delete_endpoint(&self, request: &EndpointRequest, _: Instant) -> Outcome<()> {
        self.call(Method::DeleteEndpoint, request, |state| {
            remove(&mut state.endpoints, "endpoint", &request.endpoint_id)?;
            state.host_links.remove("tmp0");
            Ok(())
        })
    }

    fn join(&self, request: &JoinRequest, _: Instant) -> Outcome<JoinReply> {
        self.call(Method::Join, request, |state| {
            state.joined.insert(request.endpoint_id.clone());
            Ok(state.join_reply.clone())
        })
    }

    fn leave(&self, request: &EndpointRequest, _: Instant) -> Outcome<()> {
        self.call(Method::Leave, request, |state| {
            remove(&mut state.joined, "endpoint", &request.endpoint_id)
        })
    }

    fn program_external_connectivity(&self, request: &ProgramRequest, _: Instant) -> Outcome<()> {
        self.call(Method::ProgramExternalConnectivity, request, |state| {
            state.programmed.insert(request.endpoint_id.clone());
            Ok(())
        })
    }

    fn revoke_external_connectivity(&self, request: &EndpointRequest, _: Instant) -> Outcome<()> {
        self.call(Method::RevokeExternalConnectivity, request, |state| {
            remove(&mut state.programmed, "endpoint", &request.endpoint_id)
        })
    }
}

impl IpamDriver for World {
    fn title(&self) -> String {
        "IPAM driver fake".into()
    }

    fn capabilities(&self, _: Instant) -> Outcome<ipam::Capabilities> {
        self.call(Method::IpamGetCapabilities, &(), |state| {
            Ok(ipam::Capabilities {
                requires_mac_address: state.requires_mac,
                ..ipam::Capabilities::default()
            })
        })
    }

    fn default_address_spaces(&self, _: Instant) -> Outcome<AddressSpaces> {
        self.call(Method::GetDefaultAddressSpaces, &(), |_| {
            Ok(AddressSpaces {
                local_default_address_space: "mlocal".into(),
                global_default_address_space: "mglobal".into(),
            })
        })
    }

    fn request_pool(&self, request: &RequestPoolRequest, _: Instant) -> Outcome<RequestPoolReply> {
        self.call(Method::RequestPool, request, |state| {
            let id = format!("pool-{}", request.pool);
            *state.pools.entry(id.clone()).or_default() += 1;
            Ok(RequestPoolReply {
                pool_id: id,
                pool: request.pool.clone(),
                ..RequestPoolReply::default()
            })
        })
    }

    fn release_pool(&self, request: &ReleasePoolRequest, _: Instant) -> Outcome<()> {
        self.call(Method::ReleasePool, request, |state| {
            match state.pools.get_mut(&request.pool_id) {
                None => return Err(format!("pool {} not found", request.pool_id)),
                Some(1) => drop(state.pools.remove(&request.pool_id)),
                Some(count) => *count -= 1,
            }
            Ok(())
        })
    }

    fn request_address(
        &self,
        request: &RequestAddressRequest,
        _: Instant,
    ) -> Outcome<RequestAddressReply> {
        self.call(Method::RequestAddress, request, |state| {
            let options = request.options.clone().unwrap_or_default();
            let gateway = options.contains_key(label::REQUEST_ADDRESS_TYPE);
            state.next += 1;
            let (prefix, length) = if request.pool_id.contains(':') {
                ("fd77::", 64)
            } else {
                ("10.77.0.", 24)
            };
            let address = match (request.address.as_str(), gateway) {
                ("", true) => format!("{prefix}1"),
                ("", false) => format!("{prefix}{}", state.next + 10),
                (wanted, _) => wanted.to_owned(),
            };
            let taken = (request.pool_id.clone(), address.clone());
            if state.addresses.contains_key(&taken) {
                return Err(format!("address {address} already in use"));
            }
            let owner = options.get(label::ENDPOINT_NAME).cloned();
            state.addresses.insert(taken, owner.unwrap_or_default());
            Ok(RequestAddressReply {
                address: format!("{address}/{length}"),
                ..RequestAddressReply::default()
            })
        })
    }

    fn knows_owners(&self) -> bool {
        true
    }

    fn release_owned(&self, pool: &str, owner: &str, _: Instant) -> Outcome<()> {
        let mut state = self.0.borrow_mut();
        state
            .addresses
            .retain(|(of, _), by| of != pool || by != owner);
        Ok(())
    }

    fn release_address(&self, request: &ReleaseAddressRequest, _: Instant) -> Outcome<()> {
        self.call(Method::ReleaseAddress, request, |state| {
            let key = (request.pool_id.clone(), request.address.clone());
            if state.addresses.remove(&key).is_some() {
                Ok(())
            } else {
                Err(format!("address {} not found", request.address))
            }
        })
    }
}

impl Drivers for World {
    fn network(&self, _: &DriverRef) -> Result<Rc<dyn NetworkDriver>, DriverError> {
        Ok(Rc::new(self.clone()))
    }

    fn ipam(&self, _: &DriverRef) -> Result<Rc<dyn IpamDriver>, DriverError> {
        Ok(Rc::new(self.clone()))
    }
}

impl Sandboxes for World {
    fn identify(&self, path: &Path) -> Result<SandboxRecord, SandboxError> {
        Ok(SandboxRecord {
            path: path.into(),
            key: path.into(),
            dev: 4,
            inode: 7,
        })
    }

    fn make_key(&self, key: &Path, _: &Path) -> Result<(), SandboxError> {
        self.0.borrow_mut().keys.insert(key.display().to_string());
        Ok(())
    }

    fn remove_key(&self, key: &Path) -> Result<(), SandboxError> {
        self.0.borrow_mut().keys.remove(&key.display().to_string());
        Ok(())
    }

    fn is_free(&self, _: &Path, name: &IfName) -> Result<bool, SandboxError> {
        Ok(!self.0.borrow().sandbox_links.contains_key(name.as_str()))
    }

    fn is_at_work(&self, _: &IfName) -> Result<bool, SandboxError> {
        Ok(false)
    }

    fn place(&self, _: &SandboxRecord, placement: &Placement) -> Result<Placed, SandboxError> {
        let mut state = self.0.borrow_mut();
        let src_name = placement.src_name.to_string();
        if !state.host_links.remove(&src_name) {
            return Err(SandboxError::NoSuchLink(placement.src_name.clone()));
        }
        state
            .sandbox_links
            .insert(placement.name.to_string(), src_name.clone());
        let exits = placement.exits.iter();
        Ok(Placed {
            link: LinkRecord {
                src_name,
                name: placement.name.to_string(),
                index: 9,
                mac: placement.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            },
            mtu: 1500,
            host_end: None,
            routes: exits
                .map(|exit| {
                    (
                        cni_types::IpCidr::default_route(exit.is_ipv6()),
                        exit.router(),
                    )
                })
                .collect(),
        })
    }

    fn take_out(&self, _: &SandboxRecord, link: &LinkRecord) -> Result<TakenOut, SandboxError> {
        let mut state = self.0.borrow_mut();
        let Some(src_name) = state.sandbox_links.remove(&link.name) else {
            return Ok(TakenOut::Gone);
        };
        state.host_links.insert(src_name);
        Ok(TakenOut::Moved(3))
    }

    fn discard(&self, _: u32, name: &str) -> Result<(), SandboxError> {
        self.discard_named(name)
    }

    fn is_on_host(&self, name: &str) -> bool {
        self.0.borrow().host_links.contains(name)
    }

    fn discard_named(&self, name: &str) -> Result<(), SandboxError> {
        self.0.borrow_mut().host_links.remove(name);
        Ok(())
    }

    fn look(&self, _: &Path, _: &IfName) -> Result<Option<Seen>, SandboxError> {
        Ok(None)
    }
}

impl Random for World {
    fn mac(&self) -> MacAddr {
        MacAddr::new([2, 0x42, 0, 0, 0, 7])
    }

    fn bytes(&self) -> [u8; 32] {
        [7; 32]
    }
}
