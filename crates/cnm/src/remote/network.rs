//! A network driver that is a program.

use std::sync::Arc;
use std::time::Instant;

use super::{RemotePlugin, Speaker, Subsystem, nothing};
use crate::driver::{NetworkDriver, Outcome};
use crate::error::{Cause, Method};
use crate::wire::network::{
    AllocateNetworkReply, AllocateNetworkRequest, Capabilities, CreateEndpointReply,
    CreateEndpointRequest, CreateNetworkRequest, EndpointInfoReply, EndpointRequest,
    GwAllocCheckReply, GwAllocCheckRequest, JoinReply, JoinRequest, NetworkRequest, ProgramRequest,
};

/// The network driver that a plugin implements.
#[derive(Debug, Clone)]
pub struct RemoteNetworkDriver {
    speaker: Speaker,
}

impl RemoteNetworkDriver {
    /// The plugin is not asked yet whether it implements one.
    #[must_use]
    pub const fn new(plugin: Arc<RemotePlugin>) -> Self {
        let subsystem = Subsystem::Network;
        Self {
            speaker: Speaker { plugin, subsystem },
        }
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &RemotePlugin {
        &self.speaker.plugin
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
        self.speaker
            .tell(Method::AllocateNetwork, request, deadline)
    }

    /// Takes that back.
    ///
    /// # Errors
    /// The call failed.
    pub fn free_network(&self, request: &NetworkRequest, deadline: Instant) -> Outcome<()> {
        self.speaker
            .tell(Method::FreeNetwork, request, deadline)
            .map(nothing)
    }
}

impl NetworkDriver for RemoteNetworkDriver {
    fn title(&self) -> String {
        self.speaker.title()
    }

    fn capabilities(&self, deadline: Instant) -> Outcome<Capabilities> {
        let method = Method::GetCapabilities;
        self.speaker
            .ready(deadline)?
            .ask(method, deadline)
            .and_then(checked)
            .map_err(|cause| self.speaker.error(method, cause))
    }

    fn check_gateway_allocation(
        &self,
        request: &GwAllocCheckRequest,
        deadline: Instant,
    ) -> Outcome<GwAllocCheckReply> {
        self.speaker.tell(Method::GwAllocCheck, request, deadline)
    }

    fn create_network(&self, request: &CreateNetworkRequest, deadline: Instant) -> Outcome<()> {
        self.speaker
            .tell(Method::CreateNetwork, request, deadline)
            .map(nothing)
    }

    fn delete_network(&self, request: &NetworkRequest, deadline: Instant) -> Outcome<()> {
        self.speaker
            .tell(Method::DeleteNetwork, request, deadline)
            .map(nothing)
    }

    fn create_endpoint(
        &self,
        request: &CreateEndpointRequest,
        deadline: Instant,
    ) -> Outcome<CreateEndpointReply> {
        self.speaker.tell(Method::CreateEndpoint, request, deadline)
    }

    fn endpoint_info(
        &self,
        request: &EndpointRequest,
        deadline: Instant,
    ) -> Outcome<EndpointInfoReply> {
        self.speaker
            .tell(Method::EndpointOperInfo, request, deadline)
    }

    fn delete_endpoint(&self, request: &EndpointRequest, deadline: Instant) -> Outcome<()> {
        self.speaker
            .tell(Method::DeleteEndpoint, request, deadline)
            .map(nothing)
    }

    fn join(&self, request: &JoinRequest, deadline: Instant) -> Outcome<JoinReply> {
        self.speaker.tell(Method::Join, request, deadline)
    }

    fn leave(&self, request: &EndpointRequest, deadline: Instant) -> Outcome<()> {
        self.speaker
            .tell(Method::Leave, request, deadline)
            .map(nothing)
    }

    fn program_external_connectivity(
        &self,
        request: &ProgramRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        let method = Method::ProgramExternalConnectivity;
        self.speaker.tell(method, request, deadline).map(nothing)
    }

    fn revoke_external_connectivity(
        &self,
        request: &EndpointRequest,
        deadline: Instant,
    ) -> Outcome<()> {
        let method = Method::RevokeExternalConnectivity;
        self.speaker.tell(method, request, deadline).map(nothing)
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
