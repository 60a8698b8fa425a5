//! An IPAM driver that is a program.

use std::sync::Arc;
use std::time::Instant;

use cni_types::IpCidr;

use super::{RemotePlugin, Speaker, Subsystem, nothing};
use crate::driver::{IpamDriver, Outcome};
use crate::error::{Cause, Method};
use crate::wire::ipam::{
    AddressSpaces, Capabilities, ReleaseAddressRequest, ReleasePoolRequest, RequestAddressReply,
    RequestAddressRequest, RequestPoolReply, RequestPoolRequest,
};

/// The IPAM driver that a plugin implements.
#[derive(Debug, Clone)]
pub struct RemoteIpamDriver {
    speaker: Speaker,
}

impl RemoteIpamDriver {
    /// The plugin is not asked yet whether it implements one.
    #[must_use]
    pub const fn new(plugin: Arc<RemotePlugin>) -> Self {
        let subsystem = Subsystem::Ipam;
        Self {
            speaker: Speaker { plugin, subsystem },
        }
    }

    /// The plugin.
    #[must_use]
    pub fn plugin(&self) -> &RemotePlugin {
        &self.speaker.plugin
    }
}

impl IpamDriver for RemoteIpamDriver {
    fn title(&self) -> String {
        self.speaker.title()
    }

    /// The call came late to the protocol: whatever a driver answers that is no answer, it has no
    /// wishes. One that does not answer is another matter.
    fn capabilities(&self, deadline: Instant) -> Outcome<Capabilities> {
        self.speaker.ready(deadline)?;
        match self.speaker.ask(Method::IpamGetCapabilities, deadline) {
            Err(error) if !error.is_down() => Ok(Capabilities::default()),
            outcome => outcome,
        }
    }

    fn default_address_spaces(&self, deadline: Instant) -> Outcome<AddressSpaces> {
        self.speaker.ask(Method::GetDefaultAddressSpaces, deadline)
    }

    fn request_pool(
        &self,
        request: &RequestPoolRequest,
        deadline: Instant,
    ) -> Outcome<RequestPoolReply> {
        let method = Method::RequestPool;
        let reply: RequestPoolReply = self.speaker.tell(method, request, deadline)?;
        require_cidr("Pool", &reply.pool).map_err(|cause| self.speaker.error(method, cause))?;
        Ok(reply)
    }

    fn release_pool(&self, request: &ReleasePoolRequest, deadline: Instant) -> Outcome<()> {
        self.speaker
            .tell(Method::ReleasePool, request, deadline)
            .map(nothing)
    }

    fn request_address(
        &self,
        request: &RequestAddressRequest,
        deadline: Instant,
    ) -> Outcome<RequestAddressReply> {
        let method = Method::RequestAddress;
        let reply: RequestAddressReply = self.speaker.tell(method, request, deadline)?;
        // Some have none to give, for a gateway.
        if !reply.address.is_empty() {
            require_cidr("Address", &reply.address)
                .map_err(|cause| self.speaker.error(method, cause))?;
        }
        Ok(reply)
    }

    fn release_address(&self, request: &ReleaseAddressRequest, deadline: Instant) -> Outcome<()> {
        self.speaker
            .tell(Method::ReleaseAddress, request, deadline)
            .map(nothing)
    }
}

/// Docker takes nothing else either.
fn require_cidr(key: &str, text: &str) -> Result<(), Cause> {
    if text.parse::<IpCidr>().is_ok() {
        return Ok(());
    }
    let why = format!("{key} is {text:?}, not an address with its prefix length");
    Err(Cause::Malformed(why))
}
