//! Docker Engine's API, as far as joining its containers to its networks takes.
//!
//! Built-in drivers of Docker are out of reach of the drivers' protocol, and containers of Docker
//! can be joined by Docker itself: then it is the controller, and this asks it.
//!
//! Names are compared here. Engine takes any beginning of an id for the id, and lists what merely
//! contains a name; nobody is to be disconnected who was not meant.

mod call;
mod error;
mod locate;
mod version;
mod wire;

use std::sync::OnceLock;
use std::time::Instant;

use serde::Serialize;

use crate::http::{Address, Client, Patience, Verb};

pub use error::{EngineCause, EngineError, Operation};
pub use locate::locate;
pub use version::ApiVersion;
pub use wire::{
    AttachedContainer, Container, CreateNetwork, Endpoint, EndpointConfig, EndpointIpam,
    HostConfig, IpamPool, Network, NetworkIpam, NetworkSettings, ServerVersion, State,
};

use call::{Failure, segment, succeeded, understand};
use wire::{ConnectRequest, CreateNetworkReply, DisconnectRequest, Listed};

/// Docker Engine.
#[derive(Debug)]
pub struct Engine {
    client: Client,
    patience: Patience,
    version: OnceLock<ApiVersion>,
}

impl Engine {
    /// The Engine that listens there. It is not connected to yet.
    ///
    /// # Errors
    /// A certificate that the address names cannot be read.
    pub fn new(address: Address, patience: Patience) -> Result<Self, EngineError> {
        let subject = address.to_string();
        let client = Client::new(address)
            .map_err(|error| EngineCause::Http(error).during(Operation::Reach, subject))?;
        Ok(Self {
            client,
            patience,
            version: OnceLock::new(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> &Address {
        self.client.address()
    }

    /// The version of the API that both sides speak. Asked once, before the first call of any kind.
    ///
    /// # Errors
    /// It does not answer, or is not Docker Engine.
    pub fn api_version(&self, deadline: Instant) -> Result<ApiVersion, EngineError> {
        if let Some(version) = self.version.get() {
            return Ok(*version);
        }
        let version = self
            .send(Verb::Get, "/_ping", b"", deadline)
            .and_then(|reply| {
                let reply = succeeded(reply)?;
                version::negotiate(reply.header("Api-Version")).map_err(EngineCause::Malformed)
            })
            .map_err(|cause| cause.during(Operation::Reach, self.address().to_string()))?;
        Ok(*self.version.get_or_init(|| version))
    }

    /// Who it is.
    ///
    /// # Errors
    /// The call failed.
    pub fn server_version(&self, deadline: Instant) -> Result<ServerVersion, EngineError> {
        self.get("/version", deadline)
            .map_err(|failure| failure.during(Operation::AskVersion, self.address().to_string()))
    }

    /// A container, by its id, at least the first 12 digits of it, or its name.
    ///
    /// # Errors
    /// There is none ([`EngineError::is_not_found`]), or the call failed.
    pub fn inspect_container(
        &self,
        container: &str,
        deadline: Instant,
    ) -> Result<Container, EngineError> {
        let found: Result<Container, _> = segment(container)
            .map_err(Failure::Cause)
            .and_then(|id| self.get(&format!("/containers/{id}/json"), deadline));
        found
            .and_then(|found| {
                if found.is_called(container) {
                    Ok(found)
                } else {
                    Err(EngineCause::Mistaken { found: found.id }.into())
                }
            })
            .map_err(|failure| failure.during(Operation::InspectContainer, container.to_owned()))
    }

    /// A network, by its id or name.
    ///
    /// # Errors
    /// There is none ([`EngineError::is_not_found`]), there are several of that name
    /// ([`EngineError::is_ambiguous`]), or the call failed.
    pub fn inspect_network(
        &self,
        network: &str,
        deadline: Instant,
    ) -> Result<Network, EngineError> {
        let found: Result<Network, _> = segment(network)
            .map_err(Failure::Cause)
            .and_then(|id| self.get(&format!("/networks/{id}"), deadline));
        found
            .and_then(|found| {
                if found.name == network || found.id == network {
                    Ok(found)
                } else {
                    Err(EngineCause::Mistaken { found: found.name }.into())
                }
            })
            .map_err(|failure| failure.during(Operation::InspectNetwork, network.to_owned()))
    }

    /// All networks of a name: Engine before 25.0 allows several. Their containers are not listed.
    ///
    /// # Errors
    /// The call failed.
    pub fn list_networks(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Vec<Network>, EngineError> {
        let listed = self.list("/networks?", ("name", &[name]), deadline);
        let mut networks: Vec<Network> =
            listed.map_err(|failure| failure.during(Operation::ListNetworks, name.to_owned()))?;
        networks.retain(|network| network.name == name);
        Ok(networks)
    }

    /// All networks that have a label with this value. Their containers are not listed.
    ///
    /// # Errors
    /// The call failed.
    pub fn labelled_networks(
        &self,
        (label, value): (&str, &str),
        deadline: Instant,
    ) -> Result<Vec<Network>, EngineError> {
        let text = format!("{label}={value}");
        let listed = self.list("/networks?", ("label", &[&text]), deadline);
        let mut networks: Vec<Network> =
            listed.map_err(|failure| failure.during(Operation::ListLabelled, text))?;
        networks.retain(|network| network.labels.get(label).is_some_and(|it| it == value));
        Ok(networks)
    }

    /// The ids of all containers that are on a network, or will be when they are started.
    ///
    /// # Errors
    /// The call failed.
    pub fn containers_on(
        &self,
        network: &Network,
        deadline: Instant,
    ) -> Result<Vec<String>, EngineError> {
        // A container that does not run knows the network only by its name.
        let either = [network.id.as_str(), &network.name];
        let listed = self.list("/containers/json?all=1&", ("network", &either), deadline);
        let listed: Vec<Listed> = listed
            .map_err(|failure| failure.during(Operation::ListContainers, network.name.clone()))?;
        Ok(listed.into_iter().map(|one| one.id).collect())
    }

    /// Makes a network and tells its id.
    ///
    /// # Errors
    /// There is one of that name ([`EngineError::is_conflict`]), or the call failed.
    pub fn create_network(
        &self,
        network: &CreateNetwork,
        deadline: Instant,
    ) -> Result<String, EngineError> {
        let made: Result<CreateNetworkReply, _> = self
            .post("/networks/create", network, deadline)
            .and_then(|reply| Ok(understand(&reply)?));
        made.map(|made| made.id)
            .map_err(|failure| failure.during(Operation::CreateNetwork, network.name.clone()))
    }

    /// Removes a network.
    ///
    /// # Errors
    /// There is none ([`EngineError::is_not_found`]), it has endpoints, or the call failed.
    pub fn remove_network(&self, network: &str, deadline: Instant) -> Result<(), EngineError> {
        segment(network)
            .map_err(Failure::Cause)
            .and_then(|id| self.call(Verb::Delete, &format!("/networks/{id}"), b"", deadline))
            .map(drop)
            .map_err(|failure| failure.during(Operation::RemoveNetwork, network.to_owned()))
    }

    /// Joins a container to a network. Of a container that is not running only the wish is noted.
    ///
    /// # Errors
    /// The call failed; it may be joined all the same (Engine answers an error of its last step and
    /// lets the endpoint be), so whoever fails here disconnects.
    pub fn connect(
        &self,
        network: &str,
        container: &str,
        config: &EndpointConfig,
        deadline: Instant,
    ) -> Result<(), EngineError> {
        let request = ConnectRequest {
            container,
            endpoint_config: config,
        };
        self.change(network, "connect", &request, deadline)
            .map_err(|failure| failure.during(Operation::Connect, join(container, network)))
    }

    /// Takes a container out of a network. With `force` also one whose container is gone.
    ///
    /// # Errors
    /// It is not there ([`EngineError::is_not_connected`], [`EngineError::is_not_found`]), or the
    /// call failed.
    pub fn disconnect(
        &self,
        network: &str,
        container: &str,
        force: bool,
        deadline: Instant,
    ) -> Result<(), EngineError> {
        let request = DisconnectRequest { container, force };
        self.change(network, "disconnect", &request, deadline)
            .map_err(|failure| failure.during(Operation::Disconnect, join(container, network)))
    }

    fn change(
        &self,
        network: &str,
        what: &str,
        request: &impl Serialize,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let network = segment(network)?;
        self.post(&format!("/networks/{network}/{what}"), request, deadline)
            .map(drop)
    }
}

fn join(container: &str, network: &str) -> String {
    format!("container {container} and network {network}")
}

#[cfg(test)]
mod tests;
