//! The network driver `bridge`: a bridge for each network, a veth pair for each endpoint.
//!
//! Everything is done in the calling thread's network namespace, the host's. What a network was told
//! is remembered, so that its bridge is made again after a reboot, or after somebody has deleted it.
//! What removes succeeds where there is nothing to remove, and works although nothing is remembered.
//!
//! | room | job |
//! | --- | --- |
//! | `config.rs`, `options.rs` | what a network is to be; the only validation |
//! | `names.rs` | makes and recognises our names and marks |
//! | `state.rs` | what is remembered |
//! | `host.rs`, `network.rs` | the bridge |
//! | `endpoint.rs` | the veth pairs |
//! | `ports.rs`, `external.rs`, `loopback.rs` | published ports |
//! | `filter.rs` | the packet filter |
//! | `check.rs` | compares everything that was made |
//! | `collect.rs` | what is ours, of a network, and of none of its endpoints |

mod check;
mod collect;
mod config;
mod endpoint;
mod error;
mod external;
mod filter;
mod host;
mod loopback;
mod names;
mod network;
mod options;
mod ports;
mod state;

use std::path::Path;
use std::time::Instant;

use cni_netlink::Link;
use cni_types::{CniError, Json};

use self::host::{Host, Made};
use self::names::{Endpoint, Network};
use self::state::State;
use crate::driver::{NetworkDriver, Outcome};
use crate::error::{DriverError, Method};
use crate::wire::network::{
    Capabilities, CreateEndpointReply, CreateEndpointRequest, CreateNetworkRequest,
    EndpointInfoReply, EndpointRequest, GwAllocCheckReply, GwAllocCheckRequest, JoinReply,
    JoinRequest, NetworkRequest, ProgramRequest,
};
use crate::wire::{Options, label};

/// The network driver `bridge`.
#[derive(Debug)]
pub struct BridgeDriver {
    state: State,
}

/// The links of an endpoint that stay in the host's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointLinks {
    /// The network's bridge.
    pub bridge: Option<Link>,
    /// The host's end of the veth pair.
    pub host: Option<Link>,
}

impl BridgeDriver {
    /// The driver that remembers in `dir`, which is made when it is needed.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        let state = State::new(dir);
        Self { state }
    }

    /// The options of a network that mean nothing to this driver nor to libnetwork's: as there,
    /// they are ignored.
    ///
    /// # Errors
    /// The options are not a map.
    pub fn ignored_options(request: &CreateNetworkRequest) -> Result<Vec<String>, CniError> {
        Ok(config::ignored_options(request)?)
    }

    /// The ids of all networks that have been made and not deleted.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn networks(&self) -> Result<Vec<String>, CniError> {
        Ok(self.state.networks()?)
    }

    /// The links of an endpoint that are in the host's namespace, as far as they are there.
    ///
    /// # Errors
    /// The kernel does not answer.
    pub fn links(
        &self,
        network_id: &str,
        endpoint_id: &str,
        deadline: Instant,
    ) -> Result<EndpointLinks, CniError> {
        let endpoint = Endpoint::new(network_id, endpoint_id)?;
        let made = Made::get(&self.state, &endpoint.network)?;
        let host = Host::open(deadline)?;
        let end = endpoint::find_host_end(&host, &self.state, &endpoint)?;
        Ok(EndpointLinks {
            bridge: host.find_bridge(&made.config.bridge)?,
            host: end.map(|(link, _other)| link),
        })
    }

    /// Whether everything on the host that was made for an endpoint is still there.
    ///
    /// # Errors
    /// Something is missing or different ([`CHECK_FAILED`](cni_types::ErrorCode::CHECK_FAILED); the
    /// details name it all), or the kernel does not answer.
    pub fn check_endpoint(
        &self,
        network_id: &str,
        endpoint_id: &str,
        deadline: Instant,
    ) -> Result<(), CniError> {
        let endpoint = Endpoint::new(network_id, endpoint_id)?;
        check::check(&Host::open(deadline)?, &self.state, &endpoint)
    }

    /// Removes links, rules and memories that are of a network and of none of the endpoints that it
    /// has, which are `valid`.
    ///
    /// # Errors
    /// Something could not be removed; everything else has been.
    pub fn collect<'a>(
        &self,
        network_id: &str,
        valid: impl IntoIterator<Item = &'a str>,
        deadline: Instant,
    ) -> Result<(), CniError> {
        let network = Network::new(network_id)?;
        let valid = valid.into_iter().map(|id| network.endpoint(id));
        let valid: Vec<Endpoint> = valid.collect::<Result<_, _>>()?;
        collect::collect(&Host::open(deadline)?, &self.state, (&network, &valid))
    }

    /// Removes the file of a lock whose holder was killed. The next who takes it would.
    ///
    /// # Errors
    /// Somebody holds it, and does so still at the deadline; or the file system refuses.
    pub fn sweep_lock(&self, deadline: Instant) -> Result<(), CniError> {
        Ok(self.state.sweep_lock(deadline)?)
    }

    fn failed(&self, method: Method) -> impl FnOnce(CniError) -> DriverError {
        let title = self.title();
        move |error| DriverError::failed(title, method, error)
    }

    fn describe(&self, request: &EndpointRequest) -> Result<Options, CniError> {
        let endpoint = Endpoint::new(&request.network_id, &request.endpoint_id)?;
        let Some(record) = self.state.endpoint(&endpoint)? else {
            return Ok(Options::new());
        };
        let mut told = Options::from([(
            label::MAC_ADDRESS.to_owned(),
            Json::String(record.mac.to_string()),
        )]);
        if !record.ports.is_empty() {
            told.insert(label::PORT_MAP.to_owned(), ports::told(&record.ports));
        }
        Ok(told)
    }

    fn remove_endpoint(
        &self,
        request: &EndpointRequest,
        deadline: Instant,
    ) -> Result<(), CniError> {
        let endpoint = Endpoint::new(&request.network_id, &request.endpoint_id)?;
        endpoint::remove(&Host::open(deadline)?, &self.state, &endpoint)
    }

    fn publish(&self, request: &ProgramRequest, deadline: Instant) -> Result<(), CniError> {
        let endpoint = Endpoint::new(&request.network_id, &request.endpoint_id)?;
        let bindings = ports::bindings(&request.options)?;
        external::publish(&Host::open(deadline)?, &self.state, &endpoint, &bindings)
    }

    fn withdraw(&self, request: &EndpointRequest, deadline: Instant) -> Result<(), CniError> {
        let endpoint = Endpoint::new(&request.network_id, &request.endpoint_id)?;
        external::withdraw(&Host::open(deadline)?, &self.state, &endpoint)
    }

    fn join_endpoint(
        &self,
        request: &JoinRequest,
        deadline: Instant,
    ) -> Result<JoinReply, CniError> {
        let endpoint = Endpoint::new(&request.network_id, &request.endpoint_id)?;
        endpoint::join(&Host::open(deadline)?, &self.state, &endpoint)
    }
}

