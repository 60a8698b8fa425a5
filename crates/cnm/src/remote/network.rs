//! A network driver that is a program.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{RemotePlugin, Subsystem, nothing};
use crate::driver::{NetworkDriver, Outcome};
use crate::error::{Cause, DriverError, Method};
use crate::wire::network::{
    AllocateNetworkReply, AllocateNetworkRequest, Capabilities, CreateEndpointReply,
    CreateEndpointRequest, CreateNetworkRequest, EndpointInfoReply, EndpointRequest,
    GwAllocCheckReply, GwAllocCheckRequest, JoinReply, JoinRequest, NetworkRequest, ProgramRequest,
};

/// The network driver that a plugin implements.
#[derive(Debug, Clone)]
pub struct RemoteNetworkDriver {
    plugin: Arc<RemotePlugin>,
}

impl RemoteNetworkDriver {
    /// The plugin is not asked yet whether it implements one.
    #[must_use]
    pub const fn new(plugin: Arc<RemotePlugin>) -> Self {
        Self { plugin }
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &RemotePlugin {
        &self.plugin
    }

    /// What the manager of a swarm asks of a driver of global scope before nodes create the network.
    ///
    /// # Errors
    /// The call failed.
    pub fn allocate_network(
        &self,
        request: &AllocateNetworkRequest,
        deadline: Instant,
    ) -> Outcome<AllocateNetworkReply> {
        self.tell(Method::AllocateNetwork, request, deadline)
    }

    /// Takes that back.
    ///
    /// # Errors
    /// The call failed.
    pub fn free_network(&self, request: &NetworkRequest, deadline: Instant) -> Outcome<()> {
        self.tell(Method::FreeNetwork, request, deadline)
            .map(nothing)
    }

    fn ready(&self, deadline: Instant) -> Outcome<&RemotePlugin> {
        self.plugin
            .require(Subsystem::Network, deadline)
            .map_err(|cause| self.error(Method::Activate, cause))?;
        Ok(&self.plugin)
    }

    fn tell<T: DeserializeOwned>(
        &self,
        method: Method,
        request: &impl Serialize,
        deadline: Instant,
    ) -> Outcome<T> {
        self.ready(deadline)?
            .tell(method, request, deadline)
            .map_err(|cause| self.error(method, cause))
    }

    fn error(&self, method: Method, cause: Cause) -> DriverError {
        DriverError {
            driver: self.title(),
            method,
            cause,
        }
    }
}

impl NetworkDriver for RemoteNetworkDriver {
    fn title(&self) -> String {
        format!("network driver {}", self.plugin.name())
    }

    fn capabilities(&self, deadline: Instant) -> Outcome<Capabilities> {
        let method = Method::GetCapabilities;
        self.ready(deadline)?
            .ask(method, deadline)
            .and_then(checked)
            .map_err(|cause| self.error(method, cause))
    }

    fn check_gateway_allocation(
        &self,
        request: &GwAllocCheckRequest,
        deadline: Instant,
    ) -> Outcome<GwAllocCheckReply> {
        self.tell(Method::GwAllocCheck, request, deadline)
    }

    fn create_network(&self, request: &CreateNetworkRequest, deadline: Instant) -> Outcome<()> {
        self.tell(Method::CreateNetwork, request, deadline)
            .map(nothing)
    }

    fn delete_network(&self, request: &NetworkRequest, deadline: Instant) -> Outcome<()> {
        self.tell(Method::DeleteNetwork, request, deadline)
            .map(nothing)
    }

    fn create_endpoint(
        &self,
        request: &CreateEndpointRequest,
        deadline: Instant,
    ) -> Outcome<CreateEndpointReply> {
        self.tell(Method::CreateEndpoint, request, deadline)
    }

    fn endpoint_info(
        &self,
        request: &EndpointRequest,
        deadline: Instant,
    ) -> Outcome<EndpointInfoReply> {
        self.tell(Method::EndpointOperInfo, request, deadline)
    }

    fn delete_endpoint(&self, request: &EndpointRequest, deadline: Instant) -> Outcome<()> {
        self.tell(Method::DeleteEndpoint, request, deadline)
            .map(nothing)
    }

    fn join(&self, request: &JoinRequest, deadline: Instant) -> Outcome<JoinReply> {
        self.tell(Method::Join, request, deadline)
    }

    fn leave(&self, request: &EndpointRequest, deadline: Instant) -> Outcome<()> {
        self.tell(Method::Leave, request, deadline).map(nothing)
    }

    fn program_external_connectivity(
        &self,
        request: &ProgramRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        let method = Method::ProgramExternalConnectivity;
        self.tell(method, request, deadline).map(nothing)
    }

    fn revoke_external_connectivity(
        &self,
        request: &EndpointRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        let method = Method::RevokeExternalConnectivity;
        self.tell(method, request, deadline).map(nothing)
    }
}

/// Docker registers no driver of another scope. An empty connectivity scope is as the scope.
fn checked(mut capabilities: Capabilities) -> Result<Capabilities, Cause> {
    let check = |key: &str, scope: &str| match scope {
        "local" | "global" => Ok(()),
        other => Err(Cause::Malformed(format!(
            "{key} is {other:?}, neither \"local\" nor \"global\""
        ))),
    };
    check("Scope", &capabilities.scope)?;
    if capabilities.connectivity_scope.is_empty() {
        capabilities
            .connectivity_scope
            .clone_from(&capabilities.scope);
    }
    check("ConnectivityScope", &capabilities.connectivity_scope)?;
    Ok(capabilities)
}
