//! What goes over HTTP between a controller and a driver, for either side of it.
//!
//! Keys are Go's: [`cni_types::Json::decode`] reads them in whatever case they are written, takes
//! `null` and what is missing for the default, and ignores what it does not know. Everything is
//! text, as it is on the wire; the controller makes sense of it.

pub mod ipam;
pub mod network;

use std::collections::BTreeMap;

use cni_types::{Json, JsonError};
use serde::{Deserialize, Serialize};

/// The media type of requests and replies.
pub const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// Free-form options by name.
pub type Options = BTreeMap<String, Json>;

/// Names of options that the controller gives.
pub mod label {
    /// A network's own options, as `docker network create -o` takes them: a map of strings.
    pub const GENERIC: &str = "com.docker.network.generic";
    /// Whether a network has IPv6.
    pub const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
    /// Whether a network leads nowhere. Only ever true.
    pub const INTERNAL: &str = "com.docker.network.internal";
    /// Ports that are published on the host: [`super::network::PortBinding`]s.
    pub const PORT_MAP: &str = "com.docker.network.portmap";
    /// Ports that the container listens on: [`super::network::ExposedPort`]s.
    pub const EXPOSED_PORTS: &str = "com.docker.network.endpoint.exposedports";
    /// The hardware address of the endpoint that an address is requested for.
    pub const MAC_ADDRESS: &str = "com.docker.network.endpoint.macaddress";
    /// Who an address is requested for.
    pub const ENDPOINT_NAME: &str = "com.docker.network.endpoint.name";
    /// What an address is requested for.
    pub const REQUEST_ADDRESS_TYPE: &str = "RequestAddressType";
    /// The gateway: as the value of [`REQUEST_ADDRESS_TYPE`], and as a key of a pool's data.
    pub const GATEWAY: &str = "com.docker.network.gateway";
}

/// The reply to `Plugin.Activate`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ActivateReply {
    /// The subsystems: `NetworkDriver`, `IpamDriver` and others that are not ours.
    pub implements: Vec<String>,
}

/// The keys in which replies tell an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ErrorReply {
    /// What network drivers, and helpers for any driver, say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub err: String,
    /// What IPAM drivers say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl ErrorReply {
    /// The error, if there is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        [self.err.as_str(), self.error.as_str()]
            .into_iter()
            .find(|text| !text.is_empty())
    }
}

/// Reads the first JSON document of a body, as Go's decoder does: one driver is known to answer an
/// error twice. `null` gives the default.
///
/// # Errors
/// There is none, or a value has the wrong type.
pub fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, JsonError> {
    Json::parse_first(body)?.decode()
}

#[cfg(test)]
mod tests;