impl NetworkDriver for BridgeDriver {
    fn title(&self) -> String {
        "network driver bridge".to_owned()
    }

    fn capabilities(&self, _deadline: Instant) -> Outcome<Capabilities> {
        Ok(super::local())
    }

    fn check_gateway_allocation(
        &self,
        _request: &GwAllocCheckRequest,
        _deadline: Instant,
    ) -> Outcome<GwAllocCheckReply> {
        Ok(GwAllocCheckReply::default())
    }

    fn create_network(&self, request: &CreateNetworkRequest, deadline: Instant) -> Outcome<()> {
        network::create(&self.state, request, deadline).map_err(self.failed(Method::CreateNetwork))
    }

    fn delete_network(&self, request: &NetworkRequest, deadline: Instant) -> Outcome<()> {
        network::delete(&self.state, &request.network_id, deadline)
            .map_err(self.failed(Method::DeleteNetwork))
    }

    fn create_endpoint(
        &self,
        request: &CreateEndpointRequest,
        deadline: Instant,
    ) -> Outcome<CreateEndpointReply> {
        Host::open(deadline)
            .and_then(|host| endpoint::create(&host, &self.state, request))
            .map_err(self.failed(Method::CreateEndpoint))
    }

    fn endpoint_info(
        &self,
        request: &EndpointRequest,
        _deadline: Instant,
    ) -> Outcome<EndpointInfoReply> {
        let value = self.describe(request);
        let value = value.map_err(self.failed(Method::EndpointOperInfo))?;
        Ok(EndpointInfoReply { value })
    }

    fn check_endpoint(&self, request: &EndpointRequest, deadline: Instant) -> Outcome<()> {
        Self::check_endpoint(self, &request.network_id, &request.endpoint_id, deadline)
            .map_err(self.failed(Method::EndpointOperInfo))
    }

    fn collect(&self, network_id: &str, valid: &[String], deadline: Instant) -> Outcome<()> {
        Self::collect(self, network_id, valid.iter().map(String::as_str), deadline)
            .map_err(self.failed(Method::DeleteEndpoint))
    }

    fn delete_endpoint(&self, request: &EndpointRequest, deadline: Instant) -> Outcome<()> {
        self.remove_endpoint(request, deadline)
            .map_err(self.failed(Method::DeleteEndpoint))
    }

    fn join(&self, request: &JoinRequest, deadline: Instant) -> Outcome<JoinReply> {
        self.join_endpoint(request, deadline)
            .map_err(self.failed(Method::Join))
    }

    fn leave(&self, _request: &EndpointRequest, _deadline: Instant) -> Outcome<()> {
        // The controller takes the interface out of the sandbox, and DeleteEndpoint removes it.
        Ok(())
    }

    fn program_external_connectivity(
        &self,
        request: &ProgramRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        self.publish(request, deadline)
            .map_err(self.failed(Method::ProgramExternalConnectivity))
    }

    fn revoke_external_connectivity(
        &self,
        request: &EndpointRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        self.withdraw(request, deadline)
            .map_err(self.failed(Method::RevokeExternalConnectivity))
    }
}
